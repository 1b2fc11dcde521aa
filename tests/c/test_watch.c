/* Watches: each change once, in order, with its views; overflow, sleep, closing, lack of memory. */
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "check.h"
#include "client.h"

enum { PLENTY = 1 << 20 };

/* ---- a client of a watch ---- */

typedef struct client {
    reg_watch *watch;
    reg_views fleet; /* the snapshot */
    reg_kept *kept;
} client;

static void drop_fleet(client *c) {
    if (c->fleet.count != 0) reg_keep_drop(c->kept, c->fleet.count, object_release);
    reg_views_free(&c->fleet);
    c->fleet = (reg_views){0};
}

static client open_watch(reg_registry *reg, uint32_t limit) {
    client c = {0};
    CHECK(reg_watch_open(reg, limit, &c.watch, &c.fleet, &c.kept) == REG_OK);
    return c;
}

/* A waiter that counts how often it was woken. */
typedef struct sleeper {
    reg_waiter waiter;
    pthread_mutex_t lock;
    pthread_cond_t condition;
    int woken;
} sleeper;

static void sleeper_init(sleeper *s) {
    *s = (sleeper){.waiter.object = s};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->condition, NULL);
}

static void wake(reg_waiter *list) {
    while (list != NULL) {
        reg_waiter *next = list->next;
        sleeper *s = list->object;
        pthread_mutex_lock(&s->lock);
        s->woken++;
        pthread_cond_signal(&s->condition);
        pthread_mutex_unlock(&s->lock);
        list = next;
    }
}

static void sleep_until_woken(sleeper *s) {
    pthread_mutex_lock(&s->lock);
    while (s->woken == 0) pthread_cond_wait(&s->condition, &s->lock);
    s->woken = 0;
    pthread_mutex_unlock(&s->lock);
}

static void close_watch(client *c) {
    reg_waiter *waiters;
    reg_garbage *garbage;
    reg_watch_close(c->watch, &waiters, &garbage);
    reg_destroy(garbage, object_release);
    wake(waiters);
    drop_fleet(c);
}

static void end_watch(client *c) {
    close_watch(c);
    reg_watch_free(c->watch);
}

static reg_status take(client *c, reg_change *change) {
    reg_views fleet;
    reg_garbage *garbage;
    reg_status status = reg_watch_take(c->watch, false, change, &fleet, &garbage);
    if (status == REG_WOULD_BLOCK)
        status = reg_watch_take(c->watch, true, change, &fleet, &garbage);
    reg_destroy(garbage, object_release);
    if (status == REG_OK && change->kind == REG_OVERFLOWED) {
        drop_fleet(c);
        c->fleet = fleet;
        c->kept = change->kept;
    }
    return status;
}

static void drop_change(reg_change *change) {
    size_t views = (size_t)change->has_before + change->has_after;
    if (views != 0) reg_keep_drop(change->kept, views, object_release);
}

static int number_of(const reg_view *view) { return object_of(view->definition)->number; }

/* Takes the next change and checks its kind and the numbers of its definitions (-1: no view). */
static uint64_t expect(client *c, reg_change_kind kind, int before, int after) {
    reg_change change;
    CHECK(take(c, &change) == REG_OK);
    CHECK(change.kind == kind);
    CHECK((change.has_before ? number_of(&change.before) : -1) == before);
    CHECK((change.has_after ? number_of(&change.after) : -1) == after);
    drop_change(&change);
    return change.version;
}

static void expect_nothing(client *c) {
    reg_change change;
    CHECK(take(c, &change) == REG_NOT_FOUND);
}

static void expect_fleet(const client *c, size_t count) {
    CHECK(c->fleet.count == count);
    for (size_t i = 0; i < count; i++) CHECK(number_of(&c->fleet.items[i]) == (int)i);
}

/* ---- one thread ---- */

static void add(reg_registry *reg, const char *id, int number) {
    CHECK(client_add(reg, &(offer){.id = id, .models = {"m"}}, number) == REG_OK);
}

