/* Requests when there is no memory: each allocation that a request makes on its way through http_conn,
 * s3 and the store fails, once and from then on. The answer is the right one, a 500 or 503, or the
 * connection ends; what was answered with success is there, nothing leaks, and the next request on
 * the same server is served.
 *
 * The transport below http_conn is a small one, in memory; buffers are freed as soon as nobody holds
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/job.h"
#include "http/http_conn.h"
#include "s3/s3.h"
#include "support/fault_points.h"
#include "support/oom.h"
#include "support/store_fixture.h"

#define LARGE 300000
#define SLICE 50000 /* read at once */

static struct fixture f;
static struct s3 *s3;
static struct store_set *stores;
static struct http_pool pool;
static unsigned n_held;
static uint64_t n_gone, n_runs, n_points, n_failed;
static unsigned n_ticks;

/* ---- a connection ---- */

struct wire {
    struct http_stream stream;
    struct http_conn conn;
    struct held {
        unsigned refs;
        uint8_t data[];
    } * current;
    struct http_send *sends[HTTP_SENDS_IN_FLIGHT];
    unsigned n_sends;
    bool cut;
    struct buf out; /* with room for everything */
};

static struct wire *wire_of(struct http_stream *s)
{
    return container_of(s, struct wire, stream);
}

static void emit(struct wire *w, struct slice s)
{
    assert_int_equal(buf_append(&w->out, s.ptr, s.len), 0);
}

static void op_proceed(struct http_stream *s)
{
    (void)http_conn_proceed(&wire_of(s)->conn);
}

static void op_pause(struct http_stream *s)
{
    http_conn_pause(&wire_of(s)->conn);
}

static void op_resume(struct http_stream *s)
{
    http_conn_resume(&wire_of(s)->conn);
}

static void op_respond(struct http_stream *s, const struct http_response *res)
{
    struct wire *w = wire_of(s);
    struct http_out out;
    int rc = http_conn_respond(&w->conn, res, &out);
    if (rc != 0) {
        assert_int_equal(rc, ZERR_NOMEM);
        w->cut = true;
        return;
    }
    emit(w, out.head);
    emit(w, out.body);
}

static void op_send(struct http_stream *s, struct http_send *send)
{
    struct wire *w = wire_of(s);
    assert_in_range(w->n_sends, 0, HTTP_SENDS_IN_FLIGHT - 1);
    if (!w->cut) {
        assert_int_equal(http_conn_count_send(&w->conn, send->data.len), 0);
    }
    w->sends[w->n_sends++] = send;
}

static void op_cut(struct http_stream *s)
{
    wire_of(s)->cut = true;
}

static void *op_hold(struct http_stream *s)
{
    struct wire *w = wire_of(s);
    assert_non_null(w->current);
    w->current->refs++;
    n_held++;
    return w->current;
}

static void drop(struct held *b)
{
    if (--b->refs == 0) {
        free(b);
    }
}

static void op_unhold(void *token)
{
    n_held--;
    drop(token);
}

static bool op_gone(struct http_stream *s)
{
    (void)s;
    return false;
}

static const struct http_stream_ops OPS = {
    .proceed = op_proceed,
    .gone = op_gone,
    .pause = op_pause,
    .resume = op_resume,
    .respond = op_respond,
    .send = op_send,
    .cut = op_cut,
    .hold = op_hold,
    .unhold = op_unhold,
};

/* Gives the connection what it takes of at most SLICE bytes, in a buffer of its own. */
static size_t feed(struct wire *w, struct slice in)
{
    size_t n = in.len < SLICE ? in.len : SLICE;
    struct held *b = malloc(sizeof(*b) + n);
    assert_non_null(b);
    b->refs = 1;
    if (n > 0) {
        memcpy(b->data, in.ptr, n);
    }
    w->current = b;
    size_t used = http_conn_feed(&w->conn, slice_of(b->data, n));
    w->current = NULL;
    drop(b);
    return used;
}

