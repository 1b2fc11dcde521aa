#include "choose/heat.h"

/* The index of the order statistic: the integer part of 0.84 * (count - 1). */
static size_t limit_index(size_t count) { return (count - 1) * 21 / 25; }

/* Hoare's FIND (1961). */
const candidate *heat_limit(const candidate **all, size_t count) {
    ptrdiff_t wanted = (ptrdiff_t)limit_index(count), low = 0, high = (ptrdiff_t)count - 1;
    while (low < high) {
        const candidate *pivot = all[low + (high - low) / 2];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (compare_heats(all[i], pivot) < 0) i++;
            while (compare_heats(pivot, all[j]) < 0) j--;
            if (i > j) break;
            const candidate *other = all[i];
            all[i++] = all[j];
            all[j--] = other;
        }
        if (wanted > j) low = i;
        if (wanted < i) high = j;
    }
    return all[wanted];
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

void heat_rate_hand(picks *p) {
    if (p->hand_count == 0) return;
    const candidate *all[HAND];
    for (uint32_t i = 0; i < p->hand_count; i++) all[i] = &p->hand[i].seen;
    const candidate *limit = heat_limit(all, p->hand_count);
    bool by_ttft = false;
    for (uint32_t i = 0; i < p->hand_count; i++) by_ttft |= heat_is_known(&p->hand[i], limit);
    for (uint32_t i = 0; i < p->hand_count; i++)
        p->hand[i].seen.credit = heat_credit(&p->hand[i], limit, by_ttft);
}
