/* What failures decide, counted to the last one: the window, with threads; the weights of a slow
 * start; who is woken; and the end of a request without memory. test_availability.c has the
 * rules. */
#include <limits.h>
#include <pthread.h>

#include "base/memory.h"
#include "check.h"
#include "registry/layout.h"
#include "timed.h"

enum { THREADS = 8, EACH = 25, ALL = THREADS * EACH, ROUNDS = 30, WATCHES = 3 };

/* ---- a watch, and somebody who waits for it ---- */

typedef struct follower {
    reg_watch *watch;
    reg_waiter waiter;
    _Atomic int woken;
} follower;

static void open_all(reg_registry *reg, follower *f) {
    for (int i = 0; i < WATCHES; i++) {
        reg_views views;
        reg_kept *kept;
        f[i] = (follower){.waiter.object = &f[i]};
        CHECK(reg_watch_open(reg, 1 << 20, &f[i].watch, &views, &kept) == REG_OK);
        if (views.count != 0) reg_keep_drop(kept, views.count, object_release);
        reg_views_free(&views);
    }
}

static void close_all(follower *f) {
    for (int i = 0; i < WATCHES; i++) {
        reg_waiter *waiters;
        reg_garbage *garbage;
        reg_watch_forget(f[i].watch, &f[i].waiter);
        reg_watch_close(f[i].watch, &waiters, &garbage);
        reg_destroy(garbage, object_release);
        reg_watch_free(f[i].watch);
    }
}

static void listen_all(follower *f) {
    for (int i = 0; i < WATCHES; i++) {
        f[i].woken = 0;
        CHECK(reg_watch_listen(f[i].watch, &f[i].waiter));
    }
}

static void wake(reg_waiter *list) {
    while (list != NULL) {
        reg_waiter *next = list->next;
        ((follower *)list->object)->woken++;
        list = next;
    }
}

/* How many changes of availability are unread. There are no others. */
static int changes_of(follower *f) {
    for (int count = 0;; count++) {
        reg_change change;
        reg_views views;
        reg_garbage *garbage;
        reg_status status = reg_watch_take(f->watch, true, &change, &views, &garbage);
        reg_destroy(garbage, object_release);
        if (status == REG_NOT_FOUND) return count;
        CHECK(status == REG_OK && change.kind == REG_AVAILABILITY_CHANGED);
        reg_keep_drop(change.kept, (size_t)change.has_before + change.has_after, object_release);
    }
}

/* Everyone was woken so often, and finds so many changes. */
static void check_followers(follower *f, int times, int changes) {
    for (int i = 0; i < WATCHES; i++) {
        CHECK(f[i].woken == times);
        CHECK(changes_of(&f[i]) == changes);
    }
}

static bool is_ejected(reg_registry *reg) { return view_of(reg, "b0").unavailable == REG_EJECTED; }

/* ---- the window, with threads ---- */

static void halves_eject(reg_settings *s) {
    s->panic = -1;
    s->consecutive_failures = 0;
    s->failure_rate = 0.5;
    s->min_requests = 2 * ALL;
}

static void enough_failures_eject(reg_settings *s) {
    halves_eject(s);
    s->min_requests = ALL;
}

typedef struct crowd {
    fleet fleet;
    reg_outcome outcome;
    _Atomic int left; /* requests that still have to end */
    reg_lease *leases;
} crowd;

static void run_crowd(void *(*work)(void *), crowd *c) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, c) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Each request that counts has an abandoned one beside it, which does not. */
static void *use(void *shared) {
    crowd *c = shared;
    reg_lease lease;
    while (--c->left >= 0) {
        CHECK(acquire_on(c->fleet.reg, "b0", &lease, NULL) && finish(&lease, c->outcome, 0));
        CHECK(acquire_on(c->fleet.reg, "b0", &lease, NULL) && finish(&lease, REG_ABANDONED, 0));
    }
    return NULL;
}

static void use_together(crowd *c, reg_outcome outcome, int count) {
    c->outcome = outcome;
    c->left = count;
    run_crowd(use, c);
}

/* As many failures as successes eject, and one failure fewer does not: no outcome is lost, and none
 * counts twice. The bucket ends between the two, so its end is raced for. */
