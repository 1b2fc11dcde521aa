# Requests: the arguments of `acquire`, `select` and `explain`, as the core takes them.

cdef struct RequirementSlots:
    PyMemberDef *vision
    PyMemberDef *tools
    PyMemberDef *json_mode
    PyMemberDef *min_context

cdef RequirementSlots requirement_slots = RequirementSlots(
    slot_of(Requirements, "vision"),
    slot_of(Requirements, "tools"),
    slot_of(Requirements, "json_mode"),
    slot_of(Requirements, "min_context"),
)
# A C variable, because threads would contend for the reference count in a look-up in the module.
cdef object requirements_class = Requirements
# The members of `Policy`, in the core's order.
cdef tuple policies = tuple(Policy)
cdef dict policy_numbers = {member.value: number for number, member in enumerate(Policy)}
cdef object LEAST_PENDING = Policy.LEAST_PENDING
# The default in the signatures of the methods, in a form that `inspect` can show. The str is
# interned, so a default argument is this object itself.
cdef object LEAST_PENDING_VALUE = "least_pending"
cdef object NO_TOKENS = 0  # the default, likewise
# Likewise: a choice by AFFINITY is short, so looking the policy up would be a good part of it.
cdef object AFFINITY = Policy.AFFINITY
cdef object AFFINITY_VALUE = "affinity"


def check_policies(members, /):
    """Raises ImportError unless the core has exactly these policies, in this order."""
    given = list(members)
    names = [reg_policy_name(<reg_policy>number).decode() for number in range(REG_POLICY_COUNT)]
    if given != names:
        raise ImportError(
            f"the policies are {', '.join(given)}, but the core has {', '.join(names)}")


check_policies(policies)


cdef class KeysOfIds:
    """Ids of a request, as keys. The keys point into the texts in `ids`."""

    cdef list ids
    cdef reg_key *keys
    cdef size_t count

    def __cinit__(self, ids, str name):
        self.ids = list_of(ids, name, "str")
        self.keys = <reg_key *>PyMem_Calloc(len(self.ids) + 1, sizeof(reg_key))
        if self.keys == NULL:
            raise MemoryError
        for i, text in enumerate(self.ids):
            self.ids[i] = text = exact_text(text, f"{name}[{i}]")
            self.count += has_key(text, &self.keys[self.count])

    def __dealloc__(self):
        PyMem_Free(self.keys)


cdef int policy_number(policy) except -1:
    """The core's number of a policy. `policy` is a member of `Policy` or a member's value."""
    cdef Py_ssize_t number
    if type(policy) is str:
        value = policy_numbers.get(policy)
        if value is not None:
            return value
    # Compare by identity: the hash of an enum's member is computed in Python.
    for number in range(len(policies)):
        if policy is policies[number]:
            return number
    return policy_number(_checks.enum_member(Policy, policy, "policy"))


cdef int require_into(reg_request *request, require) except -1:
    # Check the real type, because its slots are read below. `__class__` may be wrong.
    if not issubclass(type(require), requirements_class):
        raise _checks.type_error("require", "a Requirements or None", require)
    request.capabilities = (
        (REG_VISION if slot_get(require, requirement_slots.vision) else 0)
        | (REG_TOOLS if slot_get(require, requirement_slots.tools) else 0)
        | (REG_JSON_MODE if slot_get(require, requirement_slots.json_mode) else 0))
    request.min_context = slot_get(require, requirement_slots.min_context)
    return 0


cdef uint64_t affinity_key(affinity) except? 0:
    """The 64 bits of a key: an int modulo 2**64, or a hash of bytes or of a str in UTF-8."""
    cdef uint64_t number
    if is_plain_count(<PyObject *>affinity, &number):
        return number
    if PyUnicode_CheckExact(<PyObject *>affinity):
        return affinity_of_text(<PyObject *>affinity)
    if isinstance(affinity, bytes):
        return reg_affinity_of(
            PyBytes_AS_STRING(affinity), <size_t>PyBytes_GET_SIZE(affinity))
    if isinstance(affinity, str):
        exact = exact_text(affinity, "affinity")
        return affinity_of_text(<PyObject *>exact)
    if isinstance(affinity, bool) or not isinstance(affinity, int):
        raise _checks.type_error("affinity", "a str, bytes or int", affinity)
    return _checks.integer(affinity, "affinity", INT64_MIN, UINT64_LIMIT) & UINT64_LIMIT


cdef inline uint64_t affinity_of_text(PyObject *text) except? 0:
    cdef reg_key key
    if not has_key_borrowed(text, &key):
        _checks.encodable(<object>text, "affinity")  # raises ValueError
    return reg_affinity_of(key.data, key.length)


cdef KeysOfIds limit_request(reg_request *request, only):
    cdef KeysOfIds ids = KeysOfIds(only, "only")
    request.is_limited = True
    request.only, request.only_count = ids.keys, ids.count
    return ids


cdef int take_key(reg_request *request, affinity) except -1:
    request.affinity = affinity_key(affinity)
    if request.policy != REG_AFFINITY:
        raise ValueError("affinity must be None unless the policy is AFFINITY: set policy too")
    return 0


cdef inline object fill_request(
        reg_request *request, policy, require, exclude, only, allow_unknown, affinity, tokens,
        prefix):
    """Fills a request except for its model. The returned object must outlive the request."""
    cdef KeysOfIds excluded = None
    cdef Blocks blocks
    memset(request, 0, sizeof(reg_request))
    if policy is not LEAST_PENDING and policy is not LEAST_PENDING_VALUE:
        if policy is AFFINITY or policy is AFFINITY_VALUE:
            request.policy = REG_AFFINITY
        else:
            request.policy = <reg_policy>policy_number(policy)
    if require is not None:
        require_into(request, require)
    if exclude is not ():
        excluded = KeysOfIds(exclude, "exclude")
        request.exclude, request.exclude_count = excluded.keys, excluded.count
    if allow_unknown is True:
        request.allow_unknown = True
    elif allow_unknown is not False:
        _checks.boolean(allow_unknown, "allow_unknown")
    if affinity is not None:
        take_key(request, affinity)
    elif request.policy == REG_AFFINITY:
        raise ValueError("affinity must be given for the policy AFFINITY: a str, bytes or int")
    if tokens is not NO_TOKENS:
        request.tokens = token_count(tokens, "tokens")
    if only is None and prefix is None:
        return excluded
    kept = [excluded]
    if only is not None:
        kept.append(limit_request(request, only))
    if prefix is not None:
        blocks = Blocks(prefix)
        request.prefix, request.prefix_count = blocks.hashes, blocks.count
        kept.append(blocks)
    return kept


def seed_random(uint64_t seed, /):
    """Seeds the random choices of the calling thread, to make them repeatable. For tests."""
    reg_seed_random(seed)
