/* A lease: one request in flight on one registration. Like a view, it counts in the reservation of
 * the thread that made it. This keeps the record and the definition that the lease was chosen by,
 * so the lease can outlive the registration and the registry. It never touches another
 * registration of the same id. */
#ifndef REG_LEASE_H
#define REG_LEASE_H

#include "choose/candidates.h"
#include "registry/availability.h"

/* The blocks of a request with a prefix. Immutable. */
struct reg_noted_prefix {
    uint64_t model; /* its number */
    size_t count;
    uint64_t blocks[];
};

/* Fills the lease of the choice `c` that this read has made. Cannot fail: the caller called
 * reservation_prepare before it counted the request, and has created the record's outcomes. The
 * lease owns `prefix`, which may be NULL. */
void lease_fill(reg_lease *lease, reg_registry *reg, epoch_slot *slot, record *chosen,
                const choice *c, reg_noted_prefix *prefix);
/* Starts the clock: the lease is active. */
void lease_begin(reg_lease *lease, const reg_registry *reg);

#endif