static long a_window_counts_exactly(void) {
    crowd c = {.fleet = new_fleet(3, halves_eject)};
    uint64_t failed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        reg_clock_advance(c.fleet.clock, 30 * SECOND); /* the last round is out of the window */
        use_together(&c, REG_SUCCEEDED, ALL);
        reg_clock_advance(c.fleet.clock, 10 * SECOND);
        use_together(&c, REG_FAILED, ALL - 1);
        failed += ALL;
        CHECK(!is_ejected(c.fleet.reg) && view_of(c.fleet.reg, "b0").failed == failed - 1);
        fail(c.fleet.reg, "b0", 1);
        reg_view view = view_of(c.fleet.reg, "b0");
        CHECK(view.unavailable == REG_EJECTED && view.pending == 0 && view.failed == failed);
        CHECK(view.total == (uint64_t)(round + 1) * (4 * ALL - 1));
        restore(c.fleet.reg, "b0");
    }
    free_fleet(c.fleet);
    return 2L * ROUNDS * ALL;
}

static void *fail_held(void *shared) {
    crowd *c = shared;
    for (int i; (i = --c->left) >= 0;) {
        reg_waiter *watchers;
        CHECK(finish_and_list(&c->leases[i], REG_FAILED, 0, &watchers));
        wake(watchers);
    }
    return NULL;
}

/* Many requests fail at the same time, and each of the last ones finds the window full of failures.
 * The backend is ejected once, for as long as a first ejection lasts, and everyone is told once. */
static long a_window_ejects_once(void) {
    enum { HELD = ALL + 3 * THREADS };
    static reg_lease leases[HELD];
    for (int round = 0; round < ROUNDS; round++) {
        crowd c = {.fleet = new_fleet(3, enough_failures_eject), .left = HELD, .leases = leases};
        follower followers[WATCHES];
        open_all(c.fleet.reg, followers);
        listen_all(followers);
        for (int i = 0; i < HELD; i++) CHECK(acquire_on(c.fleet.reg, "b0", &leases[i], NULL));
        run_crowd(fail_held, &c);
        reg_view view = view_of(c.fleet.reg, "b0");
        CHECK(view.unavailable == REG_EJECTED && view.unavailable_until == 30 * 1000000);
        CHECK(view.pending == 0 && view.failed == HELD && view.total == HELD);
        check_followers(followers, 1, 1);
        close_all(followers);
        restore(c.fleet.reg, "b0"); /* those that came too late do not count in the new window */
        use_together(&c, REG_FAILED, ALL - 1);
        CHECK(!is_ejected(c.fleet.reg));
        fail(c.fleet.reg, "b0", 1);
        CHECK(is_ejected(c.fleet.reg));
        free_fleet(c.fleet);
    }
    return (long)ROUNDS * HELD;
}

/* ---- slow start ---- */

static void starts_slowly(reg_settings *s) {
    s->panic = -1;
    s->slow_start = 30 * SECOND;
}

/* Of so many requests that are in flight together, how many b0 gets beside an equal backend. */
static int share_of_first(fleet f, int count) {
    enum { MOST = 200 };
    reg_lease leases[MOST];
    int first = 0;
    CHECK(count <= MOST);
    for (int i = 0; i < count; i++)
        first += client_acquire(f.reg, client_request("m", REG_LEAST_PENDING), &leases[i]) == 0;
    for (int i = 0; i < count; i++) CHECK(finish(&leases[i], REG_ABANDONED, 0));
    return first;
}

/* The share of b0 is that of `tenths` beside 10, up to one request. */
static void check_share(fleet f, int twentieths) {
    int expected = 8 * twentieths, first = share_of_first(f, expected / 2 + 80);
    CHECK(2 * first >= expected - 2 && 2 * first <= expected + 2);
}

/* A tenth, a half and a twentieth, the whole: after a trial, and after a health check. */
static long weights_grow_from_a_tenth(void) {
    fleet f = new_fleet(2, starts_slowly);
    for (int is_checked = 0; is_checked < 2; is_checked++) {
        if (is_checked) {
            CHECK(client_health(f.reg, "b0", REG_UNHEALTHY, -1) == REG_OK);
            CHECK(client_health(f.reg, "b0", REG_HEALTHY, -1) == REG_OK);
        } else {
            reg_lease trial;
            fail(f.reg, "b0", 3);
            reg_clock_advance(f.clock, 30 * SECOND);
            CHECK(acquire_on(f.reg, "b0", &trial, NULL) && finish(&trial, REG_SUCCEEDED, 0));
        }
        check_share(f, 2);
        reg_clock_advance(f.clock, 15 * SECOND);
        check_share(f, 11);
        reg_clock_advance(f.clock, 15 * SECOND);
        check_share(f, 20);
        reg_clock_advance(f.clock, 1000 * SECOND);
        check_share(f, 20);
    }
    free_fleet(f);
    return 8;
}

