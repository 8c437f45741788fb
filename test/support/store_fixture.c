/* See store_fixture.h. */
#include "support/store_fixture.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/vfs_mem.h"

static void on_note(void *user, enum log_level level, const char *text)
{
    struct fixture *f = user;
    size_t n = strlen(f->notes);
    (void)snprintf(f->notes + n, sizeof(f->notes) - n, "%d %s\n", (int)level, text);
}

static void on_fatal(void *user, const char *text)
{
    struct fixture *f = user;
    f->fatal = true;
    on_note(user, LOG_ERROR, text);
}

void fx_init(struct fixture *f, uint64_t block_size)
{
    memset(f, 0, sizeof(*f));
    f->vfs = vfs_mem_create(1);
    workers_inline_init(&f->workers);
    f->advance = vfs_mem_advance;
    /* In memory where that can be had: SQLite's syncs would cost more than all the rest. */
    (void)snprintf(f->dir, sizeof(f->dir), "%s/zkv-test-XXXXXX",
                   access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(f->dir) == NULL) {
        abort();
    }
    f->cfg = (struct store_config){
        .vfs = f->vfs,
        .workers = &f->workers.base,
        .dir = f->dir,
        .block_size = block_size,
        .reserve = 0,
        .user = f,
        .note = on_note,
        .fatal = on_fatal,
    };
}

void fx_drop_index(struct fixture *f)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, f->dir);
    if (index_remove(path) != 0) {
        abort();
    }
}

void fx_finish(struct fixture *f)
{
    if (f->st != NULL) {
        fx_kill(f);
    }
    fx_drop_index(f);
    (void)rmdir(f->dir);
    vfs_mem_destroy(f->vfs);
}

int fx_open(struct fixture *f)
{
    memset(&f->info, 0, sizeof(f->info));
    f->cfg.vfs = f->vfs;
    f->fatal = false;
    return store_open(&f->cfg, &f->st, &f->info);
}

void fx_pump(struct fixture *f)
{
    workers_inline_drain(&f->workers);
}

static void on_stopped(void *user, int status)
{
    *(int *)user = status;
}

int fx_stop(struct fixture *f)
{
    int status = 1;
    store_stop(f->st, on_stopped, &status);
    for (int i = 0; status == 1 && i < 100; i++) {
        fx_pump(f);
        if (status == 1) {
            f->advance(f->vfs, 1000);
            store_tick(f->st);
        }
    }
    if (status == 1) {
        abort();
    }
    store_destroy(f->st);
    f->st = NULL;
    return status;
}

void fx_kill(struct fixture *f)
{
    fx_pump(f);
    store_destroy(f->st);
    f->st = NULL;
}

void fx_power_cut(struct fixture *f, int mode, uint64_t seed)
{
    struct vfs *after = vfs_mem_crash(f->vfs, mode, seed);
    if (f->st != NULL) {
        fx_kill(f);
    }
    vfs_mem_destroy(f->vfs);
    f->vfs = after;
}

/* ---- uploads ---- */

struct own_chunk {
    struct chunk c;
    uint8_t data[];
};

static void release_chunk(struct chunk *c)
{
    free(container_of(c, struct own_chunk, c));
}

static void on_ready(void *user, int status)
{
    struct fx_upload *u = user;
    u->ready = true;
    u->ready_status = status;
    if (status != 0) {
        u->put = NULL;
    }
}

static void on_writable(void *user)
{
    (void)user;
}

static void on_done(void *user, int status, const struct object *obj)
{
    struct fx_upload *u = user;
    (void)obj;
    u->done = true;
    u->status = status;
    u->put = NULL;
}

static const struct put_ops OPS = {.ready = on_ready, .writable = on_writable, .done = on_done};

int fx_begin(struct fixture *f, struct fx_upload *u, const char *key, uint64_t size)
{
    struct put_spec spec = {.key = slice_str(key), .size = size};
    memset(u, 0, sizeof(*u));
    return put_begin(f->st, &spec, &OPS, u, &u->put);
}

void fx_write(struct fixture *f, struct fx_upload *u, struct slice data)
{
    struct own_chunk *c = malloc(sizeof(*c) + data.len);
    (void)f;
    if (c == NULL) {
        abort();
    }
    memcpy(c->data, data.ptr, data.len);
    c->c = (struct chunk){.data = c->data, .len = data.len, .release = release_chunk};
    put_write(u->put, &c->c);
}

