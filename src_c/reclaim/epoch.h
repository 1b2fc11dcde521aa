/* Safe memory reclamation by epochs.
 *
 * Readers take no lock. A thread announces the beginning of a read with `epoch_enter` and its end
 * with `epoch_leave`. In between it is 'inside an epoch'. A writer unlinks a node and passes it to
 * `epoch_retire`. `epoch_collect_now` returns the node once no reader can hold a pointer to it.
 *
 * One clock and one list of reader slots serve the whole process. The nodes that wait for
 * reclamation are in a limbo. A limbo belongs to one owner, usually a registry, and is accessed
 * only under the owner's lock.
 *
 * The proof
 * ---------
 * CLOCK counts up. Each thread has a SLOT, which is 0 while the thread does not read.
 *
 *   reader   R1  e = load CLOCK (acquire)
 *            R2  SLOT = e (release)
 *            R3  light fence
 *            R4  load pointers (acquire), use N
 *            R5  SLOT = 0 (release)
 *
 *   writer   W1  unlink N: no path from a root leads to N any more (release)
 *            W2  t = CLOCK++ (acquire, release); N gets the stamp t
 *            W3  heavy fence; if the kernel refuses it, stop
 *            W4  m = the least SLOT that is not 0 (acquire)
 *            W5  free N if t < m
 *
 * Claim: when W5 frees N, no reader uses N then or later. Suppose that a reader loads a pointer to
 * N in R4, and consider the scan of W4.
 *   a. The scan sees SLOT = e of this very read. W5 frees N only if e > t, so R1 read a value that
 *      W2 or a later increment stored. Increments are read-modify-writes, so they continue W2's
 *      release sequence, and R1 synchronizes with W2. Thus W1 happens before R4, and R4 cannot find
 *      N: a contradiction.
 *   b. The scan sees SLOT as it was before R2 (0, or an older read). So the store R2 was not
 *      visible at W4. The fences R3 and W3 order R2 before R4 and W1 before W4. If two threads each
 *      store one word, pass a fence and load the other's word, at least one of them sees the
 *      other's store (Dekker). W4 missed R2, so R4 sees W1 and cannot find N: a contradiction. The
 *      fences prevent R4 from loading before R2 is visible. Otherwise a reader could hold N unseen.
 *   c. The scan sees SLOT as it was after R5 (0, or a newer read). R5, or a later store of the same
 *      thread, is a release that W4 acquires, so every use of N happens before W5.
 * A reader that stalls between R1 and R2 stores an old e, which only delays reclamation. If all
 * slots are 0, m is infinite.
 *
 * The fences. On Linux the heavy fence is membarrier(2), which runs a full barrier on every
 * processor that runs a thread of this process. The light fence is then a compiler fence only.
 * Elsewhere, or if the kernel refuses membarrier, both are full (sequentially consistent) fences.
 * The flag HEAVY says which kind is in use. It is set before the first slot is handed out.
 *
 * A later refusal. A process may install a seccomp(2) filter at any time, and membarrier fails from
 * then on. The writer that sees the failure clears HEAVY, and no node is freed before the time
 * SETTLED, one second later. Until then retired nodes wait. R3 consists of these steps:
 *            R3a compiler fence
 *            R3b h = load HEAVY (relaxed)
 *            R3c compiler fence if h, else full fence
 * Case b. must still hold when W3 is a full fence of the writer alone. Then the scan of W4 comes
 * after SETTLED.
 *   - If the reader found HEAVY clear, R3c is a full fence between R2 and R4, and b. holds.
 *   - If it found HEAVY set: R3b follows R2 in program order, and was performed before the
 *     clearing of HEAVY became visible. At that moment R2 was at most in flight in its processor. A
 *     processor makes a store visible within microseconds, and at the latest when it switches to
 *     another thread (C11 7.17.3p16 asks for 'a reasonable amount of time'). A second later W4 sees
 *     R2, or a later store of the same thread: case a. or c.
 * This is why R3b comes after R2: a reader that loaded HEAVY first could stall between the two for
 * longer than any delay. The writer waits for no particular slot, so an idle thread delays nothing.
 * Filters may differ between threads, so a writer's own membarrier may succeed while another thread
 * clears HEAVY. Case b. holds for that writer unchanged. The child of a fork has one thread,
 * which sees its own stores, so the child is settled at once. A filter that makes membarrier fail
 * but report success cannot be detected.
 *
 * ThreadSanitizer does not model stand-alone fences. Under it, R2 is a sequentially consistent
 * exchange, which is a full barrier on the processors that it supports. Cases a. and c. need only
 * acquire and release, so ThreadSanitizer checks the real protocol.
 */
