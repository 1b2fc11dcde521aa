/* A lease: one request in flight on one registration. Like a view, it counts in the reservation of
 * the thread that made it. This keeps the record and the definition that the lease was chosen by,
 * so the lease can outlive the registration and the registry. It never touches another
 * registration of the same id. */
#ifndef REG_LEASE_H
#define REG_LEASE_H

#include "registry/availability.h"

/* Fills the lease of a choice that this read has made at `version`. Cannot fail: the caller called
 * reservation_prepare before it counted the request, and has created the record's outcomes. */
void lease_fill(reg_lease *lease, reg_registry *reg, epoch_slot *slot, record *chosen,
                uint64_t version, bool is_trial);
/* Starts the clock: the lease is active. */
void lease_begin(reg_lease *lease, const reg_registry *reg);

#endif
