/* The first pass of an attempt: reads the candidates and picks the best one. */
#ifndef REG_PASS_H
#define REG_PASS_H

#include "choose/picks.h"

/* CHOSEN, even if no candidate was found (`count` is 0). NO_MEMORY is possible for a policy that
 * takes turns. WOULD_BLOCK is possible for one that draws two, if the request must not block. If the
 * policy takes turns, the caller holds the registry's turns lock. */
verdict pick(choice *c, picks *p);

#endif
