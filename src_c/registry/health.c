/* Stores what is observed about a backend (the results of health checks) and what is decided about
 * it (draining). Neither overwrites the other. */
#include "base/memory.h"
#include "registry/availability.h"
#include "registry/states.h"

reg_status reg_update_health(reg_registry *reg, const reg_key *id, uint64_t serial,
                             reg_health health, int64_t now, void *error, size_t error_bytes,
                             reg_garbage **garbage) {
    record *r;
    reg_status status = begin_state_write(reg, id, serial, &r, garbage);
    if (status != REG_OK) return status;
    bool is_slow = health_starts_slowly_locked(reg, r, health),
         can_be_slow = !is_slow || record_outcomes(r, reg->settings) != NULL;
    state *fresh = can_be_slow ? next_state_locked(reg, r, is_slow) : NULL;
    if (fresh != NULL) {
        fresh->error = error;
        fresh->error_bytes = known_bytes(error_bytes);
        fresh->error_born = generation_now(reg->generations);
        fresh->owns_error = error != NULL;
        fresh->checked_at = now;
        fresh->health = (uint8_t)health & STANDING_HEALTH;
        if (reg_unlikely(is_slow || state_is_flagged(fresh)))
            update_availability_locked(reg, r, fresh, is_slow);
        commit_state_locked(reg, r, fresh, false);
        watches_feed_locked(reg, REG_STATUS_CHANGED, r, r);
    }
    end_write(reg, garbage);
    return fresh == NULL ? REG_NO_MEMORY : REG_OK;
}

reg_status reg_set_draining(reg_registry *reg, const reg_key *id, uint64_t serial, bool draining,
                            reg_garbage **garbage) {
    record *r;
    reg_status status = begin_state_write(reg, id, serial, &r, garbage);
    if (status != REG_OK) return status;
    bool changes = load_own(&r->state)->is_draining != draining;
    state *fresh = changes ? next_state_locked(reg, r, false) : NULL;
    if (fresh != NULL) {
        fresh->is_draining = draining;
        commit_state_locked(reg, r, fresh, true);
        watches_feed_locked(reg, REG_DRAINING_CHANGED, r, r);
    }
    end_write(reg, garbage);
    return changes && fresh == NULL ? REG_NO_MEMORY : REG_OK;
}
