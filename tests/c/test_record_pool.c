/* Where records lie. The rest of the core's tests use it as well; here it is alone. */
#include "reclaim/slab_pool.h"

#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "check.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

enum { MANY = 1000, THREADS = 4, STEPS = 60000, HELD = 300 };

static bool is_all(const record *r, unsigned char byte) {
    for (size_t i = 0; i < sizeof *r; i++)
        if (((const unsigned char *)r)[i] != byte) return false;
    return true;
}

static long they_are_zero_and_overlap_nowhere(void) {
    static record *records[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            records[i] = record_alloc();
            CHECK(records[i] != NULL && (uintptr_t)records[i] % REG_CACHE_LINE == 0 &&
                  is_all(records[i], 0));
            memset(records[i], i % 251, sizeof(record));
        }
        for (int i = 0; i < MANY; i++) CHECK(is_all(records[i], (unsigned char)(i % 251)));
        for (int i = 0; i < MANY; i++) record_free(records[round % 2 ? i : MANY - 1 - i]);
    }
    return 3 * MANY;
}

/* Every other one of many goes: the next ones lie between those that are left. */
static long gaps_are_filled(void) {
    static record *records[2 * MANY], *more[MANY];
    for (int i = 0; i < 2 * MANY; i++) CHECK((records[i] = record_alloc()) != NULL);
    size_t full = record_pool_bytes();
    for (int i = 0; i < 2 * MANY; i += 2) record_free(records[i]);
    CHECK(record_pool_bytes() == full);
    for (int i = 0; i < MANY; i++) CHECK((more[i] = record_alloc()) != NULL);
    CHECK(record_pool_bytes() == full);
    for (int i = 0; i < MANY; i++) {
        record_free(records[2 * i + 1]);
        record_free(more[i]);
    }
    CHECK(record_pool_bytes() < full / 4); /* what is empty goes, but for one */
    return 3 * MANY;
}

static long one_that_went_is_not_the_next_one(void) {
    record *first = record_alloc();
    CHECK(first != NULL);
    record_free(first);
#if defined(__SANITIZE_ADDRESS__)
    CHECK(__asan_address_is_poisoned(&first->counters) &&
          __asan_address_is_poisoned(&first->state));
#endif
    record *next = record_alloc();
    CHECK(next != NULL && next != first);
    record_free(next);
    return 1;
}

static bool never(void) { return false; }

static long without_memory_there_is_none(void) {
    record *before =
        record_alloc(); /* its neighbours are free, but every record has to be asked for */
    memory_set_gate(never);
    record *refused = record_alloc();
    memory_set_gate(NULL);
    CHECK(before != NULL && refused == NULL);
    record_free(before);
    return 1;
}

/* Writes its own name on what it holds, and looks for it before it lets go; passes every third one on to the next thread. */
static _Atomic(record *) passed_on[THREADS];

static void let_go(record *r, unsigned char name) {
    CHECK(is_all(r, name));
    record_free(r);
}

static void *come_and_go(void *name_pointer) {
    unsigned name = *(unsigned *)name_pointer;
    record *held[HELD] = {0};
    for (unsigned i = 0, at = 0; i < STEPS; i++, at = (at * 5 + 7) % HELD) {
        if (held[at] != NULL && i % 3 == 0) {
            memset(held[at], 100, sizeof(record));
            record *other = atomic_exchange(&passed_on[(name + 1) % THREADS], held[at]);
            if (other != NULL) let_go(other, 100);
        } else if (held[at] != NULL) {
            let_go(held[at], (unsigned char)(name + 1));
        }
        CHECK((held[at] = record_alloc()) != NULL && is_all(held[at], 0));
        memset(held[at], (int)name + 1, sizeof(record));
        record *gift = i % 7 == 0 ? atomic_exchange(&passed_on[name], NULL) : NULL;
        if (gift != NULL) let_go(gift, 100);
    }
    for (int i = 0; i < HELD; i++)
        if (held[i] != NULL) let_go(held[i], (unsigned char)(name + 1));
    return NULL;
}

static long threads_take_and_give(void) {
    pthread_t threads[THREADS];
    unsigned names[THREADS];
    size_t before = record_pool_bytes();
    for (unsigned i = 0; i < THREADS; i++) {
        names[i] = i;
        CHECK(pthread_create(&threads[i], NULL, come_and_go, &names[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        record *left = atomic_exchange(&passed_on[i], NULL);
        if (left != NULL) let_go(left, 100);
    }
    CHECK(record_pool_bytes() <= before + RECORD_SLAB_BYTES);
    return (long)THREADS * STEPS;
}

const test record_pool_tests[] = {
    {"record pool: zero, and apart", they_are_zero_and_overlap_nowhere},
    {"record pool: gaps are filled", gaps_are_filled},
    {"record pool: not the next one", one_that_went_is_not_the_next_one},
    {"record pool: no memory", without_memory_there_is_none},
    {"record pool: threads take and give", threads_take_and_give},
    {0}};
