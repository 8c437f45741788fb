/* Protobuf for the messages of record.c and record_frame.c: output into a buf, names and attributes
 * by call-back (record_wire.h), and attributes alone.
 *
 * Encoding: nanopb writes straight into the caller's buf; names and attributes are written from
 * where they stand, so nothing is copied and nothing allocated but the buf's room.
 * Decoding: nanopb checks each length against the input before a call-back sees it; the call-backs
 * copy into the arena. */
#include "store/record_wire.h"

#include <pb_decode.h>
#include <pb_encode.h>

#include "store/format.h"
#include "zipkv.pb.h"

/* ---- writing --------------------------------------------------------------------------------- */

struct sink {
    struct buf *out;
    int err;
};

static bool sink_write(pb_ostream_t *stream, const pb_byte_t *data, size_t len)
{
    struct sink *sink = stream->state;

    sink->err = buf_append(sink->out, data, len);
    return sink->err == 0;
}

int wire_encode(const pb_msgdesc_t *fields, const void *msg, size_t max, struct buf *out)
{
    struct sink sink = {.out = out};
    pb_ostream_t stream = {.callback = sink_write, .state = &sink, .max_size = max};
    size_t before = out->len;

    if (!pb_encode(&stream, fields, msg)) {
        out->len = before;
        return sink.err != 0 ? sink.err : ZERR_TOO_LARGE;
    }
    return 0;
}

/* Call-back: arg is a struct slice. */
static bool encode_slice_cb(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
    const struct slice *s = *arg;

    return pb_encode_tag_for_field(stream, field) && pb_encode_string(stream, s->ptr, s->len);
}

static size_t varint_len(uint64_t v)
{
    size_t n = 1;

    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

/* Bytes of one entry of the map, without its own tag and length. */
static size_t attr_len(const struct attr *attr)
{
    return 1 + varint_len(attr->name.len) + attr->name.len + 1 + varint_len(attr->value.len) +
           attr->value.len;
}

static bool write_attrs(pb_ostream_t *stream, const struct attrs *attrs)
{
    for (size_t i = 0; i < attrs->n; i++) {
        const struct attr *a = &attrs->v[i];

        if (!pb_encode_tag(stream, PB_WT_STRING, zipkv_Metadata_metadata_tag) ||
            !pb_encode_varint(stream, attr_len(a)) ||
            !pb_encode_tag(stream, PB_WT_STRING, zipkv_Metadata_MetadataEntry_key_tag) ||
            !pb_encode_string(stream, a->name.ptr, a->name.len) ||
            !pb_encode_tag(stream, PB_WT_STRING, zipkv_Metadata_MetadataEntry_value_tag) ||
            !pb_encode_string(stream, a->value.ptr, a->value.len)) {
            return false;
        }
    }
    return true;
}

/* Call-back: arg is a struct attrs, written as bytes that are a Metadata; none: nothing. */
static bool encode_attrs_cb(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
    const struct attrs *attrs = *arg;
    size_t len = 0;

    if (attrs->n == 0) {
        return true;
    }
    for (size_t i = 0; i < attrs->n; i++) {
        len += 1 + varint_len(attr_len(&attrs->v[i])) + attr_len(&attrs->v[i]);
    }
    return pb_encode_tag_for_field(stream, field) && pb_encode_varint(stream, len) &&
           write_attrs(stream, attrs);
}

pb_callback_t wire_slice_encoder(const struct slice *s)
{
    return (pb_callback_t){.funcs.encode = encode_slice_cb, .arg = (void *)s};
}

pb_callback_t wire_attrs_encoder(const struct attrs *attrs)
{
    return (pb_callback_t){.funcs.encode = encode_attrs_cb, .arg = (void *)attrs};
}

/* Call-back: arg is a struct extents. */
static bool encode_extents_cb(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
    const struct extents *extents = *arg;

    for (size_t i = 0; i < extents->n; i++) {
        const struct extent *e = &extents->v[i];
        zipkv_Extent msg = {.backend_file = e->body.block,
                            .offset = (int64_t)e->body.off,
                            .size = (int64_t)e->size,
                            .frame_block = e->framed ? (int64_t)e->frame.block + 1 : 0,
                            .frame_offset = e->framed ? (int64_t)e->frame.off : 0,
                            .from = (int64_t)e->from,
                            .length = (int64_t)e->len,
                            .part = e->part};

        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_submessage(stream, zipkv_Extent_fields, &msg)) {
            return false;
        }
    }
    return true;
}

