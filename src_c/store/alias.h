/* Other names of backends: URLs, which several backends may share, and mDNS instances, which are
 * unique.
 *
 * An alias is put into its map before the write that begins its life commits, and is removed after
 * the write that ends its life has committed. So its life alone decides whether it exists at a
 * version.
 *
 * One write may take an mDNS instance from one backend and give it to another. Then the alias of
 * the new holder takes the place of the old one in the map, and links to it. A reader at a version
 * before that write follows the link. That is safe for the reason that version.h gives for the
 * `previous` pointers of states.
 *
 * The answer is exact: an alias that began after the reader's version does not count, even if it
 * has also ended since. The holder's state at that version would not have the name. */
#ifndef REG_ALIAS_H
#define REG_ALIAS_H

#include "store/string_map.h"
#include "store/version.h"

struct record;

typedef struct alias {
    string_item item;
    version_life life;
    epoch_node node;
    uint64_t begin;         /* the version at which its life began */
    struct alias *previous; /* whose place in the map it took; NULL: none */
    struct record *holder;  /* immutable; NULL for a URL, which may have several */
    /* Under the lock: the number of backends that have this name; whether another alias took its
     * place in the map; whether it is retired, because one write may tidy it for several
     * backends. */
    uint32_t refs : 30, is_superseded : 1, is_retired : 1;
    char text[];
} alias;

/* Adds a reference to the alias with this key and holder. If there is none, creates it; its life
 * begins with the current write, which also ends the life of an alias of another holder. NULL if
 * out of memory; then nothing has changed. */
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
