/* Copying a store at a revision (rebase.h).
 *
 * The history is replayed into a temporary index, whose names are then taken in order of place, so
 * that the source is read from front to back and names that share a body come together: the first
 * one brings the body, the others are copies of it. The target is an ordinary store on inline
 * workers: wait_for() runs its jobs until what is waited for has happened.
 *
 * The bytes are checked by the target while it stores them: it is told the MD5 that the source has
 * on record, and takes nothing else. */
#include "tools/rebase.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "store/store.h"
#include "tools/cli.h"
#include "tools/replay.h"
#include "tools/source.h"

#define CHUNK_BYTES (256u << 10)
#define BUSY_SECONDS 60 /* a target that takes nothing for so long is given up */

struct rebase {
    const struct rebase_options *opt;
    struct rebase_result *res;
    struct zerr_info *info;
    struct source src;
    struct index *ix;
    struct arena arena; /* attributes of the object under way */
    struct cli_progress progress;
    uint64_t live_bytes;

    struct vfs *dst_vfs;
    struct workers_inline workers;
    struct store *dst;
    bool fatal;

    /* The put or copy under way. */
    struct chunk chunk;
    uint8_t *buffer;
    bool chunk_out, ready, done, stopped;
    int status;
    struct object stored;

    /* The body copied last: where it was, and what it is now. */
    bool has_last;
    struct object last_src, last_dst;
    struct extents last_extents; /* in last_arena */
    struct arena last_arena;
    uint64_t upload; /* under way */
    struct buf scratch;
};

/* ---- the target's call-backs ---- */

static void on_ready(void *user, int status)
{
    struct rebase *r = user;
    r->ready = true;
    r->status = status;
}

static void on_done(void *user, int status, const struct object *obj)
{
    struct rebase *r = user;
    r->done = true;
    r->status = status;
    if (status == 0 && obj != NULL) {
        r->stored = *obj;
    }
}

static void on_stopped(void *user, int status)
{
    struct rebase *r = user;
    r->stopped = true;
    r->status = status;
}

static void on_release(struct chunk *c)
{
    container_of(c, struct rebase, chunk)->chunk_out = false;
}

static void on_note(void *user, enum log_level level, const char *text)
{
    (void)user;
    log_at(level, "%s", text);
}

static void on_fatal(void *user, const char *text)
{
    struct rebase *r = user;
    r->fatal = true;
    (void)zerr_fail(r->info, ZERR_IO, 0, "%s: %s", r->opt->to, text);
}

static const struct put_ops put_ops = {.ready = on_ready, .done = on_done};

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Runs the target's jobs, and where only time helps, lets some pass. */
static void wait_for(struct rebase *r, const bool *flag, bool value)
{
    while (*flag != value) {
        workers_inline_drain(&r->workers);
        if (*flag != value) {
            store_tick(r->dst);
            pause_ms(10);
        }
    }
}

/* ---- one object ---- */

static int begin_put(struct rebase *r, const struct put_spec *spec, struct put **ret)
{
    int rc = ZERR_BUSY;
    for (int i = 0; rc == ZERR_BUSY && i < BUSY_SECONDS * 10; i++) {
        if (i > 0) {
            workers_inline_drain(&r->workers);
            store_tick(r->dst);
            pause_ms(100);
        }
        r->ready = r->done = false;
        rc = put_begin(r->dst, spec, &put_ops, r, ret);
        if (rc == ZKV_PENDING) {
            wait_for(r, &r->ready, true);
            rc = r->status;
        }
    }
    return rc;
}

/* Hands the bytes over piece by piece. Stops when the put has ended by itself. */
static int send_bytes(struct rebase *r, struct put *put, struct extents bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        const struct extent *e = &bytes.v[i];
        const struct source_block *b;
        int rc = source_block(&r->src, e->body.block, &b);
        if (rc != 0) {
            return rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT ? ZERR_DAMAGED : rc;
        }
        for (uint64_t off = 0; off < e->len && !r->done;) {
            size_t want = e->len - off < CHUNK_BYTES ? (size_t)(e->len - off) : CHUNK_BYTES, n = 0;
            wait_for(r, &r->chunk_out, false);
            while (!r->done && !put_writable(put)) {
                workers_inline_drain(&r->workers);
                store_tick(r->dst);
            }
            rc = r->src.vfs->ops->pread(b->file, r->buffer, want, e->body.off + e->from + off, &n);
            if (rc != 0 || n < want) {
                return rc != 0 ? rc : ZERR_DAMAGED;
            }
            off += n;
            r->chunk = (struct chunk){.data = r->buffer, .len = n, .release = on_release};
            r->chunk_out = true;
            put_write(put, &r->chunk);
            cli_progress(&r->progress, "copying", r->res->bytes + off, r->live_bytes, false);
        }
    }
    return 0;
}

