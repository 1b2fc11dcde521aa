/* Helpers of the binding that use CPython's C API beyond Cython's declarations. All differences
 * between free-threaded builds and builds with a GIL are in this file. */
#ifndef REGISTRY_PYTHON_H
#define REGISTRY_PYTHON_H

#include <Python.h>
#include <string.h>
#include <structmember.h> /* part of Python.h from 3.12 on */
#include <time.h>

#include "base/types.h"

/* Defers the reference counting of an object on which all threads call methods. Without this, they
 * would contend for its reference count. With a GIL there is no contention. */
static inline void share_between_threads(PyObject *object) {
#ifdef Py_GIL_DISABLED
    PyUnstable_Object_EnableDeferredRefcount(object);
#else
    (void)object;
#endif
}

/* Disables the reference counting of an object that lives as long as the process and to which all
 * threads take references. CPython itself does this when a thread's local count overflows. */
static inline void make_immortal(PyObject *object) {
#ifdef Py_GIL_DISABLED
    if (!_Py_IsOwnedByCurrentThread(object))
        return; /* the count set below would be wrong; without it the object is only slower */
    if (PyObject_IS_GC(object)) PyObject_GC_UnTrack(object);
    Py_SET_REFCNT(object, PY_SSIZE_T_MAX);
#else
    (void)object;
#endif
}

/* The cached hash of a str, or -1. Another thread may be storing it at the same time, but always
 * the same value. */
static inline Py_hash_t cached_hash(PyObject *text) {
#ifdef Py_GIL_DISABLED
    return __atomic_load_n(&((PyASCIIObject *)text)->hash, __ATOMIC_RELAXED);
#else
    return ((PyASCIIObject *)text)->hash;
#endif
}

/* Stores the key of an exact str in `key`. The key points into the str's own bytes. Returns -1 and
 * sets UnicodeEncodeError if the text has a lone surrogate. */
static inline int key_of(PyObject *text, reg_key *key) {
    Py_ssize_t length;
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        key->data = (const char *)((PyASCIIObject *)text + 1);
        length = PyUnicode_GET_LENGTH(text);
    } else if ((key->data = PyUnicode_AsUTF8AndSize(text, &length)) == NULL) {
        return -1;
    }
    Py_hash_t hash = cached_hash(text);
    if (hash == -1) hash = PyObject_Hash(text);
    key->hash = (uint64_t)hash;
    key->length = (size_t)length;
    return 0;
}

/* Describes the characters of a str, or of an object of a subclass, which owns them. Returns -1 and
 * sets MemoryError if an old kind of str can't be brought into this form. */
static inline int text_of(PyObject *text, reg_text *found) {
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(text) < 0) return -1;
#endif
    found->characters = PyUnicode_DATA(text);
    found->length = (size_t)PyUnicode_GET_LENGTH(text);
    found->width = (uint8_t)PyUnicode_KIND(text);
    found->is_ascii = PyUnicode_IS_ASCII(text);
    return 0;
}

/* Returns a new reference to the value of a key of a dict; to None if there is none. Other threads
 * may change the dict, so a borrowed reference would not do. */
static inline PyObject *dict_get(PyObject *mapping, PyObject *key) {
    PyObject *value;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyDict_GetItemRef(mapping, key, &value) < 0) return NULL;
#else
    value = Py_XNewRef(PyDict_GetItemWithError(mapping, key));
    if (value == NULL && PyErr_Occurred()) return NULL;
#endif
    return value != NULL ? value : Py_NewRef(Py_None);
}

/* The member definition of a slot of `type`, which the class keeps alive. NULL with TypeError if
 * `name` is not a slot. */
static inline PyMemberDef *slot_of(PyObject *type, PyObject *name) {
    PyObject *descriptor = PyObject_GetAttr(type, name);
    if (descriptor == NULL) return NULL;
    PyMemberDef *member = NULL;
    if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type))
        member = ((PyMemberDescrObject *)descriptor)->d_member;
    else
        PyErr_Format(PyExc_TypeError, "%R of %R is not a slot", name, type);
    Py_DECREF(descriptor);
    return member;
}

