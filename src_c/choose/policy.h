/* The policies: the traits of each one, and which of two candidates it prefers.
 *
 * To add a policy, add
 *   - a member to `reg_policy` (base/types.h),
 *   - a row to EACH_POLICY below, and a new comparison unless an existing one fits,
 *   - a member to Python's `Policy` (registry/selection.py), in the same order. The binding refuses
 *     to load if the rows and these members differ,
 *   - its value to `PolicyValue` (registry/_literals.py),
 *   - its line style to STYLES (registry/cli/replay/plot.py),
 *   - a row to the table of policies in docs/guarantees.md,
 *   - its rule to the tests' oracle (tests/support/oracle.py), and tests of its own.
 * If the policy reads anything other than loads, averages and fields that never change, extend
 * tally_of() (picks.h) and the proof (select.c) too.
 *
 * Each comparison returns < 0 if it prefers `a`, > 0 if it prefers `b`, and 0 if they are equal.
 *
 * Every preference must be monotonic: more requests or tokens in flight, all else being equal,
 * never make a candidate better. The proof in select.c relies on it. There are two exceptions.
 * HOT_COLD: one more request anywhere can move the limit above which the others are hot. So its
 * attempts check that no count has changed at all. AFFINITY has an order of its own: affinity.h. */
#ifndef REG_POLICY_H
#define REG_POLICY_H

#include "base/types.h"
#include "store/member_list.h"
#include "store/record.h"

/* The values that a choice has read of one candidate. */
typedef struct candidate {
    record *record;
    const member *place;   /* in the model's list */
    uint64_t pending;      /* a word of counters.h, as `latency` is */
    uint64_t latency;      /* 0 unless the policy reads latencies */
    uint64_t tokens;       /* in flight; set only if the policy reads tokens, */
    uint32_t added_tokens; /* as is what the request would add to them */
    bool is_sampled;       /* the average counts: it has a sample that is not too old */
    int64_t credit;        /* the credit in turns.h, the score, or see heat.h; otherwise 0 */
    uint64_t cached;       /* tokens of the prompt; set only if the request has a prefix */
    const limits *limits;  /* if the choice is careful; otherwise NULL: see limits_of */
    uint32_t weight;       /* in fractions of WEIGHT_UNIT */
    uint32_t age;          /* ticks since it was last chosen; set only if the ages are compared */
} candidate;

__extension__ typedef unsigned __int128 uint128;

/* ---- the comparisons ---- */

static inline int compare(uint64_t a, uint64_t b) { return a > b ? 1 : a < b ? -1 : 0; }
static inline int compare_signed(int64_t a, int64_t b) { return a > b ? 1 : a < b ? -1 : 0; }

/* The load with the new request included. */
static inline uint64_t next_load(const candidate *c) {
    return (uint64_t)counter_in_flight(c->pending) + 1;
}

/* Prefers the smaller load per weight. Multiplies instead of dividing; the products are below
 * 2**32 * 2**16. */
static inline int compare_loads(const candidate *a, const candidate *b) {
    if (reg_likely(a->weight == b->weight))
        return compare(counter_in_flight(a->pending), counter_in_flight(b->pending));
    return compare(next_load(a) * b->weight, next_load(b) * a->weight);
}

/* Prefers the smaller number of tokens per weight, with those of the new request included, and then
 * the smaller load. The products are below 2**65 * 2**16. */
static inline int compare_tokens(const candidate *a, const candidate *b) {
    uint128 left = ((uint128)a->tokens + a->added_tokens) * b->weight,
            right = ((uint128)b->tokens + b->added_tokens) * a->weight;
    return left != right ? (left < right ? -1 : 1) : compare_loads(a, b);
}

/* Prefers the smaller product of load and average latency, per weight. A backend without a sample
 * counts as `best_average` (ms, the best of all candidates), and wins ties. */
static inline int compare_times(const candidate *a, const candidate *b, uint32_t best_average) {
    bool a_sampled = a->is_sampled, b_sampled = b->is_sampled;
    if (!a_sampled && !b_sampled) return compare_loads(a, b);
    uint64_t a_average = a_sampled ? latency_of(a->latency) : best_average;
    uint64_t b_average = b_sampled ? latency_of(b->latency) : best_average;
    uint64_t a_time = next_load(a) * a_average, b_time = next_load(b) * b_average;
    if (reg_likely(a->weight == b->weight))
        return a_time != b_time ? compare(a_time, b_time) : a_sampled - b_sampled;
    uint128 left = (uint128)a_time * b->weight, right = (uint128)b_time * a->weight;
    return left != right ? (left < right ? -1 : 1) : a_sampled - b_sampled;
}

/* Where the limits are read. NULL is a constant in a pass that is not careful, so the compiler
 * drops the comparison there, and the pointer, which would cost a register. */
static always_inline limits *limits_of(const candidate *c) {
    return c->limits != NULL ? (limits *)c->limits : &line_of(c->record)->limits;
}

static inline int32_t priority_of(const candidate *c) {
    return load_published(&limits_of(c)->priority);
}

/* Prefers the lower priority number, then the smaller load. */
static inline int compare_priorities(const candidate *a, const candidate *b) {
    int by_priority = compare_signed(priority_of(a), priority_of(b));
    return by_priority != 0 ? by_priority : compare_loads(a, b);
}

