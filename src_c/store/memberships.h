/* The models that a record serves, and the record's position in each of their lists.
 *
 * An index into both arrays is a slot. A member stores its slot (member_list.h), so if a list moves
 * a member, the position here is updated in O(1).
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
    uint32_t born; /* the generation in which the record was added */
    uint32_t *positions;
    variant *variants[];
} memberships;

/* Takes over the references to the variants. NULL if out of memory. Free it with memory_free. */
memberships *memberships_new(variant *const *variants, uint32_t count);

size_t memberships_bytes(const memberships *m);

/* The `moved` callbacks of member_list.h: the first one is for the roster, the second one for the
 * lists of models. O(1). */
void memberships_moved_in_roster_locked(record *r, member_list *roster, uint32_t slot,
                                        uint32_t position);
void memberships_moved_in_model_locked(record *r, member_list *list, uint32_t slot,
                                       uint32_t position);

#endif
