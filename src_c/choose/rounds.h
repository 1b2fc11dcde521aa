/* Ties: among equal candidates, a choice takes the one whose last choice is the longest ago.
 *
 * The registry's TICK counts choices. A record is stamped with it when it is chosen (`chosen_at`),
 * by any model, policy or kind of request. The tick, the stamps and the rounds are hints: they are
 * relaxed, and no read-modify-write protects them. Threads that choose at the same time may repeat
 * a turn or lose one. A thread that is preempted between its load and its store sets the tick back;
 * one full pass for each member repairs that. No claim of select.c depends on these hints. Ages are
 * differences of 32-bit ticks, so they survive wrapping.
 *
 * Full passes. A full pass compares all stamps. Among the best candidates it takes the one with the
 * oldest stamp; if stamps are equal, the first one from the position where the pass started. It
 * advances the tick and stamps the chosen candidate, which then has the newest stamp of all.
 *
 * Rounds. For LEAST_PENDING, comparing all stamps costs too much. No candidate is better than one
 * that is idle and has the greatest weight, so the pass could stop there. And if all candidates
 * have the same number of requests in flight, comparing the stamps is most of the work. So each
 * model has a round, in one word:
 *
 *   disorder (5) | position where the next pass starts (27) | START, tick when it began (32)
 *
 * A member is served if its stamp is not older than START.
 *   a. Among the best candidates, a pass takes the first unserved one that it meets, and then
 *      compares no more stamps. It stamps this candidate with the current tick and does not advance
 *      the tick. The next pass starts at the position after it.
 *   b. If all of the best are served, the pass is a full pass. It begins a new round unless it has
 *      left out an unserved candidate that is as good (healthy, but not eligible for this request).
 *      One whose tokens leave no room for this request counts as full.
 *      Then START is the new stamp, and the next pass starts after the chosen candidate.
 * If all requests are of one kind, positions repeat from round to round. That is an exact rotation,
 * with only one full pass in each round. Other requests choose backends out of this order, and
 * their stamps no longer follow the positions. Then the passes over a short list are full, until
 * SHORT_LIST choices in a row were in order. In a short list comparing all stamps costs little, and
 * the order stays exact.
 *
 * The kind of a request is what it requires, what it excludes, and whether it accepts unknown
 * backends. If a kind has served all of its candidates while other members are unserved, it can't
 * begin a new round. A kind that accepts unknown backends can't either, because the other kinds
 * leave those backends unserved. Such kinds would make only full passes. So a model has KIND_ROUNDS
 * more rounds, each for one such kind. The same rules hold in them, but they ignore members that
 * are not eligible for that kind. If there are more kinds, a kind takes over the round of another
 * one with a full pass, O(members). For this kind, all members are then unserved again.
 *
 * A request that is limited to some ids (few.h) makes a full pass over these, and belongs to no
 * round.
 *
 * The bound. We say that x is passed over for y if y is chosen although the last choice of x is
 * longer ago. Here x and y are equal, and they are the best candidates for all requests in
 * question. 'Round' means a round of one word.
 *   c. A full pass passes over x only if both have the same stamp. From then on the stamp of y is
 *      newer.
 *   d. A pass as in a. passes over x only if y is unserved, so this round began after the last
 *      choice of y. By b., it began when x had been served in the previous round. Before a. can
 *      choose y again, another round must begin, and by b. that does not happen before x is served
 *      in this round.
 * So among requests that share a round, x is passed over for y at most once by c. and once by d.
 * The other policies make only full passes, and a full pass over stamps that differ never passes
 * over x. A member that one request has stamped is served for all requests, and no request ends a
 * round in which others have unserved members. So kinds, policies and models can't starve each
 * other. */
#ifndef REG_ROUNDS_H
#define REG_ROUNDS_H

#include "choose/candidates.h"

/* ---- the words ---- */

/* If stamps are out of order, a pass over a list of at most this length is a full pass. */
enum { SHORT_LIST = 16 };

#define ROUND_ORDER (((uint64_t)1 << 59) - 1) /* a word without its disorder */

static inline uint32_t round_disorder(uint64_t word) { return (uint32_t)(word >> 59); }
static inline uint32_t round_position(uint64_t word) {
    return (uint32_t)(word >> 32) & (((uint32_t)1 << 27) - 1);
}
static inline uint32_t round_start(uint64_t word) { return (uint32_t)word; }

/* The word after a choice, in a round that began at tick `start`. The position may be the length of
 * the list, which means 0. */
static inline uint64_t round_word(const choice *c, const candidate *chosen, uint32_t start) {
    uint32_t position = position_of(c, chosen);
    uint32_t disorder = position != c->start ? SHORT_LIST : c->disorder != 0 ? c->disorder - 1 : 0;
    return (uint64_t)disorder << 59 | (uint64_t)(position + 1) << 32 | start;
}

/* Ticks since the record was last chosen. A record that was never chosen has the greatest age. */
static inline uint32_t age_of(const choice *c, const record *r) {
    return c->now - load_hint(&line_of(r)->chosen_at);
}

/* Whether `x` is unserved in the round of this choice. */
static inline bool is_unserved(const choice *c, const candidate *x) {
    return x->age > c->round_age;
}

/* Whether `x` is idle and has the greatest weight. Then no other candidate can be better, whatever
 * its own load is. */
static inline bool is_unbeatable(const choice *c, const candidate *x) {
    return counter_in_flight(x->pending) == 0 &&
           x->weight >= load_published(&c->reading.array->top_weight);
}

/* ---- a choice and its round ---- */

/* Sets where the pass of this choice starts, and which members are unserved. Only for policies that
 * break ties by age. */
void round_join(choice *c, reg_registry *reg);

/* Call it after the choice of a candidate that was already served. For `leaves_unserved` see rule
 * b. */
void round_end(const choice *c, reg_registry *reg, const candidate *chosen, bool leaves_unserved);

/* Call it after each choice. */
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
