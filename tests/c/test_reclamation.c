/* A torture test of the epochs alone, modelled on liburcu's: readers check the element that they
 * hold while writers replace it.
 *
 * Elements are reused and never freed, so a mistake shows as a wrong version instead of a crash. An
 * element is alive from its publication until it is reclaimed. During its read, a reader must never
 * see an element that is not alive, nor one that was replaced before the read began.
 *
 * This test cannot show that the fences are needed. Without them, a reader could go wrong only in
 * the few nanoseconds for which its store stays in the store buffer. tests/spin checks the fences.
 *
 * In the second part, the kernel begins to refuse membarrier during the same test. A child process
 * installs a seccomp filter for that. */
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"
#include "reclaim/reclaim.h"

#if defined(__linux__) && defined(__has_include) && !defined(REG_THREAD_SANITIZER)
#if __has_include(<linux/filter.h>) && __has_include(<linux/seccomp.h>)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#define HAS_SECCOMP 1
#endif
#endif

enum { ELEMENTS = 1024, WRITERS = 2, READERS = 3, READS = 100000 };

typedef struct element {
    epoch_node node;
    struct element *next_free;
    _Atomic uint64_t version; /* 0: reclaimed */
} element;

static element elements[ELEMENTS];
static element *free_elements; /* `writing` guards this, the limbo and the version */
static epoch_limbo limbo;
static uint64_t last_version;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(element *) current;
static _Atomic uint64_t current_version; /* never newer than `current` */
static _Atomic bool stopped;

static size_t element_bytes(const epoch_node *node) {
    (void)node;
    return sizeof(element);
}

static void reclaim(epoch_node *node, epoch_release release) {
    (void)release;
    element *e = reg_container(node, element, node);
    publish(&e->version, 0);
    e->next_free = free_elements;
    free_elements = e;
}

static const epoch_kind element_kind = {.bytes = element_bytes, .destroy = reclaim};

/* Returns false if all elements wait for reclamation. */
static bool replace(void) {
    element *fresh = free_elements, *old = load_own(&current);
    if (fresh == NULL) return false;
    free_elements = fresh->next_free;
    publish(&fresh->version, ++last_version);
    publish(&current, fresh);
    publish(&current_version, last_version);
    if (old != NULL) epoch_retire(&limbo, &old->node, &element_kind);
    return true;
}

static void *write_until_stopped(void *unused) {
    while (!stopped) {
        pthread_mutex_lock(&writing);
        if (!replace()) reclaim_destroy(epoch_collect_now(&limbo), NULL);
        if (epoch_is_due(&limbo)) reclaim_destroy(epoch_collect_now(&limbo), NULL);
        pthread_mutex_unlock(&writing);
    }
    return unused;
}

static void read_one(void) {
    uint64_t before = load_published(&current_version);
    epoch_slot *slot = epoch_enter();
    CHECK(slot != NULL);
    element *e = load_published(&current);
    uint64_t version = load_published(&e->version);
    CHECK(version != 0 && version >= before);
    CHECK(load_published(&e->version) == version);
    epoch_leave(slot);
}

static void *read_on(void *unused) {
    for (long i = 0; i < READS; i++) read_one();
    return unused;
}

static void begin_torture(void) {
    limbo = (epoch_limbo){0};
    free_elements = NULL;
    for (int i = 0; i < ELEMENTS; i++) reclaim(&elements[i].node, NULL);
    current = NULL;
    stopped = false;
    replace();
}

static long no_element_is_reclaimed_under_a_reader(void) {
    pthread_t threads[WRITERS + READERS];
    begin_torture();
    for (int i = 0; i < WRITERS + READERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < WRITERS ? write_until_stopped : read_on,
                             NULL) == 0);
    for (int i = WRITERS + READERS - 1; i >= 0; i--) {
        if (i == WRITERS - 1) stopped = true;
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    CHECK(limbo.waiting.nodes == 0);
    return (long)READERS * READS;
}

/* ---- a kernel that begins to refuse membarrier ---- */

#ifdef HAS_SECCOMP

enum { SKIPPED = 77 };

/* From now on, membarrier fails with EPERM in this thread and in those that it starts. Returns
 * false if the kernel does not support such filters. */
static bool refuse_membarrier(void) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* load the number of the system call */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = 4, .filter = program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* Whether readers rely on membarrier. If they do not, these tests are skipped. */
static bool uses_membarrier(void) {
    epoch_slot *slot = epoch_enter();
    CHECK(slot != NULL);
    epoch_leave(slot);
    return load_published(&epoch_has_heavy_fence);
}

/* Runs the test in a child process, because a filter cannot be removed. Returns 0 if the test was
 * skipped. */
static long in_child(void (*run)(void), long work) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        epoch_forget_other_threads(); /* the handler of a registry may have done this already */
        if (!uses_membarrier()) _exit(SKIPPED);
        run();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIPPED);
    if (WEXITSTATUS(status) == 0) return work;
    printf("    skipped: this kernel has no membarrier, or no seccomp filters\n");
    return 0;
}