static void finish_send(struct wire *w)
{
    struct http_send *send = w->sends[0];
    emit(w, send->data);
    w->sends[0] = w->sends[1];
    w->n_sends--;
    send->release(send);
    w->conn.handler->sent(w->conn.handler, &w->stream);
}

/* One step; false: nothing more will happen. */
static bool step(struct wire *w, struct slice *in)
{
    struct slice reply;
    enum http_conn_state before = w->conn.state;
    if (w->cut || before == CONN_DONE) {
        return false;
    }
    if (http_conn_take_reply(&w->conn, &reply)) {
        emit(w, reply);
        return true;
    }
    if (http_conn_answered(&w->conn) && w->n_sends == 0) {
        http_conn_written(&w->conn);
        return true;
    }
    size_t used = feed(w, *in);
    *in = slice_of(in->ptr + used, in->len - used);
    if (used > 0 || w->conn.state != before || workers_inline_step(&f.workers)) {
        return true;
    }
    if (w->n_sends > 0) {
        finish_send(w);
        return true;
    }
    if (store_wants_tick(f.st)) { /* waiting for something that only time brings: memory, at last */
        if (++n_ticks == 3) {
            n_failed += fault_disarm();
        }
        f.advance(f.vfs, 1000);
        store_tick(f.st);
        return workers_inline_step(&f.workers);
    }
    return false;
}

/* One request on a connection of its own. The status; 0: none came. *ret_cut: not to its end. */
static int exchange(struct wire *w, struct slice in, bool *ret_cut)
{
    int status = 0;
    n_ticks = 0;
    *w = (struct wire){.stream.ops = &OPS, .out = w->out};
    buf_reset(&w->out);
    http_conn_init(&w->conn, &pool, s3_handler(s3), &w->stream);
    while (step(w, &in)) {
    }
    *ret_cut = w->cut || w->conn.open || w->conn.state == CONN_DONE;
    while (w->n_sends > 0) {
        struct http_send *send = w->sends[--w->n_sends];
        send->release(send);
    }
    http_conn_finish(&w->conn);
    fx_pump(&f);
    assert_null(w->stream.exchange);
    assert_int_equal(n_held, 0);
    assert_int_equal(buf_append(&w->out, "", 1), 0);
    (void)sscanf((const char *)w->out.ptr, "HTTP/1.1 %d", &status);
    return status;
}

/* ---- requests ---- */

static uint8_t large[LARGE];

struct before {
    const char *head, *text;
};

struct request {
    const char *name;
    const struct before *before; /* requests that prepare, ended by {0}; or NULL */
    const char *head;            /* without Host and Content-Length; %ID%: the upload's */
    const char *text;            /* the body, or NULL: n_body bytes of `large` */
    size_t n_body;
    int status;       /* when all is well */
    const char *find; /* in the answer */
    size_t n_answer;  /* the answer ends with so many bytes of `large` */
    const char *then; /* after success this gives then_status */
    int then_status;
};

#define DELETE_XML                                                                                 \
    "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>d1</Key></Object>"     \
    "<Object><Key>none</Key></Object></Delete>"
#define COMPLETE_XML                                                                               \
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"                                    \
    "<ETag>\"5d41402abc4b2a76b9719d911017c592\"</ETag></Part></CompleteMultipartUpload>"

#define SUMMED_XML                                                                                 \
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"                                    \
    "<ETag>\"5d41402abc4b2a76b9719d911017c592\"</ETag>"                                            \
    "<ChecksumSHA256>LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=</ChecksumSHA256></Part>"         \
    "</CompleteMultipartUpload>"

static const struct before D1[] = {
    {"PUT /bucket/d1 HTTP/1.1\r\nx-amz-copy-source: /bucket/small\r\n", ""}, {0}};
