/* The HTTP connection without a socket. Most of it is a table: bytes in, and what must come of
 * them, written as a short trace. Each line of the table is replayed whole, byte by byte, and cut
 * in two at every place; the trace must be the same each time.
 *
 * The trace: "GET /x 2h" a request with two headers (" len=5", " chunked", " expect" if so),
 * "(hello)" body bytes, "end", "100" the interim answer, "200", "200c" an answer of the handler (c:
 * with Connection: close), "ok" and "cut" done() of a complete and of an incomplete answer,
 * "!400 Code" an answer of the connection's own; at the end the state if it is not read-head. */
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

static void feed_str(struct rig *r, const char *s)
{
    struct slice rest = feed(r, slice_str(s));
    assert_int_equal(rest.len, 0);
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

struct transcript {
    const char *name;
    struct slice in;
    const char *trace;
};

/* Feeds copies of exactly the bytes of each part, so that a sanitizer sees reads behind it. */
static void replay(const struct transcript *t, const size_t *cuts, size_t n_cuts)
{
    struct rig r;
    struct buf waiting = {0};
    rig_init(&r);
    size_t from = 0;
    for (size_t i = 0; i <= n_cuts; i++) {
        size_t to = i < n_cuts ? cuts[i] : t->in.len;
        size_t len = waiting.len + to - from;
        uint8_t *part = malloc(len > 0 ? len : 1);
        assert_non_null(part);
        if (waiting.len > 0) {
            memcpy(part, waiting.ptr, waiting.len);
        }
        if (to > from) {
            memcpy(part + waiting.len, t->in.ptr + from, to - from);
        }
        struct slice rest = feed(&r, slice_of(part, len));
        buf_reset(&waiting);
        assert_int_equal(buf_append(&waiting, rest.ptr, rest.len), 0);
        free(part);
        from = to;
    }
    if (r.conn.state == CONN_READ_HEAD && http_conn_is_idle(&r.conn)) {
        assert_null(r.conn.mem);
        assert_null(r.conn.partial.ptr);
    }
    buf_finish(&waiting);
    assert_trace(&r, t->trace);
    rig_finish(&r);
}

static void transcript_holds(void **state)
{
    const struct transcript *t = *state;
    size_t n = t->in.len;
    size_t *all = malloc(n * sizeof(*all));
    assert_non_null(all);
    replay(t, NULL, 0);
    for (size_t i = 0; i < n; i++) {
        all[i] = i;
        replay(t, &all[i], 1);
    }
    replay(t, all, n);
    free(all);
}

#define H "Host: h\r\n"
#define BAD "!400 BadRequest drain"
#define CHUNKED(target) "PUT " target " HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define T(name_, in_, trace_)                                                                      \
    {                                                                                              \
        .name = name_, .in = {(const uint8_t *)(in_), sizeof(in_) - 1}, .trace = trace_            \
    }

static const struct transcript transcripts[] = {
    /* requests without a body */
    T("a GET is answered and the connection goes on", "GET /x?a=b HTTP/1.1\r\n" H "\r\n",
      "GET /x?a=b 1h end 200 ok"),
    T("a target stays as it was received", "GET //a/../%2F%zz+'(\"<>|~ HTTP/1.1\r\n" H "\r\n",
      "GET //a/../%2F%zz+'(\"<>|~ 1h end 200 ok"),
    T("pipelined requests are answered in order",
      "GET /1 HTTP/1.1\r\n" H "\r\nHEAD /2 HTTP/1.1\r\n" H "\r\nDELETE /3 HTTP/1.1\r\n" H "\r\n",
      "GET /1 1h end 200 ok HEAD /2 1h end 200 ok DELETE /3 1h end 200 ok"),
    T("an answer in request() needs no proceed()",
      "GET /now HTTP/1.1\r\n" H "\r\nPUT /now HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",
      "GET /now 1h 200 ok PUT /now 2h len=0 200 ok"),
    T("empty lines before a request are skipped", "\r\n\r\nGET /x HTTP/1.1\r\n" H "\r\n\r\n",
      "GET /x 1h end 200 ok"),
    T("too many empty lines are refused", "\r\n\r\n\r\nGET /x HTTP/1.1\r\n" H "\r\n", BAD),
    T("nothing is parsed behind Connection: close",
      "GET /1 HTTP/1.1\r\n" H "Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n" H "\r\n",
      "GET /1 2h end 200c ok drain"),
    T("Connection is a list without regard to case",
      "GET /1 HTTP/1.1\r\n" H "Connection: TE, Close\r\n\r\n", "GET /1 2h end 200c ok drain"),
    T("the handler can end the connection", "GET /bye HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n",
      "GET /bye 1h end 200c ok drain"),
    T("HTTP/1.0 is not kept alive unless asked for",
      "GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n", "GET /1 0h end 200c ok drain"),
    T("HTTP/1.0 is kept alive when asked for",
      "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
      "GET /1 1h end 200 ok GET /2 0h end 200c ok drain"),
    T("OPTIONS may have the target *", "OPTIONS * HTTP/1.1\r\n" H "\r\n",
      "OPTIONS * 1h end 200 ok"),
    T("an absolute target of our host is cut down to its path",
      "GET http://H:80/a?b HTTP/1.1\r\nHost: h:80\r\n\r\nGET HTTP://h HTTP/1.1\r\n" H "\r\n",
      "GET /a?b 1h end 200 ok GET / 1h end 200 ok"),
    T("an absolute target of another host is refused", "GET http://i/a HTTP/1.1\r\n" H "\r\n", BAD),
    T("Upgrade is ignored",
      "GET /1 HTTP/1.1\r\n" H "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
      "GET /2 HTTP/1.1\r\n" H "\r\n",
      "GET /1 3h end 200 ok GET /2 1h end 200 ok"),
    T("headers may be empty, repeated and hold bytes above 127",
      "GET /1 HTTP/1.1\r\nHost:h\r\na:\r\na: \t \r\nb: \xc3\xa4 \"x\"\t y \r\n\r\n",
      "GET /1 4h end 200 ok"),

    /* bodies */
    T("a body of known length is delivered",
      "PUT /x HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhelloGET /y HTTP/1.1\r\n" H "\r\n",
      "PUT /x 2h len=5 (hello) end 200 ok GET /y 1h end 200 ok"),
    T("a body that looks like a request is none",
      "PUT /x HTTP/1.1\r\n" H "Content-Length: 19\r\n\r\nGET /y HTTP/1.1\r\n\r\n",
      "PUT /x 2h len=19 (GET /y HTTP/1.1\r\n\r\n) end 200 ok"),
    T("a GET may have a body", "GET /x HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab",
      "GET /x 2h len=2 (ab) end 200 ok"),
    T("a chunked body is delivered without its framing",
      CHUNKED("/x") "5\r\nhello\r\n00a;ext=\"v\"\r\n, world   \r\n0\r\n\r\nGET /y HTTP/1.1\r\n" H
                    "\r\n",
      "PUT /x 2h chunked (hello, world   ) end 200 ok GET /y 1h end 200 ok"),
    T("trailers are read and ignored",
      CHUNKED("/x") "1\r\na\r\n0\r\nX-A: b\r\nContent-Length: 9\r\n\r\n"
                    "GET /y HTTP/1.1\r\n" H "\r\n",
      "PUT /x 2h chunked (a) end 200 ok GET /y 1h end 200 ok"),
    T("an empty chunked body is a body", CHUNKED("/x") "0\r\n\r\n", "PUT /x 2h chunked end 200 ok"),
    T("chunked is written in any case",
      "PUT /x HTTP/1.1\r\n" H "transfer-encoding:\tChunked \r\n\r\n1\r\na\r\n0\r\n\r\n",
      "PUT /x 2h chunked (a) end 200 ok"),
    T("100 Continue is sent when the body is wanted",
      "PUT /x HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nab",
      "PUT /x 3h len=2 expect 100 (ab) end 200 ok"),
    T("100 Continue is sent for an empty body, too",
      "PUT /x HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
      "PUT /x 3h len=0 expect 100 end 200 ok"),
    T("HTTP/1.0 gets no 100 Continue",
      "PUT /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
      "PUT /x 2h len=1 (a) end 200c ok drain"),
    T("a refused body is answered with close and thrown away",
      "PUT /now HTTP/1.1\r\n" H
      "Expect: 100-continue\r\nContent-Length: 9\r\n\r\nGET /y HTTP/1.1\r\n",
      "PUT /now 3h len=9 expect 200c ok drain"),
    T("an answer before the body's end closes",
      "PUT /mid HTTP/1.1\r\n" H "Content-Length: 99\r\n\r\n"
      "abcGET /y HTTP/1.1\r\n" H "\r\n",
      "PUT /mid 2h len=99 200c ok drain"),
    T("an answer to the body's last byte keeps the connection",
      "PUT /mid HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\naGET /y HTTP/1.1\r\n" H "\r\n",
      "PUT /mid 2h len=1 200 ok GET /y 1h end 200 ok"),
    T("a body that does not end stays open", "PUT /x HTTP/1.1\r\n" H "Content-Length: 9\r\n\r\nabc",
      "PUT /x 2h len=9 (abc) read-body"),

    /* what must be refused */
    T("HTTP/0.9 is refused", "GET /\r\n", BAD),
    T("HTTP/2 is refused", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "!505 HTTPVersionNotSupported drain"),
    T("HTTP/1.2 is refused", "GET / HTTP/1.2\r\n", "!505 HTTPVersionNotSupported drain"),
    T("a version that is none is refused", "GET / HTTP/1.10\r\n", BAD),
    T("a version in lower case is refused", "GET / http/1.1\r\n", BAD),
    T("two spaces before the version are refused", "GET /  HTTP/1.1\r\n", BAD),
    T("a space behind the version is refused", "GET / HTTP/1.1 \r\n", BAD),
    T("a tab in the request line is refused", "GET\t/ HTTP/1.1\r\n", BAD),
    T("an empty target is refused", "GET  HTTP/1.1\r\n", BAD),
    T("a target that is no path is refused", "GET x HTTP/1.1\r\n", BAD),
    T("* is refused but for OPTIONS", "GET * HTTP/1.1\r\n", BAD),
    T("a fragment is refused", "GET /#a HTTP/1.1\r\n", BAD),
    T("raw bytes above 127 in a target are refused", "GET /\xc3\xa4 HTTP/1.1\r\n", BAD),
    T("a NUL in a target is refused", "GET /a\0b HTTP/1.1\r\n", BAD),
    T("TLS is refused at its first byte", "\x16\x03\x01\x02", BAD),
    T("an unknown method is not implemented", "PATCH / HTTP/1.1\r\n", "!501 NotImplemented drain"),
    T("a method of no standard is not implemented", "X!~ / HTTP/1.1\r\n",
      "!501 NotImplemented drain"),
    T("methods are written in upper case", "get / HTTP/1.1\r\n", "!501 NotImplemented drain"),
    T("CONNECT is not allowed", "CONNECT h:443 HTTP/1.1\r\n", "!405 MethodNotAllowed drain"),
    T("HTTP/1.1 without Host is refused", "GET / HTTP/1.1\r\nA: b\r\n\r\n", BAD),
    T("two Hosts are refused", "GET / HTTP/1.1\r\n" H H "\r\n", BAD),
    T("two Hosts are refused in HTTP/1.0", "GET / HTTP/1.0\r\n" H "host: h\r\n\r\n", BAD),
    T("a Host with a path is refused", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", BAD),
    T("a Host with a space is refused", "GET / HTTP/1.1\r\nHost: h x\r\n\r\n", BAD),
    T("a folded header is refused", "GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", BAD),
    T("a header that begins with a tab is refused", "GET / HTTP/1.1\r\n\tA: b\r\n" H "\r\n", BAD),
    T("a space before the colon is refused", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", BAD),
    T("a header without colon is refused", "GET / HTTP/1.1\r\n" H "A\r\n\r\n", BAD),
    T("a header without name is refused", "GET / HTTP/1.1\r\n" H ": a\r\n\r\n", BAD),
    T("a header name with a bracket is refused", "GET / HTTP/1.1\r\n" H "A(: a\r\n\r\n", BAD),
    T("a line feed alone is refused", "GET / HTTP/1.1\n" H "\r\n", BAD),
    T("a line feed alone in the headers is refused", "GET / HTTP/1.1\r\nA: b\n" H "\r\n", BAD),
    T("a line feed alone at the end is refused", "GET / HTTP/1.1\r\n" H "\n", BAD),
    T("a carriage return alone is refused", "GET / HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n", BAD),
    T("two carriage returns are refused", "GET / HTTP/1.1\r\n" H "A: b\r\r\n\r\n", BAD),
    T("a NUL in a header is refused", "GET / HTTP/1.1\r\n" H "A: \0\r\n\r\n", BAD),
    T("Content-Length and Transfer-Encoding together are refused",
      "PUT / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
    T("Transfer-Encoding and Content-Length together are refused",
      "PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", BAD),
    T("two lengths are refused, be they equal",
      "PUT / HTTP/1.1\r\n" H "Content-Length: 1\r\ncontent-length: 1\r\n\r\n", BAD),
    T("a list of lengths is refused", "PUT / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\n", BAD),
    T("a signed length is refused", "PUT / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n", BAD),
    T("a negative length is refused", "PUT / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", BAD),
    T("an empty length is refused", "PUT / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", BAD),
    T("a hexadecimal length is refused", "PUT / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\n", BAD),
    T("a length above 2^63 is refused",
      "PUT / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n", BAD),
    T("an unknown transfer coding is refused",
      "PUT / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", BAD),
    T("chunked on top of another coding is refused",
      "PUT / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", BAD),
    T("two Transfer-Encodings are refused",
      "PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", BAD),
    T("an invented transfer coding is refused",
      "PUT / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", BAD),
    T("chunked is refused in HTTP/1.0", "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
      BAD),
    T("a chunk without size is refused", CHUNKED("/x") ";a\r\n", "PUT /x 2h chunked cut " BAD),
    T("a chunk's size is hexadecimal", CHUNKED("/x") "5g\r\n", "PUT /x 2h chunked cut " BAD),
    T("a sign in a chunk's size is refused", CHUNKED("/x") "-1\r\n", "PUT /x 2h chunked cut " BAD),
    T("0x in a chunk's size is refused", CHUNKED("/x") "0x1\r\n", "PUT /x 2h chunked cut " BAD),
    T("a space behind a chunk's size is refused", CHUNKED("/x") "1 \r\na\r\n",
      "PUT /x 2h chunked cut " BAD),
    T("a chunk's size that overflows is refused", CHUNKED("/x") "0000000000000001\r\n",
      "PUT /x 2h chunked cut " BAD),
    T("a chunk's size ends in CRLF", CHUNKED("/x") "1\na\r\n", "PUT /x 2h chunked cut " BAD),
    T("a chunk's extension ends in CRLF", CHUNKED("/x") "1;a\na\r\n", "PUT /x 2h chunked cut " BAD),
    T("a carriage return in an extension is refused", CHUNKED("/x") "1;a\rb\r\n",
      "PUT /x 2h chunked cut " BAD),
    T("a chunk longer than its size is refused", CHUNKED("/x") "1\r\nab\r\n",
      "PUT /x 2h chunked (a) cut " BAD),
    T("a chunk's data ends in CRLF", CHUNKED("/x") "1\r\na\n0\r\n\r\n",
      "PUT /x 2h chunked (a) cut " BAD),
    T("a trailer ends in CRLF", CHUNKED("/x") "0\r\nA: b\n\r\n", "PUT /x 2h chunked cut " BAD),
    T("a trailer without colon is refused", CHUNKED("/x") "0\r\nGET / HTTP/1.1\r\n\r\n",
      "PUT /x 2h chunked cut " BAD),
    T("a folded trailer is refused", CHUNKED("/x") "0\r\nA: b\r\n c\r\n\r\n",
      "PUT /x 2h chunked cut " BAD),
    T("a refused HEAD gets no body", "HEAD / HTTP/1.1\r\nA: b\r\n\r\n", "!400  drain"),
    T("only the request's own method counts for that", "HEAD /now HTTP/1.1\r\n" H "\r\n\x01",
      "HEAD /now 1h 200 ok " BAD),
};
#define N_TRANSCRIPTS (sizeof(transcripts) / sizeof(transcripts[0]))

/* ---- what does not fit into the table ---- */

static void append_many(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_text(b, s);
    }
}

static void assert_verdict(const struct buf *in, size_t step, const char *expected)
{
    struct rig r;
    rig_init(&r);
    for (size_t i = 0; i < in->len; i += step) {
        size_t n = in->len - i < step ? in->len - i : step;
        assert_int_equal(feed(&r, slice_of(in->ptr + i, n)).len, 0);
    }
    assert_trace(&r, expected);
    rig_finish(&r);
}

static void a_head_of_the_limit_passes_and_one_byte_more_does_not(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf in = {0};
        put_text(&in, "GET /x HTTP/1.1\r\n" H "A: ");
        append_many(&in, "a", HTTP_HEAD_MAX + extra - in.len - 4);
        put_text(&in, "\r\n\r\n");
        assert_int_equal(in.len, HTTP_HEAD_MAX + extra);
        const char *expected =
            extra == 0 ? "GET /x 2h end 200 ok" : "!400 RequestHeaderSectionTooLarge drain";
        assert_verdict(&in, in.len, expected);
        assert_verdict(&in, 1, expected);
        assert_verdict(&in, 1000, expected);
        buf_finish(&in);
    }
}

static void a_request_line_without_end_is_refused_at_the_limit(void **state)
{
    struct buf in = {0};
    (void)state;
    put_text(&in, "GET /");
    append_many(&in, "a", HTTP_HEAD_MAX - in.len - 1);
    assert_verdict(&in, 777, "");
    put_text(&in, "a");
    assert_verdict(&in, 777, "!400 RequestHeaderSectionTooLarge drain");
    buf_finish(&in);
}

static void a_hundred_headers_pass_and_one_more_does_not(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf in = {0};
        put_text(&in, "GET /x HTTP/1.1\r\n" H);
        append_many(&in, "a: b\r\n", HTTP_HEADERS_MAX - 1 + extra);
        put_text(&in, "\r\n");
        const char *expected =
            extra == 0 ? "GET /x 100h end 200 ok" : "!400 RequestHeaderSectionTooLarge drain";
        assert_verdict(&in, in.len, expected);
        assert_verdict(&in, 1, expected);
        buf_finish(&in);
    }
}

static void a_chunk_extension_is_bounded(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf in = {0};
        put_text(&in, CHUNKED("/x") "1;");
        append_many(&in, "e", HTTP_CHUNK_EXT_MAX - 1 + extra);
        put_text(&in, "\r\na\r\n0\r\n\r\n");
        const char *expected =
            extra == 0 ? "PUT /x 2h chunked (a) end 200 ok" : "PUT /x 2h chunked cut " BAD;
        assert_verdict(&in, in.len, expected);
        assert_verdict(&in, 1, expected);
        buf_finish(&in);
    }
}

