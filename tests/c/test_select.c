/* Choices of one thread: the preferences of each policy, the rotation of ties and turns, and the
 * lifetime of leases. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "check.h"
#include "choose/draw.h"
#include "choose/heat.h"
#include "client.h"
#include "registry/layout.h"

static long a_lease_counts_and_returns(void) {
    reg_registry *reg = client_fleet(1, NULL);
    reg_key id = key_of("b0");
    reg_lease lease;
    reg_view view;
    reg_aftermath after = {0};
    CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &lease) == 0);
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &view) == REG_OK && view.pending == 1 && view.total == 0);
    CHECK(reg_lease_release(&lease, REG_SUCCEEDED, &(uint32_t){250}, &after) && after.flags == 0);
    CHECK(!reg_lease_release(&lease, REG_SUCCEEDED, &(uint32_t){9999}, &after));
    CHECK(reg_get(reg, &id, &view) == REG_OK && view.pending == 0 && view.total == 1 &&
          view.latency == 250);
    reg_read_end(reader);
    reg_lease_drop(&lease, object_release);
    CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &lease) == 0);
    CHECK(reg_lease_release(&lease, REG_FAILED, NULL, &after) && after.flags == 0);
    reg_lease_drop(&lease, object_release);
    reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &view) == REG_OK && view.pending == 0 && view.total == 2 &&
          view.latency == 250);
    reg_read_end(reader);
    CHECK(client_acquire(reg, client_request("other", REG_LEAST_PENDING), &lease) == -1);
    client_free(reg);
    return 4;
}

static long a_lease_outlives_its_registration_and_the_registry(void) {
    reg_registry *reg = client_fleet(1, NULL);
    reg_lease old, fresh;
    CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &old) == 0);
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    CHECK(client_add(reg, &(offer){.id = "b0", .models = {"m"}}, 7) == REG_OK);
    CHECK(client_health(reg, "b0", REG_HEALTHY, -1) == REG_OK);
    CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &fresh) == 7);
    CHECK(client_return(&old, NULL));
    reg_key id = key_of("b0");
    reg_view view;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &view) == REG_OK && view.pending == 1 && view.total == 0);
    reg_read_end(reader);
    reg_free(reg, object_release);
    CHECK(object_of(fresh.definition)->number == 7);
    CHECK(client_return(&fresh, NULL));
    CHECK(objects_alive == 0);
    return 2;
}

static void collect_all(reg_registry *reg) {
    while (client_stats(reg).waiting != 0) {
    }
}

/* Replaces the definition of b0 in a new generation. */
static void redefine_later(reg_registry *reg, int number) {
    CHECK(client_health(reg, "b1", REG_HEALTHY, -1) == REG_OK);
    collect_all(reg);
    CHECK(client_redefine(reg, &(offer){.id = "b0", .models = {"m"}}, number) == REG_OK);
    collect_all(reg);
}

/* The definition of a lease outlives later definitions, the registration and the registry. The
 * record outlives the registration, although its last definition is younger than the lease. */
static long a_lease_keeps_what_it_was_chosen_by(void) {
    enum { LEASES = 8 };
    reg_lease leases[LEASES];
    reg_registry *reg = client_fleet(2, NULL);
    reg_request request = client_request("m", REG_LEAST_PENDING);
    request.exclude = (reg_key[]){key_of("b1")};
    request.exclude_count = 1;
    for (int i = 0; i < LEASES; i++) {
        CHECK(client_acquire(reg, request, &leases[i]) == i);
        redefine_later(reg, i + 1);
    }
    CHECK(client_stats(reg).kept == LEASES);
    CHECK(client_add(reg, &(offer){.id = "late", .models = {"m"}}, 99) == REG_OK);
    CHECK(client_remove(reg, "late", NULL) == REG_OK);
    collect_all(reg);
    CHECK(client_stats(reg).kept == LEASES); /* no lease is as old as that registration */
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    collect_all(reg);
    CHECK(client_stats(reg).kept == LEASES + 1); /* the record has one more definition */
    for (int i = 1; i < LEASES; i += 2) CHECK(client_return(&leases[i], NULL));
    CHECK(client_stats(reg).kept == LEASES / 2 + 1); /* what is younger than a lease is freed */
    reg_free(reg, object_release);
    for (int i = 0; i < LEASES; i += 2) {
        CHECK(object_of(leases[i].definition)->number == i);
        CHECK(client_return(&leases[i], NULL));
    }
    CHECK(objects_alive == 0);
    return LEASES;
}

