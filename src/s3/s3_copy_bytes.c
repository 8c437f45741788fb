/* The bytes of a copy, mostly from one bucket to another: read from the one store, written to the other as an
 * upload is, so that the copy is there whole or not at all, and on disk when it is answered.
 *
 *   s3_copy_bytes -> put_begin -> (ready) -> { reader_read -> put_write }* -> put_commit -> (done)
 *
 * One read is under way at a time, and none while the put is not writable: a slow disk on either side
 * stops the other. What is read is checked by the reader's sums, and against the source's MD5 where
 * that covers just these bytes. Pieces are copied once in memory, because the put may hold them in any
 * order and the reader takes them back in order; both sides together hold what an upload and a download
 * hold. The body of the request is not read, so nothing would tell that its client is gone: that is
 * asked for at each step, and then the copy ends without having happened; one who is there is told that
 * it goes on. */
#include "s3/s3_exchange.h"

#include <stdlib.h>

struct copied_chunk {
    struct chunk base;
    uint8_t data[];
};

static void release_chunk(struct chunk *base)
{
    free(container_of(base, struct copied_chunk, base));
}

static void fail_copy(struct s3_exchange *x, int status)
{
    struct put *put = x->u.copy.put;

    x->u.copy.put = NULL;
    if (put != NULL) {
        put_abort(put);
    }
    s3_fail(x, status);
}

/* The put takes a piece; the reader has it back. */
static int take(struct s3_exchange *x, struct read_piece piece)
{
    struct s3_copy_state *s = &x->u.copy;
    struct copied_chunk *c = malloc(sizeof(*c) + piece.len);

    if (c != NULL) {
        c->base = (struct chunk){.data = c->data, .len = piece.len, .release = release_chunk};
        memcpy(c->data, piece.data, piece.len);
    }
    reader_release(s->reader);
    if (c == NULL) {
        return ZERR_NOMEM;
    }
    s->off += piece.len;
    put_write(s->put, &c->base);
    return 0;
}

static void commit(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;
    const struct object *obj = reader_object(s->reader);
    bool whole = obj->has_md5 && obj->parts == 0 && s->len == obj->size;

    s->committed = true;
    put_commit(s->put, whole ? obj->md5 : NULL);
}

static void read_on(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;
    int err = 0;

    if (s->put != NULL && s->off < s->end && x->stream->ops->gone(x->stream)) {
        x->stream->ops->cut(x->stream); /* s3_copy_bytes_drop() comes */
        return;
    }
    if (s->put != NULL) {
        s3_still_here(x);
    }
    while (err == 0 && s->put != NULL && !s->reading && s->off < s->end && put_writable(s->put)) {
        uint64_t len = S3_NEXT_READ - s->off % PIECE_BYTES, span = reader_span(s->reader, s->off);
        struct read_piece piece;

        len = len < s->end - s->off ? len : s->end - s->off;
        len = len < span ? len : span;
        err = reader_read(s->reader, s->off, (size_t)len, &piece);
        if (err == ZKV_PENDING) {
            s->reading = true;
            return;
        }
        if (err == 0) {
            err = take(x, piece);
        }
    }
    if (err != 0) {
        fail_copy(x, err);
    } else if (s->put != NULL && s->off == s->end && !s->committed) {
        commit(x);
    }
}

void s3_copy_bytes_read(void *user, int status, struct read_piece piece)
{
    struct s3_exchange *x = user;
    struct s3_copy_state *s = &x->u.copy;

    s->reading = false;
    if (s->put == NULL) { /* it has failed meanwhile, and so it was answered */
        if (status == 0) {
            reader_release(s->reader);
        }
        return;
    }
    if (status == 0) {
        status = take(x, piece);
    }
    if (status != 0) {
        fail_copy(x, status);
    } else {
        read_on(x);
    }
}

static void put_ready(void *user, int status)
{
    struct s3_exchange *x = user;

    if (status != 0) {
        x->u.copy.put = NULL; /* refused: it has ended */
        s3_fail(x, status);
    } else {
        read_on(x);
    }
}

static void put_again_writable(void *user)
{
    read_on(user);
}

static void put_done(void *user, int status, const struct object *obj)
{
    struct s3_exchange *x = user;

    x->u.copy.put = NULL;
    if (status != 0) {
        s3_fail(x, status);
    } else {
        s3_respond_copied(x, obj);
    }
}

static const struct put_ops PUT_OPS = {
    .ready = put_ready,
    .writable = put_again_writable,
    .done = put_done,
};

void s3_copy_bytes(struct s3_exchange *x, uint64_t from, uint64_t len)
{
    struct s3_copy_state *s = &x->u.copy;
    struct put_spec spec = {
        .key = x->route.key,
        .size = len,
        .meta = s->spec.meta,
        .sys = s->spec.sys,
        .cond = s->spec.cond,
        .upload = s->upload,
        .part = s->part,
    };
    int err;

    if (x->s3->n_copies == S3_COPIES_MAX) {
        s3_refuse(x, S3_SLOW_DOWN, NULL);
        return;
    }
    x->s3->n_copies++;
    s->counted = true;
    s->off = from;
    s->len = len;
    s->end = from + len;
    err = s3_copy_hasher(x, &spec.sys, &spec.hasher);
    if (err == 0) {
        err = put_begin(x->store, &spec, &PUT_OPS, x, &s->put);
    }
    if (err < 0) {
        if (spec.hasher != NULL) {
            spec.hasher->release(spec.hasher);
        }
        s3_fail(x, err);
    } else if (err == 0) {
        read_on(x);
    }
}

void s3_copy_bytes_drop(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;

    if (s->put != NULL) {
        put_abort(s->put);
        s->put = NULL;
    }
    x->s3->n_copies -= s->counted;
    s->counted = false;
}