pb_callback_t wire_extents_encoder(const struct extents *extents)
{
    return (pb_callback_t){.funcs.encode = encode_extents_cb, .arg = (void *)extents};
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool decoder_fail(struct wire_decoder *d, int err)
{
    d->err = err;
    return false;
}

/* All that is left of the (sub)stream, which nanopb has checked against the input. */
static bool read_rest(struct wire_decoder *d, pb_istream_t *stream, struct slice *ret)
{
    size_t len = stream->bytes_left;
    uint8_t *p = arena_alloc(d->arena, len);

    if (p == NULL) {
        return decoder_fail(d, ZERR_NOMEM);
    }
    if (!pb_read(stream, p, len)) {
        return false;
    }
    *ret = slice_of(p, len);
    return true;
}

/* The next field of `whole` that is bytes; others are skipped. 1: there it is; 0: the end. Numbers
 * 1 and 2, all that the original's map knows, must be bytes. */
static int next_bytes(pb_istream_t *stream, struct slice whole, uint32_t *ret_tag,
                      struct slice *ret)
{
    while (stream->bytes_left > 0) {
        pb_wire_type_t type;
        uint32_t tag, len;
        bool eof;

        if (!pb_decode_tag(stream, &type, &tag, &eof) || tag == 0) {
            return ZERR_CORRUPT;
        }
        if (type != PB_WT_STRING) {
            if (tag <= 2 || !pb_skip_field(stream, type)) {
                return ZERR_CORRUPT;
            }
            continue;
        }
        if (!pb_decode_varint32(stream, &len)) {
            return ZERR_CORRUPT;
        }
        *ret_tag = tag;
        *ret = slice_of(whole.ptr + (whole.len - stream->bytes_left), len);
        if (!pb_read(stream, NULL, len)) { /* it checks the length */
            return ZERR_CORRUPT;
        }
        return 1;
    }
    return 0;
}

static int parse_attr(struct slice bytes, struct attr *ret)
{
    pb_istream_t stream = pb_istream_from_buffer(bytes.ptr, bytes.len);
    struct attr attr = {0};
    struct slice field;
    uint32_t tag;
    int rc;

    while ((rc = next_bytes(&stream, bytes, &tag, &field)) > 0) {
        if (tag == zipkv_Metadata_MetadataEntry_key_tag) {
            attr.name = field;
        } else if (tag == zipkv_Metadata_MetadataEntry_value_tag) {
            attr.value = field;
        }
    }
    if (rc == 0) {
        *ret = attr;
    }
    return rc;
}

/* The attributes of a Metadata message; they point into `bytes`, the array is in the arena. */
static int parse_attrs(struct slice bytes, struct arena *arena, struct attrs *ret)
{
    pb_istream_t stream = pb_istream_from_buffer(bytes.ptr, bytes.len);
    struct slice entry;
    struct attr *v;
    size_t max = 0, n = 0;
    uint32_t tag;
    int rc;

    while ((rc = next_bytes(&stream, bytes, &tag, &entry)) > 0) {
        max += tag == zipkv_Metadata_metadata_tag;
    }
    if (rc < 0 || max > RECORD_MAX_ATTRS) {
        return ZERR_CORRUPT;
    }
    if (max == 0) {
        *ret = (struct attrs){0};
        return 0;
    }
    v = arena_alloc(arena, max * sizeof(*v));
    if (v == NULL) {
        return ZERR_NOMEM;
    }
    stream = pb_istream_from_buffer(bytes.ptr, bytes.len);
    while ((rc = next_bytes(&stream, bytes, &tag, &entry)) > 0) {
        struct attr attr;
        size_t at = 0;

        if (tag != zipkv_Metadata_metadata_tag) {
            continue;
        }
        rc = parse_attr(entry, &attr);
        if (rc != 0) {
            return rc;
        }
        while (at < n && !slice_eq(v[at].name, attr.name)) {
            at++;
        }
        v[at] = attr; /* a duplicate: the last wins */
        n += at == n;
    }
    *ret = (struct attrs){v, n};
    return 0;
}

static bool decode_key_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct wire_decoder *d = *arg;

    (void)field;
    return read_rest(d, stream, &d->key);
}

static bool decode_attrs(struct wire_decoder *d, pb_istream_t *stream, struct attrs *ret)
{
    struct slice bytes;
    int err;

    if (!read_rest(d, stream, &bytes)) {
        return false;
    }
    err = parse_attrs(bytes, d->arena, ret);
    return err == 0 || decoder_fail(d, err);
}

static bool decode_meta_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct wire_decoder *d = *arg;

    (void)field;
    return decode_attrs(d, stream, &d->meta);
}

static bool decode_sys_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct wire_decoder *d = *arg;

    (void)field;
    return decode_attrs(d, stream, &d->sys);
}

