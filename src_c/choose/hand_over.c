/* Waiting for a place: whoever waits gets one as soon as there is one, in the order of the line
 * (registry/line.h). Nobody polls.
 *
 * A hand-over
 * -----------
 * A place is handed over by the thread that makes room, not taken by the one that waits. That
 * thread holds LINE and makes the choice for the waiter whose turn it is, with the waiter's own
 * request and policy (select.c). If it succeeds, it fills the waiter's lease and takes the waiter
 * off the line. If it is refused, the waiter's kind is set aside until the end of this hand-over.
 * It goes on until no kind is left. So it makes one choice for each place that it hands over, and
 * one for each kind of waiters. Then it releases LINE, and wakes those whom it has served. No call
 * by another thread comes between the release of a place and its hand-over, see 'Overtaking'.
 *
 * If the reasons of a refusal can't pass (refusal.c), waiting does not help. The whole kind is
 * taken off, and each waiter makes a last try, which raises the reasons.
 *
 * Nobody waits beside a free place
 * --------------------------------
 * IS_WAITED (settings.h) says whether the line has waiters. It is written under LINE. EVENT is any
 * word by which a refusal can turn into a choice: a count in flight or a TRIAL bit that a release
 * changes, the committed version that a write changes, a clock that is moved by hand. All of these
 * are sequentially consistent.
 *
 *   waiter    A1  under LINE: enter the line, IS_WAITED = true
 *             A2  under LINE: try to get a place, unless its kind waits already
 *   others    B1  change EVENT
 *             B2  load IS_WAITED; if it is set, hand over under LINE
 *
 *   a. Let a waiter be in the line, and let an event make room for it. The last try of its kind
 *      was refused at an instant T (select.c), by what was true at T. If the event came before T,
 *      the try would have found the room. So B1 comes after T, and T after A1 of the waiter that
 *      tried. So B2 finds the flag set: from that A1 on the line has waiters of the kind, and only
 *      the last one to leave the line clears the flag. A hand-over follows, under LINE, and tries
 *      the kind again.
 *   b. A new waiter of a kind that waits already needs no try: a. holds for its kind.
 *   c. What time alone changes is no event. A refusal says when the first of its deadlines passes,
 *      and DEADLINE is the first of all kinds. Each waiter sleeps until the deadline that it was
 *      told at most, and then hands over itself. If DEADLINE becomes earlier than what some were
 *      told, all of these are nudged: woken, so that they look again. One of them would do, if it
 *      were sure to run; but its event loop may be busy, stopped or closed. TOLD is a bound: who
 *      was told a later time has a nudge on its way. So a call looks for whom to nudge only if
 *      DEADLINE is earlier than TOLD. Then it takes O(waiters). Each waiter wakes at most once for
 *      each DEADLINE that is earlier than its own.
 *   d. If memory runs out in a try, the waiter is taken off, and raises that.
 *
 * Overtaking
 * ----------
 * While IS_WAITED is set, `reg_acquire_beside` chooses under LINE, and takes no place that a waiter
 * could take: one that has no obstacle for a waiting kind but its load (awaited.h). If the pick of
 * its choice is such a place, the place is free, so an event has made room and its hand-over is on
 * its way. Then this thread hands over first, and chooses again. So it gets only what nobody in
 * the line can take. A call that began before anybody waited may not see the flag. It came first.
 *
 * During a hand-over, the same check protects those who were refused before and now could take the
 * place: all kinds that were set aside are brought back, and the one that came first is tried first
 * again. The next hand-over would not be too late for the place, but for the order.
 *
 * Both repeat only because a new event has made room. MANY limits the repetitions: then the choice
 * is refused as one that others wait for, and the kind stays aside until the next hand-over, which
 * that event brings.
 *
 * Whose the place is
 * ------------------
 * LINE decides. A waiter that gives up, because its time is up or because it was cancelled, does so
 * under LINE: it leaves the line and will not be served, or it finds that it was served. Then it
 * takes the lease after all, or gives it back (`reg_lease_return`), which counts nothing and is an
 * event like any other release.
 *
 * References: while it is in the line, the core has two to the waiter's object, one for the wake-up
 * that ends the wait, one for a nudge. Each is passed on with the wake-up, or given back to the
 * owner when it looks or leaves. So whoever wakes an object has a reference to it. A waiter may
 * look before the thread that nudges it has come to it. IS_NUDGED says that it is in the list of
 * that thread, which clears the flag when it takes it out, before it wakes it. Meanwhile nobody
 * nudges it again: its next wake-up is still to come, and so is the look after it.
 *
 * Fork: in the child only the waiters of the forking thread are left in the line (line.h). They
 * know DEADLINE themselves, so they need none of those who are gone. */
