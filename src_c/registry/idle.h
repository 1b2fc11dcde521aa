/* Waiting until nothing is in flight on a registration.
 *
 * A waiter belongs to one call that waits. It is in a list here from the start of the wait until
 * the number reaches 0 or the call gives up. Nobody polls: the decrement that reaches 0 takes the
 * waiters off the list and returns them to its caller, who wakes them with no lock held. A waiter
 * counts in a reservation like a lease, so it keeps its record after a removal.
 *
 * LOCK guards the lists of all registries. It is held for a few steps, plus one for each waiter of
 * the process in the same list, and no other lock is taken while it is held. A decrement takes it
 * only if the word `pending` (counters.h) has the bit WATCHED and the number 1. While nobody waits
 * for a backend, its decrements pay one comparison, which they need for the number 0 anyway.
 *
 * The proof
 * ---------
 *   waiter     A   under LOCK: one read-modify-write of the word. If the number is 0, the wait is
 *                  over. Otherwise it sets WATCHED, and the waiter is linked
 *              E   gives up, under LOCK: unlink the waiter if it is still linked
 *   decrement  D   of a word that is WATCHED and has the number 1, under LOCK: the number becomes 0
 *                  and WATCHED is cleared, in one compare-and-swap; take off all waiters of the
 *                  record
 *              P   of any other word: no lock
 *   a. The number of a WATCHED word is above 0. Only A sets the bit, on such a word, and the
 *      decrement that reaches 0 clears it.
 *   b. While LOCK is free, the word of a record with waiters is WATCHED. A sets the bit before it
 *      links the waiter. Only D clears it, and D takes off all waiters.
 *   c. No wake-up is lost. Suppose that a waiter is linked and that a decrement then reaches 0. The
 *      word that it replaces has the number 1, and is WATCHED by b. The compare-and-swap replaces
 *      that very word or fails, so it is never P, but D, which takes off the waiter.
 *   d. No wake-up is false. D finds a waiter only after A of this waiter, because both hold LOCK.
 *      So the number was 0 at an instant of the call: that of D.
 * E leaves the bit as it is: a later D may find no waiter. A clears a claim of the word in the same
 * step, as everyone must who reports the number (counters.h).
 *
 * In the child of a fork, the waiters of the other threads stay in the lists. Waking them does no
 * harm, and a task of the forking thread may still be waiting.
 */
#ifndef REG_IDLE_H
#define REG_IDLE_H

#include "registry/layout.h"

/* D, P of a watched word, or a decrement of a word that is 0. */
void idle_decrement(record *r, uint32_t *value, reg_aftermath *after);

/* Subtracts 1 from the number in flight, unless it is 0. The caller has zeroed `after`. Lock-free,
 * except for the decrement that others wait for. */
static inline void decrement_pending(record *r, uint32_t *value, reg_aftermath *after) {
    if (reg_likely(counter_decrement(&line_of(r)->counters.pending, value))) return;
    idle_decrement(r, value, after);
}

/* LOCK, which is held around a fork to keep the child's copy of the lists consistent. */
void idle_lock(void);
void idle_unlock(void);

#endif
