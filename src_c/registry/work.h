/* The locks of leases with tokens: leaves that leases share (lock_stripes.h). choose/lease.c has
 * the argument. They are here because a fork takes them. */
#ifndef REG_WORK_H
#define REG_WORK_H

#include "base/lock_stripes.h"
#include "registry.h"

extern lock_stripes work_locks;

static inline void work_lock(const reg_lease *lease) {
    pthread_mutex_lock(stripe_of(&work_locks, lease));
}

static inline void work_unlock(const reg_lease *lease) {
    pthread_mutex_unlock(stripe_of(&work_locks, lease));
}

#endif