/* Returns a new reference to the value of a slot; NULL with AttributeError if it is empty. Safe
 * against a concurrent store, which needs the GIL where there is one. */
static inline PyObject *slot_get(PyObject *object, PyMemberDef *slot) {
#ifndef Py_GIL_DISABLED
    PyObject *value = *(PyObject **)((char *)object + slot->offset);
    if (value != NULL) return Py_NewRef(value);
#endif
    return PyMember_GetOne((const char *)object, slot);
}

/* The address in a slot, which may be that of a dead object by now: only compare it. */
static inline const void *slot_address(PyObject *object, PyMemberDef *slot) {
    return __atomic_load_n((void **)((char *)object + slot->offset), __ATOMIC_RELAXED);
}

/* Whether both objects are exact strs in ASCII, which `same_ascii` can compare. */
static inline int are_ascii(PyObject *x, PyObject *y) {
    return PyUnicode_CheckExact(x) && PyUnicode_CheckExact(y) && PyUnicode_IS_COMPACT_ASCII(x) &&
           PyUnicode_IS_COMPACT_ASCII(y);
}

static inline int same_ascii(PyObject *x, PyObject *y) {
    Py_ssize_t length = PyUnicode_GET_LENGTH(x);
    return length == PyUnicode_GET_LENGTH(y) &&
           memcmp((PyASCIIObject *)x + 1, (PyASCIIObject *)y + 1, (size_t)length) == 0;
}

/* Like `slot_equals`, but -1 without an exception if a value is not ASCII. It borrows the value,
 * which can't die meanwhile: a store to a slot needs the GIL, or the lock of the object, and
 * comparing texts runs no other code. */
static inline int slot_has_text(PyObject *object, PyMemberDef *slot, PyObject *x) {
    int equal = -1;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(object);
#endif
    PyObject *y = (PyObject *)slot_address(object, slot);
    if (y != NULL && are_ascii(x, y)) equal = same_ascii(x, y);
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    return equal;
}

/* Whether `slot_has_text` costs less than a reference. Without a GIL, it takes a lock, with two
 * atomic operations. A reference to a value costs none if this thread made the value, as it
 * probably did if it made the object; otherwise up to four. */
static inline int should_borrow(PyObject *object) {
#ifdef Py_GIL_DISABLED
    return !_Py_IsOwnedByCurrentThread(object);
#else
    (void)object;
    return 1;
#endif
}

/* Whether a slot has a value that equals `x`; -1 with an exception if that can't be said. */
static inline int slot_equals(PyObject *object, PyMemberDef *slot, PyObject *x) {
    if (x == slot_address(object, slot)) return 1;
    int equal = should_borrow(object) ? slot_has_text(object, slot, x) : -1;
    if (equal >= 0) return equal;
    PyObject *y = slot_get(object, slot);
    if (y == NULL) return -1;
    equal = are_ascii(x, y) ? same_ascii(x, y) : PyObject_RichCompareBool(x, y, Py_EQ);
    Py_DECREF(y);
    return equal;
}

/* Whether a slot of two objects has equal values; -1 with an exception if that can't be said. Takes
 * references only if it must, because a reference costs more than the comparison. */
static inline int slots_are_equal(PyObject *a, PyObject *b, PyMemberDef *slot) {
    PyObject *x = (PyObject *)slot_address(a, slot);
    if (x != NULL && x == slot_address(b, slot)) return 1;
    if ((x = slot_get(a, slot)) == NULL) return -1;
    int equal = slot_equals(b, slot, x);
    Py_DECREF(x);
    return equal;
}

/* Fills an empty slot of an object that no other thread can reach. Takes over the reference. */
static inline void slot_fill(PyObject *object, PyMemberDef *slot, PyObject *value) {
    *(PyObject **)((char *)object + slot->offset) = value;
}

/* Makes a read-only property for `type`, named after a slot of another class. `get` receives the
 * slot. The PyGetSetDef is never freed, because the type keeps a pointer to it. */
