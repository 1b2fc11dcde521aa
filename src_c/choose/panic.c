#include "choose/panic.h"

bool is_panic(choice *c) {
    uint32_t all = 0, left = 0;
    c->has_counted_left = true;
    c->ignores_ejection = true; /* for candidate_obstacle */
    EACH_LISTED(c, 0, c->reading.length, m) {
        /* REG_FULL: its tokens are over the cap, and full ones count too. */
        reg_reason reason = candidate_obstacle(c, m, 0, 0);
        if (reason != REG_ELIGIBLE && reason != REG_FULL) continue;
        all++;
        left += !(record_standing_at(m->record, c->version) & STANDING_EJECTED);
    }
    c->ignores_ejection = false;
    /* A division, because it is rounded correctly: 29 of 100 is a share of 0.29. */
    return left < all && (double)left / all <= c->settings->values.panic;
}
