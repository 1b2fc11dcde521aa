/* Changes of a fleet while requests run: single ones, and many that take effect at one instant. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "check.h"
#include "client.h"
#include "registry/locks.h"

/* ---- a client for writes of many changes ---- */

enum { MANY = 128, MODELS = 4 };

typedef struct step {
    reg_change_kind kind;
    offer offer;
    int number; /* of its definition */
    uint64_t serial;
    const void *expected;
} step;

typedef struct written {
    reg_edit edits[MANY];
    reg_variant *variants[MANY][MODELS];
    size_t held[MANY];
    size_t count;
} written;

/* Called during the apply at every point of a torture build, on the thread that writes. */
static void (*during_apply)(void);
#ifdef REG_TORTURE
extern _Thread_local void (*torture_hook)(void);
#define SET_HOOK(hook) (torture_hook = (hook))
#else
#define SET_HOOK(hook) ((void)(hook))
#endif

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
    entry->weight = o->weight != 0 ? o->weight : 1;
    entry->priority = o->priority;
    if (o->instance != NULL) entry->instance = key_of(o->instance);
    if (s->kind == REG_UPDATED) return;
    entry->url = key_of(o->url != NULL ? o->url : "http://host");
    entry->id_object = new_id(o->id, s->number);
    entry->id.data = (char *)((object *)entry->id_object + 1);
}

static void take_back(reg_registry *reg, written *w) {
    for (size_t i = 0; i < w->count; i++) {
        reg_garbage *garbage;
        reg_drop_models(reg, w->variants[i], w->held[i], &garbage);
        reg_destroy(garbage, object_release);
        if (w->edits[i].entry.definition != NULL) object_release(w->edits[i].entry.definition);
        if (w->edits[i].entry.id_object != NULL) object_release(w->edits[i].entry.id_object);
    }
}

/* Begins a write: holds the models. Returns false if out of memory. */
static bool prepare_write(reg_registry *reg, written *w, const step *steps, size_t count) {
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

static reg_status apply_at(reg_registry *reg, const step *steps, size_t count, uint64_t fleet) {
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

static reg_status apply(reg_registry *reg, const step *steps, size_t count) {
    return apply_at(reg, steps, count, REG_ANY_FLEET);
}

static reg_status apply_one(reg_registry *reg, reg_change_kind kind, offer o, int number) {
    return apply(reg, &(step){.kind = kind, .offer = o, .number = number}, 1);
}

/* The view of a backend. Its objects may be gone. */
static bool see(reg_registry *reg, const char *id, reg_view *view, int *number) {
    reg_key key = key_of(id);
    reg_reader *reader = reg_read_begin();
    bool found = reg_get(reg, &key, view) == REG_OK;
    if (found && number != NULL) *number = object_of(view->definition)->number;
    reg_read_end(reader);
    return found;
}

static int holder_of(reg_registry *reg, const char *instance) {
    reg_key key = key_of(instance);
    reg_reader *reader = reg_read_begin();
    void *found = reg_find_by_instance(reg, &key);
    int number = found == NULL ? -1 : object_of(found)->number;
    reg_read_end(reader);
    return number;
}

static bool has_url(reg_registry *reg, const char *url) {
    reg_key key = key_of(url);
    return reg_has_url(reg, &key) == REG_OK;
}

static void count_one(reg_registry *reg, const char *id, int by) {
    reg_key key = key_of(id);
    uint32_t value;
    reg_aftermath after;
    CHECK((by > 0 ? reg_increment_pending(reg, &key, &value)
                  : reg_decrement_pending(reg, &key, &value, &after)) == REG_OK);
}

static reg_status drain(reg_registry *reg, const char *id, uint64_t serial, bool on) {
    reg_key key = key_of(id);
    reg_garbage *garbage;
    reg_status status = reg_set_draining(reg, &key, serial, on, &garbage);
    reg_destroy(garbage, object_release);
    return status;
}

/* ---- one change ---- */

static long an_update_keeps_the_registration(void) {
    reg_registry *reg = client_fleet(3, NULL);
    reg_view before, after;
    int number;
    count_one(reg, "b1", 1), count_one(reg, "b1", 1);
    CHECK(drain(reg, "b1", 0, true) == REG_OK);
    CHECK(client_health(reg, "b1", REG_UNHEALTHY, 7) == REG_OK);
    CHECK(see(reg, "b1", &before, NULL) && before.is_draining && before.health == REG_UNHEALTHY);
    CHECK(apply_one(reg, REG_UPDATED,
                    (offer){.id = "b1", .models = {"m", "n"}, .max_pending = 1, .weight = 9},
                    50) == REG_OK);
    CHECK(see(reg, "b1", &after, &number) && number == 50);
    CHECK(after.serial == before.serial && after.order == before.order && after.pending == 2 &&
          after.is_draining && after.health == REG_UNHEALTHY && after.error == before.error &&
          after.checked_at == before.checked_at);
    CHECK(client_query(reg, "n", NULL, 0) == 1 && client_query(reg, "m", NULL, 0) == 3);
    client_free(reg);
    return 1;
}

static long a_replacement_takes_the_place(void) {
    reg_registry *reg = client_fleet(3, NULL);
    reg_view before, after;
    int number, numbers[3];
    reg_lease lease;
    CHECK(drain(reg, "b0", 0, true) == REG_OK && drain(reg, "b2", 0, true) == REG_OK);
    CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &lease) == 1);
    CHECK(drain(reg, "b1", 0, true) == REG_OK && see(reg, "b1", &before, NULL));
    CHECK(apply_one(reg, REG_REPLACED, (offer){.id = "b1", .url = "http://new", .models = {"m"}},
                    50) == REG_OK);
    CHECK(see(reg, "b1", &after, &number) && number == 50 && has_url(reg, "http://new"));
    CHECK(after.serial == 4 && after.order == before.order && after.pending == 0 &&
          after.total == 0 && !after.is_draining && after.health == REG_UNKNOWN);
    CHECK(client_query(reg, NULL, numbers, 3) == 3 && numbers[0] == 0 && numbers[1] == 50 &&
          numbers[2] == 2);
    CHECK(client_query(reg, "m", numbers, 3) == 3 && numbers[1] == 50);
    CHECK(client_return(&lease, NULL) && see(reg, "b1", &after, NULL) && after.total == 0);
    CHECK(reg_backend_count(reg) == 3 && reg_model_count(reg) == 1);
    client_free(reg);
    return 1;
}