static void trailers_are_bounded(void **state)
{
    struct buf in = {0};
    (void)state;
    put_text(&in, CHUNKED("/x") "0\r\n");
    append_many(&in, "a: b\r\n", HTTP_TRAILER_MAX / 5 + 1);
    assert_verdict(&in, in.len, "PUT /x 2h chunked cut " BAD);
    assert_verdict(&in, 1, "PUT /x 2h chunked cut " BAD);
    buf_finish(&in);
}

static void every_printable_byte_but_the_hash_may_stand_in_a_target(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char in[64], expected[64];
        bool good = c > 0x20 && c < 0x7f && c != '#';
        int n = snprintf(in, sizeof(in), "GET /a%cb?%c HTTP/1.1\r\n" H "\r\n", c, c);
        (void)snprintf(expected, sizeof(expected), "GET /a%cb?%c 1h end 200 ok", c, c);
        struct buf b = {.ptr = (uint8_t *)in, .len = (size_t)n};
        assert_verdict(&b, b.len, good ? expected : BAD);
    }
}

static void control_bytes_are_refused_in_header_values(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char in[64];
        bool good = c == '\t' || (c >= 0x20 && c != 0x7f);
        int n = snprintf(in, sizeof(in), "GET /x HTTP/1.1\r\n" H "A: x%cy\r\n\r\n", c);
        struct buf b = {.ptr = (uint8_t *)in, .len = (size_t)n};
        assert_verdict(&b, b.len, good ? "GET /x 2h end 200 ok" : BAD);
    }
}

