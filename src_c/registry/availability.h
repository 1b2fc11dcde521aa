/* Availability: what keeps a healthy backend from being chosen for a time, or makes it start
 * slowly. availability.c has the argument. */
#ifndef REG_AVAILABILITY_H
#define REG_AVAILABILITY_H

#include "registry/layout.h"

/* ---- for writes of a registration's state ---- */

/* Whether a backend that gets this health starts slowly. */
bool health_starts_slowly_locked(reg_registry *reg, record *r, reg_health health);

/* Clears the flags of what has passed, and begins a slow start if `starts_slowly`. `fresh` is the
 * state that the current write is about to commit. The record has its outcomes. */
void update_availability_locked(reg_registry *reg, record *r, state *fresh, bool starts_slowly);

/* Call it in a write that makes a record with a slow start join lists of models. */
void note_slow_start_locked(reg_registry *reg, const state *fresh);

/* ---- for leases ---- */

/* How the request of a lease has ended. */
typedef struct settlement {
    record *record;
    outcomes *outcomes;
    uint64_t version; /* at which the request was chosen */
    reg_outcome outcome;
    bool ends_trial;      /* for REG_FAILED: see outcomes.h */
    uint64_t retry_after; /* for REG_BACK_OFF: nanoseconds */
} settlement;

/* Changes the registration's availability by an outcome, if it is still registered. If memory runs
 * out, nothing changes, and the next such outcome tries again: availability.c has the details. */
void settle_locked(reg_registry *reg, const settlement *what);

#endif
