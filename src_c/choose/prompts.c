#include "choose/prompts.h"

#include <string.h>

#include "base/memory.h"
#include "choose/lease.h"

static outcomes *outcomes_of(const record *r) { return load_published(&line_of(r)->outcomes); }

uint64_t tokens_known_by(const choice *c, const record *r) {
    const reg_request *request = c->request;
    outcomes *o = outcomes_of(r);
    prefix_index *index = o == NULL ? NULL : prefix_map_get(&o->prefixes, c->model->number);
    if (index == NULL) return 0;
    return c->settings->values.block_tokens *
           (uint64_t)prefix_index_count(index, request->prefix, request->prefix_count);
}

bool prompt_prepare(choice *c, record *chosen) {
    uint32_t limit = c->settings->values.prefix_blocks;
    if (limit == 0) return true;
    prefix_index *index =
        prefix_map_ensure(&outcomes_of(chosen)->prefixes, c->model->number, limit);
    if (index == NULL || !prefix_index_promise(index, c->request->prefix_count, &c->promised))
        return false;
    c->noted_in = index;
    return true;
}

void prompt_note(const choice *c, reg_noted_prefix *copy) {
    copy->model = c->model->number;
    if (c->noted_in == NULL) return;
    prefix_index_note(c->noted_in, c->request->prefix, c->request->prefix_count, c->promised);
}

void prompt_forgo(const choice *c) { prefix_index_forgo(c->noted_in, c->promised); }

/* ---- the blocks of a lease ---- */

reg_noted_prefix *prompt_copy(const reg_request *request) {
    size_t bytes = request->prefix_count * sizeof *request->prefix;
    reg_noted_prefix *copy = memory_alloc_raw(sizeof *copy + bytes);
    if (copy == NULL) return NULL;
    copy->count = request->prefix_count;
    memcpy(copy->blocks, request->prefix, bytes);
    return copy;
}

/* Corrects what is known of the blocks, and the number of tokens with it. The engine reports what
 * it had before it read this prompt. So blocks are dropped only if it had less than was assumed:
 * then it has lost some. If it had as much, it has all blocks of the prompt from now on. */
static reg_status correct(reg_lease *lease, uint32_t tokens) {
    outcomes *o = outcomes_of(record_of_lease(lease));
    const reg_noted_prefix *its = lease->prefix;
    prefix_index *index = prefix_map_get(&o->prefixes, its->model);
    size_t known = tokens / o->settings->values.block_tokens;
    if (index == NULL) { /* it keeps nothing, or not for this model any more */
        publish(&lease->cached_tokens, tokens);
        return REG_OK;
    }
    if (known > its->count) known = its->count;
    bool is_done =
        prefix_index_correct(index, its->blocks, its->count, known, &lease->cached_tokens, tokens);
    return is_done ? REG_OK : REG_NO_MEMORY;
}

reg_status reg_lease_set_cached_tokens(reg_lease *lease, uint32_t tokens) {
    if (!reg_lease_is_active(lease)) return REG_NOT_FOUND;
    if (lease->prefix == NULL) {
        publish(&lease->cached_tokens, tokens);
        return REG_OK;
    }
    epoch_slot *slot = epoch_enter();
    if (slot == NULL) return REG_NO_MEMORY;
    reg_status status = correct(lease, tokens);
    epoch_leave(slot);
    return status;
}

uint64_t reg_lease_cached_tokens(const reg_lease *lease) {
    return load_published(&((reg_lease *)lease)->cached_tokens);
}

size_t reg_lease_blocks(const reg_lease *lease) {
    return lease->prefix == NULL ? 0 : lease->prefix->count;
}
