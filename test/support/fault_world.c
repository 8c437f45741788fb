/* See fault_world.h. */
#include "support/fault_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/scan.h"
#include "store/store_priv.h"
#include "support/vfs_mem.h"

#define BODY_MAX 70000
#define ABSENT 0u
#define N_VERSIONS 32

/* Version v of a key: 0 is "not there". Sizes are small, large, and beyond the block. */
static size_t size_of(unsigned v)
{
    static const size_t sizes[] = {0, 100, 3000, 9000, 40000, 0, 63, 12000, 70000};
    return sizes[v % (sizeof(sizes) / sizeof(sizes[0]))];
}

static struct slice body_of(unsigned v)
{
    static uint8_t bodies[N_VERSIONS][BODY_MAX];
    static bool made[N_VERSIONS];
    assert_in_range(v, 0, N_VERSIONS - 1);
    if (!made[v]) {
        fx_fill(bodies[v], size_of(v), v);
        made[v] = true;
    }
    return slice_of(bodies[v], size_of(v));
}

static void name_of(char out[8], unsigned key)
{
    (void)snprintf(out, 8, "k%02u", key);
}

static void answered(struct world *w, unsigned key, unsigned version, int status)
{
    struct key_model *k = &w->keys[key];
    if (status == 0) {
        k->now = version;
        k->allowed = 1u << version;
    } else {
        k->allowed |= 1u << version;
    }
}

struct op { /* one that runs beside others */
    struct world *w;
    struct fx_upload up;
    unsigned key, version;
    bool begun;
};

static void op_begin(struct world *w, struct op *o, unsigned key)
{
    char name[8];
    *o = (struct op){.w = w, .key = key, .version = w->next_version++};
    name_of(name, key);
    int rc = fx_begin(&w->f, &o->up, name, size_of(o->version));
    o->begun = rc == 0 || rc == ZKV_PENDING;
    if (rc == ZKV_PENDING) {
        fx_pump(&w->f);
        o->begun = o->up.ready && o->up.ready_status == 0;
        if (!o->up.ready) {
            put_abort(o->up.put);
            fx_pump(&w->f);
        }
    }
}

static void op_write(struct op *o, size_t from, size_t to)
{
    struct slice body = body_of(o->version);
    if (!o->begun || o->up.done) {
        return;
    }
    for (size_t at = from; at < to && !o->up.done; at += 5000) {
        fx_write(&o->w->f, &o->up, slice_of(body.ptr + at, to - at < 5000 ? to - at : 5000));
    }
}

static void op_commit(struct op *o)
{
    if (o->begun && !o->up.done) {
        put_commit(o->up.put, NULL);
    }
}

static void op_abort(struct op *o)
{
    if (o->begun && !o->up.done) {
        put_abort(o->up.put);
    }
}

void world_settle(struct world *w)
{
    fx_pump(&w->f);
    for (int i = 0; i < 15 && store_wants_tick(w->f.st); i++) {
        w->f.advance(w->f.vfs, 1000);
        store_tick(w->f.st);
        fx_pump(&w->f);
    }
}

static void op_end(struct op *o)
{
    if (!o->begun) {
        return;
    }
    if (!o->up.done) { /* never answered: after a fatal error only */
        assert_true(o->w->f.fatal);
        put_abort(o->up.put);
    }
    answered(o->w, o->key, o->version, o->up.done ? o->up.status : ZERR_CANCELED);
}

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

static void on_copied(void *user, int status, const struct object *obj)
{
    (void)obj;
    *(int *)user = status;
}

static void delete_begin(struct world *w, struct change_op *o, unsigned first, unsigned n)
{
    char names[4][8];
    struct slice keys[4];
    *o = (struct change_op){.w = w, .n = n, .status = 1};
    for (unsigned i = 0; i < n; i++) {
        o->keys[i] = first + i;
        name_of(names[i], first + i);
        keys[i] = slice_str(names[i]);
    }
    o->rc = store_delete(w->f.st, keys, n, NULL, on_deleted, &o->status);
}

static void copy_begin(struct world *w, struct change_op *o, unsigned from, unsigned to)
{
    char src[8], dst[8];
    name_of(src, from);
    name_of(dst, to);
    *o = (struct change_op){.w = w, .n = 1, .status = 1};
    o->keys[0] = to;
    o->versions[0] = w->keys[from].now;
    struct copy_spec spec = {.key = slice_str(dst)};
    o->rc = store_lookup(w->f.st, slice_str(src), &spec.src);
    if (o->rc == 0) {
        o->rc = store_copy(w->f.st, &spec, on_copied, &o->status);
    }
}

