/* The slab pool alone, with pools of its own. Other tests of the core use it through records. */
#include "reclaim/slab_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "check.h"
#ifdef REG_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

enum { MANY = 1000, THREADS = 4, STEPS = 60000, HELD = 300 };

typedef struct small {
    _Alignas(REG_CACHE_LINE) char bytes[REG_CACHE_LINE];
} small;

typedef struct large {
    _Alignas(REG_CACHE_LINE) char bytes[2 * REG_CACHE_LINE];
} large;

SLAB_POOL(small_pool, small, 32);
SLAB_POOL(large_pool, large, 128);

static slab_pool *const pools[] = {&small_pool, &large_pool};
enum { POOLS = sizeof pools / sizeof *pools };

static bool has_all_bytes(const void *element, size_t size, unsigned char byte) {
    for (size_t i = 0; i < size; i++)
        if (((const unsigned char *)element)[i] != byte) return false;
    return true;
}

static void check_new_elements(slab_pool *pool) {
    static void *elements[MANY];
    size_t size = pool->element_bytes;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            elements[i] = slab_alloc(pool);
            CHECK(elements[i] != NULL && (uintptr_t)elements[i] % REG_CACHE_LINE == 0 &&
                  has_all_bytes(elements[i], size, 0));
            memset(elements[i], i % 251, size);
        }
        for (int i = 0; i < MANY; i++)
            CHECK(has_all_bytes(elements[i], size, (unsigned char)(i % 251)));
        for (int i = 0; i < MANY; i++) slab_free(pool, elements[round % 2 ? i : MANY - 1 - i]);
    }
}

static long new_elements_are_zero_and_do_not_overlap(void) {
    for (int i = 0; i < POOLS; i++) check_new_elements(pools[i]);
    return POOLS * 3 * MANY;
}

/* Frees every second element of many. New ones must take their places. */
static void check_gaps(slab_pool *pool) {
    static void *elements[2 * MANY], *more[MANY];
    for (int i = 0; i < 2 * MANY; i++) CHECK((elements[i] = slab_alloc(pool)) != NULL);
    size_t full = slab_pool_bytes(pool);
    for (int i = 0; i < 2 * MANY; i += 2) slab_free(pool, elements[i]);
    CHECK(slab_pool_bytes(pool) == full);
    for (int i = 0; i < MANY; i++) CHECK((more[i] = slab_alloc(pool)) != NULL);
    CHECK(slab_pool_bytes(pool) == full);
    for (int i = 0; i < MANY; i++) {
        slab_free(pool, elements[2 * i + 1]);
        slab_free(pool, more[i]);
    }
    CHECK(slab_pool_bytes(pool) < full / 4); /* empty slabs are freed, except for one */
}

static long gaps_are_reused(void) {
    for (int i = 0; i < POOLS; i++) check_gaps(pools[i]);
    return POOLS * 3 * MANY;
}

static long a_freed_element_is_not_reused_at_once(void) {
    large *first = slab_alloc(&large_pool);
    CHECK(first != NULL);
    slab_free(&large_pool, first);
#ifdef REG_ADDRESS_SANITIZER
    CHECK(__asan_address_is_poisoned(&first->bytes[sizeof(void *)]) &&
          __asan_address_is_poisoned(&first->bytes[sizeof *first - 1]));
#endif
    large *next = slab_alloc(&large_pool);
    CHECK(next != NULL && next != first);
    slab_free(&large_pool, next);
    return 1;
}

static bool never(void) { return false; }

static long each_allocation_asks_the_gate(void) {
    void *before = slab_alloc(&large_pool); /* its slab has more free elements */
    memory_set_gate(never);
    void *refused = slab_alloc(&large_pool);
    memory_set_gate(NULL);
    CHECK(before != NULL && refused == NULL);
    slab_free(&large_pool, before);
    return 1;
}

/* Each thread fills its elements with its own mark, and checks the mark when it frees one. It
 * passes every third element on to the next thread, which frees it. */
static _Atomic(large *) passed_on[THREADS];
enum { PASSED_ON = 100 };

static void check_and_free(large *element, unsigned char mark) {
    CHECK(has_all_bytes(element, sizeof *element, mark));
    slab_free(&large_pool, element);
}

static void *alloc_and_free(void *index_pointer) {
    unsigned index = *(unsigned *)index_pointer;
    unsigned char mark = (unsigned char)(index + 1);
    large *held[HELD] = {0};
    for (unsigned i = 0, at = 0; i < STEPS; i++, at = (at * 5 + 7) % HELD) {
        if (held[at] != NULL && i % 3 == 0) {
            memset(held[at], PASSED_ON, sizeof(large));
            large *other = atomic_exchange(&passed_on[(index + 1) % THREADS], held[at]);
            if (other != NULL) check_and_free(other, PASSED_ON);
        } else if (held[at] != NULL) {
            check_and_free(held[at], mark);
        }
        CHECK((held[at] = slab_alloc(&large_pool)) != NULL &&
              has_all_bytes(held[at], sizeof(large), 0));
        memset(held[at], mark, sizeof(large));
        large *received = i % 7 == 0 ? atomic_exchange(&passed_on[index], NULL) : NULL;
        if (received != NULL) check_and_free(received, PASSED_ON);
    }
    for (int i = 0; i < HELD; i++)
        if (held[i] != NULL) check_and_free(held[i], mark);
    return NULL;
}

static long threads_allocate_and_free(void) {
    pthread_t threads[THREADS];
    unsigned indices[THREADS];
    size_t before = slab_pool_bytes(&large_pool);
    for (unsigned i = 0; i < THREADS; i++) {
        indices[i] = i;
        CHECK(pthread_create(&threads[i], NULL, alloc_and_free, &indices[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        large *left = atomic_exchange(&passed_on[i], NULL);
        if (left != NULL) check_and_free(left, PASSED_ON);
    }
    CHECK(slab_pool_bytes(&large_pool) <= before + large_pool.slab_bytes);
    return (long)THREADS * STEPS;
}

const test slab_pool_tests[] = {
    {"slab pool: new elements are zero and apart", new_elements_are_zero_and_do_not_overlap},
    {"slab pool: gaps are reused", gaps_are_reused},
    {"slab pool: no immediate reuse", a_freed_element_is_not_reused_at_once},
    {"slab pool: out of memory", each_allocation_asks_the_gate},
    {"slab pool: threads allocate and free", threads_allocate_and_free},
    {0}};
