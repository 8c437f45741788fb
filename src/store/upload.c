/* Multipart uploads: beginning, parts made of other objects' bytes, completing, giving up.
 *
 * An upload is records and nothing else: one that it began, one for each part (with its body in the
 * same frame, put.c, or naming bytes elsewhere), and one that ends it: the object, which lists the
 * parts' bytes, or an abort. They go through commit rounds like everything and are in the db beside
 * the history, so an upload survives whatever the history survives. In the look-up index it is a row
 * and its parts are rows, until it ends.
 *
 * Parts that are not named when it is completed, that were replaced, or whose upload was given up
 * stay in their blocks as dead bytes, like everything deleted.
 *
 * Completing has two steps: a worker reads the parts from the index (ix_list) and makes the list; then
 * the record goes into a round, which checks that the upload has not ended meanwhile. A part that is
 * replaced between the two is in the object as it was: its bytes are still there. */
#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "store/body.h"
#include "store/store_priv.h"

#define DIGEST_STEP (32u << 20) /* bytes hashed in one job, so that a stop need not wait long */

int store_begin_upload(struct store *st, const struct upload_spec *spec,
                       void (*done)(void *user, int status, uint64_t upload), void *user)
{
    struct record rec = {.op = RECORD_UPLOAD,
                         .key = spec->key,
                         .meta = spec->meta,
                         .sys = spec->sys,
                         .mtime_ms = spec->mtime_ms};
    int rc = change_submit(st, &rec, NULL, &(struct change_answer){.begun = done, .user = user});
    if (rc == 0) {
        store_expire_uploads(st);
    }
    return rc;
}

int store_abort_upload(struct store *st, struct slice key, uint64_t upload, store_done_fn done,
                       void *user)
{
    struct record rec = {.op = RECORD_ABORT, .key = key, .upload = upload};
    if (upload == 0) { /* of none: no frame may say so */
        return ZERR_NO_UPLOAD;
    }
    return change_submit(st, &rec, NULL, &(struct change_answer){.done = done, .user = user});
}

int store_get_upload(struct store *st, struct slice key, uint64_t upload, struct arena *arena,
                     struct attrs *ret_sys)
{
    struct record rec;
    int rc = store_saw_index(st, index_upload(st->ix_read, upload, arena, &rec));
    if (rc == 0 && !slice_eq(rec.key, key)) {
        rc = ZERR_NO_UPLOAD;
    }
    if (rc == 0) {
        *ret_sys = rec.sys;
    }
    return rc;
}

int store_lookup_upload(struct store *st, struct slice key, uint64_t upload)
{
    struct arena arena = {0};
    struct attrs sys;
    int rc = store_get_upload(st, key, upload, &arena, &sys);
    arena_finish(&arena);
    return rc;
}

#define EXPIRE_CHECK_MS (3600ll * 1000)
#define EXPIRE_MAX 100 /* at a time */

void store_expire_uploads(struct store *st)
{
    int64_t now = st->vfs->ops->wall_ms(st->vfs);
    if (st->stopping || st->failed) {
        return;
    }
    if (st->uploads_checked_ms != 0 && now - st->uploads_checked_ms < EXPIRE_CHECK_MS &&
        now >= st->uploads_checked_ms) {
        return;
    }
    st->uploads_checked_ms = now;
    struct arena arena = {0};
    uint64_t after = 0; /* their rows go with the round that comes */
    for (int i = 0; i < EXPIRE_MAX; i++) {
        struct record rec;
        arena_reset(&arena);
        int rc = index_old_upload(st->ix_read, now - UPLOAD_MAX_AGE_MS, after, &arena, &rec);
        if (store_saw_index(st, rc) != 0 ||
            store_abort_upload(st, rec.key, rec.seq, NULL, NULL) != 0) {
            break;
        }
        after = rec.seq;
    }
    arena_finish(&arena);
}

/* ---- completing ---- */

struct complete {
    struct index_job base;
    struct slice key;
    uint64_t upload, part_min;
    int64_t mtime_ms;
    struct condition cond;
    const struct complete_ops *ops;
    size_t n_parts, at; /* at: of the next one to be found */
    void (*done)(void *, int, const struct object *, size_t);
    void *user;
    int status;
    struct record rec; /* in the arena, and extents */
    struct extent *extents;
    size_t n_extents, cap_extents;
    EVP_MD_CTX *md5;
    struct arena arena;
    struct part_name parts[];
};

