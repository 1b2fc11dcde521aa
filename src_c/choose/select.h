/* A choice that counts, for reg_acquire and for the hand-over of places. */
#ifndef REG_SELECT_H
#define REG_SELECT_H

#include "choose/candidates.h"
#include "reclaim/epoch.h"

/* As reg_acquire, whoever waits. */
reg_status acquire(reg_registry *reg, reg_request *request, reg_lease *lease, reg_refusal *refusal);

/* The same for a caller that holds LINE. Returns REG_WAITS if somebody waits for the place that it
 * would take; then nothing has changed. But with `yields`, the call is refused then. */
reg_status acquire_unless_awaited(reg_registry *reg, reg_request *request, bool yields,
                                  reg_lease *lease, reg_refusal *refusal);

/* The same for a waiter. If it is refused, `may_pass` says whether it may help to wait, and
 * `deadline` when to look again: see refusal_may_pass. */
reg_status acquire_for_waiter(reg_registry *reg, reg_request *request, reg_lease *lease,
                              bool *may_pass, uint64_t *deadline);

#endif
