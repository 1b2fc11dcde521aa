/* What registries that are gone have left in their limbos: a thread was inside a read when they went, and may have found it.
 *
 * Every later write, of any registry, looks at it until all is reclaimed. It was stamped and fenced when its registry went,
 * so a look costs no fence (epoch_collect_stamped), and without orphans it costs one load.
 *
 * The list is under a lock of its own, which is held for a few steps, and never while another one is taken.
 */
#ifndef REG_ORPHANS_H
#define REG_ORPHANS_H

#include "reclaim/epoch.h"

extern _Atomic bool orphans_waiting; /* a hint */

static inline bool orphans_are_waiting(void) { return load_hint(&orphans_waiting); }

/* Takes over all of `limbo`, whose registry is gone. Returns what can be reclaimed at once, for epoch_destroy. */
epoch_node *orphans_adopt(epoch_limbo *limbo);

/* What can be reclaimed by now, for epoch_destroy. Never waits: where another thread is at it, that one does it. */
epoch_node *orphans_collect(void);

/* Around a fork, so that the list is not copied half written. */
void orphans_lock(void);
void orphans_unlock(void);

#endif