/* Each limit of a definition is in force after the update, for every policy. */
static long limits_are_in_force_at_once(void) {
    reg_registry *reg = client_fleet(2, NULL);
    reg_lease lease;
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b0", .models = {"m"}, .max_pending = 2}, 0) ==
          REG_OK);
    count_one(reg, "b0", 1), count_one(reg, "b0", 1);
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++)
        for (int i = 0; i < 5; i++) {
            CHECK(client_acquire(reg, client_request("m", (reg_policy)policy), &lease) == 1);
            CHECK(client_return(&lease, NULL));
        }
    CHECK(apply_one(reg, REG_UPDATED,
                    (offer){.id = "b0", .models = {"m"}, .max_pending = 9, .priority = -1},
                    0) == REG_OK);
    CHECK(client_select(reg, client_request("m", REG_PRIORITY)) == 0);
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b0", .models = {"m"}, .weight = 9}, 0) ==
          REG_OK);
    count_one(reg, "b1", 1);
    CHECK(client_select(reg, client_request("m", REG_LEAST_PENDING)) == 0);
    client_free(reg);
    return REG_POLICY_COUNT;
}

/* An idle backend of the greatest weight ends a pass early. After a change of the weights this must
 * be another one. */
static long a_greater_weight_is_found(void) {
    reg_registry *reg = client_fleet(20, NULL);
    for (int i = 0; i < 20; i++) {
        char id[8];
        snprintf(id, sizeof id, "b%d", i);
        CHECK(apply_one(reg, REG_UPDATED, (offer){.id = id, .models = {"m"}, .weight = 7}, i) ==
              REG_OK);
        for (int k = 0; k < 4; k++)
            CHECK(client_select(reg, client_request("m", REG_LEAST_PENDING)) <= i);
        CHECK(apply_one(reg, REG_UPDATED, (offer){.id = id, .models = {"m"}, .weight = 1}, i) ==
              REG_OK);
        count_one(reg, id, 1);
    }
    client_free(reg);
    return 20;
}

static int next_in_turn(reg_registry *reg) {
    return client_select(reg, client_request("m", REG_ROUND_ROBIN));
}

/* What a backend is owed in large weights is no long run of choices in small ones. */
static long turns_follow_the_weights(void) {
    reg_registry *reg = client_fleet(2, NULL);
    offer o = {.id = "b0", .models = {"m"}, .weight = 100};
    int counts[2] = {0};
    CHECK(apply_one(reg, REG_UPDATED, o, 0) == REG_OK);
    for (int i = 0; i < 50; i++) CHECK(next_in_turn(reg) == 0);
    o.weight = 1;
    CHECK(apply_one(reg, REG_UPDATED, o, 0) == REG_OK);
    for (int i = 0; i < 10; i++) counts[next_in_turn(reg)]++;
    CHECK(counts[0] >= 4);
    o.weight = 3;
    counts[0] = counts[1] = 0;
    CHECK(apply_one(reg, REG_UPDATED, o, 0) == REG_OK);
    for (int i = 0; i < 40; i++) counts[next_in_turn(reg)]++;
    CHECK(counts[0] >= 29 && counts[0] <= 31);
    client_free(reg);
    return 100;
}

/* b0 has paid for its choice, but the server that takes its place has not. */
static long a_new_server_owes_no_turns(void) {
    reg_registry *reg = client_fleet(2, NULL);
    offer o = {.id = "b0", .models = {"m"}, .weight = 9};
    CHECK(apply_one(reg, REG_UPDATED, o, 0) == REG_OK);
    for (int i = 0; i < 2; i++) CHECK(next_in_turn(reg) == 0);
    CHECK(apply_one(reg, REG_REPLACED, o, 0) == REG_OK);
    CHECK(client_health(reg, "b0", REG_HEALTHY, -1) == REG_OK);
    /* Credits of b0 and b1: 9, 3; 8, 4; 7, 5. With the debt of the old server: 7, 3; 6, 4; 5, 5. */
    for (int i = 0; i < 3; i++) CHECK(next_in_turn(reg) == 0);
    client_free(reg);
    return 3;
}

static long serials_and_expectations(void) {
    reg_registry *reg = client_fleet(2, NULL);
    reg_view first, second;
    offer o = {.id = "b0", .models = {"m"}};
    CHECK(see(reg, "b0", &first, NULL) && first.serial == 1 && first.order == 1);
    CHECK(apply_one(reg, REG_REPLACED, o, 5) == REG_OK && see(reg, "b0", &second, NULL));
    CHECK(second.serial == 3 && second.order == 1);
    for (int kind = REG_REMOVED; kind <= REG_UPDATED; kind++) {
        step old = {.kind = (reg_change_kind)kind, .offer = o, .serial = first.serial};
        CHECK(apply(reg, &old, 1) == REG_NOT_FOUND);
        old.expected = first.definition; /* nobody reads it */
        CHECK(apply(reg, &old, 1) == REG_CHANGED);
        old.serial = second.serial;
        CHECK(apply(reg, &old, 1) == REG_CHANGED);
        old.offer.id = "none";
        CHECK(apply(reg, &old, 1) == REG_NOT_FOUND);
    }
    reg_key key = key_of("b0");
    reg_garbage *garbage;
    CHECK(drain(reg, "b0", first.serial, true) == REG_NOT_FOUND);
    CHECK(reg_update_health(reg, &key, first.serial, REG_HEALTHY, 1, NULL, 0, &garbage) ==
          REG_NOT_FOUND);
    reg_destroy(garbage, object_release);
    CHECK(see(reg, "b0", &first, NULL) && first.health == REG_UNKNOWN && !first.is_draining);
    CHECK(apply(reg, &(step){.kind = REG_UPDATED, .offer = o, .serial = second.serial}, 1) ==
          REG_OK);
    CHECK(apply_one(reg, REG_ADDED, o, 1) == REG_DUPLICATE);
    client_free(reg);
    return 3;
}

static uint64_t version_of_fleet(reg_registry *reg) {
    reg_views views;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get_all(reg, false, &views) == REG_OK);
    reg_read_end(reader);
    reg_views_free(&views);
    return views.version;
}

static long a_fleet_that_changed_is_refused(void) {
    reg_registry *reg = client_fleet(2, NULL);
    step s = {.kind = REG_UPDATED, .offer = {.id = "b0", .models = {"m"}}, .number = 5};
    uint64_t fleet = version_of_fleet(reg);
    CHECK(client_health(reg, "b1", REG_UNHEALTHY, -1) == REG_OK); /* no change of the fleet */
    CHECK(apply_at(reg, &s, 1, fleet) == REG_OK);
    CHECK(apply_at(reg, &s, 1, fleet) == REG_CHANGED);
    fleet = version_of_fleet(reg);
    CHECK(client_remove(reg, "b1", NULL) == REG_OK);
    CHECK(apply_at(reg, &s, 1, fleet) == REG_CHANGED);
    CHECK(apply_at(reg, &s, 1, version_of_fleet(reg)) == REG_OK);
    client_free(reg);
    return 3;
}

