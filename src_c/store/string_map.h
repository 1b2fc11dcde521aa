/* Map from a string to the item that carries it: open addressing with linear probing, read without a lock.
 *
 * Who writes what: the holder of the owner's writer lock puts, removes and grows; anybody reads inside an epoch.
 * Why a read is right at every moment:
 *   a. A slot's item goes empty -> item -> removed -> another item. It never goes back to empty in one table but where the slot behind it
 *      is empty already, so no probe that must go on past it is cut short.
 *   b. A slot's hash is stored before its item is published. A reader may still see an old item beside a new hash, or the other way
 *      round; it therefore believes the hash only as a filter and compares the key of the item itself, which never changes.
 *      What it skips wrongly was removed or put while it read, and the look-up takes effect before or after that.
 *   c. Growth builds the new table aside and publishes it whole; a reader that still holds the old one sees the map as it was
 *      when it loaded the table, which lies inside its call.
 *   d. Tables and items are retired, never freed under a reader.
 * A key that stays in the map is always found: its slot keeps its item, and by a. every slot before it keeps not being empty.
 *
 * Place: the upper bits of the hash times an odd number (Dietzfelbinger and others: A reliable randomized algorithm for the closest-pair
 * problem, 1997), so that keys whose hashes agree in the low bits do not pile up. Each table draws a number of its own, so that
 * nobody who knows the hashes can choose keys for one place.
 */
#ifndef REG_STRING_MAP_H
#define REG_STRING_MAP_H

#include <string.h>

#include "base/types.h"
#include "reclaim/reading.h"

/* Embedded in whatever a map holds. Immutable while it is in the map; `key.data` lives as long as the item. */
typedef struct string_item {
    reg_key key;
} string_item;

typedef struct string_slot {
    _Atomic uint64_t hash;
    _Atomic(string_item *) item; /* NULL: empty */
} string_slot;

typedef struct string_table {
    epoch_node node;
    uint32_t shift;      /* 64 - log2(capacity) */
    size_t mask;         /* capacity - 1 */
    uint64_t multiplier; /* odd, and different in every table */
    string_slot slots[];
} string_table;

typedef struct string_map {
    _Atomic(string_table *) table;
    size_t live;   /* items */
    size_t filled; /* items and removed ones */
} string_map;

/* False when memory is out. */
bool string_map_init(string_map *map);
/* Frees the tables, not the items. Only where no reader is left. */
void string_map_free(string_map *map);

/* What stands in a slot whose item was taken out. */
extern string_item string_removed;
#define STRING_REMOVED (&string_removed)

static inline size_t string_place(const string_table *table, uint64_t hash) {
    return (size_t)(hash * table->multiplier >> table->shift);
}

/* The item with this key, or NULL. Inside an epoch, or under the lock. Wait-free, expected O(1). In the header, because every
 * operation of the registry starts with it. */
static inline string_item *string_map_get(string_map *map, const reg_key *key) {
    REG_ASSERT_READING_OR_WRITER();
    string_table *table = load_published(&map->table);
    for (size_t i = string_place(table, key->hash);; i = (i + 1) & table->mask) {
        string_item *item = load_published(&table->slots[i].item);
        if (item == NULL) return NULL;
        if (load_hint(&table->slots[i].hash) != key->hash || item == STRING_REMOVED) continue;
        if (item->key.length != key->length) continue;
        /* The same string object is the usual case: no need to read it. */
        if (item->key.data == key->data || memcmp(item->key.data, key->data, key->length) == 0)
            return item;
    }
}

/* Makes room for `extra` more items. False when memory is out: nothing changed. Under the lock; amortised O(extra). */
bool string_map_reserve_locked(string_map *map, size_t extra, epoch_limbo *limbo);
/* Puts an item whose key is not there, after a reserve. Cannot fail. Under the lock. */
void string_map_put_locked(string_map *map, string_item *item);
/* Takes an item out that is there. Under the lock. */
void string_map_remove_locked(string_map *map, string_item *item);

/* Of the table, without the items. Under the lock. */
size_t string_map_bytes_locked(const string_map *map);

/* The item of slot `i`, or NULL. Under the lock. */
static inline string_item *string_map_at_locked(const string_map *map, size_t i) {
    REG_ASSERT_WRITER();
    string_item *item = load_own(&load_own(&((string_map *)map)->table)->slots[i].item);
    return item == STRING_REMOVED ? NULL : item;
}

/* Every item, in no order. Under the lock. */
#define EACH_ITEM(map, item)                                                                       \
    for (size_t item##_at = 0; item##_at <= load_own(&((string_map *)(map))->table)->mask;         \
         item##_at++)                                                                              \
        for (string_item *item = string_map_at_locked((map), item##_at); item != NULL; item = NULL)

#endif
