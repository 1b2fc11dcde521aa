/* Runs all tests, or those whose name contains the argument. */
#include <string.h>

#include "check.h"

int main(int argc, char **argv) {
    const test *suites[] = {counter_tests, string_map_tests, member_list_tests, epoch_tests, registry_tests, memory_tests,
                           select_tests,  choice_tests,     torture_tests};
    int passed = 0;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        for (const test *t = suites[i]; t->name != NULL; t++) {
            if (argc > 1 && strstr(t->name, argv[1]) == NULL) continue;
            long work = t->run();
            printf("%-44s %12ld\n", t->name, work);
            fflush(stdout);
            passed++;
        }
    }
    printf("%d passed, 0 failed\n", passed);
    return 0;
}
