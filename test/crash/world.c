/* See world.h. */
#include "world.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/db.h"
#include "store/dir.h"
#include "store/store_priv.h"

/* ---- the recording ---- */

static void read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    buf_reset(out);
    for (ssize_t n = 1; fd >= 0 && n > 0;) {
        int rc = buf_reserve(out, 65536);
        assert(rc == 0);
        n = read(fd, out->ptr + out->len, 65536);
        assert(n >= 0);
        out->len += (size_t)n;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void write_file(const char *path, const struct buf *b)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = write(fd, b->ptr, b->len);
    assert(n == (ssize_t)b->len);
    (void)close(fd);
}

void world_set_index(struct fixture *f, const struct image *image)
{
    char path[128];
    fx_drop_index(f);
    if (image != NULL && image->db.len > 0) {
        (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, f->dir);
        write_file(path, &image->db);
        if (image->wal.len > 0) {
            (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME "-wal", f->dir);
            write_file(path, &image->wal);
        }
    }
}

static bool same_buf(const struct buf *a, const struct buf *b)
{
    return slice_eq(buf_slice(a), buf_slice(b));
}

/* The number of the index's image as it is now. */
static unsigned take_image(struct world *w)
{
    char path[128];
    struct image now = {.db = {0}};
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, w->f.dir);
    read_file(path, &now.db);
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME "-wal", w->f.dir);
    read_file(path, &now.wal);
    const struct image *last = w->n_images > 0 ? &w->images[w->n_images - 1] : NULL;
    if (last != NULL && same_buf(&last->db, &now.db) && same_buf(&last->wal, &now.wal)) {
        buf_finish(&now.db);
        buf_finish(&now.wal);
    } else {
        assert(w->n_images < IMAGES_MAX);
        w->images[w->n_images++] = now;
    }
    return w->n_images - 1;
}

static void take_snapshot(struct world *w, const char *what)
{
    assert(w->n_snaps < SNAPSHOTS_MAX);
    struct snapshot *s = &w->snaps[w->n_snaps++];
    mem_disk_init(&s->disk);
    mem_disk_copy(vfs_mem_disk(w->f.vfs), &s->disk);
    s->image = take_image(w);
    s->n_events = w->m.n_events;
    (void)snprintf(s->what, sizeof(s->what), "%s", what);
    w->m.now = w->n_snaps;
}

static void before_change(void *user, unsigned op, const char *name)
{
    static const char *const names[] = {
        [0] = "open",     [1] = "read",  [2] = "write",  [3] = "sync",
        [4] = "truncate", [5] = "punch", [6] = "rename", [7] = "unlink",
        [8] = "sync",     [9] = "chmod", [10] = "look",  [11] = "create"};
    char what[48];
    unsigned i = 0;
    while (op >> (i + 1) != 0) {
        i++;
    }
    (void)snprintf(what, sizeof(what), "%s %s", names[i], name);
    take_snapshot(user, what);
}

static void watch(struct world *w)
{
    vfs_mem_watch(w->f.vfs, before_change, w);
}

static void drop_snapshots(struct world *w, uint32_t keep)
{
    while (w->n_snaps > keep) {
        mem_disk_finish(&w->snaps[--w->n_snaps].disk);
        w->snaps[w->n_snaps].images_end = 0;
    }
}

static void drop_images(struct world *w, unsigned keep)
{
    while (w->n_images > keep) {
        buf_finish(&w->images[--w->n_images].db);
        buf_finish(&w->images[w->n_images].wal);
    }
}

/* A life of the store ends, by death or with the workload. */
static void end_life(struct world *w)
{
    for (uint32_t i = w->n_snaps; i > 0 && w->snaps[i - 1].images_end == 0; i--) {
        w->snaps[i - 1].images_end = w->n_images;
    }
}

void world_init(struct world *w, uint64_t seed, enum store_sync sync)
{
    static const uint64_t block_sizes[] = {4096, 6000, 8192};
    memset(w, 0, sizeof(*w));
    w->seed = w->rng = seed;
    w->snaps = mem_must(calloc(SNAPSHOTS_MAX, sizeof(w->snaps[0])));
    fx_init(&w->f, block_sizes[w_rnd(w, 3)]);
    w->f.cfg.sync = sync;
    model_init(&w->m, seed);
    watch(w);
}

