/* Allocation with libc's malloc. Tests use a gate in front of it to make single allocations fail.
 * Allocators return NULL if out of memory. All functions are thread-safe. */
#ifndef REG_MEMORY_H
#define REG_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed memory. */
void *memory_alloc(size_t size);
/* Memory that is not zeroed. */
void *memory_alloc_raw(size_t size);
/* Zeroed memory, aligned to `alignment`, a power of two. */
void *memory_alloc_aligned(size_t alignment, size_t size);
/* Zeroed memory, aligned to a cache line. */
void *memory_alloc_lines(size_t size);
void memory_free(void *pointer);

/* The core calls the gate before each allocation. If the gate returns false, the allocation fails.
 * The process has one gate; NULL removes it. */
typedef bool (*memory_gate)(void);
void memory_set_gate(memory_gate gate);
/* Calls the gate. An allocator that reuses memory (slab_pool.h) must call this before each
 * allocation. */
bool memory_is_granted(void);

#endif
