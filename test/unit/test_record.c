/* Records to protobuf and back, in both forms; hostile bytes. */
#include "store/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/format.h"

static struct buf out;
static struct arena arena;

static int reset(void **state)
{
    (void)state;
    buf_finish(&out);
    arena_finish(&arena);
    return 0;
}

#define LIT(s)                                                                                     \
    {                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                        \
    } /* SLICE_LIT for statics */
static const struct attr some_meta[] = {
    {LIT("X-Amz-Meta-Md5"), LIT("ef8535a4c7f77853b0baef3791bddccc")},
    {LIT("X-Amz-Meta-Binary"), LIT("\xff\xfe\0\x80")},
    {LIT("X-Amz-Meta-Empty"), LIT("")},
};
static const struct attr some_sys[] = {{LIT("Content-Type"), LIT("text/plain")}};

/* A PUT in its own frame with everything set. */
static struct record full_put(void)
{
    struct record r = {.op = RECORD_PUT,
                       .key = SLICE_LIT("s3ql_data_1\xff"),
                       .seq = SEQ_FIRST(7),
                       .body = {31, 4096 + 200},
                       .size = 1000,
                       .framed = true,
                       .frame = {31, 4096},
                       .body_framed = true,
                       .body_frame = {31, 4096},
                       .has_md5 = true,
                       .mtime_ms = 1700000000123,
                       .meta = {some_meta, 3},
                       .sys = {some_sys, 1}};

    memset(r.md5, 0xa5, sizeof(r.md5));
    return r;
}

static void assert_attrs_equal(struct attrs a, struct attrs b)
{
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        assert_true(slice_eq(a.v[i].name, b.v[i].name));
        assert_true(slice_eq(a.v[i].value, b.v[i].value));
    }
}

static void assert_place_equal(struct place a, struct place b)
{
    assert_int_equal(a.block, b.block);
    assert_int_equal(a.off, b.off);
}

static void assert_record_equal(const struct record *a, const struct record *b)
{
    assert_int_equal(a->op, b->op);
    assert_true(slice_eq(a->key, b->key));
    assert_int_equal(a->seq, b->seq);
    assert_place_equal(a->body, b->body);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->framed, b->framed);
    assert_place_equal(a->frame, b->frame);
    assert_int_equal(a->body_framed, b->body_framed);
    assert_place_equal(a->body_frame, b->body_frame);
    assert_int_equal(a->has_md5, b->has_md5);
    assert_memory_equal(a->md5, b->md5, 16);
    assert_int_equal(a->mtime_ms, b->mtime_ms);
    assert_attrs_equal(a->meta, b->meta);
    assert_attrs_equal(a->sys, b->sys);
}

static struct record through_history(const struct record *rec)
{
    struct record back;

    buf_reset(&out);
    assert_int_equal(record_encode_history(rec, &out), 0);
    assert_int_equal(record_decode_history(buf_slice(&out), &arena, &back), 0);
    return back;
}

static void a_put_comes_back_from_the_history_as_it_was(void **state)
{
    struct record rec = full_put(), back = through_history(&rec);

    (void)state;
    assert_record_equal(&rec, &back);
    assert_false(back.has_true_place);
}

static void a_record_without_our_fields_comes_back(void **state)
{
    struct record rec = {.op = RECORD_PUT, .key = SLICE_LIT("k")}, back = through_history(&rec);

    (void)state;
    assert_record_equal(&rec, &back);
}

static void a_delete_comes_back(void **state)
{
    struct record rec = {.op = RECORD_DELETE, .key = SLICE_LIT("gone"), .seq = 5};
    struct record back = through_history(&rec);

    (void)state;
    assert_record_equal(&rec, &back);
}

static void copies_keep_apart_their_frame_and_the_bodys(void **state)
{
    struct record rec = full_put(), back;

    (void)state;
    rec.body_frame = (struct place){3, 64}; /* of a framed body elsewhere */
    rec.body = (struct place){3, 64 + 100};
    back = through_history(&rec);
    assert_record_equal(&rec, &back);

    rec.body_frame = (struct place){31, 64}; /* in the same block */
    rec.body = (struct place){31, 164};
    back = through_history(&rec);
    assert_record_equal(&rec, &back);

    rec.body_framed = false; /* of the original's body */
    rec.body_frame = (struct place){0};
    rec.body = (struct place){0, 0};
    back = through_history(&rec);
    assert_record_equal(&rec, &back);
}

