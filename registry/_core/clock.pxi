# The settings of a registry: its clock, and the rules of ejection.

cdef class ClockCore:
    """The base of `registry.testing.ManualClock`: a clock of the core that is moved by hand."""

    cdef reg_clock *clock

    def __cinit__(self):
        self.clock = reg_clock_new(now_microseconds())
        if self.clock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.clock != NULL:
            reg_clock_drop(self.clock)  # registries have references of their own

    def _advance(self, uint64_t nanoseconds, uint64_t latest, /):
        """Moves the clock; raises ValueError if it would then show more than `latest`.

        Only this method moves the clock, so the lock makes the check and the move one step.
        """
        with cython.critical_section(self):
            if nanoseconds > latest - reg_clock_read(self.clock):
                raise ValueError(
                    f"seconds must keep the clock within {latest // 10**9} s of its start: "
                    "make a new clock")
            reg_clock_advance(self.clock, nanoseconds)

    def _read(self, /):
        """The nanoseconds by which the clock was moved."""
        return reg_clock_read(self.clock)


cdef int fill_settings(reg_settings *settings, tuple ejection, latency_ttl, clock) except -1:
    """Fills the settings from what `registry.ejection` has converted; None: never, or no rules."""
    memset(settings, 0, sizeof(reg_settings))
    settings.latency_ttl = REG_NEVER if latency_ttl is None else latency_ttl
    if clock is not None:
        # Check the real type, because a field of it is read below. `__class__` may be wrong.
        if not issubclass(type(clock), ClockCore):
            raise _checks.type_error("clock", "a ManualClock or None", clock)
        settings.clock = (<ClockCore>clock).clock
    if ejection is not None:
        settings.ejects = True
        (settings.consecutive_failures, settings.failure_rate, settings.min_requests,
         settings.window, settings.base, settings.max, settings.trials, settings.slow_start,
         settings.panic) = ejection
    return 0
