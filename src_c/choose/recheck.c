#include "choose/recheck.h"

#include "choose/rounds.h"

/* Whether the list at a later version is the same array with as many members. */
static bool is_same_array(const choice *c, const member_reading *later) {
    return later->array == c->reading.array && later->length == c->reading.length;
}

/* Whether the member is in both lists or in neither, and if it is, with the same health and
 * definition. */
static inline bool is_unchanged(const choice *c, const member_reading *later, const member *m) {
    bool is_listed = member_is_in(m, c->reading.tick);
    if (is_listed != member_is_in(m, later->tick)) return false;
    return !is_listed || !record_has_changed_since(m->record, c->version);
}

static always_inline uint64_t tally_of_all(const choice *c, bool with_latency) {
    const member *m = c->reading.array->members, *end = m + c->reading.length;
    uint32_t tick = c->reading.tick;
    uint64_t tally = 0;
#pragma GCC unroll 4
    for (; m != end; m++) {
        if (reg_unlikely(!member_is_in(m, tick))) continue;
        candidate x = candidate_at(m, with_latency);
        tally += tally_of(&x);
    }
    return tally;
}

static bool all_are_unchanged(const choice *c, const picks *p, uint64_t now) {
    if (reg_unlikely(now != c->version)) {
        member_reading later = member_list_read(&c->model->members, now);
        if (!is_same_array(c, &later)) return false;
        for (uint32_t i = 0; i < c->reading.length; i++)
            if (!is_unchanged(c, &later, c->reading.array->members + i)) return false;
    }
    return (traits_of(c->request->policy)->reads_latency ? tally_of_all(c, true)
                                                         : tally_of_all(c, false)) == p->tally;
}

/* The attempt itself checks the count of the best one. */
static bool picks_are_unchanged(const choice *c, const picks *p, uint64_t now) {
    if (reg_unlikely(now != c->version)) {
        member_reading later = member_list_read(&c->model->members, now);
        if (!is_same_array(c, &later) || !is_unchanged(c, &later, p->best.place)) return false;
        if (p->count == 2 && !is_unchanged(c, &later, p->second.place)) return false;
    }
    if (p->count == 1) return true;
    candidate second = candidate_at(p->second.place, false);
    return counter_decrements(second.pending) == counter_decrements(p->second.pending) &&
           !candidate_is_full(&second);
}

/* Whether changes to other candidates can't make the best one the wrong choice. */
static bool depends_on_picks_only(const choice *c, const picks *p) {
    const policy_traits *traits = traits_of(c->request->policy);
    if (p->count != 1) return p->count == 2;
    return traits->draws_one || (traits->takes_turns && !p->has_skipped) ||
           (traits->only_loads && is_unbeatable(c, &p->best));
}

bool still_holds(const choice *c, const picks *p, uint64_t now) {
    return depends_on_picks_only(c, p) ? picks_are_unchanged(c, p, now)
                                       : all_are_unchanged(c, p, now);
}
