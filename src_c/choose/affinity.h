/* AFFINITY: the requests of one key go to the same backend while it has room.
 *
 * The ranking. Each key ranks the backends by weighted rendezvous hashing (Thaler and Ravishankar,
 * 1998; the weights after Schindelhauer and Schomaker, 2005). A backend draws 64 random bits by
 *
 *     draw = mix(id ^ mix(key + 0x9E3779B97F4A7C15))
 *
 * where `id` is the XXH64 of its id and `mix` is that of SplitMix64 (random.h). With u = (2 * h +
 * 1) / 2**54, where h is the upper 53 bits of the draw, its distance is -ln(u), which has an
 * exponential distribution. The smallest distance / weight is the first in the ranking. So a
 * backend is the first with a probability in proportion to its weight, and the place of others
 * changes nothing in the order of the rest. Equal ones go by the greater draw, and then by the
 * bytes of the id, so the order is total. It depends on the key, the ids and the weights only.
 *
 * The ranking is the same on every host, because distances are integers, and are compared by
 * multiplication, without rounding. `key_distance` never grows with the draw, so among equal
 * weights the greatest draw is the first, and no distance is computed.
 *
 * The bound. A candidate with n requests in flight and weight w is within the bound if
 *
 *     (n + 1) / w <= max(load * (n of all + 1) / (w of all), floor)
 *
 * where all are the eligible candidates that are not full. A weight that grows in a slow start
 * counts as a whole here, but not in the ranking. These comparisons are exact, too. The sum of the
 * requests in flight of all backends is taken to be below 2**50.
 *
 * All functions but `pick_by_key` are O(1). */
#ifndef REG_AFFINITY_H
#define REG_AFFINITY_H

#include "choose/picks.h"

/* -ln(u) of a draw, in units of 2**-58; above 0. The error is below 2**-55 for u near 1, and below
 * 2**-52 for all. */
uint64_t key_distance(uint64_t draw);

/* What the order of a candidate depends on. */
typedef struct key_place {
    const reg_key *id;
    uint64_t draw;
    uint64_t distance; /* 0: not computed yet */
    uint64_t next;     /* the load with the new request included */
    uint32_t weight;   /* in fractions of WEIGHT_UNIT; less in a slow start */
    uint32_t whole;    /* the weight of the definition, likewise */
    bool is_within;    /* the bound; as long as that is not known: true for all */
} key_place;

/* The sums over all eligible candidates that are not full. */
typedef struct key_mean {
    uint64_t in_flight, weights;
} key_mean;

key_place key_place_of(const choice *c, const candidate *x);

static inline void key_mean_add(key_mean *mean, const key_place *place) {
    mean->in_flight += place->next - 1;
    mean->weights += place->whole;
}

/* Whether the candidate is within the bound, whatever the others' loads are. */
bool key_is_low(const choice *c, const key_place *place);
/* Whether it is, if it is not low. */
bool key_is_within_mean(const choice *c, const key_mean *mean, const key_place *place);

/* The order in which they are chosen: first those within the bound, by the ranking; then the others
 * by (n + 1) / w, and equal ones of these by the ranking. Never 0 for two different ids. */
int key_compare(key_place *a, key_place *b);

/* The pass of the policy: see select.c, 'Affinity'. O(members). */
void pick_by_key(choice *c, picks *p);

#endif
