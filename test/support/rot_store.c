/* See rot_store.h. */
#include "support/rot_priv.h"

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

/* ---- what happens in it ---------------------------------------------------------------------- */

static int key_of(struct rot *r, const char *key)
{
    for (int i = 0; i < r->n_keys; i++) {
        if (strcmp(r->keys[i], key) == 0) {
            return i;
        }
    }
    rot_must(r, r->n_keys < ROT_KEYS_MAX, "too many keys");
    (void)snprintf(r->keys[r->n_keys], sizeof(r->keys[0]), "%s", key);
    return r->n_keys++;
}

struct rot_event *rot_new_event(struct rot *r, enum rot_op op, const char *key)
{
    rot_must(r, r->n_events < ROT_EVENTS_MAX, "too many events");
    struct rot_event *e = &r->events[r->n_events++];
    *e = (struct rot_event){.op = op, .key = key_of(r, key), .upload = -1};
    return e;
}

void rot_look(struct rot *r, struct rot_event *e)
{
    struct object obj;
    rot_must(r, store_lookup(r->f.st, slice_str(r->keys[e->key]), &obj) == 0, "look-up");
    memcpy(e->v.md5, obj.md5, 16);
    e->v.mtime_ms = obj.mtime_ms;
    vfs_mem_advance(r->f.vfs, 1000);
}

void rot_put(struct rot *r, const char *key, size_t len, const char *meta)
{
    struct rot_event *e = rot_new_event(r, ROT_PUT, key);
    uint8_t *body = rot_body(r, len);
    fx_fill(body, len, (uint64_t)r->n_events);
    e->v.body = body;
    e->v.len = len;
    (void)snprintf(e->v.meta, sizeof(e->v.meta), "%s", meta);
    struct attr attr = {SLICE_LIT("X-Amz-Meta-K"), slice_str(meta)};
    struct put_spec spec = {.key = slice_str(key), .size = len, .meta = {&attr, 1}};
    rot_must(r, fx_put_spec(&r->f, &spec, slice_of(body, len), 0, NULL, NULL) == 0, "put");
    rot_look(r, e);
}

uint8_t *rot_body(struct rot *r, size_t len)
{
    uint8_t *body = malloc(len + 1);
    rot_must(r, body != NULL, "malloc");
    return body;
}

int rot_last_of(const struct rot *r, int key)
{
    int last = -1;
    for (int i = 0; i < r->n_events; i++) {
        last = r->events[i].key == key && rot_in_history(&r->events[i]) ? i : last;
    }
    rot_must(r, last >= 0, "the name is nowhere");
    return last;
}

void rot_add_sources(struct rot *r, struct rot_event *e, int source)
{
    const struct rot_event *s = &r->events[source];
    for (int i = 0; i < (s->n_sources > 0 ? s->n_sources : 1); i++) {
        rot_must(r, e->n_sources < ROT_SOURCES_MAX, "too many sources");
        e->sources[e->n_sources++] = s->n_sources > 0 ? s->sources[i] : source;
    }
}

void rot_copy(struct rot *r, const char *from, const char *to)
{
    int source = rot_last_of(r, key_of(r, from));
    rot_must(r, fx_copy(&r->f, from, to) == 0, "copy");
    struct rot_event *e = rot_new_event(r, ROT_COPY, to);
    rot_add_sources(r, e, source);
    e->v = r->events[source].v;
    e->v.meta[0] = '\0';
    rot_look(r, e);
}

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

