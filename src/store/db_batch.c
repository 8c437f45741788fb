/* A batch: records published and not flushed, held as the deflate stream they will be on disk.
 *
 * `out` holds a member's header room and the deflate stream so far. db_batch_member() brings
 * deflate to a byte boundary (Z_SYNC_FLUSH) and puts the message's scalars behind it as stored
 * blocks, the last one final, and the trailer; these bytes lie behind out.len, so the next record
 * overwrites them and the stream goes on as if nothing had been written. */
#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#include <pb_encode.h>

#include "base/num.h"
#include "store/db_priv.h"
#include "zipkv.pb.h"

/* 15 and 8: 256 KiB of state. */
#define DEFLATE_LEVEL 6
#define DEFLATE_WINDOW_BITS 15
#define DEFLATE_MEM_LEVEL 8
/* More than deflate can hold back of what it was given before. */
#define DEFLATE_PENDING_MAX (192u << 10)
#define STORED_MAX 65535u /* bytes of one stored block */

struct db_batch {
    z_stream z;
    bool unflushed;    /* records since deflate was at a byte boundary */
    uint64_t count;    /* records in the history */
    uint64_t events;   /* other records */
    uint32_t crc, len; /* of the records' part of the message, as gzip counts */
    struct buf out;    /* header room, deflate stream */
    struct buf record; /* scratch: one record with its tag and length */
    struct buf state;  /* scratch: the message's scalars */
};