static void a_body_without_frame_beside_frames_is_refused(void **state)
{
    struct record rec = full_put();

    (void)state;
    rec.body_framed = false;
    assert_int_equal(record_encode_history(&rec, &out), ZERR_INVALID);
    assert_int_equal(out.len, 0);
}

static void what_the_original_cannot_say_stands_in_our_fields(void **state)
{
    static const struct {
        uint64_t off, size;
        bool true_place;
    } cases[] = {
        {0, INT32_MAX, false}, {1, INT32_MAX, true},        {0, INT32_MAX + 1ull, true},
        {INT32_MAX, 0, false}, {INT32_MAX + 1ull, 0, true}, {5ull << 40, 5ull << 40, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record rec = full_put(), back;

        rec.body.off = cases[i].off;
        rec.size = cases[i].size;
        back = through_history(&rec);
        assert_record_equal(&rec, &back);
        assert_int_equal(back.has_true_place, cases[i].true_place);
    }
    /* backend_file 2147483647, no offset, size 1. */
    assert_non_null(memmem(out.ptr, out.len, "\x08\xfe\xff\xff\xff\x0f\x18\x02\x22", 9));
}

static void encoding_goes_behind_what_the_buffer_has_and_failure_leaves_it(void **state)
{
    static struct attr many[RECORD_MAX_ATTRS + 1];
    struct record rec = full_put();

    (void)state;
    assert_int_equal(buf_append_str(&out, "before"), 0);
    assert_int_equal(record_encode_history(&rec, &out), 0);
    assert_memory_equal(out.ptr, "before", 6);
    out.len = 6;
    rec.meta = (struct attrs){many, RECORD_MAX_ATTRS + 1};
    assert_int_equal(record_encode_history(&rec, &out), ZERR_TOO_LARGE);
    assert_int_equal(out.len, 6);
    rec.meta = (struct attrs){0};
    rec.key = slice_of(calloc(1, RECORD_MAX_HISTORY_BYTES), RECORD_MAX_HISTORY_BYTES);
    assert_int_equal(record_encode_history(&rec, &out), ZERR_TOO_LARGE);
    assert_int_equal(out.len, 6);
    free((void *)rec.key.ptr);
}

static void assert_refused(const char *bytes, size_t len, int zerr)
{
    struct record rec = {.size = 77};

    assert_int_equal(record_decode_history(slice_of(bytes, len), &arena, &rec), zerr);
    assert_int_equal(rec.size, 77); /* untouched */
}
#define REFUSED(bytes, zerr) assert_refused(bytes, sizeof(bytes) - 1, zerr)

static void records_that_say_nothing_usable_are_corrupt(void **state)
{
    (void)state;
    REFUSED("", ZERR_CORRUPT);                                  /* neither put nor delete */
    REFUSED("\x80\x01\x05", ZERR_CORRUPT);                      /* only a number */
    REFUSED("\x0a\x03\x0a\x01k", ZERR_CORRUPT);                 /* put without location */
    REFUSED("\x0a\x00", ZERR_CORRUPT);                          /* empty put */
    REFUSED("\x08\x01", ZERR_CORRUPT);                          /* put as a number */
    REFUSED("\x0a\x7f\x0a\x01k", ZERR_CORRUPT);                 /* length beyond the end */
    REFUSED("\x0a\x05\x0a\x7fk\x12\x00", ZERR_CORRUPT);         /* key beyond its message */
    REFUSED("\x0a\x07\x0a\x01k\x12\x02\x08\x01", ZERR_CORRUPT); /* block -1 */
    REFUSED("\x0a\x07\x0a\x01k\x12\x02\x10\x01", ZERR_CORRUPT); /* offset -1 */
    REFUSED("\x0a\x07\x0a\x01k\x12\x02\x18\x01", ZERR_CORRUPT); /* size -1 */
    REFUSED("\x0a\x0b\x0a\x01k\x12\x06\x08\xfe\xff\xff\xff\x0f", ZERR_CORRUPT); /* block 2^31-1 */
    REFUSED("\x0a\x09\x0a\x01k\x12\x04\x82\x01\x01m", ZERR_CORRUPT); /* MD5 of one byte */
    REFUSED("\x0a\x07\x0a\x01k\x12\x02\x22\x7f", ZERR_CORRUPT);      /* metadata beyond the end */
    REFUSED("\x0a\x09\x0a\x01k\x12\x04\x22\x02\x0a\x05", ZERR_CORRUPT); /* entry beyond it */
    REFUSED("\x0a\x09\x0a\x01k\x12\x04\x22\x02\x08\x05", ZERR_CORRUPT); /* entry as a number */
    REFUSED("\x12\x03\x0a\x01k\x12\x03\x0a\x01l", ZERR_CORRUPT);        /* two deletes */
}

static const struct extent some_extents[] = {
    {.body = {3, 4096}, .size = 5000, .framed = true, .frame = {3, 3968}, .len = 5000, .part = 1},
    {.body = {0, 64}, .size = 1ull << 32, .from = 1ull << 31, .len = 77, .part = 10000},
    {.body = {31, 64},
     .size = 10,
     .framed = true,
     .frame = {31, 0},
     .from = 9,
     .len = 1,
     .part = 10000},
};

/* A PUT that completes an upload. */
static struct record multipart_put(void)
{
    struct record r = full_put();

    r.size = 5000 + 77 + 1;
    r.upload = SEQ_FIRST(6);
    r.part = 2;
    r.extents = (struct extents){some_extents, 3};
    return r;
}

static void assert_extents_equal(struct extents a, struct extents b)
{
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        assert_int_equal(a.v[i].body.block, b.v[i].body.block);
        assert_int_equal(a.v[i].body.off, b.v[i].body.off);
        assert_int_equal(a.v[i].size, b.v[i].size);
        assert_int_equal(a.v[i].framed, b.v[i].framed);
        assert_int_equal(a.v[i].frame.block, b.v[i].frame.block);
        assert_int_equal(a.v[i].frame.off, b.v[i].frame.off);
        assert_int_equal(a.v[i].from, b.v[i].from);
        assert_int_equal(a.v[i].len, b.v[i].len);
        assert_int_equal(a.v[i].part, b.v[i].part);
    }
}

