/* Reservations: exactly the objects that a view may show are kept. They are freed with the last
 * view. */
#include <pthread.h>
#include <sched.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "reclaim/reclaim.h"

/* ---- one thread ---- */

typedef struct thing {
    retained shown;
    uint32_t born;
    bool is_destroyed;
} thing;

static thing *thing_of(const epoch_node *node) { return reg_container(node, thing, shown.node); }

static size_t thing_bytes(const epoch_node *node) { return sizeof *thing_of(node); }

static void destroy_thing(epoch_node *node, epoch_release release) {
    (void)release;
    thing_of(node)->is_destroyed = true;
}

static uint32_t birth_of_thing(const epoch_node *node) { return thing_of(node)->born; }

static const epoch_kind thing_kind = {
    .bytes = thing_bytes, .destroy = destroy_thing, .born = birth_of_thing};

static epoch_limbo limbo;
static generations *ours, *theirs;

static void open_both(void) {
    ours = generations_new();
    theirs = generations_new();
    CHECK(ours != NULL && theirs != NULL && ours != theirs);
}

/* Does what a writer does: opens a new generation if the current one has views, then collects. */
static void collect(void) {
    generations_advance(ours, &limbo);
    generations_advance(theirs, &limbo);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
}

/* There must be no view left. */
static void close_both(void) {
    collect();
    CHECK(generations_kept(ours).nodes == 0 && generations_kept(ours).bytes == 0);
    CHECK(generations_kept(theirs).nodes == 0);
    generations_end(ours, &limbo);
    generations_end(theirs, &limbo);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(ours->newest == NULL && theirs->newest == NULL && limbo.waiting.nodes == 0);
}

static thing born_now_in(generations *of) {
    return (thing){.shown.generations = of, .born = generation_now(of)};
}

static thing born_now(void) { return born_now_in(ours); }

static void retire(thing *t) { epoch_retire(&limbo, &t->shown.node, &thing_kind); }

static reservation *read_in(generations *of, size_t views) {
    epoch_slot *reader = epoch_enter();
    CHECK(reader != NULL);
    reservation *r = reservation_take(reader, of, views);
    CHECK(r != NULL);
    epoch_leave(reader);
    return r;
}

static reservation *read_for(size_t views) { return read_in(ours, views); }

static long views_keep_what_they_show(void) {
    open_both();
    thing t = born_now();
    reservation *r = read_for(2);
    retire(&t);
    collect();
    CHECK(!t.is_destroyed &&
          limbo.waiting.nodes == 0); /* it is kept, and does not wait for readers */
    CHECK(generations_kept(ours).nodes == 1 && generations_kept(ours).bytes == sizeof t);
    CHECK(generations_kept(theirs).nodes == 0);
    reservation_drop(r, 1, NULL);
    CHECK(!t.is_destroyed);
    reservation_drop(r, 1, NULL);
    CHECK(t.is_destroyed && generations_kept(ours).nodes == 0);
    close_both();
    return 3;
}

static long views_keep_nothing_of_other_registries(void) {
    open_both();
    thing t = born_now_in(theirs);
    reservation *r = read_for(1);
    retire(&t);
    collect();
    CHECK(t.is_destroyed);
    reservation_drop(r, 1, NULL);
    close_both();
    return 2;
}

/* This holds even if a thread alternates between registries, and while all of its views exist. */
static long views_of_one_generation_share_a_reservation(void) {
    enum { TURNS = 1000 };
    open_both();
    reservation *first = read_in(ours, 1), *other = read_in(theirs, 1);
    CHECK(first != other);
    for (int i = 0; i < TURNS; i++) CHECK(read_in(ours, 1) == first && read_in(theirs, 1) == other);
    CHECK(load_seq_cst(&first->views) == TURNS + 1 &&
          load_published(&first->generation->reservations)->next == NULL);
    collect();
    reservation *later = read_in(ours, 1);
    CHECK(later != first);
    reservation_drop(first, TURNS + 1, NULL);
    reservation_drop(other, TURNS + 1, NULL);
    reservation_drop(later, 1, NULL);
    close_both();
    return 2 * TURNS;
}

