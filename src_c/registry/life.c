/* The life of a registry: creates it, frees it, and destroys garbage. */
#include "base/memory.h"
#include "reclaim/orphans.h"
#include "reclaim/reclaim.h"
#include "registry/fork.h"
#include "registry/write.h"

static bool init_maps(reg_registry *reg) {
    if (!string_map_init(&reg->records)) return false;
    if (string_map_init(&reg->urls)) {
        if (string_map_init(&reg->instances)) {
            if (model_index_init(&reg->models, memberships_moved_in_model_locked)) return true;
            string_map_free(&reg->instances);
        }
        string_map_free(&reg->urls);
    }
    string_map_free(&reg->records);
    return false;
}

static void free_maps(reg_registry *reg) {
    model_index_free(&reg->models);
    string_map_free(&reg->instances);
    string_map_free(&reg->urls);
    string_map_free(&reg->records);
}

const char *reg_start(void) {
    if (!epoch_start())
        return "all thread-specific keys of the process are in use (pthread_key_create). Another "
               "library does not return the keys that it takes: start the registry before it";
    return fork_start() ? NULL : "out of memory (pthread_atfork)";
}

reg_registry *reg_new(void) {
    if (reg_start() != NULL) return NULL;
    reg_registry *reg = memory_alloc_lines(sizeof *reg);
    if (reg == NULL) return NULL;
    if (!init_maps(reg)) {
        memory_free(reg);
        return NULL;
    }
    reg->generations = generations_new();
    if (reg->generations == NULL) {
        free_maps(reg);
        memory_free(reg);
        return NULL;
    }
    reg->roster.moved = memberships_moved_in_roster_locked;
    store_private(&reg->tick, 1);
    pthread_mutex_init(&reg->writer, NULL);
    pthread_mutex_init(&reg->turns, NULL);
    waiters_init(&reg->waiters);
    fork_add_registry(reg);
    return reg;
}

/* No other thread uses the registry, so everything that is still registered can be retired at
 * once. */
static void retire_everything_locked(reg_registry *reg) {
    REG_ASSERT_WRITER_OF(reg);
    member_array *array = load_own(&reg->roster.array);
    for (uint32_t i = 0; array != NULL && i < load_own(&array->length); i++) {
        record *r = array->members[i].record;
        if (!member_is_in(&array->members[i], MEMBER_LAST_TICK)) continue; /* it was removed */
        for (uint32_t k = 0; k < r->memberships->count; k++)
            model_index_unref_locked(&reg->models, r->memberships->variants[k], &reg->limbo);
        if (--r->url->refs == 0) alias_tidy_locked(&reg->urls, r->url, &reg->limbo);
        if (r->instance != NULL && --r->instance->refs == 0)
            alias_tidy_locked(&reg->instances, r->instance, &reg->limbo);
        record_retire(r, &reg->limbo);
    }
    member_list_retire_locked(&reg->roster, &reg->limbo);
    generations_end(reg->generations, &reg->limbo);
}

void reg_free(reg_registry *reg, reg_release release) {
    fork_remove_registry(reg);
    lock_writer(reg);
    retire_everything_locked(reg);
    unlock_writer(reg);
    reclaim_destroy(orphans_adopt(&reg->limbo), release);
    free_maps(reg);
    waiters_end(&reg->waiters);
    pthread_mutex_destroy(&reg->turns);
    pthread_mutex_destroy(&reg->writer);
    memory_free(reg);
}

void reg_destroy(reg_garbage *garbage, reg_release release) {
    reclaim_destroy(list_of_garbage(garbage), release);
}
