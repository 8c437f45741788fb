/* The states of a connection.
 *
 *   READ_HEAD --> READ_BODY --> HANDLE --> WRITE --> READ_HEAD    (keep-alive)
 *       |             |  |                 ^  |
 *       |             |  `-----------------'  |
 *       `-------------`--> DRAIN <------------'     and from each of them to DONE
 *
 * READ_HEAD  Between two requests, or in the middle of a head. `partial` and `scan` hold what has
 *            come of it; nothing else is valid. Input is wanted. The owner's clock: idle while
 *            http_conn_is_idle(), head from the first byte on.
 * READ_BODY  The handler has the request (open, req and mem are valid until done). Input is
 *            wanted once it has said proceed(), and not while it is paused. Clock: body.
 * HANDLE     end() was called, the answer is awaited. No input: what a client sends ahead stays
 *            where it is. No clock, the handler has its own.
 * WRITE      respond() was called and the request has been read to its end. No input. Clock: the
 *            client must take the answer's bytes.
 * DRAIN      The connection's last answer is on its way or out, and input is thrown away, so that
 *            the client can read the answer before the connection goes: an early answer (respond()
 *            before the body's end), the error answers made here, the end of keep-alive. Clock: as
 *            in WRITE, then linger.
 * DONE       Nothing is read or answered any more.
 *
 * Transitions: READ_HEAD -> READ_BODY begin_request(); READ_BODY -> HANDLE end_body();
 * READ_BODY -> WRITE, HANDLE -> WRITE and READ_BODY -> DRAIN http_conn_respond();
 * READ_HEAD, READ_BODY, HANDLE -> DRAIN http_conn_fail(); WRITE -> READ_HEAD or DRAIN
 * http_conn_written(); any -> DONE http_conn_finish(), and fail() without memory for an answer.
 *
 * Heads are collected whole before llhttp sees them: http_scan.c finds their end and refuses
 * what llhttp does not; then one copy goes into the request's arena and all slices point into it.
 * Content-Length, Transfer-Encoding, Host and Connection are judged here by the headers themselves,
 * so that llhttp's own opinion can only refuse more. It never sees bodies. */
#include "http/http_conn.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include <llhttp.h>

#include "base/log.h"
#include "base/num.h"
#include "http/http_limits.h"

static const char *const state_names[] = {
    [CONN_READ_HEAD] = "read-head", [CONN_READ_BODY] = "read-body", [CONN_HANDLE] = "handle",
    [CONN_WRITE] = "write",         [CONN_DRAIN] = "drain",         [CONN_DONE] = "done",
};

#define BIT(state) (1u << (state))
static const unsigned legal_next[] = {
    [CONN_READ_HEAD] = BIT(CONN_READ_BODY) | BIT(CONN_DRAIN) | BIT(CONN_DONE),
    [CONN_READ_BODY] = BIT(CONN_HANDLE) | BIT(CONN_WRITE) | BIT(CONN_DRAIN) | BIT(CONN_DONE),
    [CONN_HANDLE] = BIT(CONN_WRITE) | BIT(CONN_DRAIN) | BIT(CONN_DONE),
    [CONN_WRITE] = BIT(CONN_READ_HEAD) | BIT(CONN_DRAIN) | BIT(CONN_DONE),
    [CONN_DRAIN] = BIT(CONN_DONE),
    [CONN_DONE] = BIT(CONN_DONE),
};
#undef BIT

const char *http_conn_state_name(enum http_conn_state state)
{
    return state_names[state];
}

static void set_state(struct http_conn *c, enum http_conn_state next)
{
    assert(next <= CONN_DONE && (legal_next[c->state] & (1u << next)) != 0);
    c->state = next;
}

/* ---- memory ---- */

static struct http_arena *pool_take(struct http_pool *pool)
{
    struct http_arena *mem = pool->free_list;
    if (mem == NULL) {
        return calloc(1, sizeof(*mem));
    }
    pool->free_list = mem->next;
    pool->n_free--;
    return mem;
}

