/* Hashes agree with published values, whatever the pieces; UTF-8; blocks of a prompt. */
#include <string.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "check.h"
#include "registry.h"

enum { BYTES = 222 };

/* The test input of the reference implementation. */
static void fill(unsigned char *bytes) {
    uint64_t number = 2654435761u;
    for (int i = 0; i < BYTES; i++, number *= 11400714785074694797u)
        bytes[i] = (unsigned char)(number >> 56);
}

static long published_values(void) {
    static const struct {
        size_t length;
        uint64_t hash;
    } expected[] = {
        {0, 0xEF46DB3751D8E999u},   {1, 0xE934A84ADB052768u},  {4, 0x9136A0DCA57457EEu},
        {14, 0x8282DCC4994E35C8u},  {31, 0x299B39A290E6D783u}, {32, 0x18B216492BB44B70u},
        {33, 0x55C8DC3E578F5B59u},  {63, 0xA9EFBE0FA0F3F4E7u}, {64, 0xEF558F8ACAC2B5CDu},
        {222, 0xB641AE8CB691C174u},
    };
    unsigned char bytes[BYTES];
    fill(bytes);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        CHECK(hash_of(bytes, expected[i].length) == expected[i].hash);
    CHECK(hash_of("abc", 3) == 0x44BC2CF5AD770999u);
    return sizeof expected / sizeof *expected + 1;
}

static long pieces_make_no_difference(void) {
    unsigned char bytes[BYTES];
    long checked = 0;
    fill(bytes);
    for (size_t first = 0; first <= BYTES; first++) {
        for (size_t second = 0; first + second <= BYTES; second++, checked++) {
            reg_hash hash;
            hash_begin(&hash);
            hash_add(&hash, bytes, first);
            CHECK(hash_value(&hash) == hash_of(bytes, first));
            hash_add(&hash, bytes + first, second);
            CHECK(hash_value(&hash) == hash_of(bytes, first + second));
        }
    }
    return checked;
}

/* Every character, as an array of each width that has room for it. */
static long every_character(void) {
    long checked = 0;
    for (uint32_t point = 0; point <= 0x10FFFF; point++) {
        uint8_t narrow = (uint8_t)point;
        uint16_t half = (uint16_t)point;
        const void *forms[] = {&point, &half, &narrow};
        unsigned char bytes[3][UTF8_MAX] = {{0}};
        for (int i = 0; i < 3; i++) {
            if (i > 0 && point >> (i == 1 ? 16 : 8) != 0) continue;
            reg_text text = {forms[i], 1, (uint8_t)(4 >> i), false};
            size_t at = 0, length = utf8_encode(&text, &at, 1, bytes[i], UTF8_MAX);
            bool is_surrogate = point >= 0xD800 && point < 0xE000;
            CHECK(at == !is_surrogate);
            CHECK(length == (is_surrogate      ? 0u
                             : point < 0x80    ? 1u
                             : point < 0x800   ? 2u
                             : point < 0x10000 ? 3u
                                               : 4u));
            CHECK(memcmp(bytes[i], bytes[0], UTF8_MAX) == 0);
            checked++;
        }
        /* Decode it again. */
        const unsigned char *b = bytes[0];
        uint32_t decoded =
            b[0] < 0x80   ? b[0]
            : b[0] < 0xE0 ? (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu)
            : b[0] < 0xF0
                ? (b[0] & 0xFu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu)
                : (b[0] & 7u) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu);
        CHECK(b[0] == 0 || decoded == point);
    }
    return checked;
}

/* A text with characters of all lengths, whose blocks end inside and outside of pieces. */
static long blocks_are_hashes_of_beginnings(void) {
    enum { LENGTH = 1500 };
    static const uint32_t kinds[] = {'a', 0xE9, 0x4E2D, 0x1F600};
    static uint32_t points[LENGTH];
    static unsigned char bytes[LENGTH * UTF8_MAX];
    long checked = 0;
    for (int i = 0; i < LENGTH; i++) points[i] = kinds[i * 7 % 11 % 4];
    reg_text text = {points, LENGTH, 4, false};
    for (size_t block = 1; block <= LENGTH + 1; block += block / 3 + 1) {
        for (size_t room = 1; room <= 3; room += 2) {
            reg_prefix prefix;
            uint64_t hashes[3];
            size_t at = 0, ended = 0, found;
            reg_prefix_begin(&prefix, block);
            while ((found = reg_prefix_add_text(&prefix, &text, &at, hashes, room)) != 0) {
                for (size_t i = 0; i < found; i++, checked++) {
                    ended += block;
                    size_t from = 0;
                    size_t length = utf8_encode(&text, &from, ended, bytes, sizeof bytes);
                    CHECK(from == ended && hashes[i] == hash_of(bytes, length));
                }
                CHECK(found == room || at == LENGTH);
            }
            CHECK(at == LENGTH && ended == LENGTH / block * block);
        }
    }
    return checked;
}

