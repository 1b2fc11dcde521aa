#include "registry/change.h"

#include <string.h>

#include "base/memory.h"
#include "registry/availability.h"

static bool brings_record(const change *c) {
    return c->kind == REG_ADDED || c->kind == REG_REPLACED;
}

/* Whether an update keeps an availability. */
static bool is_flagged(const change *c) {
    return c->kind == REG_UPDATED && state_is_flagged(c->old_state);
}

static bool ends_record(const change *c) {
    return c->kind == REG_REMOVED || c->kind == REG_REPLACED;
}

/* ---- two lists of models ---- */

/* Marks every model of `m` with its index + 1, or clears the marks. The marks make it possible to
 * compare two lists of models in linear time. */
static void mark_models_locked(const memberships *m, bool on) {
    REG_ASSERT_WRITER();
    for (uint32_t i = 0; i < m->count; i++) m->variants[i]->model->mark = on ? i + 1 : 0;
}

/* Whether the memberships `marked` also contain variant `i` of `m`: the same model with the same
 * definition. */
static bool is_in_both_locked(const memberships *m, uint32_t i, const memberships *marked) {
    REG_ASSERT_WRITER();
    uint32_t mark = m->variants[i]->model->mark;
    return mark != 0 && marked->variants[mark - 1] == m->variants[i];
}

/* ---- prepare ---- */

/* For every list of `m` that is not also a list of `other`, reserves space for `extra` members and
 * a tick for the current write. `other` may be NULL. */
static bool reserve_lists_locked(reg_registry *reg, const memberships *m, const memberships *other,
                                 uint32_t extra) {
    REG_ASSERT_WRITER_OF(reg);
    bool ready = true;
    if (other != NULL) mark_models_locked(other, true);
    for (uint32_t i = 0; ready && i < m->count; i++)
        if (other == NULL || !is_in_both_locked(m, i, other))
            ready = member_list_reserve_locked(&m->variants[i]->model->members, extra,
                                               committed_locked(reg), &reg->limbo);
    if (other != NULL) mark_models_locked(other, false);
    return ready;
}

static bool reserve_roster_locked(reg_registry *reg, uint32_t extra) {
    REG_ASSERT_WRITER_OF(reg);
    return member_list_reserve_locked(&reg->roster, extra, committed_locked(reg), &reg->limbo);
}

static bool prepare_instance_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    if (c->entry->instance.data == NULL) return true;
    c->instance = alias_ref_locked(&reg->instances, &c->entry->instance, c->fresh,
                                   committed_locked(reg), &reg->limbo);
    return c->instance != NULL;
}

static bool prepare_record_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    c->fresh = record_alloc();
    if (c->fresh == NULL) return false;
    if (!reserve_roster_locked(reg, 1) || !reserve_lists_locked(reg, c->joined, NULL, 1))
        return false;
    c->fresh->url =
        alias_ref_locked(&reg->urls, &c->entry->url, NULL, committed_locked(reg), &reg->limbo);
    return c->fresh->url != NULL && prepare_instance_locked(reg, c);
}

/* Memory can run out even for a removal, because once in 2**32 writes a list needs a fresh array.
 */
static bool prepare_end_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    return reserve_roster_locked(reg, 0) && reserve_lists_locked(reg, c->left, NULL, 0);
}

static bool prepare_update_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    c->fresh = c->old;
    return reserve_lists_locked(reg, c->joined, c->left, 1) &&
           reserve_lists_locked(reg, c->left, c->joined, 0) && prepare_instance_locked(reg, c);
}

bool change_prepare_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    if (c->old != NULL) {
        c->old_state = load_own(&c->old->state);
        c->left = memberships_at(c->old_state);
        c->old_instance = c->old->instance;
    }
    if (c->entry != NULL) {
        c->joined = memberships_new(c->entry->variants, (uint32_t)c->entry->variant_count);
        c->state = state_alloc(is_flagged(c));
        if (c->joined == NULL || c->state == NULL) return false;
        c->joined->base.max_pending_tokens = c->entry->max_pending_tokens;
    }
    if (ends_record(c) && !prepare_end_locked(reg, c)) return false;
    if (brings_record(c)) return prepare_record_locked(reg, c);
    return c->kind != REG_UPDATED || prepare_update_locked(reg, c);
}

