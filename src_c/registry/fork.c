/* Fork copies all memory, but only one thread: the one that forks. That thread takes every lock
 * first, so no structure is copied while it is half written. The child's only thread is a copy of
 * the thread that holds the locks, so it can release them.
 *
 * Every thread takes locks in this order, so the handlers cannot deadlock: the lock of the list of
 * registries; for each registry LINE, its turns lock, its writer lock and the lock of its waiters;
 * the locks of the orphans, of the reservations, of the record pool, of idle waiters (idle.h), of
 * outcomes (outcomes.h), of leases with tokens (work.h) and of prefixes (prefix_index.h). A lock
 * READING of a watch comes before the writer lock and is not taken here: see watch.c.
 *
 * A registry leaves the list after its settings have lost it. So a registry of the list has a
 * writer lock that fork takes, and of any other registry no lease takes the lock (settings.h). */
#include "registry/fork.h"

#include "base/clock.h"
#include "base/random.h"
#include "reclaim/reclaim.h"
#include "registry/idle.h"
#include "registry/locks.h"
#include "registry/watch.h"
#include "registry/work.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static reg_registry *all_registries;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static bool has_fork_handlers;

static void before_fork(void) {
    pthread_mutex_lock(&list_lock);
    for (reg_registry *reg = all_registries; reg != NULL; reg = reg->next) {
        pthread_mutex_lock(&reg->settings->line);
        pthread_mutex_lock(&reg->turns);
        pthread_mutex_lock(&reg->settings->writer);
        pthread_mutex_lock(&reg->waiters.lock);
    }
    reclaim_before_fork();
    record_pool_lock();
    idle_lock();
    stripes_lock_all(&outcome_locks);
    stripes_lock_all(&work_locks);
    stripes_lock_all(&prefix_locks);
}

static void after_fork(void) {
    stripes_unlock_all(&prefix_locks);
    stripes_unlock_all(&work_locks);
    stripes_unlock_all(&outcome_locks);
    idle_unlock();
    record_pool_unlock();
    reclaim_after_fork();
    for (reg_registry *reg = all_registries; reg != NULL; reg = reg->next) {
        pthread_mutex_unlock(&reg->waiters.lock);
        pthread_mutex_unlock(&reg->settings->writer);
        pthread_mutex_unlock(&reg->turns);
        pthread_mutex_unlock(&reg->settings->line);
    }
    pthread_mutex_unlock(&list_lock);
}

static void after_fork_in_child(void) {
    reclaim_forget_other_threads();
    clock_after_fork_in_child();
    random_state = 0; /* the child must not repeat the parent's choices */
    for (reg_registry *reg = all_registries; reg != NULL; reg = reg->next) {
        watches_after_fork_in_child(reg);
        line_after_fork_in_child(&reg->line, reg->settings);
    }
    after_fork();
}

void fork_each_registry(void (*visit)(reg_registry *reg, void *context), void *context) {
    pthread_mutex_lock(&list_lock);
    for (reg_registry *reg = all_registries; reg != NULL; reg = reg->next) visit(reg, context);
    pthread_mutex_unlock(&list_lock);
}

static void set_up_fork(void) {
    has_fork_handlers = pthread_atfork(before_fork, after_fork, after_fork_in_child) == 0;
}

bool fork_start(void) {
    pthread_once(&fork_once, set_up_fork);
    return has_fork_handlers;
}

void fork_add_registry(reg_registry *reg) {
    pthread_mutex_lock(&list_lock);
    reg->next = all_registries;
    if (all_registries != NULL) all_registries->previous = reg;
    all_registries = reg;
    pthread_mutex_unlock(&list_lock);
}

void fork_remove_registry(reg_registry *reg) {
    pthread_mutex_lock(&list_lock);
    if (reg->next != NULL) reg->next->previous = reg->previous;
    if (reg->previous != NULL)
        reg->previous->next = reg->next;
    else
        all_registries = reg->next;
    pthread_mutex_unlock(&list_lock);
}
