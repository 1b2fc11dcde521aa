/* All fields but `phase`, `tokens`, `ends_trial` and `ended_phase` are set before any other
 * thread can see the lease, and never change. Each release exchanges `phase`, so only one of
 * several releases counts, and its thread sets the last two. The first token and the release
 * change the same word, so a token that comes after the release is none.
 *
 * Tokens. `tokens` is what the sum of the backend has of this lease. A lease of a request with
 * tokens has LEASE_HAS_WORK from the beginning, any other one from the first call that sets them.
 * Whoever changes `tokens` holds the lease's lock (registry/work.h), and has found LEASE_ACTIVE and
 * set LEASE_HAS_WORK and LEASE_WAS_SET under it, in one step. A release that finds LEASE_WAS_SET in
 * the phase that it exchanges takes the lock once. A thread that had found LEASE_ACTIVE has
 * finished by then, and no thread finds it any more. So `tokens` is final, and the release takes
 * exactly that out of the sum. A release that finds LEASE_HAS_WORK alone needs no lock: nobody has
 * changed `tokens`, and nobody will. One that finds neither has no tokens to give back. `tokens`
 * keeps its last value, so a reader looks at the phase afterwards.
 *
 * The tokens leave the sum just before the request leaves the count in flight. So the sum never has
 * tokens of a request that is not in flight, and both kinds of cap are held until the outcome is
 * settled.
 *
 * The reservation is taken in the read that found the record and the definition, so it keeps both
 * (reservation.h, record.h). Any thread may drop it. All that acquiring and dropping a lease writes
 * is the record's counters, and a line that usually only the acquiring thread writes.
 *
 * A release changes several words of one record, in this order: average, total, failed, tokens, in
 * flight. Each change takes effect at one instant. A reader loads the count in flight first
 * (layout.h). If this count no longer includes the request, the other words already do, and its
 * outcome has been settled (registry/availability.c). */
#include "choose/lease.h"

#include "base/memory.h"
#include "registry/idle.h"
#include "registry/work.h"
#include "registry/write.h"

enum { LEASE_ACTIVE = 1, LEASE_HAS_TOKEN = 2, LEASE_HAS_WORK = 4, LEASE_WAS_SET = 8 };

void lease_fill(reg_lease *lease, reg_registry *reg, epoch_slot *slot, record *chosen,
                const choice *c, reg_noted_prefix *prefix) {
    REG_ASSERT_READING();
    lease->record = handle_from_record(chosen);
    lease->definition = record_state_at(chosen, c->version)->definition;
    lease->version = c->version;
    lease->is_trial = c->is_trial;
    store_private(&lease->tokens, c->tokens);
    store_private(&lease->cached_tokens, c->cached);
    lease->prefix = prefix;
    lease->ends_trial = false;
    lease->kept = kept_from_reservation(reservation_take(slot, reg->generations, 1));
}

