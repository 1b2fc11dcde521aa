/* The counters of one backend: requests in flight, tokens in flight, average latency. Any thread
 * may update them, without a lock.
 *
 *   pending   version (29) | trial (1) | watched (1) | claim (1) | in flight (32)
 *   tokens    the sum of the tokens of all active leases (64)
 *   latency   version (31) | sampled (1) | average in ms (32)
 *
 * Each operation is one successful read-modify-write of one word, or of `pending` and `tokens`
 * together, or one load. It takes effect at that instruction.
 *
 * The number in flight must not wrap at its maximum or go below 0. A decrement is a
 * compare-and-swap loop. An increment first reads the number. Below half of the maximum it is one
 * fetch-and-add: to wrap, other threads would have to add 2**31 between the read and the addition.
 * Above that, it is a compare-and-swap loop too.
 *
 * Claims are for select.c, which must know that no thread has learned or changed the count between
 * two moments:
 *   a. A thread sets the claim bit of a word that has not changed (`counter_claim`). If the word is
 *      then still the same to the last bit, the thread clears the claim and adds one request in
 *      flight (`counter_take`). A thread that finds a claim may use it in place of the thread that
 *      set it. An abandoned claim does no harm.
 *   b. A thread that reports the count clears the claim first (`counter_value`, `counter_watch`,
 *      `counter_decrement`, `counter_void_claim`) or changes the word (`counter_increment`), so a
 *      claim that was there before is void.
 *   c. A claimed word never comes back: a decrement raises the version, and so does clearing a
 *      claim. So equal versions mean that there was no decrement between two reads, and equal
 *      words, apart from the claim, mean that the count did not change at all.
 * Versions wrap after 2**29 decrements. Only a choice relies on step c., and a choice takes much
 * less time than that.
 *
 * `tokens` never changes unless `pending` changes in the same step, so equal words `pending` mean
 * equal tokens:
 *   d. A request with tokens is taken by a compare-and-swap of both words (`counter_take_tokens`).
 *      A request without tokens changes `pending` alone.
 *   e. Every other change of `tokens` raises the version and clears a claim, like a decrement
 *      (`counter_replace_tokens`). So as long as the version stays, tokens only grow.
 *   f. A thread that reads `pending` and then `tokens` has a pair of one instant if `pending` is
 *      still the same when it is read again (`counter_report_load`), or when it is swapped: it was
 *      the same in between. A report clears a claim before it reads `tokens`. A claim that is set
 *      later does not matter, because the pair is that of the instant before it.
 * The sum fits: 2**32 requests of less than 2**32 tokens each.
 *
 * The bit 'watched' is for registry/idle.h: somebody waits for the number to reach 0. It is set
 * only while the number is above 0 (`counter_watch`), and cleared by the decrement that reaches 0.
 * No other operation changes it. Step c. still holds, because clearing the bit raises the version.
 * Setting it changes the word, so at worst a choice begins a new attempt.
 *
 * The bit 'trial' is for registry/availability.h: a trial request is out. `counter_take` sets it in
 * the same step that adds this request, so there is at most one. It is cleared after the request's
 * decrement (`counter_end_trial`). A write that ends the trial holds the bit while it commits
 * (`counter_hold_trial`), and then clears it (`counter_void_trial`). All three raise the version,
 * so step c. holds.
 */
#ifndef REG_COUNTERS_H
#define REG_COUNTERS_H

#include "base/atomics.h"

#define COUNTER_CLAIM ((uint64_t)1 << 32)
#define COUNTER_WATCHED ((uint64_t)1 << 33)
#define COUNTER_TRIAL ((uint64_t)1 << 34)
#define COUNTER_VERSION ((uint64_t)1 << 35)
#define LATENCY_SAMPLED ((uint64_t)1 << 32)
#define LATENCY_VERSION ((uint64_t)1 << 33)

typedef struct counters {
    _Atomic uint64_t pending; /* at a multiple of 16 bytes, for the pair that it makes with */
    _Atomic uint64_t tokens;
    _Atomic uint64_t latency;
} counters;

_Static_assert(offsetof(counters, tokens) == offsetof(counters, pending) + 8, "they are a pair");

/* ---- in flight ---- */

