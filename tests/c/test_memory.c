/* Makes each allocation of each operation fail. Then nothing has changed, and the next call
 * succeeds. */
#include "base/memory.h"
#include "check.h"
#include "client.h"

static long allowed; /* how many more allocations succeed */

static bool count_down(void) { return allowed-- > 0; }

static reg_registry *new_fleet(void) {
    reg_registry *reg = reg_new(NULL);
    char id[8];
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof id, "b%d", i);
        CHECK(client_add(reg, &(offer){.id = id, .models = {"m"}}, i) == REG_OK);
    }
    return reg;
}

/* A hash of the visible contents of a registry. */
static unsigned long fingerprint(reg_registry *reg) {
    unsigned long sum = 0;
    int numbers[64];
    const char *models[] = {NULL, "m", "n", "o"};
    for (int k = 0; k < 4; k++) {
        size_t count = client_query(reg, models[k], numbers, 64);
        for (size_t i = 0; i < count; i++) sum = sum * 31 + (unsigned)numbers[i] + 1;
        sum = sum * 31 + count;
    }
    reg_key instance = key_of("i"), url = key_of("http://new");
    reg_reader *reader = reg_read_begin();
    sum = sum * 31 + (reg_find_by_instance(reg, &instance) != NULL);
    reg_read_end(reader);
    return ((sum * 31 + (reg_has_url(reg, &url) == REG_OK)) * 31 + reg_backend_count(reg)) * 31 +
           reg_model_count(reg);
}

typedef reg_status (*operation)(reg_registry *reg);

static reg_status add_new(reg_registry *reg) {
    return client_add(reg, &(offer){"new", "http://new", "i", {"m", "n", "o"}, .context_length = 2},
                      99);
}
static reg_status redefine_one(reg_registry *reg) {
    return client_redefine(reg, &(offer){"b3", NULL, "i", {"n", "o", "m"}, .context_length = 3},
                           98);
}
static reg_status remove_one(reg_registry *reg) { return client_remove(reg, "b2", NULL); }
static reg_status check_health(reg_registry *reg) {
    return client_health(reg, "b1", REG_HEALTHY, 5);
}
static reg_status query(reg_registry *reg) {
    reg_views views;
    reg_reader *reader = reg_read_begin();
    reg_status status = reg_get_all(reg, false, &views);
    reg_read_end(reader);
    reg_views_free(&views);
    return status;
}
static reg_status bulk(reg_registry *reg) {
    reg_key id = key_of("b1");
    uint32_t value;
    bool at_zero;
    return reg_increment_pending_many(
        reg, &(reg_batch){.ids = &id, .count = 1, .values = &value, .at_zero = &at_zero});
}
static reg_status acquire_by(reg_registry *reg, reg_policy policy) {
    reg_request request = client_request("m", policy);
    reg_lease lease = {0};
    reg_refusal refusal;
    request.allow_unknown = true;
    reg_status status = reg_acquire(reg, &request, &lease, &refusal);
    if (status == REG_OK) CHECK(lease.kept != NULL && client_return(&lease, NULL));
    for (int i = 0; i < 6; i++)
        CHECK(client_in_flight(reg, (char[]){'b', (char)('0' + i), 0}) == 0);
    return status;
}
/* A thread's first lease in a generation allocates its reservation. */
static reg_status acquire(reg_registry *reg) { return acquire_by(reg, REG_LEAST_PENDING); }
/* A model's first ROUND_ROBIN choice allocates its table of turns. */
static reg_status acquire_round_robin(reg_registry *reg) {
    return acquire_by(reg, REG_ROUND_ROBIN);
}
/* A refusal allocates its list of reasons. */
static reg_status acquire_refused(reg_registry *reg) {
    reg_request request = client_request("m", REG_PRIORITY);
    reg_lease lease = {0};
    reg_refusal refusal;
    reg_status status = reg_acquire(reg, &request, &lease, &refusal);
    if (status != REG_NONE_AVAILABLE) return status;
    CHECK(refusal.count == reg_backend_count(reg));
    reg_refusal_drop(&refusal, object_release);
    return REG_OK;
}
static reg_status explain(reg_registry *reg) {
    reg_request request = client_request("m", REG_SMART);
    reg_candidates found;
    reg_reader *reader = reg_read_begin();
    reg_status status = reg_explain(reg, &request, &found);
    reg_read_end(reader);
    reg_candidates_free(&found);
    return status;
}

static long every_allocation_fails_once(void) {
    const operation operations[] = {add_new, redefine_one, remove_one,          check_health,
                                    query,   bulk,         acquire_round_robin, acquire_refused,
                                    explain, acquire};
    long failures = 0;
    for (size_t k = 0; k < sizeof operations / sizeof *operations; k++) {
        for (long n = 0;; n++) {
            reg_registry *reg = new_fleet();
            unsigned long before = fingerprint(reg);
            allowed = n;
            memory_set_gate(count_down);
            reg_status status = operations[k](reg);
            memory_set_gate(NULL);
            CHECK(status == REG_OK || status == REG_NO_MEMORY);
            bool changed = fingerprint(reg) != before;
            if (status == REG_NO_MEMORY) {
                CHECK(!changed);
                failures++;
                CHECK(operations[k](reg) == REG_OK);
            }
            client_free(reg);
            if (status == REG_OK) break;
        }
    }
    CHECK(failures > 20);
    return failures;
}

static long a_new_registry_without_memory(void) {
    long n = 0;
    for (;; n++) {
        allowed = n;
        memory_set_gate(count_down);
        reg_registry *reg = reg_new(NULL);
        memory_set_gate(NULL);
        if (reg == NULL) continue;
        client_free(reg);
        return n;
    }
}

const test memory_tests[] = {
    {"memory: every allocation fails once", every_allocation_fails_once},
    {"memory: a new registry, out of memory", a_new_registry_without_memory},
    {0}};
