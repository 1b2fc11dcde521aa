/* Explains a choice without making it: lists the eligible members in the order in which they would
 * be chosen, and then the others, each with its obstacle. Changes no counts and no turns. */
#include <stdlib.h>

#include "base/memory.h"
#include "choose/affinity.h"
#include "choose/awaited.h"
#include "choose/few.h"
#include "choose/heat.h"
#include "choose/panic.h"
#include "choose/rounds.h"
#include "registry/locks.h"

/* A candidate and its report, which are sorted together. */
typedef struct explained {
    card card;
    reg_candidate report;
    key_place place;      /* only for a policy that ranks by key */
    const choice *choice; /* qsort passes no context to a comparison */
} explained;

/* Orders equal candidates: first the unserved ones in the order of a pass, then the others by age.
 * See rounds.h. */
static int by_turn(const explained *a, const explained *b) {
    bool a_is_unserved = is_unserved(a->choice, &a->card.seen),
         b_is_unserved = is_unserved(b->choice, &b->card.seen);
    if (a_is_unserved != b_is_unserved) return a_is_unserved ? -1 : 1;
    if (!a_is_unserved && a->card.seen.age != b->card.seen.age)
        return compare(b->card.seen.age, a->card.seen.age);
    if (few_suffice(a->choice->request)) return compare(a->report.order, b->report.order);
    return compare(distance_from_start(a->choice, &a->card.seen),
                   distance_from_start(b->choice, &b->card.seen));
}

static int by_rank(const void *left, const void *right) {
    explained *a = (explained *)left, *b = (explained *)right; /* a distance is computed once */
    bool a_is_out = a->report.reason != REG_ELIGIBLE, b_is_out = b->report.reason != REG_ELIGIBLE;
    if (a_is_out != b_is_out) return a_is_out ? 1 : -1;
    if (a_is_out) return compare(a->report.order, b->report.order);
    const choice *c = a->choice;
    if (c->traits->by_key) return key_compare(&a->place, &b->place);
    int by_policy = preference(c->request->policy, &a->card.seen, &b->card.seen, c->best_average);
    return by_policy != 0 ? by_policy : by_turn(a, b);
}

/* Needs the turns lock if the policy takes turns. */
static explained explain_one_locked(const choice *c, const member *place) {
    if (c->traits->takes_turns) REG_ASSERT_TURNS();
    card k = {.seen = candidate_at(c, place, true, true)};
    heat_read(c, &k);
    candidate x = k.seen;
    record *r = x.record;
    x.pending = counter_report_load(&line_of(r)->counters, &x.tokens);
    if (c->traits->reads_tokens) candidate_add_tokens(c, &x, has_prefix(c));
    x.age = age_of(c, r);
    reg_reason reason = candidate_obstacle(c, place, x.pending, tokens_added(c, &x));
    if (reason == REG_ELIGIBLE && c->waited != NULL && place_is_awaited(c, r, x.pending))
        reason = REG_WAITING;
    if (reason == REG_ELIGIBLE && candidate_is_full(&x)) reason = REG_FULL;
    if (c->traits->takes_turns)
        x.credit = turns_credit(&c->model->turns, order_of(line_of(r)), turn_holder(r, x.weight)) +
                   x.weight;
    k.seen = x;
    return (explained){
        .card = k,
        .choice = c,
        .report = {.definition = record_state_at(r, c->version)->definition,
                   .order = order_of(line_of(r)),
                   .pending = counter_in_flight(x.pending),
                   .latency = latency_of(x.latency),
                   .context_length = place->traits.context_length,
                   .priority = priority_of(&x),
                   .weight = record_state_at(r, c->version)->weight,
                   .reason = (uint8_t)reason},
    };
}

/* Finds the best average of all candidates, full ones included. */
static void find_best_average(choice *c, const explained *items, size_t count) {
    uint64_t best = UINT64_MAX; /* no average is as great */
    for (size_t i = 0; i < count; i++) {
        bool is_candidate =
            items[i].report.reason == REG_ELIGIBLE || items[i].report.reason >= REG_WAITING;
        if (is_candidate && items[i].card.seen.is_sampled && items[i].report.latency < best)
            best = items[i].report.latency;
    }
    c->best_average = best != UINT64_MAX ? (uint32_t)best : 0;
}

static int64_t score_of(const choice *c, const candidate *x) {
    uint32_t average = x->is_sampled ? latency_of(x->latency) : c->best_average;
    return smart_score(x, average);
}

/* Rates all eligible members as HOT_COLD rates a hand. Returns false if out of memory. */
static bool rate_all(explained *items, size_t count) {
    card **cards = memory_alloc_raw(count * sizeof *cards);
    if (cards == NULL) return false;
    size_t eligible = 0;
    for (size_t i = 0; i < count; i++)
        if (items[i].report.reason == REG_ELIGIBLE) cards[eligible++] = &items[i].card;
    heat_rate(cards, eligible);
    memory_free(cards);
    return true;
}

/* Finds which of them are within the bound. */
static void find_places(const choice *c, explained *items, size_t count) {
    key_mean mean = {0};
    for (size_t i = 0; i < count; i++) {
        items[i].place = key_place_of(c, &items[i].card.seen);
        if (items[i].report.reason == REG_ELIGIBLE) key_mean_add(&mean, &items[i].place);
    }
    for (size_t i = 0; i < count; i++) {
        key_place *place = &items[i].place;
        place->is_within = key_is_low(c, place) || key_is_within_mean(c, &mean, place);
    }
}

static size_t explain_all(reg_registry *reg, choice *c, explained *items) {
    size_t count = 0;
    bool takes_turns = c->traits->takes_turns;
    if (c->waited != NULL) lock_line(reg);
    if (takes_turns) lock_turns(reg);
    EACH_LISTED(c, 0, c->reading.length, m) items[count++] = explain_one_locked(c, m);
    if (takes_turns) unlock_turns(reg);
    if (c->waited != NULL) unlock_line(reg);
    find_best_average(c, items, count);
    for (size_t i = 0; c->traits->has_score && i < count; i++)
        items[i].card.seen.credit = score_of(c, &items[i].card.seen);
    if (c->traits->by_key) find_places(c, items, count);
    return count;
}

reg_status reg_explain(reg_registry *reg, reg_request *request, reg_candidates *candidates) {
    choice c;
    c.few = NULL; /* the others are listed too */
    c.waited = line_is_waited(reg->settings) ? reg : NULL;
    *candidates = (reg_candidates){0};
    request_prepare(request);
    if (!choice_begin(&c, reg, request)) return REG_OK;
    if (c.time == 0) c.time = registry_now(reg);
    c.ignores_ejection = can_panic(&c) && is_panic(&c);
    if (c.traits->ties_by_age) round_join(&c, reg);
    c.now = load_hint(&reg->tick) + 1; /* ties are listed by age for the other policies too */
    explained *items = memory_alloc_raw(c.reading.length * sizeof *items);
    reg_candidate *reports = memory_alloc_raw(c.reading.length * sizeof *reports);
    size_t count = 0;
    bool has_memory = items != NULL && reports != NULL;
    if (has_memory) count = explain_all(reg, &c, items);
    if (!has_memory || (c.traits->draws_hand && !rate_all(items, count))) {
        memory_free(items);
        memory_free(reports);
        return REG_NO_MEMORY;
    }
    qsort(items, count, sizeof *items, by_rank);
    for (size_t i = 0; i < count; i++) reports[i] = items[i].report;
    memory_free(items);
    *candidates = (reg_candidates){reports, count};
    return REG_OK;
}

void reg_candidates_free(reg_candidates *candidates) { memory_free(candidates->items); }
