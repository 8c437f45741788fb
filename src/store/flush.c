/* The history on disk: its first file, flushes, and what happens when the file cannot be appended to.
 *
 * Flush order (I2): sync every block with a record of the batch (with -sync ack they are), append the
 * member at the last good length, fdatasync. A failed append is cut back and the batch kept. If the
 * cut or the sync fails the file is given up: its good part and the member go into the next id. While
 * the batch cannot be flushed writes are refused; the lane tries again each second.
 *
 * All of it is the lane's; recovery calls db_flush_run() before there is a lane. */
#include <stdio.h>
#include <stdlib.h>

#include "store/store_priv.h"

/* Under another name until it is whole: a power cut must not leave a directory that looks as if it had
 * lost its history. */
static int first_db(struct store *st)
{
    struct vfs *vfs = st->vfs;
    char name[FILE_NAME_BYTES], tmp[FILE_NAME_BYTES];
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, st->db_id);
    (void)snprintf(tmp, sizeof(tmp), "new-" DB_NAME_FMT, st->db_id);
    struct db_state state = {.has_store_id = true, .generation = st->generation};
    memcpy(state.store_id, st->store_id, STORE_ID_BYTES);
    struct db_writer *w;
    (void)vfs->ops->unlink(vfs, tmp);
    int rc = db_writer_create(vfs, tmp, &state, &w);
    if (rc == 0) {
        rc = db_writer_finish(w, &state, &st->db_last, &st->db_end);
    }
    if (rc == 0) {
        rc = vfs->ops->rename(vfs, tmp, name);
        if (rc != 0) {
            (void)vfs->ops->unlink(vfs, tmp);
        }
    }
    if (rc == 0) {
        rc = vfs->ops->sync_dir(vfs);
        rc = rc == 0 ? vfs->ops->open(vfs, name, VFS_WRITE, &st->db_file) : rc;
        if (rc != 0) {
            (void)vfs->ops->unlink(vfs, name);
        }
    }
    return rc;
}

int store_ensure_db(struct store *st)
{
    (void)pthread_mutex_lock(&st->db_mutex);
    int rc = st->db_exists ? 0 : first_db(st);
    st->db_exists = rc == 0;
    (void)pthread_mutex_unlock(&st->db_mutex);
    return rc;
}

/* On the loop: what the member says beside its records. */
int flush_begin(struct store *st)
{
    struct db_state *s = &st->flush_state;
    size_t n = 0;
    for (struct block *b = st->open_blocks; b != NULL; b = b->next) {
        n++;
    }
    uint32_t *list = realloc(s->open_blocks, (n + 1) * sizeof(*list));
    if (list == NULL) {
        return ZERR_NOMEM;
    }
    s->open_blocks = list;
    s->n_open_blocks = 0;
    for (struct block *b = st->open_blocks; b != NULL; b = b->next) {
        list[s->n_open_blocks++] = b->number;
    }
    s->next_backend_file = st->next_block;
    s->has_store_id = true;
    memcpy(s->store_id, st->store_id, STORE_ID_BYTES);
    s->generation = st->generation;
    s->last_seq = st->void_last > st->last_seq ? st->void_last : st->last_seq;
    st->flush_records = st->n_records;
    struct round *r = &st->round;
    r->n_blocks = 0;
    for (struct block *b = st->open_blocks; st->cfg.sync == STORE_SYNC_BLOCK && b != NULL;
         b = b->next) {
        if (!b->committed || b->state == BLOCK_POISONED) {
            continue;
        }
        if (r->n_blocks == r->cap_blocks) {
            size_t cap = r->cap_blocks == 0 ? 8 : r->cap_blocks * 2;
            struct round_block *p = realloc(r->blocks, cap * sizeof(*p));
            if (p == NULL) {
                return ZERR_NOMEM;
            }
            r->blocks = p;
            r->cap_blocks = cap;
        }
        r->blocks[r->n_blocks++] = (struct round_block){.block = b};
    }
    return 0;
}

int flush_add(struct store *st, const struct record *rec)
{
    int rc = db_batch_add(st->batch, rec);
    if (rc == 0) {
        st->flush_state.features |= record_features(rec);
    }
    return rc;
}

static int sync_blocks(struct store *st)
{
    struct round *r = &st->round;
    for (size_t i = 0; i < r->n_blocks; i++) {
        struct vfs_file *file;
        int rc = block_file(r->blocks[i].block, &file);
        if (rc == 0) {
            rc = file->vfs->ops->datasync(file);
        }
        if (rc != 0) {
            r->blocks[i].failed = true;
            return rc;
        }
    }
    return r->n_blocks > 0 ? st->vfs->ops->sync_dir(st->vfs) : 0;
}