/* Numbers from the disk: ranges that can be, and not empty. */
static int take_extent(const zipkv_Extent *msg, struct extent *ret)
{
    bool framed = msg->frame_block > 0;

    if (msg->backend_file < 0 || msg->backend_file > BLOCK_NUMBER_MAX || msg->offset < 0 ||
        msg->size < 0 || (uint64_t)msg->size > BODY_MAX_BYTES ||
        msg->offset > INT64_MAX - msg->size || msg->frame_block < 0 ||
        msg->frame_block > (int64_t)BLOCK_NUMBER_MAX + 1 || msg->frame_offset < 0 ||
        msg->from < 0 || msg->length <= 0 || msg->from > msg->size ||
        msg->length > msg->size - msg->from || msg->part > PART_MAX) {
        return ZERR_CORRUPT;
    }
    *ret = (struct extent){.body = {(uint32_t)msg->backend_file, (uint64_t)msg->offset},
                           .size = (uint64_t)msg->size,
                           .framed = framed,
                           .from = (uint64_t)msg->from,
                           .len = (uint64_t)msg->length,
                           .part = msg->part};
    if (framed) {
        ret->frame = (struct place){(uint32_t)(msg->frame_block - 1), (uint64_t)msg->frame_offset};
    }
    return 0;
}

static int extents_reserve(struct wire_decoder *d)
{
    size_t cap = d->cap_extents == 0 ? 4 : d->cap_extents * 4;
    struct extent *v;

    if (d->n_extents < d->cap_extents) {
        return 0;
    }
    if (d->n_extents == RECORD_MAX_EXTENTS) {
        return ZERR_CORRUPT;
    }
    cap = cap < RECORD_MAX_EXTENTS ? cap : RECORD_MAX_EXTENTS;
    v = arena_alloc(d->arena, cap * sizeof(*v));
    if (v == NULL) {
        return ZERR_NOMEM;
    }
    if (d->n_extents > 0) {
        memcpy(v, d->extents, d->n_extents * sizeof(*v));
    }
    d->extents = v;
    d->cap_extents = cap;
    return 0;
}

static bool decode_extent_cb(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    struct wire_decoder *d = *arg;
    zipkv_Extent msg = zipkv_Extent_init_zero;
    int err;

    (void)field;
    if (!pb_decode(stream, zipkv_Extent_fields, &msg)) {
        return false;
    }
    err = extents_reserve(d);
    if (err == 0) {
        err = take_extent(&msg, &d->extents[d->n_extents]);
    }
    d->n_extents += err == 0;
    return err == 0 || decoder_fail(d, err);
}

pb_callback_t wire_extents_decoder(struct wire_decoder *d)
{
    return (pb_callback_t){.funcs.decode = decode_extent_cb, .arg = d};
}

int wire_take_extents(const struct wire_decoder *d, uint64_t size, struct extents *ret)
{
    uint64_t left = size;

    for (size_t i = 0; i < d->n_extents; i++) {
        if (d->extents[i].len > left) {
            return ZERR_CORRUPT;
        }
        left -= d->extents[i].len;
    }
    if (d->n_extents > 0 && left > 0) {
        return ZERR_CORRUPT;
    }
    *ret = (struct extents){d->extents, d->n_extents};
    return 0;
}

pb_callback_t wire_key_decoder(struct wire_decoder *d)
{
    return (pb_callback_t){.funcs.decode = decode_key_cb, .arg = d};
}

pb_callback_t wire_meta_decoder(struct wire_decoder *d)
{
    return (pb_callback_t){.funcs.decode = decode_meta_cb, .arg = d};
}

pb_callback_t wire_sys_decoder(struct wire_decoder *d)
{
    return (pb_callback_t){.funcs.decode = decode_sys_cb, .arg = d};
}

/* ---- attributes alone ------------------------------------------------------------------------ */

int attrs_encode(struct attrs attrs, struct buf *out)
{
    struct sink sink = {.out = out};
    pb_ostream_t stream = {.callback = sink_write, .state = &sink, .max_size = RECORD_MAX_BYTES};
    size_t before = out->len;

    if (attrs.n > RECORD_MAX_ATTRS) {
        return ZERR_TOO_LARGE;
    }
    if (!write_attrs(&stream, &attrs)) {
        out->len = before;
        return sink.err != 0 ? sink.err : ZERR_TOO_LARGE;
    }
    return 0;
}

int attrs_decode(struct slice bytes, struct arena *arena, struct attrs *ret)
{
    struct slice copy = arena_dup(arena, bytes);

    return copy.ptr == NULL ? ZERR_NOMEM : parse_attrs(copy, arena, ret);
}

bool wire_fits(const struct record *rec)
{
    return rec->meta.n <= RECORD_MAX_ATTRS && rec->sys.n <= RECORD_MAX_ATTRS &&
           rec->extents.n <= RECORD_MAX_EXTENTS;
}
