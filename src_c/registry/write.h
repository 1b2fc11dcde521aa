/* The steps that all writes have in common. One thread at a time writes to a registry, under its
 * writer lock.
 *
 * Every write has the same five steps. Readers rely on their order (version.h):
 *   1. prepare    allocate and reserve all that is needed, for the watches too (watch.h). Only
 *                 this step can fail, and then nothing has changed. It also fails as long as a
 *                 stalled reader holds back too much memory (EPOCH_MAX_WAITING).
 *   2. apply      put everything in place, marked with the next version
 *   3. commit     store that version in the clock: at this instant the write takes effect. Then
 *                 feed the watches
 *   4. unlink     remove from the maps the objects that are no longer registered
 *   5. retire     retire the replaced objects, and collect those that no reader can hold */
#ifndef REG_WRITE_H
#define REG_WRITE_H

#include "reclaim/orphans.h"
#include "registry/locks.h"
#include "registry/watch.h"

/* ---- the beginning and the end of a write ---- */

/* Releases the lock, and adds the nodes of freed registries that can be reclaimed to `garbage`. */
static inline void unlock_writer_and_sweep(reg_registry *reg, reg_garbage **garbage) {
    unlock_writer(reg);
    if (reg_unlikely(orphans_are_waiting()))
        *garbage = garbage_from_list(epoch_join(orphans_collect(), list_of_garbage(*garbage)));
}

/* Returns the waiting nodes that can be reclaimed. If something was retired since the last
 * collection, this may also open a new generation. It opens none if the limbo is crowded, because
 * opening one retires the old generation. */
static inline reg_garbage *collect_now_locked(reg_registry *reg) {
    REG_ASSERT_WRITER_OF(reg);
    bool may_advance = reg->limbo.unstamped != NULL && !epoch_is_crowded(&reg->limbo);
    if (may_advance) generations_advance(reg->generations, &reg->limbo);
    return garbage_from_list(epoch_collect_now(&reg->limbo));
}

/* Whether the limbo has room for a write. Otherwise it tries to make room. `garbage` receives the
 * nodes that could be reclaimed. */
static inline bool make_room_locked(reg_registry *reg, reg_garbage **garbage) {
    REG_ASSERT_WRITER_OF(reg);
    *garbage = NULL;
    if (reg_likely(!epoch_is_crowded(&reg->limbo))) return true;
    *garbage = collect_now_locked(reg);
    return !epoch_is_crowded(&reg->limbo);
}

/* Takes the lock for a write. Returns false if too much memory waits for reclamation; then the lock
 * is not held. In both cases `garbage` receives the nodes that could be reclaimed. */
static inline bool begin_write(reg_registry *reg, reg_garbage **garbage) {
    lock_writer(reg);
    if (make_room_locked(reg, garbage)) return true;
    unlock_writer_and_sweep(reg, garbage);
    return false;
}

/* Releases the lock after a write. If a collection is due, `garbage` receives the nodes that could
 * be reclaimed. */
static inline void end_write(reg_registry *reg, reg_garbage **garbage) {
    REG_ASSERT_WRITER_OF(reg);
    if (*garbage == NULL && epoch_is_due(&reg->limbo))
        *garbage = collect_now_locked(reg);
    else if (*garbage == NULL && epoch_is_leftover_due(&reg->limbo))
        *garbage = garbage_from_list(epoch_collect_stamped(&reg->limbo));
    if (reg_unlikely(reg->dropped_changes != NULL))
        *garbage = garbage_from_list(
            epoch_join(watches_take_dropped_locked(reg), list_of_garbage(*garbage)));
    unlock_writer_and_sweep(reg, garbage);
}

/* ---- versions ---- */

static inline uint64_t committed_locked(reg_registry *reg) {
    REG_ASSERT_WRITER_OF(reg);
    return load_own(&reg->committed);
}

static inline uint64_t next_version_locked(reg_registry *reg) { return committed_locked(reg) + 1; }

static inline void commit_write_locked(reg_registry *reg) {
    uint64_t version = next_version_locked(reg);
    publish(&reg->census[version % CENSUS_VERSIONS],
            (uint64_t)reg->roster.live << 32 | reg->models.served);
    commit(&reg->committed, version);
}

/* Records that the current write changes something that choices depend on: a list, a standing or a
 * definition. Call it before the write applies the change: record.h says why. */
static inline void note_choices_changed_locked(reg_registry *reg) {
    publish(&reg->choices_changed, next_version_locked(reg));
}

/* See `flagged` in layout.h: before the commit that sets the first flag of a registration, and
 * after the commit that clears the last one. */
static inline void note_flagged_locked(reg_registry *reg) {
    publish(&reg->flagged, load_own(&reg->flagged) + 1);
}

static inline void note_unflagged_locked(reg_registry *reg) {
    publish(&reg->flagged, load_own(&reg->flagged) - 1);
}

/* ---- records ---- */

static inline record *find_record_locked(reg_registry *reg, const reg_key *id) {
    REG_ASSERT_WRITER_OF(reg);
    string_item *item = string_map_get(&reg->records, id);
    return item == NULL ? NULL : reg_container(item, record, item);
}

static inline bool instance_is_taken_locked(reg_registry *reg, const reg_key *instance,
                                            const record *by_other_than) {
    REG_ASSERT_WRITER_OF(reg);
    string_item *found = instance->data == NULL ? NULL : string_map_get(&reg->instances, instance);
    return found != NULL && reg_container(found, alias, item)->holder != by_other_than;
}

/* Whether this is the registration with this serial. 0 stands for any. */
static inline bool has_serial_locked(const record *r, uint64_t serial) {
    REG_ASSERT_WRITER();
    return serial == 0 || load_own(&((record *)r)->state)->serial == serial;
}

/* Makes `fresh` the record's state, commits, and retires the old state. If both states share an
 * object, the caller has made `fresh` its owner. The old state is usually freed first, but a view
 * may keep either alive. */
static inline void replace_state_locked(reg_registry *reg, record *r, state *fresh) {
    REG_ASSERT_WRITER_OF(reg);
    state *old = load_own(&r->state);
    fresh->version = next_version_locked(reg);
    if (state_changes_choices(old, fresh)) note_choices_changed_locked(reg);
    if (state_is_flagged(fresh) && !state_is_flagged(old)) note_flagged_locked(reg);
    record_set_state_locked(r, fresh);
    commit_write_locked(reg);
    if (state_is_flagged(old) && !state_is_flagged(fresh)) note_unflagged_locked(reg);
    state_retire(old, &reg->limbo);
}

#endif
