/* What readers take along when they leave: views use what a read has found long after it has ended, without a reference to each of it.
 *
 * A reference would be a counter on each definition that all threads which read that backend queue for. Instead each thread counts its own
 * views of one registry, all of one epoch together, in a reservation: an interval of epochs, and how many views hold it. What is retired has
 * lived in an interval, too, and is kept as long as a reservation of its registry that overlaps it is held (interval-based reclamation: Wen,
 * Izraelevitz, Cai, Beadle, Scott, PPoPP 2018). So what a view keeps was there in the epochs of its read, at most one fleet and what came and
 * went meanwhile.
 *
 * The proof, which goes on where that of epoch.h ends. HOLDERS is the number of views, the bit RESERVATION_LEFT apart.
 * ---------------------------------------------------------------------------------------------------------------------
 *   writer   B   b = load CLOCK, before N is published for the first time
 *   reader   R1 to R4 as there: e is the epoch that it entered, N what it has found. Then, and before R5,
 *            V1  c = load CLOCK (acquire)
 *            V2  take a reservation of N's OWNER with FIRST = e and LAST >= c: its own, whose FIRST and OWNER nobody else writes and which it
 *                gives others only while HOLDERS is 0
 *            V3  HOLDERS += its views (sequentially consistent)
 *            (V2 and V3 may come before R4, if V1 and LAST are done again after it.)
 *   whoever destroys N, with the stamp t or a later one: after W5, so N is known to be out of every reader's reach
 *            K1  look for a reservation of N's OWNER with HOLDERS > 0, FIRST <= t and b <= LAST; without one, N is freed
 *            K2  put N on that one's list KEPT
 *            K3  load HOLDERS again; if it is 0 by now, take N back and go on looking
 *   who drops views, any thread
 *            D1  HOLDERS -= its views
 *            D2  if that made 0 and KEPT is not empty: with HOLDERS still 0, take everything off KEPT and begin with K1 for each
 *
 * Claim 1: while a view of the reader's is not dropped, N is not freed.
 *   d. K1 comes after R5 of this reader: by a. to c. W4 saw its slot either after R5, or with an epoch above t, and then it cannot have found N.
 *      V2 and V3 come before R5, so K1 sees HOLDERS > 0, this FIRST and OWNER, and a LAST at least as high as V2's.
 *   e. FIRST = e <= t, for a reader that entered after t cannot find N (a.).
 *   f. B happens before the publication of N, and that before V1, so b <= c <= LAST: the clock only grows.
 *   By d., e. and f. K1 finds the reservation, and N goes to its list, or to that of another one for which the same holds. D2 frees N only if no other
 *   reservation has to keep it, and begins with K1: d. to f. hold for it as well.
 * Claim 2: N does not stay once nobody has to keep it. K2 and K3, D1 and D2 are each a store and then a load of the other's word, all of
 *   them sequentially consistent: K3 sees 0, or D2 sees N. All changes of a KEPT list are under one lock, that of reservation.c.
 *   A reservation that is taken again in between keeps N for its new views, too: longer than need be, and no longer than they live.
 *
 * A reservation is free again when its thread has gone on to another and nobody holds it. That the thread has left is a bit of the word HOLDERS, so
 * exactly one step makes the word say both, and whoever took it gives the reservation back: to the thread's list FREED, which others only
 * push to and the thread takes whole.
 *
 * A thread that reads writes to its own slot and reservations. Whoever drops a view writes to the one that it holds, to FREED where that was the
 * last of one that its thread has left, and takes the lock only where something was kept for it.
 *
 * The child of a fork keeps what other threads were about to make views of, or to let go of: at most one reservation for each of them.
 */
#ifndef REG_RESERVATION_H
#define REG_RESERVATION_H

#include "epoch.h"

typedef struct reservation {
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t holders; /* views, and RESERVATION_LEFT */
    _Atomic uint64_t first, last;                      /* epochs */
    _Atomic(epoch_node *) kept;                        /* what was retired; under the lock, but for a glance */
    epoch_slot *slot;                                  /* of its thread, for ever */
    struct reservation *next;      /* of the same slot; never freed: at most one more than are held at once */
    struct reservation *next_free; /* in FREED */
    _Atomic uint32_t owner;        /* see epoch_kind */
} reservation;

#define RESERVATION_LEFT ((uint64_t)1 << 63)

static inline bool reservation_is_held(reservation *r) { return (load_counted(&r->holders) & ~RESERVATION_LEFT) != 0; }

/* A reservation for what this read has found from its beginning until now, one of the reader's thread. NULL when memory is out. */
reservation *reservation_renew(epoch_slot *reader, uint32_t owner);

/* Holds what was found in this read for `views` views. Inside an epoch, after the finding. NULL when memory is out. Wait-free otherwise, O(1). */
static inline reservation *reservation_take(epoch_slot *reader, uint32_t owner, size_t views) {
    reservation *r = reader->current;
    bool is_right = r != NULL && load_own(&r->first) == load_own(&reader->epoch) && load_own(&r->owner) == owner;
    if (reg_unlikely(!is_right) && (r = reservation_renew(reader, owner)) == NULL) return NULL;
    uint64_t now = load_published(&epoch_clock);
    if (reg_unlikely(load_own(&r->last) != now)) publish(&r->last, now);
    add_counted(&r->holders, views);
    return r;
}

/* What is left to do when the last view has gone, and its thread, too, perhaps. Outside of every lock. */
void reservation_end(reservation *r, bool is_left, epoch_release release);

static inline void reservation_drop(reservation *r, size_t views, epoch_release release) {
    uint64_t holders = sub_counted(&r->holders, views) - views;
    if (reg_likely((holders & ~RESERVATION_LEFT) != 0)) return;
    if (reg_unlikely(holders != 0 || load_counted(&r->kept) != NULL)) reservation_end(r, holders != 0, release);
}

/* Of a list of retired nodes that no reader can find any more, those that no view uses; the others are kept. Outside of every lock. */
epoch_node *reservation_sift(epoch_node *list);

/* How much is kept of an owner. */
epoch_amount reservation_kept(uint32_t owner);

/* Around a fork, so that no list is copied half written. */
void reservations_lock(void);
void reservations_unlock(void);

#endif