static long tells_every_change(void) {
    reg_registry *reg = client_fleet(2, NULL);
    client c = open_watch(reg, 8);
    expect_fleet(&c, 2);
    expect_nothing(&c);
    add(reg, "b2", 2);
    CHECK(client_health(reg, "b2", REG_UNHEALTHY, 7) == REG_OK);
    CHECK(client_redefine(reg, &(offer){.id = "b2", .models = {"n"}}, 3) == REG_OK);
    CHECK(client_remove(reg, "b2", NULL) == REG_OK);
    CHECK(client_remove(reg, "b2", NULL) == REG_NOT_FOUND);
    CHECK(client_health(reg, "b2", REG_HEALTHY, -1) == REG_NOT_FOUND);
    CHECK(client_add(reg, &(offer){.id = "b1", .models = {"m"}}, 9) == REG_DUPLICATE);
    uint64_t first = expect(&c, REG_ADDED, -1, 2);
    CHECK(reg_watch_is_ready(c.watch));
    reg_change change;
    CHECK(take(&c, &change) == REG_OK && change.kind == REG_STATUS_CHANGED);
    CHECK(change.version == first + 1);
    CHECK(change.before.health == REG_UNKNOWN && change.before.error == NULL);
    CHECK(change.after.health == REG_UNHEALTHY && object_of(change.after.error)->number == 7);
    CHECK(change.before.serial == change.after.serial);
    drop_change(&change);
    CHECK(expect(&c, REG_UPDATED, 2, 3) == first + 2);
    CHECK(expect(&c, REG_REMOVED, 3, -1) == first + 3);
    expect_nothing(&c);
    CHECK(!reg_watch_is_ready(c.watch));
    end_watch(&c);
    client_free(reg);
    return 7;
}

/* Unread events keep the objects of their views, and closing drops them. */
static long unread_changes_keep_their_objects(void) {
    reg_registry *reg = client_fleet(0, NULL);
    client c = open_watch(reg, PLENTY);
    for (int i = 0; i < 2000; i++) {
        add(reg, "x", i);
        CHECK(client_remove(reg, "x", NULL) == REG_OK);
    }
    for (int i = 0; i < 500; i++) {
        expect(&c, REG_ADDED, -1, i);
        expect(&c, REG_REMOVED, i, -1);
    }
    long alive = objects_alive;
    CHECK(alive > 1500);
    close_watch(&c);
    client_stats(reg);
    client_stats(reg);
    CHECK(objects_alive < 1000);
    expect_nothing(&c);
    reg_watch_free(c.watch);
    client_free(reg);
    return 4000;
}

static long overflows(void) {
    reg_registry *reg = client_fleet(1, NULL);
    client c = open_watch(reg, 3), other = open_watch(reg, 100);
    for (int i = 1; i < 4; i++) add(reg, (char[]){'b', (char)('0' + i), 0}, i);
    CHECK(expect(&c, REG_ADDED, -1, 1) == expect(&other, REG_ADDED, -1, 1));
    add(reg, "b4", 4); /* three are unread: not too many */
    for (int i = 2; i < 5; i++) expect(&c, REG_ADDED, -1, i);
    for (int i = 5; i < 9; i++) add(reg, (char[]){'b', (char)('0' + i), 0}, i); /* four are */
    add(reg, "b9", 9);
    long alive = objects_alive;
    reg_change change;
    CHECK(reg_watch_is_ready(c.watch));
    CHECK(take(&c, &change) == REG_OK && change.kind == REG_OVERFLOWED);
    CHECK(!change.has_before && !change.has_after);
    expect_fleet(&c, 10);
    expect_nothing(&c);
    add(reg, "b10", 10);
    CHECK(expect(&c, REG_ADDED, -1, 10) == change.version + 1);
    for (int i = 2; i < 11; i++) expect(&other, REG_ADDED, -1, i);
    CHECK(alive == objects_alive - 2); /* nothing but the object and the id of b10 */
    end_watch(&c);
    end_watch(&other);
    client_free(reg);
    return 10;
}

/* The producer drops what is unread: its objects are freed although nobody reads. */
static long who_does_not_read_keeps_nothing(void) {
    reg_registry *reg = client_fleet(0, NULL);
    client c = open_watch(reg, 1000);
    size_t before = client_stats(reg).bytes;
    for (int i = 0; i < 4000; i++) {
        add(reg, "x", i);
        CHECK(client_remove(reg, "x", NULL) == REG_OK);
    }
    client_stats(reg);
    reg_stats stats = client_stats(reg);
    CHECK(stats.kept < 600);
    CHECK(stats.bytes < before + (1 << 17));
    reg_change change;
    CHECK(take(&c, &change) == REG_OK && change.kind == REG_OVERFLOWED);
    expect_nothing(&c);
    end_watch(&c);
    client_free(reg);
    return 8000;
}

