#include "base/num.h"

#define U64_DIGITS 20

int num_parse_u64(struct slice s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i;
    bool over = false;

    if (s.len == 0 || s.len > U64_DIGITS) {
        return ZERR_INVALID;
    }
    for (i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)s.ptr[i] - '0';

        if (digit > 9) {
            return ZERR_INVALID;
        }
        over = over || v > (UINT64_MAX - digit) / 10;
        v = v * 10 + digit;
    }
    if (over || v > max) {
        return ZERR_TOO_LARGE;
    }
    *ret = v;
    return 0;
}

void hex_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    size_t i;

    for (i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

int hex_decode(struct slice hex, void *out, size_t len)
{
    uint8_t *p = out;
    size_t i;

    if (len > SIZE_MAX / 2 || hex.len != 2 * len) {
        return ZERR_INVALID;
    }
    for (i = 0; i < hex.len; i++) {
        if (hex_value(hex.ptr[i]) < 0) {
            return ZERR_INVALID;
        }
    }
    for (i = 0; i < len; i++) {
        p[i] = (uint8_t)(hex_value(hex.ptr[2 * i]) << 4 | hex_value(hex.ptr[2 * i + 1]));
    }
    return 0;
}

void letters_encode(const void *data, size_t len, char *out)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = (char)('a' + (p[i] >> 4));
        out[2 * i + 1] = (char)('a' + (p[i] & 15));
    }
}

int letters_decode(struct slice letters, void *out, size_t len)
{
    uint8_t *p = out;

    if (len > SIZE_MAX / 2 || letters.len != 2 * len) {
        return ZERR_INVALID;
    }
    for (size_t i = 0; i < letters.len; i++) {
        if (letters.ptr[i] < 'a' || letters.ptr[i] > 'p') {
            return ZERR_INVALID;
        }
    }
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)((letters.ptr[2 * i] - 'a') << 4 | (letters.ptr[2 * i + 1] - 'a'));
    }
    return 0;
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict: the padding must be there, and the bits that encode nothing must be zero, so that each
 * value has one text. */
int base64_decode(struct slice text, void *out, size_t len)
{
    uint8_t *p = out;
    size_t n_pad = (3 - len % 3) % 3, n_chars, i, n = 0;
    uint32_t acc = 0;
    unsigned bits = 0;

    if (len > SIZE_MAX / 4 || text.len != (len + 2) / 3 * 4) {
        return ZERR_INVALID;
    }
    n_chars = text.len - n_pad;
    for (i = 0; i < text.len; i++) {
        if (i < n_chars ? base64_value(text.ptr[i]) < 0 : text.ptr[i] != '=') {
            return ZERR_INVALID;
        }
    }
    if (n_pad > 0 && (base64_value(text.ptr[n_chars - 1]) & ((1 << 2 * n_pad) - 1)) != 0) {
        return ZERR_INVALID;
    }
    for (i = 0; i < n_chars; i++) {
        acc = acc << 6 | (uint32_t)base64_value(text.ptr[i]);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            p[n++] = (uint8_t)(acc >> bits);
        }
    }
    return 0;
}

void base64_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t acc = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                       (n > 2 ? (uint32_t)p[i + 2] : 0);
        *out++ = digits[acc >> 18];
        *out++ = digits[acc >> 12 & 63];
        *out++ = n > 1 ? digits[acc >> 6 & 63] : '=';
        *out++ = n > 2 ? digits[acc & 63] : '=';
    }
}
