/* Choosing a backend, and counting on it, in one step: the instant at which a choice is the right one is also that at which it counts.
 * Which of equal ones it is: rounds.h.
 *
 * An attempt
 * ----------
 *   1. V = the committed version; the model's list at V
 *   2. pass     read the counts of every candidate, one after the other; pick the best, with its word w
 *   3. claim    w -> w with the claim bit (counters.h); or somebody's claim on w is there already
 *   4. T        load the committed version again
 *   5. pass     again: the list, each one's health and the versions of each one's counts are what they were
 *   6. take     the claimed word -> one more in flight
 * Where any of these fails nothing has been changed for anyone (a claim says nothing), and another attempt begins.
 *
 * The proof that a choice takes effect at T, for LEAST_PENDING
 * -------------------------------------------------------------
 * Counts, claims and the committed version are sequentially consistent: there is one order of all of them, called time here.
 *   a. At T the candidates are those of V. If the clock stands at V, by the argument of version.h. Else, if CHOICES_CHANGED,
 *      loaded after T, is not above V, for then no write after V has changed a list, a health or a definition: one that had would
 *      have stored its version there before its commit, and T has seen the commits of all writes up to its own. Else 5 has found at
 *      the new version the same members of the same array, and no health or definition that is younger than V.
 *   b. At T each of the others has at least as many in flight as 2 saw. 5 finds the same number of decrements on it as 2 (their sum does, and
 *      they only grow), so between the two, and T lies between, it was at most counted up. Who has been claimed by another choice has
 *      one more than its word says, once that one takes effect: that is more, too.
 *   c. At T the chosen one has just what w says, and nobody learns it from then on until 6: who would tell it or count on it
 *      changes the claimed word first, which does not come back (counters.h c.), and then 6 fails.
 *   d. Preferences are monotonic (policy.h), so by a., b. and c. the chosen one is the best at T, and it is below its cap. By c. the count that
 *      6 makes is there for everyone from T on.
 * `select` makes no claim and counts nothing: after 5 it reads w once more, and where that is the same, c. holds for it too.
 * A refusal takes effect at T likewise: who was full has not been decremented, so it is full at T. So its reasons are those of T: an
 * obstacle as of V, or else full; no count is read again for them. The same holds for PRIORITY's passing on from
 * full ones, for SMART and LOWEST_LATENCY with the versions of the averages in 5, and for POWER_OF_TWO with the two that were drawn. What
 * RANDOM promises depends on nobody else's load, nor does whose turn it is by ROUND_ROBIN where nobody was passed over: there the chosen one
 * alone is looked at again. So it is where LEAST_PENDING has chosen one that is idle and of the greatest weight: none can be better, so the
 * pass may end there, and in a fleet that is not busy it is short. If the greatest weight has risen since, 5 looks at all of them. The sum of
 * a pass that ended early is then too small, as a rule, and the attempt fails; if it agrees by chance, the chosen one was unbeatable at V.
 *
 * Progress. An attempt fails only because another thread's operation took effect on one of the candidates: lock-free. So that nobody
 * starves, after MANY_ATTEMPTS (fewer in a long list) it holds the writer lock, which keeps the version, and leaves out 3 and 5: 6
 * counts on the chosen one whatever its word is by now, unless it is full, and only then is there another pass. So the
 * chosen one is still eligible, below its cap and counted exactly, but the best only of what the pass saw, all of it within the
 * call. If the pass finds nobody, it is a refusal: each candidate was full when it was passed, though not all at one instant.
 *
 * ROUND_ROBIN's turns are exact, and taken under the registry's lock of that name, which is never held by anybody who waits for a
 * reader.
 */
#include "base/random.h"
#include "choose/lease.h"
#include "choose/refusal.h"
#include "choose/rounds.h"

#define always_inline inline __attribute__((always_inline))

