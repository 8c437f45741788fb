/* Workloads of multipart uploads (workloads.h). */
#include "workloads_priv.h"

#include <assert.h>

/* Parts in any order, one twice, one left out. */
void run_upload(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_settle(w);
    w_part(w, 0, 3, w_small(w));
    w_part(w, 0, 1, w_small(w));
    w_part(w, 0, 3, w_small(w));
    w_part(w, 0, 2, w_rnd(w, 3) == 0 ? 0 : w_small(w));
    w_complete(w, 0, w_rnd(w, 2) == 0 ? 2 : 0);
    w_settle(w);
}

void run_upload_and_after(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 0); /* of a name that is there */
    w_settle(w);
    w_part(w, 0, 1, w_small(w));
    w_part(w, 0, 2, w_large(w));
    w_complete(w, 0, 0);
    w_complete(w, 0, 0); /* asked for again while it is being done: one of them is */
    w_settle(w);
    w_complete(w, 0, 0);
    w_copy(w, 0, 3);
    w_settle(w);
    if (w_rnd(w, 2) == 0) {
        w_put(w, 0, w_small(w));
    } else {
        w_delete(w, 0, 1);
        w_settle(w);
    }
}

/* Extents in the block that is open and in sealed ones, also when it is read again. */
void run_upload_rolls_over(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_settle(w);
    w_part(w, 0, 2, w_large(w));
    w_part(w, 0, 1, w_large(w));
    w_part(w, 0, 3, w_large(w));
    w_part(w, 0, 4, w_small(w));
    w_complete(w, 0, 0);
    w_settle(w);
    w_put(w, 2, w_large(w));
}

void run_parts_of_others_bytes(struct world *w)
{
    w_begin_with(w, 1);
    w_put(w, 1, w_large(w));
    w_upload(w, 0, 2);
    w_settle(w);
    w_part_copy(w, 0, 2, 1, w_rnd(w, 500), 300 + w_rnd(w, 2000));
    w_part_copy(w, 0, 1, 0, 0, SIZE_MAX);
    w_settle(w);
    w_part(w, 0, 3, w_small(w));
    w_complete(w, 0, 0);
    w_settle(w);
    w_delete(w, 0, 2);
    w_upload(w, 1, 3);
    w_settle(w);
    w_part_copy(w, 1, 1, 2, w_rnd(w, 300), SIZE_MAX); /* some of its parts, some in half */
    w_settle(w);
    w_complete(w, 1, 0);
    w_settle(w);
}

void run_upload_aborted(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_settle(w);
    w_part(w, 0, 1, w_small(w));
    w_begin_part(w, 0, 0, 2, w_small(w) + 100);
    w_begin_part(w, 1, 0, 3, w_small(w) + 100);
    w_send(w, 0, 60);
    w_begin(w, 2, 3, w_small(w));
    w_commit(w, 2); /* its round runs: what follows waits for the next one */
    w_abort_upload(w, 0);
    w_abort_upload(w, 0); /* too late */
    w_commit(w, 1);       /* likewise */
    w_settle(w);
    w_commit(w, 0);
    w_settle(w);
    w_abort_upload(w, 0);
    w_complete(w, 0, 0);
    w_put(w, 2, w_small(w));
}

/* Of the same name, in the same rounds as other changes. */
void run_uploads_side_by_side(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_upload(w, 1, 1);
    w_settle(w);
    for (unsigned i = 0; i < 4; i++) {
        w_begin_part(w, i, i % 2, 1 + i / 2, w_rnd(w, 2) == 0 ? w_small(w) : w_large(w));
    }
    w_begin(w, 4, 2, w_small(w));
    w_commit(w, 3);
    w_commit(w, 0);
    w_commit(w, 4);
    w_commit(w, 1);
    w_settle(w);
    w_complete(w, 0, 0);
    w_commit(w, 2); /* a part of what is being completed */
    w_delete(w, 0, 1);
    w_settle(w);
    w_abort_upload(w, 1);
    w_complete(w, 1, 0); /* one of the two */
    w_settle(w);
}

