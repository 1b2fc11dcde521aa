/* POWER_OF_TWO: draws two different candidates at random, and picks the less loaded one. */
#ifndef REG_DRAW_H
#define REG_DRAW_H

#include "choose/picks.h"

/* False if the request must not block and the draws would take too long. */
bool draw_two(choice *c, picks *p);

#endif