/* Up to so many backends a choice is quick enough to be made at once. */
enum { QUICK_LENGTH = 64 };
/* A choice is tried so often, but where that would read more than so many candidates, less often, though some times in any case. */
enum { MANY_ATTEMPTS = 256, MANY_CANDIDATES = 1 << 18, SOME_ATTEMPTS = 8 };
/* How often POWER_OF_TWO draws, for each of its two, before it looks at all; in a long list more often, for one draw in so many members
 * costs little beside that. */
enum { MANY_DRAWS = 16, MEMBERS_PER_DRAW = 64 };

typedef enum verdict { CHOSEN, NONE_LEFT, TRY_AGAIN, NO_MEMORY, TOO_LONG } verdict;

typedef struct picks {
    candidate best;
    candidate second; /* POWER_OF_TWO: the other one that was drawn */
    uint32_t count;
    uint64_t tally;       /* of everything that may not have changed; see tally_of */
    bool passed_over;     /* REG_ROUND_ROBIN: somebody who was full or not eligible */
    bool leaves_unserved; /* REG_LEAST_PENDING: see rounds.h */
} picks;

/* ---- the pass ---- */

static always_inline bool depends_on_latency(reg_policy policy) {
    return policy == REG_LOWEST_LATENCY || policy == REG_SMART;
}

/* Grows with each change that could make this candidate preferable; its latency is 0 where nothing depends on it. Such numbers are
 * added up: as each only grows, an equal sum means that none did. */
static always_inline uint64_t tally_of(const candidate *x) {
    return counter_decrements(x->pending) + x->latency;
}

/* The best average of all candidates, full ones included; and the tally, for what follows depends on what is seen here. */
static void find_best_average(choice *c, picks *p) {
    uint32_t best = UINT32_MAX;
    bool found = false;
    EACH_LISTED(c, 0, c->reading.length, m) {
        candidate x = candidate_at(m, true);
        p->tally += tally_of(&x);
        if (!latency_is_sampled(x.latency) || latency_of(x.latency) > best ||
            !candidate_is_eligible(c, &x, c->is_plain))
            continue;
        best = latency_of(x.latency);
        found = true;
    }
    if (found) c->best_average = best;
}

/* Every position once, as a round from `start` on. */
#define EACH_IN_ROUND(c, m)                                                                        \
    for (int half = 0; half < 2; half++)                                                           \
        EACH_LISTED((c), half == 0 ? (c)->start : 0, half == 0 ? (c)->reading.length : (c)->start, \
                    m)

/* Of one that would be the best, were it eligible for this request: whether others will want it in this round. */
static bool is_left_unserved(const choice *c, candidate x) {
    x.age = age_of(c, x.record);
    return is_unserved(c, &x) && record_is_plainly_healthy(x.record, c->version) &&
           !candidate_is_full(&x);
}

/* Whether `x` goes before the best so far. */
static always_inline bool goes_before(const choice *c, reg_policy policy, const candidate *x,
                                      const candidate *best) {
    int order = preference(policy, x, best, c->best_average);
    if (reg_likely(order > 0)) return false;
    return order < 0 || (age_of(c, x->record) > best->age && !is_unserved(c, best));
}

static always_inline void pass_by(const choice *shared, reg_policy policy, bool is_plain,
                                  picks *p) {
    const choice local = *shared, *c = &local; /* nobody else's, so that it stays in registers */
    uint64_t tally = p->tally, weights = 0;
    candidate best;
    bool found = false;
    EACH_IN_ROUND(c, m) {
        candidate x = candidate_at(m, depends_on_latency(policy));
        if (policy == REG_SMART) x.credit = smart_score(&x);
        if (policy != REG_LOWEST_LATENCY) tally += tally_of(&x);
        /* Last what is seldom asked: most candidates are none that would be preferred. */
        if (policy != REG_RANDOM && reg_likely(found && !goes_before(c, policy, &x, &best)))
            continue;
        if (!candidate_is_eligible(c, &x, is_plain) || candidate_is_full(&x)) {
            if (policy == REG_LEAST_PENDING && !is_plain && is_left_unserved(c, x))
                p->leaves_unserved = true;
            continue;
        }
        /* A weighted reservoir of one (Chao, 1982). */
        if (policy == REG_RANDOM && random_below(weights += x.weight) >= x.weight) continue;
        /* Keeps the compiler from moving conditionally: then each candidate would wait for the one before. */
        atomic_signal_fence(memory_order_relaxed);
        best = x;
        best.age = age_of(c, x.record);
        found = true;
        if (policy == REG_LEAST_PENDING && is_unserved(c, &best) && is_unbeatable(c, &best))
            goto done;
    }
done:
    p->tally = tally;
    p->count = found;
    if (found) p->best = best;
}

