/* What a refusal tells: every candidate of the attempt that found nobody, and what stood in its way. */
#ifndef REG_REFUSAL_H
#define REG_REFUSAL_H

#include "choose/candidates.h"

/* Of a choice that found nobody, in the epoch of its attempt. REG_NONE_AVAILABLE, or REG_NO_MEMORY. */
reg_status refuse(reg_registry *reg, reg_reader *reader, const choice *c, reg_refusal *refusal);

#endif
