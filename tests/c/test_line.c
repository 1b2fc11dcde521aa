/* Waiting for a place: who gets it, that nobody waits beside a free one, and that no place is
 * lost. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "timed.h"

static reg_registry *reg;
static pthread_barrier_t barrier;

/* A call that waits. */
typedef struct call {
    reg_place_waiter w;
    reg_lease lease;
    _Atomic int wakes;
    _Atomic int references; /* that the core has */
    uint8_t reason;         /* of the first backend, if it was refused */
} call;

/* ---- what the binding does ---- */

static int wake_one(reg_waiter *node) {
    call *c = node->object;
    c->references--;
    c->wakes++; /* the last access: the call may end now */
    return 1;
}

static int wake(reg_wakes *wakes) {
    int count = 0;
    for (reg_waiter *node; (node = reg_wakes_next(wakes)) != NULL;) count += wake_one(node);
    return count;
}

static void drop(call *c, reg_refusal *refusal) {
    c->reason = refusal->count == 0 ? REG_ELIGIBLE : refusal->items[0].reason;
    reg_refusal_drop(refusal, object_release);
}

static reg_status conclude(call *c, reg_status status, reg_refusal *refusal, reg_wakes *wakes) {
    if (status == REG_NONE_AVAILABLE || status == REG_LINE_FULL || status == REG_CHANGED)
        drop(c, refusal);
    if (status == REG_OK) c->w.lease = NULL;
    wake(wakes);
    return status;
}

static void prepare(call *c, const char *model_id, int32_t priority) {
    memset(c, 0, sizeof *c);
    c->w = (reg_place_waiter){.node.object = c,
                              .request = client_request(model_id, REG_LEAST_PENDING),
                              .lease = &c->lease,
                              .priority = priority};
    c->w.request.may_block = true;
}

static reg_status enter_if(call *c, bool may_wait) {
    reg_refusal refusal;
    reg_wakes wakes = {0};
    reg_status status;
    do {
        c->references += 2;
        status = reg_line_enter(reg, &c->w, may_wait, &refusal, &wakes);
        if (status != REG_WAITS) c->references -= (int)c->w.given_back;
        if (status == REG_CHANGED) {
            drop(c, &refusal);
            wake(&wakes);
        }
    } while (status == REG_CHANGED);
    return conclude(c, status, &refusal, &wakes);
}

static reg_status enter(call *c, const char *model_id, int32_t priority) {
    prepare(c, model_id, priority);
    return enter_if(c, true);
}

static reg_status look(call *c, bool is_last) {
    reg_refusal refusal;
    reg_wakes wakes = {0};
    c->references++;
    reg_status status = reg_line_look(reg, &c->w, is_last, &refusal, &wakes);
    c->references -= (int)c->w.given_back;
    return conclude(c, status, &refusal, &wakes);
}

/* Ends the wait. Returns how many others were woken because of it. */
static int leave(call *c) {
    reg_wakes wakes = {0};
    c->references -= (int)reg_line_leave(reg, &c->w, &wakes);
    int count = wake(&wakes);
    while (c->references != 0) sched_yield(); /* whoever is waking it still has one */
    return count;
}

/* After an event, if `is_waited`. Returns how many were woken. */
static int hand_over(void) {
    reg_wakes wakes = {0};
    if (!reg_is_waited(reg)) return 0;
    reg_hand_over(reg, &wakes);
    return wake(&wakes);
}

static bool ends_quietly(reg_lease *lease) {
    reg_aftermath after = {0};
    uint32_t sample = 1;
    CHECK(reg_lease_release(lease, REG_SUCCEEDED, &sample, &after));
    reg_lease_drop(lease, object_release);
    return after.flags & REG_IS_WAITED;
}

/* Ends a request. Returns how many were woken. */
static int end(reg_lease *lease) {
    reg_aftermath after = {0};
    reg_wakes wakes = {0};
    uint32_t sample = 1;
    CHECK(reg_lease_release(lease, REG_SUCCEEDED, &sample, &after));
    if (after.flags & REG_IS_WAITED) reg_lease_hand_over(lease, &wakes);
    reg_lease_drop(lease, object_release);
    return wake(&wakes);
}

