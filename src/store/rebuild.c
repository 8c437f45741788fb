/* See rebuild.h. */
#include "store/rebuild.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/block.h"
#include "store/dir.h"
#include "store/index_seq.h"
#include "store/scan.h"
#include "store/tail.h"

struct rebuild {
    const struct rebuild_config *cfg;
    struct dir_view view;
    struct seq_table *frames;
    struct tail_void *voids;
    size_t n_voids, cap_voids;
    uint64_t durable_seq, max_seq;
    bool has_store_id;
    uint8_t store_id[STORE_ID_BYTES];
    uint64_t bytes_done, bytes_total;
    const struct dir_block *block; /* being scanned, or read from */
    struct vfs_file *file;         /* of it */
    int see_status;                /* of the last frame seen: no failure of its block's */
    struct block_header header;
    bool joined;             /* the db has none of our fields beside framed blocks: it is matched */
    uint64_t joined_seq;     /* ... up to this number */
    struct arena join_arena; /* of the next frame's records */
    struct frame_record join;
    size_t join_at; /* the next of them; n_entries: read the next frame */
    struct db_writer *writer;
    struct db_state state;
    struct arena arena;
    struct buf encoded;
    struct rebuild_result res;
};

/* ---- frames ---- */

static int see_frame(struct rebuild *b, const struct scan_frame *f)
{
    if (f->verdict == SCAN_BAD_RECORD || (f->verdict == SCAN_GARBAGE && !f->zero)) {
        b->res.damaged++;
    }
    if (f->verdict == SCAN_VOID && f->rec.void_last > 0) {
        if (b->n_voids == b->cap_voids) {
            size_t cap = b->cap_voids == 0 ? 16 : b->cap_voids * 2;
            struct tail_void *p = realloc(b->voids, cap * sizeof(*p));
            if (p == NULL) {
                return ZERR_NOMEM;
            }
            b->voids = p;
            b->cap_voids = cap;
        }
        b->voids[b->n_voids++] = (struct tail_void){f->rec.void_first, f->rec.void_last};
        b->max_seq = f->rec.void_last > b->max_seq ? f->rec.void_last : b->max_seq;
        return 0;
    }
    if ((f->verdict != SCAN_VALID && f->verdict != SCAN_BAD_BODY) || f->rec.n_entries == 0) {
        return 0;
    }
    uint64_t last = f->rec.seq + f->rec.n_entries - 1;
    b->max_seq = last > b->max_seq ? last : b->max_seq;
    b->durable_seq = f->rec.durable_seq > b->durable_seq ? f->rec.durable_seq : b->durable_seq;
    struct seq_row row = {.seq = f->rec.seq,
                          .frame = {b->block->number, f->off},
                          .frame_len = f->len,
                          .n_records = (uint32_t)f->rec.n_entries};
    /* In a sealed block a bad body is damage; in an open one it may never have been committed. */
    row.flags = f->verdict == SCAN_BAD_BODY && b->block->open ? SEQ_BAD_BODY : 0;
    if (frame_has_body(f->head.kind)) {
        row.body = f->rec.entries[0].body;
    }
    return seq_table_add(b->frames, &row, NULL);
}

static int on_frame(void *user, const struct scan_frame *f)
{
    struct rebuild *b = user;
    b->see_status = see_frame(b, f);
    return b->see_status;
}

/* What is not sealed is settled before the new history names it (I2). */
static int scan_frames(struct rebuild *b, struct scan_result *res, struct zerr_info *info)
{
    struct vfs *vfs = b->cfg->vfs;
    struct dir_settled settled = {0};
    struct vfs_file *f;
    char name[FILE_NAME_BYTES];
    block_name(name, b->block->number, !b->block->open);
    int rc = dir_open_block(vfs, b->block, false, &f);
    if (rc != 0) {
        return rc;
    }
    if (b->block->open) {
        rc = dir_settle(f, name, &settled, info);
    }
    vfs_set_last_errno(0); /* what is said of it then is of this scan */
    if (rc == 0) {
        rc = scan_block(settled.direct != NULL ? settled.direct : f, b->block->number,
                        b->block->open ? SCAN_BODIES : 0, on_frame, b, res);
    }
    if (settled.direct != NULL) {
        vfs->ops->close(settled.direct);
    }
    vfs->ops->close(f);
    return rc;
}

