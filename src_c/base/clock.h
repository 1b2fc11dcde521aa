/* How long something took, in whole milliseconds, from two readings that cost little.
 *
 * A moment is a reading of CLOCK_MONOTONIC, or of the processor's time stamp counter, which takes less than half the time. The counter serves
 * once its rate is known, and only where the kernel itself keeps time by it, for then it is steady and the same on all
 * processors. Its rate is what it counted between two moments of a clock that nobody adjusts, once two such measurements in a row agree. Each
 * of the two kinds of moment is compared with its own clock, so it does not matter when that is.
 *
 * What it cannot know: a kernel that loses its trust later. A computer that sleeps may stop the counter, set it to 0 or let it run on: a moment from
 * before it then tells too little time, or the sleep as well.
 */
#ifndef REG_CLOCK_H
#define REG_CLOCK_H

#include "base/atomics.h"

#if defined(__x86_64__) && defined(__linux__)
#define clock_counter() __builtin_ia32_rdtsc()
#else
#define clock_counter() ((uint64_t)0) /* never asked: its rate stays unknown */
#endif

#define CLOCK_OF_COUNTER ((uint64_t)1 << 63) /* set in moments of the counter */

extern _Atomic double clock_milliseconds_per_count; /* 0: not known */

/* CLOCK_MONOTONIC. */
uint64_t clock_nanoseconds(void);

/* A moment of CLOCK_MONOTONIC, in nanoseconds; and a step towards the counter's rate. */
uint64_t clock_moment_measured(void);

static inline uint64_t clock_moment(void) {
    if (reg_unlikely(load_published(&clock_milliseconds_per_count) == 0))
        return clock_moment_measured();
    return clock_counter() | CLOCK_OF_COUNTER;
}

/* Whoever was measuring is not there. */
void clock_after_fork_in_child(void);

/* Any thread's moment. At most UINT32_MAX. */
uint32_t clock_milliseconds_since(uint64_t moment);

#endif
