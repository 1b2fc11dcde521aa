/* A binary heap of pointers. Each item has the index of its place, so it can be removed from the
 * middle. The caller's lock guards all of it. O(log n) for each change. */
#ifndef REG_HEAP_H
#define REG_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the item with the index `a` comes before the one with `b`. A total order. */
typedef bool (*heap_order)(const size_t *a, const size_t *b);

typedef struct heap {
    size_t **items; /* to the index that is part of each item */
    size_t count;
    size_t capacity;
} heap;

/* Makes room for one more item. False if out of memory. */
bool heap_reserve(heap *h);
/* Adds an item; there is room for it. Never fails after a removal. */
void heap_add(heap *h, size_t *item, heap_order order);
void heap_remove(heap *h, size_t *item, heap_order order);
/* Restores the order after an item has changed. */
void heap_moved(heap *h, size_t *item, heap_order order);
void heap_free(heap *h);

static inline size_t *heap_first(const heap *h) { return h->count == 0 ? NULL : h->items[0]; }

#endif
