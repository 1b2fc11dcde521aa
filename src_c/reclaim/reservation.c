#include "reclaim/reservation.h"

#include <pthread.h>

#include "base/memory.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static generations *free_generations; /* of registries that are gone; under the lock */

static const uint32_t LAST_NUMBER = GENERATION_NEVER - 1;

void reservations_lock(void) { pthread_mutex_lock(&lock); }

void reservations_unlock(void) { pthread_mutex_unlock(&lock); }

/* ---- a thread's reservations ---- */

bool reservation_prepare(epoch_slot *reader) {
    if (reader->spare == NULL) reader->spare = memory_alloc_lines(sizeof *reader->spare);
    return reader->spare != NULL;
}

static reservation *add_reservation(epoch_slot *reader, generation *g) {
    if (!reservation_prepare(reader)) return NULL;
    reservation *r = reader->spare;
    reader->spare = NULL;
    r->generation = g;
    r->slot = reader;
    add_seq_cst(&g->of->bytes, sizeof *r);
    r->next = load_published(&g->reservations);
    while (!atomic_compare_exchange_weak_explicit(&g->reservations, &r->next, r,
                                                  memory_order_acq_rel, memory_order_acquire)) {
    }
    return r;
}

reservation *reservation_find(epoch_slot *reader, generation *g) {
    reservation *r = load_published(&g->reservations);
    while (r != NULL && r->slot != reader) r = r->next;
    if (r == NULL && (r = add_reservation(reader, g)) == NULL) return NULL;
    reservation_memo *memo = &reader->memos[g->of->place];
    memo->of = NULL; /* first: a thread may be ended at any instant, and its slot is used again */
    atomic_signal_fence(memory_order_seq_cst);
    memo->number = g->number;
    memo->reservation = r;
    atomic_signal_fence(memory_order_seq_cst);
    memo->of = g->of;
    return r;
}

#define EACH_RESERVATION(g, r)                                                                     \
    for (reservation *r = load_published(&(g)->reservations); r != NULL; r = r->next)

static bool has_views(uint64_t word) { return (word & ~RESERVATION_WATCHED) != 0; }

/* Whether the generation has views. If so, one of its reservations with views is watched afterwards. Under the lock. */
static bool watch(generation *g) {
    EACH_RESERVATION(g, r)
        if (has_views(load_seq_cst(&r->views)) &&
            has_views(or_seq_cst(&r->views, RESERVATION_WATCHED)))
            return true;
    return false;
}

/* ---- the heap of what a generation keeps, the youngest on top ---- */

static uint32_t born(const retained *r) { return r->node.kind->born(&r->node); }

static retained *sibling(const retained *r) {
    return r->node.next == NULL ? NULL : reg_container(r->node.next, retained, node);
}

static void set_sibling(retained *r, retained *other) {
    r->node.next = other == NULL ? NULL : &other->node;
}

/* Two heaps become one. Neither top has a sibling. */
static retained *meld(retained *a, retained *b) {
    if (a == NULL || b == NULL) return a == NULL ? b : a;
    retained *top = born(a) < born(b) ? b : a, *other = top == a ? b : a;
    set_sibling(other, top->link);
    top->link = other;
    return top;
}

/* The nodes of a heap as a list. O(n). */
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

/* ---- what is kept, and by whom; all under the lock ---- */

static void keep(generation *g, retained *heap) { g->kept = meld(g->kept, heap); }

static generation *first_with_views(generation *g) {
    while (g != NULL && !watch(g)) g = g->older;
    return g;
}

/* Whether a view may show the node; then it is kept. `keeper` is the newest generation with views of the registry `of`, for
 * as long as the lock is held: the last drop of its watched reservation needs the lock. */
static bool is_kept(epoch_node *node, uint32_t birth, generations **of, generation **keeper) {
    retained *r = reg_container(node, retained, node);
    if (r->generations != *of) {
        *of = r->generations;
        *keeper = first_with_views((*of)->newest);
    }
    if (*keeper == NULL || (*keeper)->number < birth) return false;
    (*of)->kept.nodes++;
    (*of)->kept.bytes += node->kind->bytes(node);
    r->link = NULL;
    set_sibling(r, NULL);
    keep(*keeper, r);
    return true;
}

