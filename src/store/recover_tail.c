/* What only the unsealed blocks have: part of recovery, see recover.c; which of their frames count is
 * tail.h's.
 *
 * Following them comes first and changes nothing but the index; then they are applied: to the index and to
 * the batch that the flush writes, in order of numbers, and behind them the names whose records only the
 * index still knew (lost.h). */
#include "store/recover_priv.h"

#include <stdlib.h>

static int check_tail_record(void *user, const struct record *rec, bool damaged)
{
    struct recovery *r = user;
    (void)damaged;
    recovery_count_unflushed(r, rec);
    if (!record_in_history(rec)) {
        return 0;
    }
    if (r->rev + 1 == r->mark.n_records) {
        r->mark_ok = rec->seq == r->mark.seq;
    }
    r->rev++;
    return 0;
}

static int mark_name(struct recovery *r, struct slice key, struct place frame)
{
    int rc = recovery_tx_step(r, false);
    return rc == 0 ? lost_mark(r->st->ix_write, key, frame) : rc;
}

static int apply_tail_record(void *user, const struct record *rec, bool damaged)
{
    struct recovery *r = user;
    struct store *st = r->st;
    int rc = recovery_apply_record(r, r->rev, rec, damaged);
    if (rc == 0 && damaged && rec->op == RECORD_PUT) { /* the index may have it as it was */
        rc = mark_name(r, rec->key, rec->frame);
    }
    if (rc == 0) {
        rc = flush_add(st, rec);
    }
    if (rc != 0) {
        return rc;
    }
    r->rev += record_in_history(rec);
    st->n_records += record_in_history(rec);
    st->stats.recovered++;
    st->stats.recovered_damaged += damaged;
    st->last_seq = rec->seq;
    if (db_batch_bytes(st->batch) >= BATCH_MAX_BYTES) { /* the frames are synced: I2 holds */
        st->flush_state.last_seq = rec->seq;
        st->flush_records = st->n_records;
        rc = db_flush_run(st);
        st->n_flushed = rc == 0 ? st->n_records : st->n_flushed;
    }
    return rc;
}

/* What only the index knew of gets a number of this session, behind all others: nothing that came
 * later is known of these names. */
static int apply_lost(struct recovery *r)
{
    struct store *st = r->st;
    int rc = 0;
    for (size_t i = 0; i < r->lost_names.n && rc == 0; i++) {
        const struct object *o = &r->lost_names.v[i].obj;
        struct slice key = r->lost_names.v[i].key;
        struct object now;
        rc = index_lookup(st->ix_write, key, &now);
        if (rc == 0 && now.frame.block == o->frame.block && now.frame.off == o->frame.off) {
            rc = mark_name(r, key, o->frame);
            st->stats.recovered_damaged++;
        } else if (rc == 0 || rc == ZERR_NOT_FOUND) {
            struct record rec = {.op = RECORD_PUT,
                                 .key = key,
                                 .seq = st->next_seq++,
                                 .body = o->body,
                                 .size = o->size,
                                 .framed = true,
                                 .frame = o->frame,
                                 .body_framed = o->body_framed,
                                 .body_frame = o->body_frame,
                                 .has_md5 = o->has_md5,
                                 .mtime_ms = o->mtime_ms};
            memcpy(rec.md5, o->md5, sizeof(rec.md5));
            rc = apply_tail_record(r, &rec, true);
        }
    }
    return rc;
}

static int mark_damaged(void *user, struct place body)
{
    struct recovery *r = user;
    uint64_t n;
    int rc = index_set_damage(r->st->ix_write, body, true, &n);
    r->st->stats.recovered_damaged += n;
    return rc;
}

static int is_known(struct recovery *r, struct place room, uint64_t len, bool *ret)
{
    return index_has_body_in(r->st->ix_write, room, len, ret);
}

/* Had everything that the index has applied been synced? Not so with -sync block. */
static bool index_is_durable(const struct recovery *r)
{
    return r->mark.last_seq > 0 && r->mark.durable_seq >= r->mark.last_seq;
}

static int was_durable(void *user, struct place room, uint64_t len, bool *ret)
{
    struct recovery *r = user;
    *ret = false;
    return index_is_durable(r) ? is_known(r, room, len, ret) : 0;
}

