/* Elapsed times: both kinds of moment agree with CLOCK_MONOTONIC, whichever the machine offers. */
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

/* What is told lies between what passed at least and at most; a counter's rate may be off by a thousandth. */
static void check_against_the_clock(uint64_t moment, uint64_t before, uint64_t after) {
    uint64_t first = now();
    uint32_t told = clock_milliseconds_since(moment);
    uint64_t last = now();
    CHECK((double)told >= (double)(first - after) / 1e6 * 0.999 - 1);
    CHECK((double)told <= (double)(last - before) / 1e6 * 1.001);
}

static bool is_counted(uint64_t moment) { return moment & CLOCK_OF_COUNTER; }

static long moments_agree_with_the_clock(void) {
    uint64_t began = now(), before[16], moments[16], after[16];
    int kept = 0;
    long checked = 0;
    /* Moments of both kinds, where there are both: some from before the rate is known are looked at after it is. */
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
           is_counted(clock_moment()) ? "serves" : "does not serve here");
    return checked + kept;
}

static long a_moment_that_is_yet_to_come_is_now(void) {
    uint64_t moment = clock_moment();
    CHECK(clock_milliseconds_since(moment) <= 1000);
    CHECK(clock_milliseconds_since(moment + (uint64_t)60 * 1000000000) == 0);
    return 1;
}

const test clock_tests[] = {
    {"clock: moments agree with the clock", moments_agree_with_the_clock},
    {"clock: a moment yet to come is now", a_moment_that_is_yet_to_come_is_now},
    {0}};
