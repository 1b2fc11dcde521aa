/* XXH64, a hash of bytes by Yann Collet, after its public specification, with seed 0. It is the
 * same on every host: it reads bytes as little-endian numbers everywhere.
 *
 * The bytes may come in pieces of any length. The hash of what has come so far can be read at any
 * time, and more may follow. So the hashes of all beginnings of a text cost one pass over it.
 *
 * Each bit of the input affects every bit of the hash. But there is no key: whoever chooses the
 * input can make hashes collide. Use it only where a collision costs nothing but speed.
 *
 * A state belongs to its caller, and the functions share nothing. `hash_add` is O(bytes); the
 * others are O(1). */
#ifndef REG_HASH_H
#define REG_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

void hash_begin(reg_hash *state);
void hash_add(reg_hash *state, const void *bytes, size_t length);

/* The hash of all bytes that were added. It does not change the state. */
uint64_t hash_value(const reg_hash *state);

/* The hash of so many bytes. */
uint64_t hash_of(const void *bytes, size_t length);

#endif
