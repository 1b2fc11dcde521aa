/* Updates the counters of a backend. A gateway calls these operations for every request.
 *
 * Each operation finds the record and changes its counter inside one epoch. If another thread
 * removes the record in between, the operation is still valid: it takes effect just before the
 * removal, which happens during the call.
 *
 * To add a counter, add
 *   - a word and its operations to store/counters.h. The cache line is full: counter_bank.h says
 *     where the word can go,
 *   - an operation here, and its declaration in registry.h and registry/_core/c_api.pxd,
 *   - a field to reg_view (registry.h, c_api.pxd), which view_at() fills (layout.h),
 *   - a method of the registry (registry/_core/registry_core.pxi), a field of the view
 *     (registry/_core/views.pxi, registry/backend.py), and both to the stubs (binding.pyi),
 *   - its rule to the tests' oracle (tests/support/oracle.py). */
#include "base/memory.h"
#include "registry/idle.h"

reg_status reg_increment_pending(reg_registry *reg, const reg_key *id, uint32_t *value) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = find_registered(reg, id, &version);
    reg_status status = r == NULL                                                 ? REG_NOT_FOUND
                        : counter_increment(&line_of(r)->counters.pending, value) ? REG_OK
                                                                                  : REG_OVERFLOW;
    epoch_leave(slot);
    return status;
}

reg_status reg_decrement_pending(reg_registry *reg, const reg_key *id, uint32_t *value,
                                 reg_aftermath *after) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = find_registered(reg, id, &version);
    if (r != NULL) decrement_pending(r, value, after);
    if (reg_unlikely(line_is_waited(reg->settings))) after->flags |= REG_IS_WAITED;
    epoch_leave(slot);
    return r == NULL ? REG_NOT_FOUND : REG_OK;
}

/* Adds to a record's total. If outcomes are counted, this is none of them. False if out of
 * memory. */
static bool add_total(reg_registry *reg, record *r, uint64_t *value) {
    outcomes *o = record_outcomes(r, reg->settings);
    if (o == NULL) return false;
    *value =
        o->settings->values.ejects ? outcomes_add_neutral(o, false) : add_seq_cst(&o->total, 1) + 1;
    return true;
}

reg_status reg_increment_total(reg_registry *reg, const reg_key *id, uint64_t *value) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = find_registered(reg, id, &version);
    reg_status status = r == NULL                  ? REG_NOT_FOUND
                        : add_total(reg, r, value) ? REG_OK
                                                   : REG_NO_MEMORY;
    epoch_leave(slot);
    return status;
}

/* Adds a sample to a record's average. False if out of memory. */
static bool add_sample(reg_registry *reg, record *r, uint32_t sample, uint32_t *average) {
    outcomes *o = record_outcomes(r, reg->settings);
    if (o == NULL) return false;
    *average = line_add_sample(line_of(r), o, sample, registry_now(reg));
    return true;
}

reg_status reg_update_latency(reg_registry *reg, const reg_key *id, uint32_t sample,
                              uint32_t *average) {
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    uint64_t version;
    record *r = find_registered(reg, id, &version);
    reg_status status = r == NULL                             ? REG_NOT_FOUND
                        : add_sample(reg, r, sample, average) ? REG_OK
                                                              : REG_NO_MEMORY;
    epoch_leave(slot);
    return status;
}

/* ---- in bulk ---- */

typedef reg_status (*count_one)(reg_registry *reg, record *r, reg_batch *batch, size_t i);

static reg_status increment_one(reg_registry *reg, record *r, reg_batch *batch, size_t i) {
    (void)reg;
    bool counts = counter_increment(&line_of(r)->counters.pending, &batch->values[i]);
    return counts ? REG_OK : REG_OVERFLOW;
}

static reg_status decrement_one(reg_registry *reg, record *r, reg_batch *batch, size_t i) {
    (void)reg;
    reg_aftermath after = {.woken = batch->woken};
    decrement_pending(r, &batch->values[i], &after);
    batch->at_zero[i] = after.flags & REG_WAS_ZERO;
    batch->woken = after.woken;
    return REG_OK;
}

static reg_status update_latency_one(reg_registry *reg, record *r, reg_batch *batch, size_t i) {
    add_sample(reg, r, batch->samples[i], &batch->values[i]); /* prepare_all made sure of memory */
    return REG_OK;
}

/* Looks up all ids before the first operation is applied. So if an id is unknown, nothing
 * changes. */
static reg_status find_all(reg_registry *reg, reg_batch *batch, record **records) {
    for (size_t i = 0; i < batch->count; i++) {
        uint64_t version;
        records[i] = find_registered(reg, &batch->ids[i], &version);
        if (records[i] != NULL) continue;
        batch->unknown = i;
        return REG_NOT_FOUND;
    }
    return REG_OK;
}

/* Samples need the outcomes of each record. */
static reg_status prepare_all(reg_registry *reg, const reg_batch *batch, record **records) {
    for (size_t i = 0; i < batch->count; i++)
        if (record_outcomes(records[i], reg->settings) == NULL) return REG_NO_MEMORY;
    return REG_OK;
}

static reg_status count_all(reg_registry *reg, reg_batch *batch, count_one count) {
    batch->applied = 0;
    batch->woken = NULL;
    batch->is_waited = false;
    record **records = memory_alloc((batch->count + 1) * sizeof *records);
    epoch_slot *slot = records == NULL ? NULL : epoch_enter();
    if (slot == NULL) {
        memory_free(records);
        return REG_NO_MEMORY;
    }
    reg_status status = find_all(reg, batch, records);
    if (status == REG_OK && count == update_latency_one) status = prepare_all(reg, batch, records);
    while (status == REG_OK && batch->applied < batch->count) {
        status = count(reg, records[batch->applied], batch, batch->applied);
        if (status == REG_OK) batch->applied++;
    }
    batch->is_waited = line_is_waited(reg->settings);
    epoch_leave(slot);
    memory_free(records);
    return status;
}

reg_status reg_increment_pending_many(reg_registry *reg, reg_batch *batch) {
    return count_all(reg, batch, increment_one);
}
reg_status reg_decrement_pending_many(reg_registry *reg, reg_batch *batch) {
    return count_all(reg, batch, decrement_one);
}
reg_status reg_update_latency_many(reg_registry *reg, reg_batch *batch) {
    return count_all(reg, batch, update_latency_one);
}
