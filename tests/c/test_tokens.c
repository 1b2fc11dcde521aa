/* Tokens in flight: the sum of each backend is exact, no choice lets it pass the cap, and the
 * policy that compares it is right at one instant. */
#include <pthread.h>

#include "check.h"
#include "client.h"
#include "registry/layout.h"

static reg_request request_of(reg_policy policy, uint32_t tokens) {
    reg_request request = client_request("m", policy);
    request.tokens = tokens;
    return request;
}

static bool release(reg_lease *lease, reg_outcome outcome) {
    reg_aftermath after = {0};
    bool is_first = reg_lease_release(lease, outcome, NULL, &after);
    CHECK(after.flags == 0);
    return is_first;
}

/* ---- the pair of words ---- */

/* Tries each operation on a claimed word. Only where the word is as it was, it may be taken. */
static long a_change_of_tokens_ends_a_claim(void) {
    for (int what = 0; what < 4; what++) {
        _Alignas(16) counters c = {.pending = COUNTER_VERSION * 7 | 1, .tokens = 50};
        uint64_t word = c.pending, tokens = 0;
        uint32_t value;
        CHECK(counter_claim(&c.pending, &word));
        if (what == 0) counter_replace_tokens(&c, 50, 20);
        if (what == 1) CHECK(counter_increment(&c.pending, &value));
        if (what == 2) CHECK(!counter_is_claimed(counter_report_load(&c, &tokens)) && tokens == 50);
        CHECK(counter_take_tokens(&c, word, COUNTER_TRIAL, 30) == (what == 3));
        CHECK(c.tokens == (what == 0 ? 20 : what == 3 ? 80 : 50));
        CHECK(counter_in_flight(c.pending) == (what == 1 || what == 3 ? 2 : 1));
        CHECK(counter_has_trial(c.pending) == (what == 3));
        CHECK((counter_decrements(c.pending) == 7) == (what == 1 || what == 3));
    }
    return 4;
}

static _Alignas(16) counters shared;
enum { STEPS = 20000 };

static void *add_and_subtract(void *unused) {
    (void)unused;
    for (uint32_t i = 1; i <= STEPS; i++) {
        uint64_t word = load_seq_cst(&shared.pending);
        while (!counter_take_tokens(&shared, word, 0, i)) word = load_seq_cst(&shared.pending);
        counter_replace_tokens(&shared, i, 2 * i);
        counter_replace_tokens(&shared, 2 * i, 0);
        uint32_t value;
        CHECK(counter_decrement(&shared.pending, &value));
    }
    return NULL;
}

/* Each request in flight has tokens or has just given them back, so a sum without a request would
 * be of another instant. */
