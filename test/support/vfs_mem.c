/* See vfs_mem.h for the model; mem_disk.c has the contents and names, here are the calls: counted,
 * made to fail, and done. */
#include "support/vfs_mem.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/job.h"
#include "support/mem_disk.h"

struct mem {
    struct vfs base;
    pthread_mutex_t lock;
    struct mem_disk disk;
    uint64_t rng, clock_ms, space, calls[13];
    unsigned fail_ops, open_files;
    uint64_t fail_in, failed;
    int fail_zerr;
    enum vfs_mem_times fail_times;
    bool no_nowait, held, no_direct;
    char who[128];
    vfs_mem_watch_fn *watch;
    void *watch_user;
};

struct mem_file {
    struct vfs_file base;
    struct mem_node *node;
    bool write, direct, locks;
};

static struct mem *mem_of(struct vfs *v)
{
    return container_of(v, struct mem, base);
}

static struct mem_file *file_of(struct vfs_file *f)
{
    return container_of(f, struct mem_file, base);
}

/* ---- faults ---- */

static int fail(int zerr)
{
    vfs_set_last_errno(zerr == ZERR_IO ? EIO : zerr == ZERR_NO_SPACE ? ENOSPC : 0);
    return zerr;
}

static const char *name_of(const struct mem *m, const struct mem_node *node)
{
    size_t i;

    for (i = 0; i < m->disk.now.n; i++) {
        if (m->disk.now.v[i].node == node) {
            return m->disk.now.v[i].name;
        }
    }
    return "?";
}

/* Begins a call on a name or a file's content: takes the lock, counts. Not 0: it has to fail so;
 * *ret_first: with its effects. */
static int enter(struct mem *m, unsigned op, const char *name, const struct mem_node *node,
                 bool *ret_first)
{
    int i = 0;

    (void)pthread_mutex_lock(&m->lock);
    if (m->watch != NULL && (op & MEM_CHANGES) != 0) {
        m->watch(m->watch_user, op, node != NULL ? name_of(m, node) : name);
    }
    *ret_first = false;
    while (op >> (i + 1) != 0) {
        i++;
    }
    m->calls[i]++;
    if ((m->fail_ops & op) == 0) {
        return 0;
    }
    if (m->fail_in > 1) {
        m->fail_in--;
        return 0;
    }
    *ret_first = m->failed++ == 0;
    if (m->fail_times == MEM_ONCE) {
        m->fail_ops = 0;
    }
    return fail(m->fail_zerr);
}

static int leave(struct mem *m, int err)
{
    (void)pthread_mutex_unlock(&m->lock);
    return err;
}

/* ---- the vfs ---- */

static uint64_t used(struct mem *m)
{
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < m->disk.now.n; i++) {
        sum += m->disk.now.v[i].node->cache.len;
    }
    return sum;
}

static struct vfs_file *file_create(struct mem *m, struct mem_node *n, unsigned flags)
{
    struct mem_file *f = mem_must(calloc(1, sizeof(*f)));

    f->base.vfs = &m->base;
    f->node = n;
    f->write = (flags & VFS_WRITE) != 0;
    f->direct = (flags & VFS_DIRECT) != 0;
    m->open_files++;
    return &f->base;
}

static int mem_open(struct vfs *v, const char *name, unsigned flags, struct vfs_file **ret)
{
    struct mem *m = mem_of(v);
    bool create = (flags & VFS_CREATE) != 0, first;
    int err = enter(m, create ? MEM_CREATE : MEM_OPEN, name, NULL, &first);
    struct mem_node *n = mem_names_find(&m->disk.now, name);

    if (err != 0) {
        return leave(m, err);
    }
    if (create && n != NULL) {
        return leave(m, fail(ZERR_EXISTS));
    }
    if (!create && n == NULL) {
        return leave(m, fail(ZERR_NOT_FOUND));
    }
    if (create) {
        n = mem_node_create(&m->disk);
        mem_dir_change(&m->disk, name, n, "");
    }
    if (m->no_direct && (flags & VFS_DIRECT) != 0) {
        return leave(m, fail(ZERR_UNSUPPORTED));
    }
    if (n->read_only && (flags & VFS_WRITE) != 0) {
        vfs_set_last_errno(EACCES);
        return leave(m, ZERR_IO);
    }
    *ret = file_create(m, n, flags);
    return leave(m, 0);
}