/* ---- several changes in one write ---- */

/* Three backends pass their instances on in a circle, in every order of the changes. */
static long instances_move_in_a_circle(void) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const char *ids[] = {"b0", "b1", "b2"}, *names[] = {"x", "y", "z"};
    for (int order = 0; order < 6; order++)
        for (int kinds = 0; kinds < 8; kinds++) {
            reg_registry *reg = reg_new(NULL);
            step steps[3];
            for (int i = 0; i < 3; i++)
                CHECK(client_add(reg, &(offer){.id = ids[i], .instance = names[i]}, i) == REG_OK);
            for (int shift = 1; shift < 6; shift++) {
                for (int k = 0; k < 3; k++) {
                    int i = orders[order][k];
                    steps[k] = (step){.kind = kinds >> i & 1 ? REG_REPLACED : REG_UPDATED,
                                      .offer = {.id = ids[i], .instance = names[(i + shift) % 3]},
                                      .number = i};
                }
                CHECK(apply(reg, steps, 3) == REG_OK);
                for (int i = 0; i < 3; i++) CHECK(holder_of(reg, names[(i + shift) % 3]) == i);
            }
            client_free(reg);
        }
    return 6L * 8 * 5;
}

/* The holder of an instance leaves, and another backend takes the instance over; and a url that
 * several removed backends share ends once. */
static long what_a_removed_backend_had_is_free(void) {
    reg_registry *reg = reg_new(NULL);
    offer a = {.id = "a", .url = "http://u", .instance = "x", .models = {"m"}};
    offer b = {.id = "b", .url = "http://u", .models = {"m"}};
    offer c = {.id = "c", .url = "http://v", .instance = "x", .models = {"m"}};
    CHECK(client_add(reg, &a, 1) == REG_OK && client_add(reg, &b, 2) == REG_OK);
    step steps[] = {{.kind = REG_ADDED, .offer = c, .number = 3},
                    {.kind = REG_REMOVED, .offer = a},
                    {.kind = REG_REMOVED, .offer = b}};
    CHECK(apply(reg, steps, 3) == REG_OK);
    CHECK(holder_of(reg, "x") == 3 && !has_url(reg, "http://u") && has_url(reg, "http://v"));
    CHECK(reg_backend_count(reg) == 1 && client_query(reg, "m", NULL, 0) == 1);
    step back[] = {{.kind = REG_REMOVED, .offer = c}, {.kind = REG_ADDED, .offer = a, .number = 1}};
    CHECK(apply(reg, back, 2) == REG_OK);
    CHECK(holder_of(reg, "x") == 1 && has_url(reg, "http://u") && !has_url(reg, "http://v"));
    client_free(reg);
    return 2;
}

static bool are_models(reg_registry *reg, const char *expected) {
    reg_model_ids ids;
    CHECK(reg_get_model_ids(reg, &ids) == REG_OK);
    bool same = ids.count == strlen(expected) && ids.count == reg_model_count(reg);
    for (size_t i = 0; same && i < ids.count; i++)
        same = ids.items[i].length == 1 && *ids.items[i].data == expected[i];
    reg_model_ids_free(&ids);
    return same;
}

static long models_in_the_order_in_which_they_were_served(void) {
    reg_registry *reg = reg_new(NULL);
    CHECK(are_models(reg, ""));
    CHECK(client_add(reg, &(offer){.id = "a", .models = {"n", "m"}}, 1) == REG_OK);
    CHECK(client_add(reg, &(offer){.id = "b", .models = {"o", "m"}}, 2) == REG_OK);
    CHECK(are_models(reg, "nmo"));
    /* `n` moves to the other backend in one write: it is served all the time. */
    step steps[] = {{.kind = REG_UPDATED, .offer = {.id = "a", .models = {"p"}}},
                    {.kind = REG_UPDATED, .offer = {.id = "b", .models = {"o", "n"}}}};
    CHECK(apply(reg, steps, 2) == REG_OK && are_models(reg, "nop"));
    CHECK(client_remove(reg, "b", NULL) == REG_OK && are_models(reg, "p"));
    CHECK(client_add(reg, &(offer){.id = "b", .models = {"n", "o"}}, 2) == REG_OK);
    CHECK(are_models(reg, "pno"));
    CHECK(apply_one(reg, REG_REPLACED, (offer){.id = "a", .models = {"m", "p"}}, 1) == REG_OK);
    CHECK(are_models(reg, "pnom"));
    client_free(reg);
    return 7;
}

/* A write that replaces part of a fleet leaves a list in order, so later queries need not sort. */
static long a_long_tail_is_sorted_once(void) {
    enum { COUNT = 400, REPLACED = 100 };
    reg_registry *reg = client_fleet(COUNT, NULL);
    char ids[REPLACED][8];
    step steps[REPLACED];
    for (int i = 0; i < REPLACED; i++) {
        snprintf(ids[i], sizeof *ids, "b%d", i * 3);
        steps[i] =
            (step){.kind = REG_REPLACED, .offer = {.id = ids[i], .models = {"m"}}, .number = i * 3};
    }
    CHECK(apply(reg, steps, REPLACED) == REG_OK);
    int numbers[COUNT];
    CHECK(client_query(reg, "m", numbers, COUNT) == COUNT);
    for (int i = 0; i < COUNT; i++) CHECK(numbers[i] == i);
    CHECK(load_own(&load_own(&reg->roster.array)->late_from) == UINT32_MAX);
    client_free(reg);
    return COUNT;
}

/* ---- random writes, compared with plain arrays ---- */

enum { IDS = 7 };

static const char *const all_ids[IDS] = {"a", "b", "c", "d", "e", "f", "g"};
static const char *const all_names[] = {"x", "y", "z", "w"};
static const char *const all_models[] = {"m", "n", "o", "p"};
static const char *const all_urls[] = {"http://1", "http://2", "http://3"};

typedef struct plain {
    bool is_in;
    offer offer;
    int number;
    uint64_t serial, order;
} plain;

static offer random_offer(unsigned *seed, int id, int name) {
    offer o = {.id = all_ids[id],
               .url = all_urls[rand_r(seed) % 3],
               .instance = name < 0 ? NULL : all_names[name],
               .max_pending = (uint32_t)(rand_r(seed) % 3),
               .weight = (uint16_t)(1 + rand_r(seed) % 3),
               .context_length = (uint32_t)(rand_r(seed) % 2)};
    int first = rand_r(seed) % 4, count = rand_r(seed) % 4;
    for (int i = 0; i < count; i++) o.models[i] = all_models[(first + i) % 4];
    return o;
}

