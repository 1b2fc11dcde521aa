#include "choose/recheck.h"

/* Whether the list at a later version is the same array with the same length. */
static bool is_same_array(const choice *c, const member_reading *later) {
    return later->array == c->reading.array && later->length == c->reading.length;
}

/* Whether the member is in neither list, or in both with the same standing and definition. */
static inline bool is_unchanged(const choice *c, const member_reading *later, const member *m) {
    bool is_listed = member_is_in(m, c->reading.tick);
    if (is_listed != member_is_in(m, later->tick)) return false;
    return !is_listed || !record_has_changed_since(m->record, c->version);
}

bool all_are_listed(const choice *c, uint64_t now) {
    member_reading later = member_list_read(&c->model->members, now);
    if (!is_same_array(c, &later)) return false;
    for (uint32_t i = 0; i < c->reading.length; i++)
        if (!is_unchanged(c, &later, c->reading.array->members + i)) return false;
    return true;
}

bool picks_are_listed(const choice *c, const picks *p, uint64_t now) {
    member_reading later = member_list_read(&c->model->members, now);
    return is_same_array(c, &later) && is_unchanged(c, &later, p->best.place) &&
           (p->count == 1 || is_unchanged(c, &later, p->second.place));
}

static always_inline uint64_t sum_of_tallies(const choice *c, bool with_latency) {
    const member *m = c->reading.array->members, *end = m + c->reading.length;
    uint32_t tick = c->reading.tick;
    uint64_t tally = 0;
#pragma GCC unroll 4
    for (; m != end; m++) {
        if (reg_unlikely(!member_is_in(m, tick))) continue;
        /* Not candidate_at: the compiler keeps its loads of the limits, which nothing uses. */
        counters *counted = &line_of(m->record)->counters;
        candidate x = {.pending = load_seq_cst(&counted->pending),
                       .latency = with_latency ? load_seq_cst(&counted->latency) : 0};
        tally += tally_of(&x);
    }
    return tally;
}

uint64_t tally_of_all(const choice *c) {
    return c->traits->reads_latency ? sum_of_tallies(c, true) : sum_of_tallies(c, false);
}
