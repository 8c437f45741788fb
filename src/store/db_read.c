/* Reading the history: one pass over the members of a db file (db.h).
 *
 * Each member is read twice. The first time nothing is handed out: the gzip check sum, the message
 * and each record are checked, and what the extra field says of them. Only then is it read again
 * and its records are handed out. Inflated bytes pass through a window and one record's buffer, so
 * a member may claim any size.
 *
 * Where a member is not good the scan looks for the next one behind it: at the length its own extra
 * field gives, if that can be read, else at the next header of ours in the file. Such a header
 * counts only with its own CRC, this store's id and a revision not below those seen, and only if
 * the whole member is good. If there is none the good part ends before the damage. */
#include <stdlib.h>
#include <zlib.h>

#include <pb_decode.h>

#include "base/num.h"
#include "store/db_priv.h"
#include "zipkv.pb.h"

#define READ_WINDOW (64u << 10)    /* compressed */
#define INFLATE_WINDOW (32u << 10) /* inflated */
#define OPEN_BLOCKS_MAX 65536

struct scan {
    struct vfs_file *file;
    uint64_t file_len;
    const struct db_visitor *visitor;
    bool has_store_id;
    uint8_t store_id[STORE_ID_BYTES];

    /* The member being read. */
    uint64_t off, limit;    /* its first byte; where reading must stop */
    uint64_t fed;           /* bytes given to inflate, those in z.next_in included */
    bool hand_out;          /* the second time */
    bool ended;             /* inflate saw the end, check sum and length are right */
    int err;                /* hard: the device, memory, the visitor */
    int record_err;         /* of the first record that cannot be decoded */
    uint64_t rev;           /* of the next record */
    uint64_t n_records;     /* of the history */
    uint64_t n_events;      /* other records */
    struct buf open_blocks; /* uint32_t each */

    uint64_t shown; /* progress */
    z_stream z;
    size_t out_pos, out_len;
    struct buf record;
    struct arena arena;
    uint8_t in[READ_WINDOW], out[INFLATE_WINDOW];
};

/* A member that is good. */
struct member {
    uint64_t len;
    uint64_t n_records, n_events;
    bool has_extra;
    bool bad_header; /* as found; what it says can do without */
    struct db_extra extra;
    zipkv_Db msg; /* scalars only */
};

void db_state_finish(struct db_state *state)
{
    free(state->open_blocks);
    *state = (struct db_state){0};
}

void db_summary_finish(struct db_summary *summary)
{
    db_state_finish(&summary->state);
}

int db_read_extra(struct vfs_file *file, uint64_t off, struct db_extra *ret)
{
    uint8_t bytes[MEMBER_HEADER_BYTES];
    const uint8_t *extra = bytes + MEMBER_EXTRA_OFF;
    size_t n;
    int err = file->vfs->ops->pread(file, bytes, sizeof(bytes), off, &n);

    if (err != 0) {
        return err;
    }
    if (n < 4 || memcmp(bytes, MEMBER_PREFIX, 3) != 0) {
        return ZERR_CORRUPT;
    }
    if ((bytes[3] & 0x04) == 0) {
        return ZERR_NOT_FOUND;
    }
    if (n < sizeof(bytes) || memcmp(bytes, MEMBER_PREFIX, MEMBER_EXTRA_OFF) != 0 ||
        le32_get(extra + 60) != (uint32_t)crc32(crc32(0, NULL, 0), extra, 60)) {
        return ZERR_CORRUPT;
    }
    if (extra[0] != DB_EXTRA_VERSION) {
        return ZERR_UNSUPPORTED;
    }
    memcpy(ret->store_id, extra + 4, STORE_ID_BYTES);
    ret->generation = le64_get(extra + 20);
    ret->first_rev = le64_get(extra + 28);
    ret->count = le64_get(extra + 36);
    ret->last_seq = le64_get(extra + 44);
    ret->member_len = le64_get(extra + 52);
    return ret->first_rev <= UINT64_MAX - ret->count ? 0 : ZERR_CORRUPT;
}

/* ---- inflating ------------------------------------------------------------------------------- */

