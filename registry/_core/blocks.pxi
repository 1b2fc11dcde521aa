# The argument `prefix` of a choice: the blocks of a prompt, as the core takes them.

cdef str BLOCKS = "a sequence of int, a one-dimensional buffer of integers, or None"


@cython.final
@cython.no_gc
cdef class Blocks:
    """Hashes of blocks, each modulo 2**64."""

    cdef uint64_t *hashes
    cdef size_t count

    def __cinit__(self, prefix):
        cdef type kind = type(prefix)
        if (kind is not list and kind is not tuple and PyObject_CheckBuffer(prefix)
                and not issubclass(kind, (bytes, bytearray))):
            self.take_buffer(prefix)
        elif is_sequence(prefix):
            self.take_ints(tuple(prefix))  # other threads may change a list meanwhile
        else:
            raise _checks.type_error("prefix", BLOCKS, prefix)

    def __dealloc__(self):
        PyMem_Free(self.hashes)

    cdef int make_room(self, size_t count) except -1:
        # Never NULL, which means that there is no prefix.
        self.hashes = <uint64_t *>PyMem_Calloc(count + 1, sizeof(uint64_t))
        if self.hashes == NULL:
            raise MemoryError
        self.count = count
        return 0

    cdef int take_ints(self, tuple prefix) except -1:
        cdef Py_ssize_t i
        self.make_room(len(prefix))
        for i in range(len(prefix)):
            self.hashes[i] = block_from(<object>PyTuple_GET_ITEM(prefix, i), i)
        return 0

    cdef int take_buffer(self, prefix) except -1:
        cdef Py_buffer view
        cdef reg_numbers numbers
        PyObject_GetBuffer(prefix, &view, PyBUF_RECORDS_RO)
        try:
            if not are_integers(&view, &numbers):
                raise _checks.type_error("prefix", BLOCKS, prefix)
            self.make_room(numbers.length)
            reg_read_numbers(&numbers, self.hashes)
        finally:
            PyBuffer_Release(&view)
        return 0


cdef uint64_t block_from(value, Py_ssize_t i) except? 0:
    """The 64 bits of an int from -2**63 to 2**64-1."""
    cdef int overflow
    cdef uint64_t number
    if PyLong_CheckExact(<PyObject *>value):
        number = <uint64_t>PyLong_AsLongLongAndOverflow(<PyObject *>value, &overflow)
        if overflow == 0:
            return number
        if overflow > 0:
            number = PyLong_AsUnsignedLongLong(<PyObject *>value)
            if number != <uint64_t>-1 or PyErr_Occurred() == NULL:
                return number
            PyErr_Clear()
    return _checks.integer(value, f"prefix[{i}]", INT64_MIN, UINT64_LIMIT) & UINT64_LIMIT


cdef bint are_integers(const Py_buffer *view, reg_numbers *numbers) except -1:
    """Whether the buffer has one dimension of integers. If so, describes them."""
    # Without a format, the items are unsigned bytes.
    code = "B" if view.format == NULL else view.format.decode().lstrip(NATIVE_ORDER)
    if not (view.ndim == 1 and len(code) == 1 and code in "bBhHiIlLqQnN"
            and view.itemsize in (1, 2, 4, 8)):
        return False
    numbers[0] = reg_numbers(
        <const char *>view.buf, view.strides[0], view.shape[0], view.itemsize, code.islower())
    return True