static long a_reported_pair_is_of_one_instant(void) {
    enum { ADDERS = 3 };
    pthread_t threads[ADDERS];
    shared = (counters){.pending = 0};
    for (int i = 0; i < ADDERS; i++)
        CHECK(pthread_create(&threads[i], NULL, add_and_subtract, NULL) == 0);
    for (int i = 0; i < STEPS; i++) {
        uint64_t tokens, word = counter_report_load(&shared, &tokens);
        CHECK(tokens <= (uint64_t)counter_in_flight(word) * 2 * STEPS);
    }
    for (int i = 0; i < ADDERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(shared.tokens == 0 && counter_in_flight(shared.pending) == 0);
    return STEPS;
}

/* ---- leases ---- */

static long a_sum_follows_its_leases(void) {
    reg_registry *reg = client_fleet(1, NULL);
    reg_lease a, b, c;
    CHECK(client_acquire(reg, request_of(REG_LEAST_PENDING, 300), &a) == 0);
    CHECK(client_acquire(reg, request_of(REG_RANDOM, UINT32_MAX), &b) == 0);
    CHECK(client_acquire(reg, request_of(REG_ROUND_ROBIN, 0), &c) == 0);
    CHECK(client_tokens(reg, "b0") == 300 + (uint64_t)UINT32_MAX &&
          client_in_flight(reg, "b0") == 3);
    CHECK(reg_lease_tokens(&a) == 300 && reg_lease_set_tokens(&a, 40) &&
          reg_lease_tokens(&a) == 40);
    CHECK(reg_lease_set_tokens(&c, 7) && reg_lease_set_tokens(&c, 7));
    CHECK(client_tokens(reg, "b0") == 47 + (uint64_t)UINT32_MAX);
    CHECK(reg_lease_first_token(&b, 5) && !reg_lease_first_token(&b, 9));
    CHECK(client_tokens(reg, "b0") == 52);
    CHECK(reg_lease_first_token(&a, 0) && reg_lease_tokens(&a) == 0);
    CHECK(client_tokens(reg, "b0") == 12);
    CHECK(release(&b, REG_FAILED) && !reg_lease_first_token(&b, 3));
    CHECK(reg_lease_tokens(&b) == 0 && !reg_lease_set_tokens(&b, 8) &&
          client_tokens(reg, "b0") == 7);
    CHECK(release(&c, REG_ABANDONED) && release(&a, REG_SUCCEEDED) && !release(&a, REG_FAILED));
    CHECK(client_tokens(reg, "b0") == 0 && client_in_flight(reg, "b0") == 0);
    reg_lease_drop(&a, object_release);
    reg_lease_drop(&b, object_release);
    reg_lease_drop(&c, object_release);
    client_free(reg);
    return 3;
}

/* A back-off is settled after the release; until then the tokens stay. */
static long a_settled_release_gives_tokens_back(void) {
    reg_registry *reg = client_fleet(1, NULL);
    reg_lease lease;
    reg_aftermath after = {0};
    reg_waiter *watchers;
    reg_garbage *garbage;
    CHECK(client_acquire(reg, request_of(REG_LEAST_TOKENS, 90), &lease) == 0);
    CHECK(reg_lease_release(&lease, REG_BACK_OFF, NULL, &after) && after.flags == REG_MUST_SETTLE);
    CHECK(reg_lease_tokens(&lease) == 0 && client_tokens(reg, "b0") == 90);
    reg_lease_settle(&lease, REG_BACK_OFF, 0, &after, &watchers, &garbage);
    reg_destroy(garbage, object_release);
    CHECK(client_tokens(reg, "b0") == 0 && client_in_flight(reg, "b0") == 0);
    reg_lease_drop(&lease, object_release);
    client_free(reg);
    return 1;
}

static long tokens_belong_to_a_registration(void) {
    reg_registry *reg = client_fleet(1, NULL);
    reg_lease old, fresh;
    CHECK(client_acquire(reg, request_of(REG_LEAST_PENDING, 100), &old) == 0);
    CHECK(client_redefine(reg, &(offer){.id = "b0", .models = {"m"}}, 5) == REG_OK);
    CHECK(client_tokens(reg, "b0") == 100);
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    CHECK(client_add(reg, &(offer){.id = "b0", .models = {"m"}}, 7) == REG_OK);
    CHECK(client_health(reg, "b0", REG_HEALTHY, -1) == REG_OK);
    CHECK(client_tokens(reg, "b0") == 0);
    CHECK(client_acquire(reg, request_of(REG_LEAST_PENDING, 3), &fresh) == 7);
    CHECK(reg_lease_set_tokens(&old, 1000) && client_tokens(reg, "b0") == 3);
    CHECK(client_return(&old, NULL) && client_tokens(reg, "b0") == 3);
    reg_free(reg, object_release);
    CHECK(reg_lease_set_tokens(&fresh, 4) && client_return(&fresh, NULL));
    CHECK(objects_alive == 0);
    return 2;
}

/* ---- the policy ---- */

static void shape_weights(offer *o, int number) { o->weight = number == 1 ? 3 : 1; }

static long least_tokens_compares_exactly(void) {
    reg_registry *reg = client_fleet(2, shape_weights);
    reg_lease leases[6];
    /* 10/1 or 10/3; 10/1 or 20/3; 10/1 or 30/3, where both have fewer requests per weight there. */
    CHECK(client_acquire(reg, request_of(REG_LEAST_TOKENS, 10), &leases[0]) == 1);
    CHECK(client_acquire(reg, request_of(REG_LEAST_TOKENS, 10), &leases[1]) == 1);
    CHECK(client_acquire(reg, request_of(REG_LEAST_TOKENS, 10), &leases[2]) == 0);
    CHECK(client_acquire(reg, request_of(REG_LEAST_TOKENS, 40), &leases[3]) == 1);
    CHECK(reg_lease_set_tokens(&leases[0], UINT32_MAX));
    for (int i = 4; i < 6; i++)
        CHECK(client_acquire(reg, request_of(REG_LEAST_TOKENS, 1000), &leases[i]) == 0);
    for (int i = 0; i < 6; i++) CHECK(client_return(&leases[i], NULL));
    client_free(reg);
    return 6;
}

static long equal_tokens_go_by_requests(void) {
    reg_registry *reg = client_fleet(3, NULL);
    reg_lease leases[12];
    int counts[3] = {0};
    for (int i = 0; i < 12; i++)
        counts[client_acquire(reg, request_of(REG_LEAST_TOKENS, 0), &leases[i])]++;
    CHECK(counts[0] == 4 && counts[1] == 4 && counts[2] == 4);
    for (int i = 0; i < 12; i++) CHECK(client_return(&leases[i], NULL));
    client_free(reg);
    return 12;
}

/* ---- the cap ---- */

static void shape_cap(offer *o, int number) { o->max_pending_tokens = 100 + (uint64_t)number; }

static long a_cap_holds_for_every_policy(void) {
    long choices = 0;
    for (reg_policy policy = 0; policy < REG_POLICY_COUNT; policy++) {
        reg_registry *reg = client_fleet(2, shape_cap);
        reg_lease a, b, c, d;
        int first = client_acquire(reg, request_of(policy, 5000), &a); /* bigger than the cap */
        int second = client_acquire(reg, request_of(policy, 60), &b);
        CHECK(first >= 0 && second == 1 - first);
        CHECK(client_acquire(reg, request_of(policy, 42), &c) == -1);
        CHECK(client_select(reg, request_of(policy, 42)) == -1);
        CHECK(client_select(reg, request_of(policy, 40)) == second);
        CHECK(client_acquire(reg, request_of(policy, 40), &c) == second);
        CHECK(reg_lease_set_tokens(&b, 1000)); /* may exceed it */
        CHECK(client_acquire(reg, request_of(policy, 0), &d) == -1);
        CHECK(client_return(&a, NULL));
        CHECK(client_acquire(reg, request_of(policy, 0), &d) == first);
        CHECK(client_return(&b, NULL) && client_return(&c, NULL) && client_return(&d, NULL));
        choices += 8;
        client_free(reg);
    }
    return choices;
}

static long a_cap_changes_with_its_definition(void) {
    reg_registry *reg = client_fleet(1, NULL);
    reg_lease a, b;
    offer o = {.id = "b0", .models = {"m"}, .max_pending_tokens = 10};
    CHECK(client_acquire(reg, request_of(REG_LEAST_PENDING, 20), &a) == 0);
    CHECK(client_redefine(reg, &o, 1) == REG_OK);
    CHECK(client_acquire(reg, request_of(REG_LEAST_PENDING, 0), &b) == -1);
    o.max_pending_tokens = UINT64_MAX;
    CHECK(client_redefine(reg, &o, 2) == REG_OK);
    CHECK(client_acquire(reg, request_of(REG_LEAST_PENDING, UINT32_MAX), &b) == 2);
    CHECK(client_return(&a, NULL) && client_return(&b, NULL));
    client_free(reg);
    return 4;
}

/* Where a backend is full only by its tokens, its average still is the best one. */
static long the_best_average_may_be_of_a_full_one(void) {
    reg_registry *reg = client_fleet(3, shape_cap);
    reg_lease lease;
    uint32_t average;
    reg_key fast = key_of("b0"), slow = key_of("b1");
    CHECK(reg_update_latency(reg, &fast, 10, &average) == REG_OK);
    CHECK(reg_update_latency(reg, &slow, 50, &average) == REG_OK);
    reg_request request = request_of(REG_LOWEST_LATENCY, 200);
    request.is_limited = true;
    request.only = &fast;
    request.only_count = 1;
    CHECK(client_acquire(reg, request, &lease) == 0);
    /* b2 counts as 10 ms, and with 4 in flight as 50 ms: equal to b1, and it wins as unsampled. */
    reg_key third = key_of("b2");
    uint32_t value;
    for (int i = 0; i < 4; i++) CHECK(reg_increment_pending(reg, &third, &value) == REG_OK);
    CHECK(client_select(reg, request_of(REG_LOWEST_LATENCY, 50)) == 2);
    CHECK(reg_increment_pending(reg, &third, &value) == REG_OK);
    CHECK(client_select(reg, request_of(REG_LOWEST_LATENCY, 50)) == 1);
    CHECK(client_return(&lease, NULL));
    client_free(reg);
    return 3;
}

/* ---- threads ---- */

enum { THREADS = 8, ROUNDS = 3000, CAP = 400 };

typedef struct crowd {
    reg_registry *reg;
    reg_policy policy;
    _Atomic bool is_over;
    bool changes; /* leases change their tokens, so the sum may pass the cap */
} crowd;

static void shape_crowd(offer *o, int number) {
    (void)number;
    o->max_pending_tokens = CAP;
}

static void *take_and_return(void *argument) {
    crowd *c = argument;
    long taken = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        reg_lease lease;
        if (client_acquire(c->reg, request_of(c->policy, i % 7 == 0 ? 0 : 37 + i % 150), &lease) <
            0)
            continue;
        if (c->changes && i % 3 == 0) CHECK(reg_lease_set_tokens(&lease, i % 500));
        if (c->changes && i % 5 == 0) CHECK(reg_lease_first_token(&lease, i % 2));
        CHECK(client_return(&lease, NULL));
        taken++;
    }
    CHECK(taken != 0);
    return NULL;
}