static long a_second_overflow_is_told_again(void) {
    reg_registry *reg = client_fleet(1, NULL);
    client c = open_watch(reg, 1);
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 1 + i % 5; k++)
            CHECK(client_health(reg, "b0", REG_HEALTHY, -1) == REG_OK);
        reg_change change;
        CHECK(take(&c, &change) == REG_OK);
        CHECK(change.kind == (i % 5 == 0 ? REG_STATUS_CHANGED : REG_OVERFLOWED));
        CHECK(change.version > last);
        last = change.version;
        drop_change(&change);
        expect_nothing(&c);
    }
    reg_watch_lag(c.watch);
    reg_change change;
    CHECK(take(&c, &change) == REG_OK && change.kind == REG_OVERFLOWED);
    CHECK(change.version == last);
    end_watch(&c);
    client_free(reg);
    return 100;
}

static long closing_wakes_and_ends(void) {
    reg_registry *reg = client_fleet(1, NULL);
    client c = open_watch(reg, 10), other = open_watch(reg, 10);
    sleeper s[3];
    for (int i = 0; i < 3; i++) sleeper_init(&s[i]);
    CHECK(reg_watch_listen(c.watch, &s[0].waiter));
    CHECK(reg_watch_listen(c.watch, &s[1].waiter));
    CHECK(reg_watch_listen(other.watch, &s[2].waiter));
    close_watch(&c);
    CHECK(s[0].woken == 1 && s[1].woken == 1 && s[2].woken == 0);
    CHECK(!reg_watch_forget(c.watch, &s[0].waiter));
    CHECK(reg_watch_is_closed(c.watch) && reg_watch_is_ready(c.watch));
    CHECK(!reg_watch_listen(c.watch, &s[0].waiter));
    close_watch(&c); /* again */
    CHECK(client_health(reg, "b0", REG_HEALTHY, -1) == REG_OK);
    expect_nothing(&c);
    wake(reg_take_waiters(reg));
    CHECK(s[2].woken == 1 && s[0].woken == 1);
    CHECK(!reg_watch_listen(other.watch, &s[2].waiter)); /* it has a change */
    CHECK(reg_take_waiters(reg) == NULL);
    expect(&other, REG_STATUS_CHANGED, 0, 0);
    CHECK(reg_watch_listen(other.watch, &s[2].waiter));
    CHECK(reg_watch_forget(other.watch, &s[2].waiter));
    CHECK(reg_take_waiters(reg) == NULL);
    end_watch(&other);
    reg_watch_free(c.watch);
    client_free(reg);
    return 3;
}

/* ---- lack of memory ---- */

static long allowed; /* how many more allocations succeed */
static bool count_down(void) { return allowed-- > 0; }

static reg_status add_b9(reg_registry *reg) {
    return client_add(reg, &(offer){.id = "b9", .models = {"m", "n"}}, 9);
}
static reg_status redefine_b9(reg_registry *reg) {
    return client_redefine(reg, &(offer){.id = "b9", .models = {"o", "m"}}, 10);
}
static reg_status check_b9(reg_registry *reg) { return client_health(reg, "b9", REG_HEALTHY, 5); }
static reg_status remove_b9(reg_registry *reg) { return client_remove(reg, "b9", NULL); }

/* A write whose allocation fails is not told, and one that succeeds is told once. */
static long writes_out_of_memory(void) {
    const struct {
        reg_status (*write)(reg_registry *reg);
        reg_change_kind kind;
        int before, after;
    } writes[] = {{add_b9, REG_ADDED, -1, 9},
                  {check_b9, REG_STATUS_CHANGED, 9, 9},
                  {redefine_b9, REG_UPDATED, 9, 10},
                  {remove_b9, REG_REMOVED, 10, -1}};
    long failures = 0;
    reg_registry *reg = client_fleet(3, NULL);
    client c[2] = {open_watch(reg, 10), open_watch(reg, 10)};
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        reg_status status = REG_NO_MEMORY;
        for (long n = 0; status != REG_OK; n++, failures++) {
            expect_nothing(&c[0]);
            allowed = n;
            memory_set_gate(count_down);
            status = writes[i].write(reg);
            memory_set_gate(NULL);
            CHECK(status == REG_OK || status == REG_NO_MEMORY);
        }
        for (int k = 0; k < 2; k++) {
            expect(&c[k], writes[i].kind, writes[i].before, writes[i].after);
            expect_nothing(&c[k]);
        }
    }
    for (int k = 0; k < 2; k++) end_watch(&c[k]);
    client_free(reg);
    return failures;
}

