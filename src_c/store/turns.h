/* Turns: the state of one model's smooth weighted round robin.
 *
 * The algorithm is nginx's (src/http/ngx_http_upstream_round_robin.c, since 1.3.1). In each round,
 * the credit of every candidate grows by its weight. The candidate with the greatest credit is
 * chosen, and its credit falls by the sum of all weights. So in W successive choices, where W is
 * that sum, each candidate is chosen as many times as its weight, evenly spread. A backend that is
 * not a candidate in a round keeps its credit.
 *
 * Credits belong to registrations, by serial, and survive changes of the fleet. Every function here
 * except turns_free needs the registry's turns lock.
 */
#ifndef REG_TURNS_H
#define REG_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct turn {
    uint64_t serial;
    int64_t credit;
    uint32_t weight;
    uint64_t seen; /* the last round in which it was on the model's list */
    uint64_t due;  /* the last round in which it was a candidate */
} turn;

/* Zeroed memory is an empty `turns`. */
typedef struct turns {
    turn *items; /* by serial; those from `sorted` on are new in this round, and unsorted */
    uint32_t count;
    uint32_t sorted;
    uint32_t capacity;
    uint64_t round;
    uint32_t next; /* the likely index of the next turn, as lists are sorted by serial */
} turns;

/* Begins a round. */
void turns_begin(turns *t);
/* Returns the turn of a registration, and creates it if there is none. NULL if out of memory. Call
 * it once in a round for each registration; the result is valid until the next call. O(1) if the
 * calls are in the order of serials, otherwise O(log registrations); amortised for a new turn. */
turn *turns_see(turns *t, uint64_t serial, uint32_t weight);
/* The credit of a registration; 0 if it has no turn yet. O(log registrations). */
int64_t turns_credit(turns *t, uint64_t serial);
/* Ends the round with the choice of this registration. O(registrations). */
void turns_settle(turns *t, uint64_t chosen);
void turns_free(turns *t);
size_t turns_bytes(const turns *t);

#endif