/* What goes before the best so far, where all weigh the same. */
typedef struct mark {
    uint64_t limit;     /* whoever has no more in flight */
    uint64_t in_flight; /* and if as many as this, */
    uint32_t age;       /* then only if it is older */
} mark;

/* The first member from `m` on that is not full and goes before the best so far, or `end`. Sets its word, and adds up the tallies of all that it reads. */
static always_inline const member *next_before(const choice *c, const mark *best, const member *m,
                                               const member *end, uint64_t *word, uint64_t *tally) {
    uint64_t sum = *tally, pending = 0, limit = best->limit;
    uint32_t tick = c->reading.tick, now = c->now;
#pragma GCC unroll 4
    for (; m != end; m++) {
        if (reg_unlikely(!member_is_in(m, tick))) continue;
        pending = load_seq_cst(&line_of(m->record)->counters.pending);
        sum += counter_decrements(pending);
        if (reg_likely(counter_in_flight(pending) > limit)) continue;
        if (counter_in_flight(pending) >= line_of(m->record)->max_pending) continue;
        if (counter_in_flight(pending) != best->in_flight ||
            now - load_hint(&line_of(m->record)->chosen_at) > best->age)
            break;
    }
    *word = pending;
    *tally = sum;
    return m;
}

/* LEAST_PENDING where all weigh the same, as in most lists: the numbers in flight decide alone. */
static void pass_over_equals(const choice *c, picks *p) {
    const member *members = c->reading.array->members, *start = members + c->start,
                 *end = members + c->reading.length;
    mark best = {.limit = UINT64_MAX, .in_flight = UINT64_MAX};
    uint64_t word;
    for (int half = 0; half < 2; half++) {
        const member *m = half == 0 ? start : members, *to = half == 0 ? end : start;
        for (; (m = next_before(c, &best, m, to, &word, &p->tally)) != to; m++) {
            candidate x = {.record = m->record,
                           .place = m,
                           .pending = word,
                           .weight = line_of(m->record)->weight,
                           .age = age_of(c, m->record)};
            if (!candidate_is_eligible(c, &x, c->is_plain)) {
                p->leaves_unserved |= !c->is_plain && is_left_unserved(c, x);
                continue;
            }
            p->best = x;
            p->count = 1;
            best = (mark){.limit = counter_in_flight(word),
                          .in_flight = counter_in_flight(word),
                          .age = x.age};
            if (is_unserved(c, &x) && best.limit-- == 0)
                return; /* unserved: only who has less goes before it */
        }
    }
}

static always_inline void pass(const choice *c, reg_policy policy, picks *p) {
    if (policy == REG_LEAST_PENDING && !load_published(&c->reading.array->is_uneven))
        pass_over_equals(c, p);
    else if (c->is_plain)
        pass_by(c, policy, true, p);
    else
        pass_by(c, policy, false, p);
}

/* Each candidate's turn comes when its credit is the greatest. False when memory is out. */
static bool pass_in_turn(const choice *c, picks *p) {
    turns *t = &c->model->turns;
    turns_begin(t);
    EACH_IN_ROUND(c, m) {
        candidate x = candidate_at(m, false);
        p->tally += tally_of(&x);
        turn *its = turns_see(t, line_of(x.record)->serial, x.weight);
        if (its == NULL) return false;
        if (!candidate_is_eligible(c, &x, c->is_plain) || candidate_is_full(&x)) {
            p->passed_over = true;
            continue;
        }
        its->due = t->round;
        x.credit = its->credit + its->weight;
        if (p->count != 0 && !goes_before(c, REG_ROUND_ROBIN, &x, &p->best)) continue;
        p->best = x;
        p->best.age = age_of(c, x.record);
        p->count = 1;
    }
    return true;
}