/* Deals the instances to the backends anew, so they are unique in the new fleet. */
static void deal_names(unsigned *seed, int *names) {
    for (int i = 0; i < IDS; i++) names[i] = i < 4 ? i : -1;
    for (int i = IDS - 1; i > 0; i--) {
        int k = rand_r(seed) % (i + 1), name = names[i];
        names[i] = names[k];
        names[k] = name;
    }
}

/* A random write of the whole fleet. */
static size_t random_write(unsigned *seed, const plain *fleet, plain *fresh, step *steps,
                           uint64_t *last_serial, int number) {
    int names[IDS], order[IDS];
    size_t count = 0;
    uint64_t serial = *last_serial;
    deal_names(seed, names);
    deal_names(seed, order);
    memcpy(fresh, fleet, IDS * sizeof *fresh);
    for (int k = 0; k < IDS; k++) {
        int i = (k * 3 + number) % IDS; /* 3 and 7 have no common factor */
        plain *p = &fresh[i];
        offer o = random_offer(seed, i, names[i]);
        int dice = rand_r(seed) % 4;
        reg_change_kind kind = !p->is_in   ? REG_ADDED
                               : dice == 0 ? REG_REMOVED
                               : dice == 1 ? REG_REPLACED
                                           : REG_UPDATED;
        if (!p->is_in && dice == 0) continue;
        if (kind == REG_UPDATED) o.url = p->offer.url;
        steps[count++] = (step){.kind = kind, .offer = o, .number = number + i};
        p->is_in = kind != REG_REMOVED;
        p->offer = o;
        p->number = number + i;
        if (kind == REG_ADDED) p->order = p->serial = ++serial;
        if (kind == REG_REPLACED) p->serial = ++serial;
    }
    *last_serial = serial;
    return count;
}

static bool serves(const plain *p, const char *model_id) {
    for (int k = 0; model_id != NULL && k < MODELS && p->offer.models[k] != NULL; k++)
        if (strcmp(p->offer.models[k], model_id) == 0) return p->is_in;
    return p->is_in && model_id == NULL;
}

static void check_list(reg_registry *reg, const plain *fleet, const char *model_id) {
    int numbers[IDS];
    size_t count = client_query(reg, model_id, numbers, IDS), expected = 0;
    uint64_t last = 0;
    for (;;) { /* in ascending order */
        const plain *next = NULL;
        for (int i = 0; i < IDS; i++)
            if (serves(&fleet[i], model_id) && fleet[i].order > last &&
                (next == NULL || fleet[i].order < next->order))
                next = &fleet[i];
        if (next == NULL) break;
        CHECK(expected < count && numbers[expected] == next->number);
        expected++;
        last = next->order;
    }
    CHECK(count == expected);
}

static void check_fleet(reg_registry *reg, const plain *fleet) {
    uint32_t served = 0, backends = 0;
    check_list(reg, fleet, NULL);
    for (int k = 0; k < 4; k++) {
        check_list(reg, fleet, all_models[k]);
        served += client_query(reg, all_models[k], NULL, 0) != 0;
        int holder = -1;
        for (int i = 0; i < IDS; i++)
            if (fleet[i].is_in && fleet[i].offer.instance == all_names[k]) holder = fleet[i].number;
        CHECK(holder_of(reg, all_names[k]) == holder);
    }
    for (int k = 0; k < 3; k++) {
        bool is_there = false;
        for (int i = 0; i < IDS; i++)
            is_there = is_there || (fleet[i].is_in && fleet[i].offer.url == all_urls[k]);
        CHECK(has_url(reg, all_urls[k]) == is_there);
    }
    for (int i = 0; i < IDS; i++) {
        reg_view view;
        backends += fleet[i].is_in;
        CHECK(see(reg, all_ids[i], &view, NULL) == fleet[i].is_in);
        if (fleet[i].is_in) CHECK(view.serial == fleet[i].serial && view.order == fleet[i].order);
    }
    CHECK(reg_backend_count(reg) == backends && reg_model_count(reg) == served);
}

static void check_nothing_is_planned(reg_registry *reg) {
    lock_writer(reg);
    CHECK(reg->roster.planned == 0);
    EACH_ITEM(&reg->models.models, item)
        CHECK(reg_container(item, model, item)->members.planned == 0);
    unlock_writer(reg);
}

static long allowed; /* how many more allocations succeed */
static bool count_down(void) { return allowed-- > 0; }

/* Random writes; before each of them, each of its allocations fails once. */
static long random_writes(int rounds, bool fails) {
    reg_registry *reg = reg_new(NULL);
    unsigned seed = 17 + test_round;
    plain fleet[IDS] = {0}, fresh[IDS];
    step steps[IDS];
    uint64_t last_serial = 0;
    long failures = 0;
    for (int round = 1; round <= rounds; round++) {
        size_t count = random_write(&seed, fleet, fresh, steps, &last_serial, round * IDS);
        if (count == 0) continue;
        /* A hundred failures of one write may crowd the limbo with renewed lists. */
        for (long n = 0; fails; n++) {
            uint64_t version = load_own(&reg->committed);
            allowed = n;
            memory_set_gate(count_down);
            reg_status status = apply(reg, steps, count);
            memory_set_gate(NULL);
            if (status == REG_OK) break;
            CHECK(status == REG_NO_MEMORY && load_own(&reg->committed) == version);
            check_fleet(reg, fleet);
            check_nothing_is_planned(reg);
            failures++;
        }
        if (!fails) CHECK(apply(reg, steps, count) == REG_OK);
        memcpy(fleet, fresh, sizeof fleet);
        check_fleet(reg, fleet);
        check_nothing_is_planned(reg);
    }
    client_free(reg);
    return fails ? failures : rounds;
}

static long many_random_writes(void) { return random_writes(3000, false); }

static long writes_that_fail_leave_nothing(void) {
    long failures = random_writes(60, true);
    CHECK(failures > 500);
    return failures;
}

