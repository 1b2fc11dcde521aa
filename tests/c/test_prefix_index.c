/* The index of known blocks: a plain list as its oracle, and readers beside writers. */
#include "store/prefix_map.h"

#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "reclaim/reclaim.h"

/* ---- the oracle: an array, the least recently used block first ---- */

enum { MOST = 512 };

typedef struct oracle {
    uint64_t blocks[MOST + 1];
    size_t known, limit;
} oracle;

static size_t place_in(const oracle *o, uint64_t block) {
    size_t i = 0;
    while (i < o->known && o->blocks[i] != block) i++;
    return i;
}

static void oracle_drop(oracle *o, size_t place) {
    if (place == o->known) return;
    o->known--;
    memmove(o->blocks + place, o->blocks + place + 1, (o->known - place) * sizeof *o->blocks);
}

static void oracle_note(oracle *o, const uint64_t *blocks, size_t count) {
    while (count-- != 0) {
        oracle_drop(o, place_in(o, blocks[count]));
        o->blocks[o->known++] = blocks[count];
        if (o->known > o->limit) oracle_drop(o, 0);
    }
}

static void oracle_correct(oracle *o, const uint64_t *blocks, size_t count, size_t known) {
    for (size_t i = known; i < count; i++) oracle_drop(o, place_in(o, blocks[i]));
    oracle_note(o, blocks, known);
}

static size_t oracle_count(const oracle *o, const uint64_t *blocks, size_t count) {
    size_t known = 0;
    while (known < count && place_in(o, blocks[known]) != o->known) known++;
    return known;
}

static void note(prefix_index *index, const uint64_t *blocks, size_t count) {
    uint32_t promised;
    CHECK(prefix_index_promise(index, count, &promised));
    prefix_index_note(index, blocks, count, promised);
}

static bool correct(prefix_index *index, const uint64_t *blocks, size_t count, size_t known) {
    _Atomic uint64_t word = 3; /* so the others are dropped */
    bool is_corrected = prefix_index_correct(index, blocks, count, known, &word, 2);
    CHECK(word == (is_corrected ? 2 : 3));
    return is_corrected;
}

static bool knows(prefix_index *index, uint64_t block) {
    return prefix_index_count(index, &block, 1) == 1;
}

/* Whether the order of use and all links are those of the oracle. */
static void check_order(const prefix_index *index, const oracle *o) {
    const prefix_table *t = index->table;
    CHECK(index->known == o->known && index->promised == 0);
    if (t == NULL) return;
    uint32_t zero = t->buckets * PREFIX_BUCKET, head = zero + 1, slot = head;
    for (size_t i = 0; i < o->known; i++) {
        uint32_t newer = t->links[slot].newer;
        CHECK(t->links[newer].older == slot);
        slot = newer;
        CHECK(o->blocks[i] == (slot == zero ? 0 : t->hashes[slot]));
    }
    CHECK(t->links[slot].newer == head && t->links[head].older == slot);
    size_t filled = 0;
    for (uint32_t i = 0; i <= zero; i++) filled += t->hashes[i] != 0;
    CHECK(filled == o->known);
}

/* ---- one thread ---- */

static long least_recently_used_goes(void) {
    prefix_index *index = prefix_index_new(1, 4);
    note(index, (uint64_t[]){1, 2, 3}, 3);
    note(index, (uint64_t[]){4}, 1);
    CHECK(prefix_index_count(index, (uint64_t[]){1, 2, 3, 4}, 4) == 4);
    note(index, (uint64_t[]){1, 2}, 2); /* from the oldest on: 3, 4, 2, 1 */
    note(index, (uint64_t[]){5}, 1);
    CHECK(!knows(index, 3) && knows(index, 4));
    note(index, (uint64_t[]){6}, 1);
    CHECK(!knows(index, 4) && prefix_index_count(index, (uint64_t[]){1, 2, 5, 6}, 4) == 4);
    note(index, (uint64_t[]){7}, 1); /* the deepest block of a prompt goes before its first one */
    CHECK(prefix_index_count(index, (uint64_t[]){1, 2}, 2) == 1);
    prefix_index_free(index);
    return 6;
}

