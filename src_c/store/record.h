/* A record: one registration of one backend. If an id is removed and added again, or gets another
 * server, it has another record.
 *
 * A record is one cache line, which look-ups read and only the writer changes. The counters, and
 * everything else that choices read, are on the record's counter line (counter_bank.h).
 *
 * A change of a registration replaces its state, and then copies what choices read of the new state
 * to the counter line: the standing and the limits. The copies are in place before the write
 * commits. So a choice at an older version must not use them:
 *   a. The writer publishes CHOICES_CHANGED = W, then the standing with version W, then the limits,
 *      and then commits W.
 *   b. A choice that has loaded a limit of W and then loads CHOICES_CHANGED or this standing finds
 *      W there, which is newer than its own version: select.c says what it does then.
 *   c. If it finds that a write has begun, it reads the limits of its own version from the states
 *      (record_state_at) instead. So it does not have to wait for the writer.
 *
 * A replacement has another record under the same id. The first state of the new record links to
 * the last state of the old one, so a reader that finds the new record at an older version finds
 * the old one too: no version lacks the id.
 *
 * Lifetime. A removed record waits in the limbo until no reader can find it. Then its newest state
 * takes it over, and the two are freed together, like any object that views can show
 * (reservation.h). That pair is as old as the registration: `born` is the generation in which the
 * record was added, and it was stored before the record was published. So every reservation that
 * was taken in a read that found the record keeps the pair, be it for a view or for a lease. A
 * lease may therefore use its record until it drops its reservation, whatever has become of the
 * registration and the registry.
 */
#ifndef REG_RECORD_H
#define REG_RECORD_H

#include "reclaim/reservation.h"
#include "store/alias.h"
#include "store/counter_bank.h"
#include "store/string_map.h"
#include "store/version.h"

/* What a state has behind it (state_availability) if one of its flags for it is set. After they
 * were cleared it may still be there, without a meaning. Times are those of the registry's clock;
 * `_wall` is the same time on the wall clock, in microseconds since 1970, UTC, for views. */
typedef struct availability {
    uint64_t ejected_until; /* if it is ejected */
    int64_t ejected_until_wall;
    uint64_t cooling_until; /* if it is cooling down */
    int64_t cooling_until_wall;
    uint64_t slow_from; /* if it starts slowly */
} availability;

/* The beginning of a record's memberships (memberships.h): what the core has of a definition beside
 * the models, and what the life of the record's objects depends on. Immutable once it is
 * published. */
typedef struct definition_base {
    void *id;                    /* the caller's object that owns the bytes of the record's key */
    uint64_t max_pending_tokens; /* 0: no cap */
    uint32_t born;               /* the generation in which the record was added */
    uint32_t bytes;              /* the size of the memberships */
} definition_base;

/* The parts of a registration that change together. A state is immutable, so a reader never sees a
 * status with the error of another one. */
typedef struct state {
    retained shown; /* `link`: the previous state; version.h says when it may be followed */
    uint64_t version;
    void *definition;
    void *error;             /* NULL: none */
    struct record *record;   /* to which it belongs: see record_alive_at */
    int64_t checked_at : 56; /* microseconds since 1970, UTC */
    uint64_t health : 2;
    uint64_t is_draining : 1;
    uint64_t is_ejected : 1;
    uint64_t is_cooling : 1;  /* its time may be over */
    uint64_t is_slow : 1;     /* likewise */
    uint64_t has_room : 1;    /* for an availability, in the state's memory; set by state_alloc */
    uint64_t caps_tokens : 1; /* the definition has a cap on tokens: see definition_base */
    uint64_t serial : 48;     /* of the registration */
    uint64_t weight : 16;
    limits limits;
    definition_base *memberships; /* the models of the definition; owned together with it */
    /* For the writer, until the state is collected. If several states share an object, the newest
     * one owns it. */
    uint32_t definition_born; /* its generation: see reservation.h */
    uint32_t error_born;
    uint32_t definition_bytes : 31, owns_definition : 1;
    uint32_t error_bytes : 31, owns_error : 1;
} state;

_Static_assert(sizeof(state) == 120,
               "a state is as small as possible, because each backend has one");

static inline state *state_previous(const state *s) {
    return s->shown.link == NULL ? NULL : reg_container(s->shown.link, state, shown);
}

/* Whether the state has an availability, because one of the flags is set. */
static inline bool state_is_flagged(const state *s) {
    return s->is_ejected | s->is_cooling | s->is_slow;
}

static inline availability *state_availability(const state *s) {
    return (availability *)((state *)s + 1);
}

/* A state that is not zeroed but for `has_room`: whether it has room for an availability. NULL if
 * out of memory. */
state *state_alloc(bool has_room);

/* Begins a state of the same record that differs from `old` in a part, which the caller then sets.
 * The owner of each object that both share is the caller's business too. */
