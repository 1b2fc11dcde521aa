# Hashes of how prompts begin: `prefix_key` and `prefix_blocks`.
#
# What is read belongs to the caller, and other threads may change it meanwhile: lists, messages,
# arrays. So every object that is used has a reference here, and a str never changes.

cdef enum:
    # Hashes that are fetched from the core at once.
    HASHES = 64
    # From this number of characters or ids on, the GIL is released, and at most once in so many, if
    # blocks are short. Less takes at most 0.1 ms, and getting the GIL back from a busy thread can
    # take 5 ms.
    LONG_INPUT = 65536

cdef str PROMPT = "a str or a sequence of messages"
cdef str CONTENT = "a str, None or a list of parts"
cdef str IDS = "a sequence of int or a one-dimensional buffer of integers"
cdef str NATIVE_ORDER = "@=<" if sys.byteorder == "little" else "@=>!"


cdef inline bint is_plain_count(PyObject *value, uint64_t *count) noexcept:
    """Whether the value is an exact int from 0 to 2**63-1. If so, stores it in `count`."""
    cdef int overflow
    if not PyLong_CheckExact(value):
        return False
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    count[0] = <uint64_t>number
    return overflow == 0 and number >= 0


cdef uint64_t size_from(value, str argument) except 0:
    """The size of a block, 1 to 2**64-1."""
    cdef uint64_t size
    if is_plain_count(<PyObject *>value, &size) and size != 0:
        return size
    return _checks.integer(value, argument, 1, UINT64_LIMIT)


cdef bint is_sequence(values) except -1:
    """Whether this is a sequence other than str, bytes and bytearray.

    Loops below go over `iter` of it, because other threads may change it meanwhile. Cython's own
    loop over a list could then raise IndexError.
    """
    cdef type kind = type(values)
    if kind is list or kind is tuple:
        return True
    return not issubclass(kind, (str, bytes, bytearray)) and issubclass(kind, Sequence)


@cython.final
@cython.no_gc
cdef class Prompt:
    """A prompt while it is hashed, and the place that is being read, for the texts of errors."""

    cdef reg_prefix prefix
    cdef list hashes  # of each full block; None if only the first one is wanted
    cdef uint64_t first
    cdef bint has_first
    cdef str argument
    cdef Py_ssize_t message, part  # the index, or -1

    cdef int read(self, prompt, str argument) except -1:
        self.argument = argument
        self.message = self.part = -1
        if isinstance(prompt, str):
            self.add_text(prompt, None)
            return 0
        if not is_sequence(prompt):
            raise _checks.type_error(argument, PROMPT, prompt)
        for message in iter(prompt):
            self.message += 1
            self.add_message(message)
            if self.has_first:
                break
        return 0

    cdef int add_message(self, message) except -1:
        role = self.field_of(message, "role")
        reg_prefix_mark(&self.prefix, REG_ROLE_MARK)
        self.add_text(role, "role")
        if self.has_first:
            return 0
        content = self.field_of(message, "content")
        reg_prefix_mark(&self.prefix, REG_CONTENT_MARK)
        if isinstance(content, str):
            self.add_text(content, "content")
        elif is_sequence(content):
            self.add_parts(content)
        elif content is not None:
            raise _checks.type_error(self.place("content"), CONTENT, content)
        return 0

    cdef int add_parts(self, parts) except -1:
        for part in iter(parts):
            self.part += 1
            kind = self.field_of(part, "type")
            if isinstance(kind, str) and PyUnicode_CompareWithASCIIString(kind, b"text") == 0:
                self.add_text(self.field_of(part, "text"), "text")
                if self.has_first:
                    break
        self.part = -1
        return 0

    cdef object field_of(self, mapping, str field):
        """The value of a field, or None if there is none."""
        if type(mapping) is dict:
            return dict_get(mapping, field)
        if not issubclass(type(mapping), Mapping):
            raise _checks.type_error(self.place(None), "a mapping", mapping)
        return mapping.get(field)

    cdef int add_text(self, text, str field) except -1:
        """Adds a text. If only the first block is wanted, adds no more than that."""
        cdef reg_text characters
        cdef uint64_t found[HASHES]
        cdef size_t at = 0, due = 0, count, i
        if not isinstance(text, str):
            raise _checks.type_error(self.place(field), "a str", text)
        text_of(text, &characters)
        if self.hashes is None and characters.length > self.prefix.left:
            characters.length = self.prefix.left
        while at < characters.length:
            if characters.length - at < LONG_INPUT or at < due:
                count = reg_prefix_add_text(&self.prefix, &characters, &at, found, HASHES)
            else:
                due = at + LONG_INPUT
                with nogil:
                    count = reg_prefix_add_text(&self.prefix, &characters, &at, found, HASHES)
            for i in range(count):
                if self.hashes is not None:
                    self.hashes.append(found[i])
                else:
                    self.has_first, self.first = True, found[i]
            if count < HASHES and at < characters.length:
                raise ValueError(
                    f"{self.place(field)} must be free of lone surrogates, "
                    f"but has one at index {at}")
        return 0

    cdef str place(self, str field):
        """The place of a value, such as `text[0]['content'][2]['text']`."""
        if self.message < 0:
            return self.argument
        cdef str message = f"{self.argument}[{self.message}]"
        if self.part >= 0:
            message = f"{message}['content'][{self.part}]"
        return message if field is None else f"{message}[{field!r}]"


