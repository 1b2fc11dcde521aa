/* The models that a fleet serves: model id -> the records that serve it, and every distinct definition of a model kept once.
 *
 *   model     one per model id     its published list of records, and where rounds and turns stand
 *   variant   one per definition   (id, name, limits, capabilities), shared by all records that define it so
 *
 * Readers find models by id inside an epoch, without a lock. Everything else is under the writer lock. A variant lives while something
 * holds it, a model while it has variants; both leave their maps after the commit of the write that let go of them.
 */
#ifndef REG_MODEL_INDEX_H
#define REG_MODEL_INDEX_H

#include "base/types.h"
#include "store/member_list.h"
#include "store/string_map.h"
#include "store/turns.h"

/* Where a kind of request that has a round of its own stands: see rounds.h. */
typedef struct own_round {
    _Atomic uint64_t kind; /* 0: none */
    _Atomic uint64_t word;
} own_round;

enum { OWN_ROUNDS = 4 };

typedef struct model {
    string_item item;
    epoch_node node;
    member_list members;
    uint32_t variants;
    uint32_t mark; /* scratch of the write at work; 0 between writes */
    /* Written by every choice, so on a line of its own. */
    _Alignas(REG_CACHE_LINE) _Atomic uint64_t round; /* see round_word in rounds.h */
    own_round own[OWN_ROUNDS];
    turns turns; /* under the registry's lock of that name */
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
    char *scratch;   /* for the key of a variant that is looked up */
    size_t scratch_size;
} model_index;

bool model_index_init(model_index *index);
/* Frees the empty index. Only where no reader is left. */
void model_index_free(model_index *index);

/* The model with this id, or NULL. Inside an epoch. */
model *model_index_get(model_index *index, const reg_key *id);

/* All below: under the lock. */

/* The variant with this definition, with one hold more; made on the spot where it is new, and then it takes over the definition's object.
 * NULL when memory is out: nothing changed. */
variant *model_index_ref_locked(model_index *index, const reg_model *definition, bool *is_new,
                                epoch_limbo *limbo);
/* A hold less. Without holds the variant goes, and the last one takes its model along; after the commit. */
void model_index_unref_locked(model_index *index, variant *v, epoch_limbo *limbo);

/* Adds a record, whose memberships have the variant at `slot`, to the list of its model, or takes it
 * out, as a part of the write at work; the list has been reserved. */
uint32_t model_index_add_locked(model_index *index, const variant *v, uint32_t slot,
                                struct record *added, uint64_t committed);
void model_index_remove_locked(model_index *index, model *m, uint32_t position, uint64_t committed);

/* With everything in it; adds to `entries` how many members all lists have. O(models); the turns' lock is held, too. */
size_t model_index_bytes_locked(const model_index *index, size_t *entries);

#endif