static inline PyObject *property_for(PyTypeObject *type, PyMemberDef *slot, getter get) {
    PyGetSetDef *property = PyMem_Calloc(1, sizeof *property);
    if (property == NULL) return PyErr_NoMemory();
    property->name = slot->name;
    property->get = get;
    property->closure = slot;
    return PyDescr_NewGetSet(type, property);
}

/* Allocates an object with empty slots. */
static inline PyObject *allocate(PyTypeObject *type) { return type->tp_alloc(type, 0); }

/* Like `allocate`, but hides the object from the garbage collector. Only for objects that can't be
 * part of a reference cycle. */
static inline PyObject *allocate_untracked(PyTypeObject *type) {
    PyObject *object = allocate(type);
    if (object != NULL && PyType_IS_GC(type)) PyObject_GC_UnTrack(object);
    return object;
}

/* Copies a method descriptor of a base class for `type`. Returns NULL without an exception if
 * `descriptor` is something else. The interpreter calls a C method straight from the bytecode only
 * if the descriptor belongs to the instance's own class. */
static inline PyObject *method_for(PyObject *descriptor, PyTypeObject *type) {
    if (!Py_IS_TYPE(descriptor, &PyMethodDescr_Type)) return NULL;
    return PyDescr_NewMethod(type, ((PyMethodDescrObject *)descriptor)->d_method);
}

/* ---- acquire, called with borrowed arguments ---- */

/* Cython's wrapper of a method with keywords takes a reference to each argument and each default,
 * and threads contend for the reference counts. `acquire_borrowing` is called instead of that
 * wrapper: it passes borrowed references in the usual case, and calls the wrapper in all other
 * cases. */
typedef PyObject *(*keyword_function)(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                      PyObject *names);

static struct {
    keyword_function wrapper; /* Cython's */
    PyObject *(*choose)(PyObject *self, PyObject *model_id, PyObject *policy, PyObject *require,
                        PyObject *exclude, PyObject *only, PyObject *allow_unknown,
                        PyObject *affinity, PyObject *tokens, PyObject *prefix);
    PyObject *(*choose_plainly)(PyObject *self, PyObject *model_id); /* without keywords */
    PyObject *names; /* of the keywords, interned, in the order of the enum below */
    PyObject *policy, *exclude, *tokens; /* defaults */
    PyMethodDef definition;
} acquiring;

enum { POLICY, REQUIRE, EXCLUDE, ONLY, ALLOW_UNKNOWN, AFFINITY, TOKENS, PREFIX, KEYWORDS };

/* Stores each keyword argument at the index of its name. Returns a bit for each index, or -1 if a
 * name is unknown. */
static inline int sort_keywords(PyObject *const *values, PyObject *names, PyObject **given) {
    Py_ssize_t count = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    int found = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t k = 0;
        while (k < KEYWORDS && PyTuple_GET_ITEM(names, i) != PyTuple_GET_ITEM(acquiring.names, k))
            k++;
        if (k == KEYWORDS) return -1;
        given[k] = values[i];
        found |= 1 << k;
    }
    return found;
}

static inline int is_list(PyObject *ids) {
    return PyTuple_CheckExact(ids) || PyList_CheckExact(ids);
}

/* Whether the call is certain to run no foreign code, which could drop the last reference to a
 * borrowed argument. Iterating over ids, comparing a policy, or describing a bad argument may
 * run foreign code. */
static inline int is_plain(PyObject *model_id, PyObject *const *given, int found) {
    int is_policy =
        Py_IS_TYPE(given[POLICY], Py_TYPE(acquiring.policy)) || PyUnicode_CheckExact(given[POLICY]);
    if (!(found & ~(1 << POLICY))) return PyUnicode_CheckExact(model_id) && is_policy;
    int is_key = given[AFFINITY] == Py_None || PyUnicode_CheckExact(given[AFFINITY]) ||
                 PyBytes_CheckExact(given[AFFINITY]) || PyLong_CheckExact(given[AFFINITY]);
    return PyUnicode_CheckExact(model_id) && is_policy && is_key && is_list(given[EXCLUDE]) &&
           (given[ONLY] == Py_None || is_list(given[ONLY])) && PyLong_CheckExact(given[TOKENS]) &&
           given[PREFIX] == Py_None;
}

