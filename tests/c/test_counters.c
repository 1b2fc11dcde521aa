#include "check.h"
#include "counters.h"

static long edges_of_in_flight(void) {
    _Atomic uint32_t pending = 0;
    uint32_t value = 9;
    CHECK(!counter_decrement(&pending, &value) && value == 0 && pending == 0);
    CHECK(counter_increment(&pending, &value) && value == 1);
    CHECK(counter_decrement(&pending, &value) && value == 0);
    const uint32_t near[] = {UINT32_MAX - COUNTER_MARGIN - 1, UINT32_MAX - COUNTER_MARGIN, UINT32_MAX - 1};
    for (int i = 0; i < 3; i++) {
        pending = near[i];
        CHECK(counter_increment(&pending, &value) && value == near[i] + 1 && pending == value);
    }
    CHECK(!counter_increment(&pending, &value) && pending == UINT32_MAX);
    CHECK(counter_decrement(&pending, &value) && value == UINT32_MAX - 1);
    return 8;
}

static long the_average(void) {
    _Atomic uint64_t latency = 0;
    CHECK(latency_average(&latency) == 0);
    CHECK(latency_update(&latency, 0) == 0);
    CHECK(latency_update(&latency, 100) == 20);
    CHECK(latency_update(&latency, UINT32_MAX) == (UINT32_MAX + 80u * (uint64_t)1) / 5);
    for (int i = 0; i < 1000; i++) {
        uint64_t old = latency_average(&latency);
        CHECK(latency_update(&latency, UINT32_MAX) == (UINT32_MAX + 4 * old) / 5);
    }
    return 1004;
}

const test counter_tests[] = {{"counters: edges of in flight", edges_of_in_flight}, {"counters: the average", the_average}, {0}};