#include "choose/few.h"
#include "choose/lease.h"
#include "choose/refusal.h"
#include "choose/select.h"
#include "registry/fork.h"
#include "registry/locks.h"

enum { MANY = 1024 };

/* ---- leaving the line ---- */

static void append(reg_wakes *wakes, reg_waiter *node) {
    node->next = NULL;
    if (wakes->woken == NULL) {
        wakes->woken = node;
    } else {
        if (wakes->last == NULL) wakes->last = wakes->woken;
        while (wakes->last->next != NULL) wakes->last = wakes->last->next;
        wakes->last->next = node;
    }
    wakes->last = node;
}

/* Takes a waiter off with this result. Whoever is in its own call needs no wake-up, and gets the
 * reference back. */
static void take_off(reg_registry *reg, reg_place_waiter *w, reg_status result, reg_wakes *wakes) {
    waiting_line *l = &reg->line;
    line_remove(l, reg->settings, w);
    w->result = (uint8_t)result;
    if (w == l->entrant) {
        l->given_back++;
        return;
    }
    w->node.is_woken = true;
    append(wakes, &w->node);
}

/* ---- the hand-over; under LINE ---- */

/* Tries to get a place for the first waiter of a kind. False if the kind stays as it is: it was
 * refused, or with `is_awaited`, others wait for the place that it would take. */
static bool try_first(reg_registry *reg, line_kind *k, bool *is_awaited, reg_wakes *wakes) {
    waiting_line *l = &reg->line;
    reg_place_waiter *w = line_first_of(k);
    bool may_pass = true;
    uint64_t deadline = REG_NEVER;
    l->tried = k;
    reg_status status = acquire_for_waiter(reg, &w->request, w->lease, &may_pass, &deadline);
    l->tried = NULL;
    *is_awaited = status == REG_WAITS;
    if (*is_awaited) return false;
    if (status != REG_NONE_AVAILABLE) {
        take_off(reg, w, status, wakes);
        return true;
    }
    if (deadline < l->deadline) l->deadline = deadline;
    if (may_pass) return false;
    for (size_t left = k->waiters.count; left != 0; left--)
        take_off(reg, line_first_of(k), REG_NONE_AVAILABLE, wakes);
    return true;
}

static void hand_over(reg_registry *reg, reg_wakes *wakes) {
    REG_ASSERT_LINE_OF(reg);
    waiting_line *l = &reg->line;
    l->is_handing_over = true;
    l->deadline = REG_NEVER;
    uint32_t repetitions = 0;
    for (line_kind *k; (k = line_next(l)) != NULL;) {
        bool is_awaited;
        if (try_first(reg, k, &is_awaited, wakes)) continue;
        if (is_awaited && repetitions++ < MANY)
            line_bring_back(l);
        else
            line_set_aside(l, k);
    }
    line_bring_back(l);
    l->is_handing_over = false;
}

static void nudge(reg_place_waiter *w, reg_wakes *wakes) {
    if (!w->can_nudge || load_published(&w->is_nudged)) return;
    w->can_nudge = false;
    store_private(&w->is_nudged, true);
    w->next_nudged = wakes->nudged;
    wakes->nudged = w;
}

/* c.: at the end of each call that may have changed the line or its deadline. */
static void nudge_all(reg_registry *reg, reg_wakes *wakes) {
    waiting_line *l = &reg->line;
    if (l->told <= l->deadline || l->waiting == 0) return;
    for (line_kind *k = l->all_kinds; k != NULL; k = k->next) {
        for (size_t i = 0; i < k->waiters.count; i++) {
            reg_place_waiter *w = line_waiter_of(k, i);
            if (w->told > l->deadline) nudge(w, wakes);
        }
    }
    l->told = l->deadline;
}