static pthread_barrier_t meeting;

static void *read_and_idle(void *reads_long) {
    epoch_slot *slot = epoch_enter();
    CHECK(slot != NULL);
    if (reads_long == NULL) epoch_leave(slot);
    pthread_barrier_wait(&meeting); /* now one thread is idle, and one is inside its read */
    pthread_barrier_wait(&meeting); /* the test lets both continue */
    if (reads_long != NULL) epoch_leave(slot);
    pthread_barrier_wait(&meeting);
    return NULL;
}

static bool is_collected(void) {
    epoch_node *ripe = epoch_collect_now(&limbo);
    reclaim_destroy(ripe, NULL);
    return ripe != NULL;
}

static void wait_until_collected(void) {
    while (!is_collected()) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

static void refuse_then_settle(void) {
    static element early, refused, late;
    pthread_t idle, reader;
    limbo = (epoch_limbo){0};
    CHECK(pthread_barrier_init(&meeting, NULL, 3) == 0);
    epoch_retire(&limbo, &early.node, &element_kind);
    CHECK(is_collected()); /* membarrier works */
    CHECK(pthread_create(&idle, NULL, read_and_idle, NULL) == 0);
    epoch_retire(&limbo, &refused.node, &element_kind);
    uint64_t before = clock_nanoseconds();
    if (!refuse_membarrier()) _exit(SKIPPED);
    CHECK(!is_collected() && !load_published(&epoch_has_heavy_fence) && limbo.waiting.nodes == 1);
    CHECK(pthread_create(&reader, NULL, read_and_idle, &meeting) == 0);
    pthread_barrier_wait(&meeting);
    bool again = is_collected();
    /* The node cannot be collected before SETTLED, one second after the refusal. On a slow machine,
     * that second may already be over. */
    CHECK(!again || clock_nanoseconds() - before > 1000000000);
    /* Neither thread delays the node: one is idle, and the other began its read later. */
    if (!again) wait_until_collected();
    CHECK(limbo.waiting.nodes == 0);
    epoch_retire(&limbo, &late.node, &element_kind);
    CHECK(!is_collected()); /* the reader may hold it */
    pthread_barrier_wait(&meeting);
    pthread_barrier_wait(&meeting);
    CHECK(is_collected() && limbo.waiting.nodes == 0); /* there is no second delay */
    CHECK(pthread_join(idle, NULL) == 0 && pthread_join(reader, NULL) == 0);
}

static long nothing_is_freed_before_settled(void) { return in_child(refuse_then_settle, 3); }

/* The grandchild has no other thread, so it can collect at once. */
static void fork_before_settled(void) {
    static element one, other;
    limbo = (epoch_limbo){0};
    if (!refuse_membarrier()) _exit(SKIPPED);
    epoch_retire(&limbo, &one.node, &element_kind);
    CHECK(!is_collected());
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        epoch_forget_other_threads();
        epoch_retire(&limbo, &other.node, &element_kind);
        _exit(is_collected() && limbo.waiting.nodes == 0 ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static long a_forked_child_is_settled(void) { return in_child(fork_before_settled, 2); }

static void *write_refused(void *unused) {
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&writing);
        if (!replace()) reclaim_destroy(epoch_collect_now(&limbo), NULL);
        pthread_mutex_unlock(&writing);
    }
    /* This affects only this thread. The other writer sees that the flag is cleared. */
    if (!refuse_membarrier()) _exit(SKIPPED);
    return write_until_stopped(unused);
}

static void *read_until_stopped(void *unused) {
    while (!stopped) read_one();
    return unused;
}

/* More than the number of elements, so the writers must continue after SETTLED. */
enum { REPLACED = 100 * ELEMENTS };

static void torture_refused(void) {
    pthread_t threads[WRITERS + READERS];
    begin_torture();
    uint64_t end = last_version + REPLACED;
    for (int i = 0; i < WRITERS + READERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < WRITERS ? write_refused : read_until_stopped,
                             NULL) == 0);
    while (load_published(&current_version) < end)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    CHECK(!load_published(&epoch_has_heavy_fence));
    stopped = true;
    for (int i = 0; i < WRITERS + READERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static long no_element_is_reclaimed_after_a_refusal(void) {
    return in_child(torture_refused, REPLACED);
}

#else

static long skip(void) {
    printf("    skipped: this build has no seccomp filters, or no membarrier\n");
    return 0;
}
#define nothing_is_freed_before_settled skip
#define a_forked_child_is_settled skip
#define no_element_is_reclaimed_after_a_refusal skip

#endif

const test reclamation_tests[] = {
    {"reclamation: nothing is freed under a reader", no_element_is_reclaimed_under_a_reader},
    {"reclamation: refused, nothing freed early", nothing_is_freed_before_settled},
    {"reclamation: refused, a forked child is settled", a_forked_child_is_settled},
    {"reclamation: refused, readers are safe", no_element_is_reclaimed_after_a_refusal},
    {NULL, NULL}};
