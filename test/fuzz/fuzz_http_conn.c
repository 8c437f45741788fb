/* Bytes from the network into http_conn, three ways: whole, byte by byte, and in pieces of a length
 * that the input chooses. What the handler and the client see must be the same each time, and the
 * handler's calls must come in their order: request, body, end, done, each done once.
 *
 * Input: one byte for the handler's behaviour and the length of pieces, then the stream. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/job.h"
#include "http/http_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rig {
    struct http_handler handler;
    struct http_stream stream;
    struct http_pool pool;
    struct http_conn conn;
    bool early; /* answers in request() */
    bool open, ended;
    const struct http_request *req;
    uint64_t n_body;
    uint64_t hash; /* of all that was seen */
};

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

static void see(struct rig *r, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        r->hash = (r->hash ^ s.ptr[i]) * 0x100000001b3u;
    }
}

static void see_str(struct rig *r, const char *s)
{
    see(r, slice_str(s));
}

static void answer(struct rig *r)
{
    const struct http_response response = {.status = 200, .length = 2, .body = SLICE_LIT("ok")};
    struct http_out out;
    if (http_conn_respond(&r->conn, &response, &out) == 0) {
        see_str(r, memmem(out.head.ptr, out.head.len, "close", 5) != NULL ? "close" : "keep");
        see(r, out.body);
    }
}

static void handle_request(struct http_handler *h, struct http_stream *s,
                           const struct http_request *req)
{
    struct rig *r = container_of(h, struct rig, handler);
    check(s == &r->stream && !r->open && req->target.len > 0);
    r->open = true;
    r->ended = false;
    r->req = req;
    r->n_body = 0;
    see(r, req->target);
    for (size_t i = 0; i < req->n_headers; i++) {
        check(req->headers[i].name.len > 0);
        see(r, req->headers[i].name);
        see(r, req->headers[i].value);
    }
    if (r->early) {
        answer(r);
    } else {
        see_str(r, http_conn_proceed(&r->conn) ? "100" : "");
    }
}

static void handle_body(struct http_handler *h, struct http_stream *s, struct slice data)
{
    struct rig *r = container_of(h, struct rig, handler);
    (void)s;
    r->n_body += data.len;
    check(r->open && !r->ended && !r->early && data.len > 0);
    check(r->req->chunked || r->n_body <= r->req->length);
    see(r, data);
}

static void handle_end(struct http_handler *h, struct http_stream *s)
{
    struct rig *r = container_of(h, struct rig, handler);
    (void)s;
    check(r->open && !r->ended && !r->early);
    check(r->req->chunked || r->n_body == r->req->length);
    r->ended = true;
    see_str(r, "end");
    answer(r);
}

static void handle_sent(struct http_handler *h, struct http_stream *s)
{
    (void)h;
    (void)s;
    abort();
}

static void handle_done(struct http_handler *h, struct http_stream *s, bool complete)
{
    struct rig *r = container_of(h, struct rig, handler);
    (void)s;
    check(r->open);
    r->open = false;
    see_str(r, complete ? "done" : "cut");
}

/* What peer.c does; returns what is left of in. */
static struct slice feed(struct rig *r, struct slice in)
{
    for (;;) {
        struct slice reply;
        if (http_conn_take_reply(&r->conn, &reply)) {
            see(r, slice_of(reply.ptr, 12)); /* the date may differ */
        }
        if (http_conn_answered(&r->conn)) {
            http_conn_written(&r->conn);
        }
        enum http_conn_state before = r->conn.state;
        size_t used = http_conn_feed(&r->conn, in);
        check(used <= in.len);
        in = slice_of(in.ptr + used, in.len - used);
        if (used == 0 && r->conn.state == before) {
            return in;
        }
    }
}

static uint64_t run(struct slice in, bool early, size_t piece)
{
    struct rig r = {
        .handler = {handle_request, handle_body, handle_end, handle_sent, handle_done},
        .early = early,
        .hash = 0xcbf29ce484222325u,
    };
    http_conn_init(&r.conn, &r.pool, &r.handler, &r.stream);
    while (in.len > 0) {
        size_t n = in.len < piece ? in.len : piece;
        uint8_t *copy = malloc(n); /* exactly as long: a read behind it shows */
        if (copy == NULL) {
            break;
        }
        memcpy(copy, in.ptr, n);
        check(feed(&r, slice_of(copy, n)).len == 0);
        free(copy);
        in = slice_of(in.ptr + n, in.len - n);
    }
    http_conn_finish(&r.conn);
    check(!r.open && r.conn.mem == NULL && r.conn.partial.ptr == NULL);
    http_pool_finish(&r.pool);
    return r.hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        struct slice in = slice_of(data + 1, size - 1);
        bool early = (data[0] & 1) != 0;
        uint64_t whole = run(in, early, SIZE_MAX);
        check(run(in, early, 1) == whole);
        check(run(in, early, (size_t)data[0] / 2 + 2) == whole);
    }
    return 0;
}
