/* A map from strings to the items that contain them. It uses open addressing with linear probing,
 * and is read without a lock.
 *
 * Only the holder of the owner's writer lock puts and removes items and grows the table. Any thread
 * may read, inside an epoch. Reads are correct at every moment, for these reasons:
 *   a. A slot's item goes from empty to an item, to removed, to another item. Within a table, a
 *      slot becomes empty again only if the next slot is empty. So no probe that has to continue is
 *      cut short.
 *   b. A slot's hash is stored before its item is published. A reader may still see an old item
 *      with a new hash, or the reverse. So it uses the hash only as a filter, and compares the
 *      item's own key, which never changes. An item that it wrongly skips was put or removed during
 *      the read, so the look-up can take effect before or after that.
 *   c. Growth builds a complete new table and then publishes it. A reader of the old table sees the
 *      map as it was at some moment of its own call.
 *   d. Tables and items are retired, so they are never freed while a reader may use them.
 * The hash is published too. So a reader that skips an item because of the hash of a later one sees
 * what the writer did before it put that one: few.h relies on this.
 *
 * A key that stays in the map is always found: its slot keeps its item, and by a. no slot before it
 * becomes empty.
 *
 * A key's first slot is given by the upper bits of hash * multiplier (Dietzfelbinger and others: "A
 * reliable randomized algorithm for the closest-pair problem", 1997), so keys whose hashes agree in
 * the low bits do not cluster. Each table draws its own random multiplier, so an attacker who knows
 * the hashes still can't choose keys that collide.
 */
#ifndef REG_STRING_MAP_H
#define REG_STRING_MAP_H

#include <string.h>

#include "base/types.h"
#include "reclaim/reading.h"

/* Embedded in every object that a map holds. Immutable while it is in the map; `key.data` lives as
 * long as the item. */
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
    size_t filled; /* slots that are not empty */
} string_map;

/* False if out of memory. */
bool string_map_init(string_map *map);
/* Frees the table, but not the items. Call it only when no reader is left. */
void string_map_free(string_map *map);

/* The content of a slot whose item was removed. */
extern string_item string_removed;
#define STRING_REMOVED (&string_removed)

static inline size_t string_place(const string_table *table, uint64_t hash) {
    return (size_t)(hash * table->multiplier >> table->shift);
}

/* The item with this key, or NULL. Inside an epoch, or under the lock. Wait-free, expected O(1). It
 * is inline because every operation of the registry starts with it. */
static inline string_item *string_map_get(string_map *map, const reg_key *key) {
    REG_ASSERT_READING_OR_WRITER();
    string_table *table = load_published(&map->table);
    for (size_t i = string_place(table, key->hash);; i = (i + 1) & table->mask) {
        string_item *item = load_published(&table->slots[i].item);
        if (item == NULL) return NULL;
        if (load_published(&table->slots[i].hash) != key->hash || item == STRING_REMOVED) continue;
        if (item->key.length != key->length) continue;
        /* Usually it is the same string, whose bytes need not be compared. */
        if (item->key.data == key->data || memcmp(item->key.data, key->data, key->length) == 0)
            return item;
    }
}

/* Makes room for `extra` more items. Returns false if out of memory; then nothing has changed.
 * Amortised O(extra). */
bool string_map_reserve_locked(string_map *map, size_t extra, epoch_limbo *limbo);
/* Puts an item whose key is not in the map. Call it after a reserve. Cannot fail. */
void string_map_put_locked(string_map *map, string_item *item);
/* Puts `fresh` in the place of `old`, which is in the map and has an equal key. A look-up of the
 * key finds either of them. */
void string_map_replace_locked(string_map *map, string_item *old, string_item *fresh);
/* Removes an item that is in the map. */
void string_map_remove_locked(string_map *map, string_item *item);

/* The size of the table, without the items. */
size_t string_map_bytes_locked(const string_map *map);

/* The item of slot `i`, or NULL. */
static inline string_item *string_map_at_locked(const string_map *map, size_t i) {
    REG_ASSERT_WRITER();
    string_item *item = load_own(&load_own(&((string_map *)map)->table)->slots[i].item);
    return item == STRING_REMOVED ? NULL : item;
}

/* Iterates over all items, in no particular order. Under the lock. */
#define EACH_ITEM(map, item)                                                                       \
    for (size_t item##_at = 0; item##_at <= load_own(&((string_map *)(map))->table)->mask;         \
         item##_at++)                                                                              \
        for (string_item *item = string_map_at_locked((map), item##_at); item != NULL; item = NULL)

#endif
