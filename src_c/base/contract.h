/* Contracts that are checked at run time. The test, torture and sanitizer builds define REG_CHECKED
 * and check them. In all other builds the checks compile to nothing.
 *
 * A function whose name ends in `_locked` needs a lock of its registry. Its first line asserts the
 * lock, unless it immediately calls a function that does:
 *
 *   REG_ASSERT_WRITER_OF(reg)   the writer lock, which most of these functions need
 *   REG_ASSERT_WRITER()         the same, in the layers below, which do not know the registry
 *   REG_ASSERT_TURNS_OF(reg)    the turns lock, which ROUND_ROBIN needs
 *   REG_ASSERT_TURNS()          the same, where the registry is not known
 *   REG_ASSERT_LINE_OF(reg)     LINE, which those who wait for a place need
 *
 * registry/locks.h takes these locks. reclaim/reading.h has the contract of functions that read.
 *
 * If a contract is broken, the check prints the function and its place, and aborts. */
#ifndef REG_CONTRACT_H
#define REG_CONTRACT_H

#ifdef REG_CHECKED

#include <stdbool.h>

#include "base/compiler.h"

/* The registries whose writer lock, turns lock and LINE this thread holds, or NULL.
 * A thread holds at most one lock of each kind, except during fork, where no checked function is
 * called. */
extern _Thread_local const void *contract_written REG_TLS_MODEL;
extern _Thread_local const void *contract_turns REG_TLS_MODEL;
extern _Thread_local const void *contract_line REG_TLS_MODEL;

/* Note that the thread has taken a lock of the registry `owner`, or is about to release it. Tests
 * that call the layers below the registry pass any address. */
void contract_enter_writer(const void *owner);
void contract_leave_writer(const void *owner);
void contract_enter_turns(const void *owner);
void contract_leave_turns(const void *owner);
void contract_enter_line(const void *owner);
void contract_leave_line(const void *owner);

_Noreturn void contract_fail(const char *broken, const char *function, const char *file, int line);

#define REG_CONTRACT(condition, broken)                                                            \
    ((condition) ? (void)0 : contract_fail((broken), __func__, __FILE__, __LINE__))

#define REG_ASSERT_WRITER()                                                                        \
    REG_CONTRACT(contract_written != NULL, "the thread does not hold the writer lock")
#define REG_ASSERT_WRITER_OF(owner)                                                                \
    REG_CONTRACT(contract_written == (owner),                                                      \
                 "the thread does not hold the writer lock of this registry")
#define REG_ASSERT_TURNS()                                                                         \
    REG_CONTRACT(contract_turns != NULL, "the thread does not hold the turns lock")
#define REG_ASSERT_TURNS_OF(owner)                                                                 \
    REG_CONTRACT(contract_turns == (owner),                                                        \
                 "the thread does not hold the turns lock of this registry")
#define REG_ASSERT_LINE_OF(owner)                                                                  \
    REG_CONTRACT(contract_line == (owner), "the thread does not hold LINE of this registry")

#else

#define contract_enter_writer(owner) ((void)(owner))
#define contract_leave_writer(owner) ((void)(owner))
#define contract_enter_turns(owner) ((void)(owner))
#define contract_leave_turns(owner) ((void)(owner))
#define contract_enter_line(owner) ((void)(owner))
#define contract_leave_line(owner) ((void)(owner))
#define REG_CONTRACT(condition, broken) ((void)0)
#define REG_ASSERT_WRITER() ((void)0)
#define REG_ASSERT_WRITER_OF(owner) ((void)0)
#define REG_ASSERT_TURNS() ((void)0)
#define REG_ASSERT_TURNS_OF(owner) ((void)0)
#define REG_ASSERT_LINE_OF(owner) ((void)0)

#endif

#endif
