/* AFFINITY: the distances, and choices whose counts change at any of their points. */
#include "check.h"

#include <math.h>

#include "base/random.h"
#include "changes.h"
#include "choose/affinity.h"
#include "registry/layout.h"

static long distances_are_logarithms(void) {
    uint64_t seed = 1;
    for (int i = 0; i < 200000; i++) {
        uint64_t draw = random_mix(seed++) >> (i % 60), near = ~draw;
        for (int k = 0; k < 2; k++, draw = near) {
            long double u = (long double)(draw >> 10 | 1) / 0x1p54L;
            long double exact = u > 0.5L ? -log1pl(u - 1) : -logl(u);
            CHECK(fabsl((long double)key_distance(draw) / 0x1p58L - exact) < 0x1p-52L);
        }
    }
    return 400000;
}

/* The ranking among equal weights compares draws only, so the distance must not grow with them. */
static long distances_fall_with_draws(void) {
    for (uint64_t part = 0; part < 1 << 16; part++) {
        uint64_t draw = part << 48;
        for (int i = 0; i < 4; i++)
            CHECK(key_distance(draw + ((uint64_t)i << 11)) >
                  key_distance(draw + ((uint64_t)(i + 1) << 11)));
        if (part != 0) CHECK(key_distance(draw - 1) > key_distance(draw));
    }
    return 1 << 18;
}

/* `comes_later` relies on it: -ln(u) >= 1 - u holds for what is computed, too. */
static long distances_are_not_below_their_least(void) {
    uint64_t seed = 1;
    for (int i = 0; i < 400000; i++) {
        uint64_t draw = ~(random_mix(seed++) >> (i % 54));
        CHECK(key_distance(draw) >= ((uint64_t)1 << 58) - ((draw >> 10 | 1) << 4));
    }
    CHECK(key_distance(UINT64_MAX) >= 16 && key_distance(UINT64_MAX) <= 17);
    return 400000;
}

#ifdef REG_TORTURE

/* ---- counts that change at any two points of a choice ---- */

enum { BACKENDS = 3 };

/* In the key's order. The mean decides: with one more in flight elsewhere, the first is within
 * it. */
static const int loads[BACKENDS] = {4, 3, 3};
static int order[BACKENDS]; /* their numbers */
static reg_registry *the_registry;

/* The words of their counts. The backends stay, so these stay valid outside of a read. */
static _Atomic uint64_t *words[BACKENDS];

static void find_words(void) {
    reg_reader *reader = reg_read_begin();
    for (int i = 0; i < BACKENDS; i++) {
        const char id[] = {'b', (char)('0' + order[i]), 0};
        reg_key key = key_of(id);
        string_item *item = string_map_get(&the_registry->records, &key);
        words[i] = &line_of(reg_container(item, record, item))->counters.pending;
    }
    reg_read_end(reader);
}

static reg_request request_for(uint64_t key) {
    reg_request request = client_request("m", REG_AFFINITY);
    request.affinity = key;
    return request;
}

static void read_order(uint64_t key) {
    the_registry = client_fleet(BACKENDS, NULL);
    reg_request request = request_for(key);
    reg_candidates found;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_explain(the_registry, &request, &found) == REG_OK && found.count == BACKENDS);
    for (int i = 0; i < BACKENDS; i++) order[i] = object_of(found.items[i].definition)->number;
    reg_read_end(reader);
    reg_candidates_free(&found);
    client_free(the_registry);
}

static void set_up(const int *counts) {
    the_registry = client_fleet(BACKENDS, NULL);
    find_words();
    for (int i = 0; i < BACKENDS; i++)
        for (int k = 0; k < counts[i]; k++) {
            uint32_t value;
            CHECK(counter_increment(words[i], &value));
        }
}

/* Which one is right for these counts, by the rule of affinity.h. */
static int right_for(const int *counts) {
    int sum = 1, least = 0;
    for (int i = 0; i < BACKENDS; i++) sum += counts[i];
    for (int i = 0; i < BACKENDS; i++) {
        if (counts[i] + 1 <= 4 || 4 * BACKENDS * (counts[i] + 1) <= 5 * sum) return i;
        if (counts[i] < counts[least]) least = i;
    }
    return least;
}

