#include "store/memberships.h"

#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

static size_t bytes_for(uint32_t count) {
    return sizeof(memberships) + count * (sizeof(variant *) + sizeof(uint32_t));
}

size_t memberships_bytes(const memberships *m) { return bytes_for(m->count); }

memberships *memberships_new(variant *const *variants, uint32_t count) {
    memberships *m = memory_alloc(bytes_for(count));
    if (m == NULL) return NULL;
    m->count = count;
    m->positions = (uint32_t *)(m->variants + count);
    if (count != 0) memcpy(m->variants, variants, count * sizeof *variants);
    return m;
}

void memberships_moved_in_roster_locked(record *r, member_list *roster, uint32_t slot,
                                        uint32_t position) {
    REG_ASSERT_WRITER();
    (void)roster;
    (void)slot;
    r->memberships->roster_position = position;
}

void memberships_moved_in_model_locked(record *r, member_list *list, uint32_t slot,
                                       uint32_t position) {
    REG_ASSERT_WRITER();
    memberships *m = r->memberships;
    if (reg_unlikely(slot == MEMBER_LAST_SLOT))
        while (&m->variants[slot]->model->members != list) slot++;
    m->positions[slot] = position;
}