static void change_end(struct change_op *o)
{
    int status = o->rc != 0 ? o->rc : o->status == 1 ? ZERR_CANCELED : o->status;
    assert_true(o->rc != 0 || o->status != 1 || o->w->f.fatal);
    for (unsigned i = 0; i < o->n; i++) {
        answered(o->w, o->keys[i], o->versions[i], status);
    }
}

void world_put(struct world *w, unsigned key)
{
    struct op o;
    op_begin(w, &o, key);
    op_write(&o, 0, size_of(o.version));
    op_commit(&o);
    world_settle(w);
    op_end(&o);
}

void world_init(struct world *w, enum store_sync sync)
{
    memset(w, 0, sizeof(*w));
    w->next_version = 1;
    w->starts = 3;
    fx_init(&w->f, 16384);
    w->f.cfg.sync = sync;
    for (unsigned i = 0; i < N_KEYS; i++) {
        w->keys[i].allowed = 1u << ABSENT;
    }
}

void world_finish(struct world *w)
{
    fx_finish(&w->f);
}

void world_fill(struct world *w)
{
    assert_int_equal(fx_open(&w->f), 0);
    for (unsigned i = 0; i < 4; i++) {
        world_put(w, i);
    }
}

void world_stop(struct world *w)
{
    bool fatal = w->f.fatal;
    int rc = fx_stop(&w->f);
    if (rc == 0 && fatal) {
        world_report(w, "a stop after a fatal error says that all is well", 0, rc);
    }
}

void world_work(struct world *w)
{
    struct op a, b, c, d, e;
    op_begin(w, &a, 4);
    op_begin(w, &b, 0);
    op_begin(w, &c, 5);
    op_begin(w, &d, 6);
    op_write(&a, 0, size_of(a.version) / 2);
    op_write(&b, 0, size_of(b.version) / 2);
    op_write(&c, 0, size_of(c.version) / 2);
    copy_begin(w, &w->copy, 3, 7);
    delete_begin(w, &w->del, 1, 2);
    op_write(&d, 0, size_of(d.version));
    op_commit(&d);
    fx_pump(&w->f);
    op_abort(&c);
    op_write(&b, size_of(b.version) / 2, size_of(b.version));
    op_commit(&b);
    op_begin(w, &e, 8);
    op_write(&e, 0, size_of(e.version));
    op_commit(&e);
    op_write(&a, size_of(a.version) / 2, size_of(a.version));
    op_commit(&a);
    world_settle(w);
    op_end(&d);
    op_end(&b);
    op_end(&e);
    op_end(&a);
    change_end(&w->del);
    change_end(&w->copy);
    delete_begin(w, &w->late_del, 8, 1);
    world_put(w, 9);
    world_settle(w);
    change_end(&w->late_del);
    for (unsigned i = 0; i < 3; i++) {
        world_put(w, 9 + i);
    }
}

/* ---- multipart uploads ---- */

static void on_begun(void *user, int status, uint64_t upload)
{
    (void)status;
    *(uint64_t *)user = upload;
}

static void on_ended(void *user, int status, const struct object *obj, size_t at)
{
    (void)obj, (void)at;
    *(int *)user = status;
}

static void on_part(void *user, int status, const struct object *obj)
{
    on_ended(user, status, obj, 0);
}

static void upload_begin(struct world *w, unsigned i, unsigned key)
{
    struct upload_op *o = &w->uploads[i];
    char name[8];
    name_of(name, key);
    *o = (struct upload_op){.key = key, .part_status = 1, .end_status = 1};
    struct upload_spec spec = {.key = slice_str(name)};
    int rc = store_begin_upload(w->f.st, &spec, on_begun, &o->number);
    (void)rc; /* then it has no number */
}

static int put_part(struct world *w, struct upload_op *o, uint32_t part, struct slice body)
{
    char name[8];
    name_of(name, o->key);
    struct put_spec spec = {
        .key = slice_str(name), .size = body.len, .upload = o->number, .part = part};
    o->part_size = part == 1 ? body.len : o->part_size;
    return o->number == 0 ? ZERR_NO_UPLOAD : fx_put_spec(&w->f, &spec, body, 5000, NULL, NULL);
}

static void copy_to_part(struct world *w, struct upload_op *o, unsigned from)
{
    static const struct reader_ops ops = {on_deleted, NULL};
    char src[8], dst[8];
    struct reader *r;
    name_of(src, from);
    name_of(dst, o->key);
    int opened = 1;
    int rc = o->number == 0 ? ZERR_NO_UPLOAD
                            : reader_open(w->f.st, slice_str(src), false, &ops, &opened, &r);
    if (rc == ZKV_PENDING) {
        fx_pump(&w->f);
        rc = opened;
    } else if (rc != 0) {
        return;
    }
    if (rc == 0) {
        struct part_copy_spec spec = {.key = slice_str(dst),
                                      .upload = o->number,
                                      .part = 1,
                                      .src = r,
                                      .len = reader_object(r)->size};
        o->part_size = (size_t)spec.len;
        rc = store_copy_part(w->f.st, &spec, on_part, &o->part_status);
    }
    reader_close(r);
    world_settle(w);
}

