/* Streams of changes. Every write feeds each open watch, and consumers take the changes.
 *
 * The queue of a watch
 * --------------------
 * There is one producer at a time, the holder of the writer lock, and one consumer at a time, the
 * holder of the watch's lock READING. The producer never waits for a consumer: it does not take
 * READING, apart from one attempt that may fail. A consumer that finds unread changes does not take
 * the writer lock.
 *
 *   FIRST  ->  event  ->  event  ->  event  =  LAST
 *   (empty)    unread     unread     unread
 *
 *   the producer writes     LAST, the `next` of the event LAST, PUSHED, IS_LAGGING, the spares
 *   the consumer writes     FIRST, POPPED
 *   both locks are needed   to drop what is unread, for this changes both ends
 *
 * PUSHED - POPPED events are unread. FIRST is the event that was taken last; its contents are gone.
 *   a. The producer fills an event, links it behind LAST, and then adds 1 to PUSHED (sequentially
 *      consistent). The consumer follows the link of FIRST only if PUSHED != POPPED. So it sees the
 *      link and the contents, and it never reads a link that the producer may be writing: that of
 *      LAST is read only after PUSHED counts the event behind it.
 *   b. The consumer frees FIRST when it takes the event behind it. The producer has left that event
 *      behind by then: LAST moved on before PUSHED grew.
 *   c. The events were allocated before the commit, and the thread's reservation too, so that
 *      nothing can fail once the change is in force.
 *
 * Each change once, in order
 * --------------------------
 * A watch enters the registry's list under the writer lock, at the version V that is committed
 * then. Every write after V feeds it, under the same lock and so in the order of the commits. Its
 * snapshot is read at V, inside an epoch that began under that lock (version.h). So snapshot plus
 * changes is the registry: nothing is missing, and nothing is in both.
 *
 * A change is fed after its commit, so whoever takes it finds the registry at least at its version.
 *
 * Overflow
 * --------
 * If `limit` changes are unread and another one comes, the producer sets IS_LAGGING and feeds this
 * watch no more. It also drops what is unread, if it gets READING at once; otherwise the next
 * write, or a consumer, does so. So a watch never has more than `limit` unread changes.
 *   d. A consumer that finds the flag takes the writer lock. There it drops what is unread, clears
 *      the flag, and enters an epoch at the committed version W. The lock makes these one step: the
 *      writes up to W are in the fleet at W, and they are not in the queue, which is empty; the
 *      writes after W feed the queue. This is the same as opening the watch again. The consumer
 *      returns REG_OVERFLOWED with the version W and the fleet at W.
 *   e. If memory runs out while it reads the fleet, it sets the flag again, so nothing is lost but
 *      time.
 *   f. What a consumer took before it saw the flag was pushed before, so its version is at most W,
 *      and it comes first.
 *
 * Objects
 * -------
 * An event has two views, whose objects the writer's reservation keeps alive (reservation.h). The
 * counts pass to the consumer with the event. The writer counts them while it holds the writer
 * lock. What its write has retired is not collected before end_write, so the proof of reservation.h
 * holds, although the epoch may begin after the commit: the lock keeps the old state alive until
 * then, as a read that began before would.
 *
 * Sleep
 * -----
 * A consumer that finds nothing enters the registry's list of waiters (waiters.h). EVENT is PUSHED,
 * IS_LAGGING or IS_CLOSED. After a write the binding takes off all waiters of the registry, because
 * each watch has been fed or lags. If several wait for one watch, those that come too late sleep
 * again. To wake only one of them would lose a wake-up if that one never runs, for example in an
 * event loop that was stopped. A write that watches do not tell (a cool-down) wakes in vain, too.
 *
 * Locks: READING, then the writer lock. The producer, which holds the writer lock, only tries to
 * take READING, so there is no deadlock.
 *
 * Life
 * ----
 * The producer finds a watch in the registry's list under the writer lock, and closing removes it
 * from there under the same lock. So a watch can be freed once it is closed and no consumer uses
 * it. A registry must outlive its watches.
 *
 * Fork
 * ----
 * Another thread may hold READING when the process forks, and be half-way through taking an event.
 * So in the child every watch is closed, and what it has not yet delivered stays allocated. The
 * child may open new ones. Whoever waits there is woken by the child's next write, and finds the
 * watch closed. */
#include "registry/watch.h"

#include "base/memory.h"
#include "reclaim/reservation.h"
#include "registry/read.h"

typedef struct event {
    epoch_node node; /* if it is the first of a list of events that were dropped */
    struct event *next;
    reg_change change;
} event;

