# cython: language_level=3, freethreading_compatible=True
# cython: binding=False, always_allow_keywords=False, embedsignature=True, embedsignature.format=clinic
"""The binding: Python objects to keys and back, argument checks, status to exception. All that is kept and counted is in src_c/.

Who holds what. The core owns one reference of each object that it was given and gives it back as garbage, which `drop` releases with the
thread state attached and no lock held. The objects in a `reg_view` are borrowed until `reg_read_end`, or, for views, kept by the core until
`reg_keep_drop`; between begin and end nothing here allocates a Python object or runs foreign code.

The GIL is released (the thread state detached) around whatever grows with the fleet or may wait for a writer, and not around single
counter operations and point reads, where that would cost more than the work itself.
"""

import logging
import warnings
from datetime import datetime, timedelta, timezone

cimport cython
from cpython.exc cimport PyErr_Clear, PyErr_ExceptionMatches
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, Py_XINCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from registry._core.c_api cimport *

from registry import _checks, _single_import
from registry.errors import BackendNotFoundError, DuplicateBackendError, NoBackendAvailableError
from registry.selection import Candidate, Policy, Requirements

cdef extern from "Python.h":
    str PyUnicode_FromObject(object text)
    str PyUnicode_DecodeUTF8(const char *bytes, Py_ssize_t length, const char *errors)
    bint PyUnicode_CheckExact(PyObject *text)
    bint PyLong_CheckExact(PyObject *value)
    long long PyLong_AsLongLongAndOverflow(PyObject *value, int *overflow)
    PyObject *PyList_GET_ITEM(list values, Py_ssize_t i)  # borrowed: of lists that nobody else has

cdef object UINT32_LIMIT = 2**32 - 1
cdef object logger = logging.getLogger("registry")
cdef object EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
cdef object MICROSECOND = timedelta(microseconds=1)


cdef int start() except -1:
    cdef const char *lacking = reg_start()
    if lacking == NULL:
        return 0
    raise ImportError(f"registry can't work in this process: {lacking.decode()}")


start()

include "arguments.pxi"
include "views.pxi"
include "models.pxi"
include "batch.pxi"
include "selection.pxi"


cdef object lease_of(registry, model_id, policy, require, exclude, allow_unknown):
    """`RegistryCore.acquire`."""
    cdef reg_registry *reg = (<RegistryCore>registry).reg
    cdef reg_request request
    cdef reg_refusal refusal
    cdef reg_status status
    if type(model_id) is not str:
        return lease_of(registry, exact_text(model_id, "model_id"), policy, require, exclude, allow_unknown)
    exclusion = fill_request(&request, policy, require, exclude, allow_unknown)
    if not has_key(model_id, &request.model_id):
        raise NoBackendAvailableError(model_id)
    cdef Lease lease = Lease.__new__(Lease)
    status = reg_acquire(reg, &request, &lease.lease, &refusal)
    if status == REG_WOULD_BLOCK:
        request.may_block = True
        with nogil:
            status = reg_acquire(reg, &request, &lease.lease, &refusal)
    if status == REG_NONE_AVAILABLE:
        raise_refusal(&refusal, &request, model_id)
    check(status, None)
    lease.keep_id(model_id, &request.model_id)
    return lease