static void pool_give(struct http_pool *pool, struct http_arena *mem)
{
    if (pool->n_free >= HTTP_KEEP_ARENAS) {
        arena_finish(&mem->arena);
        free(mem);
        return;
    }
    arena_reset(&mem->arena);
    mem->next = pool->free_list;
    pool->free_list = mem;
    pool->n_free++;
}

void http_pool_finish(struct http_pool *pool)
{
    while (pool->free_list != NULL) {
        struct http_arena *mem = pool->free_list;
        pool->free_list = mem->next;
        arena_finish(&mem->arena);
        free(mem);
    }
    pool->n_free = 0;
}

/* What the request or reply had. */
static void drop_memory(struct http_conn *c)
{
    if (c->mem != NULL) {
        pool_give(c->pool, c->mem);
        c->mem = NULL;
    }
}

static void call_done(struct http_conn *c, bool complete)
{
    if (c->open) {
        c->open = false;
        c->handler->done(c->handler, c->stream, complete);
    }
}

/* ---- life cycle ---- */

void http_conn_init(struct http_conn *c, struct http_pool *pool, struct http_handler *handler,
                    struct http_stream *stream)
{
    *c = (struct http_conn){
        .state = CONN_READ_HEAD, .pool = pool, .handler = handler, .stream = stream};
}

void http_conn_finish(struct http_conn *c)
{
    set_state(c, CONN_DONE);
    call_done(c, false);
    drop_memory(c);
    buf_finish(&c->partial);
}

void http_conn_fail(struct http_conn *c, enum http_error e)
{
    assert(!c->responded);
    bool to_head = c->scan.method_known && c->scan.method == HTTP_METHOD_HEAD;
    set_state(c, CONN_DRAIN);
    c->responded = true;
    c->keep_alive = false;
    c->answer_left = 0;
    call_done(c, false);
    drop_memory(c);
    buf_finish(&c->partial);
    c->mem = pool_take(c->pool);
    c->status = http_error_status(e);
    if (c->mem == NULL ||
        http_head_error(&c->mem->arena, e, to_head, http_date_now(&c->pool->date), &c->reply) < 0) {
        drop_memory(c);
        set_state(c, CONN_DONE);
    }
}

bool http_conn_take_reply(struct http_conn *c, struct slice *ret)
{
    if (c->reply.len == 0) {
        return false;
    }
    *ret = c->reply;
    c->reply = slice_of(NULL, 0);
    return true;
}

/* ---- heads ---- */

struct header_list {
    struct http_header *headers;
    size_t n, cap;
};

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct header_list *list = parser->data;
    if (list->n == list->cap) {
        return HPE_USER;
    }
    list->headers[list->n++] = (struct http_header){.name = slice_of(at, len)};
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct header_list *list = parser->data;
    if (list->n == 0 || list->headers[list->n - 1].value.len > 0) {
        return HPE_USER;
    }
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t')) {
        len--;
    }
    list->headers[list->n - 1].value = slice_of(at, len);
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

/* Takes the headers apart, which lie in `head`. False: llhttp finds fault with it. */
static bool split_head(struct http_conn *c, struct slice head, struct header_list *list)
{
    llhttp_settings_t settings;
    llhttp_t parser;
    llhttp_settings_init(&settings);
    settings.on_header_field = on_field;
    settings.on_header_value = on_value;
    settings.on_headers_complete = on_headers_complete;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = list;
    if (llhttp_execute(&parser, (const char *)head.ptr, head.len) != HPE_PAUSED) {
        return false;
    }
    return list->n == c->scan.n_headers;
}

static bool equal_nocase(struct slice s, const char *lit)
{
    size_t len = strlen(lit);
    return s.len == len && strncasecmp((const char *)s.ptr, lit, len) == 0;
}

