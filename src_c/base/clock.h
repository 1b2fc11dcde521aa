/* The system's clock, for latencies and deadlines: nanoseconds that only grow.
 *
 * A reading comes from CLOCK_MONOTONIC, or from the processor's time stamp counter (TSC), which
 * takes less than half as long. The TSC is used only if it is the kernel's own clock source. Then
 * it runs at a constant rate and is the same on all processors. Its rate is calibrated against
 * CLOCK_MONOTONIC_RAW, and is used once two calibrations in a row agree. From then on, a reading is
 * a reading of CLOCK_MONOTONIC at that moment, plus what the TSC has counted since. So times from
 * before and after can be compared.
 *
 * Limits: two readings by different threads may disagree by the time that it takes to read both
 * clocks, below a microsecond. Once the TSC is in use, we do not notice if the kernel stops
 * trusting it. While a computer sleeps, the TSC may stop, restart from 0 or continue. Then the
 * sleep does not count, or the time jumps far ahead, or the sleep counts.
 */
#ifndef REG_CLOCK_H
#define REG_CLOCK_H

#include "base/atomics.h"
#include "base/compiler.h"

#if defined(__x86_64__) && defined(__linux__)
#define clock_counter() __builtin_ia32_rdtsc()
#else
#define clock_counter() ((uint64_t)0) /* never used: without a TSC its rate stays unknown */
#endif

/* How counts become nanoseconds. `rate` is published last, and then nothing changes any more. */
typedef struct clock_scale {
    _Atomic uint64_t rate; /* nanoseconds for each 2**32 counts; 0 until the TSC is calibrated */
    uint64_t nanoseconds;  /* CLOCK_MONOTONIC at the moment of `count` */
    uint64_t count;
} clock_scale;

extern clock_scale clock_calibrated;

__extension__ typedef unsigned __int128 clock_product;

/* CLOCK_MONOTONIC, in nanoseconds. */
uint64_t clock_nanoseconds(void);

/* The same. Also advances the calibration of the TSC. */
uint64_t clock_now_calibrating(void);

static inline uint64_t clock_now(void) {
    uint64_t rate = load_published(&clock_calibrated.rate);
    if (reg_unlikely(rate == 0)) return clock_now_calibrating();
    uint64_t counted = clock_counter() - clock_calibrated.count;
    return clock_calibrated.nanoseconds + (uint64_t)((clock_product)counted * rate >> 32);
}

/* The wall clock, in microseconds since 1970, UTC. */
int64_t clock_wall_microseconds(void);

/* In the child of a fork: abandons a calibration by another thread, which will never finish. */
void clock_after_fork_in_child(void);

/* Whole milliseconds from `began` to `ended`, from 0 to UINT32_MAX. */
static inline uint32_t clock_milliseconds(uint64_t began, uint64_t ended) {
    uint64_t elapsed = ended < began ? 0 : (ended - began) / 1000000;
    return elapsed < UINT32_MAX ? (uint32_t)elapsed : UINT32_MAX;
}

#endif