static const struct before UPLOAD[] = {
    {"POST /bucket/m?uploads HTTP/1.1\r\nx-amz-meta-a: b\r\n", ""}, {0}};
static const struct before PARTS[] = {
    {"POST /bucket/m?uploads HTTP/1.1\r\nx-amz-meta-a: b\r\n", ""},
    {"PUT /bucket/m?partNumber=1&uploadId=%ID% HTTP/1.1\r\n", "hello"},
    {0}};

static const struct before SUMMED[] = {
    {"POST /bucket/m?uploads HTTP/1.1\r\nx-amz-checksum-algorithm: SHA256\r\n", ""},
    {"PUT /bucket/m?partNumber=1&uploadId=%ID% HTTP/1.1\r\n", "hello"},
    {0}};

static const struct request REQUESTS[] = {
    {"put", NULL, "PUT /bucket/p1 HTTP/1.1\r\nx-amz-meta-a: b\r\nContent-Type: x/y\r\n", "hello", 0,
     200, "ETag: \"5d41402abc4b2a76b9719d911017c592\"", 0, "GET /bucket/p1 HTTP/1.1\r\n", 200},
    {"put with MD5", NULL, "PUT /bucket/p2 HTTP/1.1\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n",
     "hello", 0, 200, "ETag", 0, "HEAD /bucket/p2 HTTP/1.1\r\n", 200},
    {"large put", NULL, "PUT /bucket/p3 HTTP/1.1\r\n", NULL, LARGE, 200, "ETag", 0,
     "HEAD /bucket/p3 HTTP/1.1\r\n", 200},
    {"get", NULL, "GET /bucket/large HTTP/1.1\r\n", "", 0, 200, "ETag", LARGE, NULL, 0},
    {"get of a small one", NULL, "GET /bucket/small HTTP/1.1\r\n", "", 0, 200,
     "x-amz-meta-note: value", 1000, NULL, 0},
    {"range", NULL, "GET /bucket/large HTTP/1.1\r\nRange: bytes=0-69999\r\n", "", 0, 206,
     "Content-Range: bytes 0-69999/300000", 70000, NULL, 0},
    {"head", NULL, "HEAD /bucket/large HTTP/1.1\r\n", "", 0, 200, "Content-Length: 300000", 0, NULL,
     0},
    {"not there", NULL, "GET /bucket/none HTTP/1.1\r\n", "", 0, 404, "NoSuchKey", 0, NULL, 0},
    {"list", NULL, "GET /bucket?list-type=2&prefix=l&delimiter=%2F HTTP/1.1\r\n", "", 0, 200,
     "<Key>large</Key>", 0, NULL, 0},
    {"list by pages", NULL, "GET /bucket/?max-keys=1&marker=a HTTP/1.1\r\n", "", 0, 200,
     "<IsTruncated>true", 0, NULL, 0},
    {"copy", NULL, "PUT /bucket/c1 HTTP/1.1\r\nx-amz-copy-source: /bucket/large\r\n", "", 0, 200,
     "CopyObjectResult", 0, "HEAD /bucket/c1 HTTP/1.1\r\n", 200},
    {"copy with other metadata", NULL,
     "PUT /bucket/c2 HTTP/1.1\r\nx-amz-copy-source: /bucket/small\r\n"
     "x-amz-metadata-directive: REPLACE\r\nx-amz-meta-b: c\r\n",
     "", 0, 200, "CopyObjectResult", 0, "HEAD /bucket/c2 HTTP/1.1\r\n", 200},
    {"copy with a checksum of its own", NULL,
     "PUT /bucket/c3 HTTP/1.1\r\nx-amz-copy-source: /bucket/large\r\n"
     "x-amz-checksum-algorithm: SHA256\r\n",
     "", 0, 200, "<ChecksumSHA256>", 0, "HEAD /bucket/c3 HTTP/1.1\r\n", 200},
    {"delete", D1, "DELETE /bucket/d1 HTTP/1.1\r\n", "", 0, 204, "204", 0,
     "HEAD /bucket/d1 HTTP/1.1\r\n", 404},
    {"delete of many", D1,
     "POST /bucket?delete HTTP/1.1\r\nContent-MD5: /PhYSmoWDpQzx9dDfqZ2DQ==\r\n", DELETE_XML, 0,
     200, "<Deleted><Key>d1</Key></Deleted>", 0, "HEAD /bucket/d1 HTTP/1.1\r\n", 404},
    {"buckets", NULL, "GET / HTTP/1.1\r\n", "", 0, 200, "<Name>bucket</Name>", 0, NULL, 0},
    {"location", NULL, "GET /bucket?location HTTP/1.1\r\n", "", 0, 200, "LocationConstraint", 0,
     NULL, 0},
    {"put with SHA-256", NULL,
     "PUT /bucket/p4 HTTP/1.1\r\nx-amz-content-sha256: "
     "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\r\n",
     "hello", 0, 200, "ETag", 0, "HEAD /bucket/p4 HTTP/1.1\r\n", 200},
    {"put with a checksum", NULL,
     "PUT /bucket/p5 HTTP/1.1\r\n"
     "x-amz-checksum-sha256: LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\r\n",
     "hello", 0, 200, "ETag", 0, "HEAD /bucket/p5 HTTP/1.1\r\n", 200},
    {"put in chunks", NULL,
     "PUT /bucket/p6 HTTP/1.1\r\nContent-Encoding: aws-chunked\r\n"
     "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n"
     "x-amz-decoded-content-length: 5\r\nx-amz-trailer: x-amz-checksum-sha256\r\n",
     "5\r\nhello\r\n0\r\n"
     "x-amz-checksum-sha256:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\r\n\r\n",
     0, 200, "ETag", 0, "HEAD /bucket/p6 HTTP/1.1\r\n", 200},
    {"begin in parts", NULL, "POST /bucket/m?uploads HTTP/1.1\r\n", "", 0, 200, "<UploadId>", 0,
     NULL, 0},
    {"a part", UPLOAD, "PUT /bucket/m?partNumber=1&uploadId=%ID% HTTP/1.1\r\n", "hello", 0, 200,
     "ETag", 0, NULL, 0},
    {"a copied part", UPLOAD,
     "PUT /bucket/m?partNumber=1&uploadId=%ID% HTTP/1.1\r\nx-amz-copy-source: /bucket/large\r\n",
     "", 0, 200, "CopyPartResult", 0, NULL, 0},
    {"list of parts", PARTS, "GET /bucket/m?uploadId=%ID% HTTP/1.1\r\n", "", 0, 200,
     "<PartNumber>1</PartNumber>", 0, NULL, 0},
    {"complete", PARTS, "POST /bucket/m?uploadId=%ID% HTTP/1.1\r\n", COMPLETE_XML, 0, 200,
     "CompleteMultipartUploadResult", 0, "HEAD /bucket/m HTTP/1.1\r\n", 200},
    {"begin with a checksum", NULL,
     "POST /bucket/m?uploads HTTP/1.1\r\nx-amz-checksum-algorithm: SHA256\r\n", "", 0, 200,
     "x-amz-checksum-type: COMPOSITE", 0, NULL, 0},
    {"a part with a checksum", SUMMED, "PUT /bucket/m?partNumber=2&uploadId=%ID% HTTP/1.1\r\n",
     "hello", 0, 200, "X-Amz-Checksum-Sha256: LPJN", 0, NULL, 0},
    {"a copied part with a checksum", SUMMED,
     "PUT /bucket/m?partNumber=2&uploadId=%ID% HTTP/1.1\r\nx-amz-copy-source: /bucket/large\r\n",
     "", 0, 200, "<ChecksumSHA256>", 0, NULL, 0},
    {"list of parts with checksums", SUMMED, "GET /bucket/m?uploadId=%ID% HTTP/1.1\r\n", "", 0, 200,
     "<ChecksumSHA256>LPJN", 0, NULL, 0},
    {"complete with checksums", SUMMED, "POST /bucket/m?uploadId=%ID% HTTP/1.1\r\n", SUMMED_XML, 0,
     200, "<ChecksumType>COMPOSITE<", 0, "HEAD /bucket/m HTTP/1.1\r\n", 200},
    {"access list", NULL, "GET /bucket/small?acl HTTP/1.1\r\n", "", 0, 200, "FULL_CONTROL", 0, NULL,
     0},
    {"versions", NULL, "GET /bucket?versions HTTP/1.1\r\n", "", 0, 200, "<VersionId>null<", 0, NULL,
     0},
    {"abort", PARTS, "DELETE /bucket/m?uploadId=%ID% HTTP/1.1\r\n", "", 0, 204, "204", 0,
     "GET /bucket/m?uploadId=%ID% HTTP/1.1\r\n", 404},
    {"bad request", NULL, "GET /bucket/%zz HTTP/1.1\r\n", "", 0, 400, "<Error>", 0, NULL, 0},
};