/* The only header of that name. False: there is more than one; NULL in *ret: there is none. */
static bool single_header(const struct http_request *r, const char *name, const struct slice **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < r->n_headers; i++) {
        if (equal_nocase(r->headers[i].name, name)) {
            if (*ret != NULL) {
                return false;
            }
            *ret = &r->headers[i].value;
        }
    }
    return true;
}

/* One of the words of a list, as in Connection. */
static bool list_has(struct slice list, const char *word)
{
    while (list.len > 0) {
        const uint8_t *comma = memchr(list.ptr, ',', list.len);
        size_t n = comma != NULL ? (size_t)(comma - list.ptr) : list.len;
        struct slice item = slice_of(list.ptr, n);
        while (item.len > 0 && (item.ptr[0] == ' ' || item.ptr[0] == '\t')) {
            item = slice_of(item.ptr + 1, item.len - 1);
        }
        while (item.len > 0 && (item.ptr[item.len - 1] == ' ' || item.ptr[item.len - 1] == '\t')) {
            item.len--;
        }
        if (equal_nocase(item, word)) {
            return true;
        }
        n += comma != NULL ? 1 : 0;
        list = slice_of(list.ptr + n, list.len - n);
    }
    return false;
}

static bool wants_keep_alive(const struct http_conn *c)
{
    bool close = false, keep = false;
    for (size_t i = 0; i < c->req.n_headers; i++) {
        const struct http_header *h = &c->req.headers[i];
        if (equal_nocase(h->name, "Connection")) {
            close = close || list_has(h->value, "close");
            keep = keep || list_has(h->value, "keep-alive");
        }
    }
    return !close && (keep || !c->scan.is_1_0);
}

/* How long the body is. False: not clear, or clear in two ways. */
static bool judge_framing(struct http_conn *c)
{
    struct http_request *r = &c->req;
    const struct slice *length, *coding;
    if (!single_header(r, "Content-Length", &length) ||
        !single_header(r, "Transfer-Encoding", &coding) || (length != NULL && coding != NULL)) {
        return false;
    }
    if (coding != NULL) {
        r->chunked = true;
        return !c->scan.is_1_0 && equal_nocase(*coding, "chunked");
    }
    r->has_length = length != NULL;
    return length == NULL || num_parse_u64(*length, INT64_MAX, &r->length) == 0;
}

/* A name or an address, and a port. */
static bool is_host(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && (c == '\0' || strchr("-._~:[]", c) == NULL)) {
            return false;
        }
    }
    return s.len > 0;
}

/* One Host in 1.1. A target in absolute form is cut down to path and query; its authority must
 * be what Host says. */
static bool judge_host(struct http_conn *c)
{
    struct http_request *r = &c->req;
    const struct slice *host;
    if (!single_header(r, "Host", &host) || (host == NULL && !c->scan.is_1_0)) {
        return false;
    }
    if (host != NULL && !is_host(*host)) {
        return false;
    }
    if (r->target.ptr[0] == '/' || r->target.len == 1) {
        return true;
    }
    struct slice rest = slice_of(r->target.ptr + 7, r->target.len - 7);
    const uint8_t *slash = memchr(rest.ptr, '/', rest.len);
    size_t n = slash != NULL ? (size_t)(slash - rest.ptr) : rest.len;
    if (host == NULL || host->len != n || n == 0 ||
        strncasecmp((const char *)host->ptr, (const char *)rest.ptr, n) != 0) {
        return false;
    }
    r->target = slash != NULL ? slice_of(slash, rest.len - n) : SLICE_LIT("/");
    return true;
}

