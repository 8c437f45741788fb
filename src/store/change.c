/* Deletes and copies: changes without a body of their own.
 *
 * They wait in the lane's queue like complete uploads, get their room when their round begins, and
 * end with it. A delete of names that are not there ends with 0 and writes nothing. */
#include <assert.h>
#include <stdlib.h>

#include "store/store_priv.h"

struct change {
    struct commit c;
    struct store *st;
    store_done_fn deleted;
    void (*copied)(void *, int, const struct object *);
    void *user;
    struct record recs[];
};

static uint8_t *put_bytes(uint8_t *at, struct slice s, struct slice *ret)
{
    if (s.len > 0) {
        memcpy(at, s.ptr, s.len);
    }
    *ret = slice_of(at, s.len);
    return at + s.len;
}

static struct change *change_create(struct store *st, enum commit_kind kind, size_t n_recs,
                                    size_t extra, void *user)
{
    struct change *ch = calloc(1, sizeof(*ch) + n_recs * sizeof(struct record) + extra);
    if (ch != NULL) {
        ch->st = st;
        ch->user = user;
        ch->c.kind = kind;
        ch->c.recs = ch->recs;
        ch->c.n_recs = n_recs;
    }
    return ch;
}

void change_free(struct commit *c)
{
    free(container_of(c, struct change, c));
}

int store_delete(struct store *st, const struct slice *keys, size_t n, const struct condition *cond,
                 store_done_fn done, void *user)
{
    if (n == 0 || n > RECORD_MAX_BATCH) {
        return n == 0 ? ZERR_INVALID : ZERR_TOO_LARGE;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (keys[i].len == 0 || keys[i].len > KEY_MAX_BYTES) {
            return keys[i].len == 0 ? ZERR_INVALID : ZERR_TOO_LARGE;
        }
        bytes += keys[i].len;
    }
    int rc = store_may_write(st, bytes, true);
    if (rc != 0) {
        return rc;
    }
    struct change *ch = change_create(st, COMMIT_DELETE, n, bytes, user);
    if (ch == NULL) {
        return ZERR_NOMEM;
    }
    uint8_t *at = (uint8_t *)(ch->recs + n);
    for (size_t i = 0; i < n; i++) {
        ch->recs[i].op = RECORD_DELETE;
        at = put_bytes(at, keys[i], &ch->recs[i].key);
    }
    if (cond != NULL) {
        ch->c.cond = *cond;
    }
    ch->deleted = done;
    lane_queue(st, &ch->c);
    lane_kick(st);
    return 0;
}

static uint8_t *put_attrs(uint8_t *bytes, struct attr *out, struct attrs in, struct attrs *ret)
{
    for (size_t i = 0; i < in.n; i++) {
        bytes = put_bytes(bytes, in.v[i].name, &out[i].name);
        bytes = put_bytes(bytes, in.v[i].value, &out[i].value);
    }
    *ret = (struct attrs){out, in.n};
    return bytes;
}

int store_copy(struct store *st, const struct copy_spec *spec,
               void (*done)(void *user, int status, const struct object *obj), void *user)
{
    if (spec->key.len == 0 || spec->key.len > KEY_MAX_BYTES) {
        return spec->key.len == 0 ? ZERR_INVALID : ZERR_TOO_LARGE;
    }
    size_t bytes = spec->key.len + (spec->meta.n + spec->sys.n) * sizeof(struct attr);
    for (size_t i = 0; i < spec->meta.n; i++) {
        bytes += spec->meta.v[i].name.len + spec->meta.v[i].value.len;
    }
    for (size_t i = 0; i < spec->sys.n; i++) {
        bytes += spec->sys.v[i].name.len + spec->sys.v[i].value.len;
    }
    int rc = bytes > RECORD_MAX_BYTES / 2 ? ZERR_TOO_LARGE : store_may_write(st, bytes, false);
    if (rc != 0) {
        return rc;
    }
    struct change *ch = change_create(st, COMMIT_COPY, 1, bytes, user);
    if (ch == NULL) {
        return ZERR_NOMEM;
    }
    struct attr *attrs = (struct attr *)(void *)(ch->recs + 1);
    uint8_t *at = (uint8_t *)(attrs + spec->meta.n + spec->sys.n);
    struct record *r = &ch->recs[0];
    at = put_attrs(at, attrs, spec->meta, &r->meta);
    at = put_attrs(at, attrs + spec->meta.n, spec->sys, &r->sys);
    at = put_bytes(at, spec->key, &r->key);
    r->op = RECORD_PUT;
    r->body = spec->src.body;
    r->size = spec->src.size;
    r->body_framed = spec->src.body_framed;
    r->body_frame = spec->src.body_frame;
    r->has_md5 = spec->src.has_md5;
    memcpy(r->md5, spec->src.md5, sizeof(r->md5));
    r->mtime_ms = spec->mtime_ms;
    ch->c.cond = spec->cond;
    ch->copied = done;
    lane_queue(st, &ch->c);
    lane_kick(st);
    return 0;
}

