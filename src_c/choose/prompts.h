/* What a choice knows of prompts, and what it notes of its own.
 *
 * Look-ups and notes are for the model and the registration of a candidate (prefix_map.h). A
 * look-up is no part of the instant at which a choice takes effect: see select.c. */
#ifndef REG_PROMPTS_H
#define REG_PROMPTS_H

#include "choose/candidates.h"

/* Makes places for the blocks of the request on `chosen`, which has its outcomes. False if out of
 * memory. The caller then calls prompt_note or prompt_forgo. */
bool prompt_prepare(choice *c, record *chosen);
/* Notes the blocks. `copy` is that of the lease. O(blocks). */
void prompt_note(const choice *c, reg_noted_prefix *copy);
/* Gives the places back. */
void prompt_forgo(const choice *c);

/* A copy of the request's blocks for its lease. NULL if out of memory. Free it with memory_free. */
reg_noted_prefix *prompt_copy(const reg_request *request);

#endif
