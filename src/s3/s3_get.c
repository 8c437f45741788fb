/* GetObject and HeadObject.
 *
 *   start -> reader_open -> (opened) -> conditions, range -> first piece -> head + first piece
 *         -> { reader_read -> send }* -> done
 *
 * One read is under way at a time, beside at most HTTP_SENDS_IN_FLIGHT pieces that the transport
 * holds: the disk works while the socket is written, and a slow client stops the reading. When many
 * GETs stream at once each has one small piece, so that slow clients together pin little. The
 * answer's head waits for the first piece, so that a damaged object is 404 and never a 200 that
 * breaks off; damage further in cuts the connection. */
#include <assert.h>
#include <stdio.h>

#include "s3/s3_exchange.h"

#include "base/num.h"
#include "base/timefmt.h"

static void read_on(struct s3_exchange *x);

/* A read failed, or the object could not be opened. */
static void get_failed(struct s3_exchange *x, int status)
{
    x->u.get.failed = true;
    if (x->responded) {
        s3_cut(x, status);
    } else {
        s3_fail(x, status);
    }
}

/* "bytes first-last/size", or "bytes *" + "/size" for what cannot be had. */
static struct slice content_range(struct s3_exchange *x, uint64_t off, uint64_t len, uint64_t size)
{
    char text[80];
    int n;

    if (len > 0) {
        n = snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)off,
                     (unsigned long long)(off + len - 1), (unsigned long long)size);
    } else {
        n = snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)size);
    }
    return arena_dup(x->req->arena, slice_of(text, (size_t)n));
}

static struct slice parts_count(struct s3_exchange *x)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%u", reader_object(x->u.get.reader)->parts);

    return arena_dup(x->req->arena, slice_of(text, (size_t)n));
}

static void add_validators(struct s3_exchange *x, struct s3_reply *r)
{
    const struct object *obj = reader_object(x->u.get.reader);
    char *text = arena_alloc(x->req->arena, S3_ETAG_MAX + TIME_HTTP_LEN + 1);

    if (text == NULL) {
        r->failed = true;
        return;
    }
    if (obj->has_md5) {
        s3_reply_add(r, "ETag", s3_etag(obj->md5, obj->parts, text));
    }
    time_http(obj->mtime_ms, text + S3_ETAG_MAX);
    s3_reply_add(r, "Last-Modified", slice_of(text + S3_ETAG_MAX, TIME_HTTP_LEN));
}

/* What the query wants a header to be; empty: nothing. */
static struct slice override_of(const struct s3_route *r, struct slice header)
{
    size_t i = 0;

    while (i < S3_N_OVERRIDES && !slice_eq_str(header, S3_OVERRIDES[i].header)) {
        i++;
    }
    return i < S3_N_OVERRIDES ? r->overrides[i].value : slice_of(NULL, 0);
}

static bool overrides_ok(const struct s3_route *r)
{
    size_t i = 0;

    while (i < S3_N_OVERRIDES && s3_header_value_ok(r->overrides[i].value)) {
        i++;
    }
    return i == S3_N_OVERRIDES;
}

/* The object's own headers. */
static void add_attributes(struct s3_exchange *x, struct s3_reply *r)
{
    struct attrs meta = reader_meta(x->u.get.reader), sys = reader_sys(x->u.get.reader);
    bool has_type = override_of(&x->route, SLICE_LIT("Content-Type")).len > 0;
    /* It is the whole object's: of a part clients would find it wrong. */
    bool wants_checksum =
        s3_eq_nocase(x->head.checksum_mode, "ENABLED") && x->u.get.range.kind == S3_RANGE_NONE;

    for (size_t i = 0; i < sys.n; i++) {
        if (wants_checksum && s3_checksum_of_header(sys.v[i].name) != S3_CHECKSUMS) {
            s3_reply_add_checksum(r, s3_checksum_header(s3_checksum_of_header(sys.v[i].name)),
                                  sys.v[i].value);
        }
        if (s3_is_sys_name(sys.v[i].name) && override_of(&x->route, sys.v[i].name).len == 0) {
            s3_reply_add_slice(r, sys.v[i].name, sys.v[i].value);
            has_type |= slice_eq_str(sys.v[i].name, "Content-Type");
        }
    }
    for (size_t i = 0; i < S3_N_OVERRIDES; i++) {
        if (x->route.overrides[i].value.len > 0) {
            s3_reply_add(r, S3_OVERRIDES[i].header, x->route.overrides[i].value);
        }
    }
    if (!has_type) {
        s3_reply_add(r, "Content-Type", SLICE_LIT(S3_DEFAULT_CONTENT_TYPE));
    }
    for (size_t i = 0; i < meta.n; i++) {
        if (s3_is_meta_name(meta.v[i].name)) {
            struct slice name = s3_lower_name(meta.v[i].name, x->req->arena);
            r->failed |= name.ptr == NULL;
            s3_reply_add_slice(r, name, meta.v[i].value);
        }
    }
}

