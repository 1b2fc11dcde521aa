/* Refusals. A refusal lists every member of the model's list, and the reason why it was not
 * chosen. */
#ifndef REG_REFUSAL_H
#define REG_REFUSAL_H

#include "choose/candidates.h"

/* Fills `refusal` for a choice that found no candidate. Call it in the same epoch as the last
 * attempt. REG_NONE_AVAILABLE, or REG_NO_MEMORY. Or REG_CHANGED, if `may_retry`: a count that a
 * reason depends on has changed since the attempt. */
reg_status refuse(reg_registry *reg, reg_reader *reader, const choice *c, bool may_retry,
                  reg_refusal *refusal);

/* Whether some obstacle of a choice that found no candidate may pass, so that it may help to wait.
 * `deadline` becomes the first time at which one passes by time alone, or REG_NEVER. Call it in the
 * same epoch. O(members), but O(1) if the first one is full and no registration has flags. */
bool refusal_may_pass(const choice *c, uint64_t *deadline);

/* The same for the obstacles that a refusal lists. */
bool refusal_lists_passing(const reg_refusal *refusal);

#endif
