/* The registry's core, and the only header that a binding sees.
 *
 * Every function may be called from any thread, at any time, and needs nothing of its caller: no interpreter lock, no attached thread state. Objects
 * of the caller's (definitions, ids, errors, models) are opaque pointers, of which the core owns one reference each. It hands them back through
 * `reg_destroy`, which the caller calls where dropping references is allowed, with no lock held.
 *
 * Reads and counters never wait. Writers wait for writers only, on one lock per registry; dropping the last views of a
 * time may wait for a few steps of whoever keeps or frees what was retired. How a query over many backends sees one
 * instant of all of them is told in version.h, how memory is reclaimed under readers in epoch.h.
 */
#ifndef REG_REGISTRY_H
#define REG_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

typedef struct reg_registry reg_registry;
typedef struct reg_variant
    reg_variant; /* a model definition, kept once for all backends that have an equal one */
typedef struct reservation reg_kept;   /* what views use that outlive the read which found them */
typedef struct epoch_node reg_garbage; /* what the core is done with; for reg_destroy */

/* One backend at one instant. The objects are borrowed, and good until reg_read_end; longer with reg_read_keep. */
typedef struct reg_view {
    void *definition;
    void *error; /* NULL: none */
    uint64_t serial;
    int64_t checked_at; /* microseconds since 1970, UTC */
    uint64_t total;
    uint32_t pending;
    uint32_t latency;
    uint8_t health;
} reg_view;

typedef struct reg_views {
    reg_view *items; /* freed by reg_views_free */
    size_t count;
} reg_views;

/* ---- life ---- */

/* Prepares the process; once before all else. NULL, or a sentence that says what the process lacks:
 * then reg_new fails. */
const char *reg_start(void);
/* NULL when memory is out. */
reg_registry *reg_new(void);
/* Frees everything, objects included. Nobody may be using it; leases outlive it. */
void reg_free(reg_registry *reg, void (*release)(void *object));
/* Hands every object of `garbage` (NULL will do) to `release` and frees the rest. */
void reg_destroy(reg_garbage *garbage, void (*release)(void *object));

/* ---- reading: between reg_read_begin and reg_read_end, which must not nest ---- */

/* NULL when memory is out, possible at a thread's first call only. */
struct epoch_slot *reg_read_begin(void);
void reg_read_end(struct epoch_slot *reader);

/* Keeps the objects of `count` views, or refusals, that were found in this read; each is given back by reg_keep_drop. NULL
 * when memory is out. Between reg_read_begin and reg_read_end, once they are found. O(1), whatever the count, except for the
 * first in a generation: see reservation.h. */
reg_kept *reg_read_keep(reg_registry *reg, struct epoch_slot *reader, size_t count);
/* `count` of these views are gone. Any thread, outside of reads; may wait for a few steps of another thread. */
void reg_keep_drop(reg_kept *kept, size_t count, void (*release)(void *object));

/* REG_OK or REG_NOT_FOUND. Wait-free, expected O(1). */
reg_status reg_get(reg_registry *reg, const reg_key *id, reg_view *view);
/* REG_OK or REG_NO_MEMORY. In registration order, as of one instant. O(backends). */
reg_status reg_get_all(reg_registry *reg, bool healthy_only, reg_views *views);
reg_status reg_get_for_model(reg_registry *reg, const reg_key *model_id, reg_views *views);
void reg_views_free(reg_views *views);
/* The definition of the backend with this mDNS instance, or NULL. */
void *reg_find_by_instance(reg_registry *reg, const reg_key *instance);

/* ---- reading that needs no begin and end ---- */

/* REG_OK, REG_NOT_FOUND or REG_NO_MEMORY. */
reg_status reg_contains(reg_registry *reg, const reg_key *id);
reg_status reg_has_url(reg_registry *reg, const reg_key *url);
uint32_t reg_backend_count(reg_registry *reg);
uint32_t reg_model_count(reg_registry *reg);

