# The whole fleet: what `Registry.reconcile` reads, compares and applies at one instant.

cdef tuple read_fleet(reg_registry *reg):
    """`RegistryCore._fleet`."""
    cdef reg_views views
    cdef reg_status status
    cdef size_t i
    cdef list definitions
    cdef reg_kept *kept
    cdef reg_reader *reader = begin_read()
    with nogil:
        status = reg_get_all(reg, False, &views)
        kept = reg_read_keep(reg, reader, 1)
        reg_read_end(reader)
    try:
        check(status if kept != NULL else REG_NO_MEMORY, None)
        definitions = PyList_New(views.count)
        for i in range(views.count):
            PyList_SET_ITEM(definitions, i, <object>new_ref(<object>views.items[i].definition))
        return views.version, definitions
    finally:
        reg_views_free(&views)
        if kept != NULL:
            reg_keep_drop(kept, 1, release_object)


cdef inline bint is_named_by_id(PyObject *model) noexcept:
    """Whether a `Model`'s name is its id, as it is by default."""
    return slot_address(model, model_slots.name) == slot_address(model, model_slots.id)


# The id of a registered model that was compared lately. Many backends share a model, and without a
# GIL a reference to its id costs more than the comparison with it. Holds references to both.
cdef struct KnownId:
    PyObject *model
    PyObject *id

cdef enum:
    KNOWN_IDS = 256


cdef inline PyObject *known_id(KnownId *known, PyObject *model) except NULL:
    """The id of a model; borrowed from its entry until the next call."""
    cdef KnownId *entry = &known[(<size_t>model * <size_t>0x9E3779B97F4A7C15) >> 56]
    cdef KnownId old = entry[0]
    if old.model != model:
        id = slot_get(<object>model, model_slots.id)
        entry[0] = KnownId(new_ref(<object>model), new_ref(id))
        Py_XDECREF(old.model)
        Py_XDECREF(old.id)
    return entry.id


cdef void forget_ids(KnownId *known) noexcept:
    """Releases the references of all entries."""
    cdef int i
    for i in range(KNOWN_IDS):
        Py_XDECREF(known[i].model)
        Py_XDECREF(known[i].id)


