#include "store/settings.h"

#include "base/memory.h"

settings *settings_new(const reg_settings *values, struct reg_registry *registry) {
    settings *s = memory_alloc(sizeof *s);
    if (s == NULL) return NULL;
    s->values = *values;
    s->registry = registry;
    store_private(&s->refs, 1);
    if (values->clock != NULL) manual_clock_ref(values->clock);
    return s;
}

void settings_ref(settings *s) { add_seq_cst(&s->refs, 1); }

void settings_unref(settings *s) {
    if (sub_seq_cst(&s->refs, 1) != 1) return;
    if (s->values.clock != NULL) manual_clock_unref(s->values.clock);
    memory_free(s);
}
