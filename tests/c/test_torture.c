/* Readers and writers at the same time. Whatever a reader sees must be alive, complete, in order,
 * and true at one instant. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "check.h"
#include "client.h"

#ifndef TORTURE_ROUNDS
#define TORTURE_ROUNDS 20000
#endif
#define TORTURE_READS 20000

static reg_registry *reg;
static _Atomic bool stop;
static _Atomic long reads;

typedef void (*job)(unsigned *seed);

typedef struct worker {
    job job;
    unsigned seed;
    /* Repeat the job at least this often, and until the readers have read enough. 0: until
     * `stop`. */
    long rounds;
} worker;

static void *work(void *argument) {
    worker *w = argument;
    for (long i = 0; w->rounds == 0 ? !stop : i < w->rounds || reads < TORTURE_READS; i++) {
        w->job(&w->seed);
        if (w->rounds == 0) reads++;
    }
    return NULL;
}

/* Runs the writers for their rounds, and the readers until the writers are done. */
static long torture(job writer, int writers, job reader, int readers) {
    pthread_t threads[16];
    worker workers[16];
    stop = false;
    reads = 0;
    for (int i = 0; i < writers + readers; i++) {
        workers[i] = (worker){i < writers ? writer : reader, (unsigned)i + 1 + 16 * test_round,
                              i < writers ? TORTURE_ROUNDS : 0};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < writers + readers; i++) {
        if (i == writers) stop = true;
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    client_free(reg);
    return reads;
}

static const char *ids[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
static const char *models[] = {"m", "n", "o", "p", "q"};
static const char *instances[] = {NULL, "x", "y", "z"};

static offer any_offer(unsigned *seed) {
    offer o = {.id = ids[rand_r(seed) % 12],
               .url = models[rand_r(seed) % 3],
               .instance = instances[rand_r(seed) % 4]};
    int first = rand_r(seed) % 5, count = rand_r(seed) % 4;
    for (int i = 0; i < count; i++) o.models[i] = models[(first + i) % 5];
    o.context_length = (uint32_t)(rand_r(seed) % 2);
    return o;
}

static void write_anything(unsigned *seed) {
    offer o = any_offer(seed);
    int number = rand_r(seed) % 1000;
    switch (rand_r(seed) % 6) {
    case 0:
    case 1: client_add(reg, &o, number); break;
    case 2: client_remove(reg, o.id, NULL); break;
    case 3: client_health(reg, o.id, (reg_health)(number % 4), number); break;
    default: client_redefine(reg, &o, number);
    }
    if (number % 16 == 0) sched_yield();
}

/* A lease must survive whatever other threads do to its backend. */
static void hold_anything(unsigned *seed) {
    reg_request request =
        client_request(models[rand_r(seed) % 5], (reg_policy)(rand_r(seed) % REG_POLICY_COUNT));
    reg_lease lease;
    request.allow_unknown = true;
    client_select(reg, request);
    int number = client_acquire(reg, request, &lease);
    if (number < 0) return;
    if (rand_r(seed) % 8 == 0) sched_yield();
    /* The count may already be 0: read_anything may increment it for an earlier registration of the
     * id, and decrement it for the current one. */
    client_return(&lease, NULL);
}

static void read_anything(unsigned *seed) {
    reg_key id = key_of(ids[rand_r(seed) % 12]), instance = key_of(instances[1 + rand_r(seed) % 3]),
            url = key_of(models[0]);
    uint32_t value;
    uint64_t total;
    reg_aftermath after = {0};
    reg_view view;
    client_query(reg, NULL, NULL, 0);
    client_query(reg, models[rand_r(seed) % 5], NULL, 0);
    reg_reader *reader = reg_read_begin();
    if (reg_get(reg, &id, &view) == REG_OK) {
        if (rand_r(seed) % 8 == 0) sched_yield(); /* as if preempted inside its epoch */
        object_of(view.definition);
        if (view.error != NULL) CHECK(object_of(view.error)->number == view.checked_at);
    }
    void *found = reg_find_by_instance(reg, &instance);
    if (found != NULL) object_of(found);
    reg_read_end(reader);
    if (reg_increment_pending(reg, &id, &value) == REG_OK)
        reg_decrement_pending(reg, &id, &value, &after);
    reg_increment_total(reg, &id, &total);
    reg_update_latency(reg, &id, 5, &value);
    reg_has_url(reg, &url);
    hold_anything(seed);
    CHECK(reg_backend_count(reg) <= 12 && reg_model_count(reg) <= 5);
}

static long anything_goes(void) {
    reg = reg_new(NULL);
    return torture(write_anything, 4, read_anything, 4);
}

enum { FILLERS = 300 };

/* Backends between the first and the last one. They make a query long enough for writes to happen
 * during it. */
static void add_fillers(const char *model_id) {
    char id[16];
    for (int i = 0; i < FILLERS; i++) {
        snprintf(id, sizeof id, "filler-%d", i);
        CHECK(client_add(reg, &(offer){.id = id, .models = {model_id}}, 1) == REG_OK);
    }
}

/* At every instant one of two backends is healthy. */
static void swap_health(unsigned *seed) {
    const char *on = *seed % 2 ? "a" : "b", *off = *seed % 2 ? "b" : "a";
    CHECK(client_health(reg, on, REG_HEALTHY, -1) == REG_OK);
    CHECK(client_health(reg, off, REG_UNHEALTHY, 1) == REG_OK);
    ++*seed;
}

static void somebody_is_healthy(unsigned *seed) {
    (void)seed;
    reg_views views;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get_all(reg, true, &views) == REG_OK && views.count >= 1);
    reg_read_end(reader);
    reg_views_free(&views);
}

static long one_of_two_is_healthy(void) {
    reg = reg_new(NULL);
    CHECK(client_add(reg, &(offer){.id = "a"}, 1) == REG_OK);
    add_fillers(NULL);
    CHECK(client_add(reg, &(offer){.id = "b"}, 1) == REG_OK);
    CHECK(client_health(reg, "b", REG_HEALTHY, -1) == REG_OK);
    return torture(swap_health, 1, somebody_is_healthy, 4);
}

/* A model moves between two backends. At every instant one of the two serves it. */
static void move_model(unsigned *seed) {
    const char *to = *seed % 2 ? "a" : "b", *from = *seed % 2 ? "b" : "a";
    CHECK(client_redefine(reg, &(offer){.id = to, .models = {"m"}}, (int)*seed) == REG_OK);
    CHECK(client_redefine(reg, &(offer){.id = from}, (int)*seed) == REG_OK);
    ++*seed;
}

static void the_model_is_served(unsigned *seed) {
    (void)seed;
    size_t count = client_query(reg, "m", NULL, 0);
    CHECK(count == FILLERS + 1 || count == FILLERS + 2);
    CHECK(reg_model_count(reg) == 1);
}

static long a_model_moves(void) {
    reg = reg_new(NULL);
    CHECK(client_add(reg, &(offer){.id = "a"}, 1) == REG_OK);
    add_fillers("m");
    CHECK(client_add(reg, &(offer){.id = "b", .models = {"m"}}, 1) == REG_OK);
    return torture(move_model, 1, the_model_is_served, 4);
}

/* Every query finds a backend during the whole of its registration. */
static void come_and_go(unsigned *seed) {
    (void)seed;
    CHECK(client_add(reg, &(offer){"a", "http://a", "x", {"m"}, .context_length = 0}, 1) ==
              REG_OK &&
          client_remove(reg, "a", NULL) == REG_OK);
}

static void all_ways_agree(unsigned *seed) {
    (void)seed;
    reg_key id = key_of("a"), url = key_of("http://a"), instance = key_of("x");
    reg_view before, after;
    reg_reader *reader = reg_read_begin();
    reg_status first = reg_get(reg, &id, &before);
    reg_read_end(reader);
    bool seen = reg_contains(reg, &id) == REG_OK && reg_has_url(reg, &url) == REG_OK &&
                client_query(reg, NULL, NULL, 0) == 1 && client_query(reg, "m", NULL, 0) == 1 &&
                reg_backend_count(reg) == 1 && reg_model_count(reg) == 1;
    reader = reg_read_begin();
    seen = seen && reg_find_by_instance(reg, &instance) != NULL;
    reg_status last = reg_get(reg, &id, &after);
    reg_read_end(reader);
    if (first == REG_OK && last == REG_OK && before.serial == after.serial) CHECK(seen);
}

static long all_ways_of_asking_agree(void) {
    reg = reg_new(NULL);
    return torture(come_and_go, 1, all_ways_agree, 4);
}

static void count_up_and_down(unsigned *seed) {
    reg_key id = key_of(*seed % 2 ? "a" : "b");
    uint32_t value;
    uint64_t total;
    reg_aftermath after = {0};
    CHECK(reg_increment_pending(reg, &id, &value) == REG_OK && value >= 1);
    CHECK(reg_increment_total(reg, &id, &total) == REG_OK);
    CHECK(reg_decrement_pending(reg, &id, &value, &after) == REG_OK && after.flags == 0);
    ++*seed;
}

static void look(unsigned *seed) {
    (void)seed;
    client_query(reg, NULL, NULL, 0);
}

static long no_count_is_lost(void) {
    reg = reg_new(NULL);
    CHECK(client_add(reg, &(offer){.id = "a"}, 1) == REG_OK &&
          client_add(reg, &(offer){.id = "b"}, 1) == REG_OK);
    pthread_t threads[8];
    worker workers[8];
    reads = TORTURE_READS; /* no thread reads in this test */
    for (int i = 0; i < 8; i++) {
        workers[i] = (worker){count_up_and_down, (unsigned)i, TORTURE_ROUNDS};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    uint64_t total = 0;
    for (int i = 0; i < 2; i++) {
        reg_key id = key_of(ids[i]);
        reg_view view;
        reg_reader *reader = reg_read_begin();
        CHECK(reg_get(reg, &id, &view) == REG_OK && view.pending == 0);
        reg_read_end(reader);
        total += view.total;
    }
    CHECK(total == 8L * TORTURE_ROUNDS);
    look(NULL);
    client_free(reg);
    return 8L * TORTURE_ROUNDS;
}

const test torture_tests[] = {{"torture: anything goes", anything_goes},
                              {"torture: one of two is healthy", one_of_two_is_healthy},
                              {"torture: a model moves", a_model_moves},
                              {"torture: all ways of asking agree", all_ways_of_asking_agree},
                              {"torture: no count is lost", no_count_is_lost},
                              {0}};
