/* Walking the frames of a block file (scan.h).
 *
 * One pass from the header on: at each multiple of FRAME_ALIGN there is a head or there is not. A
 * head that checks says where the next one is; else the walk goes on by FRAME_ALIGN, and the bytes
 * passed are one run of garbage, handed out when the next head or the end of the file is reached.
 * Memory: a window of heads, one record, one window of sums and one piece. */
#include "store/scan.h"

#include <stdlib.h>

#include "base/num.h"

#define WINDOW_BYTES PIECE_BYTES
#define SUMS_WINDOW 512 /* sums read at a time */
#define NO_PIECE (UINT64_MAX - 1)

struct scan {
    struct vfs_file *file;
    struct block_header header;
    uint64_t file_len;
    unsigned flags;
    struct buf record;
    struct sums_hash *sums_hash;
    uint64_t window_off; /* of `window` in the file */
    size_t window_len;
    size_t window_max; /* one frame alone needs no more than its head */
    /* From here on not cleared: that would cost more than checking a small frame. */
    uint8_t sums[SUMS_WINDOW * SUM_BYTES];
    uint8_t window[WINDOW_BYTES];
    uint8_t piece[PIECE_BYTES];
};

static int scan_create(struct vfs_file *file, unsigned flags, struct scan **ret)
{
    struct scan *s = malloc(sizeof(*s));
    int err;

    if (s == NULL) {
        return ZERR_NOMEM;
    }
    memset(s, 0, offsetof(struct scan, sums));
    s->window_max = WINDOW_BYTES;
    s->file = file;
    s->flags = flags;
    s->sums_hash = sums_hash_create();
    err = s->sums_hash == NULL ? ZERR_NOMEM : file->vfs->ops->size(file, &s->file_len);
    if (err != 0) {
        sums_hash_destroy(s->sums_hash);
        free(s);
        return err;
    }
    *ret = s;
    return 0;
}

static void scan_destroy(struct scan *s)
{
    buf_finish(&s->record);
    sums_hash_destroy(s->sums_hash);
    free(s);
}

/* Exactly n bytes that the file had when its length was taken. */
static int read_exactly(struct scan *s, uint64_t off, void *buf, size_t n)
{
    size_t got;
    int err = s->file->vfs->ops->pread(s->file, buf, n, off, &got);

    return err != 0 ? err : got == n ? 0 : ZERR_INCOMPLETE;
}

