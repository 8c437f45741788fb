/* The look-up index (store/index.h) without SQLite, for stores of a few dozen names.
 *
 * Opening SQLite three times is nineteen twentieths of what opening a crash state costs, and none of
 * it passes through the simulated disk. So `crash` has this and seq_double.c in the place of
 * src/store/index*.c, and `crash_sqlite`, the same program for fewer states, has the real thing. The contract is the header's:
 * transactions, readers that see what is committed, a file that survives (here: one table as it lies
 * in memory, and its hash), damage noticed. What only tools use is not here. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "store/index.h"
#include "support/mem_disk.h"

#define ENTRIES_MAX 64
#define KEY_BYTES 64
#define META_BYTES 256
#define RECORD_BYTES 1536 /* of uploads and parts, in the history's form */
#define PENDING_MAX 64

struct entry { /* in order of keys */
    uint8_t key[KEY_BYTES], meta[META_BYTES];
    size_t key_len, meta_len;
    struct object obj;
};

/* A multipart upload, or (part not 0) a part of one; in order of both numbers. */
struct pending {
    uint64_t upload;
    uint32_t part;
    size_t len;
    uint8_t record[RECORD_BYTES];
};

struct table {
    uint64_t hash; /* of the rest, as far as it is used */
    size_t n, n_pending;
    bool has_mark;
    struct index_mark mark;
    struct entry v[ENTRIES_MAX];
    struct pending pending[PENDING_MAX];
};

/* What the connections to one file share. */
struct shared {
    struct shared *next;
    char path[256];
    unsigned refs;
    struct table committed;
};

struct index {
    struct shared *file;
    enum index_open_mode mode;
    bool in_tx;
    struct table now; /* the writer's */
};

static struct shared *files;

/* The parts that are used; the second one may be empty. */
static size_t used_bytes(const struct table *t)
{
    return offsetof(struct table, v) + t->n * sizeof(t->v[0]);
}

static size_t pending_bytes(const struct table *t)
{
    return t->n_pending * sizeof(t->pending[0]);
}

static void copy_table(struct table *to, const struct table *from)
{
    memcpy(to, from, used_bytes(from));
    memcpy(to->pending, from->pending, pending_bytes(from));
}

static uint64_t hash_of(const struct table *t)
{
    uint64_t first =
        XXH3_64bits((const uint8_t *)t + sizeof(t->hash), used_bytes(t) - sizeof(t->hash));
    return XXH3_64bits_withSeed(t->pending, pending_bytes(t), first);
}

static int save(struct shared *f)
{
    struct table *t = &f->committed;
    int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    t->hash = hash_of(t);
    struct iovec iov[] = {{t, used_bytes(t)}, {t->pending, pending_bytes(t)}};
    ssize_t n = writev(fd, iov, 2);
    (void)close(fd);
    return n == (ssize_t)(iov[0].iov_len + iov[1].iov_len) ? 0 : ZERR_IO;
}

static int load(struct shared *f, enum index_open_mode mode)
{
    struct table *t = &f->committed;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    memset(t, 0, sizeof(*t));
    if (fd < 0) {
        return mode == INDEX_WRITER ? save(f) : ZERR_NOT_FOUND;
    }
    bool ok = read(fd, t, offsetof(struct table, v)) == (ssize_t)offsetof(struct table, v) &&
              t->n <= ENTRIES_MAX && t->n_pending <= PENDING_MAX;
    struct iovec iov[] = {{t->v, t->n * sizeof(t->v[0])}, {t->pending, pending_bytes(t)}};
    ok = ok && readv(fd, iov, 2) == (ssize_t)(iov[0].iov_len + iov[1].iov_len) &&
         t->hash == hash_of(t);
    (void)close(fd);
    return ok ? 0 : ZERR_CORRUPT;
}

int index_open(const char *path, enum index_open_mode mode, struct index **ret,
               struct zerr_info *info)
{
    struct shared *f = files;
    int rc = 0;
    assert(mode != INDEX_TEMP);
    while (f != NULL && strcmp(f->path, path) != 0) {
        f = f->next;
    }
    if (f == NULL) {
        f = mem_must(calloc(1, sizeof(*f)));
        (void)snprintf(f->path, sizeof(f->path), "%s", path);
        rc = load(f, mode);
        if (rc != 0) {
            free(f);
            return zerr_fail(info, rc, 0, "index %s: %s", path, zerr_str(rc));
        }
        f->next = files;
        files = f;
    }
    struct index *ix = mem_must(calloc(1, sizeof(*ix)));
    ix->file = f;
    ix->mode = mode;
    f->refs++;
    *ret = ix;
    return 0;
}

