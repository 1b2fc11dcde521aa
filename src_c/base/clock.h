/* A cheap stopwatch: the whole milliseconds between two moments.
 *
 * A moment is a reading of CLOCK_MONOTONIC or of the processor's time stamp counter (TSC). Reading
 * the TSC takes less than half as long. Each moment carries a mark that names its clock, and is
 * compared only with that clock, so both kinds can be used side by side.
 *
 * The TSC is used only if it is the kernel's own clock source. Then it runs at a constant rate and
 * is the same on all processors. Its rate is calibrated against CLOCK_MONOTONIC_RAW, and is used
 * once two calibrations in a row agree.
 *
 * Limits: once the TSC is in use, we do not notice if the kernel stops trusting it. While a
 * computer sleeps, the TSC may stop, restart from 0 or continue. The time since a moment from
 * before the sleep is then too short, or it includes the sleep.
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

#define CLOCK_OF_COUNTER ((uint64_t)1 << 63) /* set in moments that come from the TSC */

extern _Atomic double clock_milliseconds_per_count; /* 0 until the TSC is calibrated */

/* CLOCK_MONOTONIC, in nanoseconds. */
uint64_t clock_nanoseconds(void);

/* A moment of CLOCK_MONOTONIC. Also advances the calibration of the TSC. */
uint64_t clock_moment_calibrating(void);

static inline uint64_t clock_moment(void) {
    if (reg_unlikely(load_published(&clock_milliseconds_per_count) == 0))
        return clock_moment_calibrating();
    return clock_counter() | CLOCK_OF_COUNTER;
}

/* In the child of a fork: abandons a calibration by another thread, which will never finish. */
void clock_after_fork_in_child(void);

/* The time since `moment`, which any thread may have taken. At most UINT32_MAX. */
uint32_t clock_milliseconds_since(uint64_t moment);

#endif
