/* The blocks of prompts that one backend has read lately for one model: a set of 64-bit hashes with
 * a limit. If a block comes that has no place any more, the least recently used one goes.
 *
 * The blocks of a prompt are noted from the last one to the first one, so the first one is the most
 * recent. Every block hash stands for a whole beginning of a prompt. So what goes is the deepest
 * block of the prompt that was used least recently, and no other block loses its own beginning.
 *
 * The table
 * ---------
 * Readers need the hashes only. They are in buckets of eight, each on one cache line. A hash is in
 * its home bucket, or in the next bucket that had room. What the order of use needs, a doubly
 * linked list through all slots, is in an array of its own, which only writers read.
 *
 *   I.  The hashes of a bucket are in its first slots. The others are 0.
 *   II. If a hash is not in its home bucket, every bucket from there to its own one is full.
 *
 * So a look-up ends at the hash, or at the first bucket whose last slot is 0. A block with the hash
 * 0 has a slot of its own behind the buckets, which says whether it is known.
 *
 * Writers and readers
 * -------------------
 * Writers hold LOCK, one of several mutexes (lock_stripes.h). It is a leaf: no other lock is
 * taken meanwhile. Readers take no lock.
 *   a. A reader never finds a block that was not known at some instant of its call. It finds a
 *      block only if it loads that very word from a slot. While a table is the index's, a slot
 *      holds no other words than 0 and known hashes: a writer first overwrites the last slot that
 *      has a hash which is no longer known, and puts nothing into a table that is not known. A
 *      table that has been replaced does not change any more. So its hashes are those known when it
 *      was replaced, which was during the call, because the call has found it.
 *   b. A reader may miss a block while a writer moves it: it may pass the new slot before the move
 *      and the old one afterwards. A move stores the new slot first, so a reader that begins after
 *      a write finds all that the write left.
 *   c. A reader ends, whatever writers do: it looks at each bucket at most once.
 *   d. A table is freed with the index only. A table is four times as large as the one that it
 *      replaced, so the replaced ones take a third of its hashes' size.
 *
 * Nothing is lost for want of memory: who will note blocks first gets a promise of their places,
 * before anything has taken effect, and then noting cannot fail. While a table is smaller than the
 * limit needs, it has room for all known blocks and all promised ones. A table of the final size
 * needs no promises: noting makes room by dropping.
 *
 * The first slot of a look-up depends on a random multiplier, different in every table, like that
 * of string_map.h. */
#ifndef REG_PREFIX_INDEX_H
#define REG_PREFIX_INDEX_H

#include "base/atomics.h"
#include "base/lock_stripes.h"
#include "reclaim/epoch.h"

enum { PREFIX_BUCKET = 8 }; /* hashes on one line */

/* The greatest limit. Slots are numbered with 32 bits. */
#define PREFIX_MOST_BLOCKS INT32_MAX

/* The neighbours of a slot in the order of use. */
typedef struct prefix_link {
    uint32_t newer;
    uint32_t older;
} prefix_link;

typedef struct prefix_table {
    struct prefix_table *replaced; /* the one before; NULL: none */
    prefix_link *links;            /* of each slot; NULL after the table was replaced */
    uint64_t multiplier;           /* odd */
    uint32_t buckets;
    uint32_t room; /* blocks that it may hold */
    /* `buckets` of them, and one more for PREFIX_ZERO and PREFIX_HEAD. */
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t hashes[];
} prefix_table;

typedef struct prefix_index {
    _Atomic(prefix_table *) table; /* NULL before the first promise */
    uint64_t model;                /* its number; immutable, like `limit` */
    uint32_t limit;
    uint32_t known;       /* blocks; under LOCK */
    uint64_t promised;    /* blocks that may be noted; under LOCK */
    _Atomic size_t bytes; /* of the index and its tables; written under LOCK */
    epoch_node node;
    size_t retired_bytes; /* its size when it was retired: a late thread may still note blocks */
} prefix_index;

/* An empty index for `limit` blocks of a model, 1 to PREFIX_MOST_BLOCKS. NULL if out of memory. */
prefix_index *prefix_index_new(uint64_t model, uint32_t limit);
/* Frees an index that no thread uses any more. */
void prefix_index_free(prefix_index *index);
/* Frees it once no thread uses it any more. Under the limbo's lock. */
void prefix_index_retire(prefix_index *index, epoch_limbo *limbo);

/* How many of the first blocks are known: those before the first unknown one. Lock-free. Expected
 * O(known blocks), one cache line for each. */
size_t prefix_index_count(prefix_index *index, const uint64_t *blocks, size_t count);

/* Promises places for `count` blocks. Sets what was promised, which the caller passes to
 * prefix_index_note or prefix_index_forgo. False if out of memory; then nothing has changed.
 * Amortised O(1); a call that enlarges the table takes O(known blocks). One load if the table has
 * its final size. */
bool prefix_index_promise(prefix_index *index, size_t count, uint32_t *promised);
/* Gives back a promise that is not needed. */
void prefix_index_forgo(prefix_index *index, uint32_t promised);

/* Notes the blocks of a prompt: all of them become known and the most recently used ones, the first
 * one last. Takes back the promise. Expected O(count). */
void prefix_index_note(prefix_index *index, const uint64_t *blocks, size_t count,
                       uint32_t promised);

/* Corrects what is known of a prompt, of which a backend had `value` tokens: the first `known` of
 * its `count` blocks are noted. If it had less than `word` says, the others are dropped. In the
 * same step stores `value` in `word`. False if out of memory; then nothing has changed. Expected
 * O(count), amortised. */
bool prefix_index_correct(prefix_index *index, const uint64_t *blocks, size_t count, size_t known,
                          _Atomic uint64_t *word, uint64_t value);

/* The size of the index in memory. */
static inline size_t prefix_index_bytes(const prefix_index *index) {
    return load_published(&((prefix_index *)index)->bytes);
}

extern lock_stripes prefix_locks; /* all LOCKs */

/* The LOCK of an index, or of a map of them (prefix_map.h), which has no index's LOCK meanwhile. */
static inline void prefix_lock(const void *owner) {
    pthread_mutex_lock(stripe_of(&prefix_locks, owner));
}

static inline void prefix_unlock(const void *owner) {
    pthread_mutex_unlock(stripe_of(&prefix_locks, owner));
}

#endif