/* ---- who is woken ---- */

static void restore_and_wake(reg_registry *reg) {
    restore(reg, "b0");
    wake(reg_take_waiters(reg));
}

/* Ends a request on b0, and wakes whoever is to be woken. */
static void end_on(reg_registry *reg, reg_outcome outcome) {
    reg_lease lease;
    reg_waiter *watchers;
    CHECK(acquire_on(reg, "b0", &lease, NULL));
    CHECK(finish_and_list(&lease, outcome, SECOND, &watchers));
    wake(watchers);
}

static long each_transition_wakes_once(void) {
    fleet f = new_fleet(3, never_panics);
    follower followers[WATCHES];
    open_all(f.reg, followers);
    for (int round = 0; round < 10; round++) {
        listen_all(followers);
        for (int i = 0; i < 2; i++) end_on(f.reg, REG_FAILED);
        end_on(f.reg, REG_ABANDONED);
        for (int i = 0; i < WATCHES; i++) CHECK(followers[i].woken == 0);
        end_on(f.reg, REG_FAILED);
        check_followers(followers, 1, 1);
        listen_all(followers);
        reg_clock_advance(f.clock, 300 * SECOND); /* a deadline that passes is no change */
        if (round % 2 == 0)
            end_on(f.reg, REG_SUCCEEDED);
        else
            restore_and_wake(f.reg);
        check_followers(followers, 1, 1);
    }
    close_all(followers);
    free_fleet(f);
    return 20;
}

/* ---- without memory ---- */

static long allowed; /* how many more allocations succeed before one fails */
static bool count_down(void) { return allowed-- != 0; }

/* An ending or a write that may run out of memory. */
typedef struct scene {
    const char *name;
    void (*prepare)(fleet f);
    reg_outcome outcome;          /* of a request that was acquired before */
    reg_status (*write)(fleet f); /* instead of such a request */
    bool (*is_done)(fleet f);     /* whether it had its effect */
} scene;

static void shape_of_scenes(reg_settings *s) {
    starts_slowly(s);
    s->consecutive_failures = 1;
}

static void nothing(fleet f) { (void)f; }
static void eject_first(fleet f) {
    fail(f.reg, "b0", 1);
    reg_clock_advance(f.clock, 30 * SECOND);
}
static void let_a_slow_start_pass(fleet f) {
    CHECK(client_health(f.reg, "b0", REG_UNHEALTHY, -1) == REG_OK);
    CHECK(client_health(f.reg, "b0", REG_HEALTHY, -1) == REG_OK);
    reg_clock_advance(f.clock, 30 * SECOND);
}
static void eject_for_good(fleet f) { fail(f.reg, "b0", 1); }
static void make_unhealthy(fleet f) {
    CHECK(client_health(f.reg, "b0", REG_UNHEALTHY, -1) == REG_OK);
}

static reg_status cool_down_by_hand(fleet f) {
    reg_key key = key_of("b0");
    reg_garbage *garbage;
    reg_status status = reg_cool_down(f.reg, &key, 0, SECOND, &garbage);
    reg_destroy(garbage, object_release);
    return status;
}
static reg_status restore_by_hand(fleet f) {
    reg_key key = key_of("b0");
    reg_garbage *garbage;
    reg_status status = reg_restore(f.reg, &key, 0, &garbage);
    reg_destroy(garbage, object_release);
    return status;
}
static reg_status make_healthy(fleet f) { return client_health(f.reg, "b0", REG_HEALTHY, -1); }

static bool is_ejected_now(fleet f) { return is_ejected(f.reg); }
static bool is_cooling(fleet f) { return view_of(f.reg, "b0").unavailable == REG_COOLING_DOWN; }
static bool has_no_flag(fleet f) { return load_published(&f.reg->flagged) == 0; }
/* Not ejected, and not on trial: two requests at a time. */
static bool takes_requests(fleet f) {
    reg_lease first, second;
    if (!acquire_on(f.reg, "b0", &first, NULL)) return false;
    bool is_restored = acquire_on(f.reg, "b0", &second, NULL);
    if (is_restored) CHECK(finish(&second, REG_ABANDONED, 0));
    CHECK(finish(&first, REG_ABANDONED, 0));
    return is_restored;
}
static bool is_healthy(fleet f) { return view_of(f.reg, "b0").health == REG_HEALTHY; }

