# Argument checks, and conversions from Python objects to the keys and integers that the core takes.
#
# The checks below handle the usual case in C. All other cases go to `registry._checks`, which has
# the rules and the error messages.

cdef str exact_text(text, str argument):
    """Returns the text; for a subclass of str, an exact copy made without calling its methods."""
    if isinstance(text, str):
        return PyUnicode_FromObject(text)
    return _checks.exact_text(text, argument)


cdef inline int check_exact_type(value, type kind, str argument) except -1:
    """Raises TypeError unless the type is `kind`. Reading the slots of any other type is unsafe.

    A caller can force the fields of a frozen dataclass to hold objects of any type.
    """
    if type(value) is not kind:
        raise _checks.type_error(argument, f"exactly a {kind.__name__}", value)
    return 0


# ---- keys

cdef inline bint has_key(text, reg_key *key) except -1:
    """Stores the key of an exact str, which must outlive the key.

    False if the text has no UTF-8 form. Such a text can't be registered.
    """
    return has_key_borrowed(<PyObject *>text, key)


cdef inline bint has_key_borrowed(PyObject *text, reg_key *key) except -1:
    """Like `has_key`, but takes no reference to the text."""
    if try_key_of(text, key) == 0:
        return True
    if not PyErr_ExceptionMatches(UnicodeEncodeError):
        return -1
    PyErr_Clear()
    return False


# ---- serials

cdef inline uint64_t serial_of(serial) except? 0:
    """The serial for the core, to which 0 means any registration; None stands for that."""
    if serial is None:
        return 0
    # No registration has serial 0 or 2**64-1.
    return _checks.optional_serial(serial, "serial") or UINT64_LIMIT


# ---- latency samples

cdef inline bint is_plain_sample(PyObject *value, uint32_t *sample) noexcept:
    """Whether the value is an exact int from 0 to 2**32-1. If so, stores it in `sample`."""
    cdef int overflow
    if not PyLong_CheckExact(value):
        return False
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    sample[0] = <uint32_t>number
    return overflow == 0 and 0 <= number <= <long long>0xFFFFFFFF


cdef inline uint32_t sample_of(value, str argument) except? 0xFFFFFFFF:
    """Returns a latency sample in ms, 0 to 2**32-1. Raises TypeError or ValueError otherwise."""
    cdef uint32_t sample
    if is_plain_sample(<PyObject *>value, &sample):
        return sample
    return convert_sample(value, argument)


cdef uint32_t convert_sample(value, str argument) except? 0xFFFFFFFF:
    return _checks.integer(value, argument, 0, UINT32_LIMIT)


# ---- tokens

cdef inline uint32_t token_count(value, str argument) except? 0xFFFFFFFF:
    """Returns a number of tokens, 0 to 2**32-1. Raises TypeError or ValueError otherwise."""
    return sample_of(value, argument)


# ---- iterables

cdef list list_of(values, str argument, str kind):
    """A new list of the items of an iterable. `kind` names their type in the error message."""
    if type(values) is list or type(values) is tuple:
        return list(values)
    return _checks.items(values, argument, kind)


cdef list texts_of(ids):
    """A new list of the ids, each an exact str."""
    cdef list texts = list_of(ids, "ids", "str")
    cdef Py_ssize_t i
    for i in range(len(texts)):
        if not PyUnicode_CheckExact(PyList_GET_ITEM(texts, i)):
            texts[i] = exact_text(texts[i], f"ids[{i}]")
    return texts
