#include "store/prefix_index.h"

#include "base/contract.h"
#include "base/memory.h"
#include "base/random.h"

lock_stripes prefix_locks = LOCK_STRIPES;

/* ---- tables ---- */

/* A bucket has this many hashes on average, at most. So few look-ups need a second line. */
enum { AVERAGE = 5, SMALLEST_ROOM = 40, GROWTH = 4 };

/* No slot, and no bucket. */
#define NO_SLOT UINT32_MAX

/* The slot of the hash 0, whose word is 1 if it is known. */
static uint32_t zero_slot(const prefix_table *t) { return t->buckets * PREFIX_BUCKET; }
/* The beginning and the end of the order of use. */
static uint32_t head(const prefix_table *t) { return zero_slot(t) + 1; }

static size_t slots_of(uint32_t buckets) { return ((size_t)buckets + 1) * PREFIX_BUCKET; }
static size_t bytes_of_hashes(uint32_t buckets) {
    return sizeof(prefix_table) + slots_of(buckets) * sizeof(uint64_t);
}
static size_t bytes_of_links(uint32_t buckets) { return slots_of(buckets) * sizeof(prefix_link); }

static inline uint32_t home_of(const prefix_table *t, uint64_t hash) {
    return (uint32_t)((hash * t->multiplier >> 32) * t->buckets >> 32);
}

static inline uint32_t bucket_after(const prefix_table *t, uint32_t bucket) {
    return bucket + 1 == t->buckets ? 0 : bucket + 1;
}

/* How many buckets `to` is behind `from`. */
static uint32_t distance(const prefix_table *t, uint32_t from, uint32_t to) {
    return to >= from ? to - from : to + t->buckets - from;
}

static inline _Atomic uint64_t *bucket_at(const prefix_table *t, uint32_t bucket) {
    return (_Atomic uint64_t *)t->hashes + (size_t)bucket * PREFIX_BUCKET;
}

/* Whether a slot of the bucket has this hash. Without branches, because none could be predicted:
 * that would take longer than all the rest. */
static always_inline bool has_hash(_Atomic uint64_t *slots, uint64_t hash) {
    bool found = false;
    for (int i = 0; i < PREFIX_BUCKET; i++) found |= load_published(&slots[i]) == hash;
    return found;
}

/* The bucket of a hash other than 0, or NO_SLOT. */
static always_inline uint32_t bucket_of(const prefix_table *t, uint64_t hash) {
    uint32_t bucket = home_of(t, hash);
    for (uint32_t left = t->buckets; left != 0; left--, bucket = bucket_after(t, bucket)) {
        _Atomic uint64_t *slots = bucket_at(t, bucket);
        if (reg_likely(has_hash(slots, hash))) return bucket;
        if (load_published(&slots[PREFIX_BUCKET - 1]) == 0) break;
    }
    return NO_SLOT;
}

static always_inline bool is_known(const prefix_table *t, uint64_t hash) {
    if (reg_unlikely(hash == 0))
        return load_published(&((prefix_table *)t)->hashes[zero_slot(t)]) != 0;
    return bucket_of(t, hash) != NO_SLOT;
}

/* ---- the order of use, under LOCK ---- */

static void unlink_slot(prefix_table *t, uint32_t slot) {
    prefix_link *links = t->links, its = links[slot];
    links[its.newer].older = its.older;
    links[its.older].newer = its.newer;
}

static void link_as_newest(prefix_table *t, uint32_t slot) {
    prefix_link *links = t->links;
    uint32_t newest = links[head(t)].older;
    links[slot] = (prefix_link){.newer = head(t), .older = newest};
    links[newest].newer = slot;
    links[head(t)].older = slot;
}

/* ---- changes of a table, under LOCK ---- */

/* The slot of a hash, or NO_SLOT. */
static uint32_t slot_of(const prefix_table *t, uint64_t hash) {
    if (hash == 0) return is_known(t, hash) ? zero_slot(t) : NO_SLOT;
    uint32_t bucket = bucket_of(t, hash);
    if (bucket == NO_SLOT) return NO_SLOT;
    uint32_t slot = bucket * PREFIX_BUCKET;
    while (load_own(&((prefix_table *)t)->hashes[slot]) != hash) slot++;
    return slot;
}

/* The first slot of the bucket that has no hash; PREFIX_BUCKET if all have one. */
static uint32_t length_of(const prefix_table *t, uint32_t bucket) {
    uint32_t length = 0;
    while (length < PREFIX_BUCKET &&
           load_own(&((prefix_table *)t)->hashes[bucket * PREFIX_BUCKET + length]) != 0)
        length++;
    return length;
}

