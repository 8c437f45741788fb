/* Start: from whatever a stop, a crash or a power cut left to a store that can be served.
 *
 *   1  look at the directory, choose the db (dir.c); losers are removed before the first append
 *   2  bring the index to the db's end: from its mark on if that is a published record of this
 *      history, else rebuilt from the first record
 *   3  read the unsealed blocks from the device (tail.c)
 *   4  apply what is above last_seq, in order, to index and batch, and behind it the names whose records
 *      only the index still knew (lost.c); seal; flush; note the mark
 *
 * Nothing before step 4 writes to anything but the index, and each step of 4 can be cut off and
 * run again: frames stay where they are, numbers above last_seq are found again until the flush is
 * on disk. (A start that is cut off when it has made the index anew forgets the damaged records of step
 * 4: that takes damage and a crash at once.) Start-up costs what the tail of the db and the unsealed
 * blocks cost (I7), unless the index has to be rebuilt.
 *
 * A db member damaged in the middle means records that only blocks hold: the history is then made
 * anew from both (rebuild.c). */
#include <stdio.h>
#include <stdlib.h>

#include "store/dir.h"
#include "store/lost.h"
#include "store/rebuild.h"
#include "store/scan.h"
#include "store/store_priv.h"
#include "store/tail.h"

#define APPLY_BATCH 5000 /* records in one index transaction */

struct recovery {
    struct store *st;
    struct zerr_info *info;
    struct dir_view view;
    bool bad[DB_IDS];
    struct db_summary sum;
    struct tail tail;
    bool have_tail;
    struct lost lost_names;
    struct index_mark mark; /* of the index as found; n_records 0 after it was made anew */
    bool fresh;             /* the index has been made anew */
    bool mark_ok;           /* the record before mark.n_records was seen and has mark.seq */
    uint64_t flushed_seq;   /* of the db up to the mark: what it counts as unflushed is above */
    uint64_t n_unflushed;   /* of these, those seen up to mark.last_seq */
    uint64_t index_session; /* that the index has seen, also if it was then made anew (I3) */
    uint64_t in_tx;
    bool from_mark;      /* the db was read from the index's mark on */
    bool in_tail;        /* what is applied comes from unsealed blocks */
    bool lost;           /* a member in the middle cannot be read */
    bool db_sync_failed; /* and could be settled nevertheless */
    uint64_t rev;        /* of the next record from the tail */
    uint8_t *zero_seen;  /* the original's db: per block, 1: named, 2: an object at offset 0 */
    size_t n_zero_seen;
    bool *zeroed; /* per block of the view: its header was wiped after its first sync */
};

/* ---- the index follows the history ---- */

static int tx_commit(struct recovery *r)
{
    struct index *ix = r->st->ix_write;
    struct index_mark mark;
    int rc = 0;
    if (r->in_tail) { /* rows that the db does not have yet: the mark goes with them */
        index_fill_mark(r->st, &mark);
        mark.durable_seq = mark.last_seq;
        rc = index_set_mark(ix, &mark);
    }
    if (rc != 0) {
        index_rollback(ix);
    }
    return rc == 0 ? index_commit(ix) : rc;
}

static int tx_step(struct recovery *r, bool end)
{
    struct index *ix = r->st->ix_write;
    int rc = 0;
    if (!end && r->in_tx == 0) {
        rc = index_begin(ix);
    } else if (r->in_tx >= APPLY_BATCH || (end && r->in_tx > 0)) {
        r->in_tx = 0;
        rc = tx_commit(r);
        if (rc == 0) {
            rc = index_checkpoint(ix, false);
        }
        if (rc == 0 && !end) {
            rc = index_begin(ix);
        }
    }
    if (!end && rc == 0) {
        r->in_tx++;
    }
    return rc;
}

static int apply_new(struct recovery *r, const struct record *rec, bool damaged)
{
    int rc = tx_step(r, false); /* what it commits has the mark of what came before */
    r->st->mark_last_seq = rec->seq;
    r->st->mark_seq = record_in_history(rec) ? rec->seq : r->st->mark_seq;
    return rc == 0 ? index_apply(r->st->ix_write, rec, damaged) : rc;
}

