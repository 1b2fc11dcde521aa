/* The candidates of one choice: who is on the model's list at one version, and what stands in the way of each. Inside an epoch. */
#ifndef REG_CANDIDATES_H
#define REG_CANDIDATES_H

#include "choose/policy.h"
#include "registry/layout.h"

typedef struct choice {
    const reg_request *request;
    model *model;
    member_reading reading;
    uint64_t version;
    uint32_t start; /* the position where a pass begins; this and the next three: see rounds.h */
    uint32_t now;   /* the tick to come: stamps are older */
    uint32_t round_age; /* a member that is older is unserved in this round */
    uint32_t disorder;  /* how many choices in a row have to be in order until a pass may stop */
    _Atomic uint64_t *round; /* the word of the round that it takes part in */
    bool is_own_round;       /* of this kind of request */
    uint32_t best_average;   /* ms; see policy.h */
    bool is_plain;           /* every healthy backend that is not full will do */
    bool is_searched;        /* REG_POWER_OF_TWO: drawing met nobody, so the whole list was read */
} choice;

/* Sorts the excluded ids, so that `candidate_obstacle` finds them by bisection. */
void request_prepare(reg_request *request);

/* False where no backend lists the model. */
bool choice_begin(choice *c, reg_registry *reg, const reg_request *request);

/* The members from the one at `from` to that before `to`. */
#define EACH_LISTED(c, from, to, m)                                                                \
    for (const member *m = (c)->reading.array->members + (from),                                   \
                      *m##_end = (c)->reading.array->members + (to);                               \
         m != m##_end; m++)                                                                        \
        if (member_is_in(m, (c)->reading.tick))

static inline uint32_t place_number(const choice *c, const candidate *x) {
    return (uint32_t)(x->place - c->reading.array->members);
}

/* A listed one, with its counts as they are passed. */
static inline candidate candidate_at(const member *place, bool with_latency) {
    record *r = place->record;
    return (candidate){.record = r,
                       .place = place,
                       .pending = load_seq_cst(&line_of(r)->counters.pending),
                       .latency = with_latency ? load_seq_cst(&line_of(r)->counters.latency) : 0,
                       .weight = line_of(r)->weight};
}

static inline bool candidate_is_full(const candidate *x) {
    return counter_in_flight(x->pending) >= line_of(x->record)->max_pending;
}

/* What stands in its way apart from its load, or REG_ELIGIBLE. */
reg_reason candidate_obstacle(const choice *c, const member *place);

/* The same in short, for the one case that matters for speed. */
static inline bool candidate_is_eligible(const choice *c, const candidate *x, bool is_plain) {
    if (reg_likely(is_plain && record_is_plainly_healthy(x->record, c->version))) return true;
    return candidate_obstacle(c, x->place) == REG_ELIGIBLE;
}

#endif
