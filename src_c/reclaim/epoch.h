/* Safe memory reclamation by epochs: who reads without a lock says when it starts and ends; who unlinks memory hands it to
 * `epoch_retire`, and gets it back from `epoch_collect_now` once no reader can still hold it.
 *
 * One clock and one list of reader slots serve the whole process. A limbo (what waits for reclamation) belongs to one owner, here a
 * registry, and is touched only under that owner's lock.
 *
 * The proof
 * ---------
 * Words: CLOCK, counts up; SLOT, one per thread, 0 while the thread does not read.
 *
 *   reader   R1  e = load CLOCK (acquire)          writer   W1  unlink: no path from a root leads to N any more (release)
 *            R2  SLOT = e (release)                         W2  t = CLOCK++ (acquire, release); N gets the stamp t
 *            R3  light fence                                W3  heavy fence; stop where it was refused
 *            R4  load pointers (acquire), use N             W4  m = least SLOT that is not 0 (acquire)
 *            R5  SLOT = 0 (release)                         W5  free N if t < m
 *
 * Claim: when W5 frees N, no reader uses N then or later. Take a reader that loads a pointer to N in R4, and the scan of W4.
 *   a. The scan sees SLOT = e of this very read. It frees only if e > t, so R1 read a value that W2 or a later increment stored.
 *      Increments are read-modify-writes, so they continue W2's release sequence, and R1 synchronizes with W2: W1 happens before
 *      R4, and R4 cannot find N. Contradiction.
 *   b. The scan sees SLOT from before R2 (0 or an older read). Then the store R2 was not visible at W4. The fences R3 and W3 order
 *      R2, R4 against W1, W4: of two threads that each store and then load the other's word with a fence between, at least one
 *      sees the other's store (Dekker). W4 missed R2, so R4 sees W1 and cannot find N. Contradiction. This is what the fences
 *      forbid: that R4 is satisfied before R2 is visible. Without them a reader could hold N unseen.
 *   c. The scan sees SLOT from after R5 (0 or a newer read). R5 or a later store of the same thread is a release that W4
 *      acquires, so every use of N happens before W5.
 * A reader that stalls between R1 and R2 stores an old e: that only delays reclamation. m is infinite when all slots are 0.
 *
 * The fences. On Linux the heavy one is membarrier(2), which runs a full barrier on every processor
 * that runs a thread of this process, and the light one is only the compiler's. Elsewhere, or where
 * the kernel refuses membarrier, both are sequentially consistent fences: full ones. The flag HEAVY
 * says which. It is set before the first slot is handed out.
 *
 * A refusal later. A process may install a seccomp(2) filter at any time, and membarrier fails from
 * then on. The writer that meets this clears HEAVY, and frees nothing before SETTLED, one second
 * later. Until then all that is retired waits. R3 is, in full:
 *            R3a compiler's fence
 *            R3b h = load HEAVY (relaxed)
 *            R3c compiler's fence if h, else full fence
 * b. still has to hold when W3 is a full fence of the writer alone. The scan of W4 comes after
 * SETTLED.
 *   - The reader found HEAVY clear: R3c is a full fence between R2 and R4, and b. holds as it
 *     stands.
 *   - It found HEAVY set. R3b follows R2 in program order, and was performed before the clearing
 *     became visible. So at that moment R2 was at most in flight in its processor, which makes
 *     stores visible within microseconds, and at the latest when it switches to another thread (C11
 *     7.17.3p16 asks for 'a reasonable amount of time'). A second later W4 sees R2, or a later
 *     store of the same thread: case a. or c.
 * This is why R3b comes after R2: a reader that loaded HEAVY first could stall between the two for
 * longer than any delay. No slot is waited for, so an idle thread holds up nothing. A writer whose
 * own membarrier succeeds is right by b. even while another thread clears HEAVY, for filters may
 * differ from thread to thread. The child of a fork has one thread, which finds its own stores, so
 * it is settled at once. A filter that lets membarrier fail but report success cannot be noticed.
 *
 * ThreadSanitizer models no stand-alone fence: under it R2 is a sequentially consistent exchange, a
 * full barrier on the processors that it runs on; a. and c. rest on acquire and release alone, so
 * what it checks is the real protocol.
 */
#ifndef REG_EPOCH_H
#define REG_EPOCH_H

#include "base/atomics.h"

struct reservation;
struct generations;

/* A thread's reservation for one registry, as long as that has the generation of this number: see reservation.h. */
typedef struct reservation_memo {
    struct generations *of;
    uint32_t number;
    struct reservation *reservation;
} reservation_memo;

enum { RESERVATION_MEMOS = 8 };

typedef struct epoch_slot {
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t epoch; /* 0: not reading */
    _Atomic bool taken;                              /* by a living thread */
    struct epoch_slot *next; /* slots are never freed: at most one per thread alive at once */
    /* The thread's own, for reservation.h. */
    reservation_memo memos[RESERVATION_MEMOS];
    struct reservation *spare;
    char padding[REG_CACHE_LINE]; /* processors fetch lines in pairs */
} epoch_slot;