cdef class RegistryCore:
    """The registry's hot operations, straight from C, and the primitives of the cold ones (see `registry.Registry`)."""

    cdef reg_registry *reg
    cdef object __weakref__

    def __cinit__(self):
        self.reg = reg_new()
        if self.reg == NULL:
            raise MemoryError
        share_between_threads(self)

    def __dealloc__(self):
        if self.reg != NULL:
            reg_free(self.reg, release_object)

    # ---- reading

    cdef list query_all(self, bint healthy_only):
        cdef Found found
        cdef reg_reader *reader = begin_read()
        with nogil:
            found.status = reg_get_all(self.reg, healthy_only, &found.views)
            end_query(self.reg, reader, &found)
        return views_from(&found)

    def get_backend(self, backend_id, /):
        """The backend with this id as it is now, or None.

        Never waits; expected O(1). Thread safety: atomic. TypeError if the id is not a str.
        """
        cdef reg_key key
        cdef reg_view view
        if type(backend_id) is not str:
            return self.get_backend(exact_text(backend_id, "backend_id"))
        if not has_key(backend_id, &key):
            return None
        cdef ViewBase found = empty_view(<PyTypeObject *>view_class)  # what may fail comes first
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
        """All backends in registration order, as of one instant (the counters as they are passed).

        O(backends); never waits, with the GIL released while it reads. Thread safety: atomic.
        """
        return self.query_all(False)

    def get_healthy_backends(self):
        """The backends with status HEALTHY in registration order, as of one instant.

        O(backends); never waits, with the GIL released while it reads. Thread safety: atomic.
        """
        return self.query_all(True)

    def get_backends_for_model(self, model_id, /):
        """The backends that serve this model, of any status, in registration order, as of one instant; [] if there are none.

        O(backends that serve it); never waits, with the GIL released while it reads. Thread safety: atomic. TypeError if the
        id is not a str.
        """
        cdef reg_key key
        cdef Found found
        if type(model_id) is not str:
            return self.get_backends_for_model(exact_text(model_id, "model_id"))
        if not has_key(model_id, &key):
            return []
        cdef reg_reader *reader = begin_read()
        with nogil:
            found.status = reg_get_for_model(self.reg, &key, &found.views)
            end_query(self.reg, reader, &found)
        return views_from(&found)

    def find_by_mdns_instance(self, instance, /):
        """The id of the backend with this mDNS instance, or None.

        Never waits; expected O(1). Thread safety: atomic. TypeError if the instance is not a str.
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
        """How many backends are registered. Never waits; O(1). Thread safety: atomic."""
        return reg_backend_count(self.reg)

    def model_count(self):
        """How many distinct model ids the backends serve. Never waits; O(1). Thread safety: atomic."""
        return reg_model_count(self.reg)

    def __bool__(self):
        """Always: an empty registry is a registry, and `registry or Registry()` keeps it."""
        return True

    def __reduce__(self):
        raise TypeError(
            f"a {type(self).__name__} can't be copied, pickled or sent to another process: its "
            "counters and leases are of this one. Make one in each process, fork after it is filled, "
            "or send ids or to_json()")

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

    # ---- counting

    def increment_pending(self, backend_id, /):
        """One more request in flight; returns how many there are now.

        Never waits; expected O(1). Thread safety: atomic. BackendNotFoundError; OverflowError at 2**32-1, which it stays;
        TypeError if the id is not a str.
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
        """One request less in flight; returns how many there are now. At 0 it stays 0 and logs a warning.

        Never waits; expected O(1). Thread safety: atomic. BackendNotFoundError; TypeError if the id is not a str.
        """
        cdef reg_key key
        cdef uint32_t value = 0
        cdef c_bool at_zero = False
        cdef reg_status status = REG_NOT_FOUND
        if type(backend_id) is not str:
            return self.decrement_pending(exact_text(backend_id, "backend_id"))
        if has_key(backend_id, &key):
            status = reg_decrement_pending(self.reg, &key, &value, &at_zero)
        check(status, backend_id)
        if at_zero:
            warn_at_zero(backend_id)
        return value

    def increment_total_requests(self, backend_id, /):
        """One more request in total; returns how many there were.

        Never waits; expected O(1). Thread safety: atomic. BackendNotFoundError; TypeError if the id is not a str.
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
        """Feeds the average with one sample in ms, 0 to 2**32-1; returns the new average in ms.

        An integer exponential moving average with weight 1/5: (sample + 4 * old) // 5; the first sample sets it. Never
        waits; expected O(1). Thread safety: atomic. BackendNotFoundError; TypeError and ValueError for a bad sample.
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
        """`increment_pending` for each id, in order, with the GIL released; returns the new values.

        All ids are checked first: a bad or unknown one changes nothing. Then each is counted by itself; at a counter's limit
        OverflowError says how many were applied. O(ids). Thread safety: each count is atomic, the batch is not.
        """
        cdef Batch batch = Batch(ids)
        cdef reg_status status
        batch.find_keys()
        with nogil:
            status = reg_increment_pending_many(self.reg, &batch.batch)
        return batch.result(status)

    def decrement_pending_many(self, ids, /):
        """`decrement_pending` for each id, in order, with the GIL released; returns the new values.

        All ids are checked first: a bad or unknown one changes nothing. O(ids). Thread safety: each count is atomic, the
        batch is not.
        """
        cdef Batch batch = Batch(ids)
        cdef reg_status status
        cdef size_t i
        batch.find_keys()
        with nogil:
            status = reg_decrement_pending_many(self.reg, &batch.batch)
        values = batch.result(status)
        for i in range(batch.batch.count):
            if batch.batch.at_zero[i]:
                warn_at_zero(batch.ids[i])
        return values

    def update_latency_many(self, ids, samples, /):
        """`update_latency` for each id and sample (ms), in order, with the GIL released; returns the new averages.

        All arguments are checked first: a bad one or an unknown id changes nothing; ids and samples must be equally many. O(ids).
        Thread safety: each update is atomic, the batch is not.
        """
        cdef Batch batch = Batch(ids)
        cdef reg_status status
        batch.take_samples(samples)
        batch.find_keys()
        with nogil:
            status = reg_update_latency_many(self.reg, &batch.batch)
        return batch.result(status)

    # ---- choosing

    def acquire(self, model_id, /, *, policy="least_pending", require=None, exclude=(), allow_unknown=False):
        """Chooses a backend that serves the model, and counts one request in flight on it, in one step; returns the `Lease`.

        Only HEALTHY backends are chosen (UNKNOWN ones too with `allow_unknown`), none that is at its `max_pending`, none whose id
        is in `exclude`, none whose entry for the model lacks what the `Requirements` ask. `policy` is a `Policy` or its value.
        NoBackendAvailableError where none is left, with the reasons as of that instant; TypeError and ValueError name the argument.

        Lock-free, and bounded: a choice that others disturb again and again, or a refusal, is made in the end of what one pass
        over the candidates sees, while writers wait. ROUND_ROBIN waits for other round robins. Cost as `Policy` says, with the GIL released where the choice is long.
        Thread safety: atomic.
        """
        return lease_of(self, model_id, policy, require, exclude, allow_unknown)

    def select(self, model_id, /, *, policy="least_pending", require=None, exclude=(), allow_unknown=False):
        """The `Backend` that `acquire` would choose, without the count; whatever takes turns moves on. All else as `acquire`."""
        cdef reg_request request
        cdef reg_refusal refusal
        cdef reg_status status
        cdef void *definition = NULL
        cdef reg_reader *reader
        model_id = exact_text(model_id, "model_id")
        exclusion = fill_request(&request, policy, require, exclude, allow_unknown)
        request.may_block = True
        if not has_key(model_id, &request.model_id):
            raise NoBackendAvailableError(model_id)
        reader = begin_read()
        with nogil:
            status = reg_select(self.reg, reader, &request, &definition, &refusal)
        Py_XINCREF(<PyObject *>definition)
        reg_read_end(reader)
        if status == REG_NONE_AVAILABLE:
            raise_refusal(&refusal, &request, model_id)
        check(status, None)
        chosen = <object>definition
        Py_DECREF(chosen)
        return chosen

    def explain(self, model_id, /, *, policy="least_pending", require=None, exclude=(), allow_unknown=False):
        """Every backend of the model as `acquire` sees it now, as a list of `Candidate`: the next choice first, then those that
        would follow, then those that can't be chosen, with the reason. [] where no backend lists the model.

        Chooses nothing. As of one instant, the counters as they are passed. O(backends of the model * log of it), with the GIL
        released. Thread safety: atomic. TypeError and ValueError name the argument.
        """
        cdef reg_request request
        model_id = exact_text(model_id, "model_id")
        exclusion = fill_request(&request, policy, require, exclude, allow_unknown)
        return explained(self.reg, &request) if has_key(model_id, &request.model_id) else []

    # ---- primitives of the cold operations; their arguments are checked and exact

    def _add(self, definition, str url not None, instance, /):
        """Registers an exact `Backend`; `url` is normalized, `instance` the mDNS instance or None."""
        exactly(definition, backend_class, "backend")
        cdef HeldModels held = hold_models(self.reg, slot_get(definition, backend_slots.models))
        cdef reg_garbage *garbage
        cdef reg_status status
        cdef reg_entry entry
        id = slot_get(definition, backend_slots.id)
        definition = shared_definition(definition, held)
        fill_entry(&entry, id, definition, instance, held)
        key_of(url, &entry.url)
        entry.id_object = <void *>id
        entry.now = now_microseconds()
        fill_limits(&entry, definition)
        Py_INCREF(id)
        Py_INCREF(definition)
        with nogil:
            status = reg_add(self.reg, &entry, &garbage)
        if status == REG_OK:
            held.pass_on()
        else:
            Py_DECREF(id)
            Py_DECREF(definition)
        drop(garbage)
        check(status, id)

    def _read(self, str backend_id not None, /):
        """The definition of a backend and the number of its registration, for `_redefine`; BackendNotFoundError."""
        cdef reg_key key
        cdef reg_view view
        cdef reg_status status = REG_NOT_FOUND
        cdef reg_reader *reader
        if has_key(backend_id, &key):
            reader = begin_read()
            status = reg_get(self.reg, &key, &view)
            if status == REG_OK:
                Py_INCREF(<object>view.definition)
            reg_read_end(reader)
        check(status, backend_id)
        definition = <object>view.definition
        Py_DECREF(definition)
        return definition, view.serial

    def _redefine(self, expected, uint64_t serial, definition, instance, /):
        """Replaces the definition of one registration; False if it is not `expected` any more. BackendNotFoundError; ValueError
        where another backend holds the instance."""
        exactly(definition, backend_class, "backend")
        cdef HeldModels held = hold_models(self.reg, slot_get(definition, backend_slots.models))
        cdef reg_garbage *garbage
        cdef reg_status status
        cdef reg_entry entry
        id = slot_get(definition, backend_slots.id)
        definition = shared_definition(definition, held)
        fill_entry(&entry, id, definition, instance, held)
        Py_INCREF(definition)
        with nogil:
            status = reg_redefine(self.reg, &entry, serial, <void *>expected, &garbage)
        if status == REG_OK:
            held.pass_on()
        else:
            Py_DECREF(definition)
        drop(garbage)
        if status == REG_CHANGED:
            return False
        check(status, id)
        return True

    def _remove(self, str backend_id not None, /):
        """Takes a backend out; returns its last view. BackendNotFoundError."""
        cdef reg_key key
        cdef reg_view view
        cdef reg_garbage *garbage
        cdef reg_status status
        if not has_key(backend_id, &key):
            raise BackendNotFoundError(backend_id)
        # What may fail comes first: a removal cannot be taken back.
        cdef ViewBase last = empty_view(<PyTypeObject *>view_class)
        cdef reg_kept *kept
        with nogil:
            status = reg_remove(self.reg, &key, &view, &kept, &garbage)
        if status == REG_OK:
            fill_view(last, &view, kept)
        drop(garbage)
        check(status, backend_id)
        return last

    def _update_health(self, str backend_id not None, status_member, error, /):
        """Sets status, check time (now) and error (a str or None). BackendNotFoundError."""
        cdef reg_key key
        cdef reg_garbage *garbage = NULL
        cdef reg_status status = REG_NOT_FOUND
        cdef reg_health health = <reg_health><int>statuses.index(status_member)
        cdef PyObject *owned = NULL if error is None else <PyObject *>error
        cdef size_t error_bytes = 0 if error is None else text_bytes(error)
        cdef int64_t now = now_microseconds()
        if has_key(backend_id, &key):
            Py_XINCREF(owned)
            with nogil:
                status = reg_update_health(self.reg, &key, health, now, owned, error_bytes, &garbage)
            if status != REG_OK:
                Py_XDECREF(owned)
            drop(garbage)
        check(status, backend_id)

    def _stats(self, /):
        """The fields of `RegistryStats`, in order."""
        cdef reg_stats stats
        cdef reg_garbage *garbage
        with nogil:
            stats = reg_get_stats(self.reg, &garbage)
        drop(garbage)
        return (stats.backends, stats.models, stats.index_entries, stats.waiting, stats.waiting_bytes, stats.kept,
                stats.bytes)

    def _has_url(self, str url not None, /):
        cdef reg_key key
        return has_key(url, &key) and reg_has_url(self.reg, &key) == REG_OK
