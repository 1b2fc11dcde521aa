/* Versions: how every query sees one instant.
 *
 * The registry's clock COMMITTED counts finished writes. A writer, under the writer lock, makes the
 * write W = COMMITTED + 1. It puts everything in place, marked with W (states, members, lives), and
 * then stores COMMITTED = W. That store is the instant at which the write takes effect, for all
 * readers and all structures at once.
 *
 * A reader loads V = COMMITTED once, inside its epoch. Of every object it takes the newest version
 * that is not newer than V. It ignores what is newer, and finds what was replaced since V through
 * the `previous` pointers.
 *
 * When a `previous` pointer may be followed. It may dangle: the object is retired as soon as the
 * write that replaced it is committed. A reader follows it only from an object that is newer than
 * V.
 *   a. Then the reader loaded V before that write's commit, so its epoch began before the
 *      retirement, and the previous object is still there.
 *   b. A reader whose epoch began after the retirement synchronized with it (epoch.h, case a). So
 *      it loads a V that is not older than that commit, and does not follow the pointer.
 * Both need the same order: a writer retires after it commits.
 *
 * An object that enters a map before the commit and leaves it after the commit carries a life,
 * which tells at which versions it counts.
 */
#ifndef REG_VERSION_H
#define REG_VERSION_H

#include "base/atomics.h"

/* version << 1 | alive: the version of the last change, and whether the object is alive since. */
typedef _Atomic uint64_t version_life;

static inline uint64_t life_alive_since(uint64_t version) { return version << 1 | 1; }
static inline uint64_t life_dead_since(uint64_t version) { return version << 1; }

/* Whether the object was alive at `version`, which the caller has loaded before. A life begins once
 * and ends once, so before its last change it was the opposite. If it both began and ended after
 * `version`, the answer is 'alive', which was true at some instant of the read. */
static inline bool life_at(version_life *life, uint64_t version) {
    uint64_t word = load_published(life);
    return (word >> 1 <= version) == (word & 1);
}

#endif
