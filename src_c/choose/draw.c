#include "choose/draw.h"

#include "base/random.h"

/* Each of the two is drawn up to MANY_DRAWS times before the whole list is read. A request that may
 * block makes one more draw for each MEMBERS_PER_DRAW members, which costs little compared to
 * reading them. */
enum { MANY_DRAWS = 16, MEMBERS_PER_DRAW = 64 };

static bool draw_one(const choice *c, candidate *x, const member *other_than) {
    uint32_t draws =
        MANY_DRAWS + (c->request->may_block ? c->reading.length / MEMBERS_PER_DRAW : 0);
    for (uint32_t i = 0; i < draws; i++) {
        const member *m = c->reading.array->members + random_below(c->reading.length);
        if (m == other_than || !member_is_in(m, c->reading.tick)) continue;
        *x = candidate_at(c, m, false, c->is_careful);
        if (candidate_is_eligible(c, x, c->is_plain) && !candidate_is_full(x)) return true;
    }
    return false;
}

static void swap_picks(picks *p) {
    candidate first = p->best;
    p->best = p->second;
    p->second = first;
}

/* Draws two of all eligible candidates, with a reservoir of two (Vitter, 1985: algorithm R). */
static void draw_from_all(const choice *c, picks *p) {
    uint64_t seen = 0;
    EACH_LISTED(c, 0, c->reading.length, m) {
        candidate x = candidate_at(c, m, false, c->is_careful);
        p->tally += tally_of(&x);
        if (!candidate_is_eligible(c, &x, c->is_plain) || candidate_is_full(&x)) continue;
        uint64_t place = seen < 2 ? seen : random_below(seen + 1);
        seen++;
        if (place == 0) p->best = x;
        if (place == 1) p->second = x;
    }
    p->count = (uint32_t)least((int64_t)seen, 2);
    /* The reservoir favours the list's first member as the first of the two. The first one wins
     * ties, so swap them at random. */
    if (p->count == 2 && random_next() & 1) swap_picks(p);
}

verdict draw_two(choice *c, picks *p) {
    bool is_short = c->reading.length <= 2;
    if (!is_short && draw_one(c, &p->best, NULL) && draw_one(c, &p->second, p->best.place)) {
        p->count = 2;
    } else {
        if (c->reading.length > QUICK_LENGTH && !c->request->may_block) return WOULD_BLOCK;
        draw_from_all(c, p);
        c->is_searched = true;
    }
    if (p->count == 2 && compare_loads(&p->second, &p->best) < 0) swap_picks(p);
    return CHOSEN;
}
