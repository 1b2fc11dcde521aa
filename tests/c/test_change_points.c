/* Changes that meet a read or a choice at any of their points. In a torture build, a write stops at
 * each of its points while others read and choose; writes happen at each pair of points of a read;
 * and a choice stops at each of its points while a write stops at each of its own. Other builds
 * have no points, so there are no tests. */
#include "check.h"

#ifdef REG_TORTURE
#include <pthread.h>

#include "changes.h"
#include "registry/layout.h"

/* ---- what a choice finds while a write has stalled at any of its points ---- */

static pthread_barrier_t stalled, resumed;
static _Atomic bool is_written;

static void stall(void) {
    pthread_barrier_wait(&stalled);
    pthread_barrier_wait(&resumed);
}

typedef struct scene {
    reg_registry *reg;
    step steps[2];
    bool replaces; /* the choices find backends of unknown health */
    uint32_t needs_context;
} scene;

static void *write_scene(void *argument) {
    scene *s = argument;
    during_apply = stall;
    CHECK(apply(s->reg, s->steps, 2) == REG_OK);
    during_apply = NULL;
    is_written = true;
    pthread_barrier_wait(&stalled);
    return NULL;
}

/* Nothing changes while the writer stalls, so a choice must take what `reg_explain` says. It may
 * choose any backend, or, with `is_limited`, only b0 and b1. */
static void choose_as_explained(const scene *s, reg_policy policy, bool is_limited) {
    reg_request request = client_request("m", policy);
    reg_key only[] = {key_of("b1"), key_of("b0"), key_of("gone")};
    request.allow_unknown = s->replaces;
    request.min_context = s->needs_context;
    request.is_limited = is_limited;
    request.only = only;
    request.only_count = 3;
    reg_candidates found;
    int numbers[8];
    size_t eligible = 0;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_explain(s->reg, &request, &found) == REG_OK && found.count == 3);
    for (; eligible < found.count && found.items[eligible].reason == REG_ELIGIBLE; eligible++)
        numbers[eligible] = object_of(found.items[eligible].definition)->number;
    reg_read_end(reader);
    reg_candidates_free(&found);
    int chosen = client_select(s->reg, request);
    if (eligible == 0) {
        CHECK(chosen == -1);
    } else if (policy == REG_RANDOM || policy == REG_POWER_OF_TWO) {
        bool is_eligible = false;
        for (size_t i = 0; i < eligible; i++) is_eligible = is_eligible || chosen == numbers[i];
        CHECK(is_eligible);
    } else {
        CHECK(chosen == numbers[0]);
    }
    reg_lease lease;
    if (client_acquire(s->reg, request, &lease) >= 0) CHECK(client_return(&lease, NULL));
}

/* Both backends of the write, in every way, are as before the commit or as after it. */
static void look_at_scene(const scene *s, uint64_t before) {
    bool is_new = load_committed(&s->reg->committed) > before;
    int numbers[3];
    for (int i = 0; i < 2; i++) {
        reg_view view;
        int number, expected = (is_new ? 10 : 0) + i;
        CHECK(see(s->reg, i == 0 ? "b0" : "b1", &view, &number) && number == expected);
        CHECK(holder_of(s->reg, i == (int)is_new ? "x" : "y") == expected);
    }
    CHECK(client_query(s->reg, "m", numbers, 3) == 3 && numbers[0] == (is_new ? 10 : 0) &&
          numbers[1] == (is_new ? 11 : 1) && numbers[2] == 2);
    CHECK(client_query(s->reg, NULL, numbers, 3) == 3 && numbers[0] == (is_new ? 10 : 0));
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++)
        for (int is_limited = 0; is_limited < 2; is_limited++)
            choose_as_explained(s, (reg_policy)policy, is_limited);
}

