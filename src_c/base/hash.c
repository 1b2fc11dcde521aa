#include "base/hash.h"

#include <string.h>

#include "base/compiler.h"

/* The names of the specification. */
#define PRIME_1 0x9E3779B185EBCA87u
#define PRIME_2 0xC2B2AE3D27D4EB4Fu
#define PRIME_3 0x165667B19E3779F9u
#define PRIME_4 0x85EBCA77C2B2AE63u
#define PRIME_5 0x27D4EB2F165667C5u

enum { STRIPE = sizeof((reg_hash *)0)->rest };
_Static_assert(STRIPE == 32, "XXH64 reads 32 bytes at once");

static inline uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline uint64_t load_64(const unsigned char *bytes) {
    uint64_t number;
    memcpy(&number, bytes, sizeof number);
    return little_endian(number);
}

static inline uint64_t load_32(const unsigned char *bytes) {
    uint64_t number = 0;
    for (int i = 3; i >= 0; i--) number = number << 8 | bytes[i];
    return number;
}

static inline uint64_t round_of(uint64_t lane, uint64_t input) {
    return rotate(lane + input * PRIME_2, 31) * PRIME_1;
}

static inline uint64_t merge(uint64_t hash, uint64_t lane) {
    return (hash ^ round_of(0, lane)) * PRIME_1 + PRIME_4;
}

void hash_begin(reg_hash *state) {
    *state = (reg_hash){.lanes = {PRIME_1 + PRIME_2, PRIME_2, 0, -PRIME_1}};
}

/* Adds whole stripes. Returns the bytes behind the last one. */
static const unsigned char *add_stripes(reg_hash *state, const unsigned char *bytes,
                                        const unsigned char *end) {
    uint64_t a = state->lanes[0], b = state->lanes[1], c = state->lanes[2], d = state->lanes[3];
    for (; end - bytes >= STRIPE; bytes += STRIPE) {
        a = round_of(a, load_64(bytes));
        b = round_of(b, load_64(bytes + 8));
        c = round_of(c, load_64(bytes + 16));
        d = round_of(d, load_64(bytes + 24));
    }
    state->lanes[0] = a, state->lanes[1] = b, state->lanes[2] = c, state->lanes[3] = d;
    return bytes;
}

void hash_add(reg_hash *state, const void *bytes, size_t length) {
    const unsigned char *next = bytes, *end = next + length;
    size_t kept = state->length % STRIPE; /* bytes in `rest`, less than a stripe */
    state->length += length;
    if (kept != 0) {
        size_t taken = length < STRIPE - kept ? length : STRIPE - kept;
        memcpy(state->rest + kept, next, taken);
        if (kept + taken < STRIPE) return;
        add_stripes(state, state->rest, state->rest + STRIPE);
        next += taken;
    }
    next = add_stripes(state, next, end);
    memcpy(state->rest, next, (size_t)(end - next));
}

static uint64_t lanes_of(const reg_hash *state) {
    const uint64_t *lanes = state->lanes;
    if (state->length < STRIPE) return PRIME_5;
    uint64_t hash =
        rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    for (int i = 0; i < 4; i++) hash = merge(hash, lanes[i]);
    return hash;
}

static uint64_t avalanche(uint64_t hash) {
    hash = (hash ^ hash >> 33) * PRIME_2;
    hash = (hash ^ hash >> 29) * PRIME_3;
    return hash ^ hash >> 32;
}

uint64_t hash_value(const reg_hash *state) {
    uint64_t hash = lanes_of(state) + state->length;
    const unsigned char *next = state->rest, *end = next + state->length % STRIPE;
    for (; end - next >= 8; next += 8)
        hash = rotate(hash ^ round_of(0, load_64(next)), 27) * PRIME_1 + PRIME_4;
    if (end - next >= 4) {
        hash = rotate(hash ^ load_32(next) * PRIME_1, 23) * PRIME_2 + PRIME_3;
        next += 4;
    }
    for (; next < end; next++) hash = rotate(hash ^ *next * PRIME_5, 11) * PRIME_1;
    return avalanche(hash);
}

uint64_t hash_of(const void *bytes, size_t length) {
    reg_hash state;
    hash_begin(&state);
    hash_add(&state, bytes, length);
    return hash_value(&state);
}
