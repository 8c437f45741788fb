#include "http/http_chunked.h"

#include "http/http_limits.h"
#include "http/http_scan.h"

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static int size_byte(struct http_chunked *k, uint8_t c)
{
    int digit = hex_digit(c);
    if (digit >= 0 && k->n_digits < 15) {
        k->left = k->left << 4 | (unsigned)digit;
        k->n_digits++;
    } else if (k->n_digits > 0 && c == ';') {
        k->state = CHUNKED_EXT;
        k->n_ext = 1;
    } else if (k->n_digits > 0 && c == '\r') {
        k->state = CHUNKED_SIZE_LF;
    } else {
        return ZERR_INVALID;
    }
    return 0;
}

/* A trailer line: a token, a colon, text; the empty one ends the body. */
static int trailer_byte(struct http_chunked *k, uint8_t c)
{
    if (++k->n_trailer > HTTP_TRAILER_MAX) {
        return ZERR_INVALID;
    }
    if (c == '\r') {
        k->state = CHUNKED_TRAILER_LF;
        return k->line_begun && !k->colon_seen ? ZERR_INVALID : 0;
    }
    bool ends_name = !k->colon_seen && k->line_begun && c == ':';
    if (k->colon_seen ? !is_text(c) : !ends_name && !http_is_token_byte(c)) {
        return ZERR_INVALID;
    }
    k->line_begun = true;
    k->colon_seen = k->colon_seen || ends_name;
    return 0;
}

/* One byte that is not body. */
static int framing_byte(struct http_chunked *k, uint8_t c)
{
    switch (k->state) {
    case CHUNKED_SIZE:
        return size_byte(k, c);
    case CHUNKED_EXT:
        if (c == '\r') {
            k->state = CHUNKED_SIZE_LF;
            return 0;
        }
        return is_text(c) && ++k->n_ext <= HTTP_CHUNK_EXT_MAX ? 0 : ZERR_INVALID;
    case CHUNKED_SIZE_LF:
        k->state = k->left > 0 ? CHUNKED_DATA : CHUNKED_TRAILER;
        return c == '\n' ? 0 : ZERR_INVALID;
    case CHUNKED_DATA_CR:
        k->state = CHUNKED_DATA_LF;
        return c == '\r' ? 0 : ZERR_INVALID;
    case CHUNKED_DATA_LF:
        k->state = CHUNKED_SIZE;
        k->n_digits = 0;
        return c == '\n' ? 0 : ZERR_INVALID;
    case CHUNKED_TRAILER:
        return trailer_byte(k, c);
    case CHUNKED_TRAILER_LF:
        k->state = k->line_begun ? CHUNKED_TRAILER : CHUNKED_END;
        k->line_begun = k->colon_seen = false;
        return c == '\n' ? 0 : ZERR_INVALID;
    case CHUNKED_DATA:
    case CHUNKED_END:
        break;
    }
    return ZERR_INVALID;
}

int http_chunked_next(struct http_chunked *k, struct slice in, size_t *ret_used,
                      struct slice *ret_data)
{
    size_t i = 0;
    while (i < in.len && k->state != CHUNKED_END && k->state != CHUNKED_DATA) {
        int err = framing_byte(k, in.ptr[i++]);
        if (err < 0) {
            return err;
        }
    }
    size_t n = 0;
    if (k->state == CHUNKED_DATA) {
        n = k->left < in.len - i ? (size_t)k->left : in.len - i;
        k->left -= n;
        if (k->left == 0) {
            k->state = CHUNKED_DATA_CR;
        }
    }
    *ret_data = slice_of(n > 0 ? in.ptr + i : NULL, n);
    *ret_used = i + n;
    return 0;
}
