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


cdef int fill_model(reg_model *filled, model, list keep) except -1:
    """Describes a model to the core. `keep` keeps alive the texts that the keys point into."""
    check_exact_type(model, model_class, "a model")
    id, name = slot_get(model, model_slots.id), slot_get(model, model_slots.name)
    max_output_tokens = slot_get(model, model_slots.max_output_tokens)
    check_exact_type(id, str, "a model's id")
    check_exact_type(name, str, "a model's name")
    keep += (id, name)
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
    cdef list keep = []
    cdef reg_model *filled = <reg_model *>PyMem_Calloc(count + 1, sizeof(reg_model))
    cdef c_bool *is_taken = <c_bool *>PyMem_Calloc(count + 1, sizeof(c_bool))
    held.reg = reg
    held.variants = <reg_variant **>PyMem_Calloc(count + 1, sizeof(reg_variant *))
    try:
        if filled == NULL or is_taken == NULL or held.variants == NULL:
            raise MemoryError
        for i in range(count):
            fill_model(&filled[i], models[i], keep)
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


cdef add_field(target, PyMemberDef *slot, value):
    Py_INCREF(value)
    slot_fill(target, slot, <PyObject *>value)


cdef with_models(definition, tuple models):
    """A copy of the definition with these models, which are equal to its own."""
    cdef size_t i
    fresh = allocate_untracked(<PyTypeObject *>backend_class)
    for i in range(backend_slots.count):
        slot = backend_slots.all[i]
        value = models if slot == backend_slots.models else slot_get(definition, slot)
        add_field(fresh, slot, value)
    return fresh


cdef shared_definition(definition, HeldModels held):
    """The definition itself if its models are the shared objects; otherwise a copy with these."""
    models = slot_get(definition, backend_slots.models)
    shared = held.canonical(models)
    return definition if shared is models else with_models(definition, shared)