static inline uint32_t counter_in_flight(uint64_t word) { return (uint32_t)word; }
static inline uint64_t counter_decrements(uint64_t word) { return word >> 35; }
static inline uint64_t counter_changes(uint64_t word) { return word & ~COUNTER_CLAIM; }
static inline bool counter_is_claimed(uint64_t word) { return word & COUNTER_CLAIM; }
static inline bool counter_is_watched(uint64_t word) { return word & COUNTER_WATCHED; }
static inline bool counter_has_trial(uint64_t word) { return word & COUNTER_TRIAL; }

/* Whether the number is above 0 and nobody waits for it to reach 0. One comparison. */
static inline bool counter_is_plain(uint64_t word) {
    return (word & (COUNTER_WATCHED | UINT32_MAX)) - 1 < UINT32_MAX;
}

/* The word, to be reported to a caller; so it clears a claim. Lock-free: it repeats only if another
 * thread has changed the word. */
static inline uint64_t counter_report(_Atomic uint64_t *pending) {
    uint64_t seen = load_seq_cst(pending);
    while (reg_unlikely(counter_is_claimed(seen)) &&
           !cas_seq_cst(pending, &seen, counter_changes(seen) + COUNTER_VERSION)) {
    }
    return seen;
}

/* Clears the claim of the word, if it is still `seen`. Returns whether it was. */
static inline bool counter_void_claim(_Atomic uint64_t *pending, uint64_t seen) {
    return cas_strong_seq_cst(pending, &seen, counter_changes(seen) + COUNTER_VERSION);
}

/* The number in flight, likewise. */
static inline uint32_t counter_value(_Atomic uint64_t *pending) {
    return counter_in_flight(counter_report(pending));
}

/* The word without its claim, and the tokens at the same instant, to be reported to a caller: see
 * f. Lock-free likewise. */
static inline uint64_t counter_report_load(counters *c, uint64_t *tokens) {
    uint64_t word = load_seq_cst(&c->pending);
    for (;;) {
        if (reg_unlikely(counter_is_claimed(word))) {
            uint64_t fresh = counter_changes(word) + COUNTER_VERSION;
            if (!cas_seq_cst(&c->pending, &word, fresh)) continue;
            word = fresh;
        }
        *tokens = load_seq_cst(&c->tokens);
        uint64_t again = load_seq_cst(&c->pending);
        if (reg_likely(counter_changes(again) == word)) return word;
        word = again;
    }
}

/* Returns false at the maximum; then nothing has changed. */
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

/* Subtracts 1 from a plain word. Returns false if the word is not plain; then nothing has
 * changed. */
static inline bool counter_decrement(_Atomic uint64_t *pending, uint32_t *value) {
    uint64_t seen = load_seq_cst(pending);
    do {
        if (reg_unlikely(!counter_is_plain(seen))) return false;
    } while (!cas_seq_cst(pending, &seen, counter_changes(seen) + COUNTER_VERSION - 1));
    *value = counter_in_flight(seen) - 1;
    return true;
}

typedef enum decrement {
    DECREMENTED,
    BECAME_IDLE,   /* the number has reached 0, and the word was watched */
    WAS_ZERO,      /* the number was 0 and stays 0 */
    WOULD_BE_IDLE, /* nothing has changed: BECAME_IDLE needs `may_end` */
} decrement;

/* Subtracts 1 from any word. A watched word reaches 0 only with `may_end`. */
static inline decrement counter_decrement_any(_Atomic uint64_t *pending, uint32_t *value,
                                              bool may_end) {
    uint64_t seen = load_seq_cst(pending), fresh;
    bool above, ends;
    do {
        above = counter_in_flight(seen) != 0;
        ends = counter_is_watched(seen) && counter_in_flight(seen) == 1;
        if (ends && !may_end) return WOULD_BE_IDLE;
        if (!above && !counter_is_claimed(seen)) break;
        fresh = counter_changes(seen) + COUNTER_VERSION - above;
        if (ends) fresh &= ~COUNTER_WATCHED;
    } while (!cas_seq_cst(pending, &seen, fresh));
    *value = counter_in_flight(seen) - above;
    return ends ? BECAME_IDLE : above ? DECREMENTED : WAS_ZERO;
}

/* Sets the bit 'watched', unless the number is 0. Returns whether it is above 0. The caller may
 * report that, so a claim is cleared. */
