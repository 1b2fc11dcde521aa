#include "choose/few.h"

#include <stdlib.h>

/* Whether the record with this id is a member of the model's list at the choice's version. */
static bool find(const choice *c, reg_registry *reg, const reg_key *id, member *found) {
    string_item *item = string_map_get(&reg->records, id);
    if (item == NULL) return false;
    record *r = record_alive_at(reg_container(item, record, item), c->version);
    if (r == NULL) return false;
    const variant *v = memberships_find(memberships_at(record_state_at(r, c->version)), c->model);
    if (v == NULL) return false;
    found->record = r;
    found->traits = v->traits;
    store_private(&found->removed, UINT32_MAX);
    return true;
}

/* Removes the repetitions of ids that the caller has given twice. */
static uint32_t without_repetitions(member *members, uint32_t length) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < length; i++)
        if (kept == 0 || members[kept - 1].record != members[i].record)
            members[kept++] = members[i];
    return kept;
}

void few_read(choice *c, reg_registry *reg) {
    const reg_request *request = c->request;
    member_array *few = c->few;
    uint32_t length = 0;
    for (size_t i = 0; i < request->only_count; i++)
        length += find(c, reg, &request->only[i], &few->members[length]);
    if (length > 1) qsort(few->members, length, sizeof *few->members, member_by_order);
    length = without_repetitions(few->members, length);
    /* A candidate is never known to be the best without a comparison, nor are all weights equal: a
     * write that changes a weight does not note it here. */
    store_private(&few->top_weight, UINT32_MAX);
    store_private(&few->is_uneven, true);
    c->reading = (member_reading){few, length, UINT32_MAX, 0};
}

void few_widen(choice *c) {
    if (reg_likely(c->few == NULL)) return;
    bool is_narrow = c->reading.array == c->few; /* else no backend lists the model */
    c->few = NULL;
    if (!is_narrow) return;
    c->is_plain = false;
    c->reading = member_list_read(&c->model->members, c->version);
}