void change_cancel_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    member_list_cancel_locked(&reg->roster);
    for (uint32_t i = 0; c->joined != NULL && i < c->joined->count; i++)
        member_list_cancel_locked(&c->joined->variants[i]->model->members);
    if (c->instance != NULL) alias_cancel_ref_locked(&reg->instances, c->instance, &reg->limbo);
    if (brings_record(c) && c->fresh != NULL) {
        if (c->fresh->url != NULL) alias_cancel_ref_locked(&reg->urls, c->fresh->url, &reg->limbo);
        record_free(c->fresh);
    }
    memory_free(c->joined);
    memory_free(c->state);
}

/* ---- join ---- */

/* The part of a state that comes from the definition. */
static void define_locked(reg_registry *reg, state *s, const reg_entry *entry) {
    REG_ASSERT_WRITER_OF(reg);
    s->version = next_version_locked(reg);
    s->definition = entry->definition;
    s->definition_bytes = known_bytes(entry->definition_bytes);
    s->definition_born = generation_now(reg->generations);
    s->owns_definition = true;
    s->weight = entry->weight;
    s->caps_tokens = entry->max_pending_tokens != 0;
    store_private(&s->limits.max_pending, entry->max_pending);
    store_private(&s->limits.priority, entry->priority);
}

/* Fills the first state of a record. If the record replaces another one, the state links to the
 * last state of that one: see record.h. */
static void fill_state_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    state *s = c->state;
    memset(s, 0, sizeof *s);
    s->shown.generations = reg->generations;
    s->shown.link = c->old == NULL ? NULL : &c->old_state->shown;
    s->record = c->fresh;
    s->memberships = &c->joined->base;
    s->checked_at = c->entry->now;
    s->health = REG_UNKNOWN;
    s->serial = ++reg->last_serial;
    define_locked(reg, s, c->entry);
}

static void fill_record_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = c->fresh;
    counter_line *line = line_of(r);
    fill_state_locked(reg, c);
    uint64_t order = c->old == NULL ? c->state->serial : order_of(line_of(c->old));
    r->item.key = c->entry->id;
    r->instance = c->instance;
    c->joined->base.id = c->entry->id_object;
    c->joined->base.born = generation_now(reg->generations);
    line->order_low = (uint32_t)order;
    line->order_high = (uint16_t)(order >> 32);
    store_private(&line->weight, (uint16_t)(c->entry->weight * WEIGHT_UNIT));
    store_private(&line->limits.max_pending, c->entry->max_pending);
    store_private(&line->limits.priority, c->entry->priority);
    store_private(&line->standing, record_standing_word(c->state));
    store_private(&r->state, c->state);
    store_private(&r->life, life_alive_since(c->state->version));
}

static void enter_lists_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    memberships *m = c->joined;
    m->roster_position =
        member_list_add_locked(&reg->roster, c->fresh, (member_traits){0}, committed_locked(reg));
    for (uint32_t i = 0; i < m->count; i++)
        m->positions[i] = model_index_add_locked(&reg->models, m->variants[i], i, c->fresh,
                                                 committed_locked(reg));
}

static void enter_map_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    if (c->old == NULL)
        string_map_put_locked(&reg->records, &c->fresh->item);
    else
        string_map_replace_locked(&reg->records, &c->old->item, &c->fresh->item);
}

/* If the old and the new memberships share a variant, the record stays in the model's list, and its
 * member there gets the new slot. Otherwise it joins the list. If it has another variant of the
 * model, its old member leaves the list in the same write, so a look-up never misses the record. */
static void join_lists_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    c->joined->roster_position = c->left->roster_position;
    mark_models_locked(c->left, true);
    for (uint32_t i = 0; i < c->joined->count; i++) {
        const variant *v = c->joined->variants[i];
        if (is_in_both_locked(c->joined, i, c->left)) {
            c->joined->positions[i] = c->left->positions[v->model->mark - 1];
            member_list_set_slot_locked(&v->model->members, c->joined->positions[i], i);
        } else {
            c->joined->positions[i] =
                model_index_add_locked(&reg->models, v, i, c->fresh, committed_locked(reg));
        }
    }
    mark_models_locked(c->left, false);
    c->joined->base.id = c->left->base.id;
    c->joined->base.born = c->left->base.born;
}

static bool is_reweighed(const change *c) { return c->state->weight != c->old_state->weight; }

