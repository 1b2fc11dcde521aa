/* Threads and tasks that sleep until something happens.
 *
 * The binding knows how to put them to sleep and how to wake them. The core only keeps their
 * `reg_waiter`s in lists. Whoever makes something happen takes the waiters off their list, and the
 * binding wakes them with no lock held. Taking off is what decides: a waiter is woken once, by the
 * thread that took it off, or it is removed by its owner and never woken.
 *
 * There are two forms: a plain list, whose owner has a lock (idle.h), and a list with a lock of its
 * own, for watches.
 *
 * No wake-up of the second form is lost. Let EVENT be the word that says that something has
 * happened, and IS_WAITED the flag of the list. Both are sequentially consistent.
 *
 *   waiter    A1  enter the list, IS_WAITED = true
 *             A2  look at EVENT again; sleep only if nothing has happened
 *   others    B1  change EVENT
 *             B2  load IS_WAITED; if it is set, take the waiters off and wake them
 *
 * If B2 finds the flag clear, B2 comes before A1 in the order of all sequentially consistent
 * operations. So B1 comes before A2, and A2 sees the event (Dekker). If B2 finds the flag set, the
 * lock of the list decides: either the waiter is in the list and is woken, or it enters later, and
 * its A2 comes after B1. Only the holder of the lock clears the flag, when the list is empty.
 *
 * Cost: B2 is one load and a branch while nobody waits. All else is O(1) under the lock, apart from
 * taking off, which is O(waiters).
 *
 * The lock is a leaf: a thread that holds it takes no other lock and only changes the list. Writers
 * take it after their write, when they hold no other lock, and only if someone waits. */
#ifndef REG_WAITERS_H
#define REG_WAITERS_H

#include <pthread.h>

#include "base/atomics.h"
#include "registry.h"

/* ---- a plain list; its owner's lock is held ---- */

/* Adds a waiter that is in no list. */
void waiter_link(reg_waiter **first, reg_waiter *waiter);
/* Removes the waiter. False if it is not in the list any more, because it was taken off. */
bool waiter_unlink(reg_waiter **first, reg_waiter *waiter);
/* Takes off those whose `awaited` is this one; NULL: all of them. Puts them in front of `taken`,
 * linked by `next`, and returns the whole. */
reg_waiter *waiters_take_off(reg_waiter **first, const void *awaited, reg_waiter *taken);

/* ---- a list with a lock of its own ---- */

typedef struct waiter_list {
    pthread_mutex_t lock;
    reg_waiter *first;      /* under `lock` */
    _Atomic bool is_waited; /* whether the list has waiters; written under `lock` */
} waiter_list;

void waiters_init(waiter_list *list);
void waiters_end(waiter_list *list);

/* A1: adds a waiter that is in no list. */
void waiters_add(waiter_list *list, reg_waiter *waiter);
/* Removes the waiter. False if it is not in the list any more, because it was taken off. */
bool waiters_remove(waiter_list *list, reg_waiter *waiter);

/* B2: takes all waiters off and returns them, linked by `next`. NULL if there are none. */
reg_waiter *waiters_take_all(waiter_list *list);
/* B2 for the waiters whose `awaited` is this one. */
reg_waiter *waiters_take(waiter_list *list, const void *awaited);

#endif
