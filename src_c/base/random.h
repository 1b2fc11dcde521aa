/* Random numbers for choices: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
 * number generators", OOPSLA 2014). Each thread has its own state, so threads neither contend nor
 * draw the same numbers. Fast and uniform, but predictable: not for security. */
#ifndef REG_RANDOM_H
#define REG_RANDOM_H

#include <stdint.h>

#include "base/atomics.h"
#include "base/compiler.h"

extern _Thread_local uint64_t random_state REG_TLS_MODEL; /* 0: not seeded yet */

/* A new seed, which differs between calls, threads and processes. Never 0. */
uint64_t random_seed(void);

static inline uint64_t random_mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline uint64_t random_next(void) {
    if (reg_unlikely(random_state == 0)) random_state = random_seed();
    return random_mix(random_state += 0x9E3779B97F4A7C15u);
}

/* A number from 0 to limit - 1. `limit` is at most 2**32. A number's probability exceeds 1 / limit
 * by a factor of at most 1 + limit / 2**32. */
static inline uint64_t random_below(uint64_t limit) { return (random_next() >> 32) * limit >> 32; }

#endif
