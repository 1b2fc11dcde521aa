/* Watches: streams of the changes of a registry. watch.c has the argument.
 *
 * A write has to do two things for them, both under the writer lock:
 *
 *   watches_prepare_locked   in its prepare step, with the number of changes that it will commit
 *   watches_feed_locked      after its commit, once for each change, in the order of the changes
 *
 * While no watch is open, each is one load and a branch. */
#ifndef REG_WATCH_H
#define REG_WATCH_H

#include "registry/locks.h"

bool watches_allocate_locked(reg_registry *reg, size_t changes);
void watches_push_locked(reg_registry *reg, reg_change_kind kind, record *before, record *after);
void watches_push_transition_locked(reg_registry *reg, record *r, bool had_trial);

/* Allocates what `changes` calls of watches_feed_locked need. False if out of memory. If the write
 * fails afterwards, there is nothing to undo: a later write uses what was allocated. O(changes) for
 * each open watch. */
static inline bool watches_prepare_locked(reg_registry *reg, size_t changes) {
    REG_ASSERT_WRITER_OF(reg);
    return reg_likely(reg->watches == NULL) || watches_allocate_locked(reg, changes);
}

/* Tells all watches of a change that the latest commit has made: from `before`, as it was one
 * version earlier, to `after`, as it is now. Both may be the same record, and either may be NULL.
 * Call it before the write collects (end_write). O(watches). */
static inline void watches_feed_locked(reg_registry *reg, reg_change_kind kind, record *before,
                                       record *after) {
    REG_ASSERT_WRITER_OF(reg);
    if (reg_unlikely(reg->watches != NULL)) watches_push_locked(reg, kind, before, after);
}

/* The same for a write that has ejected or restored `r`. `had_trial`: a trial was out, until this
 * write has ended it. */
static inline void watches_feed_transition_locked(reg_registry *reg, record *r, bool had_trial) {
    REG_ASSERT_WRITER_OF(reg);
    if (reg_unlikely(reg->watches != NULL)) watches_push_transition_locked(reg, r, had_trial);
}

/* Takes what watches have dropped during this write, as a list for reclaim_destroy. */
static inline epoch_node *watches_take_dropped_locked(reg_registry *reg) {
    REG_ASSERT_WRITER_OF(reg);
    epoch_node *dropped = reg->dropped_changes;
    reg->dropped_changes = NULL;
    return dropped;
}

/* The memory of all watches, apart from what their views keep. */
size_t watches_bytes_locked(reg_registry *reg);

/* Closes all watches in the child of a fork. The thread holds every lock of the registry. */
void watches_after_fork_in_child(reg_registry *reg);

#endif
