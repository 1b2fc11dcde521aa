/* One instant for every query: versions.
 *
 * The registry's clock COMMITTED counts finished writes. The holder of the writer lock makes the write W = COMMITTED + 1: it
 * puts everything in place marked with W (states, members, lives), then stores COMMITTED = W. That store is the instant at which the write takes
 * effect, for every reader and every structure at once.
 * A reader loads V = COMMITTED once, inside its epoch, and takes of everything the newest that is not newer than V. What is newer it
 * passes over; what was replaced since it still finds, through the `previous` pointers.
 *
 * A `previous` pointer may dangle: what it points to is retired as soon as the write that replaced it is committed. It is followed
 * only from something newer than V. Then the reader loaded V before that commit, so its epoch began before the retirement, and what
 * `previous` points to is still there. (A reader whose epoch began after the retirement synchronized with it, see epoch.h a., so it
 * loads a V not older than that commit, and never follows.) So retire after commit: that order is what the argument needs.
 *
 * What is put into a map or list before the commit, and taken out after it, is guarded by a life.
 */
#ifndef REG_VERSION_H
#define REG_VERSION_H

#include "base/atomics.h"

/* When something was registered or removed, in one word: the version of the last change, and whether it is alive since. */
typedef _Atomic uint64_t version_life;

static inline uint64_t life_alive_since(uint64_t version) { return version << 1 | 1; }
static inline uint64_t life_dead_since(uint64_t version) { return version << 1; }

/* Whether it was alive at `version`, loaded before. A life begins once and ends once, so before a change it was the opposite. A
 * reader that finds both begin and end after its version gets 'alive', which was true while it read. */
static inline bool life_at(version_life *life, uint64_t version) {
    uint64_t word = load_published(life);
    return (word >> 1 <= version) == (word & 1);
}

#endif
