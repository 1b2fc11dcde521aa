/* The facade of the registry's core. A binding includes this header and no other.
 *
 * Threads. Any thread may call any function at any time, unless a comment here restricts it. No
 * function needs an interpreter lock or an attached thread state. Reads and counters never wait. A
 * writer waits only for other writers of the same registry.
 *
 * Objects. The caller's objects (definitions, ids, errors, models) are opaque pointers to the core.
 * The core owns one reference to each object that it keeps. It gives references back through the
 * `release` callbacks, and only functions with a `release` parameter call them. Call these
 * functions only where references may be dropped, and with no lock held.
 *
 * Keys. The core copies what it needs of a key. The exception is the id of a registration: its
 * bytes are part of an object that the core keeps.
 *
 * version.h explains how a query over many backends sees all of them at one instant. epoch.h
 * explains how memory is reclaimed while threads read.
 */
#ifndef REG_REGISTRY_H
#define REG_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

/* Opaque: registry/layout.h converts between these and the core's own types. */
typedef struct reg_registry reg_registry;
typedef struct reg_reader reg_reader;   /* a thread inside a read */
typedef struct reg_kept reg_kept;       /* keeps the objects of views after their read has ended */
typedef struct reg_garbage reg_garbage; /* what the core no longer uses, for reg_destroy */
typedef struct reg_record reg_record;   /* the registration that a lease refers to */
typedef struct reg_variant reg_variant; /* one model definition, shared by equal ones */
typedef struct reg_watch reg_watch;     /* a stream of changes */
typedef struct reg_noted_prefix reg_noted_prefix; /* the blocks of a request: see lease.c */

/* Drops one reference to an object of the caller. */
typedef void (*reg_release)(void *object);

/* A thread or a task that sleeps until something happens. It is part of an object of the caller.
 * While it is listed, the core owns one reference to that object, and nobody else may touch the
 * other fields. Whoever makes the event happen gets the waiter back, with the reference, and wakes
 * it. */
typedef struct reg_waiter {
    struct reg_waiter *next, *previous;
    const void *awaited;
    void *object;   /* for the caller */
    bool is_listed; /* false at first */
    bool is_woken;  /* it was taken off, because what it waits for has happened */
} reg_waiter;

/* ---- life ---- */

/* Prepares the process. Returns NULL on success. Otherwise it returns a message that says what the
 * process lacks, and reg_new will fail. Idempotent; reg_new calls it too. */
const char *reg_start(void);

/* Creates an empty registry, which the caller frees with reg_free. NULL settings: the
 * defaults. A registry keeps a reference to its clock. NULL if out of memory or reg_start fails.
 */
reg_registry *reg_new(const reg_settings *wanted);

/* A clock that starts at 0 and is moved by hand. `now` is the wall clock's time at the start, in
 * microseconds since 1970, UTC. NULL if out of memory. */
reg_clock *reg_clock_new(int64_t now);
/* Any thread may call these. Wait-free. */
void reg_clock_advance(reg_clock *clock, uint64_t nanoseconds);
uint64_t reg_clock_read(const reg_clock *clock);
/* Drops the caller's reference. */
void reg_clock_drop(reg_clock *clock);

/* Frees the registry and drops all of its objects. No other thread may use the registry any more.
 * Leases and kept views stay valid. O(backends + models). */
void reg_free(reg_registry *reg, reg_release release);

/* Drops every object in `garbage` and frees the rest. `garbage` may be NULL. Not inside a read.
 * O(objects). */
void reg_destroy(reg_garbage *garbage, reg_release release);

/* ---- reading ---- */

/* A read begins with reg_read_begin and ends with reg_read_end, on the same thread. Reads must not
 * nest. A long read delays the reclamation of memory, but it delays no other thread. */

/* One backend at one instant. The objects are borrowed: they stay valid until reg_read_end, and
 * longer with reg_read_keep. */
typedef struct reg_view {
    void *definition;
    void *error;        /* NULL: none */
    uint64_t serial;    /* the number of the registration, counted from 1 */
    uint64_t order;     /* its place in the order of registration */
    int64_t checked_at; /* microseconds since 1970, UTC */
    uint64_t total;
    uint64_t failed;
    uint64_t pending_tokens;   /* of the leases that are active, at the instant of `pending` */
    int64_t unavailable_until; /* like checked_at; only for REG_COOLING_DOWN and REG_EJECTED */
    uint32_t pending;
    uint32_t latency;    /* the average, in milliseconds */
    uint32_t ttft;       /* the average time to first token, in milliseconds */
    bool has_ttft;       /* there was a sample */
    bool is_draining;    /* by the operator's decision */
    uint8_t health;      /* a reg_health */
    uint8_t unavailable; /* REG_COOLING_DOWN, REG_EJECTED, REG_ON_TRIAL, or REG_ELIGIBLE: none */
} reg_view;

