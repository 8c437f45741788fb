/* Records in the history's form, HistoryRecord of proto/zipkv.proto (record.h).
 *
 * What the message cannot say by itself (ranges, what belongs together) is checked after nanopb has
 * decoded it and before the caller's struct is touched. */
#include "store/record.h"

#include <pb_decode.h>
#include <pb_encode.h>

#include "store/format.h"
#include "store/record_wire.h"
#include "zipkv.pb.h"

#define LOCATION_TOO_LARGE INT32_MAX /* backend_file of what the original's form cannot say */

/* ---- a record's own copy of what it points to ---- */

static size_t attrs_room(struct attrs a)
{
    size_t n = a.n * sizeof(struct attr);

    for (size_t i = 0; i < a.n; i++) {
        n += a.v[i].name.len + a.v[i].value.len;
    }
    return n;
}

size_t record_room(const struct record *r)
{
    return r->extents.n * sizeof(struct extent) + attrs_room(r->meta) + attrs_room(r->sys) +
           r->key.len;
}

static uint8_t *keep_bytes(struct slice *s, uint8_t *room)
{
    if (s->len > 0) {
        memcpy(room, s->ptr, s->len);
    }
    s->ptr = room;
    return room + s->len;
}

static uint8_t *keep_attrs(struct attrs *a, struct attr *v, uint8_t *room)
{
    for (size_t i = 0; i < a->n; i++) {
        v[i] = a->v[i];
        room = keep_bytes(&v[i].name, room);
        room = keep_bytes(&v[i].value, room);
    }
    a->v = v;
    return room;
}

uint8_t *record_keep(struct record *r, uint8_t *room)
{
    struct extent *extents = (struct extent *)(void *)room;
    struct attr *attrs = (struct attr *)(void *)(extents + r->extents.n);
    uint8_t *bytes = (uint8_t *)(attrs + r->meta.n + r->sys.n);

    if (r->extents.n > 0) {
        memcpy(extents, r->extents.v, r->extents.n * sizeof(*extents));
    }
    r->extents.v = extents;
    bytes = keep_attrs(&r->meta, attrs, bytes);
    bytes = keep_attrs(&r->sys, attrs + r->meta.n, bytes);
    return keep_bytes(&r->key, bytes);
}

/* ---- the wire ---- */

static bool place_eq(struct place a, struct place b)
{
    return a.block == b.block && a.off == b.off;
}

/* Where the frame around the body is when Location.body_frame_block is not set: a PUT frame and its
 * body are in one block, and a body without a frame is in a block without frames. */
static bool default_body_frame(bool framed, struct place frame, struct place body)
{
    return framed && frame.block == body.block;
}

static bool fits_original(uint64_t off, uint64_t size)
{
    return off <= INT32_MAX && size <= INT32_MAX - off;
}

static int fill_location(const struct record *rec, zipkv_Location *loc)
{
    bool by_default = default_body_frame(rec->framed, rec->frame, rec->body);

    if (by_default && !rec->body_framed) {
        return ZERR_INVALID;
    }
    if (rec->extents.n == 0 && fits_original(rec->body.off, rec->size)) {
        loc->backend_file = rec->body.block;
        loc->offset = (int64_t)rec->body.off;
        loc->size = (int64_t)rec->size;
    } else {
        loc->backend_file = LOCATION_TOO_LARGE;
        loc->size = 1;
        loc->has_true_place = true;
        loc->true_place = (zipkv_Extent){.backend_file = rec->body.block,
                                         .offset = (int64_t)rec->body.off,
                                         .size = (int64_t)rec->size};
    }
    if (rec->has_md5) {
        loc->md5.size = sizeof(rec->md5);
        memcpy(loc->md5.bytes, rec->md5, sizeof(rec->md5));
    }
    loc->mtime_ms = rec->mtime_ms;
    if (rec->framed) {
        loc->frame_block = (int64_t)rec->frame.block + 1;
        loc->frame_offset = (int64_t)rec->frame.off;
    }
    if (rec->body_framed && !(by_default && place_eq(rec->body_frame, rec->frame))) {
        loc->body_frame_block = (int64_t)rec->body_frame.block + 1;
        loc->body_frame_offset = (int64_t)rec->body_frame.off;
    }
    loc->extents = wire_extents_encoder(&rec->extents);
    loc->metadata = wire_attrs_encoder(&rec->meta);
    loc->system = wire_attrs_encoder(&rec->sys);
    return 0;
}

int record_encode_history(const struct record *rec, struct buf *out)
{
    zipkv_HistoryRecord msg = zipkv_HistoryRecord_init_zero;

    if (rec->op != RECORD_DELETE && rec->op != RECORD_ABORT) {
        int err;

        if (!wire_fits(rec)) {
            return ZERR_TOO_LARGE;
        }
        msg.which_record = zipkv_HistoryRecord_put_tag;
        msg.record.put = (zipkv_PutRecord)zipkv_PutRecord_init_zero;
        msg.record.put.filename = wire_slice_encoder(&rec->key);
        msg.record.put.has_location = true;
        err = fill_location(rec, &msg.record.put.location);
        if (err != 0) {
            return err;
        }
    } else {
        msg.which_record = zipkv_HistoryRecord_delete_tag;
        msg.record.delete.filename = wire_slice_encoder(&rec->key);
    }
    msg.seq = rec->seq;
    msg.op = record_in_history(rec) ? 0 : rec->op;
    msg.upload = rec->upload;
    msg.part = rec->part;
    return wire_encode(zipkv_HistoryRecord_fields, &msg, RECORD_MAX_HISTORY_BYTES, out);
}

