/* Broken contracts: a child process breaks one, and must abort with a message that names the
 * contract. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "choose/pass.h"
#include "client.h"
#include "registry/write.h"

/* Runs `broken` in a child. Returns whether the child aborts and reports `message` for
 * `function`. */
static bool aborts(void (*broken)(reg_registry *reg), const char *function, const char *message) {
    reg_registry *reg = client_fleet(1, NULL);
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        broken(reg);
        _exit(0);
    }
    close(ends[1]);
    char said[512] = "";
    size_t length = 0;
    for (ssize_t got; length < sizeof said - 1 &&
                      (got = read(ends[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t)got;
    close(ends[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    client_free(reg);
    char expected[256];
    snprintf(expected, sizeof expected, ": %s: %s", function, message);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, expected) != NULL &&
           strstr(said, "src_c") != NULL;
}

/* ---- the writer lock ---- */

static void write_without_the_lock(reg_registry *reg) { (void)next_version_locked(reg); }

static void write_with_another_lock(reg_registry *reg) {
    lock_writer(reg_new(NULL));
    (void)find_record_locked(reg, &(reg_key){0});
}

static void write_after_the_lock(reg_registry *reg) {
    lock_writer(reg);
    unlock_writer(reg);
    note_choices_changed_locked(reg);
}

static void take_two_locks(reg_registry *reg) {
    reg_registry *other = reg_new(NULL);
    lock_writer(reg);
    lock_writer(other);
}

static void give_back_another_lock(reg_registry *reg) {
    reg_registry *other = reg_new(NULL);
    lock_writer(reg);
    unlock_writer(other);
}

/* The layers below the registry cannot check which registry's lock the thread holds. */
static void change_a_map(reg_registry *reg) {
    epoch_slot *reader = epoch_enter();
    (void)string_map_reserve_locked(&reg->records, 1, &reg->limbo);
    epoch_leave(reader);
}

static long the_writer_lock(void) {
    const char *not_held = "the thread does not hold the writer lock of this registry";
    CHECK(aborts(write_without_the_lock, "committed_locked", not_held));
    CHECK(aborts(write_with_another_lock, "find_record_locked", not_held));
    CHECK(aborts(write_after_the_lock, "committed_locked", not_held));
    CHECK(aborts(take_two_locks, "contract_enter_writer", "the thread holds a writer lock"));
    CHECK(aborts(give_back_another_lock, "contract_leave_writer", not_held));
    CHECK(aborts(change_a_map, "string_map_reserve_locked",
                 "the thread does not hold the writer lock\n"));
    return 6;
}

/* ---- the turns lock ---- */

static void choose_in_turn_without_the_lock(reg_registry *reg) {
    reg_request request = client_request("m", REG_ROUND_ROBIN);
    choice c;
    picks p;
    epoch_slot *reader = epoch_enter();
    if (choice_begin(&c, reg, &request)) (void)pick(&c, &p);
    epoch_leave(reader);
}

/* Only calls contract_enter_turns, because ThreadSanitizer would report the lock itself first. */
static void take_the_writer_lock_first(reg_registry *reg) {
    lock_writer(reg);
    contract_enter_turns(reg);
}

static void give_back_other_turns(reg_registry *reg) {
    reg_registry *other = reg_new(NULL);
    lock_turns(reg);
    unlock_turns(other);
}

static long the_turns_lock(void) {
    CHECK(aborts(choose_in_turn_without_the_lock, "pass_in_turn_locked",
                 "the thread does not hold the turns lock\n"));
    CHECK(aborts(take_the_writer_lock_first, "contract_enter_turns",
                 "the turns lock comes before the writer lock"));
    CHECK(aborts(give_back_other_turns, "contract_leave_turns",
                 "the thread does not hold the turns lock of this registry"));
    return 3;
}

/* ---- reading ---- */

static void look_up_outside_an_epoch(reg_registry *reg) {
    reg_key id = key_of("b0");
    reg_view view;
    (void)reg_get(reg, &id, &view);
}

static void list_after_the_read(reg_registry *reg) {
    reg_views views;
    reg_read_end(reg_read_begin());
    (void)reg_get_all(reg, false, &views);
}

/* A thread with the writer lock still needs an epoch to read at a version. */
static void read_as_a_writer(reg_registry *reg) {
    reg_key id = key_of("b0");
    uint64_t version;
    lock_writer(reg);
    (void)find_registered(reg, &id, &version);
}

static void look_up_in_a_map(reg_registry *reg) {
    (void)string_map_get(&reg->records, &(reg_key){0});
}

static long reading(void) {
    const char *outside = "the thread is not inside an epoch";
    CHECK(aborts(look_up_outside_an_epoch, "find_registered", outside));
    CHECK(aborts(list_after_the_read, "read_list", outside));
    CHECK(aborts(read_as_a_writer, "find_registered", outside));
    CHECK(aborts(look_up_in_a_map, "string_map_get", outside));
    return 4;
}

const test contract_tests[] = {{"contract: the writer lock", the_writer_lock},
                               {"contract: the turns lock", the_turns_lock},
                               {"contract: reading", reading},
                               {0}};
