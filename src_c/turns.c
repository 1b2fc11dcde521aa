#include "turns.h"

#include <string.h>

#include "memory.h"

void turns_begin(turns *t) {
    t->round++;
    t->next = 0;
}

/* Where `order` is, or would have to be put in. */
static uint32_t place_of(const turns *t, uint64_t order) {
    uint32_t low = 0, high = t->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (t->items[middle].order < order)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has(const turns *t, uint32_t place, uint64_t order) { return place < t->count && t->items[place].order == order; }

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

turn *turns_see(turns *t, uint64_t order, uint32_t weight) {
    uint32_t place = has(t, t->next, order) ? t->next : place_of(t, order);
    if (!has(t, place, order)) {
        if (t->count == t->capacity && !grow(t)) return NULL;
        memmove(t->items + place + 1, t->items + place, (t->count - place) * sizeof *t->items);
        t->items[place] = (turn){.order = order, .weight = weight};
        t->count++;
    }
    t->next = place + 1;
    t->items[place].seen = t->round;
    return &t->items[place];
}

int64_t turns_credit(const turns *t, uint64_t order) {
    uint32_t place = place_of(t, order);
    return has(t, place, order) ? t->items[place].credit : 0;
}

/* Those that have left the model's list. */
static void forget_the_gone(turns *t) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->count; i++)
        if (t->items[i].seen == t->round) t->items[kept++] = t->items[i];
    t->count = kept;
}

void turns_settle(turns *t, uint64_t chosen) {
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
