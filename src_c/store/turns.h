/* Turns: the state of one model's smooth weighted round robin.
 *
 * The algorithm is nginx's (src/http/ngx_http_upstream_round_robin.c, since 1.3.1). In each round,
 * the credit of every candidate grows by its weight. The candidate with the greatest credit is
 * chosen, and its credit falls by the sum of all weights. So in W successive choices, where W is
 * that sum, each candidate is chosen as many times as its weight, evenly spread. A backend that is
 * not a candidate in a round keeps its credit.
 *
 * Credits survive changes of the fleet. A turn is found by the registration's place in the order; a
 * server that takes over the place of another one begins with no credit.
 *
 * A credit counts in the weights of its time. After 50 choices by weights of 100 and 1, the second
 * backend is owed 50, which is half a turn, but would be 50 turns if both weights were 1 from then
 * on. So in a round that finds new weights, no credit stays above the sum of the weights, or below
 * its opposite. While weights stay, none gets there.
 *
 * Every function here except turns_free needs the registry's turns lock. */
#ifndef REG_TURNS_H
#define REG_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

typedef struct turn {
    uint64_t order;
    int64_t credit;
    uint64_t holder; /* see turn_holder */
    uint64_t mark;   /* see turn_mark; 0: new */
} turn;

/* Zeroed memory is an empty `turns`. */
typedef struct turns {
    turn *items; /* by order; those from `sorted` on are new in this round, and unsorted */
    uint32_t count;
    uint32_t sorted;
    uint32_t capacity;
    uint64_t round;
    bool is_reweighed; /* a weight has changed since the last choice */
    uint32_t next;     /* the likely index of the next turn, as lists are sorted by order */
} turns;

/* address << 16 | weight: the registration that has the turn, and its weight. Addresses of 64-bit
 * processes have at most 48 bits that differ, so two registrations never have the same word. */
static inline uint64_t turn_holder(const void *registration, uint32_t weight) {
    return (uint64_t)(uintptr_t)registration << 16 | weight;
}
static inline uint32_t turn_weight(const turn *its) { return (uint16_t)its->holder; }

/* round << 1 | due: the last round in which it was on the model's list, and whether it was a
 * candidate then. The caller of turns_see stores it. */
static inline uint64_t turn_mark(const turns *t, bool is_due) { return t->round << 1 | is_due; }

/* Begins a round. */
void turns_begin(turns *t);
/* What turns_see does if the turn is not the next one. */
turn *turns_find(turns *t, uint64_t order, uint64_t holder);

/* Returns the turn at this place in the order, which `holder` has from now on. Creates it if there
 * is none. NULL if out of memory. Call it once in a round for each place; the result is valid until
 * the next call. O(1) if the calls are in ascending order, otherwise O(log registrations);
 * amortised for a new turn. */
static inline turn *turns_see(turns *t, uint64_t order, uint64_t holder) {
    bool is_next = t->next < t->sorted && t->items[t->next].holder == holder;
    return reg_likely(is_next) ? &t->items[t->next++] : turns_find(t, order, holder);
}

/* The credit of a registration; 0 if it has no turn yet. O(log registrations). */
int64_t turns_credit(turns *t, uint64_t order, uint64_t holder);
/* Ends the round with the choice of this registration. O(registrations). */
void turns_settle(turns *t, uint64_t chosen);
void turns_free(turns *t);
size_t turns_bytes(const turns *t);

#endif
