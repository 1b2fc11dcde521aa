/* Few candidates: those of a request that is limited to some ids (`only`). Instead of the model's
 * list, its passes read a list of its own, which has only these members. So the cost of the choice
 * depends on the number of ids, and not on the length of the model's list.
 *
 * The members of version V are found by their ids, and by the memberships of their states at V
 * (memberships.h), so they are those that the model's list has at V. They are in the order of
 * registration.
 *
 * Turns belong to the whole list (turns.h), so ROUND_ROBIN reads that. There, and where the other
 * members are reported too, `candidate_obstacle` finds those that are not in `only`. */
#ifndef REG_FEW_H
#define REG_FEW_H

#include "base/memory.h"
#include "choose/candidates.h"

/* Whether the choice need not read the model's list. */
static inline bool few_suffice(const reg_request *request) {
    return request->is_limited && !traits_of(request->policy)->takes_turns;
}

/* Sets `few`, to a list that is still empty or to NULL. False if out of memory. */
static inline bool few_alloc(choice *c, const reg_request *request) {
    c->few = NULL;
    if (reg_likely(!few_suffice(request))) return true;
    c->few = memory_alloc(sizeof *c->few + request->only_count * sizeof *c->few->members);
    return c->few != NULL;
}

static inline void few_free(const choice *c) {
    if (reg_unlikely(c->few != NULL)) memory_free(c->few);
}

/* Reads the members into `few`, and makes that the list of the choice. O(ids * models of each). */
void few_read(choice *c, reg_registry *reg);

/* Makes the model's list that of the choice again. */
void few_widen(choice *c);

#endif
