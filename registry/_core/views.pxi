# Views: `ViewBase`, the C base class of `BackendView`, and functions that create views.

# No time of a view: it is far before the year 1.
cdef int64_t NO_TIME = INT64_MIN


cdef object time_of(int64_t microseconds):
    """The time of so many microseconds since 1970, as an aware datetime."""
    return EPOCH + timedelta(microseconds=microseconds)


cdef class ViewBase:
    """The base of `BackendView`: a definition, and the state of one backend at one instant.

    A view never changes. This class has the properties for the state; `bind` adds one property
    for each public field of the definition.

    The registry keeps the objects of its views alive with a reservation. A view that was made
    in Python holds references to them instead.
    """

    cdef PyObject *definition
    cdef PyObject *error  # NULL if there is none
    cdef reg_kept *kept  # the reservation; NULL in a view that was made in Python
    cdef int64_t checked_at
    cdef uint64_t total
    cdef uint64_t failed
    cdef uint64_t tokens
    cdef uint64_t number  # of the registration
    cdef int64_t until  # of `reason`; NO_TIME if there is none
    cdef uint32_t pending
    cdef uint32_t latency
    cdef uint32_t ttft
    cdef uint8_t health
    cdef uint8_t reason  # a reg_reason; REG_ELIGIBLE if there is none
    cdef bint has_ttft
    cdef bint is_draining

    def __cinit__(self, *_arguments, **_fields):
        raise TypeError("views come from a Registry or from BackendView(...)")

    def __dealloc__(self):
        if self.kept != NULL:
            reg_keep_drop(self.kept, 1, release_object)
        else:
            Py_XDECREF(self.definition)
            Py_XDECREF(self.error)

    @property
    def backend(self):
        """The `Backend` that was registered at the view's instant, with its settings. O(1).

        The settings are empty in a view that was made in Python, unpickled or read from JSON.
        """
        return <object>self.definition

    @property
    def status(self):
        return statuses[self.health]

    @property
    def last_health_check(self):
        return time_of(self.checked_at)

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

    @property
    def serial(self):
        return self.number

    @property
    def draining(self):
        return self.is_draining

    @property
    def failed_requests(self):
        return self.failed

    @property
    def avg_ttft_ms(self):
        return self.ttft if self.has_ttft else None

    @property
    def unavailable(self):
        return reasons[self.reason]

    @property
    def unavailable_until(self):
        return None if self.until == NO_TIME else time_of(self.until)

    @property
    def pending_tokens(self):
        return self.tokens


cdef field_of_view(view, void *slot):
    """The getter of the properties that `bind` adds. Returns the definition's value in `slot`."""
    return slot_get(<object>(<ViewBase>view).definition, <PyMemberDef *>slot)


cdef inline ViewBase empty_view(PyTypeObject *cls):
    """Allocates a view without touching the type's reference count, which is a contention point."""
    return <ViewBase>allocate_untracked(cls)


def new_view(type cls, definition, status, last_health_check, last_error, pending_requests,
             total_requests, avg_latency_ms, serial, draining, failed_requests, avg_ttft_ms,
             unavailable, unavailable_until, pending_tokens, /):
    """Makes a view from arguments that `BackendView` has checked; the times are aware."""
    check_exact_type(definition, backend_class, "definition")
    if not issubclass(cls, ViewBase):
        raise TypeError(f"cls must be a subclass of ViewBase, not {cls.__name__}")
    # Convert everything before the view exists. A conversion may run foreign code, which could
    # find a half-made view through the garbage collector.
    cdef uint8_t health = statuses.index(status)
    cdef int64_t checked_at = (last_health_check - EPOCH) // MICROSECOND
    cdef uint32_t pending = pending_requests, latency = avg_latency_ms
    cdef uint64_t total = total_requests, number = serial, failed = failed_requests
    cdef uint64_t tokens = pending_tokens
    cdef bint is_draining = draining, has_ttft = avg_ttft_ms is not None
    cdef uint32_t ttft = avg_ttft_ms if has_ttft else 0
    cdef uint8_t reason = reasons.index(unavailable)
    cdef int64_t until = NO_TIME
    if unavailable_until is not None:
        until = (unavailable_until - EPOCH) // MICROSECOND
    cdef ViewBase view
    if cls is view_class:
        view = empty_view(<PyTypeObject *>cls)
    else:  # a subclass may have fields of its own, which the collector must see
        view = <ViewBase>allocate(<PyTypeObject *>cls)
    view.health, view.checked_at = health, checked_at
    view.pending, view.total, view.latency = pending, total, latency
    view.number, view.is_draining = number, is_draining
    view.failed, view.ttft, view.has_ttft = failed, ttft, has_ttft
    view.reason, view.until, view.tokens = reason, until, tokens
    Py_INCREF(definition)
    view.definition = <PyObject *>definition
    if last_error is not None:
        Py_INCREF(last_error)
        view.error = <PyObject *>last_error
    return view


cdef inline bint has_deadline(uint8_t reason) noexcept:
    return reason == REG_EJECTED or reason == REG_COOLING_DOWN


cdef inline void fill_view(ViewBase view, const reg_view *found, reg_kept *kept) noexcept:
    """Fills an empty view. The view takes over one count of the reservation."""
    view.definition = <PyObject *>found.definition
    view.error = <PyObject *>found.error
    view.kept = kept
    view.checked_at = found.checked_at
    view.total = found.total
    view.pending = found.pending
    view.latency = found.latency
    view.health = found.health
    view.number = found.serial
    view.is_draining = found.is_draining
    view.failed = found.failed
    view.tokens = found.pending_tokens
    view.ttft = found.ttft
    view.has_ttft = found.has_ttft
    view.reason = found.unavailable
    view.until = found.unavailable_until if has_deadline(found.unavailable) else NO_TIME