/* There are more registries than a thread has memos. */
static long a_thread_finds_its_reservation_in_many_registries(void) {
    enum { REGISTRIES = 5 * RESERVATION_MEMOS };
    generations *many[REGISTRIES];
    for (int i = 0; i < REGISTRIES; i++) CHECK((many[i] = generations_new()) != NULL);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < REGISTRIES; i++) CHECK(read_in(many[i], 1)->generation->all == many[i]);
    for (int i = 0; i < REGISTRIES; i++) {
        reservation *r = load_published(&load_published(&many[i]->current)->reservations);
        CHECK(r->next == NULL && load_seq_cst(&r->views) == 3);
        reservation_drop(r, 3, NULL);
        generations_end(many[i], &limbo);
    }
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(limbo.waiting.nodes == 0);
    return 3 * REGISTRIES;
}

static long views_keep_nothing_that_is_born_later(void) {
    open_both();
    reservation *r = read_for(1);
    collect();
    thing t = born_now();
    retire(&t);
    collect();
    CHECK(t.is_destroyed);
    reservation_drop(r, 1, NULL);
    close_both();
    return 1;
}

/* If all views are dropped before a collection, the generation stays. If views exist, a new
 * generation is opened. No other generation is opened as long as the new one has no views. */
static long a_generation_closes_only_if_it_has_views(void) {
    open_both();
    uint32_t first = generation_now(ours);
    for (int i = 0; i < 100; i++) {
        reservation_drop(read_for(1), 1, NULL);
        collect();
    }
    CHECK(generation_now(ours) == first);
    reservation *r = read_for(1);
    for (int i = 0; i < 100; i++) collect();
    CHECK(generation_now(ours) == first + 1 && ours->newest->older == r->generation);
    reservation_drop(r, 1, NULL);
    CHECK(ours->newest->older == NULL);
    close_both();
    return 200;
}

static long a_long_read_keeps_what_is_born_during_it(void) {
    open_both();
    reservation *before = read_for(1);
    epoch_slot *reader = epoch_enter();
    generation *first = before->generation;
    generations_advance(ours, &limbo);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(!first->is_sealed); /* this read may hold it */
    thing t = born_now();
    reservation *r = reservation_take(reader, ours, 1); /* the read has found t */
    CHECK(r->generation->number == t.born && before->generation->number < t.born);
    epoch_leave(reader);
    retire(&t);
    collect();
    CHECK(!t.is_destroyed);
    reservation_drop(r, 1, NULL);
    CHECK(t.is_destroyed);
    reservation_drop(before, 1, NULL);
    close_both();
    return 3;
}

static pthread_barrier_t barrier;

/* The threads are alive at the same time, so each has a slot of its own. */
static void *read_two(void *unused) {
    reservation *r = read_for(2);
    pthread_barrier_wait(&barrier);
    return unused == NULL ? r : NULL;
}

static bool is_watched(reservation *r) {
    return (load_seq_cst(&r->views) & RESERVATION_WATCHED) != 0;
}

/* While something is kept, the last view of one reservation is dropped under the lock. All other
 * reservations are dropped without it. */
static long one_reservation_is_watched(void) {
    enum { THREADS = 8 };
    open_both();
    thing t = born_now();
    reservation *held[THREADS + 1] = {read_for(2)};
    pthread_t threads[THREADS];
    CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, read_two, NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *taken;
        CHECK(pthread_join(threads[i], &taken) == 0);
        held[i + 1] = taken;
    }
    pthread_barrier_destroy(&barrier);
    retire(&t);
    collect();
    for (int left = 2; left > 0; left--) {
        int watched = 0;
        for (int i = 0; i <= THREADS; i++) watched += is_watched(held[i]);
        CHECK(watched == 1 && !t.is_destroyed);
        for (int i = 0; i <= THREADS; i++) reservation_drop(held[i], 1, NULL);
    }
    CHECK(t.is_destroyed);
    /* After the generation has freed the node that it kept, it is still current, but no longer
     * watched. */
    thing other = born_now();
    reservation *r = read_for(1);
    retire(&other);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(is_watched(r) && !other.is_destroyed);
    reservation_drop(r, 1, NULL);
    CHECK(other.is_destroyed && !is_watched(r) && read_for(1) == r && !is_watched(r));
    reservation_drop(r, 1, NULL);
    close_both();
    return THREADS;
}

