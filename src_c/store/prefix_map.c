#include "store/prefix_map.h"

#include "base/contract.h"
#include "base/memory.h"

enum { SMALLEST = 4 };

/* In the slot of an index that was removed. No model has the number 0. */
static prefix_index removed;

static bool is_index(const prefix_index *index) { return index != NULL && index != &removed; }

/* ---- under the lock ---- */

static size_t bytes_of_slots(const prefix_map *map) {
    return sizeof *map + ((size_t)map->mask + 1) * sizeof *map->slots;
}

static void put(prefix_map *map, prefix_index *index) {
    uint64_t i = index->model;
    while (is_index(load_own(&map->slots[i & map->mask]))) i++;
    publish(&map->slots[i & map->mask], index);
    map->live++;
}

static prefix_map *new_map(uint32_t slots, prefix_map *replaced) {
    prefix_map *map = memory_alloc(sizeof *map + slots * sizeof *map->slots);
    if (map == NULL) return NULL;
    map->mask = slots - 1;
    map->replaced = replaced;
    for (uint32_t i = 0; replaced != NULL && i <= replaced->mask; i++) {
        prefix_index *index = load_own(&replaced->slots[i]);
        if (is_index(index)) put(map, index);
    }
    return map;
}

/* Makes room for one more index. At most half of the slots have one. */
static bool reserve(prefix_map_place *place) {
    prefix_map *map = load_own(place);
    if (map != NULL && 2 * (map->live + 1) <= map->mask + 1) return true;
    prefix_map *larger = new_map(map == NULL ? SMALLEST : 2 * (map->mask + 1), map);
    if (larger != NULL) publish(place, larger);
    return larger != NULL;
}

/* Empties the removed slots at the end of a run: no index follows them, so no look-up needs
 * them. */
static void empty_backwards(prefix_map *map, uint64_t i) {
    if (load_own(&map->slots[(i + 1) & map->mask]) != NULL) return;
    for (; load_own(&map->slots[i & map->mask]) == &removed; i--)
        publish(&map->slots[i & map->mask], NULL);
}

static void take_out(prefix_map *map, uint64_t i) {
    publish(&map->slots[i & map->mask], &removed);
    map->live--;
    empty_backwards(map, i);
}

/* ---- the functions of the header ---- */

prefix_index *prefix_map_ensure(prefix_map_place *place, uint64_t number, uint32_t limit) {
    prefix_index *found = prefix_map_get(place, number);
    if (reg_likely(found != NULL)) return found;
    prefix_index *fresh = prefix_index_new(number, limit);
    if (fresh == NULL) return NULL;
    prefix_lock(place);
    found = prefix_map_get(place, number);
    if (found == NULL && reserve(place)) {
        put(load_own(place), fresh);
        found = fresh;
    }
    prefix_unlock(place);
    if (found != fresh) prefix_index_free(fresh);
    return found;
}

void prefix_map_retire_locked(prefix_map_place *place, uint64_t number, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    prefix_index *index = prefix_map_get(place, number);
    if (index == NULL) return;
    prefix_lock(place);
    prefix_map *map = load_own(place);
    uint64_t i = number;
    while (load_own(&map->slots[i & map->mask]) != index) i++;
    take_out(map, i);
    prefix_unlock(place);
    prefix_index_retire(index, limbo);
}

/* The indexes of a map that does not grow. */
#define EACH_INDEX(map, index)                                                                     \
    for (uint32_t index##_at = 0; (map) != NULL && index##_at <= (map)->mask; index##_at++)        \
        for (prefix_index *index = load_published(&(map)->slots[index##_at]); is_index(index);     \
             index = NULL)

void prefix_map_retire_all_locked(prefix_map_place *place, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    if (load_published(place) == NULL) return;
    prefix_lock(place);
    prefix_map *map = load_own(place);
    EACH_INDEX(map, index) {
        take_out(map, index_at);
        prefix_index_retire(index, limbo);
    }
    prefix_unlock(place);
}

size_t prefix_map_bytes_locked(prefix_map_place *place) {
    REG_ASSERT_WRITER();
    const prefix_map *newest = load_published(place);
    size_t bytes = 0;
    for (const prefix_map *map = newest; map != NULL; map = map->replaced)
        bytes += bytes_of_slots(map);
    EACH_INDEX((prefix_map *)newest, index) bytes += prefix_index_bytes(index);
    return bytes;
}

void prefix_map_free(prefix_map *map) {
    EACH_INDEX(map, index) prefix_index_free(index);
    while (map != NULL) {
        prefix_map *replaced = map->replaced;
        memory_free(map);
        map = replaced;
    }
}
