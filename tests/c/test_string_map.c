#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "reclaim/reclaim.h"
#include "store/string_map.h"

static epoch_limbo limbo;

static void finish(string_map *map) {
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    string_map_free(map);
}

static void put(string_map *map, string_item *item) {
    CHECK(string_map_get(map, &item->key) == NULL);
    CHECK(string_map_reserve_locked(map, 1, &limbo));
    string_map_put_locked(map, item);
    CHECK(string_map_get(map, &item->key) == item);
}

static long growth_and_removal(void) {
    contract_enter_writer(&limbo);
    enum { COUNT = 200000 };
    string_map map;
    CHECK(string_map_init(&map));
    char (*texts)[16] = malloc(COUNT * sizeof *texts);
    string_item *items = malloc(COUNT * sizeof *items);
    for (int i = 0; i < COUNT; i++) {
        int length = snprintf(texts[i], sizeof *texts, "key-%d", i);
        items[i].key = (reg_key){(uint64_t)i * 0x9E3779B97F4A7C15u, texts[i], (size_t)length};
        put(&map, &items[i]);
    }
    for (int i = 0; i < COUNT; i++) CHECK(string_map_get(&map, &items[i].key) == &items[i]);
    for (int i = 0; i < COUNT; i += 2) string_map_remove_locked(&map, &items[i]);
    for (int i = 0; i < COUNT; i++)
        CHECK((string_map_get(&map, &items[i].key) == NULL) == (i % 2 == 0));
    for (int i = 1; i < COUNT; i += 2) string_map_remove_locked(&map, &items[i]);
    CHECK(map.live == 0);
    finish(&map);
    free(items);
    free(texts);
    contract_leave_writer(&limbo);
    return 4 * COUNT;
}

/* All items have the same hash, so every look-up probes all other items. Removed slots in between
 * must not end it early. */
static long colliding_hashes(void) {
    contract_enter_writer(&limbo);
    enum { COUNT = 300 };
    string_map map;
    string_item items[COUNT];
    char texts[COUNT][8];
    CHECK(string_map_init(&map));
    for (int i = 0; i < COUNT; i++) {
        int length = snprintf(texts[i], sizeof *texts, "%d", i);
        items[i].key = (reg_key){42, texts[i], (size_t)length};
        put(&map, &items[i]);
    }
    for (int round = 0; round < 50; round++) {
        int gone = round * 7 % COUNT;
        string_map_remove_locked(&map, &items[gone]);
        for (int i = 0; i < COUNT; i++)
            CHECK((string_map_get(&map, &items[i].key) == NULL) == (i == gone));
        put(&map, &items[gone]);
    }
    finish(&map);
    contract_leave_writer(&limbo);
    return 50 * COUNT;
}

/* The average distance between an item's slot and the first slot for its hash. */
static double mean_displacement(string_map *map) {
    string_table *table = map->table;
    size_t sum = 0;
    for (size_t i = 0; i <= table->mask; i++) {
        string_item *item = table->slots[i].item;
        if (item != NULL && item != STRING_REMOVED)
            sum += (i - string_place(table, item->key.hash)) & table->mask;
    }
    return (double)sum / (double)map->live;
}

/* Hashes that an attacker could choose: equal in their low bits; equal in the upper bits of their
 * product with the usual constant; and equal in the upper bits of their product with the multiplier
 * of another table. */
static long crafted_hashes(void) {
    contract_enter_writer(&limbo);
    enum { COUNT = 20000 };
    string_item *items = malloc(COUNT * sizeof *items);
    string_map map, seen;
    CHECK(string_map_init(&seen));
    CHECK(string_map_reserve_locked(&seen, COUNT / 2, &limbo));
    for (int craft = 0; craft < 3; craft++) {
        CHECK(string_map_init(&map));
        for (int i = 0; i < COUNT; i++) {
            uint64_t drawn = random_mix((uint64_t)i + 1),
                     factor = craft == 1 ? 0x9E3779B97F4A7C15u : seen.table->multiplier;
            /* Newton's iteration: each round doubles the number of correct bits. */
            uint64_t inverse = factor;
            for (int round = 0; round < 5; round++) inverse *= 2 - factor * inverse;
            items[i].key = (reg_key){craft == 0 ? drawn << 20 : (drawn >> 8) * inverse,
                                     (const char *)&items[i], sizeof items[i]};
            put(&map, &items[i]);
        }
        CHECK(mean_displacement(&map) < 8);
        finish(&map);
    }
    finish(&seen);
    free(items);
    contract_leave_writer(&limbo);
    return 3 * COUNT;
}

static long bytes_decide(void) {
    contract_enter_writer(&limbo);
    string_map map;
    CHECK(string_map_init(&map));
    string_item one = {{7, "a\0b", 3}}, two = {{7, "a\0c", 3}}, three = {{7, "a", 1}};
    put(&map, &one);
    put(&map, &two);
    put(&map, &three);
    char copy[3] = {'a', 0, 'c'};
    CHECK(string_map_get(&map, &(reg_key){7, copy, 3}) == &two);
    CHECK(string_map_get(&map, &(reg_key){8, copy, 3}) == NULL);
    finish(&map);
    contract_leave_writer(&limbo);
    return 3;
}

/* Items are removed and added again and again. If removed slots were neither reused nor emptied,
 * the table would grow forever. */
static long churn_does_not_grow(void) {
    contract_enter_writer(&limbo);
    string_map map;
    string_item items[64];
    char texts[64][8];
    CHECK(string_map_init(&map));
    for (int i = 0; i < 100000; i++) {
        string_item *item = &items[i % 64];
        if (i >= 64) string_map_remove_locked(&map, item);
        int length = snprintf(texts[i % 64], sizeof *texts, "%d", i);
        item->key = (reg_key){(uint64_t)i * 0x9E3779B97F4A7C15u, texts[i % 64], (size_t)length};
        put(&map, item);
    }
    CHECK(map.table->mask < 256);
    finish(&map);
    contract_leave_writer(&limbo);
    return 100000;
}

static long a_table_outlives_its_growth_for_readers(void) {
    contract_enter_writer(&limbo);
    string_map map;
    string_item items[64];
    char texts[64][8];
    CHECK(string_map_init(&map));
    string_table *old = map.table;
    epoch_slot *reader = epoch_enter();
    CHECK(reader != NULL);
    for (int i = 0; i < 64; i++) {
        int length = snprintf(texts[i], sizeof *texts, "%d", i);
        items[i].key = (reg_key){(uint64_t)i * 0x9E3779B97F4A7C15u, texts[i], (size_t)length};
        put(&map, &items[i]);
        CHECK(old->mask == 7 && old->slots[string_place(old, items[0].key.hash)].item != NULL);
    }
    CHECK(map.table != old);
    epoch_leave(reader);
    finish(&map);
    contract_leave_writer(&limbo);
    return 64;
}

const test string_map_tests[] = {
    {"string map: growth and removal", growth_and_removal},
    {"string map: colliding hashes", colliding_hashes},
    {"string map: crafted hashes", crafted_hashes},
    {"string map: equal hashes, different bytes", bytes_decide},
    {"string map: a table outlives its growth", a_table_outlives_its_growth_for_readers},
    {"string map: churn does not grow it", churn_does_not_grow},
    {0}};
