/* Waiting until nothing is in flight: each wait ends when the count becomes 0, and never for a 0
 * that is older than the wait. */
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "client.h"

static reg_registry *reg;

static bool is_idle(const char *id, uint64_t serial) {
    reg_key key = key_of(id);
    bool idle = false;
    CHECK(reg_is_idle(reg, &key, serial, &idle) == REG_OK);
    return idle;
}

/* Returns whether the wait has begun, so that it is not idle. */
static bool begins(const char *id, reg_idle_waiter *w) {
    reg_key key = key_of(id);
    bool idle = false;
    *w = (reg_idle_waiter){0};
    CHECK(reg_wait_begin(reg, &key, 0, w, &idle) == REG_OK);
    return !idle;
}

static uint32_t up(const char *id) {
    reg_key key = key_of(id);
    uint32_t value;
    CHECK(reg_increment_pending(reg, &key, &value) == REG_OK);
    return value;
}

static reg_aftermath down(const char *id) {
    reg_key key = key_of(id);
    uint32_t value;
    reg_aftermath after = {0};
    CHECK(reg_decrement_pending(reg, &key, &value, &after) == REG_OK);
    return after;
}

static int count_of(const reg_waiter *list) {
    int count = 0;
    for (; list != NULL; list = list->next) count++;
    return count;
}

static long only_the_last_decrement_wakes(void) {
    reg = client_fleet(2, NULL);
    reg_idle_waiter first, second, other;
    CHECK(is_idle("b0", 0) && !begins("b0", &first) && !reg_wait_end(&first, object_release));
    up("b0"), up("b0"), up("b1");
    CHECK(!is_idle("b0", 0) && begins("b0", &first) && begins("b0", &second) &&
          begins("b1", &other));
    CHECK(down("b0").flags == 0);
    reg_aftermath after = down("b0");
    CHECK(after.flags == REG_HAS_WOKEN && count_of(after.woken) == 2 && is_idle("b0", 0));
    CHECK(!reg_wait_end(&first, object_release) && first.node.is_woken);
    CHECK(!reg_wait_end(&second, object_release) && second.node.is_woken);
    CHECK(down("b0").flags == REG_WAS_ZERO);
    up("b0");
    CHECK(down("b0").flags == 0); /* nobody waits any more */
    CHECK(reg_wait_end(&other, object_release) && !other.node.is_woken);
    CHECK(down("b1").flags == 0); /* given up */
    client_free(reg);
    return 3;
}

static long a_wait_can_begin_again(void) {
    reg = client_fleet(1, NULL);
    reg_idle_waiter w;
    up("b0");
    for (int i = 0; i < 3; i++) {
        CHECK(begins("b0", &w) && reg_wait_end(&w, object_release));
        CHECK(begins("b0", &w) && up("b0") == 2 && down("b0").flags == 0);
        CHECK(down("b0").woken == &w.node && !reg_wait_end(&w, object_release));
        up("b0");
    }
    client_free(reg);
    return 6;
}

static long a_serial_names_one_registration(void) {
    reg = client_fleet(1, NULL);
    reg_key id = key_of("b0"), unknown = key_of("no");
    bool idle;
    reg_view view;
    reg_idle_waiter w = {0};
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &view) == REG_OK);
    reg_read_end(reader);
    CHECK(is_idle("b0", view.serial));
    CHECK(reg_is_idle(reg, &id, view.serial + 1, &idle) == REG_NOT_FOUND &&
          reg_is_idle(reg, &unknown, 0, &idle) == REG_NOT_FOUND &&
          reg_wait_begin(reg, &id, view.serial + 1, &w, &idle) == REG_NOT_FOUND &&
          reg_wait_begin(reg, &unknown, 0, &w, &idle) == REG_NOT_FOUND);
    CHECK(reg_wait_end(&w, object_release) == false);
    client_free(reg);
    return 4;
}

/* A wait belongs to one registration. It ends with the last lease of that registration, after the
 * removal and the end of the registry. */
