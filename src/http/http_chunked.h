/* Reads a body in chunked transfer coding (RFC 9112, 7.1), piece by piece and strictly.
 *
 * Written here and not left to llhttp: its versions differ in what they let through around a
 * chunk's size (bare LF, spaces, length of extensions), and a request must get the same verdict
 * with each of them. Extensions and trailers are checked, bounded and ignored. */
#ifndef ZKV_HTTP_HTTP_CHUNKED_H
#define ZKV_HTTP_HTTP_CHUNKED_H

#include "base/slice.h"
#include "base/zerr.h"

enum http_chunked_state {
    CHUNKED_SIZE,
    CHUNKED_EXT,
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER,
    CHUNKED_TRAILER_LF,
    CHUNKED_END,
};

/* Init with {0}. */
struct http_chunked {
    enum http_chunked_state state;
    uint64_t left;               /* of the current chunk */
    unsigned n_digits;           /* of its size */
    unsigned n_ext;              /* bytes of its extension */
    unsigned n_trailer;          /* bytes of trailer lines */
    bool line_begun, colon_seen; /* of the current trailer line */
};

/* Goes on until it meets body bytes, the end of the body (state CHUNKED_END) or the end of in.
 * *ret_used: bytes of in that are used up, those of *ret_data, a part of in, included.
 * Errors: ZERR_INVALID, not chunked coding or above a limit; the reader is of no use any more. */
int http_chunked_next(struct http_chunked *, struct slice in, size_t *ret_used,
                      struct slice *ret_data) ZKV_MUST_CHECK;

#endif
