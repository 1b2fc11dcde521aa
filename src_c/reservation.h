/* What readers take along when they leave: views use what a read has found long after it has ended, without a reference to each of it.
 *
 * A reference would be a counter on each definition that all threads which read that backend queue for. Instead each thread counts its own
 * views, all of one epoch together, in a reservation: an interval of epochs, and how many views hold it. What is retired has lived in
 * an interval, too, and is kept as long as a reservation that overlaps it is held (interval-based reclamation: Wen, Izraelevitz, Cai,
 * Beadle, Scott, PPoPP 2018). So a view keeps what was there in its epoch: at most one fleet for each reservation, however long it is held.
 *
 * The proof, which goes on where that of epoch.h ends
 * ----------------------------------------------------
 *   writer   B   b = load CLOCK, before N is published for the first time
 *   reader   R1 to R4 as there: e is the epoch that it entered, N what it has found. Then, and before R5,
 *            V1  c = load CLOCK (acquire)
 *            V2  take a reservation with FIRST = e and LAST >= c: its own, whose FIRST nobody else writes and which it gives another
 *                FIRST only while HOLDERS is 0
 *            V3  HOLDERS += its views (sequentially consistent)
 *   whoever destroys N, with the stamp t: after W5, so it is known to be out of every reader's reach
 *            K1  look for a reservation with HOLDERS > 0, FIRST <= t and b <= LAST; without one, N is freed
 *            K2  put N on that one's list KEPT
 *            K3  load HOLDERS again; if it is 0 by now, take N back and go on looking
 *   who drops views, any thread
 *            D1  HOLDERS -= its views
 *            D2  if that made 0 and KEPT is not empty: with HOLDERS still 0, take everything off KEPT and begin with K1 for each
 *
 * Claim 1: while a view of the reader's is not dropped, N is not freed.
 *   d. K1 comes after R5 of this reader: by a. to c. W4 saw its slot either after R5, or with an epoch above t, and then it cannot have found N.
 *      V2 and V3 come before R5, so K1 sees HOLDERS > 0, and this FIRST or, if it is older, the same number; and a LAST at least as high as V2's.
 *   e. FIRST = e <= t, for a reader that entered after t cannot find N (a.).
 *   f. B happens before the publication of N, and that before V1, so b <= c <= LAST: the clock only grows.
 *   By d., e. and f. K1 finds the reservation, and N goes to its list, or to that of another one for which the same holds. D2 frees N only if no other
 *   reservation has to keep it, and begins with K1: d. to f. hold for it as well.
 * Claim 2: N does not stay once nobody has to keep it. K2 and K3, D1 and D2 are each a store and then a load of the other's word, all of
 *   them sequentially consistent: K3 sees 0, or D2 sees N. All changes of a KEPT list are under one lock, that of this file.
 *   A reservation that is taken again in between keeps N for its new views, too: longer than need be, and no longer than they live.
 *
 * Readers write to lines of their own, and take no lock. Views that are dropped take it only where something was kept for them.
 */
#ifndef REG_RESERVATION_H
#define REG_RESERVATION_H

#include "epoch.h"

typedef struct reservation {
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t holders; /* views */
    _Atomic uint64_t first, last;                      /* epochs */
    _Atomic(epoch_node *) kept;                        /* what was retired; under the lock, but for a glance */
    struct reservation *next;                          /* of the same slot; never freed: at most one for each epoch of which views are held at once */
} reservation;

/* A reservation for what this read has found from its beginning until now, one of the reader's thread. NULL when memory is out. */
reservation *reservation_renew(epoch_slot *reader);

/* Holds what was found in this read for `views` views. Inside an epoch, after the finding. NULL when memory is out. Wait-free otherwise. */
static inline reservation *reservation_take(epoch_slot *reader, size_t views) {
    reservation *r = reader->current;
    if (reg_unlikely(r == NULL || load_own(&r->first) != load_own(&reader->epoch)) && (r = reservation_renew(reader)) == NULL)
        return NULL;
    uint64_t now = load_published(&epoch_clock);
    if (reg_unlikely(load_own(&r->last) != now)) publish(&r->last, now);
    add_counted(&r->holders, views);
    return r;
}

/* Frees what was kept for views that are gone. Outside of every lock. */
void reservation_let_go(reservation *r, epoch_release release);

static inline void reservation_drop(reservation *r, size_t views, epoch_release release) {
    if (reg_likely(sub_counted(&r->holders, views) != views || load_counted(&r->kept) == NULL)) return;
    reservation_let_go(r, release);
}

/* Of what was never there for a reader to find. */
#define EPOCH_NEVER UINT64_MAX

/* Keeps a retired node that nobody can find any more for views that may use what it owns, which is there since the epoch `born`; false where there
 * are none. Views that are gone hand it to its kind's `destroy`, which has to ask again. Outside of every lock. */
bool reservation_keep(epoch_node *node, uint64_t born);

/* Around a fork, so that no list is copied half written. */
void reservations_lock(void);
void reservations_unlock(void);

#endif
