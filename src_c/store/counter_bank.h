/* The counter line: one cache line with all counters of a registration, and with everything else
 * that a choice reads of a candidate. So when a thread updates the counters of a backend, this
 * slows down neither look-ups nor the counters of other backends.
 *
 *   counters    24 bytes   in flight, total, average latency        written by every thread
 *   chosen_at    4 bytes   the tick of the last choice; a hint      written by every thread
 *   refs         4 bytes   references to the record: see record.h   written by every thread
 *   health       8 bytes   see record_health_at                     written under the writer lock
 *   serial, weight, max_pending, priority, id                       immutable
 *
 * Only `line_of` (record.h) computes the address of a record's line, so one place decides where
 * lines are. Today a line follows its record in memory. Four layouts were measured with a choice by
 * LEAST_PENDING among 1,000 backends with requests in flight, the costliest of the common cases.
 * The times relative to this layout were: an array of lines, with a pointer to the line in each
 * member, 1.08; a pointer in the record, 1.2; a column of lines in each slab, 1.09. The reason is
 * the L1 cache. Every second line belongs to a record, so counter lines use only half of the
 * cache's sets and leave the other half to the array of members.
 *
 * The line is full. `id`, which only the last unref reads, can make room for a word that choices
 * read. Words that choices do not read belong on a third line, in a pool of its own: if records
 * were three lines apart, the same choice would take 1.15 times as long.
 */
#ifndef REG_COUNTER_BANK_H
#define REG_COUNTER_BANK_H

#include "store/counters.h"

typedef struct counter_line {
    _Alignas(REG_CACHE_LINE) counters counters;
    /* health << 62 | version: the health, and the version of the last change that choices depend
     * on. */
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