static long a_prompt_longer_than_the_limit(void) {
    uint64_t blocks[9];
    prefix_index *index = prefix_index_new(1, 4);
    for (uint64_t i = 0; i < 9; i++) blocks[i] = i + 10;
    note(index, blocks, 9);
    CHECK(prefix_index_count(index, blocks, 9) == 4);
    CHECK(index->known == 4);
    CHECK(correct(index, blocks, 9, 9));
    CHECK(prefix_index_count(index, blocks, 9) == 4);
    CHECK(correct(index, blocks, 9, 0));
    CHECK(index->known == 0);
    prefix_index_free(index);
    return 9;
}

static long every_number_is_a_block(void) {
    static const uint64_t special[] = {0, 1, UINT64_MAX, (uint64_t)1 << 63, UINT64_MAX - 1};
    enum { COUNT = sizeof special / sizeof *special };
    long checked = 0;
    for (size_t first = 0; first < COUNT; first++) {
        prefix_index *index = prefix_index_new(1, 2);
        CHECK(prefix_index_count(index, special, COUNT) == 0);
        for (size_t i = first; i < first + 2 * COUNT; i++, checked++) {
            note(index, &special[i % COUNT], 1);
            for (size_t j = 0; j < COUNT; j++)
                CHECK(knows(index, special[j]) ==
                      (j == i % COUNT || (i > first && j == (i - 1) % COUNT)));
        }
        CHECK(correct(index, &special[(first + COUNT - 1) % COUNT], 1, 0));
        CHECK(index->known == 1);
        prefix_index_free(index);
    }
    return checked;
}

/* A number whose home is near the first bucket of the index's present table. */
static uint64_t crafted(const prefix_index *index, unsigned *seed) {
    const prefix_table *t = index->table;
    uint64_t drawn = (uint64_t)rand_r(seed) % 64, inverse;
    if (t == NULL || t->buckets < 4) return drawn;
    inverse = t->multiplier; /* Newton's iteration: each round doubles the correct bits */
    for (int round = 0; round < 5; round++) inverse *= 2 - t->multiplier * inverse;
    uint64_t top = ((drawn % 4 + t->buckets - 2) % t->buckets << 32) / t->buckets + 1;
    return (top << 32 | drawn) * inverse;
}

static uint64_t any_block(const prefix_index *index, unsigned *seed) {
    switch (rand_r(seed) % 8) {
    case 0: return (uint64_t)rand_r(seed) % 3 - 1;
    case 1:
    case 2: return crafted(index, seed);
    case 3: return random_mix((uint64_t)rand_r(seed) % (2 * MOST));
    default: return random_mix((uint64_t)rand_r(seed) % 64);
    }
}

static long like_the_oracle(void) {
    static const size_t limits[] = {1, 2, 4, 7, 39, 41, 160, 200, MOST};
    static oracle o;
    uint64_t blocks[MOST];
    long checked = 0;
    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
        unsigned seed = (unsigned)l + 16 * test_round;
        prefix_index *index = prefix_index_new(1, (uint32_t)limits[l]);
        o = (oracle){.limit = limits[l]};
        for (int step = 0; step < 4000; step++, checked++) {
            size_t count = (size_t)rand_r(&seed) % (step % 50 == 49 ? MOST : 12);
            for (size_t i = 0; i < count; i++) blocks[i] = any_block(index, &seed);
            size_t known = count == 0 ? 0 : (size_t)rand_r(&seed) % (count + 1);
            if (rand_r(&seed) % 3 == 0) {
                CHECK(correct(index, blocks, count, known));
                oracle_correct(&o, blocks, count, known);
            } else {
                note(index, blocks, count);
                oracle_note(&o, blocks, count);
            }
            check_order(index, &o);
            for (size_t i = 0; i < count; i++) blocks[i] = any_block(index, &seed);
            CHECK(prefix_index_count(index, blocks, count) == oracle_count(&o, blocks, count));
            for (size_t i = 0; i < count; i++)
                CHECK(knows(index, blocks[i]) == (place_in(&o, blocks[i]) != o.known));
        }
        prefix_index_free(index);
    }
    return checked;
}

