# Leases: what `acquire` returns.

# A lease copies a model id of up to this many UTF-8 bytes. If it took a reference to the str
# instead, threads would contend for the reference count.
cdef enum:
    SHORT_ID = 47
    # Correcting more blocks takes long, so the GIL is released.
    MANY_BLOCKS = 256

@cython.final
@cython.no_gc
cdef class Lease:
    """Lease()\n--\n
    One request in flight on one backend, from `Registry.acquire` until it is released.

    A lease is a context manager for both `with` and `async with`. Leaving the block releases it. If
    an `Exception` leaves the block, the request has failed. If another BaseException does, such as
    `CancelledError`, `GeneratorExit` or `KeyboardInterrupt`, the request was abandoned: it says
    nothing about the backend. So a time-out that is wrapped around the block counts as abandoned,
    because it reaches the block as a cancellation; put it inside, or use the HTTP client's own. If
    a lease is garbage collected before it is released, the request was abandoned, with a
    ResourceWarning.

    A lease belongs to one registration. If the backend is removed and added again, releasing an
    old lease does not change the counters of the new registration.

    Thread safety: shared objects. Any thread may release a lease, and exactly one release takes
    effect. It changes several counters one after the other; see `release`.
    """

    cdef reg_lease lease
    cdef size_t id_length
    cdef char id_bytes[SHORT_ID]
    cdef str long_id

    def __init__(self):
        raise TypeError("leases come from Registry.acquire")

    def __dealloc__(self):
        reg_lease_drop(&self.lease, release_object)

    def __del__(self):
        if self.end(NULL, REG_ABANDONED, 0):
            warnings.warn(
                f"lease of backend {self.backend.id!r} for model {self.model_id!r} was never "
                "released: use it in a with block, or call release()",
                ResourceWarning, source=self)

    @property
    def backend(self):
        """The definition that the lease was chosen by, whatever has changed since. O(1)."""
        if self.lease.record == NULL:
            raise ValueError("this lease has no backend: leases come from Registry.acquire")
        return <object>self.lease.definition

    @property
    def model_id(self):
        """The model id that `acquire` was called with."""
        if self.long_id is None:
            return PyUnicode_DecodeUTF8(self.id_bytes, self.id_length, NULL)
        return self.long_id

    cdef void keep_id(self, model_id, const reg_key *key) noexcept:
        if key.length <= sizeof(self.id_bytes):
            memcpy(self.id_bytes, key.data, key.length)
            self.id_length = key.length
        else:
            self.long_id = <str>model_id

    @property
    def active(self):
        """True until the lease is released."""
        return reg_lease_is_active(&self.lease)

    @property
    def tokens(self):
        """The tokens of this request that count on its backend; 0 once it is released. O(1)."""
        return reg_lease_tokens(&self.lease)

    def set_tokens(self, tokens, /):
        """Replaces `tokens` by the work that is left, 0 to 2**32-1, and returns True.

        It may lift the sum of the backend above `max_pending_tokens`, because that work is there
        already. After the release it returns False and changes nothing. Takes a lock for a few
        steps, O(1). Thread safety: atomic. Raises TypeError or ValueError for a bad argument.
        """
        cdef bint is_set = reg_lease_set_tokens(&self.lease, token_count(tokens, "tokens"))
        return self.hand_over_after(is_set)

    @property
    def cached_tokens(self):
        """The tokens of the prompt that the choice assumed to be cached on the backend.

        Only LEAST_TOKENS with a prefix assumes any: for other choices 0. After a correction, that
        number. O(1).
        """
        return reg_lease_cached_tokens(&self.lease)

    def set_cached_tokens(self, tokens, /):
        """Corrects `cached_tokens` by what the engine reports, 0 to 2**32-1, and returns True.

        The number is in `usage.prompt_tokens_details.cached_tokens` of many engines' answers: what
        the engine had before it read this prompt. Then the first `tokens` // `block_tokens` blocks
        of the request's `prefix` are the most recently used ones of the backend. If the number is
        below `cached_tokens`, the engine has lost what was assumed, and the blocks after these are
        not known any more. `tokens` of the lease stays as it is: see `set_tokens`.

        After the release it returns False and changes nothing. Takes a lock; O(blocks), with the
        GIL released for more than 256 blocks. Thread safety: atomic. Raises TypeError or ValueError
        for a bad argument, and MemoryError, after which nothing has changed.
        """
        cdef uint32_t number = token_count(tokens, "tokens")
        cdef reg_status status
        if reg_lease_blocks(&self.lease) <= MANY_BLOCKS:
            status = reg_lease_set_cached_tokens(&self.lease, number)
        else:
            with nogil:
                status = reg_lease_set_cached_tokens(&self.lease, number)
        if status == REG_NOT_FOUND:
            return False
        check(status, None)
        return self.hand_over_after(True)

    def first_token(self, *, tokens=0):
        """Call it when the first token arrives: updates the average time to the first token.

        The first call adds the time since `acquire`, sets `tokens` to the given number, 0 to
        2**32-1, because the prompt is processed, and returns True. Later calls, and calls after the
        release, return False and change nothing. Lock-free unless the lease has or gets tokens, as
        `set_tokens`; O(1). Thread safety: atomic for the average and for the tokens, one after the
        other. Raises TypeError or ValueError for a bad argument.
        """
        cdef bint is_first = reg_lease_first_token(&self.lease, token_count(tokens, "tokens"))
        return self.hand_over_after(is_first)

    cdef object hand_over_after(self, bint has_changed):
        """If fewer tokens count now, somebody who waits may have a place. Returns its argument."""
        cdef reg_wakes wakes = reg_wakes(NULL, NULL, NULL)
        if has_changed and reg_lease_is_waited(&self.lease):
            with nogil:
                reg_lease_hand_over(&self.lease, &wakes)
            wake(&wakes)
        return has_changed

    def release(self, latency_ms=None, *, failed=False, abandoned=False, retry_after=None):
        """Ends the request and returns True. A second call returns False and changes nothing.

        The request has succeeded unless one of the other arguments is given. Then it first updates
        the average latency with the sample `latency_ms`, in milliseconds, 0 to 2**32-1. A float is
        rounded to the nearest int, halves to even. The default is the time since `acquire`.

        `failed`: the request has failed. This counts toward ejection, without a sample.
        `abandoned`: the client went away, which says nothing about the backend; no sample.
        `retry_after`: the server asks to be left alone for so many seconds, an int or a float from
        0 to 86,400. The backend cools down for that long. It counts as failed, but not toward
        ejection, with no sample; `failed` changes nothing then.

        In every case it adds 1 to the total, and then subtracts 1 from the requests in flight. If
        that leaves 0, it wakes whoever waits in `Registry.wait_idle` or `Registry.idle`. A release
        that ejects, restores or cools down a backend does so before the request leaves the count.
        Without memory for that, the release succeeds all the same and the backend stays as it is:
        the next such request ejects or restores it, but a cool-down is lost.

        A success takes no lock, except that ending a wait and restoring a backend do; other
        outcomes may wait for writers. O(1), plus the waiters. Thread safety: shared objects; each
        of the counts is atomic. Raises TypeError or ValueError for a bad argument, also for
        `abandoned` with `failed` or with `retry_after`. The request is then released all the same,
        as abandoned, so no count stays behind.
        """
        # A success usually passes by this method: see `succeed`.
        return self.check_and_end(latency_ms, failed, abandoned, retry_after)

    cdef bint check_and_end(self, latency_ms, failed, abandoned, retry_after) except -1:
        """`release` with any arguments."""
        cdef uint32_t sample = 0
        cdef uint64_t rest = 0
        cdef reg_outcome outcome
        try:
            outcome = outcome_of(failed, abandoned, retry_after)
            if latency_ms is not None and not is_plain_sample(<PyObject *>latency_ms, &sample):
                sample = _checks.rounded(latency_ms, "latency_ms", 0, UINT32_LIMIT)
            if outcome == REG_BACK_OFF:
                rest = _checks.nanoseconds(
                    _checks.cool_down_seconds(retry_after, "retry_after"))
        except BaseException:
            self.end(NULL, REG_ABANDONED, 0)
            raise
        return self.end(NULL if latency_ms is None else &sample, outcome, rest)

    cdef bint end(self, const uint32_t *sample, reg_outcome outcome, uint64_t rest) except -1:
        """Ends the request. `rest` is the cool-down of REG_BACK_OFF in nanoseconds."""
        cdef reg_aftermath after = reg_aftermath(0, NULL)
        if not reg_lease_release(&self.lease, outcome, sample, &after):
            return False
        if after.flags != 0:
            follow_up(self, &after, outcome, rest)
        return True

    cdef int follow_up(self, reg_aftermath *after, reg_outcome outcome, uint64_t rest) except -1:
        """Does what the release asks for.

        If the outcome may change whether the backend is chosen, that is a write: the GIL is
        released, because a write waits for other writers.
        """
        cdef reg_waiter *watchers = NULL
        cdef reg_garbage *garbage = NULL
        if after.flags & REG_MUST_SETTLE:
            with nogil:
                reg_lease_settle(&self.lease, outcome, rest, after, &watchers, &garbage)
            drop(garbage)
        return self.wake_others(after, watchers)

    cdef int wake_others(self, const reg_aftermath *after, reg_waiter *watchers) except -1:
        """Wakes those who have waited for this. The registry may be gone: the lease finds it."""
        cdef reg_wakes wakes = reg_wakes(after.woken, NULL, NULL)
        if after.flags & REG_IS_WAITED:
            with nogil:
                reg_lease_hand_over(&self.lease, &wakes)
        try:
            wake_all(watchers)
        finally:  # also if a signal's handler has raised
            wake(&wakes)
        if after.flags & REG_WAS_ZERO:
            warn_at_zero(self.backend.id)
        return 0

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback, /):
        self.end(NULL, outcome_of_block(kind), 0)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback, /):
        self.end(NULL, outcome_of_block(kind), 0)

    def __reduce__(self):
        raise TypeError(
            "a Lease can't be copied, pickled or sent to another process: it is a request in "
            "flight in this process. Send its backend or its model_id, and release it here")

    def __repr__(self):
        if self.lease.record == NULL:
            return "<Lease: of no backend>"
        state = "active" if self.active else "released"
        return f"<Lease: {self.backend.id!r} for {self.model_id!r}, {state}>"


