/* Ejections, trials, cool-downs and slow starts.
 *
 * What is where
 * -------------
 *   flags and deadlines   in the state, which has versions (record.h), so a choice sees those of
 *                         its own version. The flags are in the standing too: a backend without
 *                         any costs a choice nothing
 *   TRIAL                 a bit of the word `pending` (counters.h): the trial request is out
 *   outcomes              what counts toward an ejection (outcomes.h)
 *   TRANSITION            the version of the last write that ejected or restored the backend
 *
 * A deadline that passes changes nothing here: whoever reads the flags reads the clock too. A later
 * write clears the flags of what has passed.
 *
 * A trial
 * -------
 *   choice    at version V finds the backend ejected, its time over and no TRIAL in the word. It
 *             claims the word as ever (select.c), and takes it with TRIAL in the same
 *             compare-and-swap. Its lease keeps V
 *   release   E1   the outcome is settled, see below
 *             E2   decrement
 *             E3   as long as the word has TRIAL and TRANSITION <= V: clear TRIAL and raise the
 *                  word's version, in one compare-and-swap
 *   write     that ejects or restores, under the writer lock, at version W
 *             W1   TRANSITION = W
 *             W2   set TRIAL, which now is the write's, and raise the word's version, in one
 *                  read-modify-write. It finds whether a trial was out, for the watches
 *             W3   publish the state, commit W
 *             W4   clear TRIAL, and raise the word's version, in one read-modify-write
 *
 *   a. At most one trial of an ejection is out. Two choices would have to take the same word, or
 *      something would have to clear TRIAL between them: not E3, by c., and not W4, because from W2
 *      to W4 no choice can take a trial. Its ejection's time may be over before W4.
 *   b. A trial that is out when the write begins loses its TRIAL to the write. From W4 to the next
 *      trial the word has no TRIAL. A choice that takes a trial takes a word without TRIAL that it
 *      claimed, and then checked that its V is still right. If it claimed before W2, W2 ends the
 *      claim. If it claimed after W4, the check came after W3: it failed, or V is at least W.
 *   c. E3 clears no TRIAL but its own. If the word still is the one that E3 has read when
 *      TRANSITION was at most V, no W2 came in between. If W1 and W2 come before that read, E3
 *      reads a TRANSITION above V. So TRIAL belongs to an ejection at most as new as V, and by a.
 *      to this lease, which has not given it back yet.
 *   d. W4 comes after the commit. Before it, a choice at the old version would find the backend
 *      ejected, its time over, and no trial. From W2 to W4 such a choice finds a trial out, though
 *      it may be the write that has the place.
 *   e. The place is not lost: a lease ends by E3, be it by the collector, or its ejection ends by
 *      W4.
 *   f. The view before the change shows what a view at the old version showed just before W2: if W2
 *      has found TRIAL, a trial of the old state's ejection was out, by b.
 *
 * An outcome
 * ----------
 * A request that was chosen at V started after an ejection at W if V >= W: a choice takes effect
 * while its V is right for the backend (select.c a.), so no transition of the backend lies between
 * V and the choice. Only such requests count. outcomes.c checks that when it counts, under its
 * lock, and `settle_locked` again under the writer lock. Two failures that both end a row therefore
 * eject once: the second finds an ejection newer than its V. A failure on an ejected backend whose
 * time is over may find that the backend has been restored meanwhile. It was to end that ejection,
 * so it must not begin one: `settle_locked` counts it in the new row instead.
 *
 * The outcome is settled before the request leaves the count in flight (E1 before E2). So whoever
 * finds the place free finds the ejection, too.
 *
 * Without memory
 * --------------
 * The end of a request can't fail, but E1 may run out of memory. It then changes neither the state
 * nor TRANSITION, and no watch is told. The outcome was counted before, E2 and E3 follow as ever,
 * and what E1 was to do is left to the next request:
 *   failure   that was to eject: the row and the window stay as they are, so the next failure
 *             ejects. Of a trial: its row of successes is over all the same
 *   success   of a trial: it stays counted, so the next success restores. Any other: what has
 *             passed stays in the state, and the next success clears it
 *   back-off  the cool-down is lost, and the next answer of that kind begins another
 * While a stalled reader holds back too much memory, there is no E1 at all. So a trial's outcome
 * then neither adds to the row of successes nor ends it.
 *
 * A write by hand fails instead, and changes nothing. */
#include "registry/availability.h"

#include "base/memory.h"
#include "registry/states.h"

/* ---- times ---- */

static int64_t wall_at(reg_registry *reg, uint64_t time, uint64_t now) {
    return time_on_wall(reg->settings->values.clock, time, now);
}

static uint64_t slow_end(reg_registry *reg, const state *s) {
    return time_after(state_availability(s)->slow_from, reg->settings->values.slow_start);
}

