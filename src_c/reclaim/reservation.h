/* Reservations keep objects alive for views and leases that outlive the read that found them. A
 * lease counts as a view: below, 'view' means both.
 *
 * A reference count in each object would make all threads that read one backend contend for it.
 * Instead, each thread counts its own views of one registry in a reservation. A retired object is
 * kept while views of its time exist: views that were made while readers could find it.
 *
 * Time is divided into generations, numbered upwards. When the writer of a registry collects a
 * batch of garbage and the current generation has views, it opens a new one. In a generation, each
 * thread that makes views has one reservation. An object is born in the generation that is current
 * when the object is published. A view belongs to the generation that is current when its read
 * ends. So a view of generation G shows nothing that was born after G.
 *
 * A retired object is kept by the newest generation that has views, unless that generation is older
 * than the object. When a generation loses its last view, the objects that it keeps go to the next
 * older generation that has views. Objects that were born after that generation are freed instead.
 * So a view keeps alive what was registered when it was made. It may also keep what had already
 * been replaced but was not reclaimed yet: at most a batch, or what a stalled reader holds back.
 *
 *   generations          of one registry: the current one, and the list of all that are not freed
 *     generation         its number, its reservations, and a heap of the nodes that it keeps
 *       reservation      one thread's count of views, on a cache line of its own
 *
 * Cost
 * ----
 *   Making views        One atomic addition on the thread's own line. A thread's first views in a
 *                       generation cost O(threads) and an allocation.
 *   Dropping views      A compare-and-swap on that line. The drop of the last views of a watched
 *                       reservation takes LOCK. At most one reservation of a generation is watched
 *                       at a time.
 *   Destroying objects  O(1) for each, and O(threads) once for each chunk.
 *   The last view of a  O(threads), then O(1) to pass on what the generation keeps. If some of that
 *   generation          is freed, amortised O(log n) for each freed object. The heap is a pairing
 *                       heap (Fredman et al., "The pairing heap", Algorithmica 1986).
 * No cost depends on how many views exist or were made. While a reader stalls, closed generations
 * cannot be sealed, so K1 has one more generation to skip for each batch. All registries share
 * LOCK, which is held for at most RESERVATION_CHUNK steps.
 *
 * The proof, which continues that of epoch.h
 * ------------------------------------------
 *   writer    B   born(N) = number of CURRENT, before N is published (under the registry's lock)
 *             C   close G: link G+1 under LOCK, publish CURRENT = G+1 (release), retire G
 *   reader    R1 to R4 as in epoch.h; N is what the read has found. Then, before R5,
 *             V1  G = load CURRENT (acquire), after R4
 *             V2  its reservation of G: found in G's list, or pushed to it
 *             V3  VIEWS += n (sequentially consistent)
 *   destroys G, after W5, under LOCK
 *             S   seal G: no reader can do V3 on it any more. When G has no view, it is unlinked
 *                 and then freed
 *   destroys N, after W5, under LOCK
 *             K1  from the newest generation on, find the first that has views (K2)
 *             K2  in the first reservation whose VIEWS is not 0, set the bit WATCHED; the
 *                 generation has views if the old value of VIEWS was not 0
 *             K3  if the generation found is not older than born(N), it keeps N; else N is freed
 *   drops     D   if VIEWS is WATCHED and these are its last views: under LOCK, subtract them and
 *                 clear the bit, then do L; otherwise compare-and-swap VIEWS -= n
 *             L   unless G has views (K2): take off all that G keeps. Let P be the next older
 *                 generation that has views (K2). Free what was born after P, and pass the rest to
 *                 P. This may take several holds of LOCK, each with its own P
 *
 * Claim 1: N is not freed while a view of it exists.
 *   a. G >= born(N): B happens before the publication of N, which happens before V1, and numbers
 *      only grow.
 *   b. K1 comes after R5 of the view's reader (epoch.h, a. to c.), so it sees V2 and V3. And G is
 *      in the list: G was linked before it was published, and it is unlinked only when it is sealed
 *      and has no view. By a. to c. of epoch.h, S comes after R5 of every reader that loaded G in
 *      V1.
 *   c. So K1 finds a generation K that is the view's generation H or a newer one. N moves only in
 *      L, from K to a P that has views. While the view exists, H has views, so P >= H >= born(N),
 *      and L does not free N.
 * Claim 2: once no view of its time exists, N is freed.
 *   d. A generation that keeps something has a WATCHED reservation with views. K2 sets the bit
 *      before K3, in the same word that D changes, so either the last drop finds the bit, or K2
 *      finds no view. That drop runs L under LOCK, and L takes off all that is kept, unless K2
 *      finds other views. Views of another reservation that K2 did not find were made after K1:
 *      they do not show N. L frees each node that it has taken off, or passes it to a P that has
 *      views.
 * Claim 3: no freed generation or reservation is used.
 *   e. A reservation with views is not freed. The last drop either touches nothing after its
 *      compare-and-swap, or runs under LOCK. A generation is freed after S, when it has no views,
 *      is unlinked, and no thread is in L with it: then no thread can reach it. A thread uses its
 *      memo of a reservation only if the registry and the number are those of CURRENT, which is not
 *      freed during a read; no such pair occurs twice.
 *
 * K1 cannot tell views of N from views that were made in the current generation after N was
 * retired. They may keep N longer than necessary, but N is never freed too early.
 *
 * A removed record is freed together with its last state: the two are one N, although the state is
 * younger. Its birth is that of the record, which B stores before it publishes the record. Each
 * lease that uses the record was counted in a read that found the record (V1 to V3). So a. to e.
 * hold for this N too, and no record needs a count of its leases.
 *
 * In the child of a fork, the other threads do not exist. Objects for which they were about to make
 * views, and objects that they were about to free, stay allocated.
 */