cdef int follow_up_of(
        Lease lease, reg_aftermath *after, reg_outcome outcome, uint64_t rest) except -1:
    return lease.follow_up(after, outcome, rest)


# Called through a pointer, because the compiler would inline it into each release, for more
# registers and stack than the rest of a release needs.
cdef int (*follow_up)(Lease, reg_aftermath *, reg_outcome, uint64_t) except -1
follow_up = follow_up_of


cdef reg_outcome outcome_of(failed, abandoned, retry_after) except *:
    """The outcome that the arguments of `release` say. Raises TypeError or ValueError."""
    if failed is not True and failed is not False:
        _checks.boolean(failed, "failed")
    if abandoned is not True and abandoned is not False:
        _checks.boolean(abandoned, "abandoned")
    if abandoned is False:
        if retry_after is not None:
            return REG_BACK_OFF
        return REG_FAILED if failed is True else REG_SUCCEEDED
    if failed is True:
        raise ValueError("abandoned must be False if failed is True: a request ends in one way")
    if retry_after is not None:
        raise ValueError(
            "abandoned must be False with retry_after: an answer of the server was not abandoned")
    return REG_ABANDONED


cdef inline reg_outcome outcome_of_block(kind) noexcept:
    """The outcome if an exception of the class `kind` leaves the block; None: no exception."""
    if kind is None:
        return REG_SUCCEEDED
    if isinstance(kind, type) and PyType_IsSubtype(<type>kind, Exception):
        return REG_FAILED
    return REG_ABANDONED


cdef object succeed(lease, latency_ms):
    """`release` without keywords; `latency_ms` is an exact int, or None."""
    cdef uint32_t sample
    if latency_ms is None:
        return (<Lease>lease).end(NULL, REG_SUCCEEDED, 0)
    if is_plain_sample(<PyObject *>latency_ms, &sample):
        return (<Lease>lease).end(&sample, REG_SUCCEEDED, 0)
    return (<Lease>lease).check_and_end(latency_ms, False, False, None)


shorten_release(Lease.__dict__["release"], succeed)
