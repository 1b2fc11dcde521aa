#include "reclaim/reclaim.h"

#include "reclaim/orphans.h"

/* If a node was owned by another node, the reservations have not filtered it yet, and views may
 * show it. So each round filters the nodes that the previous round has unwrapped. */
void reclaim_destroy(epoch_node *list, epoch_release release) {
    while (list != NULL) {
        epoch_node *inner = NULL;
        list = reservation_filter(list, release);
        while (list != NULL) {
            epoch_node *node = list;
            list = node->next;
            if (node->kind->unwrap == NULL) {
                node->kind->destroy(node, release);
                continue;
            }
            epoch_node *owned = node->kind->unwrap(node, release); /* may have freed `node` */
            if (owned == NULL) continue;
            owned->next = inner;
            inner = owned;
        }
        list = inner;
    }
}

void reclaim_before_fork(void) {
    orphans_lock();
    reservations_lock();
}

void reclaim_after_fork(void) {
    reservations_unlock();
    orphans_unlock();
}

void reclaim_forget_other_threads(void) {
    reservations_forget_other_threads();
    epoch_forget_other_threads();
}
