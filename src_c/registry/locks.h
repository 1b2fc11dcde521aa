/* The two locks of a registry. A thread that needs both takes the turns lock first. A thread that
 * holds one of them never waits for a reader. The locks of watches are in watch.c and waiters.h. */
#ifndef REG_LOCKS_H
#define REG_LOCKS_H

#include "registry/layout.h"

/* The writer lock guards every write. */
static inline void lock_writer(reg_registry *reg) {
    pthread_mutex_lock(&reg->settings->writer);
    contract_enter_writer(reg);
}

static inline void unlock_writer(reg_registry *reg) {
    contract_leave_writer(reg);
    pthread_mutex_unlock(&reg->settings->writer);
}

/* The registry with these settings, with its writer lock held, or NULL if it is gone. For leases,
 * which may outlive their registry (settings.h). Waits for this registry's writers, and for nothing
 * else. The first look is for the child of a fork: there a registry that still has its settings has
 * a free lock, because fork held it. */
static inline reg_registry *lock_writer_of(settings *s) {
    if (load_published(&s->registry) == NULL) return NULL;
    pthread_mutex_lock(&s->writer);
    reg_registry *reg = load_published(&s->registry);
    if (reg != NULL)
        contract_enter_writer(reg);
    else
        pthread_mutex_unlock(&s->writer);
    return reg;
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
