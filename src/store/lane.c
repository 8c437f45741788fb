/* The commit lane: what happens next, and everything on it but the rounds themselves.
 *
 *   IDLE -> ROUND         commits wait, or too much is unsynced (round.c)
 *        -> GATHER        ... but on a slow disk first a moment is left for those just answered to send
 *                         again: else half of the clients wait while the other half is synced; and
 *                         without syncs what has arrived is looked at
 *        -> INDEX_RETRY   a round is on disk and not in the index: before anything else, each tick
 *        -> VOID          a round failed: its numbers are declared void before its answers go out
 *        -> TIDY          rooms of uploads that were given up: cut off at the tail, VOID elsewhere
 *        -> SEAL          a block takes no more frames and its last upload has ended
 *        -> FLUSH         after a seal, when the batch is full, at stop; before the next round when one
 *                         found no space
 *        -> UPKEEP        damage marks and late MD5s into the index
 *
 * lane_kick() picks one, prepares it on the loop (begin), submits the lane's job (run) and its
 * done() (finish) picks the next. It never makes a call-back itself. Rounds go first, but not
 * twice while something else waits, so a seal is never starved.
 *
 * The flush is flush.c's. */
#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "store/lost.h"
#include "store/store_priv.h"

#define PUNCH_MIN PIECE_BYTES
#define GATHER_SYNC_NS 2000000u /* a disk whose sync takes less is not waited for */
#define GATHER_PART 8           /* of the last sync's time ... */
#define GATHER_MAX_NS 2000000u  /* ... at most */
#define LOOP_SLOW_NS 5000000u
#define LOOP_PAUSE_NS 10000000000u

void lane_queue(struct store *st, struct commit *c)
{
    c->next = NULL;
    *st->commits_tail = c;
    st->commits_tail = &c->next;
    st->n_commits++;
}

void lane_unqueue(struct store *st, struct commit *c)
{
    for (struct commit **at = &st->commits; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            if (st->commits_tail == &c->next) {
                st->commits_tail = at;
            }
            st->n_commits--;
            return;
        }
    }
}

/* ---- void numbers ---- */

/* The VOID record is the first frame of a new block. */
static int void_begin(struct store *st)
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

static int void_run(struct store *st)
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

/* ---- tidy ---- */

static bool wants_tidy(const struct store *st, const struct block *b)
{
    return b->voids != NULL && b->state != BLOCK_POISONED && !st->tidy_failed;
}

static void tidy_begin(struct store *st, struct block *b)
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

static int tidy_run(struct store *st)
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
static void void_numbers_of_poisoned(struct store *st)
{
    for (struct block *b = st->open_blocks; b != NULL; b = b->next) {
        struct commit *c = b->state == BLOCK_POISONED ? b->voids : NULL;
        for (; c != NULL; c = c->block_next) {
            void_numbers(st, c);
            c->recorded = false;
        }
    }
}

static void tidy_finish(struct store *st)
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

/* ---- seal ---- */

static bool wants_seal(const struct block *b)
{
    return b->state == BLOCK_DRAINING && b->n_puts == 0 && b->voids == NULL && !b->cutting &&
           !b->holds_void;
}

static int seal_run(struct store *st)
{
    struct block *b = st->lane_block;
    struct vfs *vfs = st->vfs;
    char from[FILE_NAME_BYTES], to[FILE_NAME_BYTES];
    block_name(from, b->number, false);
    block_name(to, b->number, true);
    st->lane_removed = !b->committed;
    if (!b->committed) { /* nothing but VOID frames, or not even a file */
        int rc = vfs->ops->unlink(vfs, from);
        return rc == ZERR_NOT_FOUND ? 0 : rc;
    }
    struct vfs_file *file;
    uint64_t size;
    int rc = block_file(b, &file);
    if (rc == 0) {
        rc = vfs->ops->size(file, &size);
    }
    if (rc == 0 && size > b->tail) {
        rc = vfs->ops->truncate(file, b->tail);
    }
    if (rc == 0) {
        rc = vfs->ops->datasync(file);
    }
    if (rc == 0) {
        rc = vfs->ops->rename(vfs, from, to);
    }
    if (rc == 0) {
        rc = vfs->ops->sync_dir(vfs);
    }
    if (rc ==
        0) { /* a courtesy to the person: not every file system can, and nothing depends on it */
        (void)vfs->ops->make_read_only(file);
    }
    return rc;
}