/* A byte range in a block file, as numbers from the disk. */
static bool range_ok(int64_t block, int64_t off, int64_t size)
{
    return block >= 0 && block <= BLOCK_NUMBER_MAX && off >= 0 && size >= 0 &&
           (uint64_t)size <= BODY_MAX_BYTES && off <= INT64_MAX - size;
}

/* block_plus_1 0: no place. */
static int take_place(int64_t block_plus_1, int64_t off, bool *ret_has, struct place *ret)
{
    *ret_has = false;
    if (block_plus_1 == 0) {
        return 0;
    }
    if (block_plus_1 < 0 || !range_ok(block_plus_1 - 1, off, 0)) {
        return ZERR_CORRUPT;
    }
    *ret_has = true;
    *ret = (struct place){(uint32_t)(block_plus_1 - 1), (uint64_t)off};
    return 0;
}

static int take_location(const zipkv_Location *loc, struct record *rec)
{
    int64_t block = loc->backend_file, off = loc->offset, size = loc->size;
    int err;

    if (loc->has_true_place) {
        block = loc->true_place.backend_file;
        off = loc->true_place.offset;
        size = loc->true_place.size;
    }
    if (!range_ok(block, off, size) || (loc->md5.size != 0 && loc->md5.size != sizeof(rec->md5))) {
        return ZERR_CORRUPT;
    }
    rec->body = (struct place){(uint32_t)block, (uint64_t)off};
    rec->size = (uint64_t)size;
    rec->has_true_place = loc->has_true_place;
    rec->has_md5 = loc->md5.size != 0;
    memcpy(rec->md5, loc->md5.bytes, loc->md5.size);
    rec->mtime_ms = loc->mtime_ms;
    err = take_place(loc->frame_block, loc->frame_offset, &rec->framed, &rec->frame);
    if (err != 0) {
        return err;
    }
    err = take_place(loc->body_frame_block, loc->body_frame_offset, &rec->body_framed,
                     &rec->body_frame);
    if (err == 0 && !rec->body_framed && default_body_frame(rec->framed, rec->frame, rec->body)) {
        rec->body_framed = true;
        rec->body_frame = rec->frame;
    }
    return err;
}

/* What the call-backs of one HistoryRecord fill. */
struct decoder {
    struct wire_decoder wire;
    bool seen; /* the oneof: another one would be merged */
};

/* Called when nanopb knows whether it is a put or a delete, before it decodes that message. */
static bool decode_record_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct decoder *d = *arg;

    (void)stream;
    if (d->seen) {
        return false;
    }
    d->seen = true;
    if (field->tag == zipkv_HistoryRecord_put_tag) {
        zipkv_PutRecord *put = field->pData;

        put->filename = wire_key_decoder(&d->wire);
        put->location.metadata = wire_meta_decoder(&d->wire);
        put->location.system = wire_sys_decoder(&d->wire);
        put->location.extents = wire_extents_decoder(&d->wire);
    } else {
        ((zipkv_DeleteRecord *)field->pData)->filename = wire_key_decoder(&d->wire);
    }
    return true;
}

/* What the record is about: op 0 is the history, and says it by its oneof. */
static int take_op(const zipkv_HistoryRecord *msg, struct record *rec)
{
    bool is_put = msg->which_record == zipkv_HistoryRecord_put_tag && msg->record.put.has_location;

    if (!is_put && msg->which_record != zipkv_HistoryRecord_delete_tag) {
        return ZERR_CORRUPT;
    }
    switch (msg->op) {
    case 0:
        rec->op = is_put ? RECORD_PUT : RECORD_DELETE;
        break;
    case RECORD_UPLOAD:
    case RECORD_PART:
    case RECORD_ABORT:
        rec->op = (enum record_op)msg->op;
        if (is_put == (rec->op == RECORD_ABORT) || msg->seq == 0 ||
            (msg->upload == 0) != (rec->op == RECORD_UPLOAD)) {
            return ZERR_CORRUPT;
        }
        break;
    default:
        return ZERR_UNSUPPORTED;
    }
    if (msg->part > PART_MAX || (rec->op == RECORD_PART && msg->part == 0)) {
        return ZERR_CORRUPT;
    }
    rec->upload = msg->upload;
    rec->part = msg->part;
    return 0;
}

int record_decode_history(struct slice bytes, struct arena *arena, struct record *ret)
{
    pb_istream_t stream = pb_istream_from_buffer(bytes.ptr, bytes.len);
    zipkv_HistoryRecord msg = zipkv_HistoryRecord_init_zero;
    struct decoder d = {.wire.arena = arena};
    struct record rec = {0};
    int err;

    msg.cb_record = (pb_callback_t){.funcs.decode = decode_record_cb, .arg = &d};
    if (!pb_decode(&stream, zipkv_HistoryRecord_fields, &msg)) {
        return d.wire.err != 0 ? d.wire.err : ZERR_CORRUPT;
    }
    rec.key = d.wire.key;
    rec.seq = msg.seq;
    err = take_op(&msg, &rec);
    if (err == 0 && msg.which_record == zipkv_HistoryRecord_put_tag) {
        rec.meta = d.wire.meta;
        rec.sys = d.wire.sys;
        err = take_location(&msg.record.put.location, &rec);
        if (err == 0) {
            err = wire_take_extents(&d.wire, rec.size, &rec.extents);
        }
    }
    if (err == 0) {
        *ret = rec;
    }
    return err;
}
