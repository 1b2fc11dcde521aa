# Waiting until nothing is in flight: `IdleWaiter`, and what follows a decrement.

@cython.final
cdef class IdleWaiter:
    """One call that waits until nothing is in flight on a registration.

    `wake` is called once, without arguments, when the number reaches 0. Any thread may call it,
    also inside a garbage collection. If a signal's handler interrupts it, it is called again.

    While the waiter is in the core's list, the core has a reference to it.
    """

    cdef reg_idle_waiter waiter
    cdef object wake

    def __cinit__(self, wake, /):
        self.wake = wake
        self.waiter.object = <void *>self

    def __dealloc__(self):
        reg_wait_end(&self.waiter, release_object)  # gives back what it keeps

    def end(self):
        """Ends the wait. Returns whether the number was 0 at an instant of the wait."""
        if reg_wait_end(&self.waiter, release_object):
            Py_DECREF(self)
        return self.waiter.is_woken


cdef bint begin_wait(
        reg_registry *reg, str backend_id, uint64_t serial, IdleWaiter waiter) except -1:
    """`RegistryCore._wait`."""
    cdef reg_key key
    cdef c_bool is_idle = False
    cdef reg_status status = REG_NOT_FOUND
    if has_key(backend_id, &key):
        if waiter is None:
            status = reg_is_idle(reg, &key, serial, &is_idle)
        else:
            # The reference of the list: another thread may wake the waiter at once.
            Py_INCREF(waiter)
            status = reg_wait_begin(reg, &key, serial, &waiter.waiter, &is_idle)
            if status != REG_OK or is_idle:
                Py_DECREF(waiter)
    check(status, backend_id)
    return is_idle


cdef object call_waker(waker):
    """Wakes a waiter. Returns the last exception of a signal's handler that interrupted that.

    A handler may raise in the middle of the call, so the call is repeated. If it raises two
    ordinary exceptions, they are its own, and nobody can be woken.
    """
    interruption = None
    failures = 0
    while True:
        try:
            waker()
        except Exception as error:
            failures += 1
            if failures == 2:
                logger.exception("a call that waits could not be woken")
                return interruption if not isinstance(interruption, Exception) else None
            interruption = error
            continue
        except BaseException as error:
            interruption = error
            continue
        return interruption


cdef int wake_all_idle(reg_idle_waiter *woken) except -1:
    """Wakes every waiter of the list, and gives back the core's references to them."""
    cdef IdleWaiter waiter
    interruption = None
    while woken != NULL:
        waiter = <IdleWaiter>woken.object
        woken = woken.next
        interruption = call_waker(waiter.wake) or interruption
        Py_DECREF(waiter)
    if interruption is not None:
        raise interruption
    return 0


cdef int conclude(const reg_aftermath *after, backend_id) except -1:
    """Does what a decrement asks for; called only if its flags are not 0."""
    wake_all_idle(after.woken)
    if after.flags & REG_WAS_ZERO:
        warn_at_zero(backend_id)
    return 0
