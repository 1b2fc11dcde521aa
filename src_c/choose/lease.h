/* A lease: one request in flight on one registration. It holds the record, not the registry, so it can outlive both the registration
 * and the registry, and never touches another registration of the same id. */
#ifndef REG_LEASE_H
#define REG_LEASE_H

#include "registry/layout.h"

/* Starts the clock; the hold on the record passes to the lease. */
void lease_begin(reg_lease *lease, record *held);

#endif
