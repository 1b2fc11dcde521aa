/* Ejections, trials, cool-downs and slow starts: each on a clock that is moved by hand, and then
 * with threads that fail, try, restore, remove and free at the same time. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "registry/locks.h"
#include "timed.h"

enum { THREADS = 8 };

static void starts_slowly(reg_settings *s) {
    s->panic = -1;
    s->slow_start = 30 * SECOND;
}

static void judges_rates(reg_settings *s) {
    s->panic = -1;
    s->consecutive_failures = 0;
    s->failure_rate = 0.5;
    s->min_requests = 4;
}

/* ---- one thread ---- */

static long a_row_ejects(void) {
    fleet f = new_fleet(3, never_panics);
    reg_lease late, lease;
    reg_reason reason = REG_ELIGIBLE;
    CHECK(acquire_on(f.reg, "b0", &late, NULL));
    fail(f.reg, "b0", 2);
    CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
    fail(f.reg, "b0", 2);
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE);
    fail(f.reg, "b0", 1);
    reg_view view = view_of(f.reg, "b0");
    CHECK(view.unavailable == REG_EJECTED && view.unavailable_until == 30 * 1000000);
    CHECK(view.failed == 5 && view.total == 6 && view.pending == 1);
    CHECK(!acquire_on(f.reg, "b0", &lease, &reason) && reason == REG_EJECTED);
    reg_clock_advance(f.clock, 30 * SECOND);
    CHECK(finish(&late, REG_FAILED, 0)); /* it started before the ejection, so it ejects nobody */
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE);
    free_fleet(f);
    return 6;
}

static long a_trial_is_alone(void) {
    fleet f = new_fleet(3, never_panics);
    reg_lease trial, lease;
    reg_reason reason = REG_ELIGIBLE;
    for (uint64_t time = 30; time <= 300; time *= 2) { /* each failed trial ejects for longer */
        fail(f.reg, "b0", time == 30 ? 3 : 1);
        CHECK(view_of(f.reg, "b0").unavailable == REG_EJECTED);
        reg_clock_advance(f.clock, time * SECOND - 1);
        CHECK(!acquire_on(f.reg, "b0", &lease, &reason) && reason == REG_EJECTED);
        reg_clock_advance(f.clock, 1);
        for (int i = 0; i < 3; i++) { /* abandoned trials decide nothing */
            CHECK(acquire_on(f.reg, "b0", &trial, NULL));
            CHECK(view_of(f.reg, "b0").unavailable == REG_ON_TRIAL);
            CHECK(!acquire_on(f.reg, "b0", &lease, &reason) && reason == REG_ON_TRIAL);
            CHECK(finish(&trial, REG_ABANDONED, 0));
        }
    }
    CHECK(acquire_on(f.reg, "b0", &trial, NULL));
    restore(f.reg, "b0"); /* the trial becomes an ordinary request */
    fail(f.reg, "b0", 3);
    reg_clock_advance(f.clock, 300 * SECOND);
    CHECK(acquire_on(f.reg, "b0", &lease, NULL)); /* although the old one is still out */
    CHECK(finish(&trial, REG_SUCCEEDED, 0));
    CHECK(view_of(f.reg, "b0").unavailable == REG_ON_TRIAL); /* it gave back no place but its own */
    CHECK(finish(&lease, REG_SUCCEEDED, 0));
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE);
    fail(f.reg, "b0", 2);
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE);
    free_fleet(f);
    return 20;
}

static long rates_are_those_of_the_window(void) {
    fleet f = new_fleet(3, judges_rates);
    reg_lease lease;
    reg_clock_advance(f.clock, 1000 * SECOND);
    for (int i = 0; i < 8; i++)
        CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
    reg_clock_advance(f.clock, 5 * SECOND);
    fail(f.reg, "b0", 7);
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE); /* 7 of 15 */
    fail(f.reg, "b0", 1);
    CHECK(view_of(f.reg, "b0").unavailable == REG_EJECTED); /* 8 of 16 */
    restore(f.reg, "b0");
    for (int i = 0; i < 8; i++)
        CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
    reg_clock_advance(f.clock, 20 * SECOND); /* these are out of every window by now */
    fail(f.reg, "b0", 3);
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE); /* only 3 outcomes */
    fail(f.reg, "b0", 1);
    CHECK(view_of(f.reg, "b0").unavailable == REG_EJECTED);
    free_fleet(f);
    return 4;
}

