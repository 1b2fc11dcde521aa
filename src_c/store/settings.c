#include "store/settings.h"

#include "base/memory.h"

settings *settings_new(const reg_settings *values, struct reg_registry *registry) {
    settings *s = memory_alloc_lines(sizeof *s);
    if (s == NULL) return NULL;
    s->values = *values;
    store_private(&s->registry, registry);
    pthread_mutex_init(&s->writer, NULL);
    pthread_mutex_init(&s->line, NULL);
    store_private(&s->refs, 1);
    if (values->clock != NULL) manual_clock_ref(values->clock);
    return s;
}

void settings_ref(settings *s) { add_seq_cst(&s->refs, 1); }

void settings_unref(settings *s) {
    if (sub_seq_cst(&s->refs, 1) != 1) return;
    if (s->values.clock != NULL) manual_clock_unref(s->values.clock);
    pthread_mutex_destroy(&s->line);
    pthread_mutex_destroy(&s->writer);
    memory_free(s);
}
