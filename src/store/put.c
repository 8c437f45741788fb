/* Uploads: room, bytes on their way, back-pressure, giving up.
 *
 *   WAITING -> OPEN -> COMPLETE -> QUEUED -> ROUND -> freed
 *       \________\________\__________\________\----> VOIDING -> freed by the lane
 *
 *   WAITING   no room yet (put_wait.c)
 *   OPEN      the frame is reserved; chunks come
 *   COMPLETE  put_commit() was called; the last body job runs or is about to
 *   QUEUED    waits for a commit round, together with the bytes that no body job took
 *   ROUND     the running round holds it; nothing but `ops` may change
 *   VOIDING   given up after something of the frame may have reached the file
 *
 * Bytes. A chunk is queued until a body job takes the whole queue: at most one job an upload, so
 * that MD5 sees the bytes in order. Small rests stay queued and are written by the round itself,
 * together with their record in one write: that is the whole way of a small object.
 *
 * Back-pressure (the answer must come within 10 s on a disk of 5 MB/s): st->unsynced counts what
 * was handed over and not yet synced. At st->unsynced_max uploads are told to stop, and new ones
 * wait; at half of it the lane syncs even if nothing commits. With -sync block only memory counts.
 *
 * Half-way: a frame whose upload ends early is VOID (or cut off, at the tail). If the process dies
 * first, its record's room is zeros: recovery drops it. */
#include <assert.h>
#include <stdlib.h>

#include "store/store_priv.h"

/* ---- lists ---- */

static void block_list_add(struct commit **list, struct commit *c)
{
    c->block_prev = NULL;
    c->block_next = *list;
    if (*list != NULL) {
        (*list)->block_prev = c;
    }
    *list = c;
}

static void block_list_remove(struct commit **list, struct commit *c)
{
    *(c->block_prev != NULL ? &c->block_prev->block_next : list) = c->block_next;
    if (c->block_next != NULL) {
        c->block_next->block_prev = c->block_prev;
    }
    c->block_next = c->block_prev = NULL;
}

void frame_join(struct commit *c, struct block *b)
{
    c->block = b;
    block_list_add(&b->frames, c);
    b->n_puts++;
    *b->st->promised += c->frame_len;
}

void frame_leave(struct commit *c)
{
    struct block *b = c->block;
    block_list_remove(&b->frames, c);
    b->n_puts--;
    *b->st->promised -= c->frame_len;
    c->block = NULL;
    block_unref(b);
}

bool frame_give_up(struct commit *c)
{
    struct block *b = c->block;
    bool at_tail = c->off + c->frame_len == b->tail;
    frame_leave(c);
    if (b->state == BLOCK_POISONED) {
        return true; /* the next start sees to it */
    }
    if (!c->touched && at_tail && !b->cutting) {
        b->tail = c->off; /* never written: the room is simply taken back */
        return true;
    }
    block_list_add(&b->voids, c);
    return false;
}

void commit_free(struct commit *c)
{
    if (c->kind == COMMIT_PUT) {
        put_free(container_of(c, struct put, c));
    } else {
        change_free(c);
    }
}

/* ---- birth and death ---- */

static struct put *put_create(struct store *st, const struct put_spec *spec,
                              const struct put_ops *ops, void *user)
{
    struct record rec = {.op = spec->upload != 0 ? RECORD_PART : RECORD_PUT,
                         .key = spec->key,
                         .upload = spec->upload,
                         .part = spec->part,
                         .meta = spec->meta,
                         .sys = spec->sys,
                         .size = spec->size,
                         .mtime_ms = spec->mtime_ms};
    struct put *p = malloc(sizeof(*p) + record_room(&rec));
    if (p == NULL) {
        return NULL;
    }
    memset(p, 0, sizeof(*p));
    p->rec = rec;
    (void)record_keep(&p->rec, (uint8_t *)(p + 1));
    p->c.kind = COMMIT_PUT;
    p->c.cond = spec->cond;
    p->c.recs = &p->rec;
    p->c.n_recs = 1;
    p->st = st;
    p->ops = ops;
    p->user = user;
    p->queue_tail = &p->queue;
    p->next = st->puts;
    if (p->next != NULL) {
        p->next->prev = p;
    }
    st->puts = p;
    return p;
}

static void release_chunks(struct put *p, struct chunk *list, uint64_t bytes)
{
    p->st->queued -= bytes;
    while (list != NULL) {
        struct chunk *c = list;
        list = c->next;
        c->release(c);
    }
}

/* Bytes queued are dropped; they were counted as unsynced when they came. */
static void drop_queue(struct put *p)
{
    struct chunk *list = p->queue;
    p->st->unsynced -= p->queued;
    p->queue = NULL;
    p->queue_tail = &p->queue;
    uint64_t n = p->queued;
    p->queued = 0;
    release_chunks(p, list, n);
}

