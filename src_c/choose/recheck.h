/* The second pass of an attempt: checks whether what the first pass has read was still true at T
 * (select.c). */
#ifndef REG_RECHECK_H
#define REG_RECHECK_H

#include "choose/picks.h"
#include "choose/rounds.h"

/* Whether the list at version `now` has the same members, with the same standing and definition. */
bool all_are_listed(const choice *c, uint64_t now);

/* Whether the list at version `now` still has the one or two picked members, with the same standing
 * and definition. */
bool picks_are_listed(const choice *c, const picks *p, uint64_t now);

/* The sum of tally_of() over all candidates. */
uint64_t tally_of_all(const choice *c);

/* Whether the counts of the other picked candidate are unchanged, if there is one. The caller
 * checks the count of the best one in step 6. */
static inline bool picks_are_unchanged(const choice *c, const picks *p) {
    if (p->count == 1) return true;
    candidate second = candidate_at(c, p->second.place, false, c->is_careful);
    return counter_decrements(second.pending) == counter_decrements(p->second.pending) &&
           !candidate_is_full(&second);
}

/* Whether the choice stays correct whatever happens to candidates that were not picked. */
static inline bool depends_on_picks_only(const choice *c, const picks *p) {
    if (p->count != 1) return p->count == 2;
    const policy_traits *traits = c->traits;
    return traits->draws_one || (traits->takes_turns && !p->has_skipped) ||
           (traits->only_loads && is_unbeatable(c, &p->best));
}

/* Step 5, the first half, with the version `now` of step 4. Turns depend on the weights of all
 * candidates, and panics on the standing of all. A choice among few reads them anew instead: that
 * costs as little, and a write may have registered another one of them. */
static inline bool are_listed(const choice *c, const picks *p, uint64_t now) {
    if (reg_unlikely(c->few != NULL)) return false;
    bool only_picks =
        depends_on_picks_only(c, p) && !c->traits->takes_turns && !c->has_counted_left;
    return only_picks ? picks_are_listed(c, p, now) : all_are_listed(c, now);
}

/* Step 5, the second half. */
static inline bool are_unchanged(const choice *c, const picks *p) {
    return depends_on_picks_only(c, p) ? picks_are_unchanged(c, p) : tally_of_all(c) == p->tally;
}

#endif
