#include "reclaim/orphans.h"

#include <pthread.h>

_Atomic bool orphans_waiting;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static epoch_limbo orphans; /* guarded by `lock` */

void orphans_lock(void) { pthread_mutex_lock(&lock); }

void orphans_unlock(void) { pthread_mutex_unlock(&lock); }

static void update_hint(void) { store_private(&orphans_waiting, orphans.first != NULL); }

epoch_node *orphans_adopt(epoch_limbo *limbo) {
    orphans_lock();
    epoch_move_all(&orphans, limbo);
    epoch_node *ripe = epoch_collect_now(&orphans);
    update_hint();
    orphans_unlock();
    return ripe;
}

epoch_node *orphans_collect(void) {
    if (pthread_mutex_trylock(&lock) != 0) return NULL;
    epoch_node *ripe = epoch_collect_stamped(&orphans);
    update_hint();
    orphans_unlock();
    return ripe;
}
