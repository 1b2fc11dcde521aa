#include "store/memberships.h"

#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

memberships *memberships_new(variant *const *variants, uint32_t count) {
    size_t bytes = sizeof(memberships) + count * (sizeof(variant *) + sizeof(uint32_t));
    memberships *m = memory_alloc(bytes);
    if (m == NULL) return NULL;
    m->base.bytes = (uint32_t)bytes;
    m->count = count;
    m->positions = (uint32_t *)(m->variants + count);
    if (count != 0) memcpy(m->variants, variants, count * sizeof *variants);
    return m;
}

const variant *memberships_find(const memberships *m, const model *wanted) {
    REG_ASSERT_READING();
    for (uint32_t i = 0; i < m->count; i++)
        if (m->variants[i]->model == wanted) return m->variants[i];
    return NULL;
}

void memberships_moved_in_roster_locked(record *r, member_list *roster, uint32_t slot,
                                        uint32_t position) {
    REG_ASSERT_WRITER();
    (void)roster;
    (void)slot;
    memberships_locked(r)->roster_position = position;
}

void memberships_moved_in_model_locked(record *r, member_list *list, uint32_t slot,
                                       uint32_t position) {
    REG_ASSERT_WRITER();
    memberships *m = memberships_locked(r);
    if (reg_unlikely(slot == MEMBER_LAST_SLOT))
        while (&m->variants[slot]->model->members != list) slot++;
    m->positions[slot] = position;
}
