#include "choose/rounds.h"

#include "base/random.h"

/* Never 0, and different for kinds that differ. */
static uint64_t kind_of(const reg_request *request) {
    uint64_t kind = random_mix((uint64_t)request->min_context << 32 |
                               (uint64_t)request->capabilities << 1 | request->allow_unknown);
    for (size_t i = 0; i < request->exclude_count; i++)
        kind += random_mix(request->exclude[i].hash);
    return kind | 1;
}

/* ---- before the pass ---- */

/* NULL where this kind of request has none. */
static own_round *own_round_of(const choice *c) {
    own_round *own = c->model->own;
    if (load_hint(&own->kind) == 0) return NULL; /* the first room is taken first */
    uint64_t kind = kind_of(c->request);
    for (int i = 0; i < OWN_ROUNDS; i++)
        if (load_hint(&own[i].kind) == kind) return &own[i];
    return NULL;
}

/* A free one, or that of a kind which has to give way. */
static own_round *room_for(model *m, uint32_t tick) {
    for (int i = 0; i < OWN_ROUNDS; i++)
        if (load_hint(&m->own[i].kind) == 0) return &m->own[i];
    return &m->own[tick % OWN_ROUNDS];
}

/* In a model that was never chosen for, a place that differs from model to model and from process to process (the hash is
 * keyed): else the first backend of all would get the first request for each. */
static uint32_t position_in(const choice *c, uint64_t word) {
    if (reg_unlikely(word == 0))
        return (uint32_t)(random_mix(c->model->item.key.hash) % c->reading.length);
    uint32_t position = round_position(word);
    return position < c->reading.length ? position : 0;
}

void round_join(choice *c, reg_registry *reg) {
    bool has_rounds = c->request->policy == REG_LEAST_PENDING;
    own_round *own = has_rounds && !c->is_plain ? own_round_of(c) : NULL;
    c->is_own_round = own != NULL;
    c->round = own != NULL ? &own->word : &c->model->round;
    uint64_t word = load_hint(c->round);
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

static void begin_round(const choice *c, uint32_t tick, uint64_t word, bool leaves_unserved) {
    if (c->is_own_round || !(leaves_unserved || c->request->allow_unknown)) {
        store_private(c->round, word);
        return;
    }
    own_round *room = room_for(c->model, tick);
    store_private(&room->word, word);
    store_private(&room->kind, kind_of(c->request));
}

/* By another policy: what it chose is not in this one's order. */
static void disturb(model *m) {
    uint64_t word = load_hint(&m->round),
             disturbed = (word & ROUND_ORDER) | (uint64_t)SHORT_LIST << 59;
    if (word != 0 && word != disturbed) store_private(&m->round, disturbed);
}

void round_end(const choice *c, reg_registry *reg, const candidate *chosen, bool leaves_unserved) {
    _Atomic uint32_t *stamp = &line_of(chosen->record)->chosen_at;
    if (c->request->policy == REG_POWER_OF_TWO) {
        /* It is O(1) and compares no stamps: it leaves alone the tick's line, which all threads read. */
        store_private(stamp, load_hint(&reg->tick));
        return;
    }
    uint32_t tick = next_tick(reg);
    store_private(stamp, tick);
    if (c->request->policy == REG_LEAST_PENDING)
        begin_round(c, tick, round_word(c, chosen, tick), leaves_unserved);
    else
        disturb(c->model);
}
