/* Concurrent choices of several threads: their counts add up, and each choice was correct at one
 * instant of its call. */
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "client.h"
#include "registry/layout.h"

enum { THREADS = 4, LEASES = 250 };

typedef struct crowd {
    reg_registry *reg;
    reg_policy policy;
    reg_lease leases[THREADS][LEASES];
    long refused;
} crowd;

typedef struct member_of_crowd {
    crowd *crowd;
    int number;
    long refused;
} member_of_crowd;

static void *take_all(void *argument) {
    member_of_crowd *me = argument;
    for (int i = 0; i < LEASES; i++)
        me->refused += client_acquire(me->crowd->reg, client_request("m", me->crowd->policy),
                                      &me->crowd->leases[me->number][i]) < 0;
    return NULL;
}

static void in_a_crowd(crowd *c, void *(*work)(void *)) {
    pthread_t threads[THREADS];
    member_of_crowd members[THREADS];
    c->refused = 0;
    for (int i = 0; i < THREADS; i++) {
        members[i] = (member_of_crowd){.crowd = c, .number = i};
        CHECK(pthread_create(&threads[i], NULL, work, &members[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        c->refused += members[i].refused;
    }
}

static crowd the_crowd;

static void return_all(crowd *c) {
    for (int i = 0; i < THREADS * LEASES; i++)
        (void)client_return(&c->leases[i / LEASES][i % LEASES], NULL);
}

static long a_crowd_splits_evenly(void) {
    for (int round = 0; round < 20; round++) {
        the_crowd = (crowd){.reg = client_fleet(2, NULL), .policy = REG_LEAST_PENDING};
        in_a_crowd(&the_crowd, take_all);
        CHECK(the_crowd.refused == 0);
        CHECK(client_in_flight(the_crowd.reg, "b0") == THREADS * LEASES / 2 &&
              client_in_flight(the_crowd.reg, "b1") == THREADS * LEASES / 2);
        return_all(&the_crowd);
        CHECK(client_in_flight(the_crowd.reg, "b0") == 0 &&
              client_in_flight(the_crowd.reg, "b1") == 0);
        client_free(the_crowd.reg);
    }
    return 20L * THREADS * LEASES;
}

static void capped(offer *o, int number) { o->max_pending = 40 + (uint32_t)number; }

static long no_policy_exceeds_a_cap(void) {
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++) {
        the_crowd = (crowd){.reg = client_fleet(3, capped), .policy = policy};
        in_a_crowd(&the_crowd, take_all);
        CHECK(the_crowd.refused == THREADS * LEASES - (40 + 41 + 42));
        CHECK(client_in_flight(the_crowd.reg, "b0") == 40 &&
              client_in_flight(the_crowd.reg, "b1") == 41 &&
              client_in_flight(the_crowd.reg, "b2") == 42);
        return_all(&the_crowd);
        client_free(the_crowd.reg);
    }
    return (long)REG_POLICY_COUNT * THREADS * LEASES;
}

/* Releases race with choices. Each backend has a cap of 1, so it never has two leases at a time. */
static _Atomic int holders[3];

static void of_one(offer *o, int number) {
    (void)number;
    o->max_pending = 1;
}

static void *take_and_return(void *argument) {
    member_of_crowd *me = argument;
    for (int i = 0; i < 10 * LEASES; i++) {
        reg_lease lease;
        int got = client_acquire(me->crowd->reg,
                                 client_request("m", (reg_policy)(i % REG_POLICY_COUNT)), &lease);
        if (got < 0) continue;
        CHECK(holders[got]++ == 0);
        holders[got]--;
        CHECK(client_return(&lease, NULL));
    }
    return NULL;
}

static long a_cap_of_one_is_a_lock(void) {
    the_crowd = (crowd){.reg = client_fleet(3, of_one)};
    in_a_crowd(&the_crowd, take_and_return);
    CHECK(client_in_flight(the_crowd.reg, "b0") == 0 &&
          client_in_flight(the_crowd.reg, "b1") == 0 && client_in_flight(the_crowd.reg, "b2") == 0);
    client_free(the_crowd.reg);
    return 10L * THREADS * LEASES;
}

/* ---- loads that change while choices are made ---- */

enum { CHOICES = 20000, MARGIN = 4, PEAK = 30 };

typedef struct stage {
    reg_registry *reg;
    reg_policy policy;
    bool counts;
    int less_loaded;
    _Atomic bool over;
} stage;

static stage the_stage;

static void step(const char *id, int by) {
    reg_key key = key_of(id);
    uint32_t value;
    reg_aftermath after = {0};
    if (by > 0)
        CHECK(reg_increment_pending(the_stage.reg, &key, &value) == REG_OK);
    else
        CHECK(reg_decrement_pending(the_stage.reg, &key, &value, &after) == REG_OK &&
              after.flags == 0);
}

static const char *const ids[] = {"b0", "b1"};

/* Both counts go up and down. At every instant the same one is lower, by MARGIN or MARGIN + 1. */
static void *move_together(void *argument) {
    (void)argument;
    const char *low = ids[the_stage.less_loaded], *high = ids[!the_stage.less_loaded];
    while (!the_stage.over) {
        for (int i = 0; i < PEAK; i++) step(high, 1), step(low, 1);
        for (int i = 0; i < PEAK; i++) step(low, -1), step(high, -1);
    }
    return NULL;
}

static void choose_once(int expected) {
    reg_lease lease;
    if (!the_stage.counts) {
        CHECK(client_select(the_stage.reg, client_request("m", the_stage.policy)) == expected);
        return;
    }
    CHECK(client_acquire(the_stage.reg, client_request("m", the_stage.policy), &lease) == expected);
    CHECK(client_return(&lease, &(uint32_t){5}));
}

static void *choose_the_less_loaded(void *argument) {
    (void)argument;
    for (int i = 0; i < CHOICES; i++) choose_once(the_stage.less_loaded);
    return NULL;
}

/* Runs `mover` in one thread and `chooser` in two others, until the two choosers have finished. */
static void perform(reg_registry *reg, reg_policy policy, bool counts, void *(*mover)(void *),
                    void *(*chooser)(void *)) {
    pthread_t threads[3];
    the_stage.reg = reg;
    the_stage.policy = policy;
    the_stage.counts = counts;
    the_stage.over = false;
    CHECK(pthread_create(&threads[0], NULL, mover, NULL) == 0);
    for (int i = 1; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, chooser, NULL) == 0);
    for (int i = 1; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    the_stage.over = true;
    CHECK(pthread_join(threads[0], NULL) == 0);
}

static long the_less_loaded_is_chosen_at_every_instant(void) {
    const reg_policy policies[] = {REG_LEAST_PENDING, REG_PRIORITY, REG_SMART, REG_POWER_OF_TWO,
                                   REG_HOT_COLD};
    for (int i = 0; i < 20; i++) {
        reg_registry *reg = client_fleet(2, NULL);
        the_stage.reg = reg;
        the_stage.less_loaded = i / 2 % 2;
        for (int k = 0; k < MARGIN; k++) step(ids[!the_stage.less_loaded], 1);
        perform(reg, policies[i / 4], i % 2, move_together, choose_the_less_loaded);
        CHECK(client_in_flight(reg, ids[!the_stage.less_loaded]) == MARGIN &&
              client_in_flight(reg, ids[the_stage.less_loaded]) == 0);
        client_free(reg);
    }
    return 20L * 2 * CHOICES;
}

/* The record of a backend that stays registered. */
static record *record_with_id(reg_registry *reg, const char *id) {
    reg_key key = key_of(id);
    reg_reader *reader = reg_read_begin();
    record *found = reg_container(string_map_get(&reg->records, &key), record, item);
    reg_read_end(reader);
    return found;
}

/* ---- HOT_COLD: counts and averages of the others, as of one instant ---- */

enum { MIDDLE = 5, PAUSE = 100 };
static int low, high; /* below and at least MIDDLE */

/* Leaves time for a choice that nothing disturbs. */
static void pause_briefly(void) {
    for (volatile int i = 0; i < PAUSE; i++) {
    }
}

static void step_many(const char *id, int from, int to) {
    for (; from < to; from++) step(id, 1);
    for (; from > to; from--) step(id, -1);
}

/* Of b1 and b2, at least one is at `high` at every instant. */
static void *keep_one_high(void *argument) {
    (void)argument;
    while (!the_stage.over) {
        for (int i = 0; i < 2; i++) {
            step_many(i == 0 ? "b2" : "b1", low, high);
            step_many(i == 0 ? "b1" : "b2", high, low);
            pause_briefly();
        }
    }
    return NULL;
}

static void set_latency(const char *id, uint32_t sample) {
    reg_key key = key_of(id);
    uint32_t average;
    CHECK(reg_update_latency(the_stage.reg, &key, sample, &average) == REG_OK);
}

static void *choose_the_first(void *argument) {
    (void)argument;
    for (int i = 0; i < CHOICES; i++) choose_once(0);
    return NULL;
}

/* Of four, one is hot if all others have less in flight. So b0, the fastest, never is. A choice
 * that reads b1 before an increment and b2 after a decrement, both low, takes it for hot, and
 * chooses b3, which nothing changes. The choosers add up to two requests to b0, so then the others
 * move further. */
static long increments_of_the_others_count(void) {
    for (int counts = 0; counts < 2; counts++) {
        reg_registry *reg = client_fleet(4, NULL);
        the_stage.reg = reg;
        low = MIDDLE - 1;
        high = counts ? MIDDLE + 2 : MIDDLE;
        set_latency("b0", 5);
        set_latency("b1", 80);
        set_latency("b2", 70);
        set_latency("b3", 60);
        step_many("b0", 0, MIDDLE);
        step_many("b1", 0, high);
        step_many("b2", 0, low);
        perform(reg, REG_HOT_COLD, counts, keep_one_high, choose_the_first);
        client_free(reg);
    }
    return 2L * 2 * CHOICES;
}

/* Both averages go up and down. At every instant that of b0 is lower. */
static void *move_averages(void *argument) {
    (void)argument;
    while (!the_stage.over) {
        for (int i = 0; i < 20; i++) set_latency("b1", UINT32_MAX);
        for (int i = 0; i < 20; i++) set_latency("b0", UINT32_MAX / 2);
        pause_briefly();
        for (int i = 0; i < 90; i++) set_latency("b0", 0);
        for (int i = 0; i < 20; i++) set_latency("b1", UINT32_MAX / 4);
        pause_briefly();
    }
    return NULL;
}

static long averages_are_of_one_instant(void) {
    reg_registry *reg = client_fleet(2, NULL);
    the_stage.reg = reg;
    set_latency("b0", 0);
    set_latency("b1", UINT32_MAX / 4);
    perform(reg, REG_HOT_COLD, false, move_averages, choose_the_first);
    client_free(reg);
    return 2L * CHOICES;
}

/* Likewise, with average times to the first token. */
static outcomes *ttfts[2]; /* of b0 and b1; a hook may not look them up */

static void repeat_ttft(int which, int times, uint32_t sample) {
    while (times-- > 0) ttft_add(ttfts[which], sample, settings_now(ttfts[which]->settings));
}

static void ttfts_up(void) {
    repeat_ttft(1, 20, UINT32_MAX);
    repeat_ttft(0, 20, UINT32_MAX / 2);
}

static void ttfts_down(void) {
    repeat_ttft(0, 90, 0);
    repeat_ttft(1, 20, UINT32_MAX / 4);
}

static void *move_ttfts(void *argument) {
    (void)argument;
    while (!the_stage.over) {
        ttfts_up();
        pause_briefly();
        ttfts_down();
        pause_briefly();
    }
    return NULL;
}

static reg_registry *fleet_with_ttfts(void) {
    reg_registry *reg = client_fleet(2, NULL);
    reg_lease lease;
    for (int i = 0; i < 2; i++) { /* in turn, so each gets its outcomes */
        CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &lease) >= 0);
        CHECK(client_return(&lease, NULL));
    }
    for (int i = 0; i < 2; i++) {
        ttfts[i] = load_published(&line_of(record_with_id(reg, ids[i]))->outcomes);
        CHECK(ttfts[i] != NULL);
    }
    repeat_ttft(0, 1, 0);
    repeat_ttft(1, 1, UINT32_MAX / 4);
    return reg;
}

