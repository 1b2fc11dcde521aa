/* Torture of the epochs alone, in the manner of liburcu's: readers check the age of what they hold while writers replace it.
 *
 * Elements are reused, never freed, so that a mistake is read instead of crashing. An element is alive from its publication until it is
 * reclaimed. Two things a reader must never see: an element that is not alive, before or after it has looked away for a while; and one
 * that is older than what was current before the read began.
 *
 * What it cannot show: the fences. Without them the window is a few nanoseconds of a store buffer; tests/spin checks these. */
#include <pthread.h>

#include "check.h"
#include "epoch.h"

enum { ELEMENTS = 1024, WRITERS = 2, READERS = 3, READS = 100000 };

typedef struct element {
    epoch_node node;
    struct element *next_free;
    _Atomic uint64_t version; /* 0: reclaimed */
} element;

static element elements[ELEMENTS];
static element *free_elements; /* this, the limbo and the version under `writing` */
static epoch_limbo limbo;
static uint64_t last_version;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(element *) current;
static _Atomic uint64_t current_version; /* never ahead of `current` */
static _Atomic bool stopped;

static size_t element_bytes(const epoch_node *node) {
    (void)node;
    return sizeof(element);
}

static void reclaim(epoch_node *node, epoch_release release) {
    (void)release;
    element *e = reg_container(node, element, node);
    publish(&e->version, 0);
    e->next_free = free_elements;
    free_elements = e;
}

static const epoch_kind element_kind = {.bytes = element_bytes, .destroy = reclaim};

/* False where all elements wait for reclamation. */
static bool replace(void) {
    element *fresh = free_elements, *old = load_own(&current);
    if (fresh == NULL) return false;
    free_elements = fresh->next_free;
    publish(&fresh->version, ++last_version);
    publish(&current, fresh);
    publish(&current_version, last_version);
    if (old != NULL) epoch_retire(&limbo, &old->node, &element_kind);
    return true;
}

static void *write_on(void *unused) {
    while (!stopped) {
        pthread_mutex_lock(&writing);
        if (!replace()) epoch_destroy(epoch_collect_now(&limbo), NULL);
        if (epoch_is_due(&limbo)) epoch_destroy(epoch_collect_now(&limbo), NULL);
        pthread_mutex_unlock(&writing);
    }
    return unused;
}

static void *read_on(void *unused) {
    for (long i = 0; i < READS; i++) {
        uint64_t before = load_published(&current_version);
        epoch_slot *slot = epoch_enter();
        CHECK(slot != NULL);
        element *e = load_published(&current);
        uint64_t version = load_published(&e->version);
        CHECK(version != 0 && version >= before);
        CHECK(load_published(&e->version) == version);
        epoch_leave(slot);
    }
    return unused;
}

static long nothing_is_reclaimed_under_a_reader(void) {
    pthread_t threads[WRITERS + READERS];
    limbo = (epoch_limbo){0};
    free_elements = NULL;
    for (int i = 0; i < ELEMENTS; i++) reclaim(&elements[i].node, NULL);
    current = NULL;
    stopped = false;
    replace();
    for (int i = 0; i < WRITERS + READERS; i++) CHECK(pthread_create(&threads[i], NULL, i < WRITERS ? write_on : read_on, NULL) == 0);
    for (int i = WRITERS + READERS - 1; i >= 0; i--) {
        if (i == WRITERS - 1) stopped = true;
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    epoch_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(limbo.waiting.nodes == 0);
    return (long)READERS * READS;
}

const test reclamation_tests[] = {{"reclamation: nothing is reclaimed under a reader", nothing_is_reclaimed_under_a_reader}, {NULL, NULL}};
