# RegistryCore: the methods of `Registry` that are implemented in C, and the primitives that its
# other methods use. Hot methods have their bodies here. The bodies of the other methods are in the
# files of their subjects.

cdef class RegistryCore:
    """The base of `registry.Registry`: its methods in C."""

    cdef reg_registry *reg
    cdef reg_registry *unused  # the one with default settings, if others were given
    cdef object __weakref__

    def __cinit__(self):
        self.reg = reg_new(NULL)
        if self.reg == NULL:
            raise MemoryError
        share_between_threads(self)

    def __dealloc__(self):
        if self.reg != NULL:
            reg_free(self.reg, release_object)
        if self.unused != NULL:
            reg_free(self.unused, release_object)

    def _configure(self, tuple ejection, latency_ttl, clock, affinity_load, affinity_floor,
                   block_tokens, prefix_blocks, max_waiting, /):
        """Gives a new registry other settings, as `fill_settings` takes them.

        `__cinit__` can't: a subclass may have a constructor with other arguments, which passes
        settings to `Registry.__init__`. The first core is kept, so that nobody can be inside a core
        that is freed, even if threads use a registry that is still being made.
        """
        cdef reg_settings settings
        fill_settings(&settings, ejection, latency_ttl, clock, affinity_load, affinity_floor,
                      block_tokens, prefix_blocks, max_waiting)
        with cython.critical_section(self):
            if self.unused != NULL or reg_backend_count(self.reg) != 0:
                raise RuntimeError("the settings of a registry can't be changed: make another one")
            fresh = reg_new(&settings)
            if fresh == NULL:
                raise MemoryError
            self.unused, self.reg = self.reg, fresh

    # ---- reading

    def get_backend(self, backend_id, /):
        """The current view of the backend with this id, or None.

        Never blocks; expected O(1). Thread safety: atomic. Raises TypeError if the id is not a str.
        """
        cdef reg_key key
        cdef reg_view view
        if type(backend_id) is not str:
            return self.get_backend(exact_text(backend_id, "backend_id"))
        if not has_key(backend_id, &key):
            return None
        # Allocate first: nothing may be allocated during the read.
        cdef ViewBase found = empty_view(<PyTypeObject *>view_class)
        cdef reg_kept *kept = NULL
        cdef reg_reader *reader = begin_read()
        cdef reg_status status = reg_get(self.reg, &key, &view)
        if status == REG_OK:
            kept = reg_read_keep(self.reg, reader, 1)
        reg_read_end(reader)
        if status != REG_OK:
            return None
        if kept == NULL:
            raise MemoryError
        fill_view(found, &view, kept)
        return found

    def get_all_backends(self):
        """Views of all backends, in registration order, as of one instant.

        Counters are read one by one. Never blocks; O(backends), with the GIL released. Thread
        safety: atomic.
        """
        return query_all(self.reg, False)

    def get_healthy_backends(self):
        """Views of the HEALTHY backends that are not draining, in registration order.

        As of one instant. Counters are read one by one. Never blocks; O(backends), with the GIL
        released. Thread safety: atomic.
        """
        return query_all(self.reg, True)

    def get_backends_for_model(self, model_id, /):
        """Views of the backends that serve a model, in registration order, as of one instant.

        Includes backends of any status; [] if there are none. Counters are read one by one. Never
        blocks; O(backends of the model), with the GIL released. Thread safety: atomic. Raises
        TypeError if the id is not a str.
        """
        if type(model_id) is not str:
            return self.get_backends_for_model(exact_text(model_id, "model_id"))
        return query_model(self.reg, model_id)

    def find_by_mdns_instance(self, instance, /):
        """The id of the backend with this mDNS instance, or None.

        Never blocks; expected O(1). Thread safety: atomic. Raises TypeError if the instance is not
        a str.
        """
        cdef reg_key key
        instance = exact_text(instance, "instance")
        if not has_key(instance, &key):
            return None
        cdef reg_reader *reader = begin_read()
        cdef PyObject *definition = <PyObject *>reg_find_by_instance(self.reg, &key)
        Py_XINCREF(definition)
        reg_read_end(reader)
        if definition == NULL:
            return None
        try:
            return slot_get(<object>definition, backend_slots.id)
        finally:
            Py_DECREF(<object>definition)

    def backend_count(self):
        """The number of registered backends. Never blocks; O(1). Thread safety: atomic."""
        return reg_backend_count(self.reg)

    def model_count(self):
        """The number of distinct model ids. Never blocks; O(1). Thread safety: atomic."""
        return reg_model_count(self.reg)

    def models(self):
        """The distinct model ids, in the order in which they were first served.

        A model that no backend has served for a while comes at the end when it is served again. As
        of one instant. Waits for writers; O(n log n) for n models, with the GIL released. Thread
        safety: atomic.
        """
        return read_model_ids(self.reg)

    def __bool__(self):
        """True even if the registry is empty, so `registry or Registry()` returns `registry`."""
        return True

    def __reduce__(self):
        raise TypeError(
            f"a {type(self).__name__} can't be copied, pickled or sent to another process: its "
            "counters and leases belong to this process. Make one in each process, fork after it "
            "is filled, or send ids or to_json()")

    def __len__(self):
        return reg_backend_count(self.reg)

    def __contains__(self, backend_id):
        cdef reg_key key
        if not isinstance(backend_id, str):
            return False
        backend_id = exact_text(backend_id, "backend_id")
        if not has_key(backend_id, &key):
            return False
        cdef reg_status status = reg_contains(self.reg, &key)
        if status != REG_NOT_FOUND:
            check(status, None)
        return status == REG_OK

    def __iter__(self):
        return iter([view.id for view in self.get_all_backends()])

    # ---- health

    def update_status(self, backend_id, /, status, error=None, *, serial=None):
        """Sets a backend's status and last error, and sets the time of its last check to now.

        `status` is a `BackendStatus` or its value; HEALTHY always clears the error. The clock is
        read before the call waits for other writers. So of two concurrent updates, the one that
        takes effect last may have the earlier time. A status neither ejects a backend nor restores
        it; a change from UNHEALTHY to HEALTHY begins a slow start, see `Ejection`. With `serial`,
        it acts on that registration only: a probe of an old server can't mark a new one. Raises
        `BackendNotFoundError`; `ValueError`, which lists the choices, for an unknown status.
        Expected O(1). Waits for other writers. Thread safety: atomic.
        """
        if type(status) is not status_class:
            status = _checks.enum_member(status_class, status, "status")
        if error is not None:
            error = _checks.optional_text(error, "error")
        backend_id = exact_text(backend_id, "backend_id")
        cdef int health = statuses.index(status)
        if health == REG_HEALTHY:
            error = None
        update_health(self.reg, backend_id, <reg_health>health, error, serial_of(serial))

    # ---- counting

    def increment_pending(self, backend_id, /):
        """Adds 1 to the requests in flight of a backend. Returns the new value.

        Never blocks; expected O(1). Thread safety: atomic. Raises BackendNotFoundError; TypeError
        if the id is not a str; OverflowError at the limit, 2**32-1; then the counter does not
        change.
        """
        cdef reg_key key
        cdef uint32_t value = 0
        cdef reg_status status = REG_NOT_FOUND
        if type(backend_id) is not str:
            return self.increment_pending(exact_text(backend_id, "backend_id"))
        if has_key(backend_id, &key):
            status = reg_increment_pending(self.reg, &key, &value)
        check(status, backend_id)
        return value

    def decrement_pending(self, backend_id, /):
        """Subtracts 1 from the requests in flight of a backend. Returns the new value.

        If the counter is 0, it stays 0 and a warning is logged. If it becomes 0, the calls of
        `wait_idle` and `idle` that wait for it end. Never blocks, except that ending a wait takes a
        lock for a few steps; expected O(1), plus the waiters. Thread safety: atomic. Raises
        BackendNotFoundError; TypeError if the id is not a str.
        """
        cdef reg_key key
        cdef uint32_t value = 0
        cdef reg_aftermath after = reg_aftermath(0, NULL)
        cdef reg_status status = REG_NOT_FOUND
        if type(backend_id) is not str:
            return self.decrement_pending(exact_text(backend_id, "backend_id"))
        if has_key(backend_id, &key):
            status = reg_decrement_pending(self.reg, &key, &value, &after)
        check(status, backend_id)
        if after.flags != 0:
            conclude(self.reg, &after, backend_id)
        return value

    def increment_total_requests(self, backend_id, /):
        """Adds 1 to the total of requests of a backend. Returns the new value, a uint64.

        Never blocks; expected O(1). Thread safety: atomic. Raises BackendNotFoundError; TypeError
        if the id is not a str.
        """
        cdef reg_key key
        cdef uint64_t value = 0
        cdef reg_status status = REG_NOT_FOUND
        if type(backend_id) is not str:
            return self.increment_total_requests(exact_text(backend_id, "backend_id"))
        if has_key(backend_id, &key):
            status = reg_increment_total(self.reg, &key, &value)
        check(status, backend_id)
        return value

    def update_latency(self, backend_id, latency_ms, /):
        """Updates the average latency with a sample in ms, 0 to 2**32-1. Returns the new average.

        The average is an exponential moving average with weight 1/5, in integers: (sample + 4 *
        old) // 5. The first sample becomes the average. Never blocks; expected O(1). Thread safety:
        atomic. Raises BackendNotFoundError; TypeError or ValueError for a bad sample; TypeError if
        the id is not a str.
        """
        cdef reg_key key
        cdef uint32_t average = 0
        cdef uint32_t sample = sample_of(latency_ms, "latency_ms")
        cdef reg_status status = REG_NOT_FOUND
        if type(backend_id) is not str:
            return self.update_latency(exact_text(backend_id, "backend_id"), latency_ms)
        if has_key(backend_id, &key):
            status = reg_update_latency(self.reg, &key, sample, &average)
        check(status, backend_id)
        return average

    def increment_pending_many(self, ids, /):
        """Calls `increment_pending` for each id, in order. Returns the new values.

        All ids are checked first: if one is bad or unknown, nothing is counted. Raises the errors
        of `increment_pending`; OverflowError says how many increments were applied. O(ids), with
        the GIL released. Thread safety: each increment is atomic, the batch is not.
        """
        return increment_many(self.reg, ids)

    def decrement_pending_many(self, ids, /):
        """Calls `decrement_pending` for each id, in order. Returns the new values.

        All ids are checked first: if one is bad or unknown, nothing is counted. Raises the errors
        of `decrement_pending`. O(ids), with the GIL released. Thread safety: each decrement is
        atomic, the batch is not.
        """
        return decrement_many(self.reg, ids)

    def update_latency_many(self, ids, samples, /):
        """Calls `update_latency` for each id and its sample, in order. Returns the new averages.

        All arguments are checked first: if one is bad, or an id is unknown, no average changes.
        Raises the errors of `update_latency`; ValueError if there is not exactly one sample for
        each id. O(ids), with the GIL released. Thread safety: each update is atomic, the batch is
        not.
        """
        return update_many(self.reg, ids, samples)

    # ---- choosing

    def acquire(self, model_id, /, *, policy="least_pending", require=None, exclude=(), only=None,
                allow_unknown=False, affinity=None, tokens=0, prefix=None):
        """Chooses a backend for a model and counts one request in flight on it, in one atomic step.

        Returns the `Lease`. A backend qualifies if it serves the model, its status is HEALTHY (or
        UNKNOWN, with `allow_unknown`), it is not draining, cooling down or ejected, it has fewer
        than `max_pending` requests in flight, its id is not in `exclude` and, unless `only` is
        None, is in `only`, and its entry for the model meets `require`, a `Requirements`. Both are
        iterables of ids, which may be unknown. `policy`, a `Policy` or its value, chooses among
        those. `affinity` is the key of AFFINITY, needed for that policy and for no other: a str,
        bytes, or an int from -2**63 to 2**64-1. A backend whose ejection is over gets one request
        at a time, as a trial; see `Ejection`.

        `tokens` is the work that the request puts in front of others, 0 to 2**32-1: the tokens of
        its prompt, and those of the expected output if they are to count. They count on the chosen
        backend from the same step on: see `Lease.tokens`. A backend with `max_pending_tokens` has
        room if its sum and `tokens` do not exceed it. A request that is bigger than the limit has
        room where nothing is in flight, or it would wait for ever.

        `prefix` has a hash for each block of the prompt, of everything up to the end of the block,
        as `prefix_blocks` returns them: a sequence of ints from -2**63 to 2**64-1, taken modulo
        2**64, or a one-dimensional buffer of integers. The choice notes them on the chosen backend,
        for this model: its engine will have them when the next request comes. Of each backend and
        model the registry's `prefix_blocks` most recently used blocks are known. LEAST_TOKENS with
        a prefix counts only the tokens that the backend does not have yet, max(`tokens` - cached,
        1), in the comparison, in the sum and in the lease. There, cached is `block_tokens` times
        the number of leading blocks that are known: see `Lease.cached_tokens`. What is known is
        looked up once for each backend, during the choice. Other policies only note the blocks.

        Raises NoBackendAvailableError if no backend qualifies, with the reason for each, as of one
        instant; TypeError or ValueError for a bad argument.

        Lock-free. If other threads disturb many attempts, a last attempt holds the writer lock and
        decides after one pass over the backends. It chooses the best backend that this pass saw. If
        it refuses the request, each backend that it reports as full was full when the pass read it.
        ROUND_ROBIN takes the registry's turns lock, which only ROUND_ROBIN and `stats` use. Noting
        a prefix takes a lock, for O(blocks). For the cost see `Policy`; a long choice releases the
        GIL. With `only`, the cost is O(ids * models of each backend), whatever the number of the
        model's backends, except for ROUND_ROBIN and for a refusal. Thread safety: atomic.
        """
        return acquire_lease(
            self, model_id, policy, require, exclude, only, allow_unknown, affinity, tokens,
            prefix)

    def select(self, model_id, /, *, policy="least_pending", require=None, exclude=(), only=None,
               allow_unknown=False, affinity=None, tokens=0, prefix=None):
        """Returns the `Backend` that `acquire` would choose, but counts no request.

        Turns and ties advance as with `acquire`, but no blocks are noted. Arguments, errors, cost
        and thread safety are those of `acquire`; the GIL is always released.
        """
        return select_backend(
            self.reg, model_id, policy, require, exclude, only, allow_unknown, affinity, tokens,
            prefix)

    def explain(self, model_id, /, *, policy="least_pending", require=None, exclude=(), only=None,
                allow_unknown=False, affinity=None, tokens=0, prefix=None):
        """Returns how `acquire` would rank the backends of a model now, as a list of `Candidate`.

        First come the backends that qualify, in the order in which they would be chosen; then the
        others, with the reason. [] if no backend lists the model. Nothing is chosen or counted.

        As of one instant; counters are read one by one. ROUND_ROBIN takes the registry's turns
        lock. O(n log n) for n backends of the model, with the GIL released. Thread safety: atomic.
        Raises TypeError or ValueError for a bad argument.
        """
        return explain_choice(
            self.reg, model_id, policy, require, exclude, only, allow_unknown, affinity, tokens,
            prefix)

    def waiting(self, model_id, /):
        """How many calls of `acquire_wait` and `acquire_async` wait for a backend of a model.

        0 for an unknown model. If anybody waits, it takes the line's lock; O(models that are waited
        for), with the GIL released. Thread safety: atomic. Raises TypeError if the id is not a str.
        """
        return count_waiting(self.reg, model_id)

    # ---- primitives for `Registry`; their arguments are checked and of exact types

    def _add(self, definition, str url not None, instance, /):
        """Registers a `Backend`. `url` is normalized; `instance` is its mDNS instance or None."""
        add(self.reg, definition, url, instance)

    def _read(self, str backend_id not None, /):
        """The definition of a backend and its registration's serial.

        Raises BackendNotFoundError.
        """
        return read_definition(self.reg, backend_id)

    def _redefine(self, expected, uint64_t serial, definition, instance, /):
        """Replaces the definition of one registration; False if it is no longer `expected`.

        Raises BackendNotFoundError; ValueError if another backend holds the instance.
        """
        return redefine(self.reg, expected, serial, definition, instance)

    def _replace(self, expected, uint64_t serial, definition, str url not None, instance, /):
        """Replaces one registration by a new one of another server, in the same place.

        Returns and raises the same as `_redefine`. `url` is normalized.
        """
        return replace(self.reg, expected, serial, definition, url, instance)

    def _fleet(self, /):
        """The version of this instant, and the definitions of all backends in their order."""
        return read_fleet(self.reg)

    def _apply(self, list changes not None, uint64_t fleet, /):
        """Makes all changes in one write; False if the fleet is no longer that of version `fleet`.

        A change is a tuple: kind, definition (for a removal the id), normalized url (None if it
        keeps its server), mDNS instance or None. The kinds are ADDED, REMOVED, REPLACED, UPDATED.
        """
        return apply_all(self.reg, changes, fleet)

    def _remove(self, str backend_id not None, serial, /):
        """Removes a backend; returns its last view. Raises BackendNotFoundError.

        `serial` may be None: any registration.
        """
        return remove(self.reg, backend_id, serial_of(serial))

    def _set_draining(self, str backend_id not None, serial, bint draining, /):
        """Sets or clears `draining`. `serial` as in `_remove`. Raises BackendNotFoundError."""
        set_draining(self.reg, backend_id, serial_of(serial), draining)

    def _cool_down(self, str backend_id not None, serial, uint64_t nanoseconds, /):
        """Begins a cool-down. `serial` as in `_remove`. Raises BackendNotFoundError."""
        cool_down(self.reg, backend_id, serial_of(serial), nanoseconds)

    def _restore(self, str backend_id not None, serial, /):
        """Restores a backend. `serial` as in `_remove`. Raises BackendNotFoundError."""
        restore(self.reg, backend_id, serial_of(serial))

    def _wait(self, str backend_id not None, serial, IdleWaiter waiter, /):
        """Whether nothing is in flight on a backend; if something is, `waiter` begins to wait.

        `serial` as in `_remove`; `waiter` None: only look. Raises BackendNotFoundError.
        """
        return begin_wait(self.reg, backend_id, serial_of(serial), waiter)

    def _stats(self, /):
        """The fields of `RegistryStats`, in order."""
        return read_stats(self.reg)

    def _has_url(self, str url not None, /):
        """Whether a backend has this normalized url."""
        cdef reg_key key
        return has_key(url, &key) and reg_has_url(self.reg, &key) == REG_OK