/* Of parts 1..n, if they are there; else it is given up. */
static void upload_end(struct world *w, struct upload_op *o, size_t n, bool completes)
{
    struct part_name parts[2] = {{.number = 1}, {.number = 2}};
    char name[8];
    name_of(name, o->key);
    struct complete_spec spec = {
        .key = slice_str(name), .upload = o->number, .parts = parts, .n_parts = n};
    int rc = o->number == 0 ? ZERR_NO_UPLOAD
             : completes
                 ? store_complete_upload(w->f.st, &spec, on_ended, &o->end_status)
                 : store_abort_upload(w->f.st, spec.key, o->number, on_deleted, &o->end_status);
    o->end_status = rc != 0 ? rc : o->end_status;
    world_settle(w);
    if (completes) {
        answered(w, o->key, o->version, o->end_status);
    }
}

void world_uploads(struct world *w)
{
    struct upload_op *two = &w->uploads[UPLOAD_OF_TWO], *copied = &w->uploads[UPLOAD_OF_A_COPY];
    struct upload_op *aborted = &w->uploads[UPLOAD_ABORTED], *left = &w->uploads[UPLOAD_LEFT];
    for (unsigned i = 0; i < N_UPLOADS; i++) {
        upload_begin(w, i,
                     i == UPLOAD_OF_TWO ? 0 : 4 + i); /* the first one of a name that is there */
    }
    world_settle(w);
    two->version = w->next_version++;
    struct slice body = body_of(two->version);
    size_t half = body.len / 2;
    two->part_status = put_part(w, two, 2, slice_of(body.ptr + half, body.len - half));
    int rc = put_part(w, two, 1, slice_of(body.ptr, half));
    two->part_status = two->part_status == 0 ? rc : two->part_status;
    copied->version = w->keys[3].now;
    if (copied->version != ABSENT) {
        copy_to_part(w, copied, 3);
    }
    aborted->part_status = put_part(w, aborted, 1, body);
    left->part_status = put_part(w, left, 1, body);
    upload_end(w, two, 2, two->part_status == 0);
    upload_end(w, copied, 1, copied->part_status == 0);
    upload_end(w, aborted, 0, false);
}

struct parts_seen {
    int status;
    size_t n;
    uint64_t size;
};

static void on_parts(void *user, int status, struct part_page *page)
{
    *(struct parts_seen *)user =
        (struct parts_seen){status, page->n, page->n > 0 ? page->entries[0].size : 0};
    part_page_finish(page);
}

void world_expect_uploads(struct world *w)
{
    for (unsigned i = 0; i < N_UPLOADS; i++) {
        const struct upload_op *o = &w->uploads[i];
        struct parts_seen seen = {.status = 1};
        if (o->number == 0) {
            continue;
        }
        assert_int_equal(store_list_parts(w->f.st, o->number, 0, 3, on_parts, &seen), 0);
        fx_pump(&w->f);
        bool ended = o->end_status == 0, left = i == UPLOAD_LEFT;
        if (seen.status != 0 && (seen.status != ZERR_NO_UPLOAD || left)) {
            world_report(w, "an upload under way is gone", o->key, seen.status);
        }
        if (ended && seen.status == 0) {
            world_report(w, "an upload that ended is under way", o->key, 0);
        }
        bool whole = seen.n == 1 && seen.size == o->part_size;
        if (left && !whole && (o->part_status == 0 || seen.n > 0)) {
            world_report(w, "an upload has not its part", o->key, (int)seen.n);
        }
    }
}

void world_report(const struct world *w, const char *text, unsigned key, int rc)
{
    print_error("%s at call %d: %s (key %u: %d)\n%s", w->what, (int)w->n, text, key, rc,
                w->f.notes);
    fail();
}

void world_expect_told(const struct world *w)
{
    for (const char *line = w->f.notes; *line != '\0'; line = strchr(line, '\n') + 1) {
        if (line[0] - '0' <= LOG_WARN) {
            return;
        }
    }
    world_report(w, "a call failed and nobody was told", 0, 0);
}

int world_get(struct world *w, unsigned key, struct buf *out)
{
    char name[8];
    name_of(name, key);
    int rc = fx_get(&w->f, name, out);
    if (w->keys[key].now == ABSENT) {
        return rc == ZERR_NOT_FOUND ? 0 : rc;
    }
    return rc == 0 && !slice_eq(buf_slice(out), body_of(w->keys[key].now)) ? ZERR_CORRUPT : rc;
}

