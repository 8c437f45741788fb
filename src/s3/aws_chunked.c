/* aws-chunked, see aws_chunked.h. */
#include "s3/aws_chunked.h"

#include "base/num.h"

#define SIGNATURE "chunk-signature="
#define SIZE_DIGITS_MAX 15

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int size_byte(struct aws_chunked *k, uint8_t c)
{
    int digit = hex_digit(c);

    if (digit >= 0 && k->n_digits < SIZE_DIGITS_MAX) {
        k->left = k->left << 4 | (unsigned)digit;
        k->n_digits++;
    } else if (k->n_digits > 0 && c == ';') {
        k->state = AWS_EXT;
        k->n_line = 0;
    } else if (k->n_digits > 0 && c == '\r') {
        k->state = AWS_SIZE_LF;
    } else {
        return ZERR_INVALID;
    }
    return 0;
}

/* An extension that is no signature is ignored. */
static int end_extension(struct aws_chunked *k)
{
    struct slice ext = slice_of(k->line, k->n_line), prefix = SLICE_LIT(SIGNATURE);

    k->state = AWS_SIZE_LF;
    if (!slice_has_prefix(ext, prefix)) {
        return 0;
    }
    k->has_signature = true;
    return hex_decode(slice_of(ext.ptr + prefix.len, ext.len - prefix.len), k->signature,
                      sizeof(k->signature));
}

static int extension_byte(struct aws_chunked *k, uint8_t c)
{
    if (c == '\r') {
        return end_extension(k);
    }
    if (c < 0x20 || c >= 0x7f || k->n_line == AWS_CHUNK_EXT_MAX) {
        return ZERR_INVALID;
    }
    k->line[k->n_line++] = c;
    return 0;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s = slice_of(s.ptr + 1, s.len - 1);
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* A line without its LF. */
static int end_line(struct aws_chunked *k, struct aws_chunked_piece *ret)
{
    struct slice line = slice_of(k->line, k->n_line);
    const uint8_t *colon;

    k->n_line = 0;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    if (line.len == 0) {
        return 0;
    }
    colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL || colon == line.ptr) {
        return ZERR_INVALID;
    }
    ret->event = AWS_TRAILER;
    ret->name = slice_of(line.ptr, (size_t)(colon - line.ptr));
    ret->data = trim(slice_of(colon + 1, line.len - ret->name.len - 1));
    return 0;
}

static int trailer_byte(struct aws_chunked *k, uint8_t c, struct aws_chunked_piece *ret)
{
    if (++k->n_trailers > AWS_TRAILERS_MAX) {
        return ZERR_INVALID;
    }
    if (c == '\n') {
        return end_line(k, ret);
    }
    /* A CR may only be the last byte of a line. */
    if (k->n_line == AWS_TRAILER_LINE_MAX || (k->n_line > 0 && k->line[k->n_line - 1] == '\r') ||
        (c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
        return ZERR_INVALID;
    }
    k->line[k->n_line++] = c;
    return 0;
}

/* One byte that is no data. */
static int framing_byte(struct aws_chunked *k, uint8_t c, struct aws_chunked_piece *ret)
{
    switch (k->state) {
    case AWS_SIZE:
        return size_byte(k, c);
    case AWS_EXT:
        return extension_byte(k, c);
    case AWS_SIZE_LF:
        k->state = k->left > 0 ? AWS_DATA : AWS_TRAILERS;
        k->n_line = 0;
        ret->event = AWS_CHUNK;
        return c == '\n' ? 0 : ZERR_INVALID;
    case AWS_DATA_CR:
        k->state = AWS_DATA_LF;
        return c == '\r' ? 0 : ZERR_INVALID;
    case AWS_DATA_LF:
        k->state = AWS_SIZE;
        k->n_digits = 0;
        k->has_signature = false;
        return c == '\n' ? 0 : ZERR_INVALID;
    case AWS_TRAILERS:
        return trailer_byte(k, c, ret);
    case AWS_DATA:
        break;
    }
    return ZERR_INVALID;
}

int aws_chunked_next(struct aws_chunked *k, struct slice in, size_t *ret_used,
                     struct aws_chunked_piece *ret)
{
    size_t i = 0;

    *ret = (struct aws_chunked_piece){.event = AWS_MORE};
    while (i < in.len && k->state != AWS_DATA && ret->event == AWS_MORE) {
        int err = framing_byte(k, in.ptr[i++], ret);
        if (err != 0) {
            return err;
        }
    }
    if (i < in.len && k->state == AWS_DATA && ret->event == AWS_MORE) {
        size_t n = k->left < in.len - i ? (size_t)k->left : in.len - i;
        ret->event = AWS_BYTES;
        ret->data = slice_of(in.ptr + i, n);
        i += n;
        k->left -= n;
        if (k->left == 0) {
            k->state = AWS_DATA_CR;
        }
    }
    *ret_used = i;
    return 0;
}

bool aws_chunked_ended(const struct aws_chunked *k)
{
    return k->state == AWS_TRAILERS && k->n_line == 0;
}