typedef struct reg_views {
    reg_view *items; /* the caller frees them with reg_views_free */
    size_t count;
    uint64_t version; /* of the instant of the views */
} reg_views;

/* NULL if out of memory, which can happen only in a thread's first call. Wait-free, O(1). */
reg_reader *reg_read_begin(void);
void reg_read_end(reg_reader *reader);

/* Keeps the objects of `count` views or refusals that this read has found. Give each of them back
 * with reg_keep_drop. NULL if out of memory. Call it inside the read, after finding them. Wait-free
 * and O(1) for any count, but O(threads) for a thread's first views in a generation (see
 * reservation.h). */
reg_kept *reg_read_keep(reg_registry *reg, reg_reader *reader, size_t count);

/* Gives back `count` views. Any thread may call it, but not inside a read. Lock-free and O(1),
 * except for the last views of a generation: this call may wait for a few steps of another thread,
 * and it drops the objects that only these views kept. */
void reg_keep_drop(reg_kept *kept, size_t count, reg_release release);

/* REG_OK, or REG_NOT_FOUND. Inside a read. The look-up is wait-free. Reading the count in flight is
 * only lock-free, because a choice may claim it at the same time (see counters.h). Expected
 * O(1). */
reg_status reg_get(reg_registry *reg, const reg_key *id, reg_view *view);

/* Views of all backends, of the healthy ones that are not draining, or of those that serve a model,
 * in the order of registration and as of one instant. REG_OK, or REG_NO_MEMORY. Inside a read.
 * Lock-free like reg_get. O(backends of the list). Free the views with reg_views_free. */
reg_status reg_get_all(reg_registry *reg, bool healthy_only, reg_views *views);
reg_status reg_get_for_model(reg_registry *reg, const reg_key *model_id, reg_views *views);
void reg_views_free(reg_views *views);

/* The definition of the backend with this mDNS instance, or NULL. Borrowed until reg_read_end.
 * Inside a read. Wait-free, expected O(1). */
void *reg_find_by_instance(reg_registry *reg, const reg_key *instance);

/* The functions below begin and end their own read if they need one. Do not call them inside a
 * read, except for the two counts. */

/* REG_OK, REG_NOT_FOUND, or REG_NO_MEMORY. Wait-free, expected O(1). */
reg_status reg_contains(reg_registry *reg, const reg_key *id);
reg_status reg_has_url(reg_registry *reg, const reg_key *url);

/* Lock-free, O(1). */
uint32_t reg_backend_count(reg_registry *reg);
/* The number of models that at least one backend serves. Lock-free, O(1). */
uint32_t reg_model_count(reg_registry *reg);

/* The ids of the models that at least one backend serves, in the order in which this began. */
typedef struct reg_model_ids {
    reg_key *items; /* with copies of the texts; the caller frees them with reg_model_ids_free */
    size_t count;
} reg_model_ids;

/* REG_OK or REG_NO_MEMORY. As of one instant. Waits for writers. O(n log n) for n models. */
reg_status reg_get_model_ids(reg_registry *reg, reg_model_ids *ids);
void reg_model_ids_free(reg_model_ids *ids);

typedef struct reg_stats {
    size_t backends;
    size_t models;
    size_t index_entries; /* the sum of the lengths of all model lists */
    size_t waiting;       /* retired objects that a reader may still hold */
    size_t waiting_bytes;
    size_t kept; /* objects that were replaced or removed, but are kept for views or leases */
    size_t prefix_bytes; /* what is known of prompts; a part of `bytes` */
    /* All memory of the core. It includes the waiting and the kept objects of the caller, if the
     * caller has given their sizes. */
    size_t bytes;
} reg_stats;

/* Returns the numbers of one instant. It also collects waiting objects, so monitoring reclaims
 * memory even in a registry without writes. The caller destroys `garbage`. Waits for writers and
 * for ROUND_ROBIN choices. O(backends + models). */
reg_stats reg_get_stats(reg_registry *reg, reg_garbage **garbage);

/* ---- counting ---- */

/* Not inside a read. The look-up is wait-free and expected O(1). Counting is lock-free. Adding is
 * wait-free, as long as the count in flight is below 2**31. */

/* REG_OK, REG_NOT_FOUND, REG_OVERFLOW, or REG_NO_MEMORY. `value` is the count afterwards. */
reg_status reg_increment_pending(reg_registry *reg, const reg_key *id, uint32_t *value);

/* What the caller of a decrement must do next. */
enum {
    REG_WAS_ZERO = 1,    /* the count was 0 and stays 0 */
    REG_HAS_WOKEN = 2,   /* the count has become 0: wake every waiter of the list `woken` */
    REG_MUST_SETTLE = 4, /* after reg_lease_release: call reg_lease_settle */
    REG_IS_WAITED = 8,   /* somebody waits for a place: call reg_hand_over or reg_lease_hand_over */
};

