#include "choose/affinity.h"

#include <string.h>

#include "base/random.h"

__extension__ typedef __int128 int128;

/* ---- the distance ---- */

/* For the 64 parts of [1, 2): a reciprocal, in units of 1/128, and -ln of it, in units of
 * 2**-58. */
static const struct {
    uint64_t reciprocal, logarithm;
} parts[64] = {
    {127, 0x0008080ABAC46F39}, {125, 0x0018492528C8CABF}, {123, 0x0028CD5DA85BC7D3},
    {121, 0x003996E79BBB6597}, {120, 0x00421662D678E81A}, {118, 0x00534C457481FAB1},
    {116, 0x0064CD7975652623}, {115, 0x006DAB2236B56C6F}, {113, 0x007FA244E76F5596},
    {111, 0x0091EB89524E100D}, {110, 0x009B2FE580AC80B1}, {109, 0x00A489EC199DAB07},
    {107, 0x00B780945BAB55DD}, {106, 0x00C11E0B2A8D1E0E}, {104, 0x00D49F69E456CF1B},
    {103, 0x00DE8439C1DEC568}, {102, 0x00E881BF932AF3DB}, {101, 0x00F29877FF388091},
    {99, 0x0107138604D58627},  {98, 0x011178E8227E47BE},  {97, 0x011BF99635A6B94E},
    {96, 0x01269621134DB928},  {95, 0x01314F1E1D35CE3B},  {94, 0x013C25277333183B},
    {93, 0x014718DC271C41B0},  {92, 0x01522AE0738A3D7D},  {91, 0x015D5BDDF595F2FA},
    {90, 0x0168AC83E9C6A142},  {89, 0x01741D876C67BB16},  {88, 0x017FAFA3BD8151BF},
    {87, 0x018B639A88B2DF4A},  {86, 0x01973A3431356ADD},  {85, 0x01A33440224FA78D},
    {84, 0x01AF5295248CDD06},  {83, 0x01BB9611B80E2FB1},  {82, 0x01C7FF9C74554C92},
    {82, 0x01C7FF9C74554C92},  {81, 0x01D490246DEFA6B7},  {80, 0x01E148A1A2726CD9},
    {79, 0x01EE2A156B413E50},  {78, 0x01FB358AF7A48843},  {78, 0x01FB358AF7A48843},
    {77, 0x02086C17CEC0759E},  {76, 0x0215CEDC5A0A9F48},  {76, 0x0215CEDC5A0A9F48},
    {75, 0x02235F0478EB54F3},  {74, 0x02311DC81E4794CC},  {73, 0x023F0C6BF8C2CB1B},
    {73, 0x023F0C6BF8C2CB1B},  {72, 0x024D2C42269B724F},  {72, 0x024D2C42269B724F},
    {71, 0x025B7EAAF61BE859},  {70, 0x026A0515B3B190B8},  {70, 0x026A0515B3B190B8},
    {69, 0x0278C10186D7F6A4},  {69, 0x0278C10186D7F6A4},  {68, 0x0287B3FE5F24789A},
    {67, 0x0296DFADF2E183EE},  {67, 0x0296DFADF2E183EE},  {66, 0x02A645C4D0CF0AE6},
    {66, 0x02A645C4D0CF0AE6},  {65, 0x02B5E80B86C93BF5},  {65, 0x02B5E80B86C93BF5},
    {64, 0x02C5C85FDF473DE7},
};

#define LN_2 0x2C5C85FDF473DE7u /* in units of 2**-58 */

/* The product of two numbers in units of 2**-60. Rounds down: compilers shift with the sign. */
static inline int64_t times(int64_t a, int64_t b) { return (int64_t)((int128)a * b >> 60); }

/* ln(1 + z), where z is at most 1/64 in size, by its series: z - z**2 / 2 + z**3 / 3 and so on. The
 * first term that is left out is below 2**-57. Both in units of 2**-60. */
static inline int64_t logarithm_near_1(int64_t z) {
    int64_t sum = 0;
    for (int64_t n = 8; n != 0; n--) sum = ((int64_t)1 << 60) / n - times(z, sum);
    return times(z, sum);
}