static long stall_everywhere(scene *s) {
    pthread_t thread;
    uint64_t before = load_own(&s->reg->committed);
    long points = 0;
    is_written = false;
    CHECK(pthread_barrier_init(&stalled, NULL, 2) == 0);
    CHECK(pthread_barrier_init(&resumed, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, write_scene, s) == 0);
    for (;; points++) {
        pthread_barrier_wait(&stalled);
        if (is_written) break;
        look_at_scene(s, before);
        pthread_barrier_wait(&resumed);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    look_at_scene(s, before);
    pthread_barrier_destroy(&stalled);
    pthread_barrier_destroy(&resumed);
    return points;
}

static void shape_of_scene(offer *o, int number) {
    o->instance = number == 0 ? "x" : number == 1 ? "y" : NULL;
    o->max_pending = number == 2 ? 2 : 0;
    o->weight = (uint16_t)(number == 2 ? 1 : 5);
}

/* The write exchanges what the policies look at: caps, weights, priorities and servers. */
static long a_choice_does_not_wait_for_a_stalled_write(void) {
    const offer first[] = {{.max_pending = 1}, {.weight = 1},       {.priority = 7},
                           {.weight = 40},     {.url = "http://n"}, {.context_length = 4096}};
    long points = 0;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        for (int busy = 0; busy < 3; busy++) {
            scene s = {.reg = client_fleet(3, shape_of_scene),
                       .replaces = first[i].url != NULL,
                       .needs_context = first[i].context_length != 0 ? 8192 : 0};
            for (int k = 0; k < 2; k++) {
                s.steps[k] = (step){.kind = s.replaces ? REG_REPLACED : REG_UPDATED,
                                    .offer = {.models = {"m"}, .weight = 5, .context_length = 8192},
                                    .number = 10 + k};
                if (k == 0 || s.replaces) s.steps[k].offer = first[i];
                s.steps[k].offer.id = k == 0 ? "b0" : "b1";
                s.steps[k].offer.instance = k == 0 ? "y" : "x";
                s.steps[k].offer.models[0] = "m";
                if (k != 0 || first[i].context_length == 0) s.steps[k].offer.context_length = 8192;
            }
            for (int k = 0; k < busy; k++) count_one(s.reg, "b0", 1), count_one(s.reg, "b1", 1);
            for (int k = 0; k < 4; k++) client_select(s.reg, client_request("m", REG_ROUND_ROBIN));
            points += stall_everywhere(&s);
            client_free(s.reg);
        }
    return points;
}

/* ---- writes that happen at any two points of a read ---- */

enum { WRITES = 2 };
static written writes[WRITES];
static long points_to_go[WRITES];
static int writes_done;
static reg_garbage *garbage_of[WRITES];
static reg_registry *the_registry;

static void write_in_time(void) {
    while (writes_done < WRITES && points_to_go[writes_done]-- == 0) {
        written *w = &writes[writes_done];
        CHECK(reg_apply(the_registry, w->edits, w->count, REG_ANY_FLEET,
                        &garbage_of[writes_done]) == REG_OK);
        writes_done++;
    }
}

/* Runs `read` with the writes at every pair of its points. It returns false if the answer was none
 * of those that were true at some instant. */
static long at_all_points(reg_registry *(*set_up)(step steps[WRITES]), bool (*read)(void)) {
    long runs = 0;
    for (long first = 0, second = 0;; runs++) {
        step steps[WRITES];
        the_registry = set_up(steps);
        for (int i = 0; i < WRITES; i++)
            CHECK(prepare_write(the_registry, &writes[i], &steps[i], 1));
        writes_done = 0;
        points_to_go[0] = first, points_to_go[1] = second;
        SET_HOOK(write_in_time);
        bool is_right = read();
        SET_HOOK(NULL);
        CHECK(is_right);
        int done = writes_done;
        for (int i = 0; i < done; i++) reg_destroy(garbage_of[i], object_release);
        for (int i = done; i < WRITES; i++) take_back(the_registry, &writes[i]);
        client_free(the_registry);
        if (done == 0) return runs;
        second = done == WRITES ? second + 1 : 0;
        first += second == 0;
    }
}

/* `x` is b0's for a while, which had it neither before nor afterwards. */
static reg_registry *nobody_has_the_name(step *steps) {
    steps[0] = (step){REG_UPDATED, {.id = "b0", .instance = "x"}, .number = 10};
    steps[1] = (step){REG_UPDATED, {.id = "b0"}, .number = 20};
    return client_fleet(2, NULL);
}
static reg_registry *a_server_has_the_name(step *steps) {
    steps[0] = (step){REG_REPLACED, {.id = "b0", .instance = "x"}, .number = 10};
    steps[1] = (step){.kind = REG_REMOVED, .offer = {.id = "b0"}};
    return client_fleet(2, NULL);
}
static bool the_name_came_and_went(void) {
    int holder = holder_of(the_registry, "x");
    return holder == -1 || holder == 10;
}

static long an_instance_that_came_and_went(void) {
    return at_all_points(nobody_has_the_name, the_name_came_and_went) +
           at_all_points(a_server_has_the_name, the_name_came_and_went);
}

static reg_registry *replaced_twice(step *steps) {
    steps[0] = (step){REG_REPLACED, {.id = "b0", .instance = "x", .models = {"m"}}, .number = 10};
    steps[1] = (step){REG_REPLACED, {.id = "b0", .instance = "x", .models = {"m"}}, .number = 20};
    reg_registry *reg = reg_new(NULL);
    CHECK(client_add(reg, &(offer){.id = "b0", .instance = "x", .models = {"m"}}, 0) == REG_OK);
    CHECK(client_health(reg, "b0", REG_UNHEALTHY, -1) == REG_OK);
    return reg;
}
static bool is_never_missing(void) {
    reg_view view;
    int number, in_list, in_model;
    uint32_t value;
    reg_key key = key_of("b0");
    reg_request request = client_request("m", REG_LEAST_PENDING);
    request.allow_unknown = true;
    return see(the_registry, "b0", &view, &number) &&
           view.health == (number == 0 ? REG_UNHEALTHY : REG_UNKNOWN) &&
           reg_contains(the_registry, &key) == REG_OK &&
           reg_increment_pending(the_registry, &key, &value) == REG_OK &&
           client_query(the_registry, NULL, &in_list, 1) == 1 && in_list >= number &&
           client_query(the_registry, "m", &in_model, 1) == 1 && in_model >= in_list &&
           has_url(the_registry, "http://host") && holder_of(the_registry, "x") >= in_model &&
           (writes_done == 0 || client_select(the_registry, request) >= in_model);
}
static long a_replaced_backend_is_never_missing(void) {
    return at_all_points(replaced_twice, is_never_missing);
}

/* b0 is full before the first write, b1 after it, and b0 again after the second one. */
static reg_registry *caps_exchanged(step *steps) {
    steps[0] = (step){REG_UPDATED, {.id = "b0", .models = {"m"}}, .number = 10};
    steps[1] = (step){REG_UPDATED, {.id = "b0", .models = {"m"}, .max_pending = 1}, .number = 20};
    reg_registry *reg = client_fleet(2, NULL);
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b0", .models = {"m"}, .max_pending = 1}, 0) ==
          REG_OK);
    CHECK(apply_one(reg, REG_UPDATED, (offer){.id = "b1", .models = {"m"}, .max_pending = 1}, 1) ==
          REG_OK);
    count_one(reg, "b0", 1), count_one(reg, "b1", 1);
    return reg;
}
static reg_policy policy_of_read;
static bool is_limited;
static reg_key only_b0;
static reg_request request_of_read(void) {
    reg_request request = client_request("m", policy_of_read);
    only_b0 = key_of("b0");
    request.is_limited = is_limited;
    request.only = &only_b0;
    request.only_count = 1;
    return request;
}
static bool only_with_room(void) {
    reg_request request = request_of_read();
    int chosen = client_select(the_registry, request);
    return chosen == -1 || (chosen == 10 && writes_done != 0);
}
static long a_cap_that_came_and_went(void) {
    long runs = 0;
    for (int policy = 0; policy < 2 * REG_POLICY_COUNT; policy++) {
        policy_of_read = (reg_policy)(policy / 2);
        is_limited = policy % 2 != 0;
        runs += at_all_points(caps_exchanged, only_with_room);
    }
    return runs;
}