static void count_unflushed(struct recovery *r, const struct record *rec)
{
    r->n_unflushed += rec->seq > r->flushed_seq && rec->seq <= r->mark.last_seq;
}

/* One record in its place: skipped if the index has it, compared where its mark is.
 */
static int apply(struct recovery *r, uint64_t rev, const struct record *rec, bool damaged)
{
    if (!record_in_history(rec)) {
        return rec->seq <= r->mark.last_seq ? 0 : apply_new(r, rec, damaged);
    }
    if (rev + 1 == r->mark.n_records) {
        r->mark_ok = rec->seq == r->mark.seq;
        return r->mark_ok ? 0 : ZERR_BAD_REV;
    }
    if (rev < r->mark.n_records) {
        return 0;
    }
    return apply_new(r, rec, damaged);
}

static void see_place(struct recovery *r, const struct record *rec)
{
    if (rec->op == RECORD_PUT && rec->body.block < r->n_zero_seen) {
        r->zero_seen[rec->body.block] |= rec->body.off == 0 ? 3 : 1;
    }
}

static int on_record(void *user, uint64_t rev, const struct record *rec)
{
    struct recovery *r = user;
    if (r->zero_seen != NULL && rec->seq == 0) {
        see_place(r, rec);
    }
    count_unflushed(r, rec);
    return apply(r, rev, rec, false);
}

static int on_damage(void *user, const struct db_extra *lost, uint64_t off)
{
    (void)lost, (void)off;
    ((struct recovery *)user)->lost = true;
    return ZERR_CORRUPT;
}

static int on_progress(void *user, uint64_t done, uint64_t total)
{
    struct store *st = ((struct recovery *)user)->st;
    return st->cfg.progress == NULL
               ? 0
               : st->cfg.progress(st->cfg.user, "reading the history", done, total);
}

static int open_index(struct recovery *r, bool fresh)
{
    struct store *st = r->st;
    r->mark = (struct index_mark){0};
    r->n_unflushed = 0;
    r->mark_ok = true;
    r->fresh = fresh;
    st->mark_seq = st->mark_last_seq = 0;
    index_close(st->ix_write);
    st->ix_write = NULL;
    st->index_made = fresh;
    int rc = fresh ? index_remove(st->index_path) : 0;
    if (rc == 0) {
        rc = index_open(st->index_path, INDEX_WRITER, &st->ix_write, fresh ? r->info : NULL);
    }
    if (rc == 0 && !fresh) {
        rc = index_get_mark(st->ix_write, &r->mark);
        r->mark_ok = r->mark.n_records == 0;
        if (rc == 0 && SEQ_SESSION(r->mark.last_seq) > r->index_session) {
            r->index_session = SEQ_SESSION(r->mark.last_seq);
        }
        st->mark_seq = r->mark.seq;
        st->mark_last_seq = r->mark.last_seq;
    }
    if (rc == ZERR_CORRUPT && !fresh && st->cfg.index_path != NULL &&
        !index_is_sqlite(st->index_path)) {
        return zerr_fail(
            r->info, ZERR_INVALID, 0,
            "%s is not a look-up index, it is left alone: remove it or name another file",
            st->index_path); /* a slip of the pen must not cost a person's file */
    }
    /* In the directory itself a database is nobody else's, whatever its header says. */
    bool ours = rc == ZERR_INVALID && st->cfg.index_path == NULL;
    if (rc == ZERR_CORRUPT || rc == ZERR_UNSUPPORTED || rc == ZERR_NOT_FOUND || ours) {
        return fresh ? zerr_fail(r->info, rc, 0, "%s cannot be made", st->index_path)
                     : open_index(r, true);
    }
    return rc == 0 ? 0 : zerr_fail(r->info, rc, 0, "%s: %s", st->index_path, zerr_str(rc));
}

