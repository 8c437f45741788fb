/* Commit rounds: what 200 means.
 *
 *   begin   (loop)    takes waiting commits in order, checks their conditions against what is
 *                     published, reserves room for deletes and copies.
 *                     A commit that depends on an earlier one of the same round (same key, and it
 *                     is a delete or has a condition) waits for the next round.
 *   run     (worker, or the loop itself if it is quick)  numbers those whose bodies are what they
 *                     should be (round_write.c); writes heads, records and what is left of the bodies,
 *                     neighbours in one write; syncs each block that got one, and the directory if
 *                     one of them is new; one short index transaction; the batch.
 *   finish  (loop)    publishes and answers, in number order.
 *
 * What breaks half-way:
 *   one upload's MD5 is wrong      its frame is written VOID and gets no number; the others go on
 *   no space for a write           the whole round fails with NO_SPACE; its frames become VOID
 *   a write or a sync fails        the whole round fails with IO; the block is poisoned; its numbers
 *                                  are declared void (tidy.c) before anybody is answered
 *   the index cannot be written    the frames are on disk: nobody is answered, the lane tries again
 *   the process dies               recovery finds the frames whose records and bodies check
 *
 * With -sync block the syncs are left out. */
#include <assert.h>
#include <stdlib.h>

#include "base/num.h"
#include "store/store_priv.h"

#define WRITEBACK_STEP (4u << 20)
#define QUICK_RECORDS 32
#define QUICK_BYTES (128u << 10)
#define SYNC_GAP_MAX_NS 20000000000u /* more between two syncs: the disk was idle meanwhile */

/* ---- begin ---- */

static bool wants_writeback(const struct round_block *rb)
{
    return !rb->sync && rb->end > rb->block->writeback + WRITEBACK_STEP;
}

static bool shares_key(const struct commit *a, const struct commit *b)
{
    for (size_t i = 0; i < a->n_recs; i++) {
        for (size_t j = 0; j < b->n_recs; j++) {
            if (slice_eq(a->recs[i].key, b->recs[j].key)) {
                return true;
            }
        }
    }
    return false;
}

/* One of them ends the upload that both are about. */
static bool shares_upload(const struct commit *a, const struct commit *b)
{
    const struct record *x = &a->recs[0], *y = &b->recs[0];
    return x->upload != 0 && x->upload == y->upload &&
           (x->op != RECORD_PART || y->op != RECORD_PART);
}

/* Must wait until the earlier ones of this round are published. */
static bool must_follow(const struct round *r, const struct commit *c)
{
    const struct condition *cond = &c->cond;
    for (const struct commit *e = r->items; c->recs[0].upload != 0 && e != NULL; e = e->next) {
        if (shares_upload(e, c)) {
            return true;
        }
    }
    if (c->kind != COMMIT_DELETE && !cond->if_absent && !cond->if_match && !cond->if_match_any) {
        return false;
    }
    if (c->n_recs > 16 && r->n_items > 0) {
        return true; /* a large one begins its own round, so that comparing stays cheap */
    }
    for (const struct commit *e = r->items; e != NULL; e = e->next) {
        if (shares_key(e, c)) {
            return true;
        }
    }
    return false;
}

static int check_condition(struct store *st, const struct commit *c)
{
    const struct condition *cond = &c->cond;
    if (c->recs[0].upload != 0) {
        int there = store_saw_index(st, index_has_upload(st->ix_read, c->recs[0].upload));
        if (there != 0) {
            return there;
        }
    }
    if (!cond->if_absent && !cond->if_match && !cond->if_match_any) {
        return 0;
    }
    struct object obj;
    int rc = store_lookup(st, c->recs[0].key, &obj);
    if (rc != 0 && rc != ZERR_NOT_FOUND) {
        return rc;
    }
    if (cond->if_absent) {
        return rc == 0 ? ZERR_PRECONDITION : 0;
    }
    if (rc == ZERR_NOT_FOUND) {
        return ZERR_NOT_FOUND;
    }
    bool match = cond->if_match_any ||
                 (obj.has_md5 && obj.parts == cond->parts && memcmp(obj.md5, cond->md5, 16) == 0);
    return match ? 0 : ZERR_PRECONDITION;
}