static void seal_finish(struct store *st)
{
    struct block *b = st->lane_block;
    int rc = st->lane_status;
    st->lane_block = NULL;
    block_settle(b, b->dirty);
    if (rc != 0) {
        b->state = BLOCK_DRAINING;
        block_poison(b, rc);
        st->stop_status = st->stop_status != 0 ? st->stop_status : rc;
        block_unref(b);
    } else if (st->lane_removed) {
        block_unref(b);
        block_forget(b);
    } else {
        st->stats.sealed++;
        st->stats.disk_bytes += b->tail; /* while open it is counted by its tail */
        st->flush_wanted = true;
        block_set_sealed(b);
        block_unref(b);
    }
}

/* ---- upkeep ---- */

static int upkeep_run(struct store *st)
{
    int rc = index_begin(st->ix_write);
    for (struct upkeep *u = st->lane_upkeep; u != NULL && rc == 0; u = u->next) {
        if (u->is_md5) {
            rc = index_set_md5(st->ix_write, u->body, u->md5);
        } else if (u->key_len > 0) {
            rc = lost_mark(st->ix_write, slice_of(u->key, u->key_len), u->frame);
        } else {
            rc = index_set_damage(st->ix_write, u->body, true, NULL);
        }
    }
    if (rc == 0) {
        return index_commit(st->ix_write);
    }
    index_rollback(st->ix_write);
    return rc;
}

static void upkeep_finish(struct store *st)
{
    if (st->lane_status != 0) {
        store_note(st, LOG_WARN, "look-up index: cannot note damage or MD5 (%s), ignoring",
                   zerr_str(st->lane_status));
        (void)store_saw_index(st, st->lane_status);
    }
    while (st->lane_upkeep != NULL) {
        struct upkeep *u = st->lane_upkeep;
        st->lane_upkeep = u->next;
        free(u);
    }
    store_refresh_totals(st);
}

/* ---- the lane ---- */

static bool is_slow(const struct store *st)
{
    return st->last_sync_ns >= GATHER_SYNC_NS;
}

/* On a slow disk only after a round, for a small part of its sync, and if fewer wait than then were
 * answered or waiting: a client alone is never kept waiting. Without syncs, until the loop has looked
 * at all that has arrived. */
static bool wants_gather(const struct store *st)
{
    if (st->commits == NULL || st->stopping) {
        return false;
    }
    if (st->cfg.sync == STORE_SYNC_BLOCK) {
        return st->lane_last != LANE_GATHER;
    }
    return is_slow(st) && st->lane_last == LANE_ROUND && st->n_commits < st->n_expected;
}

static void gather_run(const struct store *st)
{
    if (!is_slow(st)) {
        return;
    }
    uint64_t ns = st->last_sync_ns / GATHER_PART;
    struct timespec t = {.tv_nsec = (long)(ns < GATHER_MAX_NS ? ns : GATHER_MAX_NS)};
    (void)nanosleep(&t, NULL);
}

static void lane_run(struct job *job)
{
    struct store *st = container_of(job, struct store, lane_job);
    switch (st->lane) {
    case LANE_ROUND:
        round_run(st);
        break;
    case LANE_GATHER:
        gather_run(st);
        break;
    case LANE_INDEX_RETRY:
        round_index_run(st);
        break;
    case LANE_VOID:
        st->lane_status = void_run(st);
        break;
    case LANE_TIDY:
        st->lane_status = tidy_run(st);
        break;
    case LANE_SEAL:
        st->lane_status = seal_run(st);
        break;
    case LANE_FLUSH:
        st->lane_status = db_flush_run(st);
        break;
    case LANE_UPKEEP:
        st->lane_status = upkeep_run(st);
        break;
    case LANE_IDLE:
        assert(!"the lane runs nothing");
        break;
    }
}

static void void_finish(struct store *st)
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

/* A write into the page cache may take long when the disk has fallen behind: whoever else is served
 * waits then, but not again soon. */
static void look_at_loop(struct store *st)
{
    uint64_t now = st->vfs->ops->mono_ns(st->vfs);
    if (st->round.on_loop && now - st->round.began_ns > LOOP_SLOW_NS) {
        st->loop_again_ns = now + LOOP_PAUSE_NS;
    }
}