static inline void state_succeed(state *fresh, state *old) {
    bool has_room = fresh->has_room;
    *fresh = *old;
    fresh->has_room = has_room;
    if (reg_unlikely(state_is_flagged(old))) *state_availability(fresh) = *state_availability(old);
    fresh->shown = (retained){.link = &old->shown, .generations = old->shown.generations};
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

/* The record that was registered under the id of `r` at `version`, which was loaded before `r` was
 * found in the map: `r` itself, or the record that it replaced since. NULL if there was none. */
record *record_before(record *r, uint64_t version);

static inline record *record_alive_at(record *r, uint64_t version) {
    uint64_t word = load_published(&r->life);
    return reg_likely((word & 1) && word >> 1 <= version) ? r : record_before(r, version);
}

/* ---- the standing: what makes a record ineligible, apart from its load ---- */

/* A cap on tokens is there too, although it makes nothing ineligible: so a backend without one
 * costs a choice nothing. */

#define RECORD_VERSION (((uint64_t)1 << 56) - 1)

enum {
    STANDING_HEALTH = 3,
    STANDING_DRAINING = 4,
    STANDING_EJECTED = 8,
    STANDING_COOLING = 16,
    STANDING_SLOW = 32,
    STANDING_CAPS_TOKENS = 64,
    STANDING_FLAGS = STANDING_EJECTED | STANDING_COOLING | STANDING_SLOW,
};

static inline uint8_t state_standing(const state *s) {
    return (uint8_t)(s->health | (s->is_draining ? STANDING_DRAINING : 0) |
                     (s->is_ejected ? STANDING_EJECTED : 0) |
                     (s->is_cooling ? STANDING_COOLING : 0) | (s->is_slow ? STANDING_SLOW : 0) |
                     (s->caps_tokens ? STANDING_CAPS_TOKENS : 0));
}

/* Whether the record is healthy, not draining and without a cap on tokens at `version`, and nothing
 * that choices depend on has changed since. One comparison, because REG_HEALTHY is 0. */
static inline bool record_is_plainly_healthy(record *r, uint64_t version) {
    return load_published(&line_of(r)->standing) <= version;
}

/* The same, whether it has a cap on tokens or not. */
static inline bool record_is_unflagged(record *r, uint64_t version) {
    uint64_t cap = (uint64_t)STANDING_CAPS_TOKENS << 56;
    return (load_published(&line_of(r)->standing) & ~cap) <= version;
}

static inline bool record_has_changed_since(record *r, uint64_t version) {
    return (load_published(&line_of(r)->standing) & RECORD_VERSION) > version;
}

/* The standing at `version`. The counter line has the standing as of W, the last write that changed
 * the standing or the definition. If W is not newer than `version`, that standing is correct: a
 * write stores the standing before it commits, so a reader at `version` sees the stores of all
 * writes up to `version`, and the writes after W did not change the standing. If W is newer, the
 * states have the answer. */
static inline uint8_t record_standing_at(record *r, uint64_t version) {
    uint64_t newest = load_published(&line_of(r)->standing);
    return reg_likely((newest & RECORD_VERSION) <= version)
               ? (uint8_t)(newest >> 56)
               : state_standing(record_state_at(r, version));
}

static inline uint64_t record_standing_word(const state *s) {
    return (uint64_t)state_standing(s) << 56 | s->version;
}

/* Whether `fresh` changes anything that choices depend on. */
static inline bool state_changes_choices(const state *old, const state *fresh) {
    return state_standing(fresh) != state_standing(old) || fresh->definition != old->definition ||
           state_is_flagged(fresh); /* a deadline may have changed */
}

/* Makes `s` the newest state, as part of the current write. If it changes anything that choices
 * depend on, the caller has announced that before (see a.). */
static inline void record_set_state_locked(record *r, state *s) {
    REG_ASSERT_WRITER();
    bool changes_choices = state_changes_choices(load_own(&r->state), s);
    publish(&r->state, s);
    if (!changes_choices) return;
    counter_line *line = line_of(r);
    publish(&line->standing, record_standing_word(s));
    publish(&line->limits.max_pending, load_own(&s->limits.max_pending));
    publish(&line->limits.priority, load_own(&s->limits.priority));
    publish(&line->weight, (uint16_t)(s->weight * WEIGHT_UNIT));
}

/* A zeroed record from the process's pool (slab_pool.h), or NULL if out of memory. */
record *record_alloc(void);
/* Frees the memory of a record that no reader and no lease can have. */
void record_free(record *r);

/* Held around a fork: see slab_pool.h. */
void record_pool_lock(void);
void record_pool_unlock(void);

/* Retires a state or a record, after the commit of the write that replaced or removed it. */
void state_retire(state *s, epoch_limbo *limbo);
void record_retire(record *r, epoch_limbo *limbo);
/* The size of a record with its line, its state, its memberships, its outcomes and its prefixes. */
size_t record_bytes_locked(record *r);
/* The part of it that is for prefixes. */
size_t record_prefix_bytes_locked(record *r);

/* The block of outcomes, which is created if there is none. NULL if out of memory. */
outcomes *record_outcomes_create(record *r, settings *s);

static inline outcomes *record_outcomes(record *r, settings *s) {
    outcomes *o = load_published(&line_of(r)->outcomes);
    return reg_likely(o != NULL) ? o : record_outcomes_create(r, s);
}

/* The XXH64 of the id, which is the same on every host, unlike the hash of the key. */
uint64_t record_hash_id(const record *r);

static inline uint64_t record_id_hash(const record *r) {
    outcomes *o = load_published(&line_of(r)->outcomes);
    return reg_likely(o != NULL) ? o->id_hash : record_hash_id(r);
}

#endif
