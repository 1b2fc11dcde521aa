# Models. Equal models of a fleet are stored once: before a definition is registered, the binding
# replaces its models with the objects that the fleet shares.

cdef class HeldModels:
    """The shared variants of a list of models.

    This object holds a reference to each variant. `pass_on` gives the references to the core.
    """

    cdef reg_registry *reg
    cdef reg_variant **variants
    cdef size_t count

    def __dealloc__(self):
        cdef reg_garbage *garbage
        if self.count != 0:
            with nogil:
                reg_drop_models(self.reg, self.variants, self.count, &garbage)
            drop(garbage)
        PyMem_Free(self.variants)

    cdef void pass_on(self) noexcept:
        self.count = 0

    cdef tuple canonical(self, tuple models):
        """The objects that the fleet shares for these models; the same tuple if unchanged."""
        cdef size_t i
        for i in range(self.count):
            if <void *>models[i] != reg_variant_object(self.variants[i]):
                return tuple([
                    <object>reg_variant_object(self.variants[i]) for i in range(self.count)])
        return models


cdef PyObject *new_ref(value) noexcept:
    Py_INCREF(value)
    return <PyObject *>value


cdef int fill_model(reg_model *filled, model, PyObject **texts) except -1:
    """Describes a model to the core.

    `texts` receives references to the two texts that the keys point into. The model alone does not
    keep them alive: a caller can force the fields of a frozen dataclass to other values.
    """
    check_exact_type(model, model_class, "a model")
    id, name = slot_get(model, model_slots.id), slot_get(model, model_slots.name)
    max_output_tokens = slot_get(model, model_slots.max_output_tokens)
    check_exact_type(id, str, "a model's id")
    check_exact_type(name, str, "a model's name")
    texts[0], texts[1] = new_ref(id), new_ref(name)
    key_of(id, &filled.id)
    key_of(name, &filled.name)
    filled.context_length = slot_get(model, model_slots.context_length)
    filled.has_max_output = max_output_tokens is not None
    filled.max_output_tokens = 0 if max_output_tokens is None else max_output_tokens
    filled.capabilities = (
        (REG_VISION if slot_get(model, model_slots.supports_vision) else 0)
        | (REG_TOOLS if slot_get(model, model_slots.supports_tools) else 0)
        | (REG_JSON_MODE if slot_get(model, model_slots.supports_json_mode) else 0))
    filled.object = <void *>model
    return 0


cdef HeldModels hold_models(reg_registry *reg, tuple models):
    """Looks up the shared variant of each model, or creates it. O(models)."""
    cdef HeldModels held = HeldModels.__new__(HeldModels)
    cdef size_t i, count = len(models)
    cdef reg_status status
    cdef reg_garbage *garbage
    cdef reg_model *filled = <reg_model *>PyMem_Calloc(count + 1, sizeof(reg_model))
    cdef c_bool *is_taken = <c_bool *>PyMem_Calloc(count + 1, sizeof(c_bool))
    cdef PyObject **texts = <PyObject **>PyMem_Calloc(2 * count + 1, sizeof(PyObject *))
    held.reg = reg
    held.variants = <reg_variant **>PyMem_Calloc(count + 1, sizeof(reg_variant *))
    try:
        if filled == NULL or is_taken == NULL or texts == NULL or held.variants == NULL:
            raise MemoryError
        for i in range(count):
            fill_model(&filled[i], models[i], &texts[2 * i])
        # The core takes over one reference to each model that becomes a new variant.
        for model in models:
            Py_INCREF(model)
        with nogil:
            status = reg_hold_models(reg, filled, count, held.variants, is_taken, &garbage)
        for i in range(count):
            if not is_taken[i]:
                Py_DECREF(models[i])
        drop(garbage)
        check(status, None)
        held.count = count
        return held
    finally:
        PyMem_Free(filled)
        PyMem_Free(is_taken)
        if texts != NULL:
            for i in range(2 * count):
                Py_XDECREF(texts[i])
            PyMem_Free(texts)


cdef with_field(definition, PyMemberDef *changed, value):
    """A copy of the definition with this value in one slot. Nothing is checked again."""
    cdef size_t i
    fresh = allocate_untracked(<PyTypeObject *>backend_class)
    for i in range(backend_slots.count):
        slot = backend_slots.all[i]
        slot_fill(fresh, slot, new_ref(value if slot == changed else slot_get(definition, slot)))
    return fresh


def with_models(definition, tuple models not None, /):
    """A copy of a `Backend` with these models, which `check_models` has checked."""
    check_exact_type(definition, backend_class, "definition")
    return with_field(definition, backend_slots.models, models)


def with_metadata(definition, metadata, /):
    """A copy of a `Backend` with this `Metadata`."""
    check_exact_type(definition, backend_class, "definition")
    return with_field(definition, backend_slots.metadata, metadata)


cdef shared_definition(definition, HeldModels held):
    """The definition itself if its models are the shared objects; otherwise a copy with these."""
    models = slot_get(definition, backend_slots.models)
    shared = held.canonical(models)
    if shared is models:
        return definition
    return with_field(definition, backend_slots.models, shared)


def longest_id(tuple models not None, /):
    """The number of characters of the longest model id; 0 without models. O(models)."""
    cdef Py_ssize_t longest = 0
    for model in models:
        check_exact_type(model, model_class, "a model")
        id = slot_get(model, model_slots.id)
        check_exact_type(id, str, "a model's id")
        if len(<str>id) > longest:
            longest = len(<str>id)
    return longest
