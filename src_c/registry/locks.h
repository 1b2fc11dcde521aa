/* The two locks of a registry. A thread that needs both takes the turns lock first. A thread that
 * holds one of them never waits for a reader. The locks of watches are in watch.c and waiters.h. */
#ifndef REG_LOCKS_H
#define REG_LOCKS_H

#include "registry/layout.h"

/* The writer lock guards every write. */
static inline void lock_writer(reg_registry *reg) {
    pthread_mutex_lock(&reg->writer);
    contract_enter_writer(reg);
}

static inline void unlock_writer(reg_registry *reg) {
    contract_leave_writer(reg);
    pthread_mutex_unlock(&reg->writer);
}

/* The turns lock guards the turns of all models: the state of ROUND_ROBIN. */
static inline void lock_turns(reg_registry *reg) {
    pthread_mutex_lock(&reg->turns);
    contract_enter_turns(reg);
}

static inline void unlock_turns(reg_registry *reg) {
    contract_leave_turns(reg);
    pthread_mutex_unlock(&reg->turns);
}

#endif