/* The round's entry for a block; NULL: out of memory. */
static struct round_block *round_block(struct round *r, struct block *b)
{
    for (size_t i = 0; i < r->n_blocks; i++) {
        if (r->blocks[i].block == b) {
            return &r->blocks[i];
        }
    }
    if (r->n_blocks == r->cap_blocks) {
        size_t cap = r->cap_blocks == 0 ? 8 : r->cap_blocks * 2;
        struct round_block *p = realloc(r->blocks, cap * sizeof(*p));
        if (p == NULL) {
            return NULL;
        }
        r->blocks = p;
        r->cap_blocks = cap;
    }
    bool ack = b->st->cfg.sync == STORE_SYNC_ACK;
    r->blocks[r->n_blocks] = (struct round_block){
        .block = block_ref(b), .dirty = b->dirty, .sync = ack, .sync_dir = ack && !b->dir_synced};
    return &r->blocks[r->n_blocks++];
}

/* Takes one commit into the round: status, room, time, the rest of its bytes. */
static void take(struct store *st, struct commit *c, int64_t now_ms)
{
    struct round *r = &st->round;
    if (c->kind == COMMIT_PUT) {
        struct put *p = put_of(c);
        p->state = PUT_ROUND;
        p->in_job = p->queue;
        p->in_job_bytes = p->queued;
        p->queue = NULL;
        p->queue_tail = &p->queue;
        p->queued = 0;
    }
    c->status = check_condition(st, c);
    if (c->status == 0 && c->kind != COMMIT_PUT) {
        c->status = change_prepare(c);
    }
    if (c->status != 0 || c->block == NULL) {
        return;
    }
    struct round_block *rb = round_block(r, c->block);
    if (rb == NULL) {
        c->status = ZERR_NOMEM;
        return;
    }
    rb->end = c->off + c->frame_len > rb->end ? c->off + c->frame_len : rb->end;
    c->touched = true;
    for (size_t i = 0; i < c->n_recs; i++) {
        if (c->recs[i].mtime_ms == 0) {
            c->recs[i].mtime_ms = now_ms;
        }
    }
}

static int add_head(struct round *r, struct block *b, struct commit *c)
{
    if (r->n_heads == r->cap_heads) {
        size_t cap = r->cap_heads == 0 ? 16 : r->cap_heads * 2;
        struct head_write *p = realloc(r->heads, cap * sizeof(*p));
        if (p == NULL) {
            return ZERR_NOMEM;
        }
        r->heads = p;
        r->cap_heads = cap;
    }
    struct head_write *h = &r->heads[r->n_heads++];
    h->block = b;
    h->off = c->off;
    memcpy(h->bytes, c->head_bytes, FRAME_HEAD_BYTES);
    c->touched = true;
    return 0;
}

/* Heads of frames that lie before one that commits now, given up or not: a scan must be able to step
 * over them. */
static int collect_heads(struct round *r)
{
    int rc = 0;
    r->n_heads = 0;
    for (size_t i = 0; i < r->n_blocks && rc == 0; i++) {
        struct block *b = r->blocks[i].block;
        uint64_t last = 0;
        for (struct commit *c = r->items; c != NULL; c = c->next) {
            if (c->block == b && c->status == 0 && c->off > last) {
                last = c->off;
            }
        }
        for (struct commit *c = b->frames; c != NULL && rc == 0; c = c->block_next) {
            bool ours = c->kind != COMMIT_PUT || put_of(c)->state == PUT_ROUND;
            if (!c->head_written && c->off < last && !(ours && c->status == 0)) {
                rc = add_head(r, b, c);
            }
        }
        for (struct commit *c = b->voids; c != NULL && rc == 0; c = c->block_next) {
            if (!c->head_written && c->off < last) {
                rc = add_head(r, b, c);
            }
        }
    }
    return rc;
}