static void *watch_the_cap(void *argument) {
    crowd *c = argument;
    while (!load_seq_cst(&c->is_over))
        for (int i = 0; i < 2; i++)
            CHECK(client_tokens(c->reg, i == 0 ? "b0" : "b1") <= CAP || c->changes);
    return NULL;
}

static long run_crowd(reg_policy policy, bool changes) {
    crowd c = {.reg = client_fleet(2, shape_crowd), .policy = policy, .changes = changes};
    pthread_t threads[THREADS], watcher;
    CHECK(pthread_create(&watcher, NULL, watch_the_cap, &c) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, take_and_return, &c) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    exchange_seq_cst(&c.is_over, true);
    CHECK(pthread_join(watcher, NULL) == 0);
    for (int i = 0; i < 2; i++) {
        const char *id = i == 0 ? "b0" : "b1";
        CHECK(client_tokens(c.reg, id) == 0 && client_in_flight(c.reg, id) == 0);
    }
    client_free(c.reg);
    return THREADS * ROUNDS;
}

static long a_crowd_never_passes_the_cap(void) {
    return run_crowd(REG_LEAST_TOKENS, false) + run_crowd(REG_LEAST_PENDING, false) +
           run_crowd(REG_POWER_OF_TWO, false);
}

static long a_crowd_leaves_no_tokens(void) {
    return run_crowd(REG_LEAST_TOKENS, true) + run_crowd(REG_LOWEST_LATENCY, true);
}