static void a_multipart_object_comes_back_in_both_forms(void **state)
{
    struct record r = multipart_put(), got;
    struct frame_record fr = {.seq = r.seq, .entries = &r, .n_entries = 1}, got_fr;

    (void)state;
    assert_int_equal(record_encode_history(&r, &out), 0);
    assert_int_equal(record_decode_history(buf_slice(&out), &arena, &got), 0);
    assert_int_equal(got.op, RECORD_PUT);
    assert_true(got.has_true_place); /* the original stops at it */
    assert_int_equal(got.size, r.size);
    assert_int_equal(got.upload, r.upload);
    assert_int_equal(got.part, 2);
    assert_extents_equal(got.extents, r.extents);
    buf_reset(&out);
    assert_int_equal(frame_record_encode(&fr, true, &out), 0);
    assert_int_equal(frame_record_decode(buf_slice(&out), true, &arena, &got_fr), 0);
    assert_int_equal(got_fr.entries[0].upload, r.upload);
    assert_int_equal(got_fr.entries[0].part, 2);
    assert_extents_equal(got_fr.entries[0].extents, r.extents);
}

static void extents_that_are_not_the_size_are_corrupt(void **state)
{
    struct record r = multipart_put(), got;

    (void)state;
    for (int i = 0; i < 2; i++) {
        r.size = 5078 + (i == 0) - (i == 1);
        buf_reset(&out);
        assert_int_equal(record_encode_history(&r, &out), 0);
        assert_int_equal(record_decode_history(buf_slice(&out), &arena, &got), ZERR_CORRUPT);
    }
}