/* A body, or a part: md5 NULL: whatever it is. */
static int copy_bytes(struct rebase *r, const struct put_spec *spec, struct extents bytes,
                      const uint8_t *md5)
{
    struct put *put = NULL;
    int rc = begin_put(r, spec, &put);
    if (rc != 0) {
        return rc;
    }
    rc = send_bytes(r, put, bytes);
    if (rc != 0) {
        if (!r->done) {
            put_abort(put);
        }
    } else if (!r->done) {
        put_commit(put, md5);
        wait_for(r, &r->done, true);
    }
    wait_for(r, &r->chunk_out, false);
    return rc != 0 ? rc : r->status;
}

static int copy_body(struct rebase *r, const struct put_spec *spec, const struct object *obj)
{
    struct extent all = {.body = obj->body, .size = obj->size, .len = obj->size};
    return copy_bytes(r, spec, (struct extents){&all, obj->size > 0},
                      obj->has_md5 ? obj->md5 : NULL);
}

/* ---- multipart objects: their parts become parts again ---- */

static void on_begun(void *user, int status, uint64_t upload)
{
    struct rebase *r = user;
    r->done = true;
    r->status = status;
    r->upload = upload;
}

static void on_completed(void *user, int status, const struct object *obj, size_t at)
{
    (void)at;
    on_done(user, status, obj);
}

static void on_ended(void *user, int status)
{
    on_done(user, status, NULL);
}

/* The next run of extents of one part, from *at on. */
static struct extents next_part(struct extents all, size_t *at, uint64_t *ret_len)
{
    size_t from = *at;
    *ret_len = 0;
    do {
        *ret_len += all.v[(*at)++].len;
    } while (*at < all.n && all.v[*at].part == all.v[from].part);
    return (struct extents){all.v + from, *at - from};
}

/* Copies the parts; their MD5s, one behind the other, into md5s. */
static int copy_parts(struct rebase *r, const struct put_spec *spec, struct extents all,
                      struct part_name *names, size_t n_parts, struct body_hash *md5s)
{
    size_t at = 0, n = 0;
    int rc = 0;
    while (rc == 0 && (at < all.n || n == 0)) {
        uint64_t len = 0;
        struct extents bytes = at < all.n ? next_part(all, &at, &len) : (struct extents){0};
        struct put_spec part = {.key = spec->key,
                                .size = len,
                                .upload = r->upload,
                                .part = bytes.n > 0 ? bytes.v[0].part : 1};
        rc = n == n_parts ? ZERR_CORRUPT : copy_bytes(r, &part, bytes, NULL);
        if (rc == 0) {
            names[n++] = (struct part_name){.number = part.part};
            buf_reset(&r->scratch);
            rc = body_hash_update(md5s, r->stored.md5, sizeof(r->stored.md5), &r->scratch);
        }
    }
    return rc == 0 && n < n_parts ? ZERR_CORRUPT : rc;
}

/* The MD5 of the parts' MD5s is what the object has on record: it tells whether all bytes are right. */
static int complete(struct rebase *r, const struct put_spec *spec, const struct object *obj,
                    const struct part_name *names, struct body_hash *md5s)
{
    uint8_t md5[16];
    uint64_t sums_hash;
    buf_reset(&r->scratch);
    int rc = body_hash_final(md5s, &r->scratch, md5, &sums_hash);
    if (rc == 0 && memcmp(md5, obj->md5, sizeof(md5)) != 0) {
        rc = ZERR_BAD_DIGEST;
    }
    if (rc == 0) {
        struct complete_spec c = {.key = spec->key,
                                  .upload = r->upload,
                                  .parts = names,
                                  .n_parts = obj->parts,
                                  .mtime_ms = spec->mtime_ms};
        r->done = false;
        rc = store_complete_upload(r->dst, &c, on_completed, r);
    }
    if (rc == 0) {
        wait_for(r, &r->done, true);
        rc = r->status;
    }
    return rc;
}

