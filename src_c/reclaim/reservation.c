#include "reclaim/reservation.h"

#include <pthread.h>
#include <string.h>

#include "base/memory.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static generations *free_generations; /* of destroyed registries, to be reused; under LOCK */

static const uint32_t LAST_NUMBER = GENERATION_NEVER - 1;

void reservations_lock(void) { pthread_mutex_lock(&lock); }

void reservations_unlock(void) { pthread_mutex_unlock(&lock); }

/* ---- a thread's reservations ---- */

static bool prepare(reservation_thread *own) {
    if (own->spare == NULL) own->spare = memory_alloc_lines(sizeof *own->spare);
    return own->spare != NULL;
}

bool reservation_allocate(epoch_slot *slot) { return prepare(thread_of(slot)); }

static reservation *add_reservation(reservation_thread *own, generation *g) {
    if (!prepare(own)) return NULL;
    reservation *r = own->spare;
    own->spare = NULL;
    r->generation = g;
    r->slot = &own->slot;
    add_seq_cst(&g->all->bytes, sizeof *r);
    r->next = load_published(&g->reservations);
    while (!atomic_compare_exchange_weak_explicit(&g->reservations, &r->next, r,
                                                  memory_order_acq_rel, memory_order_acquire)) {
    }
    return r;
}

/* A thread may end at any instruction, and another thread reuses its slot. So `all` is cleared
 * first and set last: a half-written memo is never valid. */
static void write_memo(reservation_memo *memo, generation *g, reservation *r) {
    memo->all = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    memo->number = g->number;
    memo->reservation = r;
    atomic_signal_fence(memory_order_seq_cst);
    memo->all = g->all;
}

reservation *reservation_find(epoch_slot *slot, generation *g) {
    reservation_thread *own = thread_of(slot);
    reservation *r = load_published(&g->reservations);
    while (r != NULL && r->slot != slot) r = r->next;
    if (r == NULL && (r = add_reservation(own, g)) == NULL) return NULL;
    write_memo(&own->memos[g->all->place], g, r);
    return r;
}

#define EACH_RESERVATION(g, r)                                                                     \
    for (reservation *r = load_published(&(g)->reservations); r != NULL; r = r->next)

static bool has_views(uint64_t word) { return (word & ~RESERVATION_WATCHED) != 0; }

/* K2: returns whether the generation has views. If it has, one of its reservations with views is
 * watched afterwards. Under LOCK. */
static bool watch(generation *g) {
    EACH_RESERVATION(g, r)
        if (has_views(load_seq_cst(&r->views)) &&
            has_views(or_seq_cst(&r->views, RESERVATION_WATCHED)))
            return true;
    return false;
}

/* ---- the heap of the nodes that a generation keeps, the youngest on top ---- */

static uint32_t born(const retained *r) { return r->node.kind->born(&r->node); }

static retained *sibling(const retained *r) {
    return r->node.next == NULL ? NULL : reg_container(r->node.next, retained, node);
}

static void set_sibling(retained *r, retained *other) {
    r->node.next = other == NULL ? NULL : &other->node;
}

/* Merges two heaps. Neither top may have a sibling. */
static retained *meld(retained *a, retained *b) {
    if (a == NULL || b == NULL) return a == NULL ? b : a;
    retained *top = born(a) < born(b) ? b : a, *other = top == a ? b : a;
    set_sibling(other, top->link);
    top->link = other;
    return top;
}

/* Turns a heap into a list of its nodes. O(n). */
static epoch_node *flatten(retained *heap) {
    epoch_node *list = NULL;
    while (heap != NULL) {
        retained *r = heap;
        heap = sibling(r);
        if (r->link != NULL) {
            retained *last = r->link;
            while (sibling(last) != NULL) last = sibling(last);
            set_sibling(last, heap);
            heap = r->link;
        }
        r->node.next = list;
        list = &r->node;
    }
    return list;
}

/* ---- keeping nodes; all under LOCK ---- */

static void keep(generation *g, retained *heap) { g->kept = meld(g->kept, heap); }

static generation *first_with_views(generation *g) {
    while (g != NULL && !watch(g)) g = g->older;
    return g;
}

/* Caches the generation that keeps the nodes of a list, most of which belong to one registry.
 * `keeper` is the newest generation with views in `all`. It stays valid while LOCK is held, because
 * the last drop of its watched reservation needs LOCK. */
typedef struct keeper_cache {
    generations *all; /* NULL: nothing is known */
    generation *keeper;
} keeper_cache;

/* K1 to K3: keeps the node if a view may show it. Returns whether the node was kept. */
static bool keep_if_shown(epoch_node *node, uint32_t birth, keeper_cache *cache) {
    retained *r = reg_container(node, retained, node);
    generations *all = r->generations;
    if (all != cache->all) *cache = (keeper_cache){all, first_with_views(all->newest)};
    if (cache->keeper == NULL || cache->keeper->number < birth) return false;
    all->kept.nodes++;
    all->kept.bytes += node->kind->bytes(node);
    r->link = NULL;
    set_sibling(r, NULL);
    keep(cache->keeper, r);
    return true;
}