static void *drop_lease(void *lease) {
    CHECK(client_return(lease, NULL));
    return NULL;
}

/* The last lease that keeps a record may be dropped by another thread, when its registration, its
 * registry and the thread that made it are gone. */
static long any_thread_drops_the_last_lease(void) {
    reg_registry *reg = client_fleet(1, NULL);
    reg_lease lease;
    pthread_t thread;
    CHECK(client_acquire(reg, client_request("m", REG_LEAST_PENDING), &lease) == 0);
    CHECK(client_remove(reg, "b0", NULL) == REG_OK);
    reg_free(reg, object_release);
    CHECK(objects_alive == 2); /* the definition and the id */
    CHECK(pthread_create(&thread, NULL, drop_lease, &lease) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(objects_alive == 0);
    return 1;
}

static pthread_barrier_t barrier;

static void *read_definition(void *reg) {
    reg_key id = key_of("b0");
    reg_view view;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &id, &view) == REG_OK);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* by now the definition is replaced and the registry freed */
    CHECK(object_of(view.definition)->number == 0);
    reg_read_end(reader);
    return NULL;
}

/* Nothing but the read keeps the definition: a lease would keep it too. */
static long a_registry_is_freed_while_it_is_read(void) {
    reg_registry *reg = client_fleet(1, NULL);
    pthread_t thread;
    CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, read_definition, reg) == 0);
    pthread_barrier_wait(&barrier);
    CHECK(client_redefine(reg, &(offer){.id = "b0", .models = {"m"}}, 5) == REG_OK);
    reg_free(reg, object_release);
    CHECK(objects_alive != 0);
    pthread_barrier_wait(&barrier);
    CHECK(pthread_join(thread, NULL) == 0 && pthread_barrier_destroy(&barrier) == 0);
    client_free(reg_new(NULL)); /* frees the nodes that the reader could still see */
    return 1;
}

static void by_weight(offer *o, int number) { o->weight = number == 0 ? 5 : 1; }

static long weighted_turns_are_smooth(void) {
    reg_registry *reg = client_fleet(3, by_weight);
    int counts[3] = {0}, longest = 0, run = 0;
    for (int i = 0; i < 70; i++) {
        int chosen = client_select(reg, client_request("m", REG_ROUND_ROBIN));
        run = chosen == 0 ? run + 1 : 0;
        if (run > longest) longest = run;
        counts[chosen]++;
        if (i % 7 == 6) CHECK(counts[0] == 5 * (i / 7 + 1) && counts[1] == i / 7 + 1);
    }
    /* Without smoothing, two rounds could choose backend 0 ten times in a row. Smooth turns choose
     * it at most 4 times in a row. */
    CHECK(longest <= 4);
    client_free(reg);
    return 70;
}

static long late_members_get_their_turns(void) {
    enum { COUNT = 300, CYCLES = 3 };
    reg_registry *reg = reg_new(NULL);
    static int counts[COUNT];
    char id[16];
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof id, "b%d", i);
        CHECK(client_add(reg, &(offer){.id = id, .models = {i % 5 != 0 ? "m" : "n"}}, i) == REG_OK);
        CHECK(client_health(reg, id, REG_HEALTHY, -1) == REG_OK);
    }
    for (int i = 0; i < 100; i++)
        CHECK(client_select(reg, client_request("m", REG_ROUND_ROBIN)) % 5 != 0);
    /* Every fifth backend joins the list late, although its serial is lower than those of other
     * members. */
    for (int i = 0; i < COUNT; i += 5) {
        snprintf(id, sizeof id, "b%d", i);
        CHECK(client_redefine(reg, &(offer){.id = id, .models = {"m"}}, i) == REG_OK);
    }
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < COUNT * CYCLES; i++)
        counts[client_select(reg, client_request("m", REG_ROUND_ROBIN))]++;
    for (int i = 0; i < COUNT; i++) CHECK(counts[i] >= CYCLES - 1 && counts[i] <= CYCLES + 1);
    client_free(reg);
    return COUNT * CYCLES;
}

static long loads_are_in_proportion_to_weights(void) {
    enum { LIGHT = 3, EACH = 5 };
    reg_registry *reg = client_fleet(LIGHT, NULL);
    reg_lease leases[LIGHT * EACH + 4 * EACH];
    int counts[LIGHT + 1] = {0}, held = 0;
    while (held < LIGHT)
        CHECK(counts[client_acquire(reg, client_request("m", REG_LEAST_PENDING),
                                    &leases[held++])]++ == 0);
    CHECK(client_add(reg, &(offer){.id = "heavy", .models = {"m"}, .weight = 4}, LIGHT) == REG_OK);
    CHECK(client_health(reg, "heavy", REG_HEALTHY, -1) == REG_OK);
    while (held < LIGHT * EACH + 4 * EACH)
        counts[client_acquire(reg, client_request("m", REG_LEAST_PENDING), &leases[held++])]++;
    for (int i = 0; i < LIGHT; i++) CHECK(counts[i] == EACH);
    CHECK(counts[LIGHT] == 4 * EACH);
    while (held > 0) CHECK(client_return(&leases[--held], NULL));
    client_free(reg);
    return LIGHT * EACH + 4 * EACH;
}

static long ties_rotate_while_the_fleet_changes(void) {
    enum { COUNT = 5, ROUNDS = 400 };
    reg_registry *reg = client_fleet(COUNT, NULL);
    int counts[COUNT + 1] = {0};
    for (int i = 0; i < COUNT * ROUNDS; i++) {
        counts[client_select(reg, client_request("m", i % 2 ? REG_LEAST_PENDING : REG_SMART))]++;
        if (i % 3 == 0)
            CHECK(client_add(reg, &(offer){.id = "other", .models = {"m"}}, COUNT) == REG_OK);
        if (i % 3 == 1) CHECK(client_remove(reg, "other", NULL) == REG_OK);
    }
    for (int i = 0; i < COUNT; i++) CHECK(counts[i] == ROUNDS);
    client_free(reg);
    return (long)COUNT * ROUNDS;
}

static long ties_resume_after_a_removal(void) {
    enum { COUNT = 12 };
    reg_registry *reg = client_fleet(COUNT, NULL);
    bool is_gone[COUNT] = {false};
    for (int left = COUNT; left > 1; left--) {
        char id[16];
        int chosen = client_select(reg, client_request("m", REG_LEAST_PENDING)), next = chosen;
        snprintf(id, sizeof id, "b%d", chosen);
        CHECK(client_remove(reg, id, NULL) == REG_OK);
        is_gone[chosen] = true;
        do next = (next + 1) % COUNT;
        while (is_gone[next]);
        CHECK(client_select(reg, client_request("m", REG_LEAST_PENDING)) == next);
    }
    client_free(reg);
    return COUNT;
}

static void with_cap(offer *o, int number) {
    o->max_pending = 3;
    o->priority = number;
}

static long priorities_spill_over_when_full(void) {
    reg_registry *reg = client_fleet(3, with_cap);
    reg_lease leases[9];
    for (int i = 0; i < 9; i++)
        CHECK(client_acquire(reg, client_request("m", REG_PRIORITY), &leases[i]) == i / 3);
    reg_lease none;
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++)
        CHECK(client_acquire(reg, client_request("m", policy), &none) == -1);
    CHECK(client_return(&leases[4], NULL));
    CHECK(client_acquire(reg, client_request("m", REG_PRIORITY), &leases[4]) == 1);
    for (int i = 0; i < 9; i++) CHECK(client_return(&leases[i], NULL));
    client_free(reg);
    return 17;
}

static void of_many_kinds(offer *o, int number) {
    o->capabilities = number == 1 ? REG_VISION : number == 2 ? REG_VISION | REG_TOOLS : 0;
    o->context_length = number == 3 ? 100 : 8192;
    o->max_pending = number == 4 ? 1 : 0;
}

static reg_reason reason_for(reg_registry *reg, reg_request request, size_t count, int number) {
    reg_reader *reader = reg_read_begin();
    reg_candidates found;
    CHECK(reg_explain(reg, &request, &found) == REG_OK && found.count == count);
    reg_reason reason = REG_REASON_COUNT;
    for (size_t i = 0; i < found.count; i++)
        if (object_of(found.items[i].definition)->number == number) reason = found.items[i].reason;
    reg_candidates_free(&found);
    reg_read_end(reader);
    return reason;
}

static long the_first_reason_is_reported(void) {
    reg_registry *reg = client_fleet(5, of_many_kinds);
    reg_request any = client_request("m", REG_LEAST_PENDING), picky = any;
    picky.capabilities = REG_VISION | REG_TOOLS;
    picky.min_context = 4096;
    const reg_reason expected[] = {REG_NO_VISION, REG_NO_TOOLS, REG_ELIGIBLE, REG_NO_VISION,
                                   REG_NO_VISION};
    for (int i = 0; i < 5; i++) CHECK(reason_for(reg, picky, 5, i) == expected[i]);
    picky.capabilities = 0;
    CHECK(reason_for(reg, picky, 5, 3) == REG_SHORT_CONTEXT);
    reg_key id = key_of("b4");
    uint32_t value;
    CHECK(reg_increment_pending(reg, &id, &value) == REG_OK);
    CHECK(reason_for(reg, any, 5, 4) == REG_FULL);
    CHECK(client_health(reg, "b4", REG_DRAINING, -1) == REG_OK);
    CHECK(reason_for(reg, any, 5, 4) == REG_IS_DRAINING);
    reg_key out[] = {key_of("b9"), key_of("b4"), key_of("b1")};
    any.exclude = out;
    any.exclude_count = 3;
    CHECK(reason_for(reg, any, 5, 4) == REG_EXCLUDED && reason_for(reg, any, 5, 1) == REG_EXCLUDED);
    CHECK(reason_for(reg, any, 5, 0) == REG_ELIGIBLE);
    CHECK(client_add(reg, &(offer){.id = "new", .models = {"m"}}, 5) == REG_OK);
    CHECK(reason_for(reg, any, 6, 5) == REG_IS_UNKNOWN);
    any.allow_unknown = true;
    CHECK(reason_for(reg, any, 6, 5) == REG_ELIGIBLE);
    client_free(reg);
    return 13;
}

static long a_redefined_model_has_its_new_traits(void) {
    reg_registry *reg = client_fleet(2, NULL);
    reg_request picky = client_request("m", REG_LEAST_PENDING);
    picky.capabilities = REG_TOOLS;
    CHECK(client_select(reg, picky) == -1);
    CHECK(client_redefine(reg, &(offer){.id = "b0", .models = {"m"}, .capabilities = REG_TOOLS},
                          8) == REG_OK);
    CHECK(client_select(reg, picky) == 8);
    int numbers[2];
    CHECK(client_query(reg, "m", numbers, 2) == 2 && numbers[0] == 8 && numbers[1] == 1);
    CHECK(client_redefine(reg, &(offer){.id = "b0", .models = {"m"}}, 9) == REG_OK);
    CHECK(client_select(reg, picky) == -1);
    client_free(reg);
    return 3;
}

/* ---- kinds of requests ---- */

static void in_two_groups(offer *o, int number) { o->priority = number > 1; }

static long alternating_kinds_starve_no_backend(void) {
    reg_registry *reg = client_fleet(5, in_two_groups);
    reg_key out[] = {key_of("b0"), key_of("b1")};
    int counts[5] = {0};
    for (int i = 0; i < 600; i++) {
        reg_request request = client_request("m", REG_PRIORITY);
        request.exclude = out;
        request.exclude_count = i % 2 ? 2 : 0;
        counts[client_select(reg, request)]++;
    }
    for (int i = 0; i < 5; i++) CHECK(counts[i] == (i < 2 ? 150 : 100));
    client_free(reg);
    return 600;
}

enum { LONG_LIST = 40, WITH_TOOLS = 4 };

static void with_tools_on_some(offer *o, int number) {
    if (number % (LONG_LIST / WITH_TOOLS) == 0) o->capabilities = REG_TOOLS;
}

/* One kind of request can use only a few backends of a long list. It has chosen all of these long
 * before the other kind has chosen the rest. */
static long a_limited_kind_leaves_others_their_turns(void) {
    reg_registry *reg = client_fleet(LONG_LIST, with_tools_on_some);
    int counts[LONG_LIST] = {0};
    for (int i = 0; i < 2 * 10 * LONG_LIST; i++) {
        reg_request request = client_request("m", REG_LEAST_PENDING);
        if (i % 2) request.capabilities = REG_TOOLS;
        counts[client_select(reg, request)]++;
    }
    for (int i = 0; i < LONG_LIST; i++) CHECK(counts[i] >= 9);
    client_free(reg);
    return 2L * 10 * LONG_LIST;
}

/* No backend is chosen twice before all others are chosen once. This also holds in a long list, and
 * for a kind of request that can use only a few backends. */
static long requests_of_one_kind_rotate(void) {
    reg_registry *reg = client_fleet(LONG_LIST, with_tools_on_some);
    for (int kind = 0; kind < 2; kind++) {
        int length = kind == 0 ? LONG_LIST : WITH_TOOLS, last[LONG_LIST] = {0};
        reg_request request = client_request("m", REG_LEAST_PENDING);
        if (kind == 1) request.capabilities = REG_TOOLS;
        uint32_t before = load_own(&reg->tick);
        for (int i = 1; i <= 10 * length; i++) {
            int chosen = client_select(reg, request);
            CHECK(last[chosen] == 0 ? i <= length : i - last[chosen] == length);
            last[chosen] = i;
        }
        /* Only full passes advance the tick: one in each round, and the first one of a kind. */
        CHECK(load_own(&reg->tick) - before <= 10 + 1);
    }
    client_free(reg);
    return 10L * (LONG_LIST + WITH_TOOLS);
}

/* ---- writes that change no choice ---- */

static long an_unchanged_health_is_no_change(void) {
    reg_registry *reg = client_fleet(2, NULL);
    uint64_t before = load_own(&reg->choices_changed), version = load_own(&reg->committed);
    CHECK(before == version);
    CHECK(client_health(reg, "b0", REG_HEALTHY, -1) == REG_OK &&
          client_health(reg, "b1", REG_HEALTHY, 7) == REG_OK);
    CHECK(load_own(&reg->choices_changed) == before && load_own(&reg->committed) == version + 2);
    CHECK(client_health(reg, "b0", REG_UNHEALTHY, 7) == REG_OK &&
          load_own(&reg->choices_changed) == version + 3);
    CHECK(client_health(reg, "b0", REG_UNHEALTHY, 8) == REG_OK &&
          load_own(&reg->choices_changed) == version + 3);
    for (int i = 0; i < 4; i++)
        CHECK(client_select(reg, client_request("m", REG_LEAST_PENDING)) == 1);
    CHECK(client_redefine(reg, &(offer){.id = "b0", .models = {"n"}}, 5) == REG_OK &&
          load_own(&reg->choices_changed) == load_own(&reg->committed));
    CHECK(client_remove(reg, "b0", NULL) == REG_OK &&
          load_own(&reg->choices_changed) == load_own(&reg->committed));
    CHECK(client_add(reg, &(offer){.id = "b0", .models = {"m"}}, 6) == REG_OK &&
          load_own(&reg->choices_changed) == load_own(&reg->committed));
    client_free(reg);
    return 9;
}

/* ---- refusals ---- */

static void churn(reg_registry *reg) {
    for (int i = 0; i < 1000; i++) {
        CHECK(client_add(reg, &(offer){.id = "other", .models = {"n"}}, 99) == REG_OK);
        CHECK(client_remove(reg, "other", NULL) == REG_OK);
    }
}

static long a_refusal_keeps_what_it_reports(void) {
    reg_registry *reg = client_fleet(5, of_many_kinds);
    reg_request picky = client_request("m", REG_LEAST_PENDING);
    picky.min_context = 4096;
    picky.exclude = (reg_key[]){key_of("b0")};
    picky.exclude_count = 1;
    reg_key full = key_of("b4");
    uint32_t value;
    CHECK(reg_increment_pending(reg, &full, &value) == REG_OK);
    CHECK(client_health(reg, "b1", REG_DRAINING, -1) == REG_OK &&
          client_health(reg, "b2", REG_UNHEALTHY, 3) == REG_OK);
    reg_lease lease = {0};
    reg_refusal refusal;
    CHECK(reg_acquire(reg, &picky, &lease, &refusal) == REG_NONE_AVAILABLE && refusal.count == 5);
    for (int i = 0; i < 5; i++) {
        char id[16];
        snprintf(id, sizeof id, "b%d", i);
        CHECK(client_remove(reg, id, NULL) == REG_OK);
    }
    churn(reg);
    const reg_reason expected[] = {REG_EXCLUDED, REG_IS_DRAINING, REG_IS_UNHEALTHY,
                                   REG_SHORT_CONTEXT, REG_FULL};
    for (int i = 0; i < 5; i++)
        CHECK(object_of(refusal.items[i].definition)->number == i &&
              refusal.items[i].reason == expected[i]);
    CHECK(refusal.items[3].context_length == 100);
    long before = objects_alive;
    reg_refusal_drop(&refusal, object_release);
    CHECK(objects_alive <= before - 5);
    picky.model_id = key_of("no such model");
    CHECK(reg_acquire(reg, &picky, &lease, &refusal) == REG_NONE_AVAILABLE && refusal.count == 0);
    reg_refusal_drop(&refusal, object_release);
    client_free(reg);
    return 2;
}

/* Tries a choice that must not block, among `count` ids (0: all). */
static reg_status try_briefly(reg_registry *reg, reg_policy policy, reg_key *ids, size_t count) {
    reg_request request = client_request("m", policy);
    reg_lease lease;
    reg_refusal refusal = {0};
    request.may_block = false;
    request.is_limited = count != 0;
    request.only = ids;
    request.only_count = count;
    reg_status status = reg_acquire(reg, &request, &lease, &refusal);
    if (status == REG_OK) CHECK(client_return(&lease, NULL));
    if (status == REG_NONE_AVAILABLE) reg_refusal_drop(&refusal, object_release);
    return status;
}

/* A choice that may not block reads no long list, be it to choose or to say why not. */
static long a_brief_choice_reads_no_long_list(void) {
    enum { COUNT = 100 };
    reg_registry *reg = client_fleet(COUNT, NULL);
    static char names[COUNT][8];
    for (int policy = 0; policy < REG_POLICY_COUNT; policy++) {
        bool takes_turns = policy == REG_ROUND_ROBIN;
        reg_key ids[COUNT], gone = key_of("gone");
        for (int i = 0; i < COUNT; i++) {
            snprintf(names[i], sizeof names[i], "b%d", i);
            ids[i] = key_of(names[i]);
        }
        CHECK(try_briefly(reg, policy, ids, 0) ==
              (policy == REG_POWER_OF_TWO || policy == REG_HOT_COLD ? REG_OK : REG_WOULD_BLOCK));
        CHECK(try_briefly(reg, policy, ids, 3) == (takes_turns ? REG_WOULD_BLOCK : REG_OK));
        CHECK(try_briefly(reg, policy, ids, COUNT) == REG_WOULD_BLOCK);
        CHECK(try_briefly(reg, policy, &gone, 1) == REG_WOULD_BLOCK); /* a refusal names all */
    }
    client_free(reg);
    return 4L * REG_POLICY_COUNT;
}

/* ---- HOT_COLD ---- */

/* Whether the load of `x` is above the quantile, with the interpolation written out: Q is
 * l(i) + f / 25 * (l(i + 1) - l(i)), where 21 * (count - 1) is 25 * i + f. */
static bool is_above_quantile(const candidate *x, candidate *const *sorted, uint64_t count) {
    uint64_t i = 21 * (count - 1) / 25, f = 21 * (count - 1) % 25;
    const candidate *low = sorted[i], *high = sorted[f != 0 ? i + 1 : i];
    uint64_t low_load = counter_in_flight(low->pending),
             high_load = counter_in_flight(high->pending);
    uint128 numerator = (uint128)(25 - f) * low_load * high->weight + f * high_load * low->weight,
            denominator = (uint128)25 * low->weight * high->weight;
    return counter_in_flight(x->pending) * denominator > numerator * x->weight;
}

static int by_heat(const void *left, const void *right) {
    return compare_heats(*(const candidate *const *)left, *(const candidate *const *)right);
}

static long hot_is_above_the_quantile(void) {
    enum { ROUNDS = 20000, MOST = 60 };
    reg_seed_random(20261127);
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = 1 + random_below(round % 2 ? (uint64_t)HAND : (uint64_t)MOST);
        uint64_t loads = round % 3 == 0 ? (uint64_t)UINT32_MAX + 1 : 1 + random_below(20);
        uint64_t weights = round % 5 == 0 ? 64000 : 1 + random_below(3);
        card all[MOST];
        card *rearranged[MOST];
        candidate *sorted[MOST];
        for (size_t i = 0; i < count; i++) {
            all[i] = (card){.seen = {.pending = random_below(loads),
                                     .weight = 1 + (uint32_t)random_below(weights)}};
            rearranged[i] = &all[i];
            sorted[i] = &all[i].seen;
        }
        const candidate *limit = heat_limit(rearranged, count);
        qsort(sorted, count, sizeof *sorted, by_heat);
        for (size_t i = 0; i < count; i++)
            CHECK((compare_heats(&all[i].seen, limit) > 0) ==
                  is_above_quantile(&all[i].seen, sorted, count));
        CHECK(compare_heats(sorted[0], limit) <= 0);
    }
    return ROUNDS;
}

/* A hand has HAND different members, which are all of the list and eligible. */
static long a_hand_has_no_card_twice(void) {
    enum { HANDS = 500 };
    const int lengths[] = {1, 15, 16, 17, 64, 65, 80, 300};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        reg_registry *reg = client_fleet(lengths[i], NULL);
        CHECK(client_health(reg, "b0", REG_UNHEALTHY, 0) == REG_OK);
        for (int k = 0; k < HANDS; k++) {
            reg_request request = client_request("m", REG_HOT_COLD);
            choice c = {.few = NULL};
            picks p = {.count = 0};
            reg_reader *reader = reg_read_begin();
            CHECK(choice_begin(&c, reg, &request) && draw_hand(&c, &p) == CHOSEN);
            uint32_t eligible = (uint32_t)lengths[i] - 1;
            CHECK(p.hand_count == (eligible < HAND ? eligible : HAND) &&
                  p.count == (eligible != 0));
            CHECK(lengths[i] > HAND ? lengths[i] <= QUICK_LENGTH || !c.is_searched : c.is_searched);
            for (uint32_t a = 0; a < p.hand_count; a++) {
                CHECK(p.hand[a].seen.place != c.reading.array->members);
                for (uint32_t b = 0; b < a; b++)
                    CHECK(p.hand[a].seen.record != p.hand[b].seen.record);
            }
            reg_read_end(reader);
        }
        client_free(reg);
    }
    return (long)(HANDS * sizeof lengths / sizeof *lengths);
}

const test select_tests[] = {
    {"select: hot is above the quantile", hot_is_above_the_quantile},
    {"select: a hand has no card twice", a_hand_has_no_card_twice},
    {"select: a lease counts and returns", a_lease_counts_and_returns},
    {"select: a lease outlives its registration",
     a_lease_outlives_its_registration_and_the_registry},
    {"select: a lease keeps what it was chosen by", a_lease_keeps_what_it_was_chosen_by},
    {"select: any thread drops the last lease", any_thread_drops_the_last_lease},
    {"select: a registry is freed while it is read", a_registry_is_freed_while_it_is_read},
    {"select: weighted turns are smooth", weighted_turns_are_smooth},
    {"select: late members get their turns", late_members_get_their_turns},
    {"select: loads are proportional to weights", loads_are_in_proportion_to_weights},
    {"select: ties rotate while the fleet changes", ties_rotate_while_the_fleet_changes},
    {"select: ties resume after a removal", ties_resume_after_a_removal},
    {"select: priorities spill over when full", priorities_spill_over_when_full},
    {"select: the first reason is reported", the_first_reason_is_reported},
    {"select: a redefined model has its new traits", a_redefined_model_has_its_new_traits},
    {"select: alternating kinds starve no backend", alternating_kinds_starve_no_backend},
    {"select: a limited kind leaves others their turns", a_limited_kind_leaves_others_their_turns},
    {"select: requests of one kind rotate", requests_of_one_kind_rotate},
    {"select: an unchanged health is no change", an_unchanged_health_is_no_change},
    {"select: a refusal keeps what it reports", a_refusal_keeps_what_it_reports},
    {"select: a brief choice reads no long list", a_brief_choice_reads_no_long_list},
    {0}};
