/* Looks through a request's head line by line, as its bytes come, and refuses what llhttp
 * lets through or judges differently from version to version: lines that do not end in CRLF,
 * folded header lines, control bytes, HTTP/0.9 and versions other than 1.0 and 1.1, methods that
 * are not ours, targets of another form. The verdict does not depend on how the bytes were cut.
 *
 * It says where the head ends; taking the headers apart is llhttp's part (http_conn.c). */
#ifndef ZKV_HTTP_HTTP_SCAN_H
#define ZKV_HTTP_HTTP_SCAN_H

#include "http/http_head.h"
#include "http/http_msg.h"

/* Init with {0}. */
struct http_scan {
    size_t off, line_off; /* looked at so far; start of the current line */
    unsigned n_headers;
    bool method_known; /* the request line was read up to here: method is valid */
    enum http_method method;
    bool is_1_0;
    size_t target_off, target_len;
    enum http_error error; /* after HTTP_SCAN_REFUSED */
};

enum http_scan_result { HTTP_SCAN_MORE, HTTP_SCAN_DONE, HTTP_SCAN_REFUSED };

/* view: the head from its first byte on; it must begin with what was given before (at any
 * address). HTTP_SCAN_DONE: the head, empty line included, is the first scan->off bytes. */
enum http_scan_result http_scan_next(struct http_scan *, struct slice view);

/* A byte that methods and the names of headers are made of. */
bool http_is_token_byte(uint8_t c);

#endif
