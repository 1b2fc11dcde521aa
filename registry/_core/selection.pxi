# Choosing: requests on their way in; leases, choices and their explanations on their way out.

cdef struct RequirementSlots:
    PyMemberDef *vision
    PyMemberDef *tools
    PyMemberDef *json_mode
    PyMemberDef *min_context

cdef RequirementSlots requirement_slots = RequirementSlots(
    slot_of(Requirements, "vision"), slot_of(Requirements, "tools"), slot_of(Requirements, "json_mode"),
    slot_of(Requirements, "min_context"))
# Not looked up in the module at each call: all threads would queue for the reference to it.
cdef object requirements_class = Requirements
# In the core's order.
cdef tuple policies = tuple(Policy)
cdef dict policy_numbers = {member.value: number for number, member in enumerate(Policy)}
cdef object LEAST_PENDING = Policy.LEAST_PENDING
# The methods' default, which inspect can show. Interned, so it is the same object there and here.
cdef object LEAST_PENDING_VALUE = "least_pending"
cdef tuple reasons = (None, "excluded", "unhealthy", "draining", "unknown", "no vision", "no tools", "no json mode", None, "full")


# ---- requests

cdef class Exclusion:
    """The ids that a request excludes, as keys; `ids` keeps the texts alive that they borrow from."""

    cdef list ids
    cdef reg_key *keys
    cdef size_t count

    def __cinit__(self, exclude):
        self.ids = list_of(exclude, "exclude", "str")
        self.keys = <reg_key *>PyMem_Calloc(len(self.ids) + 1, sizeof(reg_key))
        if self.keys == NULL:
            raise MemoryError
        for i, text in enumerate(self.ids):
            self.ids[i] = text = exact_text(text, f"exclude[{i}]")
            self.count += has_key(text, &self.keys[self.count])

    def __dealloc__(self):
        PyMem_Free(self.keys)


cdef int policy_number(policy) except -1:
    cdef Py_ssize_t number
    for number in range(len(policies)):  # by identity: a member's own hash is computed in Python
        if policy is policies[number]:
            return number
    value = policy_numbers.get(policy) if type(policy) is str else None
    return policy_number(_checks.enum_member(Policy, policy, "policy")) if value is None else value


cdef int require_into(reg_request *request, require) except -1:
    # By the true type, whose slots are read: `__class__` may lie.
    if not issubclass(type(require), requirements_class):
        raise _checks.type_error("require", "a Requirements or None", require)
    request.capabilities = ((REG_VISION if slot_get(require, requirement_slots.vision) else 0)
                            | (REG_TOOLS if slot_get(require, requirement_slots.tools) else 0)
                            | (REG_JSON_MODE if slot_get(require, requirement_slots.json_mode) else 0))
    request.min_context = slot_get(require, requirement_slots.min_context)
    return 0


cdef inline Exclusion fill_request(reg_request *request, policy, require, exclude, allow_unknown):
    """All of a request but the model; what it returns has to outlive it."""
    cdef Exclusion exclusion = None
    memset(request, 0, sizeof(reg_request))
    if policy is not LEAST_PENDING and policy is not LEAST_PENDING_VALUE:
        request.policy = <reg_policy>policy_number(policy)
    if require is not None:
        require_into(request, require)
    if exclude is not ():
        exclusion = Exclusion(exclude)
        request.exclude, request.exclude_count = exclusion.keys, exclusion.count
    if allow_unknown is True:
        request.allow_unknown = True
    elif allow_unknown is not False:
        _checks.boolean(allow_unknown, "allow_unknown")
    return exclusion


def seed_random(uint64_t seed, /):
    """The calling thread's choices at random repeat from here. For tests."""
    reg_seed_random(seed)


# ---- explanations

cdef object reason_text(uint8_t reason, uint32_t context_length, uint32_t min_context):
    return f"context {context_length} < {min_context}" if reason == REG_SHORT_CONTEXT else reasons[reason]


cdef object candidate_from(const reg_candidate *candidate, const reg_request *request, size_t place):
    return Candidate(
        slot_get(<object>candidate.definition, backend_slots.id),
        reason_text(candidate.reason, candidate.context_length, request.min_context),
        place + 1 if candidate.reason == REG_ELIGIBLE else None, candidate.pending, candidate.latency, candidate.weight,
        candidate.priority)


cdef list explained(reg_registry *reg, reg_request *request):
    cdef reg_candidates found
    cdef reg_status status
    cdef size_t i
    cdef reg_reader *reader = begin_read()
    with nogil:
        status = reg_explain(reg, request, &found)
    for i in range(found.count):
        Py_INCREF(<object>found.items[i].definition)
    reg_read_end(reader)
    check(status, None)
    try:
        return [candidate_from(&found.items[i], request, i) for i in range(found.count)]
    finally:
        for i in range(found.count):
            Py_DECREF(<object>found.items[i].definition)
        reg_candidates_free(&found)


