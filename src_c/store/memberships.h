/* The models that a record serves, and the record's position in each of their lists.
 *
 * An index into both arrays is a slot. A member keeps its slot (member_list.h), so a list that
 * moves a member finds the position to update in O(1).
 *
 * Everything here is under the writer lock.
 */
#ifndef REG_MEMBERSHIPS_H
#define REG_MEMBERSHIPS_H

#include "store/model_index.h"
#include "store/record.h"

typedef struct memberships {
    uint32_t count;
    uint32_t roster_position;
    uint32_t *positions;
    variant *variants[];
} memberships;

/* Takes over the references to the variants. NULL when memory is out. Free it with memory_free. */
memberships *memberships_new(variant *const *variants, uint32_t count);

size_t memberships_bytes(const memberships *m);

/* Each is the `moved` of some lists: the first one of the roster, the second one of all models.
 * O(1). */
void memberships_moved_in_roster_locked(record *r, member_list *roster, uint32_t slot,
                                        uint32_t position);
void memberships_moved_in_model_locked(record *r, member_list *list, uint32_t slot,
                                       uint32_t position);

#endif
