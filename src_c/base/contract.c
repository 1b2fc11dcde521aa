#include "base/contract.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef REG_CHECKED

_Thread_local const void *contract_written REG_TLS_MODEL;
_Thread_local const void *contract_turns REG_TLS_MODEL;
_Thread_local const void *contract_line REG_TLS_MODEL;

void contract_enter_writer(const void *owner) {
    REG_CONTRACT(contract_written == NULL, "the thread holds a writer lock already");
    contract_written = owner;
}

void contract_leave_writer(const void *owner) {
    REG_ASSERT_WRITER_OF(owner);
    contract_written = NULL;
}

void contract_enter_turns(const void *owner) {
    REG_CONTRACT(contract_turns == NULL, "the thread holds a turns lock already");
    REG_CONTRACT(contract_written == NULL, "the turns lock comes before the writer lock");
    contract_turns = owner;
}

void contract_leave_turns(const void *owner) {
    REG_ASSERT_TURNS_OF(owner);
    contract_turns = NULL;
}

void contract_enter_line(const void *owner) {
    REG_CONTRACT(contract_line == NULL, "the thread holds a LINE already");
    REG_CONTRACT(contract_turns == NULL && contract_written == NULL, "LINE comes first");
    contract_line = owner;
}

void contract_leave_line(const void *owner) {
    REG_ASSERT_LINE_OF(owner);
    contract_line = NULL;
}

void contract_fail(const char *broken, const char *function, const char *file, int line) {
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, function, broken);
    abort();
}

#endif