/* ---- memory ---- */

static bool refuse(void) { return false; }

/* Whoever has a promise can note, even if others have noted meanwhile and memory is out. */
static long promises_are_kept(void) {
    enum { LIMIT = 4096, PROMPT = 40, PROMPTS = 64 };
    static uint64_t blocks[PROMPTS][PROMPT];
    uint32_t promised[PROMPTS];
    prefix_index *index = prefix_index_new(1, LIMIT);
    for (uint64_t p = 0; p < PROMPTS; p++) {
        for (uint64_t i = 0; i < PROMPT; i++) blocks[p][i] = random_mix(p * PROMPT + i + 1);
        CHECK(prefix_index_promise(index, PROMPT, &promised[p]));
    }
    memory_set_gate(refuse);
    for (int p = 0; p < PROMPTS; p++)
        if (p % 2 == 0)
            prefix_index_forgo(index, promised[p]);
        else
            prefix_index_note(index, blocks[p], PROMPT, promised[p]);
    memory_set_gate(NULL);
    for (int p = 0; p < PROMPTS; p++)
        CHECK(prefix_index_count(index, blocks[p], PROMPT) == (p % 2 == 0 ? 0 : PROMPT));
    CHECK(index->known == PROMPTS / 2 * PROMPT && index->promised == 0);
    prefix_index_free(index);
    return PROMPTS;
}

/* A prompt whose last block is known. Without memory it gets no promise, and cannot be corrected to
 * lose that block and have all others. */
static long without_memory_nothing_changes(void) {
    enum { COUNT = 400 };
    uint64_t blocks[COUNT];
    uint32_t promised;
    long refused = 0;
    prefix_index *index = prefix_index_new(1, 10 * COUNT);
    for (uint64_t i = 0; i < COUNT; i++) blocks[i] = random_mix(i);
    for (size_t last = 0; last < COUNT; last++) {
        note(index, &blocks[last], 1);
        memory_set_gate(refuse);
        bool is_promised = prefix_index_promise(index, last + 1, &promised);
        if (is_promised) prefix_index_forgo(index, promised);
        bool is_corrected = correct(index, blocks, last + 1, last);
        memory_set_gate(NULL);
        CHECK(index->promised == 0 && index->known == (is_corrected ? last : 1));
        CHECK(knows(index, blocks[last]) == !is_corrected);
        refused += !is_promised + !is_corrected;
        CHECK(is_corrected || correct(index, blocks, last + 1, last));
        CHECK(index->known == last);
        CHECK(correct(index, blocks, COUNT, 0) && index->known == 0);
    }
    CHECK(refused == 6); /* of places beyond 62 and 250, the first sizes of the table */
    prefix_index_free(index);
    memory_set_gate(refuse);
    CHECK(prefix_index_new(1, 4) == NULL);
    memory_set_gate(NULL);
    return refused;
}

/* What the index says about its size. */
static size_t bytes_of(const prefix_index *index) {
    size_t bytes = sizeof *index;
    for (const prefix_table *t = index->table; t != NULL; t = t->replaced) {
        size_t slots = ((size_t)t->buckets + 1) * PREFIX_BUCKET;
        bytes += sizeof *t + slots * sizeof(uint64_t);
        if (t->links != NULL) bytes += slots * sizeof(prefix_link);
    }
    return bytes;
}

