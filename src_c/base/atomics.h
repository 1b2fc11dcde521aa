/* The atomic operations of the core, named for their purposes. Each name fixes one memory order.
 * Where a proof in reclaim/ needs a fence or another order, that code uses <stdatomic.h> directly.
 *
 * The core has four kinds of shared words:
 *
 *   published   Written only by the thread that holds the writer lock; read by any thread.
 *               `publish` is a release and `load_published` an acquire, so a thread that loads a
 *               pointer also sees what it points to. The writer reads these words with
 *               `load_own`: no other thread writes them, so it needs no order.
 *   counters    Written by every thread (in flight, total, average), with the operations whose
 *               names end in `_seq_cst`. All counter operations are linearizable together, also
 *               those on different backends. A weaker order would break that: of two threads that
 *               do 'add A, read B' and 'add B, read A', both could read the old value. On x86-64
 *               sequential consistency costs these operations nothing over relaxed.
 *   committed   The registry's version clock. Each write stores it once, sequentially consistent
 *               for the same reason.
 *   hints       Written by any thread, with `store_private`, and read with `load_hint`. A hint may
 *               be stale or lost, so nothing but speed and fairness may depend on it (rounds.h).
 */
#ifndef REG_ATOMICS_H
#define REG_ATOMICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/platform.h"

/* A torture build preempts the thread at random here, before each access to a shared word. */
#ifdef REG_TORTURE
void torture_point(void);
#else
#define torture_point() ((void)0)
#endif

#define load_published(word) (torture_point(), atomic_load_explicit((word), memory_order_acquire))
#define publish(word, value)                                                                       \
    (torture_point(), atomic_store_explicit((word), (value), memory_order_release))

/* For a hint: the reader must be correct whatever it loads. */
#define load_hint(word) atomic_load_explicit((word), memory_order_relaxed)

/* Only for a word that no other thread writes. */
#define load_own(word) atomic_load_explicit((word), memory_order_relaxed)
/* Orders nothing. For words that are not shared yet, and for hints. */
#define store_private(word, value) atomic_store_explicit((word), (value), memory_order_relaxed)

#define load_seq_cst(word) (torture_point(), atomic_load_explicit((word), memory_order_seq_cst))
#define add_seq_cst(word, amount)                                                                  \
    (torture_point(), atomic_fetch_add_explicit((word), (amount), memory_order_seq_cst))
#define exchange_seq_cst(word, value)                                                              \
    (torture_point(), atomic_exchange_explicit((word), (value), memory_order_seq_cst))
#define or_seq_cst(word, bits)                                                                     \
    (torture_point(), atomic_fetch_or_explicit((word), (bits), memory_order_seq_cst))
#define and_seq_cst(word, bits)                                                                    \
    (torture_point(), atomic_fetch_and_explicit((word), (bits), memory_order_seq_cst))
#define sub_seq_cst(word, amount)                                                                  \
    (torture_point(), atomic_fetch_sub_explicit((word), (amount), memory_order_seq_cst))
/* May fail spuriously: use it in a loop. */
#define cas_seq_cst(word, expected, desired)                                                       \
    (torture_point(),                                                                              \
     atomic_compare_exchange_weak_explicit((word), (expected), (desired), memory_order_seq_cst,    \
                                           memory_order_seq_cst))
#define cas_strong_seq_cst(word, expected, desired)                                                \
    (torture_point(),                                                                              \
     atomic_compare_exchange_strong_explicit((word), (expected), (desired), memory_order_seq_cst,  \
                                             memory_order_seq_cst))

/* Compares and swaps two words that are next to each other, at an address that is a multiple of 16,
 * in one step. Sequentially consistent, like the operations above on each of the words.
 *
 * x86-64 has an instruction for it, which is written out here. With a builtin, the compiler would
 * call libatomic, need a flag for the whole file, or, under ThreadSanitizer, may emulate the step
 * with a lock that the operations on one word do not take. ThreadSanitizer does not see into the
 * instruction, so there an addition of 0 on each side of it stands for its order. */
#define cas_pair_seq_cst(pair, expected, desired)                                                  \
    (torture_point(), cas_pair((pair), (expected), (desired)))

typedef struct word_pair {
    uint64_t first, second;
} word_pair;

#if defined(__x86_64__)
typedef struct __attribute__((may_alias)) aliased_pair {
    uint64_t words[2];
} aliased_pair;

static inline bool cas_pair(_Atomic uint64_t *pair, word_pair expected, word_pair desired) {
    bool is_done;
#ifdef REG_THREAD_SANITIZER
    atomic_fetch_add_explicit(pair, 0, memory_order_seq_cst);
#endif
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(is_done), "+m"(*(aliased_pair *)pair), "+a"(expected.first),
                       "+d"(expected.second)
                     : "b"(desired.first), "c"(desired.second)
                     : "memory");
#ifdef REG_THREAD_SANITIZER
    atomic_fetch_add_explicit(pair, 0, memory_order_seq_cst);
#endif
    return is_done;
}
#else
__extension__ typedef unsigned __int128 __attribute__((may_alias)) aliased_pair;

static inline aliased_pair number_of_pair(word_pair words) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (aliased_pair)words.first << 64 | words.second;
#else
    return (aliased_pair)words.second << 64 | words.first;
#endif
}

static inline bool cas_pair(_Atomic uint64_t *pair, word_pair expected, word_pair desired) {
    return __sync_bool_compare_and_swap((aliased_pair *)pair, number_of_pair(expected),
                                        number_of_pair(desired));
}
#endif

#define load_committed(word) (torture_point(), atomic_load_explicit((word), memory_order_seq_cst))
#define commit(word, value)                                                                        \
    (torture_point(), atomic_store_explicit((word), (value), memory_order_seq_cst))

#endif