static long ttfts_are_of_one_instant(void) {
    reg_registry *reg = fleet_with_ttfts();
    perform(reg, REG_HOT_COLD, false, move_ttfts, choose_the_first);
    client_free(reg);
    return 2L * CHOICES;
}

/* Another choice has claimed b1. If it took effect before this one, b1 would have one request more
 * than its word says. So it may not take effect any more. */
static long a_claim_on_a_card_is_void(void) {
    reg_registry *reg = client_fleet(3, NULL);
    the_stage.reg = reg;
    for (int i = 0; i < 3; i++) set_latency(i == 0 ? "b0" : i == 1 ? "b1" : "b2", 5 + 9 * i);
    for (int acquires = 0; acquires < 2; acquires++) {
        _Atomic uint64_t *pending = &line_of(record_with_id(reg, "b1"))->counters.pending;
        uint64_t claimed = load_seq_cst(pending);
        CHECK(counter_claim(pending, &claimed));
        the_stage.policy = REG_HOT_COLD;
        the_stage.counts = acquires;
        choose_once(0);
        CHECK(!counter_take(pending, claimed, 0));
        CHECK(client_in_flight(reg, "b1") == 0);
    }
    client_free(reg);
    return 2;
}

/* Threads that take and return leases of one fleet, and clear each other's claims. The last attempt
 * under the writer lock ends each choice. */