static int scan_all(struct rebuild *b, struct zerr_info *info)
{
    struct vfs *vfs = b->cfg->vfs;
    for (size_t i = 0; i < b->view.n_blocks; i++) {
        b->bytes_total += b->view.blocks[i].size;
    }
    for (size_t i = 0; i < b->view.n_blocks; i++) {
        b->block = &b->view.blocks[i];
        int rc = b->cfg->progress == NULL ? 0
                                          : b->cfg->progress(b->cfg->user, "reading blocks",
                                                             b->bytes_done, b->bytes_total);
        if (rc != 0) {
            return rc;
        }
        struct scan_result res = {0};
        rc = scan_frames(b, &res, info);
        if (rc == 0 && !b->has_store_id) {
            b->has_store_id = true;
            memcpy(b->store_id, res.header.store_id, STORE_ID_BYTES);
        }
        if (rc == ZERR_CORRUPT) {
            b->res.damaged++;
        } else if (rc != 0 && rc != ZERR_NOT_FOUND) {
            return b->see_status != 0
                       ? seq_table_failed(rc, info)
                       : zerr_fail(info, rc, vfs_last_errno(), "block %u cannot be read (%s)",
                                   b->block->number, zerr_str(rc));
        }
        b->bytes_done += b->block->size;
    }
    b->block = NULL;
    int rc = vfs->ops->sync_dir(vfs); /* before the new history names what is in them (I2) */
    return rc == 0 ? 0 : zerr_fail(info, rc, vfs_last_errno(), "the directory cannot be synced");
}

/* ---- emitting ---- */

static bool is_void(const struct rebuild *b, uint64_t seq)
{
    for (size_t i = 0; i < b->n_voids; i++) {
        if (seq >= b->voids[i].first && seq <= b->voids[i].last) {
            return true;
        }
    }
    return false;
}

/* Rows that never counted. */
static bool is_dropped(const struct rebuild *b, const struct seq_row *row)
{
    return is_void(b, row->seq) || ((row->flags & SEQ_BAD_BODY) != 0 && row->seq > b->durable_seq);
}

static int emit(struct rebuild *b, const struct record *r)
{
    b->res.records += record_in_history(r);
    b->state.features |= record_features(r);
    return db_writer_add(b->writer, r);
}

static int open_for(struct rebuild *b, uint32_t number)
{
    struct vfs *vfs = b->cfg->vfs;
    if (b->block != NULL && b->block->number == number) {
        return 0;
    }
    if (b->file != NULL) {
        vfs->ops->close(b->file);
        b->file = NULL;
    }
    b->block = dir_view_block(&b->view, number);
    int rc = b->block == NULL ? ZERR_NOT_FOUND : dir_open_block(vfs, b->block, false, &b->file);
    bool damaged;
    if (rc == 0) {
        rc = scan_header(b->file, number, &b->header, &damaged);
    }
    if (rc != 0) {
        b->block = NULL;
    }
    return rc;
}

static int emit_frame(struct rebuild *b, const struct seq_row *row)
{
    struct scan_frame f;
    int rc = open_for(b, row->frame.block);
    if (rc != 0) {
        return rc;
    }
    arena_reset(&b->arena);
    rc = scan_one(b->file, &b->header, row->frame.off, 0, &b->arena, &f);
    for (size_t i = 0; rc == 0 && i < f.rec.n_entries; i++) {
        struct record r = f.rec.entries[i];
        r.seq = f.rec.seq + i;
        b->res.from_frames++;
        rc = emit(b, &r);
    }
    return rc;
}

static int emit_row(void *user, const struct seq_row *row)
{
    struct rebuild *b = user;
    if ((row->flags & SEQ_FROM_DB) != 0) {
        struct record r;
        arena_reset(&b->arena);
        int rc = record_decode_history(row->record, &b->arena, &r);
        return rc == 0 ? emit(b, &r) : rc;
    }
    return is_dropped(b, row) ? 0 : emit_frame(b, row);
}

/* ---- what the old db says ---- */

static int keep_db_record(struct rebuild *b, const struct record *r)
{
    buf_reset(&b->encoded);
    int rc = record_encode_history(r, &b->encoded);
    if (rc != 0) {
        return rc;
    }
    struct seq_row row = {
        .seq = r->seq, .n_records = 1, .flags = SEQ_FROM_DB, .record = buf_slice(&b->encoded)};
    b->max_seq = r->seq > b->max_seq ? r->seq : b->max_seq;
    /* Later records of a batch have numbers that are not in the table: their frame's first has. */
    struct seq_row have;
    rc = seq_table_floor(b->frames, r->seq, &have);
    if (rc == 0 && r->seq - have.seq < have.n_records) {
        return 0;
    }
    return rc == 0 || rc == ZERR_NOT_FOUND ? seq_table_add(b->frames, &row, NULL) : rc;
}

