#include "check.h"
#include "store/counters.h"

static long edges_of_in_flight(void) {
    _Atomic uint64_t pending = 0;
    uint32_t value = 9;
    CHECK(!counter_decrement(&pending, &value) && pending == 0);
    CHECK(counter_decrement_any(&pending, &value, false) == WAS_ZERO && value == 0 && pending == 0);
    CHECK(counter_increment(&pending, &value) && value == 1);
    CHECK(counter_decrement(&pending, &value) && value == 0);
    const uint32_t near[] = {INT32_MAX, (uint32_t)INT32_MAX + 1, UINT32_MAX - 1};
    for (int i = 0; i < 3; i++) {
        pending = COUNTER_VERSION | near[i];
        CHECK(counter_increment(&pending, &value) && value == near[i] + 1 &&
              pending == (COUNTER_VERSION | value));
    }
    CHECK(!counter_increment(&pending, &value) && pending == (COUNTER_VERSION | UINT32_MAX));
    CHECK(counter_decrement(&pending, &value) && value == UINT32_MAX - 1);
    pending = ~(COUNTER_VERSION - 1); /* the last version */
    CHECK(counter_increment(&pending, &value) && counter_decrement(&pending, &value) &&
          value == 0 && pending == 0);
    return 9;
}

/* Tries each operation on a claimed word. Taking the word must fail afterwards, except in the last
 * case, which has no operation. */
static long a_used_claim_is_void(void) {
    for (uint32_t count = 0; count < 3; count++) {
        for (int what = 0; what < 6; what++) {
            _Atomic uint64_t pending = COUNTER_VERSION * 7 | count;
            uint64_t word = pending;
            uint32_t value;
            CHECK(counter_claim(&pending, &word) && counter_is_claimed(pending) && word == pending);
            if (what == 0) CHECK(counter_value(&pending) == count);
            if (what == 1) CHECK(counter_increment(&pending, &value) && value == count + 1);
            if (what == 2 && !counter_decrement(&pending, &value))
                CHECK(counter_decrement_any(&pending, &value, false) == WAS_ZERO && count == 0);
            if (what == 5) CHECK(counter_watch(&pending) == (count != 0));
            if (what == 3) {
                uint64_t same = pending; /* another choice shares the claim and takes the word */
                CHECK(counter_claim(&pending, &same) && counter_take(&pending, same, 0));
            }
            CHECK(counter_take(&pending, word, 0) == (what == 4));
            if (what == 4)
                CHECK(counter_value(&pending) == count + 1 && !counter_is_claimed(pending));
            bool decremented = what == 0 || what == 2 || what == 5;
            CHECK((counter_decrements(pending) == 7) == !decremented);
        }
    }
    return 18;
}

/* The bit is set only above 0, survives every operation but the last decrement, and is in nobody's
 * way. */
static long a_watched_word(void) {
    _Atomic uint64_t pending = 7 * COUNTER_VERSION;
    uint32_t value;
    CHECK(!counter_watch(&pending) && pending == 7 * COUNTER_VERSION);
    CHECK(counter_increment(&pending, &value) && counter_watch(&pending) &&
          counter_watch(&pending));
    CHECK(pending == (7 * COUNTER_VERSION | COUNTER_WATCHED | 1));
    CHECK(counter_increment(&pending, &value) && value == 2 && counter_value(&pending) == 2);
    uint64_t word = pending;
    CHECK(counter_claim(&pending, &word) && counter_take(&pending, word, 0));
    CHECK(pending == (7 * COUNTER_VERSION | COUNTER_WATCHED | 3));
    CHECK(!counter_decrement(&pending, &value));
    for (uint32_t left = 2; left > 0; left--)
        CHECK(counter_decrement_any(&pending, &value, false) == DECREMENTED && value == left &&
              counter_is_watched(pending));
    word = pending;
    CHECK(counter_decrement_any(&pending, &value, false) == WOULD_BE_IDLE && pending == word);
    CHECK(counter_decrement_any(&pending, &value, true) == BECAME_IDLE && value == 0);
    CHECK(pending == 10 * COUNTER_VERSION);
    CHECK(counter_increment(&pending, &value) && counter_decrement(&pending, &value));
    return 12;
}

/* The bit comes with the request that is taken, survives other requests, and ends every claim. */
static long a_trial(void) {
    _Atomic uint64_t pending = 7 * COUNTER_VERSION;
    uint64_t word = pending, same;
    uint32_t value;
    CHECK(counter_claim(&pending, &word));
    same = word;
    CHECK(counter_take(&pending, word, COUNTER_TRIAL) && counter_has_trial(pending));
    CHECK(!counter_take(&pending, same, COUNTER_TRIAL) && counter_value(&pending) == 1);
    CHECK(counter_increment(&pending, &value) && counter_decrement(&pending, &value));
    CHECK(pending == (8 * COUNTER_VERSION | COUNTER_TRIAL | 1));
    word = pending;
    CHECK(counter_claim(&pending, &word));
    counter_void_trial(&pending);
    CHECK(!counter_take(&pending, word, 0) && pending == (9 * COUNTER_VERSION | 1));
    counter_void_trial(&pending); /* also if there is none: a claim must not survive */
    CHECK(pending == (10 * COUNTER_VERSION | 1));
    return 8;
}

static long a_claim_needs_an_unchanged_word(void) {
    _Atomic uint64_t pending = 3;
    uint64_t word = 2;
    CHECK(!counter_claim(&pending, &word) && pending == 3);
    return 1;
}

static long the_average(void) {
    _Atomic uint64_t latency = 0;
    CHECK(latency_average(&latency) == 0 && !latency_is_sampled(latency));
    CHECK(latency_update(&latency, 0, false) == 0 && latency_is_sampled(latency));
    CHECK(latency_update(&latency, 100, false) == 20);
    CHECK(latency_update(&latency, UINT32_MAX, false) == (UINT32_MAX + 80u * (uint64_t)1) / 5);
    for (int i = 0; i < 1000; i++) {
        uint64_t old = latency_average(&latency), before = latency;
        CHECK(latency_update(&latency, UINT32_MAX, false) == (UINT32_MAX + 4 * old) / 5);
        CHECK(latency > before);
    }
    latency = ~(uint64_t)0;
    CHECK(latency_update(&latency, 0, false) == (uint32_t)(4 * (uint64_t)UINT32_MAX / 5) &&
          latency_is_sampled(latency));
    return 1005;
}

const test counter_tests[] = {
    {"counters: limits of the count in flight", edges_of_in_flight},
    {"counters: an operation ends a claim", a_used_claim_is_void},
    {"counters: a watched word", a_watched_word},
    {"counters: a trial", a_trial},
    {"counters: a claim needs an unchanged word", a_claim_needs_an_unchanged_word},
    {"counters: the average", the_average},
    {0}};
