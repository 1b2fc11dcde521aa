#include "base/utf8.h"

#include <stdint.h>

#include "base/compiler.h"

static inline uint32_t code_point(const void *characters, size_t i, unsigned width) {
    if (width == 1) return ((const uint8_t *)characters)[i];
    if (width == 2) return ((const uint16_t *)characters)[i];
    return ((const uint32_t *)characters)[i];
}

static inline bool is_surrogate(uint32_t point) { return (point & 0xFFFFF800u) == 0xD800; }

static inline unsigned char tail(uint32_t point, int shift) {
    return (unsigned char)(0x80 | (point >> shift & 0x3F));
}

/* Writes one character. Returns the number of its bytes. */
static inline size_t encode(uint32_t point, unsigned char *bytes) {
    if (point < 0x80) {
        bytes[0] = (unsigned char)point;
        return 1;
    }
    if (point < 0x800) {
        bytes[0] = (unsigned char)(0xC0 | point >> 6);
        bytes[1] = tail(point, 0);
        return 2;
    }
    if (point < 0x10000) {
        bytes[0] = (unsigned char)(0xE0 | point >> 12);
        bytes[1] = tail(point, 6);
        bytes[2] = tail(point, 0);
        return 3;
    }
    bytes[0] = (unsigned char)(0xF0 | point >> 18);
    bytes[1] = tail(point, 12);
    bytes[2] = tail(point, 6);
    bytes[3] = tail(point, 0);
    return 4;
}

/* Compiled for each width, which is a constant there. */
static always_inline size_t encode_all(const void *characters, unsigned width, size_t *at,
                                       size_t end, unsigned char *bytes, size_t room) {
    size_t length = 0, i = *at;
    if (end - i > room / UTF8_MAX) end = i + room / UTF8_MAX;
    for (; i < end; i++) {
        uint32_t point = code_point(characters, i, width);
        if (width != 1 && reg_unlikely(is_surrogate(point))) break;
        length += encode(point, bytes + length);
    }
    *at = i;
    return length;
}

size_t utf8_encode(const reg_text *text, size_t *at, size_t end, unsigned char *bytes,
                   size_t room) {
    if (text->width == 1) return encode_all(text->characters, 1, at, end, bytes, room);
    if (text->width == 2) return encode_all(text->characters, 2, at, end, bytes, room);
    return encode_all(text->characters, 4, at, end, bytes, room);
}