/* The next record that a frame holds, in order of numbers. ZERR_NOT_FOUND: no more. */
static int peek_frame(struct rebuild *b, struct record *ret)
{
    while (b->join_at == b->join.n_entries) {
        struct seq_row row;
        struct scan_frame f = {0};
        int rc = seq_table_next(b->frames, b->joined_seq, &row);
        if (rc == 0) {
            rc = open_for(b, row.frame.block);
        }
        arena_reset(&b->join_arena);
        if (rc == 0) {
            rc = scan_one(b->file, &b->header, row.frame.off, 0, &b->join_arena, &f);
        }
        if (rc != 0) {
            return rc;
        }
        b->joined_seq = row.seq + row.n_records - 1;
        b->join = f.rec;
        b->join_at = is_dropped(b, &row) ? f.rec.n_entries : 0;
    }
    *ret = b->join.entries[b->join_at];
    ret->seq = b->join.seq + b->join_at;
    return 0;
}

static bool same_event(const struct record *a, const struct record *b)
{
    return a->op == b->op && slice_eq(a->key, b->key) &&
           (a->op == RECORD_DELETE ||
            (a->body.block == b->body.block && a->body.off == b->body.off));
}

/* The db's order is kept; a record that is the next frame's is taken from there, with all it says.
 */
static int join_record(struct rebuild *b, const struct record *r)
{
    struct record framed;
    int rc = peek_frame(b, &framed);
    while (rc == 0 && !record_in_history(&framed)) { /* of which the original knew nothing */
        b->join_at++;
        rc = emit(b, &framed);
        rc = rc == 0 ? peek_frame(b, &framed) : rc;
    }
    if (rc == ZERR_NOT_FOUND || (rc == 0 && !same_event(&framed, r))) {
        return emit(b, r);
    }
    if (rc == 0) {
        b->join_at++;
        b->res.from_frames++;
        rc = emit(b, &framed);
    }
    return rc;
}

/* Frames that the db did not know. */
static int join_rest(struct rebuild *b)
{
    struct record framed;
    int rc;
    while ((rc = peek_frame(b, &framed)) == 0) {
        b->join_at++;
        b->res.from_frames++;
        rc = emit(b, &framed);
        if (rc != 0) {
            return rc;
        }
    }
    return rc == ZERR_NOT_FOUND ? 0 : rc;
}

static int on_db_record(void *user, uint64_t rev, const struct record *r)
{
    struct rebuild *b = user;
    (void)rev;
    if (b->joined) {
        return join_record(b, r);
    }
    return r->seq == 0 ? emit(b, r) : keep_db_record(b, r);
}

static int read_old(struct rebuild *b, uint32_t id, const struct db_visitor *v,
                    struct db_summary *sum)
{
    char name[FILE_NAME_BYTES];
    struct vfs_file *f;
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
    int rc = b->cfg->vfs->ops->open(b->cfg->vfs, name, VFS_READ, &f);
    if (rc == 0) {
        rc = db_scan(b->cfg->vfs, f, (struct db_pos){0}, v, sum, NULL);
        b->cfg->vfs->ops->close(f);
    }
    return rc;
}

/* If all are taken, that of another file. */
static uint32_t free_id(const struct dir_view *v, uint32_t from)
{
    for (uint32_t i = 1; i < DB_IDS; i++) {
        uint32_t id = (from + i) % DB_IDS;
        bool taken = false;
        for (size_t k = 0; k < v->n_dbs; k++) {
            taken = taken || v->dbs[k] == id;
        }
        if (!taken) {
            return id;
        }
    }
    return (from + 1) % DB_IDS;
}

static int set_state(struct rebuild *b, const struct db_summary *old)
{
    struct db_state *s = &b->state;
    uint32_t last = b->view.n_blocks > 0 ? b->view.blocks[b->view.n_blocks - 1].number + 1 : 0;
    s->next_backend_file =
        old->state.next_backend_file > last ? old->state.next_backend_file : last;
    s->generation = old->state.generation + 1;
    s->has_store_id = true;
    if (!b->has_store_id) {
        int rc = b->cfg->vfs->ops->random(b->cfg->vfs, b->store_id, STORE_ID_BYTES);
        if (rc != 0) {
            return rc;
        }
    }
    memcpy(s->store_id, old->state.has_store_id ? old->state.store_id : b->store_id,
           STORE_ID_BYTES);
    s->last_seq = old->state.last_seq > b->max_seq ? old->state.last_seq : b->max_seq;
    s->open_blocks = calloc(b->view.n_blocks + 1, sizeof(uint32_t));
    if (s->open_blocks == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < b->view.n_blocks; i++) {
        if (b->view.blocks[i].open) {
            s->open_blocks[s->n_open_blocks++] = b->view.blocks[i].number;
        }
    }
    return 0;
}

static int set_aside(struct rebuild *b, size_t i, bool bad)
{
    struct vfs *vfs = b->cfg->vfs;
    char name[FILE_NAME_BYTES], aside[FILE_NAME_BYTES + 4];
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, b->view.dbs[i]);
    (void)snprintf(aside, sizeof(aside), "%s-%s", bad ? "bad" : "old", name);
    return vfs->ops->rename(vfs, name, aside);
}

