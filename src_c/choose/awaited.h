/* Whether somebody waits for a place, so that nobody else may take it: see hand_over.c. */
#ifndef REG_AWAITED_H
#define REG_AWAITED_H

#include "choose/candidates.h"

/* Whether a waiting request of the registry `c->waited` could take this member's place, were it not
 * for its load: nothing else keeps that request from it at the choice's version. During a hand-over
 * only those count that were refused before. Under LINE, inside an epoch. O(kinds of waiters); but
 * O(members of each one's model) for an ejected member. */
bool place_is_awaited(const choice *c, record *r, uint64_t pending);

#endif