bool round_begin(struct store *st)
{
    struct round *r = &st->round;
    struct commit **tail = &r->items;
    int64_t now_ms = st->vfs->ops->wall_ms(st->vfs);
    r->items = NULL;
    r->n_items = r->n_blocks = r->n_batched = 0;
    r->sync_status = r->index_status = r->checkpoint_status = 0;
    r->index_done = r->on_loop = false;
    r->first_seq = r->next_seq = st->next_seq;
    r->bytes_synced = r->sync_ns = 0;
    while (st->commits != NULL && r->n_items < ROUND_MAX && !must_follow(r, st->commits)) {
        struct commit *c = st->commits;
        st->commits = c->next;
        if (st->commits == NULL) {
            st->commits_tail = &st->commits;
        }
        st->n_commits--;
        c->next = NULL;
        *tail = c;
        tail = &c->next;
        r->n_items++;
        take(st, c, now_ms);
    }
    if (st->cfg.sync == STORE_SYNC_ACK && st->unsynced >= st->unsynced_max / 2) {
        for (struct block *b = st->open_blocks; b != NULL; b = b->next) {
            if (b->dirty > 0 && b->state != BLOCK_POISONED) {
                (void)round_block(r, b); /* without memory the next round tries again */
            }
        }
    }
    int rc = collect_heads(r);
    if (rc != 0) {
        r->sync_status = rc; /* nothing is written, everybody gets it */
    }
    return r->n_items > 0 || r->n_blocks > 0;
}

/* Nothing that it does on disk is more than a write of a little into the page cache. */
bool round_is_quick(const struct store *st)
{
    const struct round *r = &st->round;
    size_t n_records = 0, n_bytes = 0;
    if (st->cfg.sync != STORE_SYNC_BLOCK || !index_commit_is_quick(st->ix_write)) {
        return false;
    }
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct round_block *rb = &r->blocks[i];
        if (block_file_if_open(rb->block) == NULL || wants_writeback(rb)) {
            return false;
        }
    }
    for (const struct commit *c = r->items; c != NULL; c = c->next) {
        n_records += c->n_recs;
        n_bytes += c->kind == COMMIT_PUT ? put_of((struct commit *)c)->in_job_bytes : 0;
    }
    return n_records <= QUICK_RECORDS && n_bytes <= QUICK_BYTES;
}

/* ---- run ---- */

/* With -sync block the disk is told to begin as bytes arrive, so that the seal finds little left.
 */
static void start_writeback(struct round *r)
{
    for (size_t i = 0; i < r->n_blocks; i++) {
        struct round_block *rb = &r->blocks[i];
        struct block *b = rb->block;
        struct vfs_file *file = block_file_if_open(b);
        if (file != NULL && wants_writeback(rb)) {
            file->vfs->ops->writeback(file, b->writeback, rb->end - b->writeback);
            b->writeback = rb->end;
        }
    }
}

static int sync_all(struct store *st)
{
    struct round *r = &st->round;
    struct vfs *vfs = st->vfs;
    bool dir = false;
    uint64_t began = vfs->ops->mono_ns(vfs);
    for (size_t i = 0; i < r->n_blocks; i++) {
        struct round_block *rb = &r->blocks[i];
        if (!rb->sync) {
            continue;
        }
        struct vfs_file *file;
        int rc = block_file(rb->block, &file);
        if (rc == 0) {
            rc = vfs->ops->datasync(file);
        }
        if (rc != 0) {
            rb->failed = true;
            return rc;
        }
        r->bytes_synced += rb->dirty;
        dir = dir || rb->sync_dir;
    }
    int rc = dir ? vfs->ops->sync_dir(vfs) : 0;
    for (size_t i = 0; rc != 0 && i < r->n_blocks; i++) {
        r->blocks[i].failed = r->blocks[i].sync_dir;
    }
    r->sync_ns = vfs->ops->mono_ns(vfs) - began;
    return rc;
}

void round_run(struct store *st)
{
    struct round *r = &st->round;
    if (r->sync_status == 0) {
        r->sync_status = round_write(st);
    }
    if (r->sync_status == 0) {
        r->sync_status = sync_all(st);
    }
    start_writeback(r);
    r->n_iov = 0;
    if (r->sync_status == 0) {
        round_index_run(st);
    }
}