/* Is the index's mark at a member of this very file? */
static bool mark_fits(struct recovery *r)
{
    struct db_extra x;
    const struct index_mark *m = &r->mark;
    uint64_t size;
    bool fits = m->n_records > 0 && r->st->vfs->ops->size(r->st->db_file, &size) == 0 &&
                m->db_length <= size && db_read_extra(r->st->db_file, m->db_last_member, &x) == 0 &&
                x.generation <= m->generation && x.first_rev == m->db_last_member_rev &&
                memcmp(x.store_id, m->store_id, STORE_ID_BYTES) == 0;
    r->flushed_seq = fits ? x.last_seq : 0;
    return fits;
}

static int scan_db(struct recovery *r, struct db_pos from)
{
    struct store *st = r->st;
    struct db_visitor v = {.user = r,
                           .record = on_record,
                           .damage = on_damage,
                           .progress = from.off == 0 ? on_progress : NULL};
    struct zerr_info local = {0};
    r->lost = false;
    r->from_mark = false;
    int rc = db_scan(st->vfs, st->db_file, from, &v, &r->sum, &local);
    if (rc == 0) {
        rc = tx_step(r, true);
    }
    if (rc != 0) {
        index_rollback(st->ix_write);
        r->in_tx = 0;
    }
    if (rc == ZERR_CORRUPT && from.off == 0 && !r->lost) {
        return zerr_fail(r->info, rc, 0,
                         DB_NAME_FMT
                         ": %s; put it back from a copy, or make it anew from the blocks "
                         "with zipkvverify -rebuild",
                         st->db_id, zerr_text(&local, rc));
    }
    if (rc != 0 && rc != ZERR_BAD_REV && rc != ZERR_CORRUPT) {
        return zerr_fail(r->info, rc, local.sys_errno, "%s", zerr_text(&local, rc));
    }
    return rc;
}

/* The original's db: the whole file is read once, and blocks that it names but never at their
 * beginning are suspected to be ours. */
static int watch_places(struct recovery *r)
{
    const struct dir_view *v = &r->view;
    r->n_zero_seen = v->n_blocks == 0 ? 0 : (size_t)v->blocks[v->n_blocks - 1].number + 1;
    r->n_zero_seen = r->n_zero_seen < (1u << 24) ? r->n_zero_seen : 1u << 24;
    free(r->zero_seen);
    r->zero_seen = calloc(1, r->n_zero_seen + 1);
    return r->zero_seen == NULL ? ZERR_NOMEM : 0;
}

/* Steps 2: st->db_file is read into the index, r->sum tells its state. */
static int follow_db(struct recovery *r)
{
    int rc = open_index(r, false);
    if (rc == 0 && mark_fits(r)) {
        /* The record before the member is not read again: the member itself stands for it. */
        r->mark_ok = r->mark.n_records == r->mark.db_last_member_rev;
        rc = scan_db(r, (struct db_pos){r->mark.db_last_member, r->mark.db_last_member_rev});
        /* The record that the mark names may be in an unsealed block only: step 4 compares it. */
        bool there = rc == 0 && r->sum.members > 0; /* the mark's own member is read again */
        r->from_mark = there;
        if (there || (rc != 0 && rc != ZERR_BAD_REV && rc != ZERR_CORRUPT)) {
            return rc;
        }
        db_summary_finish(&r->sum);
        r->sum = (struct db_summary){0};
    }
    if ((rc == 0 && !r->fresh) || rc == ZERR_BAD_REV || rc == ZERR_CORRUPT) {
        rc = open_index(r, true);
    }
    if (rc == 0) {
        rc = watch_places(r);
    }
    if (rc == 0) {
        rc = scan_db(r, (struct db_pos){0});
    }
    if (rc == 0) {
        r->st->stats.index_rebuilt = r->sum.end.rev > 0;
    }
    return rc;
}

/* ---- the db ---- */

static int open_db(struct recovery *r, uint32_t id)
{
    struct store *st = r->st;
    char name[FILE_NAME_BYTES];
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
    st->db_id = id;
    int rc = st->vfs->ops->open(st->vfs, name, VFS_WRITE, &st->db_file);
    if (rc == 0) {
        struct dir_settled settled;
        rc = dir_settle(st->db_file, &settled);
        r->db_sync_failed = settled.failed;
    }
    if (rc != 0) {
        return zerr_fail(r->info, rc, vfs_last_errno(), "%s cannot be opened for writing", name);
    }
    st->db_exists = true;
    return 0;
}

