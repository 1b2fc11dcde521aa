#include <pthread.h>

#include "check.h"
#include "epoch.h"

static int destroyed;

static void count_destroyed(epoch_node *node, epoch_release release) {
    (void)release;
    free(node);
    destroyed++;
}

static size_t one_byte(const epoch_node *node) { return node != NULL; }

static const epoch_kind kind = {.bytes = one_byte, .destroy = count_destroyed};

static void retire_batch(epoch_limbo *limbo) {
    for (int i = 0; i < EPOCH_BATCH_NODES; i++) epoch_retire(limbo, malloc(sizeof(epoch_node)), &kind);
}

static void collect(epoch_limbo *limbo) { epoch_destroy(epoch_collect(limbo), NULL); }

static long a_read_holds_back_what_was_retired_in_it(void) {
    epoch_limbo limbo = {0};
    destroyed = 0;
    retire_batch(&limbo);
    collect(&limbo);
    CHECK(destroyed == EPOCH_BATCH_NODES); /* nobody reads */
    epoch_slot *slot = epoch_enter();
    CHECK(slot != NULL);
    retire_batch(&limbo);
    collect(&limbo);
    CHECK(destroyed == EPOCH_BATCH_NODES); /* retired while this read was open */
    CHECK(limbo.waiting.nodes == EPOCH_BATCH_NODES && limbo.waiting.bytes == EPOCH_BATCH_NODES);
    epoch_leave(slot);
    slot = epoch_enter();
    retire_batch(&limbo);
    collect(&limbo);
    CHECK(destroyed == 2 * EPOCH_BATCH_NODES); /* the first batch is free, the second one was retired in this read */
    epoch_leave(slot);
    epoch_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(destroyed == 3 * EPOCH_BATCH_NODES && limbo.first == NULL && limbo.waiting.nodes == 0);
    return destroyed;
}

static void *read_once(void *unused) {
    epoch_slot *slot = epoch_enter();
    CHECK(slot != NULL);
    epoch_leave(slot);
    return unused == NULL ? slot : NULL;
}

static long threads_give_their_slots_back(void) {
    void *first, *next;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, read_once, NULL) == 0 && pthread_join(thread, &first) == 0);
    for (int i = 0; i < 2000; i++) {
        CHECK(pthread_create(&thread, NULL, read_once, NULL) == 0 && pthread_join(thread, &next) == 0);
        CHECK(next == first);
    }
    return 2000;
}

const test epoch_tests[] = {{"epoch: a read holds back", a_read_holds_back_what_was_retired_in_it},
                            {"epoch: threads give slots back", threads_give_their_slots_back},
                            {0}};