static int copy_multipart(struct rebase *r, const struct put_spec *spec, const struct object *obj,
                          struct extents all)
{
    struct upload_spec begin = {.key = spec->key, .meta = spec->meta, .sys = spec->sys};
    struct part_name *names = calloc(obj->parts, sizeof(*names));
    struct body_hash *md5s = body_hash_create();
    r->done = false;
    int rc = names == NULL || md5s == NULL ? ZERR_NOMEM
                                           : store_begin_upload(r->dst, &begin, on_begun, r);
    if (rc == 0) {
        wait_for(r, &r->done, true);
        rc = r->status;
    }
    if (rc == 0) {
        rc = copy_parts(r, spec, all, names, obj->parts, md5s);
        if (rc == 0) {
            rc = complete(r, spec, obj, names, md5s);
        }
        r->done = false;
        if (rc != 0 && store_abort_upload(r->dst, spec->key, r->upload, on_ended, r) == 0) {
            wait_for(r, &r->done, true);
        }
    }
    body_hash_destroy(md5s);
    free(names);
    return rc;
}

static void on_opened(void *user, int status)
{
    struct rebase *r = user;
    r->done = true;
    r->status = status;
}

/* What the object copied last is made of now, for its other names. */
static int keep_extents(struct rebase *r, struct slice key)
{
    static const struct reader_ops ops = {.opened = on_opened};
    struct reader *reader = NULL;
    r->done = false;
    int rc = reader_open(r->dst, key, false, &ops, r, &reader);
    if (rc == ZKV_PENDING) {
        wait_for(r, &r->done, true);
        rc = r->status;
    }
    if (rc == 0) {
        struct extents e = reader_extents(reader);
        arena_reset(&r->last_arena);
        struct extent *v = arena_alloc(&r->last_arena, e.n * sizeof(*v));
        rc = v == NULL ? ZERR_NOMEM : 0;
        if (rc == 0 && e.n > 0) {
            memcpy(v, e.v, e.n * sizeof(*v));
        }
        r->last_extents = (struct extents){v, e.n};
    }
    reader_close(reader);
    return rc;
}

static int copy_name(struct rebase *r, const struct put_spec *spec)
{
    struct copy_spec copy = {.key = spec->key,
                             .src = r->last_dst,
                             .extents = r->last_extents,
                             .meta = spec->meta,
                             .sys = spec->sys,
                             .mtime_ms = spec->mtime_ms};
    r->done = false;
    int rc = store_copy(r->dst, &copy, on_done, r);
    if (rc != 0) {
        return rc;
    }
    wait_for(r, &r->done, true);
    return r->status;
}

/* The attributes, and what a multipart object is made of: from the record's frame or, where the original wrote it, from the index. */
static int read_attrs(struct rebase *r, const struct object *obj, struct put_spec *spec,
                      struct extents *ret_extents)
{
    *ret_extents = (struct extents){0};
    if (!obj->framed) {
        struct slice meta;
        int rc = index_lookup_meta(r->ix, spec->key, &r->arena, &meta);
        return rc != 0 ? rc : attrs_decode(meta, &r->arena, &spec->meta);
    }
    struct record rec;
    int rc = source_record(&r->src, obj->frame, spec->key, &r->arena, &rec);
    if (rc == 0) {
        spec->meta = rec.meta;
        spec->sys = rec.sys;
        *ret_extents = rec.extents;
    }
    return rc;
}

static int copy_object(void *user, struct slice key, const struct object *obj)
{
    struct rebase *r = user;
    struct put_spec spec = {.key = key, .size = obj->size, .mtime_ms = obj->mtime_ms};
    bool same = r->has_last && obj->size > 0 && obj->size == r->last_src.size &&
                obj->body.block == r->last_src.body.block && obj->body.off == r->last_src.body.off;
    arena_reset(&r->arena);
    struct extents extents;
    int rc = obj->damaged ? ZERR_DAMAGED : read_attrs(r, obj, &spec, &extents);
    if (rc == 0 && same) {
        rc = copy_name(r, &spec);
    } else if (rc == 0) {
        rc = obj->parts > 0 ? copy_multipart(r, &spec, obj, extents) : copy_body(r, &spec, obj);
        r->last_extents = (struct extents){0};
        if (rc == 0 && obj->parts > 0) {
            rc = keep_extents(r, key);
        }
    }
    if (r->fatal) {
        return ZERR_IO;
    }
    if (rc == ZERR_DAMAGED || rc == ZERR_CORRUPT || rc == ZERR_BAD_DIGEST) {
        char quoted[256];
        cli_progress_end(&r->progress);
        printf("damaged, left out: %s (block %u, offset %llu, %llu bytes)\n",
               log_quote(key, quoted, sizeof quoted), obj->body.block,
               (unsigned long long)obj->body.off, (unsigned long long)obj->size);
        r->res->damaged++;
        return 0;
    }
    if (rc != 0) {
        char quoted[256];
        return zerr_fail(r->info, rc, 0, "%s: %s", log_quote(key, quoted, sizeof quoted),
                         zerr_str(rc));
    }
    if (!same) {
        r->res->bodies++;
        r->res->bytes += obj->size;
        r->res->unchecked += !obj->has_md5;
        r->has_last = true;
        r->last_src = *obj;
        r->last_dst = r->stored;
    }
    r->res->objects++;
    return 0;
}

