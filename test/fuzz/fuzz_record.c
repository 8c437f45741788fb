/* Any bytes as a record of the history, as a frame's record and as attributes.
 *
 * What can be read is written and read again; both writings must be the same bytes.
 *
 * Input: one byte for which of them, the rest is the message. */
#include "files.h"

#include "store/record.h"

static bool same(const struct buf *a, const struct buf *b)
{
    return slice_eq(buf_slice(a), buf_slice(b));
}

static void check_attrs(struct attrs attrs)
{
    size_t bytes = 0;

    require(attrs.n <= RECORD_MAX_ATTRS);
    for (size_t i = 0; i < attrs.n; i++) {
        bytes += attrs.v[i].name.len + attrs.v[i].value.len;
    }
    require(bytes <= RECORD_MAX_HISTORY_BYTES);
}

static void check_record(const struct record *rec)
{
    uint64_t bytes = 0;

    require(rec->op >= RECORD_PUT && rec->op <= RECORD_ABORT && rec->part <= PART_MAX);
    require(rec->extents.n <= RECORD_MAX_EXTENTS);
    for (size_t i = 0; i < rec->extents.n; i++) {
        const struct extent *e = &rec->extents.v[i];
        require(e->len > 0 && e->from <= e->size && e->len <= e->size - e->from);
        bytes += e->len;
    }
    require(rec->extents.n == 0 || bytes == rec->size);
    check_attrs(rec->meta);
    check_attrs(rec->sys);
}

static void try_history(struct slice in, struct arena *arena, struct buf *one, struct buf *two)
{
    struct record rec, again;

    if (record_decode_history(in, arena, &rec) == 0) {
        check_record(&rec);
        if (record_encode_history(&rec, one) == 0) {
            require(record_decode_history(buf_slice(one), arena, &again) == 0);
            require(record_encode_history(&again, two) == 0 && same(one, two));
        }
    }
}

static void try_frame(struct slice in, bool implied, struct arena *arena, struct buf *one,
                      struct buf *two)
{
    struct frame_record rec, again;

    if (frame_record_decode(in, implied, arena, &rec) == 0) {
        require(rec.n_entries <= RECORD_MAX_BATCH);
        for (size_t i = 0; i < rec.n_entries; i++) {
            require(rec.entries[i].key.len >= 1 && rec.entries[i].key.len <= KEY_MAX_BYTES);
            check_record(&rec.entries[i]);
        }
        if (frame_record_encode(&rec, implied, one) == 0) {
            require(frame_record_decode(buf_slice(one), implied, arena, &again) == 0);
            require(frame_record_encode(&again, implied, two) == 0 && same(one, two));
        }
    }
}

static void try_attrs(struct slice in, struct arena *arena, struct buf *one, struct buf *two)
{
    struct attrs attrs, again;

    if (attrs_decode(in, arena, &attrs) == 0) {
        check_attrs(attrs);
        require(attrs_encode(attrs, one) == 0);
        require(attrs_decode(buf_slice(one), arena, &again) == 0);
        require(again.n == attrs.n && attrs_encode(again, two) == 0 && same(one, two));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};
    unsigned which = fuzz_byte(&in) % 4;
    struct slice rest = slice_of(in.p, in.n);
    struct arena arena = {0};
    struct buf one = {0}, two = {0};

    if (which == 0) {
        try_history(rest, &arena, &one, &two);
    } else if (which == 3) {
        try_attrs(rest, &arena, &one, &two);
    } else {
        try_frame(rest, which == 1, &arena, &one, &two);
    }
    buf_finish(&one);
    buf_finish(&two);
    arena_finish(&arena);
    return 0;
}
