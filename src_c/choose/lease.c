/* Leases. Who may write what: `record` and `started` are set before the lease is given to anyone. `is_active` is swapped by whoever
 * releases, so that of several releases exactly one counts.
 *
 * A release is three counts on one record, in this order: average, total, in flight. Each takes effect at one instant; a
 * reader that takes in flight first (internal.h) and misses this request there finds it in the other two. */
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

/* The newest state, not that of a version: for a record that is gone it is the last one, which lives as long as the record. */
void *reg_lease_definition(const reg_lease *lease) {
    return load_published(&record_of_lease(lease)->state)->definition;
}

void reg_lease_drop(reg_lease *lease, void (*release)(void *object)) {
    if (lease->record != NULL) record_unref(record_of_lease(lease), release);
}
