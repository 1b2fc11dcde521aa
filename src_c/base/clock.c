#include "base/clock.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

clock_scale clock_calibrated;

/* Both clocks, read at about the same time. */
typedef struct clock_sample {
    uint64_t nanoseconds; /* 0: no sample */
    uint64_t count;
} clock_sample;

/* Two samples give a rate if the time between them, in nanoseconds, lies in this range. */
static const uint64_t MIN_INTERVAL = 100 * 1000000, MAX_INTERVAL = 10 * (uint64_t)1000000000;
/* A sample is valid if reading both clocks took fewer counts of the TSC than this. */
static const uint64_t INTERRUPTED = 5000;
/* Two rates agree if they differ by less than this fraction. */
static const double AGREEMENT = 1e-5;

static pthread_once_t clocksource_once = PTHREAD_ONCE_INIT;
static bool is_trusted;
static _Atomic bool is_calibrating; /* the thread that set it owns `last` and `last_rate` */
static clock_sample last;
static double last_rate;

static uint64_t nanoseconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool kernel_uses_tsc(void) {
    bool uses_tsc = false;
#if defined(__x86_64__) && defined(__linux__)
    char name[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (file == NULL) return false;
    uses_tsc = fgets(name, sizeof name, file) != NULL && strcmp(name, "tsc\n") == 0;
    fclose(file);
#endif
    return uses_tsc;
}

static void check_clocksource(void) { is_trusted = kernel_uses_tsc(); }

/* From now on, clock_now reads the TSC. `rate` is in nanoseconds for each count. */
static void use_counter(double rate) {
    if (load_own(&clock_calibrated.rate) != 0) return;
    uint64_t before = clock_counter(), now = nanoseconds_of(CLOCK_MONOTONIC);
    if (clock_counter() - before >= INTERRUPTED) return;
    clock_calibrated.nanoseconds = now;
    clock_calibrated.count = before;
    publish(&clock_calibrated.rate, (uint64_t)(rate * 0x1p32));
}

static void add_sample(clock_sample now) {
    uint64_t interval = now.nanoseconds - last.nanoseconds;
    if (last.nanoseconds != 0 && interval < MIN_INTERVAL) return;
    if (last.nanoseconds != 0 && interval <= MAX_INTERVAL) {
        double rate = (double)interval / (double)(now.count - last.count);
        if (fabs(rate - last_rate) < AGREEMENT * rate && kernel_uses_tsc()) use_counter(rate);
        last_rate = rate;
    }
    last = now;
}

#if defined(CLOCK_MONOTONIC_RAW)
#define CLOCK_STEADY CLOCK_MONOTONIC_RAW /* NTP does not adjust its rate */
#else
#define CLOCK_STEADY CLOCK_MONOTONIC
#endif

uint64_t clock_nanoseconds(void) { return nanoseconds_of(CLOCK_MONOTONIC); }

/* Returns at once if another thread is calibrating. */
static void sample_both_clocks(void) {
    bool idle = false;
    if (!cas_strong_seq_cst(&is_calibrating, &idle, true)) return;
    uint64_t before = clock_counter(), now = nanoseconds_of(CLOCK_STEADY);
    if (clock_counter() - before < INTERRUPTED) add_sample((clock_sample){now, before});
    publish(&is_calibrating, false);
}

int64_t clock_wall_microseconds(void) { return (int64_t)(nanoseconds_of(CLOCK_REALTIME) / 1000); }

uint64_t clock_now_calibrating(void) {
    pthread_once(&clocksource_once, check_clocksource);
    if (is_trusted) sample_both_clocks();
    return clock_nanoseconds();
}

void clock_after_fork_in_child(void) { publish(&is_calibrating, false); }
