# Leases: what `acquire` returns.

# A lease copies a model id of up to this many UTF-8 bytes. If it took a reference to the str
# instead, threads would contend for the reference count.
cdef enum:
    SHORT_ID = 47

@cython.final
@cython.no_gc
cdef class Lease:
    """Lease()\n--\n
    One request in flight on one backend, from `Registry.acquire` until it is released.

    A lease is a context manager for both `with` and `async with`. Leaving the block releases it; if
    an exception leaves the block, the request counts as failed. If a lease is garbage collected
    before it is released, it is released as failed, with a ResourceWarning.

    A lease belongs to one registration. If the backend is removed and added again, releasing an
    old lease does not change the counters of the new registration.

    Thread safety: shared objects. Any thread may release a lease, and exactly one release takes
    effect. It changes three counters one after the other; see `release`.
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
        if self.end(NULL, True):
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

    def release(self, latency_ms=None, *, failed=False):
        """Ends the request and returns True. A second call returns False and changes nothing.

        Unless `failed`, it first updates the average latency with the sample `latency_ms`, in
        milliseconds, 0 to 2**32-1. A float is rounded to the nearest int, halves to even. The
        default is the time since `acquire`. Then it adds 1 to the total, and then subtracts 1 from
        the requests in flight. If that leaves 0, it wakes whoever waits in `Registry.wait_idle` or
        `Registry.idle`.

        Never blocks, except that ending a wait takes a lock for a few steps; O(1), plus the
        waiters. Thread safety: shared objects; each of the three counts is atomic. Raises TypeError
        or ValueError for a bad argument. The request is then released all the same, without a
        sample, so no count stays behind.
        """
        cdef uint32_t sample
        if failed is False or failed is True:
            if latency_ms is None:
                return self.end(NULL, failed is True)
            if is_plain_sample(<PyObject *>latency_ms, &sample):
                return self.end(&sample, failed is True)
        return self.check_and_end(latency_ms, failed)

    cdef bint check_and_end(self, latency_ms, failed) except -1:
        """`release` with a float or a bad argument."""
        cdef uint32_t sample
        try:
            _checks.boolean(failed, "failed")
            sample = _checks.rounded(latency_ms, "latency_ms", 0, UINT32_LIMIT)
        except BaseException:
            self.end(NULL, True)
            raise
        return self.end(&sample, failed is True)

    cdef bint end(self, const uint32_t *sample, bint failed) except -1:
        cdef reg_aftermath after = reg_aftermath(0, NULL)
        if not reg_lease_release(&self.lease, sample, failed, &after):
            return False
        if after.flags != 0:
            conclude(&after, self.backend.id)
        return True

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback, /):
        self.end(NULL, kind is not None)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback, /):
        self.end(NULL, kind is not None)

    def __reduce__(self):
        raise TypeError(
            "a Lease can't be copied, pickled or sent to another process: it is a request in "
            "flight in this process. Send its backend or its model_id, and release it here")

    def __repr__(self):
        if self.lease.record == NULL:
            return "<Lease: of no backend>"
        state = "active" if self.active else "released"
        return f"<Lease: {self.backend.id!r} for {self.model_id!r}, {state}>"
