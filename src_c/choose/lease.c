/* The fields `record` and `started` are set before any other thread can see the lease. Each release
 * exchanges `is_active`, so only one of several releases counts.
 *
 * A release changes three words of one record, in this order: average, total, in flight. Each
 * change takes effect at one instant. A reader loads the count in flight first (layout.h). If this
 * count no longer includes the request, the other two words already do. */
#include "choose/lease.h"

#include "base/clock.h"

void lease_begin(reg_lease *lease, record *held) {
    lease->record = handle_from_record(held);
    lease->started = clock_moment();
    store_private(&lease->is_active, true);
}

bool reg_lease_release(reg_lease *lease, const uint32_t *sample, bool failed, bool *at_zero) {
    if (!exchange_seq_cst(&lease->is_active, false)) return false;
    counters *c = &line_of(record_of_lease(lease))->counters;
    uint32_t left;
    if (!failed)
        latency_update(&c->latency,
                       sample != NULL ? *sample : clock_milliseconds_since(lease->started));
    add_seq_cst(&c->total, 1);
    *at_zero = !counter_decrement(&c->pending, &left);
    return true;
}

bool reg_lease_is_active(const reg_lease *lease) {
    return load_seq_cst(&((reg_lease *)lease)->is_active);
}

/* Reads the newest state, not the state at a version. A removed record keeps its last state until
 * it is freed. */
void *reg_lease_definition(const reg_lease *lease) {
    return load_published(&record_of_lease(lease)->state)->definition;
}

void reg_lease_drop(reg_lease *lease, void (*release)(void *object)) {
    if (lease->record != NULL) record_unref(record_of_lease(lease), release);
}
