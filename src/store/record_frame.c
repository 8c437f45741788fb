/* Records in the frames' form, FrameRecord of proto/frame.proto (record.h).
 *
 * Numbers that are not known when room is reserved are required fixed-width fields, so the length
 * of the message does not depend on them. */
#include "store/record.h"

#include <pb_decode.h>
#include <pb_encode.h>

#include "frame.pb.h"
#include "store/format.h"
#include "store/record_wire.h"

struct entries_source {
    const struct frame_record *rec;
    bool implied_place;
};

static zipkv_FramePlace frame_place(struct place p)
{
    return (zipkv_FramePlace){.block = p.block, .offset = p.off};
}

static bool encode_entries_cb(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
    const struct entries_source *src = *arg;

    for (size_t i = 0; i < src->rec->n_entries; i++) {
        const struct record *rec = &src->rec->entries[i];
        zipkv_FrameEntry msg = zipkv_FrameEntry_init_zero;

        msg.op = rec->op;
        msg.key = wire_slice_encoder(&rec->key);
        msg.has_upload = rec->upload != 0;
        msg.upload = rec->upload;
        msg.has_part = rec->part != 0;
        msg.part = rec->part;
        msg.extent = wire_extents_encoder(&rec->extents);
        if (rec->op != RECORD_DELETE && rec->op != RECORD_ABORT) {
            msg.metadata = wire_attrs_encoder(&rec->meta);
            msg.system = wire_attrs_encoder(&rec->sys);
            msg.size = rec->size;
            msg.has_md5 = rec->has_md5;
            if (rec->has_md5) {
                memcpy(msg.md5, rec->md5, sizeof(msg.md5));
            }
            msg.mtime_ms = (uint64_t)rec->mtime_ms;
            msg.has_body = !src->implied_place;
            msg.body = frame_place(rec->body);
            msg.has_body_frame = !src->implied_place && rec->body_framed;
            msg.body_frame = frame_place(rec->body_frame);
        }
        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_submessage(stream, zipkv_FrameEntry_fields, &msg)) {
            return false;
        }
    }
    return true;
}

int frame_record_encode(const struct frame_record *rec, bool implied_place, struct buf *out)
{
    struct entries_source src = {rec, implied_place};
    zipkv_FrameRecord msg = zipkv_FrameRecord_init_zero;

    if (rec->n_entries > RECORD_MAX_BATCH) {
        return ZERR_TOO_LARGE;
    }
    for (size_t i = 0; i < rec->n_entries; i++) {
        if (!wire_fits(&rec->entries[i])) {
            return ZERR_TOO_LARGE;
        }
    }
    msg.seq = rec->seq;
    msg.durable_seq = rec->durable_seq;
    msg.sums_hash = rec->sums_hash;
    msg.entry = (pb_callback_t){.funcs.encode = encode_entries_cb, .arg = &src};
    msg.has_void_first = msg.has_void_last = rec->void_last != 0;
    msg.void_first = rec->void_first;
    msg.void_last = rec->void_last;
    return wire_encode(zipkv_FrameRecord_fields, &msg, RECORD_MAX_BYTES, out);
}

struct entries_sink {
    struct arena *arena;
    bool implied_place;
    int err;
    struct record *v;
    size_t n, cap;
};

static int take_frame_place(const zipkv_FramePlace *place, uint64_t size, struct place *ret)
{
    if (place->block > BLOCK_NUMBER_MAX || place->offset > INT64_MAX - size) {
        return ZERR_CORRUPT;
    }
    *ret = (struct place){(uint32_t)place->block, place->offset};
    return 0;
}

static int take_entry(const zipkv_FrameEntry *msg, const struct wire_decoder *d, bool implied_place,
                      struct record *ret)
{
    struct record rec = {.key = d->key, .upload = msg->upload, .part = msg->part};
    int err = 0;

