/* Whose turn it is: smooth weighted round robin, the state of one model.
 *
 * The algorithm is nginx's (src/http/ngx_http_upstream_round_robin.c, since 1.3.1): at each choice every candidate's credit grows by its weight, the
 * one with the greatest credit is chosen, and pays what all have got. So of any W choices in a row, W being the sum of the weights, each
 * candidate gets as many as its weight says, spread evenly. Who is no candidate in a round neither gets nor pays.
 *
 * Credits belong to registrations, by their order, and outlive changes of the fleet. Everything here is under the registry's lock for turns.
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

/* All zero is empty. */
typedef struct turns {
    turn *items; /* by order, but for those behind `sorted`, which came in this round */
    uint32_t count;
    uint32_t sorted;
    uint32_t capacity;
    uint64_t round;
    uint32_t next; /* where the next one is likely to be: lists come in order */
} turns;

void turns_begin(turns *t);
/* The turn of a registration, made where it is new; NULL when memory is out. Once in a round. Valid until the next call. O(1) in the order of
 * registration, amortised O(log registrations) for a new one. */
turn *turns_see(turns *t, uint64_t serial, uint32_t weight);
/* Its credit, 0 where it has none. O(log registrations). */
int64_t turns_credit(turns *t, uint64_t serial);
/* The round ends with this choice. O(registrations). */
void turns_settle(turns *t, uint64_t chosen);
void turns_free(turns *t);
size_t turns_bytes(const turns *t);

#endif