/* The call was woken with a lease, and ends its request. */
static int served(call *c) {
    CHECK(c->wakes == 1 && look(c, false) == REG_OK && c->references == 0);
    return end(&c->lease);
}

static bool waits(const call *c) { return c->w.node.is_listed && c->wakes == 0; }

static reg_status beside(reg_request request, reg_lease *lease, uint8_t *reason) {
    reg_refusal refusal;
    reg_wakes wakes = {0};
    request.may_block = true;
    reg_status status = reg_acquire_beside(reg, &request, lease, &refusal, &wakes);
    if (status == REG_NONE_AVAILABLE) {
        if (reason != NULL) *reason = refusal.items[0].reason;
        reg_refusal_drop(&refusal, object_release);
    }
    wake(&wakes);
    return status;
}

/* ---- fleets ---- */

static void of_one(offer *o, int number) {
    (void)number;
    o->max_pending = 1;
}

/* b0 serves m and n, b1 only m, b2 only n. */
static void of_two_models(offer *o, int number) {
    o->max_pending = 1;
    o->models[0] = number == 2 ? "n" : "m";
    o->models[1] = number == 0 ? "n" : NULL;
}

static void take(const char *model_id, reg_lease *lease) {
    CHECK(client_acquire(reg, client_request(model_id, REG_LEAST_PENDING), lease) >= 0);
}

/* Takes the place of this backend. */
static void take_on(const char *id, const char *model_id, reg_lease *lease) {
    reg_key key = key_of(id);
    reg_request request = client_request(model_id, REG_LEAST_PENDING);
    request.is_limited = true;
    request.only = &key;
    request.only_count = 1;
    CHECK(client_acquire(reg, request, lease) >= 0);
}

static reg_key b0, b1;

static void only(call *c, reg_key *id) {
    c->w.request.is_limited = true;
    c->w.request.only = id;
    c->w.request.only_count = 1;
}

/* ---- the order ---- */

static long who_came_first_goes_first(void) {
    enum { MANY = 300 };
    static call calls[MANY];
    reg_lease lease;
    reg_key m = key_of("m"), unknown = key_of("no");
    reg = client_fleet(1, of_one);
    take("m", &lease);
    for (int i = 0; i < MANY; i++) CHECK(enter(&calls[i], "m", 0) == REG_WAITS);
    CHECK(reg_waiting(reg, &m) == MANY && reg_waiting(reg, &unknown) == 0);
    CHECK(end(&lease) == 1);
    for (int i = 0; i < MANY; i++) CHECK(served(&calls[i]) == (i + 1 < MANY));
    CHECK(!reg_is_waited(reg) && client_in_flight(reg, "b0") == 0);
    client_free(reg);
    return MANY;
}

static long a_lower_priority_goes_first(void) {
    enum { MANY = 200 };
    static call calls[MANY];
    reg_lease lease;
    reg = client_fleet(1, of_one);
    take("m", &lease);
    for (int i = 0; i < MANY; i++) CHECK(enter(&calls[i], "m", i * 37 % 11 - 5) == REG_WAITS);
    end(&lease);
    for (int priority = -5, count = 0; priority <= 5; priority++)
        for (int i = 0; i < MANY; i++)
            if (calls[i].w.priority == priority) CHECK(served(&calls[i]) == (++count < MANY));
    client_free(reg);
    return MANY;
}

