/* Replaces the definition of a registered backend, with its models and its mDNS instance, in one
 * write. See write.h for the steps of a write. */
#include "base/memory.h"
#include "registry/write.h"

/* The parts that a redefinition replaces, and the new parts, which are allocated before anything
 * changes. */
typedef struct change {
    record *record;
    memberships *old, *fresh;
    state *state;
    alias *instance;
} change;

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

/* For every list of `m` that is not also a list of `other`, reserves space for `extra` members and
 * a tick for the current write. */
static bool reserve_lists_locked(reg_registry *reg, const memberships *m, const memberships *other,
                                 uint32_t extra) {
    REG_ASSERT_WRITER_OF(reg);
    bool ready = true;
    mark_models_locked(other, true);
    for (uint32_t i = 0; ready && i < m->count; i++)
        if (!is_in_both_locked(m, i, other))
            ready = member_list_reserve_locked(&m->variants[i]->model->members, extra,
                                               committed_locked(reg), &reg->limbo);
    mark_models_locked(other, false);
    return ready;
}

static void give_up_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    if (c->instance != NULL) alias_cancel_ref_locked(&reg->instances, c->instance, &reg->limbo);
    memory_free(c->fresh);
    memory_free(c->state);
}

static bool prepare_locked(reg_registry *reg, const reg_entry *entry, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    c->fresh = memberships_new(entry->variants, (uint32_t)entry->variant_count);
    c->state = memory_alloc(sizeof *c->state);
    bool ready = c->fresh != NULL && c->state != NULL &&
                 reserve_lists_locked(reg, c->fresh, c->old, 1) &&
                 reserve_lists_locked(reg, c->old, c->fresh, 0);
    if (ready && entry->instance.data != NULL) {
        c->instance = alias_ref_locked(&reg->instances, &entry->instance, c->record,
                                       committed_locked(reg), &reg->limbo);
        ready = c->instance != NULL;
    }
    if (!ready) give_up_locked(reg, c);
    return ready;
}

/* If the old and the new memberships share a variant, the record stays in the model's list, and its
 * member there gets the new slot. If the record now has another variant of a model, its old member
 * is replaced by a new one in the same write, so a look-up never misses the record. The record also
 * joins the lists of new models and leaves those of dropped models. */
static void move_between_lists_locked(reg_registry *reg, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    uint64_t now = committed_locked(reg);
    c->fresh->roster_position = c->old->roster_position;
    mark_models_locked(c->old, true);
    for (uint32_t i = 0; i < c->fresh->count; i++) {
        const variant *v = c->fresh->variants[i];
        if (is_in_both_locked(c->fresh, i, c->old)) {
            c->fresh->positions[i] = c->old->positions[v->model->mark - 1];
            member_list_set_slot_locked(&v->model->members, c->fresh->positions[i], i);
        } else {
            c->fresh->positions[i] = model_index_add_locked(&reg->models, v, i, c->record, now);
        }
    }
    mark_models_locked(c->old, false);
    mark_models_locked(c->fresh, true);
    for (uint32_t i = 0; i < c->old->count; i++) {
        if (!is_in_both_locked(c->old, i, c->fresh))
            model_index_remove_locked(&reg->models, c->old->variants[i]->model,
                                      c->old->positions[i], now);
    }
    mark_models_locked(c->fresh, false);
    c->record->memberships = c->fresh;
}

static void apply_locked(reg_registry *reg, const reg_entry *entry, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = c->record;
    state *old = load_own(&r->state);
    alias *old_instance = r->instance;
    move_between_lists_locked(reg, c);
    note_choices_changed_locked(reg);
    r->instance = c->instance;
    if (old_instance != NULL) alias_unref_locked(old_instance, committed_locked(reg));
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
    replace_state_locked(reg, r, c->state);
    if (old_instance != NULL) alias_tidy_locked(&reg->instances, old_instance, &reg->limbo);
    for (uint32_t i = 0; i < c->old->count; i++) {
        member_list_tidy_locked(&c->old->variants[i]->model->members, committed_locked(reg),
                                &reg->limbo);
        model_index_unref_locked(&reg->models, c->old->variants[i], &reg->limbo);
    }
    memory_free(c->old);
}

static reg_status redefine_locked(reg_registry *reg, const reg_entry *entry, uint64_t serial,
                                  const void *expected) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = find_record_locked(reg, &entry->id);
    if (r == NULL || line_of(r)->serial != serial) return REG_NOT_FOUND;
    if (load_own(&r->state)->definition != expected) return REG_CHANGED;
    if (instance_is_taken_locked(reg, &entry->instance, r)) return REG_INSTANCE_TAKEN;
    change c = {.record = r, .old = r->memberships};
    if (!prepare_locked(reg, entry, &c)) return REG_NO_MEMORY;
    apply_locked(reg, entry, &c);
    return REG_OK;
}

reg_status reg_redefine(reg_registry *reg, const reg_entry *entry, uint64_t serial,
                        const void *expected, reg_garbage **garbage) {
    if (!begin_write(reg, garbage)) return REG_NO_MEMORY;
    reg_status status = redefine_locked(reg, entry, serial, expected);
    end_write(reg, garbage);
    return status;
}
