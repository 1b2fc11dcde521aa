/* How a view keeps what it shows after the read that found it has ended.
 *
 * A reference for each view would be a counter in each definition, and all threads that read one backend
 * would contend for it. Instead each thread counts its own views of one registry in a reservation, and what
 * is retired is kept while views of its time exist.
 *
 * Time is cut into generations. The writer of a registry opens a new one when it collects a batch of garbage
 * and views of the current one exist. A generation has a number and a reservation for each thread that made
 * views in it. An object is born in the generation that is current when it is published; a view belongs to the
 * generation that is current when its read ends. So a view of generation G shows nothing that was born after G.
 * A retired object is kept by the newest generation with views, unless that one is older than the object.
 * When a generation loses its last view, what it keeps goes to the next older generation with views, or is
 * freed where it was born after that one. A view thus keeps what was registered in its time, and at most what
 * was replaced but not reclaimed yet when it was made (a batch, or what a stalled reader holds back).
 *
 *   generations          one registry's: the current one, and a list of those that still matter, newest first
 *     generation         number; reservations; a heap of what it keeps, the youngest on top
 *       reservation      one thread's count of views, on a cache line of its own
 *
 * Cost. Making views: one atomic addition on the thread's own line; the first ones in a generation O(threads), and an
 * allocation. Dropping views: a compare and swap on that line, or LOCK for the last views of a watched reservation, of which
 * a generation has one at a time. Destroying an object: O(1), and O(threads) once for each chunk. A generation that
 * loses its last view: O(threads), then O(1) to hand on what it keeps, or, where some of it goes, amortised O(log n) for each
 * object that does (a pairing heap: Fredman, Sedgewick, Sleator, Tarjan, The pairing heap, Algorithmica 1986). None of this
 * depends on how many views were made or are kept. While a reader stalls, closed generations cannot be sealed: then K1
 * goes past one for each batch. LOCK is one for the process; it is held for RESERVATION_CHUNK steps at most.
 *
 * The proof, which continues that of epoch.h
 * ------------------------------------------
 *   writer    B   born(N) = number of CURRENT, before N is published        (under the registry's lock)
 *             C   close G: link G+1 under LOCK, publish CURRENT = G+1 (release), retire G
 *   reader    R1 to R4 as there; N is what it has found. Then, before R5,
 *             V1  G = load CURRENT (acquire), after R4
 *             V2  its reservation of G: found in G's list, or pushed to it
 *             V3  VIEWS += n (sequentially consistent)
 *   destroys G, after W5, under LOCK
 *             S   G is sealed: no reader can do V3 on it any more. It is unlinked once it has no view, and then freed
 *   destroys N, after W5, under LOCK
 *             K1  from the newest generation on: the first that has views (K2)
 *             K2  in the first reservation with VIEWS other than 0, set the bit WATCHED; it counts if the old value did
 *             K3  if the generation found is not older than born(N), it keeps N; otherwise N is freed
 *   drops     D   if VIEWS is WATCHED and these are the last views: subtract and clear the bit, under LOCK, then L
 *                 otherwise compare and swap VIEWS -= n
 *             L   unless G has views (K2): take off all that it keeps. P = the next older generation with views (K2). Free
 *                 what was born after P, hand the rest to P. This may take several holds of LOCK, each with its own P
 *
 * Claim 1: N is not freed while a view of it exists.
 *   a. G >= born(N): B happens before the publication of N, which happens before V1, and numbers only grow.
 *   b. K1 comes after R5 of the view's reader (epoch.h, a. to c.), so it sees V2 and V3. And G is in the list: it
 *      was linked before it was published, and it is unlinked only when it is sealed and has no view. By a. to c. of
 *      epoch.h S comes after R5 of every reader that loaded G in V1.
 *   c. So K1 finds the view's generation H, or a newer one, K. N moves only in L, from K to a P which has views.
 *      While the view exists H has views, so P >= H >= born(N), and L does not free N.
 * Claim 2: once no view of its time exists, N is freed.
 *   d. A generation that keeps something has a WATCHED reservation with views: K2 sets the bit before K3, in the word that D
 *      changes, so the last drop finds the bit, or K2 finds no view. Under LOCK that drop runs L, which takes off all that
 *      is kept, or has K2 find other views. Views of another reservation that K2 did not find were made after K1: they
 *      do not show N. Whatever L has taken off, L frees or hands to a P with views.
 * Claim 3: no freed generation or reservation is used.
 *   e. A reservation with views is not freed. The last drop either touches nothing after its compare and swap, or takes
 *      place under LOCK. A generation is freed after S, without views and unlinked, and when nobody is in L with it:
 *      then nobody can reach it. A thread's memo of its reservation is used only if registry and number are those of
 *      CURRENT, which is not freed during a read; no such pair comes twice.
 *
 * Views of the current generation that were made after N was retired may be taken for views of N in K1. That keeps N
 * longer than need be, and never less. So it is with the last state of a removed record that a lease still holds: the
 * views that exist when the lease is dropped keep it, even those of a later registry that has taken over the `generations`.
 *
 * The child of a fork keeps what other threads were about to make views of or to let go of.
 */
