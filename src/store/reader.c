/* Reading: find, fetch, check, and what happens when a check fails.
 *
 *   OPENING -> OPEN -> (reads, at most two) -> closed
 *
 * Where everything is follows from the index: the frame's head, its record, the body, and behind
 * the body the sums. A small object is one pread of its whole frame. If the page cache has it, that
 * happens on the loop at once; else in a worker. Larger bodies come in pieces, each checked against
 * its sum before it is handed out (body.c).
 *
 * A body is a list of extents: one, or as many as the record of a multipart object says. Blocks of
 * these are held only while they are read.
 *
 * When a check fails the bytes are read again, past the page cache, twice. Only if they are still
 * wrong the object is damaged: its names are marked (lane upkeep) and the caller is told. An I/O
 * error is an error, never a mark.
 *
 * Bodies of the original have no frames and no sums: they are handed out as they are, and their MD5
 * is computed at the first opening and kept in the index. */
#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/num.h"
#include "store/body.h"
#include "store/store_priv.h"

#define WHOLE_MAX                                                                                  \
    (128u                                                                                          \
     << 10) /* a frame so long is read in one go, on the loop if it is cached:                \
                half the CPU time of going through a worker */
#define READS_MAX 2 /* reads of one reader at a time */
#define MD5_READ (1u << 20)

enum reader_state { READER_OPENING, READER_OPEN };

struct read_slot {
    struct job job;
    struct reader *r;
    bool running; /* its job */
    bool told;    /* the caller has it, or its failure */
    const struct extent *extent;
    struct block *block; /* its, referenced while the job runs */
    uint64_t off;        /* asked for, in the extent */
    size_t len;
    uint8_t *buf; /* whole pieces around it */
    size_t cap;
    struct read_piece piece;
    int status;
};

struct reader {
    struct store *st;
    const struct reader_ops *ops; /* NULL: closed, freed when its jobs have ended */
    void *user;
    enum reader_state state;
    struct object obj;
    struct slice key;                       /* points at key_bytes */
    struct block *body_block, *frame_block; /* referenced */
    struct arena arena;
    struct frame_record rec;
    struct attrs meta, sys;
    struct extents extents; /* `plain`, or the record's */
    struct extent plain;
    uint64_t *starts; /* of several extents, in the object */
    uint8_t *whole;   /* the whole frame, if small */
    size_t whole_len;
    bool checked_whole; /* its body is checked */
    struct job job;
    bool running;
    int status;
    bool computed_md5;
    struct sums_window window;
    struct read_slot slots[READS_MAX];
    unsigned head, n_out; /* slots in use, oldest first */
    unsigned delivering;  /* inside read() call-backs */
    uint8_t key_bytes[];
};

/* ---- damage ---- */

static bool is_copy(const struct reader *r)
{
    return r->obj.framed && (!r->obj.body_framed || r->obj.frame.block != r->obj.body_frame.block ||
                             r->obj.frame.off != r->obj.body_frame.off);
}

/* of_record: of the name's own; its body may be well, and other names' too. */
static void note_damage(struct reader *r, bool of_record)
{
    struct store *st = r->st;
    size_t key_len = of_record && is_copy(r) ? r->key.len : 0;
    struct upkeep *u = calloc(1, sizeof(*u) + key_len);
    char name[80];
    store_note(st, LOG_ERROR,
               "object %s is damaged (block %u, offset %llu): it is set aside; see zipkvverify",
               log_quote(r->key, name, sizeof(name)), r->obj.body.block,
               (unsigned long long)r->obj.body.off);
    if (u != NULL) {
        u->body = r->obj.body;
        u->frame = r->obj.frame;
        u->key_len = key_len;
        memcpy(u->key, r->key.ptr, key_len);
        u->next = st->upkeep;
        st->upkeep = u;
        lane_kick(st);
    }
}

static void keep_md5(struct reader *r)
{
    struct upkeep *u = calloc(1, sizeof(*u));
    if (u != NULL) {
        u->body = r->obj.body;
        u->is_md5 = true;
        memcpy(u->md5, r->obj.md5, sizeof(u->md5));
        u->next = r->st->upkeep;
        r->st->upkeep = u;
        lane_kick(r->st);
    }
}