struct reg_watch {
    reg_registry *reg;
    uint32_t limit;
    _Atomic bool is_closed;  /* written under both locks */
    _Atomic bool is_lagging; /* written under the writer lock */
    bool is_inherited;       /* from the parent of a fork */
    /* Under the writer lock. */
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t pushed;
    event *last;
    event *spare; /* events to be filled, a list */
    size_t spares;
    reg_watch *previous, *next; /* in the list of the registry's open watches */
    /* Under `reading`. */
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t popped;
    event *first;
    pthread_mutex_t reading;
};

/* ---- lists of events ---- */

static size_t views_of(const reg_change *change) {
    return (size_t)change->has_before + change->has_after;
}

static void free_spares(event *e) {
    while (e != NULL) {
        event *next = e->next;
        memory_free(e);
        e = next;
    }
}

static void destroy_events(epoch_node *node, epoch_release release) {
    event *e = reg_container(node, event, node);
    while (e != NULL) {
        event *next = e->next;
        reservation_drop(reservation_of_kept(e->change.kept), views_of(&e->change), release);
        memory_free(e);
        e = next;
    }
}

static const epoch_kind events_kind = {.destroy = destroy_events};

/* A list of events as one node, for reclaim_destroy. NULL if it is empty. */
static epoch_node *node_of_events(event *list) {
    if (list == NULL) return NULL;
    list->node = (epoch_node){.kind = &events_kind};
    return &list->node;
}

/* ---- the producer; under the writer lock ---- */

/* Takes all that is unread off the queue. Under both locks. */
static event *take_unread_locked(reg_watch *w) {
    REG_ASSERT_WRITER_OF(w->reg);
    event *list = w->last == w->first ? NULL : w->first->next;
    w->last = w->first;
    publish(&w->popped, load_own(&w->pushed));
    return list;
}

/* Drops what is unread, unless a consumer holds READING. */
static void try_drop_locked(reg_watch *w) {
    REG_ASSERT_WRITER_OF(w->reg);
    if (load_own(&w->pushed) == load_published(&w->popped)) return; /* nothing is unread */
    if (pthread_mutex_trylock(&w->reading) != 0) return;
    epoch_node *node = node_of_events(take_unread_locked(w));
    pthread_mutex_unlock(&w->reading);
    if (node == NULL) return; /* a consumer took the last one in between */
    node->next = w->reg->dropped_changes;
    w->reg->dropped_changes = node;
}

static bool allocate_spares_locked(reg_watch *w, size_t count) {
    REG_ASSERT_WRITER_OF(w->reg);
    while (w->spares < count) {
        event *e = memory_alloc(sizeof *e);
        if (e == NULL) return false;
        e->next = w->spare;
        w->spare = e;
        w->spares++;
    }
    return true;
}

/* A write with more changes than a watch may have unread overflows it, so it needs no more events
 * than that. */
bool watches_allocate_locked(reg_registry *reg, size_t changes) {
    REG_ASSERT_WRITER_OF(reg);
    epoch_slot *slot = epoch_own_slot == NULL ? epoch_take_slot() : epoch_own_slot;
    if (slot == NULL || !reservation_prepare(slot)) return false;
    for (reg_watch *w = reg->watches; w != NULL; w = w->next) {
        size_t needed = load_own(&w->is_lagging) ? 0 : changes < w->limit ? changes : w->limit;
        if (!allocate_spares_locked(w, needed)) return false;
    }
    return true;
}

static void push_locked(reg_watch *w, epoch_slot *slot, const reg_change *change) {
    REG_ASSERT_WRITER_OF(w->reg);
    uint64_t pushed = load_own(&w->pushed);
    bool is_full = w->spare == NULL || pushed - load_published(&w->popped) >= w->limit;
    if (is_full || load_own(&w->is_lagging)) {
        exchange_seq_cst(&w->is_lagging, true);
        try_drop_locked(w);
        return;
    }
    event *e = w->spare;
    w->spare = e->next;
    w->spares--;
    e->next = NULL;
    e->change = *change;
    e->change.kept =
        kept_from_reservation(reservation_take(slot, w->reg->generations, views_of(change)));
    w->last->next = e;
    w->last = e;
    exchange_seq_cst(&w->pushed, pushed + 1);
}

/* What a write has changed. */
typedef struct news {
    reg_change_kind kind;
    record *before, *after; /* NULL: none */
    bool had_trial;         /* a trial was out before, which the views can't see any more */
} news;

