/* Random writes of a whole fleet, compared with plain arrays; and writes that fail, which change
 * nothing. */
#include <string.h>

#include "base/memory.h"
#include "changes.h"
#include "check.h"
#include "registry/locks.h"

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

const test change_random_tests[] = {
    {"change: random writes", many_random_writes},
    {"change: writes that fail leave nothing", writes_that_fail_leave_nothing},
    {"change: one bad change refuses all", one_bad_change_refuses_all},
    {"change: a name that did not move", a_name_stays_where_a_failed_write_found_it},
    {0}};