/* ---- the record ---- */

static uint32_t record_len_of(const struct reader *r)
{
    uint64_t between = r->obj.body.off - r->obj.frame.off;
    return (uint32_t)(between - FRAME_HEAD_BYTES - RECORD_CRC_BYTES);
}

/* The arena's, with where each begins. */
static int take_extents(struct reader *r, struct extents extents)
{
    uint64_t at = 0;
    r->starts = arena_alloc(&r->arena, extents.n * sizeof(uint64_t));
    if (r->starts == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < extents.n; i++) {
        r->starts[i] = at;
        at += extents.v[i].len;
    }
    r->extents = extents;
    return 0;
}

/* Checks head and record in buf (head first) and decodes it. */
static int parse_record(struct reader *r, const uint8_t *buf, size_t len)
{
    struct frame_head head;
    if (!r->frame_block->framed ||
        frame_head_decode(buf, &r->frame_block->header, r->obj.frame.off, &head) != 0 ||
        (head.kind != FRAME_PUT && head.kind != FRAME_COPY && head.kind != FRAME_UPLOAD) ||
        FRAME_HEAD_BYTES + (uint64_t)head.record_len + RECORD_CRC_BYTES > len) {
        return ZERR_DAMAGED;
    }
    struct slice bytes = slice_of(buf + FRAME_HEAD_BYTES, head.record_len);
    if (le32_get(bytes.ptr + bytes.len) != frame_record_crc(buf, bytes)) {
        return ZERR_DAMAGED;
    }
    arena_reset(&r->arena);
    int rc = frame_record_decode(bytes, frame_implies_place(head.kind), &r->arena, &r->rec);
    if (rc == ZERR_NOMEM) {
        return rc;
    }
    const struct record *e = r->rec.entries;
    if (rc != 0 || r->rec.n_entries != 1 || e->op != RECORD_PUT || !slice_eq(e->key, r->key) ||
        e->size != r->obj.size || e->part != r->obj.parts ||
        (e->extents.n > 0) != (e->part > 0 && e->size > 0)) {
        return ZERR_DAMAGED;
    }
    r->meta = e->meta;
    r->sys = e->sys;
    return e->extents.n > 0 ? take_extents(r, e->extents) : 0;
}

/* Bytes of head and record: exact for a body's own frame; a copy's record is read in two steps. */
static int read_record(struct reader *r, enum read_how how)
{
    uint8_t head[FRAME_HEAD_BYTES];
    uint64_t len;
    if (is_copy(r)) {
        int rc = body_read_exact(r->frame_block, how, head, sizeof(head), r->obj.frame.off);
        if (rc != 0) {
            return rc;
        }
        len = le32_get(head + 20);
    } else {
        len = record_len_of(r);
    }
    if (len > RECORD_MAX_BYTES) {
        return ZERR_DAMAGED;
    }
    len += FRAME_HEAD_BYTES + RECORD_CRC_BYTES;
    uint8_t *buf = malloc(len);
    int rc =
        buf == NULL ? ZERR_NOMEM : body_read_exact(r->frame_block, how, buf, len, r->obj.frame.off);
    if (rc == 0) {
        rc = parse_record(r, buf, len);
    }
    free(buf);
    return rc;
}

/* ---- opening ---- */

/* One pread for the whole frame: record, body and sums. */
static int read_whole(struct reader *r, enum read_how how)
{
    int rc = body_read_exact(r->frame_block, how, r->whole, r->whole_len, r->obj.frame.off);
    if (rc == 0) {
        rc = parse_record(r, r->whole, r->whole_len);
    }
    const uint8_t *body = r->whole + (r->obj.body.off - r->obj.frame.off);
    if (rc == 0) {
        rc = body_check_pieces(body, r->obj.size, body + r->obj.size);
    }
    r->checked_whole = rc == 0;
    return rc;
}

static int read_open(struct reader *r, enum read_how how)
{
    if (r->whole != NULL) {
        return read_whole(r, how);
    }
    return r->obj.framed ? read_record(r, how) : 0;
}