/* One number of each is wrong; half of them are below zero on the disk. */
static void extents_that_cannot_be_are_corrupt(void **state)
{
    static const struct extent bad[] = {
        {.body = {BLOCK_NUMBER_MAX + 1u, 64}, .size = 9, .len = 1},
        {.body = {3, 1ull << 63}, .size = 9, .len = 1},
        {.body = {3, 64}, .size = 1ull << 63, .len = 1},
        {.body = {3, 64}, .size = BODY_MAX_BYTES + 1, .len = 1},
        {.body = {3, INT64_MAX - 8}, .size = 9, .len = 1},
        {.body = {3, 64}, .size = 9, .framed = true, .frame = {BLOCK_NUMBER_MAX + 1u, 0}, .len = 1},
        {.body = {3, 64}, .size = 9, .framed = true, .frame = {3, 1ull << 63}, .len = 1},
        {.body = {3, 64}, .size = 9, .from = 1ull << 63, .len = 1},
        {.body = {3, 64}, .size = 9, .from = 10, .len = 1},
        {.body = {3, 64}, .size = 9, .from = 9, .len = 1},
        {.body = {3, 64}, .size = 9, .len = 10},
        {.body = {3, 64}, .size = 9, .len = 0},
        {.body = {3, 64}, .size = 9, .len = 1, .part = PART_MAX + 1},
    };
    static const struct extent good = {
        {BLOCK_NUMBER_MAX, INT64_MAX - 9}, 9, true, {BLOCK_NUMBER_MAX, INT64_MAX}, 8, 1, PART_MAX};
    struct record r = multipart_put(), got;

    (void)state;
    r.extents = (struct extents){&good, 1};
    r.size = good.len;
    buf_reset(&out);
    assert_int_equal(record_encode_history(&r, &out), 0);
    assert_int_equal(record_decode_history(buf_slice(&out), &arena, &got), 0);
    assert_extents_equal(got.extents, r.extents);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        r.extents.v = &bad[i];
        r.size = bad[i].len;
        buf_reset(&out);
        assert_int_equal(record_encode_history(&r, &out), 0);
        assert_int_equal(record_decode_history(buf_slice(&out), &arena, &got), ZERR_CORRUPT);
    }
}

static void what_happens_to_uploads_comes_back_in_both_forms(void **state)
{
    static const enum record_op ops[] = {RECORD_UPLOAD, RECORD_PART, RECORD_ABORT};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct record r = full_put(), got;
        struct frame_record fr = {.seq = r.seq, .entries = &r, .n_entries = 1}, got_fr;

        r.op = ops[i];
        r.upload = r.op == RECORD_UPLOAD ? 0 : SEQ_FIRST(6);
        r.part = r.op == RECORD_PART ? PART_MAX : 0;
        assert_false(record_in_history(&r));
        buf_reset(&out);
        assert_int_equal(record_encode_history(&r, &out), 0);
        assert_int_equal(record_decode_history(buf_slice(&out), &arena, &got), 0);
        buf_reset(&out);
        assert_int_equal(frame_record_encode(&fr, true, &out), 0);
        assert_int_equal(frame_record_decode(buf_slice(&out), true, &arena, &got_fr), 0);
        for (const struct record *g = &got; g != NULL; g = g == &got ? got_fr.entries : NULL) {
            assert_int_equal(g->op, r.op);
            assert_int_equal(g->upload, r.upload);
            assert_int_equal(g->part, r.part);
            assert_true(slice_eq(g->key, r.key));
            assert_int_equal(g->seq, r.seq);
            if (r.op != RECORD_ABORT) {
                assert_attrs_equal(g->meta, r.meta);
                assert_int_equal(g->mtime_ms, r.mtime_ms);
            }
        }
    }
    /* A part of no upload, a put that is said to be an abort, an op from the future. */
    REFUSED("\x0a\x07\x0a\x01k\x12\x02\x18\x02\x80\x01\x01\x88\x01\x04\x98\x01\x01", ZERR_CORRUPT);
    REFUSED("\x0a\x07\x0a\x01k\x12\x02\x18\x02\x80\x01\x01\x88\x01\x05\x90\x01\x01", ZERR_CORRUPT);
    REFUSED("\x0a\x07\x0a\x01k\x12\x02\x18\x02\x88\x01\x63", ZERR_UNSUPPORTED);
}