/* The winner and the directory are on disk; now the others may go. */
static int remove_losers(struct recovery *r)
{
    struct store *st = r->st;
    struct vfs *vfs = st->vfs;
    if (r->view.n_dbs <= 1) {
        return 0;
    }
    int rc = vfs->ops->sync_dir(vfs);
    for (size_t i = 0; i < r->view.n_dbs && rc == 0; i++) {
        char name[FILE_NAME_BYTES], bad[FILE_NAME_BYTES + 4];
        if (r->view.dbs[i] == st->db_id) {
            continue;
        }
        (void)snprintf(name, sizeof(name), DB_NAME_FMT, r->view.dbs[i]);
        (void)snprintf(bad, sizeof(bad), "bad-%s", name);
        if (r->bad[i]) {
            store_note(st, LOG_WARN, "%s cannot be read and is not the current one: renamed to %s",
                       name, bad);
            rc = vfs->ops->rename(vfs, name, bad);
        } else {
            rc = vfs->ops->unlink(vfs, name);
        }
    }
    return rc == 0 ? vfs->ops->sync_dir(vfs) : rc;
}

/* A db without our fields beside framed blocks: the original's server has written here. */
static int check_mixed(struct recovery *r)
{
    bool mixed = r->view.framed && !r->sum.state.has_store_id;
    for (size_t i = 0; i < r->view.n_blocks && !mixed && !r->sum.state.has_store_id; i++) {
        const struct dir_block *b = &r->view.blocks[i];
        if (b->number < r->n_zero_seen && r->zero_seen[b->number] == 1) {
            struct vfs_file *f;
            uint8_t head[BLOCK_HEADER_BYTES];
            struct block_header h;
            size_t n = 0;
            if (dir_open_block(r->st->vfs, b, false, &f) == 0) {
                mixed = r->st->vfs->ops->pread(f, head, sizeof(head), 0, &n) == 0 &&
                        n == sizeof(head) && block_header_decode(head, b->number, &h) == 0;
                r->st->vfs->ops->close(f);
            }
        }
    }
    if (!mixed) {
        return 0;
    }
    return zerr_fail(r->info, ZERR_CORRUPT, 0,
                     DB_NAME_FMT
                     " was written by the original program over blocks of this one and "
                     "does not know all of them: run zipkvverify -rebuild, which joins them again",
                     r->st->db_id);
}

static int new_store(struct recovery *r)
{
    struct store *st = r->st;
    if (r->view.n_blocks > 0) {
        return zerr_fail(
            r->info, ZERR_CORRUPT, 0,
            "there are blocks but no db file: put it back from a copy, or make it anew "
            "from the blocks with zipkvverify -rebuild");
    }
    st->stats.new_store = true;
    st->generation = 1;
    st->session = 1;
    st->next_seq = SEQ_FIRST(st->session);
    int rc = st->vfs->ops->random(st->vfs, st->store_id, STORE_ID_BYTES);
    return rc == 0 ? open_index(r, true) : rc;
}

/* ---- the tail ---- */

static int check_tail_record(void *user, const struct record *rec, bool damaged)
{
    struct recovery *r = user;
    (void)damaged;
    count_unflushed(r, rec);
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
    int rc = tx_step(r, false);
    return rc == 0 ? lost_mark(r->st->ix_write, key, frame) : rc;
}

static int apply_tail_record(void *user, const struct record *rec, bool damaged)
{
    struct recovery *r = user;
    struct store *st = r->st;
    int rc = apply(r, r->rev, rec, damaged);
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

/* Nothing in it was ever synced: the first sync of a block covers its header. */
static bool is_unborn(struct vfs *vfs, const struct dir_block *b)
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
        if (b->open && b->size > BLOCK_HEADER_BYTES && is_unborn(r->st->vfs, b)) {
            rc = is_known(r, (struct place){b->number, 0}, b->size, &r->zeroed[i]);
        }
    }
    return rc;
}