void world_finish(struct world *w)
{
    fx_finish(&w->f);
    drop_snapshots(w, 0);
    free(w->snaps);
    drop_images(w, 0);
    model_finish(&w->m);
}

/* ---- the history ---- */

struct history {
    struct model *m;
    struct change *v;
    size_t n, max;
};

static int see_record(void *user, uint64_t rev, const struct record *r)
{
    struct history *h = user;
    struct change c = {.op = r->op, .version = ABSENT, .seq = r->seq};
    assert(rev == h->n && h->n < h->max);
    c.key = model_key(h->m, r->key);
    for (unsigned i = 0; r->op == RECORD_PUT && i < h->m->n_versions; i++) {
        const struct version *v = &h->m->versions[i];
        bool fits = v->mtime_ms != 0 ? v->mtime_ms == r->mtime_ms && r->size == v->body.len &&
                                           r->has_md5 && memcmp(v->md5, r->md5, 16) == 0
                                     : r->seq == 0 && i == rev; /* adopted: one each */
        c.version = fits ? i : c.version;
    }
    h->v[h->n++] = c;
    return 0;
}

size_t world_history(struct model *m, struct vfs *vfs, struct change *ret, size_t max,
                     uint32_t *ret_next_block)
{
    struct history h = {.m = m, .v = ret, .max = max};
    struct dir_view view;
    struct vfs_file *file;
    struct db_summary sum = {0};
    struct db_visitor v = {.user = &h, .record = see_record};
    bool bad[DB_IDS];
    char name[FILE_NAME_BYTES];
    uint32_t id;
    int rc = dir_view_read(vfs, &view, NULL);
    assert(rc == 0);
    rc = dir_choose_db(vfs, &view, &id, bad, NULL);
    *ret_next_block = 0;
    if (rc == 0) {
        (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
        rc = vfs->ops->open(vfs, name, VFS_READ, &file);
        assert(rc == 0);
        rc = db_scan(vfs, file, (struct db_pos){0}, &v, &sum, NULL);
        vfs->ops->close(file);
        *ret_next_block = sum.state.next_backend_file;
        db_summary_finish(&sum);
    }
    assert(rc == 0 || rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT);
    dir_view_finish(&view);
    return h.n;
}

/* ---- starts and ends ---- */

static void start(struct world *w)
{
    int rc = fx_open(&w->f);
    if (rc != 0) {
        (void)fprintf(stderr, "a workload cannot open its store: %s\n", w->f.info.text);
        abort();
    }
}

void w_open(struct world *w)
{
    struct change history[REQUESTS_MAX * CHANGES_MAX];
    uint32_t next;
    w->opened_at = w->n_snaps;
    start(w);
    size_t n = world_history(&w->m, w->f.vfs, history, REQUESTS_MAX * CHANGES_MAX, &next);
    model_resolve(&w->m, history, n);
    take_snapshot(w, "(opened)");
}

void world_end(struct world *w)
{
    struct change history[REQUESTS_MAX * CHANGES_MAX];
    struct buf why = {0};
    uint32_t next, last;
    if (w->f.st != NULL) {
        w_settle(w);
        fx_kill(&w->f);
    }
    take_snapshot(w, "(end)");
    end_life(w);
    last = w->n_snaps - 1;
    vfs_mem_destroy(w->f.vfs);
    w->f.vfs = vfs_mem_cut(&w->snaps[last].disk, &(struct mem_cut){.keep = MEM_NO_CUT}, 1000);
    start(w);
    fx_kill(&w->f);
    size_t n = world_history(&w->m, w->f.vfs, history, REQUESTS_MAX * CHANGES_MAX, &next);
    if (model_check(&w->m, last, false, history, n, &why) != 0) {
        (void)fprintf(stderr, "a workload ends with another history: %.*s\n", (int)why.len,
                      (char *)why.ptr);
        abort();
    }
    buf_finish(&why);
    model_learn(&w->m, history, n);
}

void w_stop(struct world *w)
{
    w_settle(w);
    int rc = fx_stop(&w->f);
    assert(rc == 0);
    model_durable(&w->m, UINT64_MAX);
    take_snapshot(w, "(stopped)");
}

void w_die(struct world *w, bool cut, bool in_start)
{
    struct mem_cut how = {.keep = cut ? MEM_KEEP_SOME : MEM_NO_CUT, .rng = w->rng};
    uint32_t first = w->opened_at, last = w->n_snaps - 1;
    w_settle(w);
    fx_kill(&w->f);
    take_snapshot(w, "(killed)");
    if (in_start) { /* the snapshot at its end is named so */
        last = first;
        while (strcmp(w->snaps[last].what, "(opened)") != 0) {
            last++;
        }
    } else {
        last = w->n_snaps - 1;
    }
    uint32_t k = first + (uint32_t)w_rnd(w, last - first + 1);
    drop_snapshots(w, k + 1);
    drop_images(w, w->snaps[k].image + 1);
    end_life(w);
    model_rewind(&w->m, k);
    vfs_mem_destroy(w->f.vfs);
    w->f.vfs = vfs_mem_cut(&w->snaps[k].disk, &how, 2 + w->sessions++);
    world_set_index(&w->f, &w->images[w->snaps[k].image]);
    watch(w);
}

void w_step(struct world *w, unsigned jobs)
{
    while (jobs-- > 0 && workers_inline_step(&w->f.workers)) {
    }
}

/* With -sync block: what the history on disk has is promised. */
static void see_flushes(struct world *w)
{
    if (w->f.cfg.sync == STORE_SYNC_BLOCK && w->f.st->lane == LANE_IDLE) {
        model_durable(&w->m, w->f.st->n_flushed);
    }
}

void w_settle(struct world *w)
{
    for (int i = 0; i < 15; i++) {
        while (workers_inline_step(&w->f.workers)) {
            see_flushes(w);
        }
        if (!store_wants_tick(w->f.st)) {
            return;
        }
        vfs_mem_advance(w->f.vfs, 1000);
        store_tick(w->f.st);
    }
}

/* ---- operations ---- */

uint64_t w_rnd(struct world *w, uint64_t n)
{
    return mem_rnd(&w->rng) % n;
}

size_t w_small(struct world *w)
{
    return w_rnd(w, 4) == 0 ? w_rnd(w, 64) : w_rnd(w, 900);
}

size_t w_large(struct world *w)
{
    return (size_t)w->f.cfg.block_size / 2 + w_rnd(w, 700);
}

/* Sometimes so much that a sector of the record has nothing else. */
static size_t meta_len(struct world *w)
{
    uint64_t choice = w_rnd(w, 6);
    return choice == 0 ? w_rnd(w, 1000) : choice == 1 ? w_rnd(w, 230) : w_rnd(w, 20);
}

static unsigned key_of(struct world *w, unsigned key)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "key/%02u", key);
    return model_key(&w->m, slice_str(name));
}

