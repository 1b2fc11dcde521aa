/* The counter line: one cache line with all counters of a registration, and with everything else
 * that a choice reads of a candidate. So when a thread updates the counters of a backend, this
 * slows down neither look-ups nor the counters of other backends.
 *
 *   counters    24 bytes   in flight, tokens, average latency       written by every thread
 *   sampled_at   4 bytes   when the average got its last sample     written by every thread
 *   chosen_at    4 bytes   the tick of the last choice; a hint      written by every thread
 *   outcomes     8 bytes   see outcomes.h                           set once, by any thread
 *   standing     8 bytes   see record_standing_at                   written under the writer lock
 *   weight, max_pending, priority   see limits in record.h          written under the writer lock
 *   order        6 bytes                                            immutable
 *
 * Only `line_of` (record.h) computes the address of a record's line, so one place decides where
 * lines are. Today a line follows its record in memory. Four layouts were measured with a choice by
 * LEAST_PENDING among 1,000 backends with requests in flight, the costliest of the common cases.
 * The times relative to this layout were: an array of lines, with a pointer to the line in each
 * member, 1.08; a pointer in the record, 1.2; a column of lines in each slab, 1.09. The reason is
 * the L1 cache. Every second line belongs to a record, so counter lines use only half of the
 * cache's sets and leave the other half to the array of members.
 *
 * The line is full. Words that choices do not read belong into `outcomes`, which only backends with
 * requests have: if records were three lines apart, the same choice would take 1.15 times as
 * long.
 */
#ifndef REG_COUNTER_BANK_H
#define REG_COUNTER_BANK_H

#include "store/outcomes.h"

/* Weights are compared in fractions of 1, because a backend that starts slowly has only a part of
 * its weight. The greatest weight is 1,000, and fits into 16 bits. */
enum { WEIGHT_UNIT = 64 };

/* What a definition says about the load that a backend takes, apart from its weight. */
typedef struct limits {
    _Atomic uint32_t max_pending; /* UINT32_MAX: no cap */
    _Atomic int32_t priority;     /* lower is preferred */
} limits;

typedef struct counter_line {
    _Alignas(REG_CACHE_LINE) counters counters;
    /* standing << 56 | version: the health and whether it is draining, and the version of the last
     * change that choices depend on. */
    _Atomic uint64_t standing;
    /* Two parts, because `weight` between them and the counters changes and this does not. */
    uint32_t order_low;
    uint16_t order_high;
    _Atomic uint16_t weight;             /* of the definition, times WEIGHT_UNIT */
    _Atomic(struct outcomes *) outcomes; /* NULL before the first request */
    _Atomic uint32_t sampled_at;         /* sample_tick(); 0: no sample yet */
    limits limits;
    _Atomic uint32_t chosen_at; /* 0: never chosen */
} counter_line;

/* The registration's place in the order of registration: its serial, or, if it took the place of
 * another server, the order of that one. */
static inline uint64_t order_of(const counter_line *line) {
    return (uint64_t)line->order_high << 32 | line->order_low;
}

/* The time of a sample, in units of about a second, so that 32 bits last for 146 years. */
static inline uint32_t sample_tick(uint64_t time) {
    uint64_t tick = (time >> 30) + 1;
    return tick < UINT32_MAX ? (uint32_t)tick : UINT32_MAX;
}

/* Adds a sample of the latency (milliseconds) that is taken now. Returns the new average. */
static inline uint32_t line_add_sample(counter_line *line, outcomes *o, uint32_t sample,
                                       uint64_t now) {
    uint32_t average = average_add(o, &line->counters.latency, &o->sampled, sample, now),
             tick = sample_tick(now);
    if (load_published(&line->sampled_at) != tick) publish(&line->sampled_at, tick);
    return average;
}

_Static_assert(sizeof(counter_line) == REG_CACHE_LINE, "one line for each registration");
_Static_assert(offsetof(counter_line, counters) % 16 == 0, "for the pair in `counters`");

#endif
