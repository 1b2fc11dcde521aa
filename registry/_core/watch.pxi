# Watches: what `Registry.watch` returns, and how whoever waits for a change is woken.

# The slots of `Change`, which `bind_changes` stores once.
cdef struct ChangeSlots:
    PyMemberDef *kind
    PyMemberDef *version
    PyMemberDef *backend_id
    PyMemberDef *before
    PyMemberDef *after

cdef ChangeSlots change_slots
cdef type change_class
cdef tuple change_kinds


def bind_changes(type change, tuple kinds, /):
    """Binds the core to `Change`. Called once, while the package is imported.

    `kinds` are the members of `ChangeKind` in the core's order. Raises ImportError if there are
    more or fewer kinds in the core, or in a second call.
    """
    global change_slots, change_class, change_kinds
    if change_class is not None:
        raise _single_import.second_import_error()
    if len(kinds) != REG_CHANGE_KIND_COUNT:
        raise ImportError("ChangeKind and the core's reg_change_kind have different members")
    change_slots = ChangeSlots(
        slot_of(change, "kind"),
        slot_of(change, "version"),
        slot_of(change, "backend_id"),
        slot_of(change, "before"),
        slot_of(change, "after"),
    )
    change_class, change_kinds = change, kinds


# ---- waking

@cython.final
cdef class WatchWaiter(Waiter):
    """Someone who waits until a watch has a change. It is woken once at most, by a writer."""

    cdef reg_waiter node

    def __cinit__(self, wake, /):
        """A waiter that serves for one wait."""


cdef inline int finish(reg_registry *reg, reg_status status, reg_garbage *garbage) except -1:
    """Ends a write: releases what it has replaced, and wakes those who have waited for it."""
    drop(garbage)
    return conclude_write(reg) if status == REG_OK else 0


# ---- watches

cdef object new_change(const reg_change *found, ViewBase before, ViewBase after):
    """Makes a `Change`. Either view may be None."""
    id = None
    if before is not None or after is not None:
        view = before if after is None else after
        id = slot_get(<object>(<ViewBase>view).definition, backend_slots.id)
    version = found.version
    change = allocate_untracked(<PyTypeObject *>change_class)
    slot_fill(change, change_slots.kind, new_ref(change_kinds[found.kind]))
    slot_fill(change, change_slots.version, new_ref(version))
    slot_fill(change, change_slots.backend_id, new_ref(id))
    slot_fill(change, change_slots.before, new_ref(before))
    slot_fill(change, change_slots.after, new_ref(after))
    return change


# The collector must not clear `registry` before `__dealloc__` has closed the watch. Other objects
# of a cycle can be cleared, so a watch in a cycle is still collected.
@cython.no_gc_clear
cdef class WatchCore:
    """The base of `registry.Watch`: its primitives in C."""

    cdef RegistryCore registry  # which must live as long as the watch
    cdef reg_watch *watch
    cdef tuple fleet  # the snapshot, and its version; under the critical section of `self`
    cdef uint64_t version
    cdef object __weakref__

    def __cinit__(self, RegistryCore registry not None, limit, /):
        cdef uint32_t most = _checks.integer(limit, "limit", 1, _checks.INT32_MAX)
        cdef reg_registry *reg = registry.reg
        cdef Found found
        self.registry = registry
        found.kept = NULL
        found.views.items, found.views.count = NULL, 0
        with nogil:
            found.status = reg_watch_open(reg, most, &self.watch, &found.views, &found.kept)
        check(found.status, None)
        self.fleet = tuple(views_from(&found))

    def __dealloc__(self):
        if self.watch != NULL:
            close_watch(self.watch)
            reg_watch_free(self.watch)

    @property
    def snapshot(self):
        """The views of all backends, in registration order, when the watch was opened.

        After an OVERFLOWED, the fleet as of the version of that item. O(1).
        """
        with cython.critical_section(self):
            return self.fleet

    @property
    def closed(self):
        """Whether the watch is closed. O(1)."""
        return reg_watch_is_closed(self.watch)

    def close(self):
        """Ends the watch, and wakes everyone who waits for a change. Unread changes are dropped.

        A second call does nothing. Waits for writers; O(unread changes). Thread safety: atomic.
        """
        close_watch(self.watch)

    # ---- primitives for `Watch`

    def _take(self, /):
        """The next `Change`, or None if nothing is unread or the watch is closed."""
        cdef reg_change found
        cdef Found fleet
        cdef reg_garbage *garbage
        cdef ViewBase before, after
        if not reg_watch_is_ready(self.watch):
            return None
        # Allocate first: a change that was taken can't be put back.
        before = empty_view(<PyTypeObject *>view_class)
        after = empty_view(<PyTypeObject *>view_class)
        # The first attempt keeps the GIL, because most calls find a change. See `acquire_lease`.
        fleet.status = reg_watch_take(self.watch, False, &found, &fleet.views, &garbage)
        if fleet.status == REG_WOULD_BLOCK:
            with nogil:
                fleet.status = reg_watch_take(self.watch, True, &found, &fleet.views, &garbage)
        drop(garbage)
        if fleet.status == REG_NOT_FOUND:
            return None
        fleet.kept = found.kept
        try:
            check(fleet.status, None)
            if found.kind == REG_OVERFLOWED:
                self.keep_snapshot(tuple(views_from(&fleet)), found.version)
            if found.has_before:
                fill_view(before, &found.before, found.kept)
            if found.has_after:
                fill_view(after, &found.after, found.kept)
            return new_change(
                &found, before if found.has_before else None, after if found.has_after else None)
        except MemoryError:  # nothing may be lost unsaid
            self.lag()
            raise

    cdef int keep_snapshot(self, tuple fleet, uint64_t version) except -1:
        """Another thread may have taken a later one in the meantime."""
        with cython.critical_section(self):
            if version >= self.version:
                self.fleet, self.version = fleet, version
        return 0

    cdef int lag(self) except -1:
        """The next change is OVERFLOWED again, also for those who wait."""
        cdef reg_watch *watch = self.watch
        with nogil:
            reg_watch_lag(watch)
        return wake_all(reg_take_waiters(self.registry.reg))

    def _listen(self, WatchWaiter waiter not None, /):
        """Lists a new waiter and returns True; or returns False if it is worth looking again."""
        if waiter.node.object != NULL:
            raise ValueError("a waiter serves for one wait")
        waiter.node.object = <void *>waiter
        Py_INCREF(waiter)
        if reg_watch_listen(self.watch, &waiter.node):
            return True
        Py_DECREF(waiter)
        return False

    def _forget(self, WatchWaiter waiter not None, /):
        """Ends the wait of a waiter that `_listen` has listed, unless it is being woken."""
        if reg_watch_forget(self.watch, &waiter.node):
            Py_DECREF(waiter)


cdef int close_watch(reg_watch *watch) except -1:
    cdef reg_waiter *waiters
    cdef reg_garbage *garbage
    with nogil:
        reg_watch_close(watch, &waiters, &garbage)
    drop(garbage)
    return wake_all(waiters)
