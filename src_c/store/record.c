#include "store/record.h"

#include "base/memory.h"
#include "reclaim/reclaim.h"
#include "reclaim/slab_pool.h"

/* ---- the memory of records ---- */

SLAB_POOL(record_pool, record_place, 128);

record *record_alloc(void) { return slab_alloc(&record_pool); }
void record_free(record *r) { slab_free(&record_pool, r); }

void record_pool_lock(void) { slab_pool_lock(&record_pool); }
void record_pool_unlock(void) { slab_pool_unlock(&record_pool); }

static state *state_of(const epoch_node *node) { return reg_container(node, state, shown.node); }

static void destroy_state(epoch_node *node, epoch_release release) {
    state *s = state_of(node);
    if (s->owns_definition) release(s->definition);
    if (s->owns_error) release(s->error);
    memory_free(s);
}

/* The size of a state with the objects that it owns. */
static size_t bytes_of_state(const epoch_node *node) {
    const state *s = state_of(node);
    return sizeof *s + (s->owns_definition ? s->definition_bytes : 0) +
           (s->owns_error ? s->error_bytes : 0);
}

/* Views may show the objects that a state owns. Returns the generation in which the older of them
 * was published. */
static uint32_t birth_of_state(const epoch_node *node) {
    const state *s = state_of(node);
    uint32_t born = s->owns_definition ? s->definition_born : GENERATION_NEVER;
    return s->owns_error && s->error_born < born ? s->error_born : born;
}

static const epoch_kind state_kind = {
    .bytes = bytes_of_state, .destroy = destroy_state, .born = birth_of_state};

void state_retire(state *s, epoch_limbo *limbo) {
    epoch_retire(limbo, &s->shown.node, &state_kind);
}

/* Drops a reference. The last one frees the record and returns its newest state, which the caller
 * destroys: no reader that could find either of them is left. */
static epoch_node *unref(record *r, epoch_release release) {
    if (sub_seq_cst(&line_of(r)->refs, 1) != 1) return NULL;
    state *last = load_own(&r->state);
    last->shown.node = (epoch_node){.kind = &state_kind};
    release(line_of(r)->id);
    record_free(r);
    return &last->shown.node;
}

void record_unref(record *r, epoch_release release) { reclaim_destroy(unref(r, release), release); }

static epoch_node *unwrap_record(epoch_node *node, epoch_release release) {
    return unref(reg_container(node, record, node), release);
}

static size_t bytes_of_record(const epoch_node *node) {
    record *r = reg_container(node, record, node);
    return sizeof *r + sizeof *line_of(r) + bytes_of_state(&load_own(&r->state)->shown.node);
}

static const epoch_kind record_kind = {.bytes = bytes_of_record, .unwrap = unwrap_record};

void record_retire(record *r, epoch_limbo *limbo) {
    memory_free(r->memberships);
    epoch_retire(limbo, &r->node, &record_kind);
}

size_t record_bytes(const record *r) { return sizeof *r + sizeof *line_of(r) + sizeof(state); }
