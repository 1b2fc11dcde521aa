#include "choose/pass.h"

#include "base/random.h"
#include "choose/affinity.h"
#include "choose/draw.h"
#include "choose/rounds.h"

/* Iterates once over all listed members: from position `start` to the end, then from the
 * beginning. */
#define EACH_IN_ROUND(c, m)                                                                        \
    for (int half = 0; half < 2; half++)                                                           \
        EACH_LISTED((c), half == 0 ? (c)->start : 0, half == 0 ? (c)->reading.length : (c)->start, \
                    m)

/* ---- every policy that compares its candidates one by one ---- */

/* Whether other requests will choose `x` in this round. `x` is not eligible for this request, but
 * would be the best candidate if it were. */
static bool is_left_unserved(const choice *c, candidate x) {
    x.age = age_of(c, x.record);
    return is_unserved(c, &x) && record_is_unflagged(x.record, c->version) &&
           !candidate_is_full(&x) && !candidate_lacks_tokens(c, &x);
}

/* Whether the choice takes `x` rather than the best candidate so far. */
static always_inline bool goes_before(const choice *c, reg_policy policy, const candidate *x,
                                      const candidate *best) {
    int order = preference(policy, x, best, c->best_average);
    if (reg_likely(order > 0)) return false;
    return order < 0 || (age_of(c, x->record) > best->age && !is_unserved(c, best));
}

/* Returns false if the policy compares averages, and a candidate has none that counts: then
 * pass_over_mixed has to find the best average, too. */
static always_inline bool pass_by(const choice *shared, reg_policy policy, bool is_plain,
                                  bool is_careful, bool with_prefix, picks *p) {
    const policy_traits *traits = traits_of(policy);
    const choice local = *shared, *c = &local; /* a local copy can stay in registers */
    uint64_t tally = p->tally, weights = 0;
    candidate best;
    bool found = false;
    EACH_IN_ROUND(c, m) {
        candidate x = candidate_at(c, m, traits->reads_latency, is_careful);
        if (traits->reads_latency) {
            if (reg_unlikely(!average_surely_counts(c, line_of(x.record)))) return false;
            x.is_sampled = true;
        }
        if (traits->has_score) x.credit = smart_score(&x, latency_of(x.latency));
        if (traits->reads_tokens) candidate_read_tokens(c, &x, with_prefix);
        tally += tally_of(&x);
        /* Compare first and check the rest later: most candidates are not better than the best. */
        if (!traits->draws_one && reg_likely(found && !goes_before(c, policy, &x, &best))) continue;
        if (!candidate_is_eligible(c, &x, is_plain) || candidate_is_full(&x)) {
            if (traits->has_rounds && !is_plain && is_left_unserved(c, x))
                p->leaves_unserved = true;
            continue;
        }
        /* A weighted reservoir of one (Chao, 1982). */
        if (traits->draws_one && random_below(weights += x.weight) >= x.weight) continue;
        /* Keeps the compiler from using conditional moves, which would make each candidate wait for
         * the previous one. */
        atomic_signal_fence(memory_order_relaxed);
        best = x;
        best.age = age_of(c, x.record);
        found = true;
        if (traits->only_loads && is_unserved(c, &best) && is_unbeatable(c, &best)) goto done;
    }
done:
    p->tally = tally;
    p->count = found;
    if (found) p->best = best;
    return true;
}

/* ---- policies that compare averages, if only some candidates have one ---- */

/* The best candidate of a kind. */
typedef struct leader {
    candidate best;
    bool is_found;
} leader;

/* Picks the better one of the best candidates with a sample and without one. That depends on the
 * best average of all candidates, which is known only after the pass. */
static void pick_leader(const choice *c, const leader *sampled, leader *unsampled, picks *p) {
    candidate *a = &unsampled->best;
    const candidate *b = &sampled->best;
    p->count = sampled->is_found || unsampled->is_found;
    if (!unsampled->is_found) {
        p->best = *b;
        return;
    }
    if (c->traits->has_score) a->credit = smart_score(a, c->best_average);
    p->best = *a;
    if (!sampled->is_found) return;
    int order = preference(c->request->policy, b, a, c->best_average);
    bool is_first =
        b->age != a->age ? b->age > a->age : distance_from_start(c, b) < distance_from_start(c, a);
    if (order < 0 || (order == 0 && is_first)) p->best = *b;
}

static always_inline void pass_over_mixed_by(choice *shared, reg_policy policy, bool is_careful,
                                             picks *p) {
    const choice local = *shared, *c = &local; /* as above */
    leader sampled = {.is_found = false}, unsampled = {.is_found = false};
    uint64_t best_average = UINT64_MAX; /* of the candidates, full ones included */
    uint64_t tally = 0;
    EACH_IN_ROUND(c, m) {
        candidate x = candidate_at(c, m, true, is_careful);
        x.is_sampled = average_counts(c, line_of(x.record));
        tally += tally_of(&x);
        uint32_t average = x.is_sampled ? latency_of(x.latency) : 0;
        if (traits_of(policy)->has_score) x.credit = smart_score(&x, average);
        leader *l = x.is_sampled ? &sampled : &unsampled;
        bool is_better = !l->is_found || goes_before(c, policy, &x, &l->best),
             is_faster = x.is_sampled && average < best_average;
        if (reg_likely(!is_better && !is_faster)) continue;
        reg_reason reason = candidate_reason(c, &x, c->is_plain);
        if (reason != REG_ELIGIBLE && reason != REG_FULL) continue;
        if (is_faster) best_average = average;
        if (!is_better || reason == REG_FULL || candidate_is_full(&x)) continue;
        l->best = x;
        l->best.age = age_of(c, x.record);
        l->is_found = true;
    }
    p->tally = tally;
    shared->best_average = best_average != UINT64_MAX ? (uint32_t)best_average : 0;
    pick_leader(shared, &sampled, &unsampled, p);
}