static void push_to_all_locked(reg_registry *reg, epoch_slot *slot, const news *n) {
    REG_ASSERT_WRITER_OF(reg);
    record *before = n->before, *after = n->after;
    reg_change change = {.version = load_own(&reg->committed),
                         .kind = (uint8_t)n->kind,
                         .has_before = before != NULL,
                         .has_after = after != NULL};
    uint64_t now = 0;
    if (before != NULL) change.before = view_at(reg, before, change.version - 1, &now);
    if (after != NULL) change.after = view_at(reg, after, change.version, &now);
    if (n->had_trial && change.before.unavailable == REG_ELIGIBLE)
        change.before.unavailable = REG_ON_TRIAL;
    for (reg_watch *w = reg->watches; w != NULL; w = w->next) push_locked(w, slot, &change);
}

/* A removal is inside an epoch already, other writes are not. The slot was taken when the write was
 * prepared. */
static void push_news_locked(reg_registry *reg, const news *n) {
    REG_ASSERT_WRITER_OF(reg);
    bool is_reading = load_own(&epoch_own_slot->epoch) != 0;
    epoch_slot *slot = is_reading ? epoch_own_slot : epoch_enter();
    push_to_all_locked(reg, slot, n);
    if (!is_reading) epoch_leave(slot);
}

void watches_push_locked(reg_registry *reg, reg_change_kind kind, record *before, record *after) {
    REG_ASSERT_WRITER_OF(reg);
    push_news_locked(reg, &(news){.kind = kind, .before = before, .after = after});
}

void watches_push_transition_locked(reg_registry *reg, record *r, bool had_trial) {
    REG_ASSERT_WRITER_OF(reg);
    push_news_locked(
        reg,
        &(news){.kind = REG_AVAILABILITY_CHANGED, .before = r, .after = r, .had_trial = had_trial});
}

size_t watches_bytes_locked(reg_registry *reg) {
    REG_ASSERT_WRITER_OF(reg);
    size_t bytes = 0;
    for (reg_watch *w = reg->watches; w != NULL; w = w->next) {
        uint64_t unread = load_own(&w->pushed) - load_published(&w->popped);
        bytes += sizeof *w + (size_t)(unread + 1 + w->spares) * sizeof(event);
    }
    return bytes;
}

/* ---- opening and closing ---- */

static void link_watch_locked(reg_registry *reg, reg_watch *w) {
    REG_ASSERT_WRITER_OF(reg);
    w->next = reg->watches;
    if (reg->watches != NULL) reg->watches->previous = w;
    reg->watches = w;
}

static void unlink_watch_locked(reg_registry *reg, reg_watch *w) {
    REG_ASSERT_WRITER_OF(reg);
    if (w->next != NULL) w->next->previous = w->previous;
    if (w->previous != NULL)
        w->previous->next = w->next;
    else
        reg->watches = w->next;
}

static reg_watch *new_watch(reg_registry *reg, uint32_t limit) {
    reg_watch *w = memory_alloc_lines(sizeof *w);
    if (w == NULL) return NULL;
    w->first = w->last = memory_alloc(sizeof *w->first);
    if (w->first == NULL) {
        memory_free(w);
        return NULL;
    }
    w->reg = reg;
    w->limit = limit;
    pthread_mutex_init(&w->reading, NULL);
    return w;
}

/* Reads the fleet at `version`, and ends the epoch in which the version was loaded. */
static reg_status read_snapshot(reg_registry *reg, epoch_slot *slot, uint64_t version,
                                reg_views *fleet, reg_kept **kept) {
    reg_status status = read_fleet_at(reg, version, fleet);
    if (status == REG_OK) {
        *kept = kept_from_reservation(reservation_take(slot, reg->generations, fleet->count));
        if (*kept == NULL) {
            reg_views_free(fleet);
            status = REG_NO_MEMORY;
        }
    }
    epoch_leave(slot);
    return status;
}

reg_status reg_watch_open(reg_registry *reg, uint32_t limit, reg_watch **watch, reg_views *fleet,
                          reg_kept **kept) {
    reg_watch *w = new_watch(reg, limit);
    *watch = w;
    if (w == NULL) return REG_NO_MEMORY;
    lock_writer(reg);
    epoch_slot *slot = epoch_enter();
    uint64_t version = load_own(&reg->committed);
    link_watch_locked(reg, w);
    unlock_writer(reg);
    return slot == NULL ? REG_NO_MEMORY : read_snapshot(reg, slot, version, fleet, kept);
}