/* Puts a hash that is not in the table, which has room for it. */
static void put(prefix_table *t, uint64_t hash) {
    uint32_t slot = zero_slot(t);
    if (hash != 0) {
        uint32_t bucket = home_of(t, hash), length;
        while ((length = length_of(t, bucket)) == PREFIX_BUCKET) bucket = bucket_after(t, bucket);
        slot = bucket * PREFIX_BUCKET + length;
    }
    link_as_newest(t, slot);
    publish(&t->hashes[slot], hash != 0 ? hash : 1);
}

/* Moves the hash of a slot, and its place in the order, to a slot that has none in the order. */
static void move(prefix_table *t, uint32_t from, uint32_t to) {
    prefix_link its = t->links[from];
    t->links[to] = its;
    t->links[its.newer].older = to;
    t->links[its.older].newer = to;
    publish(&t->hashes[to], load_own(&t->hashes[from]));
}

static bool is_full(const prefix_table *t, uint32_t bucket) {
    return length_of(t, bucket) == PREFIX_BUCKET;
}

/* A slot behind the full bucket `hole` whose hash may be in that bucket, by II. NO_SLOT: there is
 * none. */
static uint32_t slot_to_fill(const prefix_table *t, uint32_t hole) {
    for (uint32_t bucket = bucket_after(t, hole);; bucket = bucket_after(t, bucket)) {
        uint32_t length = length_of(t, bucket), first = bucket * PREFIX_BUCKET;
        for (uint32_t slot = first; slot < first + length; slot++) {
            uint64_t hash = load_own(&((prefix_table *)t)->hashes[slot]);
            if (distance(t, home_of(t, hash), bucket) >= distance(t, hole, bucket)) return slot;
        }
        if (length < PREFIX_BUCKET) return NO_SLOT;
    }
}

/* Drops the hash of a slot. Others take its place, to keep I and II. */
static void drop(prefix_table *t, uint32_t slot) {
    unlink_slot(t, slot);
    if (slot == zero_slot(t)) {
        publish(&t->hashes[slot], 0);
        return;
    }
    for (uint32_t next; is_full(t, slot / PREFIX_BUCKET) &&
                        (next = slot_to_fill(t, slot / PREFIX_BUCKET)) != NO_SLOT;
         slot = next)
        move(t, next, slot);
    uint32_t bucket = slot / PREFIX_BUCKET,
             last = bucket * PREFIX_BUCKET + length_of(t, bucket) - 1;
    if (slot != last) move(t, last, slot);
    publish(&t->hashes[last], 0);
}

/* ---- growth, under LOCK ---- */

static prefix_table *new_table(uint32_t room) {
    uint32_t buckets = room / AVERAGE + (room % AVERAGE != 0);
    prefix_table *t = memory_alloc_lines(bytes_of_hashes(buckets));
    if (t == NULL) return NULL;
    t->links = memory_alloc_lines(bytes_of_links(buckets));
    if (t->links == NULL) {
        memory_free(t);
        return NULL;
    }
    t->multiplier = random_seed() | 1;
    t->buckets = buckets;
    t->room = room;
    t->links[head(t)] = (prefix_link){head(t), head(t)};
    return t;
}

static void put_all(prefix_table *t, const prefix_table *old) {
    for (uint32_t slot = old->links[head(old)].newer; slot != head(old);
         slot = old->links[slot].newer)
        put(t, slot == zero_slot(old) ? 0 : load_own(&((prefix_table *)old)->hashes[slot]));
}

/* The smallest of the sizes that tables have, the limit divided by powers of GROWTH, that is enough
 * for `blocks`. */
static uint32_t room_for(const prefix_index *index, uint64_t blocks) {
    uint32_t room = index->limit;
    while (room / GROWTH >= blocks && room / GROWTH >= SMALLEST_ROOM) room /= GROWTH;
    return room;
}

static bool has_final_size(const prefix_index *index, const prefix_table *t) {
    return t != NULL && t->room == index->limit;
}

/* Makes room for `extra` blocks, beside all known and promised ones. */
static bool reserve(prefix_index *index, uint32_t extra) {
    prefix_table *old = load_own(&index->table);
    uint64_t needed = index->known + index->promised + extra;
    if (has_final_size(index, old) || (old != NULL && old->room >= needed)) return true;
    prefix_table *t = new_table(room_for(index, needed));
    if (t == NULL) return false;
    size_t bytes =
        load_own(&index->bytes) + bytes_of_hashes(t->buckets) + bytes_of_links(t->buckets);
    if (old != NULL) {
        put_all(t, old);
        memory_free(old->links);
        old->links = NULL;
        bytes -= bytes_of_links(old->buckets);
    }
    t->replaced = old;
    publish(&index->table, t);
    publish(&index->bytes, bytes);
    return true;
}

/* ---- the index ---- */

prefix_index *prefix_index_new(uint64_t model, uint32_t limit) {
    prefix_index *index = memory_alloc_lines(sizeof *index);
    if (index == NULL) return NULL;
    index->model = model;
    index->limit = limit;
    store_private(&index->bytes, sizeof *index);
    return index;
}

