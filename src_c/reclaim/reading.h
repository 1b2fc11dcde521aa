/* The contract of functions that read without a lock: the thread is inside an epoch, so nothing
 * that it finds is freed. The checks run where REG_CHECKED is defined (base/contract.h). */
#ifndef REG_READING_H
#define REG_READING_H

#include "base/contract.h"
#include "reclaim/epoch.h"

#ifdef REG_CHECKED

static inline bool thread_is_reading(void) {
    return epoch_own_slot != NULL && load_own(&epoch_own_slot->epoch) != 0;
}

#define REG_ASSERT_READING() REG_CONTRACT(thread_is_reading(), "the thread is not inside an epoch")
/* For functions that writers use too. A writer needs no epoch, because only the thread that holds
 * the writer lock retires published objects. */
#define REG_ASSERT_READING_OR_WRITER()                                                             \
    REG_CONTRACT(contract_written != NULL || thread_is_reading(),                                  \
                 "the thread is not inside an epoch and does not hold the writer lock")

#else

#define REG_ASSERT_READING() ((void)0)
#define REG_ASSERT_READING_OR_WRITER() ((void)0)

#endif

#endif