static void only_token_bytes_are_taken_in_header_names(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char in[64];
        bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    strchr("!#$%&'*+-.^_`|~:", c) != NULL;
        int n = snprintf(in, sizeof(in), "GET /x HTTP/1.1\r\n" H "A%cb: y\r\n\r\n", c);
        struct buf b = {.ptr = (uint8_t *)in, .len = (size_t)n};
        assert_verdict(&b, b.len, good ? "GET /x 2h end 200 ok" : BAD);
    }
}

/* The out buffer without its Date line, which must be there once. */
static const char *out_without_date(struct rig *r)
{
    assert_int_equal(buf_append(&r->out, "", 1), 0);
    char *date = strstr((char *)r->out.ptr, "Date: ");
    assert_non_null(date);
    char *next = strstr(date, "\r\n") + 2;
    assert_int_equal(next - date, 6 + TIME_HTTP_LEN + 2);
    memmove(date, next, strlen(next) + 1);
    return (const char *)r->out.ptr;
}

static void assert_answer(const char *in, const struct http_response *response,
                          const char *expected)
{
    struct rig r;
    rig_init(&r);
    r.response = response;
    feed_str(&r, in);
    assert_string_equal(out_without_date(&r), expected);
    rig_finish(&r);
}

#define GET_X "GET /x HTTP/1.1\r\n" H "\r\n"
#define SERVER "Server: zipkvserver\r\n"

