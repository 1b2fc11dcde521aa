/* A string as callers give it: its hash, its bytes (NUL may be among them), and how many. Equal strings have equal hashes. */
#ifndef REG_KEY_H
#define REG_KEY_H

#include <stddef.h>
#include <stdint.h>

typedef struct reg_key {
    uint64_t hash;
    const char *data;
    size_t length;
} reg_key;

#endif