static inline bool counter_watch(_Atomic uint64_t *pending) {
    uint64_t seen = load_seq_cst(pending), fresh;
    do {
        fresh = counter_is_claimed(seen) ? counter_changes(seen) + COUNTER_VERSION : seen;
        if (counter_in_flight(seen) != 0) fresh |= COUNTER_WATCHED;
    } while (!cas_seq_cst(pending, &seen, fresh));
    return counter_in_flight(seen) != 0;
}

/* Sets the claim bit of the word, if it is still `seen`; `seen` becomes the claimed word. Returns
 * false if the word has changed. */
static inline bool counter_claim(_Atomic uint64_t *pending, uint64_t *seen) {
    if (counter_is_claimed(*seen)) return true;
    uint64_t expected = *seen;
    *seen |= COUNTER_CLAIM;
    return cas_strong_seq_cst(pending, &expected, *seen) ||
           expected == *seen; /* or another thread has set the same claim */
}

/* Adds one request in flight, if the word is still `claimed`. Returns whether it was. `trial` is
 * COUNTER_TRIAL if the request is a trial, otherwise 0. */
static inline bool counter_take(_Atomic uint64_t *pending, uint64_t claimed, uint64_t trial) {
    return cas_strong_seq_cst(pending, &claimed, (counter_changes(claimed) | trial) + 1);
}

/* Likewise, and adds the tokens of the request, at least 1: see d. */
static inline bool counter_take_tokens(counters *c, uint64_t claimed, uint64_t trial,
                                       uint32_t tokens) {
    uint64_t sum = load_seq_cst(&c->tokens);
    return cas_pair_seq_cst(&c->pending, ((word_pair){claimed, sum}),
                            ((word_pair){(counter_changes(claimed) | trial) + 1, sum + tokens}));
}

/* ---- tokens ---- */

/* Replaces `old` tokens of a request in flight: see e. Lock-free. */
static inline void counter_replace_tokens(counters *c, uint32_t old, uint32_t fresh) {
    for (;;) {
        uint64_t word = load_seq_cst(&c->pending), sum = load_seq_cst(&c->tokens);
        if (cas_pair_seq_cst(
                &c->pending, ((word_pair){word, sum}),
                ((word_pair){counter_changes(word) + COUNTER_VERSION, sum - old + fresh})))
            return;
    }
}

/* ---- trials ---- */

/* Clears the bit 'trial' if the word is still `seen`. Otherwise `seen` becomes the word. */
static inline bool counter_end_trial(_Atomic uint64_t *pending, uint64_t *seen) {
    return cas_seq_cst(pending, seen, (counter_changes(*seen) & ~COUNTER_TRIAL) + COUNTER_VERSION);
}

/* Sets the bit 'trial' for a write, so no request becomes a trial until counter_void_trial. Returns
 * whether it was set. The version grows even then: a release that has read the word must not clear
 * the bit. */
static inline bool counter_hold_trial(_Atomic uint64_t *pending) {
    uint64_t seen = load_seq_cst(pending);
    while (
        !cas_seq_cst(pending, &seen, (counter_changes(seen) | COUNTER_TRIAL) + COUNTER_VERSION)) {
    }
    return counter_has_trial(seen);
}

/* Clears the bit 'trial' and every claim. The version grows in any case, so a request that was
 * about to become a trial does not. */
static inline void counter_void_trial(_Atomic uint64_t *pending) {
    uint64_t seen = load_seq_cst(pending);
    while (!counter_end_trial(pending, &seen)) {
    }
}

/* ---- latency ---- */

static inline bool latency_is_sampled(uint64_t word) { return word & LATENCY_SAMPLED; }
static inline uint32_t latency_of(uint64_t word) { return (uint32_t)word; }

/* Exponential moving average with weight 1/5, in integers. The first sample becomes the average,
 * and so does one that `begins_anew`. Returns the new average in ms. */
static inline uint32_t latency_update(_Atomic uint64_t *latency, uint32_t sample,
                                      bool begins_anew) {
    uint64_t seen = load_seq_cst(latency), average, version;
    do {
        uint64_t old = latency_of(seen);
        average = latency_is_sampled(seen) && !begins_anew ? (sample + 4 * old) / 5 : sample;
        version = (seen & ~(LATENCY_VERSION - 1)) + LATENCY_VERSION;
    } while (!cas_seq_cst(latency, &seen, version | LATENCY_SAMPLED | average));
    return (uint32_t)average;
}

static inline uint32_t latency_average(_Atomic uint64_t *latency) {
    return latency_of(load_seq_cst(latency));
}

#endif