/* Reads again from the device, twice, before anything is concluded. */
static int open_checked(struct reader *r)
{
    int rc = read_open(r, READ_NORMAL);
    for (int i = 0; i < 2 && rc == ZERR_DAMAGED; i++) {
        rc = read_open(r, READ_DEVICE);
    }
    return rc;
}

static int compute_md5(struct reader *r)
{
    uint8_t *buf = malloc(MD5_READ);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc =
        buf == NULL || ctx == NULL || EVP_DigestInit_ex(ctx, EVP_md5(), NULL) != 1 ? ZERR_NOMEM : 0;
    for (uint64_t at = 0; at < r->obj.size && rc == 0;) {
        uint64_t n = r->obj.size - at < MD5_READ ? r->obj.size - at : MD5_READ;
        rc = body_read_exact(r->body_block, READ_NORMAL, buf, n, r->obj.body.off + at);
        if (rc == 0 && EVP_DigestUpdate(ctx, buf, n) != 1) {
            rc = ZERR_NOMEM;
        }
        at += n;
    }
    if (rc == 0 && EVP_DigestFinal_ex(ctx, r->obj.md5, NULL) != 1) {
        rc = ZERR_NOMEM;
    }
    EVP_MD_CTX_free(ctx);
    free(buf);
    return rc;
}

static void open_run(struct job *job)
{
    struct reader *r = container_of(job, struct reader, job);
    struct vfs_file *file; /* headers are known once the files are open */
    int rc = block_file(r->body_block, &file);
    if (rc == 0 && r->frame_block != NULL) {
        rc = block_file(r->frame_block, &file);
    }
    if (rc == 0) {
        rc = open_checked(r);
    }
    if (rc == 0 && !r->obj.has_md5) {
        rc = compute_md5(r);
        r->computed_md5 = rc == 0;
    }
    /* The name is there; that its block is not (I7) is no reason to say otherwise. */
    r->status = rc == ZERR_NOT_FOUND ? ZERR_IO : rc;
}

static void reader_free(struct reader *r)
{
    for (unsigned i = 0; i < READS_MAX; i++) {
        free(r->slots[i].buf);
    }
    block_unref(r->body_block);
    block_unref(r->frame_block);
    arena_finish(&r->arena);
    sums_window_finish(&r->window);
    r->st->n_readers--;
    free(r->whole);
    free(r);
}

static bool reader_busy(const struct reader *r)
{
    bool busy = r->running;
    for (unsigned i = 0; i < READS_MAX; i++) {
        busy = busy || r->slots[i].running;
    }
    return busy;
}

static void set_opened(struct reader *r)
{
    r->state = READER_OPEN;
    r->obj.has_md5 = true;
    r->st->stats.gets++;
}

static void open_done(struct job *job)
{
    struct reader *r = container_of(job, struct reader, job);
    struct store *st = r->st;
    st->n_jobs--;
    r->running = false;
    if (r->status == ZERR_DAMAGED) {
        note_damage(r, true);
    }
    if (r->computed_md5) {
        keep_md5(r);
    }
    if (r->ops == NULL) {
        reader_free(r);
    } else {
        if (r->status == 0) {
            set_opened(r);
        }
        r->ops->opened(r->user, r->status);
    }
    store_stop_step(st);
}

static int reader_prepare(struct reader *r, bool want_body)
{
    struct store *st = r->st;
    const struct object *o = &r->obj;
    r->plain = (struct extent){.body = o->body,
                               .size = o->size,
                               .framed = o->body_framed,
                               .frame = o->body_frame,
                               .len = o->size};
    r->extents = (struct extents){&r->plain, 1};
    /* A multipart object has no body of its own; what it is made of, its record says. */
    r->body_block = block_get(st, o->parts > 0 ? o->frame.block : o->body.block);
    if (r->body_block == NULL) {
        return ZERR_NOMEM;
    }
    if (!o->framed) {
        struct slice raw;
        int rc = index_lookup_meta(st->ix_read, r->key, &r->arena, &raw);
        return rc == 0 ? attrs_decode(raw, &r->arena, &r->meta) : rc;
    }
    r->frame_block = block_get(st, o->frame.block);
    if (r->frame_block == NULL) {
        return ZERR_NOMEM;
    }
    if (!is_copy(r) && o->parts == 0) {
        if (o->body.off < o->frame.off + FRAME_HEAD_BYTES + RECORD_CRC_BYTES) {
            return ZERR_CORRUPT;
        }
        uint64_t len = o->body.off - o->frame.off + o->size + frame_sums_len(o->size);
        if (len <= WHOLE_MAX && (want_body || o->size <= 4096)) {
            r->whole = malloc(len);
            r->whole_len = len;
            return r->whole == NULL ? ZERR_NOMEM : 0;
        }
    }
    return 0;
}