static epoch_node *sift(epoch_node *list) {
    epoch_node *unused = NULL, **end = &unused;
    generations *of = NULL;
    generation *keeper = NULL;
    int looked_at = 0; /* since the lock was taken; 0: it is not held */
    while (list != NULL) {
        epoch_node *node = list;
        list = node->next;
        uint32_t birth = node->kind->born == NULL ? GENERATION_NEVER : node->kind->born(node);
        if (birth != GENERATION_NEVER) {
            if (looked_at++ == 0) {
                reservations_lock();
                of = NULL;
            }
            bool kept = is_kept(node, birth, &of, &keeper);
            if (looked_at == RESERVATION_CHUNK) {
                reservations_unlock();
                looked_at = 0;
            }
            if (kept) continue;
        }
        node->next = NULL;
        *end = node;
        end = &node->next;
    }
    if (looked_at != 0) reservations_unlock();
    return unused;
}

/* ---- L: a generation without views lets go of what it keeps ---- */

/* A heap that L has taken off. Its nodes are opened from the top: a node that nobody needs waits in `opened`, linked by
 * `next`, until its children have been looked at; a subtree whose top is needed goes to the heir as a whole. */
typedef struct departure {
    retained *opened;
    retained *carry; /* a subtree that waits for another one, so that the heir gets pairs */
} departure;

static void hand_on(departure *d, retained *heap, generation *heir) {
    if (d->carry == NULL) {
        d->carry = heap;
        return;
    }
    keep(heir, meld(d->carry, heap));
    d->carry = NULL;
}

static void open_or_hand_on(departure *d, retained *heap, generation *heir) {
    set_sibling(heap, NULL);
    if (heir != NULL && born(heap) <= heir->number) {
        hand_on(d, heap, heir);
    } else {
        set_sibling(heap, d->opened);
        d->opened = heap;
    }
}

/* One hold of the lock's worth; returns what nobody needs. */
static epoch_node *depart(departure *d, generations *of, generation *heir) {
    epoch_node *list = NULL;
    for (int steps = 0; d->opened != NULL && steps < RESERVATION_CHUNK; steps++) {
        retained *top = d->opened, *child = top->link;
        if (child != NULL) {
            top->link = sibling(child);
            open_or_hand_on(d, child, heir);
            continue;
        }
        d->opened = sibling(top);
        of->kept.nodes--;
        of->kept.bytes -= top->node.kind->bytes(&top->node);
        top->node.next = list;
        list = &top->node;
    }
    if (d->carry != NULL) keep(heir, d->carry);
    d->carry = NULL;
    return list;
}

static void unlink_generation(generation *g) {
    generations *of = g->of;
    if (g->older != NULL) g->older->newer = g->newer;
    if (g->newer != NULL)
        g->newer->older = g->older;
    else
        of->newest = g->older;
    /* One whose numbers have run out is not used again. */
    if (of->newest != NULL || !of->is_closed || of->last_number == LAST_NUMBER) return;
    of->next_free = free_generations;
    free_generations = of;
}

static void free_generation(generation *g) {
    generations *of = g->of;
    reservation *r = load_own(&g->reservations);
    while (r != NULL) {
        reservation *next = r->next;
        memory_free(r);
        sub_seq_cst(&of->bytes, sizeof *r);
        r = next;
    }
    memory_free(g);
    sub_seq_cst(&of->bytes, sizeof *g);
}

/* Without views, when it is sealed and nobody is in L with it. Then the lock is given back and it is freed. */
static bool end_generation(generation *g) {
    if (!g->is_sealed || g->leaving != 0 || watch(g)) return false;
    unlink_generation(g);
    reservations_unlock();
    free_generation(g);
    return true;
}

/* Where nothing older has views, all of the heap goes. */
static epoch_node *depart_at_once(generations *of, retained *heap) {
    epoch_node *list = flatten(heap);
    epoch_amount amount = {0};
    for (const epoch_node *node = list; node != NULL; node = node->next) {
        amount.nodes++;
        amount.bytes += node->kind->bytes(node);
    }
    reservations_lock();
    of->kept.nodes -= amount.nodes;
    of->kept.bytes -= amount.bytes;
    return list;
}

/* With the lock, which it gives back. */
static void let_go(generation *g, epoch_release release) {
    if (watch(g)) {
        reservations_unlock();
        return;
    }
    generations *of = g->of;
    retained *heap = g->kept;
    generation *heir = first_with_views(g->older);
    departure d = {0};
    epoch_node *list = NULL;
    g->kept = NULL;
    g->leaving++;
    if (heap != NULL && heir == NULL) {
        reservations_unlock();
        list = depart_at_once(of, heap);
    } else if (heap != NULL) {
        open_or_hand_on(&d, heap, heir);
        list = depart(&d, of, heir);
    }
    while (d.opened != NULL) {
        reservations_unlock();
        epoch_destroy_each(list, release);
        reservations_lock();
        list = depart(&d, of, first_with_views(g->older));
    }
    g->leaving--;
    if (!end_generation(g)) reservations_unlock();
    epoch_destroy_each(list, release);
}