static long a_wait_outlives_its_registration(void) {
    reg = client_fleet(1, NULL);
    reg_idle_waiter w;
    reg_lease leases[2];
    for (int i = 0; i < 2; i++)
        CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &leases[i]) == 0);
    CHECK(begins("b0", &w));
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    CHECK(client_add(reg, &(offer){.id = "b0", .models = {"m"}}, 7) == REG_OK);
    up("b0");
    CHECK(down("b0").flags == 0);
    CHECK(client_return(&leases[0], NULL));
    reg_free(reg, object_release);
    reg_aftermath after = {0};
    CHECK(reg_lease_release(&leases[1], REG_FAILED, NULL, &after) && after.woken == &w.node);
    reg_lease_drop(&leases[1], object_release);
    CHECK(!reg_wait_end(&w, object_release) && w.node.is_woken && objects_alive == 0);
    return 2;
}

static long a_bulk_decrement_wakes(void) {
    reg = client_fleet(3, NULL);
    reg_idle_waiter waiters[3];
    reg_key ids[] = {key_of("b0"), key_of("b1"), key_of("b1"), key_of("b2")};
    uint32_t values[4];
    bool at_zero[4];
    reg_batch batch = {.ids = ids, .count = 4, .values = values, .at_zero = at_zero};
    up("b0"), up("b1"), up("b1"), up("b2"), up("b2");
    CHECK(begins("b0", &waiters[0]) && begins("b1", &waiters[1]) && begins("b2", &waiters[2]));
    CHECK(reg_decrement_pending_many(reg, &batch) == REG_OK && count_of(batch.woken) == 2);
    CHECK(!at_zero[0] && !at_zero[1] && !at_zero[2] && !at_zero[3]);
    CHECK(reg_wait_end(&waiters[2], object_release));
    CHECK(!reg_wait_end(&waiters[0], object_release) && !reg_wait_end(&waiters[1], object_release));
    CHECK(reg_decrement_pending_many(reg, &batch) == REG_OK && batch.woken == NULL);
    CHECK(at_zero[0] && at_zero[1] && at_zero[2] && !at_zero[3]);
    client_free(reg);
    return 4;
}

static long others_go_on_waiting(void) {
    enum { MANY = 200 };
    static reg_idle_waiter waiters[MANY];
    char id[16];
    reg = client_fleet(MANY, NULL);
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "b%d", i);
        up(id);
        CHECK(begins(id, &waiters[i]));
    }
    for (int i = 0; i < MANY; i += 2) {
        snprintf(id, sizeof id, "b%d", i);
        reg_aftermath after = down(id);
        CHECK(after.woken == &waiters[i].node && after.woken->next == NULL);
    }
    for (int i = 0; i < MANY; i++)
        CHECK(reg_wait_end(&waiters[i], object_release) == (i % 2 == 1) &&
              waiters[i].node.is_woken == (i % 2 == 0));
    client_free(reg);
    return MANY;
}

/* Otherwise a later registration could get the memory of the record, and wake the waiter. */
static long a_waiter_keeps_its_record(void) {
    reg = client_fleet(1, NULL);
    reg_idle_waiter w;
    up("b0");
    CHECK(begins("b0", &w));
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    while (client_stats(reg).waiting != 0) {
    }
    CHECK(client_stats(reg).kept == 1);
    CHECK(reg_wait_end(&w, object_release) && !w.node.is_woken);
    CHECK(client_stats(reg).kept == 0 && objects_alive == 0);
    client_free(reg);
    return 1;
}

/* ---- threads ---- */

enum { ROUNDS = 20000 };

static pthread_barrier_t barrier;
static _Atomic bool over, is_awake;

static void wake(reg_aftermath after) {
    CHECK((after.flags == REG_HAS_WOKEN) == (after.woken != NULL) && count_of(after.woken) <= 1);
    if (after.woken != NULL) is_awake = true;
}

static void *reach_zero(void *unused) {
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&barrier);
        for (volatile int delay = i / 8 % 64; delay > 0; delay--) {
        }
        wake(down("b0"));
        pthread_barrier_wait(&barrier);
    }
    return unused;
}

/* In each round one thread begins to wait, and another one takes the count to 0, once. Then the
 * waiter has seen the 0 or has been woken. */
