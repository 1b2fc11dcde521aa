/* Hashes of the beginnings of a prompt. All state is the caller's. */
#include <string.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "registry.h"

/* Bytes that are converted at once, on the stack. */
enum { PIECE = 512 };

void reg_prefix_begin(reg_prefix *prefix, uint64_t block) {
    hash_begin(&prefix->hash);
    prefix->block = prefix->left = block;
}

void reg_prefix_mark(reg_prefix *prefix, reg_mark mark) {
    unsigned char byte = (unsigned char)mark;
    hash_add(&prefix->hash, &byte, 1);
}

uint64_t reg_affinity_of(const void *bytes, size_t length) { return hash_of(bytes, length); }

uint64_t reg_prefix_hash(const reg_prefix *prefix) { return hash_value(&prefix->hash); }

/* Adds the items of `source` from `*at` to `end`. Moves `*at` to `end`, or to an item that has no
 * bytes. */
typedef void add_items(reg_hash *hash, const void *source, size_t *at, size_t end);

static void add_characters(reg_hash *hash, const void *source, size_t *at, size_t end) {
    const reg_text *text = source;
    unsigned char bytes[PIECE];
    size_t length;
    if (text->is_ascii) {
        hash_add(hash, (const char *)text->characters + *at, end - *at);
        *at = end;
        return;
    }
    while ((length = utf8_encode(text, at, end, bytes, sizeof bytes)) != 0)
        hash_add(hash, bytes, length);
}

/* A number of `width` bytes as it is in memory, without its sign. */
static inline uint64_t bits_at(const char *place, unsigned width) {
    uint8_t byte;
    uint16_t half;
    uint32_t word;
    uint64_t whole;
    switch (width) {
    case 1: return memcpy(&byte, place, 1), byte;
    case 2: return memcpy(&half, place, 2), half;
    case 4: return memcpy(&word, place, 4), word;
    default: return memcpy(&whole, place, 8), whole;
    }
}

static void add_integers(reg_hash *hash, const void *source, size_t *at, size_t end) {
    const reg_numbers *numbers = source;
    uint64_t sign = numbers->is_signed ? (uint64_t)1 << (8 * numbers->width - 1) : 0;
    uint64_t converted[PIECE / sizeof(uint64_t)];
    size_t count;
    do {
        for (count = 0; count < PIECE / sizeof(uint64_t) && *at < end; count++, ++*at) {
            const char *place = numbers->first + (ptrdiff_t)*at * numbers->stride;
            uint64_t bits = bits_at(place, numbers->width);
            if (reg_unlikely((bits & sign) != 0)) break;
            converted[count] = little_endian(bits);
        }
        hash_add(hash, converted, count * sizeof(uint64_t));
    } while (count == PIECE / sizeof(uint64_t));
}

/* Adds items up to the end, in steps that end where a block ends. Compiled for each kind. */
static always_inline size_t add_blocks(reg_prefix *prefix, add_items *add, const void *source,
                                       size_t length, size_t *at, uint64_t *hashes, size_t room) {
    size_t found = 0;
    while (found < room && *at < length) {
        size_t begin = *at, rest = length - begin;
        size_t end = begin + (prefix->left < rest ? (size_t)prefix->left : rest);
        add(&prefix->hash, source, at, end);
        prefix->left -= *at - begin;
        if (*at < end) break;
        if (prefix->left != 0) continue;
        hashes[found++] = hash_value(&prefix->hash);
        prefix->left = prefix->block;
    }
    return found;
}

size_t reg_prefix_add_text(reg_prefix *prefix, const reg_text *text, size_t *at, uint64_t *hashes,
                           size_t room) {
    return add_blocks(prefix, add_characters, text, text->length, at, hashes, room);
}

size_t reg_prefix_add_numbers(reg_prefix *prefix, const reg_numbers *numbers, size_t *at,
                              uint64_t *hashes, size_t room) {
    return add_blocks(prefix, add_integers, numbers, numbers->length, at, hashes, room);
}

void reg_read_numbers(const reg_numbers *numbers, uint64_t *values) {
    uint64_t sign = numbers->is_signed ? (uint64_t)1 << (8 * numbers->width - 1) : 0;
    for (size_t i = 0; i < numbers->length; i++) {
        const char *place = numbers->first + (ptrdiff_t)i * numbers->stride;
        values[i] = (bits_at(place, numbers->width) ^ sign) - sign;
    }
}