#ifndef REG_EPOCH_H
#define REG_EPOCH_H

#include "base/atomics.h"
#include "base/compiler.h"

/* A thread's SLOT. Slots are reused and never freed. There are never more slots than the largest
 * number of threads that were alive at one time. */
typedef struct epoch_slot {
    _Atomic uint64_t epoch;  /* 0: not reading */
    _Atomic bool taken;      /* by a thread that is alive */
    struct epoch_slot *next; /* in the list of all slots */
} epoch_slot;

/* The memory of a slot, initially zeroed. It has room for other data of the thread: reservation.h
 * embeds the slot in a larger struct. The last line stays empty, because processors fetch lines in
 * pairs. */
enum { EPOCH_SLOT_BYTES = 5 * REG_CACHE_LINE };

typedef void (*epoch_release)(void *object);

/* Embedded in everything that is retired. */
typedef struct epoch_node {
    struct epoch_node *next;
    const struct epoch_kind *kind;
    uint64_t stamp;
} epoch_node;

/* The functions that measure and destroy a kind of node. */
typedef struct epoch_kind {
    size_t (*bytes)(const epoch_node *node);
    /* Frees the node and passes the caller's objects to `release`. Called with no lock held. */
    void (*destroy)(epoch_node *node, epoch_release release);
    /* Replaces `destroy` for a node that has a successor: an object with a node of its own, which
     * readers may still have used. Returns the node that is kept or destroyed in its place. */
    epoch_node *(*unwrap)(epoch_node *node);
    /* Only for objects that views can keep alive (`retained` in reservation.h); otherwise NULL.
     * Returns the number of the generation in which the object was published, or GENERATION_NEVER
     * if no view needs it. */
    uint32_t (*born)(const epoch_node *node);
} epoch_kind;

typedef struct epoch_amount {
    size_t nodes;
    size_t bytes;
} epoch_amount;

/* The nodes that wait for reclamation, in the order of retirement. Zeroed memory is an empty
 * limbo. */
typedef struct epoch_limbo {
    epoch_node *first;
    epoch_node *last;
    epoch_node *unstamped; /* the first node that was retired after the last collection */
    epoch_amount waiting;
    epoch_amount unstamped_amount; /* the part of `waiting` from `unstamped` on */
    uint64_t collected_at;         /* see epoch_is_due */
    bool is_fenced;                /* a heavy fence has succeeded since the latest stamps */
} epoch_limbo;

/* A reader that stalls inside a read holds back everything that is retired from then on. This limit
 * bounds the memory: while a limbo holds that many bytes, its owner retires nothing more. Until the
 * reader continues, writes fail as if the process were out of memory. */
#define EPOCH_MAX_WAITING ((size_t)256 << 20)

static inline bool epoch_is_crowded(const epoch_limbo *limbo) {
    return limbo->waiting.bytes >= EPOCH_MAX_WAITING;
}

extern _Atomic uint64_t epoch_clock;
extern _Atomic bool epoch_has_heavy_fence; /* HEAVY */

extern _Thread_local epoch_slot *epoch_own_slot REG_TLS_MODEL;

/* Call it before any other function here; calling it again does nothing. Returns false if the
 * process has no thread-specific key left. Then epoch_take_slot always returns NULL. */
