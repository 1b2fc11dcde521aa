/* The counter line: one cache line with all counters of a registration, and with everything else
 * that a choice reads of a candidate. So when a thread updates the counters of a backend, this
 * slows down neither look-ups nor the counters of other backends.
 *
 *   counters    24 bytes   in flight, total, average latency        written by every thread
 *   chosen_at    4 bytes   the tick of the last choice; a hint      written by every thread
 *   standing     8 bytes   see record_standing_at                   written under the writer lock
 *   weight, max_pending, priority   see limits in record.h          written under the writer lock
 *   order, id, born                                                  immutable
 *
 * Only `line_of` (record.h) computes the address of a record's line, so one place decides where
 * lines are. Today a line follows its record in memory. Four layouts were measured with a choice by
 * LEAST_PENDING among 1,000 backends with requests in flight, the costliest of the common cases.
 * The times relative to this layout were: an array of lines, with a pointer to the line in each
 * member, 1.08; a pointer in the record, 1.2; a column of lines in each slab, 1.09. The reason is
 * the L1 cache. Every second line belongs to a record, so counter lines use only half of the
 * cache's sets and leave the other half to the array of members.
 *
 * The line is full. `id` and `born`, which only reclamation reads, can make room for words that
 * choices read. Words that choices do not read belong on a third line, in a pool of its own: if
 * records were three lines apart, the same choice would take 1.15 times as long.
 */
#ifndef REG_COUNTER_BANK_H
#define REG_COUNTER_BANK_H

#include "store/counters.h"

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
    _Atomic uint16_t weight;
    void *id;      /* the caller's object that owns the bytes of the key */
    uint32_t born; /* the generation in which it was registered: see record.h */
    limits limits;
    _Atomic uint32_t chosen_at; /* 0: never chosen */
} counter_line;

/* The registration's place in the order of registration: its serial, or, if it took the place of
 * another server, the order of that one. */
static inline uint64_t order_of(const counter_line *line) {
    return (uint64_t)line->order_high << 32 | line->order_low;
}

_Static_assert(sizeof(counter_line) == REG_CACHE_LINE, "one line for each registration");

#endif
