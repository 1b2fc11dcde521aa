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
 *               with its tokens, in one step
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
 *      so step 6 fails. The same holds for the tokens in flight: a thread that reports them first
 *      clears the claim, and they change only together with the word (counters.h d. to f.).
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
 * Tokens. A pass reads the tokens of a candidate after its word, to compare them with those of
 * others or with the cap. For b., the tokens of another candidate at T are at least those that were
 * read, because only a take changes them without raising the version. For c., the tokens of the
 * chosen candidate are exactly those that were read if its word is still the same, and step 6
 * fails otherwise. So what step 6 adds fits below the cap. A candidate that step 2 found full by
 * tokens had too many tokens after that, or a request in flight if the request is bigger than the
 * cap. So at T it has them too.
 *
 * Prefixes. With a prefix, what a request by LEAST_TOKENS adds to a candidate depends on the blocks
 * that are known there. A pass looks them up once for each candidate (prompts.h), and the result is
 * a part of the request from then on: the comparison, the cap and the sum all use it, and what
 * other threads note or correct after the look-up changes nothing for this attempt. So the choice
 * is exact at T, given what its look-ups have returned. Each block that they have counted was known
 * at an instant of the call. The places for the request's own blocks are promised before step 3, so
 * nothing can fail once the request is counted, and an attempt that fails gives its promise back.
 * The blocks are noted after step 6, before the call returns.
 *
 * The proof also holds for LEAST_TOKENS; for PRIORITY, which skips full candidates; for SMART and
 * LOWEST_LATENCY, where step 5 also compares the versions of the averages; and for POWER_OF_TWO,
 * whose only candidates are the two that were drawn.
 *
 * HOT_COLD compares a hand of drawn candidates (draw.h), and its preference is not monotonic: one
 * more request on a candidate can move the limit above which others are hot (heat.h). So b. does
 * not suffice. Step 5 finds that nothing which the choice has read of the hand has changed:
 *   e. The word of each other card is the one of step 2, apart from a claim. A word never comes
 *      back (counters.h c.), so from step 2 to step 5 no increment and no decrement of it took
 *      effect. If the word has a claim, step 5 clears it, and fails unless the word is still the
 *      same. So no choice that has set its claim before can take this card. One that sets it later
 *      takes effect after T. So at T the count is exactly the one in the word.
 *   f. The averages have the same versions, and the same ones are recent enough. The clock was read
 *      once, so only a new sample can change that. The averages of hot cards are compared too,
 *      because that is simpler.
 *   g. By a. each card is eligible at T, and by e. it is not full. If there are HAND cards, that
 *      suffices: the hand is one that could be drawn. If there are fewer, they must be all
 *      candidates that are eligible at T. Then step 5 also compares the tallies of the whole list,
 *      so none of those that were full or on trial has become eligible.
 * By c. and e. to g. the choice is the right one for the hand at T.
 *
 * In four cases step 5 rechecks only the chosen candidate:
 *   - RANDOM, which ignores the loads of the others.
 *   - ROUND_ROBIN, which ignores them too, unless it has skipped a candidate. But it rechecks the
 *     definitions of all candidates, because their weights decide whose turn it is.
 *   - LEAST_PENDING, if the chosen candidate is idle and has the greatest weight. No other
 *     candidate can be better, so the pass may end there. That makes passes short in a fleet that
 *     is not busy. If the greatest weight has risen since the pass, step 5 rechecks all candidates.
 *     A pass that ended early has added up only some of them, so the sums usually differ and the
 *     attempt fails. If the sums happen to be equal, the chosen candidate was unbeatable at V.
 *   - AFFINITY, in the first case below.
 *
 * Affinity
 * --------
 * The ranking of a key depends on weights and standings, which step 5 rechecks as for ROUND_ROBIN.
 * The bound depends on counts (affinity.h), and not in a monotonic way: with more in flight
 * elsewhere, the mean grows, and the chosen candidate may come within the bound. There are two
 * cases.
 *   h. The first in the ranking is within the floor, or there is no bound. Then nobody else's count
 *      matters, unless the pass has skipped a candidate that is full or on trial. If it has, step 5
 *      compares the decrements, as in b.: who was full or on trial still is at T.
 *   i. The mean decides. Then at T each candidate must have exactly the count that step 2 saw. Step
 *      5 compares the sum of the decrements and the sum of the numbers in flight. The first only
 *      grows, so if it is equal, there was no decrement. Then the second has only grown too; if it
 *      is equal, no count has changed. It remains to show that no other choice has taken effect
 *      before T and has yet to add its request. Such a choice claimed its candidate before T. If
 *      step 5 finds this claim, it voids it, so that choice does not take effect. If it finds none,
 *      the request has been added, and the sums differ; or it was before step 2. A choice that
 *      claims after step 5 has read the word takes effect after T. The second pass reads the words
 *      between the first one and step 5, so equal sums mean that it has read the same counts.
 *
 * A choice among few (few.h) looks its candidates up by id instead of reading the list. So it may
 * miss one that a write has removed from the map after its commit, which is after V. Where step 5
 * would compare the list, because a write has begun, such an attempt fails, even if it has found
 * nobody. So a. holds: an attempt that does not fail has looked up the members of V.
 *
 * Progress
 * --------
 * An attempt fails only because an operation of another thread took effect on one of the
 * candidates, or because a write began to change one; then the next attempt is careful and does not
 * wait for that write. A choice among few also fails if a write changed a backend that is not among
 * them. So choices are lock-free. There are two exceptions, HOT_COLD, and AFFINITY where the mean
 * decides: two of their attempts may clear each other's claims, and both fail. And a prefix is
 * noted under a leaf lock, which is held for a few steps for each block. To prevent starvation, the
 * attempt after MANY_ATTEMPTS (fewer in a long list) holds the writer lock, which keeps the version
 * constant, and omits steps 3 and 5. Its step 6 adds the request even if the word of the chosen
 * candidate has changed. Another pass follows only if that candidate is full. So the chosen
 * candidate is still eligible and below its cap, and its count is exact. But it is the best only by
 * the counts that the pass read, one by one, during this call. If the pass finds no candidate, the
 * call is refused: each candidate was full when the pass read it, though not all at one instant.
 *
 * Waiting
 * -------
 * While somebody waits for a place, choices that count are made under LINE (hand_over.c), and an
 * attempt whose pick a waiter could take ends before it claims anything.
 *
 * The turns of ROUND_ROBIN are exact, because they are taken under the registry's turns lock. A
 * thread that holds this lock never waits for a reader. */
