/* A real store in a temporary directory with the S3 layer on it, and a toy transport, for the tests
 * of the operations.
 *
 * The toy keeps what http_msg.h and server/peer.h promise: body slices lie in buffers of their own
 * that are freed as soon as nobody holds them, nothing calls back into the handler, and what is
 * given to send() is released when the test takes it. So a slice used too long is a use after free
 * that the sanitizer sees.
 *
 * Calling sequence of a test: T(name) in the list gives it a fresh store; request() does a whole
 * request; or toy_init(), set_body(), add_header(), begin(), then finish() or single step()s; at
 * the end toy_clear(). */
#ifndef ZKV_TEST_S3_TOY_H
#define ZKV_TEST_S3_TOY_H

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <expat.h>

#include "s3/s3.h"

/* ---- the store under test ---- */

static char dir[64];
static struct vfs *vfs;
static struct workers_inline workers;
static struct store *store; /* of "bucket" */
static struct store_set *stores;
static struct s3 *s3;
static unsigned slow_ms; /* of the next one; 0: as usual */

static inline void open_store(uint64_t reserve)
{
    struct zerr_info info = {0};
    struct store_config config = {.vfs = vfs,
                                  .workers = &workers.base,
                                  .dir = dir,
                                  .block_size = 4 << 20,
                                  .reserve = reserve};
    struct store_set_config set_config = {.home_name = "bucket", .others = config};
    struct s3_config s3_config = {.slow_ms = slow_ms};
    int err = store_open(&config, &store, &info);

    if (err != 0) {
        fail_msg("%s", zerr_text(&info, err));
    }
    set_config.home = store;
    assert_int_equal(store_set_open(&set_config, &stores, &info), 0);
    s3_config.stores = stores;
    assert_int_equal(s3_create(&s3_config, &s3), 0);
}

static inline void on_stopped(void *user, int status)
{
    *(int *)user = status;
}

static inline void close_store(void)
{
    int status = 1;

    store_set_stop(stores, on_stopped, &status);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    status = 1;
    store_stop(store, on_stopped, &status);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    store_set_destroy(stores);
    store_destroy(store);
    s3_destroy(s3);
}