void rot_delete(struct rot *r, const char *const *keys, size_t n)
{
    struct slice names[8];
    int status = 1;
    for (size_t i = 0; i < n; i++) {
        names[i] = slice_str(keys[i]);
        (void)rot_new_event(r, ROT_DELETE, keys[i]);
    }
    rot_must(r, store_delete(r->f.st, names, n, NULL, on_deleted, &status) == 0, "delete");
    fx_pump(&r->f);
    rot_must(r, status == 0, "delete's answer");
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
        rot_must(r, buf_append(out, bytes, n) == 0, "buf_append");
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
    rot_must(r, f != NULL && fwrite(in->ptr, 1, in->len, f) == in->len && fclose(f) == 0, path);
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
    rot_must(r, r->n_frames < ROT_FRAMES_MAX, "too many frames");
    bool counts = f->verdict == SCAN_VALID && f->rec.n_entries > 0;
    m->seq[r->n_frames] = counts ? f->rec.seq : UINT64_MAX;
    rot_must(r, f->verdict == SCAN_VALID || f->verdict == SCAN_VOID || m->open, "bad frame");
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
        rot_must(r, r->image->ops->open(r->image, name, VFS_READ, &file) == 0, name);
        rot_must(r, scan_block(file, b, SCAN_BODIES, map_frame, &m, &res) == 0, name);
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
        rot_must(r, next >= 0, "fewer frames than events");
        r->frames[next].first = at;
        at += r->frames[next].n;
        m.seq[next] = UINT64_MAX;
    }
}

static void first_half(struct rot *r, size_t big)
{
    static const char *const pair[] = {"pair/1", "pair/2"};
    static const char *const gone[] = {"gone"};
    rot_put(r, "old", 300, "m-old1");
    rot_put(r, "same", 1000, "m-same");
    rot_copy(r, "same", "copy");
    rot_put(r, "gone", 200, "m-gone");
    rot_put(r, "old", 301, "m-old2");
    rot_put(r, "pair/1", 64, "m-p1");
    rot_put(r, "pair/2", 65, "m-p2");
    rot_put(r, "pair/3", 0, "m-p3");
    rot_delete(r, gone, 1);
    rot_delete(r, pair, 2);
    if (big > 0) {
        rot_put(r, "big", big, "m-big");
    }
}

/* An upload that gives up between others leaves a VOID frame. */
static void give_up(struct rot *r)
{
    struct fx_upload u;
    uint8_t bytes[500];
    fx_fill(bytes, sizeof(bytes), 99);
    rot_must(r, fx_begin(&r->f, &u, "never", sizeof(bytes)) == 0, "begin");
    fx_write(&r->f, &u, slice_of(bytes, 200));
    fx_pump(&r->f);
    rot_put(r, "next", 100, "m-next");
    put_abort(u.put);
    fx_pump(&r->f);
}

static void second_half(struct rot *r)
{
    static const char *const gone[] = {"same"};
    static const char *const pair[] = {"pair/3", "pair/4"};
    rot_put(r, "old", 302, "m-old3");
    rot_put(r, "late", 700, "m-late");
    rot_put(r, "pair/4", 40, "m-p4");
    rot_copy(r, "late", "twin");
    give_up(r);
    rot_delete(r, gone, 1);
    rot_delete(r, pair, 2);
    rot_put(r, "late", 150, "m-late2");
    rot_put(r, "last", 90, "m-last");
}

void rot_create(struct rot *r, enum rot_kind kind, enum rot_content content, size_t big)
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
    rot_must(r, mkdtemp(r->f.dir) != NULL, r->f.dir);
    rot_must(r, fx_open(&r->f) == 0, "open");
    content == ROT_OBJECTS ? first_half(r, big) : rot_uploads_first(r, big);
    rot_must(r, fx_stop(&r->f) == 0, "stop");
    r->early = vfs_mem_crash(r->f.vfs, MEM_CRASH_EVERYTHING, 1);
    load(r, "", &r->early_index);
    rot_must(r, fx_open(&r->f) == 0, "open");
    content == ROT_OBJECTS ? second_half(r) : rot_uploads_second(r);
    if (kind == ROT_STOPPED) {
        rot_must(r, fx_stop(&r->f) == 0, "stop");
    } else { /* with an upload under way */
        rot_must(r, fx_begin(&r->f, &u, "never", sizeof(bytes)) == 0, "begin");
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
        if (r->events[i].op != ROT_COPY) {
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
        for (int k = 0; k < r->events[i].n_sources; k++) {
            r->events[i].affected =
                r->events[i].affected || r->events[r->events[i].sources[k]].affected;
        }
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
