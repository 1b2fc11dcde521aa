# Writes: the primitives of `Registry.add_backend`, `remove_backend`, `update_status` and the
# methods that change a definition. Their arguments are checked and of exact types.
#
# Each write returns the objects that it replaced as garbage. Once the core holds no lock, `finish`
# drops them and wakes those who wait for a change.

cdef enum:
    TEXT_BYTES = 64  # of a str, without its characters
    DEFINITION_BYTES = 256  # of a Backend, without its texts, models, metadata and settings
    SETTINGS_DEPTH = 64  # as DEPTH_MAX of registry/settings.py


cdef inline size_t text_bytes(text) noexcept:
    """An estimate of the size of a str in bytes; 0 for any other object.

    A caller can force the fields of a frozen dataclass to hold other objects.
    """
    return TEXT_BYTES + <size_t>len(<str>text) if type(text) is str else 0


cdef size_t settings_bytes(value, int depth) except? 0:
    """An estimate of the size of a table, a list or another value of settings in bytes."""
    cdef size_t total = TEXT_BYTES
    if depth == 0:  # forced into the field: `Backend` refuses settings that are nested so deeply
        return total
    if issubclass(type(value), dict):
        for key, item in dict.items(value):
            total += text_bytes(key) + settings_bytes(item, depth - 1)
    elif issubclass(type(value), tuple):
        for item in tuple.__iter__(value):
            total += sizeof(void *) + settings_bytes(item, depth - 1)
    elif type(value) is str:
        total = text_bytes(value)
    return total


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
    settings = slot_get(definition, backend_slots.settings)
    if issubclass(type(settings), dict) and len(<dict>settings) > 0:
        total += settings_bytes(settings, SETTINGS_DEPTH)
    return total


cdef int fill_limits(reg_entry *entry, definition) except -1:
    max_pending = slot_get(definition, backend_slots.max_pending)
    entry.max_pending = UINT32_LIMIT if max_pending is None else max_pending
    max_tokens = slot_get(definition, backend_slots.max_pending_tokens)
    entry.max_pending_tokens = 0 if max_tokens is None else max_tokens
    entry.priority = slot_get(definition, backend_slots.priority)
    entry.weight = slot_get(definition, backend_slots.weight)
    # `Backend` refuses 0, but a caller can force the fields of a frozen dataclass to hold it.
    if entry.weight == 0 or entry.max_pending == 0:
        raise ValueError("weight and max_pending must be at least 1")
    if max_tokens is not None and entry.max_pending_tokens == 0:
        raise ValueError("max_pending_tokens must be at least 1")
    return 0


cdef class Definition:
    """A definition on its way into the core: what the core takes over if the write succeeds.

    It keeps the texts alive that a `reg_entry` points to.
    """

    cdef object id, definition, url, instance
    cdef HeldModels held

    def __cinit__(self, definition, url, instance, HeldModels held):
        check_exact_type(definition, backend_class, "backend")
        self.id = slot_get(definition, backend_slots.id)
        self.definition = shared_definition(definition, held)
        self.url, self.instance, self.held = url, instance, held

    cdef int fill(self, reg_edit *change, reg_change_kind kind) except -1:
        """Fills the change. `url` is None in a definition of the same server."""
        cdef reg_entry *entry = &change.entry
        change.kind = kind
        check_exact_type(self.id, str, "a backend's id")
        key_of(self.id, &entry.id)
        if self.instance is not None:
            check_exact_type(self.instance, str, "instance")
            key_of(self.instance, &entry.instance)
        if self.url is not None:
            key_of(self.url, &entry.url)
        entry.id_object = <void *>self.id
        entry.definition = <void *>self.definition
        entry.definition_bytes = definition_bytes(self.definition, self.held)
        entry.variants = self.held.variants
        entry.variant_count = self.held.count
        entry.now = now_microseconds()
        return fill_limits(entry, self.definition)

    cdef void pass_on(self, reg_change_kind kind) noexcept:
        """Gives the references to the core. Call it before the write."""
        Py_INCREF(self.definition)
        if kind != REG_UPDATED:
            Py_INCREF(self.id)

    cdef void settle(self, reg_change_kind kind, reg_status status) noexcept:
        """Takes the references back unless the write succeeded."""
        if status == REG_OK:
            self.held.pass_on()
            return
        Py_DECREF(self.definition)
        if kind != REG_UPDATED:
            Py_DECREF(self.id)