static char upload_id[17] = "none";

/* text NULL: n_body bytes of `large`. */
static void text_of(struct buf *out, const char *head, const char *text, size_t n_body)
{
    const char *id = strstr(head, "%ID%");
    size_t n = text != NULL ? strlen(text) : n_body;
    buf_reset(out);
    assert_int_equal(buf_printf(out, "%.*s%s%sHost: 127.0.0.1:7711\r\nContent-Length: %zu\r\n\r\n",
                                id != NULL ? (int)(id - head) : (int)strlen(head), head,
                                id != NULL ? upload_id : "", id != NULL ? id + 4 : "", n),
                     0);
    assert_int_equal(buf_append(out, text != NULL ? (const void *)text : large, n), 0);
}

/* Without a fault: must be this. */
static void expect(const char *head, const char *text, int status)
{
    static struct wire w;
    struct buf in = {0};
    bool cut;
    text_of(&in, head, text, 0);
    int got = exchange(&w, buf_slice(&in), &cut);
    if (got != status || cut) {
        fail_msg("%s gives %d", head, got);
    }
    const char *id = strstr((const char *)w.out.ptr, "<UploadId>");
    if (id != NULL) {
        memcpy(upload_id, id + 10, 16);
    }
    buf_finish(&in);
    buf_finish(&w.out);
}