/* A write that fails because of one bad change has changed nothing either. */
static long one_bad_change_refuses_all(void) {
    reg_registry *reg = client_fleet(2, NULL);
    step steps[] = {{.kind = REG_ADDED, .offer = {.id = "new", .instance = "x", .models = {"n"}}},
                    {.kind = REG_REPLACED, .offer = {.id = "b0", .url = "http://n"}, .number = 9},
                    {.kind = REG_UPDATED, .offer = {.id = "b1", .models = {"o"}}, .number = 9},
                    {.kind = REG_REMOVED, .offer = {.id = "none"}}};
    uint64_t version = load_own(&reg->committed);
    CHECK(apply(reg, steps, 4) == REG_NOT_FOUND);
    CHECK(client_query(reg, NULL, NULL, 0) == 2 && client_query(reg, "m", NULL, 0) == 2);
    CHECK(reg_model_count(reg) == 1 && holder_of(reg, "x") == -1 && !has_url(reg, "http://n"));
    CHECK(load_own(&reg->committed) == version && client_stats(reg).models == 1);
    check_nothing_is_planned(reg);
    client_free(reg);
    return 1;
}

/* A write that fails gives an instance back to its holder, as if it had never been moved. */
static long a_name_stays_where_a_failed_write_found_it(void) {
    reg_registry *reg = client_fleet(2, NULL);
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b0", .instance = "x"}, 0) == REG_OK);
    step steps[] = {{.kind = REG_UPDATED, .offer = {.id = "b1", .instance = "x"}, .number = 9},
                    {.kind = REG_UPDATED, .offer = {.id = "b0", .instance = "y"}, .number = 9},
                    {.kind = REG_REMOVED, .offer = {.id = "none"}}};
    CHECK(apply(reg, steps, 3) == REG_NOT_FOUND);
    CHECK(holder_of(reg, "x") == 0 && holder_of(reg, "y") == -1);
    CHECK(client_remove(reg, "b0", NULL) == REG_OK && client_stats(reg).waiting < 100);
    CHECK(holder_of(reg, "x") == -1);
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b1", .instance = "x"}, 5) == REG_OK);
    CHECK(holder_of(reg, "x") == 5);
    client_free(reg);
    return 1;
}

#ifdef REG_TORTURE
/* ---- what a choice finds while a write has stalled at any of its points ---- */

static pthread_barrier_t stalled, resumed;
static _Atomic bool is_written;

static void stall(void) {
    pthread_barrier_wait(&stalled);
    pthread_barrier_wait(&resumed);
}

typedef struct scene {
    reg_registry *reg;
    step steps[2];
    bool replaces; /* the choices find backends of unknown health */
} scene;

static void *write_scene(void *argument) {
    scene *s = argument;
    during_apply = stall;
    CHECK(apply(s->reg, s->steps, 2) == REG_OK);
    during_apply = NULL;
    is_written = true;
    pthread_barrier_wait(&stalled);
    return NULL;
}

/* Nothing changes while the writer stalls, so a choice must take what `reg_explain` says. */
static void choose_as_explained(const scene *s, reg_policy policy) {
    reg_request request = client_request("m", policy);
    request.allow_unknown = s->replaces;
    reg_candidates found;
    int numbers[8];
    size_t eligible = 0;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_explain(s->reg, &request, &found) == REG_OK && found.count == 3);
    for (; eligible < found.count && found.items[eligible].reason == REG_ELIGIBLE; eligible++)
        numbers[eligible] = object_of(found.items[eligible].definition)->number;
    reg_read_end(reader);
    reg_candidates_free(&found);
    int chosen = client_select(s->reg, request);
    if (eligible == 0) {
        CHECK(chosen == -1);
    } else if (policy == REG_RANDOM || policy == REG_POWER_OF_TWO) {
        bool is_eligible = false;
        for (size_t i = 0; i < eligible; i++) is_eligible = is_eligible || chosen == numbers[i];
        CHECK(is_eligible);
    } else {
        CHECK(chosen == numbers[0]);
    }
    reg_lease lease;
    if (client_acquire(s->reg, request, &lease) >= 0) CHECK(client_return(&lease, NULL));
}

/* Both backends of the write, in every way, are as before the commit or as after it. */
static void look_at_scene(const scene *s, uint64_t before) {
    bool is_new = load_committed(&s->reg->committed) > before;
    int numbers[3];
    for (int i = 0; i < 2; i++) {
        reg_view view;
        int number, expected = (is_new ? 10 : 0) + i;
        CHECK(see(s->reg, i == 0 ? "b0" : "b1", &view, &number) && number == expected);
        CHECK(holder_of(s->reg, i == (int)is_new ? "x" : "y") == expected);
    }
    CHECK(client_query(s->reg, "m", numbers, 3) == 3 && numbers[0] == (is_new ? 10 : 0) &&
          numbers[1] == (is_new ? 11 : 1) && numbers[2] == 2);
    CHECK(client_query(s->reg, NULL, numbers, 3) == 3 && numbers[0] == (is_new ? 10 : 0));
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++)
        choose_as_explained(s, (reg_policy)policy);
}