void prefix_index_free(prefix_index *index) {
    prefix_table *t = index == NULL ? NULL : load_own(&index->table);
    while (t != NULL) {
        prefix_table *replaced = t->replaced;
        memory_free(t->links);
        memory_free(t);
        t = replaced;
    }
    memory_free(index);
}

static void destroy(epoch_node *node, epoch_release release) {
    (void)release;
    prefix_index_free(reg_container(node, prefix_index, node));
}

static size_t bytes_of_retired(const epoch_node *node) {
    return reg_container(node, prefix_index, node)->retired_bytes;
}

static const epoch_kind index_kind = {.bytes = bytes_of_retired, .destroy = destroy};

void prefix_index_retire(prefix_index *index, epoch_limbo *limbo) {
    index->retired_bytes = prefix_index_bytes(index);
    epoch_retire(limbo, &index->node, &index_kind);
}

/* So many blocks ahead, a line is fetched: in a busy fleet few of them are in the nearest cache. */
enum { AHEAD = 8 };

static always_inline void fetch(const prefix_table *t, const uint64_t *blocks, size_t count) {
    for (size_t i = 0; i < count; i++)
        __builtin_prefetch((const void *)bucket_at(t, home_of(t, blocks[i])));
}

size_t prefix_index_count(prefix_index *index, const uint64_t *blocks, size_t count) {
    const prefix_table *t = load_published(&index->table);
    size_t known = 0;
    if (t == NULL) return 0;
    fetch(t, blocks, count < AHEAD ? count : AHEAD);
    for (; known < count && is_known(t, blocks[known]); known++)
        if (count - known > AHEAD) fetch(t, blocks + known + AHEAD, 1);
    return known;
}

/* No prompt can make more blocks known than that. */
static uint32_t within_limit(const prefix_index *index, size_t count) {
    return count < index->limit ? (uint32_t)count : index->limit;
}

bool prefix_index_promise(prefix_index *index, size_t count, uint32_t *promised) {
    uint32_t extra = within_limit(index, count);
    *promised = 0;
    if (has_final_size(index, load_published(&index->table))) return true;
    prefix_lock(index);
    bool has_room = reserve(index, extra);
    if (has_room) index->promised += *promised = extra;
    prefix_unlock(index);
    return has_room;
}

void prefix_index_forgo(prefix_index *index, uint32_t promised) {
    if (promised == 0) return;
    prefix_lock(index);
    index->promised -= promised;
    prefix_unlock(index);
}

/* Makes a block the most recently used one. */
static void touch(prefix_index *index, uint64_t block) {
    prefix_table *t = load_own(&index->table);
    uint32_t slot = slot_of(t, block);
    if (slot != NO_SLOT) {
        unlink_slot(t, slot);
        link_as_newest(t, slot);
        return;
    }
    if (index->known == index->limit) {
        drop(t, t->links[head(t)].newer);
        index->known--;
    }
    REG_CONTRACT(index->known < t->room, "blocks are noted that have no place");
    put(t, block);
    index->known++;
}

/* Fetches the lines of a block: its bucket, and the links of the slots there. */
static always_inline void fetch_to_write(const prefix_table *t, uint64_t block) {
    uint32_t bucket = home_of(t, block);
    __builtin_prefetch((const void *)bucket_at(t, bucket), 1);
    __builtin_prefetch(t->links + (size_t)bucket * PREFIX_BUCKET, 1);
}

static void touch_all(prefix_index *index, const uint64_t *blocks, size_t count) {
    const prefix_table *t = load_own(&index->table);
    for (size_t i = 0; i < AHEAD && i < count; i++) fetch_to_write(t, blocks[count - 1 - i]);
    while (count-- != 0) {
        if (count >= AHEAD) fetch_to_write(t, blocks[count - AHEAD]);
        touch(index, blocks[count]);
    }
}

void prefix_index_note(prefix_index *index, const uint64_t *blocks, size_t count,
                       uint32_t promised) {
    prefix_lock(index);
    touch_all(index, blocks, count);
    index->promised -= promised;
    prefix_unlock(index);
}

static void drop_all(prefix_index *index, const uint64_t *blocks, size_t count) {
    prefix_table *t = load_own(&index->table);
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = slot_of(t, blocks[i]);
        if (slot == NO_SLOT) continue;
        drop(t, slot);
        index->known--;
    }
}

bool prefix_index_correct(prefix_index *index, const uint64_t *blocks, size_t count, size_t known,
                          _Atomic uint64_t *word, uint64_t value) {
    prefix_lock(index);
    bool has_room = reserve(index, within_limit(index, known));
    if (has_room) {
        if (value < load_own(word)) drop_all(index, blocks + known, count - known);
        touch_all(index, blocks, known);
        publish(word, value);
    }
    prefix_unlock(index);
    return has_room;
}