typedef struct reg_aftermath {
    uint32_t flags;    /* the caller sets it to 0 before the call; usually it stays 0 */
    reg_waiter *woken; /* likewise NULL; linked by `next` */
} reg_aftermath;

/* REG_OK, REG_NOT_FOUND, or REG_NO_MEMORY. Lock-free, but if someone waits for the count to become
 * 0 and it does, the call takes a lock for a few steps: see registry/idle.h. */
reg_status reg_decrement_pending(reg_registry *reg, const reg_key *id, uint32_t *value,
                                 reg_aftermath *after);

/* REG_OK, REG_NOT_FOUND, or REG_NO_MEMORY. `value` is the count afterwards. Takes a lock for a few
 * steps if the registry ejects backends. */
reg_status reg_increment_total(reg_registry *reg, const reg_key *id, uint64_t *value);

/* REG_OK, REG_NOT_FOUND, or REG_NO_MEMORY. `sample` and `average` are milliseconds. */
reg_status reg_update_latency(reg_registry *reg, const reg_key *id, uint32_t sample,
                              uint32_t *average);

typedef struct reg_batch {
    const reg_key *ids;
    size_t count;
    const uint32_t *samples; /* milliseconds, for reg_update_latency_many */
    uint32_t *values;        /* out: the value after each operation */
    bool *at_zero;           /* out, for reg_decrement_pending_many */
    bool is_waited;          /* out, likewise: as REG_IS_WAITED */
    reg_waiter *woken;       /* out, likewise: the waiters to be woken, linked by `next` */
    size_t applied;          /* out: how many operations, from the first on, were applied */
    size_t unknown;          /* out, on REG_NOT_FOUND: the index of the first unknown id */
} reg_batch;

/* Each applies one operation to each id, in the order of the ids. The statuses are those of the
 * single operation. On REG_NOT_FOUND and REG_NO_MEMORY nothing was applied; on REG_OVERFLOW the
 * first `applied` operations were. The batch as a whole is not atomic. The caller owns the arrays.
 * Expected O(ids). */
reg_status reg_increment_pending_many(reg_registry *reg, reg_batch *batch);
reg_status reg_decrement_pending_many(reg_registry *reg, reg_batch *batch);
reg_status reg_update_latency_many(reg_registry *reg, reg_batch *batch);

/* ---- waiting until nothing is in flight ---- */

/* One call that waits for the count in flight of one registration to become 0. The caller zeroes
 * it and sets `node.object`. `node.is_woken` is valid after reg_wait_end: the count was 0 at an
 * instant of the wait. */
typedef struct reg_idle_waiter {
    reg_waiter node;
    reg_kept *kept; /* keeps the registration */
} reg_idle_waiter;

/* Whether nothing is in flight on the registration with this id and serial (0: any). REG_OK,
 * REG_NOT_FOUND, or REG_NO_MEMORY. Not inside a read. Costs what a counter operation costs. */
reg_status reg_is_idle(reg_registry *reg, const reg_key *id, uint64_t serial, bool *is_idle);

/* Begins to wait, unless nothing is in flight; then `is_idle` is set. Whoever takes the count to 0
 * gets the waiter back (reg_aftermath), and wakes it. So on REG_OK without `is_idle`, the memory of
 * the waiter must stay valid until that or until reg_wait_end has returned true. Statuses like
 * reg_is_idle. Not inside a read. Takes a lock for a few steps. */
reg_status reg_wait_begin(reg_registry *reg, const reg_key *id, uint64_t serial,
                          reg_idle_waiter *waiter, bool *is_idle);

/* Ends a wait that reg_wait_begin was called for, whatever the status was. Returns whether it ends
 * before the waiter was woken: then nobody will wake it. Not inside a read. Cost as above, and that
 * of reg_keep_drop. */
bool reg_wait_end(reg_idle_waiter *waiter, reg_release release);

/* ---- choosing ---- */

typedef struct reg_request {
    reg_key model_id;
    reg_policy policy;
    uint32_t min_context; /* tokens */
    uint32_t tokens;      /* how much work the request puts in front of others */
    /* A hash for each block of the prompt, of everything up to its end. NULL: not given; otherwise
     * with REG_LEAST_TOKENS only those tokens count that the backend does not have yet. */
    const uint64_t *prefix;
    size_t prefix_count;
    uint8_t capabilities; /* all that the model must have: REG_VISION and so on */
    bool allow_unknown;   /* a backend of unknown health may be chosen too */
    bool may_block;       /* the call may take O(fleet) time and wait for a lock */
    bool is_limited;      /* only the ids in `only` may be chosen */
    reg_key *exclude;     /* ids that may not be chosen; the call sorts this array */
    size_t exclude_count;
    reg_key *only; /* likewise sorted; an id may be unknown, or there twice */
    size_t only_count;
    uint64_t affinity; /* the key, for REG_AFFINITY */
} reg_request;

