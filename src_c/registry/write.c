/* Adds and removes backends. See write.h for the steps of a write. */
#include <string.h>

#include "base/memory.h"
#include "reclaim/reservation.h"
#include "registry/write.h"

/* ---- models ---- */

static void drop_variants_locked(reg_registry *reg, variant *const *variants, size_t count) {
    REG_ASSERT_WRITER_OF(reg);
    for (size_t i = 0; i < count; i++)
        model_index_unref_locked(&reg->models, variants[i], &reg->limbo);
}

reg_status reg_hold_models(reg_registry *reg, const reg_model *models, size_t count,
                           reg_variant **variants, bool *is_taken, reg_garbage **garbage) {
    size_t held = 0;
    if (count != 0) memset(is_taken, 0, count * sizeof *is_taken);
    if (!begin_write(reg, garbage)) return REG_NO_MEMORY;
    while (held < count && (variants[held] = model_index_ref_locked(
                                &reg->models, &models[held], &is_taken[held], &reg->limbo)) != NULL)
        held++;
    if (held < count) drop_variants_locked(reg, variants, held);
    end_write(reg, garbage);
    return held < count ? REG_NO_MEMORY : REG_OK;
}

void reg_drop_models(reg_registry *reg, reg_variant *const *variants, size_t count,
                     reg_garbage **garbage) {
    *garbage = NULL;
    lock_writer(reg); /* not begin_write, which fails if the limbo is crowded: this must not fail */
    drop_variants_locked(reg, variants, count);
    end_write(reg, garbage);
}

void *reg_variant_object(const reg_variant *v) { return v->object; }

/* ---- add ---- */

static bool reserve_for_add_locked(reg_registry *reg, const reg_entry *entry) {
    REG_ASSERT_WRITER_OF(reg);
    uint64_t now = committed_locked(reg);
    if (!string_map_reserve_locked(&reg->records, 1, &reg->limbo)) return false;
    if (!member_list_reserve_locked(&reg->roster, 1, now, &reg->limbo)) return false;
    for (size_t i = 0; i < entry->variant_count; i++)
        if (!member_list_reserve_locked(&entry->variants[i]->model->members, 1, now, &reg->limbo))
            return false;
    return true;
}

static void free_unregistered_locked(reg_registry *reg, record *r) {
    REG_ASSERT_WRITER_OF(reg);
    if (r->url != NULL) alias_cancel_ref_locked(&reg->urls, r->url, &reg->limbo);
    if (r->instance != NULL) alias_cancel_ref_locked(&reg->instances, r->instance, &reg->limbo);
    memory_free(r->memberships);
    memory_free(load_own(&r->state));
    record_free(r);
}

/* Allocates and reserves everything that a registration needs. Readers don't see it yet. NULL if
 * out of memory. */
static record *prepare_record_locked(reg_registry *reg, const reg_entry *entry) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = record_alloc();
    if (r == NULL) return NULL;
    state *s = memory_alloc(sizeof *s);
    store_private(&r->state, s);
    r->memberships = memberships_new(entry->variants, (uint32_t)entry->variant_count);
    bool ready = s != NULL && r->memberships != NULL && reserve_for_add_locked(reg, entry);
    if (ready)
        r->url = alias_ref_locked(&reg->urls, &entry->url, r, committed_locked(reg), &reg->limbo);
    ready = ready && r->url != NULL;
    if (ready && entry->instance.data != NULL) {
        r->instance = alias_ref_locked(&reg->instances, &entry->instance, r, committed_locked(reg),
                                       &reg->limbo);
        ready = r->instance != NULL;
    }
    if (ready) return r;
    free_unregistered_locked(reg, r);
    return NULL;
}

static void fill_record_locked(reg_registry *reg, record *r, const reg_entry *entry) {
    REG_ASSERT_WRITER_OF(reg);
    state *s = load_own(&r->state);
    *s = (state){.version = next_version_locked(reg),
                 .shown.generations = reg->generations,
                 .definition = entry->definition,
                 .definition_bytes = known_bytes(entry->definition_bytes),
                 .definition_born = generation_now(reg->generations),
                 .checked_at = entry->now,
                 .health = REG_UNKNOWN,
                 .owns_definition = true};
    r->item.key = entry->id;
    line_of(r)->id = entry->id_object;
    line_of(r)->serial = ++reg->last_serial;
    line_of(r)->max_pending = entry->max_pending;
    line_of(r)->priority = entry->priority;
    line_of(r)->weight = entry->weight;
    store_private(&line_of(r)->refs, 1);
    store_private(&line_of(r)->health, record_health_word(s));
    store_private(&r->life, life_alive_since(s->version));
}