static void begin_request(struct http_conn *c, struct slice head)
{
    c->mem = pool_take(c->pool);
    if (c->mem == NULL) {
        http_conn_fail(c, HTTP_ERR_NO_MEMORY);
        return;
    }
    struct arena *a = &c->mem->arena;
    struct slice copy = arena_dup(a, head);
    size_t n = c->scan.n_headers;
    struct header_list list = {.cap = n,
                               .headers = arena_alloc(a, (n + 1) * sizeof(*list.headers))};
    buf_finish(&c->partial);
    if (copy.ptr == NULL || list.headers == NULL) {
        http_conn_fail(c, HTTP_ERR_NO_MEMORY);
        return;
    }
    bool good = split_head(c, copy, &list);
    c->req = (struct http_request){
        .method = c->scan.method,
        .target = slice_of(copy.ptr + c->scan.target_off, c->scan.target_len),
        .headers = list.headers,
        .n_headers = list.n,
        .arena = a,
    };
    if (!good || !judge_framing(c) || !judge_host(c)) {
        http_conn_fail(c, HTTP_ERR_BAD_REQUEST);
        return;
    }
    c->keep_alive = wants_keep_alive(c) && !c->close_soon;
    const struct slice *expect = http_request_header(&c->req, "Expect");
    c->req.expect_continue =
        expect != NULL && !c->scan.is_1_0 && equal_nocase(*expect, "100-continue");
    c->proceeded = c->paused = c->responded = false;
    c->chunked = (struct http_chunked){0};
    c->body_left = c->req.length;
    c->body_done = !c->req.chunked && c->body_left == 0;
    c->open = true;
    set_state(c, CONN_READ_BODY);
    c->handler->request(c->handler, c->stream, &c->req);
}

/* Empty lines before a request line, as old clients leave behind a body. */
static size_t skip_blank(struct http_conn *c, struct slice in)
{
    size_t i = 0;
    while (i < in.len && (in.ptr[i] == '\r' || in.ptr[i] == '\n' || c->n_blank % 2 == 1)) {
        if (in.ptr[i++] != (c->n_blank % 2 == 0 ? '\r' : '\n') || ++c->n_blank > HTTP_BLANK_MAX) {
            http_conn_fail(c, HTTP_ERR_BAD_REQUEST);
            return i;
        }
    }
    return i;
}

static size_t feed_head(struct http_conn *c, struct slice in)
{
    size_t had = c->partial.len;
    if (had == 0) {
        size_t blank = skip_blank(c, in);
        if (blank > 0 || in.len == 0) {
            return blank;
        }
        c->scan = (struct http_scan){0};
    }
    struct slice view = in;
    if (had > 0) {
        size_t room = HTTP_HEAD_MAX - had;
        if (buf_append(&c->partial, in.ptr, in.len < room ? in.len : room) < 0) {
            http_conn_fail(c, HTTP_ERR_NO_MEMORY);
            return in.len;
        }
        view = buf_slice(&c->partial);
    }
    size_t used = in.len;
    switch (http_scan_next(&c->scan, view)) {
    case HTTP_SCAN_MORE:
        if (had == 0 && buf_append(&c->partial, in.ptr, in.len) < 0) {
            http_conn_fail(c, HTTP_ERR_NO_MEMORY);
        }
        break;
    case HTTP_SCAN_REFUSED:
        http_conn_fail(c, c->scan.error);
        break;
    case HTTP_SCAN_DONE:
        used = c->scan.off - had;
        c->n_blank = 0;
        begin_request(c, slice_of(view.ptr, c->scan.off));
        break;
    }
    return used;
}

/* ---- bodies ---- */

static size_t feed_body(struct http_conn *c, struct slice in)
{
    if (!c->proceeded || c->paused) {
        return 0;
    }
    if (c->body_done) {
        set_state(c, CONN_HANDLE);
        c->handler->end(c->handler, c->stream);
        return 0;
    }
    size_t used;
    struct slice data;
    if (!c->req.chunked) {
        used = c->body_left < in.len ? (size_t)c->body_left : in.len;
        data = slice_of(in.ptr, used);
        c->body_left -= used;
        c->body_done = c->body_left == 0;
    } else if (http_chunked_next(&c->chunked, in, &used, &data) < 0) {
        http_conn_fail(c, HTTP_ERR_BAD_REQUEST);
        return in.len;
    } else {
        c->body_done = c->chunked.state == CHUNKED_END;
    }
    if (data.len > 0) {
        c->handler->body(c->handler, c->stream, data);
    }
    return used;
}

