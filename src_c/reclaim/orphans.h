/* The limbos of registries that no longer exist.
 *
 * If a thread was inside a read when its registry was destroyed, it may still hold nodes of the
 * limbo. These nodes move to a list here. Every later write of any registry tries to reclaim them.
 * They were stamped and fenced when their registry was destroyed, so these attempts need no fence
 * (epoch_collect_stamped). While the list is empty, they cost each write only one load.
 *
 * The list has a lock of its own. It is held for a few steps only, and no other lock is taken while
 * it is held.
 */
#ifndef REG_ORPHANS_H
#define REG_ORPHANS_H

#include "reclaim/epoch.h"

extern _Atomic bool orphans_waiting; /* a hint */

static inline bool orphans_are_waiting(void) { return load_hint(&orphans_waiting); }

/* Takes over all nodes of `limbo`, whose registry is being destroyed. Returns those that can be
 * destroyed at once, for `reclaim_destroy`. */
epoch_node *orphans_adopt(epoch_limbo *limbo);

/* Returns the nodes that can be destroyed now, for `reclaim_destroy`. Never waits: returns NULL if
 * another thread has the lock. */
epoch_node *orphans_collect(void);

/* Held around a fork to keep the child's copy of the list consistent. */
void orphans_lock(void);
void orphans_unlock(void);

#endif