/* What must come before, and the text of the request. */
static void prepare(const struct request *r, struct buf *in)
{
    for (const struct before *b = r->before; b != NULL && b->head != NULL; b++) {
        expect(b->head, b->text, 200);
    }
    text_of(in, r->head, r->text, r->n_body);
}

static void check_answer(const struct request *r, struct wire *w, const char *what, int status,
                         bool cut)
{
    if (status != r->status) {
        if (status != 0 && status != 500 && status != 503) {
            fail_msg("%s: status %d\n%s", what, status, (const char *)w->out.ptr);
        }
        return;
    }
    if (!cut) {
        size_t n = r->n_answer;
        assert_true(w->out.len > n);
        if (strcasestr((const char *)w->out.ptr, r->find) == NULL ||
            memcmp(w->out.ptr + w->out.len - 1 - n, large, n) != 0) {
            fail_msg("%s: a wrong answer\n%s", what, (const char *)w->out.ptr);
        }
    }
    if (r->then != NULL) {
        expect(r->then, "", r->then_status);
    }
}

static void one_fault(const struct request *r, struct wire *w, struct buf *in,
                      const struct fault_call *c, enum fault_times times)
{
    char what[200];
    bool cut;
    int status = 0;
    (void)snprintf(what, sizeof(what), "%s: %s allocation %d, %s", r->name, oom_kind_names[c->kind],
                   (int)c->nth, times == FAULT_ONCE ? "once" : "from then on");
    n_runs++;
    n_failed = 0;
    for (int i = 0; i < 3 && n_failed == 0; i++) { /* SQLite's depend on where its pages are full */
        prepare(r, in);
        fault_arm(c->kind, c->nth, times, 1);
        status = exchange(w, buf_slice(in), &cut);
        n_failed += fault_disarm();
    }
    if (n_failed == 0) {
        if (c->kind != OOM_SQLITE) {
            fail_msg("%s: was not made", what);
        }
        n_gone++;
    }
    check_answer(r, w, what, status, cut);
    expect("HEAD /bucket/large HTTP/1.1\r\n", "", 200);
    if (f.fatal) {
        fail_msg("%s: %s", what, f.notes);
    }
}

