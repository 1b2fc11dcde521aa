/* HOT_COLD: which candidates are hot, and how the others compare. After Prequal (Wydrowski et al.,
 * "Load is not what you should balance", NSDI 2024), whose probes a registry does not need.
 *
 * The load of a candidate is its requests in flight / weight. A candidate is hot if its load is
 * above the 0.84 quantile of the loads of all that are compared. The quantile is interpolated
 * linearly between order statistics: for n loads in ascending order, l(0) to l(n - 1), it is at the
 * position 0.84 * (n - 1).
 *
 * No fraction is needed for that. Let i be the integer part of the position, and Q the quantile.
 * A candidate is hot exactly if its load is above l(i):
 *   - Q is at least l(i), so a load that is not above l(i) is not above Q.
 *   - A load above l(i) is at least l(i + 1), which is then above l(i) too. Q is l(i) plus a part
 *     of the difference that is less than the whole, so it is below l(i + 1).
 * Loads are compared by multiplying (compare_heats), so the result is exact. The candidate with the
 * smallest load is never hot.
 *
 * The others compare by their average time to the first token; by their average latency, if none of
 * them has such an average. One without a sample of what is compared goes first. So two kinds of
 * averages are never compared with each other. Each average counts only if its last sample is not
 * older than `latency_ttl_s`. */
#ifndef REG_HEAT_H
#define REG_HEAT_H

#include "choose/picks.h"

/* Reads the time to the first token of the card, and whether its averages count. */
void heat_read(const choice *c, card *k);

/* The load above which a candidate is hot. Rearranges the pointers. Expected O(count); `count` is
 * not 0. */
const candidate *heat_limit(card **cards, size_t count);

/* Sets the credits of the cards, which are compared with each other. Rearranges the pointers.
 * Expected O(count). */
void heat_rate(card **cards, size_t count);

/* Fetches what heat_read will read. */
static inline void heat_fetch_ahead(const candidate *x) {
    outcomes *o = load_published(&line_of(x->record)->outcomes);
    if (o != NULL) __builtin_prefetch(&o->ttft);
}

#endif