typedef struct duel {
    reg_lease lease;
    pthread_barrier_t start;
    bool has_set, is_over;
} duel;

static void *set_again_and_again(void *argument) {
    duel *d = argument;
    for (;;) {
        pthread_barrier_wait(&d->start);
        if (d->is_over) return NULL;
        for (uint32_t i = 0; i < 4; i++) d->has_set = reg_lease_set_tokens(&d->lease, 5 + i);
        pthread_barrier_wait(&d->start);
    }
}

/* Whoever comes first: nothing of the lease stays in the sum. Every second lease has no tokens at
 * the start. */
static long tokens_that_are_set_while_a_lease_ends(void) {
    enum { DUELS = 3000 };
    reg_registry *reg = client_fleet(1, NULL);
    duel d = {.is_over = false};
    pthread_t thread;
    CHECK(pthread_barrier_init(&d.start, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, set_again_and_again, &d) == 0);
    for (uint32_t i = 0; i < DUELS; i++) {
        CHECK(client_acquire(reg, request_of(REG_LEAST_PENDING, i % 2 * 11), &d.lease) == 0);
        pthread_barrier_wait(&d.start);
        CHECK(release(&d.lease, i % 3 == 0 ? REG_FAILED : REG_SUCCEEDED));
        CHECK(reg_lease_tokens(&d.lease) == 0);
        CHECK(client_in_flight(reg, "b0") == 0);
        pthread_barrier_wait(&d.start);
        CHECK(client_tokens(reg, "b0") == 0);
        CHECK(!reg_lease_set_tokens(&d.lease, 1) && client_tokens(reg, "b0") == 0);
        reg_lease_drop(&d.lease, object_release);
    }
    d.is_over = true;
    pthread_barrier_wait(&d.start);
    CHECK(pthread_join(thread, NULL) == 0);
    pthread_barrier_destroy(&d.start);
    client_free(reg);
    return DUELS;
}

