/* See tail.h. */
#include "store/tail.h"

#include <assert.h>
#include <stdlib.h>

#include "store/block.h"
#include "store/scan.h"

/* ---- collecting ---- */

struct collect {
    struct tail *t;
    struct tail_block *block;
    int status; /* of see_frame(): no failure of the block's */
};

static int grow(void *list, size_t *cap, size_t n, size_t size)
{
    void **p = list;
    if (n < *cap) {
        return 0;
    }
    size_t want = *cap == 0 ? 16 : *cap * 2;
    void *q = realloc(*p, want * size);
    if (q == NULL) {
        return ZERR_NOMEM;
    }
    *p = q;
    *cap = want;
    return 0;
}

static int add_loose(struct tail *t, struct tail_loose loose)
{
    int rc = grow(&t->loose, &t->cap_loose, t->n_loose, sizeof(t->loose[0]));
    if (rc == 0) {
        t->loose[t->n_loose++] = loose;
    }
    return rc;
}

static void see_seq(struct tail *t, uint64_t seq)
{
    if (seq > t->max_seq) {
        t->max_seq = seq;
    }
    if (SEQ_SESSION(seq) > t->max_session) {
        t->max_session = SEQ_SESSION(seq);
    }
}

static void keep_until(struct tail_block *b, uint64_t end)
{
    if (end > b->keep_end) {
        b->keep_end = end;
    }
}

static int add_void(struct tail *t, const struct frame_record *rec)
{
    int rc = grow(&t->voids, &t->cap_voids, t->n_voids, sizeof(t->voids[0]));
    if (rc == 0) {
        t->voids[t->n_voids++] = (struct tail_void){rec->void_first, rec->void_last};
        see_seq(t, rec->void_last);
    }
    return rc;
}

static int see_record(struct collect *c, const struct scan_frame *f)
{
    struct tail *t = c->t;
    if (f->rec.n_entries == 0) {
        return add_loose(t, (struct tail_loose){.at = {c->block->file->number, f->off},
                                                .unreadable = true}); /* not ours to judge */
    }
    uint64_t last = f->rec.seq + f->rec.n_entries - 1;
    see_seq(t, last);
    if (f->verdict == SCAN_VALID && f->rec.durable_seq > t->durable_seq) {
        t->durable_seq = f->rec.durable_seq;
    }
    struct seq_row row = {
        .seq = f->rec.seq,
        .frame = {c->block->file->number, f->off},
        .frame_len = f->len,
        .n_records = (uint32_t)f->rec.n_entries,
        .flags = f->verdict == SCAN_BAD_BODY ? SEQ_BAD_BODY : 0,
    };
    if (frame_has_body(f->head.kind)) {
        row.body = f->rec.entries[0].body;
    }
    bool is_new;
    int rc = seq_table_add(t->frames, &row, &is_new);
    if (rc == 0 && !is_new) {
        t->damaged++;
        keep_until(c->block, f->off + f->len);
    }
    return rc;
}

static int see_frame(struct collect *c, const struct scan_frame *f)
{
    struct tail_loose loose = {.at = {c->block->file->number, f->off}};
    switch (f->verdict) {
    case SCAN_VALID:
    case SCAN_BAD_BODY:
        return see_record(c, f);
    case SCAN_VOID:
        if (f->rec.void_last == 0) {
            return 0;
        }
        keep_until(c->block, f->off + f->len);
        return add_void(c->t, &f->rec);
    case SCAN_UNCOMMITTED:
        loose.room = f->len;
        break;
    case SCAN_BAD_RECORD:
        loose.len = loose.room = f->len;
        loose.may_be_late = frame_has_body(f->head.kind);
        break;
    case SCAN_GARBAGE:
        if (!c->block->file->open) {
            return 0;
        }
        loose.headless = true;
        loose.len = loose.room = f->len;
        break;
    }
    return add_loose(c->t, loose);
}

