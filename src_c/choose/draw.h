/* POWER_OF_TWO: draws two different candidates at random, and picks the less loaded one. */
#ifndef REG_DRAW_H
#define REG_DRAW_H

#include "choose/picks.h"

/* CHOSEN, or WOULD_BLOCK if the request must not block and the draws find too few. */
verdict draw_two(choice *c, picks *p);

#endif
