/* Tests the facade in one thread: every status, the order of results, and that every object is
 * released exactly once. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "client.h"
#include "reclaim/epoch.h"

static long statuses(void) {
    reg_registry *reg = reg_new(NULL);
    offer a = {"a", "http://a", "i", {"m", "n"}, .context_length = 1},
          b = {"b", "http://a", "i", {"m"}, .context_length = 1};
    reg_key id = key_of("a"), none = key_of("none"), url = key_of("http://a"),
            instance = key_of("i");
    uint32_t value;
    uint64_t total;
    reg_aftermath after = {0};
    reg_view last;
    CHECK(client_add(reg, &a, 1) == REG_OK && client_add(reg, &a, 2) == REG_DUPLICATE);
    CHECK(client_add(reg, &b, 2) == REG_INSTANCE_TAKEN);
    b.instance = NULL;
    CHECK(client_add(reg, &b, 2) == REG_OK);
    b.instance = "i";
    CHECK(client_redefine(reg, &b, 3) == REG_INSTANCE_TAKEN);
    CHECK(reg_increment_pending(reg, &id, &value) == REG_OK && value == 1);
    CHECK(reg_increment_pending(reg, &none, &value) == REG_NOT_FOUND);
    CHECK(reg_decrement_pending(reg, &id, &value, &after) == REG_OK && value == 0 &&
          after.flags == 0);
    CHECK(reg_decrement_pending(reg, &id, &value, &after) == REG_OK && value == 0 &&
          after.flags == REG_WAS_ZERO);
    CHECK(reg_increment_total(reg, &id, &total) == REG_OK && total == 1);
    CHECK(reg_update_latency(reg, &none, 1, &value) == REG_NOT_FOUND);
    CHECK(client_health(reg, "none", REG_HEALTHY, 1) == REG_NOT_FOUND &&
          client_health(reg, "a", REG_UNHEALTHY, 7) == REG_OK);
    CHECK(reg_has_url(reg, &url) == REG_OK && reg_contains(reg, &none) == REG_NOT_FOUND);
    reg_reader *reader = reg_read_begin();
    CHECK(object_of(reg_find_by_instance(reg, &instance))->number == 1);
    reg_read_end(reader);
    CHECK(reg_backend_count(reg) == 2 && reg_model_count(reg) == 2);
    CHECK(client_remove(reg, "none", NULL) == REG_NOT_FOUND);
    CHECK(client_remove(reg, "a", &last) == REG_OK && last.total == 1 &&
          last.health == REG_UNHEALTHY);
    CHECK(reg_has_url(reg, &url) == REG_OK && client_redefine(reg, &b, 4) == REG_OK);
    CHECK(client_remove(reg, "b", NULL) == REG_OK && reg_has_url(reg, &url) == REG_NOT_FOUND);
    CHECK(reg_backend_count(reg) == 0 && reg_model_count(reg) == 0);
    client_free(reg);
    return 24;
}

static long a_stale_redefinition_is_refused(void) {
    reg_registry *reg = reg_new(NULL);
    offer a = {.id = "a", .models = {"m"}};
    reg_view view, now;
    reg_key id = key_of("a");
    CHECK(client_add(reg, &a, 1) == REG_OK);
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &view) == REG_OK);
    reg_read_end(reader);
    CHECK(client_redefine(reg, &a, 2) == REG_OK);
    reg_edit change = {
        .kind = REG_UPDATED, .entry.id = id, .serial = view.serial, .expected = view.definition};
    reg_garbage *garbage;
    CHECK(reg_apply(reg, &change, 1, REG_ANY_FLEET, &garbage) == REG_CHANGED && garbage == NULL);
    CHECK(client_remove(reg, "a", NULL) == REG_OK && client_add(reg, &a, 3) == REG_OK);
    reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &now) == REG_OK && now.serial != view.serial);
    change.expected = now.definition;
    CHECK(reg_apply(reg, &change, 1, REG_ANY_FLEET, &garbage) == REG_CHANGED);
    change.expected = NULL;
    CHECK(reg_apply(reg, &change, 1, REG_ANY_FLEET, &garbage) == REG_NOT_FOUND);
    reg_read_end(reader);
    client_free(reg);
    return 2;
}

/* Backends join and leave a list at random, and the list is compared with plain flags. If a record
 * left a list and joined it again, it is in the array twice, once marked as removed. The model that
 * stays must be neither lost nor doubled. */
