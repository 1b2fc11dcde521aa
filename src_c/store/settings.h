/* The settings of a registry, its writer lock, and how a lease finds the registry that it came
 * from.
 *
 * A lease may outlive its registry. Its registration has a pointer to these settings, which are
 * freed when the registry and all its registrations are gone. So the lock is here: a lease can
 * take it whatever has become of the registry, and needs no lock of the process to find out. The
 * values never change.
 *
 * `registry` becomes NULL once, when the registry ends, under the writer lock (reg_free). So it
 * does not change while a lease holds the lock, and reg_free waits for that lease. After reg_free
 * nobody needs the lock, and a lease that finds NULL does not take it (lock_writer_of): in the
 * child of a fork it may belong to a thread that does not exist there. */
#ifndef REG_SETTINGS_H
#define REG_SETTINGS_H

#include <pthread.h>

#include "base/manual_clock.h"

typedef struct settings {
    reg_settings values;
    _Atomic(struct reg_registry *) registry;
    _Atomic uint32_t refs;
    /* On a line of its own: every request reads the values. */
    _Alignas(REG_CACHE_LINE) pthread_mutex_t writer;
} settings;

/* A copy of `values`, with one reference. NULL if out of memory. */
settings *settings_new(const reg_settings *values, struct reg_registry *registry);
void settings_ref(settings *s);
void settings_unref(settings *s);

static inline uint64_t settings_now(const settings *s) { return time_now(s->values.clock); }

#endif
