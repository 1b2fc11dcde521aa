/* The counter line: everything of a registration that requests count, and everything that a choice
 * reads of a candidate, on one cache line. Counting on one backend never disturbs another one, nor
 * the look-up of any.
 *
 *   counters    24 bytes   in flight, total, average latency        written by every thread
 *   chosen_at    4         the tick of its last choice, a hint      written by every thread
 *   refs         4         what keeps the record: see record.h      written by every thread
 *   health       8         see record_health_at                     written under the writer lock
 *   serial, weight, max_pending, priority, id                       immutable
 *
 * A record finds its line by `line_of` (record.h) and in no other way, so where lines lie is decided
 * in one place. Today a line lies behind its record. Measured against that, with everything else
 * equal (a choice among 1,000 backends, LEAST_PENDING with requests in flight; the README of the
 * benchmarks tells how): lines in an array of their own with a pointer in each member take 1.08
 * times as long, with the pointer in the record 1.2 times, lines in a column of their own in each
 * slab 1.09 times. The second of every two lines falls into half of the sets of the first cache, and
 * the array of the members keeps the other half to itself.
 *
 * The line is full. A word that choices do not read belongs elsewhere; `id`, which only the last
 * unref reads, makes room for one that they do.
 */
#ifndef REG_COUNTER_BANK_H
#define REG_COUNTER_BANK_H

#include "store/counters.h"

typedef struct counter_line {
    _Alignas(REG_CACHE_LINE) counters counters;
    /* health << 62 | version: the health, and since when choices see no change. */
    _Atomic uint64_t health;
    uint64_t serial : 48; /* of the registration, from 1 */
    uint64_t weight : 16;
    void *id; /* the caller's object that owns the bytes of the key */
    _Atomic uint32_t refs;
    uint32_t max_pending;
    int32_t priority;
    _Atomic uint32_t chosen_at; /* 0: never chosen */
} counter_line;

_Static_assert(sizeof(counter_line) == REG_CACHE_LINE, "one line for each registration");

#endif