    if (msg->op < RECORD_PUT || msg->op > RECORD_ABORT) {
        return ZERR_UNSUPPORTED;
    }
    rec.op = (enum record_op)msg->op;
    if (rec.key.len == 0 || rec.key.len > KEY_MAX_BYTES) {
        return ZERR_CORRUPT;
    }
    if (!implied_place && !record_in_history(&rec)) {
        return ZERR_CORRUPT; /* uploads have kinds of their own, which imply it */
    }
    if (msg->has_body != (rec.op == RECORD_PUT && !implied_place) ||
        (msg->has_body_frame && !msg->has_body) || msg->size > BODY_MAX_BYTES ||
        msg->part > PART_MAX) {
        return ZERR_CORRUPT;
    }
    if (rec.op != RECORD_DELETE && rec.op != RECORD_ABORT) {
        rec.meta = d->meta;
        rec.sys = d->sys;
        rec.size = msg->size;
        rec.has_md5 = msg->has_md5;
        if (msg->has_md5) {
            memcpy(rec.md5, msg->md5, sizeof(rec.md5));
        }
        rec.mtime_ms = (int64_t)msg->mtime_ms;
        rec.body_framed = msg->has_body_frame;
        err = wire_take_extents(d, rec.size, &rec.extents);
    }
    if (err == 0 && msg->has_body) {
        err = take_frame_place(&msg->body, rec.size, &rec.body);
    }
    if (err == 0 && msg->has_body_frame) {
        err = take_frame_place(&msg->body_frame, 0, &rec.body_frame);
    }
    if (err == 0) {
        *ret = rec;
    }
    return err;
}

static int entries_reserve(struct entries_sink *sink)
{
    size_t cap = sink->cap == 0 ? 1 : sink->cap * 4;
    struct record *v;

    if (sink->n < sink->cap) {
        return 0;
    }
    if (sink->n == RECORD_MAX_BATCH) {
        return ZERR_CORRUPT;
    }
    cap = cap < RECORD_MAX_BATCH ? cap : RECORD_MAX_BATCH;
    v = arena_alloc(sink->arena, cap * sizeof(*v));
    if (v == NULL) {
        return ZERR_NOMEM;
    }
    if (sink->n > 0) {
        memcpy(v, sink->v, sink->n * sizeof(*v));
    }
    sink->v = v;
    sink->cap = cap;
    return 0;
}

static bool decode_entry_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct entries_sink *sink = *arg;
    zipkv_FrameEntry msg = zipkv_FrameEntry_init_zero;
    struct wire_decoder d = {.arena = sink->arena};

    (void)field;
    msg.key = wire_key_decoder(&d);
    msg.metadata = wire_meta_decoder(&d);
    msg.system = wire_sys_decoder(&d);
    msg.extent = wire_extents_decoder(&d);
    if (!pb_decode(stream, zipkv_FrameEntry_fields, &msg)) {
        sink->err = d.err;
        return false;
    }
    sink->err = entries_reserve(sink);
    if (sink->err == 0) {
        sink->err = take_entry(&msg, &d, sink->implied_place, &sink->v[sink->n]);
    }
    sink->n += sink->err == 0;
    return sink->err == 0;
}

int frame_record_decode(struct slice bytes, bool implied_place, struct arena *arena,
                        struct frame_record *ret)
{
    pb_istream_t stream = pb_istream_from_buffer(bytes.ptr, bytes.len);
    zipkv_FrameRecord msg = zipkv_FrameRecord_init_zero;
    struct entries_sink sink = {.arena = arena, .implied_place = implied_place};

    msg.entry = (pb_callback_t){.funcs.decode = decode_entry_cb, .arg = &sink};
    if (!pb_decode(&stream, zipkv_FrameRecord_fields, &msg)) {
        return sink.err != 0 ? sink.err : ZERR_CORRUPT;
    }
    if (msg.has_void_first != msg.has_void_last || msg.void_first > msg.void_last ||
        msg.seq > UINT64_MAX - RECORD_MAX_BATCH) {
        return ZERR_CORRUPT;
    }
    for (size_t i = 0; i < sink.n; i++) {
        sink.v[i].seq = msg.seq + i;
    }
    *ret = (struct frame_record){.seq = msg.seq,
                                 .durable_seq = msg.durable_seq,
                                 .sums_hash = msg.sums_hash,
                                 .void_first = msg.void_first,
                                 .void_last = msg.void_last,
                                 .entries = sink.v,
                                 .n_entries = sink.n};
    return 0;
}