/* Names of a delete that are there move to the front; the others need no record. */
static int keep_live(struct change *ch)
{
    size_t n = 0;
    for (size_t i = 0; i < ch->c.n_recs; i++) {
        struct object obj;
        int rc = index_lookup(ch->st->ix_read, ch->recs[i].key, &obj);
        if (rc != 0 && rc != ZERR_NOT_FOUND) {
            return rc;
        }
        bool twice = false;
        for (size_t j = 0; j < n && !twice; j++) {
            twice = slice_eq(ch->recs[j].key, ch->recs[i].key);
        }
        if (rc == 0 && !twice) {
            ch->recs[n++] = ch->recs[i];
        }
    }
    ch->c.n_recs = n;
    return 0;
}

int change_prepare(struct commit *c)
{
    struct change *ch = container_of(c, struct change, c);
    struct store *st = ch->st;
    if (c->kind == COMMIT_DELETE) {
        int rc = keep_live(ch);
        if (rc != 0 || c->n_recs == 0) {
            return rc;
        }
    }
    struct buf *scratch = &st->round.scratch;
    struct frame_record fr = {.entries = c->recs, .n_entries = c->n_recs};
    buf_reset(scratch);
    int rc = frame_record_encode(&fr, false, scratch);
    if (rc != 0) {
        return rc;
    }
    if (scratch->len > RECORD_MAX_BYTES) {
        return ZERR_TOO_LARGE;
    }
    c->head = (struct frame_head){.record_len = (uint32_t)scratch->len};
    c->head.kind = c->kind == COMMIT_COPY ? FRAME_COPY
                   : c->n_recs == 1       ? FRAME_DELETE
                                          : FRAME_BATCH;
    c->frame_len = frame_len(c->head.record_len, 0);
    struct block *b;
    rc = block_reserve(st, c->frame_len, &b, &c->off);
    if (rc != 0) {
        return rc;
    }
    frame_join(c, b);
    frame_head_encode(&c->head, &b->header, c->off, c->head_bytes);
    for (size_t i = 0; i < c->n_recs; i++) {
        c->recs[i].framed = true;
        c->recs[i].frame = (struct place){b->number, c->off};
    }
    return 0;
}

static void tell(struct change *ch, int status, const struct object *obj)
{
    if (ch->c.kind == COMMIT_COPY && ch->copied != NULL) {
        ch->copied(ch->user, status, obj);
    } else if (ch->c.kind == COMMIT_DELETE && ch->deleted != NULL) {
        ch->deleted(ch->user, status);
    }
}

void change_answer(struct commit *c, int status)
{
    struct change *ch = container_of(c, struct change, c);
    struct change now = *ch;
    ch->deleted = NULL;
    ch->copied = NULL;
    tell(&now, status, NULL);
}

void change_end_round(struct commit *c)
{
    struct change *ch = container_of(c, struct change, c);
    struct store *st = ch->st;
    struct change end = *ch;
    struct object obj = {0};
    int status = c->status;
    if (c->kind == COMMIT_COPY && status == 0) {
        const struct record *r = &ch->recs[0];
        obj = (struct object){.body = r->body,
                              .size = r->size,
                              .framed = true,
                              .frame = r->frame,
                              .body_framed = r->body_framed,
                              .body_frame = r->body_frame,
                              .has_md5 = r->has_md5,
                              .mtime_ms = r->mtime_ms};
        memcpy(obj.md5, r->md5, sizeof(obj.md5));
        st->stats.copies++;
    } else if (status == 0) {
        st->stats.deletes += c->n_recs;
    }
    if (c->block == NULL) {
        change_free(c);
    } else if (status == 0) {
        frame_leave(c);
        change_free(c);
    } else if (frame_give_up(c)) {
        change_free(c);
    }
    tell(&end, status, status == 0 ? &obj : NULL);
}
