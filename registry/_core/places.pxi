# Waiting for a place: the calls of `acquire_wait` and `acquire_async` in the line.

# While the core uses the waiter, the collector must not clear what its request points to.
@cython.final
@cython.no_gc_clear
cdef class PlaceWaiter(Waiter):
    """One call that waits until a backend qualifies.

    Call `enter`, and as long as it returns None, sleep and call `look`. In the end, and at any time
    before, call `end`. The thread that makes room chooses a backend for it and calls `wake`.
    """

    cdef reg_place_waiter waiter
    cdef RegistryCore registry
    cdef Lease lease
    cdef str model_id
    cdef object ids  # that the request points to
    # Of the call itself. Another thread reads it only once its event loop is closed.
    cdef bint has_entered

    def __cinit__(self, wake, /, RegistryCore registry not None, str model_id not None,
                  int32_t priority, *given):
        self.registry, self.model_id = registry, model_id
        self.lease = Lease.__new__(Lease)
        self.waiter.node.object = <void *>self
        self.waiter.lease = &self.lease.lease
        self.waiter.priority = priority
        policy, require, exclude, only, allow_unknown, affinity, tokens, prefix = given
        self.ids = fill_request(&self.waiter.request, policy, require, exclude, only, allow_unknown,
                                affinity, tokens, prefix)
        if not has_key(model_id, &self.waiter.request.model_id):
            raise NoBackendAvailableError(model_id)

    def try_now(self):
        """The lease, or None if no place is free for it, or if others wait."""
        cdef reg_refusal refusal
        cdef reg_status status = try_to_acquire(
            self.registry.reg, &self.waiter.request, self.waiter.lease, &refusal)
        if status == REG_OK:
            return self.take()
        if status == REG_NONE_AVAILABLE:
            reg_refusal_drop(&refusal, release_object)
        return None

    def enter(self, bint may_wait, /):
        """The lease, or None: it waits. Raises NoBackendAvailableError."""
        cdef reg_registry *reg = self.registry.reg
        cdef reg_request *request = &self.waiter.request
        cdef reg_refusal refusal
        cdef reg_status status
        cdef reg_wakes wakes = reg_wakes(NULL, NULL, NULL)
        request.may_block = True
        self.has_entered = True
        status = REG_CHANGED
        while status == REG_CHANGED:
            Py_INCREF(self)
            Py_INCREF(self)
            with nogil:
                status = reg_line_enter(reg, &self.waiter, may_wait, &refusal, &wakes)
            if status != REG_WAITS:  # otherwise another thread may use the waiter already
                self.take_back(self.waiter.given_back)
            if status == REG_CHANGED:
                reg_refusal_drop(&refusal, release_object)
                wake(&wakes)
        return self.conclude(status, &refusal, &wakes)

    def look(self, bint is_last, /):
        """The lease, or None: it still waits. Raises NoBackendAvailableError.

        Or another waiter for the same call, which has to enter. `is_last`: it must not wait longer.
        """
        cdef reg_registry *reg = self.registry.reg
        cdef reg_refusal refusal
        cdef reg_status status
        cdef reg_wakes wakes = reg_wakes(NULL, NULL, NULL)
        Py_INCREF(self)
        with nogil:
            status = reg_line_look(reg, &self.waiter, is_last, &refusal, &wakes)
        self.take_back(self.waiter.given_back)
        if status == REG_CHANGED:
            reg_refusal_drop(&refusal, release_object)
            wake(&wakes)
            return self.successor()
        return self.conclude(status, &refusal, &wakes)

    @property
    def look_after(self):
        """The seconds after which `look` must be called, or None. Valid while it waits."""
        if self.waiter.look_after == REG_NEVER:
            return None
        return self.waiter.look_after / 1e9

    def end(self):
        """Ends the wait. A place that was not taken goes to the next."""
        cdef reg_wakes wakes = reg_wakes(NULL, NULL, NULL)
        if self.has_entered:
            self.lose(&wakes)  # under the lock, the core knows what has become of it
            wake(&wakes)

    cdef void lose(self, reg_wakes *wakes) noexcept:
        cdef reg_registry *reg = self.registry.reg
        cdef uint32_t given_back
        with nogil:
            given_back = reg_line_leave(reg, &self.waiter, wakes)
        self.take_back(given_back)

    cdef void take_back(self, uint32_t references) noexcept:
        while references != 0:
            references -= 1
            Py_DECREF(self)

    cdef PlaceWaiter successor(self):
        """The old one may still be in a list of those who are being woken."""
        cdef PlaceWaiter fresh = PlaceWaiter.__new__(
            PlaceWaiter, self.wake, self.registry, self.model_id, self.waiter.priority,
            LEAST_PENDING, None, (), None, False, None, NO_TOKENS, None)
        fresh.ids = self.ids
        fresh.waiter.request = self.waiter.request
        fresh.waiter.arrival = self.waiter.arrival
        self.waiter.lease = NULL
        self.has_entered = False
        return fresh

    cdef object take(self):
        """The lease, which is the caller's from now on."""
        self.waiter.lease = NULL
        self.has_entered = False
        self.lease.keep_id(self.model_id, &self.waiter.request.model_id)
        return self.lease

    cdef object conclude(self, reg_status status, reg_refusal *refusal, reg_wakes *wakes):
        """Wakes others, and returns or raises what has become of the call."""
        try:
            wake(wakes)
        except BaseException:
            if status == REG_NONE_AVAILABLE or status == REG_LINE_FULL:
                reg_refusal_drop(refusal, release_object)
            raise  # and `end` gives back a place
        if status == REG_WAITS:
            return None
        if status == REG_OK:
            return self.take()
        self.waiter.lease = NULL
        self.has_entered = False
        if status == REG_NONE_AVAILABLE or status == REG_LINE_FULL:
            raise_refusal(refusal, &self.waiter.request, self.model_id, STATUS_ERRORS[status])
        check(status, None)


cdef size_t count_waiting(reg_registry *reg, model_id) except? 0:
    """`RegistryCore.waiting`."""
    cdef reg_key key
    cdef size_t waiting = 0
    if has_key(exact_text(model_id, "model_id"), &key):
        with nogil:
            waiting = reg_waiting(reg, &key)
    return waiting
