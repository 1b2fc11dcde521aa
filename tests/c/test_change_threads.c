/* Changes of a fleet while other threads look at it and use it. */
#include <pthread.h>
#include <stdatomic.h>

#include "changes.h"
#include "check.h"

enum { FLEET = 50, COMMON = 25, SWAPS = 600, CAPS = 3000 };

static reg_registry *shared;
static _Atomic bool is_over;
static _Atomic long looks;
static char swap_ids[2][FLEET][8], swap_names[COMMON][8];

/* Backend `i` of fleet `f`. The first ones have the same ids in both fleets; each passes its
 * instance on to the next one. The even ones of these move to another server. */
static offer offer_of_fleet(int f, int i) {
    return (offer){.id = swap_ids[f][i],
                   .url = f == 0 || (i < COMMON && i % 2 == 1) ? "http://a" : "http://b",
                   .instance = i < COMMON ? swap_names[(i + f) % COMMON] : NULL,
                   .models = {"m", f == 0 ? "only-a" : "only-b"},
                   .weight = (uint16_t)(1 + f)};
}

static void name_fleets(void) {
    for (int f = 0; f < 2; f++)
        for (int i = 0; i < FLEET; i++)
            snprintf(swap_ids[f][i], sizeof swap_ids[f][i], "%c%d", i < COMMON ? 'c' : 'a' + f, i);
    for (int i = 0; i < COMMON; i++) snprintf(swap_names[i], sizeof swap_names[i], "n%d", i);
}

static size_t steps_to_fleet(int f, step *steps) {
    size_t count = 0;
    for (int i = 0; i < FLEET; i++) {
        reg_change_kind kind = i >= COMMON ? REG_ADDED : i % 2 == 0 ? REG_REPLACED : REG_UPDATED;
        steps[count++] =
            (step){.kind = kind, .offer = offer_of_fleet(f, i), .number = 1000 * f + i};
        if (i >= COMMON)
            steps[count++] = (step){.kind = REG_REMOVED, .offer = {.id = swap_ids[1 - f][i]}};
    }
    return count;
}

static void check_one_fleet(const char *model_id, int only) {
    int numbers[2 * FLEET];
    size_t count = client_query(shared, model_id, numbers, 2 * FLEET);
    CHECK(count == FLEET || (only >= 0 && count == 0));
    for (size_t i = 0; i < count; i++) {
        CHECK(numbers[i] / 1000 == numbers[0] / 1000);
        if (only >= 0) CHECK(numbers[i] / 1000 == only);
    }
}

static void *look_at_fleets(void *argument) {
    (void)argument;
    for (unsigned seed = 1; !is_over; looks++) {
        int i = rand_r(&seed) % COMMON, number;
        reg_view view;
        reg_key id = key_of(swap_ids[0][i]);
        uint32_t value;
        check_one_fleet(NULL, -1);
        check_one_fleet("m", -1);
        check_one_fleet("only-a", 0);
        check_one_fleet("only-b", 1);
        CHECK(see(shared, swap_ids[0][i], &view, &number) && number % 1000 == i);
        number = holder_of(shared, swap_names[i]);
        CHECK(number == i || number == 1000 + (i + COMMON - 1) % COMMON);
        CHECK(reg_increment_pending(shared, &id, &value) == REG_OK && value >= 1);
        CHECK(has_url(shared, "http://a"));
        CHECK(reg_backend_count(shared) == FLEET && reg_model_count(shared) == 2);
        reg_request request = client_request("m", (reg_policy)(rand_r(&seed) % REG_POLICY_COUNT));
        request.allow_unknown = true;
        CHECK(client_select(shared, request) >= 0);
    }
    return NULL;
}

static long two_fleets_are_swapped_at_one_instant(void) {
    pthread_t threads[3];
    step steps[MANY];
    name_fleets();
    shared = reg_new(NULL);
    is_over = false;
    looks = 0;
    for (int i = 0; i < FLEET; i++) {
        offer o = offer_of_fleet(0, i);
        CHECK(client_add(shared, &o, i) == REG_OK);
    }
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, look_at_fleets, NULL) == 0);
    for (int round = 1; round <= SWAPS || looks < SWAPS; round++) {
        reg_status status;
        do { /* readers may hold back too much memory for a while */
            status = apply(shared, steps, steps_to_fleet(round % 2, steps));
        } while (status == REG_NO_MEMORY);
        CHECK(status == REG_OK);
    }
    is_over = true;
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    client_free(shared);
    return looks;
}

static void *take_and_return(void *argument) {
    unsigned seed = (unsigned)(size_t)argument;
    while (!is_over) {
        reg_lease leases[2];
        bool taken[2];
        for (int i = 0; i < 2; i++)
            taken[i] =
                client_acquire(shared,
                               client_request("m", (reg_policy)(rand_r(&seed) % REG_POLICY_COUNT)),
                               &leases[i]) >= 0;
        for (int i = 0; i < 2; i++)
            if (taken[i]) CHECK(client_return(&leases[i], NULL));
    }
    return NULL;
}

/* Once an update has returned, the number in flight never grows above the new cap. What was in
 * flight before stays, so it may be above the cap, but then it only falls. */
static long a_cap_holds_from_its_update_on(void) {
    pthread_t threads[3];
    unsigned seed = 5 + test_round;
    shared = client_fleet(2, NULL);
    is_over = false;
    for (size_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, take_and_return, (void *)(i + 1)) == 0);
    for (int round = 0; round < CAPS; round++) {
        uint32_t caps[2], last[2] = {UINT32_MAX, UINT32_MAX};
        step steps[2];
        for (int k = 0; k < 2; k++) {
            caps[k] = 1 + (uint32_t)rand_r(&seed) % 4;
            steps[k] = (step){.kind = REG_UPDATED,
                              .offer = {.id = k == 0 ? "b0" : "b1",
                                        .models = {"m"},
                                        .max_pending = caps[k],
                                        .weight = (uint16_t)(1 + rand_r(&seed) % 3)}};
        }
        CHECK(apply(shared, steps, 2) == REG_OK);
        for (int i = 0; i < 20; i++)
            for (int k = 0; k < 2; k++) {
                uint32_t now = client_in_flight(shared, k == 0 ? "b0" : "b1");
                CHECK(now <= caps[k] || now <= last[k]);
                last[k] = now;
            }
    }
    is_over = true;
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(client_in_flight(shared, "b0") == 0 && client_in_flight(shared, "b1") == 0);
    client_free(shared);
    return CAPS;
}

const test change_thread_tests[] = {
    {"change: two fleets at one instant", two_fleets_are_swapped_at_one_instant},
    {"change: a cap holds from its update on", a_cap_holds_from_its_update_on},
    {0}};
