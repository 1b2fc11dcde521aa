/* The second pass of an attempt: checks whether what the first pass has read was still true at T
 * (select.c). */
#ifndef REG_RECHECK_H
#define REG_RECHECK_H

#include "choose/picks.h"
#include "choose/rounds.h"

/* Whether the list at version `now` has the same members, with the same standing and definition. */
bool all_are_listed(const choice *c, uint64_t now);

/* Whether the list at version `now` still has the picked members, and those of the hand, with the
 * same standing and definition. */
bool picks_are_listed(const choice *c, const picks *p, uint64_t now);

/* The sum of tally_of() over all candidates. */
uint64_t tally_of_all(const choice *c);

/* Whether no count and no average of the hand has changed since the pass: see select.c. Clears the
 * claims of other choices. The caller checks the count of the best one in step 6. */
bool hand_is_unchanged(const choice *c, const picks *p);
/* Whether the count of every candidate is unchanged. Voids the claims of other choices on those
 * that were not picked: see 'Affinity' in select.c. */
bool all_counts_are_unchanged(const choice *c, const picks *p);

/* Whether the counts of the other picked candidate are unchanged, if there is one. The caller
 * checks the count of the best one in step 6. */
static inline bool picks_are_unchanged(const choice *c, const picks *p) {
    if (p->count == 1) return true;
    candidate second = candidate_at(c, p->second.place, false, c->is_careful);
    return counter_decrements(second.pending) == counter_decrements(p->second.pending) &&
           !candidate_is_full(&second) && !candidate_lacks_tokens(c, &second);
}

/* Whether the choice stays correct whatever happens to candidates that were not picked. */
static inline bool depends_on_picks_only(const choice *c, const picks *p) {
    if (p->count != 1) return p->count == 2;
    const policy_traits *traits = c->traits;
    return traits->draws_one || (traits->takes_turns && !p->has_skipped) ||
           (traits->by_key && !p->has_skipped && !p->uses_mean) ||
           (traits->only_loads && is_unbeatable(c, &p->best)) ||
           (traits->draws_hand && p->hand_count == HAND);
}

/* Step 5, the first half, with the version `now` of step 4. Turns depend on the weights of all
 * candidates, the ranking of a key on the weights and the standing of all, and panics on the
 * standing of all. A choice among few reads them anew instead: that
 * costs as little, and a write may have registered another one of them. */
static inline bool are_listed(const choice *c, const picks *p, uint64_t now) {
    if (reg_unlikely(c->few != NULL)) return false;
    bool only_picks = depends_on_picks_only(c, p) && !c->traits->takes_turns &&
                      !c->traits->by_key && !c->has_counted_left;
    return only_picks ? picks_are_listed(c, p, now) : all_are_listed(c, now);
}

/* Step 5, the second half. */
static inline bool are_unchanged(const choice *c, const picks *p) {
    if (reg_unlikely(c->traits->by_key) && p->uses_mean) return all_counts_are_unchanged(c, p);
    bool same =
        depends_on_picks_only(c, p) ? picks_are_unchanged(c, p) : tally_of_all(c) == p->tally;
    if (reg_likely(!c->traits->draws_hand)) return same;
    return same && hand_is_unchanged(c, p); /* in this order: clearing a claim changes the tally */
}

#endif
