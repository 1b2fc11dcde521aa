/* What all writes share. One writer at a time, under the registry's lock.
 *
 * Every write has the same five steps, and their order is what readers rely on (version.h):
 *   1. prepare    allocate and reserve all that is needed; only this can fail, and then nothing has changed. It fails too where so much waits
 *                 for reclamation, behind a reader that stalls, that no more may be added (epoch.h)
 *   2. apply      put everything in place, marked with the version at work
 *   3. commit     store the clock: the instant at which the write takes effect
 *   4. unlink     take out of the maps what is gone
 *   5. retire     hand over what was replaced, and collect what nobody reads any more
 */
#ifndef REG_WRITE_H
#define REG_WRITE_H

#include "reclaim/orphans.h"
#include "registry/layout.h"

static inline void lock_writer(reg_registry *reg) { pthread_mutex_lock(&reg->writer); }

/* What can be reclaimed of all that waits. Opens a new generation where something was retired in this one, but not in a
 * full limbo, for it would be one thing more that waits. Under the lock. */
static inline reg_garbage *collect_now(reg_registry *reg) {
    bool may_advance = reg->limbo.unstamped != NULL && !epoch_is_crowded(&reg->limbo);
    if (may_advance) generations_advance(reg->generations, &reg->limbo);
    return epoch_collect_now(&reg->limbo);
}

/* Gives the lock back; adds to `garbage` what registries that are gone have left. */
static inline void unlock_writer(reg_registry *reg, reg_garbage **garbage) {
    pthread_mutex_unlock(&reg->writer);
    if (reg_unlikely(orphans_are_waiting())) *garbage = epoch_join(orphans_collect(), *garbage);
}

/* Gives the lock back; `garbage` gets what could be reclaimed, if it was time for that. */
static inline void end_write(reg_registry *reg, reg_garbage **garbage) {
    if (*garbage == NULL && epoch_is_due(&reg->limbo))
        *garbage = collect_now(reg);
    else if (*garbage == NULL && epoch_is_leftover_due(&reg->limbo))
        *garbage = epoch_collect_stamped(&reg->limbo);
    unlock_writer(reg, garbage);
}

/* Takes the lock. False, and the lock is not held, where too much waits for reclamation; what could be reclaimed is in `garbage` either way. */
static inline bool begin_write(reg_registry *reg, reg_garbage **garbage) {
    *garbage = NULL;
    lock_writer(reg);
    if (reg_likely(!epoch_is_crowded(&reg->limbo))) return true;
    *garbage = collect_now(reg);
    if (!epoch_is_crowded(&reg->limbo)) return true;
    unlock_writer(reg, garbage);
    return false;
}

static inline uint64_t committed(reg_registry *reg) { return load_own(&reg->committed); }

static inline uint64_t version_at_work(reg_registry *reg) { return committed(reg) + 1; }

static inline void commit_write(reg_registry *reg) {
    uint64_t version = version_at_work(reg);
    publish(&reg->census[version % CENSUS_VERSIONS],
            (uint64_t)reg->roster.live << 32 | reg->models.served);
    commit(&reg->committed, version);
}

/* The write at work changes what choices depend on: a list, a health or a definition. Before it is committed. */
static inline void note_choices_changed(reg_registry *reg) {
    publish(&reg->choices_changed, version_at_work(reg));
}

static inline record *find_record(reg_registry *reg, const reg_key *id) {
    string_item *item = string_map_get(&reg->records, id);
    return item == NULL ? NULL : reg_container(item, record, item);
}

static inline bool instance_is_taken(reg_registry *reg, const reg_key *instance,
                                     const record *by_other_than) {
    string_item *found = instance->data == NULL ? NULL : string_map_get(&reg->instances, instance);
    return found != NULL && reg_container(found, alias, item)->holder != by_other_than;
}

/* Puts a new state in the place of the record's, commits, and retires the old one. What the caller carried over from the old state must
 * be owned by the new one alone: the old one goes first, as a rule, but views may keep either. */
static inline void replace_state(reg_registry *reg, record *r, state *fresh) {
    state *old = load_own(&r->state);
    fresh->shown.link = &old->shown;
    fresh->version = version_at_work(reg);
    if (record_set_state_locked(r, fresh)) note_choices_changed(reg);
    commit_write(reg);
    state_retire(old, &reg->limbo);
}

#endif