static void *take_hot_and_cold(void *argument) {
    member_of_crowd *me = argument;
    for (int i = 0; i < 20 * LEASES; i++) {
        reg_lease lease;
        CHECK(client_acquire(me->crowd->reg, client_request("m", me->crowd->policy), &lease) >= 0);
        if (i % 3 == 0) CHECK(reg_lease_first_token(&lease, 0));
        CHECK(client_return(&lease, NULL));
    }
    return NULL;
}

static long hands_of_a_crowd_end(void) {
    enum { LENGTH = 70 };
    for (int length = 2; length <= LENGTH; length += LENGTH - 2) {
        the_crowd = (crowd){.reg = client_fleet(length, NULL), .policy = REG_HOT_COLD};
        in_a_crowd(&the_crowd, take_hot_and_cold);
        CHECK(client_in_flight(the_crowd.reg, "b0") == 0 &&
              client_in_flight(the_crowd.reg, "b1") == 0);
        client_free(the_crowd.reg);
    }
    return 2L * THREADS * 20 * LEASES;
}

static void with_room_for_one(offer *o, int number) {
    (void)number;
    o->max_pending = 1;
}

/* At every instant one of the two has room. */
static void *fill_one_or_the_other(void *argument) {
    (void)argument;
    while (!the_stage.over) {
        step("b0", -1), step("b1", 1);
        step("b1", -1), step("b0", 1);
    }
    return NULL;
}