/* HOT_COLD: the credit of a candidate is HEAT_HOT, HEAT_UNKNOWN, or its average in ms; heat.h. */
#define HEAT_UNKNOWN ((int64_t)-1) /* it has no sample */
#define HEAT_HOT INT64_MAX

/* Prefers the smaller number in flight per weight. Unlike compare_loads, this does not count the
 * new request. The products are below 2**32 * 2**16. */
static inline int compare_heats(const candidate *a, const candidate *b) {
    return compare((uint64_t)counter_in_flight(a->pending) * b->weight,
                   (uint64_t)counter_in_flight(b->pending) * a->weight);
}

/* Prefers the lower average; one without a sample comes first. Hot ones come last, by their
 * load. */
static inline int compare_hot_cold(const candidate *a, const candidate *b) {
    if (a->credit == HEAT_HOT && b->credit == HEAT_HOT) return compare_heats(a, b);
    return compare_signed(a->credit, b->credit);
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The score of the Nexus router, (100 - min(priority, 100)) * 50 and so on, in fewer steps.
 * `average` is in milliseconds. */
static inline int64_t smart_score(const candidate *c, uint32_t average) {
    return 100 * (50 + 30 + 20) - least(priority_of(c), 100) * 50 -
           least(counter_in_flight(c->pending), 100) * 30 - least(average / 10, 100) * 20;
}

/* ---- the table ---- */

typedef struct policy_traits {
    const char *name; /* the value of the member of Python's `Policy` */
    /* A changed average makes an attempt fail, as a decrement does. Who has none counts as the best
     * average of all candidates. */
    bool reads_latency;
    bool reads_tokens; /* compares the tokens in flight */
    bool has_score;    /* the credit is the score of SMART */
    bool draws_two;    /* compares two candidates drawn at random: draw.h */
    bool draws_hand;   /* compares up to HAND candidates drawn at random: draw.h, heat.h */
    bool draws_one;    /* draws one candidate at random by weight, and compares nothing */
    bool takes_turns;  /* the credit is that of turns.h, and the registry's turns lock is held */
    bool ties_by_age; /* among equal candidates, prefers the one whose last choice is longest ago */
    bool has_rounds;  /* finds the oldest by rounds instead of comparing all ages: rounds.h */
    bool only_loads;  /* only uses compare_loads(), over all candidates, so a pass may end early */
    bool by_key;      /* ranks by the key of the request, within a bound: affinity.h */
} policy_traits;

/* ROW(policy, comparison of candidates a and b, traits) */
#define EACH_POLICY(ROW)                                                                           \
    ROW(REG_LEAST_PENDING, compare_loads(a, b), .name = "least_pending", .ties_by_age = true,      \
        .has_rounds = true, .only_loads = true)                                                    \
    ROW(REG_POWER_OF_TWO, compare_loads(a, b), .name = "power_of_two", .draws_two = true)          \
    ROW(REG_LOWEST_LATENCY, compare_times(a, b, best_average), .name = "lowest_latency",           \
        .reads_latency = true, .ties_by_age = true)                                                \
    ROW(REG_ROUND_ROBIN, compare_signed(b->credit, a->credit), .name = "round_robin",              \
        .takes_turns = true, .ties_by_age = true)                                                  \
    ROW(REG_RANDOM, compare(b->weight, a->weight), .name = "random", .draws_one = true)            \
    ROW(REG_PRIORITY, compare_priorities(a, b), .name = "priority", .ties_by_age = true)           \
    ROW(REG_SMART, compare_signed(b->credit, a->credit), .name = "smart", .reads_latency = true,   \
        .has_score = true, .ties_by_age = true)                                                    \
    ROW(REG_AFFINITY, 0, .name = "affinity", .by_key = true)                                       \
    ROW(REG_LEAST_TOKENS, compare_tokens(a, b), .name = "least_tokens", .reads_tokens = true,      \
        .ties_by_age = true)                                                                       \
    ROW(REG_HOT_COLD, compare_hot_cold(a, b), .name = "hot_cold", .reads_latency = true,           \
        .draws_hand = true, .ties_by_age = true)

/* In the header, because code that is specialised for one policy is compiled for its traits. */
#define TRAITS_OF_ROW(policy, comparison, ...) [policy] = {__VA_ARGS__},
static const policy_traits policy_table[] = {EACH_POLICY(TRAITS_OF_ROW)};
#undef TRAITS_OF_ROW

#define ONE_FOR_ROW(policy, ...) +1
_Static_assert(EACH_POLICY(ONE_FOR_ROW) == REG_POLICY_COUNT, "each policy has a row");
#undef ONE_FOR_ROW

static always_inline const policy_traits *traits_of(reg_policy policy) {
    return &policy_table[policy];
}

/* Whether a choice usually reads only a few candidates of a long list. */
static inline bool draws_few(const policy_traits *traits) {
    return traits->draws_two || traits->draws_hand;
}

/* Which of two candidates the policy prefers. */
static always_inline int preference(reg_policy policy, const candidate *a, const candidate *b,
                                    uint32_t best_average) {
#define COMPARISON_OF_ROW(row, comparison, ...)                                                    \
    case row: return comparison;
    switch (policy) {
        EACH_POLICY(COMPARISON_OF_ROW)
    default: return 0; /* REG_POLICY_COUNT is not a policy */
    }
#undef COMPARISON_OF_ROW
}

#endif
