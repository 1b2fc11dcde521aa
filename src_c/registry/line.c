#include "registry/line.h"

#include <string.h>

#include "base/memory.h"

/* ---- the order ---- */

static reg_place_waiter *waiter_at(const size_t *index) {
    return reg_container((size_t *)index, reg_place_waiter, index);
}
static line_kind *kind_at(const size_t *index) {
    return reg_container((size_t *)index, line_kind, index);
}
static line_model *model_at(const size_t *index) {
    return reg_container((size_t *)index, line_model, index);
}

reg_place_waiter *line_first_of(const line_kind *k) { return waiter_at(heap_first(&k->waiters)); }

reg_place_waiter *line_waiter_of(const line_kind *k, size_t index) {
    return waiter_at(k->waiters.items[index]);
}

static bool waiter_before(const size_t *left, const size_t *right) {
    const reg_place_waiter *a = waiter_at(left), *b = waiter_at(right);
    return a->priority != b->priority ? a->priority < b->priority : a->arrival < b->arrival;
}

static bool kind_before(const size_t *left, const size_t *right) {
    return waiter_before(&line_first_of(kind_at(left))->index,
                         &line_first_of(kind_at(right))->index);
}

static const reg_place_waiter *first_of_model(const line_model *m) {
    return line_first_of(kind_at(heap_first(&m->kinds)));
}

static bool model_before(const size_t *left, const size_t *right) {
    return first_of_model(model_at(left))->arrival < first_of_model(model_at(right))->arrival;
}

line_kind *line_next(const waiting_line *l) {
    const size_t *first = heap_first(&l->models);
    return first == NULL ? NULL : kind_at(heap_first(&model_at(first)->kinds));
}

/* ---- needs ---- */

static uint64_t hash_of_ids(const reg_key *ids, size_t count) {
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++) hash += ids[i].hash * 0x9E3779B97F4A7C15u;
    return hash;
}

static uint64_t hash_of_needs(const reg_request *r) {
    uint64_t hash = r->model_id.hash ^ (uint64_t)r->min_context << 8 ^ r->capabilities ^
                    (uint64_t)r->allow_unknown << 3 ^ (uint64_t)r->is_limited << 4 ^
                    (uint64_t)r->tokens << 32 ^ r->prefix_count;
    return (hash * 31 + hash_of_ids(r->exclude, r->exclude_count)) * 31 +
           hash_of_ids(r->only, r->only_count);
}

static bool same_key(const reg_key *a, const reg_key *b) {
    return a->hash == b->hash && a->length == b->length && memcmp(a->data, b->data, a->length) == 0;
}

/* The ids of a request are sorted by hash. Two lists of the same ids in another order, with equal
 * hashes, only count as two kinds. */
static bool same_ids(const reg_key *a, size_t count, const reg_key *b, size_t other_count) {
    if (count != other_count) return false;
    for (size_t i = 0; i < count; i++)
        if (!same_key(&a[i], &b[i])) return false;
    return true;
}

/* Whether the blocks of both prompts are equal. With a prefix, a policy may add fewer tokens. */
static bool same_prefix(const reg_request *a, const reg_request *b) {
    if (a->prefix == NULL || b->prefix == NULL) return a->prefix == b->prefix;
    return a->policy == b->policy && a->prefix_count == b->prefix_count &&
           memcmp(a->prefix, b->prefix, a->prefix_count * sizeof *a->prefix) == 0;
}

/* Whether both can take the same places. All that candidate_obstacle (choose/candidates.c) reads of
 * a request is compared here. */
static bool same_needs(const reg_request *a, const reg_request *b) {
    return a->min_context == b->min_context && a->capabilities == b->capabilities &&
           a->allow_unknown == b->allow_unknown && a->is_limited == b->is_limited &&
           a->tokens == b->tokens && same_key(&a->model_id, &b->model_id) && same_prefix(a, b) &&
           same_ids(a->exclude, a->exclude_count, b->exclude, b->exclude_count) &&
           same_ids(a->only, a->only_count, b->only, b->only_count);
}

/* ---- models and kinds ---- */

static line_model *find_model(const waiting_line *l, const reg_key *id) {
    line_model *m = l->all_models;
    while (m != NULL && !same_key(&m->id, id)) m = m->next;
    return m;
}

static line_model *new_model(waiting_line *l, const reg_key *id) {
    line_model *m = memory_alloc(sizeof *m + id->length);
    if (m == NULL || !heap_reserve(&l->models)) {
        memory_free(m);
        return NULL;
    }
    memcpy(m + 1, id->data, id->length);
    m->id = (reg_key){id->hash, (const char *)(m + 1), id->length};
    m->next = l->all_models;
    if (m->next != NULL) m->next->previous = m;
    l->all_models = m;
    return m;
}

static void free_model(waiting_line *l, line_model *m) {
    if (m->next != NULL) m->next->previous = m->previous;
    if (m->previous != NULL)
        m->previous->next = m->next;
    else
        l->all_models = m->next;
    heap_free(&m->kinds);
    memory_free(m);
}

static line_kind *find_kind(const waiting_line *l, uint64_t hash, const reg_request *request) {
    line_kind *k = l->all_kinds;
    while (k != NULL && !(k->hash == hash && same_needs(&line_first_of(k)->request, request)))
        k = k->next;
    return k;
}