static void *find_one(void *argument) {
    (void)argument;
    for (int i = 0; i < CHOICES; i++)
        CHECK(client_select(the_stage.reg, client_request("m", the_stage.policy)) >= 0);
    return NULL;
}

static long none_is_refused_while_one_has_room(void) {
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++) {
        reg_registry *reg = client_fleet(2, with_room_for_one);
        the_stage.reg = reg;
        step("b0", 1);
        perform(reg, policy, false, fill_one_or_the_other, find_one);
        client_free(reg);
    }
    return (long)REG_POLICY_COUNT * 2 * CHOICES;
}

/* At every instant one of the two is healthy. */
static void *heal_one_or_the_other(void *argument) {
    (void)argument;
    for (int i = 0; !the_stage.over; i = !i) {
        CHECK(client_health(the_stage.reg, i ? "b1" : "b0", REG_HEALTHY, -1) == REG_OK);
        CHECK(client_health(the_stage.reg, i ? "b0" : "b1", REG_UNHEALTHY, -1) == REG_OK);
    }
    return NULL;
}

static void *use_one(void *argument) {
    (void)argument;
    for (int i = 0; i < CHOICES; i++) {
        reg_lease lease;
        CHECK(client_acquire(the_stage.reg, client_request("m", the_stage.policy), &lease) >= 0);
        CHECK(client_return(&lease, NULL));
    }
    return NULL;
}

