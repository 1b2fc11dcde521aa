/* Declarations that all tests share: CHECK, and the lists of tests. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

/* Aborts the program with the place and the condition, if the condition is false. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* `run` returns the amount of work that it did. */
typedef struct test {
    const char *name;
    long (*run)(void);
} test;

extern const test start_tests[], clock_tests[], counter_tests[], string_map_tests[],
    member_list_tests[], epoch_tests[], reclamation_tests[], reservation_tests[], registry_tests[],
    memory_tests[], slab_pool_tests[], stall_tests[], orphan_tests[], select_tests[],
    choice_tests[], idle_tests[], line_tests[], availability_tests[], failure_tests[],
    contract_tests[], change_tests[], change_random_tests[], change_point_tests[],
    change_thread_tests[], watch_tests[], hash_tests[], affinity_tests[], token_tests[],
    prefix_index_tests[], prompt_tests[], torture_tests[];

/* How often all tests have run. It is part of their random seeds, so each round differs. */
extern unsigned test_round;

#endif
