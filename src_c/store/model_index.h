/* The models that a fleet serves: a map from model id to the list of records that serve it. Every
 * distinct definition of a model is stored once.
 *
 *   model     one for each model id     its list of records; the state of its rounds and turns
 *   variant   one for each definition   id, name, limits, capabilities; shared by all records that
 *                                       define the model so
 *
 * Readers find models by id inside an epoch, without a lock. Everything else is under the writer
 * lock. A variant lives as long as it has references, and a model as long as it has variants. Both
 * are removed from their maps after the commit of the write that dropped the last reference.
 */
#ifndef REG_MODEL_INDEX_H
#define REG_MODEL_INDEX_H

#include "base/types.h"
#include "store/member_list.h"
#include "store/string_map.h"
#include "store/turns.h"

/* The state of a round that belongs to one kind of request: see rounds.h. */
typedef struct kind_round {
    _Atomic uint64_t kind; /* 0: none */
    _Atomic uint64_t word;
} kind_round;

enum { KIND_ROUNDS = 4 };

typedef struct model {
    string_item item;
    epoch_node node;
    member_list members;
    uint32_t variants;
    uint64_t number;       /* no other model of the index ever has it; never 0 */
    uint64_t served_since; /* a number that grows with each model that begins to be served */
    uint32_t mark;         /* scratch space of the current write; 0 between writes */
    /* Every choice writes it, so it has a cache line of its own. */
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t round; /* see round_word in rounds.h */
    kind_round kind_rounds[KIND_ROUNDS];
    turns turns; /* under the registry's turns lock */
    char id[];
} model;

typedef struct reg_variant {
    string_item item; /* the key is the whole definition, byte for byte */
    epoch_node node;
    model *model;
    uint32_t refs;
    void *object;
    member_traits traits; /* without a slot */
    char definition[];
} variant;

typedef struct model_index {
    string_map models;
    string_map variants;
    uint32_t served; /* models that some record serves */
    uint64_t last_served_since;
    uint64_t last_number;
    member_moved moved;
    char *scratch; /* for the key of the variant to look up */
    size_t scratch_size;
} model_index;

/* `moved` is the callback of the models' lists: see member_list.h. */
bool model_index_init(model_index *index, member_moved moved);
/* Frees an empty index that has no readers. */
void model_index_free(model_index *index);

/* The model with this id, or NULL. Inside an epoch. */
model *model_index_get(model_index *index, const reg_key *id);

/* All functions below need the writer lock. */

/* Adds a reference to the variant with this definition. If there is none, creates one, which takes
 * over the definition's object, and sets `is_new`. NULL if out of memory; then nothing has
 * changed. */
variant *model_index_ref_locked(model_index *index, const reg_model *definition, bool *is_new,
                                epoch_limbo *limbo);
/* Drops a reference, after the commit. Dropping the last reference retires the variant, and
 * retiring the last variant retires the model. */
void model_index_unref_locked(model_index *index, variant *v, epoch_limbo *limbo);

/* Adds a record to its model's list, or removes it, as part of the current write. The record's
 * memberships have the variant at `slot`. Call member_list_reserve_locked first. */
uint32_t model_index_add_locked(model_index *index, const variant *v, uint32_t slot,
                                struct record *added, uint64_t committed);
void model_index_remove_locked(model_index *index, model *m, uint32_t position, uint64_t committed);

/* The models that some record serves, in the order in which this began, in `models`, which has room
 * for `served` of them. O(n log n) for n models. */
void model_index_list_locked(const model_index *index, const model **models);

/* The size of the index with everything in it. Adds the number of members of all lists to
 * `entries`. The caller also holds the turns lock. O(models). */
size_t model_index_bytes_locked(const model_index *index, size_t *entries);

#endif
