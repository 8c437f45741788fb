/* The store as its users see it: opening, stopping, statistics, look-ups and listings. What the
 * parts do is told in store_priv.h. */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/store_priv.h"

#define RESERVE_MAX (64u << 20)
#define RESERVE_MIN (8u << 20)   /* the index's WAL and a flush fit into it */
#define FREE_CHECK_NS 200000000u /* how old a figure of the free space may be */

void store_note(struct store *st, enum log_level level, const char *fmt, ...)
{
    if (st->cfg.note == NULL) {
        return;
    }
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    st->cfg.note(st->cfg.user, level, text);
}

void store_fail(struct store *st, const char *fmt, ...)
{
    if (st->failed) {
        return;
    }
    st->failed = true;
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (st->cfg.fatal != NULL) {
        st->cfg.fatal(st->cfg.user, text);
    }
}

int store_saw_index(struct store *st, int zerr)
{
    if (zerr == ZERR_CORRUPT) {
        st->index_damaged = true;
        store_fail(st,
                   "the look-up index %s is damaged: it is removed, the next start makes it anew",
                   st->index_path);
    }
    return zerr;
}

void store_refresh_totals(struct store *st)
{
    struct index_totals totals;
    if (index_get_totals(st->ix_write, &totals) == 0) {
        st->stats.totals = totals;
    }
}

/* ---- open ---- */

static struct store *store_create(const struct store_config *cfg)
{
    struct store *st = calloc(1, sizeof(*st));
    if (st == NULL) {
        return NULL;
    }
    st->cfg = *cfg;
    st->vfs = cfg->vfs;
    st->promised = cfg->promised != NULL ? cfg->promised : &st->own_promised;
    (void)pthread_mutex_init(&st->db_mutex, NULL);
    st->waiting_tail = &st->waiting;
    st->commits_tail = &st->commits;
    st->lists_tail = &st->lists;
    st->unsynced_max = UNSYNCED_MAX;
    st->ahead_max = AHEAD_FIRST;
    size_t n = strlen(cfg->dir) + sizeof("/" INDEX_NAME);
    st->dir = strdup(cfg->dir);
    st->index_path = cfg->index_path != NULL ? strdup(cfg->index_path) : malloc(n);
    st->round.iov = calloc(1024, sizeof(struct iovec));
    if (st->dir == NULL || st->index_path == NULL || st->round.iov == NULL ||
        db_batch_create(&st->batch) != 0) {
        store_destroy(st);
        return NULL;
    }
    if (cfg->index_path == NULL) {
        (void)snprintf(st->index_path, n, "%s/" INDEX_NAME, cfg->dir);
    }
    if (st->cfg.block_size == 0) {
        st->cfg.block_size = BLOCK_SIZE_DEFAULT;
    }
    return st;
}

static uint64_t default_reserve(uint64_t fs_total)
{
    uint64_t part = fs_total / 50;
    part = part < RESERVE_MIN ? RESERVE_MIN : part > RESERVE_MAX ? RESERVE_MAX : part;
    return part < fs_total / 4 ? part : fs_total / 4;
}

static int open_once(const struct store_config *cfg, struct store **ret, bool *ret_index_damaged,
                     struct zerr_info *info)
{
    struct store *st = store_create(cfg);
    if (st == NULL) {
        return ZERR_NOMEM;
    }
    uint64_t free_bytes;
    int rc = st->vfs->ops->free_space(st->vfs, &free_bytes, &st->fs_total);
    if (rc != 0) {
        (void)zerr_fail(info, rc, vfs_last_errno(), "%s: cannot tell the free space", st->dir);
    } else {
        st->reserve = cfg->reserve != UINT64_MAX ? cfg->reserve : default_reserve(st->fs_total);
        char who[128];
        (void)snprintf(who, sizeof(who), "%s, process %ld", program_invocation_short_name,
                       (long)getpid());
        rc = st->vfs->ops->lock(st->vfs, LOCK_NAME, who, &st->lock, info);
    }
    if (rc == 0) {
        rc = recover(st, info);
    }
    if (rc == 0) {
        rc = index_open(st->index_path, INDEX_READER, &st->ix_read, info);
    }
    if (rc == 0) {
        rc = index_open(st->index_path, INDEX_READER, &st->ix_list, info);
    }
    if (rc == 0) {
        rc = index_get_totals(st->ix_write, &st->stats.totals);
    }
    if (rc != 0) {
        /* Whether it was the index or the history cannot always be told; the index can be spared. */
        st->index_damaged = rc == ZERR_CORRUPT && st->ix_write != NULL && !st->index_made;
        *ret_index_damaged = st->index_damaged;
        store_destroy(st);
        return rc;
    }
    *ret = st;
    return 0;
}

