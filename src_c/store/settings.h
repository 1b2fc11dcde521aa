/* The settings of a registry, and how a lease finds the registry that it came from.
 *
 * A lease may outlive its registry. Its registration has a pointer to these settings, which are
 * freed when the registry and all its registrations are gone. `registry` is NULL once the registry
 * is gone; it is guarded by the lock of the list of registries (registry/fork.c). The values never
 * change. */
#ifndef REG_SETTINGS_H
#define REG_SETTINGS_H

#include "base/manual_clock.h"

typedef struct settings {
    reg_settings values;
    struct reg_registry *registry;
    _Atomic uint32_t refs;
} settings;

/* A copy of `values`, with one reference. NULL if out of memory. */
settings *settings_new(const reg_settings *values, struct reg_registry *registry);
void settings_ref(settings *s);
void settings_unref(settings *s);

static inline uint64_t settings_now(const settings *s) { return time_now(s->values.clock); }

#endif
