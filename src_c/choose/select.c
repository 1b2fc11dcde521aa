/* Chooses a backend and adds a request to its count in flight, in one atomic step: the choice is
 * correct at the instant at which the count takes effect. rounds.h decides ties.
 *
 * An attempt
 * ----------
 *   1. V        load the committed version V, and the model's list at V
 *   2. pass     read the counts of every candidate, one by one; pick the best one, with its word w
 *   3. claim    set the claim bit of w (counters.h), unless another choice has set it already
 *   4. T        load the committed version again
 *   5. recheck  the list, the standing and the definition of each candidate and the version of its
 *               counts are unchanged
 *   6. take     if w with its claim is unchanged, clear the claim and add one request in flight
 * If a step fails, nothing has changed for any other thread (a claim reveals nothing), and the next
 * attempt begins.
 *
 * The proof that a choice takes effect at T, for LEAST_PENDING
 * -------------------------------------------------------------
 * Counts, claims and the committed version are sequentially consistent: all operations on them have
 * a single order, called time here.
 *   a. At T the candidates are those of V, with their standings and limits. There are three cases.
 *      If CHOICES_CHANGED, loaded after T, is at most V, no write after V has begun to change a
 *      list, a standing or a definition: such a write would have stored its version there before it
 *      applied and committed the change, and the limits on the counter lines come from definitions
 *      (record.h). Otherwise, if the committed version is still V and the choice is careful, it has
 *      read everything as of V: version.h says that this is what holds at T. Otherwise step 5 has
 *      found the same members in the same array at the version of T, and no standing or definition
 *      newer than V, so no limit newer than V either.
 *   b. At T each other candidate has at least as many requests in flight as step 2 saw. Step 5
 *      finds as many decrements of it as step 2 did, because the sums are equal and each number
 *      only grows. T is between these steps, so from step 2 to T its count can only have gone up.
 *      If another choice has claimed the candidate and takes effect, the candidate has one more in
 *      flight than its word says; that is also more.
 *   c. At T the chosen candidate has exactly the count in w, and no thread learns this count
 *      between T and step 6. A thread that reports the count first clears the claim, and a thread
 *      that changes the count changes the word. The claimed word never comes back (counters.h c.),
 *      so step 6 fails.
 *   d. Preferences are monotonic (policy.h). So by a., b. and c. the chosen candidate is the best
 *      at T, and it is below its cap. By c. every thread sees the count of step 6 from T on.
 *
 * The other operations and policies
 * ---------------------------------
 * `reg_select` claims nothing and counts nothing. After step 5 it reads the word once more. If the
 * word is unchanged, step c. holds for `reg_select` too.
 *
 * A refusal also takes effect at T. If a candidate was full in step 2, step 5 has found no
 * decrement of it, so it is full at T. So the reasons are those at T: an obstacle as of V, or
 * otherwise that the candidate is full. Only for a candidate that waits for the end of a trial, the
 * words are read again to tell a trial from a full one, and the choice begins anew unless they show
 * that there was no decrement since step 2 (refusal.c).
 *
 * Availability. An ejection, a restoration and a cool-down change the standing, so a. holds for
 * them. The clock is read once in an attempt, before T. A trial (registry/availability.c) is a bit
 * of the word that step 6 compares and sets, so at most one is out. No step makes a candidate
 * better by taking a trial, and giving one back raises the version of the word, like a decrement.
 *
 * The proof also holds for PRIORITY, which skips full candidates; for SMART and LOWEST_LATENCY,
 * where step 5 also compares the versions of the averages; and for POWER_OF_TWO, whose only
 * candidates are the two that were drawn.
 *
 * In three cases step 5 rechecks only the chosen candidate:
 *   - RANDOM, which ignores the loads of the others.
 *   - ROUND_ROBIN, which ignores them too, unless it has skipped a candidate. But it rechecks the
 *     definitions of all candidates, because their weights decide whose turn it is.
 *   - LEAST_PENDING, if the chosen candidate is idle and has the greatest weight. No other
 *     candidate can be better, so the pass may end there. That makes passes short in a fleet that
 *     is not busy. If the greatest weight has risen since the pass, step 5 rechecks all candidates.
 *     A pass that ended early has added up only some of them, so the sums usually differ and the
 *     attempt fails. If the sums happen to be equal, the chosen candidate was unbeatable at V.
 *
 * A choice among few (few.h) looks its candidates up by id instead of reading the list. So it may
 * miss one that a write has removed from the map after its commit, which is after V. Where step 5
 * would compare the list, because a write has begun, such an attempt fails, even if it has found
 * nobody. So a. holds: an attempt that does not fail has looked up the members of V.
 *
 * Progress
 * --------
 * An attempt fails only because an operation of another thread took effect on one
 * of the candidates, or because a write began to change one; then the next attempt is careful and
 * does not wait for that write. A choice among few also fails if a write changed a backend that is
 * not among them. So choices are lock-free. To prevent starvation, the attempt after
 * MANY_ATTEMPTS (fewer in a long list) holds the writer lock, which keeps the version constant, and
 * omits steps 3 and 5. Its step 6 adds the request even if the word of the chosen candidate has
 * changed. Another pass follows only if that candidate is full. So the chosen candidate is still
 * eligible and below its cap, and its count is exact. But it is the best only by the counts that
 * the pass read, one by one, during this call. If the pass finds no candidate, the call is refused:
 * each candidate was full when the pass read it, though not all at one instant.
 *
 * The turns of ROUND_ROBIN are exact, because they are taken under the registry's turns lock. A
 * thread that holds this lock never waits for a reader. */
