/* The clock of a registry: the system's, or one that its owner moves by hand (a `reg_clock`), so
 * that tests and simulations need no waiting. */
#ifndef REG_MANUAL_CLOCK_H
#define REG_MANUAL_CLOCK_H

#include "base/clock.h"
#include "base/types.h"

struct reg_clock {
    _Atomic uint64_t now;  /* nanoseconds; MANUAL_START at first */
    _Atomic uint32_t refs; /* of its owner and of registries */
    int64_t wall;          /* microseconds since 1970, UTC, at MANUAL_START */
};

/* Not 0, because for some words 0 means 'never'. */
#define MANUAL_START ((uint64_t)1000000000)

/* Nanoseconds that only grow. `clock` is NULL for the system's. */
static inline uint64_t time_now(const reg_clock *clock) {
    return reg_likely(clock == NULL) ? clock_now() : load_seq_cst(&((reg_clock *)clock)->now);
}

/* `span` after `now`. Ends before REG_NEVER, which is no time. */
static inline uint64_t time_after(uint64_t now, uint64_t span) {
    return span < REG_NEVER - now ? now + span : REG_NEVER - 1;
}

/* The wall clock at `time`, which is not far from `now`: microseconds since 1970, UTC. */
int64_t time_on_wall(const reg_clock *clock, uint64_t time, uint64_t now);

/* With one reference; `wall` is its time at the start. NULL if out of memory. */
reg_clock *manual_clock_new(int64_t wall);
void manual_clock_ref(reg_clock *clock);
void manual_clock_unref(reg_clock *clock);

#endif