/* ---- two at random ---- */

static bool draw(const choice *c, candidate *x, const member *other_than) {
    uint32_t draws =
        MANY_DRAWS + (c->request->may_block ? c->reading.length / MEMBERS_PER_DRAW : 0);
    for (uint32_t i = 0; i < draws; i++) {
        const member *m = c->reading.array->members + random_below(c->reading.length);
        if (m == other_than || !member_is_in(m, c->reading.tick)) continue;
        *x = candidate_at(m, false);
        if (candidate_is_eligible(c, x, c->is_plain) && !candidate_is_full(x)) return true;
    }
    return false;
}

/* Two of all that are eligible: a reservoir of two (Vitter, 1985: algorithm R). */
static void draw_from_all(const choice *c, picks *p) {
    uint64_t seen = 0;
    EACH_LISTED(c, 0, c->reading.length, m) {
        candidate x = candidate_at(m, false);
        p->tally += tally_of(&x);
        if (!candidate_is_eligible(c, &x, c->is_plain) || candidate_is_full(&x)) continue;
        uint64_t place = seen < 2 ? seen : random_below(seen + 1);
        seen++;
        if (place == 0) p->best = x;
        if (place == 1) p->second = x;
    }
    p->count = (uint32_t)least((int64_t)seen, 2);
    bool is_swapped =
        p->count == 2 &&
        random_next() & 1; /* the first of the list is the first of the two more often than not */
    if (!is_swapped) return;
    candidate first = p->best;
    p->best = p->second;
    p->second = first;
}

static bool pick_two(choice *c, picks *p) {
    bool is_short = c->reading.length <= 2;
    if (!is_short && draw(c, &p->best, NULL) && draw(c, &p->second, p->best.place)) {
        p->count = 2;
    } else {
        if (c->reading.length > QUICK_LENGTH && !c->request->may_block) return false;
        draw_from_all(c, p);
        c->is_searched = true;
    }
    if (p->count == 2 && compare_loads(&p->second, &p->best) < 0) {
        candidate better = p->second;
        p->second = p->best;
        p->best = better;
    }
    return true;
}

static verdict pick(choice *c, picks *p) {
    *p = (picks){0};
    switch (c->request->policy) {
    case REG_POWER_OF_TWO: return pick_two(c, p) ? CHOSEN : TOO_LONG;
    case REG_ROUND_ROBIN: return pass_in_turn(c, p) ? CHOSEN : NO_MEMORY;
    case REG_RANDOM: pass(c, REG_RANDOM, p); break;
    case REG_PRIORITY: pass(c, REG_PRIORITY, p); break;
    case REG_SMART: pass(c, REG_SMART, p); break;
    case REG_LOWEST_LATENCY:
        find_best_average(c, p);
        pass(c, REG_LOWEST_LATENCY, p);
        break;
    default: pass(c, REG_LEAST_PENDING, p); break;
    }
    return CHOSEN;
}

/* ---- looking again ---- */

/* Loads the committed version again: T. Where no write since V has changed anything that choices depend on, V is as good. */
static uint64_t version_at_t(reg_registry *reg, const choice *c) {
    uint64_t now = load_committed(&reg->committed);
    if (reg_likely(now == c->version)) return now;
    return load_published(&reg->choices_changed) <= c->version ? c->version : now;
}

/* The list at a later version, if it is the same array with as many members. */
static bool is_same_array(const choice *c, const member_reading *later) {
    return later->array == c->reading.array && later->length == c->reading.length;
}

