/* The policies that draw candidates at random, so that their cost does not grow with the list.
 *
 * POWER_OF_TWO draws two different candidates, and picks the less loaded one.
 *
 * HOT_COLD draws a hand: HAND different candidates, or all eligible ones if there are no more. It
 * picks the best one by heat.h. Every set of HAND eligible candidates is as likely as any other:
 * all members are drawn with the same probability, and one that is drawn again, or that is not
 * eligible, is put back. If too few are found in that way, because the list is short or hardly any
 * of its members qualifies, the whole list is read instead. */
#ifndef REG_DRAW_H
#define REG_DRAW_H

#include "choose/picks.h"

/* CHOSEN, or WOULD_BLOCK if the request must not block and the draws find too few. */
verdict draw_two(choice *c, picks *p);

/* Likewise. Sets `hand`, and `best` if the hand is not empty. */
verdict draw_hand(choice *c, picks *p);

#endif