static long none_is_refused_while_one_is_healthy(void) {
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++) {
        reg_registry *reg = client_fleet(2, NULL);
        perform(reg, policy, true, heal_one_or_the_other, use_one);
        CHECK(client_in_flight(reg, "b0") == 0 && client_in_flight(reg, "b1") == 0);
        client_free(reg);
    }
    return (long)REG_POLICY_COUNT * 2 * CHOICES;
}

/* At every instant one of the two is healthy and has room. Most of the time the other one is
 * draining and full. */
static void *move_health_and_room(void *argument) {
    (void)argument;
    for (int i = 0; !the_stage.over; i = !i) {
        step(ids[!i], -1);
        CHECK(client_health(the_stage.reg, ids[!i], REG_HEALTHY, -1) == REG_OK);
        CHECK(client_health(the_stage.reg, ids[i], REG_DRAINING, -1) == REG_OK);
        step(ids[i], 1);
    }
    return NULL;
}

static long health_and_room_are_of_one_instant(void) {
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++) {
        reg_registry *reg = client_fleet(2, with_room_for_one);
        the_stage.reg = reg;
        CHECK(client_health(reg, "b1", REG_DRAINING, -1) == REG_OK);
        step("b1", 1);
        perform(reg, policy, false, move_health_and_room, find_one);
        client_free(reg);
    }
    return (long)REG_POLICY_COUNT * 2 * CHOICES;
}

/* ---- refusals while counts change ---- */

enum { MANY = 500, REFUSALS = 20 };

/* Increments and decrements counts all the time, although every backend is full at every
 * instant. */
static void *turn_over(void *argument) {
    (void)argument;
    for (int i = 0; !the_stage.over; i = (i + 1) % MANY) {
        char id[16];
        snprintf(id, sizeof id, "b%d", i);
        step(id, 1), step(id, -1);
    }
    return NULL;
}

static void *be_refused(void *argument) {
    (void)argument;
    for (int i = 0; i < REFUSALS; i++)
        CHECK(client_select(the_stage.reg, client_request("m", the_stage.policy)) == -1);
    return NULL;
}

static reg_registry *full_fleet(int count) {
    reg_registry *reg = client_fleet(count, with_room_for_one);
    reg_lease lease;
    for (int i = 0; i < count; i++) {
        CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &lease) >= 0);
        reg_lease_drop(&lease, object_release);
    }
    return reg;
}

static const reg_policy searching[] = {REG_LEAST_PENDING, REG_PRIORITY, REG_ROUND_ROBIN,
                                       REG_POWER_OF_TWO, REG_HOT_COLD};
enum { SEARCHING = sizeof searching / sizeof *searching };

static long a_refusal_ends_under_turnover(void) {
    for (int i = 0; i < SEARCHING; i++) {
        reg_registry *reg = full_fleet(MANY);
        perform(reg, searching[i], false, turn_over, be_refused);
        client_free(reg);
    }
    return (long)SEARCHING * 2 * REFUSALS;
}

#ifdef REG_TORTURE
extern _Thread_local void (*torture_hook)(void);
static record *first;
static long hook_calls;