#ifndef REG_RESERVATION_H
#define REG_RESERVATION_H

#include "reclaim/epoch.h"

typedef struct generations generations;
typedef struct generation generation;

typedef struct reservation {
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t views; /* how many, and RESERVATION_WATCHED */
    generation *generation;
    epoch_slot *slot;         /* of the thread that makes views here; anybody drops them */
    struct reservation *next; /* of the same generation */
} reservation;

#define RESERVATION_WATCHED ((uint64_t)1 << 63)

/* The head of whatever views keep. Its kind has `born`. */
typedef struct retained {
    epoch_node node;       /* `next` leads to the next sibling in the heap */
    struct retained *link; /* the first child in the heap; the owner's own until it is destroyed */
    generations *generations; /* of its registry */
} retained;

struct generation {
    epoch_node node;
    generations *of;
    uint32_t number;
    _Atomic(reservation *) reservations; /* readers push, and nobody takes out */
    /* Under LOCK. */
    generation *older, *newer;
    retained *kept;
    bool is_sealed;
    uint32_t leaving; /* how many threads are in L with it */
};

struct generations {
    _Atomic(generation *) current;
    _Atomic size_t bytes; /* of its generations and reservations */
    uint32_t place;       /* in the threads' memos */
    uint32_t last_number; /* of a generation; under the registry's lock */
    /* Under LOCK. */
    generation *newest;
    epoch_amount kept; /* by all of them, and by whoever is in L */
    bool is_closed;    /* the registry is gone */
    generations *next_free;
};

enum { RESERVATION_CHUNK = 64 };

/* Those of a new registry, with the first one open. NULL when memory is out. */
generations *generations_new(void);
/* The registry goes: closes the current one, as the last thing that is retired. */
void generations_end(generations *of, epoch_limbo *limbo);
/* Closes the current one if it has views and memory allows it. Under the registry's lock; O(threads). */
void generations_advance(generations *of, epoch_limbo *limbo);
/* How much they keep. */
epoch_amount generations_kept(generations *of);
/* Without what they keep. */
size_t generations_bytes(generations *of);

/* The number of the current one. Under the registry's lock. */
static inline uint32_t generation_now(generations *of) { return load_own(&of->current)->number; }

/* The reading thread's reservation of this generation. NULL when memory is out. O(threads). */
reservation *reservation_find(epoch_slot *reader, generation *g);
/* From now on the next reservation_take of this thread cannot fail. False when memory is out. */
bool reservation_prepare(epoch_slot *reader);

/* Counts `views` of what this read has found. Inside an epoch, after the finding. NULL when memory is out. Wait-free and
 * O(1); lock-free and O(threads) for the first views in a generation. */
static inline reservation *reservation_take(epoch_slot *reader, generations *of, size_t views) {
    generation *g = load_published(&of->current);
    const reservation_memo *memo = &reader->memos[of->place];
    reservation *r = memo->reservation;
    bool is_right = memo->of == of && memo->number == g->number;
    if (reg_unlikely(!is_right) && (r = reservation_find(reader, g)) == NULL) return NULL;
    add_seq_cst(&r->views, views);
    return r;
}

/* The last views of a watched reservation go. Outside of every lock. */
void reservation_drop_last(reservation *r, size_t views, epoch_release release);

/* Lock-free, except for the last views of a watched reservation. Outside of every lock. */
static inline void reservation_drop(reservation *r, size_t views, epoch_release release) {
    uint64_t seen = load_seq_cst(&r->views);
    do {
        if (reg_unlikely(seen == (RESERVATION_WATCHED | views))) {
            reservation_drop_last(r, views, release);
            return;
        }
    } while (reg_unlikely(!cas_seq_cst(&r->views, &seen, seen - views)));
}

/* Of a list of retired nodes that no reader can find any more, those that no view shows; the others are kept. Generations
 * are sealed first, so that none of them is in the way. Outside of every lock. */
epoch_node *reservation_sift(epoch_node *list, epoch_release release);

/* Around a fork, so that no list is copied half written. */
void reservations_lock(void);
void reservations_unlock(void);

#endif
