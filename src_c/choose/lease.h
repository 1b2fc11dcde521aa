/* A lease: one request in flight on one registration. It holds a reference to the record, not to
 * the registry. So it can outlive the registration and the registry, and it never touches another
 * registration of the same id. */
#ifndef REG_LEASE_H
#define REG_LEASE_H

#include "registry/layout.h"

/* Starts the clock. Takes over the caller's reference to `held`. */
void lease_begin(reg_lease *lease, record *held);

#endif
