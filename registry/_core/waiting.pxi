# Waiting: the waiters, how they are woken, and what follows a decrement.

# ---- waking

cdef class Waiter:
    """A thread or a task that sleeps. `wake` is called without arguments to end its sleep.

    Any thread may call it, also inside a garbage collection. It must not block. It is called again
    if a signal's handler interrupts it. It returns False if there is nobody to wake any more. A
    waiter serves for one wait. While it is in a list of the core, the core has a reference to it.
    """

    cdef object wake
    cdef bint is_lost  # nobody could be woken

    def __cinit__(self, wake, /, *_of_the_subclass):
        self.wake = wake

    cdef void lose(self, reg_wakes *wakes) noexcept:
        """Does without someone who could not be woken. Adds those who must be woken instead."""


cdef object call_waker(Waiter waiter):
    """Wakes a waiter. Returns the last exception of a signal's handler that interrupted that.

    A handler may raise in the middle of the call, so the call is repeated. If it raises two
    ordinary exceptions, they are its own, and nobody can be woken.
    """
    interruption = None
    failures = 0
    while True:
        try:
            waiter.is_lost = waiter.wake() is False
        except Exception as error:
            failures += 1
            if failures == 2:
                waiter.is_lost = True
                logger.exception("a call that waits could not be woken")
                return interruption if not isinstance(interruption, Exception) else None
            interruption = error
            continue
        except BaseException as error:
            interruption = error
            continue
        return interruption


cdef int wake(reg_wakes *wakes) except -1:
    """Wakes all of them and drops the references to them, with no lock held.

    Raises what a signal's handler has raised meanwhile, for example KeyboardInterrupt, at the end.
    """
    cdef Waiter waiter
    cdef reg_waiter *node
    interruption = None
    while True:
        node = reg_wakes_next(wakes)
        if node == NULL:
            break
        waiter = <Waiter>node.object
        interruption = call_waker(waiter) or interruption
        if waiter.is_lost:
            waiter.lose(wakes)
        Py_DECREF(waiter)
    if interruption is not None:
        raise interruption
    return 0


cdef int wake_all(reg_waiter *woken) except -1:
    """The same for a list."""
    cdef reg_wakes wakes = reg_wakes(woken, NULL, NULL)
    return wake(&wakes)


# ---- until nothing is in flight

@cython.final
cdef class IdleWaiter(Waiter):
    """One call that waits until nothing is in flight on a registration."""

    cdef reg_idle_waiter waiter

    def __cinit__(self, wake, /):
        self.waiter.node.object = <void *>self

    def __dealloc__(self):
        reg_wait_end(&self.waiter, release_object)  # gives back what it keeps

    def end(self):
        """Ends the wait. Returns whether the number was 0 at an instant of the wait."""
        if reg_wait_end(&self.waiter, release_object):
            Py_DECREF(self)
        return self.waiter.node.is_woken


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


# ---- after a release, a decrement or a write

cdef int conclude(reg_registry *reg, const reg_aftermath *after, backend_id) except -1:
    """Does what a decrement asks for; called only if its flags are not 0."""
    cdef reg_wakes wakes = reg_wakes(after.woken, NULL, NULL)
    if after.flags & REG_IS_WAITED:
        with nogil:
            reg_hand_over(reg, &wakes)
    wake(&wakes)
    if after.flags & REG_WAS_ZERO:
        warn_at_zero(backend_id)
    return 0


cdef int conclude_write(reg_registry *reg) except -1:
    """Wakes those who wait for a change, and hands free places over to those who wait for one."""
    cdef reg_wakes wakes = reg_wakes(reg_take_waiters(reg), NULL, NULL)
    if reg_is_waited(reg):
        with nogil:
            reg_hand_over(reg, &wakes)
    return wake(&wakes)