# ---- refusals

@cython.final
cdef class Refusal:
    """What a refusal tells, until somebody asks for it: every candidate and what stood in its way. The core keeps the definitions."""

    cdef reg_refusal refusal
    cdef uint32_t min_context

    def __dealloc__(self):
        reg_refusal_drop(&self.refusal, release_object)

    def __len__(self):
        return self.refusal.count

    def first(self, size_t count, /):
        """The reasons of so many, by backend id."""
        cdef const reg_obstacle *it
        cdef size_t i
        told = {}
        for i in range(min(count, self.refusal.count)):
            it = &self.refusal.items[i]
            backend_id = slot_get(<object>it.definition, backend_slots.id)
            if type(backend_id) is not str:  # a frozen dataclass can be made to hold anything
                backend_id = repr(backend_id)
            told[backend_id] = reason_text(it.reason, it.context_length, self.min_context)
        return told


cdef int raise_refusal(reg_refusal *refusal, const reg_request *request, model_id) except -1:
    """Raises NoBackendAvailableError, which takes the refusal over."""
    cdef Refusal owner
    try:
        owner = Refusal.__new__(Refusal)
    except BaseException:
        reg_refusal_drop(refusal, release_object)
        raise
    owner.refusal = refusal[0]
    owner.min_context = request.min_context
    error = NoBackendAvailableError(model_id)
    error._refusal = owner
    raise error


# ---- leases

# Bytes of a model's id that a lease copies. A reference to the str itself would be one more that threads queue for.
cdef enum:
    SHORT_ID = 47

@cython.final
@cython.no_gc
cdef class Lease:
    """Lease()\n--\n
    One request in flight on one backend, from `Registry.acquire` until it is released.
    Thread safety: atomic.

    It is a context manager, synchronous and asynchronous: leaving the block releases it, as failed where an exception leaves it. One that is
    collected unreleased is released then, as failed, with a ResourceWarning. It belongs to one registration: when the
    backend is removed and added again, releasing an old lease leaves the new registration untouched.
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
            warnings.warn(f"lease of backend {self.backend.id!r} for model {self.model_id!r} was never released: "
                          "use it in a with block, or call release()", ResourceWarning, source=self)

    @property
    def backend(self):
        """The `Backend` definition, as it is now; once it is removed, as it was last."""
        if self.lease.record == NULL:
            raise ValueError("this lease is of no backend: leases come from Registry.acquire")
        cdef reg_reader *reader = begin_read()
        cdef PyObject *definition = <PyObject *>reg_lease_definition(&self.lease)
        Py_INCREF(<object>definition)
        reg_read_end(reader)
        try:
            return <object>definition
        finally:
            Py_DECREF(<object>definition)

    @property
    def model_id(self):
        """The model that it was acquired for."""
        return PyUnicode_DecodeUTF8(self.id_bytes, self.id_length, NULL) if self.long_id is None else self.long_id

    cdef void keep_id(self, model_id, const reg_key *key) noexcept:
        if key.length <= sizeof(self.id_bytes):
            memcpy(self.id_bytes, key.data, key.length)
            self.id_length = key.length
        else:
            self.long_id = <str>model_id

    @property
    def active(self):
        """Whether it has not been released yet."""
        return reg_lease_is_active(&self.lease)

    def release(self, latency_ms=None, *, failed=False):
        """Ends the request: one less in flight, one more in total, and, unless `failed`, the average fed with `latency_ms`, or with
        the time since the lease was acquired. True the first time; afterwards False, and nothing happens.

        `latency_ms` is in milliseconds, 0 to 2**32-1. Never waits; O(1). Thread safety: atomic. TypeError and ValueError for a bad
        sample or flag, and then nothing is released.
        """
        cdef uint32_t sample
        if failed is not False:
            _checks.boolean(failed, "failed")
        if latency_ms is None:
            return self.end(NULL, failed is True)
        sample = sample_of(latency_ms, "latency_ms")
        return self.end(&sample, failed is True)

    cdef bint end(self, const uint32_t *sample, bint failed) except -1:
        cdef c_bool at_zero = False
        if not reg_lease_release(&self.lease, sample, failed, &at_zero):
            return False
        if at_zero:
            warn_at_zero(self.backend.id)
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
            "a Lease can't be copied, pickled or sent to another process: it is one request in "
            "flight of this one. Send its backend or its model_id, and release it here")

    def __repr__(self):
        if self.lease.record == NULL:
            return "<Lease: of no backend>"
        return f"<Lease: {self.backend.id!r} for {self.model_id!r}, {'active' if self.active else 'released'}>"
