#include "reservation.h"

#include <pthread.h>

#include "memory.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static generations *free_generations; /* of registries that are gone; under the lock */

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
    r->next = load_published(&g->reservations);
    while (!atomic_compare_exchange_weak_explicit(&g->reservations, &r->next, r, memory_order_acq_rel,
                                                  memory_order_acquire)) {
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

#define EACH_RESERVATION(g, r) \
    for (reservation *r = load_published(&(g)->reservations); r != NULL; r = r->next)

static bool has_views(uint64_t word) { return (word & ~RESERVATION_WATCHED) != 0; }

/* Whether the generation has views. If so, the last of them will be dropped under the lock. Under the lock. */
static bool watch(generation *g) {
    bool held = false;
    EACH_RESERVATION(g, r)
        if (has_views(load_counted(&r->views)) && has_views(or_counted(&r->views, RESERVATION_WATCHED))) held = true;
    return held;
}

/* It keeps nothing, so its views may be dropped without the lock again. Under the lock. */
static void unwatch(generation *g) { EACH_RESERVATION(g, r) and_counted(&r->views, ~RESERVATION_WATCHED); }

/* ---- the heap of what a generation keeps, the youngest on top ---- */

static uint32_t born(const retained *r) { return r->node.kind->born(&r->node); }

static retained *sibling(const retained *r) {
    return r->node.next == NULL ? NULL : reg_container(r->node.next, retained, node);
}

static void set_sibling(retained *r, retained *other) { r->node.next = other == NULL ? NULL : &other->node; }

/* Two heaps become one. Neither top has a sibling. */
static retained *meld(retained *a, retained *b) {
    if (a == NULL || b == NULL) return a == NULL ? b : a;
    retained *top = born(a) < born(b) ? b : a, *other = top == a ? b : a;
    set_sibling(other, top->link);
    top->link = other;
    return top;
}

/* The siblings from `first` on become one heap: pair by pair, then all pairs from the last to the first. */
static retained *meld_siblings(retained *first) {
    retained *pairs = NULL, *top = NULL;
    while (first != NULL) {
        retained *a = first, *b = sibling(a);
        first = b == NULL ? NULL : sibling(b);
        set_sibling(a, NULL);
        if (b != NULL) set_sibling(b, NULL);
        retained *pair = meld(a, b);
        set_sibling(pair, pairs);
        pairs = pair;
    }
    while (pairs != NULL) {
        retained *next = sibling(pairs);
        set_sibling(pairs, NULL);
        top = meld(top, pairs);
        pairs = next;
    }
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

static void move_amount(epoch_amount *from, epoch_amount *to, epoch_amount amount) {
    from->nodes -= amount.nodes;
    from->bytes -= amount.bytes;
    if (to == NULL) return;
    to->nodes += amount.nodes;
    to->bytes += amount.bytes;
}

static void keep(generation *g, epoch_node *node) {
    size_t bytes = node->kind->bytes(node);
    retained *r = reg_container(node, retained, node);
    r->link = NULL;
    set_sibling(r, NULL);
    g->kept = meld(g->kept, r);
    g->amount.nodes++;
    g->amount.bytes += bytes;
    g->of->kept.nodes++;
    g->of->kept.bytes += bytes;
}

static generation *first_with_views(generation *g) {
    while (g != NULL && !watch(g)) g = g->older;
    return g;
}

/* Whether a view may show the node; then it is kept. `keeper` is the newest generation with views of the registry
 * `of`, for as long as the lock is held: a watched generation does not lose its last view meanwhile. */
static bool is_kept(epoch_node *node, uint32_t birth, generations **of, generation **keeper) {
    generations *its = reg_container(node, retained, node)->generations;
    if (its != *of) {
        *of = its;
        *keeper = first_with_views(its->newest);
    }
    if (*keeper == NULL || (*keeper)->number < birth) return false;
    keep(*keeper, node);
    return true;
}

epoch_node *reservation_sift(epoch_node *list) {
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

/* Takes out what no older generation has to keep, a chunk at most, and hands the rest on. `more`: it is not
 * finished. */
static epoch_node *take_unneeded(generation *g, bool *more) {
    generation *heir = first_with_views(g->older);
    epoch_node *list = NULL;
    *more = false;
    if (heir == NULL) {
        list = flatten(g->kept);
        g->kept = NULL;
        move_amount(&g->of->kept, NULL, g->amount);
        g->amount = (epoch_amount){0};
        return list;
    }
    for (int taken = 0; g->kept != NULL && born(g->kept) > heir->number; taken++) {
        if (taken == RESERVATION_CHUNK) {
            *more = true;
            return list;
        }
        retained *top = g->kept;
        epoch_amount amount = {1, top->node.kind->bytes(&top->node)};
        g->kept = meld_siblings(top->link);
        move_amount(&g->amount, NULL, amount);
        move_amount(&g->of->kept, NULL, amount);
        top->node.next = list;
        list = &top->node;
    }
    heir->kept = meld(heir->kept, g->kept);
    g->kept = NULL;
    move_amount(&g->amount, &heir->amount, g->amount);
    return list;
}

static void unlink_generation(generation *g) {
    generations *of = g->of;
    if (g->older != NULL) g->older->newer = g->newer;
    if (g->newer != NULL)
        g->newer->older = g->older;
    else
        of->newest = g->older;
    if (of->newest != NULL || !of->is_closed) return;
    of->next_free = free_generations;
    free_generations = of;
}

static void free_generation(generation *g) {
    reservation *r = load_own(&g->reservations);
    while (r != NULL) {
        reservation *next = r->next;
        memory_free(r);
        r = next;
    }
    memory_free(g);
}

/* L: where the generation has no view left, what it keeps goes, and it goes itself if it is sealed. Gives the lock
 * back, and holds it for a chunk at a time. */
static void let_go(generation *g, epoch_release release) {
    bool more = !g->is_busy && !watch(g);
    g->is_busy = g->is_busy || more;
    while (more) {
        epoch_node *list = take_unneeded(g, &more);
        bool is_over = !more && g->is_sealed;
        if (is_over)
            unlink_generation(g);
        else if (!more)
            unwatch(g);
        g->is_busy = more;
        reservations_unlock();
        epoch_destroy_each(list, release);
        if (is_over) free_generation(g);
        if (!more) return;
        reservations_lock();
        if (watch(g)) more = g->is_busy = false;
    }
    reservations_unlock();
}

void reservation_drop_last(reservation *r, size_t views, epoch_release release) {
    reservations_lock();
    if (has_views(sub_counted(&r->views, views) - views))
        reservations_unlock(); /* its thread has made others meanwhile */
    else
        let_go(r->generation, release);
}

epoch_amount generations_kept(generations *of) {
    reservations_lock();
    epoch_amount kept = of->kept;
    reservations_unlock();
    return kept;
}

/* ---- opening and closing ---- */

static void destroy_generation(epoch_node *node, epoch_release release) {
    generation *g = reg_container(node, generation, node);
    reservations_lock();
    g->is_sealed = true;
    let_go(g, release);
}

static size_t generation_bytes(const epoch_node *node) { return sizeof *reg_container(node, generation, node); }

static const epoch_kind generation_kind = {.bytes = generation_bytes, .destroy = destroy_generation};

/* Numbers go on where those of an earlier registry ended, so that no thread's memo is right by chance. */
static generation *new_generation(generations *of, uint32_t number) {
    generation *g = memory_alloc(sizeof *g);
    if (g == NULL) return NULL;
    g->of = of;
    g->number = number;
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

generations *generations_new(void) {
    static _Atomic uint32_t places;
    generations *of = take_free();
    if (of == NULL) {
        if ((of = memory_alloc(sizeof *of)) == NULL) return NULL;
        of->place = add_counted(&places, 1) % RESERVATION_MEMOS;
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
        if (has_views(load_counted(&r->views))) return true;
    return false;
}

void generations_advance(generations *of, epoch_limbo *limbo) {
    generation *old = load_own(&of->current);
    if (!has_any_views(old)) return;
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
