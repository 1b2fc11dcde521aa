# Writes: the primitives of `Registry.add_backend`, `remove_backend`, `update_status` and the
# methods that change a definition. Their arguments are checked and of exact types.
#
# Each write returns the objects that it replaced as garbage, which the binding drops once the
# core holds no lock.

cdef enum:
    TEXT_BYTES = 64  # of a str, without its characters
    DEFINITION_BYTES = 256  # of a Backend, without its texts, models and metadata


cdef inline size_t text_bytes(text) noexcept:
    """An estimate of the size of a str in bytes; 0 for any other object.

    A caller can force the fields of a frozen dataclass to hold other objects.
    """
    return TEXT_BYTES + <size_t>len(<str>text) if type(text) is str else 0


cdef size_t definition_bytes(definition, HeldModels held) except? 0:
    """An estimate of the memory that is freed with a definition, without its shared models."""
    cdef size_t total = DEFINITION_BYTES + held.count * sizeof(void *)
    total += text_bytes(slot_get(definition, backend_slots.id))
    total += text_bytes(slot_get(definition, backend_slots.name))
    total += text_bytes(slot_get(definition, backend_slots.url))
    metadata = slot_get(definition, backend_slots.metadata)
    if issubclass(type(metadata), dict):
        for key, value in dict.items(metadata):
            total += text_bytes(key) + text_bytes(value)
    return total


cdef int fill_entry(reg_entry *entry, id, definition, instance, HeldModels held) except -1:
    """Fills the fields that `reg_add` and `reg_redefine` share. The caller keeps texts alive."""
    entry.instance.data = NULL
    check_exact_type(id, str, "a backend's id")
    key_of(id, &entry.id)
    if instance is not None:
        check_exact_type(instance, str, "instance")
        key_of(instance, &entry.instance)
    entry.definition = <void *>definition
    entry.definition_bytes = definition_bytes(definition, held)
    entry.variants = held.variants
    entry.variant_count = held.count
    return 0


cdef int fill_limits(reg_entry *entry, definition) except -1:
    """Fills the fields that never change during a registration."""
    max_pending = slot_get(definition, backend_slots.max_pending)
    entry.max_pending = UINT32_LIMIT if max_pending is None else max_pending
    entry.priority = slot_get(definition, backend_slots.priority)
    entry.weight = slot_get(definition, backend_slots.weight)
    # `Backend` refuses 0, but a caller can force the fields of a frozen dataclass to hold it.
    if entry.weight == 0 or entry.max_pending == 0:
        raise ValueError("weight and max_pending must be at least 1")
    return 0


cdef int add(reg_registry *reg, definition, str url, instance) except -1:
    """`RegistryCore._add`."""
    check_exact_type(definition, backend_class, "backend")
    cdef HeldModels held = hold_models(reg, slot_get(definition, backend_slots.models))
    cdef reg_garbage *garbage
    cdef reg_status status
    cdef reg_entry entry
    id = slot_get(definition, backend_slots.id)
    definition = shared_definition(definition, held)
    fill_entry(&entry, id, definition, instance, held)
    key_of(url, &entry.url)
    entry.id_object = <void *>id
    entry.now = now_microseconds()
    fill_limits(&entry, definition)
    Py_INCREF(id)
    Py_INCREF(definition)
    with nogil:
        status = reg_add(reg, &entry, &garbage)
    if status == REG_OK:
        held.pass_on()
    else:
        Py_DECREF(id)
        Py_DECREF(definition)
    drop(garbage)
    check(status, id)
    return 0


cdef bint redefine(reg_registry *reg, expected, uint64_t serial, definition, instance) except -1:
    """`RegistryCore._redefine`."""
    check_exact_type(definition, backend_class, "backend")
    cdef HeldModels held = hold_models(reg, slot_get(definition, backend_slots.models))
    cdef reg_garbage *garbage
    cdef reg_status status
    cdef reg_entry entry
    id = slot_get(definition, backend_slots.id)
    definition = shared_definition(definition, held)
    fill_entry(&entry, id, definition, instance, held)
    Py_INCREF(definition)
    with nogil:
        status = reg_redefine(reg, &entry, serial, <void *>expected, &garbage)
    if status == REG_OK:
        held.pass_on()
    else:
        Py_DECREF(definition)
    drop(garbage)
    if status == REG_CHANGED:
        return False
    check(status, id)
    return True


cdef ViewBase remove(reg_registry *reg, str backend_id):
    """`RegistryCore._remove`."""
    cdef reg_key key
    cdef reg_view view
    cdef reg_garbage *garbage
    cdef reg_status status
    if not has_key(backend_id, &key):
        raise BackendNotFoundError(backend_id)
    # Allocate first: a removal can't be undone if the allocation fails.
    cdef ViewBase last = empty_view(<PyTypeObject *>view_class)
    cdef reg_kept *kept
    with nogil:
        status = reg_remove(reg, &key, &view, &kept, &garbage)
    if status == REG_OK:
        fill_view(last, &view, kept)
    drop(garbage)
    check(status, backend_id)
    return last


cdef int update_health(reg_registry *reg, str backend_id, status_member, error) except -1:
    """`RegistryCore._update_health`."""
    cdef reg_key key
    cdef reg_garbage *garbage = NULL
    cdef reg_status status = REG_NOT_FOUND
    cdef reg_health health = <reg_health><int>statuses.index(status_member)
    cdef PyObject *owned = NULL if error is None else <PyObject *>error
    cdef size_t error_bytes = 0 if error is None else text_bytes(error)
    cdef int64_t now = now_microseconds()
    if has_key(backend_id, &key):
        Py_XINCREF(owned)
        with nogil:
            status = reg_update_health(reg, &key, health, now, owned, error_bytes, &garbage)
        if status != REG_OK:
            Py_XDECREF(owned)
        drop(garbage)
    check(status, backend_id)
    return 0


cdef tuple read_stats(reg_registry *reg):
    """`RegistryCore._stats`."""
    cdef reg_stats stats
    cdef reg_garbage *garbage
    with nogil:
        stats = reg_get_stats(reg, &garbage)
    drop(garbage)
    return (stats.backends, stats.models, stats.index_entries, stats.waiting, stats.waiting_bytes,
            stats.kept, stats.bytes)
