# Bulk forms: many ids checked and turned into keys first, then counted with the GIL released.

cdef class Batch:
    """The arguments and results of one bulk call. `ids` keeps the texts alive that the keys borrow from."""

    cdef list ids
    cdef reg_key *keys
    cdef uint32_t *samples
    cdef reg_batch batch

    def __cinit__(self, ids):
        cdef reg_key *keys
        self.ids = texts_of(ids)
        self.batch.count = len(self.ids)
        self.keys = <reg_key *>PyMem_Calloc(self.batch.count + 1, sizeof(reg_key))
        self.samples = <uint32_t *>PyMem_Calloc(self.batch.count + 1, sizeof(uint32_t))
        self.batch.values = <uint32_t *>PyMem_Calloc(self.batch.count + 1, sizeof(uint32_t))
        self.batch.at_zero = <c_bool *>PyMem_Calloc(self.batch.count + 1, sizeof(c_bool))
        if self.keys == NULL or self.samples == NULL or self.batch.values == NULL or self.batch.at_zero == NULL:
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
            raise ValueError(f"samples must be as many as ids: {len(values)} for {self.batch.count}")
        for i in range(self.batch.count):
            if not is_plain_sample(PyList_GET_ITEM(values, i), &self.samples[i]):
                self.samples[i] = convert_sample(values[i], f"samples[{i}]")
        return 0

    cdef list result(self, reg_status status):
        """The new values, or the exception that says how far it got."""
        if status == REG_NOT_FOUND:
            raise BackendNotFoundError(self.ids[self.batch.unknown])
        if status == REG_OVERFLOW:
            raise OverflowError(f"{_at_limit(self.ids[self.batch.applied])}; {self.batch.applied} of {self.batch.count} "
                                "increments before it were applied")
        check(status, None)
        cdef list values = PyList_New(self.batch.count)
        cdef object value  # a Python one, of which the list takes the reference
        cdef size_t i
        for i in range(self.batch.count):
            value = self.batch.values[i]
            Py_INCREF(value)
            PyList_SET_ITEM(values, i, value)
        return values


cdef list list_of(values, str argument, str kind):
    """A new list of what an iterable of `kind` gives."""
    return list(values) if type(values) is list or type(values) is tuple else _checks.items(values, argument, kind)


cdef list texts_of(ids):
    cdef list texts = list_of(ids, "ids", "str")
    cdef Py_ssize_t i
    for i in range(len(texts)):
        if not PyUnicode_CheckExact(PyList_GET_ITEM(texts, i)):
            texts[i] = exact_text(texts[i], f"ids[{i}]")
    return texts