static long panic_counts_who_is_left(void) {
    fleet f = new_fleet(3, NULL);
    reg_lease lease;
    int count[3] = {0};
    fail(f.reg, "b0", 3);
    fail(f.reg, "b1", 3);
    for (int i = 0; i < 30; i++) {
        int number = client_acquire(f.reg, client_request("m", REG_ROUND_ROBIN), &lease);
        CHECK(number == 2 && finish(&lease, REG_SUCCEEDED, 0));
    }
    fail(f.reg, "b2", 3); /* now nobody is left, so all are */
    for (int i = 0; i < 30; i++) {
        int number = client_acquire(f.reg, client_request("m", REG_ROUND_ROBIN), &lease);
        CHECK(number >= 0);
        count[number]++;
        CHECK(finish(&lease, REG_ABANDONED, 0));
    }
    CHECK(count[0] == 10 && count[1] == 10 && count[2] == 10);
    free_fleet(f);
    return 61;
}

static long one_full_of_tokens_is_left(void) {
    fleet f = new_fleet(2, NULL);
    reg_lease lease, other;
    reg_reason reason = REG_ELIGIBLE;
    offer o = {.id = "b1", .models = {"m"}, .context_length = 8192, .max_pending_tokens = 10};
    CHECK(client_redefine(f.reg, &o, 1) == REG_OK);
    fail(f.reg, "b0", 3);
    reg_request request = client_request("m", REG_LEAST_PENDING);
    request.tokens = 11;
    CHECK(client_acquire(f.reg, request, &lease) == 1);
    CHECK(client_acquire(f.reg, client_request("m", REG_LEAST_PENDING), &other) == -1);
    CHECK(!acquire_on(f.reg, "b1", &other, &reason) && reason == REG_FULL);
    CHECK(finish(&lease, REG_SUCCEEDED, 0));
    free_fleet(f);
    return 3;
}

static long a_cool_down_only_moves_later(void) {
    fleet f = new_fleet(2, NULL);
    reg_lease lease;
    reg_reason reason = REG_ELIGIBLE;
    reg_key key = key_of("b0");
    reg_garbage *garbage;
    CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_BACK_OFF, 20 * SECOND));
    CHECK(reg_cool_down(f.reg, &key, 0, 10 * SECOND, &garbage) == REG_OK);
    reg_destroy(garbage, object_release);
    reg_clock_advance(f.clock, 20 * SECOND - 1);
    CHECK(!acquire_on(f.reg, "b0", &lease, &reason) && reason == REG_COOLING_DOWN);
    CHECK(view_of(f.reg, "b0").failed == 1);
    reg_clock_advance(f.clock, 1);
    CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
    free_fleet(f);
    return 4;
}

static long a_slow_start_grows(void) {
    fleet f = new_fleet(2, starts_slowly);
    reg_lease leases[200];
    CHECK(client_health(f.reg, "b0", REG_UNHEALTHY, -1) == REG_OK);
    CHECK(client_health(f.reg, "b0", REG_HEALTHY, -1) == REG_OK);
    for (int part = 1; part <= 10; part++) { /* tenths of the weight */
        int first = 0, total = 11 * (10 + part);
        for (int i = 0; i < total / 10; i++) {
            int number = client_acquire(f.reg, client_request("m", REG_LEAST_PENDING), &leases[i]);
            first += number == 0;
        }
        CHECK(first * (10 + part) >= (total / 10 - 11) * part);
        CHECK(first * (10 + part) <= (total / 10 + 22) * part);
        for (int i = 0; i < total / 10; i++) CHECK(finish(&leases[i], REG_ABANDONED, 0));
        reg_clock_advance(f.clock, 30 * SECOND / 9);
    }
    free_fleet(f);
    return 10;
}

static long a_lease_settles_after_its_registry(void) {
    fleet f = new_fleet(3, NULL);
    reg_lease leases[4];
    for (int i = 0; i < 4; i++) CHECK(acquire_on(f.reg, "b0", &leases[i], NULL));
    reg_free(f.reg, object_release);
    reg_clock_drop(f.clock);
    for (int i = 0; i < 4; i++)
        CHECK(finish(&leases[i], i == 3 ? REG_BACK_OFF : REG_FAILED, SECOND));
    CHECK(objects_alive == 0);
    return 4;
}