#define COPY_BYTES (256u << 10)

static int copy_file(struct vfs_file *from, struct vfs_file *to, uint64_t len)
{
    uint8_t *buf = malloc(COPY_BYTES);
    int rc = buf == NULL ? ZERR_NOMEM : 0;
    for (uint64_t at = 0; at < len && rc == 0;) {
        size_t n = len - at < COPY_BYTES ? (size_t)(len - at) : COPY_BYTES, got;
        rc = from->vfs->ops->pread(from, buf, n, at, &got);
        if (rc == 0 && got < n) {
            rc = ZERR_IO;
        }
        if (rc == 0) {
            struct iovec iov = {buf, n};
            rc = to->vfs->ops->pwritev(to, &iov, 1, at);
        }
        at += n;
    }
    free(buf);
    return rc;
}

/* Where the file with the next id is written before it takes its name. */
static void next_id_name(const struct store *st, char out[FILE_NAME_BYTES])
{
    (void)snprintf(out, FILE_NAME_BYTES, "new-" DB_NAME_FMT, (st->db_id + 1) % DB_IDS);
}

/* `file` is complete and synced under next_id_name() (status 0), or is given up. Closes one of the
 * two files. */
static int next_id_takes_over(struct store *st, struct vfs_file *file, int status)
{
    struct vfs *vfs = st->vfs;
    char tmp[FILE_NAME_BYTES], name[FILE_NAME_BYTES], old[FILE_NAME_BYTES];
    uint32_t id = (st->db_id + 1) % DB_IDS;
    next_id_name(st, tmp);
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
    (void)snprintf(old, sizeof(old), DB_NAME_FMT, st->db_id);
    int rc = status == 0 ? vfs->ops->rename(vfs, tmp, name) : status;
    if (rc == 0) {
        rc = vfs->ops->sync_dir(vfs);
    }
    if (rc != 0) {
        vfs->ops->close(file);
        (void)vfs->ops->unlink(vfs, tmp);
        return rc;
    }
    vfs->ops->close(st->db_file);
    st->db_file = file;
    st->db_id = id;
    st->generation++;
    (void)vfs->ops->unlink(vfs, old);
    return 0;
}

/* The db file cannot be trusted with appends any more: its good part and the member go into a
 * new file with the next id and a higher generation, which replaces it. */
static int move_to_next_id(struct store *st, struct slice *member)
{
    struct vfs *vfs = st->vfs;
    char tmp[FILE_NAME_BYTES];
    struct vfs_file *file;
    next_id_name(st, tmp);
    (void)vfs->ops->unlink(vfs, tmp);
    int rc = vfs->ops->open(vfs, tmp, VFS_WRITE | VFS_CREATE, &file);
    if (rc != 0) {
        return rc;
    }
    st->flush_state.generation = st->generation + 1;
    rc = copy_file(st->db_file, file, st->db_end.off);
    if (rc == 0) {
        rc = db_batch_member(st->batch, &st->flush_state, st->n_flushed, member);
    }
    if (rc == 0) {
        struct iovec iov = {(void *)(uintptr_t)member->ptr, member->len};
        rc = vfs->ops->pwritev(file, &iov, 1, st->db_end.off);
    }
    if (rc == 0) {
        rc = vfs->ops->sync(file);
    }
    return next_id_takes_over(st, file, rc);
}

static int rewrite_record(void *user, uint64_t rev, const struct record *r)
{
    (void)rev;
    return db_writer_add(user, r);
}

static int rewrite_damage(void *user, const struct db_extra *lost, uint64_t off)
{
    (void)user, (void)lost, (void)off;
    return ZERR_CORRUPT; /* never make a good copy of a bad history */
}

