/* An http_conn without a socket, with a handler that writes down what it sees: for the tests of
 * http_conn. Included by one file of each test program.
 *
 * The trace: "GET /x 2h" a request with two headers (" len=5", " chunked", " expect" if so),
 * "(hello)" body bytes, "end", "100" the interim answer, "200", "200c" an answer of the handler (c:
 * with Connection: close), "ok" and "cut" done() of a complete and of an incomplete answer,
 * "!400 Code" an answer of the connection's own; at the end the state if it is not read-head. */
#ifndef ZKV_TEST_HTTP_RIG_H
#define ZKV_TEST_HTTP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/job.h"
#include "http/http_conn.h"
#include "http/http_limits.h"

static const char *const METHODS[] = {
    [HTTP_METHOD_GET] = "GET",   [HTTP_METHOD_HEAD] = "HEAD",     [HTTP_METHOD_PUT] = "PUT",
    [HTTP_METHOD_POST] = "POST", [HTTP_METHOD_DELETE] = "DELETE", [HTTP_METHOD_OPTIONS] = "OPTIONS",
};

/* A handler, its stream and the peer's part, all of them for one connection. What the handler does
 * is in the target: /now answers in request(), /mid with the first byte of the body, /hold not
 * at all, /bye with close; all others want the body and answer in end(). */
struct rig {
    struct http_handler handler;
    struct http_stream stream;
    struct http_pool pool;
    struct http_conn conn;
    struct buf trace, out;
    bool in_body;
    const struct http_request *req;
    const struct http_response *response; /* NULL: a 200 with the body "hi" */
};

static void put_text(struct buf *b, const char *s)
{
    assert_int_equal(buf_append_str(b, s), 0);
}

static void note(struct rig *r, const char *what)
{
    if (r->in_body) {
        put_text(&r->trace, ")");
        r->in_body = false;
    }
    if (r->trace.len > 0) {
        put_text(&r->trace, " ");
    }
    put_text(&r->trace, what);
}

static bool target_is(const struct rig *r, const char *target)
{
    return slice_eq_str(r->req->target, target);
}

static bool contains(struct slice s, const char *text)
{
    return s.len > 0 && memmem(s.ptr, s.len, text, strlen(text)) != NULL;
}

static void answer(struct rig *r)
{
    struct http_response standard = {
        .status = 200, .length = 2, .body = SLICE_LIT("hi"), .close = target_is(r, "/bye")};
    const struct http_response *response = r->response != NULL ? r->response : &standard;
    struct http_out out;
    char text[16];
    assert_int_equal(http_conn_respond(&r->conn, response, &out), 0);
    (void)snprintf(text, sizeof(text), "%d%s", response->status,
                   contains(out.head, "\r\nConnection: close\r\n") ? "c" : "");
    note(r, text);
    assert_int_equal(buf_append(&r->out, out.head.ptr, out.head.len), 0);
    assert_int_equal(buf_append(&r->out, out.body.ptr, out.body.len), 0);
}

static void go_on(struct rig *r)
{
    if (http_conn_proceed(&r->conn)) {
        note(r, "100");
    }
}

static void handle_request(struct http_handler *h, struct http_stream *s,
                           const struct http_request *req)
{
    struct rig *r = container_of(h, struct rig, handler);
    struct buf text = {0};
    assert_ptr_equal(s, &r->stream);
    r->req = req;
    assert_int_equal(buf_printf(&text, "%s %.*s %zuh", METHODS[req->method], SLICE_FMT(req->target),
                                req->n_headers),
                     0);
    if (req->has_length) {
        assert_int_equal(buf_printf(&text, " len=%llu", (unsigned long long)req->length), 0);
    }
    put_text(&text, req->chunked ? " chunked" : "");
    put_text(&text, req->expect_continue ? " expect" : "");
    assert_int_equal(buf_append(&text, "", 1), 0);
    note(r, (const char *)text.ptr);
    buf_finish(&text);
    if (target_is(r, "/now")) {
        answer(r);
    } else if (!target_is(r, "/hold")) {
        go_on(r);
    }
}

static void handle_body(struct http_handler *h, struct http_stream *s, struct slice data)
{
    struct rig *r = container_of(h, struct rig, handler);
    (void)s;
    assert_true(data.len > 0);
    if (target_is(r, "/mid")) {
        answer(r);
        return;
    }
    if (!r->in_body) {
        note(r, "(");
        r->in_body = true;
    }
    assert_int_equal(buf_append(&r->trace, data.ptr, data.len), 0);
}

static void handle_end(struct http_handler *h, struct http_stream *s)
{
    struct rig *r = container_of(h, struct rig, handler);
    (void)s;
    note(r, "end");
    answer(r);
}

static void handle_sent(struct http_handler *h, struct http_stream *s)
{
    (void)h;
    (void)s;
    fail();
}

static void handle_done(struct http_handler *h, struct http_stream *s, bool complete)
{
    (void)s;
    note(container_of(h, struct rig, handler), complete ? "ok" : "cut");
}

static void rig_init(struct rig *r)
{
    *r = (struct rig){
        .handler = {handle_request, handle_body, handle_end, handle_sent, handle_done}};
    http_conn_init(&r->conn, &r->pool, &r->handler, &r->stream);
}

static void rig_finish(struct rig *r)
{
    http_conn_finish(&r->conn);
    http_pool_finish(&r->pool);
    buf_finish(&r->trace);
    buf_finish(&r->out);
}

static void note_reply(struct rig *r, struct slice reply)
{
    char text[64];
    const char *code = memmem(reply.ptr, reply.len, "<Code>", 6);
    int len = code != NULL ? (int)strcspn(code + 6, "<") : 0;
    (void)snprintf(text, sizeof(text), "!%.3s %.*s", (const char *)reply.ptr + 9, len,
                   code != NULL ? code + 6 : "");
    note(r, text);
    assert_true(contains(reply, "Connection: close\r\n"));
    assert_int_equal(buf_append(&r->out, reply.ptr, reply.len), 0);
}

/* What peer.c does. Returns what was not used up. */
static struct slice feed(struct rig *r, struct slice in)
{
    for (;;) {
        struct slice reply;
        if (http_conn_take_reply(&r->conn, &reply)) {
            note_reply(r, reply);
        }
        if (http_conn_answered(&r->conn)) {
            http_conn_written(&r->conn);
        }
        enum http_conn_state before = r->conn.state;
        size_t used = http_conn_feed(&r->conn, in);
        assert_true(used <= in.len);
        in = slice_of(in.ptr + used, in.len - used);
        if (used == 0 && r->conn.state == before) {
            return in;
        }
    }
}

static void end_trace(struct rig *r)
{
    if (r->in_body) {
        put_text(&r->trace, ")");
        r->in_body = false;
    }
    if (r->conn.state != CONN_READ_HEAD) {
        note(r, http_conn_state_name(r->conn.state));
    }
    assert_int_equal(buf_append(&r->trace, "", 1), 0);
}

static void assert_trace(struct rig *r, const char *expected)
{
    end_trace(r);
    assert_string_equal((const char *)r->trace.ptr, expected);
    buf_reset(&r->trace);
}

#endif