/* Memory grows with what is noted, and not beyond 32 bytes for each block of the limit. */
static long memory_is_bounded(void) {
    enum { LIMIT = 16384 };
    prefix_index *index = prefix_index_new(1, LIMIT);
    CHECK(prefix_index_bytes(index) == sizeof *index);
    for (uint64_t i = 0; i < 3 * LIMIT; i++) {
        uint64_t block = random_mix(i + 1);
        note(index, &block, 1);
        CHECK(prefix_index_bytes(index) == bytes_of(index));
        CHECK(prefix_index_bytes(index) < 4096 + 32 * 4 * (size_t)(i + 1));
    }
    CHECK(index->known == LIMIT && prefix_index_bytes(index) < 32 * LIMIT);
    prefix_index_free(index);
    return 3 * LIMIT;
}

/* ---- many threads ---- */

enum { PROMPT = 12, PROMPTS = 24, ROUNDS = 3000, WRITERS = 3, READERS = 3 };

static prefix_index *shared;
static uint64_t prompts[WRITERS][PROMPTS][PROMPT];
/* Odd from before a prompt is noted until it has been dropped. */
static _Atomic uint32_t phases[WRITERS][PROMPTS];
static _Atomic int writing;

/* A writer's prompts have no block in common with those of others. */
static void *write_prompts(void *argument) {
    size_t w = (size_t)(uintptr_t)argument;
    unsigned seed = (unsigned)w + 1 + 16 * test_round;
    for (int round = 0; round < ROUNDS; round++) {
        size_t p = (size_t)rand_r(&seed) % PROMPTS;
        uint64_t *blocks = prompts[w][p];
        if (phases[w][p] % 2 == 0) {
            phases[w][p]++;
            note(shared, blocks, PROMPT);
            CHECK(prefix_index_count(shared, blocks, 1) <= 1);
        } else if (rand_r(&seed) % 2) {
            CHECK(correct(shared, blocks, PROMPT, 0));
            phases[w][p]++;
        } else {
            CHECK(correct(shared, blocks, PROMPT, PROMPT / 2));
        }
    }
    writing--;
    return NULL;
}

static void *read_prompts(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument + 1000 + 16 * test_round;
    long read = 0;
    for (; writing != 0 || read == 0; read++) {
        size_t w = (size_t)rand_r(&seed) % WRITERS, p = (size_t)rand_r(&seed) % PROMPTS;
        uint32_t before = phases[w][p];
        size_t known = prefix_index_count(shared, prompts[w][p], PROMPT);
        CHECK(known == 0 || before % 2 == 1 || phases[w][p] != before);
    }
    return (void *)(uintptr_t)read;
}

/* With a limit that all fit into, and with one that makes them drop each other's blocks. */
static long readers_beside_writers(void) {
    static const uint32_t limits[] = {WRITERS * PROMPTS * PROMPT, 64};
    long reads = 0;
    for (int l = 0; l < 2; l++) {
        pthread_t threads[WRITERS + READERS];
        shared = prefix_index_new(1, limits[l]);
        writing = WRITERS;
        for (size_t w = 0; w < WRITERS; w++)
            for (size_t p = 0; p < PROMPTS; p++)
                for (size_t i = 0; i < PROMPT; i++)
                    prompts[w][p][i] = random_mix((w * PROMPTS + p) * PROMPT + i + 1);
        memset(phases, 0, sizeof phases);
        for (size_t i = 0; i < WRITERS + READERS; i++)
            CHECK(pthread_create(&threads[i], NULL, i < WRITERS ? write_prompts : read_prompts,
                                 (void *)i) == 0);
        for (size_t i = 0; i < WRITERS + READERS; i++) {
            void *read;
            CHECK(pthread_join(threads[i], &read) == 0);
            reads += (long)(uintptr_t)read;
        }
        CHECK(shared->promised == 0 && shared->known <= limits[l]);
        for (size_t w = 0; w < WRITERS && l == 0; w++)
            for (size_t p = 0; p < PROMPTS; p++) {
                size_t known = prefix_index_count(shared, prompts[w][p], PROMPT);
                CHECK(phases[w][p] % 2 == 0 ? known == 0 : known == PROMPT || known == PROMPT / 2);
            }
        prefix_index_free(shared);
    }
    return reads;
}

