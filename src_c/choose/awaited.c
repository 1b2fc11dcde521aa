#include "choose/awaited.h"

#include "choose/panic.h"

/* A choice for that request at the version and the time of this one. False if no backend lists its
 * model. */
static bool choice_beside(const choice *c, const reg_request *request, choice *other) {
    *other = (choice){.request = request,
                      .traits = traits_of(request->policy),
                      .settings = c->settings,
                      .version = c->version,
                      .time = c->time};
    other->model = model_index_get(&c->waited->models, &request->model_id);
    if (other->model == NULL) return false;
    other->reading = member_list_read(&other->model->members, c->version);
    return other->reading.length != 0;
}

/* Whether the request of `other`, a choice at the same instant, could take the place. */
static bool could_take(choice *other, const member *place, uint64_t pending) {
    if (record_standing_at(place->record, other->version) & STANDING_EJECTED && can_panic(other))
        other->ignores_ejection = is_panic(other);
    candidate x = {.record = place->record, .place = place, .pending = pending};
    if (other->traits->reads_tokens) candidate_add_tokens(other, &x, has_prefix(other));
    return candidate_obstacle(other, place, pending, tokens_added(other, &x)) == REG_ELIGIBLE;
}

/* The member's entry for the model of `other`, or NULL. */
static const variant *listed_by(const choice *other, const record *r) {
    return memberships_find(memberships_at(record_state_at((record *)r, other->version)),
                            other->model);
}

bool place_is_awaited(const choice *c, record *r, uint64_t pending) {
    REG_ASSERT_LINE_OF(c->waited);
    const waiting_line *l = &c->waited->line;
    const line_model *absent = NULL; /* a model that the member does not list */
    const line_kind *k = l->is_handing_over ? l->aside : l->all_kinds;
    for (; k != NULL; k = l->is_handing_over ? k->aside : k->next) {
        choice other;
        const variant *v;
        if (k == l->tried || k->model == absent) continue;
        if (!choice_beside(c, &line_first_of(k)->request, &other) ||
            (v = listed_by(&other, r)) == NULL) {
            absent = k->model;
            continue;
        }
        if (could_take(&other, &(member){.record = r, .traits = v->traits}, pending)) return true;
    }
    return false;
}
