/* The locks of leases with tokens. Each is a leaf, one of several mutexes, chosen by the address of
 * the lease: it is held for a few steps, and no other lock is taken meanwhile. choose/lease.c has
 * the argument. */
#ifndef REG_WORK_H
#define REG_WORK_H

#include "registry.h"

void work_lock(const reg_lease *lease);
void work_unlock(const reg_lease *lease);

/* All of them, which are held around a fork. */
void work_lock_all(void);
void work_unlock_all(void);

#endif