int store_open(const struct store_config *cfg, struct store **ret, struct zerr_info *info)
{
    if (cfg->block_size != 0 && cfg->block_size < BLOCK_SIZE_MIN) {
        return zerr_fail(info, ZERR_INVALID, 0, "a block has at least %u bytes", BLOCK_SIZE_MIN);
    }
    bool index_damaged = false;
    int rc = open_once(cfg, ret, &index_damaged, info);
    return index_damaged ? open_once(cfg, ret, &index_damaged, info) : rc;
}

/* Uploads are freed by the list of them. */
static void forget_change(struct commit *c)
{
    if (c->kind != COMMIT_PUT) {
        change_free(c);
    }
}

void store_destroy(struct store *st)
{
    if (st == NULL) {
        return;
    }
    assert(st->lane == LANE_IDLE && st->n_jobs == 0 && st->n_readers == 0);
    /* Without a stop: everything as a crash would leave it. */
    for (struct block *b = st->open_blocks; b != NULL; b = b->next) {
        while (b->voids != NULL) {
            struct commit *c = b->voids;
            b->voids = c->block_next;
            forget_change(c);
        }
    }
    while (st->round.items != NULL) {
        struct commit *c = st->round.items;
        st->round.items = c->next;
        forget_change(c);
    }
    free(st->lane_frame);
    for (unsigned i = 0; i < BLOCK_HASH; i++) {
        for (struct block *b = st->block_hash[i]; b != NULL; b = b->hash_next) {
            b->refs = 0;
        }
    }
    while (st->commits != NULL) {
        struct commit *c = st->commits;
        st->commits = c->next;
        forget_change(c);
    }
    while (st->puts != NULL) {
        st->puts->c.block = NULL;
        put_free(st->puts);
    }
    blocks_finish(st);
    while (st->upkeep != NULL) {
        struct upkeep *u = st->upkeep;
        st->upkeep = u->next;
        free(u);
    }
    index_close(st->ix_list);
    index_close(st->ix_read);
    if (st->ix_write != NULL) {
        index_rollback(st->ix_write);
        st->index_damaged =
            index_checkpoint(st->ix_write, true) == ZERR_CORRUPT || st->index_damaged;
    }
    index_close(st->ix_write);
    if (st->index_damaged && index_remove(st->index_path) != 0) {
        store_note(st, LOG_ERROR, "the damaged look-up index %s cannot be removed: do it by hand",
                   st->index_path);
    }
    db_batch_destroy(st->batch);
    if (st->db_file != NULL) {
        st->vfs->ops->close(st->db_file);
    }
    if (st->lock != NULL) {
        st->vfs->ops->close(st->lock);
    }
    db_state_finish(&st->flush_state);
    buf_finish(&st->round.scratch);
    free(st->round.iov);
    free(st->round.blocks);
    free(st->round.heads);
    (void)pthread_mutex_destroy(&st->db_mutex);
    free(st->dir);
    free(st->index_path);
    free(st);
}

/* ---- stop ---- */

void store_drain_current(struct store *st)
{
    struct block *b = st->current;
    if (b != NULL) {
        st->current = NULL;
        b->state = BLOCK_DRAINING;
        block_unref(b);
    }
}

void store_refuse_commits(struct store *st, int status)
{
    while (st->commits != NULL) {
        struct commit *c = st->commits;
        lane_unqueue(st, c);
        c->status = status;
        if (c->kind == COMMIT_PUT) {
            put_end_round(container_of(c, struct put, c));
        } else {
            change_end_round(c);
        }
    }
}

/* After store_fail(): nothing will commit any more. The lane is idle. */
static void abandon(struct store *st)
{
    for (struct commit *c = st->round.items; c != NULL; c = c->next) {
        c->status = ZERR_IO;
    }
    round_deliver(st);
    store_refuse_commits(st, ZERR_IO);
    put_abort_all(st, ZERR_IO, true);
}

/* The index cannot be written, and clients do not wait for ever. What the round has on disk is
 * published when the index can be written again, or found by the next start. */
static void answer_busy(struct store *st)
{
    for (struct commit *c = st->round.items; c != NULL; c = c->next) {
        if (c->kind == COMMIT_PUT) {
            put_answer(put_of(c), ZERR_BUSY);
        } else {
            change_answer(c, ZERR_BUSY);
        }
    }
    store_refuse_commits(st, ZERR_BUSY);
    put_abort_all(st, ZERR_BUSY, true);
}

static void stop_run(struct job *job)
{
    struct store *st = container_of(job, struct store, stop_job);
    if (st->failed) {
        return;
    }
    struct index_mark mark;
    index_fill_mark(st, &mark);
    int rc = index_begin(st->ix_write);
    if (rc == 0) {
        rc = index_set_mark(st->ix_write, &mark);
        if (rc == 0) {
            rc = index_commit(st->ix_write);
        } else {
            index_rollback(st->ix_write);
        }
    }
    if (rc == 0) {
        rc = index_checkpoint(st->ix_write, true);
    }
    /* The index is a cache: the next start finds out, but not that a sync has failed. */
    st->index_damaged = st->index_damaged || rc == ZERR_CORRUPT;
}