/* 200 or 206 with the first part of the body. u.get.off..end is the whole part asked for. */
static void respond_object(struct s3_exchange *x, uint64_t off, struct slice first)
{
    struct s3_get_state *s = &x->u.get;
    struct s3_reply r;
    bool partial = s->range.kind != S3_RANGE_NONE;

    s3_reply_init(&r, x, 6 + S3_N_OVERRIDES + reader_meta(s->reader).n + reader_sys(s->reader).n);
    add_validators(x, &r);
    s3_reply_add(&r, "Accept-Ranges", SLICE_LIT("bytes"));
    add_attributes(x, &r);
    if (x->route.part_number.set && reader_object(s->reader)->parts > 0) {
        struct slice value = parts_count(x);
        s3_reply_add(&r, "x-amz-mp-parts-count", value);
        r.failed |= value.ptr == NULL;
    }
    if (partial) {
        struct slice value = content_range(x, off, s->end - off, reader_object(s->reader)->size);
        s3_reply_add(&r, "Content-Range", value);
        r.failed |= value.ptr == NULL;
    }
    s3_respond(x, &r, partial ? 206 : 200, s->end - off, first);
    s->failed = r.failed;
}

static void release_piece(struct http_send *send)
{
    struct s3_piece *p = container_of(send, struct s3_piece, send);
    struct s3_get_state *s = &p->x->u.get;

    p->busy = false;
    s->n_out--;
    reader_release(s->reader);
}

/* A piece that was read goes out. */
static void deliver(struct s3_exchange *x, struct read_piece piece)
{
    struct s3_get_state *s = &x->u.get;
    struct slice data = slice_of(piece.data, piece.len);
    struct s3_piece *p = s->pieces;

    if (!x->responded) {
        uint64_t off = s->off;
        s->off += piece.len;
        respond_object(x, off, data);
        reader_release(s->reader);
        return;
    }
    while (p->busy) {
        p++;
        assert(p < s->pieces + HTTP_SENDS_IN_FLIGHT);
    }
    s->off += piece.len;
    s->n_out++;
    *p = (struct s3_piece){.send = {.data = data, .release = release_piece}, .x = x, .busy = true};
    x->stream->ops->send(x->stream, &p->send);
}

/* Reads what may be read now. Pieces end where the store's own pieces end. */
static void read_on(struct s3_exchange *x)
{
    struct s3_get_state *s = &x->u.get;

    bool ahead = x->s3->n_streams <= S3_STREAMS_AHEAD;

    while (!s->failed && !s->reading && s->off < s->end &&
           s->n_out < (ahead ? HTTP_SENDS_IN_FLIGHT : 1)) {
        uint64_t len =
            (x->responded && ahead ? S3_NEXT_READ : S3_FIRST_READ) - s->off % PIECE_BYTES;
        struct read_piece piece;
        int err;
        if (len > s->end - s->off) {
            len = s->end - s->off;
        }
        if (len > reader_span(s->reader, s->off)) {
            len = reader_span(s->reader, s->off);
        }
        err = reader_read(s->reader, s->off, (size_t)len, &piece);
        if (err == ZKV_PENDING) {
            s->reading = true;
        } else if (err == 0) {
            deliver(x, piece);
        } else {
            get_failed(x, err);
        }
    }
}

static void handle_read(void *user, int status, struct read_piece piece)
{
    struct s3_exchange *x = user;

    x->u.get.reading = false;
    if (status != 0) {
        get_failed(x, status);
    } else {
        deliver(x, piece);
        read_on(x);
    }
}

