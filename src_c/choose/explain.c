/* What a choice looks like from outside: every candidate, what stands in its way, and who would be next. Reads, and never chooses. */
#include <stdlib.h>

#include "base/memory.h"
#include "choose/rounds.h"

/* A candidate beside what is told of it, so that both are sorted at once. */
typedef struct explained {
    candidate seen;
    reg_candidate told;
    const choice *choice;
} explained;

/* How far from where a pass starts. */
static uint32_t distance_of(const explained *e) {
    uint32_t position = place_number(e->choice, &e->seen), start = e->choice->start;
    return position >= start ? position - start : position + e->choice->reading.length - start;
}

/* Of equals: the unserved ones as a pass meets them, then the others by age. See rounds.h. */
static int by_turn(const explained *a, const explained *b) {
    bool a_is_unserved = is_unserved(a->choice, &a->seen),
         b_is_unserved = is_unserved(b->choice, &b->seen);
    if (a_is_unserved != b_is_unserved) return a_is_unserved ? -1 : 1;
    if (!a_is_unserved && a->seen.age != b->seen.age) return compare(b->seen.age, a->seen.age);
    return compare(distance_of(a), distance_of(b));
}

static int by_rank(const void *left, const void *right) {
    const explained *a = left, *b = right;
    bool a_is_out = a->told.reason != REG_ELIGIBLE, b_is_out = b->told.reason != REG_ELIGIBLE;
    if (a_is_out != b_is_out) return a_is_out ? 1 : -1;
    if (a_is_out) return compare(a->told.serial, b->told.serial);
    const choice *c = a->choice;
    int by_policy = preference(c->request->policy, &a->seen, &b->seen, c->best_average);
    return by_policy != 0 ? by_policy : by_turn(a, b);
}

static explained explain_one(const choice *c, const member *place) {
    candidate x = candidate_at(place, true);
    record *r = x.record;
    x.pending = counter_value(&line_of(r)->counters.pending);
    x.age = age_of(c, r);
    reg_reason reason = candidate_obstacle(c, place);
    if (reason == REG_ELIGIBLE && candidate_is_full(&x)) reason = REG_FULL;
    if (c->request->policy == REG_SMART) x.credit = smart_score(&x);
    if (c->request->policy == REG_ROUND_ROBIN)
        x.credit = turns_credit(&c->model->turns, line_of(r)->serial) + line_of(r)->weight;
    return (explained){
        .seen = x,
        .choice = c,
        .told = {.definition = record_state_at(r, c->version)->definition,
                 .serial = line_of(r)->serial,
                 .pending = counter_in_flight(x.pending),
                 .latency = latency_of(x.latency),
                 .context_length = place->traits.context_length,
                 .priority = line_of(r)->priority,
                 .weight = line_of(r)->weight,
                 .reason = (uint8_t)reason},
    };
}

/* The best average of those that nothing but their load may stand in the way of. */
static void find_best_average(choice *c, const explained *items, size_t count) {
    uint32_t best = UINT32_MAX;
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        bool is_candidate =
            items[i].told.reason == REG_ELIGIBLE || items[i].told.reason == REG_FULL;
        if (!is_candidate || !latency_is_sampled(items[i].seen.latency) ||
            items[i].told.latency > best)
            continue;
        best = items[i].told.latency;
        found = true;
    }
    if (found) c->best_average = best;
}

static size_t explain_all(reg_registry *reg, choice *c, explained *items) {
    size_t count = 0;
    bool in_turn = c->request->policy == REG_ROUND_ROBIN;
    if (in_turn) pthread_mutex_lock(&reg->turns);
    EACH_LISTED(c, 0, c->reading.length, m) items[count++] = explain_one(c, m);
    if (in_turn) pthread_mutex_unlock(&reg->turns);
    find_best_average(c, items, count);
    return count;
}

reg_status reg_explain(reg_registry *reg, reg_request *request, reg_candidates *candidates) {
    choice c;
    *candidates = (reg_candidates){0};
    request_prepare(request);
    if (!choice_begin(&c, reg, request)) return REG_OK;
    c.now = load_hint(&reg->tick) + 1; /* for policies, too, that do not choose by it */
    explained *items = memory_alloc_raw(c.reading.length * sizeof *items);
    reg_candidate *told = memory_alloc_raw(c.reading.length * sizeof *told);
    if (items == NULL || told == NULL) {
        memory_free(items);
        memory_free(told);
        return REG_NO_MEMORY;
    }
    size_t count = explain_all(reg, &c, items);
    qsort(items, count, sizeof *items, by_rank);
    for (size_t i = 0; i < count; i++) told[i] = items[i].told;
    memory_free(items);
    *candidates = (reg_candidates){told, count};
    return REG_OK;
}

void reg_candidates_free(reg_candidates *candidates) { memory_free(candidates->items); }