bool recovery_is_unborn(struct vfs *vfs, const struct dir_block *b)
{
    static const uint8_t zeros[BLOCK_HEADER_BYTES];
    uint8_t head[BLOCK_HEADER_BYTES];
    struct vfs_file *f;
    size_t n = 0;
    if (b->size <= BLOCK_HEADER_BYTES) {
        return true;
    }
    if (dir_open_block(vfs, b, false, &f) != 0) {
        return false;
    }
    int rc = vfs->ops->pread(f, head, sizeof(head), 0, &n);
    vfs->ops->close(f);
    return rc == 0 && n == sizeof(head) && memcmp(head, zeros, sizeof(head)) == 0;
}

/* A header of zeros, and yet the index has bodies in the block: it was synced, and zeroed since. Asked
 * before the index is given up for being ahead of what can be read. */
static int find_zeroed(struct recovery *r)
{
    r->zeroed = calloc(r->view.n_blocks + 1, sizeof(*r->zeroed));
    int rc = r->zeroed == NULL ? ZERR_NOMEM : 0;
    for (size_t i = 0; i < r->view.n_blocks && rc == 0; i++) {
        const struct dir_block *b = &r->view.blocks[i];
        if (b->open && b->size > BLOCK_HEADER_BYTES && recovery_is_unborn(r->st->vfs, b)) {
            rc = is_known(r, (struct place){b->number, 0}, b->size, &r->zeroed[i]);
        }
    }
    return rc;
}

/* Is what it has applied a beginning of what there is? If not it is ahead of the disk, or of another
 * history. On a disk that could not write the rest it may have lost pages, too, and not know of it. */
static bool index_fits(const struct recovery *r)
{
    if (r->tail.failed_syncs > 0 || r->db_settled.failed) {
        return false;
    }
    return r->mark_ok && r->mark.n_records <= r->rev && r->mark.unflushed == r->n_unflushed;
}

static int forget_newer(void *user, const struct record *rec, bool damaged)
{
    struct recovery *r = user;
    (void)damaged;
    if (rec->seq > r->mark.last_seq) {
        lost_forget(&r->lost_names, rec->key);
    }
    return 0;
}

/* Before the index is made anew, if it must be. */
static int find_lost(struct recovery *r)
{
    bool unreadable = false;
    for (size_t i = 0; i < r->tail.n_loose && !unreadable; i++) {
        unreadable = r->tail.loose[i].unreadable;
    }
    if (!index_is_durable(r) || r->tail.n_loose == 0 || (index_fits(r) && !unreadable)) {
        return 0;
    }
    int rc = lost_find(r->st->ix_write, &r->tail, &r->lost_names);
    if (rc == 0 && r->lost_names.n > 0) {
        rc = tail_each(r->st->vfs, &r->tail, forget_newer, r);
    }
    for (size_t i = 0; i < r->lost_names.n && rc == 0; i++) {
        tail_keep(&r->tail, r->lost_names.v[i].obj.frame);
    }
    return rc;
}

int recovery_follow_tail(struct recovery *r)
{
    struct store *st = r->st;
    int rc = find_zeroed(r);
    if (rc != 0) {
        return rc;
    }
    rc = tail_collect(st->vfs, &r->view, &r->sum.state, true, r->mark.durable_seq, was_durable, r,
                      &r->tail, r->info);
    if (rc != 0) {
        return rc;
    }
    r->have_tail = true;
    st->n_records = st->n_flushed = r->rev = r->sum.end.rev;
    rc = tail_each(st->vfs, &r->tail, check_tail_record, r);
    if (rc == 0) {
        rc = find_lost(r);
    }
    st->stats.torn = r->tail.torn;
    if (rc == 0 && !index_fits(r)) {
        st->stats.index_rebuilt = true;
        db_summary_finish(&r->sum);
        r->sum = (struct db_summary){0};
        rc = recovery_open_index(r, true);
        if (rc == 0) {
            rc = recovery_scan_db(r, (struct db_pos){0});
        }
    }
    r->rev = r->sum.end.rev;
    return rc;
}

int recovery_apply_tail(struct recovery *r)
{
    struct store *st = r->st;
    r->in_tail = true;
    int rc = tail_each(st->vfs, &r->tail, apply_tail_record, r);
    if (rc == 0) {
        rc = apply_lost(r);
    }
    if (rc == 0) {
        rc = recovery_tx_step(r, true);
    }
    if (rc == 0) {
        rc = index_begin(st->ix_write);
    }
    if (rc == 0) {
        rc = tail_each_damaged(&r->tail, mark_damaged, r);
        rc = rc == 0 ? index_commit(st->ix_write) : rc;
    }
    return rc;
}