/* The time of the n-th ejection in a row. */
static uint64_t ejection_time(const reg_settings *values, uint32_t n) {
    bool is_below = n <= 64 && values->base <= values->max >> (n - 1);
    return is_below ? values->base << (n - 1) : values->max;
}

/* The first time at which a flag of the state has passed, or REG_NEVER. */
static uint64_t first_end(reg_registry *reg, const state *s) {
    uint64_t end = REG_NEVER;
    if (s->is_cooling) end = state_availability(s)->cooling_until;
    if (s->is_slow && slow_end(reg, s) < end) end = slow_end(reg, s);
    return end;
}

/* ---- parts of a fresh state ---- */

static void clear_passed(reg_registry *reg, state *fresh, uint64_t now) {
    if (fresh->is_cooling && now >= state_availability(fresh)->cooling_until) fresh->is_cooling = 0;
    if (fresh->is_slow && now >= slow_end(reg, fresh)) fresh->is_slow = 0;
}

void note_slow_start_locked(reg_registry *reg, const state *fresh) {
    REG_ASSERT_WRITER_OF(reg);
    uint64_t end = slow_end(reg, fresh);
    const memberships *m = memberships_at(fresh);
    for (uint32_t i = 0; i < m->count; i++) {
        _Atomic uint64_t *until = &m->variants[i]->model->members.slow_until;
        uint64_t seen = load_published(until); /* a choice may clear it once it has passed */
        while (seen < end && !cas_seq_cst(until, &seen, end)) {
        }
    }
}

static void start_slowly_locked(reg_registry *reg, state *fresh, uint64_t now) {
    REG_ASSERT_WRITER_OF(reg);
    if (reg->settings->values.slow_start == 0) return;
    fresh->is_slow = 1;
    state_availability(fresh)->slow_from = now;
    note_slow_start_locked(reg, fresh);
}

bool health_starts_slowly_locked(reg_registry *reg, record *r, reg_health health) {
    REG_ASSERT_WRITER_OF(reg);
    const reg_settings *values = &reg->settings->values;
    return health == REG_HEALTHY && load_own(&r->state)->health == REG_UNHEALTHY &&
           values->ejects && values->slow_start != 0;
}

void update_availability_locked(reg_registry *reg, record *r, state *fresh, bool starts_slowly) {
    REG_ASSERT_WRITER_OF(reg);
    uint64_t now = registry_now(reg);
    clear_passed(reg, fresh, now);
    if (starts_slowly) start_slowly_locked(reg, fresh, now);
    /* The write that began it, or an earlier one, has created the block. */
    outcomes_settle_from(load_published(&line_of(r)->outcomes), first_end(reg, fresh));
}

/* ---- transitions ---- */

/* W1 to W4, and tells the watches. */
static void commit_transition_locked(reg_registry *reg, record *r, outcomes *o, state *fresh) {
    REG_ASSERT_WRITER_OF(reg);
    exchange_seq_cst(&o->transition, next_version_locked(reg));
    bool had_trial = counter_hold_trial(&line_of(r)->counters.pending);
    commit_state_locked(reg, r, fresh, true);
    counter_void_trial(&line_of(r)->counters.pending);
    watches_feed_transition_locked(reg, r, had_trial);
}

static void eject_locked(reg_registry *reg, record *r, outcomes *o, uint64_t now) {
    REG_ASSERT_WRITER_OF(reg);
    const reg_settings *values = &reg->settings->values;
    state *fresh = next_state_locked(reg, r, true);
    if (fresh == NULL) return;
    if (o->restored_at != 0 && now - o->restored_at >= values->max) o->ejections = 0;
    if (o->ejections != UINT32_MAX) o->ejections++;
    o->restored_at = 0;
    o->successes = 0;
    uint64_t until = time_after(now, ejection_time(values, o->ejections));
    clear_passed(reg, fresh, now);
    fresh->is_ejected = 1;
    fresh->is_slow = 0;
    state_availability(fresh)->ejected_until = until;
    state_availability(fresh)->ejected_until_wall = wall_at(reg, until, now);
    outcomes_eject(o, next_version_locked(reg), now, until);
    commit_transition_locked(reg, r, o, fresh);
}

/* After enough successes of a trial. */
static void restore_locked(reg_registry *reg, record *r, outcomes *o, uint64_t now) {
    REG_ASSERT_WRITER_OF(reg);
    state *fresh = next_state_locked(reg, r, true);
    if (fresh == NULL) return;
    o->restored_at = now;
    clear_passed(reg, fresh, now);
    fresh->is_ejected = 0;
    start_slowly_locked(reg, fresh, now);
    commit_transition_locked(reg, r, o, fresh);
    outcomes_restore(o, first_end(reg, fresh));
}