/* The key of a text: a hash of its bytes, the same on every host. O(length). */
uint64_t reg_affinity_of(const void *bytes, size_t length);
/* Who must be woken after a call, with no lock held. The caller zeroes it before the call. */
typedef struct reg_wakes {
    reg_waiter *woken; /* linked by `next`, in the order of the line; each with a reference */
    /* Likewise, by `next_nudged`: they sleep again if there is nothing to do. */
    struct reg_place_waiter *nudged;
    reg_waiter *last; /* of `woken`; NULL if that is empty, or if it is not known */
} reg_wakes;

/* Takes the next one out, or returns NULL. The caller wakes it, and has its reference. Between two
 * calls, the core may add others. */
reg_waiter *reg_wakes_next(reg_wakes *wakes);

/* One backend as reg_explain sees it. */
typedef struct reg_candidate {
    void *definition; /* borrowed until reg_read_end */
    uint64_t order;   /* its place in the order of registration */
    uint32_t pending;
    uint32_t latency;
    uint32_t context_length;
    int32_t priority;
    uint16_t weight;
    uint8_t reason; /* a reg_reason */
} reg_candidate;

typedef struct reg_candidates {
    reg_candidate *items; /* the caller frees them with reg_candidates_free */
    size_t count;
} reg_candidates;

/* One backend that could not be chosen. */
typedef struct reg_obstacle {
    void *definition;
    uint64_t order; /* its place in the order of registration */
    uint32_t context_length;
    uint8_t reason; /* a reg_reason */
} reg_obstacle;

/* The reasons why no backend could be chosen. There is an item for each backend of the model, as of
 * the instant of the refusal (see choose/select.c). The caller drops it with reg_refusal_drop. */
typedef struct reg_refusal {
    reg_obstacle *items; /* in the order of registration; NULL if no backend lists the model */
    size_t count;
    uint64_t retry_after; /* ns until time alone makes a backend eligible; REG_NEVER: it does not */
    reg_kept *kept;       /* keeps the definitions of the items */
} reg_refusal;

/* One request in flight. A zeroed lease refers to no registration. */
typedef struct reg_lease {
    reg_record *record;             /* NULL: none */
    void *definition;               /* that it was chosen by; borrowed until reg_lease_drop */
    reg_kept *kept;                 /* keeps both of them */
    uint64_t started;               /* the time of the registry's clock */
    uint64_t version;               /* of the choice */
    reg_noted_prefix *prefix;       /* what was noted; NULL: nothing */
    _Atomic uint64_t cached_tokens; /* that the choice assumed, or that the engine had */
    _Atomic uint32_t tokens;        /* see lease.c */
    bool is_trial;
    bool ends_trial;       /* its failure does, in reg_lease_settle */
    uint8_t ended_phase;   /* likewise: the phase in which the release found it */
    _Atomic uint8_t phase; /* see lease.c */
} reg_lease;

/* Chooses a backend and adds one request to its count in flight, in one atomic step. Returns
 * REG_OK and sets the lease, or REG_NONE_AVAILABLE and sets the refusal, or REG_WOULD_BLOCK, or
 * REG_NO_MEMORY; or REG_WAITS, if somebody waits for a place: call reg_acquire_beside. The caller
 * owns the lease and drops it with reg_lease_drop. Not inside a read. Lock-free, with three
 * exceptions: REG_ROUND_ROBIN takes a lock, and so does a choice that other threads disturb again
 * and again; and noting a prefix takes one, for O(blocks). Without `may_block`, the call returns
 * REG_WOULD_BLOCK instead of taking one of the first two, or of taking long. O(backends of the
 * model), with REG_LEAST_TOKENS also the known blocks of each; for REG_POWER_OF_TWO expected O(1 /
 * share of eligible backends). A choice that is limited takes O(ids * models of each backend),
 * whatever the length of the model's list; but REG_ROUND_ROBIN and a refusal read the whole
 * list. */
reg_status reg_acquire(reg_registry *reg, reg_request *request, reg_lease *lease,
                       reg_refusal *refusal);

/* The same where somebody waits. It takes no place that a waiter could take: it
 * hands such a place over, and the caller wakes `wakes`. Takes a lock for O(kinds of waiters)
 * choices. `may_block` is set. */
reg_status reg_acquire_beside(reg_registry *reg, reg_request *request, reg_lease *lease,
                              reg_refusal *refusal, reg_wakes *wakes);