/* With u = f * 2**-k and f in [1, 2): -ln(u) = k * ln(2) - ln(f). A reciprocal r of f, of few bits,
 * makes f * r = 1 + z exact; then ln(f) = ln(1 + z) - ln(r). */
uint64_t key_distance(uint64_t draw) {
    uint64_t u = draw >> 10 | 1; /* in units of 2**-54 */
    int shift = __builtin_clzll(u) - 10;
    uint64_t f = u << shift; /* in units of 2**-53 */
    uint64_t part = f >> 47 & 63;
    int64_t z = (int64_t)(f * parts[part].reciprocal - ((uint64_t)1 << 60));
    return (uint64_t)(shift + 1) * LN_2 - parts[part].logarithm -
           (uint64_t)(logarithm_near_1(z) >> 2);
}

/* 1 - u, which -ln(u) is never below. Nor is `key_distance`, because it rounds up where both are
 * almost equal. In the same units. */
static inline uint64_t least_distance(uint64_t draw) {
    return ((uint64_t)1 << 58) - ((draw >> 10 | 1) << 4);
}

/* ---- the order ---- */

/* The key, as the draws take it. */
static inline uint64_t salt_of(const choice *c) {
    return random_mix(c->request->affinity + 0x9E3779B97F4A7C15u);
}

static inline uint64_t draw_of(uint64_t salt, uint64_t id) { return random_mix(id ^ salt); }

/* The weight of the definition, at the choice's version. */
static inline uint32_t whole_weight(const choice *c, const candidate *x) {
    return x->limits == NULL
               ? x->weight
               : (uint32_t)record_state_at(x->record, c->version)->weight * WEIGHT_UNIT;
}

static inline key_place place_with(const choice *c, const candidate *x, uint64_t draw) {
    return (key_place){.id = &x->record->item.key,
                       .draw = draw,
                       .next = next_load(x),
                       .weight = x->weight,
                       .whole = whole_weight(c, x),
                       .is_within = true};
}

key_place key_place_of(const choice *c, const candidate *x) {
    return place_with(c, x, draw_of(salt_of(c), record_id_hash(x->record)));
}

/* The hash of the id, for a choice, which keeps it for the next one. */
static inline uint64_t kept_hash(const choice *c, record *r) {
    outcomes *o = record_outcomes(r, (settings *)c->settings);
    return reg_likely(o != NULL) ? o->id_hash : record_hash_id(r);
}

static uint64_t distance_of(key_place *place) {
    if (place->distance == 0) place->distance = key_distance(place->draw);
    return place->distance;
}

static int compare_ids(const reg_key *a, const reg_key *b) {
    int order = memcmp(a->data, b->data, a->length < b->length ? a->length : b->length);
    return order != 0 ? order : compare(a->length, b->length);
}

/* By the ranking of the key. */
static int compare_ranks(key_place *a, key_place *b) {
    if (a->weight != b->weight) {
        uint128 left = (uint128)distance_of(a) * b->weight,
                right = (uint128)distance_of(b) * a->weight;
        if (left != right) return left < right ? -1 : 1;
    }
    return reg_likely(a->draw != b->draw) ? compare(b->draw, a->draw) : compare_ids(a->id, b->id);
}

/* Whether a candidate is certain to come later in the ranking. Says so in most cases where it does,
 * and computes no distance for it. */
static always_inline bool comes_later(uint64_t draw, uint32_t weight, key_place *best) {
    if (reg_likely(weight == best->weight)) return draw < best->draw;
    return (uint128)least_distance(draw) * best->weight > (uint128)distance_of(best) * weight;
}

int key_compare(key_place *a, key_place *b) {
    if (a->is_within != b->is_within) return a->is_within ? -1 : 1;
    int by_load = a->is_within ? 0 : compare(a->next * b->whole, b->next * a->whole);
    return by_load != 0 ? by_load : compare_ranks(a, b);
}