#include "base/random.h"
#include "choose/few.h"
#include "choose/lease.h"
#include "choose/panic.h"
#include "choose/pass.h"
#include "choose/recheck.h"
#include "choose/refusal.h"
#include "choose/rounds.h"
#include "registry/locks.h"

/* ---- one attempt ---- */

/* Loads the committed version at T. Sets `must_check` unless it is certain that the candidates are
 * those of V: see step a. */
static uint64_t version_at_t(reg_registry *reg, const choice *c, bool *must_check) {
    uint64_t now = load_committed(&reg->committed);
    bool has_begun = load_published(&reg->choices_changed) > c->version;
    *must_check = reg_unlikely(has_begun) && (now != c->version || !c->is_careful);
    return now;
}

/* Step 3. `reg_select` makes no claim. If it finds the claim of another choice, it clears the claim
 * and fails. */
static bool claim(picks *p, bool is_acquire) {
    _Atomic uint64_t *pending = &line_of(p->best.record)->counters.pending;
    if (is_acquire) return counter_claim(pending, &p->best.pending);
    if (counter_is_claimed(p->best.pending)) (void)counter_value(pending);
    return !counter_is_claimed(p->best.pending);
}

/* For `reg_select`: whether the word is unchanged. `reg_acquire` checks this in step 6. */
static bool is_same_word(const picks *p, bool is_acquire) {
    return is_acquire || p->count == 0 ||
           load_seq_cst(&line_of(p->best.record)->counters.pending) == p->best.pending;
}

static uint64_t trial_bit(const choice *c) { return c->is_trial ? COUNTER_TRIAL : 0; }

/* Steps 3 to 6. */
static verdict exact_attempt(reg_registry *reg, const choice *c, picks *p, bool is_acquire) {
    if (p->count != 0 && !claim(p, is_acquire)) return TRY_AGAIN;
    bool must_check;
    uint64_t now = version_at_t(reg, c, &must_check);
    if (must_check && !are_listed(c, p, now)) return TRY_AGAIN;
    if (!are_unchanged(c, p) || !is_same_word(p, is_acquire)) return TRY_AGAIN;
    if (p->count == 0) return NONE_LEFT;
    return !is_acquire || counter_take(&line_of(p->best.record)->counters.pending, p->best.pending,
                                       trial_bit(c))
               ? CHOSEN
               : TRY_AGAIN;
}

/* Adds one request in flight, unless the record is full, or a trial has begun or ended since the
 * pass: that decides whether this request is one. Retries if the word changes. */
static bool take_below_cap(const choice *c, const candidate *x) {
    record *r = x->record;
    bool had_trial = counter_has_trial(x->pending);
    uint64_t word = load_seq_cst(&line_of(r)->counters.pending);
    while (counter_in_flight(word) < load_published(&line_of(r)->limits.max_pending) &&
           counter_has_trial(word) == had_trial)
        if (cas_seq_cst(&line_of(r)->counters.pending, &word,
                        (counter_changes(word) | trial_bit(c)) + 1))
            return true;
    return false;
}

/* Step 6 of the attempt under the writer lock: see Progress. */
static verdict last_attempt_locked(const choice *c, const picks *p, bool is_acquire) {
    REG_ASSERT_WRITER();
    if (p->count == 0) return NONE_LEFT;
    return !is_acquire || take_below_cap(c, &p->best) ? CHOSEN : TRY_AGAIN;
}

/* Looks at the ejections of the registry, after a pass: the choice may have to ignore them, which
 * takes another pass, or it may have picked a trial. */
static __attribute__((noinline)) verdict consider_ejections(reg_registry *reg, choice *c,
                                                            picks *p) {
    verdict v = CHOSEN;
    if (load_published(&reg->flagged) != 0 && may_be_panic(c, p)) {
        if (c->reading.length > QUICK_LENGTH && !c->request->may_block) return WOULD_BLOCK;
        c->ignores_ejection = is_panic(c);
        if (c->ignores_ejection) v = pick(c, p);
    }
    c->is_trial = p->count != 0 && candidate_is_trial(c, &p->best);
    return v;
}

/* Needs the turns lock if the policy takes turns, and the writer lock if this is the last
 * attempt. */
