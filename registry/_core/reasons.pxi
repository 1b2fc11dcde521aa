# Reasons: why a backend can't be chosen, for `explain` and for NoBackendAvailableError.

cdef object reason_text(uint8_t reason, uint32_t context_length, uint32_t min_context):
    """The reason as a text for people, or None if there is none."""
    if reason == REG_SHORT_CONTEXT:
        return f"context {context_length} < {min_context}"
    return reason_texts[reason]


# ---- explanations

cdef object candidate_from(const reg_candidate *candidate, const reg_request *request, size_t i):
    return Candidate(
        slot_get(<object>candidate.definition, backend_slots.id),
        reason_text(candidate.reason, candidate.context_length, request.min_context),
        i + 1 if candidate.reason == REG_ELIGIBLE else None,
        candidate.pending,
        candidate.latency,
        candidate.weight,
        candidate.priority,
        reasons[candidate.reason],
    )


cdef list candidates_of(reg_registry *reg, reg_request *request):
    """The `Candidate`s of a request, in the core's order."""
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
    """The reasons why a request was refused: the obstacle of each backend of the model.

    The texts are created on demand, from definitions that this object keeps alive.
    """

    cdef reg_refusal refusal
    cdef uint32_t min_context

    def __dealloc__(self):
        reg_refusal_drop(&self.refusal, release_object)

    def __len__(self):
        return self.refusal.count

    @property
    def retry_after(self):
        """The seconds until the first backend may be chosen again, or None."""
        return None if self.refusal.retry_after == REG_NEVER else self.refusal.retry_after / 1e9

    def first(self, size_t count, /):
        """The reasons for the first `count` backends: a dict from id to text. O(count)."""
        cdef const reg_obstacle *it
        cdef size_t i
        found = {}
        for i in range(min(count, self.refusal.count)):
            it = &self.refusal.items[i]
            found[obstacle_id(it)] = reason_text(it.reason, it.context_length, self.min_context)
        return found

    def kinds(self, /):
        """The reasons for all backends: a dict from id to `Reason`. O(backends)."""
        cdef size_t i
        found = {}
        for i in range(self.refusal.count):
            found[obstacle_id(&self.refusal.items[i])] = reasons[self.refusal.items[i].reason]
        return found


cdef object obstacle_id(const reg_obstacle *obstacle):
    backend_id = slot_get(<object>obstacle.definition, backend_slots.id)
    # A caller can force the fields of a frozen dataclass to hold anything.
    return backend_id if type(backend_id) is str else repr(backend_id)


cdef int raise_refusal(
        reg_refusal *refusal, const reg_request *request, model_id,
        kind=NoBackendAvailableError) except -1:
    """Raises a NoBackendAvailableError, which becomes the owner of the refusal."""
    cdef Refusal owner
    try:
        owner = Refusal.__new__(Refusal)
    except BaseException:
        reg_refusal_drop(refusal, release_object)
        raise
    owner.refusal = refusal[0]
    owner.min_context = request.min_context
    error = kind(model_id)
    error._refusal = owner
    raise error