static long stall_everywhere(scene *s) {
    pthread_t thread;
    uint64_t before = load_own(&s->reg->committed);
    long points = 0;
    is_written = false;
    CHECK(pthread_barrier_init(&stalled, NULL, 2) == 0);
    CHECK(pthread_barrier_init(&resumed, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, write_scene, s) == 0);
    for (;; points++) {
        pthread_barrier_wait(&stalled);
        if (is_written) break;
        look_at_scene(s, before);
        pthread_barrier_wait(&resumed);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    look_at_scene(s, before);
    pthread_barrier_destroy(&stalled);
    pthread_barrier_destroy(&resumed);
    return points;
}

static void shape_of_scene(offer *o, int number) {
    o->instance = number == 0 ? "x" : number == 1 ? "y" : NULL;
    o->max_pending = number == 2 ? 2 : 0;
    o->weight = (uint16_t)(number == 2 ? 1 : 5);
}

/* The write exchanges what the policies look at: caps, weights, priorities and servers. */
static long a_choice_does_not_wait_for_a_stalled_write(void) {
    const offer first[] = {
        {.max_pending = 1}, {.weight = 1}, {.priority = 7}, {.weight = 40}, {.url = "http://n"}};
    long points = 0;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        for (int busy = 0; busy < 3; busy++) {
            scene s = {.reg = client_fleet(3, shape_of_scene), .replaces = first[i].url != NULL};
            for (int k = 0; k < 2; k++) {
                s.steps[k] = (step){.kind = s.replaces ? REG_REPLACED : REG_UPDATED,
                                    .offer = {.models = {"m"}, .weight = 5, .context_length = 8192},
                                    .number = 10 + k};
                if (k == 0 || s.replaces) s.steps[k].offer = first[i];
                s.steps[k].offer.id = k == 0 ? "b0" : "b1";
                s.steps[k].offer.instance = k == 0 ? "y" : "x";
                s.steps[k].offer.models[0] = "m";
                s.steps[k].offer.context_length = 8192;
            }
            for (int k = 0; k < busy; k++) count_one(s.reg, "b0", 1), count_one(s.reg, "b1", 1);
            for (int k = 0; k < 4; k++) client_select(s.reg, client_request("m", REG_ROUND_ROBIN));
            points += stall_everywhere(&s);
            client_free(s.reg);
        }
    return points;
}

/* ---- writes that happen at any two points of a read ---- */

enum { WRITES = 2 };
static written writes[WRITES];
static long points_to_go[WRITES];
static int writes_done;
static reg_garbage *garbage_of[WRITES];
static reg_registry *the_registry;

static void write_in_time(void) {
    while (writes_done < WRITES && points_to_go[writes_done]-- == 0) {
        written *w = &writes[writes_done];
        CHECK(reg_apply(the_registry, w->edits, w->count, REG_ANY_FLEET,
                        &garbage_of[writes_done]) == REG_OK);
        writes_done++;
    }
}

/* Runs `read` with the writes at every pair of its points. It returns false if the answer was none
 * of those that were true at some instant. */
static long at_all_points(reg_registry *(*set_up)(step steps[WRITES]), bool (*read)(void)) {
    long runs = 0;
    for (long first = 0, second = 0;; runs++) {
        step steps[WRITES];
        the_registry = set_up(steps);
        for (int i = 0; i < WRITES; i++)
            CHECK(prepare_write(the_registry, &writes[i], &steps[i], 1));
        writes_done = 0;
        points_to_go[0] = first, points_to_go[1] = second;
        SET_HOOK(write_in_time);
        bool is_right = read();
        SET_HOOK(NULL);
        CHECK(is_right);
        int done = writes_done;
        for (int i = 0; i < done; i++) reg_destroy(garbage_of[i], object_release);
        for (int i = done; i < WRITES; i++) take_back(the_registry, &writes[i]);
        client_free(the_registry);
        if (done == 0) return runs;
        second = done == WRITES ? second + 1 : 0;
        first += second == 0;
    }
}

/* `x` is b0's for a while, which had it neither before nor afterwards. */
static reg_registry *nobody_has_the_name(step *steps) {
    steps[0] = (step){REG_UPDATED, {.id = "b0", .instance = "x"}, .number = 10};
    steps[1] = (step){REG_UPDATED, {.id = "b0"}, .number = 20};
    return client_fleet(2, NULL);
}
static reg_registry *a_server_has_the_name(step *steps) {
    steps[0] = (step){REG_REPLACED, {.id = "b0", .instance = "x"}, .number = 10};
    steps[1] = (step){.kind = REG_REMOVED, .offer = {.id = "b0"}};
    return client_fleet(2, NULL);
}
static bool the_name_came_and_went(void) {
    int holder = holder_of(the_registry, "x");
    return holder == -1 || holder == 10;
}

static long an_instance_that_came_and_went(void) {
    return at_all_points(nobody_has_the_name, the_name_came_and_went) +
           at_all_points(a_server_has_the_name, the_name_came_and_went);
}

static reg_registry *replaced_twice(step *steps) {
    steps[0] = (step){REG_REPLACED, {.id = "b0", .instance = "x", .models = {"m"}}, .number = 10};
    steps[1] = (step){REG_REPLACED, {.id = "b0", .instance = "x", .models = {"m"}}, .number = 20};
    reg_registry *reg = reg_new(NULL);
    CHECK(client_add(reg, &(offer){.id = "b0", .instance = "x", .models = {"m"}}, 0) == REG_OK);
    CHECK(client_health(reg, "b0", REG_UNHEALTHY, -1) == REG_OK);
    return reg;
}
static bool is_never_missing(void) {
    reg_view view;
    int number, in_list, in_model;
    uint32_t value;
    reg_key key = key_of("b0");
    reg_request request = client_request("m", REG_LEAST_PENDING);
    request.allow_unknown = true;
    return see(the_registry, "b0", &view, &number) &&
           view.health == (number == 0 ? REG_UNHEALTHY : REG_UNKNOWN) &&
           reg_contains(the_registry, &key) == REG_OK &&
           reg_increment_pending(the_registry, &key, &value) == REG_OK &&
           client_query(the_registry, NULL, &in_list, 1) == 1 && in_list >= number &&
           client_query(the_registry, "m", &in_model, 1) == 1 && in_model >= in_list &&
           has_url(the_registry, "http://host") && holder_of(the_registry, "x") >= in_model &&
           (writes_done == 0 || client_select(the_registry, request) >= in_model);
}
static long a_replaced_backend_is_never_missing(void) {
    return at_all_points(replaced_twice, is_never_missing);
}

/* b0 is full before the first write, b1 after it, and b0 again after the second one. */
static reg_registry *caps_exchanged(step *steps) {
    steps[0] = (step){REG_UPDATED, {.id = "b0", .models = {"m"}}, .number = 10};
    steps[1] = (step){REG_UPDATED, {.id = "b0", .models = {"m"}, .max_pending = 1}, .number = 20};
    reg_registry *reg = client_fleet(2, NULL);
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b0", .models = {"m"}, .max_pending = 1}, 0) ==
          REG_OK);
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b1", .models = {"m"}, .max_pending = 1}, 1) ==
          REG_OK);
    count_one(reg, "b0", 1), count_one(reg, "b1", 1);
    return reg;
}
static reg_policy policy_of_read;
static bool only_with_room(void) {
    int chosen = client_select(the_registry, client_request("m", policy_of_read));
    return chosen == -1 || (chosen == 10 && writes_done != 0);
}
static long a_cap_that_came_and_went(void) {
    long runs = 0;
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++) {
        policy_of_read = (reg_policy)policy;
        runs += at_all_points(caps_exchanged, only_with_room);
    }
    return runs;
}

/* ---- a choice that stops at any of its points, and a write that stalls at any of its own ---- */

/* A write of b0 and b1, or of b0 only, and which backend is right before and after it. */
typedef struct duel {
    offer old[2], fresh[2];
    int changes;
    int right_before, right_after; /* definitions: 0 and 1, and after the write 10 and 11 */
    int busy;                      /* in flight on both */
    unsigned policies;
} duel;

enum {
    LOADS = 1 << REG_LEAST_PENDING | 1 << REG_LOWEST_LATENCY,
    TURNS = 1 << REG_ROUND_ROBIN,
    PRIORITIES = 1 << REG_PRIORITY | 1 << REG_SMART,
    ALL_POLICIES = (1 << REG_POLICY_COUNT) - 1,
};