/* The new file takes its name; the old ones lose theirs, the one that has it before. */
static int switch_over(struct rebuild *b, const char *tmp, uint32_t id, const bool bad[DB_IDS])
{
    struct vfs *vfs = b->cfg->vfs;
    char name[FILE_NAME_BYTES];
    int rc = 0;
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
    for (size_t i = 0; i < b->view.n_dbs && rc == 0; i++) {
        rc = b->view.dbs[i] == id ? set_aside(b, i, bad[i]) : 0;
    }
    if (rc == 0) {
        rc = vfs->ops->rename(vfs, tmp, name);
    }
    if (rc == 0) {
        rc = vfs->ops->sync_dir(vfs);
    }
    for (size_t i = 0; i < b->view.n_dbs && rc == 0; i++) {
        rc = b->view.dbs[i] != id ? set_aside(b, i, bad[i]) : 0;
    }
    return rc == 0 ? vfs->ops->sync_dir(vfs) : rc;
}

static int write_new(struct rebuild *b, uint32_t old_id, bool have_old, const bool bad[DB_IDS],
                     struct zerr_info *info)
{
    struct vfs *vfs = b->cfg->vfs;
    struct db_summary old = {0};
    char tmp[FILE_NAME_BYTES];
    static const struct db_visitor nobody;
    int rc = have_old ? read_old(b, old_id, &nobody, &old) : 0;
    if (rc == ZERR_CORRUPT) {
        have_old = false;
        rc = 0;
    }
    if (rc == 0) {
        b->joined = have_old && b->has_store_id && !old.state.has_store_id;
        rc = set_state(b, &old);
    }
    if (have_old && old.state.last_seq > b->durable_seq) {
        b->durable_seq = old.state.last_seq; /* what it names was synced (I2) */
    }
    uint32_t id = free_id(&b->view, old_id);
    b->res.db_id = id;
    (void)snprintf(tmp, sizeof(tmp), "new-" DB_NAME_FMT, id);
    if (rc == 0) {
        (void)vfs->ops->unlink(vfs, tmp);
        rc = db_writer_create(vfs, tmp, &b->state, &b->writer);
    }
    if (rc == 0 && have_old) {
        struct db_visitor v = {.user = b, .record = on_db_record};
        struct db_summary again = {0};
        rc = read_old(b, old_id, &v, &again);
        db_summary_finish(&again);
    }
    if (rc == 0) {
        rc = b->joined ? join_rest(b) : seq_table_each(b->frames, 0, emit_row, b);
    }
    if (b->writer != NULL) {
        struct db_pos last, end;
        if (rc == 0) {
            rc = db_writer_finish(b->writer, &b->state, &last, &end);
        } else {
            db_writer_abort(b->writer);
        }
    }
    if (rc == 0) {
        rc = switch_over(b, tmp, id, bad);
    }
    db_summary_finish(&old);
    return rc == 0 ? 0 : zerr_fail(info, rc, vfs_last_errno(), "the new history cannot be written");
}

int rebuild_history(const struct rebuild_config *cfg, struct rebuild_result *ret,
                    struct zerr_info *info)
{
    struct rebuild b = {.cfg = cfg};
    bool bad[DB_IDS];
    uint32_t id = DB_IDS - 1;
    struct zerr_info ignored = {0};
    int rc = dir_view_read(cfg->vfs, &b.view, info);
    if (rc == 0) {
        rc = seq_table_create(&b.frames);
    }
    if (rc == 0) {
        rc = scan_all(&b, info);
    }
    if (rc == 0) {
        int chosen = dir_choose_db(cfg->vfs, &b.view, &id, bad, &ignored);
        if (chosen == ZERR_NOT_FOUND && !b.has_store_id) {
            rc =
                zerr_fail(info, ZERR_NOT_FOUND, 0,
                          "there is no db and no block has frames: nothing to make a history from");
        } else if (chosen != 0 && chosen != ZERR_NOT_FOUND && chosen != ZERR_CORRUPT) {
            rc = zerr_fail(info, chosen, 0, "%s", zerr_text(&ignored, chosen));
        } else {
            rc = write_new(&b, id, chosen == 0, bad, info);
        }
    }
    if (b.file != NULL) {
        cfg->vfs->ops->close(b.file);
    }
    seq_table_destroy(b.frames);
    free(b.voids);
    arena_finish(&b.arena);
    arena_finish(&b.join_arena);
    buf_finish(&b.encoded);
    db_state_finish(&b.state);
    dir_view_finish(&b.view);
    if (rc == 0) {
        *ret = b.res;
    }
    return rc;
}