static void complete_free(struct complete *c)
{
    EVP_MD_CTX_free(c->md5);
    arena_finish(&c->arena);
    free(c->extents);
    free(c);
}

static int add_extent(struct complete *c, struct extent e, uint32_t part)
{
    if (c->n_extents == RECORD_MAX_EXTENTS) {
        return ZERR_TOO_LARGE;
    }
    if (c->n_extents == c->cap_extents) {
        size_t cap = c->cap_extents == 0 ? 64 : c->cap_extents * 2;
        struct extent *v = realloc(c->extents, cap * sizeof(*v));
        if (v == NULL) {
            return ZERR_NOMEM;
        }
        c->extents = v;
        c->cap_extents = cap;
    }
    e.part = part;
    c->extents[c->n_extents++] = e;
    return 0;
}

static int add_part(struct complete *c, const struct record *rec)
{
    int rc = 0;
    if (rec->size < c->part_min && c->at + 1 < c->n_parts) {
        return ZERR_SMALL_PART;
    }
    if (rec->size > BODY_MAX_BYTES - c->rec.size) {
        return ZERR_TOO_LARGE;
    }
    c->rec.size += rec->size;
    if (rec->extents.n == 0 && rec->size > 0) {
        rc = add_extent(c,
                        (struct extent){.body = rec->body,
                                        .size = rec->size,
                                        .framed = rec->body_framed,
                                        .frame = rec->body_frame,
                                        .len = rec->size},
                        rec->part);
    }
    for (size_t i = 0; i < rec->extents.n && rc == 0; i++) {
        rc = add_extent(c, rec->extents.v[i], rec->part);
    }
    if (rc == 0 && EVP_DigestUpdate(c->md5, rec->md5, sizeof(rec->md5)) != 1) {
        rc = ZERR_NOMEM;
    }
    if (rc == 0 && c->ops != NULL) {
        rc = c->ops->part(c->user, c->at, rec->size, rec->sys);
    }
    c->at += rc == 0;
    return rc;
}

#define ALL_FOUND ZERR_CANCELED

/* Parts come in order of their numbers, and so do the names. */
static int see_part(void *user, const struct record *rec)
{
    struct complete *c = user;
    if (c->at == c->n_parts) {
        return ALL_FOUND;
    }
    const struct part_name *want = &c->parts[c->at];
    if (rec->part < want->number) {
        return 0; /* not wanted */
    }
    if (rec->part > want->number || want->no_md5 ||
        (want->has_md5 && memcmp(want->md5, rec->md5, sizeof(rec->md5)) != 0)) {
        return ZERR_BAD_PART;
    }
    return add_part(c, rec);
}

static int find_parts(struct complete *c)
{
    struct index *ix = c->base.st->ix_list;
    struct record begun;
    int rc = index_upload(ix, c->upload, &c->arena, &begun);
    if (rc == 0 && !slice_eq(begun.key, c->key)) {
        rc = ZERR_NO_UPLOAD;
    }
    c->md5 = EVP_MD_CTX_new();
    if (rc == 0 && (c->md5 == NULL || EVP_DigestInit_ex(c->md5, EVP_md5(), NULL) != 1)) {
        rc = ZERR_NOMEM;
    }
    if (rc != 0) {
        return rc;
    }
    c->rec = (struct record){.op = RECORD_PUT,
                             .key = begun.key,
                             .upload = c->upload,
                             .part = (uint32_t)c->n_parts,
                             .has_md5 = true,
                             .mtime_ms = c->mtime_ms,
                             .meta = begun.meta,
                             .sys = begun.sys};
    rc = index_each_part(ix, c->upload, 0, see_part, c);
    rc = rc == ALL_FOUND ? 0 : rc;
    if (rc == 0 && c->at < c->n_parts) {
        rc = ZERR_BAD_PART;
    }
    if (rc == 0 && EVP_DigestFinal_ex(c->md5, c->rec.md5, NULL) != 1) {
        rc = ZERR_NOMEM;
    }
    c->rec.extents = (struct extents){c->extents, c->n_extents};
    if (rc == 0 && c->ops != NULL) {
        rc = c->ops->finish(c->user, c->rec.size, &c->rec.sys, &c->arena);
    }
    return rc;
}

static void complete_run(struct index_job *j)
{
    struct complete *c = container_of(j, struct complete, base);
    c->status = find_parts(c);
}

