/* Mutexes for objects that are too many, or too small, to have one each: an object uses one of
 * STRIPES, by its address. Each is a leaf: it is held for a few steps, and no other lock is taken
 * meanwhile. */
#ifndef REG_LOCK_STRIPES_H
#define REG_LOCK_STRIPES_H

#include <pthread.h>

#include "base/compiler.h"

enum { STRIPES = 16 };

typedef struct lock_stripes {
    pthread_mutex_t locks[STRIPES];
} lock_stripes;

#define FOUR_LOCKS                                                                                 \
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,               \
        PTHREAD_MUTEX_INITIALIZER
#define LOCK_STRIPES                                                                               \
    {                                                                                              \
        {                                                                                          \
            FOUR_LOCKS, FOUR_LOCKS, FOUR_LOCKS, FOUR_LOCKS                                         \
        }                                                                                          \
    }

/* The lock of a user. Users of whole cache lines are spread evenly. */
static inline pthread_mutex_t *stripe_of(lock_stripes *stripes, const void *user) {
    return &stripes->locks[(uintptr_t)user / REG_CACHE_LINE % STRIPES];
}

/* All of them, which are held around a fork. */
static inline void stripes_lock_all(lock_stripes *stripes) {
    for (int i = 0; i < STRIPES; i++) pthread_mutex_lock(&stripes->locks[i]);
}

static inline void stripes_unlock_all(lock_stripes *stripes) {
    for (int i = STRIPES; i-- != 0;) pthread_mutex_unlock(&stripes->locks[i]);
}

#endif
