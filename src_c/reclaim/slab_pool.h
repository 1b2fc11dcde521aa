/* A slab allocator for elements of one size (Bonwick, "The slab allocator", USENIX Summer 1994).
 *
 * A choice reads a cache line of each candidate. It is faster when these lines are adjacent. Also,
 * malloc would lose a tenth of a backend's memory to gaps between blocks that are aligned to cache
 * lines.
 *
 * A pool serves the whole process, because an element may outlive the registry that allocated it.
 * One mutex guards the whole pool and is held for a few steps only. The caller must make sure that
 * no thread uses an element before freeing it. The free elements of a slab are reused in the order
 * in which they were freed. Under AddressSanitizer a free element is poisoned, so an access to it
 * is reported. When the last element of a slab is freed, the slab is freed too, unless no other
 * slab has a free element.
 */
#ifndef REG_SLAB_POOL_H
#define REG_SLAB_POOL_H

#include <pthread.h>
#include <stddef.h>

#include "base/compiler.h"

typedef struct slab_pool {
    size_t element_bytes; /* constant */
    size_t slab_bytes;    /* constant: a power of two, and a multiple of element_bytes */
    pthread_mutex_t lock; /* guards the rest, and every slab's header and free elements */
    struct slab *with_room;
    size_t slabs;
} slab_pool;

/* Defines the static pool `name` for elements of `type`. A slab is as large as `length` elements,
 * but its header takes the place of the first one. */
#define SLAB_POOL(name, type, length)                                                              \
    _Static_assert(sizeof(type) >= REG_CACHE_LINE, "the header fits into one element");            \
    _Static_assert((length) > 1 &&                                                                 \
                       (((length) * sizeof(type)) & ((length) * sizeof(type) - 1)) == 0,           \
                   "slabs are aligned to their size: an element's address gives its slab");        \
    static slab_pool name = {.element_bytes = sizeof(type),                                        \
                             .slab_bytes = (length) * sizeof(type),                                \
                             .lock = PTHREAD_MUTEX_INITIALIZER}

/* A zeroed element, or NULL if out of memory. O(1), but O(slab length) when it adds a slab. May
 * wait for the pool's lock. */
void *slab_alloc(slab_pool *pool);
void slab_free(slab_pool *pool, void *element);

/* The memory of all slabs. */
size_t slab_pool_bytes(slab_pool *pool);

/* Held around a fork to keep the child's copy of the pool consistent. */
void slab_pool_lock(slab_pool *pool);
void slab_pool_unlock(slab_pool *pool);

#endif
