#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/compiler.h"

static _Atomic(memory_gate) current_gate;

bool memory_is_granted(void) {
    memory_gate gate = load_published(&current_gate);
    return gate == NULL || gate();
}

void *memory_alloc(size_t size) { return memory_is_granted() ? calloc(1, size) : NULL; }

void *memory_alloc_raw(size_t size) { return memory_is_granted() ? malloc(size) : NULL; }

void *memory_alloc_aligned(size_t alignment, size_t size) {
    void *block = NULL;
    if (!memory_is_granted() || posix_memalign(&block, alignment, size) != 0) return NULL;
    return memset(block, 0, size);
}

void *memory_alloc_lines(size_t size) { return memory_alloc_aligned(REG_CACHE_LINE, size); }

void memory_free(void *pointer) { free(pointer); }

void memory_set_gate(memory_gate gate) { publish(&current_gate, gate); }