typedef struct reg_stats {
    size_t backends;
    size_t models;
    size_t index_entries; /* of the model lists, all together */
    size_t waiting;       /* objects that wait for reclamation, until no reader can hold them */
    size_t waiting_bytes;
    size_t kept; /* objects that were replaced or removed, and are kept for views of their time */
    size_t
        bytes; /* all memory of the core; of the caller's objects those that wait or are kept, as far as is known */
} reg_stats;

/* As of one instant; afterwards what waits is collected, so that a registry which nobody writes to is swept by whoever
 * watches it. Waits for writers, and for turns being taken; O(backends + models). */
reg_stats reg_get_stats(reg_registry *reg, reg_garbage **garbage);

/* ---- counting: wait-free look-up, expected O(1) ---- */

/* REG_OK, REG_NOT_FOUND, REG_OVERFLOW or REG_NO_MEMORY. */
reg_status reg_increment_pending(reg_registry *reg, const reg_key *id, uint32_t *value);
/* `at_zero` is set where the count was 0, which it stays. */
reg_status reg_decrement_pending(reg_registry *reg, const reg_key *id, uint32_t *value,
                                 bool *at_zero);
reg_status reg_increment_total(reg_registry *reg, const reg_key *id, uint64_t *value);
reg_status reg_update_latency(reg_registry *reg, const reg_key *id, uint32_t sample,
                              uint32_t *average);

typedef struct reg_batch {
    const reg_key *ids;
    size_t count;
    const uint32_t *samples; /* for latencies */
    uint32_t *values;        /* out: the value after each */
    bool *at_zero;           /* out, for decrements */
    size_t applied;          /* out: how many, counted from the first */
    size_t
        unknown; /* out, on REG_NOT_FOUND: the first id that is not registered; then nothing was applied */
} reg_batch;

reg_status reg_increment_pending_many(reg_registry *reg, reg_batch *batch);
reg_status reg_decrement_pending_many(reg_registry *reg, reg_batch *batch);
reg_status reg_update_latency_many(reg_registry *reg, reg_batch *batch);

/* ---- choosing; how, and why it is exact, is told in select.c ---- */

typedef struct reg_request {
    reg_key model_id;
    reg_policy policy;
    uint32_t min_context; /* tokens */
    uint8_t capabilities; /* that it must have */
    bool allow_unknown;   /* besides healthy ones */
    bool
        may_block; /* the caller is ready for a choice that grows with the fleet or waits for a lock */
    reg_key *exclude; /* ids; sorted here */
    size_t exclude_count;
} reg_request;

typedef struct reg_candidate {
    void *definition; /* borrowed until reg_read_end */
    uint64_t serial;
    uint32_t pending;
    uint32_t latency;
    uint32_t context_length;
    int32_t priority;
    uint16_t weight;
    uint8_t reason;
} reg_candidate;

typedef struct reg_candidates {
    reg_candidate *
        items; /* freed by reg_candidates_free; the eligible ones first, best first; the others in the list's order */
    size_t count;
} reg_candidates;

/* One backend that could not be chosen. */
typedef struct reg_obstacle {
    void *definition;
    uint64_t serial;
    uint32_t context_length;
    uint8_t reason;
} reg_obstacle;

/* All of them, as they were when it was refused: see select.c. */
typedef struct reg_refusal {
    reg_obstacle *items; /* in the list's order; NULL where no backend lists the model */
    size_t count;
    reg_kept *kept; /* what keeps their definitions */
} reg_refusal;

/* One request in flight. All zero is none. */
typedef struct reg_lease {
    struct record *record;
    uint64_t started; /* a moment of clock.h */
    _Atomic bool is_active;
} reg_lease;

/* Chooses a backend and counts one more in flight on it, in one step. REG_OK, REG_WOULD_BLOCK, REG_NO_MEMORY, or REG_NONE_AVAILABLE and
 * then `refusal` is set. O(backends of the model), REG_POWER_OF_TWO expected O(1 / share of those that may be chosen). */
reg_status reg_acquire(reg_registry *reg, reg_request *request, reg_lease *lease,
                       reg_refusal *refusal);
/* The choice without the count; the definition is borrowed. Between reg_read_begin and reg_read_end. As reg_acquire. */
reg_status reg_select(reg_registry *reg, struct epoch_slot *reader, reg_request *request,
                      void **definition, reg_refusal *refusal);