int db_batch_create(struct db_batch **ret)
{
    struct db_batch *b = calloc(1, sizeof(*b));

    if (b == NULL) {
        return ZERR_NOMEM;
    }
    if (deflateInit2(&b->z, DEFLATE_LEVEL, Z_DEFLATED, -DEFLATE_WINDOW_BITS, DEFLATE_MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(b);
        return ZERR_NOMEM;
    }
    if (buf_reserve(&b->out, MEMBER_HEADER_BYTES) != 0) {
        db_batch_destroy(b);
        return ZERR_NOMEM;
    }
    db_batch_reset(b);
    *ret = b;
    return 0;
}

void db_batch_destroy(struct db_batch *b)
{
    if (b != NULL) {
        (void)deflateEnd(&b->z);
        buf_finish(&b->out);
        buf_finish(&b->record);
        buf_finish(&b->state);
        free(b);
    }
}

void db_batch_reset(struct db_batch *b)
{
    (void)deflateReset(&b->z);
    b->unflushed = false;
    b->count = b->events = 0;
    b->crc = (uint32_t)crc32(0, NULL, 0);
    b->len = 0;
    b->out.len = MEMBER_HEADER_BYTES;
}

uint64_t db_batch_count(const struct db_batch *b)
{
    return b->count;
}

uint64_t db_batch_n_all(const struct db_batch *b)
{
    return b->count + b->events;
}

uint64_t db_batch_bytes(const struct db_batch *b)
{
    return b->out.len;
}

/* Room for all that deflate may give out when it is fed len more bytes and flushed. */
static int reserve_for(struct db_batch *b, size_t len)
{
    return buf_reserve(&b->out, deflateBound(&b->z, (uLong)len) + DEFLATE_PENDING_MAX);
}

/* Feeds deflate; the room is there. */
static void feed(struct db_batch *b, const uint8_t *data, size_t len, int flush)
{
    size_t room = b->out.cap - b->out.len;

    room = room < UINT32_MAX ? room : UINT32_MAX;
    b->z.next_in = (Bytef *)data;
    b->z.avail_in = (uInt)len;
    b->z.next_out = b->out.ptr + b->out.len;
    b->z.avail_out = (uInt)room;
    (void)deflate(&b->z, flush);
    assert(b->z.avail_in == 0 && b->z.avail_out > 0);
    b->out.len += room - b->z.avail_out;
}

/* Encodes rec as a field of the Db message into b->record; *ret points there. The record goes
 * behind room for its tag and length, whose own length depends on the record's. */
static int encode_field(struct db_batch *b, const struct record *rec, struct slice *ret)
{
    enum { PREFIX_MAX = 8 };
    uint8_t prefix[PREFIX_MAX];
    pb_ostream_t stream = pb_ostream_from_buffer(prefix, sizeof(prefix));
    int err;

    buf_reset(&b->record);
    err = buf_reserve(&b->record, PREFIX_MAX);
    if (err != 0) {
        return err;
    }
    b->record.len = PREFIX_MAX;
    err = record_encode_history(rec, &b->record);
    if (err != 0) {
        return err;
    }
    if (!pb_encode_tag(&stream, PB_WT_STRING,
                       record_in_history(rec) ? zipkv_Db_history_tag : zipkv_Db_event_tag) ||
        !pb_encode_varint(&stream, b->record.len - PREFIX_MAX)) {
        return ZERR_TOO_LARGE;
    }
    memcpy(b->record.ptr + PREFIX_MAX - stream.bytes_written, prefix, stream.bytes_written);
    *ret = slice_of(b->record.ptr + PREFIX_MAX - stream.bytes_written,
                    b->record.len - PREFIX_MAX + stream.bytes_written);
    return 0;
}

int db_batch_add(struct db_batch *b, const struct record *rec)
{
    struct slice field;
    int err = encode_field(b, rec, &field);

    if (err != 0) {
        return err;
    }
    err = reserve_for(b, field.len);
    if (err != 0) {
        return err;
    }
    feed(b, field.ptr, field.len, Z_NO_FLUSH);
    b->crc = (uint32_t)crc32(b->crc, field.ptr, (uInt)field.len);
    b->len += (uint32_t)field.len;
    b->unflushed = true;
    b->count += record_in_history(rec);
    b->events += !record_in_history(rec);
    return 0;
}

/* Call-back: arg is the struct db_state. */
static bool encode_open_blocks_cb(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
    const struct db_state *state = *arg;

    for (size_t i = 0; i < state->n_open_blocks; i++) {
        if (!pb_encode_tag(stream, PB_WT_VARINT, field->tag) ||
            !pb_encode_varint(stream, state->open_blocks[i])) {
            return false;
        }
    }
    return true;
}

/* The message's scalars into b->state. */
static int encode_state(struct db_batch *b, const struct db_state *state)
{
    zipkv_Db msg = zipkv_Db_init_zero;
    pb_ostream_t stream;
    size_t size;
    int err;

    msg.next_backend_file = state->next_backend_file;
    msg.features = state->features;
    msg.store_id.size = STORE_ID_BYTES;
    memcpy(msg.store_id.bytes, state->store_id, STORE_ID_BYTES);
    msg.generation = state->generation;
    msg.last_seq = state->last_seq;
    msg.open_blocks.funcs.encode = encode_open_blocks_cb;
    msg.open_blocks.arg = (void *)state;
    if (!pb_get_encoded_size(&size, zipkv_Db_fields, &msg)) {
        return ZERR_TOO_LARGE;
    }
    buf_reset(&b->state);
    err = buf_reserve(&b->state, size);
    if (err != 0) {
        return err;
    }
    stream = pb_ostream_from_buffer(b->state.ptr, size);
    if (!pb_encode(&stream, zipkv_Db_fields, &msg)) {
        return ZERR_TOO_LARGE;
    }
    b->state.len = stream.bytes_written;
    return 0;
}

/* Stored blocks with all of data, the last one final. Returns the end of what was written. */
static uint8_t *put_stored(uint8_t *p, struct slice data)
{
    do {
        size_t n = data.len < STORED_MAX ? data.len : STORED_MAX;

        *p++ = n == data.len; /* BFINAL, then BTYPE 0 and padding */
        *p++ = (uint8_t)n;
        *p++ = (uint8_t)(n >> 8);
        *p++ = (uint8_t)~n;
        *p++ = (uint8_t)(~n >> 8);
        if (n > 0) {
            memcpy(p, data.ptr, n);
        }
        p += n;
        data = slice_of(data.ptr + n, data.len - n);
    } while (data.len > 0);
    return p;
}

static void put_header(uint8_t *p, const struct db_state *state, uint64_t first_rev, uint64_t count,
                       uint64_t member_len)
{
    uint8_t *extra = p + MEMBER_EXTRA_OFF;

    memcpy(p, MEMBER_PREFIX, MEMBER_EXTRA_OFF);
    memset(extra, 0, DB_EXTRA_BYTES);
    extra[0] = DB_EXTRA_VERSION;
    memcpy(extra + 4, state->store_id, STORE_ID_BYTES);
    le64_put(extra + 20, state->generation);
    le64_put(extra + 28, first_rev);
    le64_put(extra + 36, count);
    le64_put(extra + 44, state->last_seq);
    le64_put(extra + 52, member_len);
    le32_put(extra + 60, (uint32_t)crc32(crc32(0, NULL, 0), extra, 60));
}

int db_batch_member(struct db_batch *b, const struct db_state *state, uint64_t first_rev,
                    struct slice *ret)
{
    uint8_t *p;
    size_t n_stored;
    int err;

    assert(state->has_store_id);
    err = encode_state(b, state);
    if (err != 0) {
        return err;
    }
    err = reserve_for(b, 0);
    if (err != 0) {
        return err;
    }
    if (b->unflushed) {
        feed(b, NULL, 0, Z_SYNC_FLUSH);
        b->unflushed = false;
    }
    n_stored = b->state.len / STORED_MAX + 1;
    err = buf_reserve(&b->out, b->state.len + n_stored * 5 + MEMBER_TRAILER_BYTES);
    if (err != 0) {
        return err;
    }
    p = put_stored(b->out.ptr + b->out.len, buf_slice(&b->state));
    le32_put(p, (uint32_t)crc32(b->crc, b->state.ptr, (uInt)b->state.len));
    le32_put(p + 4, b->len + (uint32_t)b->state.len);
    p += MEMBER_TRAILER_BYTES;
    put_header(b->out.ptr, state, first_rev, b->count, (uint64_t)(p - b->out.ptr));
    *ret = slice_of(b->out.ptr, (size_t)(p - b->out.ptr));
    return 0;
}
