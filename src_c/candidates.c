#include "candidates.h"

#include <stdlib.h>
#include <string.h>

#include "random.h"

/* ---- excluded ids ---- */

static int by_hash(const void *left, const void *right) {
    uint64_t a = ((const reg_key *)left)->hash, b = ((const reg_key *)right)->hash;
    return (a > b) - (a < b);
}

void request_prepare(reg_request *request) {
    if (request->exclude_count > 1) qsort(request->exclude, request->exclude_count, sizeof *request->exclude, by_hash);
}

static bool is_excluded(const reg_request *request, const reg_key *id) {
    size_t low = 0, high = request->exclude_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (request->exclude[middle].hash < id->hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < request->exclude_count && request->exclude[low].hash == id->hash; low++)
        if (request->exclude[low].length == id->length && memcmp(request->exclude[low].data, id->data, id->length) == 0) return true;
    return false;
}

/* ---- where ties go on ---- */

/* A registration is known by its order: its place may have changed since it was chosen, or it may have gone. */
static uint32_t search_start(const choice *c, uint32_t last_order) {
    uint32_t nearest = UINT32_MAX, start = 0;
    EACH_LISTED(c, 0, c->reading.length, m) {
        uint32_t distance = (uint32_t)m->record->order - last_order - 1; /* wraps: a round */
        if (distance >= nearest) continue;
        nearest = distance;
        start = (uint32_t)(m - c->reading.array->members);
    }
    return start;
}

/* Behind the last chosen, whoever came or went since. Where nobody has been chosen yet, a place that differs from model to model and
 * from process to process (the hash is keyed): else the first backend of all would get the first request for each. */
static uint32_t start_of(const choice *c) {
    uint64_t last_chosen = load_hint(&c->model->last_chosen);
    uint32_t position = (uint32_t)(last_chosen >> 32), last_order = (uint32_t)last_chosen, length = c->reading.length;
    if (reg_unlikely(last_chosen == 0)) return (uint32_t)(random_mix(c->model->item.key.hash) % length);
    if (position >= length) position = 0; /* another list since */
    const member *there = c->reading.array->members + position;
    bool is_there = member_is_in(there, c->reading.tick) && (uint32_t)there->record->order == last_order;
    return !is_there ? search_start(c, last_order) : position + 1 < length ? position + 1 : 0;
}

void choice_move_on(const choice *c, const candidate *chosen) {
    store_private(&c->model->last_chosen, (uint64_t)place_number(c, chosen) << 32 | (uint32_t)chosen->record->order);
}

bool choice_begin(choice *c, reg_registry *reg, const reg_request *request) {
    *c = (choice){.request = request, .version = load_committed(&reg->committed), .best_average = 1};
    c->model = model_index_get(&reg->models, &request->model_id);
    if (c->model == NULL) return false;
    c->reading = member_list_read(&c->model->members, c->version);
    if (c->reading.length == 0) return false;
    if (request->policy != REG_POWER_OF_TWO && request->policy != REG_RANDOM) c->start = start_of(c);
    c->is_plain =
        request->exclude_count == 0 && !request->allow_unknown && request->capabilities == 0 && request->min_context == 0;
    return true;
}

/* ---- what stands in the way ---- */

static reg_reason reason_of_health(uint8_t health) {
    return health == REG_UNKNOWN ? REG_IS_UNKNOWN : health == REG_DRAINING ? REG_IS_DRAINING : REG_IS_UNHEALTHY;
}

static reg_reason reason_of_lacking(uint8_t capabilities) {
    return capabilities & REG_VISION ? REG_NO_VISION : capabilities & REG_TOOLS ? REG_NO_TOOLS : REG_NO_JSON_MODE;
}

reg_reason candidate_obstacle(const choice *c, const member *place) {
    const reg_request *request = c->request;
    if (request->exclude_count != 0 && is_excluded(request, &place->record->item.key)) return REG_EXCLUDED;
    uint8_t health = record_health_at(place->record, c->version);
    if (health != REG_HEALTHY && !(health == REG_UNKNOWN && request->allow_unknown)) return reason_of_health(health);
    uint8_t lacking = request->capabilities & (uint8_t)~place->traits.capabilities;
    if (lacking != 0) return reason_of_lacking(lacking);
    return place->traits.context_length < request->min_context ? REG_SHORT_CONTEXT : REG_ELIGIBLE;
}
