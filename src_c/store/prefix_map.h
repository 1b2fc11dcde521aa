/* What one registration knows of prompts: an index of blocks (prefix_index.h) for each model that
 * it was chosen for with a prefix. A map from the model's number to the index.
 *
 * Any thread creates an index, under the leaf lock of the map. Only the holder of the writer lock
 * removes indexes, and retires them: those of models that an update drops, and all of them when the
 * registration ends. So they do not live as long as views of the registration. A thread uses an
 * index in the epoch in which it found it.
 *
 * Readers take no lock. It is open addressing with linear probing, as in string_map.h:
 *   a. A slot goes from empty to an index, to removed, to another index. It becomes empty again
 *      only if the next slot is empty. So no look-up that has to continue is cut short.
 *   b. An index never changes its model, and no two in a map have the same one.
 *   c. Growth builds a complete new map and then publishes it. The old one, a few pointers, is
 *      freed with the registration.
 * A choice that runs beside the end of the registration may create an index after the others were
 * retired. That one is freed with the record. */
#ifndef REG_PREFIX_MAP_H
#define REG_PREFIX_MAP_H

#include "reclaim/reading.h"
#include "store/prefix_index.h"

typedef struct prefix_map {
    struct prefix_map *replaced; /* the one before; NULL: none */
    uint32_t mask;               /* slots - 1 */
    uint32_t live;               /* indexes; under the lock */
    _Atomic(prefix_index *) slots[];
} prefix_map;

/* Where a registration has its map; NULL: none. */
typedef _Atomic(prefix_map *) prefix_map_place;

/* The index of the model with this number, or NULL. Wait-free, expected O(1). */
static inline prefix_index *prefix_map_get(prefix_map_place *place, uint64_t number) {
    REG_ASSERT_READING_OR_WRITER();
    prefix_map *map = load_published(place);
    if (map == NULL) return NULL;
    for (uint64_t i = number, left = map->mask + 1; left != 0; i++, left--) {
        prefix_index *index = load_published(&map->slots[i & map->mask]);
        if (index == NULL) break;
        if (index->model == number) return index;
    }
    return NULL;
}

/* The same, but creates the index if there is none. NULL if out of memory. Inside an epoch. Takes a
 * lock if it creates one. */
prefix_index *prefix_map_ensure(prefix_map_place *place, uint64_t number, uint32_t limit);

/* Removes the index of a model, if there is one, and retires it. Expected O(1). */
void prefix_map_retire_locked(prefix_map_place *place, uint64_t number, epoch_limbo *limbo);
/* Removes all indexes, and retires them. O(models). */
void prefix_map_retire_all_locked(prefix_map_place *place, epoch_limbo *limbo);

/* The size of the map with its indexes. O(models). */
size_t prefix_map_bytes_locked(prefix_map_place *place);

/* Frees the map with its indexes. No thread may use it any more. */
void prefix_map_free(prefix_map *map);

#endif