/* b0, which is healthy and has room, is removed, and then registered with unknown health. */
static reg_registry *removed_and_added(step *steps) {
    steps[0] = (step){.kind = REG_REMOVED, .offer = {.id = "b0"}};
    steps[1] = (step){REG_ADDED, {.id = "b0", .models = {"m"}}, .number = 20};
    return client_fleet(2, NULL);
}
/* A request that only b0 may get is refused for its health, or because it is not registered. The
 * choice must not miss b0 in the map and then find it in the list, without a reason against it. */
static bool the_reason_is_true(void) {
    reg_request request = request_of_read();
    request.may_block = true;
    reg_refusal refusal = {0};
    reg_lease lease = {0};
    bool is_true = true;
    if (reg_acquire(the_registry, &request, &lease, &refusal) == REG_OK) {
        CHECK(client_return(&lease, NULL));
        return true;
    }
    for (size_t i = 0; i < refusal.count; i++)
        is_true = is_true && refusal.items[i].reason != REG_FULL;
    reg_refusal_drop(&refusal, object_release);
    return is_true && writes_done != 0;
}
static long a_backend_that_went_and_came(void) {
    long runs = 0;
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++) {
        policy_of_read = (reg_policy)policy;
        is_limited = true;
        runs += at_all_points(removed_and_added, the_reason_is_true);
    }
    return runs;
}