/* A block goes on in the next text, whether a mark is between them or not. */
static long blocks_span_texts(void) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    enum { LENGTH = sizeof letters - 1 };
    long checked = 0;
    for (size_t block = 1; block <= LENGTH; block++) {
        for (size_t cut = 0; cut <= LENGTH; cut++, checked++) {
            reg_text first = {letters, cut, 1, true};
            reg_text second = {letters + cut, LENGTH - cut, 1, true};
            reg_prefix prefix, marked;
            uint64_t hashes[LENGTH], others[LENGTH];
            size_t at = 0, found;
            reg_prefix_begin(&prefix, block);
            found = reg_prefix_add_text(&prefix, &first, &at, hashes, LENGTH);
            CHECK(at == cut && found == cut / block);
            marked = prefix;
            reg_prefix_mark(&marked, REG_ROLE_MARK);
            at = 0;
            found += reg_prefix_add_text(&prefix, &second, &at, hashes + found, LENGTH);
            CHECK(at == LENGTH - cut && found == LENGTH / block);
            for (size_t i = 0; i < found; i++)
                CHECK(hashes[i] == hash_of(letters, (i + 1) * block));
            at = 0;
            found = reg_prefix_add_text(&marked, &second, &at, others, LENGTH);
            CHECK(found == LENGTH / block - cut / block);
            CHECK(found == 0 || others[0] != hashes[cut / block]);
        }
    }
    return checked;
}

static long a_surrogate_stops(void) {
    uint16_t points[] = {'a', 0xD7FF, 0xE000, 'b', 0xD800, 'c'};
    reg_text text = {points, 6, 2, false};
    reg_prefix prefix;
    uint64_t hashes[6];
    for (size_t block = 1; block <= 6; block++) {
        size_t at = 0;
        reg_prefix_begin(&prefix, block);
        CHECK(reg_prefix_add_text(&prefix, &text, &at, hashes, 6) == 4 / block);
        CHECK(at == 4);
        CHECK(reg_prefix_add_text(&prefix, &text, &at, hashes, 6) == 0 && at == 4);
    }
    return 6;
}

/* The same numbers in every width, in both directions, and unaligned. */
static long numbers_of_every_width(void) {
    enum { COUNT = 200, BLOCK = 7 };
    static const uint8_t widths[] = {1, 2, 4, 8};
    static unsigned char memory[COUNT * 9 + 1];
    uint64_t wide[COUNT], hashes[COUNT];
    long checked = 0;
    for (uint64_t i = 0; i < COUNT; i++) wide[i] = little_endian(i * 37 % 128);
    for (size_t w = 0; w < sizeof widths; w++) {
        for (int is_back = 0; is_back < 2; is_back++) {
            size_t width = widths[w], stride = width + (size_t)is_back;
            for (size_t i = 0; i < COUNT; i++) {
                uint8_t byte = (uint8_t)(i * 37 % 128);
                uint16_t half = byte;
                uint32_t word = byte;
                uint64_t whole = byte;
                const void *number = width == 1   ? (void *)&byte
                                     : width == 2 ? (void *)&half
                                     : width == 4 ? (void *)&word
                                                  : (void *)&whole;
                size_t place = is_back ? COUNT - 1 - i : i;
                memcpy(memory + 1 + place * stride, number, width);
            }
            const char *low = (const char *)memory + 1, *high = low + (COUNT - 1) * stride;
            reg_numbers numbers = {is_back ? high : low,
                                   is_back ? -(ptrdiff_t)stride : (ptrdiff_t)stride, COUNT,
                                   (uint8_t)width, w % 2 == 0};
            reg_prefix prefix;
            size_t at = 0;
            reg_prefix_begin(&prefix, BLOCK);
            CHECK(reg_prefix_add_numbers(&prefix, &numbers, &at, hashes, COUNT) == COUNT / BLOCK);
            CHECK(at == COUNT);
            for (size_t i = 0; i < COUNT / BLOCK; i++, checked++)
                CHECK(hashes[i] == hash_of(wide, (i + 1) * BLOCK * sizeof *wide));
            CHECK(reg_prefix_hash(&prefix) == hash_of(wide, sizeof wide));
        }
    }
    return checked;
}

static long a_negative_number_stops(void) {
    int16_t items[] = {0, 32767, -1, 5};
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        reg_numbers numbers = {(const char *)items, sizeof *items, 4, sizeof *items, is_signed};
        reg_prefix prefix;
        uint64_t hashes[4];
        size_t at = 0, expected = is_signed ? 2 : 4;
        reg_prefix_begin(&prefix, 1);
        CHECK(reg_prefix_add_numbers(&prefix, &numbers, &at, hashes, 4) == expected);
        CHECK(at == expected);
    }
    return 2;
}

const test hash_tests[] = {
    {"hash: published values", published_values},
    {"hash: pieces make no difference", pieces_make_no_difference},
    {"hash: every character", every_character},
    {"hash: blocks are hashes of beginnings", blocks_are_hashes_of_beginnings},
    {"hash: blocks span texts", blocks_span_texts},
    {"hash: a surrogate stops", a_surrogate_stops},
    {"hash: numbers of every width", numbers_of_every_width},
    {"hash: a negative number stops", a_negative_number_stops},
    {NULL, NULL},
};
