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
    w->damaged_at = NEVER;
    model_init(&w->m, seed);
    w->m.has_holes = sync == STORE_SYNC_BLOCK;
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
    uint64_t n_names; /* PUTs and DELETEs */
};

static bool is_version(const struct version *v, const struct record *r, bool adopted)
{
    bool same_body = r->has_md5 && r->size == v->body.len && memcmp(v->md5, r->md5, 16) == 0;
    if (r->op != v->op) {
        return false;
    }
    switch (r->op) {
    case RECORD_PUT:
        return v->mtime_ms != 0 ? v->mtime_ms == r->mtime_ms && same_body : adopted;
    case RECORD_PART:
        return same_body;
    case RECORD_UPLOAD:
        return r->meta.n == 1 && slice_eq_str(r->meta.v[0].value, v->meta);
    default:
        return false;
    }
}

/* The upload that began with that number. */
static unsigned find_upload(const struct history *h, uint64_t seq)
{
    for (size_t i = 0; i < h->n; i++) {
        if (h->v[i].op == RECORD_UPLOAD && h->v[i].seq == seq) {
            return h->v[i].version;
        }
    }
    return UNKNOWN;
}

static int see_record(void *user, uint64_t rev, const struct record *r)
{
    struct history *h = user;
    struct change c = {.op = r->op, .version = ABSENT, .seq = r->seq, .upload = ABSENT};
    assert(h->n < h->max && (!record_in_history(r) || rev == h->n_names));
    c.key = model_key(h->m, r->key);
    for (unsigned i = 0; i < h->m->n_versions; i++) {
        bool adopted = r->seq == 0 && i == rev; /* one each */
        c.version = is_version(&h->m->versions[i], r, adopted) ? i : c.version;
    }
    if (r->upload != 0) {
        c.upload = find_upload(h, r->upload);
        c.part = r->op == RECORD_PART ? r->part : 0;
    }
    h->n_names += record_in_history(r);
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
    memset(w->numbers, 0, sizeof(w->numbers));
    for (size_t i = 0; i < n; i++) {
        if (history[i].op == RECORD_UPLOAD && history[i].version != ABSENT) {
            w->numbers[history[i].version] = history[i].seq;
        }
    }
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

void w_damage_db(struct world *w)
{
    static const char name[] = "db0000000000";
    uint64_t offs[64], n = 0, off = 0;
    struct db_extra x;
    struct vfs_file *file;
    int rc = w->f.vfs->ops->open(w->f.vfs, name, VFS_READ, &file);
    assert(rc == 0);
    while (db_read_extra(file, off, &x) == 0) { /* the first one only says whose store it is */
        off += x.member_len;
        assert(n < sizeof(offs) / sizeof(offs[0]));
        offs[n++] = off;
    }
    w->f.vfs->ops->close(file);
    assert(n > 1);
    uint64_t i = w_rnd(w, n - 1);
    vfs_mem_flip(w->f.vfs, name, offs[i] + DB_EXTRA_BYTES + 16 + w_rnd(w, 8), 0x10);
    fx_drop_index(&w->f);
    w->damaged_at = w->n_snaps;
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
            break;
        }
        vfs_mem_advance(w->f.vfs, 1000);
        store_tick(w->f.st);
    }
    assert(!lane_owes_void(w->f.st));
    for (unsigned i = 0; i < w->m.n_reqs; i++) {
        if (w->refused[i]) {
            model_dropped(&w->m, i);
            w->refused[i] = false;
        }
    }
}
