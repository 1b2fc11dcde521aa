/* The result of a pass over the candidates, for the recheck and the attempt. */
#ifndef REG_PICKS_H
#define REG_PICKS_H

#include "choose/candidates.h"

typedef enum verdict {
    CHOSEN,
    NONE_LEFT,
    TRY_AGAIN,
    NO_MEMORY,
    WOULD_BLOCK,
    AWAITED, /* a waiter could take the place, and must not be overtaken */
} verdict;

/* The most candidates that a policy draws to compare them all. */
enum { HAND = 16 };

/* A drawn candidate, with what step 5 compares (heat.h). */
typedef struct card {
    candidate seen;
    uint64_t ttft; /* a word like `latency`: the average time to the first token */
    bool has_ttft; /* that average has a sample that is not too old */
} card;

typedef struct picks {
    candidate best;
    candidate second; /* the other candidate, if the policy draws two */
    uint32_t count;   /* how many of `best` and `second` are set */
    uint64_t tally;   /* the sum of tally_of() over the candidates that the pass has read */
    /* Takes turns: some candidate was full or not eligible. By key: some candidate was full, or may
     * have been on trial. */
    bool has_skipped;
    bool leaves_unserved; /* has rounds: see rule b. in rounds.h */
    uint32_t hand_count;  /* how many cards of `hand` are set, if the policy draws a hand */
    card hand[HAND];      /* if fewer are set, these are all eligible candidates */
    /* By key only: see 'Affinity' in select.c. */
    uint64_t in_flight; /* the sum over the candidates that the pass has read */
    bool uses_mean;     /* the choice depends on the load of all of them */
} picks;

/* A number that grows with each change that could make this candidate better: a decrement, or a new
 * average. `latency` is 0 for policies that don't read it. Each tally only grows, so if the sum
 * over several candidates is unchanged, each of their tallies is unchanged. */
static always_inline uint64_t tally_of(const candidate *x) {
    return counter_decrements(x->pending) + x->latency;
}

#endif
