/* The counters of one backend: requests in flight, total requests, average latency. Any thread
 * counts, without a lock.
 *
 *   pending   version (31) | claim (1) | in flight (32)
 *   latency   version (31) | sampled (1) | average in ms (32)
 *
 * Each operation is one successful read-modify-write of one word, or one load. There it takes
 * effect.
 *
 * The number in flight must not wrap at its maximum or go below 0. A decrement is a
 * compare-and-swap loop. An increment is one fetch-and-add if the value read before is below half
 * of the maximum: to wrap, other threads would have to add 2**31 between the read and the addition.
 * Above that, it is a compare-and-swap loop too.
 *
 * Claims serve select.c, which must know that no thread has learned or changed the count between
 * two moments:
 *   a. A thread sets the claim on a word as it is (`counter_claim`) and turns it into one more
 *      request in flight (`counter_take`) if the word is still the same to the last bit. A thread
 *      that finds a claim may take it in place of the thread that set it. An abandoned claim does
 *      no harm.
 *   b. A thread that reports the count clears the claim first (`counter_value`,
 *      `counter_decrement`) or changes the word (`counter_increment`), so a claim that was there
 *      before is void.
 *   c. A claimed word never comes back: a decrement raises the version, and so does clearing a
 *      claim. So equal versions mean that nothing was decremented between two reads, and equal
 *      words, apart from the claim, mean that nothing was counted at all.
 * Versions wrap after 2**31 decrements. Step c is relied on only within one choice, which is much
 * shorter.
 */
#ifndef REG_COUNTERS_H
#define REG_COUNTERS_H

#include "base/atomics.h"

#define COUNTER_CLAIM ((uint64_t)1 << 32)
#define COUNTER_VERSION ((uint64_t)1 << 33)
#define LATENCY_SAMPLED ((uint64_t)1 << 32)
#define LATENCY_VERSION ((uint64_t)1 << 33)

typedef struct counters {
    _Atomic uint64_t pending;
    _Atomic uint64_t total;
    _Atomic uint64_t latency;
} counters;

/* ---- in flight ---- */

static inline uint32_t counter_in_flight(uint64_t word) { return (uint32_t)word; }
static inline uint64_t counter_decrements(uint64_t word) { return word >> 33; }
static inline uint64_t counter_changes(uint64_t word) { return word & ~COUNTER_CLAIM; }
static inline bool counter_is_claimed(uint64_t word) { return word & COUNTER_CLAIM; }

/* The number in flight, for a caller: clears a claim. Lock-free: it repeats only if another thread
 * has counted. */
static inline uint32_t counter_value(_Atomic uint64_t *pending) {
    uint64_t seen = load_seq_cst(pending);
    while (reg_unlikely(counter_is_claimed(seen)) &&
           !cas_seq_cst(pending, &seen, counter_changes(seen) + COUNTER_VERSION)) {
    }
    return counter_in_flight(seen);
}

/* False at the maximum; nothing has changed. */
static inline bool counter_increment(_Atomic uint64_t *pending, uint32_t *value) {
    uint64_t seen = load_seq_cst(pending);
    if (reg_likely(counter_in_flight(seen) <= INT32_MAX)) {
        *value = counter_in_flight(add_seq_cst(pending, 1)) + 1;
        return true;
    }
    do {
        if (counter_in_flight(seen) == UINT32_MAX) return false;
    } while (!cas_seq_cst(pending, &seen, seen + 1));
    *value = counter_in_flight(seen) + 1;
    return true;
}

/* False at 0; nothing has changed. */
static inline bool counter_decrement(_Atomic uint64_t *pending, uint32_t *value) {
    uint64_t seen = load_seq_cst(pending), fresh;
    bool above;
    do {
        above = counter_in_flight(seen) != 0;
        if (reg_unlikely(!above) && !counter_is_claimed(seen)) break;
        fresh = counter_changes(seen) + COUNTER_VERSION - above;
    } while (!cas_seq_cst(pending, &seen, fresh));
    *value = counter_in_flight(seen) - above;
    return above;
}

/* Sets the claim on the word, which was read as `seen`; `seen` becomes the claimed word. False if
 * the word has changed. */
static inline bool counter_claim(_Atomic uint64_t *pending, uint64_t *seen) {
    if (counter_is_claimed(*seen)) return true;
    uint64_t expected = *seen;
    *seen |= COUNTER_CLAIM;
    return cas_strong_seq_cst(pending, &expected, *seen) ||
           expected == *seen; /* or another thread has set the same claim */
}

/* One more request in flight, if the word is still `claimed`. */
static inline bool counter_take(_Atomic uint64_t *pending, uint64_t claimed) {
    return cas_strong_seq_cst(pending, &claimed, counter_changes(claimed) + 1);
}

/* ---- latency ---- */

static inline bool latency_is_sampled(uint64_t word) { return word & LATENCY_SAMPLED; }
static inline uint32_t latency_of(uint64_t word) { return (uint32_t)word; }

/* Exponential moving average with weight 1/5, in integers; the first sample sets it. Returns the
 * new average in ms. */
static inline uint32_t latency_update(_Atomic uint64_t *latency, uint32_t sample) {
    uint64_t seen = load_seq_cst(latency), average, version;
    do {
        uint64_t old = latency_of(seen);
        average = latency_is_sampled(seen) ? (sample + 4 * old) / 5 : sample;
        version = (seen & ~(LATENCY_VERSION - 1)) + LATENCY_VERSION;
    } while (!cas_seq_cst(latency, &seen, version | LATENCY_SAMPLED | average));
    return (uint32_t)average;
}

static inline uint32_t latency_average(_Atomic uint64_t *latency) {
    return latency_of(load_seq_cst(latency));
}

#endif
