/* PutObject.
 *
 *   start -> put_begin -> (ready) -> proceed -> body* -> end -> put_commit -> (done) -> answer
 *
 * Room is reserved before the body is asked for: a client that waits for "100 Continue" has it
 * only when there is room. Body slices go on in the buffers they were read into. The length is
 * Content-Length or, for a chunked body, x-amz-decoded-content-length; without either the request
 * is refused as S3 does. If the connection breaks, drop() gives the upload up. */
#include "s3/s3_exchange.h"

#include "base/num.h"

/* Refuses in the middle; what the store has is given up. */
static void give_up(struct s3_exchange *x)
{
    struct put *put = x->u.put.put;

    x->u.put.put = NULL;
    if (put != NULL) {
        put_abort(put);
    }
}

/* Not to leave the transport paused behind an answer. */
static void unpause(struct s3_exchange *x)
{
    if (x->u.put.paused) {
        x->u.put.paused = false;
        x->stream->ops->resume(x->stream);
    }
}

static void put_ready(void *user, int status)
{
    struct s3_exchange *x = user;

    if (status != 0) {
        x->u.put.put = NULL; /* refused: it has ended */
        s3_fail(x, status);
        return;
    }
    x->stream->ops->proceed(x->stream);
}

static void put_again_writable(void *user)
{
    unpause(user);
}

static void put_done(void *user, int status, const struct object *obj)
{
    struct s3_exchange *x = user;
    struct s3_reply r;
    char *etag;

    x->u.put.put = NULL;
    unpause(x);
    if (x->responded) {
        return;
    }
    if (status != 0) {
        s3_fail(x, status);
        return;
    }
    etag = arena_alloc(x->req->arena, S3_ETAG_LEN);
    s3_reply_init(&r, x, 1);
    if (etag == NULL) {
        r.failed = true;
    } else {
        s3_etag(obj->md5, etag);
        s3_reply_add(&r, "ETag", slice_of(etag, S3_ETAG_LEN));
    }
    s3_respond(x, &r, 200, 0, slice_of(NULL, 0));
}

static const struct put_ops PUT_OPS = {
    .ready = put_ready,
    .writable = put_again_writable,
    .done = put_done,
};

/* The body's length and MD5, or a refusal (ZERR_INVALID: answered). */
static int read_body_headers(struct s3_exchange *x)
{
    const struct s3_head *h = &x->head;
    struct s3_put_state *s = &x->u.put;

    if (slice_has_prefix(h->content_sha256, SLICE_LIT("STREAMING-"))) {
        s3_refuse(x, S3_NOT_IMPLEMENTED,
                  "Bodies in signed chunks (x-amz-content-sha256: STREAMING-...) are not offered.");
        return ZERR_INVALID;
    }
    if (h->content_md5.ptr != NULL) {
        if (base64_decode(h->content_md5, s->md5, sizeof(s->md5)) != 0) {
            s3_refuse(x, S3_INVALID_DIGEST, NULL);
            return ZERR_INVALID;
        }
        s->has_md5 = true;
    }
    if (x->req->has_length) {
        s->size = x->req->length;
    } else if (h->decoded_length.ptr == NULL) {
        s3_refuse(x, S3_MISSING_CONTENT_LENGTH, NULL);
        return ZERR_INVALID;
    } else if (num_parse_u64(h->decoded_length, UINT64_MAX, &s->size) != 0) {
        s3_refuse(x, S3_INVALID_ARGUMENT, "x-amz-decoded-content-length is not a number.");
        return ZERR_INVALID;
    }
    return 0;
}

static void put_start(struct s3_exchange *x)
{
    struct put_spec spec = {.key = x->route.key};
    int err;

    if (read_body_headers(x) != 0) {
        return;
    }
    spec.size = x->u.put.size;
    err = s3_change_condition(&x->head, &spec.cond);
    if (err == ZERR_UNSUPPORTED) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, "Of If-None-Match only * is offered here.");
        return;
    }
    if (err == 0) {
        err = s3_meta_from_headers(x->req, &x->head, &spec.meta);
        if (err == ZERR_TOO_LARGE) {
            s3_refuse(x, S3_METADATA_TOO_LARGE, NULL);
            return;
        }
    }
    if (err == 0) {
        err = s3_sys_from_headers(x->req, &x->head, &spec.sys);
    }
    if (err == 0) {
        err = put_begin(x->s3->store, &spec, &PUT_OPS, x, &x->u.put.put);
    }
    if (err < 0) {
        s3_fail(x, err);
    } else if (err == 0) {
        x->stream->ops->proceed(x->stream);
    }
}

static void put_body(struct s3_exchange *x, struct slice data)
{
    struct s3_put_state *s = &x->u.put;
    struct s3_chunk *c;

    if (s->put == NULL || data.len == 0) {
        return;
    }
    if (x->received > s->size) { /* chunked, and longer than it said */
        give_up(x);
        unpause(x);
        s3_refuse(x, S3_INCOMPLETE_BODY, NULL);
        return;
    }
    c = s3_chunk_take(x, data);
    if (c == NULL) {
        give_up(x);
        unpause(x);
        s3_fail(x, ZERR_NOMEM);
        return;
    }
    put_write(s->put, &c->base);
    if (!s->paused && x->received < s->size && !put_writable(s->put)) {
        s->paused = true;
        x->stream->ops->pause(x->stream);
    }
}

static void put_end(struct s3_exchange *x)
{
    struct s3_put_state *s = &x->u.put;

    if (s->put == NULL) {
        return;
    }
    if (x->received != s->size) {
        give_up(x);
        s3_refuse(x, S3_INCOMPLETE_BODY, NULL);
        return;
    }
    put_commit(s->put, s->has_md5 ? s->md5 : NULL);
}

const struct s3_op S3_PUT = {
    .start = put_start,
    .body = put_body,
    .end = put_end,
    .drop = give_up,
};