static void mem_close(struct vfs_file *file)
{
    struct mem_file *f = file_of(file);
    struct mem *m = mem_of(file->vfs);

    (void)pthread_mutex_lock(&m->lock);
    if (f->locks) {
        f->node->locked = false;
    }
    m->open_files--;
    free(f);
    (void)leave(m, 0);
}

static int read_from(struct vfs_file *file, void *buf, size_t n, uint64_t off, size_t *ret_n)
{
    struct mem_file *f = file_of(file);
    struct mem *m = mem_of(file->vfs);
    const struct buf *b = &f->node->cache;
    size_t size = b->len, have;
    bool first;
    int err = enter(m, MEM_READ, NULL, f->node, &first);

    if (err != 0) {
        return leave(m, err);
    }
    if (f->direct) {
        mem_node_flush(f->node, NULL); /* the kernel writes dirty pages out before a direct read */
        b = &f->node->device;
    }
    n = off >= size ? 0 : size - off < n ? (size_t)(size - off) : n;
    have = off >= b->len ? 0 : b->len - off < n ? (size_t)(b->len - off) : n;
    if (have > 0) {
        memcpy(buf, b->ptr + off, have);
    }
    if (n > have) { /* what never reached the device is a hole there */
        memset((uint8_t *)buf + have, 0, n - have);
    }
    *ret_n = n;
    return leave(m, 0);
}

static int mem_pread_nowait(struct vfs_file *file, void *buf, size_t n, uint64_t off, size_t *ret_n)
{
    return mem_of(file->vfs)->no_nowait ? fail(ZERR_BUSY) : read_from(file, buf, n, off, ret_n);
}

static int mem_pwritev(struct vfs_file *file, const struct iovec *iov, int n_iov, uint64_t off)
{
    struct mem_file *f = file_of(file);
    struct mem *m = mem_of(file->vfs);
    struct buf all = {0};
    struct mem_op op;
    bool first;
    int err = enter(m, MEM_WRITE, NULL, f->node, &first), fault = err, i;

    assert(f->write && n_iov <= 1024);
    for (i = 0, err = 0; i < n_iov && err == 0; i++) {
        err = buf_append(&all, iov[i].iov_base, iov[i].iov_len);
    }
    assert(err == 0);
    op = (struct mem_op){.off = off, .len = all.len, .size = UINT64_MAX, .data = all.ptr};
    if (fault == 0 && off + all.len > f->node->cache.len &&
        off + all.len - f->node->cache.len + used(m) > m->space) {
        fault = fail(ZERR_NO_SPACE);
        first = true;
    }
    if (fault != 0) { /* what is left of a failed write: some of its first sectors (I6) */
        uint64_t end = first && op.len > 0 ? off + mem_rnd(&m->rng) % op.len : off;
        end -= end % SECTOR;
        op.len = end > off ? end - off : 0;
    }
    if (op.len > 0) {
        mem_node_change(f->node, &op);
    }
    buf_finish(&all);
    return leave(m, fault);
}

static int mem_size(struct vfs_file *file, uint64_t *ret)
{
    struct mem *m = mem_of(file->vfs);
    bool first;
    int err = enter(m, MEM_LOOK, "", NULL, &first);

    if (err == 0) {
        *ret = file_of(file)->node->cache.len;
    }
    return leave(m, err);
}

static int mem_sync(struct vfs_file *file)
{
    struct mem *m = mem_of(file->vfs);
    bool first;
    int err = enter(m, MEM_SYNC, NULL, file_of(file)->node, &first);

    if (err == 0 || first) {
        mem_node_flush(file_of(file)->node, err != 0 ? &m->rng : NULL);
    }
    return leave(m, err);
}

static int mem_change(struct vfs_file *file, unsigned class, struct mem_op op)
{
    struct mem *m = mem_of(file->vfs);
    bool first;
    int err = enter(m, class, NULL, file_of(file)->node, &first);

    assert(file_of(file)->write);
    if (err == 0) {
        mem_node_change(file_of(file)->node, &op);
    }
    return leave(m, err);
}

static int mem_truncate(struct vfs_file *f, uint64_t size)
{
    return mem_change(f, MEM_TRUNCATE, (struct mem_op){.size = size});
}

