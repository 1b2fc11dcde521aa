# Choosing a backend: `acquire`, `select` and `explain` of `RegistryCore`.

cdef object acquire_lease(
        registry, model_id, policy, require, exclude, only, allow_unknown, affinity, tokens,
        prefix):
    cdef reg_request request
    if type(model_id) is not str:
        # Do not assign to `model_id`: Cython would then take a reference to it in every call.
        return acquire_lease(
            registry, exact_text(model_id, "model_id"), policy, require, exclude, only,
            allow_unknown, affinity, tokens, prefix)
    ids = fill_request(
        &request, policy, require, exclude, only, allow_unknown, affinity, tokens, prefix)
    return lease_for(registry, model_id, &request)


cdef object acquire_plainly(registry, model_id):
    """`acquire_lease` with the default of each keyword. The model id is a str."""
    cdef reg_request request
    memset(&request, 0, sizeof(reg_request))  # REG_LEAST_PENDING is 0
    return lease_for(registry, model_id, &request)


cdef inline object lease_for(registry, model_id, reg_request *request):
    cdef reg_registry *reg = (<RegistryCore>registry).reg
    cdef reg_refusal refusal
    cdef reg_status status
    if not has_key(model_id, &request.model_id):
        raise NoBackendAvailableError(model_id)
    cdef Lease lease = Lease.__new__(Lease)
    status = try_to_acquire(reg, request, &lease.lease, &refusal)
    if status == REG_WAITS:
        request.may_block = True
        status = acquire_beside(reg, request, &lease.lease, &refusal)
    if status == REG_NONE_AVAILABLE:
        raise_refusal(&refusal, request, model_id)
    check(status, None)
    lease.keep_id(model_id, &request.model_id)
    return lease


cdef inline reg_status try_to_acquire(
        reg_registry *reg, reg_request *request, reg_lease *lease, reg_refusal *refusal) noexcept:
    """The choice where nobody waits; otherwise REG_WAITS."""
    # Most choices are short, so first try with the GIL held. The core refuses a long choice; then
    # try again with the GIL released.
    cdef reg_status status = reg_acquire(reg, request, lease, refusal)
    if status == REG_WOULD_BLOCK:
        request.may_block = True
        with nogil:
            status = reg_acquire(reg, request, lease, refusal)
    return status


cdef reg_status acquire_beside(
        reg_registry *reg, reg_request *request, reg_lease *lease,
        reg_refusal *refusal) except *:
    """The choice where others wait. It may hand places over, to those who are woken here."""
    cdef reg_wakes wakes = reg_wakes(NULL, NULL, NULL)
    cdef reg_status status
    with nogil:
        status = reg_acquire_beside(reg, request, lease, refusal, &wakes)
    if wakes.woken != NULL or wakes.nudged != NULL:
        try:
            wake(&wakes)
        except BaseException:
            if status == REG_NONE_AVAILABLE:
                reg_refusal_drop(refusal, release_object)
            raise
    return status


cdef object select_backend(
        reg_registry *reg, model_id, policy, require, exclude, only, allow_unknown, affinity,
        tokens, prefix):
    cdef reg_request request
    cdef reg_refusal refusal
    cdef reg_status status
    cdef void *definition = NULL
    cdef reg_reader *reader
    model_id = exact_text(model_id, "model_id")
    ids = fill_request(
        &request, policy, require, exclude, only, allow_unknown, affinity, tokens, prefix)
    request.may_block = True
    if not has_key(model_id, &request.model_id):
        raise NoBackendAvailableError(model_id)
    reader = begin_read()
    with nogil:
        status = reg_select(reg, reader, &request, &definition, &refusal)
    Py_XINCREF(<PyObject *>definition)
    reg_read_end(reader)
    if status == REG_NONE_AVAILABLE:
        raise_refusal(&refusal, &request, model_id)
    check(status, None)
    chosen = <object>definition
    Py_DECREF(chosen)
    return chosen


cdef list explain_choice(
        reg_registry *reg, model_id, policy, require, exclude, only, allow_unknown, affinity,
        tokens, prefix):
    cdef reg_request request
    model_id = exact_text(model_id, "model_id")
    ids = fill_request(
        &request, policy, require, exclude, only, allow_unknown, affinity, tokens, prefix)
    return candidates_of(reg, &request) if has_key(model_id, &request.model_id) else []
