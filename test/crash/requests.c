/* What workloads ask of the store, told to the model as well (world.h). */
#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

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
    } else if (status == ZERR_NO_SPACE) {
        w->refused[req] = true;
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

/* What comes is `change`, which has a version. */
static void begin(struct world *w, unsigned i, const struct change *change, struct put_spec *spec)
{
    struct upload *u = &w->uploads[i];
    *u = (struct upload){
        .w = w, .body = w->m.versions[change->version].body, .req = model_request(&w->m)};
    model_add(&w->m, u->req, *change);
    spec->key = w->m.keys[change->key];
    spec->size = u->body.len;
    int rc = put_begin(w->f.st, spec, &PUT_OPS, u, &u->put);
    while (rc == ZKV_PENDING && !u->ready) {
        bool stepped = workers_inline_step(&w->f.workers);
        assert(stepped);
    }
    assert(rc == 0 || rc == ZKV_PENDING);
}

void w_begin(struct world *w, unsigned i, unsigned key, size_t size)
{
    unsigned version = model_version(&w->m, size, meta_len(w));
    const struct version *v = &w->m.versions[version];
    struct attr one;
    struct put_spec spec = {.meta = meta_of(v, &one), .mtime_ms = v->mtime_ms};
    struct change c = {
        .op = RECORD_PUT, .key = key_of(w, key), .version = version, .upload = ABSENT};
    begin(w, i, &c, &spec);
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
        model_add(
            &w->m, a->req,
            (struct change){.op = RECORD_DELETE, .key = key, .version = ABSENT, .upload = ABSENT});
    }
    model_pending(&w->m, a->req);
    int rc = store_delete(w->f.st, keys, n, NULL, on_deleted, a);
    assert(rc == 0);
}

static void on_opened(void *user, int status)
{
    *(int *)user = status;
}

static void on_read(void *user, int status, struct read_piece piece)
{
    (void)user, (void)status, (void)piece;
    abort(); /* only what the object says of itself is wanted */
}

static struct reader *open_reader(struct world *w, unsigned key)
{
    static const struct reader_ops ops = {on_opened, on_read};
    struct reader *r;
    int status = 1;
    int rc = reader_open(w->f.st, w->m.keys[key], false, &ops, &status, &r);
    while (rc == ZKV_PENDING && status == 1) {
        bool stepped = workers_inline_step(&w->f.workers);
        assert(stepped);
    }
    assert(rc == 0 || (rc == ZKV_PENDING && status == 0));
    return r;
}

void w_copy(struct world *w, unsigned from, unsigned to)
{
    struct waiter *a = waiter_create(w);
    struct attr one;
    unsigned src = key_of(w, from), dst = key_of(w, to);
    unsigned version = model_copy(&w->m, model_live(&w->m, src), meta_len(w));
    const struct version *v = &w->m.versions[version];
    struct reader *r = open_reader(w, src);
    struct copy_spec spec = {.key = w->m.keys[dst],
                             .src = *reader_object(r),
                             .extents = reader_extents(r),
                             .meta = meta_of(v, &one),
                             .mtime_ms = v->mtime_ms};
    model_add(&w->m, a->req,
              (struct change){.op = RECORD_PUT, .key = dst, .version = version, .upload = ABSENT});
    model_pending(&w->m, a->req);
    int rc = store_copy(w->f.st, &spec, on_copied, a);
    assert(rc == 0);
    reader_close(r);
}

/* ---- multipart uploads ---- */

static void on_begun(void *user, int status, uint64_t upload)
{
    struct waiter *a = user;
    assert(status == 0);
    a->w->numbers[a->w->m.reqs[a->req].changes[0].version] = upload;
    on_deleted(user, status);
}

void w_upload(struct world *w, unsigned u, unsigned key)
{
    struct waiter *a = waiter_create(w);
    struct attr one;
    unsigned k = key_of(w, key), version = model_upload(&w->m, meta_len(w));
    struct upload_spec spec = {.key = w->m.keys[k], .meta = meta_of(&w->m.versions[version], &one)};
    w->begun[u] = version;
    model_add(&w->m, a->req,
              (struct change){.op = RECORD_UPLOAD, .key = k, .version = version, .upload = ABSENT});
    model_pending(&w->m, a->req);
    int rc = store_begin_upload(w->f.st, &spec, on_begun, a);
    assert(rc == 0);
}

/* NULL: it is not under way. */
static const struct begun *find_begun(const struct world *w, unsigned u, struct uploads *room)
{
    model_uploads(&w->m, room);
    for (unsigned i = 0; i < room->n; i++) {
        if (room->v[i].upload == w->begun[u]) {
            return &room->v[i];
        }
    }
    return NULL;
}

void w_begin_part(struct world *w, unsigned i, unsigned u, uint32_t part, size_t size)
{
    struct uploads room;
    const struct begun *b = find_begun(w, u, &room);
    if (b == NULL) {
        w->uploads[i].done = true;
        return;
    }
    unsigned version = model_version(&w->m, size, 0);
    w->m.versions[version].op = RECORD_PART;
    struct put_spec spec = {.upload = w->numbers[b->upload], .part = part};
    struct change c = {
        .op = RECORD_PART, .key = b->key, .version = version, .upload = b->upload, .part = part};
    begin(w, i, &c, &spec);
}