static void an_answer_has_status_server_length_and_the_given_headers(void **state)
{
    const struct http_header headers[] = {
        {SLICE_LIT("ETag"), SLICE_LIT("\"e\"")},
        {SLICE_LIT("x-evil"), SLICE_LIT("a\r\nInjected: b")},
        {SLICE_LIT("x-nul"), SLICE_LIT("a\0b")},
        {SLICE_LIT("x\nname"), SLICE_LIT("a")},
        {SLICE_LIT("x-empty"), SLICE_LIT("")},
    };
    const struct http_response r = {.status = 404,
                                    .headers = headers,
                                    .n_headers = 5,
                                    .length = 12345,
                                    .body = SLICE_LIT("first part")};
    (void)state;
    assert_answer(GET_X, &r,
                  "HTTP/1.1 404 Not Found\r\n" SERVER
                  "Content-Length: 12345\r\nETag: \"e\"\r\nx-empty: \r\n\r\nfirst part");
}

static void answers_to_head_have_the_length_and_no_body(void **state)
{
    const struct http_response r = {.status = 200, .length = 7, .body = SLICE_LIT("ignored")};
    (void)state;
    assert_answer("HEAD /x HTTP/1.1\r\n" H "\r\n", &r,
                  "HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 7\r\n\r\n");
}