/* Also run again, alone, when it failed: it goes on where it stopped. */
static int index_items(struct store *st)
{
    struct round *r = &st->round;
    int rc = index_begin(st->ix_write);
    if (rc != 0) {
        return rc;
    }
    struct index_mark mark;
    uint64_t n = 0;
    index_fill_mark(st, &mark);
    for (struct commit *c = r->items; c != NULL && rc == 0; c = c->next) {
        for (size_t i = 0; c->status == 0 && c->block != NULL && i < c->n_recs && rc == 0; i++) {
            rc = index_apply(st->ix_write, &c->recs[i], false);
            mark.last_seq = c->recs[i].seq;
            mark.unflushed++;
            if (record_in_history(&c->recs[i])) {
                mark.seq = c->recs[i].seq;
                n++;
            }
        }
    }
    if (rc == 0) {
        mark.n_records += n;
        mark.durable_seq = st->cfg.sync == STORE_SYNC_ACK ? mark.last_seq : st->durable_seq;
        rc = index_set_mark(st->ix_write, &mark);
    }
    if (rc == 0) {
        rc = index_commit(st->ix_write);
    } else {
        index_rollback(st->ix_write);
    }
    if (rc == 0) {
        r->n_published = n;
        r->published_seq = mark.seq;
        r->published_last_seq = mark.last_seq;
    }
    return rc;
}

static int batch_items(struct store *st)
{
    struct round *r = &st->round;
    size_t at = 0;
    for (struct commit *c = r->items; c != NULL; c = c->next) {
        for (size_t i = 0; c->status == 0 && c->block != NULL && i < c->n_recs; i++, at++) {
            if (at < r->n_batched) {
                continue;
            }
            int rc = flush_add(st, &c->recs[i]);
            if (rc != 0) {
                return rc;
            }
            r->n_batched++;
        }
    }
    return 0;
}

void round_index_run(struct store *st)
{
    struct round *r = &st->round;
    bool any = false;
    for (struct commit *c = r->items; c != NULL && !any; c = c->next) {
        any = c->status == 0 && c->block != NULL;
    }
    r->index_status = 0;
    if (!any) {
        r->n_published = 0;
        return;
    }
    if (!r->index_done) {
        r->index_status = index_items(st);
        r->index_done = r->index_status == 0;
    }
    if (r->index_status == 0) {
        r->index_status = batch_items(st);
    }
    if (r->index_status == 0 && !r->on_loop) {
        r->checkpoint_status = index_checkpoint(st->ix_write, false);
    }
}

/* ---- finish ---- */

void block_settle(struct block *b, uint64_t bytes)
{
    b->dirty -= bytes;
    b->st->unsynced -= bytes;
}

/* The disk's speed decides how much may be on its way. */
void round_adapt(struct store *st)
{
    struct round *r = &st->round;
    if (r->bytes_synced == 0 || r->sync_ns == 0) {
        return;
    }
    double max = (double)r->bytes_synced / ((double)r->sync_ns / 1e9) * UNSYNCED_SECONDS;
    if (r->bytes_synced < UNSYNCED_MIN && max < (double)st->unsynced_max) {
        return; /* little data: the time says nothing about the speed, unless it was short */
    }
    /* While uploads are told to stop, the disk writes between the syncs, too. */
    uint64_t now = st->vfs->ops->mono_ns(st->vfs), since = now - st->last_synced_ns;
    put_adapt_ahead(st, r->bytes_synced,
                    st->any_stalled && since > r->sync_ns && since < SYNC_GAP_MAX_NS ? since
                                                                                     : r->sync_ns);
    st->last_synced_ns = now;
    st->unsynced_max = max >= UNSYNCED_MAX   ? UNSYNCED_MAX
                       : max <= UNSYNCED_MIN ? UNSYNCED_MIN
                                             : (uint64_t)max;
}

/* The bytes that the round itself wrote (or refused) are settled, and their buffers free. */
static void settle_items(struct store *st)
{
    for (struct commit *c = st->round.items; c != NULL; c = c->next) {
        if (c->kind != COMMIT_PUT) {
            continue;
        }
        struct put *p = put_of(c);
        struct chunk *list = p->in_job;
        st->unsynced -= p->in_job_bytes;
        st->queued -= p->in_job_bytes;
        p->in_job = NULL;
        p->in_job_bytes = 0;
        while (list != NULL) {
            struct chunk *k = list;
            list = k->next;
            k->release(k);
        }
    }
}