/* Chooses a backend like reg_acquire, but counts nothing. The definition is borrowed until
 * reg_read_end. Inside a read. */
reg_status reg_select(reg_registry *reg, reg_reader *reader, reg_request *request,
                      void **definition, reg_refusal *refusal);

/* Frees what a refusal holds. A zeroed refusal holds nothing. Not inside a read. */
void reg_refusal_drop(reg_refusal *refusal, reg_release release);

/* Lists every backend of the model: first the eligible ones, from the best to the worst, then the
 * others in the order of registration. The list is empty if no backend serves the model. Returns
 * REG_OK or REG_NO_MEMORY. Inside a read. REG_ROUND_ROBIN waits for a lock. O(n log n) for n
 * backends. */
reg_status reg_explain(reg_registry *reg, reg_request *request, reg_candidates *candidates);
void reg_candidates_free(reg_candidates *candidates);

/* The name of a policy below REG_POLICY_COUNT, as in Python's enumeration. */
const char *reg_policy_name(reg_policy policy);

/* Makes the calling thread's random choices repeatable. For tests. */
void reg_seed_random(uint64_t seed);

/* ---- waiting for a place ---- */

/* One call that waits until a backend may be chosen. The caller zeroes it and sets `node.object`,
 * the request (with `may_block`), the priority and the lease. What the request points to stays
 * valid, and the caller keeps the registry, until reg_line_leave. */
typedef struct reg_place_waiter {
    reg_waiter node;
    reg_request request;
    reg_lease *lease; /* where the place is handed over; NULL once the caller has taken it */
    int32_t priority; /* lower goes first */
    /* Out: how many references the core gives back with this call. */
    uint32_t given_back;
    /* Out: the nanoseconds until a deadline after which the caller must look again, or REG_NEVER.
     * A clock that is moved by hand has none: see reg_clock_hand_over. */
    uint64_t look_after;
    /* Of the core, under its lock. */
    uint64_t arrival;
    uint64_t told; /* the deadline of `look_after`, in the registry's time */
    struct reg_place_waiter *next_nudged;
    _Atomic bool is_nudged; /* it is in a list of reg_wakes */
    bool can_nudge; /* the core has a second reference, to wake it before its place is free */
    uint8_t result; /* a reg_status, once it is not in the line any more */
    size_t index;
    struct line_kind *kind;
    const void *thread; /* that entered it */
} reg_place_waiter;

/* Chooses, or enters the line. The core gets two references to the waiter's object, of which it
 * gives back `given_back`. Returns
 *   REG_OK              the lease is filled
 *   REG_WAITS           it is in the line. The caller sleeps until it is woken, but no longer than
 *                       `look_after`, and then calls reg_line_look. Only if `may_wait`
 *   REG_NONE_AVAILABLE  waiting does not help, or not `may_wait`; the refusal is set
 *   REG_LINE_FULL       so many wait already; the refusal is set
 *   REG_CHANGED         drop the refusal, and call again
 *   REG_NO_MEMORY
 * Not inside a read. Takes a lock, under which it makes one choice if nobody of its kind waits. */
reg_status reg_line_enter(reg_registry *reg, reg_place_waiter *waiter, bool may_wait,
                          reg_refusal *refusal, reg_wakes *wakes);

/* Looks what has become of a waiter after its sleep. The core gets one reference, of which and of
 * its others it gives back `given_back`. `is_last`: the time is up, so it leaves the line. Statuses
 * as above; REG_CHANGED: call reg_line_enter again. */
reg_status reg_line_look(reg_registry *reg, reg_place_waiter *waiter, bool is_last,
                         reg_refusal *refusal, reg_wakes *wakes);

/* Ends a wait, at any time and more than once. A place that was handed over, and that the caller
 * has not taken, is given back: it counts in no total, and goes to the next. Returns how many
 * references the core gives back. */
uint32_t reg_line_leave(reg_registry *reg, reg_place_waiter *waiter, reg_wakes *wakes);

/* Whether somebody waits. One load. */
bool reg_is_waited(reg_registry *reg);
/* After a write, if somebody waits, and where REG_IS_WAITED says so: hands free places over. Takes
 * a lock for O(kinds of waiters + places) choices, and for O(waiters) if the time at which the
 * first place may become free by time alone has become earlier. Not inside a read. */
void reg_hand_over(reg_registry *reg, reg_wakes *wakes);
/* The same for the registry of a lease, if it still exists. */
void reg_lease_hand_over(reg_lease *lease, reg_wakes *wakes);
/* The same for all registries with this clock, after it was moved. O(registries of the process). */
void reg_clock_hand_over(reg_clock *clock, reg_wakes *wakes);

/* How many wait for a model. Takes the lock if somebody waits. O(models that are waited for). */
size_t reg_waiting(reg_registry *reg, const reg_key *model_id);

