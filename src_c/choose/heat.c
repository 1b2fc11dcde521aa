#include "choose/heat.h"

/* The index of the order statistic: the integer part of 0.84 * (count - 1). */
static size_t limit_index(size_t count) { return (count - 1) * 21 / 25; }

/* Hoare's FIND (1961). */
const candidate *heat_limit(card **cards, size_t count) {
    ptrdiff_t wanted = (ptrdiff_t)limit_index(count), low = 0, high = (ptrdiff_t)count - 1;
    while (low < high) {
        const candidate *pivot = &cards[low + (high - low) / 2]->seen;
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (compare_heats(&cards[i]->seen, pivot) < 0) i++;
            while (compare_heats(pivot, &cards[j]->seen) < 0) j--;
            if (i > j) break;
            card *other = cards[i];
            cards[i++] = cards[j];
            cards[j--] = other;
        }
        if (wanted > j) low = i;
        if (wanted < i) high = j;
    }
    return &cards[wanted]->seen;
}

static bool ttft_counts(const choice *c, const outcomes *o, uint64_t word) {
    if (!latency_is_sampled(word)) return false;
    uint64_t taken = load_seq_cst(&((outcomes *)o)->ttft_at), ttl = c->settings->values.latency_ttl;
    return c->time <= ttl || taken >= c->time - ttl;
}

void heat_read(const choice *c, card *k) {
    const counter_line *line = line_of(k->seen.record);
    outcomes *o = load_published(&((counter_line *)line)->outcomes);
    k->ttft = o != NULL ? load_seq_cst(&o->ttft) : 0;
    k->has_ttft = o != NULL && ttft_counts(c, o, k->ttft);
    k->seen.is_sampled = average_counts(c, line);
}

/* The credit of a candidate. `by_ttft`: some cold one has an average time to the first token. */
static int64_t credit_of(const card *k, const candidate *limit, bool by_ttft) {
    if (compare_heats(&k->seen, limit) > 0) return HEAT_HOT;
    if (by_ttft) return k->has_ttft ? (int64_t)latency_of(k->ttft) : HEAT_UNKNOWN;
    return k->seen.is_sampled ? (int64_t)latency_of(k->seen.latency) : HEAT_UNKNOWN;
}

void heat_rate(card **cards, size_t count) {
    if (count == 0) return;
    const candidate *limit = heat_limit(cards, count);
    bool by_ttft = false;
    for (size_t i = 0; i < count; i++)
        by_ttft |= cards[i]->has_ttft && compare_heats(&cards[i]->seen, limit) <= 0;
    for (size_t i = 0; i < count; i++) cards[i]->seen.credit = credit_of(cards[i], limit, by_ttft);
}