#ifndef REG_RESERVATION_H
#define REG_RESERVATION_H

#include "reclaim/epoch.h"

typedef struct generations generations;
typedef struct generation generation;

/* One thread's views in one generation. */
typedef struct reservation {
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t views; /* their number, and RESERVATION_WATCHED */
    generation *generation;
    epoch_slot *slot;         /* of the thread that makes views here; any thread may drop them */
    struct reservation *next; /* in the list of the same generation */
} reservation;

#define RESERVATION_WATCHED ((uint64_t)1 << 63)

/* A thread's reservation in a registry, valid while generation `number` is current there. */
typedef struct reservation_memo {
    generations *all; /* NULL: the memo is empty */
    uint32_t number;
    reservation *reservation;
} reservation_memo;

enum { RESERVATION_MEMOS = 8 };

/* A thread's slot, with this module's data of the thread. */
typedef struct reservation_thread {
    epoch_slot slot;
    reservation_memo memos[RESERVATION_MEMOS];
    reservation *spare; /* allocated in advance by reservation_prepare; NULL: none */
} reservation_thread;

_Static_assert(sizeof(reservation_thread) <= EPOCH_SLOT_BYTES - REG_CACHE_LINE,
               "epoch.c allocates enough for it");

static inline reservation_thread *thread_of(epoch_slot *slot) {
    return reg_container(slot, reservation_thread, slot);
}

/* The header of every object that views can keep alive. The kind of its node has `born`. */
typedef struct retained {
    epoch_node node;          /* in a heap, `next` is the next sibling */
    struct retained *link;    /* in a heap, the first child; until then, for the owner's use */
    generations *generations; /* of its registry */
} retained;

#define GENERATION_NEVER UINT32_MAX

struct generation {
    epoch_node node;
    generations *all;
    uint32_t number;
    _Atomic(reservation *) reservations; /* threads push theirs; none is removed */
    /* Under LOCK. */
    generation *older, *newer;
    retained *kept;
    bool is_sealed;
    uint32_t handovers; /* how many threads are in L with it */
};

struct generations {
    _Atomic(generation *) current;
    _Atomic size_t bytes; /* of its generations and reservations */
    uint32_t place;       /* the index of its memo in each thread's `memos` */
    uint32_t last_number; /* of the newest generation; under the registry's lock */
    /* Under LOCK. */
    generation *newest;
    epoch_amount kept;      /* what all generations and handovers keep */
    bool is_closed;         /* the registry has been destroyed */
    generations *next_free; /* in the list of those that can be reused */
};

enum { RESERVATION_CHUNK = 64 };

/* The generations of a new registry. The first one is open. NULL if out of memory. */
generations *generations_new(void);
/* Closes the current generation for good. The registry is being destroyed, and retires nothing
 * afterwards. */
void generations_end(generations *all, epoch_limbo *limbo);
/* Opens a new generation, if the current one has views and memory suffices. O(threads). Under the
 * registry's lock. */
void generations_advance(generations *all, epoch_limbo *limbo);
/* The number and the size of the nodes that all generations keep. */
epoch_amount generations_kept(generations *all);
/* The memory of the generations and reservations, without the nodes that they keep. */
size_t generations_bytes(generations *all);

/* The number of the current generation. Under the registry's lock. */
static inline uint32_t generation_now(generations *all) { return load_own(&all->current)->number; }

/* The reading thread's reservation of this generation. NULL if out of memory. O(threads). */
reservation *reservation_find(epoch_slot *slot, generation *g);
/* Allocates the memory that this thread's next reservation_take may need. False if out of memory;
 * after success it can't fail. */
bool reservation_allocate(epoch_slot *slot);

static inline bool reservation_prepare(epoch_slot *slot) {
    return reg_likely(thread_of(slot)->spare != NULL) || reservation_allocate(slot);
}

/* Counts `views` new views of objects that this read has found. Call it inside the read, after the
 * last look-up. NULL if out of memory. Wait-free and O(1), except for a thread's first views in a
 * generation, which are lock-free and O(threads). */
static inline reservation *reservation_take(epoch_slot *slot, generations *all, size_t views) {
    generation *g = load_published(&all->current);
    const reservation_memo *memo = &thread_of(slot)->memos[all->place];
    reservation *r = memo->reservation;
    bool is_right = memo->all == all && memo->number == g->number;
    if (reg_unlikely(!is_right) && (r = reservation_find(slot, g)) == NULL) return NULL;
    add_seq_cst(&r->views, views);
    return r;
}

/* Drops the last views of a watched reservation. Call it with no lock held. */
void reservation_drop_last(reservation *r, size_t views, epoch_release release);

/* Drops views. Lock-free, except for the last views of a watched reservation. Call it with no lock
 * held. */
static inline void reservation_drop(reservation *r, size_t views, epoch_release release) {
    uint64_t seen = load_seq_cst(&r->views);
    do {
        if (reg_unlikely(seen == (RESERVATION_WATCHED | views))) {
            reservation_drop_last(r, views, release);
            return;
        }
    } while (reg_unlikely(!cas_seq_cst(&r->views, &seen, seen - views)));
}

/* Takes a list of retired nodes that no reader can find. Keeps those that a view may show, and
 * returns the others, which the caller destroys. First seals the generations in the list, because
 * an unsealed one may keep nodes needlessly. Call it with no lock held. */
epoch_node *reservation_filter(epoch_node *list, epoch_release release);

/* LOCK, which is held around a fork to keep the child's copies consistent. */
void reservations_lock(void);
void reservations_unlock(void);
/* In the child of a fork: clears the other threads' memos, which may be half written. */
void reservations_forget_other_threads(void);

#endif
