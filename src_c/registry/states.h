/* Writes that replace the state of one registration: see write.h for the steps of a write. */
#ifndef REG_STATES_H
#define REG_STATES_H

#include "registry/write.h"

/* Begins a write for the registration with this id and serial (0: any). REG_OK with its record and
 * with the writer lock held; REG_NOT_FOUND or REG_NO_MEMORY without. End it with end_write. */
reg_status begin_state_write(reg_registry *reg, const reg_key *id, uint64_t serial, record **found,
                             reg_garbage **garbage);

/* Prepares a state that equals the newest one, for the caller to change. `is_flagged`: it may get
 * an availability. NULL if out of memory; then nothing has changed. */
state *next_state_locked(reg_registry *reg, record *r, bool is_flagged);

/* Makes `fresh` the newest state, which takes over the definition and, if `owns_error`, the error
 * of the one before. Commits. */
void commit_state_locked(reg_registry *reg, record *r, state *fresh, bool owns_error);

#endif