/* ---- a choice that stops at any of its points, and a write that stalls at any of its own ---- */

/* A write of b0 and b1, or of b0 only, and which backend is right before and after it. */
typedef struct duel {
    offer old[2], fresh[2];
    int changes;
    int right_before, right_after; /* definitions: 0 and 1, and after the write 10 and 11 */
    int busy;                      /* in flight on both */
    unsigned policies;
} duel;

enum {
    LOADS = 1 << REG_LEAST_PENDING | 1 << REG_LOWEST_LATENCY,
    TURNS = 1 << REG_ROUND_ROBIN,
    PRIORITIES = 1 << REG_PRIORITY | 1 << REG_SMART,
    ALL_POLICIES = (1 << REG_POLICY_COUNT) - 1,
};

static const duel duels[] = {
    {{{.max_pending = 1}, {0}}, {{0}, {.max_pending = 1}}, 2, 1, 10, 1, ALL_POLICIES},
    {{{.max_pending = 1}, {.max_pending = 2}},
     {{.max_pending = 2}, {.max_pending = 1}},
     2,
     1,
     10,
     1,
     ALL_POLICIES},
    {{{.weight = 9}, {.weight = 1}}, {{.weight = 1}, {.weight = 9}}, 2, 0, 11, 1, LOADS | TURNS},
    {{{.weight = 9}, {.weight = 1}}, {{.weight = 1}, {.weight = 9}}, 2, 0, 11, 0, LOADS | TURNS},
    {{{.weight = 9}, {.weight = 5}}, {{.weight = 1}}, 1, 0, 1, 0, LOADS | TURNS},
    {{{.weight = 9}, {.weight = 5}}, {{.weight = 1}}, 1, 0, 1, 1, LOADS | TURNS},
    {{{.weight = 1}, {.weight = 5}}, {{.weight = 9}}, 1, 1, 10, 0, LOADS | TURNS},
    {{{.priority = 1}, {.priority = 5}}, {{.priority = 9}}, 1, 0, 1, 0, PRIORITIES},
    {{{.priority = 7}, {.priority = 5}}, {{.priority = 1}}, 1, 1, 10, 0, PRIORITIES},
};

static long choice_points, write_points;
static bool has_stalled;
static pthread_t duellist;

static void stall_once(void) {
    if (write_points-- != 0) return;
    has_stalled = true;
    stall();
}