static const scene scenes[] = {
    {"a failure ejects", nothing, REG_FAILED, NULL, is_ejected_now},
    {"a trial ejects again", eject_first, REG_FAILED, NULL, is_ejected_now},
    {"a trial restores", eject_first, REG_SUCCEEDED, NULL, takes_requests},
    {"a server asks to be left alone", nothing, REG_BACK_OFF, NULL, is_cooling},
    {"a success clears what has passed", let_a_slow_start_pass, REG_SUCCEEDED, NULL, has_no_flag},
    {"cool_down", nothing, REG_SUCCEEDED, cool_down_by_hand, is_cooling},
    {"restore", eject_for_good, REG_SUCCEEDED, restore_by_hand, takes_requests},
    {"a health check", make_unhealthy, REG_SUCCEEDED, make_healthy, is_healthy},
};

/* Ends one request, or makes the write, with one allocation that fails after `n` others. Returns
 * whether there was one. */
static bool run_short(const scene *s, fleet f, long n) {
    reg_lease lease;
    reg_status status = REG_OK;
    if (s->write == NULL) CHECK(acquire_on(f.reg, "b0", &lease, NULL));
    reg_view before = view_of(f.reg, "b0");
    allowed = n;
    memory_set_gate(count_down);
    if (s->write != NULL)
        status = s->write(f);
    else
        CHECK(finish(&lease, s->outcome, SECOND));
    memory_set_gate(NULL);
    bool is_short = allowed < 0;
    reg_view after = view_of(f.reg, "b0");
    CHECK((status == REG_OK) == (s->write == NULL || !is_short));
    CHECK(after.pending == 0);
    CHECK(after.total == before.total + (s->write == NULL));
    CHECK(after.failed == before.failed + (s->write == NULL && s->outcome != REG_SUCCEEDED));
    CHECK(s->is_done(f) == !is_short);
    return is_short;
}

/* A request that ends without memory is counted, and it is no longer in flight. Only its effect is
 * missing, until the next one of its kind. A write without memory changes nothing. */
static long every_allocation_of_an_end_fails_once(void) {
    long failures = 0;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        const scene *s = &scenes[i];
        long n = 0;
        for (bool is_short = true; is_short; n++) {
            fleet f = new_fleet(3, shape_of_scenes);
            follower followers[WATCHES];
            s->prepare(f);
            open_all(f.reg, followers);
            is_short = run_short(s, f, n);
            failures += is_short;
            if (is_short) {
                for (int k = 0; k < WATCHES; k++) CHECK(changes_of(&followers[k]) == 0);
                CHECK(!run_short(s, f, LONG_MAX));
            }
            reg_clock_advance(f.clock, 1000 * SECOND);
            restore(f.reg, "b0");
            CHECK(takes_requests(f) && has_no_flag(f));
            close_all(followers);
            free_fleet(f);
        }
        CHECK(n > 1); /* it allocates something */
    }
    CHECK(failures >= 20);
    return failures;
}

static void two_trials(reg_settings *s) {
    shape_of_scenes(s);
    s->trials = 2;
}

/* A failed trial ends the row of successful ones, although there is no memory to eject again. */
static long a_row_of_trials_ends_without_memory(void) {
    fleet f = new_fleet(3, two_trials);
    reg_lease lease;
    eject_first(f);
    for (int round = 0; round < 3; round++) {
        CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
        CHECK(acquire_on(f.reg, "b0", &lease, NULL));
        allowed = 0;
        memory_set_gate(count_down);
        CHECK(finish(&lease, REG_FAILED, 0));
        memory_set_gate(NULL);
        CHECK(!takes_requests(f) && !is_ejected(f.reg)); /* still one trial at a time */
    }
    for (int i = 0; i < 2; i++)
        CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
    CHECK(takes_requests(f));
    free_fleet(f);
    return 3;
}

const test failure_tests[] = {
    {"failures: a window counts exactly", a_window_counts_exactly},
    {"failures: a window ejects once", a_window_ejects_once},
    {"failures: weights of a slow start", weights_grow_from_a_tenth},
    {"failures: each transition wakes once", each_transition_wakes_once},
    {"failures: every allocation fails once", every_allocation_of_an_end_fails_once},
    {"failures: a row of trials without memory", a_row_of_trials_ends_without_memory},
    {0}};
