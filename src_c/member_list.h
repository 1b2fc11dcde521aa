/* A published list of records in registration order: the roster of all backends, and for each model those that serve it.
 *
 * A member is in the list from version `added` to version `removed`, so a reader at V sees exactly V's members (version.h), whatever the
 * writer does meanwhile. Versions are kept as ticks, 32-bit distances from the array's `base`:
 *
 *   array   | base | length | previous | member 0 | member 1 | ...
 *   member  | record (64) | added (32) | removed (32) | traits (64) |      added <= tick < removed: a member
 *
 * The traits are those of the model as this record serves it, and its order, for choices to look at. They never change: a record whose definition of the
 * model does leaves the list and joins it again in one write.
 *
 * `added` never falls from one member to the next, so those of a version are a beginning of the array, less the removed.
 *
 * Who writes what: the writer lock's holder appends behind `length` and then publishes it, marks removals in place, and now and then
 * publishes a fresh array without the removed ones. The fresh array knows all versions from its base on; a reader at an older
 * version goes on to `previous`. Appending copies nothing until the array is full, and a full one grows by a quarter, so
 * both are O(1) amortised. Members that joined out of order (a model added to an old backend) stand at the end; a
 * reader sorts that tail, a writer merges it once it is an eighth of the list.
 */
#ifndef REG_MEMBER_LIST_H
#define REG_MEMBER_LIST_H

#include "epoch.h"

struct record;

typedef struct member_traits {
    uint32_t context_length;   /* tokens */
    uint32_t capabilities : 8; /* REG_VISION and so on */
    uint32_t order : 24;       /* the low bits of the record's: it is known by them without a look at its own line, where others count */
} member_traits;

#define MEMBER_ORDER (((uint32_t)1 << 24) - 1)

typedef struct member {
    struct record *record;
    uint32_t added;
    _Atomic uint32_t removed;
    member_traits traits;
} member;

typedef struct member_array {
    epoch_node node;
    struct member_array *previous; /* see version.h for when it may be followed */
    uint64_t base;
    uint64_t newest; /* the highest order of a member; under the lock */
    uint32_t capacity;
    _Atomic uint32_t length;
    _Atomic uint32_t late_from; /* members from here on joined out of order; UINT32_MAX: none */
    _Atomic uint32_t top_weight; /* no member's weight is above it */
    _Atomic bool is_uneven;      /* not all members have the same weight, perhaps: one that was removed counts */
    member members[];
} member_array;

typedef struct member_list {
    _Atomic(member_array *) array; /* NULL until the first reserve */
    uint32_t live;
    uint32_t dead; /* removed, but still in the array */
    bool is_roster;
} member_list;

/* What a reader at one version sees of a list. */
typedef struct member_reading {
    member_array *array; /* NULL: nothing */
    uint32_t length;
    uint32_t late_from;
    uint32_t tick;
} member_reading;

/* Inside an epoch, with a version loaded in it. Wait-free. */
member_reading member_list_read(member_list *list, uint64_t version);

/* For members within the length that was read. */
static inline bool member_is_in(const member *m, uint32_t tick) { return tick < load_published(&((member *)m)->removed); }

/* All below: under the lock. `committed` is the clock, the write at work is committed + 1. */

/* Makes room for `extra` members and for marking at the write at work. False when memory is out: nothing changed for anyone. */
bool member_list_reserve(member_list *list, uint32_t extra, uint64_t committed, epoch_limbo *limbo);
/* Appends after a reserve; returns the position. Cannot fail. */
uint32_t member_list_add(member_list *list, struct record *record, member_traits traits, uint64_t committed);
/* Marks the member at `position` as removed, after a reserve. Cannot fail. */
void member_list_remove(member_list *list, uint32_t position, uint64_t committed);
/* After the commit: drops removed members once they are the greater part. */
void member_list_tidy(member_list *list, uint64_t committed, epoch_limbo *limbo);
/* Hands the array to the limbo, or frees it at once where `limbo` is NULL and no reader is left. */
void member_list_retire(member_list *list, epoch_limbo *limbo);
/* Of the array that is published. */
size_t member_list_bytes(const member_list *list);

#endif
