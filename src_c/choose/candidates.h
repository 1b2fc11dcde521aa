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
    member_array *few;      /* see few.h; NULL: the choice reads the model's list */
    reg_registry *waited;   /* whose waiters the choice must not overtake: see awaited.h; or NULL */
    member_reading reading; /* of that list */
    uint64_t version;
    /* See rounds.h for these. */
    uint32_t start;          /* the position at which a pass begins */
    uint32_t now;            /* the next tick, which is newer than every stamp */
    uint32_t round_age;      /* a member of a greater age is unserved in this round */
    uint32_t disorder;       /* over short lists, passes are full until so many are in order */
    _Atomic uint64_t *round; /* the word of the round that this choice belongs to */
    bool is_kind_round;      /* the round belongs to this kind of request */

    /* The registry's time, for all passes of the attempt. 0: not read, because no registration has
     * flags and the policy reads no averages. */
    uint64_t time;
    uint32_t last_old; /* a sample of a later tick is not too old; of this one, look again */

    uint32_t best_average; /* ms; see policy.h */
    bool ignores_ejection; /* see panic.h */
    bool has_counted_left; /* the choice depends on the standing of all members: panic.h */
    bool is_trial;         /* the chosen candidate is ejected, and its time over */
    uint32_t tokens;       /* what the request adds to those of the chosen candidate */
    /* For a request with a prefix: see prompts.h. */
    uint32_t promised;      /* places for blocks, */
    prefix_index *noted_in; /* in this index of the chosen candidate; NULL: none */
    uint64_t cached;        /* the tokens that are cached there */
    const settings *settings;
    uint64_t tally;   /* of an attempt that found nobody, for the refusal; or TALLY_UNKNOWN */
    bool is_plain;    /* every healthy backend that is not full is eligible */
    bool is_careful;  /* see candidate_at */
    bool is_searched; /* for a policy that draws few: this pass has read the whole list */
} choice;

#define TALLY_UNKNOWN UINT64_MAX /* for `tally`: the attempt was not rechecked */
#define NO_ROUND UINT32_MAX      /* for `round_age`: no member is older */

/* Sorts the ids of the request, because `candidate_obstacle` looks them up by bisection. */
void request_prepare(reg_request *request);

/* Reads the committed version, and the model's list at that version. Returns false if there is no
 * candidate, because no backend lists the model. The caller has set `few` and `waited`. */
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

/* How far a pass has come when it meets the candidate. */
static inline uint32_t distance_from_start(const choice *c, const candidate *x) {
    uint32_t position = position_of(c, x);
    return position >= c->start ? position - c->start : position + c->reading.length - c->start;
}

/* The weight of a backend that may be starting slowly: it grows from a tenth to the whole. */
uint32_t weight_at(const choice *c, const state *s);

/* Whether a sample of the last tick of old ones is not too old. */
bool sample_is_recent(const choice *c, const counter_line *line);

static always_inline bool average_surely_counts(const choice *c, const counter_line *line) {
    return load_published(&((counter_line *)line)->sampled_at) > c->last_old;
}

/* Whether the average has a sample that is not too old. */
static inline bool average_counts(const choice *c, const counter_line *line) {
    if (average_surely_counts(c, line)) return true;
    return load_published(&((counter_line *)line)->sampled_at) == c->last_old &&
           sample_is_recent(c, line);
}

/* Reads the counts and the limits of a member of the list. The limits on the counter line may be
 * those of a write that is not committed (record.h). The attempt fails then, except if it is
 * careful and has read the limits of its version. A choice is careful if a write has begun that may
 * change limits, or if a member may be starting slowly. */
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
        x.weight = weight_at(c, s);
    }
    return x;
}

/* How many tokens of the request's prefix the backend is known to have. Not with the address of the
 * candidate, which then could not stay in registers. */
uint64_t tokens_known_by(const choice *c, const record *r);

/* Sets the tokens that the request would add to those of this candidate. Only once: what the
 * backend is known to have may change, but the comparisons, the cap and the sum must agree. */
static always_inline void candidate_add_tokens(const choice *c, candidate *x, bool with_prefix) {
    uint32_t tokens = c->request->tokens;
    x->added_tokens = tokens;
    if (!with_prefix) return;
    x->cached = tokens_known_by(c, x->record);
    x->added_tokens = x->cached < tokens ? (uint32_t)(tokens - x->cached) : 1;
}

static inline bool has_prefix(const choice *c) { return c->request->prefix != NULL; }

/* Reads the tokens of a candidate, after its word: see step c. in select.c. */
static always_inline void candidate_read_tokens(const choice *c, candidate *x, bool with_prefix) {
    x->tokens = load_seq_cst(&line_of(x->record)->counters.tokens);
    candidate_add_tokens(c, x, with_prefix);
}

/* Whether the tokens of a member leave no room for a request that adds `added`, or may have left
 * none since its word `pending` was read. A request that is too big for the cap fits where nothing
 * is in flight, or it would fit nowhere. */
bool tokens_are_over_cap(const choice *c, const member *place, uint64_t pending, uint32_t added);

/* The tokens that the request adds to those of a candidate that a pass has read. */
static inline uint32_t tokens_added(const choice *c, const candidate *x) {
    return c->traits->reads_tokens ? x->added_tokens : c->request->tokens;
}

/* The same, with a fast path for a member without a cap. */
static inline bool candidate_lacks_tokens(const choice *c, const candidate *x) {
    if (reg_likely(record_is_plainly_healthy(x->record, c->version))) return false;
    return tokens_are_over_cap(c, x->place, x->pending, tokens_added(c, x));
}

static inline bool candidate_is_full(const candidate *x) {
    return counter_in_flight(x->pending) >= load_published(&limits_of(x)->max_pending);
}

/* The reason why the request can't use this member, apart from the number in flight; or
 * REG_ELIGIBLE. `pending` is the member's word, which says whether a trial is out. REG_FULL is for
 * the tokens, of which the request adds `added`. */
reg_reason candidate_obstacle(const choice *c, const member *place, uint64_t pending,
                              uint32_t added);

/* Whether a request that takes this ejected candidate is a trial, although the choice ignores
 * ejections: it is one if the time is over and the place is free. */
bool candidate_is_due(const choice *c, const candidate *x);

/* Whether a request that takes this eligible candidate is a trial. */
static inline bool candidate_is_trial(const choice *c, const candidate *x) {
    return !record_is_plainly_healthy(x->record, c->version) &&
           record_standing_at(x->record, c->version) & STANDING_EJECTED &&
           (!c->ignores_ejection || candidate_is_due(c, x));
}

/* The same, with a fast path for plain requests. */
static inline reg_reason candidate_reason(const choice *c, const candidate *x, bool is_plain) {
    if (reg_likely(is_plain && record_is_plainly_healthy(x->record, c->version)))
        return REG_ELIGIBLE;
    return candidate_obstacle(c, x->place, x->pending, tokens_added(c, x));
}

/* Whether there is no such obstacle. */
static inline bool candidate_is_eligible(const choice *c, const candidate *x, bool is_plain) {
    return candidate_reason(c, x, is_plain) == REG_ELIGIBLE;
}

#endif