reg_waiter *reg_wakes_next(reg_wakes *wakes) {
    reg_waiter *node = wakes->woken;
    if (node != NULL) {
        wakes->woken = node->next;
        if (node->next == NULL) wakes->last = NULL;
        return node;
    }
    reg_place_waiter *w = wakes->nudged;
    if (w == NULL) return NULL;
    wakes->nudged = w->next_nudged;
    publish(&w->is_nudged, false); /* the last access to its place in the list */
    return &w->node;
}

static void hand_over_and_unlock(reg_registry *reg, reg_wakes *wakes) {
    hand_over(reg, wakes);
    nudge_all(reg, wakes);
    unlock_line(reg);
}

/* ---- beside the line ---- */

static reg_status acquire_beside(reg_registry *reg, reg_request *request, reg_lease *lease,
                                 reg_refusal *refusal, reg_wakes *wakes) {
    REG_ASSERT_LINE_OF(reg);
    for (uint32_t i = 0;; i++) {
        reg_status status = acquire_unless_awaited(reg, request, i == MANY, lease, refusal);
        /* With its blocks known there, somebody may add few enough tokens to fit. */
        if (status == REG_OK && request->prefix_count != 0) hand_over(reg, wakes);
        if (status != REG_WAITS) return status;
        hand_over(reg, wakes);
    }
}

reg_status reg_acquire_beside(reg_registry *reg, reg_request *request, reg_lease *lease,
                              reg_refusal *refusal, reg_wakes *wakes) {
    lock_line(reg);
    reg_status status = acquire_beside(reg, request, lease, refusal, wakes);
    nudge_all(reg, wakes);
    unlock_line(reg);
    return status;
}

reg_status reg_acquire(reg_registry *reg, reg_request *request, reg_lease *lease,
                       reg_refusal *refusal) {
    if (reg_unlikely(line_is_waited(reg->settings))) return REG_WAITS;
    return acquire(reg, request, lease, refusal);
}

/* ---- waiters ---- */

/* Tells a waiter that stays in the line how long it may sleep. */
static reg_status tell(reg_registry *reg, reg_place_waiter *w) {
    w->look_after = REG_NEVER;
    w->told = 0;
    if (reg->settings->values.clock != NULL) return REG_WAITS; /* nobody wakes by the time */
    w->told = reg->line.deadline;
    if (reg->line.told < w->told) reg->line.told = w->told;
    if (w->told == REG_NEVER) return REG_WAITS;
    uint64_t now = registry_now(reg);
    w->look_after = w->told > now ? w->told - now : 0;
    return REG_WAITS;
}

/* The core gives back the reference for a nudge, unless somebody has it. */
static void give_back_nudge(waiting_line *l, reg_place_waiter *w) {
    l->given_back += w->can_nudge;
    w->can_nudge = false;
}

/* Ends a wait that was refused: makes a last try, which does not overtake, and lists the reasons.
 */
static reg_status refuse_waiter(reg_registry *reg, reg_place_waiter *w, bool is_last,
                                reg_refusal *refusal, reg_wakes *wakes) {
    reg_status status = acquire_beside(reg, &w->request, w->lease, refusal, wakes);
    if (status != REG_NONE_AVAILABLE || is_last) return status;
    return refusal_lists_passing(refusal) ? REG_CHANGED : status; /* a write has come between */
}

/* A1 and A2. The result, or REG_WAITS. */
static reg_status join(reg_registry *reg, reg_place_waiter *w, reg_wakes *wakes) {
    waiting_line *l = &reg->line;
    if (!line_add(l, reg->settings, w)) {
        l->given_back++;
        return REG_NO_MEMORY;
    }
    bool is_awaited, is_new = w->kind->waiters.count == 1;
    if (is_new && !try_first(reg, w->kind, &is_awaited, wakes) && is_awaited) hand_over(reg, wakes);
    return w->node.is_listed ? REG_WAITS : w->result;
}

