/* All fields but `is_active` are set before any other thread can see the lease, and never change.
 * Each release exchanges `is_active`, so only one of several releases counts.
 *
 * The reservation is taken in the read that found the record and the definition, so it keeps both
 * (reservation.h, record.h). Any thread may drop it. All that acquiring and dropping a lease writes
 * is the record's counters, and a line that usually only the acquiring thread writes.
 *
 * A release changes three words of one record, in this order: average, total, in flight. Each
 * change takes effect at one instant. A reader loads the count in flight first (layout.h). If this
 * count no longer includes the request, the other two words already do. */
#include "choose/lease.h"

#include "base/clock.h"
#include "registry/idle.h"

void lease_fill(reg_lease *lease, reg_registry *reg, epoch_slot *slot, record *chosen,
                uint64_t version) {
    REG_ASSERT_READING();
    lease->record = handle_from_record(chosen);
    lease->definition = record_state_at(chosen, version)->definition;
    lease->kept = kept_from_reservation(reservation_take(slot, reg->generations, 1));
}

void lease_begin(reg_lease *lease) {
    lease->started = clock_moment();
    store_private(&lease->is_active, true);
}

bool reg_lease_release(reg_lease *lease, const uint32_t *sample, bool failed,
                       reg_aftermath *after) {
    if (!exchange_seq_cst(&lease->is_active, false)) return false;
    record *r = record_of_lease(lease);
    counters *c = &line_of(r)->counters;
    uint32_t left;
    if (!failed)
        latency_update(&c->latency,
                       sample != NULL ? *sample : clock_milliseconds_since(lease->started));
    add_seq_cst(&c->total, 1);
    decrement_pending(r, &left, after);
    return true;
}

bool reg_lease_is_active(const reg_lease *lease) {
    return load_seq_cst(&((reg_lease *)lease)->is_active);
}

void reg_lease_drop(reg_lease *lease, reg_release release) {
    if (lease->kept != NULL) reg_keep_drop(lease->kept, 1, release);
}