static const duel duels[] = {
    {{{.max_pending = 1}, {0}}, {{0}, {.max_pending = 1}}, 2, 1, 10, 1, ALL_POLICIES},
    {{{.max_pending = 1}, {.max_pending = 2}},
     {{.max_pending = 2}, {.max_pending = 1}},
     2,
     1,
     10,
     1,
     ALL_POLICIES},
    {{{.weight = 9}, {.weight = 1}}, {{.weight = 1}, {.weight = 9}}, 2, 0, 11, 1, LOADS | TURNS},
    {{{.weight = 9}, {.weight = 1}}, {{.weight = 1}, {.weight = 9}}, 2, 0, 11, 0, LOADS | TURNS},
    {{{.weight = 9}, {.weight = 5}}, {{.weight = 1}}, 1, 0, 1, 0, LOADS | TURNS},
    {{{.weight = 9}, {.weight = 5}}, {{.weight = 1}}, 1, 0, 1, 1, LOADS | TURNS},
    {{{.weight = 1}, {.weight = 5}}, {{.weight = 9}}, 1, 1, 10, 0, LOADS | TURNS},
    {{{.priority = 1}, {.priority = 5}}, {{.priority = 9}}, 1, 0, 1, 0, PRIORITIES},
    {{{.priority = 7}, {.priority = 5}}, {{.priority = 1}}, 1, 1, 10, 0, PRIORITIES},
};

static long choice_points, write_points;
static bool has_stalled;
static pthread_t duellist;

static void stall_once(void) {
    if (write_points-- != 0) return;
    has_stalled = true;
    stall();
}

static void *write_in_duel(void *argument) {
    written *w = argument;
    reg_garbage *garbage;
    torture_hook = stall_once;
    CHECK(reg_apply(the_registry, w->edits, w->count, REG_ANY_FLEET, &garbage) == REG_OK);
    torture_hook = NULL;
    if (!has_stalled) stall();
    reg_destroy(garbage, object_release);
    return NULL;
}

static void begin_write_in_duel(void) {
    if (choice_points-- != 0) return;
    CHECK(pthread_create(&duellist, NULL, write_in_duel, &writes[0]) == 0);
    pthread_barrier_wait(&stalled);
}

static void set_up_duel(const duel *d) {
    step steps[2];
    const char *const ids[] = {"b0", "b1"};
    the_registry = reg_new(NULL);
    for (int i = 0; i < 2; i++) {
        offer o = d->old[i];
        o.id = ids[i];
        o.models[0] = "m";
        CHECK(client_add(the_registry, &o, i) == REG_OK);
        CHECK(client_health(the_registry, o.id, REG_HEALTHY, -1) == REG_OK);
        for (int k = 0; k < d->busy; k++) count_one(the_registry, o.id, 1);
        steps[i] = (step){.kind = REG_UPDATED, .offer = d->fresh[i], .number = 10 + i};
        steps[i].offer.id = ids[i];
        steps[i].offer.models[0] = "m";
    }
    CHECK(prepare_write(the_registry, &writes[0], steps, (size_t)d->changes));
}

/* Stops the choice at its point `first`, then the write at its point `second`, and then completes
 * the choice. Returns false if the choice has no such point. */
static bool fight(const duel *d, reg_policy policy, bool acquires, long first, long second) {
    reg_lease lease;
    set_up_duel(d);
    uint64_t before = load_own(&the_registry->committed);
    choice_points = first, write_points = second, has_stalled = false;
    torture_hook = begin_write_in_duel;
    int took = acquires ? client_acquire(the_registry, client_request("m", policy), &lease)
                        : client_select(the_registry, client_request("m", policy));
    torture_hook = NULL;
    bool is_begun = choice_points < 0;
    bool is_new = load_committed(&the_registry->committed) != before;
    CHECK(took == d->right_before || (is_new && took == d->right_after));
    if (is_begun) {
        pthread_barrier_wait(&resumed);
        CHECK(pthread_join(duellist, NULL) == 0);
    } else {
        take_back(the_registry, &writes[0]);
    }
    if (acquires) CHECK(client_return(&lease, NULL));
    client_free(the_registry);
    return is_begun;
}

/* As long as the write has not committed, the choice must be right before it; afterwards, before
 * or after it. A mixture would be a third answer. */
static long a_choice_uses_no_uncommitted_limits(void) {
    long fights = 0;
    CHECK(pthread_barrier_init(&stalled, NULL, 2) == 0);
    CHECK(pthread_barrier_init(&resumed, NULL, 2) == 0);
    for (size_t k = 0; k < sizeof duels / sizeof *duels; k++)
        for (int policy = 0; policy < REG_POLICY_COUNT; policy++)
            for (int acquires = 0; acquires < 2 && duels[k].policies >> policy & 1; acquires++)
                for (long first = 0, second = 0;; fights++) {
                    if (!fight(&duels[k], (reg_policy)policy, acquires, first, second)) break;
                    second = has_stalled ? second + 1 : 0;
                    first += second == 0;
                }
    pthread_barrier_destroy(&stalled);
    pthread_barrier_destroy(&resumed);
    return fights;
}
#endif

/* ---- threads ---- */

enum { FLEET = 50, COMMON = 25, SWAPS = 600, CAPS = 3000 };

static reg_registry *shared;
static _Atomic bool is_over;
static _Atomic long looks;
static char swap_ids[2][FLEET][8], swap_names[COMMON][8];

/* Backend `i` of fleet `f`. The first ones have the same ids in both fleets; each passes its
 * instance on to the next one. The even ones of these move to another server. */
static offer offer_of_fleet(int f, int i) {
    return (offer){.id = swap_ids[f][i],
                   .url = f == 0 || (i < COMMON && i % 2 == 1) ? "http://a" : "http://b",
                   .instance = i < COMMON ? swap_names[(i + f) % COMMON] : NULL,
                   .models = {"m", f == 0 ? "only-a" : "only-b"},
                   .weight = (uint16_t)(1 + f)};
}

static void name_fleets(void) {
    for (int f = 0; f < 2; f++)
        for (int i = 0; i < FLEET; i++)
            snprintf(swap_ids[f][i], sizeof swap_ids[f][i], "%c%d", i < COMMON ? 'c' : 'a' + f, i);
    for (int i = 0; i < COMMON; i++) snprintf(swap_names[i], sizeof swap_names[i], "n%d", i);
}

