#include <pthread.h>

#include "check.h"
#include "reclaim/reclaim.h"

static int destroyed;

static void count_destroyed(epoch_node *node, epoch_release release) {
    (void)release;
    free(node);
    destroyed++;
}

static size_t one_byte(const epoch_node *node) { return node != NULL; }

static const epoch_kind kind = {.bytes = one_byte, .destroy = count_destroyed};

static void retire_batch(epoch_limbo *limbo) {
    for (int i = 0; i < EPOCH_BATCH_NODES; i++)
        epoch_retire(limbo, malloc(sizeof(epoch_node)), &kind);
}

static void collect(epoch_limbo *limbo) {
    if (epoch_is_due(limbo)) reclaim_destroy(epoch_collect_now(limbo), NULL);
}

static long a_read_holds_back_nodes_retired_during_it(void) {
    epoch_limbo limbo = {0};
    destroyed = 0;
    retire_batch(&limbo);
    collect(&limbo);
    CHECK(destroyed == EPOCH_BATCH_NODES); /* there was no reader */
    epoch_slot *slot = epoch_enter();
    CHECK(slot != NULL);
    retire_batch(&limbo);
    collect(&limbo);
    CHECK(destroyed == EPOCH_BATCH_NODES); /* the second batch was retired during this read */
    CHECK(limbo.waiting.nodes == EPOCH_BATCH_NODES && limbo.waiting.bytes == EPOCH_BATCH_NODES);
    epoch_leave(slot);
    slot = epoch_enter();
    retire_batch(&limbo);
    collect(&limbo);
    /* The second batch is destroyed. The third one was retired during this read. */
    CHECK(destroyed == 2 * EPOCH_BATCH_NODES);
    epoch_leave(slot);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(destroyed == 3 * EPOCH_BATCH_NODES && limbo.first == NULL && limbo.waiting.nodes == 0);
    return destroyed;
}

/* A collection without a fence returns the nodes that were stamped earlier. Nodes that were retired
 * since then wait for a collection with a fence. */
static long collect_stamped_returns_stamped_nodes_only(void) {
    epoch_limbo limbo = {0};
    destroyed = 0;
    epoch_slot *slot = epoch_enter();
    retire_batch(&limbo);
    collect(&limbo);
    CHECK(destroyed == 0);
    epoch_leave(slot);
    slot = epoch_enter();
    CHECK(!epoch_is_leftover_due(&limbo));
    epoch_node *late = calloc(1, sizeof *late);
    epoch_retire(&limbo, late, &kind); /* during a read that may have found it */
    CHECK(epoch_is_leftover_due(&limbo));
    reclaim_destroy(epoch_collect_stamped(&limbo), NULL);
    CHECK(destroyed == EPOCH_BATCH_NODES && limbo.first == late && !epoch_is_leftover_due(&limbo));
    epoch_leave(slot);
    reclaim_destroy(epoch_collect_stamped(&limbo), NULL);
    CHECK(destroyed == EPOCH_BATCH_NODES);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(destroyed == EPOCH_BATCH_NODES + 1);
    return destroyed;
}

static void *read_once(void *unused) {
    epoch_slot *slot = epoch_enter();
    CHECK(slot != NULL);
    epoch_leave(slot);
    return unused == NULL ? slot : NULL;
}

static long ended_threads_give_their_slots_back(void) {
    void *first, *next;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, read_once, NULL) == 0 && pthread_join(thread, &first) == 0);
    for (int i = 0; i < 2000; i++) {
        CHECK(pthread_create(&thread, NULL, read_once, NULL) == 0 &&
              pthread_join(thread, &next) == 0);
        CHECK(next == first);
    }
    return 2000;
}

const test epoch_tests[] = {
    {"epoch: a read holds back nodes", a_read_holds_back_nodes_retired_during_it},
    {"epoch: only stamped nodes are collected", collect_stamped_returns_stamped_nodes_only},
    {"epoch: ended threads return their slots", ended_threads_give_their_slots_back},
    {0}};