static verdict attempt_locked(reg_registry *reg, choice *c, const reg_request *request,
                              bool is_acquire, bool is_last, record **chosen) {
    if (traits_of(request->policy)->takes_turns) REG_ASSERT_TURNS_OF(reg);
    if (is_last) REG_ASSERT_WRITER_OF(reg);
    if (!choice_begin(c, reg, request)) return NONE_LEFT;
    if (reg_unlikely(c->few != NULL)) {
        if (request->only_count > QUICK_LENGTH && !request->may_block) return WOULD_BLOCK;
        few_read(c, reg);
    }
    if (c->reading.length > QUICK_LENGTH && !c->traits->draws_two && !request->may_block)
        return WOULD_BLOCK;
    if (c->traits->ties_by_age) round_join(c, reg);
    picks p;
    verdict v = pick(c, &p);
    if (v == CHOSEN && reg_unlikely(c->time != 0)) v = consider_ejections(reg, c, &p);
    if (v != CHOSEN) return v;
    if (p.count == 0)
        c->tally = is_last ? TALLY_UNKNOWN : p.tally;
    else if (is_acquire && record_outcomes(p.best.record, reg->settings) == NULL)
        return NO_MEMORY;
    v = is_last ? last_attempt_locked(c, &p, is_acquire) : exact_attempt(reg, c, &p, is_acquire);
    if (v != CHOSEN) return v;
    if (c->traits->takes_turns) turns_settle(&c->model->turns, order_of(line_of(p.best.record)));
    round_settle(c, reg, &p.best, p.leaves_unserved);
    *chosen = p.best.record;
    return CHOSEN;
}

static verdict attempt(reg_registry *reg, choice *c, const reg_request *request, bool is_acquire,
                       bool is_last, record **chosen) {
    bool takes_turns = traits_of(request->policy)->takes_turns;
    if ((takes_turns || is_last) && !request->may_block) return WOULD_BLOCK;
    if (takes_turns) lock_turns(reg);
    if (is_last) lock_writer(reg);
    verdict v = attempt_locked(reg, c, request, is_acquire, is_last, chosen);
    if (is_last) unlock_writer(reg);
    if (takes_turns) unlock_turns(reg);
    return v;
}

/* ---- all attempts of a choice ---- */

/* A choice makes up to MANY_ATTEMPTS without the writer lock. It makes fewer if these would read
 * more than MANY_CANDIDATES in all, but at least SOME_ATTEMPTS. */
enum { MANY_ATTEMPTS = 256, MANY_CANDIDATES = 1 << 18, SOME_ATTEMPTS = 8 };

/* Whether the attempt after `attempts` others takes the writer lock. */
static bool is_last_attempt(const choice *c, uint32_t attempts) {
    bool has_read_two = c->traits->draws_two && !c->is_searched;
    uint64_t candidates = has_read_two ? 2 : c->reading.length;
    return attempts >= MANY_ATTEMPTS ||
           (attempts >= SOME_ATTEMPTS && attempts * candidates >= MANY_CANDIDATES);
}

static reg_status choose(reg_registry *reg, reg_request *request, bool is_acquire, choice *c,
                         record **chosen) {
    static const reg_status statuses[] = {[CHOSEN] = REG_OK,
                                          [NONE_LEFT] = REG_NONE_AVAILABLE,
                                          [NO_MEMORY] = REG_NO_MEMORY,
                                          [WOULD_BLOCK] = REG_WOULD_BLOCK};
    request_prepare(request);
    for (uint32_t i = 0;; i++) {
        verdict v = attempt(reg, c, request, is_acquire, i != 0 && is_last_attempt(c, i), chosen);
        if (v != TRY_AGAIN) return statuses[v];
    }
}

/* Chooses, or says why not. A refusal that other threads disturb is none: choose again. */
static reg_status choose_or_refuse(reg_registry *reg, reg_reader *reader, reg_request *request,
                                   bool is_acquire, choice *c, record **chosen,
                                   reg_refusal *refusal) {
    for (uint32_t i = 0;; i++) {
        reg_status status = choose(reg, request, is_acquire, c, chosen);
        if (status != REG_NONE_AVAILABLE) return status;
        status = refuse(reg, reader, c, i < MANY_ATTEMPTS, refusal);
        if (status != REG_CHANGED) return status;
    }
}

/* ---- the operations ---- */

reg_status reg_acquire(reg_registry *reg, reg_request *request, reg_lease *lease,
                       reg_refusal *refusal) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    choice c;
    record *chosen = NULL;
    reg_status status = REG_NO_MEMORY;
    if (few_alloc(&c, request) && reservation_prepare(slot))
        status = choose_or_refuse(reg, reader_from_slot(slot), request, true, &c, &chosen, refusal);
    if (status == REG_OK) lease_fill(lease, reg, slot, chosen, c.version, c.is_trial);
    epoch_leave(slot);
    few_free(&c);
    if (status == REG_OK) lease_begin(lease, reg);
    return status;
}

reg_status reg_select(reg_registry *reg, reg_reader *reader, reg_request *request,
                      void **definition, reg_refusal *refusal) {
    choice c;
    record *chosen = NULL;
    if (!few_alloc(&c, request)) return REG_NO_MEMORY;
    reg_status status = choose_or_refuse(reg, reader, request, false, &c, &chosen, refusal);
    few_free(&c);
    if (status == REG_OK) *definition = record_state_at(chosen, c.version)->definition;
    return status;
}

void reg_seed_random(uint64_t seed) { random_state = seed != 0 ? seed : 1; }