static void answers_204_and_304_have_neither_length_nor_body(void **state)
{
    const struct http_response none = {.status = 204, .length = 3, .body = SLICE_LIT("abc")};
    const struct http_response same = {.status = 304, .no_length = true, .length = 3};
    (void)state;
    assert_answer(GET_X, &none, "HTTP/1.1 204 No Content\r\n" SERVER "\r\n");
    assert_answer(GET_X, &same, "HTTP/1.1 304 Not Modified\r\n" SERVER "\r\n");
}

static void a_status_line_has_three_parts_even_for_unknown_codes(void **state)
{
    const struct http_response r = {.status = 499};
    (void)state;
    assert_answer(GET_X, &r, "HTTP/1.1 499 Error\r\n" SERVER "Content-Length: 0\r\n\r\n");
}

static void http_1_0_is_told_that_it_is_kept_alive(void **state)
{
    const struct http_response r = {.status = 200};
    (void)state;
    assert_answer("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &r,
                  "HTTP/1.1 200 OK\r\n" SERVER
                  "Connection: keep-alive\r\nContent-Length: 0\r\n\r\n");
}

static void a_refusal_is_an_xml_error_and_names_allowed_methods(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "CONNECT h:1 HTTP/1.1\r\n");
    assert_string_equal(
        out_without_date(&r),
        "HTTP/1.1 405 Method Not Allowed\r\n" SERVER
        "Connection: close\r\nContent-Length: 150\r\nContent-Type: application/xml\r\n"
        "Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n\r\n"
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>MethodNotAllowed</Code>"
        "<Message>The method is not allowed against this resource.</Message></Error>");
    rig_finish(&r);
}