void w_part(struct world *w, unsigned u, uint32_t part, size_t size)
{
    w_begin_part(w, UPLOADS_MAX - 1, u, part, size);
    w_commit(w, UPLOADS_MAX - 1);
    w_settle(w);
}

void w_part_copy(struct world *w, unsigned u, uint32_t part, unsigned from, size_t off, size_t len)
{
    struct uploads room;
    const struct begun *b = find_begun(w, u, &room);
    unsigned src = key_of(w, from), live = model_live(&w->m, src);
    if (b == NULL || live == ABSENT) {
        return;
    }
    size_t size = w->m.versions[live].body.len;
    off = off < size ? off : 0;
    len = len < size - off ? len : size - off;
    struct waiter *a = waiter_create(w);
    struct reader *r = open_reader(w, src);
    struct part_copy_spec spec = {.key = w->m.keys[b->key],
                                  .upload = w->numbers[b->upload],
                                  .part = part,
                                  .src = r,
                                  .from = off,
                                  .len = len};
    model_add(&w->m, a->req,
              (struct change){.op = RECORD_PART,
                              .key = b->key,
                              .version = model_part(&w->m, live, off, len),
                              .upload = b->upload,
                              .part = part});
    model_pending(&w->m, a->req);
    int rc = store_copy_part(w->f.st, &spec, on_copied, a);
    assert(rc == 0);
    reader_close(r);
}

static void on_completed(void *user, int status, const struct object *obj, size_t at)
{
    (void)at;
    on_copied(user, status, obj);
}

/* Nobody may complete or abort what is not under way. */
static void on_refused(void *user, int status, const struct object *obj, size_t at)
{
    (void)user, (void)obj, (void)at;
    assert(status == ZERR_NO_UPLOAD);
}

static void on_abort_refused(void *user, int status)
{
    on_refused(user, status, NULL, 0);
}

void w_complete(struct world *w, unsigned u, uint32_t but)
{
    struct uploads room;
    struct begun *b = (struct begun *)(uintptr_t)find_begun(w, u, &room);
    struct part_name names[PARTS_MAX] = {{.number = 1}};
    struct complete_spec spec = {.key = w->m.keys[b != NULL ? b->key : 0],
                                 .upload = w->numbers[w->begun[u]],
                                 .parts = names,
                                 .n_parts = 1};
    if (b == NULL) {
        int rc = store_complete_upload(w->f.st, &spec, on_refused, NULL);
        assert(rc == 0);
        return;
    }
    b->parts[but] = ABSENT;
    spec.n_parts = 0;
    for (unsigned i = 1; i <= PARTS_MAX; i++) {
        if (b->parts[i] != ABSENT) {
            struct part_name *name = &names[spec.n_parts++];
            *name = (struct part_name){.number = i, .has_md5 = i % 2 == 0};
            memcpy(name->md5, w->m.versions[b->parts[i]].md5, sizeof(name->md5));
        }
    }
    if (spec.n_parts == 0) {
        return;
    }
    struct waiter *a = waiter_create(w);
    unsigned version = model_joined(&w->m, b);
    spec.mtime_ms = w->m.versions[version].mtime_ms;
    model_add(
        &w->m, a->req,
        (struct change){.op = RECORD_PUT, .key = b->key, .version = version, .upload = b->upload});
    model_pending(&w->m, a->req);
    int rc = store_complete_upload(w->f.st, &spec, on_completed, a);
    assert(rc == 0);
}

static void expect_abort(struct world *w, unsigned req, const struct begun *b)
{
    model_add(
        &w->m, req,
        (struct change){.op = RECORD_ABORT, .key = b->key, .version = ABSENT, .upload = b->upload});
    model_pending(&w->m, req);
}

void w_abort_upload(struct world *w, unsigned u)
{
    struct uploads room;
    const struct begun *b = find_begun(w, u, &room);
    struct slice key = w->m.keys[b != NULL ? b->key : 0];
    struct waiter *a = b != NULL ? waiter_create(w) : NULL;
    if (b != NULL) {
        expect_abort(w, a->req, b);
    }
    uint64_t number = w->numbers[w->begun[u]]; /* 0: lost with what it began with */
    int rc = store_abort_upload(w->f.st, key, number, b != NULL ? on_deleted : on_abort_refused, a);
    assert(rc == 0 || (rc == ZERR_NO_UPLOAD && number == 0));
}

void w_expire(struct world *w, unsigned key)
{
    struct uploads old;
    unsigned reqs[BEGUN_MAX];
    model_uploads(&w->m, &old);
    vfs_mem_advance(w->f.vfs, (uint64_t)UPLOAD_MAX_AGE_MS + 3600000);
    w_upload(w, BEGUN_MAX - 1, key);
    for (unsigned i = 0; i < old.n; i++) {
        reqs[i] = model_request(&w->m);
        expect_abort(w, reqs[i], &old.v[i]);
    }
    w_settle(w);
    for (unsigned i = 0; i < old.n; i++) { /* nobody is told */
        model_acked(&w->m, reqs[i], w->f.cfg.sync == STORE_SYNC_ACK);
    }
}