static int on_frame(void *user, const struct scan_frame *f)
{
    struct collect *c = user;
    c->status = see_frame(c, f);
    return c->status;
}

static int collect_block(struct vfs *vfs, struct tail *t, const struct dir_block *file,
                         struct zerr_info *info)
{
    struct vfs_file *f;
    struct tail_block *b = &t->blocks[t->n_blocks];
    struct dir_settled settled = {0};
    char name[FILE_NAME_BYTES];
    block_name(name, file->number, !file->open);
    *b = (struct tail_block){.file = file, .keep_end = BLOCK_HEADER_BYTES};
    int rc = dir_open_block(vfs, file, false, &f);
    if (rc != 0) {
        return zerr_fail(info, rc, vfs_last_errno(), "%s cannot be opened", name);
    }
    if (t->settle) {
        rc = dir_settle(f, name, &settled, info);
        t->failed_syncs += settled.failed;
    }
    if (rc != 0) {
        vfs->ops->close(f);
        return rc;
    }
    struct scan_result res = {0};
    struct collect c = {.t = t, .block = b};
    b->direct = settled.direct != NULL;
    vfs_set_last_errno(0); /* what is said below is of this scan */
    rc = scan_block(b->direct ? settled.direct : f, file->number, SCAN_BODIES, on_frame, &c, &res);
    if (b->direct) {
        vfs->ops->close(settled.direct);
    }
    vfs->ops->close(f);
    if (rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT) {
        if (file->open) {
            t->torn++; /* died while it was created; or damaged: no frame can be read */
        }
        return 0;
    }
    if (rc != 0) {
        return c.status != 0 ? seq_table_failed(rc, info)
                             : zerr_fail(info, rc, vfs_last_errno(), "%s cannot be read (%s)", name,
                                         zerr_str(rc));
    }
    b->header = res.header;
    b->file_len = res.file_len;
    if (res.header.session > t->max_session) {
        t->max_session = res.header.session;
    }
    t->n_blocks++;
    return 0;
}

/* As it was collected. */
static int open_block(struct vfs *vfs, const struct tail_block *b, struct vfs_file **ret)
{
    char name[FILE_NAME_BYTES];
    if (!b->direct) {
        return dir_open_block(vfs, b->file, false, ret);
    }
    block_name(name, b->file->number, !b->file->open);
    return vfs->ops->open(vfs, name, VFS_READ | VFS_DIRECT, ret);
}

static struct tail_block *find_block(struct tail *t, uint32_t number)
{
    for (size_t i = 0; i < t->n_blocks; i++) {
        if (t->blocks[i].file->number == number) {
            return &t->blocks[i];
        }
    }
    return NULL;
}

static bool is_void(const struct tail *t, uint64_t seq)
{
    for (size_t i = 0; i < t->n_voids; i++) {
        if (seq >= t->voids[i].first && seq <= t->voids[i].last) {
            return true;
        }
    }
    return false;
}

/* Never counted: its number was declared void, or its body is torn. */
static bool is_dropped(const struct tail *t, const struct seq_row *row)
{
    return is_void(t, row->seq) || ((row->flags & SEQ_BAD_BODY) != 0 && row->seq > t->last_seq &&
                                    row->seq > t->durable_seq);
}

/* Numbers of [first, last] that the last session acknowledged and the db does not have. */
static uint64_t n_durable_in(const struct tail *t, uint64_t first, uint64_t last)
{
    uint64_t session = SEQ_FIRST(SEQ_SESSION(t->durable_seq));
    uint64_t from = session > t->last_seq ? session : t->last_seq + 1;
    first = first > from ? first : from;
    last = last < t->durable_seq ? last : t->durable_seq;
    return last >= first ? last - first + 1 : 0;
}

