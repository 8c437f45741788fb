/* See workloads.h. Most begin with a store that has an object or two; each leaves its store open or
 * stopped, whichever it is about. Keys are small numbers. */
#include "workloads_priv.h"

#include <assert.h>
#include <stdio.h>

#include "store/db.h"

void w_begin_with(struct world *w, unsigned n)
{
    w_open(w);
    for (unsigned i = 0; i < n; i++) {
        w_put(w, i, w_small(w));
    }
}

static void puts_only(struct world *w)
{
    w_begin_with(w, 0);
    w_put(w, 0, w_small(w));
    w_put(w, 1, w_large(w));
    w_put(w, 2, 0);
}

static void overwrite(struct world *w)
{
    w_begin_with(w, 2);
    w_put(w, 0, w_small(w));
    w_put(w, 1, w_large(w));
    w_put(w, 0, w_small(w));
}

static void deletes(struct world *w)
{
    w_begin_with(w, 2);
    w_delete(w, 0, 1);
    w_settle(w);
    w_put(w, 2, w_small(w));
    w_delete(w, 2, 1);
    w_settle(w);
    w_delete(w, 1, 1);
    w_settle(w);
}

static void multi_delete(struct world *w)
{
    w_begin_with(w, 3);
    w_delete(w, 1, 4); /* two of them are not there */
    w_settle(w);
    w_put(w, 2, w_small(w));
}

static void delete_and_put_again(struct world *w)
{
    w_begin_with(w, 1);
    w_delete(w, 0, 1);
    w_begin(w, 0, 0, w_small(w)); /* in the same round or the next */
    w_commit(w, 0);
    w_settle(w);
    w_delete(w, 0, 1);
    w_settle(w);
}

static void copy_to_itself(struct world *w)
{
    w_begin_with(w, 2);
    w_copy(w, 0, 0);
    w_settle(w);
    w_copy(w, 0, 0);
    w_settle(w);
}

static void copy_and_delete_source(struct world *w)
{
    w_begin_with(w, 1);
    w_copy(w, 0, 3);
    w_settle(w);
    w_delete(w, 0, 1);
    w_settle(w);
    w_copy(w, 3, 4);
    w_settle(w);
}

static void roll_over(struct world *w)
{
    w_begin_with(w, 1);
    for (unsigned i = 0; i < 4; i++) {
        w_put(w, i, w_large(w));
    }
}

static void side_by_side(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 1, w_small(w));
    w_begin(w, 1, 2, w_small(w));
    w_begin(w, 2, 3, w_small(w));
    w_send(w, 0, 100);
    w_commit(w, 2);
    w_step(w, (unsigned)w_rnd(w, 4));
    w_commit(w, 0);
    w_settle(w);
    w_put(w, 4, w_small(w));
    w_commit(w, 1);
    w_settle(w);
}

static void one_round(struct world *w)
{
    w_begin_with(w, 2);
    for (unsigned i = 0; i < 4; i++) {
        w_begin(w, i, 2 + i, w_rnd(w, 2) == 0 ? w_small(w) : w_large(w));
    }
    w_commit(w, 0); /* alone: what comes meanwhile is the next round */
    w_commit(w, 2);
    w_copy(w, 0, 6);
    w_delete(w, 1, 1);
    w_commit(w, 1);
    w_commit(w, 3);
    w_settle(w);
}

static void abort_at_tail(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 1, w_small(w) + 200);
    w_send(w, 0, 150);
    w_put(w, 2, w_small(w)); /* writes the head before it */
    w_begin(w, 1, 3, w_large(w));
    w_send(w, 1, 1000);
    w_settle(w);
    w_abort(w, 1);
    w_settle(w);
    w_put(w, 4, w_small(w));
    w_abort(w, 0);
    w_settle(w);
}

static void abort_in_the_middle(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 1, w_small(w) + 300);
    w_begin(w, 1, 2, w_small(w));
    w_send(w, 0, 200);
    w_commit(w, 1);
    w_settle(w);
    w_abort(w, 0);
    w_settle(w);
    w_put(w, 3, w_small(w));
}

/* Large enough for body jobs and holes. */
static void large_uploads(struct world *w)
{
    w->f.cfg.block_size = 400000;
    w_begin_with(w, 1);
    w_begin(w, 0, 1, 150000 + w_rnd(w, 3000));
    w_begin(w, 1, 2, 140000 + w_rnd(w, 3000));
    w_send(w, 0, 135000);
    w_send(w, 1, 135000);
    w_step(w, 3);
    w_put(w, 3, w_small(w));
    w_abort(w, 0);
    w_settle(w);
    w_commit(w, 1);
    w_settle(w);
}

