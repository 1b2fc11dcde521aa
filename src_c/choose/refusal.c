#include "choose/refusal.h"

#include <stdlib.h>

#include "base/memory.h"

/* The pass has not read the states of the members, so they are prefetched this many members
 * ahead. */
enum { AHEAD = 8 };

static void fetch_ahead(const choice *c, const member *m, const member *end) {
    if (reg_unlikely(end - m <= AHEAD)) return;
    m += AHEAD;
    /* The record of a member that is not in the list may have been freed. */
    if (member_is_in(m, c->reading.tick)) __builtin_prefetch(load_hint(&m->record->state));
}

/* The obstacle of a member at the version of the attempt. If it has no other obstacle, it was full
 * at the instant of the refusal: see select.c. */
static reg_obstacle obstacle_at(const choice *c, const member *m) {
    bool is_plainly_full = c->is_plain && record_is_plainly_healthy(m->record, c->version);
    reg_reason reason = reg_likely(is_plainly_full) ? REG_ELIGIBLE : candidate_obstacle(c, m);
    return (reg_obstacle){.definition = record_state_at(m->record, c->version)->definition,
                          .order = order_of(line_of(m->record)),
                          .context_length = m->traits.context_length,
                          .reason = (uint8_t)(reason == REG_ELIGIBLE ? REG_FULL : reason)};
}

static int by_order(const void *left, const void *right) {
    uint64_t a = ((const reg_obstacle *)left)->order, b = ((const reg_obstacle *)right)->order;
    return (a > b) - (a < b);
}

reg_status refuse(reg_registry *reg, reg_reader *reader, const choice *c, reg_refusal *refusal) {
    *refusal = (reg_refusal){0};
    if (c->reading.length == 0) return REG_NONE_AVAILABLE;
    reg_obstacle *items = memory_alloc_raw(c->reading.length * sizeof *items);
    if (items == NULL) return REG_NO_MEMORY;
    size_t count = 0;
    EACH_LISTED(c, 0, c->reading.length, m) {
        fetch_ahead(c, m, m_end);
        items[count++] = obstacle_at(c, m);
    }
    if (c->reading.late_from < c->reading.length) qsort(items, count, sizeof *items, by_order);
    reg_kept *kept = reg_read_keep(reg, reader, 1);
    if (kept == NULL) {
        memory_free(items);
        return REG_NO_MEMORY;
    }
    *refusal = (reg_refusal){items, count, kept};
    return REG_NONE_AVAILABLE;
}

void reg_refusal_drop(reg_refusal *refusal, void (*release)(void *object)) {
    memory_free(refusal->items);
    if (refusal->kept != NULL) reg_keep_drop(refusal->kept, 1, release);
}
