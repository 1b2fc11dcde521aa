#include "choose/refusal.h"

#include <stdlib.h>

#include "base/memory.h"
#include "choose/awaited.h"
#include "choose/few.h"
#include "choose/recheck.h"

/* The pass has not read the states of the members, so they are prefetched this many members
 * ahead. */
enum { AHEAD = 8 };

static void fetch_ahead(const choice *c, const member *m, const member *end) {
    if (reg_unlikely(end - m <= AHEAD)) return;
    m += AHEAD;
    /* The record of a member that is not in the list may have been freed. */
    if (member_is_in(m, c->reading.tick)) __builtin_prefetch(load_hint(&m->record->state));
}

/* The time from which on the member may be eligible by time alone, or REG_NEVER. */
static uint64_t deadline_of(const choice *c, const member *m, reg_reason reason) {
    if (reason != REG_COOLING_DOWN && reason != REG_EJECTED) return REG_NEVER;
    const state *s = record_state_at(m->record, c->version);
    const availability *its = state_availability(s);
    uint64_t cooling = s->is_cooling ? its->cooling_until : 0,
             ejected = s->is_ejected && !c->ignores_ejection ? its->ejected_until : 0;
    return cooling > ejected ? cooling : ejected;
}

/* The same for a waiter, who looks again at every end: if a cool-down is over, the member counts in
 * a panic, which may ignore its ejection. */
static uint64_t first_deadline_of(const choice *c, const member *m, reg_reason reason) {
    if (reason != REG_COOLING_DOWN) return deadline_of(c, m, reason);
    return state_availability(record_state_at(m->record, c->version))->cooling_until;
}

/* The obstacle of a member at the version of the attempt. If it has no other obstacle, it was full
 * at the instant of the refusal, of requests or of tokens: see select.c. */
static reg_reason reason_at(const choice *c, const member *m) {
    if (reg_likely(c->is_plain && record_is_plainly_healthy(m->record, c->version)))
        return REG_FULL;
    reg_reason reason = candidate_obstacle(
        c, m, load_seq_cst(&line_of(m->record)->counters.pending), c->request->tokens);
    return reason == REG_ELIGIBLE ? REG_FULL : reason;
}

/* The same, for the refusal. If others wait for a full one, that comes first. */
static reg_reason reported_reason(const choice *c, const member *m) {
    reg_reason reason = reason_at(c, m);
    if (reg_likely(c->waited == NULL) || reason != REG_FULL) return reason;
    uint64_t pending = load_seq_cst(&line_of(m->record)->counters.pending);
    return place_is_awaited(c, m->record, pending) ? REG_WAITING : REG_FULL;
}

/* Whether the reason may pass. The others are in the request or in the definition. */
static bool may_pass(reg_reason reason) {
    switch (reason) {
    case REG_EXCLUDED:
    case REG_NO_VISION:
    case REG_NO_TOOLS:
    case REG_NO_JSON_MODE:
    case REG_SHORT_CONTEXT: return false;
    default: return true;
    }
}

bool refusal_may_pass(const choice *c, uint64_t *deadline) {
    bool found = false;
    *deadline = REG_NEVER;
    if (c->reading.length == 0) return false; /* nobody serves the model */
    EACH_LISTED(c, 0, c->reading.length, m) {
        reg_reason reason = reason_at(c, m);
        uint64_t end = first_deadline_of(c, m, reason);
        if (end < *deadline) *deadline = end;
        found |= may_pass(reason);
        if (found && c->time == 0) break; /* there are no deadlines */
    }
    return found;
}

bool refusal_lists_passing(const reg_refusal *refusal) {
    for (size_t i = 0; i < refusal->count; i++)
        if (may_pass(refusal->items[i].reason)) return true;
    return false;
}

static reg_obstacle obstacle_at(const choice *c, const member *m, reg_reason reason) {
    return (reg_obstacle){.definition = record_state_at(m->record, c->version)->definition,
                          .order = order_of(line_of(m->record)),
                          .context_length = m->traits.context_length,
                          .reason = (uint8_t)reason};
}

/* Whether the words that `reason_at` has read again may differ from those of the attempt. Ejected
 * members whose time is over are full or on trial, and only the word tells. */
static bool is_disturbed(const choice *c) {
    return reg_unlikely(c->time != 0) && c->tally != TALLY_UNKNOWN && tally_of_all(c) != c->tally;
}

static int by_order(const void *left, const void *right) {
    uint64_t a = ((const reg_obstacle *)left)->order, b = ((const reg_obstacle *)right)->order;
    return (a > b) - (a < b);
}

reg_status refuse(reg_registry *reg, reg_reader *reader, const choice *attempted, bool may_retry,
                  reg_refusal *refusal) {
    choice all = *attempted;
    const choice *c = &all;
    few_widen(&all); /* those that are not in `only` are reported too */
    *refusal = (reg_refusal){.retry_after = REG_NEVER};
    if (c->reading.length == 0) return REG_NONE_AVAILABLE;
    if (c->reading.length > QUICK_LENGTH && !c->request->may_block) return REG_WOULD_BLOCK;
    reg_obstacle *items = memory_alloc_raw(c->reading.length * sizeof *items);
    if (items == NULL) return REG_NO_MEMORY;
    size_t count = 0;
    uint64_t first = REG_NEVER;
    EACH_LISTED(c, 0, c->reading.length, m) {
        fetch_ahead(c, m, m_end);
        reg_reason reason = reported_reason(c, m);
        uint64_t deadline = deadline_of(c, m, reason);
        if (deadline < first) first = deadline;
        items[count++] = obstacle_at(c, m, reason);
    }
    if (may_retry && is_disturbed(attempted)) {
        memory_free(items);
        return REG_CHANGED;
    }
    if (c->reading.late_from < c->reading.length) qsort(items, count, sizeof *items, by_order);
    reg_kept *kept = reg_read_keep(reg, reader, 1);
    if (kept == NULL) {
        memory_free(items);
        return REG_NO_MEMORY;
    }
    uint64_t retry_after = first == REG_NEVER ? REG_NEVER : first - c->time;
    *refusal = (reg_refusal){items, count, retry_after, kept};
    return REG_NONE_AVAILABLE;
}

void reg_refusal_drop(reg_refusal *refusal, void (*release)(void *object)) {
    memory_free(refusal->items);
    if (refusal->kept != NULL) reg_keep_drop(refusal->kept, 1, release);
}