bool epoch_start(void);

/* Takes a slot for this thread, at its first read. The slot becomes free when the thread ends. NULL
 * if out of memory. */
epoch_slot *epoch_take_slot(void);

/* The first of all slots, taken or not. */
epoch_slot *epoch_first_slot(void);

/* Begins a read. Reads must not nest. Returns NULL if out of memory, which can happen only at a
 * thread's first read. All later ones are wait-free. */
static inline epoch_slot *epoch_enter(void) {
    epoch_slot *slot = epoch_own_slot;
    if (reg_unlikely(slot == NULL) && (slot = epoch_take_slot()) == NULL) return NULL;
    uint64_t now = load_published(&epoch_clock);
#ifdef REG_THREAD_SANITIZER
    atomic_exchange_explicit(&slot->epoch, now, memory_order_seq_cst);
#else
    publish(&slot->epoch, now);
    atomic_signal_fence(memory_order_seq_cst);
    if (reg_likely(atomic_load_explicit(&epoch_has_heavy_fence, memory_order_relaxed)))
        atomic_signal_fence(memory_order_seq_cst);
    else
        atomic_thread_fence(memory_order_seq_cst);
#endif
    return slot;
}

static inline void epoch_leave(epoch_slot *slot) { publish(&slot->epoch, 0); }

/* Adds `node` to the limbo. A read that begins now must not be able to find it. Under the limbo's
 * lock. */
void epoch_retire(epoch_limbo *limbo, epoch_node *node, const epoch_kind *kind);

/* A collection needs a heavy fence, which takes the writer some microseconds and interrupts every
 * reader for as long. So the writer collects nodes in batches. Even if it writes without pause, it
 * interrupts fewer than one read in a thousand. */
enum { EPOCH_BATCH_NODES = 256, EPOCH_BATCH_BYTES = 1 << 18 };

/* If writes are far apart, nodes need not wait for a batch, because a fence is cheap then. Once
 * every EPOCH_CHECK_EVERY retired nodes, the owner checks the time since the last collection. It
 * also checks whether the nodes that were in use at that collection can be freed now. */
enum { EPOCH_QUIET_MILLISECONDS = 100, EPOCH_CHECK_EVERY = 8 };

/* Whether to call epoch_collect_now: a batch is complete, the limbo is crowded, or the last
 * collection was at least EPOCH_QUIET_MILLISECONDS ago. Under the limbo's lock. */
bool epoch_is_due(epoch_limbo *limbo);

/* Whether it is time to call epoch_collect_stamped. Under the limbo's lock. */
bool epoch_is_leftover_due(const epoch_limbo *limbo);

/* Removes the nodes that no reader can hold any longer, and returns them as a list for
 * `reclaim_destroy`. Never waits. Under the limbo's lock. */
epoch_node *epoch_collect_now(epoch_limbo *limbo);

/* Like epoch_collect_now, but only for the nodes that an earlier collection found in use. If the
 * fence of that collection succeeded, this only scans the slots: for every node that was stamped
 * before that W3, W3 also precedes this W4. */
epoch_node *epoch_collect_stamped(epoch_limbo *limbo);

/* Appends `other` to `list`. O(length of `list`). */
epoch_node *epoch_join(epoch_node *list, epoch_node *other);

/* Moves all nodes of `from` to `to`. Call it when the owner of `from` is destroyed, under both
 * locks. */
void epoch_move_all(epoch_limbo *to, epoch_limbo *from);

/* Calls `destroy` for every node of a list. Call it with no lock held. */
static inline void epoch_destroy_each(epoch_node *list, epoch_release release) {
    while (list != NULL) {
        epoch_node *next = list->next;
        list->kind->destroy(list, release);
        list = next;
    }
}

/* In the child of a fork: frees the slots of the other threads, which do not exist here. */
void epoch_forget_other_threads(void);

#endif
