/* The second pass of an attempt: whether what the first pass has read was still true at T
 * (select.c). */
#ifndef REG_RECHECK_H
#define REG_RECHECK_H

#include "choose/picks.h"

/* At version `now`, loaded at T. Looks at all candidates, or only at the chosen ones if the choice
 * does not depend on the others. */
bool still_holds(const choice *c, const picks *p, uint64_t now);

#endif