static void block_of_its_own(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 1, (size_t)w->f.cfg.block_size + w_rnd(w, 5000));
    w_send(w, 0, 3000);
    w_put(w, 2, w_small(w));
    w_commit(w, 0);
    w_settle(w);
    w_put(w, 3, w_small(w));
}

static void two_draining(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 1, w_large(w));
    w_send(w, 0, 500);
    w_begin(w, 1, 2, w_large(w)); /* does not fit: the next block */
    w_send(w, 1, 500);
    w_put(w, 3, w_large(w)); /* and the next */
    if (w_rnd(w, 2) == 0) {
        w_commit(w, 0);
        w_commit(w, 1);
    } else {
        w_commit(w, 1);
        w_settle(w);
        w_abort(w, 0);
    }
    w_settle(w);
}

static void wrong_md5(struct world *w)
{
    w_begin_with(w, 1);
    for (unsigned i = 0; i < 4; i++) {
        w_begin(w, i, 1 + i, w_small(w));
    }
    w_commit(w, 0);
    w_commit(w, 1);
    w_commit_wrong(w, 2);
    w_commit(w, 3);
    w_settle(w);
    w_put(w, 0, w_small(w));
}

static void clean_stop(struct world *w)
{
    w_begin_with(w, 1);
    w_delete(w, 0, 1);
    w_settle(w);
    w_put(w, 1, w_small(w));
    w_stop(w);
}

static void stop_with_nothing_done(struct world *w)
{
    w_begin_with(w, 1);
    w_stop(w);
    w_open(w);
    w_begin(w, 0, 1, w_large(w));
    w_send(w, 0, 700);
    w_step(w, 2);
    w_stop(w);
}

static void two_sessions(struct world *w)
{
    w_begin_with(w, 2);
    w_stop(w);
    w_open(w);
    w_delete(w, 0, 1);
    w_settle(w);
    w_put(w, 1, w_small(w));
    w_stop(w);
}

static void killed(struct world *w)
{
    w_begin_with(w, 1);
    w_put(w, 1, w_large(w));
    w_put(w, 2, w_large(w));
    w_delete(w, 0, 1);
    w_die(w, false, false);
    w_open(w);
    w_put(w, 0, w_small(w));
}

static void power_cut(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 1, w_small(w));
    w_begin(w, 1, 2, w_small(w));
    w_commit(w, 0);
    w_commit(w, 1);
    w_delete(w, 0, 1);
    w_die(w, true, false);
    w_open(w);
    w_put(w, 0, w_small(w));
    w_stop(w);
}

static void killed_in_recovery(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 3, w_small(w));
    w_send(w, 0, 10);
    w_put(w, 1, w_large(w));
    w_put(w, 2, w_large(w));
    w_die(w, w_rnd(w, 2) == 0, false);
    w_open(w);
    w_die(w, w_rnd(w, 2) == 0, true);
    w_open(w);
    w_put(w, 0, w_small(w));
}

/* The rule for the rewrite goes by the index's count of members. */
void w_claim_many_members(struct world *w)
{
    char path[128];
    struct index *ix;
    struct index_mark mark;
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, w->f.dir);
    int rc = index_open(path, INDEX_WRITER, &ix, NULL);
    if (rc == 0) {
        rc = index_get_mark(ix, &mark);
    }
    if (rc == 0) {
        rc = index_begin(ix);
    }
    if (rc == 0) {
        mark.db_members = 2 * DB_WASTE_MIN / DB_MEMBER_WASTE;
        rc = index_set_mark(ix, &mark);
    }
    if (rc == 0) {
        rc = index_commit(ix);
    }
    assert(rc == 0);
    index_close(ix);
}

static void rewrite(struct world *w)
{
    w_begin_with(w, 2);
    w_stop(w);
    w_claim_many_members(w);
    w_open(w);
    w_put(w, 0, w_small(w));
    w_stop(w);
}

static void rewrite_after_a_crash(struct world *w)
{
    w_begin_with(w, 2);
    w_stop(w);
    w_open(w);
    w_put(w, 2, w_small(w));
    w_die(w, false, false);
    w_claim_many_members(w);
    w_open(w);
    w_delete(w, 0, 1);
    w_settle(w);
}