void lease_begin(reg_lease *lease, const reg_registry *reg) {
    lease->started = registry_now(reg);
    store_private(&lease->phase,
                  load_own(&lease->tokens) == 0 ? LEASE_ACTIVE : LEASE_ACTIVE | LEASE_HAS_WORK);
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

/* Takes the tokens of a released lease out of the sum. `was_set`: see above. */
static __attribute__((noinline)) void drop_work(const reg_lease *lease, bool was_set) {
    if (was_set) work_lock(lease);
    uint32_t tokens = load_own(&lease->tokens);
    if (was_set) work_unlock(lease);
    if (tokens != 0) counter_replace_tokens(&line_of(record_of_lease(lease))->counters, tokens, 0);
}

static inline void leave(const reg_lease *lease, const outcomes *o, uint8_t phase,
                         reg_aftermath *after) {
    uint32_t left;
    if (reg_unlikely(phase & LEASE_HAS_WORK)) drop_work(lease, phase & LEASE_WAS_SET);
    decrement_pending(record_of_lease(lease), &left, after);
    if (reg_unlikely(lease->is_trial)) end_trial(lease, o);
    if (reg_unlikely(line_is_waited(o->settings))) after->flags |= REG_IS_WAITED; /* B2 */
}

/* ---- release ---- */

/* Counts an outcome that is no plain success. Returns whether it must be settled. */
static __attribute__((noinline)) bool count_outcome(reg_lease *lease, outcomes *o,
                                                    reg_outcome outcome, uint64_t now) {
    ended_request request = {.version = lease->version, .now = now};
    if (outcome == REG_SUCCEEDED) return outcomes_succeed(o, &request);
    if (outcome == REG_FAILED) {
        bool must_settle = outcomes_fail(o, &request);
        lease->ends_trial = request.ends_trial;
        return must_settle;
    }
    outcomes_add_neutral(o, outcome == REG_BACK_OFF);
    return outcome == REG_BACK_OFF;
}

bool reg_lease_release(reg_lease *lease, reg_outcome outcome, const uint32_t *sample,
                       reg_aftermath *after) {
    uint8_t phase = exchange_seq_cst(&lease->phase, 0);
    if (!(phase & LEASE_ACTIVE)) return false;
    counter_line *line = line_of(record_of_lease(lease));
    outcomes *o = outcomes_of_lease(lease);
    uint64_t now = settings_now(o->settings);
    bool has_succeeded = reg_likely(outcome == REG_SUCCEEDED);
    if (has_succeeded)
        line_add_sample(line, o, sample != NULL ? *sample : clock_milliseconds(lease->started, now),
                        now);
    if (has_succeeded && reg_likely(outcomes_is_quiet(o, lease->version, now)))
        add_seq_cst(&o->total, 1);
    else if (count_outcome(lease, o, outcome, now)) {
        lease->ended_phase = phase;
        after->flags |= REG_MUST_SETTLE;
        return true;
    }
    leave(lease, o, phase, after);
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
    leave(lease, o, lease->ended_phase, after);
}

/* ---- other operations ---- */

bool reg_lease_return(reg_lease *lease, reg_aftermath *after) {
    uint8_t phase = exchange_seq_cst(&lease->phase, 0);
    if (!(phase & LEASE_ACTIVE)) return false;
    leave(lease, outcomes_of_lease(lease), phase, after);
    return true;
}

bool reg_lease_is_waited(const reg_lease *lease) {
    return line_is_waited(outcomes_of_lease(lease)->settings); /* B2 */
}

bool reg_lease_first_token(reg_lease *lease, uint32_t tokens) {
    uint8_t seen = load_seq_cst(&lease->phase);
    do {
        if (!(seen & LEASE_ACTIVE) || seen & LEASE_HAS_TOKEN) return false;
    } while (!cas_seq_cst(&lease->phase, &seen, seen | LEASE_HAS_TOKEN));
    outcomes *o = outcomes_of_lease(lease);
    uint64_t now = settings_now(o->settings);
    ttft_add(o, clock_milliseconds(lease->started, now), now);
    if (seen & LEASE_HAS_WORK || tokens != 0) reg_lease_set_tokens(lease, tokens);
    return true;
}

uint32_t reg_lease_tokens(const reg_lease *lease) {
    uint32_t tokens = load_seq_cst(&((reg_lease *)lease)->tokens);
    return reg_lease_is_active(lease) ? tokens : 0;
}

bool reg_lease_set_tokens(reg_lease *lease, uint32_t tokens) {
    uint8_t seen = load_seq_cst(&lease->phase);
    if (!(seen & LEASE_ACTIVE)) return false; /* a lease of no backend has no record, either */
    work_lock(lease);
    bool is_active;
    do {
        is_active = seen & LEASE_ACTIVE;
    } while (is_active &&
             !cas_seq_cst(&lease->phase, &seen, seen | LEASE_HAS_WORK | LEASE_WAS_SET));
    uint32_t old = load_own(&lease->tokens);
    if (is_active && tokens != old) {
        counter_replace_tokens(&line_of(record_of_lease(lease))->counters, old, tokens);
        exchange_seq_cst(&lease->tokens, tokens);
    }
    work_unlock(lease);
    return is_active;
}

bool reg_lease_is_active(const reg_lease *lease) {
    return load_seq_cst(&((reg_lease *)lease)->phase) & LEASE_ACTIVE;
}

void reg_lease_drop(reg_lease *lease, reg_release release) {
    if (reg_unlikely(lease->prefix != NULL)) memory_free(lease->prefix);
    if (lease->kept != NULL) reg_keep_drop(lease->kept, 1, release);
}
