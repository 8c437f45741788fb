/* PutObject, and UploadPart, which is the same with a part for an object.
 *
 *   start -> put_begin -> (ready) -> proceed -> body* -> end -> put_commit -> (done) -> answer
 *
 * Room is reserved before the body is asked for: a client that waits for "100 Continue" has it
 * only when there is room, and hears "102 Processing" meanwhile (S3QL reads over it). Body slices
 * go on in the buffers they were read into. The length must be known (s3_payload.c), as for S3. If
 * the connection breaks, drop() gives the upload up. */
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

static bool put_waiting(void *user)
{
    struct s3_exchange *x = user;

    return x->stream->ops->wait(x->stream);
}

static void put_again_writable(void *user)
{
    s3_resume(user);
}

static void put_done(void *user, int status, const struct object *obj)
{
    struct s3_exchange *x = user;
    struct s3_reply r;
    char *etag;

    x->u.put.put = NULL;
    if (x->responded || (status == ZERR_BAD_DIGEST && s3_payload_refuse(x))) {
        return;
    }
    if (status != 0) {
        s3_fail(x, status);
        return;
    }
    etag = arena_alloc(x->req->arena, S3_ETAG_MAX);
    s3_reply_init(&r, x, 3);
    if (etag == NULL) {
        r.failed = true;
    } else {
        s3_reply_add(&r, "ETag", s3_etag(obj->md5, obj->parts, etag));
    }
    if (s3_payload_checksum(x) != S3_CHECKSUMS && x->route.op == S3_OP_UPLOAD_PART) {
        s3_reply_add(&r, s3_checksum_header(s3_payload_checksum(x)),
                     slice_str(x->payload.digest->text));
    } else if (s3_payload_checksum(x) != S3_CHECKSUMS) {
        s3_reply_add_checksum(&r, s3_checksum_header(s3_payload_checksum(x)),
                              slice_str(x->payload.digest->text));
    }
    s3_respond(x, &r, 200, 0, slice_of(NULL, 0));
}

static const struct put_ops PUT_OPS = {
    .ready = put_ready,
    .writable = put_again_writable,
    .done = put_done,
    .waiting = put_waiting,
};

/* What describes the object. ZERR_INVALID: answered. */
static int read_object_headers(struct s3_exchange *x, struct put_spec *spec)
{
    const struct s3_head *h = &x->head;
    int err = s3_change_condition(h, &spec->cond);

    if (err == ZERR_UNSUPPORTED) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, S3_CONDITIONS_OFFERED);
        return ZERR_INVALID;
    }
    if (err == 0) {
        err = s3_meta_from_headers(x->req, h, &spec->meta);
        if (err == ZERR_TOO_LARGE) {
            s3_refuse(x, S3_METADATA_TOO_LARGE, NULL);
            return ZERR_INVALID;
        }
    }
    return err != 0 ? err : s3_sys_from_headers(x->req, h, &spec->sys);
}

/* What is kept with the object or the part, or a refusal (ZERR_INVALID: answered). */
static int read_headers(struct s3_exchange *x, struct put_spec *spec)
{
    int err = x->route.op == S3_OP_UPLOAD_PART ? s3_part_of_upload(x, &spec->upload, &spec->part)
                                               : read_object_headers(x, spec);

    if (err == 0 && s3_payload_checksum(x) != S3_CHECKSUMS) {
        err = s3_payload_room(x, &spec->sys);
    }
    if (err != 0 && err != ZERR_INVALID) {
        s3_fail(x, err);
        err = ZERR_INVALID;
    }
    return err;
}

static void put_start(struct s3_exchange *x)
{
    struct put_spec spec = {.key = x->route.key, .size = x->payload.size};
    struct s3_put_state *s = &x->u.put;
    int err;

    if (!x->payload.has_size) {
        s3_refuse(x, S3_MISSING_CONTENT_LENGTH, NULL);
        return;
    }
    if (spec.size > S3_PUT_MAX_BYTES) {
        s3_refuse(x, S3_ENTITY_TOO_LARGE, NULL);
        return;
    }
    if (x->head.content_md5.ptr != NULL) {
        if (base64_decode(x->head.content_md5, s->md5, sizeof(s->md5)) != 0) {
            s3_refuse(x, S3_INVALID_DIGEST, NULL);
            return;
        }
        s->has_md5 = true;
    }
    if (read_headers(x, &spec) != 0) {
        return;
    }
    spec.hasher = s3_payload_hasher(x);
    err = put_begin(x->store, &spec, &PUT_OPS, x, &s->put);
    if (err < 0 && spec.hasher != NULL) {
        spec.hasher->release(spec.hasher);
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
    c = s3_chunk_take(x, data);
    if (c == NULL) {
        give_up(x);
        s3_fail(x, ZERR_NOMEM);
        return;
    }
    put_write(s->put, &c->base);
    if (x->received < x->payload.size && !put_writable(s->put)) {
        s3_pause(x);
    }
}

static void put_end(struct s3_exchange *x)
{
    struct s3_put_state *s = &x->u.put;

    if (s->put != NULL) {
        put_commit(s->put, s->has_md5 ? s->md5 : NULL);
    }
}

const struct s3_op S3_PUT = {
    .start = put_start,
    .body = put_body,
    .end = put_end,
    .drop = give_up,
};