void put_free(struct put *p)
{
    struct store *st = p->st;
    assert(!p->job_running && p->c.block == NULL);
    drop_queue(p);
    *(p->prev != NULL ? &p->prev->next : &st->puts) = p->next;
    if (p->next != NULL) {
        p->next->prev = p->prev;
    }
    body_hash_destroy(p->hash);
    if (p->hasher != NULL) {
        p->hasher->release(p->hasher);
    }
    buf_finish(&p->sums);
    free(p);
}

/* The frame will never commit. Frees the put now or through the lane. */
static void put_give_up(struct put *p)
{
    struct store *st = p->st;
    assert(!p->job_running);
    drop_queue(p);
    if (p->c.block == NULL) {
        put_free(p);
        return;
    }
    st->stats.aborted++;
    if (frame_give_up(&p->c)) {
        put_free(p);
    } else {
        p->state = PUT_VOIDING;
    }
    lane_kick(st);
}

/* ---- room ---- */

int put_reserve(struct put *p)
{
    struct store *st = p->st;
    struct block *b;
    int rc = block_reserve(st, p->c.frame_len, &b, &p->c.off);
    if (rc != 0) {
        return rc;
    }
    frame_join(&p->c, b);
    frame_head_encode(&p->c.head, &b->header, p->c.off, p->c.head_bytes);
    record_set_frame(&p->rec, (struct place){b->number, p->c.off}, &p->c.head);
    p->state = PUT_OPEN;
    p->heard_ns = st->vfs->ops->mono_ns(st->vfs);
    return 0;
}

int put_begin(struct store *st, const struct put_spec *spec, const struct put_ops *ops, void *user,
              struct put **ret)
{
    if (spec->key.len == 0 || spec->key.len > KEY_MAX_BYTES || spec->size > BODY_MAX_BYTES) {
        return spec->key.len == 0 ? ZERR_INVALID : ZERR_TOO_LARGE;
    }
    int rc = store_may_write(st, spec->size, false);
    if (rc != 0) {
        return rc;
    }
    struct put *p = put_create(st, spec, ops, user);
    if (p == NULL) {
        return ZERR_NOMEM;
    }
    struct frame_record fr = {.entries = &p->rec, .n_entries = 1};
    struct buf *scratch = &p->sums;
    rc = frame_record_encode(&fr, true, scratch);
    if (rc == 0 && scratch->len > RECORD_MAX_BYTES) {
        rc = ZERR_TOO_LARGE;
    }
    if (rc != 0) {
        put_free(p);
        return rc;
    }
    p->c.head = (struct frame_head){spec->upload != 0 ? FRAME_PART : FRAME_PUT,
                                    (uint32_t)scratch->len, spec->size};
    buf_reset(scratch);
    p->c.frame_len = frame_len(p->c.head.record_len, spec->size);

    rc = put_must_wait(p) ? ZERR_BUSY : put_reserve(p);
    if (rc == ZERR_BUSY) {
        put_wait(p);
        lane_kick(st);
        p->hasher = spec->hasher;
        *ret = p;
        return ZKV_PENDING;
    }
    if (rc != 0) {
        put_free(p);
        return rc;
    }
    p->hasher = spec->hasher;
    *ret = p;
    return 0;
}

/* ---- bytes ---- */

bool put_writable(const struct put *p)
{
    const struct store *st = p->st;
    struct put *mut = (struct put *)p; /* remembers that it was told to stop */
    bool ok = p->queued + p->in_job_bytes < PUT_QUEUE_MAX &&
              (st->queued < QUEUED_MAX || p->queued + p->in_job_bytes == 0) &&
              (st->cfg.sync != STORE_SYNC_ACK || st->unsynced < st->unsynced_max);
    mut->stalled = !ok;
    mut->st->any_stalled = mut->st->any_stalled || !ok;
    return ok;
}

void put_resume_stalled(struct store *st)
{
    if (!st->any_stalled) {
        return;
    }
    uint64_t now = st->vfs->ops->mono_ns(st->vfs);
    st->any_stalled = false; /* put_writable() says it again for those that stay */
    for (struct put *p = st->puts, *next; p != NULL; p = next) {
        next = p->next;
        if (p->stalled && p->state == PUT_OPEN && p->ops != NULL && put_writable(p)) {
            p->heard_ns = now;
            p->ops->writable(p->user);
            /* The call-back may have ended any upload: begin again, stalled ones are fewer now. */
            next = st->puts;
        }
    }
}