/* Both times through a member are work, so its bytes count half each. Never backwards. */
static void show_progress(struct scan *s)
{
    uint64_t len = s->limit - s->off, done = s->off + s->fed / 2 + (s->hand_out ? len / 2 : 0);

    if (s->visitor->progress != NULL && done >= s->shown) {
        s->shown = done;
        s->err = s->visitor->progress(s->visitor->user, done, s->file_len);
    }
}

/* More compressed bytes. False: the end of what may be read, or s->err. */
static bool refill(struct scan *s)
{
    uint64_t at = s->off + s->fed;
    size_t n = s->limit - at < READ_WINDOW ? (size_t)(s->limit - at) : READ_WINDOW;

    if (n == 0) {
        return false;
    }
    s->err = s->file->vfs->ops->pread(s->file, s->in, n, at, &n);
    if (s->err != 0 || n == 0) {
        return false;
    }
    s->fed += n;
    s->z.next_in = s->in;
    s->z.avail_in = (uInt)n;
    show_progress(s);
    return s->err == 0;
}

/* Fills the empty window. False: no more, for whatever reason; s->ended if it is the right one. */
static bool inflate_more(struct scan *s)
{
    s->out_pos = s->out_len = 0;
    while (s->out_len == 0) {
        int rc;

        if (s->ended || (s->z.avail_in == 0 && !refill(s))) {
            return false;
        }
        s->z.next_out = s->out;
        s->z.avail_out = sizeof(s->out);
        rc = inflate(&s->z, Z_NO_FLUSH);
        s->ended = rc == Z_STREAM_END;
        if (rc == Z_MEM_ERROR) {
            s->err = ZERR_NOMEM;
        }
        if (rc != Z_OK && rc != Z_STREAM_END) {
            return false;
        }
        s->out_len = sizeof(s->out) - s->z.avail_out;
    }
    return true;
}

/* nanopb's read call-back: all of count, or the end. */
static bool read_inflated_cb(pb_istream_t *stream, pb_byte_t *buf, size_t count)
{
    struct scan *s = stream->state;

    while (count > 0) {
        size_t n;

        if (s->out_pos == s->out_len && !inflate_more(s)) {
            stream->bytes_left = 0; /* nanopb: not an error, if it is between two fields */
            return false;
        }
        n = s->out_len - s->out_pos < count ? s->out_len - s->out_pos : count;
        if (buf != NULL) {
            memcpy(buf, s->out + s->out_pos, n);
            buf += n;
        }
        s->out_pos += n;
        count -= n;
    }
    return true;
}

/* ---- one member ------------------------------------------------------------------------------ */

/* A record of the history, or one of the others: the message must say the same as the field. */
static bool record_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct scan *s = *arg;
    size_t len = stream->bytes_left;
    struct record rec;
    int err;

    bool in_history = field->tag == zipkv_Db_history_tag;

    if (len > RECORD_MAX_HISTORY_BYTES) {
        return false;
    }
    buf_reset(&s->record);
    s->err = buf_reserve(&s->record, len + 1);
    if (s->err != 0 || !pb_read(stream, s->record.ptr, len)) {
        return false;
    }
    s->n_records += in_history;
    s->n_events += !in_history;
    if (s->record_err != 0) {
        return true; /* the check sum decides whether it is damage */
    }
    arena_reset(&s->arena);
    err = record_decode_history(slice_of(s->record.ptr, len), &s->arena, &rec);
    if (err == 0 && record_in_history(&rec) != in_history) {
        err = ZERR_CORRUPT;
    }
    if (err == ZERR_NOMEM) {
        s->err = err;
    } else if (err != 0) {
        s->record_err = err;
    } else if (s->hand_out) {
        s->err = s->visitor->record(s->visitor->user, s->rev, &rec);
        s->rev += in_history;
    }
    return s->err == 0;
}

static bool open_blocks_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct scan *s = *arg;
    uint64_t number;
    uint32_t block;

    (void)field;
    if (!pb_decode_varint(stream, &number) || number > BLOCK_NUMBER_MAX ||
        s->open_blocks.len >= OPEN_BLOCKS_MAX * sizeof(block)) {
        return false;
    }
    block = (uint32_t)number;
    s->err = buf_append(&s->open_blocks, &block, sizeof(block));
    return s->err == 0;
}