static inline int setup(void **state)
{
    struct zerr_info info = {0};
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%.40s/zkv-s3-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    workers_inline_init(&workers);
    assert_int_equal(vfs_posix_open(dir, &vfs, &info), 0);
    open_store(0);
    return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int teardown(void **state)
{
    (void)state;
    close_store();
    vfs_posix_close(vfs);
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Finds the bytes in one of the store's block files and changes one of them, behind its back. */
static inline void damage_on_disk(struct slice bytes, size_t at)
{
    char path[128];
    uint8_t *p = NULL, *data = malloc(8 << 20);
    ssize_t n = 0;
    int fd;

    assert_non_null(data);
    close_store(); /* sealed now */
    open_store(0);
    for (int i = 0; i < 20 && p == NULL; i++) {
        (void)snprintf(path, sizeof(path), "%s/block%010d", dir, i);
        fd = open(path, O_RDONLY);
        n = fd < 0 ? 0 : read(fd, data, 8 << 20);
        p = n > 0 ? memmem(data, (size_t)n, bytes.ptr, bytes.len) : NULL;
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    assert_non_null(p);
    assert_int_equal(chmod(path, 0600), 0);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    p[at] ^= 1;
    assert_int_equal(pwrite(fd, p + at, 1, (off_t)(p - data) + (off_t)at), 1);
    (void)close(fd);
    free(data);
}

/* ---- the toy transport ---- */

struct held_buffer {
    unsigned refs;
    uint8_t data[];
};

struct toy {
    struct http_stream stream;
    struct arena arena;
    struct http_request req;
    struct http_header headers[40];
    struct slice body; /* of the request */
    size_t body_at, slice_max;
    size_t break_at; /* the connection breaks behind so many bytes; SIZE_MAX: never */

    bool proceeded, paused, ended, responded, cut, done;
    bool refused_body;
    bool gone; /* the client has closed its side */
    struct held_buffer *current;
    struct http_send *sends[HTTP_SENDS_IN_FLIGHT];
    unsigned n_sends, max_sends;

    /* The answer. */
    int status;
    uint64_t length;
    bool no_length;
    struct buf head, got; /* "Name: value\n"..., body */
};

static unsigned n_held;

static inline void toy_proceed(struct http_stream *stream)
{
    struct toy *t = container_of(stream, struct toy, stream);

    assert_false(t->proceeded);
    assert_false(t->responded);
    t->proceeded = true;
}

static inline void toy_pause(struct http_stream *stream)
{
    struct toy *t = container_of(stream, struct toy, stream);

    assert_false(t->paused);
    t->paused = true;
}

static inline void toy_resume(struct http_stream *stream)
{
    struct toy *t = container_of(stream, struct toy, stream);

    assert_true(t->paused);
    t->paused = false;
}

static inline void toy_respond(struct http_stream *stream, const struct http_response *res)
{
    struct toy *t = container_of(stream, struct toy, stream);

    assert_false(t->responded);
    t->responded = true;
    t->status = res->status;
    t->length = res->length;
    t->no_length = res->no_length;
    for (size_t i = 0; i < res->n_headers; i++) {
        assert_int_equal(buf_printf(&t->head, "%.*s: ", SLICE_FMT(res->headers[i].name)), 0);
        assert_int_equal(buf_append(&t->head, res->headers[i].value.ptr, res->headers[i].value.len),
                         0);
        assert_int_equal(buf_append_str(&t->head, "\n"), 0);
    }
    if (t->req.method != HTTP_METHOD_HEAD) {
        assert_true(res->body.len <= res->length);
        assert_int_equal(buf_append(&t->got, res->body.ptr, res->body.len), 0);
    }
}

static inline void toy_send(struct http_stream *stream, struct http_send *send)
{
    struct toy *t = container_of(stream, struct toy, stream);

    assert_true(t->responded);
    assert_in_range(t->n_sends, 0, HTTP_SENDS_IN_FLIGHT - 1);
    t->sends[t->n_sends++] = send;
    t->max_sends = t->n_sends > t->max_sends ? t->n_sends : t->max_sends;
}

static inline void toy_cut(struct http_stream *stream)
{
    container_of(stream, struct toy, stream)->cut = true;
}

static inline void *toy_hold(struct http_stream *stream)
{
    struct toy *t = container_of(stream, struct toy, stream);

    assert_non_null(t->current);
    t->current->refs++;
    n_held++;
    return t->current;
}

static inline void toy_unhold(void *token)
{
    struct held_buffer *b = token;

    n_held--;
    if (--b->refs == 0) {
        free(b);
    }
}

static inline bool toy_wait(struct http_stream *stream)
{
    (void)stream;
    return false;
}

static inline bool toy_gone(struct http_stream *stream)
{
    return container_of(stream, struct toy, stream)->gone;
}

static const struct http_stream_ops TOY_OPS = {
    .proceed = toy_proceed,
    .wait = toy_wait,
    .gone = toy_gone,
    .pause = toy_pause,
    .resume = toy_resume,
    .respond = toy_respond,
    .send = toy_send,
    .cut = toy_cut,
    .hold = toy_hold,
    .unhold = toy_unhold,
};

static inline void give_body(struct toy *t)
{
    size_t n = t->body.len - t->body_at;
    struct held_buffer *b;

    n = n < t->slice_max ? n : t->slice_max;
    b = malloc(sizeof(*b) + n);
    assert_non_null(b);
    b->refs = 1;
    memcpy(b->data, t->body.ptr + t->body_at, n);
    t->body_at += n;
    t->current = b;
    s3_handler(s3)->body(s3_handler(s3), &t->stream, slice_of(b->data, n));
    t->current = NULL;
    if (--b->refs == 0) {
        free(b);
    }
}

static inline void finish_send(struct toy *t)
{
    struct http_send *send = t->sends[0];

    assert_int_equal(buf_append(&t->got, send->data.ptr, send->data.len), 0);
    t->sends[0] = t->sends[1];
    t->n_sends--;
    send->release(send);
    s3_handler(s3)->sent(s3_handler(s3), &t->stream);
}

static inline void drop_connection(struct toy *t)
{
    while (t->n_sends > 0) {
        t->n_sends--;
        t->sends[t->n_sends]->release(t->sends[t->n_sends]);
    }
    t->done = true;
    s3_handler(s3)->done(s3_handler(s3), &t->stream, false);
}

/* One step of a request; false when nothing is left to do. Jobs run before sends go out, so that
 * as much as may be is in flight. */
static inline bool step(struct toy *t)
{
    if (t->cut || t->body_at >= t->break_at) {
        drop_connection(t);
        return false;
    }
    if (t->proceeded && !t->paused && !t->responded && t->body_at < t->body.len) {
        give_body(t);
    } else if (t->proceeded && !t->paused && !t->responded && !t->ended) {
        t->ended = true;
        s3_handler(s3)->end(s3_handler(s3), &t->stream);
    } else if (workers_inline_step(&workers)) {
        return true;
    } else if (t->n_sends > 0) {
        finish_send(t);
    } else {
        return false;
    }
    return true;
}

static inline void begin(struct toy *t)
{
    struct http_header *h = &t->headers[t->req.n_headers++];

    *h = (struct http_header){SLICE_LIT("Host"), SLICE_LIT("127.0.0.1:7711")};
    t->stream.ops = &TOY_OPS;
    t->req.headers = t->headers;
    t->req.arena = &t->arena;
    s3_handler(s3)->request(s3_handler(s3), &t->stream, &t->req);
}

static inline void add_header(struct toy *t, const char *name, const char *value)
{
    t->headers[t->req.n_headers++] = (struct http_header){slice_str(name), slice_str(value)};
}

static inline void finish(struct toy *t)
{
    while (step(t)) {
    }
    if (!t->done) {
        assert_true(t->responded);
        if (t->req.method != HTTP_METHOD_HEAD && !t->no_length) {
            assert_int_equal(t->got.len, t->length);
        }
        t->done = true;
        s3_handler(s3)->done(s3_handler(s3), &t->stream, true);
    }
    t->refused_body = t->responded && !t->proceeded;
    workers_inline_drain(&workers);
    assert_null(t->stream.exchange);
    assert_int_equal(n_held, 0);
    assert_int_equal(buf_append(&t->got, "", 1), 0); /* so that strstr() may look at it */
    t->got.len--;
    assert_int_equal(buf_append(&t->head, "", 1), 0);
}

static inline void toy_clear(struct toy *t)
{
    arena_finish(&t->arena);
    buf_finish(&t->head);
    buf_finish(&t->got);
    *t = (struct toy){0};
}

static inline void toy_init(struct toy *t, enum http_method method, const char *target)
{
    toy_clear(t);
    t->req.method = method;
    t->req.target = slice_str(target);
    t->break_at = SIZE_MAX;
    t->slice_max = 100000;
}

static inline void set_body(struct toy *t, struct slice body)
{
    t->body = body;
    t->req.has_length = true;
    t->req.length = body.len;
}

/* Name, value pairs, ended by NULL. */
static inline int request(struct toy *t, enum http_method method, const char *target,
                          const char *body, ...)
{
    va_list ap;
    const char *name;

    toy_init(t, method, target);
    if (body != NULL) {
        set_body(t, slice_str(body));
    }
    va_start(ap, body);
    while ((name = va_arg(ap, const char *)) != NULL) {
        add_header(t, name, va_arg(ap, const char *));
    }
    va_end(ap);
    begin(t);
    finish(t);
    return t->status;
}

static inline bool has_line(const struct toy *t, const char *line)
{
    const char *p = strstr((const char *)t->head.ptr, line);

    return p != NULL && (p == (const char *)t->head.ptr || p[-1] == '\n') &&
           p[strlen(line)] == '\n';
}

static inline void assert_header(const struct toy *t, const char *name, const char *value)
{
    char line[512];

    (void)snprintf(line, sizeof(line), "%s: %s", name, value);
    if (!has_line(t, line)) {
        fail_msg("no \"%s\" in:\n%s", line, (const char *)t->head.ptr);
    }
}

static inline bool body_has(const struct toy *t, const char *text)
{
    return strstr((const char *)t->got.ptr, text) != NULL;
}

static inline void assert_body_has(const struct toy *t, const char *text)
{
    if (!body_has(t, text)) {
        fail_msg("no \"%s\" in:\n%s", text, (const char *)t->got.ptr);
    }
}

static inline void assert_well_formed(const struct toy *t)
{
    XML_Parser p = XML_ParserCreate(NULL);

    assert_int_equal(XML_Parse(p, (const char *)t->got.ptr, (int)t->got.len, 1), XML_STATUS_OK);
    XML_ParserFree(p);
    assert_header(t, "Content-Type", "application/xml");
}

static inline void assert_error(const struct toy *t, int status, const char *code)
{
    char text[100];

    assert_int_equal(t->status, status);
    assert_well_formed(t);
    (void)snprintf(text, sizeof(text), "<Error><Code>%s</Code><Message>", code);
    assert_body_has(t, text);
}

static inline void put_text(const char *target, const char *body)
{
    struct toy t = {0};

    assert_int_equal(request(&t, HTTP_METHOD_PUT, target, body, NULL), 200);
    toy_clear(&t);
}

/* Bytes that differ from place to place. */
static inline struct slice pattern(size_t n)
{
    uint8_t *p = malloc(n + 1);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
    }
    return slice_of(p, n);
}

static inline void put_bytes(const char *target, struct slice body)
{
    struct toy t = {0};

    toy_init(&t, HTTP_METHOD_PUT, target);
    set_body(&t, body);
    begin(&t);
    finish(&t);
    assert_int_equal(t.status, 200);
    toy_clear(&t);
}

/* How often text is in the answer. */
static inline unsigned count(const struct toy *t, const char *text)
{
    unsigned n = 0;

    for (const char *p = (const char *)t->got.ptr; (p = strstr(p, text)) != NULL; p++) {
        n++;
    }
    return n;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
