# Views: the C base of BackendView, and how they are made of what a read found.

cdef class ViewBase:
    """What `BackendView` is made of: the definition, and what the registry knew at one instant. Never changes."""

    cdef PyObject *definition
    cdef PyObject *error  # NULL: none
    cdef int64_t checked_at
    cdef uint64_t total
    cdef uint32_t pending
    cdef uint32_t latency
    cdef uint8_t health

    def __cinit__(self, *_arguments, **_fields):
        raise TypeError("a view comes from a Registry, or from BackendView")

    def __dealloc__(self):
        Py_XDECREF(self.definition)
        Py_XDECREF(self.error)

    @property
    def id(self):
        return slot_get(<object>self.definition, backend_slots.id)

    @property
    def name(self):
        return slot_get(<object>self.definition, backend_slots.name)

    @property
    def url(self):
        return slot_get(<object>self.definition, backend_slots.url)

    @property
    def backend_type(self):
        return slot_get(<object>self.definition, backend_slots.backend_type)

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
    def models(self):
        return slot_get(<object>self.definition, backend_slots.models)

    @property
    def priority(self):
        return slot_get(<object>self.definition, backend_slots.priority)

    @property
    def pending_requests(self):
        return self.pending

    @property
    def total_requests(self):
        return self.total

    @property
    def avg_latency_ms(self):
        return self.latency

    @property
    def discovery_source(self):
        return slot_get(<object>self.definition, backend_slots.discovery_source)

    @property
    def metadata(self):
        return slot_get(<object>self.definition, backend_slots.metadata)

    @property
    def max_pending(self):
        return slot_get(<object>self.definition, backend_slots.max_pending)

    @property
    def weight(self):
        return slot_get(<object>self.definition, backend_slots.weight)


cdef inline ViewBase empty_view(PyTypeObject *cls):
    """Without a reference to the class, here or in a call of its `__new__`: all threads would queue for it."""
    return <ViewBase>allocate_untracked(cls)


def new_view(type cls, definition, status, last_health_check, last_error, pending_requests, total_requests,
             avg_latency_ms):
    """A view from Python, of arguments that `BackendView` has checked; the check time is aware."""
    exactly(definition, backend_class, "definition")
    if not issubclass(cls, ViewBase):
        raise TypeError(f"cls must be a subclass of ViewBase, not {cls.__name__}")
    cdef ViewBase view = empty_view(<PyTypeObject *>cls)
    view.health = statuses.index(status)
    view.checked_at = (last_health_check - EPOCH) // MICROSECOND
    view.pending, view.total, view.latency = pending_requests, total_requests, avg_latency_ms
    Py_INCREF(definition)
    view.definition = <PyObject *>definition
    if last_error is not None:
        Py_INCREF(last_error)
        view.error = <PyObject *>last_error
    return view


cdef inline void retain(const reg_view *view) noexcept:
    Py_INCREF(<object>view.definition)
    Py_XINCREF(<PyObject *>view.error)


cdef inline void let_go(const reg_view *view) noexcept:
    Py_DECREF(<object>view.definition)
    Py_XDECREF(<PyObject *>view.error)


cdef inline object view_from(const reg_view *retained):
    """The Python view; takes over the retained references, and leaves them where it raises."""
    cdef ViewBase view = empty_view(<PyTypeObject *>view_class)
    view.definition = <PyObject *>retained.definition
    view.error = <PyObject *>retained.error
    view.checked_at = retained.checked_at
    view.total = retained.total
    view.pending = retained.pending
    view.latency = retained.latency
    view.health = retained.health
    return view


cdef list views_from(reg_reader *reader, reg_status status, reg_views *views):
    """Ends the read, and makes the list of its views."""
    cdef size_t i, made = 0
    for i in range(views.count):
        retain(&views.items[i])
    reg_read_end(reader)
    check(status, None)
    try:
        result = PyList_New(views.count)
        while made < views.count:
            view = view_from(&views.items[made])
            Py_INCREF(view)
            PyList_SET_ITEM(result, made, view)
            made += 1
        return result
    finally:
        for i in range(made, views.count):
            let_go(&views.items[i])
        reg_views_free(views)


cdef reg_reader *begin_read() except NULL:
    cdef reg_reader *reader = reg_read_begin()
    if reader == NULL:
        raise MemoryError
    return reader
