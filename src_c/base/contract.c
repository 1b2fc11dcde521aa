#include "base/contract.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef REG_CHECKED

_Thread_local const void *contract_written REG_TLS_MODEL;

void contract_enter_writer(const void *owner) {
    REG_CONTRACT(contract_written == NULL, "the thread holds a writer lock already");
    contract_written = owner;
}

void contract_leave_writer(const void *owner) {
    REG_ASSERT_WRITER_OF(owner);
    contract_written = NULL;
}

void contract_fail(const char *broken, const char *function, const char *file, int line) {
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, function, broken);
    abort();
}

#endif