static __attribute__((noinline)) void pass_over_mixed(choice *c, picks *p) {
    if (c->is_careful)
        pass_over_mixed_by(c, c->request->policy, true, p);
    else if (c->request->policy == REG_SMART)
        pass_over_mixed_by(c, REG_SMART, false, p);
    else
        pass_over_mixed_by(c, REG_LOWEST_LATENCY, false, p);
}

/* ---- policies that only compare loads, if all weights are equal ---- */

/* The limits that a candidate must meet to be preferred to the best one so far. */
typedef struct mark {
    uint64_t limit;     /* at most this many in flight */
    uint64_t in_flight; /* if it has exactly this many in flight, */
    uint32_t age;       /* it must also have a greater age than this */
} mark;

/* Returns the first member from `m` on that is not full and preferred to the best one so far, or
 * `end`. Sets `word` to its pending word, and adds the tallies of all members that it reads to
 * `tally`. */
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
        if (counter_in_flight(pending) >= load_published(&line_of(m->record)->limits.max_pending))
            continue;
        if (counter_in_flight(pending) != best->in_flight ||
            now - load_hint(&line_of(m->record)->chosen_at) > best->age)
            break;
    }
    *word = pending;
    *tally = sum;
    return m;
}

/* If all members have the same weight, as in most lists, only the numbers in flight need
 * comparing. */
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
                           .weight = load_published(&line_of(m->record)->weight),
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
            /* Only a candidate with fewer in flight is preferred to an unserved one. */
            if (is_unserved(c, &x) && best.limit-- == 0) return;
        }
    }
}

/* ---- policies that take turns ---- */

/* Picks the candidate with the greatest credit. Returns false if out of memory. */
static always_inline bool pass_in_turn_locked(const choice *c, reg_policy policy, bool is_careful,
                                              picks *p) {
    REG_ASSERT_TURNS();
    turns *t = &c->model->turns;
    turns_begin(t);
    EACH_IN_ROUND(c, m) {
        candidate x = candidate_at(c, m, false, is_careful);
        p->tally += tally_of(&x);
        turn *its = turns_see(t, order_of(line_of(x.record)), turn_holder(x.record, x.weight));
        if (its == NULL) return false;
        bool is_due = candidate_is_eligible(c, &x, c->is_plain) && !candidate_is_full(&x);
        its->mark = turn_mark(t, is_due);
        if (!is_due) {
            p->has_skipped = true;
            continue;
        }
        x.credit = its->credit + x.weight;
        if (p->count != 0 && !goes_before(c, policy, &x, &p->best)) continue;
        p->best = x;
        p->best.age = age_of(c, x.record);
        p->count = 1;
    }
    return true;
}

/* ---- all policies ---- */

/* For a choice that finds a write at work, or a slow start, which is rare: any policy, in code that
 * all share. */
static __attribute__((noinline)) void pass_carefully(choice *c, picks *p) {
    if (c->traits->reads_latency)
        pass_over_mixed(c, p);
    else
        (void)pass_by(c, c->request->policy, false, true, has_prefix(c), p);
}

/* Inlined for each policy, so the compiler drops the code that the policy does not need. */
static always_inline verdict pick_by(choice *c, reg_policy policy, picks *p) {
    const policy_traits *traits = traits_of(policy);
    if (traits->draws_two) return draw_two(c, p);
    if (traits->draws_hand) return draw_hand(c, p);
    if (traits->by_key) {
        pick_by_key(c, p);
        return CHOSEN;
    }
    if (traits->takes_turns) {
        bool has_memory = c->is_careful ? pass_in_turn_locked(c, policy, true, p)
                                        : pass_in_turn_locked(c, policy, false, p);
        return has_memory ? CHOSEN : NO_MEMORY;
    }
    if (reg_unlikely(c->is_careful))
        pass_carefully(c, p);
    else if (traits->only_loads && !load_published(&c->reading.array->is_uneven))
        pass_over_equals(c, p);
    else if (traits->reads_tokens && reg_unlikely(has_prefix(c)))
        (void)pass_by(c, policy, false, false, true, p);
    else if (!(c->is_plain ? pass_by(c, policy, true, false, false, p)
                           : pass_by(c, policy, false, false, false, p)))
        pass_over_mixed(c, p);
    return CHOSEN;
}

#define PICK_OF_ROW(policy, ...)                                                                   \
    static verdict pick_##policy(choice *c, picks *p) { return pick_by(c, policy, p); }
EACH_POLICY(PICK_OF_ROW)

verdict pick(choice *c, picks *p) {
#define NAME_OF_ROW(policy, ...) [policy] = pick_##policy,
    static verdict (*const by_policy[])(choice *, picks *) = {EACH_POLICY(NAME_OF_ROW)};
    p->tally = 0;
    p->count = 0;
    p->has_skipped = p->leaves_unserved = false;
    return by_policy[c->request->policy](c, p);
}
