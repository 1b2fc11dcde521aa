/* A process without a free thread-specific key. This suite runs first, because the core never
 * releases its key. */
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "client.h"
#include "reclaim/epoch.h"

enum { MANY = 4096 }; /* more keys than a process may have */

/* If all keys are taken, every operation fails, and no value of another owner's key changes. */
static void use_without_a_key(void) {
    static pthread_key_t keys[MANY];
    int taken = 0, mine;
    while (taken < MANY && pthread_key_create(&keys[taken], NULL) == 0) taken++;
    CHECK(taken < MANY);
    for (int i = 0; i < taken; i++) CHECK(pthread_setspecific(keys[i], &mine) == 0);
    for (int attempt = 0; attempt < 2; attempt++) {
        const char *error = reg_start();
        CHECK(error != NULL && strstr(error, "keys") != NULL);
        CHECK(reg_new(NULL) == NULL && reg_read_begin() == NULL && epoch_enter() == NULL);
    }
    for (int i = 0; i < taken; i++) CHECK(pthread_getspecific(keys[i]) == &mine);
}

static long without_a_key(void) {
    if (test_round != 0) {
        printf("    skipped: the core has its key already\n");
        return 0;
    }
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        use_without_a_key();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 2;
}

static long start_is_repeatable(void) {
    for (int i = 0; i < 3; i++) CHECK(reg_start() == NULL);
    return 3;
}

const test start_tests[] = {{"start: without a thread-specific key", without_a_key},
                            {"start: can be repeated", start_is_repeatable},
                            {0}};