/* The heads that this round wrote for uploads still going on need not be written again. */
static void settle_heads(struct round *r)
{
    for (size_t i = 0; i < r->n_heads; i++) {
        for (struct commit *c = r->heads[i].block->frames; c != NULL; c = c->block_next) {
            if (c->off == r->heads[i].off) {
                c->head_written = true;
            }
        }
    }
}

static bool finish_blocks(struct store *st)
{
    struct round *r = &st->round;
    bool poisoned = false;
    if (r->sync_status == 0) {
        settle_heads(r);
        for (struct commit *c = r->items; c != NULL; c = c->next) {
            if (c->block != NULL && c->status == 0) {
                c->block->committed = true;
            }
        }
    }
    for (size_t i = 0; i < r->n_blocks; i++) {
        struct round_block *rb = &r->blocks[i];
        if (r->sync_status == 0 && rb->sync) {
            if (rb->block->state != BLOCK_POISONED) { /* by an upload meanwhile: it is settled */
                block_settle(rb->block, rb->dirty);
            }
            rb->block->dir_synced = true;
            st->stats.syncs++;
        } else if (rb->failed) {
            poisoned = true;
            block_settle(rb->block, rb->block->dirty);
            block_poison(rb->block, r->sync_status);
        } else if (r->sync_status != 0) {
            poisoned = poisoned || rb->block->state == BLOCK_POISONED;
            block_retire_broken(rb->block);
        }
        block_unref(rb->block);
    }
    r->n_blocks = 0;
    return poisoned;
}

void round_finish(struct store *st)
{
    struct round *r = &st->round;
    st->next_seq = r->next_seq;
    settle_items(st);
    bool poisoned = finish_blocks(st);
    if (r->sync_status != 0) {
        for (struct commit *c = r->items; c != NULL; c = c->next) {
            c->status = c->status == 0 ? r->sync_status : c->status;
            c->recorded = !poisoned;
        }
        if (poisoned && r->next_seq > r->first_seq) {
            st->void_first = r->first_seq;
            st->void_last = r->next_seq - 1;
            return; /* the answers wait until the numbers are void on disk */
        }
        if (r->next_seq > r->first_seq) {
            st->last_seq = r->next_seq - 1;
            st->gap_unflushed = true;
        }
        round_deliver(st);
        return;
    }
    if (r->index_status != 0) {
        if (!st->index_down) {
            store_note(st, LOG_ERROR,
                       "look-up index: cannot be written (%s); writes wait, trying again",
                       zerr_str(r->index_status));
            st->index_down_since_ns = st->vfs->ops->mono_ns(st->vfs);
        }
        st->index_down = true;
        return;
    }
    if (st->index_down) {
        store_note(st, LOG_INFO, "look-up index: written again");
        st->index_down = false;
    }
    if (r->index_done) {
        st->n_records += r->n_published;
        st->mark_seq = r->published_seq;
        st->mark_last_seq = r->published_last_seq;
    }
    if (r->next_seq > r->first_seq) {
        st->last_seq = r->next_seq - 1;
        if (st->cfg.sync == STORE_SYNC_ACK) {
            st->durable_seq = st->last_seq;
        }
    }
    st->stats.rounds++;
    st->last_sync_ns = r->sync_ns;
    st->n_expected = r->n_items + st->n_commits;
    round_adapt(st);
    store_refresh_totals(st);
    round_deliver(st);
    /* Others are tried again after a later round. */
    (void)store_saw_index(st, st->round.checkpoint_status);
}

void round_deliver(struct store *st)
{
    struct commit *list = st->round.items;
    st->round.items = NULL;
    st->round.n_items = 0;
    while (list != NULL) {
        struct commit *c = list;
        list = c->next;
        c->next = NULL;
        if (c->kind == COMMIT_PUT) {
            put_end_round(put_of(c));
        } else {
            change_end_round(c);
        }
    }
    put_resume_waiting(st);
    put_resume_stalled(st);
}
