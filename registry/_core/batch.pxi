# Bulk counting: all ids are first converted to keys; then the core updates the counters with the
# GIL released.

cdef class Batch:
    """The arguments and results of one bulk call. The keys point into the texts in `ids`."""

    cdef list ids
    cdef reg_key *keys
    cdef uint32_t *samples
    cdef reg_batch batch

    def __cinit__(self, ids):
        self.ids = texts_of(ids)
        self.batch.count = len(self.ids)
        self.keys = <reg_key *>PyMem_Calloc(self.batch.count + 1, sizeof(reg_key))
        self.samples = <uint32_t *>PyMem_Calloc(self.batch.count + 1, sizeof(uint32_t))
        self.batch.values = <uint32_t *>PyMem_Calloc(self.batch.count + 1, sizeof(uint32_t))
        self.batch.at_zero = <c_bool *>PyMem_Calloc(self.batch.count + 1, sizeof(c_bool))
        if self.keys == NULL or self.samples == NULL:
            raise MemoryError
        if self.batch.values == NULL or self.batch.at_zero == NULL:
            raise MemoryError
        self.batch.ids, self.batch.samples = self.keys, self.samples

    def __dealloc__(self):
        PyMem_Free(self.keys)
        PyMem_Free(self.samples)
        PyMem_Free(self.batch.values)
        PyMem_Free(self.batch.at_zero)

    cdef int find_keys(self) except -1:
        cdef size_t i
        for i in range(self.batch.count):
            if not has_key_borrowed(PyList_GET_ITEM(self.ids, i), &self.keys[i]):
                raise BackendNotFoundError(self.ids[i])
        return 0

    cdef int take_samples(self, samples) except -1:
        cdef list values = list_of(samples, "samples", "int")
        cdef size_t i
        if <size_t>len(values) != self.batch.count:
            raise ValueError(
                f"samples must have one item for each id, but there are {len(values)} samples "
                f"and {self.batch.count} ids")
        for i in range(self.batch.count):
            if not is_plain_sample(PyList_GET_ITEM(values, i), &self.samples[i]):
                self.samples[i] = convert_sample(values[i], f"samples[{i}]")
        return 0

    cdef list result(self, reg_status status):
        """Returns the new values, or raises the exception for the status."""
        if status == REG_NOT_FOUND:
            raise BackendNotFoundError(self.ids[self.batch.unknown])
        if status == REG_OVERFLOW:
            raise OverflowError(
                f"{_at_limit(self.ids[self.batch.applied])}; the {self.batch.applied} increments "
                f"before it were applied, of {self.batch.count}")
        check(status, None)
        cdef list values = PyList_New(self.batch.count)
        cdef object value  # a Python object: the list takes over a reference to it
        cdef size_t i
        for i in range(self.batch.count):
            value = self.batch.values[i]
            Py_INCREF(value)
            PyList_SET_ITEM(values, i, value)
        return values


cdef list increment_many(reg_registry *reg, ids):
    """`RegistryCore.increment_pending_many`."""
    cdef Batch batch = Batch(ids)
    cdef reg_status status
    batch.find_keys()
    with nogil:
        status = reg_increment_pending_many(reg, &batch.batch)
    return batch.result(status)


cdef list decrement_many(reg_registry *reg, ids):
    """`RegistryCore.decrement_pending_many`."""
    cdef Batch batch = Batch(ids)
    cdef reg_status status
    cdef reg_aftermath after
    cdef size_t i
    batch.find_keys()
    with nogil:
        status = reg_decrement_pending_many(reg, &batch.batch)
    after = reg_aftermath(REG_IS_WAITED if batch.batch.is_waited else 0, batch.batch.woken)
    conclude(reg, &after, None)
    values = batch.result(status)
    for i in range(batch.batch.count):
        if batch.batch.at_zero[i]:
            warn_at_zero(batch.ids[i])
    return values


cdef list update_many(reg_registry *reg, ids, samples):
    """`RegistryCore.update_latency_many`."""
    cdef Batch batch = Batch(ids)
    cdef reg_status status
    batch.take_samples(samples)
    batch.find_keys()
    with nogil:
        status = reg_update_latency_many(reg, &batch.batch)
    return batch.result(status)
