/* See rot_store.h. */
#include "support/rot_store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/block.h"
#include "store/db.h"
#include "store/dir.h"
#include "store/scan.h"
#include "support/vfs_mem.h"

#define BLOCK_BYTES 6144 /* some frames each */

void rot_fail(const struct rot *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "FAILED: %s: ", r->about);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n%s", r->f.notes);
    va_end(ap);
    abort();
}

static void must(const struct rot *r, bool ok, const char *what)
{
    if (!ok) {
        rot_fail(r, "%s", what);
    }
}

/* ---- what happens in it ---------------------------------------------------------------------- */

static int key_of(struct rot *r, const char *key)
{
    for (int i = 0; i < r->n_keys; i++) {
        if (strcmp(r->keys[i], key) == 0) {
            return i;
        }
    }
    must(r, r->n_keys < ROT_KEYS_MAX, "too many keys");
    (void)snprintf(r->keys[r->n_keys], sizeof(r->keys[0]), "%s", key);
    return r->n_keys++;
}

static struct rot_event *new_event(struct rot *r, const char *key)
{
    must(r, r->n_events < ROT_EVENTS_MAX, "too many events");
    struct rot_event *e = &r->events[r->n_events++];
    *e = (struct rot_event){.key = key_of(r, key), .source = r->n_events - 1};
    return e;
}

static void look(struct rot *r, struct rot_event *e)
{
    struct object obj;
    must(r, store_lookup(r->f.st, slice_str(r->keys[e->key]), &obj) == 0, "look-up");
    memcpy(e->v.md5, obj.md5, 16);
    e->v.mtime_ms = obj.mtime_ms;
    vfs_mem_advance(r->f.vfs, 1000);
}

static void put(struct rot *r, const char *key, size_t len, const char *meta)
{
    struct rot_event *e = new_event(r, key);
    uint8_t *body = malloc(len + 1);
    must(r, body != NULL, "malloc");
    fx_fill(body, len, (uint64_t)r->n_events);
    e->is_put = true;
    e->v.body = body;
    e->v.len = len;
    (void)snprintf(e->v.meta, sizeof(e->v.meta), "%s", meta);
    struct attr attr = {SLICE_LIT("X-Amz-Meta-K"), slice_str(meta)};
    struct put_spec spec = {.key = slice_str(key), .size = len, .meta = {&attr, 1}};
    must(r, fx_put_spec(&r->f, &spec, slice_of(body, len), 0, NULL, NULL) == 0, "put");
    look(r, e);
}

static int last_of(const struct rot *r, int key)
{
    int last = -1;
    for (int i = 0; i < r->n_events; i++) {
        last = r->events[i].key == key ? i : last;
    }
    return last;
}

static void copy(struct rot *r, const char *from, const char *to)
{
    int source = last_of(r, key_of(r, from));
    must(r, fx_copy(&r->f, from, to) == 0, "copy");
    struct rot_event *e = new_event(r, to);
    e->is_put = e->is_copy = true;
    e->source = r->events[source].source;
    e->v = r->events[source].v;
    e->v.meta[0] = '\0';
    look(r, e);
}

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

static void delete (struct rot *r, const char *const *keys, size_t n)
{
    struct slice names[8];
    int status = 1;
    for (size_t i = 0; i < n; i++) {
        names[i] = slice_str(keys[i]);
        (void)new_event(r, keys[i]);
    }
    must(r, store_delete(r->f.st, names, n, NULL, on_deleted, &status) == 0, "delete");
    fx_pump(&r->f);
    must(r, status == 0, "delete's answer");
}

/* ---- the image ------------------------------------------------------------------------------- */

static void index_path(const struct rot *r, const char *suffix, char out[160])
{
    (void)snprintf(out, 160, "%s/" INDEX_NAME "%s", r->f.dir, suffix);
}