/* Room is promised, nothing is written: a change of no bytes. */
static int mem_allocate(struct vfs_file *f, uint64_t off, uint64_t len)
{
    (void)len;
    return mem_change(f, MEM_ALLOCATE, (struct mem_op){.off = off, .size = UINT64_MAX});
}

static int mem_punch(struct vfs_file *f, uint64_t off, uint64_t len)
{
    return mem_change(f, MEM_ALLOCATE, (struct mem_op){.off = off, .len = len, .size = UINT64_MAX});
}

static void mem_writeback(struct vfs_file *f, uint64_t off, uint64_t len)
{
    (void)f;
    (void)off;
    (void)len;
}

static int mem_drop_cache(struct vfs_file *file)
{
    struct mem_node *n = file_of(file)->node;
    struct mem *m = mem_of(file->vfs);

    (void)pthread_mutex_lock(&m->lock);
    if (n->ops != NULL || m->held) {
        return leave(m, fail(ZERR_BUSY)); /* dirty, or in use */
    }
    mem_copy(&n->cache, &n->device);
    return leave(m, 0);
}

static int mem_make_read_only(struct vfs_file *file)
{
    struct mem *m = mem_of(file->vfs);
    bool first;
    int err = enter(m, MEM_CHMOD, NULL, file_of(file)->node, &first);

    if (err == 0) {
        file_of(file)->node->read_only = true;
    }
    return leave(m, err);
}

static int mem_rename(struct vfs *v, const char *from, const char *to)
{
    struct mem *m = mem_of(v);
    bool first;
    int err = enter(m, MEM_RENAME, from, NULL, &first);
    struct mem_node *n = mem_names_find(&m->disk.now, from);

    if (err == 0 && n == NULL) {
        err = fail(ZERR_NOT_FOUND);
    }
    if (err == 0 && strcmp(from, to) != 0) {
        mem_dir_change(&m->disk, to, n, from);
    }
    return leave(m, err);
}

static int mem_unlink(struct vfs *v, const char *name)
{
    struct mem *m = mem_of(v);
    bool first;
    int err = enter(m, MEM_UNLINK, name, NULL, &first);

    if (err == 0 && mem_names_find(&m->disk.now, name) == NULL) {
        err = fail(ZERR_NOT_FOUND);
    }
    if (err == 0) {
        mem_dir_change(&m->disk, name, NULL, "");
    }
    return leave(m, err);
}

static int mem_sync_dir(struct vfs *v)
{
    struct mem *m = mem_of(v);
    bool first;
    int err = enter(m, MEM_SYNC_DIR, ".", NULL, &first);

    if (err == 0) {
        mem_dir_flush(&m->disk);
    }
    return leave(m, err);
}

static int mem_stat(struct vfs *v, const char *name, struct vfs_dirent *ret)
{
    struct mem *m = mem_of(v);
    bool first;
    int err = enter(m, MEM_LOOK, "", NULL, &first);
    struct mem_node *n = mem_names_find(&m->disk.now, name);

    if (err == 0 && n == NULL) {
        err = fail(ZERR_NOT_FOUND);
    }
    if (err == 0) {
        *ret = (struct vfs_dirent){.name = name, .size = n->cache.len};
        ret->mtime_ms = (int64_t)m->clock_ms;
    }
    return leave(m, err);
}

/* Over a copy of the names, so that the call-back may call anything. */
static int mem_list(struct vfs *v, int (*each)(void *, const struct vfs_dirent *), void *user)
{
    struct mem *m = mem_of(v);
    struct mem_names *copy = mem_must(malloc(sizeof(*copy)));
    bool first;
    int err = enter(m, MEM_LOOK, "", NULL, &first);
    size_t i;

    *copy = m->disk.now;
    (void)leave(m, 0);
    for (i = 0; i < copy->n && err == 0; i++) {
        struct vfs_dirent d = {.name = copy->v[i].name, .size = copy->v[i].node->cache.len};

        err = each(user, &d);
    }
    free(copy);
    return err;
}

static int mem_lock(struct vfs *v, const char *name, const char *who, struct vfs_file **ret,
                    struct zerr_info *info)
{
    struct mem *m = mem_of(v);
    bool first;
    int err = enter(m, MEM_OPEN, "", NULL, &first);
    struct mem_node *n = mem_names_find(&m->disk.now, name);

