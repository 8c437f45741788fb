/* What must never count: two works of the lane (lane.c).
 *
 *   VOID   the numbers of a failed round are declared void, by a record in a new block and by the
 *          history's last_seq; its answers wait for that
 *   TIDY   rooms of frames that were given up are cut off at the tail of their block, and become VOID
 *          elsewhere. Those of a failed round that found no space have records; no round begins before
 *          they are VOID on disk (lane_owes_void()), and where their block is poisoned before that,
 *          their numbers are declared void */
#include <stdlib.h>

#include "base/num.h"
#include "store/store_priv.h"

#define PUNCH_MIN PIECE_BYTES

/* ---- void numbers ---- */

/* The VOID record is the first frame of a new block. */
int void_begin(struct store *st)
{
    struct commit *c = calloc(1, sizeof(*c));
    struct frame_record fr = {.void_first = st->void_first, .void_last = st->void_last};
    struct buf *scratch = &st->round.scratch;
    buf_reset(scratch);
    int rc = c == NULL ? ZERR_NOMEM : frame_record_encode(&fr, false, scratch);
    struct block *b = rc == 0 ? block_create(st) : NULL;
    if (b == NULL) {
        free(c);
        return rc != 0 ? rc : ZERR_NOMEM;
    }
    if (st->current != NULL) {
        st->current->state = BLOCK_DRAINING;
        block_unref(st->current);
    }
    st->current = b;
    c->kind = COMMIT_VOID;
    c->head = (struct frame_head){FRAME_VOID, (uint32_t)scratch->len, 0};
    c->off = b->tail;
    c->frame_len = frame_len(c->head.record_len, 0);
    b->tail += c->frame_len;
    b->committed = b->holds_void = true;
    frame_head_encode(&c->head, &b->header, c->off, c->head_bytes);
    frame_join(c, block_ref(b));
    st->lane_frame = c;
    return 0;
}

int void_run(struct store *st)
{
    struct commit *c = st->lane_frame;
    struct vfs *vfs = st->vfs;
    struct buf *out = &st->round.scratch;
    struct frame_record fr = {
        .durable_seq = st->durable_seq, .void_first = st->void_first, .void_last = st->void_last};
    struct vfs_file *file;
    buf_reset(out);
    int rc = buf_append(out, c->head_bytes, FRAME_HEAD_BYTES);
    if (rc == 0) {
        rc = frame_record_encode(&fr, false, out);
    }
    if (rc == 0) {
        struct slice record = slice_of(out->ptr + FRAME_HEAD_BYTES, out->len - FRAME_HEAD_BYTES);
        uint8_t crc[RECORD_CRC_BYTES];
        le32_put(crc, frame_record_crc(c->head_bytes, record));
        rc = buf_append(out, crc, sizeof(crc));
    }
    if (rc == 0) {
        rc = buf_reserve(out, c->frame_len - out->len);
    }
    if (rc == 0) {
        memset(out->ptr + out->len, 0, c->frame_len - out->len);
        rc = block_file(c->block, &file);
    }
    if (rc == 0) {
        struct iovec iov = {out->ptr, c->frame_len};
        rc = vfs->ops->pwritev(file, &iov, 1, c->off);
    }
    if (rc == 0) {
        rc = vfs->ops->datasync(file);
    }
    if (rc == 0) {
        rc = vfs->ops->sync_dir(vfs);
    }
    return rc == 0 ? db_flush_run(st) : rc;
}

void void_finish(struct store *st)
{
    struct commit *c = st->lane_frame;
    int rc = st->lane_status;
    st->lane_frame = NULL;
    frame_leave(c);
    free(c);
    flush_finish(st);
    if (rc != 0) {
        store_fail(st, "a failed commit could not be declared void (%s)", zerr_str(rc));
    }
    st->last_seq = st->void_last > st->last_seq ? st->void_last : st->last_seq;
    st->void_first = st->void_last = 0;
    round_deliver(st);
}

/* ---- tidy ---- */

bool tidy_wanted(const struct store *st, const struct block *b)
{
    return b->voids != NULL && b->state != BLOCK_POISONED && !st->tidy_failed;
}

void tidy_begin(struct store *st, struct block *b)
{
    st->lane_block = block_ref(b);
    st->lane_voids = b->voids;
    b->voids = NULL;
    st->lane_cut = UINT64_MAX;
    st->lane_tail = b->tail;
    for (bool again = true; again;) {
        again = false;
        for (struct commit *c = st->lane_voids; c != NULL; c = c->block_next) {
            if (c->off + c->frame_len == b->tail) {
                b->tail = c->off;
                st->lane_cut = b->tail;
                again = true;
            }
        }
    }
    b->cutting = st->lane_cut != UINT64_MAX;
}