static void a_record_keeps_what_it_points_to(void **state)
{
    struct record r = multipart_put(), want = r;
    uint8_t *room = malloc(record_room(&r));

    (void)state;
    assert_ptr_equal(record_keep(&r, room), room + record_room(&r));
    assert_ptr_not_equal(r.key.ptr, want.key.ptr);
    assert_true(slice_eq(r.key, want.key));
    assert_attrs_equal(r.meta, want.meta);
    assert_attrs_equal(r.sys, want.sys);
    assert_extents_equal(r.extents, want.extents);
    free(room);
}

static void unknown_fields_are_ignored(void **state)
{
    static const char bytes[] = "\xa8\x06\x05\x0a\x0d\x0a\x01k\x12\x03\x18\x02\x20\xaa\x06\x02zz";
    struct record rec;

    (void)state;
    /* Field 4 as a number inside Location is not what the format says. */
    assert_int_equal(record_decode_history(slice_of(bytes, sizeof(bytes) - 1), &arena, &rec),
                     ZERR_CORRUPT);
    static const char good[] = "\xa8\x06\x05\x0a\x0c\x0a\x01k\x12\x02\x18\x02\xaa\x06\x02zz";
    assert_int_equal(record_decode_history(slice_of(good, sizeof(good) - 1), &arena, &rec), 0);
    assert_int_equal(rec.size, 1);
    assert_true(slice_eq_str(rec.key, "k"));
}

static void every_cut_and_every_flipped_byte_of_a_record_is_decoded_or_refused(void **state)
{
    struct record rec = full_put(), back;

    (void)state;
    assert_int_equal(record_encode_history(&rec, &out), 0);
    for (size_t n = 0; n < out.len; n++) {
        uint8_t *exact = malloc(n + 1); /* so that a sanitizer sees a read beyond the cut */
        int err;

        assert_non_null(exact);
        memcpy(exact + 1, out.ptr, n);
        err = record_decode_history(slice_of(exact + 1, n), &arena, &back);
        assert_true(err == 0 || err == ZERR_CORRUPT);
        free(exact);
        for (unsigned bit = 0; bit < 8; bit++) {
            out.ptr[n] ^= (uint8_t)(1u << bit);
            err = record_decode_history(buf_slice(&out), &arena, &back);
            assert_true(err == 0 || err == ZERR_CORRUPT || err == ZERR_UNSUPPORTED);
            out.ptr[n] ^= (uint8_t)(1u << bit);
        }
        arena_reset(&arena);
    }
}

/* ---- attributes --- */

static void attributes_come_back_and_the_last_duplicate_wins(void **state)
{
    static const struct attr v[] = {
        {LIT("a"), LIT("1")}, {LIT("b"), LIT("2")}, {LIT("a"), LIT("3")}};
    struct attrs back;

    (void)state;
    assert_int_equal(attrs_encode((struct attrs){some_meta, 3}, &out), 0);
    assert_int_equal(attrs_decode(buf_slice(&out), &arena, &back), 0);
    assert_attrs_equal(back, (struct attrs){some_meta, 3});
    buf_reset(&out);
    assert_int_equal(attrs_encode((struct attrs){v, 3}, &out), 0);
    assert_int_equal(attrs_decode(buf_slice(&out), &arena, &back), 0);
    assert_int_equal(back.n, 2);
    assert_true(slice_eq_str(back.v[0].value, "3"));
    assert_int_equal(attrs_decode((struct slice){0}, &arena, &back), 0);
    assert_int_equal(back.n, 0);
}

static void decoded_attributes_outlive_their_input(void **state)
{
    struct attrs back;

    (void)state;
    assert_int_equal(attrs_encode((struct attrs){some_meta, 3}, &out), 0);
    assert_int_equal(attrs_decode(buf_slice(&out), &arena, &back), 0);
    memset(out.ptr, 0, out.len);
    assert_attrs_equal(back, (struct attrs){some_meta, 3});
}

