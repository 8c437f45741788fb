/* The index follows the history: part of recovery, see recover.c.
 *
 * Records go into the index in transactions of some thousand. Each can be the last: the mark that goes with
 * it says what the index has, so a start that is cut off is taken up where it was, or begins anew. */
#include "store/recover_priv.h"

#include <stdlib.h>

#define APPLY_BATCH 5000 /* records in one index transaction */

static int tx_commit(struct recovery *r)
{
    struct index *ix = r->st->ix_write;
    struct index_mark mark;
    int rc = 0;
    if (r->in_tail) { /* rows that the db does not have yet: the mark goes with them */
        index_fill_mark(r->st, &mark);
        /* Not more than was known before: what was torn between these rows is not VOID on disk yet, and
         * the next start must not take it for acknowledged. */
        mark.durable_seq = r->tail.durable_seq;
        rc = index_set_mark(ix, &mark);
    }
    if (rc != 0) {
        index_rollback(ix);
    }
    return rc == 0 ? index_commit(ix) : rc;
}

int recovery_tx_step(struct recovery *r, bool end)
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
    int rc = recovery_tx_step(r, false); /* what it commits has the mark of what came before */
    r->st->mark_last_seq = rec->seq;
    r->st->mark_seq = record_in_history(rec) ? rec->seq : r->st->mark_seq;
    return rc == 0 ? index_apply(r->st->ix_write, rec, damaged) : rc;
}

void recovery_count_unflushed(struct recovery *r, const struct record *rec)
{
    r->n_unflushed += rec->seq > r->flushed_seq && rec->seq <= r->mark.last_seq;
}

int recovery_apply_record(struct recovery *r, uint64_t rev, const struct record *rec, bool damaged)
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
    recovery_count_unflushed(r, rec);
    r->record_status = recovery_apply_record(r, rev, rec, false);
    return r->record_status;
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

int recovery_open_index(struct recovery *r, bool fresh)
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
                     : recovery_open_index(r, true);
    }
    return rc == 0 ? 0 : zerr_fail(r->info, rc, 0, "%s: %s", st->index_path, zerr_str(rc));
}

/* Is the index's mark at a member of this very file? */
static bool mark_fits(struct recovery *r)
{
    struct db_extra x;
    const struct index_mark *m = &r->mark;
    uint64_t size;
    bool fits = m->n_records > 0 && r->st->vfs->ops->size(recovery_db(r), &size) == 0 &&
                m->db_length <= size && db_read_extra(recovery_db(r), m->db_last_member, &x) == 0 &&
                x.generation <= m->generation && x.first_rev == m->db_last_member_rev &&
                memcmp(x.store_id, m->store_id, STORE_ID_BYTES) == 0;
    r->flushed_seq = fits ? x.last_seq : 0;
    return fits;
}

int recovery_scan_db(struct recovery *r, struct db_pos from)
{
    struct store *st = r->st;
    struct db_visitor v = {.user = r,
                           .record = on_record,
                           .damage = on_damage,
                           .progress = from.off == 0 ? on_progress : NULL};
    struct zerr_info local = {0};
    r->lost = false;
    r->from_mark = false;
    r->record_status = 0;
    vfs_set_last_errno(0); /* what is said below is of this scan */
    int rc = db_scan(st->vfs, recovery_db(r), from, &v, &r->sum, &local);
    if (rc != 0 && r->record_status == 0 && rc != ZERR_CANCELED) {
        (void)zerr_fail(&local, rc, vfs_last_errno(), DB_NAME_FMT " cannot be read (%s)", st->db_id,
                        zerr_str(rc));
    } else if (rc == 0) {
        rc = recovery_tx_step(r, true);
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
        (void)zerr_fail(&local, rc, 0, "%s: %s", st->index_path, zerr_str(rc));
        return zerr_fail(r->info, rc, 0, "%s", local.text);
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

int recovery_follow_db(struct recovery *r)
{
    int rc = recovery_open_index(r, false);
    if (rc == 0 && mark_fits(r)) {
        /* The record before the member is not read again: the member itself stands for it. */
        r->mark_ok = r->mark.n_records == r->mark.db_last_member_rev;
        rc = recovery_scan_db(r,
                              (struct db_pos){r->mark.db_last_member, r->mark.db_last_member_rev});
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
        rc = recovery_open_index(r, true);
    }
    if (rc == 0) {
        rc = watch_places(r);
    }
    if (rc == 0) {
        rc = recovery_scan_db(r, (struct db_pos){0});
    }
    if (rc == 0) {
        r->st->stats.index_rebuilt = r->sum.end.rev > 0;
    }
    return rc;
}