static void *write_in_duel(void *argument) {
    written *w = argument;
    reg_garbage *garbage;
    torture_hook = stall_once;
    CHECK(reg_apply(the_registry, w->edits, w->count, REG_ANY_FLEET, &garbage) == REG_OK);
    torture_hook = NULL;
    if (!has_stalled) stall();
    reg_destroy(garbage, object_release);
    return NULL;
}

static void begin_write_in_duel(void) {
    if (choice_points-- != 0) return;
    CHECK(pthread_create(&duellist, NULL, write_in_duel, &writes[0]) == 0);
    pthread_barrier_wait(&stalled);
}

static void set_up_duel(const duel *d) {
    step steps[2];
    const char *const ids[] = {"b0", "b1"};
    the_registry = reg_new(NULL);
    for (int i = 0; i < 2; i++) {
        offer o = d->old[i];
        o.id = ids[i];
        o.models[0] = "m";
        CHECK(client_add(the_registry, &o, i) == REG_OK);
        CHECK(client_health(the_registry, o.id, REG_HEALTHY, -1) == REG_OK);
        for (int k = 0; k < d->busy; k++) count_one(the_registry, o.id, 1);
        steps[i] = (step){.kind = REG_UPDATED, .offer = d->fresh[i], .number = 10 + i};
        steps[i].offer.id = ids[i];
        steps[i].offer.models[0] = "m";
    }
    CHECK(prepare_write(the_registry, &writes[0], steps, (size_t)d->changes));
}

/* Stops the choice at its point `first`, then the write at its point `second`, and then completes
 * the choice. Returns false if the choice has no such point. */
static bool fight(const duel *d, reg_policy policy, bool acquires, long first, long second) {
    reg_lease lease;
    set_up_duel(d);
    uint64_t before = load_own(&the_registry->committed);
    choice_points = first, write_points = second, has_stalled = false;
    torture_hook = begin_write_in_duel;
    int took = acquires ? client_acquire(the_registry, client_request("m", policy), &lease)
                        : client_select(the_registry, client_request("m", policy));
    torture_hook = NULL;
    bool is_begun = choice_points < 0;
    bool is_new = load_committed(&the_registry->committed) != before;
    CHECK(took == d->right_before || (is_new && took == d->right_after));
    if (is_begun) {
        pthread_barrier_wait(&resumed);
        CHECK(pthread_join(duellist, NULL) == 0);
    } else {
        take_back(the_registry, &writes[0]);
    }
    if (acquires) CHECK(client_return(&lease, NULL));
    client_free(the_registry);
    return is_begun;
}

/* As long as the write has not committed, the choice must be right before it; afterwards, before
 * or after it. A mixture would be a third answer. */
static long a_choice_uses_no_uncommitted_limits(void) {
    long fights = 0;
    CHECK(pthread_barrier_init(&stalled, NULL, 2) == 0);
    CHECK(pthread_barrier_init(&resumed, NULL, 2) == 0);
    for (size_t k = 0; k < sizeof duels / sizeof *duels; k++)
        for (int policy = 0; policy < REG_POLICY_COUNT; policy++)
            for (int acquires = 0; acquires < 2 && duels[k].policies >> policy & 1; acquires++)
                for (long first = 0, second = 0;; fights++) {
                    if (!fight(&duels[k], (reg_policy)policy, acquires, first, second)) break;
                    second = has_stalled ? second + 1 : 0;
                    first += second == 0;
                }
    pthread_barrier_destroy(&stalled);
    pthread_barrier_destroy(&resumed);
    return fights;
}

const test change_point_tests[] = {
    {"change: no choice waits for a stalled write", a_choice_does_not_wait_for_a_stalled_write},
    {"change: an instance that came and went", an_instance_that_came_and_went},
    {"change: a replaced one is never missing", a_replaced_backend_is_never_missing},
    {"change: a cap that came and went", a_cap_that_came_and_went},
    {"change: a backend that went and came", a_backend_that_went_and_came},
    {"change: no uncommitted limit is used", a_choice_uses_no_uncommitted_limits},
    {0}};
#else
const test change_point_tests[] = {{0}};
#endif