static void stop_done(struct job *job)
{
    struct store *st = container_of(job, struct store, stop_job);
    if (st->stop_status == 0 && (st->failed || db_batch_n_all(st->batch) > 0)) {
        st->stop_status = ZERR_IO;
    }
    if (st->stop_status == 0 && lane_owes_void(st)) { /* the next start may find what was refused */
        st->stop_status = ZERR_NO_SPACE;
    }
    st->stopped_cb(st->stopped_user, st->stop_status);
}

void store_stop_step(struct store *st)
{
    if (!st->stopping || st->stopped || st->lane != LANE_IDLE) {
        return;
    }
    if (st->failed) {
        abandon(st); /* its call-backs may come here again */
        if (st->stopped) {
            return;
        }
    } else if (st->index_down) {
        return;                     /* the tick tries again, or gives up */
    } else if (st->gap_unflushed) { /* the flush was tried once more */
        store_refuse_commits(st, ZERR_BUSY);
        if (st->stopped) {
            return;
        }
    }
    if (st->n_jobs > 0 || st->commits != NULL) {
        return;
    }
    st->stopped = true;
    st->stop_job = (struct job){.run = stop_run, .done = stop_done, .cls = JOB_COMMIT};
    st->cfg.workers->submit(st->cfg.workers, &st->stop_job);
}

void store_stop(struct store *st, void (*stopped)(void *user, int status), void *user)
{
    assert(!st->stopping);
    st->stopping = true;
    st->tidy_failed = false; /* once more, without waiting for a tick */
    st->stopped_cb = stopped;
    st->stopped_user = user;
    put_abort_all(st, ZERR_CANCELED, false); /* those with all their bytes may still commit */
    lane_kick(st);
    store_stop_step(st);
}

/* ---- time ---- */

bool store_wants_tick(const struct store *st)
{
    return st->waiting != NULL || st->any_stalled || st->index_down || st->flush_failed ||
           st->tidy_failed || (st->failed && !st->stopped && st->puts != NULL) ||
           (st->failed && st->commits != NULL);
}

void store_tick(struct store *st)
{
    put_resume_waiting(st);
    put_resume_stalled(st);
    st->tidy_failed = false;
    if (st->index_down) {
        uint64_t down = st->vfs->ops->mono_ns(st->vfs) - st->index_down_since_ns;
        bool may_mend = st->round.index_status == ZERR_NO_SPACE && !st->stopping;
        if (down > (uint64_t)INDEX_RETRY_MS * 1000000 && !may_mend) {
            (void)store_saw_index(st, st->round.index_status);
            store_fail(st, "the look-up index %s cannot be written", st->index_path);
        } else if (down > (uint64_t)INDEX_ANSWER_MS * 1000000) {
            answer_busy(st);
        }
        st->index_retry = true;
    }
    if (st->failed && !st->stopping && st->lane == LANE_IDLE) {
        abandon(st); /* so that the running requests end before the stop cuts them */
    }
    lane_kick(st);
    store_stop_step(st);
}

/* ---- may a write begin? ---- */

int store_may_write(struct store *st, uint64_t bytes, bool is_delete)
{
    if (st->stopping) {
        return ZERR_CANCELED;
    }
    if (st->failed || st->index_down || st->flush_failed ||
        (st->tidy_failed && lane_owes_void(st))) {
        return ZERR_BUSY;
    }
    uint64_t keep = is_delete ? st->reserve / 2 : st->reserve;
    uint64_t want = keep + *st->promised + bytes;
    uint64_t now = st->vfs->ops->mono_ns(st->vfs);
    /* Looked at again when the figure is old, or when it would refuse or nearly so. */
    if (st->free_checked_ns == 0 || now - st->free_checked_ns > FREE_CHECK_NS ||
        st->free_bytes < want + RESERVE_MAX) {
        uint64_t total;
        int rc = st->vfs->ops->free_space(st->vfs, &st->free_bytes, &total);
        if (rc != 0) {
            return rc;
        }
        st->free_checked_ns = now;
    }
    return st->free_bytes < want ? ZERR_NO_SPACE : 0;
}

/* ---- looking up ---- */

int store_lookup(struct store *st, struct slice key, struct object *ret)
{
    return store_saw_index(st, index_lookup(st->ix_read, key, ret));
}

void store_get_stats(const struct store *st, struct store_stats *ret)
{
    *ret = st->stats;
    ret->revision = st->n_records;
    ret->block_size = st->cfg.block_size;
    ret->unsynced = st->unsynced;
    ret->current_block = st->current != NULL ? st->current->number : UINT32_MAX;
    ret->current_fill = st->current != NULL ? st->current->tail : 0;
    for (const struct block *b = st->open_blocks; b != NULL; b = b->next) {
        ret->disk_bytes += b->tail;
    }
}
