#include "choose/recheck.h"

#include "choose/heat.h"

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
    for (uint32_t i = 0; c->traits->draws_hand && i < p->hand_count; i++)
        if (!is_unchanged(c, &later, p->hand[i].seen.place)) return false;
    return is_same_array(c, &later) && is_unchanged(c, &later, p->best.place) &&
           (p->count == 1 || is_unchanged(c, &later, p->second.place));
}

/* Whether the word is still the one that the pass has read, but for a claim, and no choice with a
 * claim on it takes effect any more. */
static bool is_settled(const candidate *x) {
    _Atomic uint64_t *pending = &line_of(x->record)->counters.pending;
    uint64_t seen = load_seq_cst(pending);
    if (counter_changes(seen) != counter_changes(x->pending)) return false;
    return !counter_is_claimed(seen) || counter_void_claim(pending, seen);
}

bool hand_is_unchanged(const choice *c, const picks *p) {
    for (uint32_t i = 0; i < p->hand_count; i++) {
        const card *old = &p->hand[i];
        if (old->seen.record != p->best.record && !is_settled(&old->seen)) return false;
        card fresh = {
            .seen = {.record = old->seen.record,
                     .latency = load_seq_cst(&line_of(old->seen.record)->counters.latency)}};
        heat_read(c, &fresh);
        if (fresh.seen.latency != old->seen.latency || fresh.ttft != old->ttft ||
            fresh.seen.is_sampled != old->seen.is_sampled || fresh.has_ttft != old->has_ttft)
            return false;
    }
    return true;
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

bool all_counts_are_unchanged(const choice *c, const picks *p) {
    uint64_t tally = 0, in_flight = 0;
    EACH_LISTED(c, 0, c->reading.length, m) {
        _Atomic uint64_t *pending = &line_of(m->record)->counters.pending;
        /* The picked one has the claim of this choice. */
        candidate x = {.pending =
                           m == p->best.place ? load_seq_cst(pending) : counter_report(pending)};
        tally += tally_of(&x);
        in_flight += counter_in_flight(x.pending);
    }
    return tally == p->tally && in_flight == p->in_flight;
}
