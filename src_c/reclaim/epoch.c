#include "reclaim/epoch.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(CLOCK_MONOTONIC_COARSE)
#define CLOCK_CHEAP CLOCK_MONOTONIC_COARSE /* off by a few ms, at a quarter of the cost */
#else
#define CLOCK_CHEAP CLOCK_MONOTONIC
#endif

_Atomic uint64_t epoch_clock = 1;
_Atomic bool epoch_has_heavy_fence;
_Thread_local epoch_slot *epoch_own_slot REG_TLS_MODEL;

static _Atomic(epoch_slot *) all_slots;
static pthread_once_t start_once = PTHREAD_ONCE_INIT;
static pthread_key_t slot_key;
static bool has_key; /* needed because any value of slot_key, even 0, may be a valid key */

/* ---- fences ---- */

/* The values of <linux/membarrier.h>, which some systems lack. */
enum { MEMBARRIER_PRIVATE_EXPEDITED = 1 << 3, MEMBARRIER_REGISTER_PRIVATE_EXPEDITED = 1 << 4 };

static bool call_membarrier(int command) {
#if defined(__linux__) && defined(SYS_membarrier) && !defined(REG_THREAD_SANITIZER) &&             \
    !defined(REG_NO_MEMBARRIER)
    return syscall(SYS_membarrier, command, 0, 0) == 0;
#else
    (void)command;
    return false;
#endif
}

static bool register_heavy_fence(void) {
    return call_membarrier(MEMBARRIER_REGISTER_PRIVATE_EXPEDITED);
}

/* SETTLED, in nanoseconds of CLOCK_MONOTONIC. 0: HEAVY was never cleared. UINT64_MAX: a thread is
 * clearing it. */
static _Atomic uint64_t settled;
static const uint64_t SETTLING = 1000000000; /* nanoseconds */

static void clear_heavy_fence(void) {
    uint64_t never = 0;
    if (!cas_strong_seq_cst(&settled, &never, UINT64_MAX)) return; /* another thread does it */
    exchange_seq_cst(&epoch_has_heavy_fence, false); /* visible before the delay begins */
    publish(&settled, clock_nanoseconds() + SETTLING);
}

static bool is_settled(void) {
    uint64_t since = load_published(&settled);
    return since == 0 || (since != UINT64_MAX && clock_nanoseconds() >= since);
}

