/* The three locks of a registry. A thread that needs several takes LINE first, then the turns
 * lock, then the writer lock. A thread that holds one of them never waits for a reader. The
 * locks of watches are in watch.c and waiters.h. */
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

/* LINE guards the line of those who wait for a place (line.h). */
static inline void lock_line(reg_registry *reg) {
    pthread_mutex_lock(&reg->settings->line);
    contract_enter_line(reg);
}

static inline void unlock_line(reg_registry *reg) {
    contract_leave_line(reg);
    pthread_mutex_unlock(&reg->settings->line);
}

/* The registry with these settings, with LINE held, or NULL if it is gone: see lock_writer_of. */
static inline reg_registry *lock_line_of(settings *s) {
    if (load_published(&s->registry) == NULL) return NULL;
    pthread_mutex_lock(&s->line);
    reg_registry *reg = load_published(&s->registry);
    if (reg != NULL)
        contract_enter_line(reg);
    else
        pthread_mutex_unlock(&s->line);
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
