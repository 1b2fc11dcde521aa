#include "record.h"

#include <string.h>

#include "memory.h"

memberships *memberships_new(variant *const *variants, uint32_t count) {
    size_t pointers = sizeof(memberships) + count * sizeof(variant *);
    memberships *m = memory_alloc(pointers + count * sizeof(uint32_t));
    if (m == NULL) return NULL;
    m->count = count;
    m->positions = (uint32_t *)((char *)m + pointers);
    if (count != 0) memcpy(m->variants, variants, count * sizeof *variants);
    return m;
}

void record_moved(record *r, member_list *list, uint32_t position) {
    memberships *m = r->memberships;
    if (list->is_roster) {
        m->roster_position = position;
        return;
    }
    for (uint32_t i = 0; i < m->count; i++)
        if (&m->variants[i]->model->members == list) m->positions[i] = position;
}

static void destroy_state(epoch_node *node, epoch_release release) {
    state *s = reg_container(node, state, node);
    if (s->owns_definition) release(s->definition);
    if (s->owns_error) release(s->error);
    memory_free(s);
}

void state_retire(state *s, epoch_limbo *limbo) { epoch_retire(limbo, &s->node, sizeof *s, destroy_state); }

static void destroy_record(epoch_node *node, epoch_release release) {
    record *r = reg_container(node, record, node);
    release(r->id);
    memory_free(r);
}

void record_retire(record *r, epoch_limbo *limbo) {
    state_retire(load_own(&r->state), limbo);
    memory_free(r->memberships);
    epoch_retire(limbo, &r->node, sizeof *r, destroy_record);
}