static long whoever_fits_no_place_is_passed_over(void) {
    call first, second, third;
    reg_lease leases[2];
    b0 = key_of("b0"), b1 = key_of("b1");
    reg = client_fleet(2, of_one);
    take_on("b0", "m", &leases[0]), take_on("b1", "m", &leases[1]);
    prepare(&first, "m", 0), only(&first, &b0);
    CHECK(enter_if(&first, true) == REG_WAITS);
    prepare(&second, "m", 7), only(&second, &b1);
    CHECK(enter_if(&second, true) == REG_WAITS);
    CHECK(enter(&third, "m", 9) == REG_WAITS);
    CHECK(end(&leases[1]) == 1 && waits(&first) && waits(&third));
    CHECK(served(&second) == 1 && waits(&first));
    CHECK(served(&third) == 0 && end(&leases[0]) == 1 && served(&first) == 0);
    client_free(reg);
    return 3;
}

static long models_that_share_a_backend_take_turns_as_they_came(void) {
    call n1, m1, n2, m2;
    reg_lease leases[3];
    reg = client_fleet(3, of_two_models);
    take_on("b0", "m", &leases[0]), take_on("b1", "m", &leases[1]);
    take_on("b2", "n", &leases[2]);
    CHECK(enter(&n1, "n", 9) == REG_WAITS && enter(&m1, "m", 0) == REG_WAITS);
    CHECK(enter(&n2, "n", 9) == REG_WAITS && enter(&m2, "m", -1) == REG_WAITS);
    CHECK(end(&leases[0]) == 1 && served(&n1) == 1); /* n1 goes before m1: it came first */
    /* Of m, m2 has the better priority, but n2 came before it. */
    CHECK(served(&n2) == 1 && served(&m2) == 1 && served(&m1) == 0);
    CHECK(end(&leases[1]) == 0 && end(&leases[2]) == 0);
    client_free(reg);
    return 4;
}

/* ---- overtaking ---- */

static long a_plain_request_does_not_overtake(void) {
    call c;
    reg_lease leases[2], lease = {0};
    uint8_t reason = 0;
    reg_refusal refusal;
    b0 = key_of("b0");
    reg = client_fleet(2, of_one);
    take_on("b0", "m", &leases[0]), take_on("b1", "m", &leases[1]);
    prepare(&c, "m", 0), only(&c, &b0);
    CHECK(enter_if(&c, true) == REG_WAITS);
    reg_request request = client_request("m", REG_LEAST_PENDING);
    CHECK(reg_acquire(reg, &request, &lease, &refusal) == REG_WAITS);
    CHECK(beside(request, &lease, &reason) == REG_NONE_AVAILABLE && reason == REG_WAITING);
    CHECK(ends_quietly(&leases[0])); /* the place is free, but not handed over yet */
    CHECK(client_select(reg, request) == 0);
    CHECK(beside(request, &lease, &reason) == REG_NONE_AVAILABLE && reason == REG_FULL);
    CHECK(c.wakes == 1); /* the plain request has handed it over */
    CHECK(hand_over() == 0 && served(&c) == 0);
    take("m", &leases[0]);
    prepare(&c, "m", 0), only(&c, &b0);
    CHECK(enter_if(&c, true) == REG_WAITS);
    ends_quietly(&leases[1]);
    CHECK(beside(request, &lease, NULL) == REG_OK); /* the waiter does not want b1 */
    CHECK(client_in_flight(reg, "b1") == 1 && waits(&c) && leave(&c) == 0);
    end(&lease), end(&leases[0]);
    client_free(reg);
    return 6;
}

static long explain_reports_who_is_waited_for(void) {
    call c;
    reg_lease lease;
    reg_candidates found;
    reg = client_fleet(1, of_one);
    take("m", &lease);
    reg_request request = client_request("m", REG_LEAST_PENDING);
    for (int i = 0; i < 2; i++) {
        if (i == 1) CHECK(enter(&c, "m", 0) == REG_WAITS);
        reg_reader *reader = reg_read_begin();
        CHECK(reg_explain(reg, &request, &found) == REG_OK && found.count == 1);
        CHECK(found.items[0].reason == (i == 0 ? REG_FULL : REG_WAITING));
        reg_read_end(reader);
        reg_candidates_free(&found);
    }
    CHECK(leave(&c) == 0);
    end(&lease);
    client_free(reg);
    return 2;
}

