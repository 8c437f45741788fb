/* Bodies in aws-chunked coding, taken apart piece by piece; it can stop and go on at every byte.
 *
 *   SIZE[;chunk-signature=64 HEX] CRLF  data CRLF     any number of times, SIZE in hex
 *   0[;chunk-signature=64 HEX] CRLF
 *   [name:value LF or CRLF]*                          trailers
 *   CRLF
 *
 * This is inside HTTP's own framing, which says where it ends: some clients end the trailers with
 * LF, and some write an empty line before x-amz-trailer-signature or one more behind it, so empty
 * lines mean nothing here, and aws_chunked_ended() tells whether what came is complete.
 *
 * Signatures are taken apart and not judged. */
#ifndef ZKV_S3_AWS_CHUNKED_H
#define ZKV_S3_AWS_CHUNKED_H

#include "base/slice.h"
#include "base/zerr.h"

#define AWS_CHUNK_EXT_MAX 256       /* behind a chunk's size */
#define AWS_TRAILER_LINE_MAX 512    /* without its end */
#define AWS_TRAILERS_MAX (4 * 1024) /* all lines */
#define AWS_SIGNATURE_BYTES 32

enum aws_chunked_state {
    AWS_SIZE,
    AWS_EXT,
    AWS_SIZE_LF,
    AWS_DATA,
    AWS_DATA_CR,
    AWS_DATA_LF,
    AWS_TRAILERS,
};

/* Init with {0}. */
struct aws_chunked {
    enum aws_chunked_state state;
    uint64_t left; /* of the current chunk */
    unsigned n_digits;
    bool has_signature; /* of the current chunk */
    uint8_t signature[AWS_SIGNATURE_BYTES];
    size_t n_line, n_trailers;
    uint8_t line[AWS_TRAILER_LINE_MAX]; /* an extension, or a trailer line */
};

enum aws_chunked_event {
    AWS_MORE,    /* all of `in` is used up */
    AWS_CHUNK,   /* a chunk begins: left, has_signature and signature are set; left 0: the last */
    AWS_BYTES,   /* data: bytes of the body, a part of `in` */
    AWS_TRAILER, /* name and data: a trailer, valid until the next call */
};

struct aws_chunked_piece {
    enum aws_chunked_event event;
    struct slice name, data;
};

/* The next thing in `in`; *ret_used bytes of it are used up. Nothing is called an event twice.
 * Errors: ZERR_INVALID: not this coding, or above a limit; of no use any more. */
int aws_chunked_next(struct aws_chunked *, struct slice in, size_t *ret_used,
                     struct aws_chunked_piece *ret) ZKV_MUST_CHECK;
/* The last chunk and whole trailers have come: the body may end here. */
bool aws_chunked_ended(const struct aws_chunked *);

#endif