static void id_wraps(struct world *w)
{
    w_begin_with(w, 2);
    w_stop(w);
    int rc = w->f.vfs->ops->rename(w->f.vfs, "db0000000000", "db0000000009");
    if (rc == 0) {
        rc = w->f.vfs->ops->sync_dir(w->f.vfs);
    }
    assert(rc == 0);
    w_claim_many_members(w);
    w_open(w);
    w_put(w, 0, w_small(w));
    w_stop(w);
    w_claim_many_members(w);
    w_open(w);
}

/* What got a 500 is never there; its numbers are declared void. */
static void sync_fails(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 0, 1, w_small(w));
    w_begin(w, 1, 0, w_small(w));
    w_commit(w, 0);
    w_commit(w, 1);
    vfs_mem_fail(w->f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
    w_settle(w);
    assert(vfs_mem_failed(w->f.vfs) == 1 && !w->f.fatal);
    w_put(w, 2, w_small(w));
    w_delete(w, 0, 1);
    w_settle(w);
}

/* One of the writes finds no space: perhaps of a round that has written another of its records. An
 * upload whose frame lies before those ends later. */
static void no_space(struct world *w)
{
    w_begin_with(w, 1);
    w_begin(w, 3, 4, w_small(w));
    w_begin(w, 0, 1, w_small(w));
    w_begin(w, 1, 0, w_small(w));
    w_begin(w, 2, 2, w_large(w));
    w_commit(w, 0); /* alone: what comes meanwhile is the next round */
    w_commit(w, 1);
    w_commit(w, 2);
    vfs_mem_fail(w->f.vfs, MEM_WRITE, 1 + w_rnd(w, 5), ZERR_NO_SPACE, MEM_ONCE);
    w_settle(w);
    vfs_mem_fail(w->f.vfs, 0, 0, 0, MEM_ONCE);
    assert(!w->f.fatal);
    w_put(w, 3, w_small(w));
    w_commit(w, 3);
    w_settle(w);
}

static void flush_fails(struct world *w)
{
    w_begin_with(w, 1);
    w_put(w, 1, w_large(w));
    w_begin(w, 0, 2, w_large(w));
    w_commit(w, 0);
    vfs_mem_fail(w->f.vfs, MEM_SYNC, 3, ZERR_IO, MEM_ONCE); /* the round, the seal, the flush */
    w_settle(w);
    assert(vfs_mem_failed(w->f.vfs) == 1 && !w->f.fatal);
    w_put(w, 3, w_small(w));
}

/* ---- directories of the original ---- */

static int adopt_record(void *user, uint64_t rev, const struct record *r)
{
    struct world *w = user;
    char name[32];
    struct slice block = {0};
    unsigned req = model_request(&w->m), key = model_key(&w->m, r->key);
    (void)rev;
    unsigned version = model_version(&w->m, r->op == RECORD_PUT ? (size_t)r->size : 0, 0);
    w->m.versions[version].mtime_ms = 0;
    if (r->op == RECORD_PUT) {
        (void)snprintf(name, sizeof(name), "block%010u", r->body.block);
        block = vfs_mem_get(w->f.vfs, name);
        assert(r->body.off + r->size <= block.len);
        model_set_body(&w->m, version, slice_of(block.ptr + r->body.off, (size_t)r->size));
    }
    model_add(&w->m, req,
              (struct change){.op = r->op,
                              .key = key,
                              .version = r->op == RECORD_PUT ? version : ABSENT,
                              .upload = ABSENT});
    model_pending(&w->m, req);
    model_acked(&w->m, req, true);
    return 0;
}

static void adopt(struct world *w, const char *dir, const char *db)
{
    char path[512];
    struct vfs_file *file;
    struct db_summary sum = {0};
    struct db_visitor v = {.user = w, .record = adopt_record};
    (void)snprintf(path, sizeof(path), TEST_DIR "/golden/%s", dir);
    int n = vfs_mem_load(w->f.vfs, path);
    assert(n > 0);
    int rc = w->f.vfs->ops->open(w->f.vfs, db, VFS_READ, &file);
    if (rc == 0) {
        rc = db_scan(w->f.vfs, file, (struct db_pos){0}, &v, &sum, NULL);
        w->f.vfs->ops->close(file);
    }
    assert(rc == 0);
    db_summary_finish(&sum);
}

static void of_the_original(struct world *w)
{
    adopt(w, "two-dbs", "db0000000001");
    w_open(w);
    w_put(w, 0, w_small(w));
    w_settle(w);
    w_stop(w);
}

static void of_the_original_wrapped(struct world *w)
{
    adopt(w, "wrapped-db", "db0000000001");
    w_open(w);
    w_put(w, 0, w_large(w));
    w_put(w, 1, w_large(w));
}

