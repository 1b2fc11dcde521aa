/* The models that a record serves, and the record's position in each of their lists.
 *
 * An index into both arrays is a slot. A member stores its slot (member_list.h), so if a list moves
 * a member, the position here is updated in O(1). The positions are under the writer lock.
 *
 * States with the same definition share the memberships; the newest of them owns both. So a reader
 * at V, in the epoch in which it loaded V, can find the models as of V: all but the positions is
 * immutable, and a variant is retired after the write that dropped it from the newest state.
 */
#ifndef REG_MEMBERSHIPS_H
#define REG_MEMBERSHIPS_H

#include "store/model_index.h"
#include "store/record.h"

typedef struct memberships {
    definition_base base;
    uint32_t count;
    uint32_t roster_position; /* under the lock, like `positions` */
    uint32_t *positions;
    variant *variants[];
} memberships;

/* Takes over the references to the variants. NULL if out of memory. Free it with memory_free. */
memberships *memberships_new(variant *const *variants, uint32_t count);

static inline memberships *memberships_at(const state *s) {
    return reg_container(s->memberships, memberships, base);
}

static inline memberships *memberships_locked(record *r) {
    REG_ASSERT_WRITER();
    return memberships_at(load_own(&r->state));
}

/* The variant of a model that was served at the state's version, or NULL. Inside the epoch in which
 * that version was loaded. O(models of the record). */
const variant *memberships_find(const memberships *m, const model *wanted);

/* The `moved` callbacks of member_list.h: the first one is for the roster, the second one for the
 * lists of models. O(1). */
void memberships_moved_in_roster_locked(record *r, member_list *roster, uint32_t slot,
                                        uint32_t position);
void memberships_moved_in_model_locked(record *r, member_list *list, uint32_t slot,
                                       uint32_t position);

#endif
