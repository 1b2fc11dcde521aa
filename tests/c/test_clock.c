/* The clock agrees with CLOCK_MONOTONIC, before and after it uses the processor's counter; and a
 * clock that is moved by hand stands still otherwise. */
#include <time.h>

#include "base/clock.h"
#include "check.h"
#include "registry.h"

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void pause_for(long milliseconds) {
    nanosleep(&(struct timespec){0, milliseconds * 1000000}, NULL);
}

/* `moment` was read between `before` and `after`, so the time since then has a lower and an upper
 * bound. The counter's rate may be off by a thousandth, and both ends by a microsecond. */
static void check_against_the_clock(uint64_t moment, uint64_t before, uint64_t after) {
    uint64_t first = now(), elapsed = clock_now() - moment, last = now();
    CHECK((double)elapsed >= (double)(first - after) * 0.999 - 1000);
    CHECK((double)elapsed <= (double)(last - before) * 1.001 + 1000);
}

static long readings_agree_with_the_clock(void) {
    uint64_t began = now(), before[16], moments[16], after[16];
    int kept = 0;
    long checked = 0;
    /* This reads both clocks, if the machine has both. Some readings from before the calibration of
     * the counter are kept and checked at the end. */
    while (now() - began < (uint64_t)600 * 1000000) {
        uint64_t start = now(), moment = clock_now(), end = now();
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
           load_published(&clock_calibrated.rate) != 0 ? "is used" : "is not used here");
    return checked + kept;
}

static long spans_are_whole_milliseconds(void) {
    CHECK(clock_milliseconds(5, 5 + 1999999) == 1);
    CHECK(clock_milliseconds(0, UINT64_MAX) == UINT32_MAX);
    CHECK(clock_milliseconds(7, 6) == 0); /* the clock of another thread may be ahead */
    return 3;
}

static long a_manual_clock_stands_still(void) {
    reg_clock *clock = reg_clock_new(0);
    CHECK(reg_clock_read(clock) == 0);
    reg_clock_advance(clock, 1500);
    reg_registry *reg = reg_new(&(reg_settings){.clock = clock});
    reg_clock_drop(clock); /* the registry has a reference of its own */
    CHECK(reg_clock_read(clock) == 1500);
    reg_free(reg, NULL);
    return 2;
}

const test clock_tests[] = {
    {"clock: readings agree with CLOCK_MONOTONIC", readings_agree_with_the_clock},
    {"clock: spans are whole milliseconds", spans_are_whole_milliseconds},
    {"clock: a manual clock stands still", a_manual_clock_stands_still},
    {0}};