static void enter_lists_locked(reg_registry *reg, record *r) {
    REG_ASSERT_WRITER_OF(reg);
    memberships *m = r->memberships;
    m->roster_position =
        member_list_add_locked(&reg->roster, r, (member_traits){0}, committed_locked(reg));
    for (uint32_t i = 0; i < m->count; i++)
        m->positions[i] =
            model_index_add_locked(&reg->models, m->variants[i], i, r, committed_locked(reg));
}

static reg_status add_locked(reg_registry *reg, const reg_entry *entry) {
    REG_ASSERT_WRITER_OF(reg);
    if (find_record_locked(reg, &entry->id) != NULL) return REG_DUPLICATE;
    if (instance_is_taken_locked(reg, &entry->instance, NULL)) return REG_INSTANCE_TAKEN;
    record *r = prepare_record_locked(reg, entry);
    if (r == NULL) return REG_NO_MEMORY;
    fill_record_locked(reg, r, entry);
    enter_lists_locked(reg, r);
    string_map_put_locked(&reg->records, &r->item);
    note_choices_changed_locked(reg);
    commit_write_locked(reg);
    return REG_OK;
}

reg_status reg_add(reg_registry *reg, const reg_entry *entry, reg_garbage **garbage) {
    if (!begin_write(reg, garbage)) return REG_NO_MEMORY;
    reg_status status = add_locked(reg, entry);
    end_write(reg, garbage);
    return status;
}

/* ---- remove ---- */

/* Memory can run out here, because once in 2**32 writes a removal needs a fresh array. */
static bool reserve_for_remove_locked(reg_registry *reg, const memberships *m) {
    REG_ASSERT_WRITER_OF(reg);
    uint64_t now = committed_locked(reg);
    if (!member_list_reserve_locked(&reg->roster, 0, now, &reg->limbo)) return false;
    for (uint32_t i = 0; i < m->count; i++)
        if (!member_list_reserve_locked(&m->variants[i]->model->members, 0, now, &reg->limbo))
            return false;
    return true;
}

static void leave_lists_locked(reg_registry *reg, const memberships *m) {
    REG_ASSERT_WRITER_OF(reg);
    member_list_remove_locked(&reg->roster, m->roster_position, committed_locked(reg));
    for (uint32_t i = 0; i < m->count; i++)
        model_index_remove_locked(&reg->models, m->variants[i]->model, m->positions[i],
                                  committed_locked(reg));
}

static void tidy_lists_locked(reg_registry *reg, const memberships *m) {
    REG_ASSERT_WRITER_OF(reg);
    member_list_tidy_locked(&reg->roster, committed_locked(reg), &reg->limbo);
    for (uint32_t i = 0; i < m->count; i++)
        member_list_tidy_locked(&m->variants[i]->model->members, committed_locked(reg),
                                &reg->limbo);
}

static void unlink_record_locked(reg_registry *reg, record *r) {
    REG_ASSERT_WRITER_OF(reg);
    string_map_remove_locked(&reg->records, &r->item);
    alias_tidy_locked(&reg->urls, r->url, &reg->limbo);
    if (r->instance != NULL) alias_tidy_locked(&reg->instances, r->instance, &reg->limbo);
    tidy_lists_locked(reg, r->memberships);
    drop_variants_locked(reg, r->memberships->variants, r->memberships->count);
}

static reg_status remove_record_locked(reg_registry *reg, const reg_key *id, reg_view *last) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = find_record_locked(reg, id);
    if (r == NULL) return REG_NOT_FOUND;
    if (!reserve_for_remove_locked(reg, r->memberships)) return REG_NO_MEMORY;
    leave_lists_locked(reg, r->memberships);
    alias_unref_locked(r->url, committed_locked(reg));
    if (r->instance != NULL) alias_unref_locked(r->instance, committed_locked(reg));
    publish(&r->life, life_dead_since(next_version_locked(reg)));
    note_choices_changed_locked(reg);
    commit_write_locked(reg);
    *last = view_at(r, committed_locked(reg));
    unlink_record_locked(reg, r);
    record_retire(r, &reg->limbo);
    return REG_OK;
}

/* The read keeps the objects of the last view alive until the reservation keeps them. The read must
 * end before end_write collects. Otherwise the removed objects would wait until the next write. */
reg_status reg_remove(reg_registry *reg, const reg_key *id, reg_view *last, reg_kept **kept,
                      reg_garbage **garbage) {
    if (!begin_write(reg, garbage)) return REG_NO_MEMORY;
    reg_status status = REG_NO_MEMORY;
    epoch_slot *reader = epoch_enter();
    if (reader != NULL) {
        if (reservation_prepare(reader)) status = remove_record_locked(reg, id, last);
        if (status == REG_OK)
            *kept = kept_from_reservation(reservation_take(reader, reg->generations, 1));
        epoch_leave(reader);
    }
    end_write(reg, garbage);
    return status;
}
