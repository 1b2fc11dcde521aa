/* Changes the fleet, by any number of changes at one instant. See write.h for the steps of a write,
 * and change.h for what each change does in them. */
#include <string.h>

#include "base/memory.h"
#include "reclaim/reservation.h"
#include "registry/change.h"

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

/* ---- changes ---- */

/* Finds the registration that the change is about, and checks what the caller expects of it. */
static reg_status find_locked(reg_registry *reg, const reg_edit *wanted, record **found) {
    REG_ASSERT_WRITER_OF(reg);
    record *r = find_record_locked(reg, &wanted->entry.id);
    if (wanted->kind == REG_ADDED) return r == NULL ? REG_OK : REG_DUPLICATE;
    if (r == NULL) return REG_NOT_FOUND;
    *found = r;
    bool is_meant = has_serial_locked(r, wanted->serial);
    if (wanted->expected == NULL) return is_meant ? REG_OK : REG_NOT_FOUND;
    /* A replacement changes the serial too, and the id is registered all the time. */
    is_meant = is_meant && load_own(&r->state)->definition == wanted->expected;
    return is_meant ? REG_OK : REG_CHANGED;
}

static reg_status begin_change_locked(reg_registry *reg, const reg_edit *wanted,
                                      bool checks_instance, change *c) {
    REG_ASSERT_WRITER_OF(reg);
    *c = (change){.kind = wanted->kind};
    reg_status status = find_locked(reg, wanted, &c->old);
    if (status != REG_OK) return status;
    if (wanted->kind != REG_REMOVED) c->entry = &wanted->entry;
    if (checks_instance && instance_is_taken_locked(reg, &wanted->entry.instance, c->old))
        return REG_INSTANCE_TAKEN;
    return REG_OK;
}

static void cancel_locked(reg_registry *reg, change *changes, size_t count) {
    REG_ASSERT_WRITER_OF(reg);
    while (count != 0) change_cancel_locked(reg, &changes[--count]);
}

/* Begins and prepares every change. On any status but REG_OK nothing has changed. */
static reg_status prepare_locked(reg_registry *reg, const reg_edit *wanted, size_t count,
                                 change *changes) {
    REG_ASSERT_WRITER_OF(reg);
    size_t added = 0;
    if (!watches_prepare_locked(reg, count)) return REG_NO_MEMORY;
    for (size_t i = 0; i < count; i++) added += wanted[i].kind == REG_ADDED;
    if (!string_map_reserve_locked(&reg->records, added, &reg->limbo)) return REG_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        reg_status status = begin_change_locked(reg, &wanted[i], count == 1, &changes[i]);
        size_t begun = status == REG_OK ? i + 1 : i;
        if (status == REG_OK && change_prepare_locked(reg, &changes[i])) continue;
        cancel_locked(reg, changes, begun);
        return status == REG_OK ? REG_NO_MEMORY : status;
    }
    return REG_OK;
}

static void commit_changes_locked(reg_registry *reg, change *changes, size_t count) {
    REG_ASSERT_WRITER_OF(reg);
    note_choices_changed_locked(reg);
    for (size_t i = 0; i < count; i++) change_join_locked(reg, &changes[i]);
    for (size_t i = 0; i < count; i++) change_leave_locked(reg, &changes[i]);
    reg->fleet_changed = next_version_locked(reg);
    commit_write_locked(reg);
    for (size_t i = 0; i < count; i++)
        watches_feed_locked(reg, changes[i].kind, changes[i].old, changes[i].fresh);
}

static void settle_locked(reg_registry *reg, change *changes, size_t count) {
    REG_ASSERT_WRITER_OF(reg);
    for (size_t i = 0; i < count; i++) change_settle_locked(reg, &changes[i]);
}

static reg_status apply_locked(reg_registry *reg, const reg_edit *wanted, size_t count,
                               uint64_t fleet, change *changes) {
    REG_ASSERT_WRITER_OF(reg);
    if (fleet != REG_ANY_FLEET && reg->fleet_changed > fleet) return REG_CHANGED;
    reg_status status = prepare_locked(reg, wanted, count, changes);
    if (status != REG_OK) return status;
    commit_changes_locked(reg, changes, count);
    settle_locked(reg, changes, count);
    return REG_OK;
}

reg_status reg_apply(reg_registry *reg, const reg_edit *wanted, size_t count, uint64_t fleet,
                     reg_garbage **garbage) {
    change one, *changes = &one;
    *garbage = NULL;
    if (count > 1) changes = memory_alloc_raw(count * sizeof *changes);
    if (changes == NULL) return REG_NO_MEMORY;
    reg_status status = REG_NO_MEMORY;
    if (begin_write(reg, garbage)) {
        status = apply_locked(reg, wanted, count, fleet, changes);
        end_write(reg, garbage);
    }
    if (count > 1) memory_free(changes);
    return status;
}

/* ---- remove ---- */

static reg_status remove_locked(reg_registry *reg, const reg_edit *wanted, reg_view *last) {
    REG_ASSERT_WRITER_OF(reg);
    change c;
    reg_status status = prepare_locked(reg, wanted, 1, &c);
    if (status != REG_OK) return status;
    commit_changes_locked(reg, &c, 1);
    uint64_t now = 0;
    *last = view_at(reg, c.old, committed_locked(reg), &now);
    settle_locked(reg, &c, 1);
    return REG_OK;
}

/* The read keeps the objects of the last view alive until the reservation keeps them. The read must
 * end before end_write collects. Otherwise the removed objects would wait until the next write. */
reg_status reg_remove(reg_registry *reg, const reg_key *id, uint64_t serial, reg_view *last,
                      reg_kept **kept, reg_garbage **garbage) {
    if (!begin_write(reg, garbage)) return REG_NO_MEMORY;
    reg_edit wanted = {.kind = REG_REMOVED, .entry.id = *id, .serial = serial};
    reg_status status = REG_NO_MEMORY;
    epoch_slot *reader = epoch_enter();
    if (reader != NULL) {
        if (reservation_prepare(reader)) status = remove_locked(reg, &wanted, last);
        if (status == REG_OK)
            *kept = kept_from_reservation(reservation_take(reader, reg->generations, 1));
        epoch_leave(reader);
    }
    end_write(reg, garbage);
    return status;
}