cdef Definition new_definition(reg_registry *reg, definition, url, instance):
    check_exact_type(definition, backend_class, "backend")
    held = hold_models(reg, slot_get(definition, backend_slots.models))
    return Definition.__new__(Definition, definition, url, instance, held)


cdef bint apply_one(reg_registry *reg, reg_change_kind kind, Definition fresh, uint64_t serial,
                    expected) except -1:
    """Applies one change. False if the definition is no longer `expected` (None: any)."""
    cdef reg_garbage *garbage
    cdef reg_status status
    cdef reg_edit change
    memset(&change, 0, sizeof(change))
    fresh.fill(&change, kind)
    change.serial = serial
    change.expected = NULL if expected is None else <void *>expected
    fresh.pass_on(kind)
    with nogil:
        status = reg_apply(reg, &change, 1, REG_ANY_FLEET, &garbage)
    fresh.settle(kind, status)
    finish(reg, status, garbage)
    if status == REG_CHANGED:
        return False
    check(status, fresh.id)
    return True


cdef int add(reg_registry *reg, definition, str url, instance) except -1:
    """`RegistryCore._add`."""
    apply_one(reg, REG_ADDED, new_definition(reg, definition, url, instance), 0, None)
    return 0


cdef bint redefine(reg_registry *reg, expected, uint64_t serial, definition, instance) except -1:
    """`RegistryCore._redefine`."""
    return apply_one(
        reg, REG_UPDATED, new_definition(reg, definition, None, instance), serial, expected)


cdef bint replace(reg_registry *reg, expected, uint64_t serial, definition, str url,
                  instance) except -1:
    """`RegistryCore._replace`."""
    return apply_one(
        reg, REG_REPLACED, new_definition(reg, definition, url, instance), serial, expected)


cdef ViewBase remove(reg_registry *reg, str backend_id, uint64_t serial):
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
        status = reg_remove(reg, &key, serial, &view, &kept, &garbage)
    if status == REG_OK:
        fill_view(last, &view, kept)
    finish(reg, status, garbage)
    check(status, backend_id)
    return last


cdef int update_health(reg_registry *reg, str backend_id, reg_health health, error,
                       uint64_t serial) except -1:
    """`RegistryCore.update_status`, with checked arguments."""
    cdef reg_key key
    cdef reg_garbage *garbage = NULL
    cdef reg_status status = REG_NOT_FOUND
    cdef PyObject *owned = NULL if error is None else <PyObject *>error
    cdef size_t error_bytes = 0 if error is None else text_bytes(error)
    cdef int64_t now = now_microseconds()
    if has_key(backend_id, &key):
        Py_XINCREF(owned)
        with nogil:
            status = reg_update_health(
                reg, &key, serial, health, now, owned, error_bytes, &garbage)
        if status != REG_OK:
            Py_XDECREF(owned)
        finish(reg, status, garbage)
    check(status, backend_id)
    return 0


cdef int set_draining(reg_registry *reg, str backend_id, uint64_t serial,
                      bint draining) except -1:
    """`RegistryCore._set_draining`."""
    cdef reg_key key
    cdef reg_garbage *garbage = NULL
    cdef reg_status status = REG_NOT_FOUND
    if has_key(backend_id, &key):
        with nogil:
            status = reg_set_draining(reg, &key, serial, draining, &garbage)
        finish(reg, status, garbage)
    check(status, backend_id)
    return 0


cdef int cool_down(reg_registry *reg, str backend_id, uint64_t serial,
                   uint64_t nanoseconds) except -1:
    """`RegistryCore._cool_down`."""
    cdef reg_key key
    cdef reg_garbage *garbage = NULL
    cdef reg_status status = REG_NOT_FOUND
    if has_key(backend_id, &key):
        with nogil:
            status = reg_cool_down(reg, &key, serial, nanoseconds, &garbage)
        finish(reg, status, garbage)
    check(status, backend_id)
    return 0


cdef int restore(reg_registry *reg, str backend_id, uint64_t serial) except -1:
    """`RegistryCore._restore`."""
    cdef reg_key key
    cdef reg_garbage *garbage = NULL
    cdef reg_status status = REG_NOT_FOUND
    if has_key(backend_id, &key):
        with nogil:
            status = reg_restore(reg, &key, serial, &garbage)
        finish(reg, status, garbage)
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
            stats.kept, stats.prefix_bytes, stats.bytes)