static int decide_row(void *user, const struct seq_row *row)
{
    struct tail *t = user;
    t->n_accounted += n_durable_in(t, row->seq, row->seq + row->n_records - 1);
    struct tail_block *b = find_block(t, row->frame.block);
    if (!is_dropped(t, row)) {
        if ((row->seq <= t->last_seq || row->seq <= t->durable_seq) &&
            row->frame.off > b->synced_off) {
            b->synced_off = row->frame.off;
        }
        t->damaged += (row->flags & SEQ_BAD_BODY) != 0;
        keep_until(b, row->frame.off + row->frame_len);
        return 0;
    }
    return add_loose(t, (struct tail_loose){.at = row->frame});
}

/* Is every number that was acknowledged in a frame that can be read, or void? */
static bool is_complete(const struct tail *t)
{
    uint64_t n = t->n_accounted;
    for (size_t i = 0; i < t->n_voids; i++) {
        n += n_durable_in(t, t->voids[i].first, t->voids[i].last);
    }
    return n >= n_durable_in(t, 0, t->durable_seq);
}

/* Damage or torn? */
static int decide_loose(struct tail *t, struct tail_loose *l, tail_known_fn *known, void *user)
{
    struct tail_block *b = find_block(t, l->at.block);
    bool is_known = false;
    int rc = l->room == 0 || known == NULL ? 0 : known(user, l->at, l->room, &is_known);
    if (is_known) {
        keep_until(b, l->at.off + l->room);
    }
    bool before_synced = l->len > 0 && l->at.off < b->synced_off;
    if (before_synced && l->may_be_late && is_complete(t)) {
        before_synced = false;
    }
    l->unreadable = l->unreadable || is_known || before_synced;
    return rc;
}

static bool is_damage(struct tail *t, const struct tail_loose *l)
{
    return l->unreadable && l->at.off < find_block(t, l->at.block)->keep_end;
}

static void count_loose(struct tail *t)
{
    for (size_t i = 0; i < t->n_loose; i++) {
        if (is_damage(t, &t->loose[i])) {
            t->damaged++;
        } else {
            t->torn++;
        }
    }
}

void tail_keep(struct tail *t, struct place frame)
{
    for (size_t i = 0; i < t->n_loose; i++) {
        struct tail_loose *l = &t->loose[i];
        if (!tail_loose_has(l, frame) || is_damage(t, l)) {
            continue;
        }
        l->unreadable = true;
        keep_until(find_block(t, l->at.block), l->at.off + l->room);
        t->torn--;
        t->damaged++;
    }
}

int tail_collect(struct vfs *vfs, const struct dir_view *view, const struct db_state *db,
                 bool settle, uint64_t durable_seq, tail_known_fn *known, void *user,
                 struct tail *ret, struct zerr_info *info)
{
    struct tail t = {.db = db,
                     .last_seq = db->last_seq,
                     .durable_seq = durable_seq,
                     .max_seq = db->last_seq,
                     .settle = settle,
                     .max_session = SEQ_SESSION(db->last_seq)};
    int rc = seq_table_create(&t.frames);
    t.blocks = calloc(view->n_blocks + 1, sizeof(t.blocks[0]));
    if (rc == 0 && t.blocks == NULL) {
        rc = ZERR_NOMEM;
    }
    for (size_t i = 0; i < view->n_blocks && rc == 0; i++) {
        if (dir_is_unsealed(&view->blocks[i], db)) {
            rc = collect_block(vfs, &t, &view->blocks[i], info);
        }
    }
    if (rc == 0 && settle && t.n_blocks > 0) {
        rc = vfs->ops->sync_dir(vfs); /* their names, before anything notes what they hold (I2) */
    }
    if (rc == 0) {
        rc = seq_table_each(t.frames, 0, decide_row, &t);
    }
    for (size_t i = 0; i < t.n_loose && rc == 0; i++) {
        rc = decide_loose(&t, &t.loose[i], known, user);
    }
    if (rc != 0) {
        tail_finish(&t);
        return rc;
    }
    count_loose(&t);
    *ret = t;
    return 0;
}

void tail_finish(struct tail *t)
{
    seq_table_destroy(t->frames);
    free(t->blocks);
    free(t->loose);
    free(t->voids);
    *t = (struct tail){0};
}