/* ---- what makes room, and what ends a wait ---- */

static long writes_make_room(void) {
    call c;
    reg_lease lease, other;
    offer o = {.id = "b0", .models = {"m"}, .max_pending = 2};
    reg = client_fleet(1, of_one);
    take("m", &lease);
    CHECK(enter(&c, "m", 0) == REG_WAITS);
    CHECK(client_redefine(reg, &o, 5) == REG_OK && hand_over() == 1 && served(&c) == 0);
    take("m", &other);
    CHECK(enter(&c, "m", 0) == REG_WAITS);
    CHECK(client_add(reg, &(offer){.id = "b9", .models = {"m"}}, 6) == REG_OK && hand_over() == 0);
    CHECK(client_health(reg, "b9", REG_HEALTHY, 0) == REG_OK && hand_over() == 1);
    CHECK(served(&c) == 0 && client_health(reg, "b9", REG_UNHEALTHY, 0) == REG_OK);
    CHECK(enter(&c, "m", 0) == REG_WAITS);
    CHECK(client_remove(reg, "b9", NULL) == REG_OK && hand_over() == 0 && waits(&c));
    CHECK(client_remove(reg, "b0", NULL) == REG_OK && hand_over() == 1);
    CHECK(look(&c, false) == REG_NONE_AVAILABLE && c.references == 0 && leave(&c) == 0);
    CHECK(enter(&c, "m", 0) == REG_NONE_AVAILABLE && c.references == 0);
    end(&lease), end(&other);
    client_free(reg);
    return 6;
}

static long only_what_may_pass_is_waited_for(void) {
    call c;
    reg_lease lease;
    b0 = key_of("b0"), b1 = key_of("no");
    reg = client_fleet(1, of_one);
    prepare(&c, "m", 0), c.w.request.capabilities = REG_VISION;
    CHECK(enter_if(&c, true) == REG_NONE_AVAILABLE && c.reason == REG_NO_VISION);
    prepare(&c, "m", 0), c.w.request.min_context = UINT32_MAX;
    CHECK(enter_if(&c, true) == REG_NONE_AVAILABLE && c.reason == REG_SHORT_CONTEXT);
    prepare(&c, "m", 0), only(&c, &b1);
    CHECK(enter_if(&c, true) == REG_NONE_AVAILABLE && c.reason == REG_EXCLUDED);
    prepare(&c, "m", 0), c.w.request.exclude = &b0, c.w.request.exclude_count = 1;
    CHECK(enter_if(&c, true) == REG_NONE_AVAILABLE && c.reason == REG_EXCLUDED);
    CHECK(enter(&c, "no", 0) == REG_NONE_AVAILABLE);
    take("m", &lease);
    prepare(&c, "m", 0);
    CHECK(enter_if(&c, false) == REG_NONE_AVAILABLE && c.reason == REG_FULL); /* one try */
    CHECK(c.references == 0 && !reg_is_waited(reg));
    CHECK(enter(&c, "m", 0) == REG_WAITS && look(&c, false) == REG_WAITS);
    CHECK(look(&c, true) == REG_NONE_AVAILABLE && c.reason == REG_FULL && c.references == 0);
    CHECK(leave(&c) == 0 && leave(&c) == 0);
    end(&lease);
    client_free(reg);
    return 8;
}

static long a_place_of_one_who_leaves_goes_to_the_next(void) {
    call first, second;
    reg_lease lease;
    reg_view view;
    reg_key id = key_of("b0");
    reg = client_fleet(1, of_one);
    take("m", &lease);
    CHECK(enter(&first, "m", 0) == REG_WAITS && enter(&second, "m", 0) == REG_WAITS);
    CHECK(end(&lease) == 1 && first.wakes == 1 && second.wakes == 0);
    CHECK(leave(&first) == 1 && leave(&first) == 0); /* it was served, and was cancelled */
    reg_lease_drop(&first.lease, object_release);
    CHECK(client_in_flight(reg, "b0") == 1 && served(&second) == 0);
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &view) == REG_OK && view.total == 2 && view.pending == 0);
    reg_read_end(reader);
    /* One whose time is up when it has been served keeps the place. */
    take("m", &lease);
    CHECK(enter(&first, "m", 0) == REG_WAITS && end(&lease) == 1 && look(&first, true) == REG_OK);
    CHECK(first.references == 0 && end(&first.lease) == 0);
    client_free(reg);
    return 3;
}

