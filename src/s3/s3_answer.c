/* Answers and refusals: what every one of them has is added here (the request's id, the XML of errors,
 * Retry-After), and what the server has to answer for is said in the log, not too often.
 *
 * An answer that takes long begins before it is known: s3_still_here() sends the head of a 200 and then
 * a space from time to time, as S3 does for copies, so that the client does not give up. What comes of
 * it is the rest of the body, also where it is an error: clients look for that. The length is fixed from
 * the start, with room for the longest answer, and filled up with spaces behind the XML: a body that
 * breaks off is seen by its length. */
#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "s3/s3_exchange.h"

static const char *const METHODS[] = {
    [HTTP_METHOD_GET] = "GET",   [HTTP_METHOD_HEAD] = "HEAD",     [HTTP_METHOD_PUT] = "PUT",
    [HTTP_METHOD_POST] = "POST", [HTTP_METHOD_DELETE] = "DELETE", [HTTP_METHOD_OPTIONS] = "OPTIONS",
};

static int64_t now_ms(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- answers ---- */

void s3_reply_init(struct s3_reply *r, struct s3_exchange *x, size_t max_headers)
{
    *r = (struct s3_reply){.cap = max_headers + 1}; /* and the request's id */
    r->headers = arena_alloc(x->req->arena, r->cap * sizeof(*r->headers));
    r->failed = r->headers == NULL;
}

void s3_reply_add_slice(struct s3_reply *r, struct slice name, struct slice value)
{
    if (!r->failed) {
        assert(r->n < r->cap);
        r->headers[r->n++] = (struct http_header){.name = name, .value = value};
    }
}

void s3_reply_add(struct s3_reply *r, const char *name, struct slice value)
{
    s3_reply_add_slice(r, slice_str(name), value);
}

void s3_reply_add_checksum(struct s3_reply *r, const char *name, struct slice value)
{
    s3_reply_add(r, name, value);
    s3_reply_add(r, "x-amz-checksum-type", slice_str(s3_checksum_type(value)));
}

void s3_respond(struct s3_exchange *x, struct s3_reply *r, int status, uint64_t length,
                struct slice body)
{
    struct http_response res = {.status = status, .length = length, .body = body};

    assert(!x->responded);
    s3_resume(x);    /* not to leave the transport paused behind an answer */
    if (r->failed) { /* out of memory: no headers, no body, nothing that could be taken for one */
        res = (struct http_response){.status = 503, .close = true};
    } else {
        s3_reply_add(r, "x-amz-request-id", slice_of(x->request_id, S3_REQUEST_ID_LEN));
        res.headers = r->headers;
        res.n_headers = r->n;
    }
    res.no_length = res.status == 204 || res.status == 304;
    x->responded = true;
    x->status = res.status;
    x->stream->ops->respond(x->stream, &res);
}

void s3_respond_empty(struct s3_exchange *x, int status)
{
    struct s3_reply r;

    s3_reply_init(&r, x, 0);
    s3_respond(x, &r, status, 0, slice_of(NULL, 0));
}

/* ---- answers that take long ---- */

static void release_space(struct http_send *send)
{
    container_of(send, struct s3_slow, send)->busy = false;
}

static void begin_slow(struct s3_exchange *x)
{
    struct s3_reply r;

    s3_reply_init(&r, x, 1);
    s3_reply_add(&r, "Content-Type", SLICE_LIT(S3_XML_TYPE));
    if (!r.failed) { /* or later */
        s3_respond(x, &r, 200, S3_SLOW_BYTES, SLICE_LIT(S3_XML_DECLARATION));
        x->slow.left = S3_SLOW_BYTES - strlen(S3_XML_DECLARATION);
    }
}

void s3_still_here(struct s3_exchange *x)
{
    struct s3_slow *s = &x->slow;
    int64_t now = now_ms();

    if (s->since_ms == 0) {
        s->since_ms = now;
    }
    if (now - s->since_ms < x->s3->slow_ms) {
        return;
    }
    s->since_ms = now;
    if (s->left == 0) {
        begin_slow(x);
    } else if (s->left > S3_SLOW_LAST && !s->busy) {
        s->left--;
        s->busy = true;
        s->send = (struct http_send){.data = SLICE_LIT(" "), .release = release_space};
        x->stream->ops->send(x->stream, &s->send);
    }
}

/* x->xml lives until done(): nothing to give back. */
static void release_xml(struct http_send *send)
{
    (void)send;
}

/* Sends x->xml, whose declaration is out, and spaces behind it. */
static void end_slow(struct s3_exchange *x, bool failed)
{
    size_t begin = strlen(S3_XML_DECLARATION), used = x->xml.len - begin;
    size_t left = x->slow.left;

    x->slow.left = 0;
    if (failed || used > left || buf_reserve(&x->xml, left - used) != 0) {
        s3_cut(x, failed || used <= left ? ZERR_NOMEM : ZERR_TOO_LARGE);
        return;
    }
    memset(x->xml.ptr + x->xml.len, ' ', left - used);
    x->xml.len += left - used;
    s3_count_xml(x, x->xml.cap);
    x->xml_send =
        (struct http_send){.data = slice_of(x->xml.ptr + begin, left), .release = release_xml};
    x->stream->ops->send(x->stream, &x->xml_send);
}

/* ---- answers in XML ---- */

/* Sends x->xml: with the head if it is small, else behind it, where it need not be copied. */
static void respond_body(struct s3_exchange *x, struct s3_reply *r, int status)
{
    struct slice body = buf_slice(&x->xml);
    bool small = body.len <= S3_SMALL_BODY;

    if (x->slow.left > 0) {
        end_slow(x, r->failed);
        return;
    }
    s3_respond(x, r, status, body.len, small ? body : slice_of(NULL, 0));
    if (!small && x->status == status && x->req->method != HTTP_METHOD_HEAD) {
        s3_count_xml(x, x->xml.cap);
        x->xml_send = (struct http_send){.data = body, .release = release_xml};
        x->stream->ops->send(x->stream, &x->xml_send);
    }
}

void s3_respond_xml_with(struct s3_exchange *x, struct s3_reply *r, int err)
{
    if (err != 0) {
        s3_fail(x, err);
        return;
    }
    s3_reply_add(r, "Content-Type", SLICE_LIT(S3_XML_TYPE));
    respond_body(x, r, 200);
}

void s3_respond_xml(struct s3_exchange *x, int err)
{
    struct s3_reply r;

    s3_reply_init(&r, x, 1);
    s3_respond_xml_with(x, &r, err);
}

static int write_error(struct s3_exchange *x, const struct s3_error *e,
                       const struct s3_refusal *why)
{
    struct s3_xml w;

    buf_reset(&x->xml);
    s3_xml_begin(&w, &x->xml, "Error", NULL);
    s3_xml_text(&w, "Code", slice_str(e->code));
    s3_xml_text(&w, "Message", slice_str(why->message != NULL ? why->message : e->message));
    for (size_t i = 0; i < why->n_details; i++) {
        s3_xml_text(&w, why->details[i].name, why->details[i].value);
    }
    s3_xml_text(&w, "Resource", s3_target_path(x->req->target));
    s3_xml_text(&w, "RequestId", slice_of(x->request_id, S3_REQUEST_ID_LEN));
    return s3_xml_finish(&w, "Error");
}

static void respond_error(struct s3_exchange *x, const struct s3_refusal *why)
{
    const struct s3_error *e = s3_error_of(why->code);
    struct s3_reply r;

    s3_reply_init(&r, x, 3);
    if (e->status == 503) {
        s3_reply_add(&r, "Retry-After", SLICE_LIT(S3_RETRY_AFTER));
    }
    if (why->code == S3_INVALID_RANGE) {
        s3_reply_add(&r, "Content-Range", x->content_range);
    }
    if (x->req->method == HTTP_METHOD_HEAD) {
        s3_respond(x, &r, e->status, 0, slice_of(NULL, 0));
        return;
    }
    s3_reply_add(&r, "Content-Type", SLICE_LIT(S3_XML_TYPE));
    r.failed |= write_error(x, e, why) != 0;
    respond_body(x, &r, e->status);
}

/* ---- warnings ---- */

/* Says it once; the same kind again only after a while, with how often it happened meanwhile. */
static void warn(struct s3_exchange *x, int zerr, const char *what, const char *why)
{
    unsigned kind = zerr < 0 && -zerr < S3_WARN_KINDS ? (unsigned)-zerr : 0;
    struct s3_warning *w = &x->s3->warned[kind];
    int64_t now = now_ms();
    char target[200], more[64] = "";

    if (w->given && now - w->last_ms < S3_WARN_INTERVAL_MS) {
        w->held_back++;
        return;
    }
    if (w->held_back > 0) {
        (void)snprintf(more, sizeof(more), " (and %llu like it before)",
                       (unsigned long long)w->held_back);
    }
    *w = (struct s3_warning){.given = true, .last_ms = now};
    log_warn("s3: %s %s (request %.*s): %s%s: %s", METHODS[x->req->method],
             log_quote(x->req->target, target, sizeof(target)), S3_REQUEST_ID_LEN, x->request_id,
             what, more, why);
}

void s3_refuse_with(struct s3_exchange *x, const struct s3_refusal *why, int zerr)
{
    const struct s3_error *e = s3_error_of(why->code);
    const char *detail = why->message;

    if (e->status >= 500) {
        char what[64];
        (void)snprintf(what, sizeof(what), "%d %s", e->status, e->code);
        warn(x, zerr, what, zerr != 0 ? zerr_str(zerr) : detail != NULL ? detail : e->message);
    }
    respond_error(x, why);
}

void s3_refuse(struct s3_exchange *x, enum s3_code code, const char *detail)
{
    const struct s3_refusal why = {.code = code, .message = detail};

    s3_refuse_with(x, &why, 0);
}

void s3_fail(struct s3_exchange *x, int zerr)
{
    const struct s3_refusal why = {
        .code = s3_code_of_zerr(zerr),
        .message =
            zerr == ZERR_NO_SPACE ? "The server's disk is full. Please try again later." : NULL,
    };

    s3_refuse_with(x, &why, zerr);
}

void s3_cut(struct s3_exchange *x, int zerr)
{
    warn(x, zerr, "cut off", zerr_str(zerr));
    x->stream->ops->cut(x->stream);
}

void s3_fail_bucket(struct s3_exchange *x, int zerr)
{
    const struct s3_refusal why = {
        .code = zerr == ZERR_NOT_FOUND ? S3_NO_SUCH_BUCKET : s3_code_of_zerr(zerr),
        .message = zerr == ZERR_LOCKED ? "The bucket is in use by another program on the server. "
                                         "Please try again later."
                   : zerr == ZERR_BUSY ? "The bucket is being opened. Please try again later."
                   : zerr == ZERR_NOT_FOUND || zerr == ZERR_CANCELED
                       ? NULL
                       : "The bucket cannot be opened; the server's log says why.",
    };

    s3_refuse_with(x, &why, zerr);
}
