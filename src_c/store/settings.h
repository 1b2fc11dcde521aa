/* The settings of a registry, its locks WRITER and LINE, and how a lease finds the registry that it
 * came from.
 *
 * A lease may outlive its registry. Its registration has a pointer to these settings, which are
 * freed when the registry and all its registrations are gone. So the locks are here: a lease can
 * take them whatever has become of the registry, and needs no lock of the process to find out. The
 * values never change.
 *
 * `registry` becomes NULL once, when the registry ends, under both locks (reg_free). So it does not
 * change while a lease holds one of them, and reg_free waits for that lease. After reg_free nobody
 * needs the locks, and a lease that finds NULL does not take them (lock_writer_of): in the child of
 * a fork they may belong to a thread that does not exist there. */
#ifndef REG_SETTINGS_H
#define REG_SETTINGS_H

#include <pthread.h>

#include "base/manual_clock.h"

typedef struct settings {
    reg_settings values;
    _Atomic(struct reg_registry *) registry;
    _Atomic uint32_t refs;
    _Atomic bool is_waited; /* whether somebody waits for a place; written under `line` */
    /* On lines of their own: every request reads the values and the flag. */
    _Alignas(REG_CACHE_LINE) pthread_mutex_t writer;
    _Alignas(REG_CACHE_LINE) pthread_mutex_t line; /* see registry/line.h */
} settings;

/* A copy of `values`, with one reference. NULL if out of memory. */
settings *settings_new(const reg_settings *values, struct reg_registry *registry);
void settings_ref(settings *s);
void settings_unref(settings *s);

static inline uint64_t settings_now(const settings *s) { return time_now(s->values.clock); }

#endif