static long a_line_has_a_limit(void) {
    call first, second, other;
    reg_lease leases[3];
    reg_settings settings = {.latency_ttl = REG_NEVER, .max_waiting = 1};
    reg_registry *wide = client_fleet(3, of_two_models);
    client_free(wide);
    reg = reg_new(&settings);
    CHECK(client_add(reg, &(offer){.id = "b0", .models = {"m"}, .max_pending = 1}, 0) == REG_OK);
    CHECK(client_add(reg, &(offer){.id = "b1", .models = {"n"}, .max_pending = 1}, 1) == REG_OK);
    CHECK(client_health(reg, "b0", REG_HEALTHY, 0) == REG_OK &&
          client_health(reg, "b1", REG_HEALTHY, 0) == REG_OK);
    take("m", &leases[0]), take("n", &leases[1]);
    CHECK(enter(&first, "m", 0) == REG_WAITS && enter(&second, "m", -1) == REG_LINE_FULL);
    CHECK(second.reason == REG_WAITING && second.references == 0);
    CHECK(enter(&other, "n", 0) == REG_WAITS); /* a limit for each model */
    CHECK(leave(&first) == 0 && enter(&second, "m", 0) == REG_WAITS && end(&leases[0]) == 1);
    CHECK(served(&second) == 0 && end(&leases[1]) == 1 && served(&other) == 0);
    client_free(reg);
    return 3;
}

/* ---- time ---- */

static long a_clock_that_is_moved_hands_over(void) {
    call c, other;
    reg_key id = key_of("b0");
    reg_garbage *garbage;
    fleet f = new_fleet(1, NULL);
    reg = f.reg;
    CHECK(reg_cool_down(reg, &id, 0, 10 * SECOND, &garbage) == REG_OK);
    reg_destroy(garbage, object_release);
    CHECK(enter(&c, "m", 0) == REG_WAITS && c.w.look_after == REG_NEVER);
    CHECK(enter(&other, "m", 0) == REG_WAITS);
    for (int i = 1; i <= 10; i++) {
        reg_wakes wakes = {0};
        reg_clock_advance(f.clock, SECOND);
        reg_clock_hand_over(f.clock, &wakes);
        CHECK(wake(&wakes) == (i < 10 ? 0 : 2));
    }
    CHECK(served(&c) == 0 && served(&other) == 0);
    free_fleet(f);
    return 10;
}

static void cool_down(uint64_t span) {
    reg_key id = key_of("b0");
    reg_garbage *garbage;
    CHECK(reg_cool_down(reg, &id, 0, span, &garbage) == REG_OK);
    reg_destroy(garbage, object_release);
}

static long all_know_the_first_deadline(void) {
    call first, second;
    reg_lease lease;
    reg = client_fleet(1, of_one);
    take("m", &lease);
    CHECK(enter(&first, "m", 0) == REG_WAITS && first.w.look_after == REG_NEVER);
    CHECK(enter(&second, "m", 0) == REG_WAITS);
    cool_down(600 * SECOND);
    CHECK(hand_over() == 2 && first.wakes == 1 && second.wakes == 1); /* all are nudged, */
    CHECK(end(&lease) == 0 && hand_over() == 0);                      /* once */
    CHECK(look(&first, false) == REG_WAITS && first.w.look_after <= 600 * SECOND);
    CHECK(first.references == 2 && hand_over() == 0);
    CHECK(leave(&first) == 0); /* nobody depends on it */
    CHECK(look(&second, false) == REG_WAITS && second.w.look_after <= 600 * SECOND);
    CHECK(enter(&first, "m", 0) == REG_WAITS && first.w.look_after <= 600 * SECOND);
    CHECK(hand_over() == 0); /* they know already */
    CHECK(leave(&second) == 0 && leave(&first) == 0);
    client_free(reg);
    reg = client_fleet(1, of_one);
    cool_down(2000000);
    CHECK(enter(&first, "m", 0) == REG_WAITS);
    reg_status status;
    while ((status = look(&first, false)) == REG_WAITS) sched_yield(); /* by the system's clock */
    CHECK(status == REG_OK && end(&first.lease) == 0);
    client_free(reg);
    return 5;
}