static long leaving_and_coming_back(void) {
    enum { COUNT = 6, ROUNDS = 5000 };
    reg_registry *reg = reg_new(NULL);
    char id[COUNT][4];
    bool in[COUNT] = {false};
    int numbers[COUNT];
    unsigned seed = 1;
    for (int i = 0; i < COUNT; i++) {
        snprintf(id[i], sizeof *id, "%d", i);
        CHECK(client_add(reg, &(offer){.id = id[i], .models = {"stays"}}, i) == REG_OK);
    }
    for (int round = 0; round < ROUNDS; round++) {
        int changed = rand_r(&seed) % COUNT;
        in[changed] = !in[changed];
        CHECK(client_redefine(
                  reg, &(offer){.id = id[changed], .models = {"stays", in[changed] ? "m" : NULL}},
                  changed) == REG_OK);
        CHECK(client_query(reg, "stays", NULL, 0) == COUNT);
        size_t count = client_query(reg, "m", numbers, COUNT), expected = 0;
        for (int i = 0; i < COUNT; i++)
            if (in[i]) CHECK(expected < count && numbers[expected++] == i);
        CHECK(count == expected);
    }
    client_free(reg);
    return ROUNDS;
}

static long a_bulk_form_counts_or_does_nothing(void) {
    reg_registry *reg = reg_new(NULL);
    offer a = {.id = "a"};
    CHECK(client_add(reg, &a, 1) == REG_OK);
    reg_key ids[] = {key_of("a"), key_of("a"), key_of("none")};
    uint32_t values[3], samples[] = {0, 100, 5};
    bool at_zero[3];
    reg_batch batch = {
        .ids = ids, .count = 3, .samples = samples, .values = values, .at_zero = at_zero};
    CHECK(reg_increment_pending_many(reg, &batch) == REG_NOT_FOUND && batch.unknown == 2 &&
          batch.applied == 0);
    batch.count = 2;
    CHECK(reg_increment_pending_many(reg, &batch) == REG_OK && values[0] == 1 && values[1] == 2);
    CHECK(reg_update_latency_many(reg, &batch) == REG_OK && values[0] == 0 && values[1] == 20);
    batch.count = 2;
    CHECK(reg_decrement_pending_many(reg, &batch) == REG_OK && values[1] == 0 && !at_zero[1]);
    CHECK(reg_decrement_pending_many(reg, &batch) == REG_OK && at_zero[0] && at_zero[1]);
    client_free(reg);
    return 5;
}

/* Writes until everything that was removed or replaced earlier has been collected. */
static void churn(reg_registry *reg) {
    for (int i = 0; i < EPOCH_BATCH_NODES; i++) {
        CHECK(client_add(reg, &(offer){.id = "other", .models = {"m"}}, i) == REG_OK);
        CHECK(client_remove(reg, "other", NULL) == REG_OK);
    }
}

static reg_kept *view_of(reg_registry *reg, const char *id, reg_view *view) {
    reg_key key = key_of(id);
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &key, view) == REG_OK);
    reg_kept *kept = reg_read_keep(reg, reader, 1);
    CHECK(kept != NULL);
    reg_read_end(reader);
    return kept;
}

/* The definition and the error of a view stay alive in all eight cases: the definition is replaced
 * or not, the registration is removed or not, and the registry is freed before the view or not.
 * During all of this, one of the backends has a lease. */
static long a_view_outlives_all_that_it_shows(void) {
    for (int way = 0; way < 8; way++) {
        reg_registry *reg = client_fleet(2, NULL);
        reg_lease lease;
        reg_view view;
        CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &lease) >= 0);
        CHECK(client_health(reg, "b1", REG_UNHEALTHY, 77) == REG_OK);
        reg_kept *kept = view_of(reg, "b1", &view);
        if (way & 1)
            CHECK(client_redefine(reg, &(offer){.id = "b1", .models = {"m"}}, 5) == REG_OK);
        CHECK(client_health(reg, "b1", REG_HEALTHY, -1) == REG_OK);
        if (way & 2)
            CHECK(client_remove(reg, "b1", NULL) == REG_OK &&
                  client_remove(reg, "b0", NULL) == REG_OK);
        churn(reg);
        CHECK(object_of(view.definition)->number == 1 && object_of(view.error)->number == 77);
        CHECK(client_return(&lease, NULL)); /* drops the last reference to a removed registration */
        churn(reg);
        CHECK(object_of(view.definition)->number == 1 && object_of(view.error)->number == 77);
        if (way & 4) reg_free(reg, object_release);
        CHECK(object_of(view.definition)->number == 1 && object_of(view.error)->number == 77);
        reg_keep_drop(kept, 1, object_release);
        if (!(way & 4)) reg_free(reg, object_release);
        CHECK(objects_alive == 0);
    }
    return 8;
}

