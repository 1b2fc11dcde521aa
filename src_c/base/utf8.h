/* The UTF-8 bytes of a string that is kept as an array of code points. */
#ifndef REG_UTF8_H
#define REG_UTF8_H

#include <stddef.h>

#include "base/types.h"

/* Encodes the characters from `*at` to `end`, but no more than surely fit: room / UTF8_MAX. Stops
 * before a lone surrogate, which UTF-8 can't encode. Moves `*at` behind the last character that was
 * encoded. Returns the number of bytes; 0 if there is nothing that can be encoded. `room` is at
 * least UTF8_MAX. O(room). */
size_t utf8_encode(const reg_text *text, size_t *at, size_t end, unsigned char *bytes, size_t room);

enum { UTF8_MAX = 4 }; /* the bytes of one character */

#endif