int db_rewrite(struct store *st)
{
    uint64_t waste = st->db_members * DB_MEMBER_WASTE;
    if (waste < DB_WASTE_MIN || waste < st->db_end.off / 4) {
        return 0;
    }
    struct vfs *vfs = st->vfs;
    char tmp[FILE_NAME_BYTES];
    struct db_writer *w;
    struct db_summary sum = {0};
    struct db_pos last, end;
    struct vfs_file *file = NULL;
    struct db_state state = st->flush_state;
    next_id_name(st, tmp);
    (void)vfs->ops->unlink(vfs, tmp);
    state.generation = st->generation + 1;
    state.last_seq = st->last_seq;
    int rc = db_writer_create(vfs, tmp, &state, &w);
    if (rc != 0) {
        return rc;
    }
    struct db_visitor v = {.user = w, .record = rewrite_record, .damage = rewrite_damage};
    rc = db_scan(vfs, st->db_file, (struct db_pos){0}, &v, &sum, NULL);
    db_summary_finish(&sum);
    if (rc != 0) {
        db_writer_abort(w);
        return rc;
    }
    rc = db_writer_finish(w, &state, &last, &end);
    if (rc == 0) {
        rc = vfs->ops->open(vfs, tmp, VFS_WRITE, &file);
    }
    if (rc == 0) {
        rc = next_id_takes_over(st, file, 0);
    }
    if (rc == 0) {
        st->db_last = last;
        st->db_end = end;
        st->db_members =
            1 + end.off / BATCH_MAX_BYTES; /* about; a whole read counts them exactly */
        st->flush_state.generation = st->generation;
    }
    return rc;
}

int db_flush_run(struct store *st)
{
    struct slice member;
    int rc = store_ensure_db(st);
    if (rc == 0) {
        rc = sync_blocks(st);
    }
    if (rc == 0) {
        rc = db_batch_member(st->batch, &st->flush_state, st->n_flushed, &member);
    }
    if (rc != 0) {
        return rc;
    }
    const struct vfs_ops *ops = st->vfs->ops;
    struct iovec iov = {(void *)(uintptr_t)member.ptr, member.len};
    if (!st->db_given_up) {
        int bad;
        rc = ops->pwritev(st->db_file, &iov, 1, st->db_end.off);
        if (rc != 0) {
            bad = ops->truncate(st->db_file, st->db_end.off);
        } else {
            rc = bad = ops->datasync(st->db_file);
        }
        st->db_given_up = bad != 0;
        st->db_error = bad != 0 ? bad : st->db_error;
    }
    if (st->db_given_up) { /* also when the last try to move it failed: it is never synced again */
        rc = move_to_next_id(st, &member);
        st->db_given_up = rc != 0;
    }
    if (rc == 0) {
        st->db_last = (struct db_pos){st->db_end.off, st->n_flushed};
        st->db_end = (struct db_pos){st->db_end.off + member.len, st->flush_records};
        st->db_members++;
        db_batch_reset(st->batch);
    }
    return rc;
}

void flush_report(struct store *st)
{
    if (st->db_error != 0) {
        store_note(st, LOG_WARN,
                   "history: its file cannot be synced or cut back (%s), a new one is to take over",
                   zerr_str(st->db_error));
        st->db_error = 0;
    }
}

void flush_finish(struct store *st)
{
    int rc = st->lane_status;
    flush_report(st);
    struct round *r = &st->round;
    for (size_t i = 0; i < r->n_blocks; i++) {
        if (r->blocks[i].failed) {
            block_poison(r->blocks[i].block, rc);
        }
    }
    r->n_blocks = 0;
    if (rc != 0) {
        if (!st->flush_failed) {
            store_note(st, LOG_ERROR, "history: cannot be written (%s); writes wait, trying again",
                       zerr_str(rc));
        }
        st->flush_failed = true;
        st->stop_status = st->stopping && st->stop_status == 0 ? rc : st->stop_status;
        st->flush_retry_ns = st->vfs->ops->mono_ns(st->vfs) + 1000000000u;
        if (st->gap_unflushed) {
            store_refuse_commits(st, ZERR_BUSY);
        }
        return;
    }
    if (st->flush_failed) {
        store_note(st, LOG_INFO, "history: written again");
    }
    st->flush_failed = st->flush_wanted = st->gap_unflushed = false;
    st->n_flushed = st->flush_records;
    if (st->flush_state.last_seq > st->durable_seq) {
        st->durable_seq = st->flush_state.last_seq;
    }
    st->stats.flushes++;
}

void index_fill_mark(const struct store *st, struct index_mark *m)
{
    memset(m, 0, sizeof(*m));
    memcpy(m->store_id, st->store_id, STORE_ID_BYTES);
    m->generation = st->generation;
    m->n_records = st->n_records;
    m->seq = st->mark_seq;
    m->last_seq = st->mark_last_seq;
    m->db_last_member = st->db_last.off;
    m->db_last_member_rev = st->db_last.rev;
    m->db_length = st->db_end.off;
    m->db_members = st->db_members;
    m->unflushed = db_batch_n_all(st->batch);
    m->durable_seq = st->durable_seq;
}
