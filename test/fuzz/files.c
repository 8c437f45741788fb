/* See files.h. Members are deflated without compression: a change of the input is a change of
 * the message. */
#include "files.h"

#include <zlib.h>

#include "base/num.h"
#include "store/db_priv.h"
#include "store/frame.h"

#define DB_MAX_BYTES (1u << 20)
#define SUMS_HASH_AT 18 /* in a FrameRecord, behind seq and durable_seq: tag, 8 bytes */
#define SUMS_HASH_TAG 0x19

uint8_t fuzz_byte(struct fuzz_in *in)
{
    struct slice s = fuzz_take(in, 1);
    return s.len > 0 ? s.ptr[0] : 0;
}

struct slice fuzz_take(struct fuzz_in *in, size_t max)
{
    struct slice s = slice_of(in->p, in->n < max ? in->n : max);
    in->p += s.len;
    in->n -= s.len;
    return s;
}

/* ---- blocks ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n > 0 && p[n - 1] == 0) {
        n--;
    }
    return n == 0;
}

/* The sums behind the body, and their hash where the record has it. */
static void mend_sums(uint8_t *frame, const struct frame_head *head)
{
    uint8_t *record = frame + frame_record_off();
    uint8_t *body = frame + frame_body_off(head->record_len), *sums = body + head->body_len;
    uint64_t n = frame_pieces(head->body_len);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t left = head->body_len - i * PIECE_BYTES;
        le64_put(sums + i * SUM_BYTES, piece_sum(body + i * PIECE_BYTES,
                                                 left < PIECE_BYTES ? (size_t)left : PIECE_BYTES));
    }
    if (head->record_len > SUMS_HASH_AT + 8 && record[SUMS_HASH_AT] == SUMS_HASH_TAG) {
        le64_put(record + SUMS_HASH_AT + 1, piece_sum(sums, n * SUM_BYTES));
    }
}

static uint64_t mend_frame(uint8_t *file, size_t len, size_t off, const struct block_header *header,
                           unsigned mend)
{
    uint8_t *p = file + off, *record = p + frame_record_off();
    struct frame_head head = {.kind = p[5]};

    if (memcmp(p, FRAME_MAGIC, 4) != 0 || p[6] != 0) {
        return FRAME_ALIGN;
    }
    /* Small lengths, so that most of them fit. */
    head.record_len = le32_get(p + 20) % 8192;
    head.body_len = le64_get(p + 32) % (4 * (uint64_t)PIECE_BYTES);
    frame_head_encode(&head, header, off, p);
    if (head.record_len > 0 && off + frame_body_off(head.record_len) <= len &&
        !all_zero(record, head.record_len)) {
        if ((mend & MEND_SUMS) != 0 && off + frame_len(head.record_len, head.body_len) <= len) {
            mend_sums(p, &head);
        }
        le32_put(record + head.record_len, frame_record_crc(p, slice_of(record, head.record_len)));
    }
    return frame_len(head.record_len, head.body_len);
}

void fuzz_mend_block(uint8_t *file, size_t len, uint32_t number, unsigned mend)
{
    struct block_header header = {.block = number, .salt = 0x736c6174, .session = 1};

    memcpy(header.store_id, FUZZ_STORE_ID, STORE_ID_BYTES);
    if ((mend & MEND_HEADER) != 0 && len >= BLOCK_HEADER_BYTES) {
        block_header_encode(&header, file);
    }
    if ((mend & MEND_HEADS) != 0) {
        uint64_t off = BLOCK_HEADER_BYTES;
        while (off + FRAME_HEAD_BYTES <= len) {
            off += mend_frame(file, len, (size_t)off, &header, mend);
        }
    }
}

/* ---- db ---- */

struct db_maker {
    struct buf *out;
    struct buf message; /* of the member being made */
    uint64_t n_records, rev;
};

static void put_bytes(struct buf *b, const void *p, size_t n)
{
    require(buf_append(b, p, n) == 0);
}

/* zipkv.Db.history, field 3. */
static void add_record(struct db_maker *m, struct slice record)
{
    uint8_t tag[4] = {0x1a};
    size_t n = 1, len = record.len;

    do {
        tag[n++] = (uint8_t)(len % 128 + (len >= 128 ? 128 : 0));
        len /= 128;
    } while (len > 0);
    put_bytes(&m->message, tag, n);
    put_bytes(&m->message, record.ptr, record.len);
    m->n_records++;
}

