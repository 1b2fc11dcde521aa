/* One change of the fleet: a backend is added, gets another definition, gets another server, or is
 * removed. A write makes any number of changes at one instant: it prepares all of them, then
 * applies all of them, and then commits. See write.h for the steps of a write.
 *
 *                  prepare                        join                       leave
 *   REG_ADDED      record, state, places in       enters lists and maps
 *                  lists, aliases
 *   REG_REPLACED   the same, for a new record     takes the old record's     old record: leaves its
 *                                                 place in the map; enters   lists; its life ends
 *                                                 lists
 *   REG_UPDATED    state, places in the lists     new state; enters new      leaves dropped lists
 *                  that are new                   lists
 *   REG_REMOVED    ticks of the lists                                        leaves its lists; its
 *                                                                            life ends
 *
 * All changes join before the first one leaves. So a model that some backend serves before and
 * after the write is served all the time, and an mDNS instance may move from one backend to
 * another. / */
#ifndef REG_CHANGE_H
#define REG_CHANGE_H

#include "registry/write.h"

typedef struct change {
    reg_change_kind kind;
    const reg_entry *entry; /* NULL: it is removed */
    record *old;            /* NULL: it is added */
    record *fresh;          /* for an update the same as `old`; NULL: it is removed */
    state *old_state, *state;
    memberships *left, *joined; /* the models, old and new */
    alias *old_instance, *instance;
} change;

/* Allocates and reserves everything that the change needs. Returns false if out of memory; then the
 * caller cancels this change and those that were prepared before it. */
bool change_prepare_locked(reg_registry *reg, change *c);
void change_cancel_locked(reg_registry *reg, change *c);

/* The two halves of the apply step. Cannot fail. O(models). */
void change_join_locked(reg_registry *reg, change *c);
void change_leave_locked(reg_registry *reg, change *c);

/* After the commit: unlinks and retires what is no longer registered. */
void change_settle_locked(reg_registry *reg, change *c);

#endif