const struct workload workloads[] = {
    {"puts", puts_only, STORE_SYNC_ACK},
    {"overwrite", overwrite, STORE_SYNC_ACK},
    {"deletes", deletes, STORE_SYNC_ACK},
    {"multi-delete", multi_delete, STORE_SYNC_ACK},
    {"delete-and-put-again", delete_and_put_again, STORE_SYNC_ACK},
    {"copy-to-itself", copy_to_itself, STORE_SYNC_ACK},
    {"copy-and-delete-source", copy_and_delete_source, STORE_SYNC_ACK},
    {"roll-over", roll_over, STORE_SYNC_ACK},
    {"side-by-side", side_by_side, STORE_SYNC_ACK},
    {"one-round", one_round, STORE_SYNC_ACK},
    {"abort-at-tail", abort_at_tail, STORE_SYNC_ACK},
    {"abort-in-the-middle", abort_in_the_middle, STORE_SYNC_ACK},
    {"large-uploads", large_uploads, STORE_SYNC_ACK},
    {"block-of-its-own", block_of_its_own, STORE_SYNC_ACK},
    {"two-draining", two_draining, STORE_SYNC_ACK},
    {"wrong-md5", wrong_md5, STORE_SYNC_ACK},
    {"clean-stop", clean_stop, STORE_SYNC_ACK},
    {"stop-with-nothing-done", stop_with_nothing_done, STORE_SYNC_ACK},
    {"two-sessions", two_sessions, STORE_SYNC_ACK},
    {"killed", killed, STORE_SYNC_ACK},
    {"power-cut", power_cut, STORE_SYNC_ACK},
    {"killed-in-recovery", killed_in_recovery, STORE_SYNC_ACK},
    {"rewrite", rewrite, STORE_SYNC_ACK},
    {"rewrite-after-a-crash", rewrite_after_a_crash, STORE_SYNC_ACK},
    {"id-wraps", id_wraps, STORE_SYNC_ACK},
    {"sync-fails", sync_fails, STORE_SYNC_ACK},
    {"no-space", no_space, STORE_SYNC_ACK},
    {"flush-fails", flush_fails, STORE_SYNC_ACK},
    {"upload", run_upload, STORE_SYNC_ACK},
    {"upload-and-after", run_upload_and_after, STORE_SYNC_ACK},
    {"upload-rolls-over", run_upload_rolls_over, STORE_SYNC_ACK},
    {"parts-of-others-bytes", run_parts_of_others_bytes, STORE_SYNC_ACK},
    {"upload-aborted", run_upload_aborted, STORE_SYNC_ACK},
    {"uploads-side-by-side", run_uploads_side_by_side, STORE_SYNC_ACK},
    {"upload-of-three-sessions", run_upload_of_three_sessions, STORE_SYNC_ACK},
    {"killed-amid-uploads", run_killed_amid_uploads, STORE_SYNC_ACK},
    {"killed-in-recovery-of-uploads", run_killed_in_recovery_of_uploads, STORE_SYNC_ACK},
    {"uploads-expire", run_uploads_expire_by_themselves, STORE_SYNC_ACK},
    {"upload-sync-fails", run_upload_sync_fails, STORE_SYNC_ACK},
    {"rewrite-amid-uploads", run_rewrite_amid_uploads, STORE_SYNC_ACK},
    {"rebuild-amid-uploads", run_rebuild_amid_uploads, STORE_SYNC_ACK},
    {"of-the-original", of_the_original, STORE_SYNC_ACK},
    {"of-the-original-wrapped", of_the_original_wrapped, STORE_SYNC_ACK},
    {"block-puts", puts_only, STORE_SYNC_BLOCK},
    {"block-deletes", deletes, STORE_SYNC_BLOCK},
    {"block-copies", copy_and_delete_source, STORE_SYNC_BLOCK},
    {"block-roll-over", roll_over, STORE_SYNC_BLOCK},
    {"block-aborts", abort_at_tail, STORE_SYNC_BLOCK},
    {"block-two-sessions", two_sessions, STORE_SYNC_BLOCK},
    {"block-killed", killed, STORE_SYNC_BLOCK},
    {"block-no-space", no_space, STORE_SYNC_BLOCK},
    {"block-upload", run_upload_rolls_over, STORE_SYNC_BLOCK},
    {"block-upload-of-three-sessions", run_upload_of_three_sessions, STORE_SYNC_BLOCK},
    {"block-killed-amid-uploads", run_killed_amid_uploads, STORE_SYNC_BLOCK},
};
const unsigned n_workloads = sizeof(workloads) / sizeof(workloads[0]);