int reader_open(struct store *st, struct slice key, bool want_body, const struct reader_ops *ops,
                void *user, struct reader **ret)
{
    struct object obj;
    if (st->stopping && st->stopped) {
        return ZERR_CANCELED;
    }
    int rc = store_lookup(st, key, &obj);
    if (rc != 0) {
        return rc;
    }
    if (obj.damaged) {
        return ZERR_DAMAGED;
    }
    struct reader *r = calloc(1, sizeof(*r) + key.len);
    if (r == NULL) {
        return ZERR_NOMEM;
    }
    r->st = st;
    r->ops = ops;
    r->user = user;
    r->obj = obj;
    sums_window_init(&r->window);
    st->n_readers++;
    memcpy(r->key_bytes, key.ptr, key.len);
    r->key = slice_of(r->key_bytes, key.len);
    rc = reader_prepare(r, want_body);
    if (rc != 0) {
        reader_free(r);
        return store_saw_index(st, rc); /* it says what cannot be */
    }
    *ret = r;
    if (r->obj.has_md5 && r->obj.framed && block_file_if_open(r->body_block) != NULL &&
        block_file_if_open(r->frame_block) != NULL && read_open(r, READ_CACHED) == 0) {
        set_opened(r);
        return 0; /* what is not in the cache, or does not check, is a worker's */
    }
    r->running = true;
    r->job = (struct job){.run = open_run, .done = open_done, .cls = JOB_READ};
    st->n_jobs++;
    st->cfg.workers->submit(st->cfg.workers, &r->job);
    return ZKV_PENDING;
}

const struct object *reader_object(const struct reader *r)
{
    return &r->obj;
}
struct attrs reader_meta(const struct reader *r)
{
    return r->meta;
}
struct attrs reader_sys(const struct reader *r)
{
    return r->sys;
}

/* ---- reading ---- */

static void slot_run(struct job *job)
{
    struct read_slot *s = container_of(job, struct read_slot, job);
    struct sums_window *w = &s->r->window;
    struct vfs_file *file; /* its header is known once the file is open */
    int rc = block_file(s->block, &file);
    if (rc == 0) {
        rc = body_read(s->block, s->extent, READ_NORMAL, s->off, s->len, s->buf, w, &s->piece);
    }
    for (int i = 0; i < 2 && rc == ZERR_DAMAGED && s->extent->framed; i++) {
        rc = body_read(s->block, s->extent, READ_DEVICE, s->off, s->len, s->buf, w, &s->piece);
    }
    s->status = rc == ZERR_NOT_FOUND ? ZERR_IO : rc; /* as in open_run() */
}

/* Hands out what is ready, oldest first. */
static void deliver(struct reader *r)
{
    struct store *st = r->st;
    while (r->ops != NULL) {
        struct read_slot *s = NULL;
        for (unsigned i = 0; i < r->n_out && s == NULL; i++) {
            struct read_slot *at = &r->slots[(r->head + i) % READS_MAX];
            if (at->running) {
                break;
            }
            s = at->told ? NULL : at;
        }
        if (s == NULL) {
            break;
        }
        s->told = true;
        if (s->status == 0) {
            st->stats.bytes_out += s->len;
        }
        r->delivering++;
        r->ops->read(r->user, s->status, s->status == 0 ? s->piece : (struct read_piece){NULL, 0});
        r->delivering--;
    }
    if (r->ops == NULL && r->delivering == 0 && !reader_busy(r)) {
        reader_free(r);
    }
}