static int void_frame(struct block *b, struct vfs_file *file, const struct commit *c)
{
    struct frame_head head = c->head;
    uint8_t bytes[FRAME_HEAD_BYTES];
    head.kind = FRAME_VOID;
    frame_head_encode(&head, &b->header, c->off, bytes);
    struct iovec iov = {bytes, sizeof(bytes)};
    int rc = file->vfs->ops->pwritev(file, &iov, 1, c->off);
    if (rc == 0 && head.body_len >= PUNCH_MIN) {
        rc = file->vfs->ops->punch(file, c->off + frame_body_off(head.record_len), head.body_len);
        rc = rc == ZERR_UNSUPPORTED ? 0 : rc;
    }
    return rc;
}

int tidy_run(struct store *st)
{
    struct block *b = st->lane_block;
    struct vfs_file *file;
    uint64_t size;
    bool recorded = false;
    if (block_is_broken(b)) {
        return 0; /* there is no file, or seal_run() removes it */
    }
    int rc = block_file(b, &file);
    if (rc == 0) {
        rc = file->vfs->ops->size(file, &size);
    }
    if (rc == 0 && st->lane_cut < size) {
        rc = file->vfs->ops->truncate(file, st->lane_cut);
    }
    for (struct commit *c = st->lane_voids; c != NULL && rc == 0; c = c->block_next) {
        recorded = recorded || c->recorded;
        if (c->off < st->lane_cut) {
            rc = void_frame(b, file, c);
        }
    }
    /* A later durable_seq must not make recovery take a number that failed for acknowledged. */
    if (rc == 0 && recorded && file->vfs->ops->datasync(file) != 0) {
        rc = ZERR_IO; /* whatever it was, it is not tried again */
    }
    return rc;
}

/* Until then no round begins: its records would say that those numbers were acknowledged. */
bool lane_owes_void(const struct store *st)
{
    for (const struct block *b = st->open_blocks; b != NULL; b = b->next) {
        for (const struct commit *c = b->voids; c != NULL; c = c->block_next) {
            if (c->recorded) {
                return true;
            }
        }
    }
    return false;
}

/* The block is poisoned: whether its records are VOID on disk nobody knows. */
static void void_numbers(struct store *st, const struct commit *c)
{
    for (size_t i = 0; c->recorded && i < c->n_recs; i++) {
        uint64_t seq = c->recs[i].seq;
        if (seq != 0) {
            st->void_first = st->void_first == 0 || seq < st->void_first ? seq : st->void_first;
            st->void_last = seq > st->void_last ? seq : st->void_last;
        }
    }
}

/* An upload that ran into the same block may have poisoned it meanwhile. */
void void_poisoned(struct store *st)
{
    for (struct block *b = st->open_blocks; b != NULL; b = b->next) {
        struct commit *c = b->state == BLOCK_POISONED ? b->voids : NULL;
        for (; c != NULL; c = c->block_next) {
            void_numbers(st, c);
            c->recorded = false;
        }
    }
}

void tidy_finish(struct store *st)
{
    struct block *b = st->lane_block;
    int rc = st->lane_status;
    bool cut = b->cutting; /* then nobody has been given room meanwhile */
    b->cutting = false;
    if (rc != 0) {
        block_retire_broken(b); /* its file could not be made: the next upload gets another one */
    }
    if (rc == ZERR_NO_SPACE || rc == ZERR_NOMEM || rc == ZERR_LIMIT) {
        st->tidy_failed = true; /* the tick tries again, with the same cut */
        b->tail = cut ? st->lane_tail : b->tail;
        struct commit *c = st->lane_voids;
        while (c->block_next != NULL) {
            c = c->block_next;
        }
        c->block_next = b->voids;
        b->voids = st->lane_voids;
        if (lane_owes_void(st)) {
            store_refuse_commits(st, ZERR_BUSY);
        }
    } else {
        bool poison = rc != 0 && !block_is_broken(b);
        while (st->lane_voids != NULL) {
            struct commit *c = st->lane_voids;
            st->lane_voids = c->block_next;
            if (poison) {
                void_numbers(st, c);
            }
            commit_free(c);
        }
        if (poison) {
            block_settle(b, b->dirty);
            block_poison(b, rc);
        }
    }
    st->lane_voids = NULL;
    st->lane_block = NULL;
    block_unref(b);
    put_resume_waiting(st);
}
