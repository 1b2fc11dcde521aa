# The Python classes that the binding uses: `Backend`, `Model` and `BackendView`, which `bind`
# stores once; and `Registry`, whose methods are specialized here.

# The slots of `Backend`. The binding reads some of them by name, and copies all of them.
cdef struct BackendSlots:
    PyMemberDef *id
    PyMemberDef *name
    PyMemberDef *url
    PyMemberDef *models
    PyMemberDef *discovery_source
    PyMemberDef *metadata
    PyMemberDef *priority
    PyMemberDef *max_pending
    PyMemberDef *weight
    PyMemberDef *settings
    PyMemberDef *max_pending_tokens
    PyMemberDef **all  # every field, in the order of the dataclass
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
cdef type backend_class, model_class, view_class, status_class
cdef tuple statuses
# Indexed by reg_reason: the members of `Reason`, and their values; None for REG_ELIGIBLE.
cdef tuple reasons, reason_texts


def bind(type backend, type model, type view, tuple status_members, tuple reason_members, /):
    """Binds the core to the dataclasses. Called once, while the package is imported.

    `status_members` are the members of `BackendStatus` in the core's order: healthy, unhealthy,
    unknown, draining. `reason_members` are the members of `Reason`, which has the core's order.
    `view` gets a property for each public field of `backend`, which is a field with a repr. Raises
    ImportError if there are more or fewer reasons in the core. A second call raises ImportError and
    changes nothing.
    """
    global backend_slots, model_slots, backend_class, model_class, view_class, status_class
    global statuses, reasons, reason_texts
    if is_bound():
        raise _single_import.second_import_error()
    if len(reason_members) != REG_REASON_COUNT - 1:
        raise ImportError("Reason and the core's reg_reason have different members")
    cdef dict fields = backend.__dataclass_fields__
    cdef tuple names = tuple(fields)
    # The array and the properties are never freed: like the classes, they live as long as the
    # process.
    cdef PyMemberDef **slots = <PyMemberDef **>PyMem_Calloc(len(names), sizeof(PyMemberDef *))
    if slots == NULL:
        raise MemoryError
    for i, name in enumerate(names):
        slots[i] = slot_of(backend, name)
        if fields[name].repr:
            setattr(view, name, property_for(<PyTypeObject *>view, slots[i], field_of_view))
    backend_slots = BackendSlots(
        slot_of(backend, "id"),
        slot_of(backend, "name"),
        slot_of(backend, "url"),
        slot_of(backend, "models"),
        slot_of(backend, "discovery_source"),
        slot_of(backend, "metadata"),
        slot_of(backend, "priority"),
        slot_of(backend, "max_pending"),
        slot_of(backend, "weight"),
        slot_of(backend, "settings"),
        slot_of(backend, "max_pending_tokens"),
        slots,
        len(names),
    )
    model_slots = ModelSlots(
        slot_of(model, "id"),
        slot_of(model, "name"),
        slot_of(model, "context_length"),
        slot_of(model, "supports_vision"),
        slot_of(model, "supports_tools"),
        slot_of(model, "supports_json_mode"),
        slot_of(model, "max_output_tokens"),
    )
    backend_class, model_class, view_class = backend, model, view
    statuses, status_class = status_members, type(status_members[0])
    reasons = (None, *reason_members)
    reason_texts = (None, *(member.value for member in reason_members))


ADDED, REMOVED, REPLACED, UPDATED = REG_ADDED, REG_REMOVED, REG_REPLACED, REG_UPDATED


def is_bound():
    """Whether `bind` was called; see `registry._single_import`."""
    return backend_class is not None


def immortalize(*singletons):
    """Disables the reference counting of objects that all views and choices share.

    Otherwise threads would contend for their reference counts.
    """
    for singleton in singletons:
        make_immortal(singleton)


def specialize_methods(cls, /):
    """Gives `cls`, a subclass of RegistryCore, its own copies of RegistryCore's methods.

    CPython calls a C method straight from the bytecode only if the instance's own class defines the
    method. A call of an inherited method costs 15 ns more.
    """
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
        RegistryCore.__dict__["acquire"],
        <PyTypeObject *>cls,
        ("policy", "require", "exclude", "only", "allow_unknown", "affinity", "tokens",
         "prefix"),
        LEAST_PENDING,
        NO_TOKENS,
        acquire_lease,
        acquire_plainly,
    )
