#include "reservation.h"

#include <pthread.h>

#include "memory.h"

/* How many of its reservations a thread looks at for a free one before it makes another. */
enum { LOOKS = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void reservations_lock(void) { pthread_mutex_lock(&lock); }

void reservations_unlock(void) { pthread_mutex_unlock(&lock); }

/* ---- the reader's side ---- */

static bool is_free(reservation *r) { return load_counted(&r->holders) == 0 && load_counted(&r->kept) == NULL; }

/* One of this thread's. It goes round, some at a time, so that each comes to be looked at. */
static reservation *find_free(epoch_slot *reader) {
    reservation *r = reader->looked_at;
    for (int i = 0; i < LOOKS; i++) {
        r = r != NULL ? r->next : NULL;
        if (r == NULL && (r = load_own(&reader->reservations)) == NULL) return NULL;
        reader->looked_at = r;
        if (is_free(r)) return r;
    }
    return NULL;
}

static reservation *add_reservation(epoch_slot *reader) {
    reservation *r = memory_alloc_lines(sizeof *r);
    if (r == NULL) return NULL;
    r->next = load_own(&reader->reservations);
    publish(&reader->reservations, r);
    return r;
}

reservation *reservation_renew(epoch_slot *reader) {
    reservation *r = find_free(reader);
    if (r == NULL && (r = add_reservation(reader)) == NULL) return NULL;
    uint64_t entered = load_own(&reader->epoch);
    publish(&r->first, entered);
    publish(&r->last, entered);
    return reader->current = r;
}

/* ---- what is kept, and for whom ---- */

/* Puts the node on the list of a reservation that has to keep it; false where there is none. Under the lock. */
static bool keep(epoch_node *node, uint64_t born) {
    for (epoch_slot *slot = epoch_slots(); slot != NULL; slot = slot->next) {
        for (reservation *r = load_published(&slot->reservations); r != NULL; r = r->next) {
            if (load_counted(&r->holders) == 0 || load_published(&r->first) > node->stamp || born > load_published(&r->last)) continue;
            node->next = load_own(&r->kept);
            exchange_counted(&r->kept, node);
            if (load_counted(&r->holders) != 0) return true;
            exchange_counted(&r->kept, node->next);
        }
    }
    return false;
}

bool reservation_keep(epoch_node *node, uint64_t born) {
    if (born == EPOCH_NEVER) return false;
    reservations_lock();
    bool kept = keep(node, born);
    reservations_unlock();
    return kept;
}

void reservation_let_go(reservation *r, epoch_release release) {
    reservations_lock();
    epoch_node *list = load_counted(&r->holders) == 0 ? exchange_counted(&r->kept, NULL) : NULL;
    reservations_unlock();
    epoch_destroy(list, release);
}
