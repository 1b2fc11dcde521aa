#include "store/turns.h"

#include <stdlib.h>
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

static int by_serial(const void *left, const void *right) {
    uint64_t a = ((const turn *)left)->serial, b = ((const turn *)right)->serial;
    return (a > b) - (a < b);
}

/* Sorts all new turns at once: inserting them one by one would make the first round quadratic. */
static void sort_new_turns(turns *t) {
    if (t->sorted == t->count) return;
    qsort(t->items, t->count, sizeof *t->items, by_serial);
    t->sorted = t->count;
}

void turns_begin(turns *t) {
    REG_ASSERT_TURNS();
    sort_new_turns(t);
    t->round++;
    t->next = 0;
}

/* The index of `serial` among the sorted turns, or the index at which it would be inserted. */
static uint32_t place_of(const turns *t, uint64_t serial) {
    uint32_t low = 0, high = t->sorted;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (t->items[middle].serial < serial)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has(const turns *t, uint32_t place, uint64_t serial) {
    return place < t->sorted && t->items[place].serial == serial;
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

static turn *add(turns *t, uint64_t serial, uint32_t weight) {
    if (t->count == t->capacity && !grow(t)) return NULL;
    t->items[t->count] = (turn){.serial = serial, .weight = weight};
    return &t->items[t->count++];
}

turn *turns_see(turns *t, uint64_t serial, uint32_t weight) {
    REG_ASSERT_TURNS();
    uint32_t place = has(t, t->next, serial) ? t->next : place_of(t, serial);
    turn *found = has(t, place, serial) ? &t->items[place] : add(t, serial, weight);
    if (found == NULL) return NULL;
    t->next = place + 1;
    found->seen = t->round;
    return found;
}

int64_t turns_credit(turns *t, uint64_t serial) {
    REG_ASSERT_TURNS();
    sort_new_turns(t);
    uint32_t place = place_of(t, serial);
    return has(t, place, serial) ? t->items[place].credit : 0;
}

/* Drops the turns of registrations that are no longer in the model's list. */
static void drop_stale_turns(turns *t) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->count; i++)
        if (t->items[i].seen == t->round) t->items[kept++] = t->items[i];
    t->count = t->sorted = kept;
}

void turns_settle(turns *t, uint64_t chosen) {
    REG_ASSERT_TURNS();
    sort_new_turns(t);
    int64_t given = 0;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        seen += t->items[i].seen == t->round;
        if (t->items[i].due != t->round) continue;
        t->items[i].credit += t->items[i].weight;
        given += t->items[i].weight;
    }
    t->items[place_of(t, chosen)].credit -= given;
    if (t->count > 2 * seen + 8) drop_stale_turns(t);
}

void turns_free(turns *t) { memory_free(t->items); }

size_t turns_bytes(const turns *t) { return t->capacity * sizeof *t->items; }
