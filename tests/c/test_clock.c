/* Elapsed times agree with CLOCK_MONOTONIC, for each kind of moment that this machine has. */
#include <time.h>

#include "base/clock.h"
#include "check.h"

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void pause_for(long milliseconds) {
    nanosleep(&(struct timespec){0, milliseconds * 1000000}, NULL);
}

/* `moment` was taken between `before` and `after`, so the elapsed time has a lower and an upper
 * bound. The counter's rate may be off by a thousandth. */
static void check_against_the_clock(uint64_t moment, uint64_t before, uint64_t after) {
    uint64_t first = now();
    uint32_t elapsed = clock_milliseconds_since(moment);
    uint64_t last = now();
    CHECK((double)elapsed >= (double)(first - after) / 1e6 * 0.999 - 1);
    CHECK((double)elapsed <= (double)(last - before) / 1e6 * 1.001);
}

static bool is_counted(uint64_t moment) { return moment & CLOCK_OF_COUNTER; }

static long moments_agree_with_the_clock(void) {
    uint64_t began = now(), before[16], moments[16], after[16];
    int kept = 0;
    long checked = 0;
    /* This takes moments of both kinds, if the machine has both. Some moments from before the
     * calibration of the counter are kept and checked at the end. */
    while (now() - began < (uint64_t)600 * 1000000) {
        uint64_t start = now(), moment = clock_moment(), end = now();
        if (kept < 16 && checked % 4 == 0) {
            before[kept] = start;
            moments[kept] = moment;
            after[kept++] = end;
        }
        pause_for(7);
        check_against_the_clock(moment, start, end);
        checked++;
    }
    for (int i = 0; i < kept; i++) check_against_the_clock(moments[i], before[i], after[i]);
    printf("%44s the counter %s\n", "",
           is_counted(clock_moment()) ? "is used" : "is not used here");
    return checked + kept;
}

static long no_time_has_passed_since_a_future_moment(void) {
    uint64_t moment = clock_moment();
    CHECK(clock_milliseconds_since(moment) <= 1000);
    CHECK(clock_milliseconds_since(moment + (uint64_t)60 * 1000000000) == 0);
    return 1;
}

const test clock_tests[] = {
    {"clock: moments agree with the clock", moments_agree_with_the_clock},
    {"clock: a moment in the future", no_time_has_passed_since_a_future_moment},
    {0}};