static void deflate_message(struct db_maker *m, struct buf *out)
{
    z_stream z = {0};

    require(deflateInit2(&z, Z_NO_COMPRESSION, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    require(buf_reserve(out, out->len + deflateBound(&z, m->message.len) + 64) == 0);
    z.next_in = m->message.ptr;
    z.avail_in = (uInt)m->message.len;
    z.next_out = out->ptr + out->len;
    z.avail_out = (uInt)deflateBound(&z, m->message.len);
    require(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out->len += z.total_out;
    (void)deflateEnd(&z);
}

static void put_extra(uint8_t p[DB_EXTRA_BYTES], const struct db_maker *m, uint64_t member_len,
                      struct slice with)
{
    struct fuzz_in in = {with.ptr, with.len};

    memset(p, 0, DB_EXTRA_BYTES);
    p[0] = DB_EXTRA_VERSION;
    memcpy(p + 4, FUZZ_STORE_ID, STORE_ID_BYTES);
    le64_put(p + 20, 1);
    le64_put(p + 28, m->rev + fuzz_byte(&in));
    le64_put(p + 36, m->n_records + fuzz_byte(&in));
    le64_put(p + 44, m->rev + m->n_records + fuzz_byte(&in));
    le64_put(p + 52, member_len + fuzz_byte(&in));
    le32_put(p + 60, (uint32_t)crc32(0, p, 60));
}

/* with: what is added to the fields of the extra field, where there is one. */
static void end_member(struct db_maker *m, bool extra, struct slice with)
{
    static const uint8_t plain[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff};
    size_t start = m->out->len;
    uint8_t trailer[MEMBER_TRAILER_BYTES];

    if (extra) {
        static const uint8_t room[DB_EXTRA_BYTES];
        put_bytes(m->out, MEMBER_PREFIX, MEMBER_EXTRA_OFF);
        put_bytes(m->out, room, sizeof(room));
    } else {
        put_bytes(m->out, plain, sizeof(plain));
    }
    require(buf_reserve(&m->message, 1) == 0);
    deflate_message(m, m->out);
    le32_put(trailer, (uint32_t)crc32(0, m->message.ptr, (uInt)m->message.len));
    le32_put(trailer + 4, (uint32_t)m->message.len);
    put_bytes(m->out, trailer, sizeof(trailer));
    if (extra) {
        put_extra(m->out->ptr + start + MEMBER_EXTRA_OFF, m, m->out->len - start, with);
    }
    m->rev += m->n_records;
    m->n_records = 0;
    buf_reset(&m->message);
}

static void db_step(struct db_maker *m, uint8_t op, struct slice data)
{
    static const uint8_t zeros[512];

    switch (op % 8) {
    case 0:
        add_record(m, data);
        break;
    case 1: /* scalars and unknown fields */
        put_bytes(&m->message, data.ptr, data.len);
        break;
    case 2:
        end_member(m, true, data);
        break;
    case 3:
        end_member(m, false, data);
        break;
    case 4:
        put_bytes(m->out, data.ptr, data.len);
        break;
    case 5:
        put_bytes(m->out, zeros, data.len > 0 ? (size_t)data.ptr[0] * 2 : 0);
        break;
    case 6: /* torn */
        m->out->len -= data.len > 0 && m->out->len >= data.ptr[0] ? data.ptr[0] : 0;
        break;
    default: /* a byte changed, counted from the end */
        if (data.len >= 3) {
            size_t at = (size_t)data.ptr[0] + data.ptr[1] * 256u;
            if (at < m->out->len) {
                m->out->ptr[m->out->len - 1 - at] ^= data.ptr[2];
            }
        }
    }
}

void fuzz_make_db(struct fuzz_in *in, struct buf *out)
{
    struct db_maker m = {.out = out};

    while (in->n > 0 && out->len + m.message.len < DB_MAX_BYTES) {
        uint8_t op = fuzz_byte(in);
        size_t len = fuzz_byte(in);
        len += fuzz_byte(in) * 256u;
        db_step(&m, op, fuzz_take(in, len));
    }
    buf_finish(&m.message);
}
