/* Strict numbers, hex and base64, little-endian fields.
 *
 * Parsers take the whole slice or fail: no sign, no space, no trailing bytes, no overflow. */
#ifndef ZKV_BASE_NUM_H
#define ZKV_BASE_NUM_H

#include "base/slice.h"
#include "base/zerr.h"

/* Decimal, 1..20 digits. ZERR_INVALID: not a number; ZERR_TOO_LARGE: above max. */
int num_parse_u64(struct slice s, uint64_t max, uint64_t *ret) ZKV_MUST_CHECK;

/* out has room for 2 * len bytes; lower case; no NUL is written. */
void hex_encode(const void *data, size_t len, char *out);
/* Exactly 2 * len hex digits of either case. */
int hex_decode(struct slice hex, void *out, size_t len) ZKV_MUST_CHECK;
/* The same with the letters a to p: for what must never look like a number. */
void letters_encode(const void *data, size_t len, char *out);
int letters_decode(struct slice letters, void *out, size_t len) ZKV_MUST_CHECK;
/* Standard base64 with padding (RFC 4648 section 4), exactly len bytes decoded. */
int base64_decode(struct slice text, void *out, size_t len) ZKV_MUST_CHECK;

#define BASE64_LEN(len) (((len) + 2) / 3 * 4)
/* The same way out: out has room for BASE64_LEN(len) bytes; no NUL is written. */
void base64_encode(const void *data, size_t len, char *out);

static inline void le32_put(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p[2] = (uint8_t)(v >> 16),
    p[3] = (uint8_t)(v >> 24);
}
static inline uint32_t le32_get(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline void le64_put(uint8_t *p, uint64_t v)
{
    le32_put(p, (uint32_t)v), le32_put(p + 4, (uint32_t)(v >> 32));
}
static inline uint64_t le64_get(const uint8_t *p)
{
    return (uint64_t)le32_get(p) | (uint64_t)le32_get(p + 4) << 32;
}

#endif
