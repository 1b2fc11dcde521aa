#include "store/record.h"

#include "base/hash.h"
#include "base/memory.h"
#include "reclaim/slab_pool.h"

/* ---- the memory of records ---- */

SLAB_POOL(record_pool, record_place, 128);

record *record_alloc(void) { return slab_alloc(&record_pool); }
void record_free(record *r) {
    outcomes_free(load_own(&line_of(r)->outcomes));
    slab_free(&record_pool, r);
}

uint64_t record_hash_id(const record *r) { return hash_of(r->item.key.data, r->item.key.length); }

outcomes *record_outcomes_create(record *r, settings *s) {
    counter_line *line = line_of(r);
    outcomes *fresh = outcomes_new(s, record_hash_id(r)), *seen = NULL;
    if (fresh == NULL) return NULL;
    if (cas_strong_seq_cst(&line->outcomes, &seen, fresh)) return fresh;
    outcomes_free(fresh); /* another thread was faster */
    return seen;
}

void record_pool_lock(void) { slab_pool_lock(&record_pool); }
void record_pool_unlock(void) { slab_pool_unlock(&record_pool); }

record *record_before(record *r, uint64_t version) {
    r = record_state_at(r, version)->record;
    return life_at(&r->life, version) ? r : NULL;
}

state *state_alloc(bool has_room) {
    state *s = memory_alloc_raw(sizeof(state) + (has_room ? sizeof(availability) : 0));
    if (s != NULL) s->has_room = has_room;
    return s;
}

static state *state_of(const epoch_node *node) { return reg_container(node, state, shown.node); }

static void destroy_state(epoch_node *node, epoch_release release) {
    state *s = state_of(node);
    if (s->owns_definition) {
        release(s->definition);
        memory_free(s->memberships);
    }
    if (s->owns_error) release(s->error);
    memory_free(s);
}

static size_t bytes_without_objects(const state *s) {
    return sizeof *s + (s->has_room ? sizeof(availability) : 0);
}

/* The size of a state with the objects that it owns. */
static size_t bytes_of_state(const epoch_node *node) {
    const state *s = state_of(node);
    return bytes_without_objects(s) +
           (s->owns_definition ? s->definition_bytes + s->memberships->bytes : 0) +
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

/* ---- removed records, each with its last state ---- */

static void destroy_removed(epoch_node *node, epoch_release release) {
    record *r = state_of(node)->record;
    release(state_of(node)->memberships->id);
    record_free(r);
    destroy_state(node, release);
}

/* Without the outcomes: a reader may still create them, and the size must not change. */
static size_t bytes_of_removed(const epoch_node *node) {
    return sizeof(record_place) + bytes_of_state(node);
}

static uint32_t birth_of_removed(const epoch_node *node) {
    return state_of(node)->definition_born; /* that of the record: see record_retire */
}

static const epoch_kind removed_kind = {
    .bytes = bytes_of_removed, .destroy = destroy_removed, .born = birth_of_removed};

/* No reader can find the record any more. Its last state takes it over. */
static epoch_node *unwrap_record(epoch_node *node) {
    record *r = reg_container(node, record, node);
    state *last = load_own(&r->state);
    last->shown.node = (epoch_node){.kind = &removed_kind};
    return &last->shown.node;
}

static size_t bytes_of_record(const epoch_node *node) {
    return bytes_of_removed(&load_own(&reg_container(node, record, node)->state)->shown.node);
}

static const epoch_kind record_kind = {.bytes = bytes_of_record, .unwrap = unwrap_record};

static void forget_prompts_locked(record *r, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    outcomes *o = load_published(&line_of(r)->outcomes);
    if (o != NULL) prefix_map_retire_all_locked(&o->prefixes, limbo);
}

void record_retire(record *r, epoch_limbo *limbo) {
    state *last = load_own(&r->state);
    last->definition_born = last->memberships->born;
    forget_prompts_locked(r, limbo);
    epoch_retire(limbo, &r->node, &record_kind);
}

size_t record_bytes_locked(record *r) {
    REG_ASSERT_WRITER();
    const state *s = load_own(&r->state);
    size_t counted = load_published(&line_of(r)->outcomes) != NULL ? sizeof(outcomes) : 0;
    return sizeof(record_place) + bytes_without_objects(s) + s->memberships->bytes + counted +
           record_prefix_bytes_locked(r);
}

size_t record_prefix_bytes_locked(record *r) {
    REG_ASSERT_WRITER();
    outcomes *o = load_published(&line_of(r)->outcomes);
    return o != NULL ? prefix_map_bytes_locked(&o->prefixes) : 0;
}