reg_status reg_line_enter(reg_registry *reg, reg_place_waiter *w, bool may_wait,
                          reg_refusal *refusal, reg_wakes *wakes) {
    waiting_line *l = &reg->line;
    request_prepare(&w->request);
    lock_line(reg);
    l->given_back = 0;
    w->can_nudge = true;
    if (l->waiting == 0) {
        l->deadline = REG_NEVER;
        l->told = 0;
    }
    l->entrant = w;
    reg_status status = join(reg, w, wakes);
    size_t most = reg->settings->values.max_waiting;
    bool is_over = status == REG_WAITS && (!may_wait || w->kind->model->waiting > most);
    if (is_over) take_off(reg, w, REG_NONE_AVAILABLE, wakes);
    if (is_over || status == REG_NONE_AVAILABLE)
        status = refuse_waiter(reg, w, is_over, refusal, wakes);
    if (is_over && may_wait && status == REG_NONE_AVAILABLE) status = REG_LINE_FULL;
    if (status == REG_WAITS)
        (void)tell(reg, w);
    else
        give_back_nudge(l, w);
    l->entrant = NULL;
    w->given_back = l->given_back;
    nudge_all(reg, wakes);
    unlock_line(reg);
    return status;
}

static bool deadline_has_passed(reg_registry *reg) {
    return reg->line.deadline != REG_NEVER && reg->line.deadline <= registry_now(reg);
}

static reg_status look(reg_registry *reg, reg_place_waiter *w, bool is_last, reg_refusal *refusal,
                       reg_wakes *wakes) {
    if (w->node.is_listed && deadline_has_passed(reg)) hand_over(reg, wakes);
    if (w->node.is_listed && !is_last) return tell(reg, w);
    if (w->node.is_listed) take_off(reg, w, REG_NONE_AVAILABLE, wakes);
    if (w->result != REG_NONE_AVAILABLE) return w->result;
    return refuse_waiter(reg, w, is_last, refusal, wakes);
}

reg_status reg_line_look(reg_registry *reg, reg_place_waiter *w, bool is_last, reg_refusal *refusal,
                         reg_wakes *wakes) {
    waiting_line *l = &reg->line;
    lock_line(reg);
    l->given_back = w->can_nudge; /* the caller has brought another one */
    w->can_nudge = true;
    l->entrant = w;
    reg_status status = look(reg, w, is_last, refusal, wakes);
    l->entrant = NULL;
    if (status != REG_WAITS) give_back_nudge(l, w);
    w->given_back = l->given_back;
    nudge_all(reg, wakes);
    unlock_line(reg);
    return status;
}

uint32_t reg_line_leave(reg_registry *reg, reg_place_waiter *w, reg_wakes *wakes) {
    waiting_line *l = &reg->line;
    lock_line(reg);
    l->given_back = 0;
    l->entrant = w;
    if (w->node.is_listed) take_off(reg, w, REG_NOT_FOUND, wakes);
    l->entrant = NULL;
    give_back_nudge(l, w);
    uint32_t given_back = l->given_back;
    reg_aftermath after = {.woken = wakes->woken};
    if (w->lease != NULL && reg_lease_return(w->lease, &after)) {
        wakes->woken = after.woken;
        hand_over(reg, wakes);
    }
    w->lease = NULL;
    nudge_all(reg, wakes);
    unlock_line(reg);
    return given_back;
}

/* ---- events ---- */

bool reg_is_waited(reg_registry *reg) { return line_is_waited(reg->settings); }

void reg_hand_over(reg_registry *reg, reg_wakes *wakes) {
    lock_line(reg);
    hand_over_and_unlock(reg, wakes);
}

void reg_lease_hand_over(reg_lease *lease, reg_wakes *wakes) {
    outcomes *o = load_published(&line_of(record_of_lease(lease))->outcomes);
    reg_registry *reg = lock_line_of(o->settings);
    if (reg != NULL) hand_over_and_unlock(reg, wakes);
}

typedef struct moved {
    const reg_clock *clock;
    reg_wakes *wakes;
} moved;

static void hand_over_if_moved(reg_registry *reg, void *context) {
    const moved *m = context;
    if (reg->settings->values.clock != m->clock || !line_is_waited(reg->settings)) return;
    reg_registry *locked = lock_line_of(reg->settings);
    if (locked != NULL) hand_over_and_unlock(locked, m->wakes);
}

void reg_clock_hand_over(reg_clock *clock, reg_wakes *wakes) {
    fork_each_registry(hand_over_if_moved, &(moved){clock, wakes});
}

size_t reg_waiting(reg_registry *reg, const reg_key *model_id) {
    if (!line_is_waited(reg->settings)) return 0;
    lock_line(reg);
    size_t waiting = line_waiting(&reg->line, model_id);
    unlock_line(reg);
    return waiting;
}