/* False if out of memory. */
static bool cool_down_locked(reg_registry *reg, record *r, outcomes *o, uint64_t span,
                             uint64_t now) {
    REG_ASSERT_WRITER_OF(reg);
    const state *old = load_own(&r->state);
    uint64_t until = time_after(now, span);
    if (span == 0 || (old->is_cooling && state_availability(old)->cooling_until >= until))
        return true;
    state *fresh = next_state_locked(reg, r, true);
    if (fresh == NULL) return false;
    clear_passed(reg, fresh, now);
    fresh->is_cooling = 1;
    state_availability(fresh)->cooling_until = until;
    state_availability(fresh)->cooling_until_wall = wall_at(reg, until, now);
    commit_state_locked(reg, r, fresh, true);
    outcomes_settle_from(o, first_end(reg, fresh));
    return true;
}

/* Clears the flags of what has passed. This is no change that a watch tells: the view told the
 * time. */
static void tidy_locked(reg_registry *reg, record *r, outcomes *o, uint64_t now) {
    REG_ASSERT_WRITER_OF(reg);
    if (now < first_end(reg, load_own(&r->state))) return; /* another thread has done it */
    state *fresh = next_state_locked(reg, r, false);
    if (fresh == NULL) return;
    clear_passed(reg, fresh, now);
    commit_state_locked(reg, r, fresh, true);
    outcomes_settle_from(o, first_end(reg, fresh));
}

/* ---- what an outcome changes ---- */

static void settle_ejected_locked(reg_registry *reg, const settlement *what, uint64_t now) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = what->record;
    if (what->outcome == REG_SUCCEEDED) {
        if (++what->outcomes->successes >= reg->settings->values.trials)
            restore_locked(reg, r, what->outcomes, now);
    } else if (now >= state_availability(load_own(&r->state))->ejected_until) {
        what->outcomes->successes = 0; /* also if there is no memory to eject again */
        eject_locked(reg, r, what->outcomes, now);
    }
}

/* Whether a failure still ejects a backend that is not ejected. If it was due as that of an ejected
 * one, the backend has been restored since, and the failure is one in a row. */
static bool still_ejects(const settlement *what) {
    return !what->ends_trial || outcomes_fail_restored(what->outcomes);
}

void settle_locked(reg_registry *reg, const settlement *what) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = what->record;
    if (!(load_own(&r->life) & 1)) return; /* it was removed or replaced */
    uint64_t now = registry_now(reg);
    bool is_ejected = load_own(&r->state)->is_ejected,
         counts = what->version >= load_own(&what->outcomes->ejection);
    if (what->outcome == REG_BACK_OFF)
        (void)cool_down_locked(reg, r, what->outcomes, what->retry_after, now);
    else if (is_ejected && counts)
        settle_ejected_locked(reg, what, now);
    else if (!is_ejected && what->outcome == REG_FAILED && counts && still_ejects(what))
        eject_locked(reg, r, what->outcomes, now);
    else if (!is_ejected && what->outcome == REG_SUCCEEDED)
        tidy_locked(reg, r, what->outcomes, now);
}

/* ---- by hand ---- */

reg_status reg_cool_down(reg_registry *reg, const reg_key *id, uint64_t serial, uint64_t span,
                         reg_garbage **garbage) {
    record *r;
    reg_status status = begin_state_write(reg, id, serial, &r, garbage);
    if (status != REG_OK) return status;
    outcomes *o = record_outcomes(r, reg->settings);
    bool is_done = o != NULL && cool_down_locked(reg, r, o, span, registry_now(reg));
    end_write(reg, garbage);
    return is_done ? REG_OK : REG_NO_MEMORY;
}

reg_status reg_restore(reg_registry *reg, const reg_key *id, uint64_t serial,
                       reg_garbage **garbage) {
    record *r;
    reg_status status = begin_state_write(reg, id, serial, &r, garbage);
    if (status != REG_OK) return status;
    const state *old = load_own(&r->state);
    if (state_is_flagged(old)) {
        bool was_ejected = old->is_ejected;
        outcomes *o = record_outcomes(r, reg->settings);
        state *fresh = o == NULL ? NULL : next_state_locked(reg, r, false);
        if (fresh != NULL) {
            fresh->is_ejected = fresh->is_cooling = fresh->is_slow = 0;
            if (was_ejected) {
                o->restored_at = registry_now(reg);
                commit_transition_locked(reg, r, o, fresh);
            } else {
                commit_state_locked(reg, r, fresh, true);
            }
            outcomes_restore(o, REG_NEVER);
        } else {
            status = REG_NO_MEMORY;
        }
    }
    end_write(reg, garbage);
    return status;
}
