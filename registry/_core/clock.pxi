# The settings of a registry: its clock, the rules of ejection, and the bound of AFFINITY.

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

        Only this method moves the clock, so the lock makes the check and the move one step. Then it
        serves those who have waited for this time.
        """
        cdef reg_wakes wakes = reg_wakes(NULL, NULL, NULL)
        with cython.critical_section(self):
            if nanoseconds > latest - reg_clock_read(self.clock):
                raise ValueError(
                    f"seconds must keep the clock within {latest // 10**9} s of its start: "
                    "make a new clock")
            reg_clock_advance(self.clock, nanoseconds)
        with nogil:
            reg_clock_hand_over(self.clock, &wakes)
        wake(&wakes)

    def _read(self, /):
        """The nanoseconds by which the clock was moved."""
        return reg_clock_read(self.clock)


cdef int fill_settings(
        reg_settings *settings, tuple ejection, latency_ttl, clock, double affinity_load,
        double affinity_floor, uint32_t block_tokens, uint32_t prefix_blocks,
        max_waiting) except -1:
    """Fills the settings from what `registry.ejection` has converted.

    None: never, no rules, or no limit. `affinity_load` is -1 if there is no bound.
    """
    memset(settings, 0, sizeof(reg_settings))
    settings.block_tokens, settings.prefix_blocks = block_tokens, prefix_blocks
    settings.max_waiting = UINT64_LIMIT if max_waiting is None else max_waiting
    settings.latency_ttl = REG_NEVER if latency_ttl is None else latency_ttl
    settings.affinity_load = affinity_load
    settings.affinity_floor = affinity_floor
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
