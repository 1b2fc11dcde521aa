#include "store/model_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

bool model_index_init(model_index *index, member_moved moved) {
    *index = (model_index){.moved = moved};
    if (!string_map_init(&index->models)) return false;
    if (string_map_init(&index->variants)) return true;
    string_map_free(&index->models);
    return false;
}

void model_index_free(model_index *index) {
    string_map_free(&index->variants);
    string_map_free(&index->models);
    memory_free(index->scratch);
}

model *model_index_get(model_index *index, const reg_key *id) {
    REG_ASSERT_READING_OR_WRITER();
    string_item *found = string_map_get(&index->models, id);
    return found == NULL ? NULL : reg_container(found, model, item);
}

static void destroy_model(epoch_node *node, epoch_release release) {
    (void)release;
    model *m = reg_container(node, model, node);
    turns_free(&m->turns);
    memory_free(m);
}

static void destroy_variant(epoch_node *node, epoch_release release) {
    variant *v = reg_container(node, variant, node);
    release(v->object);
    memory_free(v);
}

static size_t bytes_of_model(const epoch_node *node) {
    const model *m = reg_container(node, model, node);
    return sizeof *m +
           m->item.key.length; /* the turns may still change: they have a lock of their own */
}

static size_t bytes_of_variant(const epoch_node *node) {
    const variant *v = reg_container(node, variant, node);
    return sizeof *v + v->item.key.length;
}

static const epoch_kind model_kind = {.bytes = bytes_of_model, .destroy = destroy_model};
static const epoch_kind variant_kind = {.bytes = bytes_of_variant, .destroy = destroy_variant};

/* A definition as bytes: the parts of fixed width, then id and name. Two definitions are equal if
 * their bytes are equal. */
typedef struct fixed_part {
    uint64_t id_length;
    uint32_t context_length;
    uint32_t max_output_tokens;
    uint32_t capabilities;
    uint32_t has_max_output;
} fixed_part;

static bool write_key(model_index *index, const reg_model *definition, reg_key *key) {
    size_t length = sizeof(fixed_part) + definition->id.length + definition->name.length;
    if (length > index->scratch_size) {
        char *larger = memory_alloc(2 * length);
        if (larger == NULL) return false;
        memory_free(index->scratch);
        index->scratch = larger;
        index->scratch_size = 2 * length;
    }
    fixed_part fixed = {definition->id.length, definition->context_length,
                        definition->max_output_tokens, definition->capabilities,
                        definition->has_max_output};
    char *id = index->scratch + sizeof fixed;
    memcpy(index->scratch, &fixed, sizeof fixed);
    memcpy(id, definition->id.data, definition->id.length);
    memcpy(id + definition->id.length, definition->name.data, definition->name.length);
    /* Both hashes are keyed by the caller; odd factors keep the numbers from cancelling out. */
    uint64_t hash = definition->id.hash + definition->name.hash * 3 +
                    definition->context_length * (uint64_t)0x9E3779B97F4A7C15 +
                    definition->max_output_tokens * (uint64_t)0xC2B2AE3D27D4EB4F +
                    definition->capabilities * 5 + definition->has_max_output * 7;
    *key = (reg_key){hash, index->scratch, length};
    return true;
}

static model *new_model(const model_index *index, const reg_key *id) {
    model *m = memory_alloc_lines(sizeof *m + id->length);
    if (m == NULL) return NULL;
    memcpy(m->id, id->data, id->length);
    m->item.key = (reg_key){id->hash, m->id, id->length};
    m->members.seed = (uint32_t)id->hash;
    m->members.moved = index->moved;
    return m;
}

static variant *new_variant(const reg_key *key) {
    variant *v = memory_alloc(sizeof *v + key->length);
    if (v == NULL) return NULL;
    memcpy(v->definition, key->data, key->length);
    v->item.key = (reg_key){key->hash, v->definition, key->length};
    return v;
}

