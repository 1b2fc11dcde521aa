#include "reservation.h"

#include <pthread.h>

#include "memory.h"
#include "random.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void reservations_lock(void) { pthread_mutex_lock(&lock); }

void reservations_unlock(void) { pthread_mutex_unlock(&lock); }

/* ---- free ones ---- */

/* By whoever has made the word say that nobody holds it, and that its thread has left. */
static void give_back(reservation *r) {
    _Atomic(reservation *) *freed = &r->slot->freed;
    publish(&r->holders, 0);
    r->next_free = load_own(freed);
    while (!atomic_compare_exchange_weak_explicit(freed, &r->next_free, r, memory_order_acq_rel, memory_order_relaxed)) {
    }
}

/* Its thread goes on to another; the same one again where nobody holds it. */
static reservation *leave(reservation *r) {
    if (r == NULL || load_counted(&r->holders) == 0) return r;
    if (or_counted(&r->holders, RESERVATION_LEFT) != 0) return NULL;
    publish(&r->holders, 0);
    return r;
}

static reservation *take_free(epoch_slot *reader) {
    if (reader->free == NULL) reader->free = exchange_counted(&reader->freed, NULL);
    reservation *r = reader->free;
    if (r != NULL) reader->free = r->next_free;
    return r;
}

static reservation *add_reservation(epoch_slot *reader) {
    reservation *r = memory_alloc_lines(sizeof *r);
    if (r == NULL) return NULL;
    r->slot = reader;
    r->next = load_own(&reader->reservations);
    publish(&reader->reservations, r);
    return r;
}

reservation *reservation_renew(epoch_slot *reader, uint32_t owner) {
    reservation *current = reader->current;
    reader->current = NULL; /* first: who takes over the slot in the child of a fork must not find one that was left */
    reservation *r = leave(current);
    if (r == NULL && (r = take_free(reader)) == NULL && (r = add_reservation(reader)) == NULL) return NULL;
    uint64_t entered = load_own(&reader->epoch);
    publish(&r->owner, owner);
    publish(&r->first, entered);
    publish(&r->last, entered);
    return reader->current = r;
}

/* ---- what is kept, and for whom ---- */

#define EACH_RESERVATION(r)                                                         \
    for (epoch_slot *slot = epoch_slots(); slot != NULL; slot = slot->next)          \
        for (reservation *r = load_published(&slot->reservations); r != NULL; r = r->next)

/* One of those that have to keep it, any of them alike: then whatever order they go in, a node seldom moves from one to the next. */
static reservation *find_keeper(const epoch_node *node, uint64_t born) {
    reservation *found = NULL;
    uint64_t count = 0;
    EACH_RESERVATION(r) {
        if (!reservation_is_held(r) || load_published(&r->owner) != node->kind->owner(node)) continue;
        if (load_published(&r->first) > node->stamp || born > load_published(&r->last)) continue;
        if (random_below(++count) == 0) found = r;
    }
    return found;
}

/* Under the lock. */
static bool keep(epoch_node *node, uint64_t born) {
    reservation *r;
    while ((r = find_keeper(node, born)) != NULL) {
        node->next = load_own(&r->kept);
        exchange_counted(&r->kept, node);
        if (reservation_is_held(r)) return true;
        exchange_counted(&r->kept, node->next);
    }
    return false;
}

epoch_node *reservation_sift(epoch_node *list) {
    epoch_node *unused = NULL, **end = &unused;
    bool is_locked = false;
    while (list != NULL) {
        epoch_node *node = list;
        list = node->next;
        uint64_t born = node->kind->born == NULL ? EPOCH_NEVER : node->kind->born(node);
        if (born != EPOCH_NEVER && !is_locked) {
            reservations_lock();
            is_locked = true;
        }
        if (born != EPOCH_NEVER && keep(node, born)) continue;
        node->next = NULL;
        *end = node;
        end = &node->next;
    }
    if (is_locked) reservations_unlock();
    return unused;
}

static epoch_node *take_kept(reservation *r) {
    epoch_node *list = NULL;
    reservations_lock();
    if (!reservation_is_held(r)) list = exchange_counted(&r->kept, NULL);
    reservations_unlock();
    return list;
}

void reservation_end(reservation *r, bool is_left, epoch_release release) {
    epoch_node *list = load_counted(&r->kept) != NULL ? take_kept(r) : NULL;
    if (is_left) give_back(r);
    epoch_destroy(list, release);
}

epoch_amount reservation_kept(uint32_t owner) {
    epoch_amount kept = {0};
    reservations_lock();
    EACH_RESERVATION(r) {
        for (const epoch_node *node = load_own(&r->kept); node != NULL; node = node->next) {
            if (node->kind->owner(node) != owner) continue;
            kept.nodes++;
            kept.bytes += node->kind->bytes(node);
        }
    }
    reservations_unlock();
    return kept;
}
