/* The first pass of an attempt: reads the candidates and picks the best one. */
#ifndef REG_PASS_H
#define REG_PASS_H

#include "choose/picks.h"

/* Returns CHOSEN, even if no candidate was found (`count` is 0). For a policy that takes turns, the
 * caller holds the registry's turns lock, and the result may also be NO_MEMORY. For a policy that
 * draws two or a hand, the result may also be WOULD_BLOCK, if the request must not block. */
verdict pick(choice *c, picks *p);

#endif