static inline PyObject *acquire_borrowing(PyObject *self, PyObject *const *arguments,
                                          Py_ssize_t count, PyObject *names) {
    if (count == 1 && names == NULL && PyUnicode_CheckExact(arguments[0]))
        return acquiring.choose_plainly(self, arguments[0]);
    PyObject *given[KEYWORDS] = {acquiring.policy, Py_None, acquiring.exclude, Py_None,
                                 Py_False,         Py_None, acquiring.tokens,  Py_None};
    int found = count != 1 ? -1 : sort_keywords(arguments + 1, names, given);
    if (found == -1 || !is_plain(arguments[0], given, found))
        return acquiring.wrapper(self, arguments, count, names);
    return acquiring.choose(self, arguments[0], given[POLICY], given[REQUIRE], given[EXCLUDE],
                            given[ONLY], given[ALLOW_UNKNOWN], given[AFFINITY], given[TOKENS],
                            given[PREFIX]);
}

/* Copies Cython's `acquire` for `type`; the copy calls `acquire_borrowing` first. References that
 * are taken here are kept for the life of the process. */
static inline PyObject *
acquire_for(PyObject *descriptor, PyTypeObject *type, PyObject *names, PyObject *policy,
            PyObject *tokens,
            PyObject *(*choose)(PyObject *, PyObject *, PyObject *, PyObject *, PyObject *,
                                PyObject *, PyObject *, PyObject *, PyObject *, PyObject *),
            PyObject *(*choose_plainly)(PyObject *, PyObject *)) {
    acquiring.definition = *((PyMethodDescrObject *)descriptor)->d_method;
    if (acquiring.definition.ml_flags != (METH_FASTCALL | METH_KEYWORDS)) /* not our signature */
        return PyDescr_NewMethod(type, ((PyMethodDescrObject *)descriptor)->d_method);
    acquiring.wrapper = (keyword_function)(void (*)(void))acquiring.definition.ml_meth;
    acquiring.definition.ml_meth = (PyCFunction)(void (*)(void))acquire_borrowing;
    acquiring.choose = choose;
    acquiring.choose_plainly = choose_plainly;
    acquiring.names = Py_NewRef(names);
    acquiring.policy = Py_NewRef(policy);
    acquiring.tokens = Py_NewRef(tokens);
    acquiring.exclude = PyTuple_New(0);
    return PyDescr_NewMethod(type, &acquiring.definition);
}

/* ---- release, called without keywords ---- */

/* Cython's wrapper fills in four defaults, which costs as much as the release itself. So
 * `release_briefly` is called instead of it: it passes the usual call of a success straight on, and
 * calls the wrapper in all other cases. */
static struct {
    keyword_function wrapper;                                   /* Cython's */
    PyObject *(*succeed)(PyObject *self, PyObject *latency_ms); /* None: no latency is given */
} releasing;

static inline PyObject *release_briefly(PyObject *self, PyObject *const *arguments,
                                        Py_ssize_t count, PyObject *names) {
    if (names == NULL && count == 0) return releasing.succeed(self, Py_None);
    if (names == NULL && count == 1 && PyLong_CheckExact(arguments[0]))
        return releasing.succeed(self, arguments[0]);
    return releasing.wrapper(self, arguments, count, names);
}

/* Puts `release_briefly` before Cython's `release`. Called once, before any lease exists. */
static inline void shorten_release(PyObject *descriptor,
                                   PyObject *(*succeed)(PyObject *, PyObject *)) {
    PyMethodDef *definition = ((PyMethodDescrObject *)descriptor)->d_method;
    if (definition->ml_flags != (METH_FASTCALL | METH_KEYWORDS)) return; /* not our signature */
    releasing.wrapper = (keyword_function)(void (*)(void))definition->ml_meth;
    releasing.succeed = succeed;
    definition->ml_meth = (PyCFunction)(void (*)(void))release_briefly;
}

/* Microseconds since 1970-01-01 00:00 UTC. */
static inline int64_t now_microseconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif
