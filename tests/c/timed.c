#include "timed.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

fleet new_fleet(int count, void (*shape)(reg_settings *s)) {
    fleet f = {.clock = reg_clock_new(0)};
    reg_settings s = {.clock = f.clock,
                      .latency_ttl = 60 * SECOND,
                      .ejects = true,
                      .consecutive_failures = 3,
                      .failure_rate = -1,
                      .window = 10 * SECOND,
                      .base = 30 * SECOND,
                      .max = 300 * SECOND,
                      .trials = 1,
                      .max_waiting = UINT64_MAX};
    if (shape != NULL) shape(&s);
    f.reg = reg_new(&s);
    for (int i = 0; i < count; i++) {
        char id[16];
        snprintf(id, sizeof id, "b%d", i);
        offer o = {.id = id, .models = {"m"}, .context_length = 8192};
        CHECK(client_add(f.reg, &o, i) == REG_OK);
        CHECK(client_health(f.reg, id, REG_HEALTHY, -1) == REG_OK);
    }
    return f;
}

void free_fleet(fleet f) {
    client_free(f.reg);
    reg_clock_drop(f.clock);
}

bool acquire_on(reg_registry *reg, const char *id, reg_lease *lease, reg_reason *reason) {
    static const char *const ids[] = {"b0", "b1", "b2"};
    reg_key others[3];
    reg_request request = client_request("m", REG_LEAST_PENDING);
    for (int i = 0; i < 3; i++)
        if (strcmp(ids[i], id) != 0) others[request.exclude_count++] = key_of(ids[i]);
    request.exclude = others;
    reg_refusal refusal = {0};
    *lease = (reg_lease){0};
    bool has_it = reg_acquire(reg, &request, lease, &refusal) == REG_OK;
    for (size_t i = 0; reason != NULL && i < refusal.count; i++)
        if (object_of(refusal.items[i].definition)->number == id[1] - '0')
            *reason = refusal.items[i].reason;
    reg_refusal_drop(&refusal, object_release);
    return has_it;
}

bool finish_and_list(reg_lease *lease, reg_outcome outcome, uint64_t retry_after,
                     reg_waiter **watchers) {
    reg_aftermath after = {0};
    reg_garbage *garbage = NULL;
    *watchers = NULL;
    bool is_ended = reg_lease_release(lease, outcome, &(uint32_t){5}, &after);
    if (after.flags & REG_MUST_SETTLE)
        reg_lease_settle(lease, outcome, retry_after, &after, watchers, &garbage);
    CHECK(after.flags == 0);
    reg_destroy(garbage, object_release);
    reg_lease_drop(lease, object_release);
    return is_ended;
}

bool finish(reg_lease *lease, reg_outcome outcome, uint64_t retry_after) {
    reg_waiter *watchers;
    bool is_ended = finish_and_list(lease, outcome, retry_after, &watchers);
    CHECK(watchers == NULL);
    return is_ended;
}

reg_view view_of(reg_registry *reg, const char *id) {
    reg_key key = key_of(id);
    reg_view view;
    reg_reader *reader = reg_read_begin();
    CHECK(reg_get(reg, &key, &view) == REG_OK);
    reg_read_end(reader);
    return view;
}

void fail(reg_registry *reg, const char *id, int times) {
    for (int i = 0; i < times; i++) {
        reg_lease lease;
        CHECK(acquire_on(reg, id, &lease, NULL) && finish(&lease, REG_FAILED, 0));
    }
}

void never_panics(reg_settings *s) { s->panic = -1; }

void restore(reg_registry *reg, const char *id) {
    reg_key key = key_of(id);
    reg_garbage *garbage;
    CHECK(reg_restore(reg, &key, 0, &garbage) == REG_OK);
    reg_destroy(garbage, object_release);
}