/* Opening, writing, and taking after an overflow: each allocation fails once. */
static long out_of_memory(void) {
    long failures = 0;
    reg_registry *reg = client_fleet(3, NULL);
    client c = {0};
    for (long n = 0;; n++, failures++) {
        allowed = n;
        memory_set_gate(count_down);
        reg_status status = reg_watch_open(reg, 2, &c.watch, &c.fleet, &c.kept);
        memory_set_gate(NULL);
        if (status == REG_OK) break;
        if (c.watch != NULL) end_watch(&c);
    }
    expect_fleet(&c, 3);
    for (int round = 0; round < 4; round++) {
        reg_status status = REG_NO_MEMORY;
        for (long n = 0; status != REG_OK; n++, failures++) {
            allowed = n;
            memory_set_gate(count_down);
            status = client_health(reg, "b1", REG_HEALTHY, -1);
            memory_set_gate(NULL);
        }
    }
    reg_change change;
    reg_status status = REG_NO_MEMORY;
    for (long n = 0; status != REG_OK; n++, failures++) {
        allowed = n;
        memory_set_gate(count_down);
        status = take(&c, &change);
        memory_set_gate(NULL);
        CHECK(status == REG_OK || status == REG_NO_MEMORY);
    }
    CHECK(change.kind == REG_OVERFLOWED);
    expect_fleet(&c, 3);
    expect_nothing(&c);
    CHECK(client_health(reg, "b1", REG_HEALTHY, -1) == REG_OK);
    CHECK(expect(&c, REG_STATUS_CHANGED, 1, 1) == change.version + 1);
    end_watch(&c);
    client_free(reg);
    return failures;
}

/* ---- fork ---- */

static long a_child_of_a_fork_has_no_watch(void) {
    reg_registry *reg = client_fleet(2, NULL);
    client c = open_watch(reg, 10);
    CHECK(client_health(reg, "b1", REG_HEALTHY, -1) == REG_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(reg_watch_is_closed(c.watch));
        expect_nothing(&c);
        CHECK(client_health(reg, "b1", REG_HEALTHY, -1) == REG_OK);
        client fresh = open_watch(reg, 10);
        add(reg, "b2", 2);
        expect(&fresh, REG_ADDED, -1, 2);
        end_watch(&fresh);
        end_watch(&c);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    expect(&c, REG_STATUS_CHANGED, 1, 1);
    end_watch(&c);
    client_free(reg);
    return 2;
}

/* ---- threads ---- */

enum { IDS = 6, WRITERS = 4, WRITES = 1500 };

/* What a consumer knows of each id: the number of its definition and its check time. */
typedef struct mirror {
    int number[IDS];
    int64_t checked_at[IDS];
    uint64_t serial[IDS];
} mirror;

static _Atomic int next_number;
static _Atomic bool writers_are_done;
static reg_registry *shared;

static int place_of(const reg_view *view) { return number_of(view) % IDS; }

static void mirror_set(mirror *m, const reg_view *view) {
    m->number[place_of(view)] = number_of(view);
    m->checked_at[place_of(view)] = view->checked_at;
    m->serial[place_of(view)] = view->serial;
}

static void mirror_fill(mirror *m, const reg_views *fleet) {
    memset(m, -1, sizeof *m);
    for (size_t i = 0; i < fleet->count; i++) mirror_set(m, &fleet->items[i]);
}

static void *write_randomly(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument + test_round * 7919u;
    for (int i = 0; i < WRITES; i++) {
        int place = (int)(rand_r(&seed) % IDS);
        char id[8];
        snprintf(id, sizeof id, "b%d", place);
        int number = ++next_number * IDS + place;
        switch (rand_r(&seed) % 4) {
        case 0: client_add(shared, &(offer){.id = id, .models = {"m"}}, number); break;
        case 1: client_remove(shared, id, NULL); break;
        case 2: client_redefine(shared, &(offer){.id = id, .models = {"m", "n"}}, number); break;
        default: client_health(shared, id, REG_HEALTHY, number);
        }
        wake(reg_take_waiters(shared));
    }
    return NULL;
}

/* Applies a change, and checks that it follows from what was known before. */
static void follow(mirror *m, const reg_change *change, uint64_t *version) {
    CHECK(change->version > *version);
    *version = change->version;
    int place = place_of(change->has_before ? &change->before : &change->after);
    CHECK(m->number[place] == (change->has_before ? number_of(&change->before) : -1));
    if (change->has_before) {
        CHECK(m->serial[place] == change->before.serial);
        CHECK(m->checked_at[place] == change->before.checked_at);
    }
    if (change->has_after) {
        mirror_set(m, &change->after);
    } else {
        m->number[place] = -1;
        m->serial[place] = (uint64_t)-1;
        m->checked_at[place] = -1;
    }
}

static void check_is_registry(const mirror *m) {
    mirror now;
    reg_views fleet;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get_all(shared, false, &fleet) == REG_OK);
    mirror_fill(&now, &fleet);
    reg_read_end(reader);
    reg_views_free(&fleet);
    CHECK(memcmp(m, &now, sizeof now) == 0);
}

