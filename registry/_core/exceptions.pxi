# Exceptions: the one that belongs to each status of the core.

def _instance_taken(backend_id):
    return ValueError(
        f"the mDNS instance of {backend_id!r} is held by another backend: clear it there first")


def _at_limit(backend_id):
    return OverflowError(f"pending_requests of {backend_id!r} is at its limit, {UINT32_LIMIT}")


def _no_memory(backend_id):
    return MemoryError(
        "out of memory, or a stalled reader delays reclamation: see Registry.stats()")


# The exception for each status that is an error. REG_CHANGED, REG_WAITS and REG_WOULD_BLOCK are
# not errors: the binding repeats the call, or waits.
STATUS_ERRORS = {
    REG_NOT_FOUND: BackendNotFoundError,
    REG_DUPLICATE: DuplicateBackendError,
    REG_INSTANCE_TAKEN: _instance_taken,
    REG_OVERFLOW: _at_limit,
    REG_NO_MEMORY: _no_memory,
    REG_NONE_AVAILABLE: NoBackendAvailableError,
    REG_LINE_FULL: WaitingLineFullError,
}


cdef inline int check(reg_status status, backend_id) except -1:
    """Raises the exception for a status that is not REG_OK."""
    if status == REG_OK:
        return 0
    raise STATUS_ERRORS[status](backend_id)


cdef int warn_at_zero(backend_id) except -1:
    logger.warning(
        "pending_requests of %r is already 0: decremented without an increment", backend_id)
    return 0
