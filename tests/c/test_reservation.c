/* Reservations: what views hold stays, nothing else does, and it goes when they are gone. */
#include <pthread.h>

#include "check.h"
#include "memory.h"
#include "random.h"
#include "reservation.h"

/* ---- one thread: intervals ---- */

enum { OURS = 7, THEIRS = 8 };

typedef struct thing {
    epoch_node node;
    uint64_t born;
    uint32_t owner;
    bool is_gone;
} thing;

static size_t thing_bytes(const epoch_node *node) { return sizeof *reg_container(node, thing, node); }

static void destroy_thing(epoch_node *node, epoch_release release) {
    (void)release;
    reg_container(node, thing, node)->is_gone = true;
}

static uint64_t birth_of_thing(const epoch_node *node) { return reg_container(node, thing, node)->born; }

static uint32_t owner_of_thing(const epoch_node *node) { return reg_container(node, thing, node)->owner; }

static const epoch_kind thing_kind = {thing_bytes, destroy_thing, birth_of_thing, owner_of_thing};

static epoch_limbo limbo;

static void collect(void) { epoch_destroy(epoch_collect_now(&limbo), NULL); } /* the clock goes on */

static thing born_now(void) { return (thing){.born = load_counted(&epoch_clock), .owner = OURS}; }

static void retire(thing *t) { epoch_retire(&limbo, &t->node, &thing_kind); }

static reservation *read_for(size_t views) {
    epoch_slot *reader = epoch_enter();
    CHECK(reader != NULL);
    reservation *r = reservation_take(reader, OURS, views);
    CHECK(r != NULL);
    epoch_leave(reader);
    return r;
}

static long views_keep_what_they_use(void) {
    thing t = born_now();
    reservation *r = read_for(2);
    retire(&t);
    collect();
    CHECK(!t.is_gone && limbo.waiting.nodes == 0); /* it does not wait for readers, but is kept */
    CHECK(reservation_kept(OURS).nodes == 1 && reservation_kept(OURS).bytes == sizeof t && reservation_kept(THEIRS).nodes == 0);
    reservation_drop(r, 1, NULL);
    CHECK(!t.is_gone);
    reservation_drop(r, 1, NULL);
    CHECK(t.is_gone && reservation_kept(OURS).nodes == 0);
    return 3;
}

static long what_others_own_is_not_kept(void) {
    thing t = born_now();
    t.owner = THEIRS;
    reservation *r = read_for(1);
    retire(&t);
    collect();
    CHECK(t.is_gone);
    /* A thread that reads two registries has a reservation for each. */
    epoch_slot *reader = epoch_enter();
    reservation *ours = reservation_take(reader, OURS, 1), *theirs = reservation_take(reader, THEIRS, 1);
    epoch_leave(reader);
    CHECK(ours != theirs && load_counted(&theirs->owner) == THEIRS);
    reservation_drop(r, 1, NULL);
    reservation_drop(ours, 1, NULL);
    reservation_drop(theirs, 1, NULL);
    return 2;
}

static long views_of_one_epoch_share_a_reservation(void) {
    reservation *first = read_for(1), *second = read_for(1000);
    CHECK(first == second && load_counted(&first->holders) == 1001);
    collect();
    reservation *later = read_for(1);
    CHECK(later != first);
    reservation_drop(first, 1001, NULL);
    reservation_drop(later, 1, NULL);
    return 2;
}

static long what_came_later_is_not_kept(void) {
    reservation *r = read_for(1);
    collect();
    thing t = born_now();
    retire(&t);
    collect();
    CHECK(t.is_gone);
    reservation_drop(r, 1, NULL);
    return 1;
}

static pthread_barrier_t barrier;

static void *stall(void *unused) {
    epoch_slot *reader = epoch_enter();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    epoch_leave(reader);
    return unused;
}

static long what_went_before_is_not_kept(void) {
    pthread_t thread;
    thing t = born_now();
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK(pthread_create(&thread, NULL, stall, NULL) == 0);
    pthread_barrier_wait(&barrier);
    retire(&t);
    collect(); /* stamped, and held back by the one that stalls */
    CHECK(!t.is_gone && limbo.waiting.nodes == 1);
    reservation *r = read_for(1);
    pthread_barrier_wait(&barrier);
    CHECK(pthread_join(thread, NULL) == 0);
    collect();
    CHECK(t.is_gone);
    reservation_drop(r, 1, NULL);
    pthread_barrier_destroy(&barrier);
    return 2;
}