/* Is what it has applied a beginning of what there is? If not it is ahead of the disk, or of another
 * history. */
static bool index_fits(const struct recovery *r)
{
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
    return rc;
}

static int follow_tail(struct recovery *r)
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
    st->stats.torn = r->tail.torn;
    st->n_records = st->n_flushed = r->rev = r->sum.end.rev;
    rc = tail_each(st->vfs, &r->tail, check_tail_record, r);
    if (rc == 0) {
        rc = find_lost(r);
    }
    if (rc == 0 && !index_fits(r)) {
        st->stats.index_rebuilt = true;
        db_summary_finish(&r->sum);
        r->sum = (struct db_summary){0};
        rc = open_index(r, true);
        if (rc == 0) {
            rc = scan_db(r, (struct db_pos){0});
        }
    }
    r->rev = r->sum.end.rev;
    return rc;
}

/* Numbers and states that go on from here. */
static int set_state(struct recovery *r)
{
    struct store *st = r->st;
    const struct db_state *s = &r->sum.state;
    st->db_last = r->sum.last_member;
    st->db_end = r->sum.end;
    /* A scan from the mark on has read the mark's last member again. */
    st->db_members = r->sum.members + (r->from_mark ? r->mark.db_members - 1 : 0);
    st->generation = s->generation > 0 ? s->generation : 1;
    if (s->has_store_id) {
        memcpy(st->store_id, s->store_id, STORE_ID_BYTES);
    }
    st->next_block = s->next_backend_file;
    if (r->view.n_blocks > 0) {
        uint32_t last = r->view.blocks[r->view.n_blocks - 1].number;
        st->next_block = last >= st->next_block ? last + 1 : st->next_block;
    }
    uint64_t session = r->tail.max_session;
    session = r->index_session > session ? r->index_session : session;
    st->session = session + 1;
    st->next_seq = SEQ_FIRST(st->session);
    st->last_seq = s->last_seq;
    st->flush_state = (struct db_state){.next_backend_file = st->next_block,
                                        .features = s->features,
                                        .has_store_id = true,
                                        .generation = st->generation};
    memcpy(st->flush_state.store_id, st->store_id, STORE_ID_BYTES);
    /* A flush half-way through recovery must not make the next start forget a block. */
    st->flush_state.open_blocks = calloc(r->tail.n_blocks + 1, sizeof(uint32_t));
    if (st->flush_state.open_blocks == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < r->tail.n_blocks; i++) {
        st->flush_state.open_blocks[i] = r->tail.blocks[i].file->number;
    }
    st->flush_state.n_open_blocks = r->tail.n_blocks;
    return 0;
}

