#include "record.h"

#include <string.h>

#include "memory.h"
#include "record_pool.h"

static size_t memberships_bytes(uint32_t count) {
    return sizeof(memberships) + count * (sizeof(variant *) + sizeof(uint32_t));
}

memberships *memberships_new(variant *const *variants, uint32_t count) {
    memberships *m = memory_alloc(memberships_bytes(count));
    if (m == NULL) return NULL;
    m->count = count;
    m->positions = (uint32_t *)(m->variants + count);
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

static size_t bytes_of_state(const epoch_node *node) { return sizeof *reg_container(node, state, node); }

/* Views use the objects that a state has shown them, as long as somebody owns these. */
static uint64_t birth_of_state(const epoch_node *node) {
    const state *s = reg_container(node, state, node);
    uint64_t born = s->owns_definition ? s->definition_born : EPOCH_NEVER;
    return s->owns_error && s->error_born < born ? s->error_born : born;
}

static uint32_t owner_of_state(const epoch_node *node) { return reg_container(node, state, node)->registry; }

static const epoch_kind state_kind = {
    .bytes = bytes_of_state, .destroy = destroy_state, .born = birth_of_state, .owner = owner_of_state};

void state_retire(state *s, epoch_limbo *limbo) { epoch_retire(limbo, &s->node, &state_kind); }

void record_drop(record *r, epoch_release release) {
    if (sub_counted(&r->holds, 1) != 1) return;
    /* As if retired with its record: that is when readers lost sight of it. */
    state *last = load_own(&r->state);
    last->node = (epoch_node){.kind = &state_kind, .stamp = r->node.stamp};
    epoch_destroy(&last->node, release);
    release(r->id);
    record_free(r);
}

static void destroy_record(epoch_node *node, epoch_release release) { record_drop(reg_container(node, record, node), release); }

static size_t bytes_of_record(const epoch_node *node) { return sizeof *reg_container(node, record, node) + sizeof(state); }

static const epoch_kind record_kind = {.bytes = bytes_of_record, .destroy = destroy_record};

void record_retire(record *r, epoch_limbo *limbo) {
    memory_free(r->memberships);
    epoch_retire(limbo, &r->node, &record_kind);
}

size_t record_bytes(const record *r) { return bytes_of_record(&r->node) + memberships_bytes(r->memberships->count); }