int fx_put_spec(struct fixture *f, const struct put_spec *spec, struct slice body, size_t chunk,
                const uint8_t *md5, struct object *ret)
{
    struct fx_upload u = {0};
    int rc = put_begin(f->st, spec, &OPS, &u, &u.put);
    if (rc == ZKV_PENDING) {
        fx_pump(f);
        rc = u.ready ? u.ready_status : ZERR_BUSY;
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t at = 0; at < body.len && !u.done;) {
        size_t n = chunk == 0 || chunk > body.len - at ? body.len - at : chunk;
        fx_write(f, &u, slice_of(body.ptr + at, n));
        at += n;
        if (!put_writable(u.put)) {
            fx_pump(f);
        }
    }
    if (!u.done) {
        put_commit(u.put, md5);
    }
    for (int i = 0; i < 30 && !u.done; i++) {
        fx_pump(f);
        if (!u.done) {
            f->advance(f->vfs, 1000);
            store_tick(f->st);
        }
    }
    if (u.done && u.status == 0 && ret != NULL && store_lookup(f->st, spec->key, ret) != 0) {
        abort();
    }
    if (!u.done) {
        put_abort(u.put);
        fx_pump(f);
        return ZERR_CANCELED;
    }
    return u.status;
}

int fx_put(struct fixture *f, const char *key, struct slice body, size_t chunk)
{
    struct put_spec spec = {.key = slice_str(key), .size = body.len};
    return fx_put_spec(f, &spec, body, chunk, NULL, NULL);
}

/* ---- changes ---- */

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

static int wait_for(struct fixture *f, int *status)
{
    for (int i = 0; i < 30 && *status == 1; i++) {
        fx_pump(f);
        if (*status == 1) {
            f->advance(f->vfs, 1000);
            store_tick(f->st);
        }
    }
    return *status;
}

int fx_delete(struct fixture *f, const char *key)
{
    static int status; /* outlives a call that is never answered */
    status = 1;
    struct slice k = slice_str(key);
    int rc = store_delete(f->st, &k, 1, NULL, on_deleted, &status);
    return rc != 0 ? rc : wait_for(f, &status);
}

static void on_copied(void *user, int status, const struct object *obj)
{
    (void)obj;
    *(int *)user = status;
}

/* ---- reading ---- */

struct fetch {
    struct buf *out;
    bool opened, read;
    int status;
};

static void on_opened(void *user, int status)
{
    struct fetch *g = user;
    g->opened = true;
    g->status = status;
}

static void on_read(void *user, int status, struct read_piece piece)
{
    struct fetch *g = user;
    g->read = true;
    g->status = status;
    if (status == 0 && buf_append(g->out, piece.data, piece.len) != 0) {
        abort();
    }
}

static const struct reader_ops READER = {on_opened, on_read};

static int open_reader(struct fixture *f, const char *key, struct fetch *g, struct reader **ret)
{
    int rc = reader_open(f->st, slice_str(key), true, &READER, g, ret);
    if (rc == ZKV_PENDING) {
        fx_pump(f);
        assert(g->opened);
        rc = g->status;
    }
    return rc;
}

int fx_copy(struct fixture *f, const char *from, const char *to)
{
    static int status;
    struct copy_spec spec = {.key = slice_str(to)};
    struct reader *r = NULL;
    int rc = store_lookup(f->st, slice_str(from), &spec.src);
    if (rc == 0 && spec.src.parts > 0) { /* what it is made of only its record says */
        struct fetch g = {0};
        rc = open_reader(f, from, &g, &r);
        spec.extents = rc == 0 ? reader_extents(r) : spec.extents;
    }
    status = 1;
    if (rc == 0) {
        rc = store_copy(f->st, &spec, on_copied, &status);
    }
    reader_close(r);
    return rc != 0 ? rc : wait_for(f, &status);
}

int fx_get(struct fixture *f, const char *key, struct buf *out)
{
    struct fetch g = {.out = out};
    struct reader *r = NULL;
    buf_reset(out);
    int rc = open_reader(f, key, &g, &r);
    uint64_t size = rc == 0 ? reader_object(r)->size : 0;
    for (uint64_t at = 0; at < size && rc == 0;) {
        uint64_t span = reader_span(r, at);
        size_t n = span < READ_MAX_BYTES ? (size_t)span : READ_MAX_BYTES;
        struct read_piece piece;
        g.read = false;
        rc = reader_read(r, at, n, &piece);
        if (rc == 0) {
            on_read(&g, 0, piece);
        } else if (rc == ZKV_PENDING) {
            fx_pump(f);
            assert(g.read);
            rc = g.status;
        }
        if (rc == 0) {
            reader_release(r);
        }
        at += n;
    }
    reader_close(r);
    fx_pump(f);
    return rc;
}

static void on_page(void *user, int status, struct list_page *page)
{
    struct fetch *g = user;
    g->status = status;
    for (size_t i = 0; status == 0 && i < page->n; i++) {
        if (buf_append(g->out, page->entries[i].key.ptr, page->entries[i].key.len) != 0 ||
            buf_append(g->out, "\n", 1) != 0) {
            abort();
        }
    }
    list_page_finish(page);
}

int fx_names(struct fixture *f, struct buf *out)
{
    struct fetch g = {.out = out, .status = 1};
    struct list_query q = {.max = 1000000};
    buf_reset(out);
    int rc = store_list(f->st, &q, on_page, &g);
    if (rc != 0) {
        return rc;
    }
    fx_pump(f);
    return g.status;
}

void fx_fill(uint8_t *out, size_t len, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        out[i] = (uint8_t)(x >> 32);
    }
}
