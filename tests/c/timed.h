/* A fleet on a clock that is moved by hand, and requests that end in any way. */
#ifndef TIMED_H
#define TIMED_H

#include "client.h"

#define SECOND ((uint64_t)1000000000)

typedef struct fleet {
    reg_registry *reg;
    reg_clock *clock;
} fleet;

/* Healthy backends b0, b1, ... of the model m. Three failures in a row eject, rates do not. `shape`
 * may change the settings. */
fleet new_fleet(int count, void (*shape)(reg_settings *s));
void free_fleet(fleet f);
void never_panics(reg_settings *s);

/* Acquires a request on this one of three backends, or returns false with its reason. */
bool acquire_on(reg_registry *reg, const char *id, reg_lease *lease, reg_reason *reason);

/* Ends a request as the binding does. Nobody may wait for a change. */
bool finish(reg_lease *lease, reg_outcome outcome, uint64_t retry_after);
/* The same; the caller wakes the watchers. */
bool finish_and_list(reg_lease *lease, reg_outcome outcome, uint64_t retry_after,
                     reg_waiter **watchers);
/* Requests that fail, one after the other. */
void fail(reg_registry *reg, const char *id, int times);

reg_view view_of(reg_registry *reg, const char *id);
void restore(reg_registry *reg, const char *id);

#endif
