/* The first pass of an attempt: reads the candidates and picks the best one. */
#ifndef REG_PASS_H
#define REG_PASS_H

#include "choose/picks.h"

/* Returns CHOSEN, even if no candidate was found (`count` is 0). A policy that takes turns may also
 * return NO_MEMORY; its caller holds the registry's turns lock. A policy that draws two may also
 * return WOULD_BLOCK, if the request must not block. */
verdict pick(choice *c, picks *p);

#endif
