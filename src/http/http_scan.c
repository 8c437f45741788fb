#include "http/http_scan.h"

#include <strings.h>

#include "http/http_limits.h"

static const struct {
    struct slice name;
    enum http_method method;
} methods[] = {
    {{(const uint8_t *)"GET", 3}, HTTP_METHOD_GET},
    {{(const uint8_t *)"PUT", 3}, HTTP_METHOD_PUT},
    {{(const uint8_t *)"HEAD", 4}, HTTP_METHOD_HEAD},
    {{(const uint8_t *)"DELETE", 6}, HTTP_METHOD_DELETE},
    {{(const uint8_t *)"POST", 4}, HTTP_METHOD_POST},
    {{(const uint8_t *)"OPTIONS", 7}, HTTP_METHOD_OPTIONS},
};

static enum http_scan_result refuse(struct http_scan *s, enum http_error e)
{
    s->error = e;
    return HTTP_SCAN_REFUSED;
}

bool http_is_token_byte(uint8_t c)
{
    bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    return alnum || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!http_is_token_byte(s.ptr[i])) {
            return false;
        }
    }
    return s.len > 0;
}

/* Up to the next space; *rest becomes what is behind it. False if there is none. */
static bool take_word(struct slice *rest, struct slice *ret)
{
    const uint8_t *space = rest->len > 0 ? memchr(rest->ptr, ' ', rest->len) : NULL;
    if (space == NULL) {
        return false;
    }
    *ret = slice_of(rest->ptr, (size_t)(space - rest->ptr));
    *rest = slice_of(space + 1, rest->len - ret->len - 1);
    return true;
}

static bool target_ok(struct slice t, bool is_options)
{
    for (size_t i = 0; i < t.len; i++) {
        if (t.ptr[i] <= 0x20 || t.ptr[i] >= 0x7f || t.ptr[i] == '#') {
            return false;
        }
    }
    if (t.len > 0 && t.ptr[0] == '/') {
        return true;
    }
    return (t.len > 7 && strncasecmp((const char *)t.ptr, "http://", 7) == 0) ||
           (is_options && slice_eq_str(t, "*"));
}

static enum http_scan_result request_line(struct http_scan *s, struct slice line,
                                          const uint8_t *start)
{
    struct slice version = line, method, target;
    if (!take_word(&version, &method) || !is_token(method) || !take_word(&version, &target) ||
        version.len != 8 || memcmp(version.ptr, "HTTP/", 5) != 0 || version.ptr[5] < '0' ||
        version.ptr[5] > '9' || version.ptr[6] != '.' || version.ptr[7] < '0' ||
        version.ptr[7] > '9') {
        return refuse(s, HTTP_ERR_BAD_REQUEST);
    }
    if (version.ptr[5] != '1' || version.ptr[7] > '1') {
        return refuse(s, HTTP_ERR_VERSION);
    }
    s->is_1_0 = version.ptr[7] == '0';
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (slice_eq(method, methods[i].name)) {
            s->method = methods[i].method;
            s->method_known = true;
        }
    }
    if (!s->method_known) {
        return refuse(s, slice_eq_str(method, "CONNECT") ? HTTP_ERR_METHOD_NOT_ALLOWED
                                                         : HTTP_ERR_NOT_IMPLEMENTED);
    }
    if (!target_ok(target, s->method == HTTP_METHOD_OPTIONS)) {
        return refuse(s, HTTP_ERR_BAD_REQUEST);
    }
    s->target_off = (size_t)(target.ptr - start);
    s->target_len = target.len;
    return HTTP_SCAN_MORE;
}

static enum http_scan_result header_line(struct http_scan *s, struct slice line)
{
    if (++s->n_headers > HTTP_HEADERS_MAX) {
        return refuse(s, HTTP_ERR_HEAD_TOO_LARGE);
    }
    const uint8_t *colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL || !is_token(slice_of(line.ptr, (size_t)(colon - line.ptr)))) {
        return refuse(s, HTTP_ERR_BAD_REQUEST);
    }
    for (const uint8_t *p = colon; p < line.ptr + line.len; p++) {
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f) {
            return refuse(s, HTTP_ERR_BAD_REQUEST);
        }
    }
    return HTTP_SCAN_MORE;
}

enum http_scan_result http_scan_next(struct http_scan *s, struct slice view)
{
    /* What cannot begin a request (a TLS handshake, say) need not be waited for. */
    if (view.len > 0 && !is_token(slice_of(view.ptr, 1))) {
        return refuse(s, HTTP_ERR_BAD_REQUEST);
    }
    const uint8_t *lf;
    while (s->off < view.len && (lf = memchr(view.ptr + s->off, '\n', view.len - s->off)) != NULL) {
        size_t end = (size_t)(lf - view.ptr);
        if (end >= HTTP_HEAD_MAX) {
            break;
        }
        if (end == s->line_off || view.ptr[end - 1] != '\r') {
            return refuse(s, HTTP_ERR_BAD_REQUEST);
        }
        struct slice line = slice_of(view.ptr + s->line_off, end - 1 - s->line_off);
        bool first = s->line_off == 0;
        s->off = s->line_off = end + 1;
        if (line.len == 0 && !first) {
            return HTTP_SCAN_DONE;
        }
        enum http_scan_result r = first ? request_line(s, line, view.ptr) : header_line(s, line);
        if (r != HTTP_SCAN_MORE) {
            return r;
        }
    }
    if (view.len >= HTTP_HEAD_MAX) {
        return refuse(s, HTTP_ERR_HEAD_TOO_LARGE);
    }
    s->off = view.len;
    return HTTP_SCAN_MORE;
}
