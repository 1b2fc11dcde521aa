/* Redefining a registered backend: its models, its mDNS instance and its definition object, in one write. See write.h for the steps. */
#include "base/memory.h"
#include "registry/write.h"

/* What a redefinition needs, allocated before anything changes. */
typedef struct change {
    record *record;
    memberships *old, *fresh;
    state *state;
    alias *instance;
} change;

/* Marks every model of `m` with its index + 1, or takes the marks away, so that two lists of models are compared in linear time. */
static void mark_models(const memberships *m, bool on) {
    for (uint32_t i = 0; i < m->count; i++) m->variants[i]->model->mark = on ? i + 1 : 0;
}

/* Whether variant `i` of `m` is in the marked memberships too: not only the model, but the same definition of it. */
static bool is_in_both(const memberships *m, uint32_t i, const memberships *marked) {
    uint32_t mark = m->variants[i]->model->mark;
    return mark != 0 && marked->variants[mark - 1] == m->variants[i];
}

/* Lists that the record joins want room for it, lists that it leaves want a tick. */
static bool reserve_lists(reg_registry *reg, const memberships *m, const memberships *other,
                          uint32_t extra) {
    bool ready = true;
    mark_models(other, true);
    for (uint32_t i = 0; ready && i < m->count; i++)
        if (!is_in_both(m, i, other))
            ready = member_list_reserve_locked(&m->variants[i]->model->members, extra,
                                               committed(reg), &reg->limbo);
    mark_models(other, false);
    return ready;
}

static void give_up(reg_registry *reg, change *c) {
    if (c->instance != NULL) alias_cancel_ref_locked(&reg->instances, c->instance, &reg->limbo);
    memory_free(c->fresh);
    memory_free(c->state);
}

static bool prepare(reg_registry *reg, const reg_entry *entry, change *c) {
    c->fresh = memberships_new(entry->variants, (uint32_t)entry->variant_count);
    c->state = memory_alloc(sizeof *c->state);
    bool ready = c->fresh != NULL && c->state != NULL && reserve_lists(reg, c->fresh, c->old, 1) &&
                 reserve_lists(reg, c->old, c->fresh, 0);
    if (ready && entry->instance.data != NULL) {
        c->instance = alias_ref_locked(&reg->instances, &entry->instance, c->record, committed(reg),
                                       &reg->limbo);
        ready = c->instance != NULL;
    }
    if (!ready) give_up(reg, c);
    return ready;
}

/* A model in both lists keeps its member, which gets its new slot. A redefined model swaps members
 * in one write, so a lookup never misses it. The others join and leave. */
static void move_between_lists(reg_registry *reg, change *c) {
    uint64_t now = committed(reg);
    c->fresh->roster_position = c->old->roster_position;
    mark_models(c->old, true);
    for (uint32_t i = 0; i < c->fresh->count; i++) {
        const variant *v = c->fresh->variants[i];
        if (is_in_both(c->fresh, i, c->old)) {
            c->fresh->positions[i] = c->old->positions[v->model->mark - 1];
            member_list_set_slot_locked(&v->model->members, c->fresh->positions[i], i);
        } else {
            c->fresh->positions[i] = model_index_add_locked(&reg->models, v, i, c->record, now);
        }
    }
    mark_models(c->old, false);
    mark_models(c->fresh, true);
    for (uint32_t i = 0; i < c->old->count; i++) {
        if (!is_in_both(c->old, i, c->fresh))
            model_index_remove_locked(&reg->models, c->old->variants[i]->model,
                                      c->old->positions[i], now);
    }
    mark_models(c->fresh, false);
    c->record->memberships = c->fresh;
}

static void apply(reg_registry *reg, const reg_entry *entry, change *c) {
    record *r = c->record;
    state *old = load_own(&r->state);
    alias *old_instance = r->instance;
    move_between_lists(reg, c);
    note_choices_changed(reg);
    r->instance = c->instance;
    if (old_instance != NULL) alias_unref_locked(old_instance, committed(reg));
    *c->state = (state){.shown.generations = reg->generations,
                        .definition = entry->definition,
                        .definition_bytes = known_bytes(entry->definition_bytes),
                        .definition_born = generation_now(reg->generations),
                        .owns_definition = true,
                        .error = old->error,
                        .error_bytes = old->error_bytes,
                        .error_born = old->error_born,
                        .owns_error = old->owns_error,
                        .checked_at = old->checked_at,
                        .health = old->health};
    old->owns_error = false;
    replace_state(reg, r, c->state);
    if (old_instance != NULL) alias_tidy_locked(&reg->instances, old_instance, &reg->limbo);
    for (uint32_t i = 0; i < c->old->count; i++) {
        member_list_tidy_locked(&c->old->variants[i]->model->members, committed(reg), &reg->limbo);
        model_index_unref_locked(&reg->models, c->old->variants[i], &reg->limbo);
    }
    memory_free(c->old);
}

static reg_status redefine(reg_registry *reg, const reg_entry *entry, uint64_t serial,
                           const void *expected) {
    record *r = find_record(reg, &entry->id);
    if (r == NULL || line_of(r)->serial != serial) return REG_NOT_FOUND;
    if (load_own(&r->state)->definition != expected) return REG_CHANGED;
    if (instance_is_taken(reg, &entry->instance, r)) return REG_INSTANCE_TAKEN;
    change c = {.record = r, .old = r->memberships};
    if (!prepare(reg, entry, &c)) return REG_NO_MEMORY;
    apply(reg, entry, &c);
    return REG_OK;
}

reg_status reg_redefine(reg_registry *reg, const reg_entry *entry, uint64_t serial,
                        const void *expected, reg_garbage **garbage) {
    if (!begin_write(reg, garbage)) return REG_NO_MEMORY;
    reg_status status = redefine(reg, entry, serial, expected);
    end_write(reg, garbage);
    return status;
}
