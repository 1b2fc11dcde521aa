#include "store/turns.h"

#include <stdlib.h>
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

static int by_order(const void *left, const void *right) {
    uint64_t a = ((const turn *)left)->order, b = ((const turn *)right)->order;
    return (a > b) - (a < b);
}

/* Sorts all new turns at once: inserting them one by one would make the first round quadratic. */
static void sort_new_turns(turns *t) {
    if (t->sorted == t->count) return;
    qsort(t->items, t->count, sizeof *t->items, by_order);
    t->sorted = t->count;
}

void turns_begin(turns *t) {
    REG_ASSERT_TURNS();
    sort_new_turns(t);
    t->round++;
    t->next = 0;
}

/* The index of `order` among the sorted turns, or the index at which it would be inserted. */
static uint32_t index_of(const turns *t, uint64_t order) {
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

static bool has(const turns *t, uint32_t index, uint64_t order) {
    return index < t->sorted && t->items[index].order == order;
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

static turn *add(turns *t, uint64_t order, uint64_t holder) {
    if (t->count == t->capacity && !grow(t)) return NULL;
    t->items[t->count] = (turn){.order = order, .holder = holder};
    return &t->items[t->count++];
}

static bool is_same_registration(uint64_t a, uint64_t b) { return a >> 16 == b >> 16; }

turn *turns_find(turns *t, uint64_t order, uint64_t holder) {
    REG_ASSERT_TURNS();
    uint32_t index = has(t, t->next, order) ? t->next : index_of(t, order);
    t->next = index + 1;
    if (!has(t, index, order)) return add(t, order, holder);
    turn *found = &t->items[index];
    if (!is_same_registration(found->holder, holder))
        found->credit = 0;
    else if (found->holder != holder)
        t->is_reweighed = true;
    found->holder = holder;
    return found;
}

int64_t turns_credit(turns *t, uint64_t order, uint64_t holder) {
    REG_ASSERT_TURNS();
    sort_new_turns(t);
    uint32_t index = index_of(t, order);
    bool is_known = has(t, index, order) && is_same_registration(t->items[index].holder, holder);
    return is_known ? t->items[index].credit : 0;
}

static bool is_seen(const turns *t, const turn *its) { return its->mark >> 1 == t->round; }

/* Drops the turns of registrations that are no longer in the model's list. */
static void drop_stale_turns(turns *t) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->count; i++)
        if (is_seen(t, &t->items[i])) t->items[kept++] = t->items[i];
    t->count = t->sorted = kept;
}

/* Limits the credits after a change of weights: see turns.h. */
static void limit_credits(turns *t) {
    int64_t sum = 0;
    t->is_reweighed = false;
    for (uint32_t i = 0; i < t->count; i++)
        if (is_seen(t, &t->items[i])) sum += turn_weight(&t->items[i]);
    for (uint32_t i = 0; i < t->count; i++) {
        turn *its = &t->items[i];
        if (!is_seen(t, its)) continue;
        if (its->credit > sum) its->credit = sum;
        if (its->credit < -sum) its->credit = -sum;
    }
}

void turns_settle(turns *t, uint64_t chosen) {
    REG_ASSERT_TURNS();
    sort_new_turns(t);
    int64_t given = 0;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        turn *its = &t->items[i];
        seen += is_seen(t, its);
        if (its->mark != turn_mark(t, true)) continue;
        its->credit += turn_weight(its);
        given += turn_weight(its);
    }
    t->items[index_of(t, chosen)].credit -= given;
    if (reg_unlikely(t->is_reweighed)) limit_credits(t);
    if (t->count > 2 * seen + 8) drop_stale_turns(t);
}

void turns_free(turns *t) { memory_free(t->items); }

size_t turns_bytes(const turns *t) { return t->capacity * sizeof *t->items; }