static void lane_done(struct job *job)
{
    struct store *st = container_of(job, struct store, lane_job);
    enum lane_work work =
        st->lane; /* stays so: what call-backs kick must not begin before the end */
    st->lane_last = work;
    switch (work) {
    case LANE_ROUND:
        look_at_loop(st);
        round_finish(st);
        break;
    case LANE_INDEX_RETRY:
        round_finish(st);
        break;
    case LANE_VOID:
        void_finish(st);
        break;
    case LANE_TIDY:
        tidy_finish(st);
        break;
    case LANE_SEAL:
        seal_finish(st);
        break;
    case LANE_FLUSH:
        flush_finish(st);
        break;
    case LANE_UPKEEP:
        upkeep_finish(st);
        break;
    case LANE_GATHER:
    case LANE_IDLE:
        break;
    }
    st->lane = LANE_IDLE;
    lane_kick(st);
}

/* Seals and tidying: true if one was begun. */
static enum lane_work begin_block_work(struct store *st)
{
    for (struct block *b = st->open_blocks; b != NULL; b = b->next) {
        if (wants_tidy(st, b)) {
            tidy_begin(st, b);
            return LANE_TIDY;
        }
        if (wants_seal(b)) {
            b->state = BLOCK_SEALING;
            st->lane_block = block_ref(b);
            return LANE_SEAL;
        }
    }
    return LANE_IDLE;
}

static bool wants_flush(const struct store *st)
{
    if (st->flush_failed && !st->stopping) {
        return st->vfs->ops->mono_ns(st->vfs) >= st->flush_retry_ns;
    }
    bool any = db_batch_n_all(st->batch) > 0;
    if (st->gap_unflushed) {
        return true;
    }
    if (st->stopping) { /* a seal alone too: the next start need not look at that block */
        return any || st->flush_wanted;
    }
    return (any && st->flush_wanted) || db_batch_count(st->batch) >= BATCH_MAX_RECORDS ||
           db_batch_bytes(st->batch) >= BATCH_MAX_BYTES;
}

static enum lane_work pick(struct store *st)
{
    void_numbers_of_poisoned(st);
    if (st->void_first != 0) {
        int rc = void_begin(st);
        if (rc == 0) {
            rc = flush_begin(st);
        }
        if (rc == 0) {
            return LANE_VOID;
        }
        store_fail(st, "a failed commit could not be declared void (%s)", zerr_str(rc));
        return LANE_IDLE;
    }
    if (st->index_down) {
        return st->index_retry ? LANE_INDEX_RETRY : LANE_IDLE;
    }
    bool owes = lane_owes_void(st) || st->gap_unflushed;
    enum lane_work work = owes || st->lane_last == LANE_ROUND ? begin_block_work(st) : LANE_IDLE;
    if (work == LANE_IDLE && !owes && wants_gather(st)) {
        return LANE_GATHER;
    }
    if (work == LANE_IDLE && !owes && round_begin(st)) {
        work = LANE_ROUND;
    }
    if (work == LANE_IDLE) {
        if (st->stopping) {
            store_drain_current(st);
        }
        work = begin_block_work(st);
    }
    if (work == LANE_IDLE && wants_flush(st) && !(st->flush_failed && st->stop_flushed)) {
        st->stop_flushed = st->stopping;
        work = flush_begin(st) == 0 ? LANE_FLUSH : LANE_IDLE;
    }
    if (work == LANE_IDLE && st->upkeep != NULL) {
        st->lane_upkeep = st->upkeep;
        st->upkeep = NULL;
        work = LANE_UPKEEP;
    }
    return work;
}

/* A hop to a worker and back costs more than a small round without a sync, and makes the next one
 * wait: such are the loop's. A gathering that does not sleep is, too. */
static enum job_class lane_class(struct store *st)
{
    struct round *r = &st->round;
    if (st->lane == LANE_GATHER) {
        return is_slow(st) ? JOB_COMMIT : JOB_LOOP;
    }
    if (st->lane != LANE_ROUND) {
        return JOB_COMMIT;
    }
    r->began_ns = st->vfs->ops->mono_ns(st->vfs);
    r->on_loop = r->began_ns >= st->loop_again_ns && round_is_quick(st);
    return r->on_loop ? JOB_LOOP : JOB_COMMIT;
}

void lane_kick(struct store *st)
{
    if (st->lane != LANE_IDLE || st->stopped) {
        return;
    }
    st->lane = st->failed ? LANE_IDLE : pick(st);
    st->index_retry = false;
    if (st->lane == LANE_IDLE) {
        store_stop_step(st);
        return;
    }
    st->lane_status = 0;
    st->lane_job = (struct job){.run = lane_run, .done = lane_done, .cls = lane_class(st)};
    st->cfg.workers->submit(st->cfg.workers, &st->lane_job);
}
