#include "store/alias.h"

#include <string.h>

#include "base/memory.h"

static alias *new_alias(const reg_key *key, struct record *holder) {
    alias *a = memory_alloc(sizeof *a + key->length);
    if (a == NULL) return NULL;
    memcpy(a->text, key->data, key->length);
    a->item.key = (reg_key){key->hash, a->text, key->length};
    a->holder = holder;
    return a;
}

alias *alias_ref_locked(string_map *map, const reg_key *key, struct record *holder,
                        uint64_t committed, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    string_item *found = string_map_get(map, key);
    alias *old = found == NULL ? NULL : reg_container(found, alias, item);
    if (old != NULL && old->holder == holder) {
        old->refs++;
        return old;
    }
    if (old == NULL && !string_map_reserve_locked(map, 1, limbo)) return NULL;
    alias *a = new_alias(key, holder);
    if (a == NULL) return NULL;
    a->refs = 1;
    a->begin = committed + 1;
    a->previous = old;
    store_private(&a->life, life_alive_since(a->begin));
    if (old != NULL) {
        old->is_superseded = true;
        string_map_replace_locked(map, &old->item, &a->item);
    } else {
        string_map_put_locked(map, &a->item);
    }
    return a;
}

static void destroy_alias(epoch_node *node, epoch_release release) {
    (void)release;
    memory_free(reg_container(node, alias, node));
}

size_t alias_bytes(const alias *a) { return sizeof *a + a->item.key.length; }

static size_t bytes_of_node(const epoch_node *node) {
    return alias_bytes(reg_container(node, alias, node));
}

static const epoch_kind kind = {.bytes = bytes_of_node, .destroy = destroy_alias};

void alias_unref_locked(alias *a, uint64_t committed) {
    REG_ASSERT_WRITER();
    if (--a->refs == 0) publish(&a->life, life_dead_since(committed + 1));
}

void alias_tidy_locked(string_map *map, alias *a, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    if (a->refs != 0 || a->is_retired) return;
    a->is_retired = true;
    if (!a->is_superseded) string_map_remove_locked(map, &a->item);
    epoch_retire(limbo, &a->node, &kind);
}

void alias_cancel_ref_locked(string_map *map, alias *a, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    /* The next write gets the version that this one did not commit. A reader that has found the
     * alias must not mistake it for a part of that write. */
    if (--a->refs != 0) return;
    publish(&a->life, life_dead_since(0));
    if (a->previous != NULL) {
        a->previous->is_superseded = false;
        a->is_superseded = true;
        string_map_replace_locked(map, &a->item, &a->previous->item);
    }
    alias_tidy_locked(map, a, limbo);
}

alias *alias_at(string_map *map, const reg_key *key, uint64_t version) {
    REG_ASSERT_READING();
    string_item *found = string_map_get(map, key);
    if (found == NULL) return NULL;
    alias *a = reg_container(found, alias, item);
    while (reg_unlikely(a->begin > version)) {
        if (a->previous == NULL) return NULL;
        a = a->previous;
    }
    return life_at(&a->life, version) ? a : NULL;
}
