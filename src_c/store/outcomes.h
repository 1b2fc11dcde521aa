/* The outcomes of the requests of one registration: what they count, and what they teach.
 *
 * A registration gets its block before its first request, or from the first choice by AFFINITY that
 * ranks it. So a backend without requests costs nothing.
 *
 * Failures and abandoned requests are counted under a lock, because each of them changes several
 * numbers that belong together. A success, the usual case, only adds to TOTAL and looks at two
 * words: QUIET_UNTIL says whether there is anything to end (a row of failures, a
 * bucket, an ejection), and EJECTION whether this request counts at all.
 *
 * The window. Outcomes are counted in two buckets, each as long as the window: the current one and
 * the one before. The judged span is both together, so it is one to two windows long and ends now.
 * The counts of a bucket are the growth of three numbers since it began: the total, `neutral` (the
 * part of the total that counts for nothing) and `failures`. The first outcome after the end of a
 * bucket begins the next one. So the outcomes that a bucket counts happened before its end.
 *
 * Which requests count. A request knows the version at which it was chosen. An ejection at version
 * W begins everything anew, and only requests that were chosen at W or later count from then on.
 * Both are under LOCK, so no older request counts in a newer row.
 *
 * Who may write what. The words are written under LOCK, apart from those with another comment. A
 * success that reads QUIET_UNTIL before a failure changes it takes effect before that failure.
 * FAILED, `neutral` and `failures` change together with TOTAL under LOCK. So whoever holds LOCK
 * never sees a failure in one of them and not in the others. FAILED grows after TOTAL, and
 * views read it before TOTAL, so they never show more failures than requests. A success may
 * come in between; then it comes before or after the one that holds LOCK.
 *
 * A success reads the first line and writes the second one. The third one is for what is rare.
 *
 * LOCK is a leaf, one of several mutexes (lock_stripes.h). */
#ifndef REG_OUTCOMES_H
#define REG_OUTCOMES_H

#include "base/lock_stripes.h"
#include "store/counters.h"
#include "store/prefix_map.h"
#include "store/settings.h"

/* Numbers at the beginning of a bucket. They wrap; only differences count. */
typedef struct outcome_mark {
    uint32_t outcomes;
    uint32_t failures;
} outcome_mark;

typedef struct outcomes {
    _Alignas(REG_CACHE_LINE) settings *settings; /* immutable */
    _Atomic uint64_t quiet_until; /* 0 if there is a row; see update_quiet in outcomes.c */
    _Atomic uint64_t ejection;    /* the version of the last ejection; 0: none */
    uint64_t id_hash;             /* of the registration's id, for AFFINITY; immutable */
    uint32_t failures;            /* those that count toward ejection */
    uint32_t neutral;             /* see above */
    uint32_t row;                 /* failures in a row, as far as they count */
    bool is_ejected;
    outcome_mark current, previous;

    /* Written by any thread. */
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t total; /* requests that have ended */
    _Atomic uint64_t failed;                         /* all failed requests, for views */
    _Atomic uint64_t sampled;      /* the time of the last sample of the latency */
    _Atomic uint64_t ttft;         /* average time to first token, like counters.latency */
    _Atomic uint64_t ttft_sampled; /* likewise: the time of its last sample, */
    _Atomic uint64_t ttft_at;      /* stored after the average, for choices */

    _Alignas(REG_CACHE_LINE) uint64_t bucket_end; /* REG_NEVER: there are no windows */
    uint64_t ejected_until;                       /* if it is ejected */
    uint64_t settle_from; /* from then on, a success can clear what has passed; or REG_NEVER */
    /* Only under the registry's writer lock; see registry/availability.c. */
    _Atomic uint64_t transition; /* the version of the last ejection or restoration */
    uint64_t restored_at;        /* 0: not restored since the last ejection */
    uint32_t ejections;          /* in a row */
    uint32_t successes;          /* of the trial, in a row */
    prefix_map_place prefixes;   /* what it has read: see prefix_map.h */
} outcomes;

_Static_assert(offsetof(outcomes, total) == REG_CACHE_LINE &&
                   offsetof(outcomes, bucket_end) == 2 * REG_CACHE_LINE &&
                   sizeof(outcomes) == 3 * REG_CACHE_LINE,
               "a success reads and writes two lines only");

/* Adds a sample (milliseconds) that is taken now to an average whose last one was taken at
 * `sampled`. Returns the new average. An average that is too old to count begins anew, or one slow
 * start would keep a backend away for many times that long. The average and its time are two words.
 * The time comes first, because it elects the sample that begins anew. So a choice must not take
 * the average for a recent one by that time. It reads another word that the caller stores
 * afterwards. Between the two, it may find the new average with the old time; then it ignores an
 * average that was too old before. */
static inline uint32_t average_add(const outcomes *o, _Atomic uint64_t *average,
                                   _Atomic uint64_t *sampled, uint32_t sample, uint64_t now) {
    uint64_t last = load_published(sampled), ttl = o->settings->values.latency_ttl;
    bool is_too_old = last < now && now - last > ttl;
    /* Of several samples that find it too old, one begins anew. */
    bool begins_anew = is_too_old && cas_strong_seq_cst(sampled, &last, now);
    uint32_t value = latency_update(average, sample, begins_anew);
    if (last < now) publish(sampled, now);
    return value;
}

/* Adds a sample of the time to the first token. */
static inline void ttft_add(outcomes *o, uint32_t sample, uint64_t now) {
    average_add(o, &o->ttft, &o->ttft_sampled, sample, now);
    if (load_published(&o->ttft_at) < now) publish(&o->ttft_at, now);
}

/* A block with its first bucket. NULL if out of memory. */
outcomes *outcomes_new(settings *s, uint64_t id_hash);
void outcomes_free(outcomes *o);

/* One request that ends. */
typedef struct ended_request {
    uint64_t version; /* at which it was chosen */
    uint64_t now;
    bool
        ends_trial; /* set by outcomes_fail: it is due because its time as an ejected one is over */
} ended_request;

/* Whether a success has nothing to do here but to add to the total. */
static inline bool outcomes_is_quiet(const outcomes *o, uint64_t version, uint64_t now) {
    return now < load_seq_cst(&((outcomes *)o)->quiet_until) &&
           version >= load_seq_cst(&((outcomes *)o)->ejection);
}

/* Counts a success, and ends the row and the bucket. Returns whether there is something to settle:
 * it counts as a trial's, or something has passed. */
bool outcomes_succeed(outcomes *o, const ended_request *request);

/* Counts a failed request. Returns whether the backend is to be ejected: the row is long enough, or
 * too many in the window have failed, or its time as an ejected one was over. */
bool outcomes_fail(outcomes *o, ended_request *request);

/* Counts such a failure anew if the backend has been restored before the failure could eject it
 * again: it is then one of a backend like any other. Returns whether that ejects it. */
bool outcomes_fail_restored(outcomes *o);

/* Adds to the total one that counts for nothing, and returns the total. `has_failed`: it is a
 * failed request all the same. */
uint64_t outcomes_add_neutral(outcomes *o, bool has_failed);

/* Notes an ejection at `version` until `until`, and begins the counts anew. */
void outcomes_eject(outcomes *o, uint64_t version, uint64_t now, uint64_t until);
/* Notes that the backend is not ejected any more, and when something else of it passes. */
void outcomes_restore(outcomes *o, uint64_t settle_from);
/* Notes when something passes. */
void outcomes_settle_from(outcomes *o, uint64_t settle_from);

extern lock_stripes outcome_locks; /* all LOCKs */

#endif
