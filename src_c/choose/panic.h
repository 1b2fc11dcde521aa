/* Panic: where ejections would leave too few of a model's backends, a choice ignores them.
 *
 * Of the members that are eligible but for their ejection, it counts those that are left: neither
 * ejected nor on trial, be they full or not. All that it depends on has versions, except the clock,
 * so the count is that of the choice's version, and step 5 of select.c rechecks the standing of
 * every member if a write has begun since.
 *
 * A request that takes an ejected backend in a panic is its trial if the time is over and the place
 * is free (`candidate_is_due`). Otherwise a retry that excludes all others would be beside a trial.
 *
 * The count takes O(members). It is made only if a registration of this registry has flags, and if
 * it can matter: with a share of 0, the default, only if the choice has found nobody, or a trial.
 * Otherwise the chosen backend itself is left. */
#ifndef REG_PANIC_H
#define REG_PANIC_H

#include "choose/picks.h"

/* Whether the registry's settings allow a panic. */
static inline bool can_panic(const choice *c) {
    return c->settings->values.ejects && c->settings->values.panic >= 0;
}

/* For a choice that has read the clock: whether the result of a pass may have to be thrown away
 * because of a panic. */
static inline bool may_be_panic(const choice *c, const picks *p) {
    if (!can_panic(c)) return false;
    return c->settings->values.panic > 0 || p->count == 0 || candidate_is_trial(c, &p->best);
}

/* Whether so few are left that ejections are ignored. */
bool is_panic(choice *c);

#endif