/* Takes the next change; sleeps while there is none. False if the watch was closed, or if the
 * writers are done and nothing is left. */
static bool take_or_sleep(client *c, reg_change *change) {
    for (;;) {
        reg_status status = take(c, change);
        if (status == REG_OK) return true;
        CHECK(status == REG_NOT_FOUND);
        if (reg_watch_is_closed(c->watch)) return false;
        sleeper s;
        sleeper_init(&s);
        if (writers_are_done && !reg_watch_is_ready(c->watch)) return false;
        if (reg_watch_listen(c->watch, &s.waiter)) sleep_until_woken(&s);
    }
}

/* `limit` 2 makes the watch overflow all the time. */
static void *consume(void *limit) {
    client c = open_watch(shared, (uint32_t)(uintptr_t)limit);
    mirror m;
    mirror_fill(&m, &c.fleet);
    uint64_t version = 0;
    long changes = 0;
    reg_change change;
    while (take_or_sleep(&c, &change)) {
        changes++;
        if (change.kind == REG_OVERFLOWED) {
            CHECK(change.version >= version);
            version = change.version;
            mirror_fill(&m, &c.fleet);
            continue;
        }
        follow(&m, &change, &version);
        drop_change(&change);
    }
    check_is_registry(&m);
    end_watch(&c);
    return (void *)changes;
}

static long snapshot_and_changes_are_the_registry(void) {
    shared = client_fleet(0, NULL);
    writers_are_done = false;
    pthread_t writers[WRITERS], consumers[3];
    const uintptr_t limits[3] = {PLENTY, 2, 50};
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&consumers[i], NULL, consume, (void *)limits[i]) == 0);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&writers[i], NULL, write_randomly, (void *)(i + 1)) == 0);
    for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
    writers_are_done = true;
    wake(reg_take_waiters(shared)); /* consumers that sleep see that the writers are done */
    long changes = 0;
    for (int i = 0; i < 3; i++) {
        void *done;
        pthread_join(consumers[i], &done);
        changes += (long)done;
    }
    client_free(shared);
    return changes;
}

/* Several threads read one watch. Each change goes to exactly one of them, and every consumer sees
 * growing versions. */
enum { READERS = 4, STATUSES = 3000 };
static _Atomic int seen[STATUSES];
static _Atomic int taken_in_all;
static client many;

static void *consume_together(void *unused) {
    (void)unused;
    uint64_t version = 0;
    reg_change change;
    while (take_or_sleep(&many, &change)) {
        CHECK(change.kind == REG_STATUS_CHANGED && change.version > version);
        version = change.version;
        seen[change.after.checked_at]++;
        drop_change(&change);
        taken_in_all++;
    }
    return NULL;
}

static long each_change_goes_to_one_reader(void) {
    shared = client_fleet(1, NULL);
    many = open_watch(shared, PLENTY);
    writers_are_done = false;
    taken_in_all = 0;
    memset(seen, 0, sizeof seen);
    pthread_t readers[READERS];
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, consume_together, NULL) == 0);
    for (int i = 0; i < STATUSES; i++) {
        CHECK(client_health(shared, "b0", REG_HEALTHY, i) == REG_OK);
        wake(reg_take_waiters(shared));
    }
    while (taken_in_all != STATUSES) usleep(100); /* no wake-up was lost */
    close_watch(&many);
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
    for (int i = 0; i < STATUSES; i++) CHECK(seen[i] == 1);
    reg_watch_free(many.watch);
    client_free(shared);
    return STATUSES;
}