/* The first choices differ by far more than one request, so LEAST_TOKENS levels the sums: it leaves
 * no backend behind by more than one request's tokens. */
static void *take_tokens(void *argument) {
    crowd *c = argument;
    for (int i = 0; i < ROUNDS / 10; i++) {
        reg_lease lease; /* kept in flight: only the sums matter */
        CHECK(client_acquire(c->reg, request_of(REG_LEAST_TOKENS, 10), &lease) >= 0);
        reg_keep_drop(lease.kept, 1, object_release);
    }
    return NULL;
}

static long sums_stay_level(void) {
    crowd c = {.reg = client_fleet(3, NULL)};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, take_tokens, &c) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    uint64_t each = (uint64_t)THREADS * (ROUNDS / 10) * 10 / 3;
    CHECK(client_tokens(c.reg, "b0") == each && client_tokens(c.reg, "b1") == each &&
          client_tokens(c.reg, "b2") == each);
    client_free(c.reg);
    return THREADS * (ROUNDS / 10);
}

const test token_tests[] = {
    {"tokens: a change ends a claim", a_change_of_tokens_ends_a_claim},
    {"tokens: a pair is of one instant", a_reported_pair_is_of_one_instant},
    {"tokens: a sum follows its leases", a_sum_follows_its_leases},
    {"tokens: a settled release", a_settled_release_gives_tokens_back},
    {"tokens: they belong to a registration", tokens_belong_to_a_registration},
    {"tokens: the policy compares exactly", least_tokens_compares_exactly},
    {"tokens: equal ones go by requests", equal_tokens_go_by_requests},
    {"tokens: a cap holds for every policy", a_cap_holds_for_every_policy},
    {"tokens: a cap changes", a_cap_changes_with_its_definition},
    {"tokens: the best average of a full one", the_best_average_may_be_of_a_full_one},
    {"tokens: a crowd never passes the cap", a_crowd_never_passes_the_cap},
    {"tokens: a crowd leaves none", a_crowd_leaves_no_tokens},
    {"tokens: set while a lease ends", tokens_that_are_set_while_a_lease_ends},
    {"tokens: sums stay level", sums_stay_level},
    {0},
};