/* ---- prefixes ---- */

/* Hashes of the beginnings of a prompt: XXH64 of its bytes, the same on every host. A text counts
 * with its UTF-8 bytes; a number with 8 bytes, the lowest first. No registry is needed. The caller
 * owns the `reg_prefix`; one thread at a time may use it. Wait-free. */

/* Begins a prompt of blocks of `block` characters or numbers, at least 1. */
void reg_prefix_begin(reg_prefix *prefix, uint64_t block);

/* Adds a byte that does not count as a character. */
void reg_prefix_mark(reg_prefix *prefix, reg_mark mark);

/* Adds the characters of `text` from `*at` on, and moves `*at` behind the last one that was added.
 * Stores in `hashes`, for each block that gets full, the hash of everything up to its end. Stops at
 * the end of the text; after `room` hashes; or before a lone surrogate. Returns the number of
 * hashes. O(characters). */
size_t reg_prefix_add_text(reg_prefix *prefix, const reg_text *text, size_t *at, uint64_t *hashes,
                           size_t room);

/* The same for numbers. Stops before a negative one. */
size_t reg_prefix_add_numbers(reg_prefix *prefix, const reg_numbers *numbers, size_t *at,
                              uint64_t *hashes, size_t room);

/* The hash of everything that was added. O(1). */
uint64_t reg_prefix_hash(const reg_prefix *prefix);

/* Stores the numbers in `values`, each modulo 2**64. O(numbers). */
void reg_read_numbers(const reg_numbers *numbers, uint64_t *values);

/* ---- leases ---- */

/* Ends the request: counts its outcome, and takes it out of the count in flight. If several calls
 * release one lease, exactly one ends the request and returns true; the others return false and
 * change nothing. A success updates the average with `sample` (milliseconds), or with the time
 * since the choice if `sample` is NULL. The count in flight changes as by reg_decrement_pending, at
 * the same cost. A failure takes a lock for a few steps.
 *
 * If the outcome may change the backend's availability (always with REG_BACK_OFF), `after` has
 * REG_MUST_SETTLE. The request then stays in flight until the caller has called reg_lease_settle.
 */
bool reg_lease_release(reg_lease *lease, reg_outcome outcome, const uint32_t *sample,
                       reg_aftermath *after);

/* The rest of such a release: ejects the backend, restores it, or lets it cool down for
 * `retry_after` ns (only with REG_BACK_OFF), and then ends the request. The caller wakes `watchers`
 * like those of reg_take_waiters, and passes `garbage` to reg_destroy. Not inside a read. Waits for
 * writers of the lease's registry, and O(1).
 *
 * It cannot fail. If memory runs out, the outcome is counted and the request ends all the same, but
 * the backend stays as it is. The next outcome of that kind then ejects or restores it; a cool-down
 * is lost. */
void reg_lease_settle(reg_lease *lease, reg_outcome outcome, uint64_t retry_after,
                      reg_aftermath *after, reg_waiter **watchers, reg_garbage **garbage);

/* Notes that the first token of the answer has arrived. The first call returns true, updates the
 * average time to first token and sets the tokens of the lease; later calls, and calls after the
 * release, return false and change nothing. Lock-free, unless the lease has tokens or gets some:
 * then as reg_lease_set_tokens. */
bool reg_lease_first_token(reg_lease *lease, uint32_t tokens);

/* The tokens in flight of the lease; 0 once it is released. Wait-free. */
uint32_t reg_lease_tokens(const reg_lease *lease);

/* Replaces them, whatever the cap is. Returns false if the lease is released; then nothing has
 * changed. Takes a lock for a few steps. */
bool reg_lease_set_tokens(reg_lease *lease, uint32_t tokens);

/* The tokens of the prompt that the choice assumed to be cached on the backend, or the number of
 * the last correction. Wait-free. */
uint64_t reg_lease_cached_tokens(const reg_lease *lease);

/* Corrects that number to `tokens`, and with it what the registry knows of the backend: of the
 * request's blocks, the first `tokens` / `block_tokens` are noted, and the others dropped. The
 * tokens of the lease stay as they are. REG_OK; REG_NOT_FOUND after the release; or REG_NO_MEMORY.
 * On any status but REG_OK nothing has changed. Takes a lock; O(blocks), amortised. Not inside a
 * read. */
reg_status reg_lease_set_cached_tokens(reg_lease *lease, uint32_t tokens);
/* How many blocks that concerns. */
size_t reg_lease_blocks(const reg_lease *lease);

/* Gives a place back that was not used: the request leaves the count in flight, and counts in no
 * total. False if it has ended already. As reg_lease_release, but never REG_MUST_SETTLE. */
bool reg_lease_return(reg_lease *lease, reg_aftermath *after);