static void settled(struct world *w, unsigned req, int status)
{
    if (status == 0) {
        model_acked(&w->m, req, w->f.cfg.sync == STORE_SYNC_ACK);
    } else {
        model_dropped(&w->m, req);
    }
}

static struct attrs meta_of(const struct version *v, struct attr *one)
{
    *one = (struct attr){SLICE_LIT("X-Amz-Meta-V"), slice_str(v->meta)};
    return (struct attrs){one, 1};
}

static void on_ready(void *user, int status)
{
    struct upload *u = user;
    u->ready = true;
    assert(status == 0);
}

static void on_writable(void *user)
{
    (void)user;
}

static void on_done(void *user, int status, const struct object *obj)
{
    struct upload *u = user;
    (void)obj;
    u->done = true;
    u->status = status;
    u->put = NULL;
    settled(u->w, u->req, status);
}

static const struct put_ops PUT_OPS = {.ready = on_ready, .writable = on_writable, .done = on_done};

void w_begin(struct world *w, unsigned i, unsigned key, size_t size)
{
    struct upload *u = &w->uploads[i];
    struct attr one;
    unsigned version = model_version(&w->m, size, meta_len(w));
    const struct version *v = &w->m.versions[version];
    unsigned k = key_of(w, key);
    *u = (struct upload){.w = w, .body = v->body, .req = model_request(&w->m)};
    model_add(&w->m, u->req, (struct change){RECORD_PUT, k, version, 0});
    struct put_spec spec = {
        .key = w->m.keys[k], .size = size, .meta = meta_of(v, &one), .mtime_ms = v->mtime_ms};
    int rc = put_begin(w->f.st, &spec, &PUT_OPS, u, &u->put);
    while (rc == ZKV_PENDING && !u->ready) {
        bool stepped = workers_inline_step(&w->f.workers);
        assert(stepped);
    }
    assert(rc == 0 || rc == ZKV_PENDING);
}