/* ---- the bound ---- */

bool key_is_low(const choice *c, const key_place *place) {
    const reg_settings *values = &c->settings->values;
    if (values->affinity_load < 0) return true;
    /* In units of 2**-64, so no bit that matters of the floor is lost. */
    uint128 floor = (uint128)(values->affinity_floor * 0x1p64);
    return ((uint128)place->next * WEIGHT_UNIT) << 64 <= floor * place->whole;
}

bool key_is_within_mean(const choice *c, const key_mean *mean, const key_place *place) {
    /* From 1 to 1,000, so it is a whole number of units of 2**-52. */
    uint64_t load = (uint64_t)(c->settings->values.affinity_load * 0x1p52);
    return (uint128)place->next * mean->weights << 52 <=
           (uint128)load * (mean->in_flight + 1) * place->whole;
}

/* ---- the passes ---- */

/* Whether the member can take the request: nothing stands against it, and it is not full. */
static always_inline bool has_room(const choice *c, const candidate *x) {
    return candidate_is_eligible(c, x, c->is_plain) && !candidate_is_full(x);
}

/* Finds the first in the ranking, and adds up the mean. Notes whether one has been passed over for
 * what its word says. */
static always_inline key_place find_first(const choice *shared, bool is_careful, picks *p,
                                          key_mean *sums) {
    const choice local = *shared, *c = &local; /* a local copy can stay in registers */
    uint64_t salt = salt_of(c), tally = 0, in_flight = 0;
    key_mean mean = {0};
    key_place best = {0};
    candidate first;
    bool has_skipped = false;
    EACH_LISTED(c, 0, c->reading.length, m) {
        candidate x = candidate_at(c, m, false, is_careful);
        tally += tally_of(&x);
        in_flight += counter_in_flight(x.pending);
        reg_reason reason = candidate_reason(c, &x, c->is_plain);
        bool is_full = reason == REG_FULL || candidate_is_full(&x);
        if (reg_unlikely(reason != REG_ELIGIBLE || is_full)) {
            has_skipped |= is_full || counter_has_trial(x.pending);
            continue;
        }
        mean.in_flight += counter_in_flight(x.pending);
        mean.weights += whole_weight(c, &x);
        uint64_t draw = draw_of(salt, kept_hash(c, x.record));
        if (reg_likely(best.id != NULL) && comes_later(draw, x.weight, &best)) continue;
        key_place place = place_with(c, &x, draw);
        if (best.id != NULL && compare_ranks(&place, &best) > 0) continue;
        best = place;
        first = x;
    }
    p->tally = tally;
    p->in_flight = in_flight;
    p->has_skipped = has_skipped;
    p->count = best.id != NULL;
    if (p->count != 0) p->best = first;
    *sums = mean;
    return best;
}

/* Finds the first in the order of `key_compare`, where the first in the ranking is over the bound.
 * The words may have changed since the first pass; then the attempt fails, because the sums of that
 * pass are compared in the end. */
static __attribute__((noinline)) void find_within(const choice *c, const key_mean *mean, picks *p) {
    uint64_t salt = salt_of(c);
    key_place best = {0};
    EACH_LISTED(c, 0, c->reading.length, m) {
        candidate x =
            c->is_careful ? candidate_at(c, m, false, true) : candidate_at(c, m, false, false);
        if (!has_room(c, &x)) continue;
        key_place place = place_with(c, &x, draw_of(salt, kept_hash(c, x.record)));
        place.is_within = key_is_low(c, &place) || key_is_within_mean(c, mean, &place);
        if (best.id != NULL && key_compare(&place, &best) > 0) continue;
        best = place;
        p->best = x;
    }
}

void pick_by_key(choice *c, picks *p) {
    key_mean mean;
    key_place first =
        c->is_careful ? find_first(c, true, p, &mean) : find_first(c, false, p, &mean);
    p->uses_mean = p->count != 0 && !key_is_low(c, &first);
    if (p->uses_mean && !key_is_within_mean(c, &mean, &first)) find_within(c, &mean, p);
}
