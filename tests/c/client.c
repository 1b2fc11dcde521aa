#include "client.h"

#include <string.h>

#include "check.h"

_Atomic long objects_alive;

object *object_new(int number) {
    object *o = malloc(sizeof *o);
    CHECK(o != NULL);
    *o = (object){ALIVE, number};
    objects_alive++;
    return o;
}

object *object_of(void *pointer) {
    object *o = pointer;
    CHECK(o->magic == ALIVE);
    return o;
}

void object_release(void *released) {
    object *o = object_of(released);
    o->magic = 0;
    objects_alive--;
    free(o);
}

/* Uses FNV-1a, but any hash would do. */
reg_key key_of(const char *text) {
    uint64_t hash = 14695981039346656037u;
    for (const char *c = text; *c != '\0'; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    return (reg_key){hash, text, strlen(text)};
}

static reg_status hold(reg_registry *reg, const offer *o, reg_variant **variants, size_t *count) {
    reg_model models[4];
    bool is_taken[4];
    reg_garbage *garbage;
    for (*count = 0; *count < 4 && o->models[*count] != NULL; ++*count)
        models[*count] = (reg_model){.id = key_of(o->models[*count]),
                                     .name = key_of("name"),
                                     .context_length = o->context_length,
                                     .capabilities = o->capabilities,
                                     .object = object_new((int)*count)};
    reg_status status = reg_hold_models(reg, models, *count, variants, is_taken, &garbage);
    for (size_t i = 0; i < *count; i++)
        if (!is_taken[i]) object_release(models[i].object);
    reg_destroy(garbage, object_release);
    return status;
}

static void drop(reg_registry *reg, reg_variant **variants, size_t count) {
    reg_garbage *garbage;
    reg_drop_models(reg, variants, count, &garbage);
    reg_destroy(garbage, object_release);
}

static reg_entry entry_of(const offer *o, int number, reg_variant **variants, size_t count) {
    reg_entry entry = {.id = key_of(o->id),
                       .definition = object_new(number),
                       .variants = variants,
                       .variant_count = count,
                       .now = number,
                       .max_pending = o->max_pending != 0 ? o->max_pending : UINT32_MAX,
                       .max_pending_tokens = o->max_pending_tokens,
                       .weight = o->weight != 0 ? o->weight : 1,
                       .priority = o->priority};
    if (o->instance != NULL) entry.instance = key_of(o->instance);
    return entry;
}

reg_status client_add(reg_registry *reg, const offer *o, int number) {
    reg_variant *variants[4];
    size_t count;
    reg_status status = hold(reg, o, variants, &count);
    if (status != REG_OK) return status;
    reg_entry entry = entry_of(o, number, variants, count);
    reg_garbage *garbage;
    /* As in the binding, the bytes of the key are part of the object that the core keeps. */
    object *id = malloc(sizeof *id + entry.id.length);
    *id = (object){ALIVE, number};
    objects_alive++;
    memcpy(id + 1, o->id, entry.id.length);
    entry.id.data = (char *)(id + 1);
    entry.id_object = id;
    entry.url = key_of(o->url != NULL ? o->url : "http://host");
    reg_edit change = {.kind = REG_ADDED, .entry = entry};
    status = reg_apply(reg, &change, 1, REG_ANY_FLEET, &garbage);
    if (status != REG_OK) {
        object_release(id);
        object_release(entry.definition);
        drop(reg, variants, count);
    }
    reg_destroy(garbage, object_release);
    return status;
}

reg_status client_remove(reg_registry *reg, const char *id, reg_view *last) {
    reg_key key = key_of(id);
    reg_view view;
    reg_kept *kept;
    reg_garbage *garbage;
    reg_status status = reg_remove(reg, &key, 0, &view, &kept, &garbage);
    reg_destroy(garbage, object_release);
    if (status != REG_OK) return status;
    object_of(view.definition);
    reg_keep_drop(kept, 1, object_release);
    if (last != NULL) *last = view;
    return status;
}

reg_status client_redefine(reg_registry *reg, const offer *o, int number) {
    reg_variant *variants[4];
    size_t count;
    reg_key key = key_of(o->id);
    reg_view view;
    reg_status status = hold(reg, o, variants, &count);
    if (status != REG_OK) return status;
    reg_reader *reader = reg_read_begin();
    if (reader == NULL) {
        drop(reg, variants, count);
        return REG_NO_MEMORY;
    }
    status = reg_get(reg, &key, &view);
    reg_garbage *garbage = NULL;
    reg_entry entry = entry_of(o, number, variants, count);
    /* The read keeps the expected definition alive, so no other object can have its address. */
    reg_edit change = {.kind = REG_UPDATED,
                       .entry = entry,
                       .serial = status == REG_OK ? view.serial : 0,
                       .expected = status == REG_OK ? view.definition : NULL};
    if (status == REG_OK) status = reg_apply(reg, &change, 1, REG_ANY_FLEET, &garbage);
    reg_read_end(reader);
    if (status != REG_OK) {
        object_release(entry.definition);
        drop(reg, variants, count);
    }
    reg_destroy(garbage, object_release);
    return status;
}

reg_status client_health(reg_registry *reg, const char *id, reg_health health, int error) {
    reg_key key = key_of(id);
    reg_garbage *garbage;
    object *text = error < 0 ? NULL : object_new(error);
    reg_status status = reg_update_health(reg, &key, 0, health, error, text, 0, &garbage);
    if (status != REG_OK && text != NULL) object_release(text);
    reg_destroy(garbage, object_release);
    return status;
}

size_t client_query(reg_registry *reg, const char *model_id, int *numbers, size_t room) {
    reg_views views;
    reg_reader *reader = reg_read_begin();
    CHECK(reader != NULL);
    reg_key key = model_id == NULL ? (reg_key){0} : key_of(model_id);
    CHECK((model_id == NULL ? reg_get_all(reg, false, &views)
                            : reg_get_for_model(reg, &key, &views)) == REG_OK);
    uint64_t last = 0;
    for (size_t i = 0; i < views.count; i++) {
        const reg_view *view = &views.items[i];
        CHECK(view->order > last);
        last = view->order;
        /* A torn state would pair one check's error with another's time. */
        if (view->error != NULL) CHECK(object_of(view->error)->number == view->checked_at);
        int number = object_of(view->definition)->number;
        if (numbers != NULL && i < room) numbers[i] = number;
    }
    reg_read_end(reader);
    reg_views_free(&views);
    return views.count;
}

void client_free(reg_registry *reg) {
    reg_free(reg, object_release);
    CHECK(objects_alive == 0);
}

reg_request client_request(const char *model_id, reg_policy policy) {
    return (reg_request){.model_id = key_of(model_id), .policy = policy, .may_block = true};
}

/* The definitions in a refusal are alive until it is dropped. */
static void let_go(reg_refusal *refusal) {
    for (size_t i = 0; i < refusal->count; i++)
        CHECK(object_of(refusal->items[i].definition)->number >= 0);
    reg_refusal_drop(refusal, object_release);
}

int client_acquire(reg_registry *reg, reg_request request, reg_lease *lease) {
    *lease = (reg_lease){0};
    reg_refusal refusal = {0};
    if (reg_acquire(reg, &request, lease, &refusal) != REG_OK) {
        let_go(&refusal);
        return -1;
    }
    return object_of(lease->definition)->number;
}

int client_select(reg_registry *reg, reg_request request) {
    reg_reader *reader = reg_read_begin();
    void *definition = NULL;
    reg_refusal refusal = {0};
    int number = reg_select(reg, reader, &request, &definition, &refusal) == REG_OK
                     ? object_of(definition)->number
                     : -1;
    reg_read_end(reader);
    let_go(&refusal);
    return number;
}

bool client_return(reg_lease *lease, const uint32_t *sample) {
    reg_aftermath after = {0};
    bool released = reg_lease_release(lease, REG_SUCCEEDED, sample, &after);
    reg_lease_drop(lease, object_release);
    return released && after.flags == 0;
}

reg_registry *client_fleet(int count, void (*shape)(offer *o, int number)) {
    reg_registry *reg = reg_new(NULL);
    for (int i = 0; i < count; i++) {
        char id[16];
        snprintf(id, sizeof id, "b%d", i);
        offer o = {.id = id, .models = {"m"}, .context_length = 8192};
        if (shape != NULL) shape(&o, i);
        CHECK(client_add(reg, &o, i) == REG_OK);
        CHECK(client_health(reg, id, REG_HEALTHY, -1) == REG_OK);
    }
    return reg;
}

static reg_view view_of(reg_registry *reg, const char *id) {
    reg_key key = key_of(id);
    reg_view view;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &key, &view) == REG_OK);
    reg_read_end(reader);
    return view;
}

uint32_t client_in_flight(reg_registry *reg, const char *id) { return view_of(reg, id).pending; }

reg_stats client_stats(reg_registry *reg) {
    reg_garbage *garbage;
    reg_stats stats = reg_get_stats(reg, &garbage);
    reg_destroy(garbage, object_release);
    return stats;
}

uint64_t client_tokens(reg_registry *reg, const char *id) {
    return view_of(reg, id).pending_tokens;
}