    if (err == 0 && n != NULL && n->locked) {
        err = zerr_fail(info, ZERR_LOCKED, 0, "the directory is in use by %s", m->who);
    }
    if (err != 0) {
        return leave(m, err);
    }
    if (n == NULL) {
        n = mem_node_create(&m->disk);
        mem_dir_change(&m->disk, name, n, "");
    }
    (void)snprintf(m->who, sizeof(m->who), "%s", who);
    n->locked = true;
    *ret = file_create(m, n, VFS_WRITE);
    file_of(*ret)->locks = true;
    return leave(m, 0);
}

static int mem_free_space(struct vfs *v, uint64_t *ret_free, uint64_t *ret_total)
{
    struct mem *m = mem_of(v);
    uint64_t n;

    (void)pthread_mutex_lock(&m->lock);
    n = used(m);
    *ret_total = m->space;
    *ret_free = n < m->space ? m->space - n : 0;
    return leave(m, 0);
}

static int64_t mem_wall_ms(struct vfs *v)
{
    return (int64_t)mem_of(v)->clock_ms;
}

static uint64_t mem_mono_ns(struct vfs *v)
{
    return mem_of(v)->clock_ms * 1000000u;
}

static int mem_random(struct vfs *v, void *buf, size_t n)
{
    struct mem *m = mem_of(v);
    bool first;
    int err = enter(m, MEM_RANDOM, "", NULL, &first);
    size_t i;

    for (i = 0; err == 0 && i < n; i++) {
        ((uint8_t *)buf)[i] = (uint8_t)mem_rnd(&m->rng);
    }
    return leave(m, err);
}

/* There are only files here. */
static int mem_make_dir(struct vfs *v, const char *name)
{
    (void)v, (void)name;
    return fail(ZERR_UNSUPPORTED);
}

static int mem_open_dir(struct vfs *v, const char *name, struct vfs **ret)
{
    (void)v, (void)name, (void)ret;
    return fail(ZERR_NOT_FOUND);
}

static const struct vfs_ops mem_ops = {
    .open = mem_open,
    .close = mem_close,
    .pread = read_from,
    .pread_nowait = mem_pread_nowait,
    .pwritev = mem_pwritev,
    .size = mem_size,
    .datasync = mem_sync,
    .sync = mem_sync,
    .truncate = mem_truncate,
    .allocate = mem_allocate,
    .punch = mem_punch,
    .writeback = mem_writeback,
    .drop_cache = mem_drop_cache,
    .make_read_only = mem_make_read_only,
    .rename = mem_rename,
    .unlink = mem_unlink,
    .sync_dir = mem_sync_dir,
    .make_dir = mem_make_dir,
    .open_dir = mem_open_dir,
    .close_dir = vfs_mem_destroy,
    .list = mem_list,
    .stat = mem_stat,
    .lock = mem_lock,
    .free_space = mem_free_space,
    .wall_ms = mem_wall_ms,
    .mono_ns = mem_mono_ns,
    .random = mem_random,
};

/* ---- the test's side ---- */

struct vfs *vfs_mem_create(uint64_t seed)
{
    struct mem *m = mem_must(calloc(1, sizeof(*m)));

    m->base.ops = &mem_ops;
    mem_disk_init(&m->disk);
    m->rng = seed;
    m->clock_ms = 1700000000000u;
    m->space = UINT64_C(1) << 40;
    (void)pthread_mutex_init(&m->lock, NULL);
    return &m->base;
}

void vfs_mem_destroy(struct vfs *v)
{
    struct mem *m;

    if (v == NULL) {
        return;
    }
    m = mem_of(v);
    mem_disk_finish(&m->disk);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void vfs_mem_fail(struct vfs *v, unsigned ops, uint64_t nth, int zerr, enum vfs_mem_times times)
{
    struct mem *m = mem_of(v);

    m->fail_ops = nth > 0 ? ops : 0;
    m->fail_in = nth;
    m->fail_zerr = zerr;
    m->fail_times = times;
    m->failed = 0;
}

uint64_t vfs_mem_failed(struct vfs *v)
{
    return mem_of(v)->failed;
}

uint64_t vfs_mem_calls(struct vfs *v, unsigned ops)
{
    struct mem *m = mem_of(v);
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < sizeof(m->calls) / sizeof(m->calls[0]); i++) {
        sum += (ops >> i & 1) != 0 ? m->calls[i] : 0;
    }
    return sum;
}

