#include "registry/waiters.h"

void waiters_init(waiter_list *list) { pthread_mutex_init(&list->lock, NULL); }

void waiters_end(waiter_list *list) { pthread_mutex_destroy(&list->lock); }

static void unlink_waiter(waiter_list *list, reg_waiter *waiter) {
    if (waiter->next != NULL) waiter->next->previous = waiter->previous;
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        list->first = waiter->next;
    waiter->is_listed = false;
    if (list->first == NULL) exchange_seq_cst(&list->is_waited, false);
}

void waiters_add(waiter_list *list, reg_waiter *waiter) {
    pthread_mutex_lock(&list->lock);
    waiter->previous = NULL;
    waiter->next = list->first;
    if (list->first != NULL) list->first->previous = waiter;
    list->first = waiter;
    waiter->is_listed = true;
    exchange_seq_cst(&list->is_waited, true);
    pthread_mutex_unlock(&list->lock);
}

bool waiters_remove(waiter_list *list, reg_waiter *waiter) {
    pthread_mutex_lock(&list->lock);
    bool was_listed = waiter->is_listed;
    if (was_listed) unlink_waiter(list, waiter);
    pthread_mutex_unlock(&list->lock);
    return was_listed;
}

reg_waiter *waiters_take_all(waiter_list *list) { return waiters_take(list, NULL); }

reg_waiter *waiters_take(waiter_list *list, const void *awaited) {
    if (reg_likely(!load_seq_cst(&list->is_waited))) return NULL;
    reg_waiter *taken = NULL;
    pthread_mutex_lock(&list->lock);
    for (reg_waiter *waiter = list->first, *next; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (awaited != NULL && waiter->awaited != awaited) continue;
        unlink_waiter(list, waiter);
        waiter->next = taken;
        taken = waiter;
    }
    pthread_mutex_unlock(&list->lock);
    return taken;
}
