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

#include "store/rebuild.h"
#include "store/recover_priv.h"
#include "store/scan.h"

/* ---- the db ---- */

static int open_db(struct recovery *r, uint32_t id)
{
    struct store *st = r->st;
    char name[FILE_NAME_BYTES];
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
    st->db_id = id;
    int rc = st->vfs->ops->open(st->vfs, name, VFS_WRITE, &st->db_file);
    if (rc != 0) {
        return zerr_fail(r->info, rc, vfs_last_errno(), "%s cannot be opened for writing", name);
    }
    rc = dir_settle(st->db_file, name, &r->db_settled, r->info);
    st->db_exists = rc == 0;
    return rc;
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
    return rc == 0 ? recovery_open_index(r, true) : rc;
}

/* ---- settling ---- */

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
        if (!r->zeroed[i] && recovery_is_unborn(r->st->vfs, b)) {
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
    if (rc == 0) {
        rc = recovery_apply_tail(r);
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

/* Where nothing nearer to the cause has said more. */
static int explain(struct recovery *r, int rc, const char *what)
{
    return rc == 0 ? 0 : zerr_fail(r->info, rc, vfs_last_errno(), "%s (%s)", what, zerr_str(rc));
}

static int recover_with_db(struct recovery *r, uint32_t id)
{
    int rc = open_db(r, id);
    if (rc == 0) {
        rc = recovery_follow_db(r);
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
        vfs_set_last_errno(0); /* also below: of what is explained there */
        rc = explain(r, recovery_follow_tail(r), "blocks that are not sealed cannot be read");
    }
    if (rc == 0) {
        rc = set_state(r);
    }
    if (rc == 0) {
        vfs_set_last_errno(0);
        rc = explain(r, settle(r), "what the last session left cannot be put in order");
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
    if (r->tail.failed_syncs > 0 || r->db_settled.failed) {
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
    if (r->db_settled.direct != NULL) {
        r->st->vfs->ops->close(r->db_settled.direct);
        r->db_settled.direct = NULL;
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
