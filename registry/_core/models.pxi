# Definitions on their way in: their models are replaced by the fleet's shared ones.

cdef class HeldModels:
    """The shared variants of a list of models, held until they are passed on to the core or this object goes."""

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
        """The same models as the fleet's other backends have them: one object for each definition."""
        cdef size_t i
        for i in range(self.count):
            if <void *>models[i] != reg_variant_object(self.variants[i]):
                return tuple([<object>reg_variant_object(self.variants[i]) for i in range(self.count)])
        return models


cdef int fill_model(reg_model *filled, model, list keep) except -1:
    exactly(model, model_class, "a model")
    id, name = slot_get(model, model_slots.id), slot_get(model, model_slots.name)
    max_output_tokens = slot_get(model, model_slots.max_output_tokens)
    exactly(id, str, "a model's id")
    exactly(name, str, "a model's name")
    keep += (id, name)
    key_of(id, &filled.id)
    key_of(name, &filled.name)
    filled.context_length = slot_get(model, model_slots.context_length)
    filled.has_max_output = max_output_tokens is not None
    filled.max_output_tokens = 0 if max_output_tokens is None else max_output_tokens
    filled.capabilities = ((REG_VISION if slot_get(model, model_slots.supports_vision) else 0)
                           | (REG_TOOLS if slot_get(model, model_slots.supports_tools) else 0)
                           | (REG_JSON_MODE if slot_get(model, model_slots.supports_json_mode) else 0))
    filled.object = <void *>model
    return 0


cdef HeldModels hold_models(reg_registry *reg, tuple models):
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
    """The definition with equal models in the place of its own."""
    cdef size_t i
    fresh = allocate_untracked(<PyTypeObject *>backend_class)
    for i in range(backend_slots.count):
        slot = backend_slots.all[i]
        add_field(fresh, slot, models if slot == backend_slots.models else slot_get(definition, slot))
    return fresh


cdef shared_definition(definition, HeldModels held):
    models = slot_get(definition, backend_slots.models)
    shared = held.canonical(models)
    return definition if shared is models else with_models(definition, shared)


cdef enum:
    TEXT_BYTES = 64  # of a str besides its characters
    DEFINITION_BYTES = 256  # of a Backend besides its texts, models and metadata


cdef inline size_t text_bytes(text) noexcept:
    """About how much a str takes. A frozen dataclass can be made to hold anything else: that counts nothing."""
    return TEXT_BYTES + <size_t>len(<str>text) if type(text) is str else 0


cdef size_t definition_bytes(definition, HeldModels held) except? 0:
    """About how much goes with a definition; its models are the fleet's."""
    cdef size_t total = DEFINITION_BYTES + held.count * sizeof(void *)
    total += text_bytes(slot_get(definition, backend_slots.id)) + text_bytes(slot_get(definition, backend_slots.name))
    total += text_bytes(slot_get(definition, backend_slots.url))
    metadata = slot_get(definition, backend_slots.metadata)
    if issubclass(type(metadata), dict):
        for key, value in dict.items(metadata):
            total += text_bytes(key) + text_bytes(value)
    return total


cdef int fill_entry(reg_entry *entry, id, definition, instance, HeldModels held) except -1:
    """What `reg_add` and `reg_redefine` share; the texts are kept alive by the caller."""
    entry.instance.data = NULL
    exactly(id, str, "a backend's id")
    key_of(id, &entry.id)
    if instance is not None:
        exactly(instance, str, "instance")
        key_of(instance, &entry.instance)
    entry.definition = <void *>definition
    entry.definition_bytes = definition_bytes(definition, held)
    entry.variants = held.variants
    entry.variant_count = held.count
    return 0


cdef int fill_limits(reg_entry *entry, definition) except -1:
    """What holds for a whole registration."""
    max_pending = slot_get(definition, backend_slots.max_pending)
    entry.max_pending = UINT32_LIMIT if max_pending is None else max_pending
    entry.priority = slot_get(definition, backend_slots.priority)
    entry.weight = slot_get(definition, backend_slots.weight)
    if entry.weight == 0 or entry.max_pending == 0:  # a frozen dataclass can be made to hold it
        raise ValueError("weight and max_pending must be from 1 up, not 0")
    return 0