/* Whether somebody waits for a place. Ask after reg_lease_first_token, reg_lease_set_tokens and
 * reg_lease_set_cached_tokens: if so, call reg_lease_hand_over. One load. */
bool reg_lease_is_waited(const reg_lease *lease);

/* Whether the request is still in flight. Wait-free. */
bool reg_lease_is_active(const reg_lease *lease);

/* Gives up what the lease keeps. The lease must have ended, and no thread may use it any more. Not
 * inside a read. Costs what reg_keep_drop costs. */
void reg_lease_drop(reg_lease *lease, reg_release release);

/* ---- writing ---- */

/* Every function below takes the registry's writer lock. On any status but REG_OK nothing has
 * changed. `garbage` is always set, possibly to NULL, and the caller passes it to reg_destroy. */

/* Finds or creates the shared variant of each of `count` models, and takes a reference to it for
 * the caller. Returns REG_OK; or REG_NO_MEMORY, and then the caller has no references. In both
 * cases `is_taken[i]` says whether the core now owns the model's object. Expected O(models). */
reg_status reg_hold_models(reg_registry *reg, const reg_model *models, size_t count,
                           reg_variant **variants, bool *is_taken, reg_garbage **garbage);

/* Drops the caller's references to `count` variants. Cannot fail. O(models). */
void reg_drop_models(reg_registry *reg, reg_variant *const *variants, size_t count,
                     reg_garbage **garbage);

/* The object of a variant to which the caller has a reference. Takes no lock. */
void *reg_variant_object(const reg_variant *v);

/* A definition, with what the core needs of it. */
typedef struct reg_entry {
    reg_key id;       /* for a new registration, its bytes are in `id_object` */
    void *id_object;  /* for a new registration */
    reg_key url;      /* normalized; for a new registration */
    reg_key instance; /* of mDNS; `data` is NULL if there is none */
    void *definition;
    reg_variant *const *variants; /* no two of the same model */
    size_t variant_count;
    size_t definition_bytes;     /* an estimate of the size of the definition */
    int64_t now;                 /* microseconds since 1970, UTC; for a new registration */
    uint32_t max_pending;        /* UINT32_MAX: no cap */
    int32_t priority;            /* lower is preferred */
    uint64_t max_pending_tokens; /* 0: no cap */
    uint16_t weight;             /* 1 to 1,000 */
} reg_entry;

typedef struct reg_edit {
    /* REG_ADDED      a new registration
     * REG_REPLACED   a new registration takes the place of the one with this id, in the same write
     * REG_UPDATED    another definition for a registration, whose server stays the same: status,
     *                counters and leases are kept
     * REG_REMOVED    only `entry.id` is read */
    reg_change_kind kind;
    reg_entry entry;
    /* Unless it is added: the registration that the caller means, and its definition. If the id has
     * another serial, the status is REG_NOT_FOUND; with `expected` it is REG_CHANGED, because such
     * a caller reads again. */
    uint64_t serial;      /* 0: any */
    const void *expected; /* NULL: any */
} reg_edit;

#define REG_ANY_FLEET UINT64_MAX

/* Makes all changes at one instant. No two of them have the same id.
 *
 * `fleet` is the version of the views that the caller has based its changes on: if any reg_apply or
 * reg_remove took effect since, the call returns REG_CHANGED. REG_ANY_FLEET: it does not matter. If
 * there is more than one change, `fleet` must be given, and the caller must have made sure that no
 * two backends of the new fleet have the same instance.
 *
 * On REG_OK the core takes over `definition`, the caller's references to `variants` and, for a new
 * registration, `id_object`; otherwise they remain the caller's. The caller must keep `expected`
 * alive, or be inside the read that found it; otherwise another object could get its address.
 *
 * REG_OK, REG_DUPLICATE, REG_NOT_FOUND, REG_CHANGED (see `expected`),
 * REG_INSTANCE_TAKEN, or REG_NO_MEMORY. Expected O(models, old and new), amortised. */
reg_status reg_apply(reg_registry *reg, const reg_edit *edits, size_t count, uint64_t fleet,
                     reg_garbage **garbage);

/* Removes a registration. REG_OK with the backend's last view, REG_NOT_FOUND, or REG_NO_MEMORY. The
 * objects of the view stay valid until the caller drops `kept` with reg_keep_drop. `serial`: as in
 * reg_edit. Not inside a read. O(models of the backend), amortised. */
reg_status reg_remove(reg_registry *reg, const reg_key *id, uint64_t serial, reg_view *last,
                      reg_kept **kept, reg_garbage **garbage);

