#include "reclaim/slab_pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"

#ifdef REG_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)0)
#endif

/* The first bytes of a free element. */
typedef struct free_element {
    struct free_element *next;
} free_element;

/* The header of a slab. */
typedef struct slab {
    struct slab *next, *previous; /* in the list of slabs with free elements */
    free_element *first, *last;   /* the free elements, longest free first; NULL if none */
    size_t used;
} slab;

_Static_assert(sizeof(slab) <= REG_CACHE_LINE, "the header fits into one element");

void slab_pool_lock(slab_pool *pool) { pthread_mutex_lock(&pool->lock); }
void slab_pool_unlock(slab_pool *pool) { pthread_mutex_unlock(&pool->lock); }

static void link_slab(slab_pool *pool, slab *s) {
    s->previous = NULL;
    s->next = pool->with_room;
    if (s->next != NULL) s->next->previous = s;
    pool->with_room = s;
}

static void unlink_slab(slab_pool *pool, slab *s) {
    if (s->next != NULL) s->next->previous = s->previous;
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        pool->with_room = s->next;
}

/* Links the slab if this is its only free element. */
static void push_free(slab_pool *pool, slab *s, void *element) {
    free_element *e = element;
    e->next = NULL;
    ASAN_POISON_MEMORY_REGION(e + 1, pool->element_bytes - sizeof *e);
    if (s->first == NULL) {
        link_slab(pool, s);
        s->first = e;
    } else {
        s->last->next = e;
    }
    s->last = e;
}

/* Unlinks the slab if this was its only free element. */
static void *pop_free(slab_pool *pool, slab *s) {
    free_element *e = s->first;
    s->first = e->next;
    if (s->first == NULL) unlink_slab(pool, s);
    ASAN_UNPOISON_MEMORY_REGION(e, pool->element_bytes);
    return e;
}

static bool add_slab(slab_pool *pool) {
    slab *s = memory_alloc_aligned(pool->slab_bytes, pool->slab_bytes);
    if (s == NULL) return false;
    for (size_t at = pool->element_bytes; at < pool->slab_bytes; at += pool->element_bytes)
        push_free(pool, s, (char *)s + at);
    pool->slabs++;
    return true;
}

void *slab_alloc(slab_pool *pool) {
    if (!memory_is_granted()) return NULL;
    slab_pool_lock(pool);
    void *element = NULL;
    if (pool->with_room != NULL || add_slab(pool)) {
        pool->with_room->used++;
        element = pop_free(pool, pool->with_room);
    }
    slab_pool_unlock(pool);
    return element == NULL ? NULL : memset(element, 0, pool->element_bytes);
}

void slab_free(slab_pool *pool, void *element) {
    slab *s = (slab *)((uintptr_t)element & ~(uintptr_t)(pool->slab_bytes - 1));
    slab_pool_lock(pool);
    push_free(pool, s, element);
    bool is_unneeded = --s->used == 0 && (s->next != NULL || s->previous != NULL);
    if (is_unneeded) {
        unlink_slab(pool, s);
        pool->slabs--;
    }
    slab_pool_unlock(pool);
    if (is_unneeded) memory_free(s);
}

size_t slab_pool_bytes(slab_pool *pool) {
    slab_pool_lock(pool);
    size_t bytes = pool->slabs * pool->slab_bytes;
    slab_pool_unlock(pool);
    return bytes;
}