typedef struct event {
    int place, by;
} event;
static event events[2];
static long points_to_go[2];
static int events_done;

static void change_counts(void) {
    while (events_done < 2 && points_to_go[events_done]-- == 0) {
        uint32_t value;
        _Atomic uint64_t *word = words[events[events_done].place];
        CHECK(events[events_done].by > 0 ? counter_increment(word, &value)
                                         : counter_decrement(word, &value));
        events_done++;
    }
}

static int place_of_choice(uint64_t key, bool is_acquire) {
    reg_lease lease = {0};
    int number = is_acquire ? client_acquire(the_registry, request_for(key), &lease)
                            : client_select(the_registry, request_for(key)),
        place = 0;
    SET_HOOK(NULL);
    while (order[place] != number) place++;
    if (is_acquire) CHECK(client_return(&lease, NULL));
    return place;
}

/* The choice is right for the counts of some instant of the call. */
static bool is_right_at_some_instant(int place) {
    int counts[BACKENDS];
    for (int i = 0; i < BACKENDS; i++) counts[i] = loads[i];
    bool is_right = place == right_for(counts);
    for (int i = 0; i < events_done; i++) {
        counts[events[i].place] += events[i].by;
        is_right = is_right || place == right_for(counts);
    }
    return is_right;
}

static long choose_at_all_points(uint64_t key, bool is_acquire) {
    long runs = 0;
    for (long first = 0, second = 0;; runs++) {
        set_up(loads);
        events_done = 0;
        points_to_go[0] = first, points_to_go[1] = second;
        SET_HOOK(change_counts);
        int place = place_of_choice(key, is_acquire);
        CHECK(is_right_at_some_instant(place));
        int done = events_done;
        client_free(the_registry);
        if (done == 0) return runs;
        second = done == 2 ? second + 1 : 0;
        first += second == 0;
    }
}

static long counts_change_at_any_point(void) {
    long runs = 0;
    for (uint64_t key = 0; key < 6; key++) {
        read_order(key);
        for (int i = 0; i < 4 * BACKENDS * BACKENDS; i++) {
            events[0] = (event){i / 4 % BACKENDS, i % 2 ? 1 : -1};
            events[1] = (event){i / 4 / BACKENDS, i / 2 % 2 ? 1 : -1};
            runs += choose_at_all_points(key, false) + choose_at_all_points(key, true);
        }
    }
    return runs;
}

/* ---- a choice that has taken effect, and has yet to add its request ---- */

static uint64_t claimed;
static bool has_taken;

static void take_in_time(void) {
    if (points_to_go[0]-- == 0) has_taken = counter_take(words[2], claimed, 0);
}

/* Another choice has claimed the last one, and then taken effect, before this one begins. Its
 * request counts here, or it is never added. */
static long a_claim_counts_or_is_void(void) {
    long runs = 0;
    for (int is_acquire = 0; is_acquire < 2; is_acquire++)
        for (uint64_t key = 0; key < 6; key++) {
            read_order(key);
            for (long point = 0, last = 0; point <= last; point++, runs++) {
                set_up(loads);
                claimed = load_seq_cst(words[2]);
                CHECK(counter_claim(words[2], &claimed));
                has_taken = false;
                points_to_go[0] = point;
                SET_HOOK(take_in_time);
                int place = place_of_choice(key, is_acquire);
                bool is_over = points_to_go[0] >= 0;
                if (is_over) has_taken = counter_take(words[2], claimed, 0);
                const int counts[BACKENDS] = {loads[0], loads[1], loads[2] + has_taken};
                CHECK(place == right_for(counts));
                client_free(the_registry);
                if (!is_over) last = point + 1;
            }
        }
    return runs;
}
#endif

const test affinity_tests[] = {
    {"affinity: distances are logarithms", distances_are_logarithms},
    {"affinity: distances fall with draws", distances_fall_with_draws},
    {"affinity: distances are not below their least", distances_are_not_below_their_least},
#ifdef REG_TORTURE
    {"affinity: counts change at any point", counts_change_at_any_point},
    {"affinity: a claim counts or is void", a_claim_counts_or_is_void},
#endif
    {0}};