void index_close(struct index *ix)
{
    if (ix == NULL) {
        return;
    }
    struct shared *f = ix->file;
    if (--f->refs == 0) {
        struct shared **at = &files;
        while (*at != f) {
            at = &(*at)->next;
        }
        *at = f->next;
        free(f);
    }
    free(ix);
}

int index_remove(const char *path)
{
    (void)unlink(path);
    return 0;
}

bool index_is_sqlite(const char *path)
{
    (void)path;
    return true;
}

/* What a call on the connection sees. */
static struct table *seen_by(struct index *ix)
{
    return ix->in_tx ? &ix->now : &ix->file->committed;
}

int index_get_mark(struct index *ix, struct index_mark *ret)
{
    const struct table *t = seen_by(ix);
    if (t->has_mark) {
        *ret = t->mark;
    }
    return t->has_mark ? 0 : ZERR_NOT_FOUND;
}

int index_get_totals(struct index *ix, struct index_totals *ret)
{
    const struct table *t = seen_by(ix);
    *ret = (struct index_totals){.objects = t->n};
    for (size_t i = 0; i < t->n; i++) {
        ret->name_bytes += t->v[i].obj.size;
        ret->live_bytes += t->v[i].obj.size; /* shared bodies as often as they are shared */
        ret->damaged += t->v[i].obj.damaged;
    }
    return 0;
}

/* ---- writing ---- */

int index_begin(struct index *ix)
{
    assert(ix->mode == INDEX_WRITER && !ix->in_tx);
    copy_table(&ix->now, &ix->file->committed);
    ix->in_tx = true;
    return 0;
}

bool index_commit_is_quick(const struct index *ix)
{
    (void)ix;
    return true;
}

void index_rollback(struct index *ix)
{
    ix->in_tx = false;
}

int index_commit(struct index *ix)
{
    assert(ix->in_tx);
    ix->in_tx = false;
    copy_table(&ix->file->committed, &ix->now);
    return save(ix->file);
}

int index_checkpoint(struct index *ix, bool force)
{
    (void)force;
    assert(!ix->in_tx);
    return 0;
}

int index_set_mark(struct index *ix, const struct index_mark *mark)
{
    assert(ix->in_tx);
    ix->now.mark = *mark;
    ix->now.has_mark = true;
    return 0;
}

/* Where the key is or would be. */
static size_t find(const struct table *t, struct slice key, bool *ret_there)
{
    size_t i = 0;
    int c = -1;
    while (i < t->n && (c = slice_cmp(slice_of(t->v[i].key, t->v[i].key_len), key)) < 0) {
        i++;
    }
    *ret_there = i < t->n && c == 0;
    return i;
}

static int fill(struct entry *e, const struct record *rec, bool damaged)
{
    struct buf meta = {0};
    int rc = !rec->framed && rec->meta.n > 0 ? attrs_encode(rec->meta, &meta) : 0;
    assert(rec->key.len <= KEY_BYTES && meta.len <= META_BYTES);
    memset(e, 0, sizeof(*e));
    memcpy(e->key, rec->key.ptr, rec->key.len);
    e->key_len = rec->key.len;
    if (meta.len > 0) {
        memcpy(e->meta, meta.ptr, meta.len);
    }
    e->meta_len = meta.len;
    buf_finish(&meta);
    e->obj.body = rec->body;
    e->obj.size = rec->size;
    e->obj.framed = rec->framed;
    e->obj.frame = rec->frame;
    e->obj.body_framed = rec->body_framed;
    e->obj.body_frame = rec->body_frame;
    e->obj.has_md5 = rec->has_md5;
    memcpy(e->obj.md5, rec->md5, sizeof(rec->md5));
    e->obj.mtime_ms = rec->mtime_ms;
    e->obj.parts = rec->part;
    e->obj.damaged = damaged;
    return rc;
}

/* Where it is or would be. */
static size_t find_pending(const struct table *t, uint64_t upload, uint32_t part, bool *ret_there)
{
    size_t i = 0;
    while (i < t->n_pending && (t->pending[i].upload < upload ||
                                (t->pending[i].upload == upload && t->pending[i].part < part))) {
        i++;
    }
    *ret_there = i < t->n_pending && t->pending[i].upload == upload && t->pending[i].part == part;
    return i;
}

static void remove_pending(struct table *t, size_t at, size_t n)
{
    t->n_pending -= n;
    memmove(&t->pending[at], &t->pending[at + n], (t->n_pending - at) * sizeof(t->pending[0]));
}

static void end_upload(struct table *t, uint64_t upload)
{
    bool there;
    size_t at = find_pending(t, upload, 0, &there), n = 0;
    while (at + n < t->n_pending && t->pending[at + n].upload == upload) {
        n++;
    }
    remove_pending(t, at, n);
}

