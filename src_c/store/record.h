/* A record: one registration of one backend. Remove an id and add it again, and it is another record.
 *
 * A record is the line that look-ups read; the writer alone changes it. Everything that requests
 * count, and that choices read, is on the record's counter line (counter_bank.h).
 *
 * Lifetime. The registry has one reference until the record is reclaimed, and each lease has one. A
 * lease is made inside an epoch, of a record that is registered then, so it takes its reference
 * before the registry can give up its own. The last unref frees the record together with its newest
 * state. By then no reader and no lease can have the record.
 */
#ifndef REG_RECORD_H
#define REG_RECORD_H

#include "reclaim/reservation.h"
#include "store/alias.h"
#include "store/counter_bank.h"
#include "store/model_index.h"
#include "store/string_map.h"
#include "store/version.h"

/* What changes together, in one immutable piece: a reader never sees a status with another's error. */
typedef struct state {
    retained
        shown; /* `link` leads to the previous state; see version.h for when it may be followed */
    uint64_t version;
    void *definition;
    void *error;             /* NULL: none */
    int64_t checked_at : 56; /* microseconds since 1970, UTC */
    uint64_t health : 8;
    /* For the writer, until the state is collected. Of the states that share an object, the newest owns it. */
    uint32_t definition_born; /* its generation: see reservation.h */
    uint32_t error_born;
    uint32_t definition_bytes : 31, owns_definition : 1;
    uint32_t error_bytes : 31, owns_error : 1;
} state;

_Static_assert(sizeof(state) == 88,
               "a state is as small as it can be: there is one for each backend");

static inline state *state_previous(const state *s) {
    return s->shown.link == NULL ? NULL : reg_container(s->shown.link, state, shown);
}

/* How much an object takes, as far as a caller knows, for a field of 31 bits. */
static inline uint32_t known_bytes(size_t bytes) {
    return bytes < INT32_MAX ? (uint32_t)bytes : INT32_MAX;
}

/* The models of a record and its place in each of their lists. An index into both is a slot
 * (member_list.h). Only the lock's holder reads it. */
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
    union {
        struct { /* while it is registered; under the lock */
            memberships *memberships;
            alias *url;
            alias *instance; /* NULL: none */
        };
        epoch_node node; /* afterwards */
    };
} record;

_Static_assert(sizeof(record) == REG_CACHE_LINE, "the line of look-ups");

/* What the pool allocates: a record and its counter line. */
typedef struct record_place {
    record record;
    counter_line line;
} record_place;

static inline counter_line *line_of(const record *r) { return &((record_place *)r)->line; }

/* The state at `version`, loaded in this epoch; for a record that is younger, its first one (see life_at). */
static inline state *record_state_at(record *r, uint64_t version) {
    REG_ASSERT_READING();
    state *s = load_published(&r->state);
    for (state *older; reg_unlikely(s->version > version) && (older = state_previous(s)) != NULL;)
        s = older;
    return s;
}

#define RECORD_VERSION (((uint64_t)1 << 62) - 1)

/* Whether the record is healthy at `version` and nothing that choices depend on has changed since; one comparison, as REG_HEALTHY is 0. */
static inline bool record_is_plainly_healthy(record *r, uint64_t version) {
    return load_published(&line_of(r)->health) <= version;
}

static inline bool record_has_changed_since(record *r, uint64_t version) {
    return (load_published(&line_of(r)->health) & RECORD_VERSION) > version;
}

/* The health at `version`. The record's own line holds the health since its version W, of the last write that changed health or
 * definition. If W is not newer than `version`, it is right: a write puts it there before it commits, so a reader at `version` sees that of
 * each write up to its own, and those after W, up to `version` and beyond, left the health as it was. If W is newer, the states tell. */
static inline uint8_t record_health_at(record *r, uint64_t version) {
    uint64_t newest = load_published(&line_of(r)->health);
    return reg_likely((newest & RECORD_VERSION) <= version) ? (uint8_t)(newest >> 62)
                                                            : record_state_at(r, version)->health;
}

static inline uint64_t record_health_word(const state *s) {
    return (uint64_t)s->health << 62 | s->version;
}

/* Makes `s` the newest state, as a part of the write at work; whether that changes anything that choices depend on. Under the lock. */
static inline bool record_set_state_locked(record *r, state *s) {
    REG_ASSERT_WRITER();
    const state *old = load_own(&r->state);
    bool changes_choices = s->health != old->health || s->definition != old->definition;
    publish(&r->state, s);
    if (changes_choices) publish(&line_of(r)->health, record_health_word(s));
    return changes_choices;
}

/* A zeroed record from the process's pool (slab_pool.h), or NULL when memory is out. */
record *record_alloc(void);
/* Frees a record that no reader and no lease can have. */
void record_free(record *r);

/* Held around a fork: see slab_pool.h. */
void record_pool_lock(void);
void record_pool_unlock(void);

/* NULL when memory is out. The variants' holds pass to the memberships. */
memberships *memberships_new(variant *const *variants, uint32_t count);

/* `r` stands at `position` of `list` now, which has `slot` among its memberships. Under the lock;
 * O(1). */
void record_set_position_locked(record *r, member_list *list, uint32_t slot, uint32_t position);

/* To the limbo, once the write that replaced or removed it is committed. */
void state_retire(state *s, epoch_limbo *limbo);
void record_retire(record *r, epoch_limbo *limbo);
/* With its state and memberships, while it is registered. */
size_t record_bytes(const record *r);

/* A hold more, inside an epoch in which the record was found registered. */
static inline void record_ref(record *r) {
    REG_ASSERT_READING();
    add_seq_cst(&line_of(r)->refs, 1);
}
/* A hold less; the last one frees the record. Outside every lock and epoch. */
void record_unref(record *r, epoch_release release);

#endif