/* One writer and one consumer that waits for each change: a lost wake-up hangs. */
static void *consume_one_by_one(void *unused) {
    (void)unused;
    reg_change change;
    while (take_or_sleep(&many, &change)) {
        drop_change(&change);
        taken_in_all++;
    }
    return NULL;
}

static long no_wake_up_is_lost(void) {
    shared = client_fleet(1, NULL);
    many = open_watch(shared, 10);
    writers_are_done = false;
    taken_in_all = 0;
    pthread_t reader;
    CHECK(pthread_create(&reader, NULL, consume_one_by_one, NULL) == 0);
    for (int i = 0; i < 20000; i++) {
        CHECK(client_health(shared, "b0", REG_HEALTHY, -1) == REG_OK);
        wake(reg_take_waiters(shared));
        while (taken_in_all <= i) sched_yield();
    }
    close_watch(&many);
    pthread_join(reader, NULL);
    reg_watch_free(many.watch);
    client_free(shared);
    return 20000;
}

/* Watches come and go while writers write and while they overflow. */
static void *open_and_close(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 150; i++) {
        client c = open_watch(shared, 1 + rand_r(&seed) % 5);
        mirror m;
        mirror_fill(&m, &c.fleet);
        uint64_t version = 0;
        reg_change change;
        for (int k = 0; k < (int)(rand_r(&seed) % 20); k++) {
            if (take(&c, &change) != REG_OK) continue;
            if (change.kind == REG_OVERFLOWED)
                mirror_fill(&m, &c.fleet);
            else
                follow(&m, &change, &version);
            version = change.version;
            drop_change(&change);
        }
        end_watch(&c);
    }
    return NULL;
}

static long watches_come_and_go(void) {
    shared = client_fleet(0, NULL);
    pthread_t threads[6];
    for (uintptr_t i = 0; i < 6; i++)
        CHECK(pthread_create(&threads[i], NULL, i < 3 ? write_randomly : open_and_close,
                             (void *)(i + 10)) == 0);
    for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
    client_free(shared);
    return 450;
}

/* The process forks while threads write, and while others take changes and catch up. In the child
 * the watch is closed, and everything else works. */
static void *take_until_done(void *unused) {
    (void)unused;
    reg_change change;
    while (!writers_are_done) {
        reg_views fleet;
        reg_garbage *garbage;
        reg_status status = reg_watch_take(many.watch, true, &change, &fleet, &garbage);
        reg_destroy(garbage, object_release);
        if (status != REG_OK) continue;
        if (fleet.count != 0) reg_keep_drop(change.kept, fleet.count, object_release);
        reg_views_free(&fleet);
        drop_change(&change);
    }
    return NULL;
}

static void *write_until_done(void *argument) {
    while (!writers_are_done) write_randomly(argument);
    return NULL;
}

static long forks_meanwhile(void) {
    shared = client_fleet(0, NULL);
    many = open_watch(shared, 3);
    writers_are_done = false;
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, i < 2 ? write_until_done : take_until_done,
                             (void *)(i + 20)) == 0);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK(reg_watch_is_closed(many.watch));
            expect_nothing(&many);
            client fresh = open_watch(shared, 10);
            add(shared, "child", 0);
            expect(&fresh, REG_ADDED, -1, 0);
            end_watch(&fresh);
            end_watch(&many);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    writers_are_done = true;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    end_watch(&many);
    client_free(shared);
    return 20;
}

const test watch_tests[] = {
    {"watch: tells every change", tells_every_change},
    {"watch: unread changes keep their objects", unread_changes_keep_their_objects},
    {"watch: overflows", overflows},
    {"watch: who does not read keeps nothing", who_does_not_read_keeps_nothing},
    {"watch: a second overflow is told again", a_second_overflow_is_told_again},
    {"watch: closing wakes and ends", closing_wakes_and_ends},
    {"watch: out of memory", out_of_memory},
    {"watch: writes out of memory", writes_out_of_memory},
    {"watch: a child of a fork has none", a_child_of_a_fork_has_no_watch},
    {"watch: snapshot and changes are the registry", snapshot_and_changes_are_the_registry},
    {"watch: each change goes to one reader", each_change_goes_to_one_reader},
    {"watch: no wake-up is lost", no_wake_up_is_lost},
    {"watch: watches come and go", watches_come_and_go},
    {"watch: forks meanwhile", forks_meanwhile},
    {0}};
