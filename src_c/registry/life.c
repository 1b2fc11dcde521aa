/* A registry's life, its place in fork, and the counters: the operations that gateways call for every request. */
#include "registry/layout.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "reclaim/orphans.h"
#include "reclaim/reservation.h"

/* ---- all registries, so that fork can find them in a quiet moment ---- */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static reg_registry *all_registries;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* Fork copies one thread and all memory. Holding every lock meanwhile, no structure is copied half written, and the
 * child, whose only thread holds the locks, can release them. Everybody takes them in this order, so this cannot deadlock:
 * that of all registries, a registry's turns, its writer's, the orphans', the reservations', the record pool's. */
static void before_fork(void) {
    pthread_mutex_lock(&all_lock);
    for (reg_registry *reg = all_registries; reg != NULL; reg = reg->next) {
        pthread_mutex_lock(&reg->turns);
        pthread_mutex_lock(&reg->writer);
    }
    orphans_lock();
    reservations_lock();
    record_pool_lock();
}

static void after_fork(void) {
    record_pool_unlock();
    reservations_unlock();
    orphans_unlock();
    for (reg_registry *reg = all_registries; reg != NULL; reg = reg->next) {
        pthread_mutex_unlock(&reg->writer);
        pthread_mutex_unlock(&reg->turns);
    }
    pthread_mutex_unlock(&all_lock);
}

static void after_fork_in_child(void) {
    epoch_after_fork_in_child();
    clock_after_fork_in_child();
    random_state = 0; /* not the parent's choices once more */
    after_fork();
}

static bool has_fork_handlers;

static void set_up_fork(void) {
    has_fork_handlers = pthread_atfork(before_fork, after_fork, after_fork_in_child) == 0;
}

static void list_registry(reg_registry *reg) {
    pthread_mutex_lock(&all_lock);
    reg->next = all_registries;
    if (all_registries != NULL) all_registries->previous = reg;
    all_registries = reg;
    pthread_mutex_unlock(&all_lock);
}

static void unlist_registry(reg_registry *reg) {
    pthread_mutex_lock(&all_lock);
    if (reg->next != NULL) reg->next->previous = reg->previous;
    if (reg->previous != NULL)
        reg->previous->next = reg->next;
    else
        all_registries = reg->next;
    pthread_mutex_unlock(&all_lock);
}

/* ---- life ---- */