static void count_up_and_down(void) {
    uint32_t value;
    CHECK(++hook_calls < 1000000);
    CHECK(counter_increment(&line_of(first)->counters.pending, &value) &&
          counter_decrement(&line_of(first)->counters.pending, &value));
}

static void best_first(offer *o, int number) { o->priority = number != 0; }

static void count_now_and_then(void) {
    static long points;
    if (++points % 1000 == 0) count_up_and_down();
}

/* During every pass another request begins and ends on the best backend, so its word always differs
 * from the one that the pass has read. */
static long a_choice_ends_under_interference(void) {
    enum { LENGTH = 2000 };
    reg_registry *reg = client_fleet(LENGTH, best_first);
    for (int acquires = 0; acquires < 2; acquires++) {
        reg_lease lease;
        first = record_with_id(reg, "b0");
        hook_calls = 0;
        torture_hook = count_now_and_then;
        int chosen = acquires ? client_acquire(reg, client_request("m", REG_PRIORITY), &lease)
                              : client_select(reg, client_request("m", REG_PRIORITY));
        torture_hook = NULL;
        CHECK(chosen == 0 && client_in_flight(reg, "b0") == (uint32_t)acquires);
        if (acquires) CHECK(client_return(&lease, NULL));
    }
    client_free(reg);
    return 2;
}

/* Another request ends between any two steps of the choice, so no attempt finds the counts
 * unchanged. */
static long a_refusal_ends_under_interference(void) {
    for (int i = 0; i < SEARCHING; i++) {
        reg_registry *reg = full_fleet(3);
        first = record_with_id(reg, "b0");
        hook_calls = 0;
        torture_hook = count_up_and_down;
        int chosen = client_select(reg, client_request("m", searching[i]));
        torture_hook = NULL;
        CHECK(chosen == -1);
        client_free(reg);
    }
    return SEARCHING;
}

static int points_left;
static void (*move)(void);

static void move_once(void) {
    if (points_left-- == 0) move();
}

/* Both averages move at any one point of a choice. That of b0 is the lower one before and after. */
static long ttfts_move_at_each_point(void) {
    long choices = 0;
    the_stage.reg = fleet_with_ttfts();
    the_stage.policy = REG_HOT_COLD;
    the_stage.counts = false;
    for (int up = 0; up < 2; up++) {
        int point = 0;
        move = up ? ttfts_up : ttfts_down;
        do {
            up ? ttfts_down() : ttfts_up();
            points_left = point++;
            torture_hook = move_once;
            choose_once(0);
            torture_hook = NULL;
            choices++;
        } while (points_left < 0); /* otherwise the choice has ended before the point */
    }
    client_free(the_stage.reg);
    return choices;
}

/* The hook during writes that all change something that choices depend on. */
static void check_choices_changed(void) {
    hook_calls++;
    CHECK(load_own(&the_stage.reg->choices_changed) >= load_own(&the_stage.reg->committed));
}

static long a_change_is_announced_before_its_commit(void) {
    the_stage.reg = client_fleet(2, NULL);
    hook_calls = 0;
    torture_hook = check_choices_changed;
    CHECK(client_health(the_stage.reg, "b0", REG_DRAINING, -1) == REG_OK);
    CHECK(client_redefine(the_stage.reg, &(offer){.id = "b1", .models = {"n"}}, 5) == REG_OK);
    CHECK(client_remove(the_stage.reg, "b0", NULL) == REG_OK);
    CHECK(client_add(the_stage.reg, &(offer){.id = "b2", .models = {"m"}}, 2) == REG_OK);
    torture_hook = NULL;
    client_free(the_stage.reg);
    return hook_calls;
}
#endif

/* ---- the definition that a lease was chosen by ---- */

/* Definitions with even numbers have the model m, the others have n. */
static void *redefine_in_turns(void *unused) {
    for (int i = 0; i < 4000; i++)
        CHECK(client_redefine(the_stage.reg, &(offer){"b0", .models = {i % 2 ? "n" : "m"}}, i) ==
              REG_OK);
    the_stage.over = true;
    return unused;
}