static long the_last_of_two_generations_frees(void) {
    for (int order = 0; order < 2; order++) {
        open_both();
        thing t = born_now();
        reservation *held[2] = {read_for(1), NULL};
        collect();
        held[1] = read_for(1);
        CHECK(held[0] != held[1]);
        retire(&t);
        collect();
        reservation_drop(held[order], 1, NULL);
        CHECK(!t.is_destroyed);
        reservation_drop(held[1 - order], 1, NULL);
        CHECK(t.is_destroyed);
        close_both();
    }
    return 4;
}

static long count_generations(void) {
    long count = 0;
    for (generation *g = ours->newest; g != NULL; g = g->older) count++;
    return count;
}

/* A generation is freed with its last view, whatever the order in which generations lose their
 * views. */
static long generations_end_with_their_last_view(void) {
    enum { EPOCHS = 20000, HELD = 100 };
    reservation *held[HELD];
    for (int way = 0; way < 4; way++) {
        open_both();
        for (int i = 0; i < HELD; i++) {
            held[i] = read_for(1);
            collect();
        }
        for (int i = 0; i < EPOCHS; i++) {
            /* Drop the oldest view, the newest, or a random one; or keep all views, and create and
             * drop another one. */
            int which = way == 0 ? i % HELD : way == 1 ? HELD - 1 : (int)random_below(HELD);
            if (way < 3) reservation_drop(held[which], 1, NULL);
            reservation *fresh = read_for(1);
            if (way < 3)
                held[which] = fresh;
            else
                reservation_drop(fresh, 1, NULL);
            collect();
            CHECK(count_generations() <= HELD + 1);
        }
        for (int i = 0; i < HELD; i++) reservation_drop(held[i], 1, NULL);
        CHECK(count_generations() == 1);
        close_both();
    }
    return 4 * EPOCHS;
}

/* Things are born in every generation and retired, and the views are dropped in several orders. A
 * thing must be kept exactly as long as there is a view of its generation or a later one. */
static long things_are_kept_as_long_as_needed_in_any_order(void) {
    enum { TIMES = 300, EACH = 3, THINGS = TIMES * EACH };
    static thing things[THINGS];
    static bool is_held[TIMES];
    reservation *held[TIMES];
    int order[TIMES];
    for (int way = 0; way < 3; way++) {
        open_both();
        for (int i = 0; i < TIMES; i++) {
            for (int k = 0; k < EACH; k++) things[i * EACH + k] = born_now();
            held[i] = read_for(1);
            is_held[i] = true;
            order[i] = i;
            collect();
        }
        for (int i = 0; i < THINGS; i++) retire(&things[(i * 7) % THINGS]);
        collect();
        CHECK(generations_kept(ours).nodes == THINGS &&
              generations_kept(ours).bytes == THINGS * sizeof(thing));
        for (int left = TIMES; left > 0; left--) {
            int place = way == 0   ? 0
                        : way == 1 ? left - 1
                                   : (int)random_below((uint64_t)left),
                which = order[place];
            for (int i = place; i < left - 1; i++) order[i] = order[i + 1];
            reservation_drop(held[which], 1, NULL);
            is_held[which] = false;
            size_t kept = 0;
            bool is_needed = false;
            for (int i = TIMES - 1; i >= 0; i--) {
                is_needed = is_needed || is_held[i];
                for (int k = 0; k < EACH; k++)
                    CHECK(things[i * EACH + k].is_destroyed == !is_needed);
                if (is_needed) kept += EACH;
            }
            CHECK(generations_kept(ours).nodes == kept);
        }
        close_both();
    }
    return 3 * TIMES * THINGS;
}

/* One drop frees more things than a chunk has, but keeps those that an older view shows. */
static long more_than_a_chunk_is_freed(void) {
    enum { THINGS = 10 * RESERVATION_CHUNK + 3 };
    static thing old[THINGS], young[THINGS];
    open_both();
    for (int i = 0; i < THINGS; i++) old[i] = born_now();
    reservation *first = read_for(1);
    collect();
    for (int i = 0; i < THINGS; i++) young[i] = born_now();
    reservation *second = read_for(1);
    for (int i = 0; i < THINGS; i++) retire(&old[i]), retire(&young[i]);
    collect();
    CHECK(generations_kept(ours).nodes == 2 * THINGS);
    reservation_drop(second, 1, NULL);
    for (int i = 0; i < THINGS; i++) CHECK(!old[i].is_destroyed && young[i].is_destroyed);
    CHECK(generations_kept(ours).nodes == THINGS);
    reservation_drop(first, 1, NULL);
    for (int i = 0; i < THINGS; i++) CHECK(old[i].is_destroyed);
    close_both();
    return 2 * THINGS;
}