size_t http_conn_feed(struct http_conn *c, struct slice in)
{
    switch (c->state) {
    case CONN_READ_HEAD:
        return feed_head(c, in);
    case CONN_READ_BODY:
        return feed_body(c, in);
    case CONN_HANDLE:
    case CONN_WRITE:
        return 0;
    case CONN_DRAIN:
    case CONN_DONE:
        break;
    }
    return in.len;
}

bool http_conn_wants_input(const struct http_conn *c)
{
    switch (c->state) {
    case CONN_READ_HEAD:
    case CONN_DRAIN:
        return true;
    case CONN_READ_BODY:
        return c->proceeded && !c->paused && !c->body_done;
    case CONN_HANDLE:
    case CONN_WRITE:
    case CONN_DONE:
        break;
    }
    return false;
}

bool http_conn_is_idle(const struct http_conn *c)
{
    return c->state == CONN_READ_HEAD && c->partial.len == 0 && c->n_blank == 0;
}

uint64_t http_conn_body_left(const struct http_conn *c)
{
    return c->req.chunked ? UINT64_MAX : c->body_left;
}

/* ---- what the handler asks for ---- */

bool http_conn_proceed(struct http_conn *c)
{
    if (c->state != CONN_READ_BODY || c->proceeded) {
        return false;
    }
    c->proceeded = true;
    return c->req.expect_continue;
}

bool http_conn_owes_continue(const struct http_conn *c)
{
    return c->state == CONN_READ_BODY && !c->proceeded && c->req.expect_continue;
}

void http_conn_pause(struct http_conn *c)
{
    c->paused = true;
}

void http_conn_resume(struct http_conn *c)
{
    c->paused = false;
}

int http_conn_respond(struct http_conn *c, const struct http_response *r, struct http_out *ret)
{
    if (c->responded || (c->state != CONN_READ_BODY && c->state != CONN_HANDLE)) {
        return ZERR_INVALID;
    }
    bool bodiless =
        c->req.method == HTTP_METHOD_HEAD || r->no_length || r->status == 204 || r->status == 304;
    bool keep_alive = c->keep_alive && c->body_done && !r->close && !c->close_soon;
    enum http_connection connection = !keep_alive      ? HTTP_CONNECTION_CLOSE
                                      : c->scan.is_1_0 ? HTTP_CONNECTION_KEEP_ALIVE
                                                       : HTTP_CONNECTION_NONE;
    struct slice head;
    int err = http_head_write(&c->mem->arena, r, connection, http_date_now(&c->pool->date), &head);
    if (err < 0) {
        return err;
    }
    struct slice body = bodiless ? slice_of(NULL, 0) : r->body;
    assert(bodiless || body.len <= r->length);
    c->responded = true;
    c->keep_alive = keep_alive;
    c->status = r->status;
    c->answer_left = bodiless ? 0 : r->length - body.len;
    set_state(c, c->body_done ? CONN_WRITE : CONN_DRAIN);
    *ret = (struct http_out){.head = head, .body = body};
    return 0;
}

int http_conn_count_send(struct http_conn *c, uint64_t n)
{
    if (!c->responded || n > c->answer_left) {
        return ZERR_INVALID;
    }
    c->answer_left -= n;
    return 0;
}

bool http_conn_answered(const struct http_conn *c)
{
    return c->responded && c->answer_left == 0;
}

void http_conn_written(struct http_conn *c)
{
    assert(http_conn_answered(c));
    call_done(c, true);
    drop_memory(c);
    c->responded = false;
    if (c->state == CONN_WRITE) {
        c->scan = (struct http_scan){0};
        set_state(c, c->keep_alive && !c->close_soon ? CONN_READ_HEAD : CONN_DRAIN);
    }
}

void http_conn_close_soon(struct http_conn *c)
{
    c->close_soon = true;
}