/* The waiter looks, by its own timer, before the thread that nudges it has come to it. */
static long a_nudge_on_its_way_is_not_repeated(void) {
    call first, second;
    reg_lease leases[2];
    reg_wakes slow = {0}, fast = {0};
    reg_key b1_id = key_of("b1");
    reg_garbage *garbage;
    reg = client_fleet(2, of_one);
    take("m", &leases[0]), take("m", &leases[1]);
    CHECK(enter(&first, "m", 0) == REG_WAITS && enter(&second, "m", 1) == REG_WAITS);
    cool_down(600 * SECOND);
    reg_hand_over(reg, &slow);
    CHECK(look(&first, false) == REG_WAITS && first.references == 3);
    CHECK(reg_cool_down(reg, &b1_id, 0, 300 * SECOND, &garbage) == REG_OK);
    reg_destroy(garbage, object_release);
    reg_hand_over(reg, &fast);
    CHECK(wake(&fast) == 0 && wake(&slow) == 2 && first.wakes == 1 && second.wakes == 1);
    CHECK(look(&first, false) == REG_WAITS && first.w.look_after <= 300 * SECOND);
    CHECK(look(&second, false) == REG_WAITS && second.w.look_after <= 300 * SECOND);
    CHECK(first.references == 2 && second.references == 2);
    CHECK(leave(&first) == 0 && leave(&second) == 0);
    end(&leases[0]), end(&leases[1]);
    client_free(reg);
    return 2;
}

static void *leave_too(void *caller) {
    call *c = caller;
    reg_wakes wakes = {0};
    pthread_barrier_wait(&barrier);
    c->references -= (int)reg_line_leave(reg, &c->w, &wakes);
    CHECK(wake(&wakes) == 0);
    return NULL;
}

/* As when an event loop is closed: whoever wakes the call ends it, beside itself. */
static long two_end_one_wait(void) {
    enum { WAITS = 500 };
    reg_lease lease;
    reg = client_fleet(1, of_one);
    take("m", &lease);
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < WAITS; i++) {
        pthread_t other;
        call c;
        CHECK(enter(&c, "m", 0) == REG_WAITS && c.references == 2);
        CHECK(pthread_create(&other, NULL, leave_too, &c) == 0);
        pthread_barrier_wait(&barrier);
        CHECK(leave(&c) == 0);
        CHECK(pthread_join(other, NULL) == 0 && c.references == 0);
    }
    pthread_barrier_destroy(&barrier);
    end(&lease);
    client_free(reg);
    return WAITS;
}

/* ---- memory ---- */

static _Thread_local long allowed;
static bool grant(void) { return allowed-- > 0; }

static long a_wait_without_memory_leaves_nothing_behind(void) {
    long rounds = 0;
    call c, other;
    reg_lease lease;
    b0 = key_of("b0");
    reg = client_fleet(1, of_one);
    take("m", &lease);
    for (reg_status status = REG_NO_MEMORY; status == REG_NO_MEMORY; rounds++) {
        prepare(&c, "m", 0), only(&c, &b0);
        allowed = rounds;
        memory_set_gate(grant);
        status = enter_if(&c, true);
        memory_set_gate(NULL);
        CHECK(status == REG_NO_MEMORY || status == REG_WAITS);
        if (status == REG_NO_MEMORY) CHECK(c.references == 0 && !reg_is_waited(reg));
    }
    CHECK(enter(&other, "m", 0) == REG_WAITS);
    allowed = 0;
    memory_set_gate(grant); /* it needs memory for `only` */
    CHECK(end(&lease) == 2);
    memory_set_gate(NULL);
    CHECK(look(&c, false) == REG_NO_MEMORY && leave(&c) == 0 && served(&other) == 0);
    client_free(reg);
    return rounds;
}

