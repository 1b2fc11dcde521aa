#include "choose/draw.h"

#include "base/random.h"
#include "choose/heat.h"
#include "choose/rounds.h"

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

/* ---- a hand ---- */

static bool is_in_hand(const picks *p, const member *m) {
    for (uint32_t i = 0; i < p->hand_count; i++)
        if (p->hand[i].seen.place == m) return true;
    return false;
}

/* Draws up to `count` members one after the other, and keeps the eligible ones that the hand does
 * not have yet. Their cache lines are fetched all at once: in a long list each of them is a
 * miss. */
static void draw_cards(const choice *c, picks *p, uint32_t count) {
    const member *drawn[HAND];
    for (uint32_t i = 0; i < count; i++) {
        drawn[i] = c->reading.array->members + random_below(c->reading.length);
        __builtin_prefetch(drawn[i]);
    }
    for (uint32_t i = 0; i < count; i++) __builtin_prefetch(line_of(drawn[i]->record));
    for (uint32_t i = 0; i < count; i++) {
        const member *m = drawn[i];
        if (!member_is_in(m, c->reading.tick) || is_in_hand(p, m)) continue;
        candidate x = candidate_at(c, m, true, c->is_careful);
        if (!candidate_is_eligible(c, &x, c->is_plain) || candidate_is_full(&x)) continue;
        heat_fetch_ahead(&x);
        p->hand[p->hand_count++].seen = x;
    }
}

/* Fills the hand without reading the whole list. Returns false if too few are found. Of a short
 * list it makes few draws, because reading that costs little. */
static bool fill_hand(const choice *c, picks *p) {
    uint32_t draws = (uint32_t)least(HAND * MANY_DRAWS, 2 * (int64_t)c->reading.length);
    if (c->request->may_block) draws += c->reading.length / MEMBERS_PER_DRAW;
    while (p->hand_count < HAND && draws != 0) {
        uint32_t count = (uint32_t)least(HAND - p->hand_count, draws);
        draw_cards(c, p, count);
        draws -= count;
    }
    return p->hand_count == HAND;
}

/* Draws the hand from all eligible candidates, with a reservoir (Vitter, 1985: algorithm R). */
static void fill_hand_from_all(const choice *c, picks *p) {
    uint64_t seen = 0;
    EACH_LISTED(c, 0, c->reading.length, m) {
        candidate x = candidate_at(c, m, true, c->is_careful);
        p->tally += tally_of(&x);
        if (!candidate_is_eligible(c, &x, c->is_plain) || candidate_is_full(&x)) continue;
        uint64_t place = seen < HAND ? seen : random_below(seen + 1);
        seen++;
        if (place < HAND) p->hand[place].seen = x;
    }
    p->hand_count = (uint32_t)least((int64_t)seen, HAND);
}

/* Whether `a` is chosen rather than `b`: see rounds.h for ties. */
static bool is_preferred(const choice *c, const candidate *a, const candidate *b) {
    int order = preference(REG_HOT_COLD, a, b, 0);
    if (order != 0) return order < 0;
    return a->age != b->age ? a->age > b->age
                            : distance_from_start(c, a) < distance_from_start(c, b);
}

verdict draw_hand(choice *c, picks *p) {
    p->hand_count = 0;
    c->is_searched = c->reading.length <= HAND || !fill_hand(c, p);
    if (c->is_searched) {
        if (c->reading.length > QUICK_LENGTH && !c->request->may_block) return WOULD_BLOCK;
        fill_hand_from_all(c, p);
    }
    for (uint32_t i = 0; i < p->hand_count; i++) heat_read(c, &p->hand[i]);
    card *cards[HAND];
    for (uint32_t i = 0; i < p->hand_count; i++) cards[i] = &p->hand[i];
    heat_rate(cards, p->hand_count);
    for (uint32_t i = 0; i < p->hand_count; i++) {
        candidate *x = &p->hand[i].seen;
        x->age = age_of(c, x->record);
        if (i == 0 || is_preferred(c, x, &p->best)) p->best = *x;
    }
    p->count = p->hand_count != 0;
    return CHOSEN;
}