/* Keeps the nodes of a list that a view may show. Returns the others, in the same order. */
static epoch_node *keep_shown(epoch_node *list) {
    epoch_node *unused = NULL, **end = &unused;
    keeper_cache cache = {0};
    int steps = 0; /* nodes handled since LOCK was taken; 0: LOCK is not held */
    while (list != NULL) {
        epoch_node *node = list;
        list = node->next;
        uint32_t birth = node->kind->born == NULL ? GENERATION_NEVER : node->kind->born(node);
        if (birth != GENERATION_NEVER) {
            if (steps++ == 0) {
                reservations_lock();
                cache = (keeper_cache){0};
            }
            bool is_kept = keep_if_shown(node, birth, &cache);
            if (steps == RESERVATION_CHUNK) {
                reservations_unlock();
                steps = 0;
            }
            if (is_kept) continue;
        }
        node->next = NULL;
        *end = node;
        end = &node->next;
    }
    if (steps != 0) reservations_unlock();
    return unused;
}

/* ---- L: a generation without views hands over the nodes that it keeps ---- */

/* The heap that L has taken off a generation. L splits it from the top. The `heir` is the
 * generation P of L. A node that will be freed is in the list `opened`, linked by `node.next`,
 * until L has split off all of its children. A subtree whose top must be kept goes to the heir as a
 * whole. */
typedef struct handover {
    retained *opened;
    retained *single; /* a subtree that waits for a partner: the heir takes them in pairs */
} handover;

static void pass_to_heir(handover *h, retained *heap, generation *heir) {
    if (h->single == NULL) {
        h->single = heap;
        return;
    }
    keep(heir, meld(h->single, heap));
    h->single = NULL;
}

static void pass_or_open(handover *h, retained *heap, generation *heir) {
    set_sibling(heap, NULL);
    if (heir != NULL && born(heap) <= heir->number) {
        pass_to_heir(h, heap, heir);
    } else {
        set_sibling(heap, h->opened);
        h->opened = heap;
    }
}

/* Does at most RESERVATION_CHUNK steps of L under LOCK. Returns the nodes to be freed. */
static epoch_node *hand_over_chunk(handover *h, generations *all, generation *heir) {
    epoch_node *list = NULL;
    for (int steps = 0; h->opened != NULL && steps < RESERVATION_CHUNK; steps++) {
        retained *top = h->opened, *child = top->link;
        if (child != NULL) {
            top->link = sibling(child);
            pass_or_open(h, child, heir);
            continue;
        }
        h->opened = sibling(top);
        all->kept.nodes--;
        all->kept.bytes -= top->node.kind->bytes(&top->node);
        top->node.next = list;
        list = &top->node;
    }
    if (h->single != NULL) keep(heir, h->single);
    h->single = NULL;
    return list;
}

/* Returns all nodes of `heap`, which must be freed because there is no heir. Called without LOCK;
 * takes LOCK and holds it on return. */
static epoch_node *give_up_heap_and_lock(generations *all, retained *heap) {
    epoch_node *list = flatten(heap);
    epoch_amount amount = {0};
    for (const epoch_node *node = list; node != NULL; node = node->next) {
        amount.nodes++;
        amount.bytes += node->kind->bytes(node);
    }
    reservations_lock();
    all->kept.nodes -= amount.nodes;
    all->kept.bytes -= amount.bytes;
    return list;
}

static void unlink_generation(generation *g) {
    generations *all = g->all;
    if (g->older != NULL) g->older->newer = g->newer;
    if (g->newer != NULL)
        g->newer->older = g->older;
    else
        all->newest = g->older;
    /* Once the last one is unlinked, a later registry reuses `all`, unless the numbers ran out. */
    if (all->newest != NULL || !all->is_closed || all->last_number == LAST_NUMBER) return;
    all->next_free = free_generations;
    free_generations = all;
}

static void free_generation(generation *g) {
    generations *all = g->all;
    reservation *r = load_own(&g->reservations);
    while (r != NULL) {
        reservation *next = r->next;
        memory_free(r);
        sub_seq_cst(&all->bytes, sizeof *r);
        r = next;
    }
    memory_free(g);
    sub_seq_cst(&all->bytes, sizeof *g);
}

/* Frees the generation if it is sealed, has no views, and no other thread is in L with it. Called
 * with LOCK. Returns true if it freed the generation; then it has also released LOCK. */
static bool try_free_generation(generation *g) {
    if (!g->is_sealed || g->handovers != 0 || watch(g)) return false;
    unlink_generation(g);
    reservations_unlock();
    free_generation(g);
    return true;
}