static int apply_upload(struct table *t, const struct record *rec, bool damaged)
{
    uint64_t upload = rec->op == RECORD_UPLOAD ? rec->seq : rec->upload;
    bool there, begun;
    size_t at = find_pending(t, upload, rec->part, &there);
    (void)find_pending(t, upload, 0, &begun);
    if (rec->op == RECORD_ABORT) {
        end_upload(t, upload);
    } else if (rec->op == RECORD_PART && damaged) {
        remove_pending(t, at, there);
    } else if (rec->op == RECORD_UPLOAD || begun) {
        struct pending *p = &t->pending[at];
        struct buf record = {0};
        int rc = record_encode_history(rec, &record);
        if (rc != 0) {
            return rc;
        }
        assert(t->n_pending < PENDING_MAX && record.len <= RECORD_BYTES);
        if (!there) {
            memmove(p + 1, p, (t->n_pending - at) * sizeof(*p));
            t->n_pending++;
        }
        memset(p, 0, sizeof(*p));
        p->upload = upload;
        p->part = rec->part;
        p->len = record.len;
        memcpy(p->record, record.ptr, record.len);
        buf_finish(&record);
    }
    return 0;
}

int index_apply(struct index *ix, const struct record *rec, bool damaged)
{
    struct table *t = &ix->now;
    bool there;
    size_t at = find(t, rec->key, &there);
    assert(ix->in_tx);
    if (!record_in_history(rec)) {
        return apply_upload(t, rec, damaged);
    }
    if (rec->upload != 0) {
        end_upload(t, rec->upload);
    }
    if (rec->op == RECORD_DELETE) {
        if (there) {
            t->n--;
            memmove(&t->v[at], &t->v[at + 1], (t->n - at) * sizeof(t->v[0]));
        }
        return 0;
    }
    if (!there) {
        assert(t->n < ENTRIES_MAX);
        memmove(&t->v[at + 1], &t->v[at], (t->n - at) * sizeof(t->v[0]));
        t->n++;
    }
    return fill(&t->v[at], rec, damaged);
}

static bool is_at(const struct entry *e, struct place body)
{
    return e->obj.body.block == body.block && e->obj.body.off == body.off;
}

int index_set_damage(struct index *ix, struct place body, bool damaged, uint64_t *ret_n)
{
    uint64_t n = 0;
    assert(ix->in_tx);
    for (size_t i = 0; i < ix->now.n; i++) {
        struct object *o = &ix->now.v[i].obj;
        if (is_at(&ix->now.v[i], body) && (o->size > 0 || o->framed) && o->damaged != damaged) {
            o->damaged = damaged;
            n++;
        }
    }
    if (ret_n != NULL) {
        *ret_n = n;
    }
    return 0;
}

int index_set_key_damage(struct index *ix, struct slice key, bool damaged, uint64_t *ret_n)
{
    bool there;
    size_t at = find(&ix->now, key, &there);
    uint64_t n = there && ix->now.v[at].obj.damaged != damaged;
    assert(ix->in_tx);
    if (n > 0) {
        ix->now.v[at].obj.damaged = damaged;
    }
    if (ret_n != NULL) {
        *ret_n = n;
    }
    return 0;
}

int index_set_md5(struct index *ix, struct place body, const uint8_t md5[16])
{
    bool of_nothing = md5[0] == 0xd4 && md5[1] == 0x1d && md5[2] == 0x8c && md5[3] == 0xd9;
    assert(ix->in_tx);
    for (size_t i = 0; i < ix->now.n; i++) {
        struct object *o = &ix->now.v[i].obj;
        if (is_at(&ix->now.v[i], body) && (o->size == 0) == of_nothing) {
            o->has_md5 = true;
            memcpy(o->md5, md5, 16);
        }
    }
    return 0;
}

/* ---- looking up ---- */

int index_has_body_in(struct index *ix, struct place room, uint64_t len, bool *ret)
{
    const struct table *t = seen_by(ix);
    *ret = false;
    for (size_t i = 0; i < t->n; i++) {
        struct place p = t->v[i].obj.body;
        *ret = *ret || (p.block == room.block && p.off > room.off && p.off <= room.off + len);
    }
    return 0;
}

int index_lookup(struct index *ix, struct slice key, struct object *ret)
{
    const struct table *t = seen_by(ix);
    bool there;
    size_t at = find(t, key, &there);
    if (there) {
        *ret = t->v[at].obj;
    }
    return there ? 0 : ZERR_NOT_FOUND;
}

int index_lookup_meta(struct index *ix, struct slice key, struct arena *arena, struct slice *ret)
{
    const struct table *t = seen_by(ix);
    bool there;
    size_t at = find(t, key, &there);
    if (!there) {
        return ZERR_NOT_FOUND;
    }
    *ret = arena_dup(arena, slice_of(t->v[at].meta, t->v[at].meta_len));
    return ret->ptr != NULL ? 0 : ZERR_NOMEM;
}