struct own_chunk {
    struct chunk c;
    uint8_t data[];
};

static void release_chunk(struct chunk *c)
{
    free(container_of(c, struct own_chunk, c));
}

void w_send(struct world *w, unsigned i, size_t n)
{
    struct upload *u = &w->uploads[i];
    n = n < u->body.len - u->sent ? n : u->body.len - u->sent;
    if (n == 0 || u->done) {
        return;
    }
    struct own_chunk *c = mem_must(malloc(sizeof(*c) + n));
    memcpy(c->data, u->body.ptr + u->sent, n);
    c->c = (struct chunk){.data = c->data, .len = n, .release = release_chunk};
    u->sent += n;
    put_write(u->put, &c->c);
}

void w_commit(struct world *w, unsigned i)
{
    struct upload *u = &w->uploads[i];
    w_send(w, i, SIZE_MAX);
    if (!u->done) {
        model_pending(&w->m, u->req);
        put_commit(u->put, NULL);
    }
}

void w_commit_wrong(struct world *w, unsigned i)
{
    struct upload *u = &w->uploads[i];
    uint8_t md5[16] = {1, 2, 3};
    w_send(w, i, SIZE_MAX);
    if (!u->done) {
        put_commit(u->put, md5);
    }
}

void w_abort(struct world *w, unsigned i)
{
    struct upload *u = &w->uploads[i];
    if (!u->done) {
        put_abort(u->put);
        u->done = true;
    }
}

void w_put(struct world *w, unsigned key, size_t size)
{
    w_begin(w, UPLOADS_MAX - 1, key, size);
    w_commit(w, UPLOADS_MAX - 1);
    w_settle(w);
}

struct waiter { /* lives until it is answered */
    struct world *w;
    unsigned req;
};

static void on_deleted(void *user, int status)
{
    struct waiter *a = user;
    settled(a->w, a->req, status);
    free(a);
}

static void on_copied(void *user, int status, const struct object *obj)
{
    (void)obj;
    on_deleted(user, status);
}

static struct waiter *waiter_create(struct world *w)
{
    struct waiter *a = mem_must(malloc(sizeof(*a)));
    *a = (struct waiter){w, model_request(&w->m)};
    return a;
}

void w_delete(struct world *w, unsigned first_key, unsigned n)
{
    struct slice keys[CHANGES_MAX];
    struct waiter *a = waiter_create(w);
    for (unsigned i = 0; i < n; i++) {
        unsigned key = key_of(w, first_key + i);
        keys[i] = w->m.keys[key];
        model_add(&w->m, a->req, (struct change){RECORD_DELETE, key, ABSENT, 0});
    }
    model_pending(&w->m, a->req);
    int rc = store_delete(w->f.st, keys, n, NULL, on_deleted, a);
    assert(rc == 0);
}

void w_copy(struct world *w, unsigned from, unsigned to)
{
    struct waiter *a = waiter_create(w);
    struct attr one;
    unsigned src = key_of(w, from), dst = key_of(w, to);
    unsigned version = model_copy(&w->m, model_live(&w->m, src), meta_len(w));
    const struct version *v = &w->m.versions[version];
    struct copy_spec spec = {
        .key = w->m.keys[dst], .meta = meta_of(v, &one), .mtime_ms = v->mtime_ms};
    int rc = store_lookup(w->f.st, w->m.keys[src], &spec.src);
    assert(rc == 0);
    model_add(&w->m, a->req, (struct change){RECORD_PUT, dst, version, 0});
    model_pending(&w->m, a->req);
    rc = store_copy(w->f.st, &spec, on_copied, a);
    assert(rc == 0);
}