/* L. Called with LOCK, which it releases. */
static void hand_over_and_unlock(generation *g, epoch_release release) {
    if (watch(g)) {
        reservations_unlock();
        return;
    }
    generations *all = g->all;
    retained *heap = g->kept;
    generation *heir = first_with_views(g->older);
    handover h = {0};
    epoch_node *list = NULL;
    g->kept = NULL;
    g->handovers++;
    if (heap != NULL && heir == NULL) {
        reservations_unlock();
        list = give_up_heap_and_lock(all, heap);
    } else if (heap != NULL) {
        pass_or_open(&h, heap, heir);
        list = hand_over_chunk(&h, all, heir);
    }
    while (h.opened != NULL) {
        reservations_unlock();
        epoch_destroy_each(list, release);
        reservations_lock();
        list = hand_over_chunk(&h, all, first_with_views(g->older));
    }
    g->handovers--;
    if (!try_free_generation(g)) reservations_unlock();
    epoch_destroy_each(list, release);
}

void reservation_drop_last(reservation *r, size_t views, epoch_release release) {
    reservations_lock();
    if (has_views(sub_seq_cst(&r->views, views) - views)) {
        reservations_unlock(); /* its thread has made more views in the meantime */
        return;
    }
    /* Views that the thread makes from now on do not show the kept nodes. */
    and_seq_cst(&r->views, ~RESERVATION_WATCHED);
    hand_over_and_unlock(r->generation, release);
}

epoch_amount generations_kept(generations *all) {
    reservations_lock();
    epoch_amount kept = all->kept;
    reservations_unlock();
    return kept;
}

size_t generations_bytes(generations *all) { return sizeof *all + load_seq_cst(&all->bytes); }

/* ---- opening and closing generations ---- */

/* S */
static void seal_generation(epoch_node *node, epoch_release release) {
    generation *g = reg_container(node, generation, node);
    reservations_lock();
    g->is_sealed = true;
    hand_over_and_unlock(g, release);
}

static size_t generation_bytes(const epoch_node *node) {
    return sizeof *reg_container(node, generation, node);
}

static const epoch_kind generation_kind = {.bytes = generation_bytes, .destroy = seal_generation};

/* Seals the generations in a list, in their order. Returns the other nodes, also in their order. */
static epoch_node *seal_all(epoch_node *list, epoch_release release) {
    epoch_node *others = NULL, **end = &others;
    while (list != NULL) {
        epoch_node *node = list;
        list = node->next;
        if (node->kind == &generation_kind) {
            seal_generation(node, release);
            continue;
        }
        *end = node;
        end = &node->next;
    }
    *end = NULL;
    return others;
}

epoch_node *reservation_filter(epoch_node *list, epoch_release release) {
    return keep_shown(seal_all(list, release));
}

static generation *new_generation(generations *all, uint32_t number) {
    generation *g = memory_alloc(sizeof *g);
    if (g == NULL) return NULL;
    g->all = all;
    g->number = number;
    add_seq_cst(&all->bytes, sizeof *g);
    return g;
}

static void open_generation(generation *g) {
    generations *all = g->all;
    reservations_lock();
    g->older = all->newest;
    if (all->newest != NULL) all->newest->newer = g;
    all->newest = g;
    reservations_unlock();
    publish(&all->current, g);
}

static generations *pop_free_generations(void) {
    reservations_lock();
    generations *all = free_generations;
    if (all != NULL) free_generations = all->next_free;
    reservations_unlock();
    return all;
}

static void push_free_generations(generations *all) {
    reservations_lock();
    all->next_free = free_generations;
    free_generations = all;
    reservations_unlock();
}

/* A reused `generations` continues its numbers, so no memo of the earlier registry can match. */
generations *generations_new(void) {
    static _Atomic uint32_t places;
    generations *all = pop_free_generations();
    if (all == NULL) {
        if ((all = memory_alloc(sizeof *all)) == NULL) return NULL;
        all->place = add_seq_cst(&places, 1) % RESERVATION_MEMOS;
    }
    generation *first = new_generation(all, ++all->last_number);
    if (first == NULL) {
        push_free_generations(all);
        return NULL;
    }
    all->is_closed = false;
    open_generation(first);
    return all;
}

static bool has_any_views(generation *g) {
    EACH_RESERVATION(g, r)
        if (has_views(load_seq_cst(&r->views))) return true;
    return false;
}

void generations_advance(generations *all, epoch_limbo *limbo) {
    generation *old = load_own(&all->current);
    /* When the numbers run out, the last generation stays current and keeps more than it must. */
    if (all->last_number == LAST_NUMBER || !has_any_views(old)) return;
    generation *fresh = new_generation(all, all->last_number + 1);
    if (fresh == NULL) return;
    all->last_number++;
    open_generation(fresh);
    epoch_retire(limbo, &old->node, &generation_kind);
}

void generations_end(generations *all, epoch_limbo *limbo) {
    generation *last = load_own(&all->current);
    reservations_lock();
    all->is_closed = true;
    reservations_unlock();
    epoch_retire(limbo, &last->node, &generation_kind);
}

void reservations_forget_other_threads(void) {
    for (epoch_slot *slot = epoch_first_slot(); slot != NULL; slot = slot->next) {
        reservation_thread *other = thread_of(slot);
        if (slot != epoch_own_slot) memset(other->memos, 0, sizeof other->memos);
    }
}
