#include "registry/states.h"

#include "base/memory.h"

reg_status begin_state_write(reg_registry *reg, const reg_key *id, uint64_t serial, record **found,
                             reg_garbage **garbage) {
    if (!begin_write(reg, garbage)) return REG_NO_MEMORY;
    *found = find_record_locked(reg, id);
    if (*found != NULL && has_serial_locked(*found, serial)) return REG_OK;
    end_write(reg, garbage);
    return REG_NOT_FOUND;
}

state *next_state_locked(reg_registry *reg, record *r, bool is_flagged) {
    REG_ASSERT_WRITER_OF(reg);
    state *old = load_own(&r->state);
    if (!watches_prepare_locked(reg, 1)) return NULL;
    state *fresh = state_alloc(is_flagged || state_is_flagged(old));
    if (fresh != NULL) state_succeed(fresh, old);
    return fresh;
}

void commit_state_locked(reg_registry *reg, record *r, state *fresh, bool owns_error) {
    REG_ASSERT_WRITER_OF(reg);
    state *old = load_own(&r->state);
    old->owns_definition = false;
    if (owns_error) old->owns_error = false;
    replace_state_locked(reg, r, fresh);
}
