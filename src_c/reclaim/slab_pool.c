#include "reclaim/slab_pool.h"

#include <pthread.h>
#include <string.h>

#include "base/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#define REG_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REG_ADDRESS_SANITIZER 1
#endif
#endif
#ifdef REG_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)0)
#endif

typedef union place {
    union place *next; /* while it is free */
    record record;
} place;

typedef struct slab {
    struct slab *next, *previous; /* among those with room */
    place *first, *last;          /* free ones, oldest first; NULL: none */
    size_t used;
} slab;

enum { PLACES = 127 };
_Static_assert(RECORD_SLAB_BYTES == (PLACES + 1) * sizeof(place),
               "the places and a header as large as one");
_Static_assert(sizeof(slab) <= sizeof(place), "the header fits");
_Static_assert((RECORD_SLAB_BYTES & (RECORD_SLAB_BYTES - 1)) == 0,
               "a slab's address is that of its records without the low bits");

static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* guards all below, and every slab's header and free places */
static slab *with_room;
static size_t slabs;

void record_pool_lock(void) { pthread_mutex_lock(&lock); }
void record_pool_unlock(void) { pthread_mutex_unlock(&lock); }

static void list(slab *s) {
    s->previous = NULL;
    s->next = with_room;
    if (with_room != NULL) with_room->previous = s;
    with_room = s;
}

static void unlist(slab *s) {
    if (s->next != NULL) s->next->previous = s->previous;
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        with_room = s->next;
}

/* Lists the slab where it had no room. */
static void give(slab *s, place *p) {
    p->next = NULL;
    ASAN_POISON_MEMORY_REGION((char *)p + sizeof p->next, sizeof *p - sizeof p->next);
    if (s->first == NULL) {
        list(s);
        s->first = p;
    } else {
        s->last->next = p;
    }
    s->last = p;
}

/* Unlists the slab where that was its last one. */
static place *take(slab *s) {
    place *p = s->first;
    s->first = p->next;
    if (s->first == NULL) unlist(s);
    ASAN_UNPOISON_MEMORY_REGION(p, sizeof *p);
    return p;
}

static bool add_slab(void) {
    slab *s = memory_alloc_aligned(RECORD_SLAB_BYTES, RECORD_SLAB_BYTES);
    if (s == NULL) return false;
    for (int i = 1; i <= PLACES; i++) give(s, (place *)s + i);
    slabs++;
    return true;
}

record *record_alloc(void) {
    if (!memory_is_granted()) return NULL;
    record_pool_lock();
    place *p = NULL;
    if (with_room != NULL || add_slab()) {
        with_room->used++;
        p = take(with_room);
    }
    record_pool_unlock();
    return p == NULL ? NULL : memset(p, 0, sizeof *p);
}

void record_free(record *r) {
    slab *s = (slab *)((uintptr_t)r & ~(uintptr_t)(RECORD_SLAB_BYTES - 1));
    record_pool_lock();
    give(s, (place *)r);
    bool goes = --s->used == 0 && (s->next != NULL || s->previous != NULL);
    if (goes) {
        unlist(s);
        slabs--;
    }
    record_pool_unlock();
    if (goes) memory_free(s);
}

size_t record_pool_bytes(void) {
    record_pool_lock();
    size_t bytes = slabs * RECORD_SLAB_BYTES;
    record_pool_unlock();
    return bytes;
}
