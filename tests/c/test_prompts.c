/* Choices with a prefix: memory that runs out, memory that is freed, and writers beside them. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "client.h"

enum { BLOCK_TOKENS = 512 };

static reg_request prompt(const char *model, const uint64_t *blocks, size_t count) {
    reg_request request = client_request(model, REG_LEAST_TOKENS);
    request.tokens = 1000000;
    request.prefix = blocks;
    request.prefix_count = count;
    return request;
}

/* How many of the first blocks some backend of the model is known to have. Notes nothing. */
static size_t known(reg_registry *reg, const char *model, const uint64_t *blocks, size_t count) {
    reg_lease lease;
    CHECK(client_acquire(reg, prompt(model, blocks, count), &lease) >= 0);
    uint64_t cached = reg_lease_cached_tokens(&lease);
    CHECK(reg_lease_tokens(&lease) == 1000000 - cached);
    /* As if it had assumed more, so the blocks after these are dropped. */
    CHECK(reg_lease_set_cached_tokens(&lease, UINT32_MAX) == REG_OK);
    CHECK(reg_lease_set_cached_tokens(&lease, (uint32_t)cached) == REG_OK);
    CHECK(client_return(&lease, NULL));
    return cached / BLOCK_TOKENS;
}

/* ---- memory ---- */

static long allowed; /* how many more allocations succeed */

static bool count_down(void) { return allowed-- > 0; }

/* A request gets a lease and notes its blocks, or has changed nothing. */
static long acquiring_without_memory(void) {
    enum { COUNT = 300 };
    uint64_t blocks[COUNT];
    long failures = 0;
    for (uint64_t i = 0; i < COUNT; i++) blocks[i] = random_mix(i);
    for (int has_index = 0; has_index < 2; has_index++) {
        for (long n = 0;; n++) {
            reg_registry *reg = client_fleet(1, NULL);
            if (has_index) CHECK(known(reg, "m", blocks, 1) == 0);
            reg_request request = prompt("m", blocks, COUNT);
            reg_lease lease = {0};
            reg_refusal refusal;
            allowed = n;
            memory_set_gate(count_down);
            reg_status status = reg_acquire(reg, &request, &lease, &refusal);
            memory_set_gate(NULL);
            CHECK(status == REG_OK || status == REG_NO_MEMORY);
            CHECK(client_in_flight(reg, "b0") == (status == REG_OK));
            if (status == REG_OK) CHECK(client_return(&lease, NULL));
            CHECK(known(reg, "m", blocks, COUNT) == (status == REG_OK ? COUNT : 0));
            client_free(reg);
            if (status == REG_OK) break;
            failures++;
        }
    }
    /* Of the lease's blocks, the reservation, the outcomes, the index, the map and its table. */
    CHECK(failures >= 8);
    return failures;
}

static long correcting_without_memory(void) {
    enum { COUNT = 300 };
    uint64_t blocks[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) blocks[i] = random_mix(i);
    reg_registry *reg = client_fleet(1, NULL);
    reg_lease lease;
    CHECK(client_acquire(reg, prompt("m", blocks, COUNT), &lease) == 0);
    CHECK(reg_lease_blocks(&lease) == COUNT);
    CHECK(reg_lease_set_cached_tokens(&lease, UINT32_MAX) == REG_OK);
    CHECK(reg_lease_set_cached_tokens(&lease, 3) == REG_OK);
    CHECK(reg_lease_cached_tokens(&lease) == 3);
    CHECK(client_return(&lease, NULL));
    CHECK(reg_lease_set_cached_tokens(&lease, 4) == REG_NOT_FOUND);
    CHECK(known(reg, "m", blocks, COUNT) == 0);
    client_free(reg);
    return 1;
}

/* ---- what takes long ---- */

static reg_status try_briefly(reg_registry *reg, const uint64_t *blocks, size_t count,
                              reg_policy policy) {
    reg_request request = prompt("m", blocks, count);
    reg_lease lease = {0};
    reg_refusal refusal;
    request.policy = policy;
    request.may_block = false;
    reg_status status = reg_acquire(reg, &request, &lease, &refusal);
    if (status == REG_OK) CHECK(client_return(&lease, NULL));
    return status;
}

static long a_brief_choice_reads_few_blocks(void) {
    uint64_t blocks[257];
    for (uint64_t i = 0; i < 257; i++) blocks[i] = i;
    reg_registry *one = client_fleet(1, NULL);
    CHECK(try_briefly(one, blocks, 256, REG_LEAST_TOKENS) == REG_OK);
    CHECK(try_briefly(one, blocks, 257, REG_LEAST_TOKENS) == REG_WOULD_BLOCK);
    CHECK(try_briefly(one, blocks, 257, REG_POWER_OF_TWO) == REG_WOULD_BLOCK);
    CHECK(known(one, "m", blocks, 257) == 256);
    client_free(one);
    reg_registry *many = client_fleet(64, NULL);
    CHECK(try_briefly(many, blocks, 64, REG_LEAST_TOKENS) == REG_OK);
    CHECK(try_briefly(many, blocks, 65, REG_LEAST_TOKENS) == REG_WOULD_BLOCK);
    CHECK(try_briefly(many, blocks, 65, REG_LEAST_PENDING) == REG_OK);
    client_free(many);
    return 6;
}

