#include "choose/candidates.h"

#include <stdlib.h>
#include <string.h>

/* ---- excluded ids ---- */

static int by_hash(const void *left, const void *right) {
    uint64_t a = ((const reg_key *)left)->hash, b = ((const reg_key *)right)->hash;
    return (a > b) - (a < b);
}

void request_prepare(reg_request *request) {
    if (request->exclude_count > 1)
        qsort(request->exclude, request->exclude_count, sizeof *request->exclude, by_hash);
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
        if (request->exclude[low].length == id->length &&
            memcmp(request->exclude[low].data, id->data, id->length) == 0)
            return true;
    return false;
}

/* ---- the list ---- */

bool choice_begin(choice *c, reg_registry *reg, const reg_request *request) {
    *c = (choice){.request = request,
                  .traits = traits_of(request->policy),
                  .version = load_committed(&reg->committed),
                  .best_average = 1,
                  .round_age = NO_ROUND};
    c->model = model_index_get(&reg->models, &request->model_id);
    if (c->model == NULL) return false;
    c->reading = member_list_read(&c->model->members, c->version);
    if (c->reading.length == 0) return false;
    c->is_careful = load_published(&reg->choices_changed) > c->version;
    c->is_plain = request->exclude_count == 0 && !request->allow_unknown &&
                  request->capabilities == 0 && request->min_context == 0;
    return true;
}

/* ---- obstacles ---- */

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

reg_reason candidate_obstacle(const choice *c, const member *place) {
    const reg_request *request = c->request;
    if (request->exclude_count != 0 && is_excluded(request, &place->record->item.key))
        return REG_EXCLUDED;
    uint8_t standing = record_standing_at(place->record, c->version),
            health = standing & STANDING_HEALTH;
    if (health != REG_HEALTHY && !(health == REG_UNKNOWN && request->allow_unknown))
        return reason_of_health(health);
    if (standing & STANDING_DRAINING) return REG_IS_DRAINING;
    uint8_t missing = request->capabilities & (uint8_t)~place->traits.capabilities;
    if (missing != 0) return reason_of_missing(missing);
    return place->traits.context_length < request->min_context ? REG_SHORT_CONTEXT : REG_ELIGIBLE;
}
