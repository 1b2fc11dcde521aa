/* The candidates of one choice: the members of the model's list at one version, and whether each is
 * eligible for the request. All functions run inside an epoch. */
#ifndef REG_CANDIDATES_H
#define REG_CANDIDATES_H

#include "choose/policy.h"
#include "registry/layout.h"

/* A list of at most this length is read even if the request must not block, because that is
 * quick. */
enum { QUICK_LENGTH = 64 };

typedef struct choice {
    const reg_request *request;
    const policy_traits *traits; /* of its policy */
    model *model;
    member_reading reading;
    uint64_t version;
    /* See rounds.h for these. */
    uint32_t start;          /* the position at which a pass begins */
    uint32_t now;            /* the next tick, which is newer than every stamp */
    uint32_t round_age;      /* a member of a greater age is unserved in this round */
    uint32_t disorder;       /* over short lists, passes are full until so many are in order */
    _Atomic uint64_t *round; /* the word of the round that this choice belongs to */
    bool is_kind_round;      /* the round belongs to this kind of request */

    uint32_t best_average; /* ms; see policy.h */
    bool is_plain;         /* every healthy backend that is not full is eligible */
    bool is_careful;       /* a write has begun that may change limits: see candidate_at */
    bool is_searched;      /* for a policy that draws two: this pass has read the whole list */
} choice;

#define NO_ROUND UINT32_MAX /* for `round_age`: no member is older */

/* Sorts the excluded ids, because `candidate_obstacle` looks them up by bisection. */
void request_prepare(reg_request *request);

/* Reads the committed version, and the model's list at that version. Returns false if no backend
 * lists the model. */
bool choice_begin(choice *c, reg_registry *reg, const reg_request *request);

/* The members at positions `from` to `to` - 1. */
#define EACH_LISTED(c, from, to, m)                                                                \
    for (const member *m = (c)->reading.array->members + (from),                                   \
                      *m##_end = (c)->reading.array->members + (to);                               \
         m != m##_end; m++)                                                                        \
        if (member_is_in(m, (c)->reading.tick))

static inline uint32_t position_of(const choice *c, const candidate *x) {
    return (uint32_t)(x->place - c->reading.array->members);
}

/* Reads the counts and the limits of a member of the list. The limits on the counter line may be
 * those of a write that is not committed (record.h). The attempt fails then, except if it is
 * careful and has read the limits of its version. */
static always_inline candidate candidate_at(const choice *c, const member *place, bool with_latency,
                                            bool is_careful) {
    record *r = place->record;
    counter_line *line = line_of(r);
    candidate x = {.record = r,
                   .place = place,
                   .pending = load_seq_cst(&line->counters.pending),
                   .latency = with_latency ? load_seq_cst(&line->counters.latency) : 0,
                   .limits = NULL,
                   .weight = load_published(&line->weight)};
    if (is_careful) {
        const state *s = record_state_at(r, c->version);
        x.limits = &s->limits;
        x.weight = s->weight;
    }
    return x;
}

static inline bool candidate_is_full(const candidate *x) {
    return counter_in_flight(x->pending) >= load_published(&limits_of(x)->max_pending);
}

/* The reason why the request can't use this member, apart from its load; or REG_ELIGIBLE. */
reg_reason candidate_obstacle(const choice *c, const member *place);

/* Whether there is no such obstacle, with a fast path for plain requests. */
static inline bool candidate_is_eligible(const choice *c, const candidate *x, bool is_plain) {
    if (reg_likely(is_plain && record_is_plainly_healthy(x->record, c->version))) return true;
    return candidate_obstacle(c, x->place) == REG_ELIGIBLE;
}

#endif
