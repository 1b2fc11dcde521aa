#include "memory.h"

#include <stdlib.h>
#include <string.h>

#include "atomics.h"

static _Atomic(memory_gate) current_gate;

static bool gate_is_open(void) {
    memory_gate gate = load_published(&current_gate);
    return gate == NULL || gate();
}

void *memory_alloc(size_t size) { return gate_is_open() ? calloc(1, size) : NULL; }

void *memory_alloc_raw(size_t size) { return gate_is_open() ? malloc(size) : NULL; }

void *memory_alloc_lines(size_t size) {
    void *lines = NULL;
    if (!gate_is_open() || posix_memalign(&lines, REG_CACHE_LINE, size) != 0) return NULL;
    return memset(lines, 0, size);
}

void memory_free(void *pointer) { free(pointer); }

void memory_set_gate(memory_gate gate) { publish(&current_gate, gate); }
