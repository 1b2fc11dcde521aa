# cython: language_level=3, freethreading_compatible=True
# cython: binding=False, always_allow_keywords=False
# cython: embedsignature=True, embedsignature.format=clinic
"""The binding between Python and the C core in src_c/.

It checks arguments, turns ids into keys, and turns the core's status into exceptions. Everything
that is stored or counted lives in the core.

Ownership. The core owns one reference to each object that is registered. When it no longer needs an
object, it returns the reference as garbage; `drop` releases it with the thread state attached and
no lock held. The objects in a `reg_view` are borrowed until `reg_read_end`. A view object holds a
reservation instead (`reg_kept`), which keeps them alive until `reg_keep_drop`. Between
`reg_read_begin` and `reg_read_end`, the binding neither allocates Python objects nor runs foreign
code.

The GIL. The binding releases it (detaches the thread state) around calls whose cost grows with
the fleet, and around calls that may wait for a writer. It keeps the GIL during a single counter
operation or point read, because releasing it would cost more than the operation.
"""

import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

cimport cython
from cpython.buffer cimport (
    PyBUF_RECORDS_RO, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.exc cimport PyErr_Clear, PyErr_ExceptionMatches, PyErr_Occurred
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, Py_XINCREF
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from registry._core.c_api cimport *

from registry import _checks, _single_import
from registry.errors import (
    BackendNotFoundError, DuplicateBackendError, NoBackendAvailableError, WaitingLineFullError)
from registry.selection import Candidate, Policy, Requirements

cdef extern from "Python.h":
    str PyUnicode_FromObject(object text)
    str PyUnicode_DecodeUTF8(const char *bytes, Py_ssize_t length, const char *errors)
    bint PyUnicode_CheckExact(PyObject *text)
    int PyUnicode_CompareWithASCIIString(object text, const char *other)
    bint PyLong_CheckExact(PyObject *value)
    const char *PyBytes_AS_STRING(object value)
    Py_ssize_t PyBytes_GET_SIZE(object value)
    long long PyLong_AsLongLongAndOverflow(PyObject *value, int *overflow)
    # The caller checks for an exception.
    unsigned long long PyLong_AsUnsignedLongLong(PyObject *value)
    # A borrowed reference: use it only on a list that no other thread can reach.
    PyObject *PyList_GET_ITEM(list values, Py_ssize_t i)
    PyObject *PyTuple_GET_ITEM(tuple values, Py_ssize_t i)
    bint PyType_IsSubtype(type a, type b)
    bint Py_IS_TYPE(PyObject *value, PyTypeObject *kind)

cdef object UINT32_LIMIT = 2**32 - 1
cdef object UINT64_LIMIT = 2**64 - 1
cdef object logger = logging.getLogger("registry")
cdef object EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
cdef object MICROSECOND = timedelta(microseconds=1)


cdef int start() except -1:
    """Starts the core. Raises ImportError if the process lacks something that the core needs."""
    cdef const char *lacking = reg_start()
    if lacking == NULL:
        return 0
    raise ImportError(f"registry can't work in this process: {lacking.decode()}")


start()


cdef void release_object(void *released) noexcept:
    """Releases a reference that the core owned. It must run with the thread state attached."""
    Py_DECREF(<object>released)


cdef inline void drop(reg_garbage *garbage) noexcept:
    """Frees the objects that a write has replaced or removed, and releases their references."""
    if garbage != NULL:
        reg_destroy(garbage, release_object)


include "exceptions.pxi"
include "arguments.pxi"
include "classes.pxi"
include "views.pxi"
include "queries.pxi"
include "models.pxi"
include "writes.pxi"
include "fleet.pxi"
include "waiting.pxi"
include "batch.pxi"
include "blocks.pxi"
include "requests.pxi"
include "reasons.pxi"
include "lease.pxi"
include "selection.pxi"
include "places.pxi"
include "clock.pxi"
include "registry_core.pxi"
include "watch.pxi"
include "prefixes.pxi"