typedef void (*epoch_release)(void *object);

/* Embedded in everything that is retired. */
typedef struct epoch_node {
    struct epoch_node *next;
    const struct epoch_kind *kind;
    uint64_t stamp;
} epoch_node;

typedef struct epoch_kind {
    size_t (*bytes)(const epoch_node *node);
    /* Frees it and hands foreign objects to `release`. Outside every lock. */
    void (*destroy)(epoch_node *node, epoch_release release);
    /* In the place of `destroy` for what holds another node: that one is destroyed in its turn. NULL: nothing is left. */
    epoch_node *(*unwrap)(epoch_node *node, epoch_release release);
    /* For what views show after their read, which is a `retained` (reservation.h): the generation in which it was
     * published, or GENERATION_NEVER if no view needs it. NULL: only reads use it. */
    uint32_t (*born)(const epoch_node *node);
} epoch_kind;

#define GENERATION_NEVER UINT32_MAX

typedef struct epoch_amount {
    size_t nodes;
    size_t bytes;
} epoch_amount;

/* What waits for reclamation, oldest first. All zero is empty. */
typedef struct epoch_limbo {
    epoch_node *first;
    epoch_node *last;
    epoch_node *unstamped; /* the oldest node that no collection has seen yet */
    epoch_amount waiting;
    epoch_amount unstamped_amount; /* of these, those from `unstamped` on */
    uint64_t collected_at;         /* see epoch_is_due */
    bool is_fenced;                /* a heavy fence has succeeded since the latest stamps */
} epoch_limbo;

/* A reader that stalls in its epoch holds back all that is retired from then on. So that this is bounded, an owner adds nothing more to a
 * limbo of so many bytes: its writes fail as if memory were out, until the reader goes on. */
#define EPOCH_MOST_WAITING ((size_t)256 << 20)

static inline bool epoch_is_crowded(const epoch_limbo *limbo) {
    return limbo->waiting.bytes >= EPOCH_MOST_WAITING;
}

extern _Atomic uint64_t epoch_clock;
extern _Atomic bool epoch_has_heavy_fence; /* HEAVY */

extern _Thread_local epoch_slot *epoch_own_slot REG_TLS_MODEL;

/* Before all else, any number of times. False where all of the process's thread-specific keys are
 * taken: then nobody gets a slot, as if memory were out. */
bool epoch_start(void);

/* This thread's slot, taken at its first read and given back when the thread ends. NULL when memory is out. */
epoch_slot *epoch_take_slot(void);

/* Starts a read; it must not nest. NULL when memory is out (possible at a thread's first read only). Wait-free otherwise. */
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

/* Hands over `node`, already unreachable for readers that start now. Under the limbo's lock. */
void epoch_retire(epoch_limbo *limbo, epoch_node *node, const epoch_kind *kind);

/* A heavy fence costs the writer microseconds and interrupts every reader for as long, so it is for many nodes at once: with a writer that
 * never rests, fewer than one read in a thousand meets it. */
enum { EPOCH_BATCH_NODES = 256, EPOCH_BATCH_BYTES = 1 << 18 };

/* Where writes are so far apart, a fence for a few nodes costs little, and they need not wait for a batch. The clock is
 * looked at for the first of so many nodes, and so is whether what was in use at the last collection still is. */
enum { EPOCH_QUIET_MILLISECONDS = 100, EPOCH_LOOKS = 8 };

/* Whether it is time for epoch_collect_now: a batch has gathered, the limbo is crowded, or nothing was collected for
 * EPOCH_QUIET_MILLISECONDS. Under the limbo's lock. */
bool epoch_is_due(epoch_limbo *limbo);

/* Whether it is time for epoch_collect_stamped. Under the limbo's lock. */
bool epoch_is_leftover_due(const epoch_limbo *limbo);

/* Takes out what no reader can hold any more, as a list for `epoch_destroy`. Under the limbo's lock; never waits. */
epoch_node *epoch_collect_now(epoch_limbo *limbo);

/* The same for what an earlier collection found in use. Where the fence of that one was not refused, it costs a look at each
 * slot and no other fence: W3 comes before every later W4 of the nodes that were stamped before it. */
epoch_node *epoch_collect_stamped(epoch_limbo *limbo);

/* Both lists as one. O(nodes of the first). */
epoch_node *epoch_join(epoch_node *list, epoch_node *other);

/* All that waits in `from` waits in `to` now: the owner of `from` goes. Under the locks of both. */
void epoch_hand_over(epoch_limbo *to, epoch_limbo *from);

/* Destroys a list from the two above, all but what views still show. Outside every lock. */
void epoch_destroy(epoch_node *list, epoch_release release);

/* Destroys every node of a list. Outside every lock. */
static inline void epoch_destroy_each(epoch_node *list, epoch_release release) {
    while (list != NULL) {
        epoch_node *next = list->next;
        list->kind->destroy(list, release);
        list = next;
    }
}

/* In the child of a fork: the other threads' slots are free, for those threads are gone. */
void epoch_after_fork_in_child(void);

#endif
