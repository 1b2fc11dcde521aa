#include "reclaim/reclaim.h"

#include "reclaim/orphans.h"

/* Replaces each node that has a successor. */
static epoch_node *unwrap_each(epoch_node *list) {
    for (epoch_node **at = &list; *at != NULL; at = &(*at)->next) {
        epoch_node *node = *at, *next = node->next;
        if (node->kind->unwrap == NULL) continue;
        *at = node->kind->unwrap(node);
        (*at)->next = next;
    }
    return list;
}

/* Views and leases may need a successor, so the nodes are unwrapped before they are filtered. */
void reclaim_destroy(epoch_node *list, epoch_release release) {
    epoch_destroy_each(reservation_filter(unwrap_each(list), release), release);
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