/* First makes room in both maps and allocates the memory. After that nothing can fail. */
static variant *add_variant(model_index *index, const reg_model *definition, const reg_key *key,
                            epoch_limbo *limbo) {
    if (!string_map_reserve_locked(&index->variants, 1, limbo) ||
        !string_map_reserve_locked(&index->models, 1, limbo))
        return NULL;
    model *m = model_index_get(index, &definition->id);
    bool is_new_model = m == NULL;
    if (is_new_model && (m = new_model(index, &definition->id)) == NULL) return NULL;
    variant *v = new_variant(key);
    if (v == NULL) {
        if (is_new_model) memory_free(m);
        return NULL;
    }
    if (is_new_model) {
        m->number = ++index->last_number;
        string_map_put_locked(&index->models, &m->item);
    }
    m->variants++;
    v->model = m;
    v->object = definition->object;
    v->traits = (member_traits){.context_length = definition->context_length,
                                .capabilities = definition->capabilities};
    string_map_put_locked(&index->variants, &v->item);
    return v;
}

variant *model_index_ref_locked(model_index *index, const reg_model *definition, bool *is_new,
                                epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    reg_key key;
    if (!write_key(index, definition, &key)) return NULL;
    string_item *found = string_map_get(&index->variants, &key);
    variant *v = found != NULL ? reg_container(found, variant, item)
                               : add_variant(index, definition, &key, limbo);
    if (v == NULL) return NULL;
    *is_new = found == NULL;
    v->refs++;
    return v;
}

void model_index_unref_locked(model_index *index, variant *v, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    if (--v->refs != 0) return;
    model *m = v->model;
    string_map_remove_locked(&index->variants, &v->item);
    epoch_retire(limbo, &v->node, &variant_kind);
    if (--m->variants != 0) return;
    string_map_remove_locked(&index->models, &m->item);
    member_list_retire_locked(&m->members, limbo);
    epoch_retire(limbo, &m->node, &model_kind);
}

uint32_t model_index_add_locked(model_index *index, const variant *v, uint32_t slot,
                                struct record *added, uint64_t committed) {
    REG_ASSERT_WRITER();
    member_traits traits = v->traits;
    member_set_slot(&traits, slot);
    if (v->model->members.live == 0) {
        index->served++;
        v->model->served_since = ++index->last_served_since;
    }
    return member_list_add_locked(&v->model->members, added, traits, committed);
}

void model_index_remove_locked(model_index *index, model *m, uint32_t position,
                               uint64_t committed) {
    REG_ASSERT_WRITER();
    member_list_remove_locked(&m->members, position, committed);
    if (m->members.live == 0) index->served--;
}

static int by_served_since(const void *left, const void *right) {
    uint64_t a = (*(const model *const *)left)->served_since,
             b = (*(const model *const *)right)->served_since;
    return (a > b) - (a < b);
}

void model_index_list_locked(const model_index *index, const model **models) {
    REG_ASSERT_WRITER();
    uint32_t count = 0;
    EACH_ITEM(&index->models, item) {
        const model *m = reg_container(item, model, item);
        if (m->members.live != 0) models[count++] = m;
    }
    qsort(models, count, sizeof *models, by_served_since);
}

size_t model_index_bytes_locked(const model_index *index, size_t *entries) {
    REG_ASSERT_WRITER();
    size_t bytes = index->scratch_size + string_map_bytes_locked(&index->models) +
                   string_map_bytes_locked(&index->variants);
    EACH_ITEM(&index->models, item) {
        const model *m = reg_container(item, model, item);
        bytes += bytes_of_model(&m->node) + member_list_bytes_locked(&m->members) +
                 turns_bytes(&m->turns);
        *entries += m->members.live;
    }
    EACH_ITEM(&index->variants, item)
        bytes += bytes_of_variant(&reg_container(item, variant, item)->node);
    return bytes;
}