/* Writes the head and, ahead of a large body, its room. */
static int write_head(struct put *p, struct vfs_file *file)
{
    struct vfs *vfs = file->vfs;
    struct iovec iov = {p->c.head_bytes, FRAME_HEAD_BYTES};
    if (p->c.frame_len >= ALLOCATE_MIN) {
        int rc = vfs->ops->allocate(file, p->c.off, p->c.frame_len);
        if (rc != 0 && rc != ZERR_UNSUPPORTED) {
            return rc;
        }
    }
    return vfs->ops->pwritev(file, &iov, 1, p->c.off);
}

int put_hash_chunk(struct put *p, const struct chunk *c)
{
    int rc = body_hash_update(p->hash, c->data, c->len, &p->sums);
    if (rc == 0 && p->hasher != NULL) {
        rc = p->hasher->update(p->hasher, c);
    }
    return rc;
}

#define BODY_IOV 64

/* Hashes and writes what is in in_job. */
static int write_body(struct put *p, struct vfs_file *file)
{
    struct vfs *vfs = file->vfs;
    uint64_t body = p->rec.body.off, begin = p->hashed;
    buf_reset(&p->sums);
    if (p->hash == NULL && (p->hash = body_hash_create()) == NULL) {
        return ZERR_NOMEM;
    }
    int rc = 0;
    struct chunk *c = p->in_job;
    while (c != NULL && rc == 0) {
        struct iovec iov[BODY_IOV];
        int n = 0;
        uint64_t at = p->hashed;
        for (; c != NULL && n < BODY_IOV && rc == 0; c = c->next) {
            rc = put_hash_chunk(p, c);
            iov[n++] = (struct iovec){(void *)(uintptr_t)c->data, c->len};
            p->hashed += c->len;
        }
        if (rc == 0) {
            rc = vfs->ops->pwritev(file, iov, n, body + at);
        }
    }
    if (rc == 0 && p->sums.len > 0) {
        struct iovec iov = {p->sums.ptr, p->sums.len};
        rc = vfs->ops->pwritev(file, &iov, 1, body + p->rec.size + p->sums_written);
        p->sums_written += p->sums.len;
    }
    if (rc == 0 && p->hashed > begin) {
        vfs->ops->writeback(file, body + begin, p->hashed - begin);
    }
    return rc;
}

static void body_job_run(struct job *job)
{
    struct put *p = container_of(job, struct put, job);
    struct vfs_file *file;
    int rc = block_file(p->c.block, &file);
    if (rc == 0 && p->job_writes_head) {
        rc = write_head(p, file);
    }
    p->job_status = rc == 0 ? write_body(p, file) : rc;
}

static void put_step(struct put *p);

static void body_job_done(struct job *job)
{
    struct put *p = container_of(job, struct put, job);
    struct store *st = p->st;
    struct block *b = p->c.block;
    struct chunk *list = p->in_job;
    uint64_t n = p->in_job_bytes;
    st->n_jobs--;
    p->job_running = false;
    p->in_job = NULL;
    p->in_job_bytes = 0;
    bool broken = p->job_status != 0 && block_is_broken(b);
    if (st->cfg.sync == STORE_SYNC_ACK && b->state != BLOCK_POISONED && !broken) {
        b->dirty += n; /* written, or perhaps written: a sync settles it */
    } else {
        st->unsynced -= n;
    }
    release_chunks(p, list, n);
    p->error = p->error != 0 ? p->error : p->job_status;
    if (p->job_status == ZERR_IO && b->state != BLOCK_POISONED && !broken) {
        block_settle(b, b->dirty);
        block_poison(b, ZERR_IO); /* ends this upload too */
        lane_kick(st);
        return;
    }
    p->c.head_written = p->c.head_written || p->job_status == 0;
    if (p->job_status != 0) {
        block_retire_broken(b);
    }
    put_step(p);
    lane_kick(st);
}

static void start_body_job(struct put *p)
{
    struct store *st = p->st;
    p->in_job = p->queue;
    p->in_job_bytes = p->queued;
    p->queue = NULL;
    p->queue_tail = &p->queue;
    p->queued = 0;
    p->job_running = p->c.touched = true;
    p->job_writes_head = !p->c.head_written;
    p->job = (struct job){.run = body_job_run, .done = body_job_done, .cls = JOB_BODY};
    st->n_jobs++;
    st->cfg.workers->submit(st->cfg.workers, &p->job);
}

/* Ends it with a failure and tells the owner. */
static void put_fail(struct put *p, int status)
{
    const struct put_ops *ops = p->ops;
    void *user = p->user;
    p->ops = NULL;
    put_give_up(p);
    if (ops != NULL) {
        ops->done(user, status, NULL);
    }
}

