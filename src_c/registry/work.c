#include "registry/work.h"

#include <pthread.h>

enum { LOCKS = 16 };

#define FOUR_LOCKS                                                                                 \
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,               \
        PTHREAD_MUTEX_INITIALIZER
static pthread_mutex_t locks[LOCKS] = {FOUR_LOCKS, FOUR_LOCKS, FOUR_LOCKS, FOUR_LOCKS};

static pthread_mutex_t *lock_of(const reg_lease *lease) {
    return &locks[(uintptr_t)lease / sizeof(reg_lease) % LOCKS];
}

void work_lock(const reg_lease *lease) { pthread_mutex_lock(lock_of(lease)); }
void work_unlock(const reg_lease *lease) { pthread_mutex_unlock(lock_of(lease)); }

void work_lock_all(void) {
    for (int i = 0; i < LOCKS; i++) pthread_mutex_lock(&locks[i]);
}

void work_unlock_all(void) {
    for (int i = LOCKS; i-- != 0;) pthread_mutex_unlock(&locks[i]);
}