static long a_read_that_goes_on_reserves_what_came_meanwhile(void) {
    epoch_slot *reader = epoch_enter();
    collect(); /* somebody else's */
    thing t = born_now();
    reservation *r = reservation_take(reader, OURS, 1);
    CHECK(load_counted(&r->first) < t.born && load_counted(&r->last) == t.born);
    epoch_leave(reader);
    retire(&t);
    collect();
    CHECK(!t.is_gone);
    reservation_drop(r, 1, NULL);
    CHECK(t.is_gone);
    return 3;
}

static long what_two_hold_goes_with_the_last(void) {
    for (int order = 0; order < 2; order++) {
        thing t = born_now();
        reservation *held[2] = {read_for(1), NULL};
        collect();
        held[1] = read_for(1);
        CHECK(held[0] != held[1]);
        retire(&t);
        collect();
        reservation_drop(held[order], 1, NULL);
        CHECK(!t.is_gone);
        reservation_drop(held[1 - order], 1, NULL);
        CHECK(t.is_gone);
    }
    return 4;
}

static long count_reservations(void) {
    long count = 0;
    for (reservation *r = load_published(&epoch_own_slot->reservations); r != NULL; r = r->next) count++;
    return count;
}

static long reservations_are_used_again(void) {
    enum { EPOCHS = 20000, HELD = 100 };
    reservation *held[HELD];
    long others = count_reservations(); /* this thread's, of other tests */
    for (int way = 0; way < 4; way++) {
        for (int i = 0; i < HELD; i++) {
            held[i] = read_for(1);
            collect();
        }
        long before = count_reservations();
        for (int i = 0; i < EPOCHS; i++) {
            /* The oldest goes, the newest, any; or all stay, and one comes and goes beside them. */
            int which = way == 0 ? i % HELD : way == 1 ? HELD - 1 : (int)random_below(HELD);
            if (way < 3) reservation_drop(held[which], 1, NULL);
            reservation *fresh = read_for(1);
            if (way < 3)
                held[which] = fresh;
            else
                reservation_drop(fresh, 1, NULL);
            collect();
        }
        CHECK(count_reservations() <= before + 1);
        for (int i = 0; i < HELD; i++) reservation_drop(held[i], 1, NULL);
    }
    CHECK(count_reservations() <= (others > HELD ? others : HELD) + 3);
    return 4 * EPOCHS;
}

/* Many things of many times, let go of in every order: each is kept as long as one of its time is held, and no longer. */
static long what_many_hold_goes_in_any_order(void) {
    enum { TIMES = 300, THINGS = 200 };
    static thing things[THINGS];
    reservation *held[TIMES];
    for (int way = 0; way < 3; way++) {
        for (int i = 0; i < THINGS; i++) things[i] = born_now();
        for (int i = 0; i < TIMES; i++) {
            held[i] = read_for(1);
            collect();
        }
        for (int i = 0; i < THINGS; i++) retire(&things[i]);
        collect();
        CHECK(reservation_kept(OURS).nodes == THINGS);
        for (int i = 0; i < TIMES; i++) {
            for (int k = 0; k < THINGS; k++) CHECK(!things[k].is_gone);
            int left = TIMES - i, which = way == 0 ? i : way == 1 ? left - 1 : (int)random_below(left);
            reservation_drop(held[which], 1, NULL);
            if (way == 2) held[which] = held[left - 1];
        }
        for (int k = 0; k < THINGS; k++) CHECK(things[k].is_gone);
    }
    return 3 * TIMES * THINGS;
}

static bool never(void) { return false; }

static long without_memory_nothing_is_taken(void) {
    enum { MOST = 2000 };
    static reservation *held[MOST];
    int count = 0;
    memory_set_gate(never);
    for (reservation *r;; held[count++] = r) {
        collect();
        epoch_slot *reader = epoch_enter();
        r = reservation_take(reader, OURS, 1);
        epoch_leave(reader);
        if (r == NULL) break;
        CHECK(count < MOST);
    }
    memory_set_gate(NULL);
    held[count++] = read_for(1);
    for (int i = 0; i < count; i++) reservation_drop(held[i], 1, NULL);
    return count;
}

/* ---- two threads: one drops its view at the moment at which the other keeps something for it ---- */

enum { MEETINGS = 30000 };

static _Atomic long meetings; /* how often both have come */