static void complete_found(struct index_job *j)
{
    struct complete *c = container_of(j, struct complete, base);
    int rc = store_saw_index(j->st, c->status);
    if (rc == 0) {
        rc = change_submit(j->st, &c->rec, &c->cond,
                           &(struct change_answer){.completed = c->done, .user = c->user});
    }
    if (rc != 0) {
        c->done(c->user, rc, NULL, c->at);
    }
    complete_free(c);
}

int store_complete_upload(struct store *st, const struct complete_spec *spec,
                          void (*done)(void *user, int status, const struct object *obj, size_t at),
                          void *user)
{
    if (spec->n_parts == 0 || spec->n_parts > PART_MAX) {
        return spec->n_parts == 0 ? ZERR_INVALID : ZERR_TOO_LARGE;
    }
    for (size_t i = 1; i < spec->n_parts; i++) {
        if (spec->parts[i].number <= spec->parts[i - 1].number) {
            return ZERR_INVALID;
        }
    }
    int rc = store_may_write(st, 0, false);
    struct complete *c =
        rc == 0 ? calloc(1, sizeof(*c) + spec->n_parts * sizeof(c->parts[0])) : NULL;
    if (c == NULL) {
        return rc == 0 ? ZERR_NOMEM : rc;
    }
    c->key = arena_dup(&c->arena, spec->key);
    if (c->key.ptr == NULL) {
        complete_free(c);
        return ZERR_NOMEM;
    }
    c->upload = spec->upload;
    c->part_min = spec->part_min;
    c->mtime_ms = spec->mtime_ms;
    c->cond = spec->cond;
    c->ops = spec->ops;
    c->n_parts = spec->n_parts;
    c->done = done;
    c->user = user;
    memcpy(c->parts, spec->parts, spec->n_parts * sizeof(c->parts[0]));
    c->base.run = complete_run;
    c->base.done = complete_found;
    index_job_submit(st, &c->base);
    return 0;
}

/* ---- a part of bytes that are there ---- */

struct part_copy {
    struct job job;
    struct store *st;
    struct record rec; /* its key and extents are in `kept` */
    void (*done)(void *, int, const struct object *);
    void (*going_on)(void *);
    void *user;
    int status;
    EVP_MD_CTX *md5;
    struct sums_window window;
    struct put_hasher *hasher; /* NULL: none */
    uint8_t *buf;
    size_t cap;
    size_t extent; /* being hashed */
    uint64_t off;  /* in it */
    struct block *block;
    uint8_t kept[];
};

static void part_copy_free(struct part_copy *p)
{
    if (p->hasher != NULL) {
        p->hasher->release(p->hasher);
    }
    EVP_MD_CTX_free(p->md5);
    sums_window_finish(&p->window);
    free(p->buf);
    free(p);
}

/* All is hashed. */
static int part_copy_commit(struct part_copy *p)
{
    if (EVP_DigestFinal_ex(p->md5, p->rec.md5, NULL) != 1) {
        return ZERR_NOMEM;
    }
    p->rec.has_md5 = true;
    if (p->hasher != NULL) {
        const struct attrs *sys = &p->rec.sys;
        int rc = p->hasher->finish(
            p->hasher, sys->n > 0 ? (uint8_t *)(uintptr_t)sys->v[sys->n - 1].value.ptr : NULL);
        if (rc != 0) {
            return rc;
        }
    }
    return change_submit(p->st, &p->rec, NULL,
                         &(struct change_answer){.stored = p->done, .user = p->user});
}

static int hash_bytes(struct part_copy *p, const struct extent *e, uint64_t n)
{
    struct read_piece piece;
    size_t room = body_room(e, p->off, n);
    if (room > p->cap) {
        uint8_t *buf = realloc(p->buf, room);
        if (buf == NULL) {
            return ZERR_NOMEM;
        }
        p->buf = buf;
        p->cap = room;
    }
    int rc = body_read(p->block, e, READ_NORMAL, p->off, n, p->buf, &p->window, &piece);
    for (int i = 0; i < 2 && rc == ZERR_DAMAGED; i++) {
        rc = body_read(p->block, e, READ_DEVICE, p->off, n, p->buf, &p->window, &piece);
    }
    if (rc == 0 && EVP_DigestUpdate(p->md5, piece.data, piece.len) != 1) {
        rc = ZERR_NOMEM;
    }
    if (rc == 0 && p->hasher != NULL) {
        rc = p->hasher->update(p->hasher, &(struct chunk){.data = piece.data, .len = piece.len});
    }
    return rc;
}

