#include "store/string_map.h"

#include "base/memory.h"
#include "base/random.h"

string_item string_removed;

enum { SMALLEST_LOG2 = 3 };

static string_table *new_table(uint32_t log2) {
    size_t capacity = (size_t)1 << log2;
    string_table *table = memory_alloc(sizeof *table + capacity * sizeof(string_slot));
    if (table == NULL) return NULL;
    table->shift = 64 - log2;
    table->mask = capacity - 1;
    table->multiplier = random_seed() | 1;
    return table;
}

static void destroy_table(epoch_node *node, epoch_release release) {
    (void)release;
    memory_free(reg_container(node, string_table, node));
}

static size_t table_bytes(const string_table *table) {
    return sizeof *table + (table->mask + 1) * sizeof(string_slot);
}

static size_t bytes_of_node(const epoch_node *node) {
    return table_bytes(reg_container(node, string_table, node));
}

static const epoch_kind table_kind = {.bytes = bytes_of_node, .destroy = destroy_table};

size_t string_map_bytes_locked(const string_map *map) {
    REG_ASSERT_WRITER();
    return table_bytes(load_own(&((string_map *)map)->table));
}

/* A table is at most four fifths full, removed slots included, so every probe ends. */
static bool has_room(const string_table *table, size_t filled) {
    return filled * 5 <= (table->mask + 1) * 4;
}

bool string_map_init(string_map *map) {
    string_table *table = new_table(SMALLEST_LOG2);
    map->live = map->filled = 0;
    store_private(&map->table, table);
    return table != NULL;
}

void string_map_free(string_map *map) { memory_free(load_own(&map->table)); }

static void put_into(string_table *table, string_item *item, size_t *filled) {
    size_t i = string_place(table, item->key.hash);
    string_item *there;
    while ((there = load_own(&table->slots[i].item)) != NULL && there != STRING_REMOVED)
        i = (i + 1) & table->mask;
    if (there == NULL) ++*filled;
    publish(&table->slots[i].hash, item->key.hash);
    publish(&table->slots[i].item, item);
}

bool string_map_reserve_locked(string_map *map, size_t extra, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    string_table *old = load_own(&map->table);
    if (has_room(old, map->filled + extra)) return true;
    uint32_t log2 = SMALLEST_LOG2;
    while ((map->live + extra) * 5 > ((size_t)1 << log2) * 3) log2++;
    string_table *table = new_table(log2);
    if (table == NULL) return false;
    size_t filled = 0;
    for (size_t i = 0; i <= old->mask; i++) {
        string_item *item = load_own(&old->slots[i].item);
        if (item != NULL && item != STRING_REMOVED) put_into(table, item, &filled);
    }
    map->filled = filled;
    publish(&map->table, table);
    epoch_retire(limbo, &old->node, &table_kind);
    return true;
}

void string_map_put_locked(string_map *map, string_item *item) {
    REG_ASSERT_WRITER();
    put_into(load_own(&map->table), item, &map->filled);
    map->live++;
}

/* Empties the removed slots at the end of a run: no item follows them, so no probe needs them. */
static size_t empty_backwards(string_table *table, size_t i) {
    size_t emptied = 0;
    if (load_own(&table->slots[(i + 1) & table->mask].item) != NULL) return 0;
    for (; load_own(&table->slots[i].item) == STRING_REMOVED; i = (i - 1) & table->mask) {
        publish(&table->slots[i].item, NULL);
        emptied++;
    }
    return emptied;
}

/* The slot of an item that is in the map. */
static size_t slot_of(const string_table *table, const string_item *item) {
    size_t i = string_place(table, item->key.hash);
    while (load_own(&((string_table *)table)->slots[i].item) != item) i = (i + 1) & table->mask;
    return i;
}

void string_map_replace_locked(string_map *map, string_item *old, string_item *fresh) {
    REG_ASSERT_WRITER();
    string_table *table = load_own(&map->table);
    publish(&table->slots[slot_of(table, old)].item, fresh);
}

void string_map_remove_locked(string_map *map, string_item *item) {
    REG_ASSERT_WRITER();
    string_table *table = load_own(&map->table);
    size_t i = slot_of(table, item);
    publish(&table->slots[i].item, STRING_REMOVED);
    map->live--;
    map->filled -= empty_backwards(table, i);
}
