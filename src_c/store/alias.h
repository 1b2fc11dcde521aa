/* Other names by which backends are found: urls (several backends may share one) and mDNS instances (one backend each).
 *
 * An alias is put into its map before the write that begins its life is committed, and taken out after the write that ends it, so
 * its life alone says whether it is there at a version.
 */
#ifndef REG_ALIAS_H
#define REG_ALIAS_H

#include "store/string_map.h"
#include "store/version.h"

struct record;

typedef struct alias {
    string_item item;
    version_life life;
    epoch_node node;
    struct record *holder; /* immutable; who holds a url is not asked */
    uint32_t refs;         /* under the lock */
    char text[];
} alias;

/* A holder more. Finds the alias or makes one, whose life begins with the write at work; NULL when memory is out: nothing changed.
 * Room in the map is reserved here. Under the lock. */
alias *alias_ref_locked(string_map *map, const reg_key *key, struct record *holder,
                        uint64_t committed, epoch_limbo *limbo);
/* Takes back a hold of a write that comes to nothing. Under the lock. */
void alias_cancel_ref_locked(string_map *map, alias *a, epoch_limbo *limbo);
/* A holder less; the last one ends its life with the write at work. Under the lock. */
void alias_unref_locked(alias *a, uint64_t committed);
/* After the commit: unlinks and retires an alias without holders. */
void alias_tidy_locked(string_map *map, alias *a, epoch_limbo *limbo);

/* The alias if it is alive at `version`, or NULL. Inside an epoch. Wait-free, expected O(1). */
alias *alias_at(string_map *map, const reg_key *key, uint64_t version);

size_t alias_bytes(const alias *a);

#endif