static int remove_unborn(struct recovery *r)
{
    for (size_t i = 0; i < r->view.n_blocks; i++) {
        const struct dir_block *b = &r->view.blocks[i];
        char name[FILE_NAME_BYTES];
        bool known = false;
        for (size_t k = 0; k < r->tail.n_blocks; k++) {
            known = known || r->tail.blocks[k].file == b;
        }
        if (!b->open || known) {
            continue;
        }
        block_name(name, b->number, false);
        /* Died while it was made, or before its first commit: a power cut leaves zeros, or garbage. */
        int rc;
        if (!r->zeroed[i] && is_unborn(r->st->vfs, b)) {
            rc = r->st->vfs->ops->unlink(r->st->vfs, name);
        } else {
            char bad[FILE_NAME_BYTES + 4];
            (void)snprintf(bad, sizeof(bad), "bad-%s", name);
            store_note(r->st, LOG_ERROR,
                       "%s has no valid header, nothing in it can be read: renamed to %s", name,
                       bad);
            rc = r->st->vfs->ops->rename(r->st->vfs, name, bad);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Step 4. */
static int settle(struct recovery *r)
{
    struct store *st = r->st;
    bool adopt = !r->sum.state.has_store_id;
    int rc = 0;
    if (adopt) {
        rc = st->vfs->ops->random(st->vfs, st->store_id, STORE_ID_BYTES);
        memcpy(st->flush_state.store_id, st->store_id, STORE_ID_BYTES);
    }
    if (rc == 0 && r->sum.file_len > r->sum.end.off) {
        rc = st->vfs->ops->truncate(st->db_file, r->sum.end.off); /* a torn append */
    }
    r->in_tail = true;
    if (rc == 0) {
        rc = tail_each(st->vfs, &r->tail, apply_tail_record, r);
    }
    if (rc == 0) {
        rc = apply_lost(r);
    }
    if (rc == 0) {
        rc = tx_step(r, true);
    }
    if (rc == 0) {
        rc = index_begin(st->ix_write);
    }
    if (rc == 0) {
        rc = tail_each_damaged(&r->tail, mark_damaged, r);
        rc = rc == 0 ? index_commit(st->ix_write) : rc;
    }
    if (rc == 0) {
        rc = tail_seal(st->vfs, &r->tail, r->info);
    }
    if (rc == 0) {
        rc = remove_unborn(r);
    }
    st->last_seq = r->tail.max_seq > st->last_seq ? r->tail.max_seq : st->last_seq;
    if (rc == 0 && (adopt || r->tail.n_blocks > 0 || db_batch_n_all(st->batch) > 0 ||
                    r->sum.state.n_open_blocks > 0)) {
        st->flush_state.last_seq = st->last_seq;
        st->flush_state.n_open_blocks = 0;
        st->flush_records = st->n_records;
        rc = db_flush_run(st);
        st->n_flushed = rc == 0 ? st->n_records : st->n_flushed;
    }
    st->durable_seq = st->last_seq;
    return rc;
}

static int is_valid(struct store *st, struct place frame, bool *ret)
{
    struct block *b = block_get(st, frame.block);
    struct vfs_file *file;
    struct arena arena = {0};
    struct scan_frame f = {.verdict = SCAN_GARBAGE};
    int rc = b == NULL ? ZERR_NOMEM : block_file(b, &file);
    if (rc == 0 && b->framed) {
        (void)st->vfs->ops->drop_cache(file);
        rc = scan_one(file, &b->header, frame.off, SCAN_BODIES, &arena, &f);
    }
    arena_finish(&arena);
    block_unref(b);
    *ret = f.verdict == SCAN_VALID;
    return rc;
}

/* A damaged object may have been put right from a copy: its mark is tried again at each start. */
static int retry_mark(void *user, struct slice key, const struct object *obj)
{
    struct store *st = ((struct recovery *)user)->st;
    (void)key;
    if (!obj->body_framed || !obj->framed) {
        return 0;
    }
    bool valid;
    int rc = is_valid(st, obj->body_frame, &valid);
    if (rc == 0 && valid &&
        (obj->frame.block != obj->body_frame.block || obj->frame.off != obj->body_frame.off)) {
        rc = is_valid(st, obj->frame, &valid);
    }
    if (rc == 0 && valid) {
        rc = index_begin(st->ix_write);
        if (rc == 0) {
            rc = index_set_damage(st->ix_write, obj->body, false, NULL);
            rc = rc == 0 ? index_commit(st->ix_write) : rc;
        }
    }
    return rc == ZERR_NOMEM ? rc : 0; /* what cannot be read keeps its mark */
}

static int note_mark(struct recovery *r)
{
    struct store *st = r->st;
    struct index_mark mark;
    index_fill_mark(st, &mark);
    int rc = index_begin(st->ix_write);
    if (rc == 0) {
        rc = index_set_mark(st->ix_write, &mark);
    }
    if (rc == 0) {
        rc = index_commit(st->ix_write);
    }
    return rc == 0 ? index_checkpoint(st->ix_write, true) : rc;
}

static int recover_with_db(struct recovery *r, uint32_t id)
{
    int rc = open_db(r, id);
    if (rc == 0) {
        rc = follow_db(r);
    }
    if (rc == 0 && (r->sum.state.features & ~(uint64_t)DB_FEATURES) != 0) {
        rc = zerr_fail(r->info, ZERR_UNSUPPORTED, 0,
                       DB_NAME_FMT " was written by a newer version (features %llx): use that one",
                       id, (unsigned long long)r->sum.state.features);
    }
    if (rc == 0) {
        rc = check_mixed(r);
    }
    if (rc == 0) {
        rc = remove_losers(r);
    }
    if (rc == 0) {
        rc = follow_tail(r);
    }
    if (rc == 0) {
        rc = set_state(r);
    }
    if (rc == 0) {
        rc = settle(r);
    }
    if (rc == 0) {
        rc = index_each_damaged(r->st->ix_write, retry_mark, r);
    }
    if (rc == 0 && db_rewrite(r->st) != 0) {
        store_note(r->st, LOG_WARN,
                   "the history could not be rewritten in larger members, ignoring");
    }
    return rc == 0 ? note_mark(r) : rc;
}

static void report(struct recovery *r)
{
    struct store *st = r->st;
    const struct store_stats *s = &st->stats;
    if (r->tail.failed_syncs > 0 || r->db_sync_failed) {
        store_note(st, LOG_WARN,
                   "the disk has reported that it could not write: what it has was read from it");
    }
    flush_report(st);
    if (s->recovered > 0 || s->torn > 0) {
        store_note(st, LOG_INFO,
                   "recovered %llu records that were not in the history yet; dropped %llu "
                   "unfinished uploads",
                   (unsigned long long)s->recovered, (unsigned long long)s->torn);
    }
    if (s->recovered_damaged > 0 || r->tail.damaged > 0) {
        store_note(
            st, LOG_ERROR, "%llu acknowledged objects are damaged and set aside: run zipkvverify",
            (unsigned long long)(s->recovered_damaged > r->tail.damaged ? s->recovered_damaged
                                                                        : r->tail.damaged));
    }
    if (s->index_rebuilt) {
        store_note(st, LOG_INFO, "look-up index rebuilt from the history");
    }
}

static void recovery_finish(struct recovery *r)
{
    if (r->have_tail) {
        tail_finish(&r->tail);
    }
    lost_finish(&r->lost_names);
    db_summary_finish(&r->sum);
    dir_view_finish(&r->view);
    free(r->zero_seen);
    free(r->zeroed);
    r->zero_seen = NULL;
    r->zeroed = NULL;
    r->have_tail = false;
    r->sum = (struct db_summary){0};
}

static int recover_once(struct recovery *r)
{
    struct store *st = r->st;
    uint32_t id;
    int rc = dir_view_read(st->vfs, &r->view, r->info);
    if (rc != 0) {
        return rc;
    }
    rc = dir_choose_db(st->vfs, &r->view, &id, r->bad, r->info);
    rc = rc == ZERR_NOT_FOUND ? new_store(r) : rc == 0 ? recover_with_db(r, id) : rc;
    if (rc == 0) {
        st->stats.n_blocks = r->view.n_blocks;
        report(r);
    }
    return rc;
}

int recover(struct store *st, struct zerr_info *info)
{
    struct zerr_info local = {0};
    struct recovery r = {.st = st, .info = info != NULL ? info : &local};
    int rc = recover_once(&r);
    bool lost = r.lost;
    recovery_finish(&r);
    if (rc == ZERR_CORRUPT && lost) {
        store_note(st, LOG_WARN,
                   "the history is damaged in the middle: making it anew from the blocks");
        st->vfs->ops->close(st->db_file);
        st->db_file = NULL;
        struct rebuild_config rc_cfg = {
            .vfs = st->vfs, .user = st->cfg.user, .progress = st->cfg.progress};
        struct rebuild_result res;
        rc = rebuild_history(&rc_cfg, &res, info);
        if (rc == 0) {
            r = (struct recovery){
                .st = st, .info = info != NULL ? info : &local, .index_session = r.index_session};
            rc = recover_once(&r);
            recovery_finish(&r);
        }
    }
    if (rc == 0) { /* sealed blocks as they are now */
        struct dir_view view;
        rc = dir_view_read(st->vfs, &view, info);
        if (rc == 0) {
            st->stats.disk_bytes = view.sealed_bytes;
            st->stats.n_blocks = view.n_blocks;
            dir_view_finish(&view);
        }
    }
    return rc;
}