def prefix_key(text, /, *, length=1024):
    """Returns a hash of the first `length` characters of a prompt, an int from 0 to 2**64-1.

    `text` is the prompt, a str, or a sequence of chat messages: mappings with `role` and `content`.
    Prompts that begin alike have the same key. To send them to the same backend, which has their
    beginning in its cache, choose by the key:

        registry.acquire(model, policy="affinity", affinity=prefix_key(messages))

    The key is XXH64, with seed 0, of the characters in UTF-8: the same in every process and on
    every host. A prompt that is shorter than `length` counts as a whole. Not for security: who
    writes the prompts can make keys collide.

    Messages count with their roles and contents, one after the other. The byte FF stands before
    each role and FE before each content; UTF-8 has no such bytes, and they do not count toward
    `length`, which is at least 1. A content that is a list or a tuple counts with the texts of its
    parts, the mappings whose `type` is "text", joined without a separator. A content that is None
    or missing is empty. Other parts and other keys are ignored, and so is all that comes after the
    first `length` characters.

    O(length); the GIL is released for texts of at least 65,536 characters. Thread safety: shared
    objects; other threads may change the messages, and each value is read once. Raises TypeError
    for a wrong type; ValueError for a bad length, or a lone surrogate in the characters that count.
    """
    cdef Prompt prompt = Prompt.__new__(Prompt)
    reg_prefix_begin(&prompt.prefix, size_from(length, "length"))
    prompt.read(text, "text")
    return prompt.first if prompt.has_first else reg_prefix_hash(&prompt.prefix)


def prefix_blocks(text_or_messages, /, *, block_chars=2048):
    """Returns a hash for each full block of `block_chars` characters of a prompt, as a list of int.

    Each is a hash of everything up to the end of its block, from 0 to 2**64-1. So two prompts have
    as many leading hashes in common as they have leading blocks in common. Whoever keeps the hashes
    of the prompts that went to a backend can tell how much of a new one it has read already.

    The prompt is a str or a sequence of chat messages, as for `prefix_key`, and so is the hash:
    `prefix_blocks(p)[n]` is `prefix_key(p, length=(n + 1) * 2048)`. A prompt that grows at its end
    keeps its hashes: text may be appended to the last content, and messages to the others.
    Characters behind the last full block have no hash, because engines cache full blocks only: a
    prompt shorter than `block_chars`, which is at least 1, gives [].

    O(characters); the GIL is released for texts of at least 65,536 characters. Thread safety:
    shared objects; other threads may change the messages, and each value is read once. Raises
    TypeError for a wrong type; ValueError for a bad block size, or a lone surrogate.
    """
    cdef Prompt prompt = Prompt.__new__(Prompt)
    reg_prefix_begin(&prompt.prefix, size_from(block_chars, "block_chars"))
    prompt.hashes = []
    prompt.read(text_or_messages, "text_or_messages")
    return prompt.hashes