void reservation_drop_last(reservation *r, size_t views, epoch_release release) {
    reservations_lock();
    if (has_views(sub_seq_cst(&r->views, views) - views)) {
        reservations_unlock(); /* its thread has made others meanwhile */
        return;
    }
    and_seq_cst(
        &r->views,
        ~RESERVATION_WATCHED); /* views that its thread makes from now on do not show what is kept */
    let_go(r->generation, release);
}

epoch_amount generations_kept(generations *of) {
    reservations_lock();
    epoch_amount kept = of->kept;
    reservations_unlock();
    return kept;
}

size_t generations_bytes(generations *of) { return sizeof *of + load_seq_cst(&of->bytes); }

/* ---- opening and closing ---- */

static void destroy_generation(epoch_node *node, epoch_release release) {
    generation *g = reg_container(node, generation, node);
    reservations_lock();
    g->is_sealed = true;
    let_go(g, release);
}

static size_t generation_bytes(const epoch_node *node) {
    return sizeof *reg_container(node, generation, node);
}

static const epoch_kind generation_kind = {.bytes = generation_bytes,
                                           .destroy = destroy_generation};

/* The generations of a list, sealed, in their order; returns the others, in theirs. */
static epoch_node *seal_all(epoch_node *list, epoch_release release) {
    epoch_node *others = NULL, **end = &others;
    while (list != NULL) {
        epoch_node *node = list;
        list = node->next;
        if (node->kind == &generation_kind) {
            destroy_generation(node, release);
            continue;
        }
        *end = node;
        end = &node->next;
    }
    *end = NULL;
    return others;
}

epoch_node *reservation_sift(epoch_node *list, epoch_release release) {
    return sift(seal_all(list, release));
}

static generation *new_generation(generations *of, uint32_t number) {
    generation *g = memory_alloc(sizeof *g);
    if (g == NULL) return NULL;
    g->of = of;
    g->number = number;
    add_seq_cst(&of->bytes, sizeof *g);
    return g;
}

static void open_generation(generation *g) {
    generations *of = g->of;
    reservations_lock();
    g->older = of->newest;
    if (of->newest != NULL) of->newest->newer = g;
    of->newest = g;
    reservations_unlock();
    publish(&of->current, g);
}

static generations *take_free(void) {
    reservations_lock();
    generations *of = free_generations;
    if (of != NULL) free_generations = of->next_free;
    reservations_unlock();
    return of;
}

static void give_back(generations *of) {
    reservations_lock();
    of->next_free = free_generations;
    free_generations = of;
    reservations_unlock();
}

/* Numbers go on where those of an earlier registry ended, so that no thread's memo is right by chance. */
generations *generations_new(void) {
    static _Atomic uint32_t places;
    generations *of = take_free();
    if (of == NULL) {
        if ((of = memory_alloc(sizeof *of)) == NULL) return NULL;
        of->place = add_seq_cst(&places, 1) % RESERVATION_MEMOS;
    }
    generation *first = new_generation(of, ++of->last_number);
    if (first == NULL) {
        give_back(of);
        return NULL;
    }
    of->is_closed = false;
    open_generation(first);
    return of;
}

static bool has_any_views(generation *g) {
    EACH_RESERVATION(g, r)
        if (has_views(load_seq_cst(&r->views))) return true;
    return false;
}

void generations_advance(generations *of, epoch_limbo *limbo) {
    generation *old = load_own(&of->current);
    /* The last one stays: it keeps more than it need. */
    if (of->last_number == LAST_NUMBER || !has_any_views(old)) return;
    generation *fresh = new_generation(of, of->last_number + 1);
    if (fresh == NULL) return;
    of->last_number++;
    open_generation(fresh);
    epoch_retire(limbo, &old->node, &generation_kind);
}

void generations_end(generations *of, epoch_limbo *limbo) {
    generation *last = load_own(&of->current);
    reservations_lock();
    of->is_closed = true;
    reservations_unlock();
    epoch_retire(limbo, &last->node, &generation_kind);
}
