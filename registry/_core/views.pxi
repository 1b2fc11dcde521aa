# Views: the C base of BackendView, and how they are made of what a read found.

cdef class ViewBase:
    """What `BackendView` is made of: the definition, and what the registry knew at one instant. Never changes.

    It has properties for what it knows itself; `bind` adds those for the fields of the definition.

    The registry keeps definition and error for its views; those made in Python hold references.
    """

    cdef PyObject *definition
    cdef PyObject *error  # NULL: none
    cdef reg_kept *kept  # NULL: made in Python
    cdef int64_t checked_at
    cdef uint64_t total
    cdef uint32_t pending
    cdef uint32_t latency
    cdef uint8_t health

    def __cinit__(self, *_arguments, **_fields):
        raise TypeError("a view comes from a Registry, or from BackendView")

    def __dealloc__(self):
        if self.kept != NULL:
            reg_keep_drop(self.kept, 1, release_object)
        else:
            Py_XDECREF(self.definition)
            Py_XDECREF(self.error)

    @property
    def status(self):
        return statuses[self.health]

    @property
    def last_health_check(self):
        return EPOCH + timedelta(microseconds=self.checked_at)

    @property
    def last_error(self):
        return <object>self.error if self.error != NULL else None

    @property
    def pending_requests(self):
        return self.pending

    @property
    def total_requests(self):
        return self.total

    @property
    def avg_latency_ms(self):
        return self.latency


cdef field_of_view(view, void *slot):
    """The getter of the properties that `bind` makes: what the definition has in this slot."""
    return slot_get(<object>(<ViewBase>view).definition, <PyMemberDef *>slot)


cdef inline ViewBase empty_view(PyTypeObject *cls):
    """Without a reference to the class, here or in a call of its `__new__`: all threads would queue for it."""
    return <ViewBase>allocate_untracked(cls)


def new_view(type cls, definition, status, last_health_check, last_error, pending_requests, total_requests,
             avg_latency_ms, /):
    """A view from Python, of arguments that `BackendView` has checked; the check time is aware."""
    exactly(definition, backend_class, "definition")
    if not issubclass(cls, ViewBase):
        raise TypeError(f"cls must be a subclass of ViewBase, not {cls.__name__}")
    # All that may call foreign code comes first: the collector could find a view that is half made.
    cdef uint8_t health = statuses.index(status)
    cdef int64_t checked_at = (last_health_check - EPOCH) // MICROSECOND
    cdef uint32_t pending = pending_requests, latency = avg_latency_ms
    cdef uint64_t total = total_requests
    # A subclass may have fields of its own, which the collector has to see.
    cdef ViewBase view = empty_view(<PyTypeObject *>cls) if cls is view_class else <ViewBase>allocate(<PyTypeObject *>cls)
    view.health, view.checked_at = health, checked_at
    view.pending, view.total, view.latency = pending, total, latency
    Py_INCREF(definition)
    view.definition = <PyObject *>definition
    if last_error is not None:
        Py_INCREF(last_error)
        view.error = <PyObject *>last_error
    return view


cdef inline void fill_view(ViewBase view, const reg_view *found, reg_kept *kept) noexcept:
    """Of an empty view; takes over one of those that are kept."""
    view.definition = <PyObject *>found.definition
    view.error = <PyObject *>found.error
    view.kept = kept
    view.checked_at = found.checked_at
    view.total = found.total
    view.pending = found.pending
    view.latency = found.latency
    view.health = found.health


cdef struct Found:
    reg_status status
    reg_views views
    reg_kept *kept  # for these views; NULL: memory is out


cdef inline void end_query(reg_registry *reg, reg_reader *reader, Found *found) noexcept nogil:
    """Here already, for it may be long until the GIL is back."""
    found.kept = reg_read_keep(reg, reader, found.views.count)
    reg_read_end(reader)


cdef list views_from(Found *found):
    """The list of the views, each of which takes over one of those that are kept."""
    cdef size_t made = 0, count = found.views.count
    try:
        check(found.status if found.kept != NULL else REG_NO_MEMORY, None)
        result = PyList_New(count)
        while made < count:
            view = empty_view(<PyTypeObject *>view_class)
            fill_view(view, &found.views.items[made], found.kept)
            Py_INCREF(view)
            PyList_SET_ITEM(result, made, view)
            made += 1
        return result
    finally:
        if made < count and found.kept != NULL:
            reg_keep_drop(found.kept, count - made, release_object)
        reg_views_free(&found.views)


cdef reg_reader *begin_read() except NULL:
    cdef reg_reader *reader = reg_read_begin()
    if reader == NULL:
        raise MemoryError
    return reader
