/* A record: one registration of one backend. If an id is removed and added again, it has another
 * record.
 *
 * A record is one cache line, which look-ups read and only the writer changes. The counters, and
 * everything else that choices read, are on the record's counter line (counter_bank.h).
 *
 * Lifetime. The registry has one reference until the record is reclaimed, and each lease has one. A
 * lease takes its reference inside an epoch in which the record was found registered, and the
 * registry cannot drop its own reference before that epoch has ended. The last unref frees the
 * record together with its newest state. At that time no reader and no lease can have the record.
 */
#ifndef REG_RECORD_H
#define REG_RECORD_H

#include "reclaim/reservation.h"
#include "store/alias.h"
#include "store/counter_bank.h"
#include "store/string_map.h"
#include "store/version.h"

struct memberships;

/* The parts of a registration that change together. A state is immutable, so a reader never sees a
 * status with the error of another one. */
typedef struct state {
    retained shown; /* `link`: the previous state; version.h says when it may be followed */
    uint64_t version;
    void *definition;
    void *error;             /* NULL: none */
    int64_t checked_at : 56; /* microseconds since 1970, UTC */
    uint64_t health : 8;
    /* For the writer, until the state is collected. If several states share an object, the newest
     * one owns it. */
    uint32_t definition_born; /* its generation: see reservation.h */
    uint32_t error_born;
    uint32_t definition_bytes : 31, owns_definition : 1;
    uint32_t error_bytes : 31, owns_error : 1;
} state;

_Static_assert(sizeof(state) == 88,
               "a state is as small as possible, because each backend has one");

static inline state *state_previous(const state *s) {
    return s->shown.link == NULL ? NULL : reg_container(s->shown.link, state, shown);
}

/* A size that the caller has given, limited to fit a field of 31 bits. */
static inline uint32_t known_bytes(size_t bytes) {
    return bytes < INT32_MAX ? (uint32_t)bytes : INT32_MAX;
}

typedef struct record {
    _Alignas(REG_CACHE_LINE) string_item item;
    version_life life;
    _Atomic(state *) state;
    union {
        struct { /* while it is registered; under the lock */
            struct memberships *memberships;
            alias *url;
            alias *instance; /* NULL: none */
        };
        epoch_node node; /* afterwards */
    };
} record;

_Static_assert(sizeof(record) == REG_CACHE_LINE, "look-ups read one line of a record");

/* The unit that the pool allocates: a record and its counter line. */
typedef struct record_place {
    record record;
    counter_line line;
} record_place;

static inline counter_line *line_of(const record *r) { return &((record_place *)r)->line; }

/* The state at `version`, which was loaded in this epoch. If the record is younger than that, its
 * first state (see life_at). */
static inline state *record_state_at(record *r, uint64_t version) {
    REG_ASSERT_READING();
    state *s = load_published(&r->state);
    for (state *older; reg_unlikely(s->version > version) && (older = state_previous(s)) != NULL;)
        s = older;
    return s;
}

#define RECORD_VERSION (((uint64_t)1 << 62) - 1)

/* Whether the record is healthy at `version` and nothing that choices depend on has changed since.
 * One comparison, because REG_HEALTHY is 0. */
static inline bool record_is_plainly_healthy(record *r, uint64_t version) {
    return load_published(&line_of(r)->health) <= version;
}

static inline bool record_has_changed_since(record *r, uint64_t version) {
    return (load_published(&line_of(r)->health) & RECORD_VERSION) > version;
}

/* The health at `version`. The counter line has the health as of W, the last write that changed the
 * health or the definition. If W is not newer than `version`, that health is correct: a write
 * stores the health before it commits, so a reader at `version` sees the stores of all writes up to
 * `version`, and the writes after W did not change the health. If W is newer, the states have the
 * answer. */
static inline uint8_t record_health_at(record *r, uint64_t version) {
    uint64_t newest = load_published(&line_of(r)->health);
    return reg_likely((newest & RECORD_VERSION) <= version) ? (uint8_t)(newest >> 62)
                                                            : record_state_at(r, version)->health;
}

static inline uint64_t record_health_word(const state *s) {
    return (uint64_t)s->health << 62 | s->version;
}

/* Makes `s` the newest state, as part of the current write. Returns whether that changes anything
 * that choices depend on. */
static inline bool record_set_state_locked(record *r, state *s) {
    REG_ASSERT_WRITER();
    const state *old = load_own(&r->state);
    bool changes_choices = s->health != old->health || s->definition != old->definition;
    publish(&r->state, s);
    if (changes_choices) publish(&line_of(r)->health, record_health_word(s));
    return changes_choices;
}

/* A zeroed record from the process's pool (slab_pool.h), or NULL if out of memory. */
record *record_alloc(void);
/* Frees a record that no reader and no lease can have. */
void record_free(record *r);

/* Held around a fork: see slab_pool.h. */
void record_pool_lock(void);
void record_pool_unlock(void);

/* Retires a state or a record, after the commit of the write that replaced or removed it. */
void state_retire(state *s, epoch_limbo *limbo);
void record_retire(record *r, epoch_limbo *limbo);
/* The size of the record with its line and its state, but without its memberships. */
size_t record_bytes(const record *r);

/* Adds a reference, inside an epoch in which the record was found registered. */
static inline void record_ref(record *r) {
    REG_ASSERT_READING();
    add_seq_cst(&line_of(r)->refs, 1);
}
/* Drops a reference; the last unref frees the record. Call it with no lock held, and outside of an
 * epoch. */
void record_unref(record *r, epoch_release release);

#endif
