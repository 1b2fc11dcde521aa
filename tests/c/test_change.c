/* Changes of a fleet: what a single one keeps and what it begins anew, and several that take effect
 * at one instant. */
#include <string.h>

#include "changes.h"
#include "check.h"
#include "registry/layout.h"

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
    {0}};
