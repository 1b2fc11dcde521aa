#include "store/turns.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int by_order(const void *left, const void *right) {
    uint64_t a = ((const turn *)left)->order, b = ((const turn *)right)->order;
    return (a > b) - (a < b);
}

/* All at once: one by one, a large model's first round would move all others for each. */
static void take_in_the_new(turns *t) {
    if (t->sorted == t->count) return;
    qsort(t->items, t->count, sizeof *t->items, by_order);
    t->sorted = t->count;
}

void turns_begin(turns *t) {
    take_in_the_new(t);
    t->round++;
    t->next = 0;
}

/* Where `order` is, or would have to be, among the sorted. */
static uint32_t place_of(const turns *t, uint64_t order) {
    uint32_t low = 0, high = t->sorted;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (t->items[middle].order < order)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has(const turns *t, uint32_t place, uint64_t order) {
    return place < t->sorted && t->items[place].order == order;
}

static bool grow(turns *t) {
    uint32_t capacity = 2 * t->capacity + 8;
    turn *items = memory_alloc(capacity * sizeof *items);
    if (items == NULL) return false;
    if (t->count != 0) memcpy(items, t->items, t->count * sizeof *items);
    memory_free(t->items);
    t->items = items;
    t->capacity = capacity;
    return true;
}

static turn *add(turns *t, uint64_t order, uint32_t weight) {
    if (t->count == t->capacity && !grow(t)) return NULL;
    t->items[t->count] = (turn){.order = order, .weight = weight};
    return &t->items[t->count++];
}

turn *turns_see(turns *t, uint64_t order, uint32_t weight) {
    uint32_t place = has(t, t->next, order) ? t->next : place_of(t, order);
    turn *its = has(t, place, order) ? &t->items[place] : add(t, order, weight);
    if (its == NULL) return NULL;
    t->next = place + 1;
    its->seen = t->round;
    return its;
}

int64_t turns_credit(turns *t, uint64_t order) {
    take_in_the_new(t);
    uint32_t place = place_of(t, order);
    return has(t, place, order) ? t->items[place].credit : 0;
}

/* Those that have left the model's list. */
static void forget_the_gone(turns *t) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->count; i++)
        if (t->items[i].seen == t->round) t->items[kept++] = t->items[i];
    t->count = t->sorted = kept;
}

void turns_settle(turns *t, uint64_t chosen) {
    take_in_the_new(t);
    int64_t given = 0;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        seen += t->items[i].seen == t->round;
        if (t->items[i].due != t->round) continue;
        t->items[i].credit += t->items[i].weight;
        given += t->items[i].weight;
    }
    t->items[place_of(t, chosen)].credit -= given;
    if (t->count > 2 * seen + 8) forget_the_gone(t);
}

void turns_free(turns *t) { memory_free(t->items); }

size_t turns_bytes(const turns *t) { return t->capacity * sizeof *t->items; }