static size_t steps_to_fleet(int f, step *steps) {
    size_t count = 0;
    for (int i = 0; i < FLEET; i++) {
        reg_change_kind kind = i >= COMMON ? REG_ADDED : i % 2 == 0 ? REG_REPLACED : REG_UPDATED;
        steps[count++] =
            (step){.kind = kind, .offer = offer_of_fleet(f, i), .number = 1000 * f + i};
        if (i >= COMMON)
            steps[count++] = (step){.kind = REG_REMOVED, .offer = {.id = swap_ids[1 - f][i]}};
    }
    return count;
}

static void check_one_fleet(const char *model_id, int only) {
    int numbers[2 * FLEET];
    size_t count = client_query(shared, model_id, numbers, 2 * FLEET);
    CHECK(count == FLEET || (only >= 0 && count == 0));
    for (size_t i = 0; i < count; i++) {
        CHECK(numbers[i] / 1000 == numbers[0] / 1000);
        if (only >= 0) CHECK(numbers[i] / 1000 == only);
    }
}

static void *look_at_fleets(void *argument) {
    (void)argument;
    for (unsigned seed = 1; !is_over; looks++) {
        int i = rand_r(&seed) % COMMON, number;
        reg_view view;
        reg_key id = key_of(swap_ids[0][i]);
        uint32_t value;
        check_one_fleet(NULL, -1);
        check_one_fleet("m", -1);
        check_one_fleet("only-a", 0);
        check_one_fleet("only-b", 1);
        CHECK(see(shared, swap_ids[0][i], &view, &number) && number % 1000 == i);
        number = holder_of(shared, swap_names[i]);
        CHECK(number == i || number == 1000 + (i + COMMON - 1) % COMMON);
        CHECK(reg_increment_pending(shared, &id, &value) == REG_OK && value >= 1);
        CHECK(has_url(shared, "http://a"));
        CHECK(reg_backend_count(shared) == FLEET && reg_model_count(shared) == 2);
        reg_request request = client_request("m", (reg_policy)(rand_r(&seed) % REG_POLICY_COUNT));
        request.allow_unknown = true;
        CHECK(client_select(shared, request) >= 0);
    }
    return NULL;
}

static long two_fleets_are_swapped_at_one_instant(void) {
    pthread_t threads[3];
    step steps[MANY];
    name_fleets();
    shared = reg_new(NULL);
    is_over = false;
    looks = 0;
    for (int i = 0; i < FLEET; i++) {
        offer o = offer_of_fleet(0, i);
        CHECK(client_add(shared, &o, i) == REG_OK);
    }
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, look_at_fleets, NULL) == 0);
    for (int round = 1; round <= SWAPS || looks < SWAPS; round++) {
        reg_status status;
        do { /* readers may hold back too much memory for a while */
            status = apply(shared, steps, steps_to_fleet(round % 2, steps));
        } while (status == REG_NO_MEMORY);
        CHECK(status == REG_OK);
    }
    is_over = true;
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    client_free(shared);
    return looks;
}

static void *take_and_return(void *argument) {
    unsigned seed = (unsigned)(size_t)argument;
    while (!is_over) {
        reg_lease leases[2];
        bool taken[2];
        for (int i = 0; i < 2; i++)
            taken[i] =
                client_acquire(shared,
                               client_request("m", (reg_policy)(rand_r(&seed) % REG_POLICY_COUNT)),
                               &leases[i]) >= 0;
        for (int i = 0; i < 2; i++)
            if (taken[i]) CHECK(client_return(&leases[i], NULL));
    }
    return NULL;
}

/* Once an update has returned, the number in flight never grows above the new cap. What was in
 * flight before stays, so it may be above the cap, but then it only falls. */
static long a_cap_holds_from_its_update_on(void) {
    pthread_t threads[3];
    unsigned seed = 5 + test_round;
    shared = client_fleet(2, NULL);
    is_over = false;
    for (size_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, take_and_return, (void *)(i + 1)) == 0);
    for (int round = 0; round < CAPS; round++) {
        uint32_t caps[2], last[2] = {UINT32_MAX, UINT32_MAX};
        step steps[2];
        for (int k = 0; k < 2; k++) {
            caps[k] = 1 + (uint32_t)rand_r(&seed) % 4;
            steps[k] = (step){.kind = REG_UPDATED,
                              .offer = {.id = k == 0 ? "b0" : "b1",
                                        .models = {"m"},
                                        .max_pending = caps[k],
                                        .weight = (uint16_t)(1 + rand_r(&seed) % 3)}};
        }
        CHECK(apply(shared, steps, 2) == REG_OK);
        for (int i = 0; i < 20; i++)
            for (int k = 0; k < 2; k++) {
                uint32_t now = client_in_flight(shared, k == 0 ? "b0" : "b1");
                CHECK(now <= caps[k] || now <= last[k]);
                last[k] = now;
            }
    }
    is_over = true;
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(client_in_flight(shared, "b0") == 0 && client_in_flight(shared, "b1") == 0);
    client_free(shared);
    return CAPS;
}

const test change_tests[] = {
    {"change: an update keeps the registration", an_update_keeps_the_registration},
    {"change: a replacement takes the place", a_replacement_takes_the_place},
    {"change: limits are in force at once", limits_are_in_force_at_once},
    {"change: a greater weight is found", a_greater_weight_is_found},
    {"change: turns follow the weights", turns_follow_the_weights},
    {"change: a new server owes no turns", a_new_server_owes_no_turns},
    {"change: serials and expectations", serials_and_expectations},
    {"change: a fleet that changed is refused", a_fleet_that_changed_is_refused},
    {"change: instances move in a circle", instances_move_in_a_circle},
    {"change: what a removed one had is free", what_a_removed_backend_had_is_free},
    {"change: models in order", models_in_the_order_in_which_they_were_served},
    {"change: a long tail is sorted once", a_long_tail_is_sorted_once},
    {"change: random writes", many_random_writes},
    {"change: writes that fail leave nothing", writes_that_fail_leave_nothing},
    {"change: one bad change refuses all", one_bad_change_refuses_all},
    {"change: a name that did not move", a_name_stays_where_a_failed_write_found_it},
#ifdef REG_TORTURE
    {"change: no choice waits for a stalled write", a_choice_does_not_wait_for_a_stalled_write},
    {"change: an instance that came and went", an_instance_that_came_and_went},
    {"change: a replaced one is never missing", a_replaced_backend_is_never_missing},
    {"change: a cap that came and went", a_cap_that_came_and_went},
    {"change: no uncommitted limit is used", a_choice_uses_no_uncommitted_limits},
#endif
    {"change: two fleets at one instant", two_fleets_are_swapped_at_one_instant},
    {"change: a cap holds from its update on", a_cap_holds_from_its_update_on},
    {0}};