# ---- token ids

def prefix_blocks_of_tokens(ids, /, *, block_tokens):
    """Returns a hash for each full block of `block_tokens` token ids, as a list of int.

    Like `prefix_blocks`, for callers that have tokenized the prompt. `ids` is a sequence of int
    from 0 to 2**64-1, or a one-dimensional buffer of integers, such as an `array` or a NumPy array,
    which is faster. The hash is XXH64, with seed 0, of the ids as 8 bytes each, lowest byte first;
    so the type of the sequence makes no difference. Ids behind the last full block have no hash.
    `block_tokens` is at least 1.

    O(ids); the GIL is released for buffers of at least 65,536 ids. Thread safety: shared objects;
    other threads may change the sequence, and each id is read once. Raises TypeError for a wrong
    type; ValueError for an id or a block size out of range.
    """
    cdef reg_prefix prefix
    cdef list hashes = []
    reg_prefix_begin(&prefix, size_from(block_tokens, "block_tokens"))
    cdef type kind = type(ids)
    if (kind is not list and kind is not tuple and PyObject_CheckBuffer(ids)
            and not issubclass(kind, (bytes, bytearray))):
        add_buffer(&prefix, ids, hashes)
    elif is_sequence(ids):
        add_ids(&prefix, ids, hashes)
    else:
        raise _checks.type_error("ids", IDS, ids)
    return hashes


cdef uint64_t id_from(value, Py_ssize_t i) except? 0:
    cdef uint64_t number
    if is_plain_count(<PyObject *>value, &number):
        return number
    return _checks.integer(value, f"ids[{i}]", 0, UINT64_LIMIT)


cdef int add_ids(reg_prefix *prefix, ids, list hashes) except -1:
    cdef uint64_t given[HASHES]
    cdef Py_ssize_t i = 0
    for value in iter(ids):
        given[i % HASHES] = id_from(value, i)
        i += 1
        if i % HASHES == 0:
            add_given(prefix, given, HASHES, hashes)
    return add_given(prefix, given, i % HASHES, hashes)


cdef int add_given(
        reg_prefix *prefix, const uint64_t *given, size_t count, list hashes) except -1:
    cdef reg_numbers numbers = reg_numbers(
        <const char *>given, sizeof(uint64_t), count, sizeof(uint64_t), False)
    return add_numbers(prefix, &numbers, hashes)


cdef int add_buffer(reg_prefix *prefix, ids, list hashes) except -1:
    """Adds what an object shows through the buffer protocol."""
    cdef Py_buffer view
    cdef reg_numbers numbers
    PyObject_GetBuffer(ids, &view, PyBUF_RECORDS_RO)
    try:
        if not are_integers(&view, &numbers):
            raise _checks.type_error("ids", IDS, ids)
        return add_numbers(prefix, &numbers, hashes)
    finally:
        PyBuffer_Release(&view)


cdef int add_numbers(reg_prefix *prefix, const reg_numbers *numbers, list hashes) except -1:
    cdef uint64_t found[HASHES]
    cdef size_t at = 0, due = 0, count, i
    while at < numbers.length:
        if numbers.length - at < LONG_INPUT or at < due:
            count = reg_prefix_add_numbers(prefix, numbers, &at, found, HASHES)
        else:
            due = at + LONG_INPUT
            with nogil:
                count = reg_prefix_add_numbers(prefix, numbers, &at, found, HASHES)
        for i in range(count):
            hashes.append(found[i])
        if count < HASHES and at < numbers.length:
            raise ValueError(f"ids[{at}] must be from 0 to {UINT64_LIMIT}, not negative")
    return 0