static void meet(long round) {
    add_counted(&meetings, 1);
    while (load_counted(&meetings) < 2 * round) {
    }
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

static long nothing_stays_for_a_view_that_goes(void) {
    pthread_t thread;
    meetings = 0;
    CHECK(pthread_create(&thread, NULL, take_and_drop, NULL) == 0);
    for (long i = 0; i < MEETINGS; i++) {
        thing t = born_now();
        retire(&t);
        meet(2 * i + 1);
        collect();
        meet(2 * i + 2);
        collect(); /* what the reader was not past yet */
        CHECK(t.is_gone);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    return MEETINGS;
}

/* ---- many threads: elements are reused, never freed, so that a mistake is read instead of crashing ---- */

enum { ELEMENTS = 4096, WRITERS = 2, READERS = 3, READS = 60000, BOXES = 64 };

typedef struct element {
    epoch_node node;
    uint64_t born;
    struct element *next_free;
    _Atomic uint64_t version; /* 0: reclaimed */
} element;

/* A view, handed from thread to thread. */
typedef struct box {
    pthread_mutex_t lock;
    element *seen;
    uint64_t version;
    reservation *kept;
} box;

static element elements[ELEMENTS];
static element *free_elements; /* under `freeing` */
static uint64_t last_version;  /* this, and the limbo, under `writing` */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER, freeing = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(element *) current;
static box boxes[BOXES];
static _Atomic int reading;

static size_t element_bytes(const epoch_node *node) { return sizeof *reg_container(node, element, node); }

static void reclaim(epoch_node *node, epoch_release release) {
    (void)release;
    element *e = reg_container(node, element, node);
    pthread_mutex_lock(&freeing);
    publish(&e->version, 0);
    e->next_free = free_elements;
    free_elements = e;
    pthread_mutex_unlock(&freeing);
}

static uint64_t birth_of_element(const epoch_node *node) { return reg_container(node, element, node)->born; }

static uint32_t owner_of_element(const epoch_node *node) { return node != NULL ? OURS : THEIRS; }

static const epoch_kind element_kind = {element_bytes, reclaim, birth_of_element, owner_of_element};

static element *take_free(void) {
    pthread_mutex_lock(&freeing);
    element *e = free_elements;
    if (e != NULL) free_elements = e->next_free;
    pthread_mutex_unlock(&freeing);
    return e;
}

/* False where all elements are held. */
static bool replace(void) {
    element *fresh = take_free(), *old = load_own(&current);
    if (fresh == NULL) return false;
    fresh->born = load_counted(&epoch_clock);
    publish(&fresh->version, ++last_version);
    publish(&current, fresh);
    if (old != NULL) epoch_retire(&limbo, &old->node, &element_kind);
    return true;
}

static void *write_on(void *unused) {
    while (load_counted(&reading) != 0) {
        pthread_mutex_lock(&writing);
        epoch_node *ripe = !replace() || random_below(16) == 0 ? epoch_collect_now(&limbo) : epoch_collect(&limbo);
        pthread_mutex_unlock(&writing);
        epoch_destroy(ripe, NULL);
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
        view.kept = reservation_take(reader, OURS, 1);
        CHECK(view.kept != NULL);
        epoch_leave(reader);
        box *other = &boxes[random_below(BOXES)];
        pthread_mutex_lock(&other->lock);
        swap(&view, other);
        pthread_mutex_unlock(&other->lock);
        drop(&view);
    }
    sub_counted(&reading, 1);
    return unused;
}

static long nothing_is_reclaimed_under_a_view(void) {
    pthread_t threads[WRITERS + READERS];
    free_elements = NULL;
    for (int i = 0; i < ELEMENTS; i++) reclaim(&elements[i].node, NULL);
    for (int i = 0; i < BOXES; i++) pthread_mutex_init(&boxes[i].lock, NULL);
    current = NULL;
    reading = READERS;
    replace();
    for (int i = 0; i < WRITERS + READERS; i++) CHECK(pthread_create(&threads[i], NULL, i < WRITERS ? write_on : read_on, NULL) == 0);
    for (int i = 0; i < WRITERS + READERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < BOXES; i++) drop(&boxes[i]);
    collect();
    /* All are free but the current one: nothing stays for nobody. */
    long left = 0;
    for (element *e = free_elements; e != NULL; e = e->next_free) left++;
    CHECK(left == ELEMENTS - 1);
    return (long)READERS * READS;
}

const test reservation_tests[] = {
    {"reservation: views keep what they use", views_keep_what_they_use},
    {"reservation: what others own is not kept", what_others_own_is_not_kept},
    {"reservation: views of one epoch share", views_of_one_epoch_share_a_reservation},
    {"reservation: what came later is not kept", what_came_later_is_not_kept},
    {"reservation: what went before is not kept", what_went_before_is_not_kept},
    {"reservation: a read that goes on", a_read_that_goes_on_reserves_what_came_meanwhile},
    {"reservation: what two hold", what_two_hold_goes_with_the_last},
    {"reservation: they are used again", reservations_are_used_again},
    {"reservation: what many hold", what_many_hold_goes_in_any_order},
    {"reservation: without memory", without_memory_nothing_is_taken},
    {"reservation: nothing is reclaimed under a view", nothing_is_reclaimed_under_a_view},
    {"reservation: nothing stays for one that goes", nothing_stays_for_a_view_that_goes},
    {0}};
