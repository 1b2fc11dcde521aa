/* A record: one registration of one backend. Remove an id and add it again, and it is another record.
 *
 *   line 0   read by every operation, written by the lock's holder   item  life  state  node
 *   line 1   counters, written by every thread; the rest under       counters  order  id  memberships  url  instance
 *            the writer lock
 *
 * Two records never share a line, and counting on one does not disturb the look-up of it.
 */
#ifndef REG_RECORD_H
#define REG_RECORD_H

#include "alias.h"
#include "counters.h"
#include "model_index.h"
#include "string_map.h"
#include "version.h"

/* What changes together, in one immutable piece: a reader never sees a status with another's error. */
typedef struct state {
    epoch_node node;
    uint64_t version;
    struct state *previous; /* see version.h for when it may be followed */
    void *definition;
    void *error;            /* NULL: none */
    int64_t checked_at;     /* microseconds since 1970, UTC */
    uint8_t health;
    bool owns_definition;   /* of the states that share one, the newest does; under the lock */
    bool owns_error;
} state;

/* The models of a record and its place in each of their lists. Only the lock's holder reads it. */
typedef struct memberships {
    uint32_t count;
    uint32_t roster_position;
    uint32_t *positions;
    variant *variants[];
} memberships;

typedef struct record {
    _Alignas(REG_CACHE_LINE) string_item item;
    version_life life;
    _Atomic(state *) state;
    epoch_node node;

    _Alignas(REG_CACHE_LINE) counters counters;
    uint64_t order; /* of registration, from 1; immutable */
    void *id;       /* the object that item.key.data lies in */
    memberships *memberships;
    alias *url;
    alias *instance; /* NULL: none */
} record;

/* The state at `version`, loaded in this epoch; for a record that is younger, its first one (see life_at). */
static inline state *record_state_at(record *r, uint64_t version) {
    state *s = load_published(&r->state);
    while (reg_unlikely(s->version > version) && s->previous != NULL) s = s->previous;
    return s;
}

/* NULL when memory is out. The variants' holds pass to the memberships. */
memberships *memberships_new(variant *const *variants, uint32_t count);

/* `r` stands at `position` of `list` now. Under the lock; O(models of the record). */
void record_moved(record *r, member_list *list, uint32_t position);

/* To the limbo, once the write that replaced or removed it is committed. */
void state_retire(state *s, epoch_limbo *limbo);
void record_retire(record *r, epoch_limbo *limbo);

#endif
