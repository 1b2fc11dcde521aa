/* Versions: how each query sees the registry at one instant.
 *
 * The registry's clock COMMITTED counts finished writes. The holder of the writer lock makes the
 * write W = COMMITTED + 1. It puts everything in place, marked with W (states, members, lives), and
 * then stores COMMITTED = W. At that store the write takes effect, for all readers and all
 * structures at once.
 *
 * A reader loads V = COMMITTED once, inside its epoch. For every object it takes the newest version
 * that is not newer than V. It ignores newer versions, and finds versions that were replaced since
 * V through the `previous` pointers.
 *
 * Previous pointers. A `previous` pointer may dangle, because an object is retired as soon as the
 * write that replaced it is committed. A reader may follow the pointer only from an object that is
 * newer than V.
 *   a. Then the reader loaded V before that write's commit, so its epoch began before the
 *      retirement, and the previous object is still there.
 *   b. A reader whose epoch began after the retirement synchronized with it (epoch.h, case a). So
 *      it loads a V that is not older than that commit, and does not follow the pointer.
 * Both arguments need the same order: a writer retires after it commits.
 *
 * An object is put into a map before the commit and removed after the commit. So it has a life,
 * which says at which versions it exists.
 */
#ifndef REG_VERSION_H
#define REG_VERSION_H

#include "base/atomics.h"

/* version << 1 | alive: the version of the last change, and whether the object has been alive
 * since. */
typedef _Atomic uint64_t version_life;

static inline uint64_t life_alive_since(uint64_t version) { return version << 1 | 1; }
static inline uint64_t life_dead_since(uint64_t version) { return version << 1; }

/* Whether the object was alive at `version`, which the caller has already loaded. A life begins
 * once and ends once, so before its last change the object was in the opposite state. If it both
 * began and ended after `version`, the answer is 'alive', which was true at some instant of the
 * read. */
static inline bool life_at(version_life *life, uint64_t version) {
    uint64_t word = load_published(life);
    return (word >> 1 <= version) == (word & 1);
}

#endif