static void nothing_is_read_before_proceed_and_while_paused(void **state)
{
    struct rig r;
    struct slice in = SLICE_LIT("PUT /hold HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nabcdGET");
    (void)state;
    rig_init(&r);
    in = feed(&r, in);
    assert_int_equal(in.len, 7);
    assert_false(http_conn_wants_input(&r.conn));
    http_conn_pause(&r.conn);
    go_on(&r);
    in = feed(&r, in);
    assert_int_equal(in.len, 7);
    assert_false(http_conn_wants_input(&r.conn));
    http_conn_resume(&r.conn);
    assert_true(http_conn_wants_input(&r.conn));
    assert_int_equal(http_conn_body_left(&r.conn), 4);
    in = feed(&r, slice_of(in.ptr, 2));
    assert_int_equal(in.len, 0);
    assert_int_equal(http_conn_body_left(&r.conn), 2);
    assert_trace(&r, "PUT /hold 2h len=4 (ab) read-body");
    rig_finish(&r);
}

static void end_waits_for_proceed_without_a_body_too(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "PUT /hold HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(r.conn.state, CONN_READ_BODY);
    go_on(&r);
    feed_str(&r, "");
    assert_trace(&r, "PUT /hold 3h len=0 expect 100 end 200 ok");
    rig_finish(&r);
}