void reg_watch_close(reg_watch *w, reg_waiter **waiters, reg_garbage **garbage) {
    reg_registry *reg = w->reg;
    *garbage = NULL;
    pthread_mutex_lock(&w->reading);
    lock_writer(reg);
    if (!load_own(&w->is_closed)) {
        exchange_seq_cst(&w->is_closed, true);
        unlink_watch_locked(reg, w);
        *garbage = garbage_from_list(node_of_events(take_unread_locked(w)));
    }
    unlock_writer(reg);
    pthread_mutex_unlock(&w->reading);
    *waiters = waiters_take(&reg->waiters, w);
}

void reg_watch_free(reg_watch *w) {
    free_spares(w->spare);
    if (!w->is_inherited) memory_free(w->first);
    pthread_mutex_destroy(&w->reading);
    memory_free(w);
}

bool reg_watch_is_closed(const reg_watch *w) { return load_seq_cst(&((reg_watch *)w)->is_closed); }

void watches_after_fork_in_child(reg_registry *reg) {
    for (reg_watch *w = reg->watches; w != NULL; w = w->next) {
        pthread_mutex_init(&w->reading, NULL); /* its holder does not exist here */
        w->is_inherited = true;
        exchange_seq_cst(&w->is_closed, true);
    }
    reg->watches = NULL;
}

/* ---- consumers ---- */

/* Whether reg_watch_take would do more than find nothing. PUSHED is loaded first: then a difference
 * may be out of date, but equal numbers mean that nothing was unread when PUSHED was loaded. */
static bool is_ready(reg_watch *w) {
    uint64_t pushed = load_seq_cst(&w->pushed);
    return pushed != load_published(&w->popped) || load_seq_cst(&w->is_lagging) ||
           load_seq_cst(&w->is_closed);
}

bool reg_watch_is_ready(reg_watch *w) { return is_ready(w); }

static bool start_reading(reg_watch *w, bool may_block) {
    return (may_block ? pthread_mutex_lock(&w->reading) : pthread_mutex_trylock(&w->reading)) == 0;
}

/* Step a. and b.; under READING. */
static void take_first(reg_watch *w, reg_change *change) {
    event *old = w->first;
    w->first = old->next;
    *change = w->first->change;
    memory_free(old);
    publish(&w->popped, load_own(&w->popped) + 1);
}

void reg_watch_lag(reg_watch *w) {
    lock_writer(w->reg);
    exchange_seq_cst(&w->is_lagging, true);
    unlock_writer(w->reg);
}

/* Steps d. and e.; under READING. */
static reg_status catch_up(reg_watch *w, reg_change *change, reg_views *fleet,
                           reg_garbage **garbage) {
    reg_registry *reg = w->reg;
    lock_writer(reg);
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) {
        unlock_writer(reg);
        return REG_NO_MEMORY;
    }
    *change = (reg_change){.version = load_own(&reg->committed), .kind = REG_OVERFLOWED};
    *garbage = garbage_from_list(node_of_events(take_unread_locked(w)));
    exchange_seq_cst(&w->is_lagging, false);
    unlock_writer(reg);
    reg_status status = read_snapshot(reg, slot, change->version, fleet, &change->kept);
    if (status != REG_OK) reg_watch_lag(w);
    return status;
}

reg_status reg_watch_take(reg_watch *w, bool may_block, reg_change *change, reg_views *fleet,
                          reg_garbage **garbage) {
    *garbage = NULL;
    *fleet = (reg_views){0};
    if (!start_reading(w, may_block)) return REG_WOULD_BLOCK;
    reg_status status = REG_NOT_FOUND;
    if (!load_seq_cst(&w->is_closed)) {
        if (load_seq_cst(&w->is_lagging)) {
            status = may_block ? catch_up(w, change, fleet, garbage) : REG_WOULD_BLOCK;
        } else if (load_seq_cst(&w->pushed) != load_own(&w->popped)) {
            take_first(w, change);
            status = REG_OK;
        }
    }
    pthread_mutex_unlock(&w->reading);
    return status;
}

bool reg_watch_listen(reg_watch *w, reg_waiter *waiter) {
    waiter->awaited = w;
    waiters_add(&w->reg->waiters, waiter);
    return !is_ready(w) || !waiters_remove(&w->reg->waiters, waiter);
}

bool reg_watch_forget(reg_watch *w, reg_waiter *waiter) {
    return waiters_remove(&w->reg->waiters, waiter);
}

reg_waiter *reg_take_waiters(reg_registry *reg) { return waiters_take_all(&reg->waiters); }
