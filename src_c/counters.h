/* The numbers of one backend: in flight, total, average latency. Any thread counts, without a lock.
 *
 * Each operation is one successful read-modify-write of one word, or one load, and that is where it takes effect.
 *
 * In flight must neither wrap at its top nor pass below 0. The decrement compares and swaps. The increment adds in one step where
 * that cannot reach the top: it has read a value at least COUNTER_MARGIN below it, and between the read and the
 * addition at most one increment of each other thread can come, of which there are fewer than COUNTER_MARGIN (Linux allows 2**22
 * threads, others fewer). Nearer to the top it compares and swaps too.
 */
#ifndef REG_COUNTERS_H
#define REG_COUNTERS_H

#include "atomics.h"

enum { COUNTER_MARGIN = 1 << 22 };

typedef struct counters {
    _Atomic uint32_t pending;
    _Atomic uint64_t total;
    _Atomic uint64_t latency; /* bits 0 to 31 the average in ms, bit 32 set once there is a sample */
} counters;

#define LATENCY_SAMPLED ((uint64_t)1 << 32)

/* False at the top, with nothing changed. */
static inline bool counter_increment(_Atomic uint32_t *pending, uint32_t *value) {
    uint32_t seen = load_counted(pending);
    if (reg_likely(seen < UINT32_MAX - COUNTER_MARGIN)) {
        *value = add_counted(pending, 1) + 1;
        return true;
    }
    do {
        if (seen == UINT32_MAX) return false;
    } while (!swap_counted(pending, &seen, seen + 1));
    *value = seen + 1;
    return true;
}

/* False at 0, which it stays. */
static inline bool counter_decrement(_Atomic uint32_t *pending, uint32_t *value) {
    uint32_t seen = load_counted(pending);
    do {
        if (reg_unlikely(seen == 0)) {
            *value = 0;
            return false;
        }
    } while (!swap_counted(pending, &seen, seen - 1));
    *value = seen - 1;
    return true;
}

/* Exponential moving average with weight 1/5 in integers; the first sample sets it. Returns the new average in ms. */
static inline uint32_t latency_update(_Atomic uint64_t *latency, uint32_t sample) {
    uint64_t seen = load_counted(latency), average;
    do {
        uint64_t old = seen & UINT32_MAX;
        average = seen & LATENCY_SAMPLED ? (sample + 4 * old) / 5 : sample;
    } while (!swap_counted(latency, &seen, LATENCY_SAMPLED | average));
    return (uint32_t)average;
}

static inline uint32_t latency_average(_Atomic uint64_t *latency) { return (uint32_t)(load_counted(latency) & UINT32_MAX); }

#endif
