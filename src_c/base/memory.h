/* Allocation: libc's, behind a gate that tests close to make any single allocation fail. Safe from any thread. */
#ifndef REG_MEMORY_H
#define REG_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when memory is out. Contents are zero. */
void *memory_alloc(size_t size);
/* The same without the zeros. */
void *memory_alloc_raw(size_t size);
/* Zero, and aligned: to a power of two, or to a cache line. */
void *memory_alloc_aligned(size_t alignment, size_t size);
void *memory_alloc_lines(size_t size);
void memory_free(void *pointer);

/* Asked before every allocation; false makes it fail. NULL opens the gate. Process-wide. */
typedef bool (*memory_gate)(void);
void memory_set_gate(memory_gate gate);
/* For whoever allocates from memory of its own. */
bool memory_is_granted(void);

#endif
