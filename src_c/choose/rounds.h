/* Ties: of equal candidates the one goes first whose last choice is longest ago.
 *
 * The registry's TICK counts choices, and each record is stamped with it when it is chosen
 * (`chosen_at`), by whatever model, policy or kind of request. Tick, stamps and rounds are hints,
 * relaxed and without a read-modify-write: threads that choose at once may repeat a turn or lose one,
 * and one that is preempted between load and store sets the tick back, which a full pass for each
 * member heals. No claim of select.c depends on them. Ages are differences of 32-bit ticks, so wrapping is
 * harmless.
 *
 * Full passes. A pass that has compared all stamps takes, of the best candidates, the one with the
 * oldest, and of equal stamps the first from where it started. It advances the tick and stamps the
 * chosen one, which is then the newest of all.
 *
 * Rounds. To compare all stamps costs LEAST_PENDING too much: where one is idle and of the greatest
 * weight, nobody beats it, and the pass can stop there; and where all have as many in flight, the
 * stamps are most of the work. So each model has a round, in one word:
 *
 *   round   | disorder (5) | where the next pass starts (27) | START, the tick at which it began (32) |
 *
 * A member is served once its stamp is not older than START.
 *   a. Of the best ones, a pass takes the first unserved one that it meets, and compares no more
 *      stamps. It stamps it with the tick as it is, and the next pass starts behind it.
 *   b. Where all of the best are served, it is a full pass. If it has left no unserved one that is as
 *      good (healthy, but not eligible for this request), it begins a new round: START is the new
 *      stamp, and the next pass starts behind the chosen one.
 * If all requests are of one kind, positions repeat from round to round: an exact rotation, and only
 * one pass in a round is a full one. Other traffic puts stamps out of order with positions. A short
 * list then makes full passes, until as many choices in a row were in order again as it can have
 * members: to look at all costs little there, and the order is exact.
 *
 * A kind of request is what it requires and excludes, and whether it takes unknown ones. One that has
 * used up all that it can take, while others are still unserved, can't begin a new round; nor may one
 * that takes unknown ones, which the others leave unserved. It would make full passes only. So a
 * model has room for the own rounds of OWN_ROUNDS kinds, with the same rules, where only members that
 * are eligible for that kind count. Where more kinds alternate, one takes another's room by a full
 * pass, O(members), and its members are unserved again.
 *
 * The bound. Say that x is passed over if y is chosen though x was chosen longer ago, and that both
 * are equal, and the best, for all requests that are looked at. 'Round' means that of one word.
 *   c. A full pass passes over x only if both have the same stamp. From then on y's is newer.
 *   d. A pass as in a. passes over x only if y is unserved, so this round began after the last choice
 *      of y. By b. it began when x had been served in the round before. For a. to choose y once more,
 *      another round must begin, and by b. it does not before x is served in this one.
 * So among requests that share a round, x is passed over for y at most once by c. and once by d.; by
 * full passes of stamps that differ, as the other policies make them, never. What a request stamps is
 * served for all requests, and no request ends a round in which others have unserved members: kinds,
 * policies and models can't starve each other.
 */
#ifndef REG_ROUNDS_H
#define REG_ROUNDS_H

#include "choose/candidates.h"

/* ---- the words ---- */

/* In a list up to so long, a pass looks at all stamps where they are out of order. */
enum { SHORT_LIST = 16 };

#define ROUND_ORDER (((uint64_t)1 << 59) - 1) /* a word without its disorder */

static inline uint32_t round_disorder(uint64_t word) { return (uint32_t)(word >> 59); }
static inline uint32_t round_position(uint64_t word) {
    return (uint32_t)(word >> 32) & (((uint32_t)1 << 27) - 1);
}
static inline uint32_t round_start(uint64_t word) { return (uint32_t)word; }

/* After a choice, in a round that began at tick `start`. The position may be the length, which is as good as 0. */
static inline uint64_t round_word(const choice *c, const candidate *chosen, uint32_t start) {
    uint32_t place = place_number(c, chosen);
    uint32_t disorder = place != c->start ? SHORT_LIST : c->disorder != 0 ? c->disorder - 1 : 0;
    return (uint64_t)disorder << 59 | (uint64_t)(place + 1) << 32 | start;
}

#define NOBODY_IS_OLDER UINT32_MAX /* for `round_age`: no round */

/* In ticks since the last choice. A backend that was never chosen is older than all others. */
static inline uint32_t age_of(const choice *c, const record *r) {
    return c->now - load_hint(&line_of(r)->chosen_at);
}

/* In the round of this choice. */
static inline bool is_unserved(const choice *c, const candidate *x) {
    return x->age > c->round_age;
}

/* Idle, and of the greatest weight: whatever happens to the others, none is preferred to it. */
static inline bool is_unbeatable(const choice *c, const candidate *x) {
    return counter_in_flight(x->pending) == 0 &&
           x->weight >= load_published(&c->reading.array->top_weight);
}

/* ---- a choice and its round ---- */

/* Where the pass of this choice starts, and who is unserved. */
void round_join(choice *c, reg_registry *reg);

/* After a choice of one that was served: see b. for `leaves_unserved`. */
void round_end(const choice *c, reg_registry *reg, const candidate *chosen, bool leaves_unserved);

/* After a choice. */
static inline void round_settle(const choice *c, reg_registry *reg, const candidate *chosen,
                                bool leaves_unserved) {
    if (reg_unlikely(!is_unserved(c, chosen))) {
        round_end(c, reg, chosen, leaves_unserved);
        return;
    }
    store_private(&line_of(chosen->record)->chosen_at, load_hint(&reg->tick));
    store_private(c->round, round_word(c, chosen, c->now - c->round_age));
}

#endif
