/* Any bytes as a body in aws-chunked coding: whole, byte by byte, and in pieces of a length that the
 * input chooses. What comes out must be the same each time.
 *
 * Input: one byte for the length of pieces, then the body. */
#include <stdlib.h>

#include "s3/aws_chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void see(uint64_t *hash, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        *hash = (*hash ^ p[i]) * 0x100000001b3u;
    }
}

/* A hash of all that happens. */
static uint64_t run(struct slice in, size_t piece)
{
    struct aws_chunked k = {0};
    uint64_t hash = 0xcbf29ce484222325u, body = 0;
    bool refused = false, ended;

    while (in.len > 0 && !refused) {
        struct slice part = slice_of(in.ptr, in.len < piece ? in.len : piece);
        in = slice_of(in.ptr + part.len, in.len - part.len);
        while (part.len > 0 && !refused) {
            struct aws_chunked_piece p;
            size_t used = 0;
            refused = aws_chunked_next(&k, part, &used, &p) != 0;
            if (refused) {
                break;
            }
            require(used > 0 && used <= part.len);
            if (p.event == AWS_BYTES) {
                require(p.data.ptr >= part.ptr && p.data.ptr + p.data.len <= part.ptr + part.len);
                see(&hash, p.data.ptr, p.data.len);
                body += p.data.len;
            } else if (p.event == AWS_CHUNK) {
                see(&hash, &k.left, sizeof(k.left));
                see(&hash, k.signature, k.has_signature ? sizeof(k.signature) : 0);
            } else if (p.event == AWS_TRAILER) {
                require(p.name.len > 0 && p.name.len + p.data.len < AWS_TRAILER_LINE_MAX);
                see(&hash, p.name.ptr, p.name.len);
                see(&hash, p.data.ptr, p.data.len);
            }
            part = slice_of(part.ptr + used, part.len - used);
        }
    }
    ended = !refused && aws_chunked_ended(&k);
    see(&hash, &refused, sizeof(refused));
    see(&hash, &ended, sizeof(ended));
    see(&hash, &body, sizeof(body));
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body;
    uint64_t whole;

    if (size == 0) {
        return 0;
    }
    body = slice_of(data + 1, size - 1);
    whole = run(body, SIZE_MAX);
    require(run(body, 1) == whole);
    require(run(body, 1 + data[0]) == whole);
    return 0;
}
