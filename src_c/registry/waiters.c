#include "registry/waiters.h"

/* ---- a plain list ---- */

void waiter_link(reg_waiter **first, reg_waiter *waiter) {
    waiter->previous = NULL;
    waiter->next = *first;
    if (*first != NULL) (*first)->previous = waiter;
    *first = waiter;
    waiter->is_listed = true;
}

bool waiter_unlink(reg_waiter **first, reg_waiter *waiter) {
    if (!waiter->is_listed) return false;
    if (waiter->next != NULL) waiter->next->previous = waiter->previous;
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        *first = waiter->next;
    waiter->is_listed = false;
    return true;
}

reg_waiter *waiters_take_off(reg_waiter **first, const void *awaited, reg_waiter *taken) {
    for (reg_waiter *waiter = *first, *next; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (awaited != NULL && waiter->awaited != awaited) continue;
        waiter_unlink(first, waiter);
        waiter->is_woken = true;
        waiter->next = taken;
        taken = waiter;
    }
    return taken;
}

/* ---- a list with a lock of its own ---- */

void waiters_init(waiter_list *list) { pthread_mutex_init(&list->lock, NULL); }

void waiters_end(waiter_list *list) { pthread_mutex_destroy(&list->lock); }

static void note_if_empty(waiter_list *list) {
    if (list->first == NULL) exchange_seq_cst(&list->is_waited, false);
}

void waiters_add(waiter_list *list, reg_waiter *waiter) {
    pthread_mutex_lock(&list->lock);
    waiter_link(&list->first, waiter);
    exchange_seq_cst(&list->is_waited, true);
    pthread_mutex_unlock(&list->lock);
}

bool waiters_remove(waiter_list *list, reg_waiter *waiter) {
    pthread_mutex_lock(&list->lock);
    bool was_listed = waiter_unlink(&list->first, waiter);
    note_if_empty(list);
    pthread_mutex_unlock(&list->lock);
    return was_listed;
}

reg_waiter *waiters_take_all(waiter_list *list) { return waiters_take(list, NULL); }

reg_waiter *waiters_take(waiter_list *list, const void *awaited) {
    if (reg_likely(!load_seq_cst(&list->is_waited))) return NULL;
    pthread_mutex_lock(&list->lock);
    reg_waiter *taken = waiters_take_off(&list->first, awaited, NULL);
    note_if_empty(list);
    pthread_mutex_unlock(&list->lock);
    return taken;
}
