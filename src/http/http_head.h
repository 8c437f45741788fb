/* The head of an answer as bytes, and the answers that the transport gives by itself. */
#ifndef ZKV_HTTP_HTTP_HEAD_H
#define ZKV_HTTP_HTTP_HEAD_H

#include "base/buf.h"
#include "base/timefmt.h"
#include "http/http_msg.h"

/* Requests that never reach the handler, or are taken from it. */
enum http_error {
    HTTP_ERR_BAD_REQUEST,        /* 400: not HTTP, or ambiguous */
    HTTP_ERR_HEAD_TOO_LARGE,     /* 400: bytes or number of headers */
    HTTP_ERR_NEEDS_TLS,          /* 400: not encrypted */
    HTTP_ERR_METHOD_NOT_ALLOWED, /* 405: CONNECT */
    HTTP_ERR_TIMEOUT,            /* 408: head or body did not come */
    HTTP_ERR_NOT_IMPLEMENTED,    /* 501: a method that S3 does not have */
    HTTP_ERR_NO_MEMORY,          /* 503 */
    HTTP_ERR_VERSION,            /* 505: neither HTTP/1.0 nor 1.1 */
};

/* The Date header's text, made once a second. Init with {0}. */
struct http_date {
    int64_t made_s;
    char text[TIME_HTTP_LEN + 1];
};
const char *http_date_now(struct http_date *);

enum http_connection { HTTP_CONNECTION_NONE, HTTP_CONNECTION_CLOSE, HTTP_CONNECTION_KEEP_ALIVE };

/* *ret lies in the arena. Errors: ZERR_NOMEM. */
int http_head_write(struct arena *, const struct http_response *, enum http_connection,
                    const char *date, struct slice *ret) ZKV_MUST_CHECK;
/* A whole error answer, XML body included unless without_body. Errors: ZERR_NOMEM. */
int http_head_error(struct arena *, enum http_error, bool without_body, const char *date,
                    struct slice *ret) ZKV_MUST_CHECK;
int http_error_status(enum http_error);

#endif
