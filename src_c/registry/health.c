/* Stores the results of health checks. See write.h for the steps of a write. */
#include "base/memory.h"
#include "registry/write.h"

reg_status reg_update_health(reg_registry *reg, const reg_key *id, reg_health health, int64_t now,
                             void *error, size_t error_bytes, reg_garbage **garbage) {
    *garbage = NULL;
    state *fresh = memory_alloc(sizeof *fresh);
    if (fresh == NULL || !begin_write(reg, garbage)) {
        memory_free(fresh);
        return REG_NO_MEMORY;
    }
    record *r = find_record_locked(reg, id);
    if (r != NULL) {
        state *old = load_own(&r->state);
        *fresh = (state){.shown.generations = reg->generations,
                         .definition = old->definition,
                         .definition_bytes = old->definition_bytes,
                         .definition_born = old->definition_born,
                         .owns_definition = true,
                         .error = error,
                         .error_bytes = known_bytes(error_bytes),
                         .error_born = generation_now(reg->generations),
                         .owns_error = error != NULL,
                         .checked_at = now,
                         .health = (uint8_t)health};
        old->owns_definition = false;
        replace_state_locked(reg, r, fresh);
    }
    end_write(reg, garbage);
    if (r == NULL) memory_free(fresh);
    return r == NULL ? REG_NOT_FOUND : REG_OK;
}