static bool never(void) { return false; }

static long without_memory_nothing_is_taken(void) {
    open_both();
    reservation *r = read_for(1);
    collect();
    memory_set_gate(never);
    CHECK(generations_new() == NULL);
    epoch_slot *reader = epoch_enter();
    CHECK(reservation_take(reader, ours, 1) == NULL && !reservation_prepare(reader));
    memory_set_gate(NULL);
    CHECK(reservation_prepare(reader));
    memory_set_gate(never);
    reservation *prepared = reservation_take(reader, ours, 1);
    CHECK(prepared != NULL);
    uint32_t before = generation_now(ours);
    generations_advance(ours, &limbo); /* out of memory: the generation stays current */
    CHECK(generation_now(ours) == before);
    memory_set_gate(NULL);
    epoch_leave(reader);
    reservation_drop(r, 1, NULL);
    reservation_drop(prepared, 1, NULL);
    close_both();
    return 4;
}

/* ---- two threads: one drops its view while the other keeps something for it ---- */

enum { MEETINGS = 30000 };

static _Atomic long meetings; /* arrivals of both threads */

static void meet(long round) {
    add_seq_cst(&meetings, 1);
    for (int tries = 0; load_seq_cst(&meetings) < 2 * round; tries++)
        if (tries > 1000) sched_yield(); /* the other thread may be waiting for a processor */
}

static void *take_and_drop(void *unused) {
    for (long i = 0; i < MEETINGS; i++) {
        reservation *r = read_for(1);
        meet(2 * i + 1);
        reservation_drop(r, 1, NULL);
        meet(2 * i + 2);
    }
    return unused;
}