static void hash_run(struct job *job)
{
    struct part_copy *p = container_of(job, struct part_copy, job);
    const struct extent *e = &p->rec.extents.v[p->extent];
    struct vfs_file *file; /* its header is known once the file is open */
    int rc = block_file(p->block, &file);
    for (uint64_t done = 0; rc == 0 && done < DIGEST_STEP && p->off < e->len;) {
        uint64_t n = e->len - p->off < READ_MAX_BYTES ? e->len - p->off : READ_MAX_BYTES;
        rc = hash_bytes(p, e, n);
        p->off += n;
        done += n;
    }
    p->status = rc == ZERR_NOT_FOUND ? ZERR_IO : rc;
}

static void hash_done(struct job *job);

/* 0: the last step was taken and p may go; ZKV_PENDING: hash_done() goes on; or why not. */
static int hash_next(struct part_copy *p)
{
    struct store *st = p->st;
    if (p->extent < p->rec.extents.n && p->off == p->rec.extents.v[p->extent].len) {
        p->extent++;
        p->off = 0;
    }
    if (p->extent == p->rec.extents.n) {
        return part_copy_commit(p);
    }
    if (st->stopping) {
        return ZERR_CANCELED;
    }
    p->block = block_get(st, p->rec.extents.v[p->extent].body.block);
    if (p->block == NULL) {
        return ZERR_NOMEM;
    }
    st->n_jobs++;
    p->job = (struct job){.run = hash_run, .done = hash_done, .cls = JOB_READ};
    st->cfg.workers->submit(st->cfg.workers, &p->job);
    return ZKV_PENDING;
}

static void hash_done(struct job *job)
{
    struct part_copy *p = container_of(job, struct part_copy, job);
    struct store *st = p->st;
    st->n_jobs--;
    block_unref(p->block);
    int rc = p->status != 0 ? p->status : hash_next(p);
    if (rc < 0) {
        p->done(p->user, rc, NULL);
    } else if (rc == ZKV_PENDING && p->going_on != NULL) {
        p->going_on(p->user);
    }
    if (rc != ZKV_PENDING) {
        part_copy_free(p);
    }
    store_stop_step(st);
}

/* The parts of `all` in [from, from + len). */
static size_t cut_extents(struct extents all, uint64_t from, uint64_t len, struct extent *out)
{
    uint64_t at = 0;
    size_t n = 0;
    for (size_t i = 0; i < all.n && len > 0; i++) {
        struct extent e = all.v[i];
        uint64_t end = at + e.len;
        if (from < end) {
            e.from += from - at;
            e.len = end - from < len ? end - from : len;
            from += e.len;
            len -= e.len;
            out[n++] = e;
        }
        at = end;
    }
    return n;
}

int store_copy_part(struct store *st, const struct part_copy_spec *spec,
                    void (*done)(void *user, int status, const struct object *obj), void *user)
{
    struct extents all = reader_all_extents(spec->src);
    if (spec->part == 0 || spec->part > PART_MAX || spec->upload == 0) {
        return ZERR_INVALID;
    }
    int rc = store_may_write(st, 0, false);
    if (rc != 0) {
        return rc;
    }
    struct record rec = {.op = RECORD_PART,
                         .key = spec->key,
                         .upload = spec->upload,
                         .part = spec->part,
                         .size = spec->len,
                         .sys = spec->sys,
                         .extents = all};
    struct part_copy *p = calloc(1, sizeof(*p) + record_room(&rec));
    if (p == NULL) {
        return ZERR_NOMEM;
    }
    sums_window_init(&p->window);
    p->md5 = EVP_MD_CTX_new();
    if (p->md5 == NULL || EVP_DigestInit_ex(p->md5, EVP_md5(), NULL) != 1) {
        part_copy_free(p);
        return ZERR_NOMEM;
    }
    p->st = st;
    p->done = done;
    p->going_on = spec->going_on;
    p->user = user;
    p->rec = rec;
    (void)record_keep(&p->rec, p->kept);
    p->rec.extents.n =
        cut_extents(all, spec->from, spec->len, (struct extent *)(uintptr_t)p->rec.extents.v);
    p->hasher = spec->hasher;
    rc = hash_next(p);
    if (rc != ZKV_PENDING) {
        p->hasher = rc == 0 ? p->hasher : NULL; /* it was refused: still the caller's */
        part_copy_free(p);
    }
    return rc == ZKV_PENDING ? 0 : rc;
}