/* Does the first part of a failing release, and expects that a second part must follow. */
static void fail_first_part(reg_lease *lease, reg_aftermath *after) {
    *after = (reg_aftermath){0};
    CHECK(reg_lease_release(lease, REG_FAILED, NULL, after));
    CHECK(after->flags == REG_MUST_SETTLE);
}

static void fail_second_part(reg_lease *lease, reg_aftermath *after) {
    reg_waiter *watchers;
    reg_garbage *garbage;
    reg_lease_settle(lease, REG_FAILED, 0, after, &watchers, &garbage);
    CHECK(after->flags == 0 && watchers == NULL);
    reg_destroy(garbage, object_release);
    reg_lease_drop(lease, object_release);
}

/* A failure was about to eject again, but the backend is restored first. It is then one failure of
 * three, and ejects nobody. */
static long a_restored_backend_needs_a_whole_row(void) {
    fleet f = new_fleet(1, NULL); /* alone, so its requests are no trials */
    reg_lease failing, succeeding;
    reg_aftermath after;
    for (int by_hand = 0; by_hand < 2; by_hand++) {
        fail(f.reg, "b0", 3);
        reg_clock_advance(f.clock, 300 * SECOND);
        CHECK(acquire_on(f.reg, "b0", &failing, NULL) &&
              acquire_on(f.reg, "b0", &succeeding, NULL));
        fail_first_part(&failing, &after);
        if (by_hand) restore(f.reg, "b0");
        CHECK(finish(&succeeding, by_hand ? REG_ABANDONED : REG_SUCCEEDED, 0));
        fail_second_part(&failing, &after);
        fail(f.reg, "b0", 1);
        CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE);
        fail(f.reg, "b0", 1);
        CHECK(view_of(f.reg, "b0").unavailable == REG_EJECTED);
        restore(f.reg, "b0");
    }
    free_fleet(f);
    return 2;
}

/* Two failures were about to end the same row. The second one meets an ejection that is newer than
 * its request, and changes nothing, although the time of that ejection is over. */
static long a_row_ends_once(void) {
    fleet f = new_fleet(1, NULL);
    reg_lease first, second, late[3];
    reg_aftermath after[2];
    for (int i = 0; i < 3; i++) CHECK(acquire_on(f.reg, "b0", &late[i], NULL));
    fail(f.reg, "b0", 2);
    CHECK(acquire_on(f.reg, "b0", &first, NULL) && acquire_on(f.reg, "b0", &second, NULL));
    fail_first_part(&first, &after[0]);
    fail_first_part(&second, &after[1]);
    fail_second_part(&first, &after[0]);
    reg_clock_advance(f.clock, 30 * SECOND);
    fail_second_part(&second, &after[1]);
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE);
    restore(f.reg, "b0");
    for (int i = 0; i < 3; i++)
        CHECK(finish(&late[i], REG_FAILED, 0)); /* too old for the new row */
    fail(f.reg, "b0", 2);
    CHECK(view_of(f.reg, "b0").unavailable == REG_ELIGIBLE);
    free_fleet(f);
    return 2;
}

static void panics_at_29_percent(reg_settings *s) {
    s->panic = 0.29;
    s->consecutive_failures = 1;
}

/* 29 of 100 are at most a share of 0.29, although 0.29 * 100 is below 29. */
static long a_share_is_not_rounded(void) {
    enum { ALL = 100 };
    fleet f = new_fleet(ALL, panics_at_29_percent);
    reg_lease leases[ALL];
    bool is_taken[ALL] = {false};
    for (int i = 0; i < ALL - 29; i++) {
        CHECK(client_acquire(f.reg, client_request("m", REG_LEAST_PENDING), &leases[i]) >= 0);
        CHECK(finish(&leases[i], REG_FAILED, 0));
    }
    for (int i = 0; i < ALL; i++) { /* ejections are ignored, so all get one */
        int n = client_acquire(f.reg, client_request("m", REG_LEAST_PENDING), &leases[i]);
        CHECK(n >= 0 && !is_taken[n]);
        is_taken[n] = true;
    }
    for (int i = 0; i < ALL; i++) CHECK(finish(&leases[i], REG_ABANDONED, 0));
    free_fleet(f);
    return ALL;
}