static void too_many_attributes_are_refused(void **state)
{
    struct attrs back;

    (void)state;
    for (size_t i = 0; i <= RECORD_MAX_ATTRS; i++) {
        assert_int_equal(buf_append(&out, "\x0a\x00", 2), 0);
    }
    assert_int_equal(attrs_decode(buf_slice(&out), &arena, &back), ZERR_CORRUPT);
    out.len -= 2;
    assert_int_equal(attrs_decode(buf_slice(&out), &arena, &back), 0);
    assert_int_equal(back.n, 1); /* all have the empty name */
}

/* ---- frames --- */

static struct frame_record through_frame(const struct frame_record *rec, bool implied)
{
    struct frame_record back;

    buf_reset(&out);
    assert_int_equal(frame_record_encode(rec, implied, &out), 0);
    assert_int_equal(frame_record_decode(buf_slice(&out), implied, &arena, &back), 0);
    assert_int_equal(back.seq, rec->seq);
    assert_int_equal(back.durable_seq, rec->durable_seq);
    assert_int_equal(back.sums_hash, rec->sums_hash);
    assert_int_equal(back.void_first, rec->void_first);
    assert_int_equal(back.void_last, rec->void_last);
    assert_int_equal(back.n_entries, rec->n_entries);
    return back;
}

static void a_put_frame_implies_its_place(void **state)
{
    struct record rec = full_put(), want = rec;
    struct frame_record frame = {.seq = rec.seq,
                                 .durable_seq = rec.seq - 1,
                                 .sums_hash = UINT64_MAX,
                                 .entries = &rec,
                                 .n_entries = 1};
    struct frame_record back = through_frame(&frame, true);

    (void)state;
    want.framed = want.body_framed = false;
    want.body = want.frame = want.body_frame = (struct place){0};
    assert_record_equal(&back.entries[0], &want);
}

static void the_length_of_a_frame_record_does_not_depend_on_what_is_known_late(void **state)
{
    struct record rec = full_put();
    struct frame_record frame = {.entries = &rec, .n_entries = 1};
    size_t len;

    (void)state;
    rec.has_md5 = false;
    rec.mtime_ms = 0;
    rec.size = 5;
    assert_int_equal(frame_record_encode(&frame, true, &out), 0);
    len = out.len;
    buf_reset(&out);
    frame.seq = frame.durable_seq = frame.sums_hash = UINT64_MAX - RECORD_MAX_BATCH;
    rec.has_md5 = true;
    rec.mtime_ms = INT64_MAX;
    rec.size = BODY_MAX_BYTES;
    assert_int_equal(frame_record_encode(&frame, true, &out), 0);
    assert_int_equal(out.len, len);
}

static void copies_and_batches_name_their_bodies(void **state)
{
    struct record v[3] = {full_put(), {.op = RECORD_DELETE, .key = SLICE_LIT("x")}, full_put()};
    struct frame_record frame = {.seq = 100, .entries = v, .n_entries = 3}, back;

    (void)state;
    for (int i = 0; i < 3; i++) {
        v[i].framed = false; /* the caller's to fill */
        v[i].frame = (struct place){0};
        v[i].seq = 100 + (uint64_t)i;
    }
    v[2].body = (struct place){BLOCK_NUMBER_MAX, 5ull << 40};
    v[2].body_framed = false; /* the original's */
    v[2].body_frame = (struct place){0};
    back = through_frame(&frame, false);
    for (int i = 0; i < 3; i++) {
        assert_record_equal(&back.entries[i], &v[i]);
    }
}

static void a_void_record_names_its_numbers(void **state)
{
    struct frame_record frame = {.void_first = 5, .void_last = 9};

    (void)state;
    (void)through_frame(&frame, false);
}