/* ---- threads ---- */

enum { ROUNDS = 4000, THREADS = 4 };

static _Atomic bool over;
static _Atomic long given_up;

/* A call that waits for a place, uses it, or gives up. Without a lost wake-up, every call ends. */
static void *use_places(void *number) {
    uint64_t seed = (uint64_t)(uintptr_t)number + 1;
    for (int i = 0; i < ROUNDS; i++) {
        call c;
        prepare(&c, seed % 3 == 0 ? "n" : "m", (int)(seed >> 7) % 3);
        uint64_t draw = seed = seed * 6364136223846793005u + 1442695040888963407u;
        reg_status status = enter_if(&c, true);
        bool gives_up = draw >> 33 & 1;
        for (int left = (int)(draw >> 40 & 15); status == REG_WAITS;) {
            while (c.wakes == 0 && !(gives_up && left-- <= 0)) sched_yield();
            if (c.wakes == 0) break;
            status = look(&c, false);
            CHECK(status == REG_OK);
        }
        if (status == REG_OK) {
            CHECK(leave(&c) == 0);
            end(&c.lease);
            continue;
        }
        given_up++;
        leave(&c);
        reg_lease_drop(&c.lease, object_release);
    }
    return NULL;
}

static void *pass_by(void *unused) {
    while (!over) {
        reg_lease lease = {0};
        if (beside(client_request("m", REG_LEAST_PENDING), &lease, NULL) == REG_OK) end(&lease);
        sched_yield();
    }
    return unused;
}

static long nobody_waits_beside_a_free_place(void) {
    pthread_t threads[THREADS], other;
    reg = client_fleet(3, of_two_models);
    over = false;
    given_up = 0;
    CHECK(pthread_create(&other, NULL, pass_by, NULL) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, use_places, (void *)(i * 3)) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    over = true;
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(!reg_is_waited(reg));
    for (int i = 0; i < 3; i++)
        CHECK(client_in_flight(reg, (const char *[]){"b0", "b1", "b2"}[i]) == 0);
    client_free(reg);
    return THREADS * ROUNDS;
}

static reg_lease held;

static void *release_late(void *unused) {
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&barrier);
        for (volatile int delay = i / 8 % 64; delay > 0; delay--) {
        }
        end(&held);
        pthread_barrier_wait(&barrier);
    }
    return unused;
}