static void load(struct rot *r, const char *suffix, struct buf *out)
{
    char path[160];
    uint8_t bytes[4096];
    size_t n;
    index_path(r, suffix, path);
    FILE *f = fopen(path, "rb");
    buf_reset(out);
    while (f != NULL && (n = fread(bytes, 1, sizeof(bytes), f)) > 0) {
        must(r, buf_append(out, bytes, n) == 0, "buf_append");
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}

static void save(struct rot *r, const char *suffix, const struct buf *in)
{
    char path[160];
    index_path(r, suffix, path);
    FILE *f = fopen(path, "wb");
    must(r, f != NULL && fwrite(in->ptr, 1, in->len, f) == in->len && fclose(f) == 0, path);
}

struct map {
    struct rot *r;
    uint64_t seq[ROT_FRAMES_MAX];
    uint32_t block;
    bool open;
};

static int map_frame(void *user, const struct scan_frame *f)
{
    struct map *m = user;
    struct rot *r = m->r;
    must(r, r->n_frames < ROT_FRAMES_MAX, "too many frames");
    bool counts = f->verdict == SCAN_VALID && f->rec.n_entries > 0;
    m->seq[r->n_frames] = counts ? f->rec.seq : UINT64_MAX;
    must(r, f->verdict == SCAN_VALID || f->verdict == SCAN_VOID || m->open, "bad frame");
    struct rot_frame *v = &r->frames[r->n_frames++];
    *v = (struct rot_frame){.block = m->block,
                            .open = m->open,
                            .off = f->off,
                            .len = f->len,
                            .n = counts ? (int)f->rec.n_entries : 0};
    v->head_len = f->verdict == SCAN_GARBAGE ? f->len : frame_body_off(f->head.record_len);
    v->content = f->verdict == SCAN_GARBAGE
                     ? 0
                     : v->head_len + f->head.body_len + frame_sums_len(f->head.body_len);
    return 0;
}

bool rot_block_name(const struct rot *r, uint32_t block, char out[32])
{
    block_name(out, block, true);
    if (vfs_mem_get(r->image, out).ptr == NULL) {
        block_name(out, block, false);
    }
    return vfs_mem_get(r->image, out).ptr != NULL;
}

static void map_frames(struct rot *r)
{
    struct map m = {.r = r};
    for (uint32_t b = 0; b < 100; b++) {
        char name[32];
        struct vfs_file *file;
        struct scan_result res;
        if (!rot_block_name(r, b, name)) {
            continue;
        }
        m.block = b;
        m.open = name[0] == 'o';
        r->n_blocks = b + 1;
        must(r, r->image->ops->open(r->image, name, VFS_READ, &file) == 0, name);
        must(r, scan_block(file, b, SCAN_BODIES, map_frame, &m, &res) == 0, name);
        r->image->ops->close(file);
    }
    /* Numbers rise as events do. */
    for (int at = 0; at < r->n_events;) {
        int next = -1;
        for (int i = 0; i < r->n_frames; i++) {
            if (m.seq[i] != UINT64_MAX && (next < 0 || m.seq[i] < m.seq[next])) {
                next = i;
            }
        }
        must(r, next >= 0, "fewer frames than events");
        r->frames[next].first = at;
        at += r->frames[next].n;
        m.seq[next] = UINT64_MAX;
    }
}

static void first_half(struct rot *r, size_t big)
{
    static const char *const pair[] = {"pair/1", "pair/2"};
    static const char *const gone[] = {"gone"};
    put(r, "old", 300, "m-old1");
    put(r, "same", 1000, "m-same");
    copy(r, "same", "copy");
    put(r, "gone", 200, "m-gone");
    put(r, "old", 301, "m-old2");
    put(r, "pair/1", 64, "m-p1");
    put(r, "pair/2", 65, "m-p2");
    put(r, "pair/3", 0, "m-p3");
    delete (r, gone, 1);
    delete (r, pair, 2);
    if (big > 0) {
        put(r, "big", big, "m-big");
    }
}

/* An upload that gives up between others leaves a VOID frame. */
static void give_up(struct rot *r)
{
    struct fx_upload u;
    uint8_t bytes[500];
    fx_fill(bytes, sizeof(bytes), 99);
    must(r, fx_begin(&r->f, &u, "never", sizeof(bytes)) == 0, "begin");
    fx_write(&r->f, &u, slice_of(bytes, 200));
    fx_pump(&r->f);
    put(r, "next", 100, "m-next");
    put_abort(u.put);
    fx_pump(&r->f);
}

static void second_half(struct rot *r)
{
    static const char *const gone[] = {"same"};
    static const char *const pair[] = {"pair/3", "pair/4"};
    put(r, "old", 302, "m-old3");
    put(r, "late", 700, "m-late");
    put(r, "pair/4", 40, "m-p4");
    copy(r, "late", "twin");
    give_up(r);
    delete (r, gone, 1);
    delete (r, pair, 2);
    put(r, "late", 150, "m-late2");
    put(r, "last", 90, "m-last");
}

void rot_create(struct rot *r, enum rot_kind kind, size_t big)
{
    struct fx_upload u;
    uint8_t bytes[300] = {1, 2, 3};
    memset(r, 0, sizeof(*r));
    (void)snprintf(r->about, sizeof(r->about), "making the store");
    fx_init(&r->f, BLOCK_BYTES);
    /* Thousands of starts: nothing is gained by syncing the index to a disk. */
    (void)rmdir(r->f.dir);
    (void)snprintf(r->f.dir, sizeof(r->f.dir), "%s/zkv-rot-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    must(r, mkdtemp(r->f.dir) != NULL, r->f.dir);
    must(r, fx_open(&r->f) == 0, "open");
    first_half(r, big);
    must(r, fx_stop(&r->f) == 0, "stop");
    r->early = vfs_mem_crash(r->f.vfs, MEM_CRASH_EVERYTHING, 1);
    load(r, "", &r->early_index);
    must(r, fx_open(&r->f) == 0, "open");
    second_half(r);
    if (kind == ROT_STOPPED) {
        must(r, fx_stop(&r->f) == 0, "stop");
    } else { /* with an upload under way */
        must(r, fx_begin(&r->f, &u, "never", sizeof(bytes)) == 0, "begin");
        fx_write(&r->f, &u, slice_of(bytes, 200));
        fx_pump(&r->f);
    }
    r->image = vfs_mem_crash(r->f.vfs, MEM_CRASH_EVERYTHING, 1);
    load(r, "", &r->index);
    load(r, "-wal", &r->wal);
    map_frames(r);
}

void rot_destroy(struct rot *r)
{
    for (int i = 0; i < r->n_events; i++) {
        if (!r->events[i].is_copy) {
            free((void *)(uintptr_t)r->events[i].v.body);
        }
    }
    fx_finish(&r->f);
    vfs_mem_destroy(r->image);
    vfs_mem_destroy(r->early);
    buf_finish(&r->index);
    buf_finish(&r->wal);
    buf_finish(&r->early_index);
    buf_finish(&r->out);
}

void rot_reset(struct rot *r, bool with_index)
{
    if (r->f.st != NULL) {
        fx_kill(&r->f);
    }
    vfs_mem_destroy(r->f.vfs);
    r->f.vfs = vfs_mem_crash(r->image, MEM_CRASH_EVERYTHING, 1);
    r->f.notes[0] = '\0';
    fx_drop_index(&r->f);
    if (with_index) {
        save(r, "", &r->index);
        if (r->wal.len > 0) {
            save(r, "-wal", &r->wal);
        }
    }
    rot_clear(r);
}

/* ---- damage ---------------------------------------------------------------------------------- */

void rot_clear(struct rot *r)
{
    for (int i = 0; i < r->n_events; i++) {
        r->events[i].affected = false;
    }
}

bool rot_affect(struct rot *r, uint32_t block, uint64_t off, uint64_t len)
{
    bool means = off < BLOCK_HEADER_BYTES;
    for (int i = 0; i < r->n_frames; i++) {
        const struct rot_frame *f = &r->frames[i];
        if (f->block != block || off >= f->off + f->content || off + len <= f->off) {
            continue;
        }
        /* Of a VOID frame only the head means something; of what was never committed nothing. */
        means = means || f->n > 0 || (off < f->off + FRAME_HEAD_BYTES && !f->open);
        for (int e = f->first; e < f->first + f->n; e++) {
            r->events[e].affected = true;
        }
    }
    for (int i = 0; i < r->n_events; i++) {
        r->events[i].affected = r->events[i].affected ||
                                (r->events[i].is_copy && r->events[r->events[i].source].affected);
    }
    return means;
}

static int notice(void *user, const struct scan_frame *f)
{
    bool *bad = user;
    *bad = *bad || (f->verdict != SCAN_VALID && f->verdict != SCAN_VOID);
    return 0;
}

bool rot_scan_notices(struct rot *r, uint32_t block)
{
    struct vfs_file *file;
    struct scan_result res = {0};
    char name[32];
    bool bad = false;
    block_name(name, block, true);
    if (r->f.vfs->ops->open(r->f.vfs, name, VFS_READ, &file) != 0) {
        return true;
    }
    int rc = scan_block(file, block, SCAN_BODIES, notice, &bad, &res);
    r->f.vfs->ops->close(file);
    return rc != 0 || bad || res.header_damaged;
}

/* ---- what must be there ---------------------------------------------------------------------- */

/* What the name has; NULL: nothing. without: as if affected events had not been. */
static const struct rot_version *wanted(const struct rot *r, int key, bool without)
{
    const struct rot_version *v = NULL;
    for (int i = 0; i < r->n_events; i++) {
        const struct rot_event *e = &r->events[i];
        if (e->key == key && !(without && e->affected)) {
            v = e->is_put ? &e->v : NULL;
        }
    }
    return v;
}

static bool is_affected(const struct rot *r, int key)
{
    for (int i = 0; i < r->n_events; i++) {
        if (r->events[i].key == key && r->events[i].affected) {
            return true;
        }
    }
    return false;
}

struct fetch {
    struct rot *r;
    bool answered;
    int status;
};

static void on_opened(void *user, int status)
{
    struct fetch *g = user;
    g->answered = true;
    g->status = status;
}

static void on_read(void *user, int status, struct read_piece piece)
{
    struct fetch *g = user;
    g->answered = true;
    g->status = status;
    if (status == 0) {
        must(g->r, buf_append(&g->r->out, piece.data, piece.len) == 0, "buf_append");
    }
}

static const struct reader_ops READER = {on_opened, on_read};

static int read_range(struct rot *r, struct reader *reader, struct fetch *g, uint64_t off,
                      uint64_t end)
{
    int rc = 0;
    while (off < end && rc == 0) {
        size_t n = end - off < PIECE_BYTES ? (size_t)(end - off) : PIECE_BYTES;
        struct read_piece piece;
        g->answered = false;
        rc = reader_read(reader, off, n, &piece);
        if (rc == 0) {
            on_read(g, 0, piece);
        } else if (rc == ZKV_PENDING) {
            fx_pump(&r->f);
            must(r, g->answered, "a read has no answer");
            rc = g->status;
        }
        if (rc == 0) {
            reader_release(reader);
        }
        off += n;
    }
    return rc;
}

/* What a reader says without the body. */
static bool same_head(const struct reader *reader, const struct rot_version *v)
{
    const struct object *o = reader_object(reader);
    struct attrs meta = reader_meta(reader);
    bool same = o->size == v->len && o->has_md5 && memcmp(o->md5, v->md5, 16) == 0 &&
                o->mtime_ms == v->mtime_ms && meta.n == (v->meta[0] != '\0');
    return same && (meta.n == 0 || (slice_eq_str(meta.v[0].name, "X-Amz-Meta-K") &&
                                    slice_eq_str(meta.v[0].value, v->meta)));
}

/* Reads [off, end) of the name; the version it turns out to be in *ret. Bytes that are no version's
 * fail the test, whatever came after them. */
static int read_name(struct rot *r, int key, bool want_body, uint64_t off, uint64_t end,
                     const struct rot_version *const v[2], const struct rot_version **ret)
{
    struct fetch g = {.r = r};
    struct reader *reader;
    *ret = NULL;
    buf_reset(&r->out);
    int rc = reader_open(r->f.st, slice_str(r->keys[key]), want_body, &READER, &g, &reader);
    if (rc != 0 && rc != ZKV_PENDING) {
        return rc;
    }
    if (rc == ZKV_PENDING) {
        fx_pump(&r->f);
        must(r, g.answered, "an open has no answer");
        rc = g.status;
    }
    for (int i = 0; rc == 0 && i < 2 && *ret == NULL; i++) {
        *ret = v[i] != NULL && same_head(reader, v[i]) ? v[i] : NULL;
    }
    if (rc == 0 && *ret == NULL) {
        rot_fail(r, "%s: what it is opened as was never put there", r->keys[key]);
    }
    if (rc == 0 && want_body) {
        end = end < (*ret)->len ? end : (*ret)->len;
        rc = read_range(r, reader, &g, off, end);
        if ((rc == 0 && r->out.len != end - off) || r->out.len > end - off ||
            (r->out.len > 0 && memcmp(r->out.ptr, (*ret)->body + off, r->out.len) != 0)) {
            rot_fail(r, "%s: wrong bytes were handed out", r->keys[key]);
        }
    }
    reader_close(reader);
    fx_pump(&r->f);
    return rc;
}

/* True if the name is as it must be; false: it is missing, which the caller may allow. */
static bool check_name(struct rot *r, int key, struct rot_counts *counts)
{
    bool affected = is_affected(r, key), reverted = false;
    const struct rot_version *v[2] = {wanted(r, key, false), wanted(r, key, true)}, *got;
    size_t len = v[0] != NULL ? v[0]->len : 0;
    bool missing = false;
    for (int way = 0; way < 3; way++) { /* HEAD, a range, the whole */
        uint64_t off = way == 1 ? len / 3 : 0, end = way == 1 ? len / 3 + len / 4 + 1 : UINT64_MAX;
        end = way == 1 && end > len ? len : end;
        int rc = read_name(r, key, way > 0, off, end, v, &got);
        if (rc == 0) {
            reverted = reverted || got != v[0];
            if (r->knows && v[0] != NULL && got != v[0]) {
                rot_fail(r, "%s has what it had before", r->keys[key]);
            }
        } else if (rc == ZERR_NOT_FOUND && v[0] == NULL) {
            continue;
        } else if (rc == ZERR_CORRUPT && r->may_give_up && r->f.fatal) {
            r->gave_up = true;
            return true;
        } else if (!affected) {
            rot_fail(r, "%s: %s, and nothing of it was damaged", r->keys[key], zerr_str(rc));
        } else if (rc != ZERR_DAMAGED && rc != ZERR_NOT_FOUND) {
            rot_fail(r, "%s: %s is no answer for damage", r->keys[key], zerr_str(rc));
        } else {
            counts->wrong_err += r->out.len > 0;
            missing = true;
        }
    }
    counts->missing += missing;
    counts->reverted += reverted;
    return !missing;
}

/* ---- LIST ---- */

struct listing {
    struct rot *r;
    int status;
    bool seen[ROT_KEYS_MAX];
};

static void on_page(void *user, int status, struct list_page *page)
{
    struct listing *l = user;
    struct rot *r = l->r;
    l->status = status;
    for (size_t i = 0; status == 0 && i < page->n; i++) {
        const struct list_entry *e = &page->entries[i];
        int key = 0;
        while (key < r->n_keys && !slice_eq_str(e->key, r->keys[key])) {
            key++;
        }
        must(r, key < r->n_keys && !l->seen[key], "LIST has a name that was never put, or twice");
        const struct rot_version *v[2] = {wanted(r, key, false), wanted(r, key, true)};
        bool ok = false;
        for (int k = 0; k < 2; k++) {
            ok = ok || (v[k] != NULL && e->size == v[k]->len && e->has_md5 &&
                        memcmp(e->md5, v[k]->md5, 16) == 0 && e->mtime_ms == v[k]->mtime_ms);
        }
        must(r, ok, "LIST says what was never so");
        l->seen[key] = true;
    }
    list_page_finish(page);
}

static void check_list(struct rot *r, const bool missing[ROT_KEYS_MAX])
{
    struct listing l = {.r = r, .status = 1};
    struct list_query q = {.max = 1000};
    must(r, store_list(r->f.st, &q, on_page, &l) == 0, "LIST");
    fx_pump(&r->f);
    if (l.status == ZERR_CORRUPT && r->may_give_up && r->f.fatal) {
        r->gave_up = true;
        return;
    }
    if (l.status != 0) {
        rot_fail(r, "LIST: %s", zerr_str(l.status));
    }
    for (int i = 0; i < r->n_keys; i++) {
        bool want = wanted(r, i, false) != NULL && !missing[i];
        if (l.seen[i] != want && !is_affected(r, i)) {
            rot_fail(r, "LIST %s %s", l.seen[i] ? "has" : "lacks", r->keys[i]);
        }
        if (l.seen[i] && missing[i]) {
            rot_fail(r, "LIST has %s, which cannot be read", r->keys[i]);
        }
    }
}

void rot_check(struct rot *r, bool only_affected, struct rot_counts *counts)
{
    bool missing[ROT_KEYS_MAX] = {false};
    for (int i = 0; i < r->n_keys; i++) {
        if (!only_affected || is_affected(r, i)) {
            missing[i] = !check_name(r, i, counts);
        }
    }
    check_list(r, missing);
}

/* ---- history --------------------------------------------------------------------------------- */

struct walk {
    struct rot *r;
    int at;
};

static bool is_event(const struct rot *r, const struct rot_event *e, const struct record *rec)
{
    return (rec->op == RECORD_PUT) == e->is_put && slice_eq_str(rec->key, r->keys[e->key]) &&
           (!e->is_put || (rec->size == e->v.len && memcmp(rec->md5, e->v.md5, 16) == 0));
}

static int walk_record(void *user, uint64_t rev, const struct record *rec)
{
    struct walk *w = user;
    struct rot *r = w->r;
    (void)rev;
    for (; w->at < r->n_events; w->at++) {
        const struct rot_event *e = &r->events[w->at];
        if (is_event(r, e, rec)) {
            w->at++;
            return 0;
        }
        if (!e->affected) {
            rot_fail(r, "the history lacks event %d (%s) at revision %llu", w->at, r->keys[e->key],
                     (unsigned long long)rev);
        }
    }
    for (int i = 0; i < r->n_events; i++) { /* what only the index knew of stands at the end */
        if (r->events[i].affected && r->events[i].is_put && is_event(r, &r->events[i], rec)) {
            return 0;
        }
    }
    rot_fail(r, "the history has more than what happened");
    return 0;
}

static int on_lost(void *user, const struct db_extra *lost, uint64_t off)
{
    (void)user, (void)lost, (void)off;
    return ZERR_CORRUPT;
}

bool rot_check_history(struct rot *r)
{
    struct dir_view view;
    struct db_summary sum = {0};
    struct walk w = {.r = r};
    struct db_visitor v = {.user = &w, .record = walk_record, .damage = on_lost};
    struct vfs_file *file;
    struct zerr_info info = {0};
    bool bad[DB_IDS];
    uint32_t id = 0;
    char name[FILE_NAME_BYTES];
    must(r, dir_view_read(r->f.vfs, &view, &info) == 0, "dir_view_read");
    int rc = dir_choose_db(r->f.vfs, &view, &id, bad, &info);
    dir_view_finish(&view);
    if (rc == 0) {
        (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
        must(r, r->f.vfs->ops->open(r->f.vfs, name, VFS_READ, &file) == 0, name);
        rc = db_scan(r->f.vfs, file, (struct db_pos){0}, &v, &sum, &info);
        r->f.vfs->ops->close(file);
    }
    if (rc != 0) {
        must(r, rc == ZERR_CORRUPT, "db_scan");
        return false;
    }
    for (; w.at < r->n_events; w.at++) {
        if (!r->events[w.at].affected) {
            rot_fail(r, "the history ends before event %d (%s)", w.at,
                     r->keys[r->events[w.at].key]);
        }
    }
    bool good = sum.n_bad_headers == 0;
    db_summary_finish(&sum);
    return good;
}
