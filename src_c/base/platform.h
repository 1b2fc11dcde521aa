/* The platforms that the core supports. setup.py makes the same checks before it compiles. */
#ifndef REG_PLATFORM_H
#define REG_PLATFORM_H

#include <stdatomic.h>
#include <stdint.h>

#if !defined(__GNUC__)
#error "registry needs gcc or clang: it uses their __int128, attributes and builtins."
#elif !defined(__unix__) && !defined(__APPLE__)
#error "registry needs a Unix system with POSIX threads. Windows is not supported."
#elif UINTPTR_MAX != UINT64_MAX || !defined(__SIZEOF_INT128__)
#error "registry needs a 64-bit target, with __int128. 32-bit targets are not supported."
#elif ATOMIC_LLONG_LOCK_FREE != 2 || ATOMIC_POINTER_LOCK_FREE != 2
#error "registry needs lock-free 64-bit atomics, which this target does not have."
#elif !defined(__x86_64__) && !defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16) &&                     \
    !(defined(__aarch64__) &&                                                                      \
      (defined(__clang__) || __GNUC__ >= 10)) /* older gcc call a library */
#error "registry needs an atomic 16-byte compare-and-swap, which this target does not have."
#endif

#endif
