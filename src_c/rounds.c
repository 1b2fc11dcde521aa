#include "rounds.h"

#include "random.h"

/* Never 0, and different for kinds that differ. */
static uint64_t kind_of(const reg_request *request) {
    uint64_t kind = random_mix((uint64_t)request->min_context << 32 | (uint64_t)request->capabilities << 1 | request->allow_unknown);
    for (size_t i = 0; i < request->exclude_count; i++) kind += random_mix(request->exclude[i].hash);
    return kind | 1;
}

/* ---- before the pass ---- */

static bool has_own_round(const choice *c) {
    uint64_t own_kind = load_hint(&c->model->own_kind);
    return own_kind != 0 && own_kind == kind_of(c->request);
}

/* In a model that was never chosen for, a place that differs from model to model and from process to process (the hash is
 * keyed): else the first backend of all would get the first request for each. */
static uint32_t position_in(const choice *c, uint64_t word) {
    if (reg_unlikely(word == 0)) return (uint32_t)(random_mix(c->model->item.key.hash) % c->reading.length);
    uint32_t position = round_position(word);
    return position < c->reading.length ? position : 0;
}

void round_join(choice *c, reg_registry *reg) {
    bool has_rounds = c->request->policy == REG_LEAST_PENDING;
    c->is_own_round = has_rounds && !c->is_plain && has_own_round(c);
    uint64_t word = load_hint(round_of(c));
    c->now = load_hint(&reg->tick) + 1;
    c->start = position_in(c, word);
    c->disorder = round_disorder(word);
    if (word == 0 || (c->request->allow_unknown && !c->is_own_round)) has_rounds = false;
    if (c->disorder != 0 && c->reading.length <= SHORT_LIST) has_rounds = false;
    c->round_age = has_rounds ? c->now - round_start(word) : NOBODY_IS_OLDER;
}

/* ---- after the choice ---- */

static uint32_t next_tick(reg_registry *reg) {
    uint32_t tick = load_hint(&reg->tick) + 1;
    if (reg_unlikely(tick == 0)) tick = 1;
    store_private(&reg->tick, tick);
    return tick;
}

static void begin_round(const choice *c, uint64_t word, bool leaves_unserved) {
    if (c->is_own_round || !(leaves_unserved || c->request->allow_unknown)) {
        store_private(round_of(c), word);
    } else {
        store_private(&c->model->own_round, word);
        store_private(&c->model->own_kind, kind_of(c->request));
    }
}

/* By another policy: what it chose is not in this one's order. */
static void disturb(model *m) {
    uint64_t word = load_hint(&m->round), disturbed = (word & ROUND_ORDER) | (uint64_t)SHORT_LIST << 59;
    if (word != 0 && word != disturbed) store_private(&m->round, disturbed);
}

void round_end(const choice *c, reg_registry *reg, const candidate *chosen, bool leaves_unserved) {
    _Atomic uint32_t *stamp = &chosen->record->chosen_at;
    if (c->request->policy == REG_POWER_OF_TWO) {
        /* It compares no stamps, so it doesn't write to the tick's line, which all threads read. */
        store_private(stamp, load_hint(&reg->tick));
        return;
    }
    uint32_t tick = next_tick(reg);
    store_private(stamp, tick);
    if (c->request->policy == REG_LEAST_PENDING)
        begin_round(c, round_word(c, chosen, tick), leaves_unserved);
    else
        disturb(c->model);
}
