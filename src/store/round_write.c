/* What a commit round puts into the block files: heads, records, and what is left of the bodies.
 *
 * Neighbours go in one write: small objects that arrive together are one pwritev, whole frames with
 * their padding. An upload whose MD5 is not the expected one becomes VOID here, the others go on.
 * Any failing write fails the round; all but a full disk poison the block, too (round.c). */
#include <assert.h>
#include <stdlib.h>

#include "base/num.h"
#include "store/store_priv.h"

#define ROUND_IOV 512

struct gather { /* segments that follow each other in one file */
    struct round *r;
    struct vfs_file *file;
    uint64_t off, end;
};

/* A full disk leaves the block usable; any other failure of a write does not. */
static void write_failed(struct round *r, const struct vfs_file *file, int status)
{
    for (size_t i = 0; i < r->n_blocks && status != ZERR_NO_SPACE; i++) {
        struct vfs_file *at;
        if (block_file(r->blocks[i].block, &at) == 0 && at == file) {
            r->blocks[i].failed = true;
        }
    }
}

static int gather_flush(struct gather *g)
{
    if (g->r->n_iov == 0) {
        return 0;
    }
    int rc = g->file->vfs->ops->pwritev(g->file, g->r->iov, g->r->n_iov, g->off);
    g->r->n_iov = 0;
    if (rc != 0) {
        write_failed(g->r, g->file, rc);
    }
    return rc;
}

static int gather_add(struct gather *g, struct vfs_file *file, uint64_t off, const void *ptr,
                      size_t len)
{
    if (len == 0) {
        return 0;
    }
    if (g->r->n_iov > 0 && (g->file != file || g->end != off || g->r->n_iov == ROUND_IOV)) {
        int rc = gather_flush(g);
        if (rc != 0) {
            return rc;
        }
    }
    if (g->r->n_iov == 0) {
        g->file = file;
        g->off = off;
    }
    g->r->iov[g->r->n_iov++] = (struct iovec){(void *)(uintptr_t)ptr, len};
    g->end = off + len;
    return 0;
}

/* The owner's hasher has the last word, and may fill in the last attribute's value. */
static int finish_hasher(struct put *p)
{
    const struct attrs *sys = &p->rec.sys;
    const uint8_t *late = sys->n > 0 ? sys->v[sys->n - 1].value.ptr : NULL;
    return p->hasher->finish(p->hasher, (uint8_t *)(uintptr_t)late); /* put_create()'s own copy */
}

/* Hashes what is left of an upload's body and compares. 0, ZERR_BAD_DIGEST, ZERR_NOMEM. */
static int finish_body(struct put *p, uint64_t *ret_sums_hash)
{
    buf_reset(&p->sums);
    if (p->hash == NULL && (p->hash = body_hash_create()) == NULL) {
        return ZERR_NOMEM;
    }
    int rc = 0;
    for (struct chunk *c = p->in_job; c != NULL && rc == 0; c = c->next) {
        rc = put_hash_chunk(p, c);
    }
    if (rc == 0) {
        rc = body_hash_final(p->hash, &p->sums, p->rec.md5, ret_sums_hash);
    }
    p->rec.has_md5 = true;
    if (rc == 0 && p->has_md5 && memcmp(p->md5, p->rec.md5, sizeof(p->md5)) != 0) {
        rc = ZERR_BAD_DIGEST;
    }
    return rc == 0 && p->hasher != NULL ? finish_hasher(p) : rc;
}

static int write_void(struct gather *g, struct commit *c, struct vfs_file *file)
{
    struct frame_head head = c->head;
    head.kind = FRAME_VOID;
    frame_head_encode(&head, &c->block->header, c->off, c->head_bytes);
    return gather_add(g, file, c->off, c->head_bytes, FRAME_HEAD_BYTES);
}

/* Appends record and CRC to the scratch, which has room: it must not move. */
static int encode_record(struct store *st, struct commit *c, uint64_t sums_hash, struct slice *ret)
{
    struct buf *out = &st->round.scratch;
    size_t at = out->len;
    struct frame_record fr = {
        .seq = c->recs[0].seq,
        .durable_seq = st->durable_seq,
        .sums_hash = sums_hash,
        .entries = c->recs,
        .n_entries = c->n_recs,
    };
    int rc = frame_record_encode(&fr, frame_implies_place(c->head.kind), out);
    if (rc != 0) {
        return rc;
    }
    struct slice record = slice_of(out->ptr + at, out->len - at);
    assert(record.len == c->head.record_len);
    uint8_t crc[RECORD_CRC_BYTES];
    le32_put(crc, frame_record_crc(c->head_bytes, record));
    rc = buf_append(out, crc, sizeof(crc));
    *ret = slice_of(out->ptr + at, record.len + RECORD_CRC_BYTES);
    return rc;
}

static int write_commit(struct store *st, struct gather *g, struct commit *c)
{
    static const uint8_t zeros[FRAME_ALIGN];
    struct vfs_file *file;
    struct put *p = c->kind == COMMIT_PUT ? put_of(c) : NULL;
    uint64_t sums_hash = 0;
    int rc = block_file(c->block, &file);
    if (rc != 0) {
        return rc;
    }
    if (p != NULL) {
        c->status = finish_body(p, &sums_hash);
        if (c->status != 0) {
            return write_void(g, c, file);
        }
    }
    /* Not sooner: a number of which nothing is on disk would look like a lost one (tail.c). */
    for (size_t i = 0; i < c->n_recs; i++) {
        c->recs[i].seq = st->round.next_seq++;
    }
    struct slice record;
    rc = encode_record(st, c, sums_hash, &record);
    if (rc == 0) {
        rc = gather_add(g, file, c->off, c->head_bytes, FRAME_HEAD_BYTES);
    }
    if (rc == 0) {
        rc = gather_add(g, file, c->off + FRAME_HEAD_BYTES, record.ptr, record.len);
    }
    uint64_t at = c->off + frame_body_off(c->head.record_len);
    if (p != NULL) {
        at += p->hashed;
        for (struct chunk *k = p->in_job; k != NULL && rc == 0; k = k->next) {
            rc = gather_add(g, file, at, k->data, k->len);
            at += k->len;
        }
        at += p->sums_written;
        if (rc == 0) {
            rc = gather_add(g, file, at, p->sums.ptr, p->sums.len);
        }
        at += p->sums.len;
    }
    if (rc == 0) {
        rc = gather_add(g, file, at, zeros, c->off + c->frame_len - at);
    }
    return rc;
}

int round_write(struct store *st)
{
    struct round *r = &st->round;
    struct gather g = {.r = r};
    size_t room = 0;
    for (struct commit *c = r->items; c != NULL; c = c->next) {
        room += c->status == 0 && c->block != NULL ? c->head.record_len + RECORD_CRC_BYTES : 0;
    }
    buf_reset(&r->scratch);
    int rc = buf_reserve(&r->scratch, room);
    for (size_t i = 0; i < r->n_heads && rc == 0; i++) {
        struct vfs_file *file;
        rc = block_file(r->heads[i].block, &file);
        if (rc == 0) {
            rc = gather_add(&g, file, r->heads[i].off, r->heads[i].bytes, FRAME_HEAD_BYTES);
        }
    }
    for (struct commit *c = r->items; c != NULL && rc == 0; c = c->next) {
        if (c->status == 0 && c->block != NULL) {
            rc = write_commit(st, &g, c);
        }
    }
    return rc == 0 ? gather_flush(&g) : rc;
}