static long no_wake_up_is_lost(void) {
    pthread_t thread;
    reg_idle_waiter w;
    reg = client_fleet(1, NULL);
    CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, reach_zero, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        is_awake = false;
        up("b0");
        pthread_barrier_wait(&barrier);
        for (volatile int delay = i % 64; delay > 0; delay--) {
        }
        bool waits = begins("b0", &w);
        bool gives_up = i % 4 == 0 && reg_wait_end(&w, object_release);
        pthread_barrier_wait(&barrier);
        CHECK(is_awake == (waits && !gives_up));
        if (!gives_up) CHECK(!reg_wait_end(&w, object_release) && w.node.is_woken == waits);
    }
    CHECK(pthread_join(thread, NULL) == 0 && pthread_barrier_destroy(&barrier) == 0);
    client_free(reg);
    return ROUNDS;
}

static void *go_up_and_down(void *unused) {
    while (!over) {
        up("b0");
        wake(down("b0"));
    }
    return unused;
}

/* Odd while a thread keeps the count above 0. */
static _Atomic uint64_t phase;

static void *hold_in_phases(void *unused) {
    while (!over) {
        up("b0");
        phase++;
        for (int i = 0; i < 4; i++) sched_yield();
        phase++;
        wake(down("b0"));
        sched_yield();
    }
    return unused;
}

/* Whoever begins to wait in an odd phase is not woken in the same phase: a 0 that was reached
 * before the wait does not end it. */
static long no_wake_up_is_false(void) {
    pthread_t holding, counting[2];
    reg_idle_waiter w;
    reg = client_fleet(1, NULL);
    over = false;
    phase = 0;
    CHECK(pthread_create(&holding, NULL, hold_in_phases, NULL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&counting[i], NULL, go_up_and_down, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        is_awake = false;
        uint64_t before = phase;
        bool waits = begins("b0", &w), gives_up = i % 2;
        if (gives_up) sched_yield();
        if (gives_up && reg_wait_end(&w, object_release)) continue;
        while (waits && !is_awake) sched_yield();
        CHECK(before % 2 == 0 || phase != before);
        if (!gives_up) CHECK(!reg_wait_end(&w, object_release));
    }
    over = true;
    CHECK(pthread_join(holding, NULL) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(counting[i], NULL) == 0);
    client_free(reg);
    return ROUNDS;
}

static void *begin_and_end(void *unused) {
    reg_idle_waiter w;
    while (!over) CHECK(begins("b0", &w) && reg_wait_end(&w, object_release));
    return unused;
}

/* The child can wait and be woken, whatever the other threads were doing. */
static long a_forked_child_can_wait(void) {
    enum { FORKS = 100 };
    pthread_t thread;
    reg_idle_waiter w;
    reg = client_fleet(2, NULL);
    over = false;
    up("b0"), up("b1");
    CHECK(begins("b1", &w));
    CHECK(pthread_create(&thread, NULL, begin_and_end, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            reg_idle_waiter own;
            alarm(10);
            bool works = begins("b1", &own) && count_of(down("b1").woken) == 2 &&
                         !reg_wait_end(&own, object_release);
            _exit(works ? 0 : 1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    over = true;
    CHECK(pthread_join(thread, NULL) == 0 && reg_wait_end(&w, object_release));
    client_free(reg);
    return FORKS;
}

const test idle_tests[] = {
    {"idle: only the last decrement wakes", only_the_last_decrement_wakes},
    {"idle: a wait can begin again", a_wait_can_begin_again},
    {"idle: a serial names one registration", a_serial_names_one_registration},
    {"idle: a wait outlives its registration", a_wait_outlives_its_registration},
    {"idle: a bulk decrement wakes", a_bulk_decrement_wakes},
    {"idle: others go on waiting", others_go_on_waiting},
    {"idle: a waiter keeps its record", a_waiter_keeps_its_record},
    {"idle: no wake-up is lost", no_wake_up_is_lost},
    {"idle: no wake-up is false", no_wake_up_is_false},
    {"idle: a forked child can wait", a_forked_child_can_wait},
    {0}};
