/* The commit lane: what happens next, and the smaller works on it.
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
 * twice while something else waits, for commits may wait all the time: after one comes a seal or
 * something tidied, in turn, and then a flush or upkeep. Where a round leaves more blocks to be
 * sealed than one they do not pile up.
 *
 * VOID and TIDY are tidy.c's, the flush is flush.c's. */
#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "store/lost.h"
#include "store/store_priv.h"

#define GATHER_SYNC_NS 2000000u /* a disk whose sync takes less is not waited for */
#define GATHER_PART 8           /* of the last sync's time ... */
#define GATHER_MAX_NS 2000000u  /* ... at most */
#define LOOP_SLOW_NS 5000000u
#define LOOP_PAUSE_NS 10000000000u
#define SEALS_WAITING_MAX 8 /* more than these, and rounds wait */

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

static struct block *find_block(struct store *st, enum lane_work work)
{
    struct block *b = st->open_blocks;
    while (b != NULL && !(work == LANE_SEAL ? wants_seal(b) : tidy_wanted(st, b))) {
        b = b->next;
    }
    return b;
}

/* A seal or tidying, in turn: neither keeps the other waiting. */
static enum lane_work begin_block_work(struct store *st)
{
    enum lane_work turn = st->lane_sealed_last ? LANE_TIDY : LANE_SEAL;
    struct block *b = find_block(st, turn);
    if (b == NULL) {
        turn = st->lane_sealed_last ? LANE_SEAL : LANE_TIDY;
        b = find_block(st, turn);
    }
    if (b == NULL) {
        return LANE_IDLE;
    }
    st->lane_sealed_last = turn == LANE_SEAL;
    if (turn == LANE_TIDY) {
        tidy_begin(st, b);
    } else {
        b->state = BLOCK_SEALING;
        st->lane_block = block_ref(b);
    }
    return turn;
}

static bool too_many_seals_wait(const struct store *st)
{
    unsigned n = 0;
    for (const struct block *b = st->open_blocks; b != NULL; b = b->next) {
        n += wants_seal(b);
    }
    return n > SEALS_WAITING_MAX;
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

static enum lane_work begin_flush_or_upkeep(struct store *st)
{
    if (wants_flush(st) && !(st->flush_failed && st->stop_flushed)) {
        st->stop_flushed = st->stopping;
        if (flush_begin(st) == 0) {
            return LANE_FLUSH;
        }
    }
    if (st->upkeep == NULL) {
        return LANE_IDLE;
    }
    st->lane_upkeep = st->upkeep;
    st->upkeep = NULL;
    return LANE_UPKEEP;
}

static enum lane_work pick(struct store *st)
{
    void_poisoned(st);
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
    bool after_round = st->lane_last == LANE_ROUND;
    bool after_block = st->lane_last == LANE_SEAL || st->lane_last == LANE_TIDY;
    enum lane_work work =
        owes || after_round || too_many_seals_wait(st) ? begin_block_work(st) : LANE_IDLE;
    if (work == LANE_IDLE && !owes && !st->stopping && (after_round || after_block)) {
        work = begin_flush_or_upkeep(st);
    }
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
    return work == LANE_IDLE ? begin_flush_or_upkeep(st) : work;
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
