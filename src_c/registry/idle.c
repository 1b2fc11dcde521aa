#include "registry/idle.h"

#include "reclaim/reservation.h"

/* Waiters are spread over lists by the address of their record. */
enum { LISTS = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static reg_waiter *lists[LISTS]; /* under LOCK */

void idle_lock(void) { pthread_mutex_lock(&lock); }

void idle_unlock(void) { pthread_mutex_unlock(&lock); }

static reg_waiter **list_of(const reg_record *r) {
    return &lists[(uintptr_t)r / sizeof(record_place) % LISTS];
}

/* ---- decrements ---- */

static decrement decrement_under_lock(record *r, uint32_t *value, reg_aftermath *after) {
    idle_lock();
    decrement result = counter_decrement_any(&line_of(r)->counters.pending, value, true);
    const reg_record *awaited = handle_from_record(r);
    if (result == BECAME_IDLE)
        after->woken = waiters_take_off(list_of(awaited), awaited, after->woken);
    idle_unlock();
    return result;
}

void idle_decrement(record *r, uint32_t *value, reg_aftermath *after) {
    decrement result = counter_decrement_any(&line_of(r)->counters.pending, value, false);
    if (result == WOULD_BE_IDLE) result = decrement_under_lock(r, value, after);
    if (result == WAS_ZERO) after->flags |= REG_WAS_ZERO;
    if (after->woken != NULL) after->flags |= REG_HAS_WOKEN;
}

/* ---- waiting ---- */

/* A. Returns whether the number is 0. */
static bool is_idle_or_link(reg_idle_waiter *w) {
    idle_lock();
    bool waits = counter_watch(&line_of(record_of_waiter(w))->counters.pending);
    if (waits) waiter_link(list_of(w->node.awaited), &w->node);
    idle_unlock();
    return !waits;
}

static record *find_registration(reg_registry *reg, const reg_key *id, uint64_t serial) {
    uint64_t version;
    record *r = find_registered(reg, id, &version);
    bool is_it = r != NULL && (serial == 0 || record_state_at(r, version)->serial == serial);
    return is_it ? r : NULL;
}

reg_status reg_is_idle(reg_registry *reg, const reg_key *id, uint64_t serial, bool *is_idle) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    record *r = find_registration(reg, id, serial);
    if (r != NULL) *is_idle = counter_value(&line_of(r)->counters.pending) == 0;
    epoch_leave(slot);
    return r == NULL ? REG_NOT_FOUND : REG_OK;
}

reg_status reg_wait_begin(reg_registry *reg, const reg_key *id, uint64_t serial,
                          reg_idle_waiter *waiter, bool *is_idle) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    record *r = find_registration(reg, id, serial);
    if (r != NULL) {
        waiter->node.awaited = handle_from_record(r);
        waiter->kept = kept_from_reservation(reservation_take(slot, reg->generations, 1));
    }
    epoch_leave(slot);
    if (r == NULL) return REG_NOT_FOUND;
    if (waiter->kept == NULL) return REG_NO_MEMORY;
    *is_idle = is_idle_or_link(waiter);
    return REG_OK;
}

bool reg_wait_end(reg_idle_waiter *waiter, reg_release release) {
    idle_lock();
    bool was_listed = waiter_unlink(list_of(waiter->node.awaited), &waiter->node);
    idle_unlock();
    if (waiter->kept != NULL) reg_keep_drop(waiter->kept, 1, release);
    waiter->kept = NULL;
    return was_listed;
}