/* ---- handing out ---- */

struct hand_out {
    struct vfs *vfs;
    struct tail *t;
    int (*each)(void *, const struct record *, bool);
    void *user;
    struct vfs_file *file;
    const struct tail_block *block; /* of file */
    struct arena arena;
};

/* Does the frame around a body count? In a sealed block it does. In one that has no readable header, or
 * is not there at all, it does not: its name came to the disk with its first sync. */
static int body_counts(struct hand_out *h, struct place frame, bool *ret)
{
    struct seq_row body;
    *ret = true;
    if (find_block(h->t, frame.block) == NULL) {
        *ret = !dir_was_unsealed(frame.block, h->t->db);
        return 0;
    }
    int rc = seq_table_find(h->t->frames, frame, &body);
    if (rc == ZERR_NOT_FOUND) {
        *ret = false;
        return 0;
    }
    *ret = rc == 0 && (body.flags & SEQ_BAD_BODY) == 0;
    return rc;
}

/* May a record count? All that it is made of must. */
static int record_counts(struct hand_out *h, const struct record *r, bool *ret)
{
    int rc = 0;
    *ret = true;
    if (r->op == RECORD_PUT && r->body_framed) {
        rc = body_counts(h, r->body_frame, ret);
    }
    for (size_t i = 0; i < r->extents.n && rc == 0 && *ret; i++) {
        if (r->extents.v[i].framed) {
            rc = body_counts(h, r->extents.v[i].frame, ret);
        }
    }
    return rc;
}

