/* Reads one backend, or many as of one instant (version.h). Only reg_get_model_ids takes a lock. */
#include "registry/read.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "reclaim/reservation.h"
#include "registry/locks.h"

reg_reader *reg_read_begin(void) { return reader_from_slot(epoch_enter()); }

void reg_read_end(reg_reader *reader) { epoch_leave(slot_of_reader(reader)); }

reg_kept *reg_read_keep(reg_registry *reg, reg_reader *reader, size_t count) {
    REG_ASSERT_READING();
    epoch_slot *slot = slot_of_reader(reader);
    return kept_from_reservation(reservation_take(slot, reg->generations, count));
}

void reg_keep_drop(reg_kept *kept, size_t count, reg_release release) {
    reservation_drop(reservation_of_kept(kept), count, release);
}

reg_status reg_get(reg_registry *reg, const reg_key *id, reg_view *view) {
    uint64_t version;
    record *r = find_registered(reg, id, &version);
    if (r == NULL) return REG_NOT_FOUND;
    uint64_t now = 0;
    *view = view_at(reg, r, version, &now);
    return REG_OK;
}

/* ---- many backends ---- */

static int by_order(const void *left, const void *right) {
    uint64_t a = ((const reg_view *)left)->order, b = ((const reg_view *)right)->order;
    return (a > b) - (a < b);
}

/* Sorts the views from index `late` on, which are not in the order of registration, and merges them
 * with the ordered views before them. False if out of memory. */
static bool merge_late(reg_view *views, size_t late, size_t count) {
    size_t rest = count - late;
    reg_view *tail = memory_alloc(rest * sizeof *tail);
    if (tail == NULL) return false;
    memcpy(tail, views + late, rest * sizeof *tail);
    qsort(tail, rest, sizeof *tail, by_order);
    for (size_t to = count; rest != 0; to--) {
        bool from_front = late != 0 && views[late - 1].order > tail[rest - 1].order;
        views[to - 1] = from_front ? views[--late] : tail[--rest];
    }
    memory_free(tail);
    return true;
}

static reg_status read_list(reg_registry *reg, member_list *list, uint64_t version,
                            bool healthy_only, reg_views *views) {
    REG_ASSERT_READING();
    *views = (reg_views){.version = version};
    member_reading reading = member_list_read(list, version);
    if (reading.length == 0) return REG_OK;
    reg_view *items = memory_alloc_raw(reading.length * sizeof *items);
    if (items == NULL) return REG_NO_MEMORY;
    size_t count = 0, late = SIZE_MAX;
    uint64_t now = 0;
    for (uint32_t i = 0; i < reading.length; i++) {
        if (i == reading.late_from) late = count;
        if (!member_is_in(&reading.array->members[i], reading.tick)) continue;
        items[count] = view_at(reg, reading.array->members[i].record, version, &now);
        if (!healthy_only || (items[count].health == REG_HEALTHY && !items[count].is_draining))
            count++;
    }
    if (late < count && !merge_late(items, late, count)) {
        memory_free(items);
        return REG_NO_MEMORY;
    }
    *views = (reg_views){items, count, version};
    return REG_OK;
}

reg_status read_fleet_at(reg_registry *reg, uint64_t version, reg_views *views) {
    return read_list(reg, &reg->roster, version, false, views);
}

reg_status reg_get_all(reg_registry *reg, bool healthy_only, reg_views *views) {
    return read_list(reg, &reg->roster, load_committed(&reg->committed), healthy_only, views);
}

reg_status reg_get_for_model(reg_registry *reg, const reg_key *model_id, reg_views *views) {
    REG_ASSERT_READING();
    uint64_t version = load_committed(&reg->committed);
    model *m = model_index_get(&reg->models, model_id);
    if (m != NULL) return read_list(reg, &m->members, version, false, views);
    *views = (reg_views){0};
    return REG_OK;
}

void reg_views_free(reg_views *views) { memory_free(views->items); }

/* ---- one backend ---- */

void *reg_find_by_instance(reg_registry *reg, const reg_key *instance) {
    REG_ASSERT_READING();
    uint64_t version = load_committed(&reg->committed);
    alias *a = alias_at(&reg->instances, instance, version);
    return a == NULL ? NULL : record_state_at(a->holder, version)->definition;
}

reg_status reg_contains(reg_registry *reg, const reg_key *id) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    bool found = find_registered(reg, id, &version) != NULL;
    epoch_leave(slot);
    return found ? REG_OK : REG_NOT_FOUND;
}

reg_status reg_has_url(reg_registry *reg, const reg_key *url) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    bool found = alias_at(&reg->urls, url, load_committed(&reg->committed)) != NULL;
    epoch_leave(slot);
    return found ? REG_OK : REG_NOT_FOUND;
}

/* ---- the models ---- */

/* Copies the texts of the models behind the array of their keys. */
static void copy_ids(const model **models, reg_key *keys, size_t count) {
    char *text = (char *)(keys + count);
    for (size_t i = 0; i < count; i++) {
        keys[i] = models[i]->item.key;
        memcpy(text, models[i]->id, keys[i].length);
        keys[i].data = text;
        text += keys[i].length;
    }
}

/* The order in which models began to be served has no versions, so the writer lock is needed. */
reg_status reg_get_model_ids(reg_registry *reg, reg_model_ids *ids) {
    *ids = (reg_model_ids){0};
    lock_writer(reg);
    size_t count = reg->models.served, bytes = count * sizeof(reg_key);
    const model **models = memory_alloc_raw((count + 1) * sizeof *models);
    if (models != NULL) {
        model_index_list_locked(&reg->models, models);
        for (size_t i = 0; i < count; i++) bytes += models[i]->item.key.length;
        ids->items = memory_alloc_raw(bytes + 1);
        if (ids->items != NULL) copy_ids(models, ids->items, count);
    }
    unlock_writer(reg);
    memory_free(models);
    ids->count = ids->items == NULL ? 0 : count;
    return ids->items == NULL ? REG_NO_MEMORY : REG_OK;
}

void reg_model_ids_free(reg_model_ids *ids) { memory_free(ids->items); }

/* Returns the counts of one version. The write W stores its counts before its commit. The write W +
 * CENSUS_VERSIONS overwrites them, and it starts only after all writes before it are committed. So
 * if the clock is still below V + CENSUS_VERSIONS - 1, the counts that were read are those of V.
 * The loop repeats only if that many writes were committed between its two loads. */
static uint64_t read_census(reg_registry *reg) {
    for (;;) {
        uint64_t version = load_committed(&reg->committed);
        uint64_t counts = load_published(&reg->census[version % CENSUS_VERSIONS]);
        if (load_committed(&reg->committed) - version < CENSUS_VERSIONS - 1) return counts;
    }
}

uint32_t reg_backend_count(reg_registry *reg) { return (uint32_t)(read_census(reg) >> 32); }

uint32_t reg_model_count(reg_registry *reg) { return (uint32_t)read_census(reg); }