/* Whatever comes next for a put in OPEN or COMPLETE: called after each event. May free it. */
static void put_step(struct put *p)
{
    struct store *st = p->st;
    if (p->job_running) {
        return;
    }
    if (p->error != 0) {
        put_fail(p, p->error);
        return;
    }
    if (p->ops == NULL) { /* its owner gave up */
        put_give_up(p);
        return;
    }
    bool throttled = st->cfg.sync == STORE_SYNC_ACK && st->unsynced >= st->unsynced_max / 2;
    bool eager = throttled || st->queued > QUEUED_EAGER;
    if (p->queued >= PUT_JOB_MIN || (eager && p->queued > 0 && p->state == PUT_OPEN)) {
        start_body_job(p);
    } else if (p->state == PUT_COMPLETE) {
        p->state = PUT_QUEUED;
        lane_queue(st, &p->c);
    }
    if (p->state == PUT_OPEN && p->stalled && put_writable(p)) {
        p->heard_ns = st->vfs->ops->mono_ns(st->vfs);
        p->ops->writable(p->user);
    }
}

void put_write(struct put *p, struct chunk *c)
{
    struct store *st = p->st;
    assert(p->state == PUT_OPEN && p->received + c->len <= p->rec.size);
    c->next = NULL;
    *p->queue_tail = c;
    p->queue_tail = &c->next;
    p->queued += c->len;
    p->received += c->len;
    p->heard_ns = st->vfs->ops->mono_ns(st->vfs);
    st->queued += c->len;
    st->unsynced += c->len;
    st->stats.bytes_in += c->len;
    bool eager = st->queued > QUEUED_EAGER ||
                 (st->cfg.sync == STORE_SYNC_ACK && st->unsynced >= st->unsynced_max / 2);
    if (!p->job_running && p->error == 0 && (p->queued >= PUT_JOB_MIN || eager)) {
        start_body_job(p);
    }
    if (eager) {
        lane_kick(st);
    }
}

void put_commit(struct put *p, const uint8_t *md5)
{
    assert(p->state == PUT_OPEN && p->received == p->rec.size);
    p->state = PUT_COMPLETE;
    p->has_md5 = md5 != NULL;
    if (md5 != NULL) {
        memcpy(p->md5, md5, sizeof(p->md5));
    }
    if (!p->job_running && p->error == 0) {
        put_step(p);
        lane_kick(p->st);
    }
}

void put_abort(struct put *p)
{
    struct store *st = p->st;
    p->ops = NULL;
    switch (p->state) {
    case PUT_WAITING:
        put_wait_end(p);
        put_free(p);
        break;
    case PUT_OPEN:
    case PUT_COMPLETE:
        if (!p->job_running) {
            put_give_up(p);
        }
        break;
    case PUT_QUEUED:
        lane_unqueue(st, &p->c);
        put_give_up(p);
        break;
    case PUT_ROUND:
        break;
    case PUT_VOIDING:
        assert(!"a put that has ended");
    }
}

/* ---- what others tell it ---- */

void put_fail_block(struct block *b, int status)
{
    for (struct commit *c = b->frames, *next; c != NULL; c = next) {
        next = c->block_next;
        struct put *p = container_of(c, struct put, c);
        if (c->kind != COMMIT_PUT || p->state == PUT_ROUND) {
            continue; /* the round ends it */
        }
        p->error = status;
        if (p->job_running) {
            continue; /* body_job_done() ends it */
        }
        if (p->state == PUT_QUEUED) {
            lane_unqueue(b->st, c);
        }
        put_fail(p, status);
        next = b->frames; /* done() may have ended others: look again */
    }
}

void put_end_round(struct put *p)
{
    struct store *st = p->st;
    const struct put_ops *ops = p->ops;
    void *user = p->user;
    int status = p->c.status;
    if (status != 0) {
        p->state = PUT_COMPLETE;
        put_fail(p, status);
        return;
    }
    struct object obj = {
        .body = p->rec.body,
        .size = p->rec.size,
        .framed = true,
        .frame = p->rec.frame,
        .body_framed = true,
        .body_frame = p->rec.body_frame,
        .has_md5 = true,
        .mtime_ms = p->rec.mtime_ms,
    };
    memcpy(obj.md5, p->rec.md5, sizeof(obj.md5));
    st->stats.puts++;
    frame_leave(&p->c);
    put_free(p);
    if (ops != NULL) {
        ops->done(user, 0, &obj);
    }
}

void put_answer(struct put *p, int status)
{
    const struct put_ops *ops = p->ops;
    p->ops = NULL;
    if (ops != NULL) {
        ops->done(p->user, status, NULL);
    }
}

void put_abort_all(struct store *st, int status, bool complete_too)
{
    put_resume_waiting(st); /* stopping: refuses them */
    for (struct put *p = st->puts, *next; p != NULL; p = next) {
        next = p->next;
        if (p->state != PUT_OPEN && (p->state != PUT_COMPLETE || !complete_too)) {
            continue;
        }
        p->error = status;
        if (!p->job_running) {
            put_fail(p, status);
            next = st->puts;
        }
    }
}
