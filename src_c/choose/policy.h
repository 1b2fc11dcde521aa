/* What a choice knows of a candidate, and which of two candidates each policy prefers.
 *
 * Each comparison returns < 0 where it prefers `a`, > 0 where it prefers `b`, and 0 where they are
 * equal; then the one whose last choice is longer ago goes first (candidates.h).
 *
 * Every preference is monotonic: a candidate with more in flight, all else equal, is never preferred
 * to the same with less. The proof in select.c rests on it. */
#ifndef REG_POLICY_H
#define REG_POLICY_H

#include "base/types.h"
#include "store/record.h"

typedef struct candidate {
    record *record;
    const member *place; /* in the list */
    uint64_t pending;    /* the words of counters.h, as they were passed */
    uint64_t latency;    /* 0 where the policy does not depend on it */
    int64_t credit;      /* for REG_ROUND_ROBIN: see turns.h; for REG_SMART its score */
    uint32_t weight;
    uint32_t age; /* in ticks since its last choice; only of those that were compared by it */
} candidate;

__extension__ typedef unsigned __int128 uint128;

static inline int compare(uint64_t a, uint64_t b) { return a > b ? 1 : a < b ? -1 : 0; }

static inline uint64_t load_with_one_more(const candidate *c) {
    return (uint64_t)counter_in_flight(c->pending) + 1;
}

/* Fewer in flight per weight, compared without a division: products of at most 2**32 * 1,000. */
static inline int compare_loads(const candidate *a, const candidate *b) {
    if (reg_likely(a->weight == b->weight))
        return compare(counter_in_flight(a->pending), counter_in_flight(b->pending));
    return compare(load_with_one_more(a) * b->weight, load_with_one_more(b) * a->weight);
}

/* Less time per weight. A backend without a sample counts as `best_average`, and wins ties. */
static inline int compare_times(const candidate *a, const candidate *b, uint32_t best_average) {
    bool a_sampled = latency_is_sampled(a->latency), b_sampled = latency_is_sampled(b->latency);
    if (!a_sampled && !b_sampled) return compare_loads(a, b);
    uint64_t a_average = a_sampled ? latency_of(a->latency) : best_average;
    uint64_t b_average = b_sampled ? latency_of(b->latency) : best_average;
    uint64_t a_time = load_with_one_more(a) * a_average, b_time = load_with_one_more(b) * b_average;
    if (reg_likely(a->weight == b->weight))
        return a_time != b_time ? compare(a_time, b_time) : a_sampled - b_sampled;
    uint128 left = (uint128)a_time * b->weight, right = (uint128)b_time * a->weight;
    return left != right ? (left < right ? -1 : 1) : a_sampled - b_sampled;
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The score of the original router, Nexus. */
static inline int64_t smart_score(const candidate *c) {
    return (100 - least(line_of(c->record)->priority, 100)) * 50 +
           (100 - least(counter_in_flight(c->pending), 100)) * 30 +
           (100 - least(latency_of(c->latency) / 10, 100)) * 20;
}

static inline int compare_signed(int64_t a, int64_t b) { return a > b ? 1 : a < b ? -1 : 0; }

/* `best_average` (ms) is for REG_LOWEST_LATENCY: that of all candidates that have a sample. */
static inline __attribute__((always_inline)) int
preference(reg_policy policy, const candidate *a, const candidate *b, uint32_t best_average) {
    switch (policy) {
    case REG_PRIORITY: {
        int by_priority =
            compare_signed(line_of(a->record)->priority, line_of(b->record)->priority);
        return by_priority != 0 ? by_priority : compare_loads(a, b);
    }
    case REG_LOWEST_LATENCY: return compare_times(a, b, best_average);
    case REG_SMART:
    case REG_ROUND_ROBIN: return compare_signed(b->credit, a->credit);
    case REG_RANDOM: return compare(b->weight, a->weight);
    default: return compare_loads(a, b);
    }
}

#endif