static void slot_done(struct job *job)
{
    struct read_slot *s = container_of(job, struct read_slot, job);
    struct reader *r = s->r;
    struct store *st = r->st;
    st->n_jobs--;
    s->running = false;
    block_unref(s->block);
    s->block = NULL;
    if (s->status == ZERR_DAMAGED && s->extent->framed) {
        note_damage(r, false);
    }
    deliver(r);
    store_stop_step(st);
}

/* The extent that holds the byte at off. */
static size_t extent_at(const struct reader *r, uint64_t off)
{
    size_t lo = 0, hi = r->extents.n; /* starts[lo] <= off < starts[hi] */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        *(r->starts[mid] <= off ? &lo : &hi) = mid;
    }
    return lo;
}

static uint64_t start_of(const struct reader *r, size_t i)
{
    return i == 0 ? 0 : r->starts[i];
}

uint64_t reader_span(const struct reader *r, uint64_t off)
{
    size_t i = extent_at(r, off);
    return start_of(r, i) + r->extents.v[i].len - off;
}

struct extents reader_all_extents(const struct reader *r)
{
    return r->obj.size > 0 ? r->extents : (struct extents){0};
}

struct extents reader_extents(const struct reader *r)
{
    return r->obj.parts > 0 && r->obj.size > 0 ? r->extents : (struct extents){0};
}

int reader_part(const struct reader *r, uint32_t number, uint64_t *ret_off, uint64_t *ret_len)
{
    if (r->obj.parts == 0 || r->obj.size == 0) {
        *ret_off = 0;
        *ret_len = r->obj.size;
        return number == 1 ? 0 : ZERR_NOT_FOUND;
    }
    uint64_t off = 0, len = 0;
    for (size_t i = 0; i < r->extents.n; i++) {
        if (r->extents.v[i].part == number) {
            off = len == 0 ? start_of(r, i) : off;
            len += r->extents.v[i].len;
        }
    }
    if (len == 0) {
        return ZERR_NOT_FOUND;
    }
    *ret_off = off;
    *ret_len = len;
    return 0;
}

int reader_read(struct reader *r, uint64_t off, size_t len, struct read_piece *ret)
{
    assert(r->state == READER_OPEN && r->n_out < READS_MAX);
    if (len == 0 || len > READ_MAX_BYTES || off >= r->obj.size || len > reader_span(r, off)) {
        return ZERR_INVALID;
    }
    struct read_slot *s = &r->slots[(r->head + r->n_out) % READS_MAX];
    size_t i = extent_at(r, off);
    s->r = r;
    s->extent = &r->extents.v[i];
    s->off = off - start_of(r, i);
    s->len = len;
    if (r->checked_whole) {
        r->n_out++;
        s->told = true;
        r->st->stats.bytes_out += len;
        *ret = (struct read_piece){r->whole + (r->obj.body.off - r->obj.frame.off) + off, len};
        return 0;
    }
    size_t need = body_room(s->extent, s->off, len);
    if (s->cap < need) {
        uint8_t *p = realloc(s->buf, need);
        if (p == NULL) {
            return ZERR_NOMEM;
        }
        s->buf = p;
        s->cap = need;
    }
    s->block =
        r->obj.parts > 0 ? block_get(r->st, s->extent->body.block) : block_ref(r->body_block);
    if (s->block == NULL) {
        return ZERR_NOMEM;
    }
    r->n_out++;
    s->told = false;
    s->running = true;
    s->job = (struct job){.run = slot_run, .done = slot_done, .cls = JOB_READ};
    r->st->n_jobs++;
    r->st->cfg.workers->submit(r->st->cfg.workers, &s->job);
    return ZKV_PENDING;
}

void reader_release(struct reader *r)
{
    assert(r->n_out > 0 && r->slots[r->head].told);
    r->head = (r->head + 1) % READS_MAX;
    r->n_out--;
}

void reader_close(struct reader *r)
{
    if (r == NULL) {
        return;
    }
    r->ops = NULL;
    if (!reader_busy(r) && r->delivering == 0) {
        struct store *st = r->st;
        reader_free(r);
        store_stop_step(st);
    }
}