static void a_streamed_answer_ends_with_its_last_announced_byte(void **state)
{
    const struct http_response response = {.status = 200, .length = 10, .body = SLICE_LIT("abc")};
    struct rig r;
    (void)state;
    rig_init(&r);
    r.response = &response;
    feed_str(&r, GET_X);
    assert_int_equal(r.conn.state, CONN_WRITE);
    assert_false(http_conn_answered(&r.conn));
    assert_int_equal(http_conn_count_send(&r.conn, 8), ZERR_INVALID);
    assert_int_equal(http_conn_count_send(&r.conn, 6), 0);
    assert_false(http_conn_answered(&r.conn));
    assert_int_equal(http_conn_count_send(&r.conn, 1), 0);
    assert_true(http_conn_answered(&r.conn));
    http_conn_written(&r.conn);
    assert_trace(&r, "GET /x 1h end 200 ok");
    rig_finish(&r);
}

static void a_second_answer_to_one_request_is_an_error(void **state)
{
    const struct http_response response = {.status = 200, .length = 10};
    struct http_out out;
    struct rig r;
    (void)state;
    rig_init(&r);
    r.response = &response;
    feed_str(&r, GET_X);
    assert_int_equal(http_conn_respond(&r.conn, &response, &out), ZERR_INVALID);
    rig_finish(&r);
}

static void a_connection_cut_in_a_request_tells_the_handler_once(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "PUT /x HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab");
    http_conn_finish(&r.conn);
    http_conn_finish(&r.conn);
    assert_trace(&r, "PUT /x 2h len=4 (ab) cut done");
    rig_finish(&r);
}

