/* The atomic operations that this core uses, by what they are for; one memory order each.
 *
 * The core has three kinds of shared word:
 *
 *   published   written by the one holder of the writer lock, read by anyone. `publish` is a release and `load_published`
 *               an acquire, so that whoever reads a pointer also sees what it points to. The lock's holder reads its own words
 *               with `load_own`: nobody else writes them, so no order is needed.
 *   counted     written by every thread (in flight, total, average). Sequentially consistent, because each counter operation
 *               is promised to be linearizable together with those on other backends: with less, thread 1 'add A, read B' and
 *               thread 2 'add B, read A' could both read the old value. On x86-64 it costs nothing over relaxed.
 *   committed   the registry's version clock: stored once per write, sequentially consistent for the same reason.
 */
#ifndef REG_ATOMICS_H
#define REG_ATOMICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/platform.h"

/* Between any two shared accesses a thread may be preempted; a torture build does it at random. */
#ifdef REG_TORTURE
void torture_point(void);
#else
#define torture_point() ((void)0)
#endif

#define load_published(word) (torture_point(), atomic_load_explicit((word), memory_order_acquire))
#define publish(word, value)                                                                       \
    (torture_point(), atomic_store_explicit((word), (value), memory_order_release))

/* A filter that the reader does not rely on. */
#define load_hint(word) atomic_load_explicit((word), memory_order_relaxed)

#define load_own(word) atomic_load_explicit((word), memory_order_relaxed)
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
/* In a loop: it may fail for no reason. */
#define cas_seq_cst(word, expected, desired)                                                       \
    (torture_point(),                                                                              \
     atomic_compare_exchange_weak_explicit((word), (expected), (desired), memory_order_seq_cst,    \
                                           memory_order_seq_cst))
#define cas_strong_seq_cst(word, expected, desired)                                                \
    (torture_point(),                                                                              \
     atomic_compare_exchange_strong_explicit((word), (expected), (desired), memory_order_seq_cst,  \
                                             memory_order_seq_cst))

#define load_committed(word) (torture_point(), atomic_load_explicit((word), memory_order_seq_cst))
#define commit(word, value)                                                                        \
    (torture_point(), atomic_store_explicit((word), (value), memory_order_seq_cst))

#if defined(__SANITIZE_THREAD__)
#define REG_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REG_THREAD_SANITIZER 1
#endif
#endif

/* The destructive interference size of every processor that matters here. */
#define REG_CACHE_LINE 64

/* glibc keeps room for the small static TLS of loaded libraries; elsewhere the compiler's default model is right. */
#if defined(__GLIBC__)
#define REG_TLS_MODEL __attribute__((tls_model("initial-exec")))
#else
#define REG_TLS_MODEL
#endif

#define reg_likely(condition) __builtin_expect(!!(condition), 1)
#define reg_unlikely(condition) __builtin_expect(!!(condition), 0)

/* The struct that `member` is embedded in. */
#define reg_container(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

#endif