/* Reads the member in [off, limit) once. ZERR_CORRUPT: not a good one. */
static int read_member(struct scan *s, uint64_t off, uint64_t limit, bool hand_out, zipkv_Db *msg)
{
    pb_istream_t stream = {.callback = read_inflated_cb, .state = s, .bytes_left = SIZE_MAX};
    bool decoded;

    if (inflateReset(&s->z) != Z_OK) {
        return ZERR_NOMEM;
    }
    s->z.avail_in = 0;
    s->off = off;
    s->limit = limit;
    s->fed = 0;
    s->hand_out = hand_out;
    s->ended = false;
    s->err = s->record_err = 0;
    s->n_records = s->n_events = 0;
    s->out_pos = s->out_len = 0;
    buf_reset(&s->open_blocks);
    *msg = (zipkv_Db)zipkv_Db_init_zero;
    msg->history = msg->event = (pb_callback_t){.funcs.decode = record_cb, .arg = s};
    msg->open_blocks = (pb_callback_t){.funcs.decode = open_blocks_cb, .arg = s};
    decoded = pb_decode(&stream, zipkv_Db_fields, msg);
    if (s->err != 0) {
        return s->err;
    }
    return !decoded || !s->ended ? ZERR_CORRUPT : s->record_err;
}

static bool is_this_store(const struct scan *s, const uint8_t id[STORE_ID_BYTES])
{
    return !s->has_store_id || memcmp(s->store_id, id, STORE_ID_BYTES) == 0;
}

static bool message_fits(const struct scan *s, const zipkv_Db *msg)
{
    return msg->next_backend_file >= 0 && msg->next_backend_file <= (int64_t)BLOCK_NUMBER_MAX + 1 &&
           (msg->store_id.size == 0 ||
            (msg->store_id.size == STORE_ID_BYTES && is_this_store(s, msg->store_id.bytes)));
}

