/* The result of a pass over the candidates, for the recheck and the attempt. */
#ifndef REG_PICKS_H
#define REG_PICKS_H

#include "choose/candidates.h"

typedef enum verdict { CHOSEN, NONE_LEFT, TRY_AGAIN, NO_MEMORY, WOULD_BLOCK } verdict;

typedef struct picks {
    candidate best;
    candidate second;     /* the other candidate, if the policy draws two */
    uint32_t count;       /* how many of `best` and `second` are set */
    uint64_t tally;       /* the sum of tally_of() over the candidates that the pass has read */
    bool has_skipped;     /* takes turns: some candidate was full or not eligible */
    bool leaves_unserved; /* has rounds: see rule b. in rounds.h */
} picks;

/* A number that grows with each change that could make this candidate better: a decrement, or a new
 * average. `latency` is 0 for policies that don't read it. Each tally only grows, so if the sum
 * over several candidates is unchanged, each of their tallies is unchanged. */
static always_inline uint64_t tally_of(const candidate *x) {
    return counter_decrements(x->pending) + x->latency;
}

#endif