/* In half of the rounds nothing is kept. Then only the generation must be freed. */
static long nothing_stays_after_its_last_view(void) {
    pthread_t thread;
    open_both();
    meetings = 0;
    CHECK(pthread_create(&thread, NULL, take_and_drop, NULL) == 0);
    for (long i = 0; i < MEETINGS; i++) {
        thing t = born_now();
        t.is_destroyed = i % 2;
        if (!t.is_destroyed) retire(&t);
        meet(2 * i + 1);
        collect();
        meet(2 * i + 2);
        collect(); /* destroys nodes that the reader may have held during the first collection */
        CHECK(t.is_destroyed && count_generations() <= 2);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    close_both();
    return MEETINGS;
}

/* ---- many threads ----
 *
 * Elements are reused and never freed, so a mistake shows as a wrong version instead of a crash. */

enum { ELEMENTS = 4096, WRITERS = 2, READERS = 3, READS = 60000, BOXES = 64 };

typedef struct element {
    retained shown;
    uint32_t born;
    struct element *next_free;
    _Atomic uint64_t version; /* 0: reclaimed */
} element;

/* A view that threads pass on to each other. */
typedef struct box {
    pthread_mutex_t lock;
    element *seen;
    uint64_t version;
    reservation *kept;
} box;

static element elements[ELEMENTS];
static element *free_elements; /* guarded by `freeing` */
static uint64_t last_version;  /* `writing` guards this and the limbo */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER, freeing = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(element *) current;
static box boxes[BOXES];
static _Atomic int reading;

static element *element_of(const epoch_node *node) {
    return reg_container(node, element, shown.node);
}

static size_t element_bytes(const epoch_node *node) { return sizeof *element_of(node); }

static void reclaim(epoch_node *node, epoch_release release) {
    (void)release;
    element *e = element_of(node);
    pthread_mutex_lock(&freeing);
    publish(&e->version, 0);
    e->next_free = free_elements;
    free_elements = e;
    pthread_mutex_unlock(&freeing);
}

static uint32_t birth_of_element(const epoch_node *node) { return element_of(node)->born; }

static const epoch_kind element_kind = {
    .bytes = element_bytes, .destroy = reclaim, .born = birth_of_element};

static element *take_free(void) {
    pthread_mutex_lock(&freeing);
    element *e = free_elements;
    if (e != NULL) free_elements = e->next_free;
    pthread_mutex_unlock(&freeing);
    return e;
}

/* Returns false if all elements are in use. */
static bool replace(void) {
    element *fresh = take_free(), *old = load_own(&current);
    if (fresh == NULL) return false;
    fresh->shown.generations = ours;
    fresh->born = generation_now(ours);
    publish(&fresh->version, ++last_version);
    publish(&current, fresh);
    if (old != NULL) epoch_retire(&limbo, &old->shown.node, &element_kind);
    return true;
}

static void *write_while_others_read(void *unused) {
    while (load_seq_cst(&reading) != 0) {
        pthread_mutex_lock(&writing);
        epoch_node *ripe = NULL;
        if (!replace() || random_below(16) == 0 || epoch_is_due(&limbo)) {
            generations_advance(ours, &limbo);
            ripe = epoch_collect_now(&limbo);
        }
        pthread_mutex_unlock(&writing);
        reclaim_destroy(ripe, NULL);
    }
    return unused;
}

static void swap(box *a, box *b) {
    box kept = *a;
    a->seen = b->seen, a->version = b->version, a->kept = b->kept;
    b->seen = kept.seen, b->version = kept.version, b->kept = kept.kept;
}

static void drop(box *view) {
    if (view->kept == NULL) return;
    CHECK(load_published(&view->seen->version) == view->version);
    reservation_drop(view->kept, 1, NULL);
    view->kept = NULL;
}

static void *read_on(void *unused) {
    for (long i = 0; i < READS; i++) {
        epoch_slot *reader = epoch_enter();
        CHECK(reader != NULL);
        box view = {.seen = load_published(&current)};
        view.version = load_published(&view.seen->version);
        CHECK(view.version != 0);
        view.kept = reservation_take(reader, ours, 1);
        CHECK(view.kept != NULL);
        epoch_leave(reader);
        box *other = &boxes[random_below(BOXES)];
        pthread_mutex_lock(&other->lock);
        swap(&view, other);
        pthread_mutex_unlock(&other->lock);
        drop(&view);
    }
    sub_seq_cst(&reading, 1);
    return unused;
}

static long nothing_is_reclaimed_under_a_view(void) {
    pthread_t threads[WRITERS + READERS];
    open_both();
    free_elements = NULL;
    for (int i = 0; i < ELEMENTS; i++) reclaim(&elements[i].shown.node, NULL);
    for (int i = 0; i < BOXES; i++) pthread_mutex_init(&boxes[i].lock, NULL);
    current = NULL;
    reading = READERS;
    replace();
    for (int i = 0; i < WRITERS + READERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < WRITERS ? write_while_others_read : read_on,
                             NULL) == 0);
    for (int i = 0; i < WRITERS + READERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < BOXES; i++) drop(&boxes[i]);
    collect();
    /* All elements are free, except for the current one. */
    long left = 0;
    for (element *e = free_elements; e != NULL; e = e->next_free) left++;
    CHECK(left == ELEMENTS - 1);
    close_both();
    return (long)READERS * READS;
}

const test reservation_tests[] = {
    {"reservation: views keep what they show", views_keep_what_they_show},
    {"reservation: other registries are not kept", views_keep_nothing_of_other_registries},
    {"reservation: views of one generation share", views_of_one_generation_share_a_reservation},
    {"reservation: many registries", a_thread_finds_its_reservation_in_many_registries},
    {"reservation: later objects are not kept", views_keep_nothing_that_is_born_later},
    {"reservation: closed only if it has views", a_generation_closes_only_if_it_has_views},
    {"reservation: a read keeps what is born in it", a_long_read_keeps_what_is_born_during_it},
    {"reservation: one at a time is watched", one_reservation_is_watched},
    {"reservation: the last generation frees", the_last_of_two_generations_frees},
    {"reservation: generations end", generations_end_with_their_last_view},
    {"reservation: views drop in any order", things_are_kept_as_long_as_needed_in_any_order},
    {"reservation: more than a chunk is freed", more_than_a_chunk_is_freed},
    {"reservation: out of memory", without_memory_nothing_is_taken},
    {"reservation: nothing is reclaimed under a view", nothing_is_reclaimed_under_a_view},
    {"reservation: nothing stays after its last view", nothing_stays_after_its_last_view},
    {0}};