/* At least one byte at off < file_len, from the window; *ret_n is at most FRAME_HEAD_BYTES. */
static int read_head(struct scan *s, uint64_t off, const uint8_t **ret, size_t *ret_n)
{
    uint64_t in_file = s->file_len - off;
    size_t n = in_file < FRAME_HEAD_BYTES ? (size_t)in_file : FRAME_HEAD_BYTES;
    int err;

    if (off < s->window_off || off + n > s->window_off + s->window_len) {
        s->window_len = 0;
        err = s->file->vfs->ops->pread(s->file, s->window, s->window_max, off, &s->window_len);
        if (err != 0) {
            return err;
        }
        s->window_off = off;
        if (s->window_len < n) {
            return ZERR_INCOMPLETE;
        }
    }
    *ret = s->window + (off - s->window_off);
    *ret_n = n;
    return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* ---- one frame ------------------------------------------------------------------------------- */

/* Sums against the record's hash, each piece against its sum. 0 with *ret_bad: the first piece that
 * does not match, UINT64_MAX for the sums themselves, NO_PIECE if all is right. */
static int check_body(struct scan *s, uint64_t body_off, uint64_t body_len, uint64_t want_hash,
                      uint64_t *ret_bad)
{
    uint64_t sums_off = body_off + body_len, n_pieces = frame_pieces(body_len);

    *ret_bad = NO_PIECE;
    sums_hash_reset(s->sums_hash);
    for (uint64_t i = 0; i < n_pieces; i++) {
        size_t in_window = (size_t)(i % SUMS_WINDOW);
        uint64_t left = body_len - i * PIECE_BYTES;
        size_t n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        int err;

        if (in_window == 0) {
            uint64_t n_sums = n_pieces - i < SUMS_WINDOW ? n_pieces - i : SUMS_WINDOW;

            err = read_exactly(s, sums_off + i * SUM_BYTES, s->sums, (size_t)n_sums * SUM_BYTES);
            if (err != 0) {
                return err;
            }
            sums_hash_update(s->sums_hash, s->sums, (size_t)n_sums * SUM_BYTES);
        }
        if (*ret_bad != NO_PIECE) {
            continue;
        }
        err = read_exactly(s, body_off + i * PIECE_BYTES, s->piece, n);
        if (err != 0) {
            return err;
        }
        if (piece_sum(s->piece, n) != le64_get(s->sums + in_window * SUM_BYTES)) {
            *ret_bad = i;
        }
    }
    if (sums_hash_final(s->sums_hash) != want_hash) {
        *ret_bad = UINT64_MAX;
    }
    return 0;
}

/* Whether the decoded record is one that this kind of frame can have. */
static bool record_fits(const struct scan *s, const struct frame_head *head,
                        const struct frame_record *rec)
{
    const struct record *first = rec->entries;
    bool single = rec->n_entries == 1;

    switch (head->kind) {
    case FRAME_PUT:
        return single && first->op == RECORD_PUT && first->size == head->body_len &&
               first->extents.n == 0;
    case FRAME_PART:
        return single && first->op == RECORD_PART && first->size == head->body_len &&
               first->upload != 0 && first->part != 0 && first->extents.n == 0;
    case FRAME_UPLOAD:
        return single && head->body_len == 0 && first->op != RECORD_DELETE &&
               (first->upload != 0) == (first->op != RECORD_UPLOAD) &&
               (first->op != RECORD_PART || first->part != 0) &&
               (first->size == 0 || first->extents.n > 0);
    case FRAME_COPY:
    case FRAME_BATCH:
        for (size_t i = 0; i < rec->n_entries; i++) {
            if (!record_in_history(&rec->entries[i])) {
                return false;
            }
            /* A body beside frames has one itself. */
            if (rec->entries[i].op == RECORD_PUT && !rec->entries[i].body_framed &&
                rec->entries[i].body.block == s->header.block) {
                return false;
            }
        }
        return head->body_len == 0 && rec->n_entries > 0 &&
               (head->kind == FRAME_BATCH || (single && first->op == RECORD_PUT));
    case FRAME_DELETE:
        return head->body_len == 0 && single && first->op == RECORD_DELETE;
    default:
        return false;
    }
}

static void fill_places(const struct scan *s, struct scan_frame *f)
{
    struct record *v = (struct record *)f->rec.entries; /* the arena's, made for this frame */
    struct place frame = {s->header.block, f->off};

    for (size_t i = 0; i < f->rec.n_entries; i++) {
        record_set_frame(&v[i], frame, &f->head);
    }
}

/* Decodes the record, which is in s->record with its CRC right. ZERR_CORRUPT: none that fits. */
static int take_record(struct scan *s, struct arena *arena, struct scan_frame *f)
{
    struct frame_record rec;
    int err = frame_record_decode(slice_of(s->record.ptr, f->head.record_len),
                                  frame_implies_place(f->head.kind), arena, &rec);

    if (err != 0) {
        return err;
    }
    if (f->head.kind == FRAME_VOID) {
        f->rec.void_first = rec.void_first;
        f->rec.void_last = rec.void_last;
        return 0;
    }
    if (!record_fits(s, &f->head, &rec)) {
        return ZERR_CORRUPT;
    }
    f->rec = rec;
    fill_places(s, f);
    return 0;
}

/* What is in the record's room: 0 with the verdict (SCAN_VALID: a record whose CRC is right), and
 * the room's bytes in s->record. */
static int read_record(struct scan *s, const uint8_t *head_bytes, const struct scan_frame *f,
                       enum scan_verdict *ret)
{
    uint32_t len = f->head.record_len;
    uint64_t off = f->off + frame_record_off();
    size_t room = len > 0 ? (size_t)len + RECORD_CRC_BYTES : 0;
    uint64_t in_file = off < s->file_len ? s->file_len - off : 0;
    size_t n = room < in_file ? room : (size_t)in_file;
    int err;

    buf_reset(&s->record);
    err = buf_reserve(&s->record, n + 1);
    if (err == 0) {
        err = read_exactly(s, off, s->record.ptr, n);
    }
    if (err != 0) {
        return err;
    }
    if (room == 0) {
        *ret = SCAN_BAD_RECORD;
    } else if (all_zero(s->record.ptr, n)) {
        *ret = SCAN_UNCOMMITTED;
    } else if (n < room || le32_get(s->record.ptr + len) !=
                               frame_record_crc(head_bytes, slice_of(s->record.ptr, len))) {
        *ret = SCAN_BAD_RECORD;
    } else {
        *ret = SCAN_VALID;
    }
    return 0;
}

static int judge_body(struct scan *s, struct scan_frame *f)
{
    uint64_t body_off = f->off + frame_body_off(f->head.record_len);
    uint64_t end = body_off + f->head.body_len + frame_sums_len(f->head.body_len);
    int err = 0;

    f->bad_piece = UINT64_MAX;
    if (end > s->file_len) {
        f->verdict = SCAN_BAD_BODY;
    } else if (frame_has_body(f->head.kind) && (s->flags & SCAN_BODIES) != 0) {
        err = check_body(s, body_off, f->head.body_len, f->rec.sums_hash, &f->bad_piece);
        f->verdict = f->bad_piece == NO_PIECE ? SCAN_VALID : SCAN_BAD_BODY;
    }
    return err;
}

/* The frame whose head, at f->off, has just been decoded. */
static int judge_frame(struct scan *s, const uint8_t *head_in_window, struct arena *arena,
                       struct scan_frame *f)
{
    uint8_t head[FRAME_HEAD_BYTES];
    bool known = (f->head.kind >= FRAME_PUT && f->head.kind <= FRAME_VOID) ||
                 f->head.kind == FRAME_PART || f->head.kind == FRAME_UPLOAD;
    int err;

    memcpy(head, head_in_window, sizeof(head));
    f->len = frame_len(f->head.record_len, f->head.body_len);
    err = read_record(s, head, f, &f->verdict);
    if (err == 0 && f->verdict == SCAN_VALID && known) {
        err = take_record(s, arena, f);
        if (err == ZERR_CORRUPT) {
            f->verdict = SCAN_BAD_RECORD;
            err = 0;
        }
    }
    if (f->head.kind == FRAME_VOID) {
        f->verdict = SCAN_VOID;
    } else if (err == 0 && f->verdict == SCAN_VALID) {
        err = judge_body(s, f);
    }
    return err;
}

/* The frame at off, or SCAN_GARBAGE of FRAME_ALIGN bytes or what the file has. */
static int read_frame(struct scan *s, uint64_t off, struct arena *arena, struct scan_frame *ret)
{
    struct scan_frame f = {.off = off, .bad_piece = UINT64_MAX};
    const uint8_t *head;
    size_t n;
    int err = read_head(s, off, &head, &n);

    if (err != 0) {
        return err;
    }
    err = n < FRAME_HEAD_BYTES ? ZERR_CORRUPT : frame_head_decode(head, &s->header, off, &f.head);
    if (err == ZERR_CORRUPT) {
        f.verdict = SCAN_GARBAGE;
        f.len = n;
        f.zero = all_zero(head, n);
        err = 0;
    } else if (err == 0) {
        err = judge_frame(s, head, arena, &f);
    }
    if (err == 0) {
        *ret = f;
    }
    return err;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* A header whose own bytes do not check is believed as far as the first frame, right behind it,
 * bears it out: that one's head has the salt. Its magic or salt must still stand, so that an
 * object of the original at the start of its block is not taken for ours. */
static bool mend_header(const uint8_t *bytes, const uint8_t *first, uint32_t block,
                        struct block_header *ret)
{
    struct frame_head head;
    struct block_header h = {
        .block = block, .salt = le64_get(first + 8), .session = le64_get(bytes + 40)};

    if (frame_head_decode(first, &h, BLOCK_HEADER_BYTES, &head) == ZERR_CORRUPT ||
        (memcmp(bytes, BLOCK_MAGIC, 8) != 0 && le64_get(bytes + 32) != h.salt)) {
        return false;
    }
    memcpy(h.store_id, bytes + 16, STORE_ID_BYTES);
    h.session = h.session <= SEQ_SESSION_MAX ? h.session : 0;
    *ret = h;
    return true;
}

int scan_header(struct vfs_file *file, uint32_t block, struct block_header *ret, bool *ret_damaged)
{
    uint8_t bytes[BLOCK_HEADER_BYTES + FRAME_HEAD_BYTES];
    size_t n;
    int err = file->vfs->ops->pread(file, bytes, sizeof(bytes), 0, &n);

    *ret_damaged = false;
    if (err != 0) {
        return err;
    }
    if (n < BLOCK_HEADER_BYTES) {
        return ZERR_NOT_FOUND;
    }
    err = block_header_decode(bytes, block, ret);
    if ((err == ZERR_NOT_FOUND || err == ZERR_CORRUPT) && n == sizeof(bytes) &&
        mend_header(bytes, bytes + BLOCK_HEADER_BYTES, block, ret)) {
        *ret_damaged = true;
        err = 0;
    }
    return err;
}

/* Hands out one frame or run of garbage, which may be empty. */
static int hand_out(const struct scan_frame *f, struct scan_result *result,
                    int (*each)(void *user, const struct scan_frame *), void *user)
{
    if (f->len == 0) {
        return 0;
    }
    if (f->verdict != SCAN_GARBAGE) {
        result->end = f->off + f->len < result->file_len ? f->off + f->len : result->file_len;
    }
    return each(user, f);
}

static int walk(struct scan *s, struct arena *arena, struct scan_result *result,
                int (*each)(void *user, const struct scan_frame *), void *user)
{
    struct scan_frame garbage = {.verdict = SCAN_GARBAGE};
    uint64_t off = BLOCK_HEADER_BYTES;

    while (off < s->file_len) {
        struct scan_frame f;
        int err;

        arena_reset(arena);
        err = read_frame(s, off, arena, &f);
        if (err != 0) {
            return err;
        }
        if (f.verdict == SCAN_GARBAGE) {
            garbage.off = garbage.len == 0 ? f.off : garbage.off;
            garbage.zero = f.zero && (garbage.len == 0 || garbage.zero);
            garbage.len += f.len;
        } else {
            err = hand_out(&garbage, result, each, user);
            if (err == 0) {
                err = hand_out(&f, result, each, user);
            }
            if (err != 0) {
                return err;
            }
            garbage.len = 0;
        }
        off += f.len;
    }
    return hand_out(&garbage, result, each, user);
}

int scan_block(struct vfs_file *file, uint32_t block, unsigned flags,
               int (*each)(void *user, const struct scan_frame *), void *user,
               struct scan_result *ret)
{
    struct scan_result result = {.end = BLOCK_HEADER_BYTES};
    struct arena arena = {0};
    struct scan *s;
    int err = scan_create(file, flags, &s);

    if (err != 0) {
        return err;
    }
    result.file_len = s->file_len;
    err = scan_header(s->file, block, &s->header, &result.header_damaged);
    if (err == 0) {
        result.header = s->header;
        err = walk(s, &arena, &result, each, user);
    }
    arena_finish(&arena);
    scan_destroy(s);
    if (err == 0) {
        *ret = result;
    }
    return err;
}

int scan_one(struct vfs_file *file, const struct block_header *header, uint64_t off, unsigned flags,
             struct arena *arena, struct scan_frame *ret)
{
    struct scan *s;
    int err = scan_create(file, flags, &s);

    if (err != 0) {
        return err;
    }
    s->header = *header;
    s->window_max = FRAME_HEAD_BYTES;
    if (off < s->file_len) {
        err = read_frame(s, off, arena, ret);
    } else {
        *ret = (struct scan_frame){.verdict = SCAN_GARBAGE, .off = off, .zero = true};
    }
    scan_destroy(s);
    return err;
}
