#include "choose/rounds.h"

#include "base/random.h"

/* A hash of the kind of a request; never 0. */
static uint64_t kind_of(const reg_request *request) {
    uint64_t kind = random_mix((uint64_t)request->min_context << 32 |
                               (uint64_t)request->capabilities << 1 | request->allow_unknown);
    for (size_t i = 0; i < request->exclude_count; i++)
        kind += random_mix(request->exclude[i].hash);
    return kind | 1;
}

/* ---- before the pass ---- */

/* The round that belongs to this kind of request; NULL if it has none. */
static kind_round *kind_round_of(const choice *c) {
    kind_round *rounds = c->model->kind_rounds;
    if (load_hint(&rounds[0].kind) == 0) return NULL; /* they are taken in order: all are free */
    uint64_t kind = kind_of(c->request);
    for (int i = 0; i < KIND_ROUNDS; i++)
        if (load_hint(&rounds[i].kind) == kind) return &rounds[i];
    return NULL;
}

/* Returns a free round, or one that belongs to another kind, which loses it. */
static kind_round *slot_for(model *m, uint32_t tick) {
    for (int i = 0; i < KIND_ROUNDS; i++)
        if (load_hint(&m->kind_rounds[i].kind) == 0) return &m->kind_rounds[i];
    return &m->kind_rounds[tick % KIND_ROUNDS];
}

/* The first choice for a model starts at a position that differs between models and, because hashes
 * are keyed, between processes. Otherwise the first backend would get the first request for each of
 * its models. */
static uint32_t start_position(const choice *c, uint64_t word) {
    if (reg_unlikely(word == 0))
        return (uint32_t)(random_mix(c->model->item.key.hash) % c->reading.length);
    uint32_t position = round_position(word);
    return position < c->reading.length ? position : 0;
}

void round_join(choice *c, reg_registry *reg) {
    if (reg_unlikely(c->request->is_limited)) {
        c->now = load_hint(&reg->tick) + 1; /* a full pass from the beginning: see rounds.h */
        return;
    }
    bool has_rounds = c->traits->has_rounds;
    kind_round *own = has_rounds && !c->is_plain ? kind_round_of(c) : NULL;
    c->is_kind_round = own != NULL;
    c->round = own != NULL ? &own->word : &c->model->round;
    uint64_t word = load_hint(c->round);
    c->now = load_hint(&reg->tick) + 1;
    c->start = start_position(c, word);
    c->disorder = round_disorder(word);
    if (word == 0 || (c->request->allow_unknown && !c->is_kind_round)) has_rounds = false;
    if (c->disorder != 0 && c->reading.length <= SHORT_LIST) has_rounds = false;
    c->round_age = has_rounds ? c->now - round_start(word) : NO_ROUND;
}

/* ---- after the choice ---- */

static uint32_t next_tick(reg_registry *reg) {
    uint32_t tick = load_hint(&reg->tick) + 1;
    if (reg_unlikely(tick == 0)) tick = 1;
    store_private(&reg->tick, tick);
    return tick;
}

static void begin_round(const choice *c, uint32_t tick, uint64_t word, bool leaves_unserved) {
    if (c->is_kind_round || !(leaves_unserved || c->request->allow_unknown)) {
        store_private(c->round, word);
        return;
    }
    kind_round *slot = slot_for(c->model, tick);
    store_private(&slot->word, word);
    store_private(&slot->kind, kind_of(c->request));
}

/* Call it after a choice by a policy without rounds: its stamp is not in the order of positions. */
static void disturb(model *m) {
    uint64_t word = load_hint(&m->round),
             disturbed = (word & ROUND_ORDER) | (uint64_t)SHORT_LIST << 59;
    if (word != 0 && word != disturbed) store_private(&m->round, disturbed);
}

void round_end(const choice *c, reg_registry *reg, const candidate *chosen, bool leaves_unserved) {
    _Atomic uint32_t *stamp = &line_of(chosen->record)->chosen_at;
    if (c->traits->draws_two) {
        /* This choice is O(1) and compares no stamps. It does not advance the tick, because all
         * threads read the tick's cache line. */
        store_private(stamp, load_hint(&reg->tick));
        return;
    }
    uint32_t tick = next_tick(reg);
    store_private(stamp, tick);
    if (c->traits->has_rounds && !c->request->is_limited)
        begin_round(c, tick, round_word(c, chosen, tick), leaves_unserved);
    else
        disturb(c->model);
}