void world_expect_keys(struct world *w, bool after_crash)
{
    struct buf out = {0};
    for (unsigned i = 0; i < N_KEYS; i++) {
        char name[8];
        name_of(name, i);
        int rc = fx_get(&w->f, name, &out);
        if (rc != 0 && rc != ZERR_NOT_FOUND) {
            world_report(w, "cannot be read", i, rc);
        }
        bool ok = false;
        for (unsigned v = 0; v < w->next_version && !ok; v++) {
            bool may = after_crash ? (w->keys[i].allowed & (1u << v)) != 0 : w->keys[i].now == v;
            ok = may && (v == ABSENT ? rc != 0 : rc == 0 && slice_eq(buf_slice(&out), body_of(v)));
            if (ok && after_crash) {
                w->keys[i].now = v;
                w->keys[i].allowed = 1u << v;
            }
        }
        if (!ok) {
            world_report(w, after_crash ? "wrong after the end" : "wrong while running", i, rc);
        }
    }
    buf_finish(&out);
}

static void expect_no_drift(struct world *w)
{
    const struct store *st = w->f.st;
    uint64_t dirty = 0;
    for (const struct block *b = st->open_blocks; b != NULL; b = b->next) {
        dirty += b->dirty;
        if (b->n_puts != 0 || b->frames != NULL || b->voids != NULL || b->cutting) {
            world_report(w, "a block is held", b->number, (int)b->state);
        }
        if (b != st->current && b->state != BLOCK_POISONED) {
            world_report(w, "a block is not sealed", b->number, (int)b->state);
        }
    }
    if (st->unsynced != dirty || st->queued != 0 || *st->promised != 0 || st->n_jobs != 0 ||
        st->puts != NULL || st->waiting != NULL || st->n_commits != 0 || st->n_readers != 0) {
        world_report(w, "a counter drifted", 0, 0);
    }
}

/* The disk is well again: the store must take writes, unless it has said that it cannot go on. */
void world_expect_well_again(struct world *w)
{
    world_settle(w);
    if (w->f.fatal) {
        return;
    }
    world_expect_keys(w, false);
    struct op o;
    op_begin(w, &o, 10);
    if (!o.begun) {
        world_report(w, "does not take writes again", 10, 0);
    }
    op_write(&o, 0, size_of(o.version));
    op_commit(&o);
    world_settle(w);
    op_end(&o);
    if (o.up.status != 0) {
        world_report(w, "a write fails after the fault", 10, o.up.status);
    }
    world_expect_keys(w, false);
    expect_no_drift(w);
}

static int see_frame(void *user, const struct scan_frame *f)
{
    if (f->verdict != SCAN_VALID && f->verdict != SCAN_VOID) {
        world_report(user, "a sealed block holds neither valid nor VOID (offset)", (unsigned)f->off,
                     (int)f->verdict);
    }
    return 0;
}

static int see_file(void *user, const struct vfs_dirent *e)
{
    struct world *w = user;
    unsigned number;
    struct vfs_file *file;
    struct scan_result res;
    if (sscanf(e->name, "open%u", &number) == 1) {
        world_report(w, "a block is still open", number, 0);
    }
    if (sscanf(e->name, "block%u", &number) == 1) {
        assert_int_equal(w->f.vfs->ops->open(w->f.vfs, e->name, VFS_READ, &file), 0);
        assert_int_equal(scan_block(file, number, SCAN_BODIES, see_frame, w, &res), 0);
        w->f.vfs->ops->close(file);
    }
    return 0;
}

void world_expect_clean_start(struct world *w, bool lost)
{
    for (int again = 0; again < w->starts; again++) {
        if (again == 1) {
            fx_drop_index(&w->f);
        }
        w->f.notes[0] = '\0';
        int rc = fx_open(&w->f);
        if (rc != 0) {
            world_report(w, w->f.info.text, 0, rc);
        }
        world_expect_keys(w, true);
        if (!lost) {
            world_expect_uploads(w);
        }
        if (!lost && strstr(w->f.notes, "damaged") != NULL) {
            world_report(w, "damage reported", 0, 0);
        }
        world_put(w, 11);
        if (w->keys[11].now != w->next_version - 1) {
            world_report(w, "no write after the start", 11, 0);
        }
        rc = fx_stop(&w->f);
        if (rc != 0) {
            world_report(w, "no clean stop", 0, rc);
        }
    }
    if (!lost) {
        assert_int_equal(w->f.vfs->ops->list(w->f.vfs, see_file, w), 0); /* I5 */
    }
}