/* ---- models and registrations that go ---- */

static long models_that_go_are_forgotten(void) {
    uint64_t blocks[] = {1, 2, 3};
    char model[8];
    reg_registry *reg = client_fleet(1, NULL);
    CHECK(client_stats(reg).prefix_bytes == 0);
    size_t bytes = 0;
    for (int i = 0; i < 300; i++) {
        snprintf(model, sizeof model, "m%d", i % 7);
        CHECK(client_redefine(reg, &(offer){.id = "b0", .models = {model, "always"}}, i) == REG_OK);
        CHECK(known(reg, model, blocks, 3) == 0);
        reg_lease lease;
        CHECK(client_acquire(reg, prompt(model, blocks, 3), &lease) == i);
        CHECK(client_return(&lease, NULL));
        CHECK(known(reg, model, blocks, 3) == 3);
        CHECK(known(reg, "always", blocks, 1) == (i > 0));
        reg_lease other;
        CHECK(client_acquire(reg, prompt("always", blocks, 1), &other) == i);
        CHECK(client_return(&other, NULL));
        if (i == 0) bytes = client_stats(reg).prefix_bytes;
        CHECK(client_stats(reg).prefix_bytes == bytes);
    }
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    CHECK(client_stats(reg).prefix_bytes == 0);
    client_free(reg);
    return 300;
}

/* A lease of a registration that has gone, with its registry. */
static long leases_outlive_all(void) {
    uint64_t blocks[] = {1, 2, 3};
    reg_registry *reg = client_fleet(2, NULL);
    reg_lease leases[2];
    for (int i = 0; i < 2; i++) CHECK(client_acquire(reg, prompt("m", blocks, 3), &leases[i]) >= 0);
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    client_stats(reg);
    for (int i = 0; i < 2; i++)
        CHECK(reg_lease_set_cached_tokens(&leases[i], BLOCK_TOKENS) == REG_OK);
    reg_free(reg, object_release);
    for (int i = 0; i < 2; i++) {
        CHECK(reg_lease_set_cached_tokens(&leases[i], 3 * BLOCK_TOKENS) == REG_OK);
        CHECK(client_return(&leases[i], NULL));
    }
    CHECK(objects_alive == 0);
    return 2;
}

/* ---- many threads ---- */

enum { THREADS = 3, ROUNDS = 3000 };

static reg_registry *shared;
static _Atomic bool stop;

static void *request_prompts(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument + 16 * test_round;
    uint64_t blocks[40];
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = (size_t)rand_r(&seed) % 40 + 1;
        blocks[0] = (uint64_t)rand_r(&seed) % 8;
        for (size_t i = 1; i < count; i++) blocks[i] = random_mix(blocks[i - 1]);
        reg_request request = prompt(rand_r(&seed) % 2 ? "m" : "n", blocks, count);
        if (rand_r(&seed) % 3 == 0) request.policy = REG_ROUND_ROBIN;
        reg_lease lease;
        if (client_acquire(shared, request, &lease) < 0) continue;
        CHECK(reg_lease_cached_tokens(&lease) <= BLOCK_TOKENS * count);
        if (rand_r(&seed) % 2) {
            uint32_t cached = (uint32_t)rand_r(&seed) % 30000;
            CHECK(reg_lease_set_cached_tokens(&lease, cached) == REG_OK);
            CHECK(reg_lease_cached_tokens(&lease) == cached);
        }
        CHECK(client_return(&lease, NULL));
    }
    return NULL;
}

static void *change_the_fleet(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument + 16 * test_round;
    static const char *ids[] = {"b0", "b1", "b2"};
    for (int number = 10; !stop; number++) {
        offer o = {.id = ids[rand_r(&seed) % 3], .models = {"m", "n"}};
        if (rand_r(&seed) % 2) o.models[rand_r(&seed) % 2] = "o";
        if (rand_r(&seed) % 4 == 0) {
            client_remove(shared, o.id, NULL);
            client_add(shared, &o, number);
            client_health(shared, o.id, REG_HEALTHY, 0);
        } else {
            client_redefine(shared, &o, number);
        }
        client_stats(shared);
    }
    return NULL;
}

static long prompts_beside_changes(void) {
    pthread_t threads[THREADS + 1];
    shared = client_fleet(3, NULL);
    stop = false;
    for (size_t i = 0; i <= THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < THREADS ? request_prompts : change_the_fleet,
                             (void *)(i + 1)) == 0);
    for (size_t i = 0; i <= THREADS; i++) {
        if (i == THREADS) stop = true;
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    client_free(shared);
    return THREADS * ROUNDS;
}

const test prompt_tests[] = {
    {"prompts: acquiring without memory", acquiring_without_memory},
    {"prompts: correcting", correcting_without_memory},
    {"prompts: a brief choice reads few blocks", a_brief_choice_reads_few_blocks},
    {"prompts: models that go are forgotten", models_that_go_are_forgotten},
    {"prompts: leases outlive all", leases_outlive_all},
    {"prompts: beside changes", prompts_beside_changes},
    {0}};