static void reweigh_locked(const change *c) {
    REG_ASSERT_WRITER();
    for (uint32_t i = 0; i < c->joined->count; i++)
        member_list_reweigh_locked(&c->joined->variants[i]->model->members,
                                   c->state->weight * WEIGHT_UNIT);
}

static void join_update_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    join_lists_locked(reg, c);
    c->fresh->instance = c->instance;
    state_succeed(c->state, c->old_state);
    define_locked(reg, c->state, c->entry);
    c->state->memberships = &c->joined->base;
    c->old_state->owns_error = false;
    if (is_reweighed(c)) reweigh_locked(c);
    if (c->state->is_slow) note_slow_start_locked(reg, c->state);
    record_set_state_locked(c->fresh, c->state);
}

void change_join_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    if (brings_record(c)) {
        fill_record_locked(reg, c);
        enter_lists_locked(reg, c);
        enter_map_locked(reg, c);
    } else if (c->kind == REG_UPDATED) {
        join_update_locked(reg, c);
    }
}

/* ---- leave ---- */

static void leave_lists_locked(reg_registry *reg, const memberships *m) {
    REG_ASSERT_WRITER_OF(reg);
    member_list_remove_locked(&reg->roster, m->roster_position, committed_locked(reg));
    for (uint32_t i = 0; i < m->count; i++)
        model_index_remove_locked(&reg->models, m->variants[i]->model, m->positions[i],
                                  committed_locked(reg));
}

static void leave_dropped_lists_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    mark_models_locked(c->joined, true);
    for (uint32_t i = 0; i < c->left->count; i++)
        if (!is_in_both_locked(c->left, i, c->joined))
            model_index_remove_locked(&reg->models, c->left->variants[i]->model,
                                      c->left->positions[i], committed_locked(reg));
    mark_models_locked(c->joined, false);
}

void change_leave_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    if (c->old_instance != NULL) alias_unref_locked(c->old_instance, committed_locked(reg));
    if (ends_record(c)) {
        leave_lists_locked(reg, c->left);
        alias_unref_locked(c->old->url, committed_locked(reg));
        publish(&c->old->life, life_dead_since(next_version_locked(reg)));
    } else if (c->kind == REG_UPDATED) {
        leave_dropped_lists_locked(reg, c);
    }
}

/* ---- settle ---- */

static void tidy_lists_locked(reg_registry *reg, const memberships *m) {
    REG_ASSERT_WRITER_OF(reg);
    for (uint32_t i = 0; i < m->count; i++)
        member_list_tidy_locked(&m->variants[i]->model->members, committed_locked(reg),
                                &reg->limbo);
}

/* What was known for models that the registration does not serve any more is of no use. */
static void forget_prompts_locked(reg_registry *reg, const change *c) {
    REG_ASSERT_WRITER_OF(reg);
    outcomes *o = load_published(&line_of(c->old)->outcomes);
    if (o == NULL || load_published(&o->prefixes) == NULL) return;
    mark_models_locked(c->joined, true);
    for (uint32_t i = 0; i < c->left->count; i++) {
        const model *m = c->left->variants[i]->model;
        if (m->mark == 0) prefix_map_retire_locked(&o->prefixes, m->number, &reg->limbo);
    }
    mark_models_locked(c->joined, false);
}

static void drop_variants_locked(reg_registry *reg, const memberships *m) {
    REG_ASSERT_WRITER_OF(reg);
    for (uint32_t i = 0; i < m->count; i++)
        model_index_unref_locked(&reg->models, m->variants[i], &reg->limbo);
}

void change_settle_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    if (c->old == NULL) return;
    if (c->kind == REG_REMOVED) string_map_remove_locked(&reg->records, &c->old->item);
    if (c->old_instance != NULL) alias_tidy_locked(&reg->instances, c->old_instance, &reg->limbo);
    if (c->kind == REG_UPDATED && is_reweighed(c)) tidy_lists_locked(reg, c->joined);
    tidy_lists_locked(reg, c->left);
    if (c->kind == REG_UPDATED) forget_prompts_locked(reg, c);
    drop_variants_locked(reg, c->left);
    if (ends_record(c)) {
        if (state_is_flagged(c->old_state)) note_unflagged_locked(reg);
        alias_tidy_locked(&reg->urls, c->old->url, &reg->limbo);
        member_list_tidy_locked(&reg->roster, committed_locked(reg), &reg->limbo);
        record_retire(c->old, &reg->limbo);
    } else {
        state_retire(c->old_state, &reg->limbo);
    }
}
