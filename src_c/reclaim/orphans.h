/* The limbos of registries that no longer exist.
 *
 * If a thread was inside a read when its registry was destroyed, it may still hold nodes of the
 * limbo. These nodes move to a list here. Every later write of any registry tries to reclaim them.
 * They were stamped and fenced when their registry was destroyed, so trying needs no fence
 * (epoch_collect_stamped). While the list is empty, a write pays for one load.
 *
 * The list has a lock of its own. It is held for a few steps, and no other lock is taken under it.
 */
#ifndef REG_ORPHANS_H
#define REG_ORPHANS_H

#include "reclaim/epoch.h"

extern _Atomic bool orphans_waiting; /* a hint */

static inline bool orphans_are_waiting(void) { return load_hint(&orphans_waiting); }

/* Takes over all of `limbo`, whose registry is being destroyed. Returns the nodes that can be
 * destroyed at once, for `reclaim_destroy`. */
epoch_node *orphans_adopt(epoch_limbo *limbo);

/* Returns the nodes that can be destroyed by now, for `reclaim_destroy`. Never waits: returns NULL
 * if another thread has the lock. */
epoch_node *orphans_collect(void);

/* Held around a fork, so that the child's copy of the list is consistent. */
void orphans_lock(void);
void orphans_unlock(void);

#endif