#include "choose/select.h"

#include "base/random.h"
#include "choose/awaited.h"
#include "choose/few.h"
#include "choose/lease.h"
#include "choose/panic.h"
#include "choose/pass.h"
#include "choose/prompts.h"
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

/* Step 6. The tokens are those of step 2 if the word is that of step 2 (counters.h). */
static inline bool take(const choice *c, counters *counted, uint64_t word) {
    return reg_likely(c->tokens == 0) ? counter_take(&counted->pending, word, trial_bit(c))
                                      : counter_take_tokens(counted, word, trial_bit(c), c->tokens);
}

/* Steps 3 to 6. */
static always_inline verdict exact_attempt(reg_registry *reg, const choice *c, picks *p,
                                           bool is_acquire) {
    if (p->count != 0 && !claim(p, is_acquire)) return TRY_AGAIN;
    bool must_check;
    uint64_t now = version_at_t(reg, c, &must_check);
    if (must_check && !are_listed(c, p, now)) return TRY_AGAIN;
    if (!are_unchanged(c, p) || !is_same_word(p, is_acquire)) return TRY_AGAIN;
    if (p->count == 0) return NONE_LEFT;
    return !is_acquire || take(c, &line_of(p->best.record)->counters, p->best.pending) ? CHOSEN
                                                                                       : TRY_AGAIN;
}

/* Whether a request may be added to the word: the record is not full, and no trial has begun or
 * ended since the pass, for that decides whether this request is one. */
static bool may_take(const choice *c, const candidate *x, uint64_t word) {
    return counter_in_flight(word) < load_published(&line_of(x->record)->limits.max_pending) &&
           counter_has_trial(word) == counter_has_trial(x->pending) &&
           !tokens_are_over_cap(c, x->place, word, c->tokens);
}

