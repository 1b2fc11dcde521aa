/* Other names of backends: URLs, which several backends may share, and mDNS instances, which are
 * unique.
 *
 * An alias is put into its map before the write that begins its life commits, and is removed after
 * the write that ends its life has committed. So its life alone decides whether it exists at a
 * version.
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
    struct record *holder; /* immutable; meaningless for a URL, which may have several */
    uint32_t refs;         /* backends that have this name; under the lock */
    char text[];
} alias;

/* Adds a reference to the alias with this key. If there is none, creates it; its life begins with
 * the current write. NULL if out of memory; then nothing has changed. */
alias *alias_ref_locked(string_map *map, const reg_key *key, struct record *holder,
                        uint64_t committed, epoch_limbo *limbo);
/* Undoes alias_ref_locked for a write that fails. */
void alias_cancel_ref_locked(string_map *map, alias *a, epoch_limbo *limbo);
/* Drops a reference. The last one ends the alias's life with the current write. */
void alias_unref_locked(alias *a, uint64_t committed);
/* After the commit: unlinks and retires an alias without references. */
void alias_tidy_locked(string_map *map, alias *a, epoch_limbo *limbo);

/* The alias if it exists at `version`, or NULL. Inside an epoch. Wait-free, expected O(1). */
alias *alias_at(string_map *map, const reg_key *key, uint64_t version);

size_t alias_bytes(const alias *a);

#endif