static int hand_out_row(void *user, const struct seq_row *row)
{
    struct hand_out *h = user;
    struct tail *t = h->t;
    if (is_dropped(t, row)) {
        return 0;
    }
    if (h->block == NULL || h->block->file->number != row->frame.block) {
        if (h->file != NULL) {
            h->vfs->ops->close(h->file);
            h->file = NULL;
        }
        h->block = find_block(t, row->frame.block);
        int rc = open_block(h->vfs, h->block, &h->file);
        if (rc != 0) {
            h->block = NULL;
            return rc;
        }
    }
    struct scan_frame f;
    arena_reset(&h->arena);
    int rc = scan_one(h->file, &h->block->header, row->frame.off, 0, &h->arena, &f);
    if (rc != 0) {
        return rc;
    }
    if (f.verdict != SCAN_VALID && f.verdict != SCAN_BAD_BODY) {
        return ZERR_CORRUPT; /* it was readable a moment ago */
    }
    for (size_t i = 0; i < f.rec.n_entries; i++) {
        struct record r = f.rec.entries[i];
        bool damaged = (row->flags & SEQ_BAD_BODY) != 0, counts = true;
        r.seq = f.rec.seq + i;
        if (!frame_has_body(f.head.kind)) {
            rc = record_counts(h, &r, &counts);
        }
        if (rc == 0 && !counts && r.seq <= t->durable_seq) {
            damaged = counts = true;
        }
        if (rc == 0 && counts) {
            rc = h->each(h->user, &r, damaged);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int tail_each(struct vfs *vfs, struct tail *t,
              int (*each)(void *user, const struct record *, bool damaged), void *user)
{
    struct hand_out h = {.vfs = vfs, .t = t, .each = each, .user = user};
    int rc = seq_table_each(t->frames, t->last_seq, hand_out_row, &h);
    if (h.file != NULL) {
        vfs->ops->close(h.file);
    }
    arena_finish(&h.arena);
    return rc;
}

struct damaged_out {
    struct tail *t;
    int (*each)(void *, struct place);
    void *user;
};

static int damaged_row(void *user, const struct seq_row *row)
{
    struct damaged_out *d = user;
    bool known = row->seq <= d->t->last_seq && (row->flags & SEQ_BAD_BODY) != 0;
    return known ? d->each(d->user, row->body) : 0;
}

int tail_each_damaged(struct tail *t, int (*each)(void *user, struct place body), void *user)
{
    struct damaged_out d = {t, each, user};
    return seq_table_each(t->frames, 0, damaged_row, &d);
}

/* ---- sealing ---- */

/* One VOID frame over the room between two frames (I5). */
static int void_room(struct vfs_file *f, const struct tail_block *b, uint64_t off, uint64_t len)
{
    uint64_t rest = len - FRAME_HEAD_BYTES, with_sum = PIECE_BYTES + SUM_BYTES;
    uint64_t pieces = rest / with_sum + (rest % with_sum != 0);
    struct frame_head head = {.kind = FRAME_VOID, .body_len = rest - pieces * SUM_BYTES};
    uint8_t bytes[FRAME_HEAD_BYTES];
    assert(frame_len(0, head.body_len) == len);
    frame_head_encode(&head, &b->header, off, bytes);
    struct iovec iov = {bytes, sizeof(bytes)};
    return f->vfs->ops->pwritev(f, &iov, 1, off);
}

static int void_loose(struct vfs_file *f, const struct tail_block *b, uint64_t off)
{
    uint8_t bytes[FRAME_HEAD_BYTES];
    struct frame_head head;
    size_t n;
    int rc = f->vfs->ops->pread(f, bytes, sizeof(bytes), off, &n);
    if (rc != 0) {
        return rc;
    }
    if (n < sizeof(bytes) || frame_head_decode(bytes, &b->header, off, &head) != 0) {
        return ZERR_CORRUPT;
    }
    head.kind = FRAME_VOID;
    frame_head_encode(&head, &b->header, off, bytes);
    struct iovec iov = {bytes, sizeof(bytes)};
    rc = f->vfs->ops->pwritev(f, &iov, 1, off);
    if (rc == 0 && head.body_len >= PIECE_BYTES) {
        rc = f->vfs->ops->punch(f, off + frame_body_off(head.record_len), head.body_len);
        rc = rc == ZERR_UNSUPPORTED ? 0 : rc;
    }
    return rc;
}

static int seal_block(struct vfs *vfs, struct tail *t, const struct tail_block *b)
{
    char from[FILE_NAME_BYTES], to[FILE_NAME_BYTES];
    block_name(from, b->file->number, false);
    block_name(to, b->file->number, true);
    if (b->keep_end == BLOCK_HEADER_BYTES) {
        return vfs->ops->unlink(vfs, from);
    }
    struct vfs_file *f;
    int rc = dir_open_block(vfs, b->file, true, &f);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < t->n_loose && rc == 0; i++) {
        const struct tail_loose *l = &t->loose[i];
        if (l->at.block == b->file->number && l->at.off < b->keep_end && !l->unreadable) {
            rc = l->headless ? void_room(f, b, l->at.off, l->len) : void_loose(f, b, l->at.off);
        }
    }
    if (rc == 0 && b->file_len > b->keep_end) {
        rc = vfs->ops->truncate(f, b->keep_end);
    }
    if (rc == 0) {
        rc = vfs->ops->datasync(f);
    }
    if (rc == 0) {
        rc = vfs->ops->rename(vfs, from, to);
    }
    if (rc == 0) {
        rc = vfs->ops->sync_dir(vfs);
    }
    if (rc == 0) { /* not before: an open file that cannot be written would stop the next start */
        (void)vfs->ops->make_read_only(f);
    }
    vfs->ops->close(f);
    return rc;
}

int tail_seal(struct vfs *vfs, struct tail *t, struct zerr_info *info)
{
    int rc = 0;
    for (size_t i = 0; i < t->n_blocks && rc == 0; i++) {
        if (t->blocks[i].file->open) {
            rc = seal_block(vfs, t, &t->blocks[i]);
            if (rc != 0) {
                return zerr_fail(info, rc, vfs_last_errno(), "block %u cannot be sealed",
                                 t->blocks[i].file->number);
            }
        }
    }
    return vfs->ops->sync_dir(vfs);
}