static void respond_not_modified(struct s3_exchange *x)
{
    struct s3_reply r;

    s3_reply_init(&r, x, 2);
    add_validators(x, &r);
    s3_respond(x, &r, 304, 0, slice_of(NULL, 0));
}

/* ?partNumber=N: its range. ZERR_INVALID: refused. */
static int choose_part(struct s3_exchange *x)
{
    struct s3_get_state *s = &x->u.get;
    uint64_t number, off, len;

    if (x->head.range.ptr != NULL) {
        s3_refuse(x, S3_INVALID_REQUEST,
                  "Cannot specify both Range header and partNumber query parameter.");
        return ZERR_INVALID;
    }
    if (num_parse_u64(x->route.part_number.value, PART_MAX, &number) != 0 || number == 0) {
        s3_refuse(x, S3_INVALID_ARGUMENT, "Part number must be an integer between 1 and 10000.");
        return ZERR_INVALID;
    }
    if (reader_part(s->reader, (uint32_t)number, &off, &len) != 0) {
        s3_refuse(x, S3_INVALID_PART_NUMBER, NULL);
        return ZERR_INVALID;
    }
    if (len > 0) {
        s->range = (struct s3_range){.kind = S3_RANGE_FROM_TO, .first = off, .last = off + len - 1};
    }
    return 0;
}

static void handle_opened(void *user, int status)
{
    struct s3_exchange *x = user;
    struct s3_get_state *s = &x->u.get;
    const struct s3_head *h = &x->head;
    const struct s3_conditions cond = {h->if_match, h->if_none_match, h->if_modified_since,
                                       h->if_unmodified_since};
    const struct object *obj;
    enum s3_verdict verdict;
    uint64_t len;

    if (status != 0) {
        get_failed(x, status);
        return;
    }
    obj = reader_object(s->reader);
    verdict = s3_judge(&cond, obj);
    if (verdict == S3_FAILS) {
        s3_refuse(x, S3_PRECONDITION_FAILED, NULL);
        return;
    }
    if (verdict == S3_UNCHANGED) {
        respond_not_modified(x);
        return;
    }
    if (h->if_range.ptr != NULL && !s3_etag_listed(h->if_range, obj)) {
        s->range.kind = S3_RANGE_NONE;
    }
    if (x->route.part_number.set && choose_part(x) != 0) {
        return;
    }
    if (s3_range_resolve(s->range, obj->size, &s->off, &len) != 0) {
        x->content_range = content_range(x, 0, 0, obj->size);
        s3_refuse(x, S3_INVALID_RANGE, NULL);
        return;
    }
    s->end = s->off + len;
    if (len == 0 || x->req->method == HTTP_METHOD_HEAD) {
        respond_object(x, s->off, slice_of(NULL, 0));
        return;
    }
    if (len > S3_FIRST_READ) {
        if (x->s3->n_streams >= S3_STREAMS_MAX) {
            s3_refuse(x, S3_SLOW_DOWN, NULL);
            return;
        }
        x->s3->n_streams++;
        s->streams = true;
    }
    read_on(x);
}

static const struct reader_ops READER_OPS = {
    .opened = handle_opened,
    .read = handle_read,
};

static void get_start(struct s3_exchange *x)
{
    struct s3_get_state *s = &x->u.get;
    struct reader *reader = NULL;
    int err;

    if (!overrides_ok(&x->route)) {
        s3_refuse(x, S3_INVALID_ARGUMENT, "A response-... parameter cannot be a header's value.");
        return;
    }
    s->range = s3_range_parse(x->head.range);
    err = reader_open(x->store, x->route.key, x->req->method == HTTP_METHOD_GET, &READER_OPS, x,
                      &reader);
    if (err >= 0) {
        s->reader = reader;
    }
    if (err != ZKV_PENDING) {
        handle_opened(x, err);
    }
}

static void get_sent(struct s3_exchange *x)
{
    read_on(x);
}

static void get_drop(struct s3_exchange *x)
{
    reader_close(x->u.get.reader);
    x->u.get.reader = NULL;
    x->s3->n_streams -= x->u.get.streams ? 1 : 0;
    x->u.get.streams = false;
}

const struct s3_op S3_GET = {
    .start = get_start,
    .sent = get_sent,
    .drop = get_drop,
};