/* W3. Returns false if nothing may be freed yet. */
static bool heavy_fence(void) {
    if (load_published(&epoch_has_heavy_fence)) {
        if (call_membarrier(MEMBARRIER_PRIVATE_EXPEDITED)) return true;
        clear_heavy_fence();
    }
    bool may_free = is_settled();
    /* The fence must come after the check of the time and before the scan. */
#ifdef REG_THREAD_SANITIZER
    atomic_fetch_add_explicit(&epoch_clock, 0, memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
    return may_free;
}

/* ---- slots ---- */

static void release_slot(void *slot_pointer) {
    epoch_slot *slot = slot_pointer;
    epoch_own_slot = NULL;
    epoch_leave(slot); /* an interpreter that exits may end a thread inside a read */
    publish(&slot->taken, false);
}

static void start(void) {
    atomic_init(&epoch_has_heavy_fence, register_heavy_fence());
    has_key = pthread_key_create(&slot_key, release_slot) == 0;
}

bool epoch_start(void) {
    pthread_once(&start_once, start);
    return has_key;
}

static epoch_slot *take_free_slot(void) {
    for (epoch_slot *slot = load_published(&all_slots); slot != NULL; slot = slot->next) {
        bool taken = false;
        if (atomic_compare_exchange_strong_explicit(&slot->taken, &taken, true,
                                                    memory_order_acquire, memory_order_relaxed))
            return slot;
    }
    return NULL;
}

static epoch_slot *add_slot(void) {
    epoch_slot *slot = memory_alloc_lines(EPOCH_SLOT_BYTES);
    if (slot == NULL) return NULL;
    atomic_init(&slot->taken, true);
    slot->next = load_own(&all_slots);
    while (!atomic_compare_exchange_weak_explicit(&all_slots, &slot->next, slot,
                                                  memory_order_acq_rel, memory_order_acquire)) {
    }
    return slot;
}

epoch_slot *epoch_first_slot(void) { return load_published(&all_slots); }

epoch_slot *epoch_take_slot(void) {
    if (!epoch_start()) return NULL;
    epoch_slot *slot = take_free_slot();
    if (slot == NULL) slot = add_slot();
    if (slot == NULL) return NULL;
    /* The key's destructor gives the slot back when the thread ends. */
    if (pthread_setspecific(slot_key, slot) != 0) {
        release_slot(slot);
        return NULL;
    }
    return epoch_own_slot = slot;
}

/* ---- limbo ---- */

static void add_to(epoch_amount *amount, const epoch_node *node) {
    amount->nodes++;
    amount->bytes += node->kind->bytes(node);
}

static void subtract_from(epoch_amount *amount, const epoch_node *node) {
    amount->nodes--;
    amount->bytes -= node->kind->bytes(node);
}

void epoch_retire(epoch_limbo *limbo, epoch_node *node, const epoch_kind *kind) {
    node->next = NULL;
    node->kind = kind;
    if (limbo->last == NULL)
        limbo->first = node;
    else
        limbo->last->next = node;
    limbo->last = node;
    if (limbo->unstamped == NULL) limbo->unstamped = node;
    add_to(&limbo->waiting, node);
    add_to(&limbo->unstamped_amount, node);
}

/* W4 */
static uint64_t oldest_read(void) {
    uint64_t oldest = UINT64_MAX;
    for (epoch_slot *slot = load_published(&all_slots); slot != NULL; slot = slot->next) {
        uint64_t epoch = load_published(&slot->epoch);
        if (epoch != 0 && epoch < oldest) oldest = epoch;
    }
    return oldest;
}

/* W2 */
static void stamp_all(epoch_limbo *limbo) {
    uint64_t stamp = add_seq_cst(&epoch_clock, 1);
    for (epoch_node *node = limbo->unstamped; node != NULL; node = node->next) node->stamp = stamp;
    limbo->unstamped = NULL;
    limbo->unstamped_amount = (epoch_amount){0};
}

static bool is_batch(epoch_amount amount) {
    return amount.nodes >= EPOCH_BATCH_NODES || amount.bytes >= EPOCH_BATCH_BYTES;
}

static uint64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_CHEAP, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_check_due(const epoch_limbo *limbo) {
    return limbo->unstamped_amount.nodes % EPOCH_CHECK_EVERY == 1;
}

bool epoch_is_due(epoch_limbo *limbo) {
    if (is_batch(limbo->unstamped_amount) || epoch_is_crowded(limbo)) return true;
    return is_check_due(limbo) && milliseconds() - limbo->collected_at >= EPOCH_QUIET_MILLISECONDS;
}

bool epoch_is_leftover_due(const epoch_limbo *limbo) {
    return limbo->first != limbo->unstamped && is_check_due(limbo);
}

epoch_node *epoch_collect_now(epoch_limbo *limbo) {
    limbo->collected_at = milliseconds();
    stamp_all(limbo);
    limbo->is_fenced = false;
    return epoch_collect_stamped(limbo);
}

epoch_node *epoch_collect_stamped(epoch_limbo *limbo) {
    if (!limbo->is_fenced && !(limbo->is_fenced = heavy_fence())) return NULL;
    uint64_t oldest = oldest_read();
    epoch_node *ripe = limbo->first, *last = NULL;
    while (limbo->first != limbo->unstamped && limbo->first->stamp < oldest) {
        last = limbo->first;
        limbo->first = last->next;
        subtract_from(&limbo->waiting, last);
    }
    if (last == NULL) return NULL;
    last->next = NULL;
    if (limbo->first == NULL) limbo->last = NULL;
    return ripe;
}

epoch_node *epoch_join(epoch_node *list, epoch_node *other) {
    if (list == NULL) return other;
    epoch_node *last = list;
    while (last->next != NULL) last = last->next;
    last->next = other;
    return list;
}

/* The moved nodes get new, later stamps, which only delays their reclamation. */
void epoch_move_all(epoch_limbo *to, epoch_limbo *from) {
    if (from->first == NULL) return;
    if (to->last == NULL)
        to->first = from->first;
    else
        to->last->next = from->first;
    to->last = from->last;
    if (to->unstamped == NULL) to->unstamped = from->first;
    to->waiting.nodes += from->waiting.nodes;
    to->waiting.bytes += from->waiting.bytes;
    to->unstamped_amount.nodes += from->waiting.nodes;
    to->unstamped_amount.bytes += from->waiting.bytes;
    *from = (epoch_limbo){0};
}

void epoch_forget_other_threads(void) {
    for (epoch_slot *slot = load_own(&all_slots); slot != NULL; slot = slot->next) {
        if (slot == epoch_own_slot) continue;
        atomic_store_explicit(&slot->epoch, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->taken, false, memory_order_relaxed);
    }
    if (load_own(&epoch_has_heavy_fence)) publish(&epoch_has_heavy_fence, register_heavy_fence());
    publish(&settled, 0); /* there is no other thread */
}