/* Checks the member at off, whose first record must be number rev. ZERR_CORRUPT: not a good one. */
static int check_member(struct scan *s, uint64_t off, uint64_t rev, struct member *ret)
{
    uint64_t limit = s->file_len;
    int err = db_read_extra(s->file, off, &ret->extra);

    ret->has_extra = err == 0;
    ret->bad_header = err == ZERR_CORRUPT;
    if (ret->has_extra) {
        if (!is_this_store(s, ret->extra.store_id) || ret->extra.first_rev != rev ||
            ret->extra.member_len > s->file_len - off) {
            return ZERR_CORRUPT;
        }
        limit = off + ret->extra.member_len;
    } else if (err != ZERR_NOT_FOUND && err != ZERR_CORRUPT) {
        return err;
    }
    err = read_member(s, off, limit, false, &ret->msg);
    if (err != 0) {
        return err;
    }
    ret->len = s->fed - s->z.avail_in;
    ret->n_records = s->n_records;
    ret->n_events = s->n_events;
    /* Each member of ours says whose it is, twice. */
    if (!message_fits(s, &ret->msg) ||
        (ret->has_extra && (ret->msg.store_id.size == 0 || ret->len != ret->extra.member_len ||
                            ret->n_records != ret->extra.count))) {
        return ZERR_CORRUPT;
    }
    return 0;
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* The next place at or behind `from` that begins like a member of ours. */
static int find_prefix(struct scan *s, uint64_t from, uint64_t *ret)
{
    for (;;) {
        const uint8_t *hit;
        size_t n;
        int err = s->file->vfs->ops->pread(s->file, s->in, sizeof(s->in), from, &n);

        if (err != 0) {
            return err;
        }
        if (from >= s->file_len || n < MEMBER_EXTRA_OFF) {
            return ZERR_NOT_FOUND;
        }
        hit = memmem(s->in, n, MEMBER_PREFIX, MEMBER_EXTRA_OFF);
        if (hit != NULL) {
            *ret = from + (uint64_t)(hit - s->in);
            return *ret < s->file_len ? 0 : ZERR_NOT_FOUND; /* it may have grown meanwhile */
        }
        from += n - (MEMBER_EXTRA_OFF - 1);
    }
}

/* The extra field at off, if it is this store's and not of records before rev. */
static int trusted_extra(struct scan *s, uint64_t off, uint64_t rev, struct db_extra *ret)
{
    int err = db_read_extra(s->file, off, ret);

    if (err == 0 && (!is_this_store(s, ret->store_id) || ret->first_rev < rev ||
                     ret->member_len < MEMBER_HEADER_BYTES)) {
        err = ZERR_CORRUPT;
    }
    return err == ZERR_NOT_FOUND ? ZERR_CORRUPT : err;
}

/* Nothing that was not known before it: it does not prove that the damage before it is not the torn
 * end of the file, where a disk may leave what its sectors held earlier. */
static bool says_nothing(const struct db_extra *x, struct db_pos bad, uint64_t last_seq)
{
    return x->count == 0 && x->first_rev == bad.rev && x->last_seq <= last_seq;
}

/* From the member at `bad`, which is not good, to the next good one. *ret_lost: what lies between.
 * known_seq: last_seq of what came before. ZERR_NOT_FOUND: there is none. */
static int pass_over(struct scan *s, struct db_pos bad, uint64_t known_seq, struct db_pos *ret_next,
                     struct db_extra *ret_lost, uint64_t *ret_n)
{
    struct db_pos at = bad;
    struct db_extra extra;
    struct member member;
    uint64_t last_seq = 0, n = 1;
    int err = trusted_extra(s, bad.off, bad.rev, &extra);

    for (;;) {
        if (err == 0 && extra.member_len <= s->file_len - at.off) {
            at = (struct db_pos){at.off + extra.member_len, extra.first_rev + extra.count};
            last_seq = extra.last_seq;
        } else if (err == 0 || err == ZERR_CORRUPT) {
            at.off++;
        } else {
            return err;
        }
        err = find_prefix(s, at.off, &at.off);
        if (err != 0) {
            return err;
        }
        err = trusted_extra(s, at.off, at.rev, &extra);
        if (err == 0 && says_nothing(&extra, bad, known_seq)) {
            err = ZERR_CORRUPT;
        }
        if (err == ZERR_CORRUPT) {
            continue;
        }
        if (err == 0) {
            err = check_member(s, at.off, extra.first_rev, &member);
        }
        if (err == 0) {
            break;
        }
        if (err != ZERR_CORRUPT) {
            return err;
        }
        n++;
        err = 0; /* its extra field is good: on behind it */
    }
    *ret_lost = extra;
    ret_lost->first_rev = bad.rev;
    ret_lost->count = extra.first_rev - bad.rev;
    ret_lost->member_len = at.off - bad.off;
    if (extra.first_rev == at.rev && last_seq != 0) {
        ret_lost->last_seq = last_seq; /* the damaged one's own; else the good one's is the bound */
    }
    *ret_next = (struct db_pos){at.off, extra.first_rev};
    *ret_n = n;
    return 0;
}

/* ---- the file -------------------------------------------------------------------------------- */

static void learn_store_id(struct scan *s, const uint8_t id[STORE_ID_BYTES])
{
    if (!s->has_store_id) {
        s->has_store_id = true;
        memcpy(s->store_id, id, STORE_ID_BYTES);
    }
}

/* A good member's scalars: a field that is not there leaves what was there before, as in the
 * merged message; open_blocks are those of this member alone. */
static void merge_state(struct scan *s, const struct member *m, struct db_state *state)
{
    if (m->msg.next_backend_file != 0) {
        state->next_backend_file = (uint32_t)m->msg.next_backend_file;
    }
    if (m->msg.features != 0) {
        state->features = m->msg.features;
    }
    if (m->msg.store_id.size != 0) {
        state->has_store_id = true;
        memcpy(state->store_id, m->msg.store_id.bytes, STORE_ID_BYTES);
        learn_store_id(s, state->store_id);
    }
    if (m->msg.generation != 0) {
        state->generation = m->msg.generation;
    }
    if (m->msg.last_seq != 0) {
        state->last_seq = m->msg.last_seq;
    }
    free(state->open_blocks);
    state->open_blocks = (uint32_t *)(void *)s->open_blocks.ptr;
    state->n_open_blocks = s->open_blocks.len / sizeof(uint32_t);
    s->open_blocks = (struct buf){0};
}

/* A member that has been checked: its scalars, then its records. */
static int take_member(struct scan *s, const struct member *m, struct db_summary *sum)
{
    zipkv_Db again;

    merge_state(s, m, &sum->state);
    if (s->visitor->record != NULL && m->n_records + m->n_events > 0) {
        int err;

        s->rev = sum->end.rev;
        err = read_member(s, sum->end.off, sum->end.off + m->len, true, &again);
        if (err != 0) {
            return err;
        }
    }
    sum->members++;
    sum->n_bad_headers += m->bad_header;
    sum->framed_members |= m->has_extra || m->msg.store_id.size != 0;
    sum->last_member = sum->end;
    sum->end = (struct db_pos){sum->end.off + m->len, sum->end.rev + m->n_records};
    return 0;
}

/* At sum->end is no good member: goes on to the next one. *ret_found false: there is none. */
static int take_damage(struct scan *s, struct db_summary *sum, bool *ret_found,
                       struct zerr_info *info)
{
    struct db_extra lost;
    struct db_pos next;
    bool known = s->has_store_id;
    uint64_t n;
    int err = pass_over(s, sum->end, sum->state.last_seq, &next, &lost, &n);

    *ret_found = err != ZERR_NOT_FOUND;
    if (err != 0) {
        return *ret_found ? err : 0;
    }
    if (!known) {
        return zerr_fail(info, ZERR_CORRUPT, 0,
                         "the history is damaged at byte %llu, and nothing before it says which "
                         "store it belongs to; zipkvverify -rebuild makes it anew from the blocks",
                         (unsigned long long)sum->end.off);
    }
    if (s->visitor->damage != NULL) {
        err = s->visitor->damage(s->visitor->user, &lost, sum->end.off);
        if (err != 0) {
            return err;
        }
    }
    sum->n_damaged += n;
    sum->end = next;
    return 0;
}

static int scan_members(struct scan *s, struct db_pos from, struct db_summary *sum,
                        struct zerr_info *info)
{
    struct db_extra first;
    bool more = true;
    int err = db_read_extra(s->file, 0, &first);

    if (err == 0) {
        learn_store_id(s, first.store_id);
    } else if (err != ZERR_NOT_FOUND && err != ZERR_CORRUPT) {
        return err;
    }
    if (from.off > s->file_len) {
        return zerr_fail(info, ZERR_CORRUPT, 0, "the history is shorter than it was");
    }
    sum->end = from;
    while (sum->end.off < s->file_len && more) {
        struct member m;

        err = check_member(s, sum->end.off, sum->end.rev, &m);
        if (err == 0) {
            err = take_member(s, &m, sum);
        } else if (err == ZERR_CORRUPT) {
            err = take_damage(s, sum, &more, info);
        }
        if (err != 0) {
            return err;
        }
    }
    if (from.off == 0 && sum->members == 0) {
        return zerr_fail(info, ZERR_CORRUPT, 0,
                         "nothing of the history can be read; zipkvverify -rebuild makes it anew "
                         "from the blocks");
    }
    return 0;
}

int db_scan(struct vfs *vfs, struct vfs_file *file, struct db_pos from,
            const struct db_visitor *visitor, struct db_summary *ret, struct zerr_info *info)
{
    struct db_summary sum = {0};
    struct scan *s = calloc(1, sizeof(*s));
    int err;

    if (s == NULL) {
        return ZERR_NOMEM;
    }
    s->file = file;
    s->visitor = visitor;
    err = vfs->ops->size(file, &s->file_len);
    if (err == 0 && inflateInit2(&s->z, 15 + 16) != Z_OK) { /* 16: gzip */
        err = ZERR_NOMEM;
    }
    if (err == 0) {
        err = scan_members(s, from, &sum, info);
        (void)inflateEnd(&s->z);
    }
    sum.file_len = s->file_len;
    buf_finish(&s->open_blocks);
    buf_finish(&s->record);
    arena_finish(&s->arena);
    free(s);
    if (err != 0) {
        db_summary_finish(&sum);
        return err;
    }
    *ret = sum;
    return 0;
}
