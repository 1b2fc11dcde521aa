/* The parts of a registry, and the conversions between the facade's opaque pointers and the core's
 * own types. */
#ifndef REG_LAYOUT_H
#define REG_LAYOUT_H

#include <pthread.h>

#include "reclaim/reading.h"
#include "registry.h"
#include "registry/line.h"
#include "registry/waiters.h"
#include "store/alias.h"
#include "store/memberships.h"
#include "store/model_index.h"
#include "store/record.h"

/* The counts of this many latest versions are stored. Reading the counts of one version takes much
 * less time than this many writes. */
enum { CENSUS_VERSIONS = 16 };

struct reg_registry {
    string_map records;         /* id -> record */
    _Atomic uint64_t committed; /* version.h */
    /* The version of the last write that changed what choices depend on. See select.c. */
    _Atomic uint64_t choices_changed;
    /* At least as many as there are registrations with flags of an availability. Written under the
     * writer lock, raised before and lowered after the commit. */
    _Atomic uint64_t flagged;
    settings *settings; /* immutable */
    member_list roster;
    model_index models;
    string_map urls;      /* normalized url -> alias */
    string_map instances; /* mDNS instance -> alias */
    /* At index V % CENSUS_VERSIONS, the counts of version V: backends << 32 | models. */
    _Atomic uint64_t census[CENSUS_VERSIONS];

    /* The number of choices; a hint, and never 0. See rounds.h. */
    _Alignas(REG_CACHE_LINE) _Atomic uint32_t tick;

    /* Under the writer lock, which is in the settings (settings.h). It guards every field that is
     * not published. */
    _Alignas(REG_CACHE_LINE) epoch_limbo limbo;
    uint64_t last_serial;          /* the serial number given last; 0: none yet */
    uint64_t fleet_changed;        /* the version of the last write of reg_apply or reg_remove */
    generations *generations;      /* of this registry's views */
    reg_watch *watches;            /* the open ones, a list: see watch.c */
    epoch_node *dropped_changes;   /* by the current write: see watch.c */
    pthread_mutex_t turns;         /* the turns lock: see locks.h */
    reg_registry *previous, *next; /* in the list of all registries; see fork.h */

    waiter_list waiters; /* who sleeps until a watch has a change; it has a lock of its own */
    waiting_line line;   /* who sleeps until a place is free; under LINE, see line.h */
};

/* ---- the facade's opaque pointers: only these functions convert them ---- */

static inline reg_reader *reader_from_slot(epoch_slot *slot) { return (reg_reader *)slot; }
static inline epoch_slot *slot_of_reader(reg_reader *reader) { return (epoch_slot *)reader; }

static inline reg_kept *kept_from_reservation(reservation *r) { return (reg_kept *)r; }
static inline reservation *reservation_of_kept(reg_kept *kept) { return (reservation *)kept; }

static inline reg_garbage *garbage_from_list(epoch_node *list) { return (reg_garbage *)list; }
static inline epoch_node *list_of_garbage(reg_garbage *garbage) { return (epoch_node *)garbage; }

static inline reg_record *handle_from_record(record *r) { return (reg_record *)r; }
static inline record *record_of_lease(const reg_lease *lease) { return (record *)lease->record; }
static inline record *record_of_waiter(const reg_idle_waiter *w) {
    return (record *)w->node.awaited;
}

/* ---- functions that readers share ---- */

/* Returns the record that is registered under this id, and sets `version` to a version at which it
 * is alive. NULL if there is none. Inside an epoch. Wait-free. The version is loaded before the
 * look-up. So if the id got another server since, the look-up finds the new record, or the old one
 * which is still alive at that version; it never misses both. */
static inline record *find_registered(reg_registry *reg, const reg_key *id, uint64_t *version) {
    REG_ASSERT_READING();
    *version = load_committed(&reg->committed);
    string_item *item = string_map_get(&reg->records, id);
    return item == NULL ? NULL : record_alive_at(reg_container(item, record, item), *version);
}

static inline uint64_t registry_now(const reg_registry *reg) { return settings_now(reg->settings); }

/* What keeps a backend from being chosen for a time, as views show it. `word` is its word
 * `pending`. */
static inline void show_availability(reg_view *view, const state *s, uint64_t word, uint64_t now) {
    const availability *its = state_availability(s);
    if (s->is_cooling && now < its->cooling_until) {
        view->unavailable = REG_COOLING_DOWN;
        view->unavailable_until = its->cooling_until_wall;
    } else if (s->is_ejected && now < its->ejected_until) {
        view->unavailable = REG_EJECTED;
        view->unavailable_until = its->ejected_until_wall;
    } else if (s->is_ejected && counter_has_trial(word)) {
        view->unavailable = REG_ON_TRIAL;
    }
}

/* Returns the view of a record at a version, with its counters as they are now. Inside an epoch.
 * The count in flight and the tokens are read first, as of one instant: a request that has left
 * that count is already in the other counters (choose/lease.c). `now` is 0 before the first call,
 * which may read the clock; so the views of one query show the same time. */
static inline reg_view view_at(reg_registry *reg, record *r, uint64_t version, uint64_t *now) {
    REG_ASSERT_READING();
    state *s = record_state_at(r, version);
    counter_line *line = line_of(r);
    uint64_t tokens, word = counter_report_load(&line->counters, &tokens);
    outcomes *o = load_published(&line->outcomes);
    uint64_t ttft = o == NULL ? 0 : load_seq_cst(&o->ttft),
             failed = o == NULL ? 0 : load_seq_cst(&o->failed); /* before the total: outcomes.h */
    reg_view view = {
        .definition = s->definition,
        .error = s->error,
        .serial = s->serial,
        .order = order_of(line),
        .checked_at = s->checked_at,
        .pending = counter_in_flight(word),
        .pending_tokens = tokens,
        .total = o == NULL ? 0 : load_seq_cst(&o->total),
        .failed = failed,
        .latency = latency_average(&line->counters.latency),
        .ttft = latency_of(ttft),
        .has_ttft = latency_is_sampled(ttft),
        .health = s->health,
        .is_draining = s->is_draining,
    };
    if (reg_likely(!state_is_flagged(s))) return view;
    if (*now == 0) *now = registry_now(reg);
    show_availability(&view, s, word, *now);
    return view;
}

#endif
