/* A published list of records in registration order. The roster lists all backends, and each model
 * has a list of those that serve it. A member is in the list from version `added` until version
 * `removed`. So a reader at V sees exactly V's members (version.h), whatever the writer does in the
 * meantime. Versions are stored as ticks, which are 32-bit distances from the array's `base`:
 *
 *   array   | base | length | previous | phase | member 0 | member 1 | ...
 *   member  | record (64) | added (32) | removed (32) | context length (32) | capabilities (8) |
 *           | slot (24) |                                        added <= tick < removed: a member
 *
 * The traits are those of the model as this record serves it. The traits that choices read never
 * change: if the record's definition of the model changes, the record leaves the list and joins it
 * again in one write. The slot is the index of this list among the record's own memberships, so if
 * a member moves, its position there is updated in O(1). A redefinition changes slots, so only the
 * lock's holder reads them. They are separate bytes, because readers load the byte beside them.
 *
 * `added` is non-decreasing, so the members of a version are a prefix of the array, minus removals.
 *
 * Writes. Only the holder of the writer lock writes. It appends a member and then publishes the new
 * `length`, marks removals in place, and sometimes renews the array: it publishes a fresh array
 * without the removed members. The fresh array is valid for all versions from its base on; a reader
 * at an older version follows `previous`. Members that joined out of order (a model was added to an
 * old backend) are at the end. A reader sorts that tail; a writer merges it once it is long.
 *
 * Cost. A renewal takes O(n) for n members, or O(n log n) with a tail. It happens when the array is
 * full, when there are about as many removed members as others, when the tail is long, or when many
 * weights have changed, because `top_weight` and `is_uneven` only grow between renewals. In each
 * case the number of changes since the last renewal is proportional to n, so a change is O(1)
 * amortised, or O(log n) in a tail. If many backends serve the same models, adding one of them
 * changes all of these lists. If the lists were renewed together too, one write would renew
 * thousands. So each array has a random phase, which shifts all three limits. Then each write
 * renews about 6 of every n lists that have n members each.
 */
#ifndef REG_MEMBER_LIST_H
#define REG_MEMBER_LIST_H

#include "reclaim/reading.h"

struct record;
struct member_list;

typedef struct member_traits {
    uint32_t context_length; /* tokens */
    uint8_t capabilities;    /* REG_VISION and so on */
    uint8_t slot[3];         /* see member_slot; under the lock */
} member_traits;

/* The list's index among the record's memberships. MEMBER_LAST_SLOT stands for this index and all
 * later ones. */
#define MEMBER_LAST_SLOT (((uint32_t)1 << 24) - 1)

static inline uint32_t member_slot(const member_traits *t) {
    return (uint32_t)t->slot[2] << 16 | (uint32_t)t->slot[1] << 8 | t->slot[0];
}

static inline void member_set_slot(member_traits *t, uint32_t slot) {
    if (slot > MEMBER_LAST_SLOT) slot = MEMBER_LAST_SLOT;
    t->slot[0] = (uint8_t)slot;
    t->slot[1] = (uint8_t)(slot >> 8);
    t->slot[2] = (uint8_t)(slot >> 16);
}

typedef struct member {
    struct record *record;
    uint32_t added;
    _Atomic uint32_t removed;
    member_traits traits;
} member;

_Static_assert(sizeof(member) == 24, "a list of a model has 24 bytes for each backend");

typedef struct member_array {
    epoch_node node;
    struct member_array *previous; /* see version.h for when it may be followed */
    uint64_t base;
    uint64_t newest; /* the highest order of a member; under the lock */
    uint32_t capacity;
    _Atomic uint32_t length;
    _Atomic uint32_t late_from;  /* members from here on joined out of order; UINT32_MAX: none */
    _Atomic uint32_t top_weight; /* no member's weight on its line is above it */
    _Atomic bool is_uneven;      /* members, removed ones included, may differ in weight */
    uint16_t phase;              /* random: when this array is renewed; under the lock */
    member members[];
} member_array;

/* Notes in `r` that its member in `list` is at another position now. */
typedef void (*member_moved)(struct record *r, struct member_list *list, uint32_t slot,
                             uint32_t position);

typedef struct member_list {
    _Atomic(member_array *) array; /* NULL until the first reserve */
    uint32_t live;
    uint32_t dead;       /* removed, but still in the array */
    uint32_t planned;    /* reserved for the current write, but not added yet */
    uint32_t reweighted; /* weights of members that changed since the last renewal */
    uint32_t seed;       /* of its arrays' phases, different in every list */
    /* A member may start slowly until then; 0: none does. See choice_begin. */
    _Atomic uint64_t slow_until;
    member_moved moved; /* called for every member whose position changes */
} member_list;

/* Compares two members by their registrations' places in the order, for qsort. */
int member_by_order(const void *left, const void *right);

/* A list as a reader at one version sees it. */
typedef struct member_reading {
    member_array *array; /* NULL: nothing */
    uint32_t length;
    uint32_t late_from;
    uint32_t tick;
} member_reading;

/* Inside an epoch. `version` was loaded in the same epoch. Wait-free. */
member_reading member_list_read(member_list *list, uint64_t version);

/* The last tick. A member that was not removed is in the list at this tick. */
#define MEMBER_LAST_TICK (UINT32_MAX - 1)

/* Whether a member is in the list. Its position must be below the length that was read. */
static inline bool member_is_in(const member *m, uint32_t tick) {
    return tick < load_published(&((member *)m)->removed);
}

/* All functions below need the writer lock. `committed` is the committed version; the current write
 * is committed + 1. */

/* Makes room for `extra` members, besides those that the current write has reserved already, and
 * ensures that the current write has a tick. Returns false if out of memory; then nothing has
 * changed for readers. */
bool member_list_reserve_locked(member_list *list, uint32_t extra, uint64_t committed,
                                epoch_limbo *limbo);
/* Gives up what the current write has reserved, because it fails. */
void member_list_cancel_locked(member_list *list);
/* Notes that a member will have this weight, in fractions of WEIGHT_UNIT, from the current write
 * on. Call it before the weight on its counter line changes. */
void member_list_reweigh_locked(member_list *list, uint32_t weight);
/* Appends a member after a reserve; returns its position. Cannot fail. `traits` contain the
 * slot. */
uint32_t member_list_add_locked(member_list *list, struct record *record, member_traits traits,
                                uint64_t committed);
/* Sets the slot of the member at `position`. */
void member_list_set_slot_locked(member_list *list, uint32_t position, uint32_t slot);
/* Marks the member at `position` as removed, after a reserve. Cannot fail. */
void member_list_remove_locked(member_list *list, uint32_t position, uint64_t committed);
/* After the commit: drops removed members once they are a large part, sorts a tail that is long,
 * and finds the greatest weight anew once many weights have changed. */
void member_list_tidy_locked(member_list *list, uint64_t committed, epoch_limbo *limbo);
/* Retires the array. If `limbo` is NULL, frees it at once, because no reader is left. */
void member_list_retire_locked(member_list *list, epoch_limbo *limbo);
/* The size of the published array. */
size_t member_list_bytes_locked(const member_list *list);

#endif
