/* The registry's own layout, shared by its three files: registry.c (life, fork, counts), read.c and write.c. */
#ifndef REG_INTERNAL_H
#define REG_INTERNAL_H

#include <pthread.h>

#include "registry.h"
#include "store/alias.h"
#include "store/member_list.h"
#include "store/model_index.h"
#include "store/record.h"

/* How many of the latest versions' counts are kept: a reader is done long before that many writes have passed it. */
enum { CENSUS_VERSIONS = 16 };

struct reg_registry {
    string_map records;         /* id -> record */
    _Atomic uint64_t committed; /* version.h */
    _Atomic uint64_t
        choices_changed; /* the version of the last write that changed what choices depend on; see select.c */
    member_list roster;
    model_index models;
    string_map urls;      /* normalized url -> alias */
    string_map instances; /* mDNS instance -> alias */
    _Atomic uint64_t
        census[CENSUS_VERSIONS]; /* of version V at V % CENSUS_VERSIONS: backends << 32 | models */

    _Alignas(
        REG_CACHE_LINE) _Atomic uint32_t tick; /* a hint: counts choices; never 0. See rounds.h */

    _Alignas(REG_CACHE_LINE)
        pthread_mutex_t writer; /* guards all that is not published, and every write */
    epoch_limbo limbo;
    uint64_t serials;         /* handed out to registrations so far */
    generations *generations; /* of its views */
    pthread_mutex_t turns; /* guards all models' turns; taken before the writer's where both are */
    reg_registry *previous, *next; /* in the list of all registries, for fork */
};

/* A registered record by id, with the version at which it is; NULL where there is none. Inside an epoch. Wait-free.
 * The version is loaded after the look-up: a record that is found and alive then was alive within this call. */
static inline record *registered(reg_registry *reg, const reg_key *id, uint64_t *version) {
    string_item *item = string_map_get(&reg->records, id);
    if (item == NULL) return NULL;
    record *r = reg_container(item, record, item);
    *version = load_committed(&reg->committed);
    return life_at(&r->life, *version) ? r : NULL;
}

/* The view of a record at a version; its counters as they are now. Inside an epoch, or under the lock. */
static inline reg_view view_at(record *r, uint64_t version) {
    state *s = record_state_at(r, version);
    uint32_t pending = counter_value(
        &line_of(r)
             ->counters
             .pending); /* first: a request that is not in flight any more is in the others */
    return (reg_view){
        .definition = s->definition,
        .error = s->error,
        .serial = line_of(r)->serial,
        .checked_at = s->checked_at,
        .pending = pending,
        .total = load_seq_cst(&line_of(r)->counters.total),
        .latency = latency_average(&line_of(r)->counters.latency),
        .health = s->health,
    };
}

#endif
