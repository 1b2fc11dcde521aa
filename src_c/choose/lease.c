/* All fields but `phase` and `ends_trial` are set before any other thread can see the lease, and
 * never change. Each release exchanges `phase`, so only one of several releases counts, and its
 * thread sets `ends_trial`. The first token and the release change the same word, so a token that
 * comes after the release is none.
 *
 * The reservation is taken in the read that found the record and the definition, so it keeps both
 * (reservation.h, record.h). Any thread may drop it. All that acquiring and dropping a lease writes
 * is the record's counters, and a line that usually only the acquiring thread writes.
 *
 * A release changes several words of one record, in this order: average, total, failed, in
 * flight. Each change takes effect at one instant. A reader loads the count in flight first
 * (layout.h). If this count no longer includes the request, the other words already do, and its
 * outcome has been settled (registry/availability.c). */
#include "choose/lease.h"

#include "registry/idle.h"
#include "registry/write.h"

enum { LEASE_ACTIVE = 1, LEASE_HAS_TOKEN = 2 };

void lease_fill(reg_lease *lease, reg_registry *reg, epoch_slot *slot, record *chosen,
                uint64_t version, bool is_trial) {
    REG_ASSERT_READING();
    lease->record = handle_from_record(chosen);
    lease->definition = record_state_at(chosen, version)->definition;
    lease->version = version;
    lease->is_trial = is_trial;
    lease->ends_trial = false;
    lease->kept = kept_from_reservation(reservation_take(slot, reg->generations, 1));
}

void lease_begin(reg_lease *lease, const reg_registry *reg) {
    lease->started = registry_now(reg);
    store_private(&lease->phase, LEASE_ACTIVE);
}

/* The choice created the block before it counted the request. */
static outcomes *outcomes_of_lease(const reg_lease *lease) {
    return load_published(&line_of(record_of_lease(lease))->outcomes);
}

/* ---- the end of a request ---- */

/* E3 in registry/availability.c. */
static void end_trial(const reg_lease *lease, const outcomes *o) {
    _Atomic uint64_t *pending = &line_of(record_of_lease(lease))->counters.pending;
    uint64_t seen = load_seq_cst(pending);
    while (counter_has_trial(seen) &&
           load_seq_cst(&((outcomes *)o)->transition) <= lease->version &&
           !counter_end_trial(pending, &seen)) {
    }
}

static inline void leave(const reg_lease *lease, const outcomes *o, reg_aftermath *after) {
    uint32_t left;
    decrement_pending(record_of_lease(lease), &left, after);
    if (reg_unlikely(lease->is_trial)) end_trial(lease, o);
}

/* ---- release ---- */

/* Counts an outcome that is no plain success. Returns whether it must be settled. */
static __attribute__((noinline)) bool count_outcome(reg_lease *lease, outcomes *o,
                                                    reg_outcome outcome, uint64_t now) {
    ended_request request = {.total = &line_of(record_of_lease(lease))->counters.total,
                             .version = lease->version,
                             .now = now};
    if (outcome == REG_SUCCEEDED) return outcomes_succeed(o, &request);
    if (outcome == REG_FAILED) {
        bool must_settle = outcomes_fail(o, &request);
        lease->ends_trial = request.ends_trial;
        return must_settle;
    }
    outcomes_add_neutral(o, request.total, outcome == REG_BACK_OFF);
    return outcome == REG_BACK_OFF;
}

bool reg_lease_release(reg_lease *lease, reg_outcome outcome, const uint32_t *sample,
                       reg_aftermath *after) {
    if (!(exchange_seq_cst(&lease->phase, 0) & LEASE_ACTIVE)) return false;
    counter_line *line = line_of(record_of_lease(lease));
    outcomes *o = outcomes_of_lease(lease);
    uint64_t now = settings_now(o->settings);
    bool has_succeeded = reg_likely(outcome == REG_SUCCEEDED);
    if (has_succeeded)
        line_add_sample(line, o, sample != NULL ? *sample : clock_milliseconds(lease->started, now),
                        now);
    if (has_succeeded && reg_likely(outcomes_is_quiet(o, lease->version, now)))
        add_seq_cst(&line->counters.total, 1);
    else if (count_outcome(lease, o, outcome, now)) {
        after->flags |= REG_MUST_SETTLE;
        return true;
    }
    leave(lease, o, after);
    return true;
}

void reg_lease_settle(reg_lease *lease, reg_outcome outcome, uint64_t retry_after,
                      reg_aftermath *after, reg_waiter **watchers, reg_garbage **garbage) {
    outcomes *o = outcomes_of_lease(lease);
    settlement what = {.record = record_of_lease(lease),
                       .outcomes = o,
                       .version = lease->version,
                       .outcome = outcome,
                       .ends_trial = lease->ends_trial,
                       .retry_after = retry_after};
    *watchers = NULL;
    *garbage = NULL;
    after->flags &= ~(uint32_t)REG_MUST_SETTLE;
    reg_registry *reg = lock_writer_of(o->settings);
    if (reg != NULL) {
        if (make_room_locked(reg, garbage)) settle_locked(reg, &what);
        *watchers = waiters_take_all(&reg->waiters);
        end_write(reg, garbage);
    }
    leave(lease, o, after);
}

/* ---- other operations ---- */

bool reg_lease_first_token(reg_lease *lease) {
    uint8_t seen = LEASE_ACTIVE;
    if (!cas_strong_seq_cst(&lease->phase, &seen, LEASE_ACTIVE | LEASE_HAS_TOKEN)) return false;
    outcomes *o = outcomes_of_lease(lease);
    latency_update(&o->ttft, clock_milliseconds(lease->started, settings_now(o->settings)), false);
    return true;
}

bool reg_lease_is_active(const reg_lease *lease) {
    return load_seq_cst(&((reg_lease *)lease)->phase) & LEASE_ACTIVE;
}

void reg_lease_drop(reg_lease *lease, reg_release release) {
    if (lease->kept != NULL) reg_keep_drop(lease->kept, 1, release);
}
