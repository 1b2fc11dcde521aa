#include "choose/candidates.h"

#include <stdlib.h>
#include <string.h>

/* ---- ids of the request ---- */

static int by_hash(const void *left, const void *right) {
    uint64_t a = ((const reg_key *)left)->hash, b = ((const reg_key *)right)->hash;
    return (a > b) - (a < b);
}

static void sort(reg_key *keys, size_t count) {
    if (count > 1) qsort(keys, count, sizeof *keys, by_hash);
}

void request_prepare(reg_request *request) {
    sort(request->exclude, request->exclude_count);
    sort(request->only, request->only_count);
}

static bool contains(const reg_key *keys, size_t count, const reg_key *id) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (keys[middle].hash < id->hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && keys[low].hash == id->hash; low++)
        if (keys[low].length == id->length && memcmp(keys[low].data, id->data, id->length) == 0)
            return true;
    return false;
}

/* Members of `few` are in `only`. */
static bool is_excluded(const choice *c, const reg_key *id) {
    const reg_request *request = c->request;
    return (request->exclude_count != 0 &&
            contains(request->exclude, request->exclude_count, id)) ||
           (request->is_limited && c->few == NULL &&
            !contains(request->only, request->only_count, id));
}

/* ---- the list ---- */

/* Whether a member of the model's list may be starting slowly. */
static bool starts_slowly(const choice *c) {
    _Atomic uint64_t *until = &c->model->members.slow_until;
    uint64_t end = load_published(until);
    if (c->time < end) return true;
    if (end != 0) cas_strong_seq_cst(until, &end, 0); /* the next choice need not look again */
    return false;
}

/* Reads the clock, for a choice that depends on it. */
static __attribute__((noinline)) void read_time(choice *c) {
    uint64_t ttl = c->settings->values.latency_ttl;
    c->time = settings_now(c->settings);
    if (ttl < c->time) c->last_old = sample_tick(c->time - ttl);
    if (starts_slowly(c)) c->is_careful = true;
}

bool choice_begin(choice *c, reg_registry *reg, const reg_request *request) {
    *c = (choice){.request = request,
                  .few = c->few,
                  .waited = c->waited,
                  .traits = traits_of(request->policy),
                  .settings = reg->settings,
                  .version = load_committed(&reg->committed),
                  .round_age = NO_ROUND};
    c->model = model_index_get(&reg->models, &request->model_id);
    if (c->model == NULL) return false;
    c->reading = member_list_read(&c->model->members, c->version);
    if (c->reading.length == 0) return false;
    c->is_careful = load_published(&reg->choices_changed) > c->version;
    /* If the last flags are cleared by a write that this choice does not see, it is careful. */
    if (c->traits->reads_latency || reg_unlikely(load_published(&reg->flagged) != 0) ||
        reg_unlikely(c->is_careful))
        read_time(c);
    c->is_plain = request->exclude_count == 0 && !request->allow_unknown &&
                  request->capabilities == 0 && request->min_context == 0 &&
                  (!request->is_limited || c->few != NULL);
    return true;
}

/* ---- time ---- */

uint32_t weight_at(const choice *c, const state *s) {
    uint32_t whole = (uint32_t)s->weight * WEIGHT_UNIT;
    if (reg_likely(!s->is_slow)) return whole;
    uint64_t from = state_availability(s)->slow_from, span = c->settings->values.slow_start,
             elapsed = c->time < from ? 0 : c->time - from;
    if (elapsed >= span) return whole;
    return (uint32_t)((double)whole * (0.1 + 0.9 * (double)elapsed / (double)span));
}

bool sample_is_recent(const choice *c, const counter_line *line) {
    outcomes *o = load_published(&((counter_line *)line)->outcomes);
    if (o == NULL || c->last_old == 0) return false;
    uint64_t taken = load_seq_cst(&o->sampled), ttl = c->settings->values.latency_ttl;
    return c->time <= ttl || taken >= c->time - ttl;
}

/* ---- obstacles ---- */

/* What keeps a member from being chosen for a time. */
static reg_reason reason_of_availability(const choice *c, record *r, uint64_t pending) {
    const state *s = record_state_at(r, c->version);
    if (!state_is_flagged(s)) return REG_ELIGIBLE;
    const availability *its = state_availability(s);
    if (s->is_cooling && c->time < its->cooling_until) return REG_COOLING_DOWN;
    if (!s->is_ejected || c->ignores_ejection) return REG_ELIGIBLE;
    if (c->time < its->ejected_until) return REG_EJECTED;
    return counter_has_trial(pending) ? REG_ON_TRIAL : REG_ELIGIBLE;
}

bool candidate_is_due(const choice *c, const candidate *x) {
    const state *s = record_state_at(x->record, c->version);
    return s->is_ejected && c->time >= state_availability(s)->ejected_until &&
           !counter_has_trial(x->pending);
}

static reg_reason reason_of_health(uint8_t health) {
    return health == REG_UNKNOWN    ? REG_IS_UNKNOWN
           : health == REG_DRAINING ? REG_IS_DRAINING
                                    : REG_IS_UNHEALTHY;
}

static reg_reason reason_of_missing(uint8_t capabilities) {
    return capabilities & REG_VISION  ? REG_NO_VISION
           : capabilities & REG_TOOLS ? REG_NO_TOOLS
                                      : REG_NO_JSON_MODE;
}

bool tokens_are_over_cap(const choice *c, const member *place, uint64_t pending, uint32_t added) {
    record *r = place->record;
    if (!(record_standing_at(r, c->version) & STANDING_CAPS_TOKENS)) return false;
    uint64_t sum = load_seq_cst(&line_of(r)->counters.tokens),
             cap = record_state_at(r, c->version)->memberships->max_pending_tokens;
    return added > cap ? counter_in_flight(pending) != 0 : sum > cap - added;
}

reg_reason candidate_obstacle(const choice *c, const member *place, uint64_t pending,
                              uint32_t added) {
    const reg_request *request = c->request;
    if (is_excluded(c, &place->record->item.key)) return REG_EXCLUDED;
    uint8_t standing = record_standing_at(place->record, c->version),
            health = standing & STANDING_HEALTH;
    if (health != REG_HEALTHY && !(health == REG_UNKNOWN && request->allow_unknown))
        return reason_of_health(health);
    if (standing & STANDING_DRAINING) return REG_IS_DRAINING;
    uint8_t missing = request->capabilities & (uint8_t)~place->traits.capabilities;
    if (missing != 0) return reason_of_missing(missing);
    if (place->traits.context_length < request->min_context) return REG_SHORT_CONTEXT;
    reg_reason reason = standing & STANDING_FLAGS
                            ? reason_of_availability(c, place->record, pending)
                            : REG_ELIGIBLE;
    bool is_capped = standing & STANDING_CAPS_TOKENS;
    return is_capped && reason == REG_ELIGIBLE && tokens_are_over_cap(c, place, pending, added)
               ? REG_FULL
               : reason;
}
