/* Stores what is observed about a backend (the results of health checks) and what is decided about
 * it (draining). Neither overwrites the other. See write.h for the steps of a write. */
#include "base/memory.h"
#include "registry/write.h"

/* Begins a write of a new state for a registration. REG_OK with its record, with the writer lock
 * held and a state in `fresh` that equals the old one; or REG_NOT_FOUND or REG_NO_MEMORY, with
 * neither. */
static reg_status begin_state(reg_registry *reg, const reg_key *id, uint64_t serial, record **found,
                              state **fresh, reg_garbage **garbage) {
    *garbage = NULL;
    *fresh = memory_alloc_raw(sizeof **fresh);
    if (*fresh == NULL || !begin_write(reg, garbage)) {
        memory_free(*fresh);
        return REG_NO_MEMORY;
    }
    record *r = find_record_locked(reg, id);
    bool is_there = r != NULL && has_serial_locked(r, serial);
    if (is_there && watches_prepare_locked(reg, 1)) {
        state_succeed(*fresh, load_own(&r->state));
        *found = r;
        return REG_OK;
    }
    end_write(reg, garbage);
    memory_free(*fresh);
    return is_there ? REG_NO_MEMORY : REG_NOT_FOUND;
}

reg_status reg_update_health(reg_registry *reg, const reg_key *id, uint64_t serial,
                             reg_health health, int64_t now, void *error, size_t error_bytes,
                             reg_garbage **garbage) {
    record *r;
    state *fresh;
    reg_status status = begin_state(reg, id, serial, &r, &fresh, garbage);
    if (status != REG_OK) return status;
    load_own(&r->state)->owns_definition = false;
    fresh->error = error;
    fresh->error_bytes = known_bytes(error_bytes);
    fresh->error_born = generation_now(reg->generations);
    fresh->owns_error = error != NULL;
    fresh->checked_at = now;
    fresh->health = (uint8_t)health & STANDING_HEALTH;
    replace_state_locked(reg, r, fresh);
    watches_feed_locked(reg, REG_STATUS_CHANGED, r, r);
    end_write(reg, garbage);
    return REG_OK;
}

reg_status reg_set_draining(reg_registry *reg, const reg_key *id, uint64_t serial, bool draining,
                            reg_garbage **garbage) {
    record *r;
    state *fresh;
    reg_status status = begin_state(reg, id, serial, &r, &fresh, garbage);
    if (status != REG_OK) return status;
    state *old = load_own(&r->state);
    bool changes = old->is_draining != draining;
    if (changes) {
        old->owns_definition = old->owns_error = false;
        fresh->is_draining = draining;
        replace_state_locked(reg, r, fresh);
        watches_feed_locked(reg, REG_DRAINING_CHANGED, r, r);
    }
    end_write(reg, garbage);
    if (!changes) memory_free(fresh);
    return REG_OK;
}