void reg_refusal_drop(reg_refusal *refusal, void (*release)(void *object));
/* Every backend of the model; for a model that none lists, none. Between reg_read_begin and reg_read_end. REG_OK or REG_NO_MEMORY. */
reg_status reg_explain(reg_registry *reg, reg_request *request, reg_candidates *candidates);
void reg_candidates_free(reg_candidates *candidates);

/* Ends the request: false, and nothing happens, where it has ended already. The average is fed with `sample` (ms), or with the time since
 * the start where it is NULL, unless `failed`. `at_zero` is set where nothing was in flight, and then nothing is taken off. Any thread. */
bool reg_lease_release(reg_lease *lease, const uint32_t *sample, bool failed, bool *at_zero);
bool reg_lease_is_active(const reg_lease *lease);
/* The backend's definition, as it is now or was last. Borrowed until reg_read_end; between reg_read_begin and it. */
void *reg_lease_definition(const reg_lease *lease);
/* Lets go of the backend. The lease has been released, and nobody uses it any more. */
void reg_lease_drop(reg_lease *lease, void (*release)(void *object));

/* The calling thread's choices at random repeat from here. For tests. */
void reg_seed_random(uint64_t seed);

/* ---- writing: may wait for another writer; what raises has changed nothing ---- */

/* Finds or makes the shared variant of each of `count` models, and holds it for the caller. REG_OK, or REG_NO_MEMORY and nothing is
 * held. Either way `is_taken[i]` says whether the core took over the model's object. */
reg_status reg_hold_models(reg_registry *reg, const reg_model *models, size_t count,
                           reg_variant **variants, bool *is_taken, reg_garbage **garbage);
void reg_drop_models(reg_registry *reg, reg_variant *const *variants, size_t count,
                     reg_garbage **garbage);
/* The object of a variant that the caller holds. */
void *reg_variant_object(const reg_variant *v);

/* A registration or a new definition. On REG_OK the core takes over `definition`, `id_object` and the caller's holds on `variants`. */
typedef struct reg_entry {
    reg_key id;
    void *id_object;  /* for reg_add */
    reg_key url;      /* normalized; for reg_add */
    reg_key instance; /* of mDNS; data is NULL where there is none */
    void *definition;
    reg_variant *const *variants;
    size_t variant_count;
    size_t definition_bytes; /* how much the definition takes, as far as that is known */
    int64_t now;             /* microseconds since 1970, UTC; for reg_add */
    /* for reg_add; they hold for the whole registration */
    uint32_t max_pending; /* UINT32_MAX: no cap */
    int32_t priority;     /* lower is preferred */
    uint16_t weight;      /* 1 to 1,000 */
} reg_entry;

/* REG_OK, REG_DUPLICATE, REG_INSTANCE_TAKEN or REG_NO_MEMORY. Expected O(models of the entry), amortised. */
reg_status reg_add(reg_registry *reg, const reg_entry *entry, reg_garbage **garbage);
/* REG_OK with the backend's last view, whose objects are `kept` until reg_keep_drop, or REG_NOT_FOUND or REG_NO_MEMORY. Not
 * between reg_read_begin and reg_read_end. */
reg_status reg_remove(reg_registry *reg, const reg_key *id, reg_view *last, reg_kept **kept,
                      reg_garbage **garbage);
/* Replaces the definition of the registration `order`, if it is still `expected`; models and instance go along, url and id stay. REG_OK,
 * REG_CHANGED, REG_NOT_FOUND, REG_INSTANCE_TAKEN or REG_NO_MEMORY. */
reg_status reg_redefine(reg_registry *reg, const reg_entry *entry, uint64_t serial,
                        const void *expected, reg_garbage **garbage);
/* The core takes over `error` (NULL: none), which takes about `error_bytes`, on REG_OK. REG_OK, REG_NOT_FOUND or
 * REG_NO_MEMORY. */
reg_status reg_update_health(reg_registry *reg, const reg_key *id, reg_health health, int64_t now,
                             void *error, size_t error_bytes, reg_garbage **garbage);

#endif