/* Adds one request in flight, if it may be. Retries if the word changes. */
static bool take_below_cap(const choice *c, const candidate *x) {
    counters *counted = &line_of(x->record)->counters;
    for (;;) {
        uint64_t word = load_seq_cst(&counted->pending);
        if (!may_take(c, x, word)) return false;
        if (take(c, counted, word)) return true;
    }
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

/* Makes room for all that the request will note of the chosen candidate. Afterwards nothing can
 * fail for want of memory. */
static bool prepare(choice *c, reg_registry *reg, record *chosen) {
    return record_outcomes(chosen, reg->settings) != NULL &&
           (reg_likely(c->request->prefix_count == 0) || prompt_prepare(c, chosen));
}

/* Looking up or noting so many blocks is quick. */
enum { QUICK_BLOCKS = 256, QUICK_LOOKUPS = 4096 };

/* Whether the choice takes long, so that a request that must not block cannot make it. */
static bool takes_long(const choice *c) {
    uint64_t blocks = c->request->prefix_count, length = c->reading.length;
    if (length > QUICK_LENGTH && !draws_few(c->traits)) return true;
    if (reg_likely(blocks == 0)) return false;
    return blocks > QUICK_BLOCKS || (c->traits->reads_tokens && blocks * length > QUICK_LOOKUPS);
}

/* Needs the turns lock if the policy takes turns, and the writer lock if this is the last
 * attempt. */
static always_inline verdict attempt_locked(reg_registry *reg, choice *c,
                                            const reg_request *request, bool is_acquire,
                                            bool is_last, record **chosen) {
    if (traits_of(request->policy)->takes_turns) REG_ASSERT_TURNS_OF(reg);
    if (is_last) REG_ASSERT_WRITER_OF(reg);
    if (!choice_begin(c, reg, request)) return NONE_LEFT;
    if (reg_unlikely(c->few != NULL)) {
        if (request->only_count > QUICK_LENGTH && !request->may_block) return WOULD_BLOCK;
        few_read(c, reg);
    }
    if (!request->may_block && takes_long(c)) return WOULD_BLOCK;
    if (c->traits->ties_by_age) round_join(c, reg);
    picks p;
    verdict v = pick(c, &p);
    if (v == CHOSEN && reg_unlikely(c->time != 0)) v = consider_ejections(reg, c, &p);
    if (v != CHOSEN) return v;
    if (reg_unlikely(c->waited != NULL) && p.count != 0 &&
        place_is_awaited(c, p.best.record, p.best.pending))
        return AWAITED;
    if (p.count == 0) {
        c->tally = is_last ? TALLY_UNKNOWN : p.tally;
    } else {
        if (is_acquire && !prepare(c, reg, p.best.record)) return NO_MEMORY;
        c->tokens = tokens_added(c, &p.best);
    }
    v = is_last ? last_attempt_locked(c, &p, is_acquire) : exact_attempt(reg, c, &p, is_acquire);
    if (v != CHOSEN) {
        if (reg_unlikely(c->noted_in != NULL)) prompt_forgo(c);
        return v;
    }
    if (c->traits->reads_tokens) c->cached = p.best.cached;
    if (c->traits->takes_turns) turns_settle(&c->model->turns, order_of(line_of(p.best.record)));
    round_settle(c, reg, &p.best, p.leaves_unserved);
    *chosen = p.best.record;
    return CHOSEN;
}

static always_inline verdict attempt(reg_registry *reg, choice *c, const reg_request *request,
                                     bool is_acquire, bool is_last, record **chosen) {
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
    bool has_read_few = draws_few(c->traits) && !c->is_searched;
    uint64_t candidates = !has_read_few ? c->reading.length : c->traits->draws_two ? 2 : HAND;
    return attempts >= MANY_ATTEMPTS ||
           (attempts >= SOME_ATTEMPTS && attempts * candidates >= MANY_CANDIDATES);
}

/* Inlined: calls of these parts would be 2 % of the instructions of a request. */
static always_inline reg_status choose(reg_registry *reg, reg_request *request, bool is_acquire,
                                       choice *c, record **chosen) {
    static const reg_status statuses[] = {[CHOSEN] = REG_OK,
                                          [NONE_LEFT] = REG_NONE_AVAILABLE,
                                          [NO_MEMORY] = REG_NO_MEMORY,
                                          [WOULD_BLOCK] = REG_WOULD_BLOCK,
                                          [AWAITED] = REG_WAITS};
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

/* Prepares what a choice that counts needs. `waited` is the registry if the caller holds LINE,
 * otherwise NULL. False if out of memory. In any case end_acquire follows. */
static inline bool begin_acquire(choice *c, reg_registry *waited, epoch_slot *slot,
                                 const reg_request *request, reg_noted_prefix **prefix) {
    c->waited = waited;
    *prefix = NULL;
    if (!few_alloc(c, request) || !reservation_prepare(slot)) return false;
    return reg_likely(request->prefix_count == 0) || (*prefix = prompt_copy(request)) != NULL;
}

static inline reg_status end_acquire(reg_registry *reg, epoch_slot *slot, const choice *c,
                                     record *chosen, reg_noted_prefix *prefix, reg_lease *lease,
                                     reg_status status) {
    if (status == REG_OK) {
        if (reg_unlikely(prefix != NULL)) prompt_note(c, prefix);
        lease_fill(lease, reg, slot, chosen, c, prefix);
    } else if (reg_unlikely(prefix != NULL)) {
        memory_free(prefix);
    }
    epoch_leave(slot);
    few_free(c);
    if (status == REG_OK) lease_begin(lease, reg);
    return status;
}

/* `waited`: see begin_acquire. `yields`: a choice of a place that others wait for is refused. */
static always_inline reg_status acquire_or_refuse(reg_registry *reg, reg_registry *waited,
                                                  reg_request *request, bool yields,
                                                  reg_lease *lease, reg_refusal *refusal) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    choice c;
    record *chosen = NULL;
    reg_noted_prefix *prefix;
    reg_status status = REG_NO_MEMORY;
    if (begin_acquire(&c, waited, slot, request, &prefix))
        status = choose_or_refuse(reg, reader_from_slot(slot), request, true, &c, &chosen, refusal);
    if (status == REG_WAITS && yields) {
        c.tally = TALLY_UNKNOWN; /* the attempt was not rechecked */
        status = refuse(reg, reader_from_slot(slot), &c, false, refusal);
    }
    return end_acquire(reg, slot, &c, chosen, prefix, lease, status);
}

reg_status acquire(reg_registry *reg, reg_request *request, reg_lease *lease,
                   reg_refusal *refusal) {
    return acquire_or_refuse(reg, NULL, request, false, lease, refusal);
}

reg_status acquire_unless_awaited(reg_registry *reg, reg_request *request, bool yields,
                                  reg_lease *lease, reg_refusal *refusal) {
    REG_ASSERT_LINE_OF(reg);
    return acquire_or_refuse(reg, reg, request, yields, lease, refusal);
}

reg_status acquire_for_waiter(reg_registry *reg, reg_request *request, reg_lease *lease,
                              bool *may_pass, uint64_t *deadline) {
    REG_ASSERT_LINE_OF(reg);
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    choice c;
    record *chosen = NULL;
    reg_noted_prefix *prefix;
    reg_status status = REG_NO_MEMORY;
    if (begin_acquire(&c, reg, slot, request, &prefix))
        status = choose(reg, request, true, &c, &chosen);
    if (status == REG_NONE_AVAILABLE) *may_pass = refusal_may_pass(&c, deadline);
    return end_acquire(reg, slot, &c, chosen, prefix, lease, status);
}

reg_status reg_select(reg_registry *reg, reg_reader *reader, reg_request *request,
                      void **definition, reg_refusal *refusal) {
    choice c;
    c.waited = NULL;
    record *chosen = NULL;
    if (!few_alloc(&c, request)) return REG_NO_MEMORY;
    reg_status status = choose_or_refuse(reg, reader, request, false, &c, &chosen, refusal);
    few_free(&c);
    if (status == REG_OK) *definition = record_state_at(chosen, c.version)->definition;
    return status;
}

void reg_seed_random(uint64_t seed) { random_state = seed != 0 ? seed : 1; }
