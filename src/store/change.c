/* Deletes, copies, and what happens to multipart uploads: changes without a body of their own.
 *
 * They wait in the lane's queue like complete uploads, get their room when their round begins, and
 * end with it. A delete of names that are not there ends with 0 and writes nothing. */
#include <assert.h>
#include <stdlib.h>

#include "store/store_priv.h"

struct change {
    struct commit c;
    struct store *st;
    struct change_answer answer;
    struct record recs[];
};

void change_free(struct commit *c)
{
    free(container_of(c, struct change, c));
}

static struct change *change_create(struct store *st, enum commit_kind kind, size_t n_recs,
                                    size_t room, const struct change_answer *answer)
{
    struct change *ch = calloc(1, sizeof(*ch) + n_recs * sizeof(struct record) + room);
    if (ch != NULL) {
        ch->st = st;
        ch->answer = *answer;
        ch->c.kind = kind;
        ch->c.recs = ch->recs;
        ch->c.n_recs = n_recs;
    }
    return ch;
}

int change_submit(struct store *st, const struct record *rec, const struct condition *cond,
                  const struct change_answer *answer)
{
    if (rec->key.len == 0 || rec->key.len > KEY_MAX_BYTES) {
        return rec->key.len == 0 ? ZERR_INVALID : ZERR_TOO_LARGE;
    }
    size_t room = record_room(rec);
    int rc = room > RECORD_MAX_BYTES ? ZERR_TOO_LARGE
                                     : store_may_write(st, room, rec->op == RECORD_ABORT);
    if (rc != 0) {
        return rc;
    }
    struct change *ch = change_create(st, COMMIT_RECORD, 1, room, answer);
    if (ch == NULL) {
        return ZERR_NOMEM;
    }
    ch->recs[0] = *rec;
    (void)record_keep(&ch->recs[0], (uint8_t *)(ch->recs + 1));
    if (cond != NULL) {
        ch->c.cond = *cond;
    }
    lane_queue(st, &ch->c);
    lane_kick(st);
    return 0;
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
    struct change_answer answer = {.done = done, .user = user};
    struct change *ch = change_create(st, COMMIT_DELETE, n, bytes, &answer);
    if (ch == NULL) {
        return ZERR_NOMEM;
    }
    uint8_t *room = (uint8_t *)(ch->recs + n);
    for (size_t i = 0; i < n; i++) {
        ch->recs[i] = (struct record){.op = RECORD_DELETE, .key = keys[i]};
        room = record_keep(&ch->recs[i], room);
    }
    if (cond != NULL) {
        ch->c.cond = *cond;
    }
    lane_queue(st, &ch->c);
    lane_kick(st);
    return 0;
}

int store_copy(struct store *st, const struct copy_spec *spec,
               void (*done)(void *user, int status, const struct object *obj), void *user)
{
    struct record rec = {
        .op = RECORD_PUT,
        .key = spec->key,
        .part = spec->src.parts,
        .body = spec->src.body,
        .size = spec->src.size,
        .body_framed = spec->src.body_framed,
        .body_frame = spec->src.body_frame,
        .has_md5 = spec->src.has_md5,
        .mtime_ms = spec->mtime_ms,
        .meta = spec->meta,
        .sys = spec->sys,
        .extents = spec->extents,
    };
    memcpy(rec.md5, spec->src.md5, sizeof(rec.md5));
    assert((spec->extents.n > 0) == (spec->src.parts > 0 && spec->src.size > 0));
    return change_submit(st, &rec, &spec->cond,
                         &(struct change_answer){.stored = done, .user = user});
}

/* Names of a delete that are there move to the front; the others need no record. */
static int keep_live(struct change *ch)
{
    size_t n = 0;
    for (size_t i = 0; i < ch->c.n_recs; i++) {
        struct object obj;
        int rc = store_lookup(ch->st, ch->recs[i].key, &obj);
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

static uint8_t kind_of(const struct commit *c)
{
    const struct record *r = &c->recs[0];
    if (c->kind == COMMIT_DELETE) {
        return c->n_recs == 1 ? FRAME_DELETE : FRAME_BATCH;
    }
    return r->op == RECORD_PUT && r->upload == 0 ? FRAME_COPY : FRAME_UPLOAD;
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
    uint8_t kind = kind_of(c);
    buf_reset(scratch);
    int rc = frame_record_encode(&fr, frame_implies_place(kind), scratch);
    if (rc != 0) {
        return rc;
    }
    if (scratch->len > RECORD_MAX_BYTES) {
        return ZERR_TOO_LARGE;
    }
    c->head = (struct frame_head){.kind = kind, .record_len = (uint32_t)scratch->len};
    c->frame_len = frame_len(c->head.record_len, 0);
    struct block *b;
    rc = block_reserve(st, c->frame_len, &b, &c->off);
    if (rc != 0) {
        return rc;
    }
    frame_join(c, b);
    frame_head_encode(&c->head, &b->header, c->off, c->head_bytes);
    for (size_t i = 0; i < c->n_recs; i++) {
        record_set_frame(&c->recs[i], (struct place){b->number, c->off}, &c->head);
    }
    return 0;
}

static void tell(const struct change_answer *a, int status, const struct object *obj, uint64_t seq)
{
    if (a->stored != NULL) {
        a->stored(a->user, status, status == 0 ? obj : NULL);
    } else if (a->completed != NULL) {
        a->completed(a->user, status, status == 0 ? obj : NULL, 0);
    } else if (a->begun != NULL) {
        a->begun(a->user, status, status == 0 ? seq : 0);
    } else if (a->done != NULL) {
        a->done(a->user, status);
    }
}

void change_answer(struct commit *c, int status)
{
    struct change *ch = container_of(c, struct change, c);
    struct change_answer now = ch->answer;
    ch->answer = (struct change_answer){0};
    tell(&now, status, NULL, 0);
}

void change_end_round(struct commit *c)
{
    struct change *ch = container_of(c, struct change, c);
    struct store *st = ch->st;
    struct change_answer end = ch->answer;
    struct object obj = {0};
    uint64_t seq = ch->recs[0].seq;
    int status = c->status;
    if (c->kind == COMMIT_DELETE && status == 0) {
        st->stats.deletes += c->n_recs;
    } else if (status == 0) {
        const struct record *r = &ch->recs[0];
        obj = (struct object){.body = r->body,
                              .size = r->size,
                              .framed = true,
                              .frame = r->frame,
                              .body_framed = r->body_framed,
                              .body_frame = r->body_frame,
                              .has_md5 = r->has_md5,
                              .mtime_ms = r->mtime_ms,
                              .parts = r->op == RECORD_PUT ? r->part : 0};
        memcpy(obj.md5, r->md5, sizeof(obj.md5));
        st->stats.copies += c->head.kind == FRAME_COPY;
        st->stats.puts += r->op == RECORD_PUT && c->head.kind == FRAME_UPLOAD;
    }
    if (c->block == NULL) {
        change_free(c);
    } else if (status == 0) {
        frame_leave(c);
        change_free(c);
    } else if (frame_give_up(c)) {
        change_free(c);
    }
    tell(&end, status, &obj, seq);
}
