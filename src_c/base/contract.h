/* Contracts that run: which lock a function needs is checked where REG_CHECKED is defined, as it is
 * in the test, torture and sanitizer builds. In the product the checks are no code.
 *
 * A function whose name ends in `_locked` needs the writer lock of its registry. Its first line
 * says so: REG_ASSERT_WRITER_OF(reg), or REG_ASSERT_WRITER() in the layers below, which do not know
 * the registry. reclaim/reading.h has the contract of functions that read.
 *
 * A contract that is broken prints the function and its place, and aborts. */
#ifndef REG_CONTRACT_H
#define REG_CONTRACT_H

#ifdef REG_CHECKED

#include <stdbool.h>

#include "base/compiler.h"

/* The registry whose writer lock this thread holds, or NULL. A thread holds at most one, except
 * during fork, which calls no function that checks. */
extern _Thread_local const void *contract_written REG_TLS_MODEL;

/* The thread has taken the writer lock of `owner`, and gives it back. Tests that call the layers
 * below the registry pass any address. */
void contract_enter_writer(const void *owner);
void contract_leave_writer(const void *owner);

_Noreturn void contract_fail(const char *broken, const char *function, const char *file, int line);

#define REG_CONTRACT(condition, broken)                                                            \
    ((condition) ? (void)0 : contract_fail((broken), __func__, __FILE__, __LINE__))

#define REG_ASSERT_WRITER()                                                                        \
    REG_CONTRACT(contract_written != NULL, "the thread does not hold the writer lock")
#define REG_ASSERT_WRITER_OF(owner)                                                                \
    REG_CONTRACT(contract_written == (owner),                                                      \
                 "the thread does not hold the writer lock of this registry")

#else

#define contract_enter_writer(owner) ((void)(owner))
#define contract_leave_writer(owner) ((void)(owner))
#define REG_CONTRACT(condition, broken) ((void)0)
#define REG_ASSERT_WRITER() ((void)0)
#define REG_ASSERT_WRITER_OF(owner) ((void)0)

#endif

#endif