cdef bint is_same_model(PyObject *a, PyObject *b, KnownId *known) except -1:
    """Whether two `Model`s are equal. `known` may be NULL."""
    cdef PyMemberDef **slots = <PyMemberDef **>&model_slots
    cdef size_t i
    cdef bint named_by_id = is_named_by_id(a) and is_named_by_id(b)
    for i in range(sizeof(ModelSlots) // sizeof(PyMemberDef *)):
        if slots[i] == model_slots.name and named_by_id:
            continue
        if slots[i] == model_slots.id and known != NULL:
            if not slot_equals(b, slots[i], known_id(known, a)):
                return False
        elif not slots_are_equal(a, b, slots[i]):
            return False
    return True


cdef bint are_same_models(a, b, KnownId *known) except -1:
    """Whether two values of `Backend.models` are equal."""
    cdef Py_ssize_t i
    cdef PyObject *x
    cdef PyObject *y
    cdef PyTypeObject *kind = <PyTypeObject *>model_class
    if type(a) is not tuple or type(b) is not tuple:
        return a == b
    if a is b:
        return True
    if len(<tuple>a) != len(<tuple>b):
        return False
    for i in range(len(<tuple>a)):
        x, y = PyTuple_GET_ITEM(<tuple>a, i), PyTuple_GET_ITEM(<tuple>b, i)
        if x == y:
            continue
        if Py_IS_TYPE(x, kind) and Py_IS_TYPE(y, kind):
            if not is_same_model(x, y, known):
                return False
        elif <object>x != <object>y:
            return False
    return True


cdef bint is_same_but_id(a, b, KnownId *known) except -1:
    """Whether two exact `Backend`s that have the same id are equal. `known` may be NULL."""
    cdef size_t i
    for i in range(backend_slots.count):
        slot = backend_slots.all[i]
        if slot == backend_slots.id:
            continue
        if slot == backend_slots.models:
            if not are_same_models(slot_get(a, slot), slot_get(b, slot), known):
                return False
        elif not slots_are_equal(<PyObject *>a, <PyObject *>b, slot):
            return False
    return True


def same_definition(a, b, /):
    """Whether two `Backend`s are equal. Like `a == b`, in a tenth of the time. O(size)."""
    check_exact_type(a, backend_class, "a")
    check_exact_type(b, backend_class, "b")
    return (
        slots_are_equal(<PyObject *>a, <PyObject *>b, backend_slots.id)
        and is_same_but_id(a, b, NULL)
    )


def plain_fleet(list items not None, source, str instance_key not None, /):
    """The backends by id if none needs a closer look; otherwise None. O(backends).

    They need none if they are exact `Backend`s with distinct ids, come from `source`, which is None
    for any source, and have no `instance_key` in their metadata.
    """
    cdef dict by_id = {}
    cdef PyObject *it
    metadata = None  # the latest one; most backends share the empty one
    for backend in items:
        it = <PyObject *>backend
        if type(backend) is not backend_class:
            return None
        if source is not None and (
                slot_address(it, backend_slots.discovery_source) != <const void *>source):
            return None
        if slot_address(it, backend_slots.metadata) != <const void *>metadata:
            metadata = slot_get(backend, backend_slots.metadata)
            if not isinstance(metadata, dict) or instance_key in <dict>metadata:
                return None
        by_id[slot_get(backend, backend_slots.id)] = backend
    return by_id if len(by_id) == len(items) else None


cdef bint has_id(backend, id) except -1:
    """Whether the id of a `Backend` equals this one."""
    check_exact_type(backend, backend_class, "a backend")
    return slot_equals(<PyObject *>backend, backend_slots.id, <PyObject *>id)


cdef dict places_by_id(list fleet):
    """The place of each `Backend` in the list."""
    cdef Py_ssize_t i
    cdef dict places = {}
    for i in range(len(fleet)):
        backend = fleet[i]
        check_exact_type(backend, backend_class, "a backend")
        places[slot_get(backend, backend_slots.id)] = i
    return places


def compare_fleets(list fleet not None, list wanted not None, /):
    """Compares each `Backend` of `wanted` with the one of `fleet` that has its id. O(size).

    Returns the ids of those that are equal, and for each other one a pair: the old one, which is
    None if there is none, and the new one. Both lists are in the order of `wanted`. Ids must be
    distinct in each argument.
    """
    cdef KnownId known[KNOWN_IDS]
    memset(known, 0, sizeof(known))
    try:
        return compare_each(fleet, wanted, known)
    finally:
        forget_ids(known)


cdef tuple compare_each(list fleet, list wanted, KnownId *known):
    """`compare_fleets`."""
    cdef list equal = [], others = []
    cdef dict places = None  # is made when the orders differ
    cdef Py_ssize_t place = 0  # of the next one if both lists have the same order
    for new in wanted:
        check_exact_type(new, backend_class, "a backend")
        id = slot_get(new, backend_slots.id)
        if place >= len(fleet) or not has_id(fleet[place], id):
            if places is None:
                places = places_by_id(fleet)
            found = places.get(id)
            if found is None:
                others.append((None, new))
                continue
            place = found
        old = fleet[place]
        place += 1
        if is_same_but_id(old, new, known):
            equal.append(id)
        else:
            others.append((old, new))
    return equal, others


cdef int fill_changes(reg_registry *reg, reg_edit *filled, list changes, list fresh) except -1:
    """Fills the array from the tuples of `RegistryCore._apply`.

    Each `Definition` goes to `fresh`.
    """
    cdef Py_ssize_t i
    cdef Definition definition
    for i in range(len(changes)):
        kind, what, url, instance = changes[i]
        filled[i].kind = <reg_change_kind><int>kind
        if filled[i].kind == REG_REMOVED:
            key_of(exact_text(what, "id"), &filled[i].entry.id)
            continue
        definition = new_definition(reg, what, url, instance)
        fresh.append(definition)
        definition.fill(&filled[i], filled[i].kind)
    return 0


cdef void pass_all_on(reg_edit *filled, list fresh, size_t count) noexcept:
    cdef size_t i, next = 0
    for i in range(count):
        if filled[i].kind != REG_REMOVED:
            (<Definition>fresh[next]).pass_on(filled[i].kind)
            next += 1


cdef void settle_all(reg_edit *filled, list fresh, size_t count, reg_status status) noexcept:
    cdef size_t i, next = 0
    for i in range(count):
        if filled[i].kind != REG_REMOVED:
            (<Definition>fresh[next]).settle(filled[i].kind, status)
            next += 1


cdef bint apply_all(reg_registry *reg, list changes, uint64_t fleet) except -1:
    """`RegistryCore._apply`."""
    cdef size_t count = len(changes)
    cdef reg_status status
    cdef reg_garbage *garbage
    cdef list fresh = []
    cdef reg_edit *filled = <reg_edit *>PyMem_Calloc(count + 1, sizeof(reg_edit))
    if filled == NULL:
        raise MemoryError
    try:
        fill_changes(reg, filled, changes, fresh)
        pass_all_on(filled, fresh, count)
        with nogil:
            status = reg_apply(reg, filled, count, fleet, &garbage)
        settle_all(filled, fresh, count, status)
        finish(reg, status, garbage)
    finally:
        PyMem_Free(filled)
    if status == REG_CHANGED:
        return False
    check(status, None)
    return True