/* Statuses change while one old view exists. The view keeps none of the later statuses alive. */
static long a_view_keeps_nothing_but_its_time(void) {
    reg_registry *reg = client_fleet(4, NULL);
    reg_view view;
    reg_kept *kept = view_of(reg, "b1", &view);
    churn(reg);
    long before = objects_alive;
    for (int i = 0; i < 5000; i++) CHECK(client_health(reg, "b2", REG_UNHEALTHY, i) == REG_OK);
    churn(reg);
    CHECK(objects_alive < before + EPOCH_BATCH_NODES);
    CHECK(object_of(view.definition)->number == 1);
    reg_keep_drop(kept, 1, object_release);
    client_free(reg);
    return 5000;
}

static long a_large_fleet(void) {
    enum { COUNT = 200000 };
    reg_registry *reg = reg_new(NULL);
    char id[16], url[24];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(id, sizeof id, "b%d", i);
            snprintf(url, sizeof url, "http://%d", i);
            CHECK(client_add(
                      reg,
                      &(offer){id, url, NULL, {"m", i % 2 ? "odd" : "even"}, .context_length = 1},
                      i) == REG_OK);
        }
        CHECK(client_query(reg, "m", NULL, 0) == COUNT &&
              client_query(reg, "odd", NULL, 0) == COUNT / 2);
        for (int i = 0; i < COUNT; i++) {
            snprintf(id, sizeof id, "b%d", (int)((long)i * 7919 % COUNT));
            CHECK(client_remove(reg, id, NULL) == REG_OK);
        }
        CHECK(reg_backend_count(reg) == 0 && client_query(reg, NULL, NULL, 0) == 0);
    }
    client_free(reg);
    return 4 * COUNT;
}

static long a_forked_child_works(void) {
    reg_registry *reg = reg_new(NULL);
    CHECK(client_add(reg, &(offer){.id = "a", .models = {"m"}}, 1) == REG_OK);
    pid_t child = fork();
    if (child == 0) {
        bool works = client_add(reg, &(offer){.id = "b", .models = {"m"}}, 2) == REG_OK &&
                     client_query(reg, "m", NULL, 0) == 2 &&
                     client_remove(reg, "a", NULL) == REG_OK && reg_backend_count(reg) == 1;
        _exit(works ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    client_free(reg);
    return 1;
}

static pthread_barrier_t reading, forked;

static void *read_for_long(void *unused) {
    reg_reader *reader = reg_read_begin();
    pthread_barrier_wait(&reading);
    pthread_barrier_wait(&forked);
    reg_read_end(reader);
    return unused;
}

/* The reading thread does not exist in the child, so it must not delay the reclamation of objects
 * that the child retires. */
static long a_forked_child_of_a_reading_thread(void) {
    reg_registry *reg = reg_new(NULL);
    pthread_t thread;
    client_query(reg, NULL, NULL, 0); /* this thread takes its slot before the other one does */
    pthread_barrier_init(&reading, NULL, 2);
    pthread_barrier_init(&forked, NULL, 2);
    CHECK(pthread_create(&thread, NULL, read_for_long, NULL) == 0);
    pthread_barrier_wait(&reading);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 500; i++)
            if (client_add(reg, &(offer){.id = "b"}, i) != REG_OK ||
                client_remove(reg, "b", NULL) != REG_OK)
                _exit(1);
        _exit(objects_alive < 500 ? 0 : 2);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    pthread_barrier_wait(&forked);
    CHECK(pthread_join(thread, NULL) == 0 && status == 0);
    client_free(reg);
    return 500;
}

const test registry_tests[] = {
    {"registry: statuses", statuses},
    {"registry: a stale redefinition is refused", a_stale_redefinition_is_refused},
    {"registry: leaving and coming back", leaving_and_coming_back},
    {"registry: bulk operations", a_bulk_form_counts_or_does_nothing},
    {"registry: a view outlives what it shows", a_view_outlives_all_that_it_shows},
    {"registry: a view keeps no later statuses", a_view_keeps_nothing_but_its_time},
    {"registry: a large fleet", a_large_fleet},
    {"registry: a forked child", a_forked_child_works},
    {"registry: a forked child of a reading thread", a_forked_child_of_a_reading_thread},
    {0}};