/* Stores the result of a health check at `now`. The caller reads the clock before this call takes
 * the lock. So if two calls are concurrent, the one that takes effect last may store the earlier
 * time. On REG_OK the core takes over `error` (NULL: none), whose size is about `error_bytes`.
 * `serial`: as in reg_edit. REG_OK, REG_NOT_FOUND, or REG_NO_MEMORY. Expected O(1). */
reg_status reg_update_health(reg_registry *reg, const reg_key *id, uint64_t serial,
                             reg_health health, int64_t now, void *error, size_t error_bytes,
                             reg_garbage **garbage);

/* Sets or clears `is_draining`. If it is so already, nothing changes. `serial`: as in reg_edit.
 * REG_OK, REG_NOT_FOUND, or REG_NO_MEMORY. Expected O(1). */
reg_status reg_set_draining(reg_registry *reg, const reg_key *id, uint64_t serial, bool draining,
                            reg_garbage **garbage);

/* Lets a backend cool down for `span` ns from now on, unless it does so for longer. `serial`: as in
 * reg_edit. REG_OK, REG_NOT_FOUND, or REG_NO_MEMORY. Expected O(1). */
reg_status reg_cool_down(reg_registry *reg, const reg_key *id, uint64_t serial, uint64_t span,
                         reg_garbage **garbage);

/* Ends ejection, trial, cool-down and slow start. Arguments and statuses as above. */
reg_status reg_restore(reg_registry *reg, const reg_key *id, uint64_t serial,
                       reg_garbage **garbage);

/* ---- watching ---- */

/* One change of a registry. The objects of the views stay valid until the caller gives back `kept`,
 * which counts each view. */
typedef struct reg_change {
    uint64_t version; /* of the write that made the change; later writes have greater ones */
    reg_view before;  /* valid if `has_before` */
    reg_view after;   /* valid if `has_after` */
    reg_kept *kept;
    uint8_t kind; /* a reg_change_kind */
    bool has_before;
    bool has_after;
} reg_change;

/* Opens a watch for every change after the version at which it finds `fleet`: all backends, in the
 * order of registration. `kept` counts each view. On REG_NO_MEMORY neither is set, but `watch` may
 * be. Unless it is NULL, the caller closes and frees it in either case, before the registry. At
 * most `limit` changes stay unread. Not inside a read. Waits for writers. O(backends). */
reg_status reg_watch_open(reg_registry *reg, uint32_t limit, reg_watch **watch, reg_views *fleet,
                          reg_kept **kept);

/* Takes the next change. Returns
 *   REG_OK            `change` is the next change. If its kind is REG_OVERFLOWED, then the changes
 *                     up to its version were dropped, and `fleet` is the fleet at this version;
 *                     `kept` counts its views instead. The caller frees it with reg_views_free
 *   REG_NOT_FOUND     nothing is unread, or the watch is closed
 *   REG_WOULD_BLOCK   only without `may_block`: the call would wait, or take O(backends) time
 *   REG_NO_MEMORY     the changes were dropped, and the fleet could not be read: try again
 * The caller passes `garbage` to reg_destroy. Not inside a read. O(1); after an overflow it waits
 * for writers and takes O(backends). Several threads may call it: each change goes to one. */
reg_status reg_watch_take(reg_watch *watch, bool may_block, reg_change *change, reg_views *fleet,
                          reg_garbage **garbage);

/* Whether reg_watch_take has something to take, or the watch is closed. Wait-free. */
bool reg_watch_is_ready(reg_watch *watch);

/* Lists a waiter, unless the watch is ready. True if it is listed: then the caller sleeps until it
 * is woken, and looks again. False: look again at once. O(1). */
bool reg_watch_listen(reg_watch *watch, reg_waiter *waiter);
/* Ends the waiting. True if it was listed, and the core's reference is the caller's again. False if
 * another thread has taken it off, and wakes it. O(1). */
bool reg_watch_forget(reg_watch *watch, reg_waiter *waiter);

/* After a write that has changed something, and after reg_watch_lag: takes off everyone who waits
 * for a change. The caller wakes them with no lock held; they are linked by `next`, and each
 * reference is the caller's. NULL if nobody waits: then it is one load and a branch. */
reg_waiter *reg_take_waiters(reg_registry *reg);

/* Drops what is unread, as if it were too much: the next change is REG_OVERFLOWED. For a caller
 * that could not use the fleet of the last one. Waits for writers. O(1). */
void reg_watch_lag(reg_watch *watch);

/* Closes the watch, and drops what is unread. The caller wakes `waiters` as above, and passes
 * `garbage` to reg_destroy. Idempotent. Waits for writers. O(waiters). */
void reg_watch_close(reg_watch *watch, reg_waiter **waiters, reg_garbage **garbage);
bool reg_watch_is_closed(const reg_watch *watch);
/* Frees a closed watch that no thread uses any more. */
void reg_watch_free(reg_watch *watch);

#endif