static long a_lease_has_the_definition_of_its_choice(void) {
    pthread_t thread;
    reg_lease lease;
    long made = 0;
    the_stage.reg = client_fleet(1, NULL);
    the_stage.over = false;
    CHECK(pthread_create(&thread, NULL, redefine_in_turns, NULL) == 0);
    while (!the_stage.over) {
        int number = client_acquire(the_stage.reg, client_request("m", REG_LEAST_PENDING), &lease);
        if (number < 0) continue;
        CHECK(number % 2 == 0);
        CHECK(client_return(&lease, NULL));
        made++;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    client_free(the_stage.reg);
    return made + 1;
}

/* ---- what other threads see between a choice and its count ---- */

enum { DUELS = 20000 };

static pthread_barrier_t line;
static int chosen;

static void *choose_in_duel(void *argument) {
    reg_lease *lease = argument;
    for (int i = 0; i < DUELS; i++) {
        pthread_barrier_wait(&line);
        chosen = client_acquire(the_stage.reg, client_request("m", REG_LEAST_PENDING), lease);
        pthread_barrier_wait(&line);
        pthread_barrier_wait(&line);
    }
    return NULL;
}

/* b0 has 1 in flight and b1 has 2. One thread chooses. The other one decrements b1 twice and then
 * reads b0. If b0 still has 1, the choice has not taken effect yet, and from now on only b1 is
 * correct. */
static long no_thread_sees_a_choice_before_its_count(void) {
    pthread_t thread;
    reg_lease lease;
    the_stage.reg = client_fleet(2, NULL);
    step("b0", 1);
    CHECK(pthread_barrier_init(&line, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, choose_in_duel, &lease) == 0);
    for (int i = 0; i < DUELS; i++) {
        step("b1", 1), step("b1", 1);
        pthread_barrier_wait(&line);
        for (volatile int delay = i % 64; delay > 0; delay--) {
        }
        step("b1", -1), step("b1", -1);
        uint32_t seen = client_in_flight(the_stage.reg, "b0");
        pthread_barrier_wait(&line);
        CHECK(seen == (chosen == 0 ? 2 : 1));
        CHECK(client_return(&lease, NULL));
        pthread_barrier_wait(&line);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(client_in_flight(the_stage.reg, "b0") == 1 && client_in_flight(the_stage.reg, "b1") == 0);
    pthread_barrier_destroy(&line);
    client_free(the_stage.reg);
    return DUELS;
}

const test choice_tests[] = {
    {"choices: a crowd splits evenly", a_crowd_splits_evenly},
    {"choices: no policy exceeds a cap", no_policy_exceeds_a_cap},
    {"choices: a cap of one is a lock", a_cap_of_one_is_a_lock},
    {"choices: always the less loaded one", the_less_loaded_is_chosen_at_every_instant},
    {"choices: hot or cold at one instant", increments_of_the_others_count},
    {"choices: averages of one instant", averages_are_of_one_instant},
    {"choices: first tokens of one instant", ttfts_are_of_one_instant},
    {"choices: a claim on a card is void", a_claim_on_a_card_is_void},
    {"choices: hands of a crowd end", hands_of_a_crowd_end},
    {"choices: no refusal while one has room", none_is_refused_while_one_has_room},
    {"choices: no refusal while one is healthy", none_is_refused_while_one_is_healthy},
    {"choices: health and room at one instant", health_and_room_are_of_one_instant},
    {"choices: refusals end while counts change", a_refusal_ends_under_turnover},
#ifdef REG_TORTURE
    {"choices: first tokens move at each point", ttfts_move_at_each_point},
    {"choices: a choice ends under interference", a_choice_ends_under_interference},
    {"choices: a refusal ends under interference", a_refusal_ends_under_interference},
    {"choices: a change is announced first", a_change_is_announced_before_its_commit},
#endif
    {"choices: a lease has its choice's definition", a_lease_has_the_definition_of_its_choice},
    {"choices: none is seen before its count", no_thread_sees_a_choice_before_its_count},
    {0}};