/* ---- multipart uploads ---- */

static int take_pending(const struct pending *p, struct arena *arena, struct record *ret)
{
    return record_decode_history(slice_of(p->record, p->len), arena, ret);
}

int index_upload(struct index *ix, uint64_t id, struct arena *arena, struct record *ret)
{
    const struct table *t = seen_by(ix);
    bool there;
    size_t at = find_pending(t, id, 0, &there);
    return there ? take_pending(&t->pending[at], arena, ret) : ZERR_NO_UPLOAD;
}

int index_has_upload(struct index *ix, uint64_t id)
{
    bool there;
    (void)find_pending(seen_by(ix), id, 0, &there);
    return there ? 0 : ZERR_NO_UPLOAD;
}

int index_old_upload(struct index *ix, int64_t before_ms, uint64_t after, struct arena *arena,
                     struct record *ret)
{
    const struct table *t = seen_by(ix);
    for (size_t i = 0; i < t->n_pending; i++) {
        const struct pending *p = &t->pending[i];
        int rc = p->part == 0 && p->upload > after ? take_pending(p, arena, ret) : ZERR_NOT_FOUND;
        if (rc != ZERR_NOT_FOUND && (rc != 0 || ret->mtime_ms < before_ms)) {
            return rc;
        }
    }
    return ZERR_NOT_FOUND;
}

int index_each_part(struct index *ix, uint64_t id, uint32_t after,
                    int (*each)(void *user, const struct record *), void *user)
{
    const struct table *t = seen_by(ix);
    struct arena arena = {0};
    bool there;
    int rc = 0;
    for (size_t i = find_pending(t, id, after + 1, &there);
         rc == 0 && i < t->n_pending && t->pending[i].upload == id; i++) {
        struct record rec;
        rc = take_pending(&t->pending[i], &arena, &rec);
        rc = rc == 0 ? each(user, &rec) : rc;
    }
    arena_finish(&arena);
    return rc;
}

static int list_uploads(const struct table *t, struct list_page *page)
{
    for (size_t i = 0; i < t->n_pending; i++) {
        struct record rec;
        int rc = t->pending[i].part == 0 ? take_pending(&t->pending[i], &page->arena, &rec)
                                         : ZERR_NOT_FOUND;
        if (rc == 0) {
            page->entries[page->n++] = (struct list_entry){
                .key = rec.key, .upload = t->pending[i].upload, .mtime_ms = rec.mtime_ms};
        } else if (rc != ZERR_NOT_FOUND) {
            return rc;
        }
    }
    return 0;
}

/* Everything, in one page. */
int index_list(struct index *ix, const struct list_query *q, struct list_page *ret)
{
    const struct table *t = seen_by(ix);
    size_t n = (q->uploads ? t->n_pending : t->n) + 1;
    struct list_page page = {.entries = mem_must(calloc(n, sizeof(page.entries[0])))};
    assert(q->prefix.len == 0 && q->after.len == 0 && q->delimiter.len == 0 && q->max > t->n);
    int rc = q->uploads ? list_uploads(t, &page) : 0;
    for (size_t i = 0; !q->uploads && i < t->n; i++) {
        const struct entry *e = &t->v[i];
        struct list_entry *out = &page.entries[page.n];
        if (!e->obj.damaged) {
            out->key = arena_dup(&page.arena, slice_of(e->key, e->key_len));
            out->size = e->obj.size;
            out->mtime_ms = e->obj.mtime_ms;
            page.n++;
        }
    }
    *ret = page;
    return rc;
}

void list_page_finish(struct list_page *page)
{
    arena_finish(&page->arena);
    free(page->entries);
}

static int each_name(struct index *ix, bool damaged,
                     int (*each)(void *user, struct slice key, const struct object *), void *user)
{
    struct table copy;
    int rc = 0;
    copy_table(&copy, seen_by(ix));
    for (size_t i = 0; i < copy.n && rc == 0; i++) {
        const struct entry *e = &copy.v[i];
        rc = !damaged || e->obj.damaged ? each(user, slice_of(e->key, e->key_len), &e->obj) : 0;
    }
    return rc;
}

int index_each_damaged(struct index *ix,
                       int (*each)(void *user, struct slice key, const struct object *), void *user)
{
    return each_name(ix, true, each, user);
}

/* In order of names: nobody here needs the other order. */
int index_each_by_place(struct index *ix,
                        int (*each)(void *user, struct slice key, const struct object *),
                        void *user)
{
    return each_name(ix, false, each, user);
}
