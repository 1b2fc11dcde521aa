#include "changes.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void (*during_apply)(void);

static bool hold_models(reg_registry *reg, const offer *o, written *w, size_t i) {
    reg_model models[MODELS];
    bool is_taken[MODELS];
    reg_garbage *garbage;
    size_t count = 0;
    for (; count < MODELS && o->models[count] != NULL; count++)
        models[count] = (reg_model){.id = key_of(o->models[count]),
                                    .name = key_of("name"),
                                    .context_length = o->context_length,
                                    .capabilities = o->capabilities,
                                    .object = object_new((int)count)};
    reg_status status = reg_hold_models(reg, models, count, w->variants[i], is_taken, &garbage);
    for (size_t k = 0; k < count; k++)
        if (!is_taken[k]) object_release(models[k].object);
    reg_destroy(garbage, object_release);
    w->held[i] = status == REG_OK ? count : 0;
    return status == REG_OK;
}

/* As in the binding, the bytes of the key are part of the object that the core keeps. */
static object *new_id(const char *id, int number) {
    object *o = malloc(sizeof *o + strlen(id));
    CHECK(o != NULL);
    *o = (object){ALIVE, number};
    objects_alive++;
    memcpy(o + 1, id, strlen(id));
    return o;
}

static void fill_edit(written *w, size_t i, const step *s) {
    const offer *o = &s->offer;
    reg_edit *edit = &w->edits[i];
    *edit = (reg_edit){.kind = s->kind,
                       .serial = s->serial,
                       .expected = s->expected,
                       .entry = {.id = key_of(o->id), .now = s->number}};
    if (s->kind == REG_REMOVED) return;
    reg_entry *entry = &edit->entry;
    entry->definition = object_new(s->number);
    entry->variants = w->variants[i];
    entry->variant_count = w->held[i];
    entry->max_pending = o->max_pending != 0 ? o->max_pending : UINT32_MAX;
    entry->max_pending_tokens = o->max_pending_tokens;
    entry->weight = o->weight != 0 ? o->weight : 1;
    entry->priority = o->priority;
    if (o->instance != NULL) entry->instance = key_of(o->instance);
    if (s->kind == REG_UPDATED) return;
    entry->url = key_of(o->url != NULL ? o->url : "http://host");
    entry->id_object = new_id(o->id, s->number);
    entry->id.data = (char *)((object *)entry->id_object + 1);
}

void take_back(reg_registry *reg, written *w) {
    for (size_t i = 0; i < w->count; i++) {
        reg_garbage *garbage;
        reg_drop_models(reg, w->variants[i], w->held[i], &garbage);
        reg_destroy(garbage, object_release);
        if (w->edits[i].entry.definition != NULL) object_release(w->edits[i].entry.definition);
        if (w->edits[i].entry.id_object != NULL) object_release(w->edits[i].entry.id_object);
    }
}

bool prepare_write(reg_registry *reg, written *w, const step *steps, size_t count) {
    CHECK(count <= MANY);
    w->count = 0;
    for (size_t i = 0; i < count; i++) {
        w->edits[i] = (reg_edit){0};
        w->held[i] = 0;
        w->count = i + 1;
        if (steps[i].kind != REG_REMOVED && !hold_models(reg, &steps[i].offer, w, i)) {
            take_back(reg, w);
            return false;
        }
        fill_edit(w, i, &steps[i]);
    }
    return true;
}

reg_status apply_at(reg_registry *reg, const step *steps, size_t count, uint64_t fleet) {
    written *w = malloc(sizeof *w);
    CHECK(w != NULL);
    reg_status status = REG_NO_MEMORY;
    if (prepare_write(reg, w, steps, count)) {
        reg_garbage *garbage;
        SET_HOOK(during_apply);
        status = reg_apply(reg, w->edits, count, fleet, &garbage);
        SET_HOOK(NULL);
        reg_destroy(garbage, object_release);
        if (status != REG_OK) take_back(reg, w);
    }
    free(w);
    return status;
}

reg_status apply(reg_registry *reg, const step *steps, size_t count) {
    return apply_at(reg, steps, count, REG_ANY_FLEET);
}

reg_status apply_one(reg_registry *reg, reg_change_kind kind, offer o, int number) {
    return apply(reg, &(step){.kind = kind, .offer = o, .number = number}, 1);
}

bool see(reg_registry *reg, const char *id, reg_view *view, int *number) {
    reg_key key = key_of(id);
    reg_reader *reader = reg_read_begin();
    bool found = reg_get(reg, &key, view) == REG_OK;
    if (found && number != NULL) *number = object_of(view->definition)->number;
    reg_read_end(reader);
    return found;
}

int holder_of(reg_registry *reg, const char *instance) {
    reg_key key = key_of(instance);
    reg_reader *reader = reg_read_begin();
    void *found = reg_find_by_instance(reg, &key);
    int number = found == NULL ? -1 : object_of(found)->number;
    reg_read_end(reader);
    return number;
}

bool has_url(reg_registry *reg, const char *url) {
    reg_key key = key_of(url);
    return reg_has_url(reg, &key) == REG_OK;
}

void count_one(reg_registry *reg, const char *id, int by) {
    reg_key key = key_of(id);
    uint32_t value;
    reg_aftermath after;
    CHECK((by > 0 ? reg_increment_pending(reg, &key, &value)
                  : reg_decrement_pending(reg, &key, &value, &after)) == REG_OK);
}

reg_status drain(reg_registry *reg, const char *id, uint64_t serial, bool on) {
    reg_key key = key_of(id);
    reg_garbage *garbage;
    reg_status status = reg_set_draining(reg, &key, serial, on, &garbage);
    reg_destroy(garbage, object_release);
    return status;
}
