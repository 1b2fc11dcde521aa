/* Nodes that wait for reclamation are counted with the objects that they own. They are freed even
 * if their registry is gone, or if it is seldom written to. */
#include <pthread.h>
#include <time.h>

#include "check.h"
#include "client.h"
#include "reclaim/epoch.h"
#include "reclaim/orphans.h"

static pthread_barrier_t barrier;

static void *stall(void *unused) {
    reg_reader *reader = reg_read_begin();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    reg_read_end(reader);
    return unused;
}

static pthread_t stalled;

static void begin_stall(void) {
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK(pthread_create(&stalled, NULL, stall, NULL) == 0);
    pthread_barrier_wait(&barrier);
}

static void end_stall(void) {
    pthread_barrier_wait(&barrier);
    CHECK(pthread_join(stalled, NULL) == 0);
    pthread_barrier_destroy(&barrier);
}

/* A registry is destroyed during another thread's read. Once the read has ended, the next write of
 * any registry frees the remaining objects. */
static long a_later_write_frees_orphans(void) {
    enum { COUNT = 500 };
    reg_registry *other = client_fleet(1, NULL);
    long before = objects_alive;
    reg_registry *reg = client_fleet(COUNT, NULL);
    begin_stall();
    reg_free(reg, object_release);
    CHECK(objects_alive >= before + COUNT && orphans_are_waiting());
    CHECK(client_health(other, "b0", REG_HEALTHY, -1) == REG_OK);
    CHECK(objects_alive >= before + COUNT);
    end_stall();
    CHECK(client_health(other, "b0", REG_HEALTHY, -1) == REG_OK);
    CHECK(objects_alive <= before && !orphans_are_waiting());
    client_free(other);
    return COUNT;
}

/* As above, but with a view of the destroyed registry. The view keeps its objects alive; the other
 * objects are freed. */
static long views_outlive_their_registry(void) {
    reg_registry *other = client_fleet(1, NULL);
    long before = objects_alive;
    reg_registry *reg = client_fleet(50, NULL);
    reg_key key = key_of("b7");
    reg_view view;
    begin_stall();
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &key, &view) == REG_OK);
    reg_kept *kept = reg_read_keep(reg, reader, 1);
    reg_read_end(reader);
    reg_free(reg, object_release);
    end_stall();
    CHECK(client_health(other, "b0", REG_HEALTHY, -1) == REG_OK && !orphans_are_waiting());
    CHECK(object_of(view.definition)->number == 7);
    reg_keep_drop(kept, 1, object_release);
    CHECK(objects_alive == before);
    client_free(other);
    return 50;
}

enum { LARGE = 1 << 20 };

static reg_status fail(reg_registry *reg, const char *id, size_t bytes) {
    reg_key key = key_of(id);
    reg_garbage *garbage;
    reg_status status =
        reg_update_health(reg, &key, 0, REG_UNHEALTHY, 1, object_new(1), bytes, &garbage);
    reg_destroy(garbage, object_release);
    return status;
}

/* A few large objects are enough for a batch. */
static long large_objects_are_freed_at_once(void) {
    reg_registry *reg = client_fleet(4, NULL);
    for (int i = 0; i < 20; i++) {
        CHECK(fail(reg, "b1", LARGE) == REG_OK);
        CHECK(client_stats(reg).waiting_bytes < LARGE);
    }
    begin_stall();
    for (int i = 0; i < 20; i++) CHECK(fail(reg, "b1", LARGE) == REG_OK);
    reg_stats stats = client_stats(reg);
    CHECK(stats.waiting_bytes > 19 * (size_t)LARGE && stats.bytes > stats.waiting_bytes);
    end_stall();
    for (int i = 0; i < EPOCH_CHECK_EVERY; i++)
        CHECK(client_health(reg, "b2", REG_HEALTHY, -1) == REG_OK);
    CHECK(client_stats(reg).waiting_bytes < LARGE);
    client_free(reg);
    return 40;
}

/* The limit on what a stalled reader holds back counts bytes, not nodes. */
static long large_objects_crowd_the_limbo(void) {
    reg_registry *reg = client_fleet(2, NULL);
    begin_stall();
    size_t most = EPOCH_MAX_WAITING / LARGE + 2, i = 0;
    reg_status status = REG_OK;
    reg_key key = key_of("b1");
    for (; status == REG_OK && i < most; i++) {
        reg_garbage *garbage;
        object *error = object_new(1);
        status = reg_update_health(reg, &key, 0, REG_UNHEALTHY, 1, error, LARGE, &garbage);
        if (status != REG_OK) object_release(error);
        reg_destroy(garbage, object_release);
    }
    CHECK(status == REG_NO_MEMORY && i > EPOCH_MAX_WAITING / LARGE - 2);
    end_stall();
    CHECK(fail(reg, "b1", LARGE) == REG_OK);
    client_free(reg);
    return (long)i;
}

/* A call of reg_get_stats collects garbage. */
static long stats_collect_garbage(void) {
    reg_registry *reg = client_fleet(4, NULL);
    for (int i = 0; i < 20; i++) CHECK(client_health(reg, "b1", REG_UNHEALTHY, i) == REG_OK);
    CHECK(client_stats(reg).waiting > 0);
    CHECK(client_stats(reg).waiting == 0);
    client_free(reg);
    return 20;
}

/* A write after a pause collects what earlier writes have retired. */
static long writes_after_a_pause_collect(void) {
    reg_registry *reg = client_fleet(4, NULL);
    for (int i = 0; i < 20; i++) CHECK(client_health(reg, "b1", REG_UNHEALTHY, i) == REG_OK);
    struct timespec pause = {.tv_nsec = 2 * EPOCH_QUIET_MILLISECONDS * 1000000L};
    nanosleep(&pause, NULL);
    for (int i = 0; i < EPOCH_CHECK_EVERY; i++)
        CHECK(client_health(reg, "b1", REG_HEALTHY, -1) == REG_OK);
    CHECK(client_stats(reg).waiting < EPOCH_CHECK_EVERY);
    client_free(reg);
    return 28;
}

const test orphan_tests[] = {
    {"orphans: a later write frees them", a_later_write_frees_orphans},
    {"orphans: views outlive their registry", views_outlive_their_registry},
    {"waiting: large objects are freed at once", large_objects_are_freed_at_once},
    {"waiting: large objects crowd the limbo", large_objects_crowd_the_limbo},
    {"waiting: writes after a pause collect", writes_after_a_pause_collect},
    {"waiting: stats collect garbage", stats_collect_garbage},
    {0}};
