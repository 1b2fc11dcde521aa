/* What a choice knows of a candidate, and which of two candidates each policy prefers.
 *
 * Every preference is monotonic: a candidate with more in flight, all else equal, is never preferred to the same with less. The proof in
 * select.c rests on it. */
#ifndef REG_POLICY_H
#define REG_POLICY_H

#include "record.h"
#include "registry.h"

typedef struct candidate {
    record *record;
    const member *place; /* in the list */
    uint64_t pending; /* the words of counters.h, as they were passed */
    uint64_t latency; /* 0 where the policy does not depend on it */
    int64_t credit;   /* for REG_ROUND_ROBIN: see turns.h */
    uint32_t weight;
} candidate;

__extension__ typedef unsigned __int128 uint128;

static inline uint64_t load_with_one_more(const candidate *c) { return (uint64_t)counter_in_flight(c->pending) + 1; }

/* Fewer in flight per weight, compared without a division: products of at most 2**32 * 1,000. */
static inline bool is_less_loaded(const candidate *a, const candidate *b) {
    if (reg_likely(a->weight == b->weight)) return counter_in_flight(a->pending) < counter_in_flight(b->pending);
    return load_with_one_more(a) * b->weight < load_with_one_more(b) * a->weight;
}

/* Less time per weight; `best_average` stands in for that of who has no sample yet, and of equal ones that one goes first. */
static inline bool is_faster(const candidate *a, const candidate *b, uint32_t best_average) {
    bool a_sampled = latency_is_sampled(a->latency), b_sampled = latency_is_sampled(b->latency);
    if (!a_sampled && !b_sampled) return is_less_loaded(a, b);
    uint64_t a_average = a_sampled ? latency_of(a->latency) : best_average;
    uint64_t b_average = b_sampled ? latency_of(b->latency) : best_average;
    uint128 left = (uint128)(load_with_one_more(a) * a_average) * b->weight;
    uint128 right = (uint128)(load_with_one_more(b) * b_average) * a->weight;
    return left != right ? left < right : b_sampled && !a_sampled;
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The score of the original router, Nexus. */
static inline int64_t smart_score(const candidate *c) {
    return (100 - least(c->record->priority, 100)) * 50 + (100 - least(counter_in_flight(c->pending), 100)) * 30 +
           (100 - least(latency_of(c->latency) / 10, 100)) * 20;
}

/* Whether the policy prefers `a` to `b`; it prefers neither where they are equal. `best_average` (ms) is for REG_LOWEST_LATENCY: that of
 * all candidates that have a sample. */
static inline __attribute__((always_inline)) bool is_preferred(reg_policy policy, const candidate *a, const candidate *b,
                                                               uint32_t best_average) {
    switch (policy) {
    case REG_PRIORITY:
        if (a->record->priority != b->record->priority) return a->record->priority < b->record->priority;
        return is_less_loaded(a, b);
    case REG_LOWEST_LATENCY: return is_faster(a, b, best_average);
    case REG_SMART: return smart_score(a) > smart_score(b);
    case REG_ROUND_ROBIN: return a->credit > b->credit;
    case REG_RANDOM: return a->weight > b->weight;
    default: return is_less_loaded(a, b);
    }
}

#endif