static void a_full_batch_comes_back_and_a_larger_one_is_refused(void **state)
{
    static struct record v[RECORD_MAX_BATCH + 1];
    struct frame_record frame = {.seq = 1, .entries = v, .n_entries = RECORD_MAX_BATCH}, back;
    char *one_more;

    (void)state;
    for (int i = 0; i <= RECORD_MAX_BATCH; i++) {
        v[i] = (struct record){.op = RECORD_DELETE, .key = SLICE_LIT("key")};
    }
    back = through_frame(&frame, false);
    assert_int_equal(back.entries[RECORD_MAX_BATCH - 1].seq, RECORD_MAX_BATCH);
    frame.n_entries++;
    assert_int_equal(frame_record_encode(&frame, false, &out), ZERR_TOO_LARGE);
    /* The same by hand: the last entry once more. */
    one_more = memrchr(out.ptr, '\x22', out.len);
    while (one_more[2] != 0x08) {
        one_more = memrchr(out.ptr, '\x22', (size_t)((uint8_t *)one_more - out.ptr));
    }
    size_t at = (size_t)((uint8_t *)one_more - out.ptr), len = out.len - at;
    assert_int_equal(buf_reserve(&out, len), 0);
    memcpy(out.ptr + out.len, out.ptr + at, len);
    out.len += len;
    assert_int_equal(frame_record_decode(buf_slice(&out), false, &arena, &back), ZERR_CORRUPT);
}

static void place_and_kind_of_frame_must_agree(void **state)
{
    struct record rec = full_put();
    struct frame_record frame = {.entries = &rec, .n_entries = 1}, back;

    (void)state;
    assert_int_equal(frame_record_encode(&frame, true, &out), 0);
    assert_int_equal(frame_record_decode(buf_slice(&out), false, &arena, &back), ZERR_CORRUPT);
    buf_reset(&out);
    assert_int_equal(frame_record_encode(&frame, false, &out), 0);
    assert_int_equal(frame_record_decode(buf_slice(&out), true, &arena, &back), ZERR_CORRUPT);
}

static void every_cut_and_every_flipped_bit_of_a_frame_record_is_decoded_or_refused(void **state)
{
    struct record rec = full_put();
    struct frame_record frame = {.seq = 9, .entries = &rec, .n_entries = 1}, back;

    (void)state;
    assert_int_equal(frame_record_encode(&frame, false, &out), 0);
    for (size_t n = 0; n < out.len; n++) {
        uint8_t *exact = malloc(n + 1);
        int err;

        assert_non_null(exact);
        memcpy(exact + 1, out.ptr, n);
        err = frame_record_decode(slice_of(exact + 1, n), false, &arena, &back);
        assert_true(err == 0 || err == ZERR_CORRUPT);
        free(exact);
        for (unsigned bit = 0; bit < 8; bit++) {
            out.ptr[n] ^= (uint8_t)(1u << bit);
            err = frame_record_decode(buf_slice(&out), false, &arena, &back);
            assert_true(err == 0 || err == ZERR_CORRUPT || err == ZERR_UNSUPPORTED);
            out.ptr[n] ^= (uint8_t)(1u << bit);
        }
        arena_reset(&arena);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, reset, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_put_comes_back_from_the_history_as_it_was),
        TEST(a_record_without_our_fields_comes_back),
        TEST(a_delete_comes_back),
        TEST(copies_keep_apart_their_frame_and_the_bodys),
        TEST(a_body_without_frame_beside_frames_is_refused),
        TEST(what_the_original_cannot_say_stands_in_our_fields),
        TEST(encoding_goes_behind_what_the_buffer_has_and_failure_leaves_it),
        TEST(records_that_say_nothing_usable_are_corrupt),
        TEST(a_multipart_object_comes_back_in_both_forms),
        TEST(extents_that_are_not_the_size_are_corrupt),
        TEST(extents_that_cannot_be_are_corrupt),
        TEST(what_happens_to_uploads_comes_back_in_both_forms),
        TEST(a_record_keeps_what_it_points_to),
        TEST(unknown_fields_are_ignored),
        TEST(every_cut_and_every_flipped_byte_of_a_record_is_decoded_or_refused),
        TEST(attributes_come_back_and_the_last_duplicate_wins),
        TEST(decoded_attributes_outlive_their_input),
        TEST(too_many_attributes_are_refused),
        TEST(a_put_frame_implies_its_place),
        TEST(the_length_of_a_frame_record_does_not_depend_on_what_is_known_late),
        TEST(copies_and_batches_name_their_bodies),
        TEST(a_void_record_names_its_numbers),
        TEST(a_full_batch_comes_back_and_a_larger_one_is_refused),
        TEST(place_and_kind_of_frame_must_agree),
        TEST(every_cut_and_every_flipped_bit_of_a_frame_record_is_decoded_or_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