/* ---- threads ---- */

typedef struct storm {
    fleet fleet;
    _Atomic int out;     /* trials that are out now */
    _Atomic long trials; /* in all */
    _Atomic long failures;
    _Atomic bool is_over;
    uint32_t rounds;
} storm;

static void run_threads(void *(*work)(void *), storm *s, int count) {
    pthread_t threads[THREADS];
    for (int i = 0; i < count; i++) CHECK(pthread_create(&threads[i], NULL, work, s) == 0);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

/* All try the one ejected backend, whose time is over. */
static void *try_it(void *shared) {
    storm *s = shared;
    for (uint32_t i = 0; i < s->rounds; i++) {
        reg_lease lease;
        if (!acquire_on(s->fleet.reg, "b0", &lease, NULL)) continue;
        CHECK(++s->out == 1);
        CHECK(view_of(s->fleet.reg, "b0").unavailable == REG_ON_TRIAL);
        CHECK(view_of(s->fleet.reg, "b0").pending == 1);
        s->trials++;
        s->out--;
        CHECK(finish(&lease, REG_ABANDONED, 0));
    }
    return NULL;
}

static long trials_exclude_each_other(void) {
    storm s = {.fleet = new_fleet(3, never_panics), .rounds = 4000};
    fail(s.fleet.reg, "b0", 3);
    reg_clock_advance(s.fleet.clock, 30 * SECOND);
    run_threads(try_it, &s, THREADS);
    CHECK(s.trials > 0 && view_of(s.fleet.reg, "b0").pending == 0);
    CHECK(view_of(s.fleet.reg, "b0").unavailable == REG_ELIGIBLE);
    free_fleet(s.fleet);
    return s.trials;
}

static void *fail_once(void *shared) {
    storm *s = shared;
    for (uint32_t i = 0; i < s->rounds; i++) {
        reg_lease lease;
        if (!acquire_on(s->fleet.reg, "b0", &lease, NULL)) continue;
        s->failures++;
        CHECK(finish(&lease, REG_FAILED, 0));
    }
    return NULL;
}

/* However many fail at the same time, a row ejects once, and counts what it says. */
static long a_row_of_many_threads_ejects_once(void) {
    long failures = 0;
    for (int round = 0; round < 100; round++) {
        storm s = {.fleet = new_fleet(3, never_panics), .rounds = 5};
        run_threads(fail_once, &s, THREADS);
        reg_view view = view_of(s.fleet.reg, "b0");
        CHECK(view.unavailable == REG_EJECTED && view.pending == 0);
        CHECK(view.unavailable_until == 30 * 1000000); /* the first ejection, and no second one */
        CHECK(view.failed == (uint64_t)s.failures && s.failures >= 3);
        failures += s.failures;
        free_fleet(s.fleet);
    }
    return failures;
}

/* Anything that happens to b0 while it is tried. */
static void *meddle(void *shared) {
    storm *s = shared;
    offer same = {.id = "b0", .models = {"m"}, .context_length = 8192};
    for (uint32_t i = 0; !s->is_over; i++) {
        reg_clock_advance(s->fleet.clock, 10 * SECOND);
        if (i % 3 == 0) restore(s->fleet.reg, "b0");
        if (i % 16 == 7) {
            CHECK(client_remove(s->fleet.reg, "b0", NULL) == REG_OK);
            CHECK(client_add(s->fleet.reg, &same, 0) == REG_OK);
            CHECK(client_health(s->fleet.reg, "b0", REG_HEALTHY, -1) == REG_OK);
        }
    }
    return NULL;
}

static void *use_all(void *shared) {
    storm *s = shared;
    static const reg_outcome ways[] = {REG_FAILED, REG_SUCCEEDED, REG_FAILED,
                                       REG_FAILED, REG_ABANDONED, REG_BACK_OFF};
    for (uint32_t i = 0; i < s->rounds; i++) {
        reg_lease lease;
        reg_request request = client_request("m", (reg_policy)(i % REG_POLICY_COUNT));
        if (client_acquire(s->fleet.reg, request, &lease) < 0) continue;
        CHECK(finish(&lease, ways[(i / REG_POLICY_COUNT) % 6], SECOND));
    }
    return NULL;
}

static long nothing_stays_behind(void) {
    storm s = {.fleet = new_fleet(3, starts_slowly), .rounds = 3000};
    pthread_t meddler;
    CHECK(pthread_create(&meddler, NULL, meddle, &s) == 0);
    run_threads(use_all, &s, THREADS - 1);
    s.is_over = true;
    pthread_join(meddler, NULL);
    reg_clock_advance(s.fleet.clock, 1000 * SECOND);
    for (int i = 0; i < 3; i++) { /* all can be tried: no place of a trial is lost */
        char id[] = {'b', (char)('0' + i), '\0'};
        reg_lease lease;
        CHECK(view_of(s.fleet.reg, id).pending == 0);
        CHECK(acquire_on(s.fleet.reg, id, &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
    }
    free_fleet(s.fleet);
    return 3000;
}

static void never_ejects(reg_settings *s) { s->consecutive_failures = 0; }

static void *fail_often(void *shared) {
    storm *s = shared;
    for (uint32_t i = 0; i < s->rounds; i++) fail(s->fleet.reg, "b0", 1);
    s->is_over = true;
    return NULL;
}

/* Failed requests are a part of all requests, in every view. */
static long failures_are_a_part(void) {
    storm s = {.fleet = new_fleet(1, never_ejects), .rounds = 10000};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fail_often, &s) == 0);
    while (!s.is_over) {
        reg_view view = view_of(s.fleet.reg, "b0");
        CHECK(view.failed <= view.total);
    }
    pthread_join(thread, NULL);
    free_fleet(s.fleet);
    return s.rounds;
}

/* The next change that the watch has: what its views show before and after. */
static bool tells(reg_watch *watch, reg_reason before, reg_reason after) {
    reg_change change;
    reg_views views;
    reg_garbage *garbage;
    CHECK(reg_watch_take(watch, true, &change, &views, &garbage) == REG_OK && garbage == NULL);
    CHECK(change.kind == REG_AVAILABILITY_CHANGED && change.has_before && change.has_after);
    reg_keep_drop(change.kept, 2, object_release);
    return change.before.unavailable == before && change.after.unavailable == after;
}

/* The write takes the place of the trial before it commits, but the view before shows it. */
static long a_watch_sees_a_trial(void) {
    fleet f = new_fleet(3, never_panics);
    reg_watch *watch;
    reg_views views;
    reg_kept *kept;
    reg_lease lease;
    reg_waiter *waiters;
    reg_garbage *garbage;
    CHECK(reg_watch_open(f.reg, 8, &watch, &views, &kept) == REG_OK);
    reg_keep_drop(kept, views.count, object_release);
    reg_views_free(&views);
    fail(f.reg, "b0", 3);
    CHECK(tells(watch, REG_ELIGIBLE, REG_EJECTED));
    reg_clock_advance(f.clock, 30 * SECOND);
    fail(f.reg, "b0", 1);
    CHECK(tells(watch, REG_ON_TRIAL, REG_EJECTED));
    reg_clock_advance(f.clock, 60 * SECOND);
    CHECK(acquire_on(f.reg, "b0", &lease, NULL) && finish(&lease, REG_SUCCEEDED, 0));
    CHECK(tells(watch, REG_ON_TRIAL, REG_ELIGIBLE));
    fail(f.reg, "b0", 3);
    reg_clock_advance(f.clock, 300 * SECOND);
    restore(f.reg, "b0");
    CHECK(tells(watch, REG_ELIGIBLE, REG_EJECTED) && tells(watch, REG_ELIGIBLE, REG_ELIGIBLE));
    reg_watch_close(watch, &waiters, &garbage);
    CHECK(waiters == NULL && garbage == NULL);
    reg_watch_free(watch);
    free_fleet(f);
    return 5;
}

/* The room that a state has for deadlines is counted as long as the state has it. */
static long a_cleared_state_is_counted_with_its_room(void) {
    fleet f = new_fleet(1, NULL);
    reg_garbage *garbage;
    reg_key id = key_of("b0");
    size_t flagged = 0, cleared = 0;
    for (int i = 0; i < 2; i++) { /* the first round allocates what stays */
        CHECK(reg_cool_down(f.reg, &id, 0, SECOND, &garbage) == REG_OK);
        reg_destroy(garbage, object_release);
        client_stats(f.reg);
        flagged = client_stats(f.reg).bytes;
        restore(f.reg, "b0");
        client_stats(f.reg);
        cleared = client_stats(f.reg).bytes;
    }
    CHECK(cleared == flagged);
    CHECK(client_health(f.reg, "b0", REG_HEALTHY, -1) == REG_OK);
    client_stats(f.reg);
    CHECK(client_stats(f.reg).bytes < cleared);
    free_fleet(f);
    return 2;
}

static void *release_late(void *shared) {
    CHECK(finish(shared, REG_BACK_OFF, SECOND));
    return NULL;
}

/* A release that has to find its registry meets the end of that registry. */
static long a_registry_is_freed_while_leases_settle(void) {
    for (int round = 0; round < 300; round++) {
        fleet f = new_fleet(3, NULL);
        reg_lease leases[3];
        pthread_t threads[3];
        for (int i = 0; i < 3; i++) CHECK(acquire_on(f.reg, "b0", &leases[i], NULL));
        for (int i = 0; i < 3; i++)
            CHECK(pthread_create(&threads[i], NULL, release_late, &leases[i]) == 0);
        reg_free(f.reg, object_release);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        reg_clock_drop(f.clock);
        CHECK(objects_alive == 0);
    }
    return 900;
}

/* A lease that settles while a writer of its registry is slow, and what others do meanwhile. */
static _Atomic int settling;
static _Atomic bool others_are_done;

static void *settle_slowly(void *lease) {
    settling = 1;
    return release_late(lease);
}

static void *do_the_rest(void *lease) {
    while (settling == 0) sched_yield();
    for (int i = 0; i < 100; i++) sched_yield(); /* until it waits for the lock, most likely */
    reg_free(reg_new(NULL), object_release);
    release_late(lease);
    others_are_done = true;
    return NULL;
}

/* It delays the releases of its own registry, but no other registry. */
static long a_slow_writer_delays_no_other_registry(void) {
    fleet slow = new_fleet(1, NULL), other = new_fleet(1, NULL);
    reg_lease leases[2];
    pthread_t threads[2];
    CHECK(acquire_on(slow.reg, "b0", &leases[0], NULL));
    CHECK(acquire_on(other.reg, "b0", &leases[1], NULL));
    settling = 0;
    others_are_done = false;
    lock_writer(slow.reg);
    CHECK(pthread_create(&threads[0], NULL, settle_slowly, &leases[0]) == 0);
    CHECK(pthread_create(&threads[1], NULL, do_the_rest, &leases[1]) == 0);
    for (int i = 0; i < 10000 && !others_are_done; i++) usleep(1000);
    bool are_done = others_are_done; /* without waiting for the slow writer */
    unlock_writer(slow.reg);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK(are_done);
    reg_free(slow.reg, object_release);
    reg_clock_drop(slow.clock);
    free_fleet(other);
    return 2;
}

const test availability_tests[] = {
    {"availability: a row ejects", a_row_ejects},
    {"availability: a trial is alone", a_trial_is_alone},
    {"availability: rates", rates_are_those_of_the_window},
    {"availability: panic", panic_counts_who_is_left},
    {"availability: full of tokens", one_full_of_tokens_is_left},
    {"availability: a cool-down", a_cool_down_only_moves_later},
    {"availability: a slow start", a_slow_start_grows},
    {"availability: settled after the end", a_lease_settles_after_its_registry},
    {"availability: restored before a failure", a_restored_backend_needs_a_whole_row},
    {"availability: once for a row", a_row_ends_once},
    {"availability: a share", a_share_is_not_rounded},
    {"availability: trials exclude each other", trials_exclude_each_other},
    {"availability: failures are a part", failures_are_a_part},
    {"availability: a row of many threads", a_row_of_many_threads_ejects_once},
    {"availability: nothing stays behind", nothing_stays_behind},
    {"availability: a watch sees a trial", a_watch_sees_a_trial},
    {"availability: bytes", a_cleared_state_is_counted_with_its_room},
    {"availability: a slow writer", a_slow_writer_delays_no_other_registry},
    {"availability: freed while leases settle", a_registry_is_freed_while_leases_settle},
    {0}};
