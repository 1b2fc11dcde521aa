/* Compiler features beyond C11: hints, data layout, and detection of sanitizers. */
#ifndef REG_COMPILER_H
#define REG_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define reg_likely(condition) __builtin_expect(!!(condition), 1)
#define reg_unlikely(condition) __builtin_expect(!!(condition), 0)

/* For a function that must be specialized for the constant arguments of each of its callers. */
#define always_inline inline __attribute__((always_inline))

/* The struct that `member` is embedded in. */
#define reg_container(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

/* The size of a cache line. Threads that write to different data on one line slow each other
 * down. */
#define REG_CACHE_LINE 64

/* The fastest model for thread-local variables. glibc reserves space for the small static TLS of
 * libraries that are loaded late. Elsewhere we use the compiler's default. */
#if defined(__GLIBC__)
#define REG_TLS_MODEL __attribute__((tls_model("initial-exec")))
#else
#define REG_TLS_MODEL
#endif

/* The number whose bytes in memory are those of `number`, lowest first. */
static inline uint64_t little_endian(uint64_t number) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(number);
#else
    return number;
#endif
}

/* gcc defines __SANITIZE_THREAD__ and __SANITIZE_ADDRESS__; clang has __has_feature. */
#if defined(__SANITIZE_THREAD__)
#define REG_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REG_THREAD_SANITIZER 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#define REG_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REG_ADDRESS_SANITIZER 1
#endif
#endif

#endif
