#include "http/http_head.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#define SERVER_LINE "Server: zipkvserver\r\n"
#define FIXED_MAX 256 /* status line, Server, Date, Connection and Content-Length */

static const struct error_text {
    int status;
    const char *code, *message;
} error_texts[] = {
    [HTTP_ERR_BAD_REQUEST] = {400, "BadRequest", "The request is not valid HTTP/1.1."},
    [HTTP_ERR_HEAD_TOO_LARGE] = {400, "RequestHeaderSectionTooLarge",
                                 "The request line and headers are too large."},
    [HTTP_ERR_NEEDS_TLS] = {400, "BadRequest", "This port speaks TLS: use https://."},
    [HTTP_ERR_METHOD_NOT_ALLOWED] = {405, "MethodNotAllowed",
                                     "The method is not allowed against this resource."},
    [HTTP_ERR_TIMEOUT] = {408, "RequestTimeout", "The request was not received in time."},
    [HTTP_ERR_NOT_IMPLEMENTED] = {501, "NotImplemented", "The method is not implemented."},
    [HTTP_ERR_NO_MEMORY] = {503, "ServiceUnavailable", "Out of memory, try again later."},
    [HTTP_ERR_VERSION] = {505, "HTTPVersionNotSupported", "Only HTTP/1.1 and 1.0 are spoken."},
};

static const struct {
    int status;
    const char *text;
} reasons[] = {
    {200, "OK"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {416, "Range Not Satisfiable"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

/* Never empty: some clients demand three parts in a status line. */
static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return status < 400 ? "OK" : "Error";
}

const char *http_date_now(struct http_date *d)
{
    int64_t now_s = (int64_t)time(NULL);
    if (d->text[0] == '\0' || now_s != d->made_s) {
        d->made_s = now_s;
        time_http(now_s * 1000, d->text);
    }
    return d->text;
}

static bool is_clean(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\r' || s.ptr[i] == '\n' || s.ptr[i] == '\0') {
            return false;
        }
    }
    return true;
}

static char *put(char *p, struct slice s)
{
    memcpy(p, s.ptr, s.len);
    return p + s.len;
}

static char *put_number(char *p, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return put(p, slice_of(digits + at, sizeof(digits) - at));
}

int http_head_write(struct arena *a, const struct http_response *r, enum http_connection connection,
                    const char *date, struct slice *ret)
{
    size_t size = FIXED_MAX;
    for (size_t i = 0; i < r->n_headers; i++) {
        size += r->headers[i].name.len + r->headers[i].value.len + 4;
    }
    char *head = arena_alloc(a, size);
    if (head == NULL) {
        return ZERR_NOMEM;
    }
    char *p = put(head, SLICE_LIT("HTTP/1.1 "));
    p = put_number(p, (uint64_t)r->status);
    *p++ = ' ';
    p = put(p, slice_str(reason_of(r->status)));
    p = put(p, SLICE_LIT("\r\n" SERVER_LINE "Date: "));
    p = put(p, slice_str(date));
    p = put(p, SLICE_LIT("\r\n"));
    if (connection == HTTP_CONNECTION_CLOSE) {
        p = put(p, SLICE_LIT("Connection: close\r\n"));
    } else if (connection == HTTP_CONNECTION_KEEP_ALIVE) {
        p = put(p, SLICE_LIT("Connection: keep-alive\r\n"));
    }
    if (!r->no_length && r->status != 204 && r->status != 304) {
        p = put(p, SLICE_LIT("Content-Length: "));
        p = put_number(p, r->length);
        p = put(p, SLICE_LIT("\r\n"));
    }
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct http_header *h = &r->headers[i];
        if (h->name.len > 0 && is_clean(h->name) && is_clean(h->value)) {
            p = put(p, h->name);
            p = put(p, SLICE_LIT(": "));
            p = h->value.len > 0 ? put(p, h->value) : p;
            p = put(p, SLICE_LIT("\r\n"));
        }
    }
    p = put(p, SLICE_LIT("\r\n"));
    assert((size_t)(p - head) <= size);
    *ret = slice_of(head, (size_t)(p - head));
    return 0;
}

int http_error_status(enum http_error e)
{
    return error_texts[e].status;
}

int http_head_error(struct arena *a, enum http_error e, bool without_body, const char *date,
                    struct slice *ret)
{
    const struct error_text *t = &error_texts[e];
    char body[256];
    int len = snprintf(body, sizeof(body),
                       "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                       "<Error><Code>%s</Code><Message>%s</Message></Error>",
                       t->code, t->message);
    assert(len > 0 && (size_t)len < sizeof(body));
    const struct http_header headers[] = {
        {SLICE_LIT("Content-Type"), SLICE_LIT("application/xml")},
        {SLICE_LIT("Allow"), SLICE_LIT("GET, HEAD, PUT, POST, DELETE, OPTIONS")},
    };
    struct http_response r = {.status = t->status,
                              .headers = headers,
                              .n_headers = t->status == 405 ? 2 : 1,
                              .length = (uint64_t)len};
    struct slice head;
    int err = http_head_write(a, &r, HTTP_CONNECTION_CLOSE, date, &head);
    if (err < 0 || without_body) {
        if (err == 0) {
            *ret = head;
        }
        return err;
    }
    char *all = arena_alloc(a, head.len + (size_t)len);
    if (all == NULL) {
        return ZERR_NOMEM;
    }
    (void)put(put(all, head), slice_of(body, (size_t)len));
    *ret = slice_of(all, head.len + (size_t)len);
    return 0;
}