/* Whether a member that was listed is so at the later version too, or was not and is not; and in the health that it was in. */
static inline bool is_as_before(const choice *c, const member_reading *later, const member *m) {
    bool is_listed = member_is_in(m, c->reading.tick);
    if (is_listed != member_is_in(m, later->tick)) return false;
    return !is_listed || !record_has_changed_since(m->record, c->version);
}

static always_inline uint64_t tally_of_all(const choice *c, bool with_latency) {
    const member *m = c->reading.array->members, *end = m + c->reading.length;
    uint32_t tick = c->reading.tick;
    uint64_t tally = 0;
#pragma GCC unroll 4
    for (; m != end; m++) {
        if (reg_unlikely(!member_is_in(m, tick))) continue;
        candidate x = candidate_at(m, with_latency);
        tally += tally_of(&x);
    }
    return tally;
}

static bool all_as_before(const choice *c, const picks *p, uint64_t now) {
    if (reg_unlikely(now != c->version)) {
        member_reading later = member_list_read(&c->model->members, now);
        if (!is_same_array(c, &later)) return false;
        for (uint32_t i = 0; i < c->reading.length; i++)
            if (!is_as_before(c, &later, c->reading.array->members + i)) return false;
    }
    return (depends_on_latency(c->request->policy) ? tally_of_all(c, true)
                                                   : tally_of_all(c, false)) == p->tally;
}

static bool picks_as_before(const choice *c, const picks *p, uint64_t now) {
    if (reg_unlikely(now != c->version)) {
        member_reading later = member_list_read(&c->model->members, now);
        if (!is_same_array(c, &later) || !is_as_before(c, &later, p->best.place)) return false;
        if (p->count == 2 && !is_as_before(c, &later, p->second.place)) return false;
    }
    if (p->count == 1) return true;
    candidate second = candidate_at(p->second.place, false);
    return counter_decrements(second.pending) == counter_decrements(p->second.pending) &&
           !candidate_is_full(&second);
}

static bool holds_still(const choice *c, const picks *p, uint64_t now) {
    reg_policy policy = c->request->policy;
    bool by_itself = policy == REG_RANDOM || (policy == REG_ROUND_ROBIN && !p->passed_over) ||
                     (policy == REG_LEAST_PENDING && is_unbeatable(c, &p->best));
    return p->count == 2 || (p->count == 1 && by_itself) ? picks_as_before(c, p, now)
                                                         : all_as_before(c, p, now);
}

/* ---- the attempt ---- */

static void settle(const choice *c, reg_registry *reg, const picks *p) {
    if (c->request->policy == REG_ROUND_ROBIN)
        turns_settle(&c->model->turns, line_of(p->best.record)->serial);
    round_settle(c, reg, &p->best, p->leaves_unserved);
}

/* A choice without a count makes no claim: it only looks whether the word is the same after the second pass, and unclaimed. */
static bool is_unseen(picks *p, bool counts) {
    _Atomic uint64_t *pending = &line_of(p->best.record)->counters.pending;
    if (counts) return counter_claim(pending, &p->best.pending);
    if (counter_is_claimed(p->best.pending)) (void)counter_value(pending);
    return !counter_is_claimed(p->best.pending);
}

static bool is_still_unseen(const picks *p, bool counts) {
    return counts || p->count == 0 ||
           load_seq_cst(&line_of(p->best.record)->counters.pending) == p->best.pending;
}

/* One more in flight, below the cap, whatever the count was before. */
static bool take_below_cap(record *r) {
    uint64_t word = load_seq_cst(&line_of(r)->counters.pending);
    while (counter_in_flight(word) < line_of(r)->max_pending)
        if (cas_seq_cst(&line_of(r)->counters.pending, &word, counter_changes(word) + 1))
            return true;
    return false;
}

/* After many attempts that others have disturbed, under the writer lock: see Progress. */
static verdict last_attempt(const picks *p, bool counts) {
    if (p->count == 0) return NONE_LEFT;
    return !counts || take_below_cap(p->best.record) ? CHOSEN : TRY_AGAIN;
}

