/* The life of a registry and of its clock: creates and frees them, and destroys garbage. */
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

/* ---- clocks ---- */

reg_clock *reg_clock_new(int64_t now) { return manual_clock_new(now); }

void reg_clock_advance(reg_clock *clock, uint64_t nanoseconds) {
    add_seq_cst(&clock->now, nanoseconds);
}

uint64_t reg_clock_read(const reg_clock *clock) { return time_now(clock) - MANUAL_START; }

void reg_clock_drop(reg_clock *clock) { manual_clock_unref(clock); }

/* ---- registries ---- */

static const uint64_t SECOND = 1000000000;

static reg_settings default_settings(void) {
    return (reg_settings){.latency_ttl = 60 * SECOND,
                          .ejects = true,
                          .consecutive_failures = 5,
                          .min_requests = 20,
                          .failure_rate = 0.5,
                          .window = 10 * SECOND,
                          .base = 30 * SECOND,
                          .max = 300 * SECOND,
                          .slow_start = 30 * SECOND,
                          .trials = 1,
                          .affinity_load = 1.25,
                          .affinity_floor = 4,
                          .block_tokens = 512,
                          .prefix_blocks = 16384,
                          .max_waiting = UINT64_MAX};
}

/* The settings and the structures of a registry. False if out of memory. */
static bool init_parts(reg_registry *reg, const reg_settings *wanted) {
    reg_settings values = wanted == NULL ? default_settings() : *wanted;
    reg->settings = settings_new(&values, reg);
    if (reg->settings == NULL) return false;
    if (init_maps(reg)) {
        reg->generations = generations_new();
        if (reg->generations != NULL) return true;
        free_maps(reg);
    }
    settings_unref(reg->settings);
    return false;
}

reg_registry *reg_new(const reg_settings *wanted) {
    if (reg_start() != NULL) return NULL;
    reg_registry *reg = memory_alloc_lines(sizeof *reg);
    if (reg == NULL) return NULL;
    if (!init_parts(reg, wanted)) {
        memory_free(reg);
        return NULL;
    }
    reg->roster.moved = memberships_moved_in_roster_locked;
    store_private(&reg->tick, 1);
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
        const memberships *m = memberships_locked(r);
        for (uint32_t k = 0; k < m->count; k++)
            model_index_unref_locked(&reg->models, m->variants[k], &reg->limbo);
        if (--r->url->refs == 0) alias_tidy_locked(&reg->urls, r->url, &reg->limbo);
        if (r->instance != NULL && --r->instance->refs == 0)
            alias_tidy_locked(&reg->instances, r->instance, &reg->limbo);
        record_retire(r, &reg->limbo);
    }
    member_list_retire_locked(&reg->roster, &reg->limbo);
    generations_end(reg->generations, &reg->limbo);
}

void reg_free(reg_registry *reg, reg_release release) {
    lock_line(reg);
    lock_writer(reg);
    publish(&reg->settings->registry, NULL); /* from now on, leases leave it alone */
    retire_everything_locked(reg);
    unlock_writer(reg);
    unlock_line(reg);
    fork_remove_registry(reg); /* not before: see fork.c */
    reclaim_destroy(orphans_adopt(&reg->limbo), release);
    free_maps(reg);
    line_end(&reg->line); /* nobody waits, or the registry would be in use */
    waiters_end(&reg->waiters);
    pthread_mutex_destroy(&reg->turns);
    settings_unref(reg->settings);
    memory_free(reg);
}

void reg_destroy(reg_garbage *garbage, reg_release release) {
    reclaim_destroy(list_of_garbage(garbage), release);
}
