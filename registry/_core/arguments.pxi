# From Python to the core and back: the dataclasses' slots, status to exception, argument checks, dropped references.

# ---- the dataclasses, made known once by `bind`

cdef struct BackendSlots:
    PyMemberDef *id  # those that the core itself reads
    PyMemberDef *name
    PyMemberDef *url
    PyMemberDef *models
    PyMemberDef *metadata
    PyMemberDef *priority
    PyMemberDef *max_pending
    PyMemberDef *weight
    PyMemberDef **all  # every field, in order
    size_t count

cdef struct ModelSlots:
    PyMemberDef *id
    PyMemberDef *name
    PyMemberDef *context_length
    PyMemberDef *supports_vision
    PyMemberDef *supports_tools
    PyMemberDef *supports_json_mode
    PyMemberDef *max_output_tokens

cdef BackendSlots backend_slots
cdef ModelSlots model_slots
cdef type backend_class, model_class, view_class
cdef tuple statuses


def bind(type backend, type model, type view, tuple status_members, /):
    """Makes the dataclasses known to the core; called once, while the package is imported. `status_members` are those of
    `BackendStatus` in the order healthy, unhealthy, unknown, draining.

    The view gets a property for each field of a backend. A second call is an ImportError and
    changes nothing."""
    global backend_slots, model_slots, backend_class, model_class, view_class, statuses
    if is_bound():
        raise _single_import.second_import_error()
    cdef tuple names = tuple(backend.__dataclass_fields__)
    # The slots and the properties live as long as the process, as the classes do.
    cdef PyMemberDef **slots = <PyMemberDef **>PyMem_Calloc(len(names), sizeof(PyMemberDef *))
    if slots == NULL:
        raise MemoryError
    for i, name in enumerate(names):
        slots[i] = slot_of(backend, name)
        setattr(view, name, property_for(<PyTypeObject *>view, slots[i], field_of_view))
    backend_slots = BackendSlots(
        slot_of(backend, "id"), slot_of(backend, "name"), slot_of(backend, "url"), slot_of(backend, "models"),
        slot_of(backend, "metadata"),
        slot_of(backend, "priority"), slot_of(backend, "max_pending"), slot_of(backend, "weight"), slots, len(names))
    model_slots = ModelSlots(
        slot_of(model, "id"), slot_of(model, "name"), slot_of(model, "context_length"),
        slot_of(model, "supports_vision"), slot_of(model, "supports_tools"), slot_of(model, "supports_json_mode"),
        slot_of(model, "max_output_tokens"))
    backend_class, model_class, view_class, statuses = backend, model, view, status_members


def is_bound():
    """Whether `bind` was called; see `_single_import`."""
    return backend_class is not None


def immortalize(*singletons):
    """What views and choices hand out references to, for all backends the same: threads would queue for their counters."""
    for singleton in singletons:
        make_immortal(singleton)


def specialize_methods(cls, /):
    """Gives `cls`, a subclass of RegistryCore, the core's methods as its own: calls of inherited ones cost 15 ns more."""
    cdef PyObject *method
    if not issubclass(cls, RegistryCore):
        raise TypeError(f"cls must be a subclass of RegistryCore, not {cls.__name__}")
    for name, descriptor in RegistryCore.__dict__.items():
        if name in cls.__dict__ or name.startswith("__"):
            continue
        method = method_for(descriptor, <PyTypeObject *>cls)
        if method != NULL:
            setattr(cls, name, <object>method)
            Py_DECREF(<object>method)
    cls.acquire = acquire_for(
        RegistryCore.__dict__["acquire"], <PyTypeObject *>cls, ("policy", "require", "exclude", "allow_unknown"), LEAST_PENDING, lease_of)


# ---- status to exception

def _instance_taken(backend_id):
    return ValueError(f"the mDNS instance of {backend_id!r} is held by another backend: clear it there first")


def _at_limit(backend_id):
    return OverflowError(f"pending_requests of {backend_id!r} is at its limit, {UINT32_LIMIT}")


def _no_memory(backend_id):
    return MemoryError("out of memory, or a stalled reader holds too much back: see Registry.stats()")


# Each status of the core that is an error, and what makes the exception of it. REG_CHANGED and REG_WOULD_BLOCK are none: who meets them
# asks again.
STATUS_ERRORS = {
    REG_NOT_FOUND: BackendNotFoundError,
    REG_DUPLICATE: DuplicateBackendError,
    REG_INSTANCE_TAKEN: _instance_taken,
    REG_OVERFLOW: _at_limit,
    REG_NO_MEMORY: _no_memory,
    REG_NONE_AVAILABLE: NoBackendAvailableError,
}


cdef inline int check(reg_status status, backend_id) except -1:
    if status == REG_OK:
        return 0
    raise STATUS_ERRORS[status](backend_id)


cdef int warn_at_zero(backend_id) except -1:
    logger.warning("pending_requests of %r is 0 already: a decrement without its increment", backend_id)
    return 0


# ---- arguments

cdef str exact_text(text, str argument):
    """The text itself, or an exact copy of a str subclass: none of its own methods is called."""
    return PyUnicode_FromObject(text) if isinstance(text, str) else _checks.exact_text(text, argument)


cdef inline int exactly(value, type kind, str argument) except -1:
    """Before slots are read: an object of any other type has something else there. A frozen dataclass can be made to hold one."""
    if type(value) is not kind:
        raise _checks.type_error(argument, f"exactly a {kind.__name__}", value)
    return 0


cdef inline bint has_key(text, reg_key *key) except -1:
    """The key of an exact str, which must outlive it; False for a text that can't be registered, for it has no UTF-8 form."""
    return has_key_borrowed(<PyObject *>text, key)


cdef inline bint has_key_borrowed(PyObject *text, reg_key *key) except -1:
    if try_key_of(text, key) == 0:
        return True
    if not PyErr_ExceptionMatches(UnicodeEncodeError):
        return -1
    PyErr_Clear()
    return False


cdef inline bint is_plain_sample(PyObject *value, uint32_t *sample) noexcept:
    """Whether it is an int, of no subclass, from 0 to 2**32-1."""
    cdef int overflow
    if not PyLong_CheckExact(value):
        return False
    cdef long long quick = PyLong_AsLongLongAndOverflow(value, &overflow)
    sample[0] = <uint32_t>quick
    return overflow == 0 and 0 <= quick <= <long long>0xFFFFFFFF


cdef inline uint32_t sample_of(value, str argument) except? 0xFFFFFFFF:
    """A latency sample in ms, 0 to 2**32-1."""
    cdef uint32_t sample
    return sample if is_plain_sample(<PyObject *>value, &sample) else convert_sample(value, argument)


cdef uint32_t convert_sample(value, str argument) except? 0xFFFFFFFF:
    return _checks.integer(value, argument, 0, UINT32_LIMIT)


# ---- garbage

cdef void release_object(void *released) noexcept:
    Py_DECREF(<object>released)


cdef inline void drop(reg_garbage *garbage) noexcept:
    if garbage != NULL:
        reg_destroy(garbage, release_object)