static verdict exact_attempt(reg_registry *reg, const choice *c, picks *p, bool counts) {
    if (p->count != 0 && !is_unseen(p, counts)) return TRY_AGAIN;
    if (!holds_still(c, p, version_at_t(reg, c)) || !is_still_unseen(p, counts)) return TRY_AGAIN;
    if (p->count == 0) return NONE_LEFT;
    return !counts || counter_take(&line_of(p->best.record)->counters.pending, p->best.pending)
               ? CHOSEN
               : TRY_AGAIN;
}

static verdict attempt(reg_registry *reg, choice *c, const reg_request *request, bool counts,
                       bool is_last, record **chosen) {
    if (!choice_begin(c, reg, request)) return NONE_LEFT;
    if (c->reading.length > QUICK_LENGTH && request->policy != REG_POWER_OF_TWO &&
        !request->may_block)
        return TOO_LONG;
    picks p;
    verdict picked = pick(c, &p);
    if (picked != CHOSEN) return picked;
    verdict v = is_last ? last_attempt(&p, counts) : exact_attempt(reg, c, &p, counts);
    if (v != CHOSEN) return v;
    settle(c, reg, &p);
    *chosen = p.best.record;
    return CHOSEN;
}

static verdict locked_attempt(reg_registry *reg, choice *c, const reg_request *request, bool counts,
                              bool is_last, record **chosen) {
    bool in_turn = request->policy == REG_ROUND_ROBIN;
    if ((in_turn || is_last) && !request->may_block) return TOO_LONG;
    if (in_turn) pthread_mutex_lock(&reg->turns);
    if (is_last) pthread_mutex_lock(&reg->writer);
    verdict v = attempt(reg, c, request, counts, is_last, chosen);
    if (is_last) pthread_mutex_unlock(&reg->writer);
    if (in_turn) pthread_mutex_unlock(&reg->turns);
    return v;
}

static bool is_enough(const choice *c, uint32_t attempts) {
    uint64_t candidates =
        c->request->policy == REG_POWER_OF_TWO && !c->is_searched ? 2 : c->reading.length;
    return attempts >= MANY_ATTEMPTS ||
           (attempts >= SOME_ATTEMPTS && attempts * candidates >= MANY_CANDIDATES);
}

static reg_status choose(reg_registry *reg, reg_request *request, bool counts, choice *c,
                         record **chosen) {
    static const reg_status statuses[] = {[CHOSEN] = REG_OK,
                                          [NONE_LEFT] = REG_NONE_AVAILABLE,
                                          [NO_MEMORY] = REG_NO_MEMORY,
                                          [TOO_LONG] = REG_WOULD_BLOCK};
    request_prepare(request);
    for (uint32_t i = 0;; i++) {
        verdict v = locked_attempt(reg, c, request, counts, i != 0 && is_enough(c, i), chosen);
        if (v != TRY_AGAIN) return statuses[v];
    }
}

reg_status reg_acquire(reg_registry *reg, reg_request *request, reg_lease *lease,
                       reg_refusal *refusal) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    choice c;
    record *chosen = NULL;
    reg_status status = choose(reg, request, true, &c, &chosen);
    if (status == REG_OK) record_ref(chosen);
    if (status == REG_NONE_AVAILABLE) status = refuse(reg, reader_from_slot(slot), &c, refusal);
    epoch_leave(slot);
    if (status == REG_OK) lease_begin(lease, chosen);
    return status;
}

reg_status reg_select(reg_registry *reg, reg_reader *reader, reg_request *request,
                      void **definition, reg_refusal *refusal) {
    choice c;
    record *chosen = NULL;
    reg_status status = choose(reg, request, false, &c, &chosen);
    if (status == REG_OK) *definition = record_state_at(chosen, c.version)->definition;
    return status == REG_NONE_AVAILABLE ? refuse(reg, reader, &c, refusal) : status;
}

void reg_seed_random(uint64_t seed) { random_state = seed != 0 ? seed : 1; }