/* ---- the target ---- */

static int not_empty(void *user, const struct vfs_dirent *e)
{
    (void)user;
    return strcmp(e->name, "lost+found") == 0 ? 0 : ZERR_EXISTS;
}

static int open_target(struct rebase *r)
{
    if (mkdir(r->opt->to, 0700) == 0) {
        r->res->made_directory = true;
    } else if (errno != EEXIST) {
        return zerr_fail(r->info, ZERR_IO, errno, "cannot make directory %s", r->opt->to);
    }
    int rc = vfs_posix_open(r->opt->to, &r->dst_vfs, r->info);
    if (rc == 0) {
        rc = r->dst_vfs->ops->list(r->dst_vfs, not_empty, NULL);
    }
    if (rc == ZERR_EXISTS) {
        return zerr_fail(r->info, rc, 0, "%s is not empty", r->opt->to);
    }
    if (rc != 0) {
        return rc;
    }
    r->res->started = true;
    struct store_config cfg = {
        .vfs = r->dst_vfs,
        .workers = &r->workers.base,
        .dir = r->opt->to,
        .block_size = r->opt->block_size,
        .sync = STORE_SYNC_BLOCK,
        .reserve = UINT64_MAX,
        .user = r,
        .note = on_note,
        .fatal = on_fatal,
    };
    return store_open(&cfg, &r->dst, r->info);
}

/* Everything on disk, or why not. */
static int close_target(struct rebase *r, int rc)
{
    if (r->dst != NULL) {
        r->status = 0;
        store_stop(r->dst, on_stopped, r);
        wait_for(r, &r->stopped, true);
        if (rc == 0 && r->status != 0) {
            rc = zerr_fail(r->info, r->status, 0, "%s: %s", r->opt->to, zerr_str(r->status));
        }
        store_destroy(r->dst);
    }
    vfs_posix_close(r->dst_vfs);
    return rc;
}

/* ---- all of it ---- */

static int replay_source(struct rebase *r)
{
    struct replay_result replayed = {0};
    int rc = source_open(&r->src, r->opt->from, r->info);
    if (rc == 0) {
        rc = index_open(NULL, INDEX_TEMP, &r->ix, r->info);
    }
    if (rc == 0) {
        rc = replay(&r->src, r->ix, r->opt->has_rev ? r->opt->rev : REPLAY_ALL, NULL, &r->progress,
                    &replayed, r->info);
    }
    if (rc == 0 && replayed.n_damaged > 0) {
        rc = zerr_fail(r->info, ZERR_CORRUPT, 0,
                       "the history of %s is damaged: run zipkvverify -rebuild on it first",
                       r->opt->from);
    }
    if (rc == 0) {
        struct index_totals t;
        rc = index_get_totals(r->ix, &t);
        r->live_bytes = rc == 0 ? t.live_bytes : 0;
        r->res->revision = replayed.n_records - 1;
    }
    return rc;
}

int rebase_run(const struct rebase_options *opt, struct rebase_result *ret, struct zerr_info *info)
{
    *ret = (struct rebase_result){0};
    struct rebase *r = calloc(1, sizeof *r);
    uint8_t *buffer = malloc(CHUNK_BYTES);
    int rc = r != NULL && buffer != NULL ? 0 : ZERR_NOMEM;
    if (rc == 0) {
        r->opt = opt;
        r->res = ret;
        r->info = info;
        r->buffer = buffer;
        workers_inline_init(&r->workers);
        rc = replay_source(r);
        if (rc == 0) {
            rc = open_target(r);
        }
        if (rc == 0) {
            rc = index_each_by_place(r->ix, copy_object, r);
        }
        rc = close_target(r, rc);
        cli_progress_end(&r->progress);
        index_close(r->ix);
        source_close(&r->src);
        arena_finish(&r->arena);
        arena_finish(&r->last_arena);
        buf_finish(&r->scratch);
    }
    free(buffer);
    free(r);
    return rc;
}