/* A release at about the same time as a wait that begins: one wake-up, and nothing repairs it. */
static long no_wake_up_is_lost(void) {
    pthread_t releasing;
    reg = client_fleet(1, of_one);
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK(pthread_create(&releasing, NULL, release_late, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        call c;
        held = (reg_lease){0};
        take("m", &held);
        pthread_barrier_wait(&barrier);
        reg_status status = enter(&c, "m", 0);
        while (status == REG_WAITS && c.wakes == 0) sched_yield();
        if (status == REG_WAITS) status = look(&c, false);
        CHECK(status == REG_OK && leave(&c) == 0);
        end(&c.lease);
        pthread_barrier_wait(&barrier);
    }
    CHECK(pthread_join(releasing, NULL) == 0);
    pthread_barrier_destroy(&barrier);
    client_free(reg);
    return ROUNDS;
}

#ifdef REG_TORTURE
extern _Thread_local void (*torture_hook)(void);
static _Atomic int releases_wanted, releases;
static int points_left;

static void *release_when_told(void *unused) {
    for (int done = 0; !over;) {
        if (releases_wanted == done) {
            sched_yield();
            continue;
        }
        end(&held);
        releases = ++done;
    }
    return unused;
}

/* Another thread releases. At a point under the line's lock it may have to wait for this thread, so
 * this one goes on after a while. */
static void release_elsewhere(void) {
    if (points_left-- != 0) return;
    int wanted = ++releases_wanted;
    for (int i = 0; releases != wanted && i < 500; i++) sched_yield();
}

/* The same at any one point of the wait's beginning. */
static long a_release_at_each_point_wakes(void) {
    pthread_t releasing;
    long points = 0;
    reg = client_fleet(1, of_one);
    over = false;
    releases_wanted = releases = 0;
    CHECK(pthread_create(&releasing, NULL, release_when_told, NULL) == 0);
    for (bool is_last = false; !is_last; points++) {
        call c;
        held = (reg_lease){0};
        take("m", &held);
        points_left = (int)points;
        torture_hook = release_elsewhere;
        reg_status status = enter(&c, "m", 0);
        torture_hook = NULL;
        is_last = points_left >= 0;
        if (is_last) releases_wanted++;
        while (releases != releases_wanted) sched_yield();
        CHECK(status == REG_OK || c.wakes == 1);
        if (status == REG_WAITS) status = look(&c, false);
        CHECK(status == REG_OK && leave(&c) == 0);
        end(&c.lease);
    }
    over = true;
    CHECK(pthread_join(releasing, NULL) == 0);
    client_free(reg);
    return points;
}
#endif

static void *enter_and_leave(void *unused) {
    call c;
    while (!over) {
        CHECK(enter(&c, "m", 0) == REG_WAITS);
        leave(&c);
    }
    return unused;
}

static long a_forked_child_has_only_its_own_waiters(void) {
    enum { FORKS = 50 };
    pthread_t thread;
    call own;
    reg_lease lease;
    reg = client_fleet(3, of_two_models);
    take("m", &lease);
    take("m", &held);
    CHECK(enter(&own, "m", 5) == REG_WAITS);
    over = false;
    CHECK(pthread_create(&thread, NULL, enter_and_leave, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            reg_key m = key_of("m");
            alarm(10);
            bool works = reg_waiting(reg, &m) == 1 && end(&lease) == 1 && served(&own) == 0;
            _exit(works && !reg_is_waited(reg) ? 0 : 1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    over = true;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(leave(&own) == 0);
    end(&lease), end(&held);
    client_free(reg);
    return FORKS;
}

const test line_tests[] = {
    {"line: who came first goes first", who_came_first_goes_first},
    {"line: a lower priority goes first", a_lower_priority_goes_first},
    {"line: whoever fits no place is passed over", whoever_fits_no_place_is_passed_over},
    {"line: models that share a backend", models_that_share_a_backend_take_turns_as_they_came},
    {"line: a plain request does not overtake", a_plain_request_does_not_overtake},
    {"line: explain reports it", explain_reports_who_is_waited_for},
    {"line: writes make room", writes_make_room},
    {"line: only what may pass is waited for", only_what_may_pass_is_waited_for},
    {"line: a place of one who leaves", a_place_of_one_who_leaves_goes_to_the_next},
    {"line: a limit", a_line_has_a_limit},
    {"line: a clock that is moved", a_clock_that_is_moved_hands_over},
    {"line: all know the first deadline", all_know_the_first_deadline},
    {"line: a nudge on its way", a_nudge_on_its_way_is_not_repeated},
    {"line: two end one wait", two_end_one_wait},
    {"line: without memory", a_wait_without_memory_leaves_nothing_behind},
    {"line: no wake-up is lost", no_wake_up_is_lost},
#ifdef REG_TORTURE
    {"line: no wake-up is lost at any point", a_release_at_each_point_wakes},
#endif
    {"line: nobody waits beside a free place", nobody_waits_beside_a_free_place},
    {"line: a forked child", a_forked_child_has_only_its_own_waiters},
    {0}};