unsigned vfs_mem_open_files(struct vfs *v)
{
    return mem_of(v)->open_files;
}

struct vfs *vfs_mem_cut(const struct mem_disk *disk, const struct mem_cut *cut, uint64_t seed)
{
    struct mem *w = mem_of(vfs_mem_create(seed));

    mem_disk_cut(disk, &w->disk, cut);
    return &w->base;
}

struct vfs *vfs_mem_crash(struct vfs *v, enum vfs_mem_crash_mode mode, uint64_t seed)
{
    struct mem *m = mem_of(v), *w;
    static const enum mem_keep keeps[] = {[MEM_CRASH_SYNCED] = MEM_KEEP_NONE,
                                          [MEM_CRASH_EVERYTHING] = MEM_NO_CUT,
                                          [MEM_CRASH_RANDOM] = MEM_KEEP_SOME};

    w = mem_of(vfs_mem_cut(&m->disk, &(struct mem_cut){.keep = keeps[mode], .rng = seed}, seed));
    w->clock_ms = m->clock_ms;
    w->space = m->space;
    return &w->base;
}

void vfs_mem_put(struct vfs *v, const char *name, struct slice data)
{
    struct mem *m = mem_of(v);
    struct mem_node *n = mem_node_create(&m->disk);
    int err;

    mem_dir_flush(&m->disk);
    err = buf_append(&n->cache, data.ptr, data.len);
    assert(err == 0);
    mem_copy(&n->device, &n->cache);
    mem_names_set(&m->disk.now, name, n);
    mem_names_set(&m->disk.durable, name, n);
}

struct slice vfs_mem_get(struct vfs *v, const char *name)
{
    struct mem_node *n = mem_names_find(&mem_of(v)->disk.now, name);

    if (n == NULL) {
        return (struct slice){0};
    }
    return n->cache.ptr != NULL ? buf_slice(&n->cache) : SLICE_LIT("");
}

void vfs_mem_flip(struct vfs *v, const char *name, uint64_t off, uint8_t mask)
{
    struct mem_node *n = mem_must(mem_names_find(&mem_of(v)->disk.now, name));

    mem_node_flush(n, NULL);
    assert(off < n->cache.len && off < n->device.len);
    n->cache.ptr[off] ^= mask;
    n->device.ptr[off] ^= mask;
}

int vfs_mem_load(struct vfs *v, const char *dir)
{
    DIR *d = mem_must(opendir(dir));
    struct dirent *e;
    int n = 0;

    while ((e = readdir(d)) != NULL) {
        struct buf b = {0}, path = {0};
        size_t got;
        FILE *f;
        int err = e->d_type == DT_REG ? buf_printf(&path, "%s/%s%c", dir, e->d_name, '\0') : 1;

        if (err == 0) {
            f = mem_must(fopen((char *)path.ptr, "rb"));
            do {
                err = buf_reserve(&b, 1u << 16);
                assert(err == 0);
                got = fread(b.ptr + b.len, 1, 1u << 16, f);
                b.len += got;
            } while (got > 0);
            (void)fclose(f);
            vfs_mem_put(v, e->d_name, buf_slice(&b));
            n++;
        }
        buf_finish(&path);
        buf_finish(&b);
    }
    (void)closedir(d);
    return n;
}

struct mem_disk *vfs_mem_disk(struct vfs *v)
{
    return &mem_of(v)->disk;
}

void vfs_mem_watch(struct vfs *v, vfs_mem_watch_fn *fn, void *user)
{
    mem_of(v)->watch = fn;
    mem_of(v)->watch_user = user;
}

void vfs_mem_set_nowait(struct vfs *v, bool answers)
{
    mem_of(v)->no_nowait = !answers;
}

void vfs_mem_hold_pages(struct vfs *v, bool held, bool direct)
{
    mem_of(v)->held = held;
    mem_of(v)->no_direct = !direct;
}

void vfs_mem_set_space(struct vfs *v, uint64_t total)
{
    mem_of(v)->space = total;
}

void vfs_mem_advance(struct vfs *v, uint64_t ms)
{
    mem_of(v)->clock_ms += ms;
}