static bool init_maps(reg_registry *reg) {
    if (!string_map_init(&reg->records)) return false;
    if (string_map_init(&reg->urls)) {
        if (string_map_init(&reg->instances)) {
            if (model_index_init(&reg->models)) return true;
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
        return "all thread-specific keys of the process are taken (pthread_key_create). Another "
               "library takes them and does not give them back: start the registry before it";
    pthread_once(&fork_once, set_up_fork);
    return has_fork_handlers ? NULL : "memory is out (pthread_atfork)";
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
    reg->roster.is_roster = true;
    store_private(&reg->tick, 1);
    pthread_mutex_init(&reg->writer, NULL);
    pthread_mutex_init(&reg->turns, NULL);
    list_registry(reg);
    return reg;
}

/* With nobody using it, what is still registered can be taken apart like what was removed. */
static void retire_everything(reg_registry *reg) {
    member_array *array = load_own(&reg->roster.array);
    for (uint32_t i = 0; array != NULL && i < load_own(&array->length); i++) {
        record *r = array->members[i].record;
        if (!member_is_in(&array->members[i], UINT32_MAX - 1)) continue;
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

void reg_free(reg_registry *reg, void (*release)(void *object)) {
    unlist_registry(reg);
    retire_everything(reg);
    epoch_destroy(orphans_adopt(&reg->limbo), release);
    free_maps(reg);
    pthread_mutex_destroy(&reg->turns);
    pthread_mutex_destroy(&reg->writer);
    memory_free(reg);
}

void reg_destroy(reg_garbage *garbage, void (*release)(void *object)) {
    epoch_destroy(garbage, release);
}

/* ---- counting ---- */

/* Each finds the record and counts inside one epoch. A record that is removed meanwhile still counts: the operation takes
 * effect just before the removal, which lies within the call. */

reg_status reg_increment_pending(reg_registry *reg, const reg_key *id, uint32_t *value) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = registered(reg, id, &version);
    reg_status status = r == NULL                                                 ? REG_NOT_FOUND
                        : counter_increment(&line_of(r)->counters.pending, value) ? REG_OK
                                                                                  : REG_OVERFLOW;
    epoch_leave(slot);
    return status;
}

reg_status reg_decrement_pending(reg_registry *reg, const reg_key *id, uint32_t *value,
                                 bool *at_zero) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = registered(reg, id, &version);
    if (r != NULL) *at_zero = !counter_decrement(&line_of(r)->counters.pending, value);
    epoch_leave(slot);
    return r == NULL ? REG_NOT_FOUND : REG_OK;
}

reg_status reg_increment_total(reg_registry *reg, const reg_key *id, uint64_t *value) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = registered(reg, id, &version);
    if (r != NULL) *value = add_seq_cst(&line_of(r)->counters.total, 1) + 1;
    epoch_leave(slot);
    return r == NULL ? REG_NOT_FOUND : REG_OK;
}

reg_status reg_update_latency(reg_registry *reg, const reg_key *id, uint32_t sample,
                              uint32_t *average) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = registered(reg, id, &version);
    if (r != NULL) *average = latency_update(&line_of(r)->counters.latency, sample);
    epoch_leave(slot);
    return r == NULL ? REG_NOT_FOUND : REG_OK;
}

/* ---- counting in bulk ---- */

typedef reg_status (*count_one)(counters *c, reg_batch *batch, size_t i);

static reg_status increment_one(counters *c, reg_batch *batch, size_t i) {
    return counter_increment(&c->pending, &batch->values[i]) ? REG_OK : REG_OVERFLOW;
}

static reg_status decrement_one(counters *c, reg_batch *batch, size_t i) {
    batch->at_zero[i] = !counter_decrement(&c->pending, &batch->values[i]);
    return REG_OK;
}

static reg_status update_latency_one(counters *c, reg_batch *batch, size_t i) {
    batch->values[i] = latency_update(&c->latency, batch->samples[i]);
    return REG_OK;
}

/* Every id is looked up before any is counted, so an unknown one leaves all as they were. */
static reg_status find_all(reg_registry *reg, reg_batch *batch, record **records) {
    for (size_t i = 0; i < batch->count; i++) {
        uint64_t version;
        records[i] = registered(reg, &batch->ids[i], &version);
        if (records[i] != NULL) continue;
        batch->unknown = i;
        return REG_NOT_FOUND;
    }
    return REG_OK;
}

static reg_status count_all(reg_registry *reg, reg_batch *batch, count_one count) {
    batch->applied = 0;
    record **records = memory_alloc((batch->count + 1) * sizeof *records);
    epoch_slot *slot = records == NULL ? NULL : epoch_enter();
    if (slot == NULL) {
        memory_free(records);
        return REG_NO_MEMORY;
    }
    reg_status status = find_all(reg, batch, records);
    while (status == REG_OK && batch->applied < batch->count) {
        status = count(&line_of(records[batch->applied])->counters, batch, batch->applied);
        if (status == REG_OK) batch->applied++;
    }
    epoch_leave(slot);
    memory_free(records);
    return status;
}

reg_status reg_increment_pending_many(reg_registry *reg, reg_batch *batch) {
    return count_all(reg, batch, increment_one);
}
reg_status reg_decrement_pending_many(reg_registry *reg, reg_batch *batch) {
    return count_all(reg, batch, decrement_one);
}
reg_status reg_update_latency_many(reg_registry *reg, reg_batch *batch) {
    return count_all(reg, batch, update_latency_one);
}
