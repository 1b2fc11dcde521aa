#include "store/outcomes.h"

#include "base/memory.h"

/* ---- the locks ---- */

lock_stripes outcome_locks = LOCK_STRIPES;

static pthread_mutex_t *lock_of(const outcomes *o) { return stripe_of(&outcome_locks, o); }

static void lock(const outcomes *o) { pthread_mutex_lock(lock_of(o)); }
static void unlock(const outcomes *o) { pthread_mutex_unlock(lock_of(o)); }

/* ---- under LOCK ---- */

/* A success has something to do here while there is a row or an ejection, from the end of the
 * bucket on, and from the time at which something can be cleared. */
static void update_quiet(outcomes *o) {
    uint64_t until = o->bucket_end < o->settle_from ? o->bucket_end : o->settle_from;
    if (o->row != 0 || o->is_ejected) until = 0;
    if (load_own(&o->quiet_until) != until) exchange_seq_cst(&o->quiet_until, until);
}

static bool has_windows(const outcomes *o) {
    const reg_settings *values = &o->settings->values;
    return values->ejects && values->failure_rate >= 0;
}

/* The outcomes that count, so far. */
static outcome_mark mark_now(const outcomes *o) {
    return (outcome_mark){(uint32_t)load_seq_cst(&((outcomes *)o)->total) - o->neutral,
                          o->failures};
}

static void begin_windows(outcomes *o, uint64_t now) {
    o->current = o->previous = mark_now(o);
    o->bucket_end = has_windows(o) ? time_after(now, o->settings->values.window) : REG_NEVER;
}

/* Begins the bucket that `now` is in. The one before it is the old bucket, or an empty one. */
static void turn_bucket(outcomes *o, uint64_t now) {
    uint64_t window = o->settings->values.window;
    if (now < o->bucket_end) return;
    outcome_mark fresh = mark_now(o);
    uint64_t skipped = (now - o->bucket_end) / window;
    o->previous = skipped == 0 ? o->current : fresh;
    o->current = fresh;
    o->bucket_end = time_after(o->bucket_end + skipped * window, window);
}

/* Whether the request started after the last ejection. */
static bool is_new(const outcomes *o, const ended_request *request) {
    return request->version >= load_own(&((outcomes *)o)->ejection);
}

/* Whether the request started after a restoration that has been committed, but is not noted here
 * yet. TRANSITION is stored before the commit. */
static bool is_restored_for(const outcomes *o, const ended_request *request) {
    uint64_t transition = load_seq_cst(&((outcomes *)o)->transition);
    return transition > load_own(&((outcomes *)o)->ejection) && request->version >= transition;
}

/* Whether the request has something to say about an ejected backend. */
static bool is_of_ejected(const outcomes *o, const ended_request *request) {
    return o->is_ejected && is_new(o, request) && !is_restored_for(o, request);
}

/* Whether the request's outcome counts in rows and windows. */
static bool is_counted(const outcomes *o, const ended_request *request) {
    return o->settings->values.ejects && is_new(o, request) && !is_of_ejected(o, request);
}

static bool has_failed_too_often(const outcomes *o) {
    const reg_settings *values = &o->settings->values;
    if (values->consecutive_failures != 0 && o->row >= values->consecutive_failures) return true;
    if (!has_windows(o)) return false;
    outcome_mark now = mark_now(o);
    uint32_t seen = now.outcomes - o->previous.outcomes,
             failed = now.failures - o->previous.failures;
    /* A division, because it is rounded correctly: 7 of 100 is a share of 0.07. */
    return seen >= values->min_requests && (double)failed / seen >= values->failure_rate;
}

/* ---- the block ---- */

outcomes *outcomes_new(settings *s, uint64_t id_hash) {
    outcomes *o = memory_alloc_lines(sizeof *o);
    if (o == NULL) return NULL;
    o->settings = s;
    o->id_hash = id_hash;
    settings_ref(s);
    o->settle_from = REG_NEVER;
    begin_windows(o, settings_now(s));
    update_quiet(o);
    return o;
}

void outcomes_free(outcomes *o) {
    if (o == NULL) return;
    prefix_map_free(load_own(&o->prefixes));
    settings_unref(o->settings);
    memory_free(o);
}

/* ---- requests that end ---- */

bool outcomes_succeed(outcomes *o, const ended_request *request) {
    lock(o);
    turn_bucket(o, request->now);
    bool counts = is_counted(o, request),
         is_due = is_of_ejected(o, request) || request->now >= o->settle_from;
    if (counts)
        o->row = 0;
    else
        o->neutral++;
    add_seq_cst(&o->total, 1);
    update_quiet(o);
    unlock(o);
    return is_due;
}

static void add_failure(outcomes *o) {
    o->failures++;
    if (o->row != UINT32_MAX) o->row++;
}

bool outcomes_fail(outcomes *o, ended_request *request) {
    lock(o);
    turn_bucket(o, request->now);
    bool counts = is_counted(o, request), is_due;
    request->ends_trial = is_due = is_of_ejected(o, request) && request->now >= o->ejected_until;
    if (counts)
        add_failure(o);
    else
        o->neutral++;
    add_seq_cst(&o->total, 1);
    add_seq_cst(&o->failed, 1);
    if (counts) is_due = has_failed_too_often(o);
    update_quiet(o);
    unlock(o);
    return is_due;
}

bool outcomes_fail_restored(outcomes *o) {
    lock(o);
    o->neutral--;
    add_failure(o);
    bool is_due = has_failed_too_often(o);
    update_quiet(o);
    unlock(o);
    return is_due;
}

uint64_t outcomes_add_neutral(outcomes *o, bool has_failed) {
    lock(o);
    o->neutral++;
    uint64_t value = add_seq_cst(&o->total, 1) + 1;
    if (has_failed) add_seq_cst(&o->failed, 1);
    unlock(o);
    return value;
}

/* ---- ejections ---- */

void outcomes_eject(outcomes *o, uint64_t version, uint64_t now, uint64_t until) {
    lock(o);
    exchange_seq_cst(&o->ejection, version);
    o->is_ejected = true;
    o->ejected_until = until;
    o->row = 0;
    begin_windows(o, now);
    update_quiet(o);
    unlock(o);
}

void outcomes_restore(outcomes *o, uint64_t settle_from) {
    lock(o);
    o->is_ejected = false;
    o->settle_from = settle_from;
    update_quiet(o);
    unlock(o);
}

void outcomes_settle_from(outcomes *o, uint64_t settle_from) {
    lock(o);
    o->settle_from = settle_from;
    update_quiet(o);
    unlock(o);
}