void run_upload_of_three_sessions(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_settle(w);
    w_part(w, 0, 2, w_large(w));
    w_stop(w);
    w_open(w);
    w_part(w, 0, 1, w_small(w));
    w_upload(w, 1, 2);
    w_settle(w);
    w_stop(w);
    w_open(w);
    w_complete(w, 0, 0);
    w_settle(w);
    w_stop(w);
    w_open(w);
}

void run_killed_amid_uploads(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_upload(w, 1, 2);
    w_settle(w);
    w_part(w, 0, 1, w_large(w));
    w_part(w, 1, 1, w_large(w));
    w_part(w, 0, 2, w_small(w));
    w_complete(w, 0, 0);
    w_settle(w);
    /* With -sync block nothing acknowledged goes on from what the power has left. */
    w_die(w, w->f.cfg.sync == STORE_SYNC_ACK && w_rnd(w, 2) == 0, false);
    w_open(w);
    w_part(w, 1, 2, w_small(w));
    w_abort_upload(w, 0);
    w_settle(w);
    w_complete(w, 1, 0);
    w_settle(w);
}

void run_killed_in_recovery_of_uploads(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_settle(w);
    w_part(w, 0, 1, w_large(w));
    w_begin_part(w, 0, 0, 2, w_small(w) + 50);
    w_send(w, 0, 20);
    w_part(w, 0, 3, w_large(w));
    w_die(w, w_rnd(w, 2) == 0, false);
    w_open(w);
    w_die(w, w_rnd(w, 2) == 0, true);
    w_open(w);
    w_complete(w, 0, 0);
    w_settle(w);
}

void run_uploads_expire_by_themselves(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_upload(w, 1, 2);
    w_settle(w);
    w_part(w, 0, 1, w_small(w));
    w_abort_upload(w, 1);
    w_settle(w);
    w_expire(w, 3);
    w_complete(w, 0, 0);
    w_put(w, 0, w_small(w));
}

void run_upload_sync_fails(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_settle(w);
    w_part(w, 0, 1, w_small(w));
    vfs_mem_fail(w->f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
    if (w_rnd(w, 2) == 0) {
        w_part(w, 0, 1, w_small(w));
    } else {
        w_complete(w, 0, 0);
    }
    w_settle(w);
    assert(vfs_mem_failed(w->f.vfs) == 1 && !w->f.fatal);
    w_part(w, 0, 2, w_small(w)); /* the upload is as it was */
    w_complete(w, 0, 0);
    w_settle(w);
}

void run_rewrite_amid_uploads(struct world *w)
{
    w_begin_with(w, 2);
    w_upload(w, 0, 2);
    w_upload(w, 1, 3);
    w_settle(w);
    w_part(w, 0, 1, w_small(w));
    w_part(w, 1, 1, w_small(w));
    w_complete(w, 1, 0);
    w_settle(w);
    w_stop(w);
    w_claim_many_members(w);
    w_open(w);
    w_part(w, 0, 2, w_small(w));
    w_complete(w, 0, 0);
    w_settle(w);
    w_stop(w);
}

/* A wrong byte in the first of several members: the history is made anew from the blocks. */
void run_rebuild_amid_uploads(struct world *w)
{
    w_begin_with(w, 1);
    w_upload(w, 0, 1);
    w_upload(w, 1, 2);
    w_settle(w);
    w_part(w, 0, 1, w_small(w));
    w_stop(w);
    w_open(w);
    w_part(w, 1, 1, w_small(w));
    w_part(w, 0, 2, w_large(w));
    w_complete(w, 1, 0);
    w_settle(w);
    if (w_rnd(w, 2) == 0) {
        w_stop(w);
    } else {
        w_die(w, false, false);
    }
    w_damage_db(w);
    w_open(w);
    w_part(w, 0, 3, w_small(w));
    w_complete(w, 0, 0);
    w_settle(w);
}