static void a_time_out_is_answered_with_408(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "GET /x HT");
    http_conn_fail(&r.conn, HTTP_ERR_TIMEOUT);
    feed_str(&r, "TP/1.1\r\n");
    assert_trace(&r, "!408 RequestTimeout drain");
    rig_finish(&r);
    rig_init(&r);
    feed_str(&r, "PUT /x HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab");
    http_conn_fail(&r.conn, HTTP_ERR_TIMEOUT);
    feed_str(&r, "cd");
    assert_trace(&r, "PUT /x 2h len=4 (ab) cut !408 RequestTimeout drain");
    rig_finish(&r);
}

static void the_answer_after_close_soon_is_the_last(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, GET_X);
    http_conn_close_soon(&r.conn);
    feed_str(&r, GET_X GET_X);
    assert_trace(&r, "GET /x 1h end 200 ok GET /x 1h end 200c ok drain");
    rig_finish(&r);
}

static void headers_are_found_without_regard_to_case(void **state)
{
    const struct http_header headers[] = {
        {SLICE_LIT("X-Amz-Meta-A"), SLICE_LIT("1")},
        {SLICE_LIT("x-amz-meta-a"), SLICE_LIT("2")},
    };
    const struct http_request req = {.headers = headers, .n_headers = 2};
    (void)state;
    assert_ptr_equal(http_request_header(&req, "x-AMZ-meta-a"), &headers[0].value);
    assert_null(http_request_header(&req, "x-amz-meta"));
    assert_null(http_request_header(&req, "x-amz-meta-ab"));
}

int main(void)
{
    const struct CMUnitTest single[] = {
        cmocka_unit_test(a_head_of_the_limit_passes_and_one_byte_more_does_not),
        cmocka_unit_test(a_request_line_without_end_is_refused_at_the_limit),
        cmocka_unit_test(a_hundred_headers_pass_and_one_more_does_not),
        cmocka_unit_test(a_chunk_extension_is_bounded),
        cmocka_unit_test(trailers_are_bounded),
        cmocka_unit_test(every_printable_byte_but_the_hash_may_stand_in_a_target),
        cmocka_unit_test(control_bytes_are_refused_in_header_values),
        cmocka_unit_test(only_token_bytes_are_taken_in_header_names),
        cmocka_unit_test(an_answer_has_status_server_length_and_the_given_headers),
        cmocka_unit_test(answers_to_head_have_the_length_and_no_body),
        cmocka_unit_test(answers_204_and_304_have_neither_length_nor_body),
        cmocka_unit_test(a_status_line_has_three_parts_even_for_unknown_codes),
        cmocka_unit_test(http_1_0_is_told_that_it_is_kept_alive),
        cmocka_unit_test(a_refusal_is_an_xml_error_and_names_allowed_methods),
        cmocka_unit_test(nothing_is_read_before_proceed_and_while_paused),
        cmocka_unit_test(end_waits_for_proceed_without_a_body_too),
        cmocka_unit_test(a_streamed_answer_ends_with_its_last_announced_byte),
        cmocka_unit_test(a_second_answer_to_one_request_is_an_error),
        cmocka_unit_test(a_connection_cut_in_a_request_tells_the_handler_once),
        cmocka_unit_test(a_time_out_is_answered_with_408),
        cmocka_unit_test(the_answer_after_close_soon_is_the_last),
        cmocka_unit_test(headers_are_found_without_regard_to_case),
    };
    struct CMUnitTest table[N_TRANSCRIPTS];
    for (size_t i = 0; i < N_TRANSCRIPTS; i++) {
        table[i] =
            (struct CMUnitTest)cmocka_unit_test_prestate(transcript_holds, (void *)&transcripts[i]);
        table[i].name = transcripts[i].name;
    }
    int failed = cmocka_run_group_tests_name("transcripts", table, NULL, NULL);
    return failed + cmocka_run_group_tests_name("one by one", single, NULL, NULL);
}
