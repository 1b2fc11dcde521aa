/* Runs all tests, or those whose names contain the first argument. The second argument is the
 * number of seconds for which they are repeated. */
#include <string.h>
#include <time.h>

#include "check.h"

unsigned test_round;

static long run_all(const char *name, long *work) {
    const test *suites[] = {
        start_tests,        clock_tests,         counter_tests,     string_map_tests,
        member_list_tests,  epoch_tests,         reclamation_tests, reservation_tests,
        slab_pool_tests,    registry_tests,      memory_tests,      stall_tests,
        orphan_tests,       contract_tests,      change_tests,      change_random_tests,
        change_point_tests, change_thread_tests, select_tests,      choice_tests,
        availability_tests, failure_tests,       idle_tests,        line_tests,
        watch_tests,        hash_tests,          affinity_tests,    token_tests,
        prefix_index_tests, prompt_tests,        torture_tests};
    long passed = 0;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        for (const test *t = suites[i]; t->name != NULL; t++) {
            if (strstr(t->name, name) == NULL) continue;
            long done = t->run();
            printf("%-44s %12ld\n", t->name, done);
            fflush(stdout);
            *work += done;
            passed++;
        }
    }
    return passed;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    time_t end = time(NULL) + (argc > 2 ? atol(argv[2]) : 0);
    long passed = 0, work = 0;
    do {
        passed += run_all(name, &work);
        test_round++;
    } while (passed != 0 && time(NULL) < end);
    printf("%ld passed, 0 failed, work: %ld\n", passed, work);
    return passed == 0;
}