static line_kind *new_kind(waiting_line *l, line_model *m, uint64_t hash) {
    line_kind *k = memory_alloc(sizeof *k);
    if (k == NULL || !heap_reserve(&m->kinds) || !heap_reserve(&k->waiters)) {
        memory_free(k);
        return NULL;
    }
    k->model = m;
    k->hash = hash;
    k->next = l->all_kinds;
    if (k->next != NULL) k->next->previous = k;
    l->all_kinds = k;
    return k;
}

static void free_kind(waiting_line *l, line_kind *k) {
    if (k->next != NULL) k->next->previous = k->previous;
    if (k->previous != NULL)
        k->previous->next = k->next;
    else
        l->all_kinds = k->next;
    heap_free(&k->waiters);
    memory_free(k);
}

/* Puts the model at its place, after its kinds have changed. */
static void settle_model(waiting_line *l, line_model *m) {
    if (m->kinds.count == 0) {
        if (m->is_in_heap) heap_remove(&l->models, &m->index, model_before);
        m->is_in_heap = false;
    } else if (m->is_in_heap) {
        heap_moved(&l->models, &m->index, model_before);
    } else {
        heap_add(&l->models, &m->index, model_before);
        m->is_in_heap = true;
    }
}

/* A model leaves the line's heap before its kinds change: the heap compares what its other models
 * have, and must not find this one half changed. */
static void lift_model(waiting_line *l, line_model *m) {
    if (m->is_in_heap) heap_remove(&l->models, &m->index, model_before);
    m->is_in_heap = false;
}

/* ---- waiters ---- */

/* Its address names the thread, and stays the same in the child of a fork. */
static _Thread_local char this_thread REG_TLS_MODEL;

static line_kind *kind_for(waiting_line *l, const reg_request *request) {
    uint64_t hash = hash_of_needs(request);
    line_kind *k = find_kind(l, hash, request);
    if (k != NULL) return heap_reserve(&k->waiters) ? k : NULL;
    line_model *m = find_model(l, &request->model_id);
    bool is_new = m == NULL;
    if (is_new) m = new_model(l, &request->model_id);
    if (m == NULL) return NULL;
    k = new_kind(l, m, hash);
    if (k == NULL && is_new) free_model(l, m);
    return k;
}

bool line_add(waiting_line *l, settings *s, reg_place_waiter *w) {
    line_kind *k = kind_for(l, &w->request);
    if (k == NULL) return false;
    line_model *m = k->model;
    if (w->arrival == 0) w->arrival = ++l->last_arrival;
    w->kind = k;
    w->thread = &this_thread;
    w->node.is_listed = true;
    bool is_new = k->waiters.count == 0;
    lift_model(l, m);
    heap_add(&k->waiters, &w->index, waiter_before);
    if (is_new)
        heap_add(&m->kinds, &k->index, kind_before);
    else
        heap_moved(&m->kinds, &k->index, kind_before);
    m->waiting++;
    settle_model(l, m);
    if (l->waiting++ == 0) exchange_seq_cst(&s->is_waited, true);
    return true;
}

void line_remove(waiting_line *l, settings *s, reg_place_waiter *w) {
    line_kind *k = w->kind;
    line_model *m = k->model;
    w->node.is_listed = false;
    w->kind = NULL;
    m->waiting--;
    lift_model(l, m);
    if (k->waiters.count == 1) {
        heap_remove(&m->kinds, &k->index, kind_before);
        free_kind(l, k);
    } else {
        heap_remove(&k->waiters, &w->index, waiter_before);
        heap_moved(&m->kinds, &k->index, kind_before);
    }
    if (m->waiting == 0)
        free_model(l, m);
    else
        settle_model(l, m);
    if (--l->waiting == 0) exchange_seq_cst(&s->is_waited, false);
}

void line_set_aside(waiting_line *l, line_kind *k) {
    line_model *m = k->model;
    lift_model(l, m);
    heap_remove(&m->kinds, &k->index, kind_before);
    settle_model(l, m);
    k->is_aside = true;
    k->aside = l->aside;
    l->aside = k;
}

void line_bring_back(waiting_line *l) {
    for (line_kind *k = l->aside; k != NULL; k = k->aside) {
        k->is_aside = false;
        lift_model(l, k->model);
        heap_add(&k->model->kinds, &k->index, kind_before);
        settle_model(l, k->model);
    }
    l->aside = NULL;
}

size_t line_waiting(const waiting_line *l, const reg_key *model_id) {
    const line_model *m = find_model(l, model_id);
    return m == NULL ? 0 : m->waiting;
}

void line_end(waiting_line *l) { heap_free(&l->models); }

void line_after_fork_in_child(waiting_line *l, settings *s) {
    line_bring_back(l);
    for (line_kind *k = l->all_kinds, *next; k != NULL; k = next) {
        next = k->next;
        for (size_t i = k->waiters.count; i-- != 0;) {
            bool is_last = k->waiters.count == 1;
            reg_place_waiter *w = line_waiter_of(k, i);
            if (w->thread == &this_thread) continue;
            line_remove(l, s, w);
            if (is_last) break;   /* and the kind is gone */
            i = k->waiters.count; /* the heap has changed: look again */
        }
    }
}