enum { GROWING = 300 };

static prefix_index *growing[GROWING];
static _Atomic int grown;

static void *read_growing(void *argument) {
    const uint64_t *blocks = argument;
    long read = 0;
    for (int i; (i = grown) < GROWING; read++)
        CHECK(prefix_index_count(growing[i], blocks, PROMPT) <= PROMPT);
    return (void *)(uintptr_t)read;
}

/* Tables are replaced all the time while a reader uses them. */
static long a_reader_beside_growth(void) {
    pthread_t reader;
    void *read;
    uint64_t blocks[1000];
    for (uint64_t i = 0; i < 1000; i++) blocks[i] = random_mix(i + 1);
    for (int i = 0; i < GROWING; i++) growing[i] = prefix_index_new(1, 3000);
    grown = 0;
    CHECK(pthread_create(&reader, NULL, read_growing, blocks) == 0);
    for (int i = 0; i < GROWING; i++, grown++)
        for (size_t first = 0; first < 1000; first += 10) {
            note(growing[i], blocks + first, 10);
            CHECK(prefix_index_count(growing[i], blocks, 1000) == first + 10);
        }
    CHECK(pthread_join(reader, &read) == 0);
    for (int i = 0; i < GROWING; i++) prefix_index_free(growing[i]);
    return (long)(uintptr_t)read;
}

/* ---- the map from models to indexes ---- */

static long models_that_come_and_go(void) {
    enum { MODELS = 60, STEP = 16 }; /* some have the same slot */
    static epoch_limbo limbo;
    contract_enter_writer(&limbo);
    prefix_map_place place = NULL;
    prefix_index *expected[MODELS + 1] = {NULL};
    unsigned seed = 16 * test_round + 1;
    for (int step = 0; step < 20000; step++) {
        uint64_t model = (uint64_t)rand_r(&seed) % MODELS + 1, number = model * STEP;
        /* For a time they become more, and then fewer. */
        if (rand_r(&seed) % 4 < (step / 500 % 2 == 0 ? 3 : 1)) {
            prefix_index *index = prefix_map_ensure(&place, number, 4);
            CHECK(index != NULL && index->model == number);
            CHECK(expected[model] == NULL || expected[model] == index);
            expected[model] = index;
        } else {
            prefix_map_retire_locked(&place, number, &limbo);
            expected[model] = NULL;
        }
        size_t bytes = 0;
        for (uint64_t i = 1; i <= MODELS; i++) {
            CHECK(prefix_map_get(&place, i * STEP) == expected[i]);
            if (expected[i] != NULL) bytes += prefix_index_bytes(expected[i]);
        }
        CHECK(prefix_map_bytes_locked(&place) >= bytes);
        CHECK(prefix_map_bytes_locked(&place) < bytes + 4096);
        if (step % 100 == 0) reclaim_destroy(epoch_collect_now(&limbo), NULL);
    }
    prefix_map_retire_all_locked(&place, &limbo);
    for (uint64_t i = 1; i <= MODELS; i++) CHECK(prefix_map_get(&place, i * STEP) == NULL);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    prefix_map_free(place);
    contract_leave_writer(&limbo);
    return 20000;
}

const test prefix_index_tests[] = {
    {"prefix index: the least recently used goes", least_recently_used_goes},
    {"prefix index: more blocks than the limit", a_prompt_longer_than_the_limit},
    {"prefix index: every number is a block", every_number_is_a_block},
    {"prefix index: like the oracle", like_the_oracle},
    {"prefix index: promises are kept", promises_are_kept},
    {"prefix index: out of memory", without_memory_nothing_changes},
    {"prefix index: memory is bounded", memory_is_bounded},
    {"prefix index: readers beside writers", readers_beside_writers},
    {"prefix index: a reader beside growth", a_reader_beside_growth},
    {"prefix map: models that come and go", models_that_come_and_go},
    {0}};
