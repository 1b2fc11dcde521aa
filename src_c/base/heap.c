#include "base/heap.h"

#include <string.h>

#include "base/memory.h"

bool heap_reserve(heap *h) {
    if (h->count < h->capacity) return true;
    size_t capacity = h->capacity == 0 ? 4 : 2 * h->capacity;
    size_t **items = memory_alloc_raw(capacity * sizeof *items);
    if (items == NULL) return false;
    if (h->count != 0) memcpy(items, h->items, h->count * sizeof *items);
    memory_free(h->items);
    h->items = items;
    h->capacity = capacity;
    return true;
}

static void put(heap *h, size_t place, size_t *item) {
    h->items[place] = item;
    *item = place;
}

static size_t rise(heap *h, size_t *item, heap_order order) {
    size_t place = *item;
    while (place != 0 && order(item, h->items[(place - 1) / 2])) {
        put(h, place, h->items[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(h, place, item);
    return place;
}

static void sink(heap *h, size_t *item, heap_order order) {
    size_t place = *item;
    for (size_t child; (child = 2 * place + 1) < h->count; place = child) {
        if (child + 1 < h->count && order(h->items[child + 1], h->items[child])) child++;
        if (!order(h->items[child], item)) break;
        put(h, place, h->items[child]);
    }
    put(h, place, item);
}

void heap_moved(heap *h, size_t *item, heap_order order) {
    size_t place = *item;
    if (rise(h, item, order) == place) sink(h, item, order);
}

void heap_add(heap *h, size_t *item, heap_order order) {
    put(h, h->count++, item);
    (void)rise(h, item, order);
}

void heap_remove(heap *h, size_t *item, heap_order order) {
    size_t place = *item, *last = h->items[--h->count];
    if (last == item) return;
    put(h, place, last);
    heap_moved(h, last, order);
}

void heap_free(heap *h) {
    memory_free(h->items);
    *h = (heap){0};
}