static void sweep(const struct request *r)
{
    const struct fault_call *calls;
    struct wire w = {0};
    struct buf in = {0};
    bool cut;
    assert_int_equal(buf_reserve(&w.out, 2 * LARGE), 0);
    for (int i = 0; i < 2; i++) { /* the second time nothing is made that stays */
        prepare(r, &in);
        fault_record();
        int status = exchange(&w, buf_slice(&in), &cut);
        size_t n = fault_recorded(&calls);
        if (status != r->status) {
            fail_msg("%s: %d\n%s", r->name, status, (const char *)w.out.ptr);
        }
        check_answer(r, &w, r->name, status, cut);
        for (size_t k = 0; i == 1 && k < n; k++) {
            one_fault(r, &w, &in, &calls[k], FAULT_ONCE);
            one_fault(r, &w, &in, &calls[k], FAULT_FROM_THEN_ON);
        }
        if (i == 1) {
            print_message("%s: %zu allocations\n", r->name, n);
            n_points += n;
        }
    }
    buf_finish(&w.out);
    buf_finish(&in);
}

static void put_object(const char *head, size_t n)
{
    static struct wire w;
    struct buf in = {0};
    bool cut;
    text_of(&in, head, NULL, n);
    assert_int_equal(exchange(&w, buf_slice(&in), &cut), 200);
    buf_finish(&in);
    buf_finish(&w.out);
}

static void every_request(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(REQUESTS) / sizeof(REQUESTS[0]); i++) {
        sweep(&REQUESTS[i]);
    }
    print_message("%llu allocation points, %llu faults, %llu of them not made again\n",
                  (unsigned long long)n_points, (unsigned long long)n_runs,
                  (unsigned long long)n_gone);
    assert_true(n_gone * 100 < n_runs);
}

static int set_up(void **state)
{
    (void)state;
    fx_fill(large, sizeof(large), 1);
    fx_init(&f, 64 << 20);
    assert_int_equal(fx_open(&f), 0);
    struct store_set_config set_config = {
        .home = f.st, .home_name = "bucket", .others = {.vfs = f.vfs, .dir = f.dir}};
    assert_int_equal(store_set_open(&set_config, &stores, NULL), 0);
    struct s3_config config = {.stores = stores};
    assert_int_equal(s3_create(&config, &s3), 0);
    put_object("PUT /bucket/large HTTP/1.1\r\n", LARGE);
    put_object("PUT /bucket/small HTTP/1.1\r\nx-amz-meta-note: value\r\n", 1000);
    return 0;
}

static int tear_down(void **state)
{
    struct buf names = {0}, again = {0};
    (void)state;
    assert_int_equal(fx_names(&f, &names), 0);
    store_set_destroy(stores);
    fx_kill(&f);
    s3_destroy(s3);
    http_pool_finish(&pool);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_names(&f, &again), 0);
    assert_true(slice_eq(buf_slice(&names), buf_slice(&again)));
    assert_int_equal(fx_stop(&f), 0);
    buf_finish(&names);
    buf_finish(&again);
    fx_finish(&f);
    assert_int_equal(oom_live(), 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_request, set_up, tear_down),
    };
    oom_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
