#include "base/manual_clock.h"

#include "base/memory.h"

reg_clock *manual_clock_new(int64_t wall) {
    reg_clock *clock = memory_alloc(sizeof *clock);
    if (clock == NULL) return NULL;
    store_private(&clock->now, MANUAL_START);
    store_private(&clock->refs, 1);
    clock->wall = wall;
    return clock;
}

void manual_clock_ref(reg_clock *clock) { add_seq_cst(&clock->refs, 1); }

void manual_clock_unref(reg_clock *clock) {
    if (sub_seq_cst(&clock->refs, 1) == 1) memory_free(clock);
}

int64_t time_on_wall(const reg_clock *clock, uint64_t time, uint64_t now) {
    if (clock != NULL) return clock->wall + (int64_t)((time - MANUAL_START) / 1000);
    int64_t ahead = (int64_t)(time - now);
    return clock_wall_microseconds() + ahead / 1000;
}
