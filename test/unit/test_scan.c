/* Walking a block: verdicts on frames, damage anywhere, forged and unknown heads. */
#include "store/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/num.h"
#include "support/vfs_mem.h"

#define NAME "block0000000031"
#define MAX_SEEN 32

static const struct block_header header = {
    .block = 31, .store_id = {'s', 't', 'o', 'r', 'e'}, .salt = 0x1122334455667788, .session = 7};

/* What a scan handed out; entries and their keys are copied. */
static struct {
    struct scan_frame v[MAX_SEEN];
    struct record rec[MAX_SEEN]; /* the first entry, without key */
    char key[MAX_SEEN][16];
    size_t n;
    int stop;
} seen;
static struct scan_result result;
static struct buf block;

static int see(void *user, const struct scan_frame *f)
{
    (void)user;
    assert_true(seen.n < MAX_SEEN);
    seen.v[seen.n] = *f;
    if (f->rec.n_entries > 0) {
        seen.rec[seen.n] = f->rec.entries[0];
        snprintf(seen.key[seen.n], sizeof(seen.key[0]), "%.*s", SLICE_FMT(f->rec.entries[0].key));
    }
    seen.n++;
    return seen.stop;
}

static int scan_number(uint32_t number, unsigned flags)
{
    struct vfs *vfs = vfs_mem_create(1);
    struct vfs_file *file;
    int stop = seen.stop, err;

    vfs_mem_put(vfs, NAME, buf_slice(&block));
    memset(&seen, 0, sizeof(seen));
    seen.stop = stop;
    assert_int_equal(vfs->ops->open(vfs, NAME, VFS_READ, &file), 0);
    err = scan_block(file, number, flags, see, NULL, &result);
    vfs->ops->close(file);
    vfs_mem_destroy(vfs);
    return err;
}

static int scan(unsigned flags)
{
    return scan_number(31, flags);
}

static int setup(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    memset(&result, 0, sizeof(result));
    buf_reset(&block);
    if (buf_reserve(&block, BLOCK_HEADER_BYTES) != 0) {
        return -1;
    }
    block_header_encode(&header, block.ptr);
    block.len = BLOCK_HEADER_BYTES;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_finish(&block);
    return 0;
}

static void append(const void *data, size_t len)
{
    assert_int_equal(buf_append(&block, data, len), 0);
}

/* A frame of this kind and record behind what is there; body bytes count up. Returns its offset. */
static uint64_t append_frame(uint8_t kind, const struct frame_record *rec, size_t body_len)
{
    static const uint8_t zeros[FRAME_ALIGN];
    struct frame_record fr = *rec;
    struct frame_head head = {.kind = kind, .body_len = body_len};
    struct body_hash *hash = body_hash_create();
    struct buf record = {0}, sums = {0};
    uint8_t *body = malloc(body_len + 1), bytes[FRAME_HEAD_BYTES], crc[4], md5[16];
    uint64_t off = block.len;

    assert_non_null(hash);
    assert_non_null(body);
    for (size_t i = 0; i < body_len; i++) {
        body[i] = (uint8_t)(i + off + i / 256);
    }
    assert_int_equal(body_hash_update(hash, body, body_len, &sums), 0);
    assert_int_equal(body_hash_final(hash, &sums, md5, &fr.sums_hash), 0);
    assert_int_equal(frame_record_encode(&fr, frame_implies_place(kind), &record), 0);
    head.record_len = (uint32_t)record.len;
    frame_head_encode(&head, &header, off, bytes);
    append(bytes, sizeof(bytes));
    append(record.ptr, record.len);
    le32_put(crc, frame_record_crc(bytes, buf_slice(&record)));
    append(crc, sizeof(crc));
    append(body, body_len);
    append(sums.ptr, sums.len);
    append(zeros, (size_t)(off + frame_len(head.record_len, body_len) - block.len));
    assert_int_equal(block.len, off + frame_len(head.record_len, body_len));
    body_hash_destroy(hash);
    buf_finish(&record);
    buf_finish(&sums);
    free(body);
    return off;
}

static uint64_t append_put(const char *key, uint64_t seq, size_t body_len)
{
    struct record rec = {.op = RECORD_PUT, .key = slice_str(key), .size = body_len, .mtime_ms = 5};

    return append_frame(
        FRAME_PUT, &(struct frame_record){.seq = seq, .entries = &rec, .n_entries = 1}, body_len);
}

static uint64_t append_delete(const char *key, uint64_t seq)
{
    struct record rec = {.op = RECORD_DELETE, .key = slice_str(key)};

    return append_frame(FRAME_DELETE,
                        &(struct frame_record){.seq = seq, .entries = &rec, .n_entries = 1}, 0);
}

/* A head alone, with room behind it that nobody has written. */
static uint64_t append_reserved(uint8_t kind, uint32_t record_len, uint64_t body_len)
{
    struct frame_head head = {.kind = kind, .record_len = record_len, .body_len = body_len};
    uint8_t bytes[FRAME_HEAD_BYTES];
    uint64_t off = block.len;
    size_t room = (size_t)frame_len(record_len, body_len) - sizeof(bytes);

    frame_head_encode(&head, &header, off, bytes);
    append(bytes, sizeof(bytes));
    assert_int_equal(buf_reserve(&block, room), 0);
    memset(block.ptr + block.len, 0, room);
    block.len += room;
    return off;
}

static uint64_t body_at(uint64_t off)
{
    return off + frame_body_off(le32_get(block.ptr + off + 20));
}

static void all_kinds_of_good_frames_are_handed_out_in_order(void **state)
{
    struct record copy = {.op = RECORD_PUT,
                          .key = SLICE_LIT("copy"),
                          .size = 1000,
                          .body = {31, 200},
                          .body_framed = true,
                          .body_frame = {31, 64}};
    struct record batch[2] = {{.op = RECORD_DELETE, .key = SLICE_LIT("x")},
                              {.op = RECORD_DELETE, .key = SLICE_LIT("y")}};
    struct frame_record one = {.seq = 12, .entries = &copy, .n_entries = 1};
    struct frame_record two = {.seq = 13, .entries = batch, .n_entries = 2};
    uint64_t off[6];

    (void)state;
    off[0] = append_put("a", 10, 1000);
    off[1] = append_put("big", 11, 40u * PIECE_BYTES + 3);
    off[2] = append_put("none", 11, 0);
    off[3] = append_frame(FRAME_COPY, &one, 0);
    off[4] = append_frame(FRAME_BATCH, &two, 0);
    off[5] = append_delete("gone", 15);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(seen.v[i].verdict, SCAN_VALID);
        assert_int_equal(seen.v[i].off, off[i]);
        assert_true(seen.rec[i].framed);
        assert_int_equal(seen.rec[i].frame.block, 31);
        assert_int_equal(seen.rec[i].frame.off, off[i]);
    }
    assert_string_equal(seen.key[0], "a");
    assert_int_equal(seen.rec[0].seq, 10);
    assert_int_equal(seen.rec[0].body.off, body_at(off[0]));
    assert_int_equal(seen.rec[0].body.block, 31);
    assert_true(seen.rec[0].body_framed);
    assert_int_equal(seen.rec[0].body_frame.off, off[0]);
    assert_int_equal(seen.rec[3].body.off, 200);
    assert_int_equal(seen.rec[3].body_frame.off, 64);
    assert_int_equal(seen.v[4].rec.n_entries, 2);
    assert_int_equal(result.end, block.len);
    assert_int_equal(result.file_len, block.len);
    assert_false(result.header_damaged);
    assert_memory_equal(result.header.store_id, header.store_id, STORE_ID_BYTES);
    assert_int_equal(result.header.session, 7);
}

static void a_frame_without_its_padding_at_the_end_is_valid(void **state)
{
    uint64_t off = append_put("a", 1, 1000);

    (void)state;
    block.len = body_at(off) + 1000 + SUM_BYTES;
    assert_true(block.len % FRAME_ALIGN != 0);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.v[0].verdict, SCAN_VALID);
    assert_int_equal(result.end, block.len);
}

static void void_frames_may_name_numbers(void **state)
{
    struct frame_record rec = {.void_first = 20, .void_last = 29};

    (void)state;
    append_frame(FRAME_VOID, &rec, 0);
    append_reserved(FRAME_VOID, 0, 0);
    append_reserved(FRAME_VOID, 100, 70000);
    uint64_t off = append_put("old", 3, 100); /* given up: its record stays, under another head */
    struct frame_head head = {
        .kind = FRAME_VOID, .record_len = le32_get(block.ptr + off + 20), .body_len = 100};
    frame_head_encode(&head, &header, off, block.ptr + off);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(seen.v[i].verdict, SCAN_VOID);
        assert_int_equal(seen.v[i].rec.n_entries, 0);
        assert_int_equal(seen.v[i].rec.void_first, i == 0 ? 20 : 0);
        assert_int_equal(seen.v[i].rec.void_last, i == 0 ? 29 : 0);
    }
    assert_int_equal(result.end, block.len);
}

static void a_record_room_of_zeros_was_never_committed(void **state)
{
    uint64_t off;

    (void)state;
    append_reserved(FRAME_PUT, 100, 5000);
    append_put("a", 1, 10);
    off = append_reserved(FRAME_PUT, 200, 100000);
    for (size_t len = off + FRAME_HEAD_BYTES; len <= block.len; len += 500) {
        size_t whole = block.len;

        block.len = len;
        assert_int_equal(scan(SCAN_BODIES), 0);
        assert_int_equal(seen.n, 3);
        assert_int_equal(seen.v[0].verdict, SCAN_UNCOMMITTED);
        assert_int_equal(seen.v[1].verdict, SCAN_VALID);
        assert_int_equal(seen.v[2].verdict, SCAN_UNCOMMITTED);
        assert_int_equal(seen.v[2].head.body_len, 100000);
        assert_int_equal(result.end, len);
        block.len = whole;
    }
}

static void a_wrong_piece_is_named(void **state)
{
    uint64_t off = append_put("a", 1, 1000u * PIECE_BYTES + 7), body = body_at(off);

    (void)state;
    append_put("b", 2, 10);
    block.ptr[body + 999u * PIECE_BYTES] ^= 1;
    block.ptr[body + 700u * PIECE_BYTES + 5] ^= 1;
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.v[0].verdict, SCAN_BAD_BODY);
    assert_int_equal(seen.v[0].bad_piece, 700);
    assert_string_equal(seen.key[0], "a");
    assert_int_equal(seen.v[1].verdict, SCAN_VALID);
    assert_int_equal(scan(0), 0); /* not asked for: not looked at */
    assert_int_equal(seen.v[0].verdict, SCAN_VALID);
    block.ptr[body + 1000u * PIECE_BYTES + 7 + 8 * 600] ^= 1; /* a sum */
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.v[0].verdict, SCAN_BAD_BODY);
    assert_int_equal(seen.v[0].bad_piece, UINT64_MAX);
}

/* What a misdirected write or a stale sector leaves: a good record, of as many bytes, of a frame
 * elsewhere in the same file. */
static void a_record_under_the_head_of_another_place_is_bad(void **state)
{
    (void)state;
    uint64_t first = append_put("a", 1, 0), second = append_put("b", 2, 0);
    memcpy(block.ptr + second + FRAME_HEAD_BYTES, block.ptr + first + FRAME_HEAD_BYTES,
           (size_t)(second - first - FRAME_HEAD_BYTES));
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.v[0].verdict, SCAN_VALID);
    assert_int_equal(seen.v[1].verdict, SCAN_BAD_RECORD);
}

static void every_flipped_bit_is_seen_and_hides_nothing_behind_it(void **state)
{
    uint64_t off[4];
    size_t from, to;

    (void)state;
    off[0] = append_put("a", 1, 100);
    off[1] = append_put("b", 2, 300);
    off[2] = append_delete("c", 3);
    off[3] = append_put("d", 4, 0);
    from = off[1];
    to = body_at(off[1]) + 300 + SUM_BYTES; /* padding has no sum */
    for (size_t bit = from * 8; bit < to * 8; bit++) {
        size_t n_valid = 0;

        block.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(scan(SCAN_BODIES), 0);
        for (size_t i = 0; i < seen.n; i++) {
            n_valid += seen.v[i].verdict == SCAN_VALID;
            assert_true(seen.v[i].verdict != SCAN_VALID || seen.v[i].off != off[1]);
            assert_false(seen.v[i].zero);
        }
        assert_int_equal(n_valid, 3);
        assert_int_equal(seen.n, 4);
        assert_int_equal(seen.v[1].off, off[1]);
        assert_int_equal(seen.v[1].len, off[2] - off[1]);
        assert_int_equal(seen.v[1].verdict, bit / 8 < from + FRAME_HEAD_BYTES ? SCAN_GARBAGE
                                            : bit / 8 < body_at(off[1])       ? SCAN_BAD_RECORD
                                                                              : SCAN_BAD_BODY);
        block.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_block_torn_anywhere_gives_the_whole_frames_before(void **state)
{
    uint64_t off[3], data_end[3];
    size_t whole = 0, len;

    (void)state;
    off[0] = append_put("a", 1, 100);
    data_end[0] = body_at(off[0]) + 100 + SUM_BYTES;
    off[1] = append_delete("b", 2);
    data_end[1] = body_at(off[1]);
    off[2] = append_put("c", 3, 200);
    data_end[2] = body_at(off[2]) + 200 + SUM_BYTES;
    len = block.len;
    for (block.len = BLOCK_HEADER_BYTES; block.len <= len; block.len++) {
        size_t n_valid = 0;

        whole += whole < 3 && block.len == data_end[whole];
        assert_int_equal(scan(SCAN_BODIES), 0);
        for (size_t i = 0; i < seen.n; i++) {
            n_valid += seen.v[i].verdict == SCAN_VALID;
        }
        assert_int_equal(n_valid, whole);
        assert_true(seen.n <= whole + 1);
        assert_true(result.end <= block.len);
    }
}

static void garbage_is_one_run_and_says_whether_it_is_zeros(void **state)
{
    static uint8_t zeros[300000];
    uint64_t end;

    (void)state;
    append_put("a", 1, 10);
    append("something", 9);
    append(zeros, 1024 - 9);
    append_put("b", 2, 10);
    end = block.len;
    append(zeros, sizeof(zeros) - 10);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 4);
    assert_int_equal(seen.v[1].verdict, SCAN_GARBAGE);
    assert_int_equal(seen.v[1].len, 1024);
    assert_false(seen.v[1].zero);
    assert_int_equal(seen.v[3].verdict, SCAN_GARBAGE);
    assert_int_equal(seen.v[3].off, end);
    assert_int_equal(seen.v[3].len, sizeof(zeros) - 10);
    assert_true(seen.v[3].zero);
    assert_int_equal(result.end, end);
}

/* I8: an object that is a copy of this very block, stored where the walk has lost its way. */
static void frames_inside_a_body_are_not_taken_for_frames(void **state)
{
    uint64_t off;
    uint8_t *copy;
    size_t len;

    (void)state;
    append_put("a", 1, 100);
    append_put("b", 2, 100);
    len = block.len;
    copy = malloc(len);
    assert_non_null(copy);
    memcpy(copy, block.ptr, len);
    off = append_put("c", 3, 3 * len);
    for (size_t at = (body_at(off) + 63) / 64 * 64; at + len <= body_at(off) + 3 * len; at += len) {
        memcpy(block.ptr + at, copy, len);
    }
    append_put("d", 4, 10);
    block.ptr[off] ^= 1; /* the head around it is gone */
    free(copy);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 4);
    assert_int_equal(seen.v[2].verdict, SCAN_GARBAGE);
    assert_string_equal(seen.key[3], "d");
}

static struct record some(enum record_op op, uint64_t size, uint64_t upload, uint32_t part)
{
    return (struct record){.op = op,
                           .key = SLICE_LIT("k"),
                           .size = size,
                           .upload = upload,
                           .part = part,
                           .body = {30, 64}};
}

struct fitting {
    uint8_t kind;
    struct record rec;
    size_t body_len;
};

static void assert_all(const struct fitting *v, size_t n, size_t n_entries, enum scan_verdict want)
{
    setup(NULL);
    for (size_t i = 0; i < n; i++) {
        struct record twice[] = {v[i].rec, v[i].rec};

        append_frame(v[i].kind, &(struct frame_record){.entries = twice, .n_entries = n_entries},
                     v[i].body_len);
    }
    append_put("good", 1, 1);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, n + 1);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(seen.v[i].verdict, want);
    }
    assert_int_equal(seen.v[n].verdict, SCAN_VALID);
}

static void records_that_do_not_fit_their_frame_are_bad(void **state)
{
    static const struct extent extent = {.body = {3, 64}, .size = 9, .len = 7};
    struct record put = some(RECORD_PUT, 7, 0, 0), del = some(RECORD_DELETE, 0, 0, 0);
    struct record upload = some(RECORD_UPLOAD, 0, 0, 0), part = some(RECORD_PART, 7, 5, 1);
    struct record given_up = some(RECORD_ABORT, 0, 5, 0), made = put, part_made = part, near = put;

    near.body.block = 31; /* and no frame around it */
    made.extents = part_made.extents = (struct extents){&extent, 1};

    const struct fitting good[] = {
        {FRAME_PUT, put, 7},          {FRAME_PART, part, 7},       {FRAME_UPLOAD, upload, 0},
        {FRAME_UPLOAD, part_made, 0}, {FRAME_UPLOAD, given_up, 0}, {FRAME_COPY, put, 0},
        {FRAME_COPY, made, 0},        {FRAME_BATCH, del, 0},       {FRAME_DELETE, del, 0},
    };
    const struct fitting bad[] = {
        {FRAME_PUT, put, 8},
        {FRAME_PUT, del, 0},
        {FRAME_PUT, made, 7},
        {FRAME_PART, part, 8},
        {FRAME_PART, put, 7},
        {FRAME_PART, part_made, 7},
        {FRAME_PART, some(RECORD_PART, 7, 0, 1), 7},
        {FRAME_PART, some(RECORD_PART, 7, 5, 0), 7},
        {FRAME_UPLOAD, upload, 5},
        {FRAME_UPLOAD, del, 0},
        {FRAME_UPLOAD, some(RECORD_UPLOAD, 0, 5, 0), 0},
        {FRAME_UPLOAD, some(RECORD_ABORT, 0, 0, 0), 0},
        {FRAME_UPLOAD, some(RECORD_PART, 0, 5, 0), 0},
        {FRAME_UPLOAD, part, 0}, /* a body that is nowhere */
        {FRAME_DELETE, del, 5},
        {FRAME_DELETE, put, 0},
        {FRAME_COPY, del, 0},
        {FRAME_COPY, put, 5},
        {FRAME_COPY, near, 0},
        {FRAME_COPY, upload, 0},
        {FRAME_BATCH, near, 0},
        {FRAME_BATCH, del, 5},
        {FRAME_BATCH, upload, 0},
    };
    /* None at all, and more than one where one must be. */
    const struct fitting alone[] = {
        {FRAME_PUT, put, 7},  {FRAME_PART, part, 7},  {FRAME_UPLOAD, upload, 0},
        {FRAME_COPY, put, 0}, {FRAME_DELETE, del, 0}, {FRAME_BATCH, del, 0},
    };

    (void)state;
    assert_all(good, sizeof(good) / sizeof(good[0]), 1, SCAN_VALID);
    assert_all(bad, sizeof(bad) / sizeof(bad[0]), 1, SCAN_BAD_RECORD);
    assert_all(alone, 6, 0, SCAN_BAD_RECORD);
    assert_all(alone, 5, 2, SCAN_BAD_RECORD);
    setup(NULL);
    append_reserved(FRAME_PUT, 0, 64); /* no record */
    append_put("good", 1, 1);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.v[0].verdict, SCAN_BAD_RECORD);
    assert_int_equal(seen.v[1].verdict, SCAN_VALID);
}

static void unknown_kinds_are_passed_over_or_refused(void **state)
{
    struct record del = {.op = RECORD_DELETE, .key = SLICE_LIT("k")};
    struct frame_record d = {.entries = &del, .n_entries = 1};

    (void)state;
    append_frame(0x70, &d, 300);
    append_put("a", 1, 5);
    assert_int_equal(scan(SCAN_BODIES), 0);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.v[0].head.kind, 0x70);
    assert_int_equal(seen.v[0].rec.n_entries, 0);
    append_frame(0x90, &d, 0);
    assert_int_equal(scan(SCAN_BODIES), ZERR_UNSUPPORTED);
}

static void a_damaged_header_is_mended_from_the_first_frame(void **state)
{
    (void)state;
    append_put("a", 1, 5);
    for (size_t bit = 0; bit < BLOCK_HEADER_BYTES * 8; bit++) {
        block.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(scan(SCAN_BODIES), 0);
        assert_true(result.header_damaged);
        assert_int_equal(seen.n, 1);
        assert_int_equal(seen.v[0].verdict, SCAN_VALID);
        assert_int_equal(result.header.salt, header.salt);
        block.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void what_is_not_our_block_is_not_walked(void **state)
{
    (void)state;
    append_put("a", 1, 5);
    assert_int_equal(scan_number(30, 0), ZERR_CORRUPT);
    memset(block.ptr, 'x', BLOCK_HEADER_BYTES); /* an object of the original with a head in it */
    assert_int_equal(scan(0), ZERR_NOT_FOUND);
    block.len = 0;
    assert_int_equal(scan(0), ZERR_NOT_FOUND);
    assert_int_equal(setup(NULL), 0);
    block.len = 63;
    assert_int_equal(scan(0), ZERR_NOT_FOUND);
    block.len = 64;
    assert_int_equal(scan(0), 0);
    assert_int_equal(result.end, 64);
    assert_int_equal(seen.n, 0);
    block.ptr[62] ^= 1;
    assert_int_equal(scan(0), ZERR_CORRUPT);
}

static void a_visitor_stops_the_walk(void **state)
{
    (void)state;
    append_put("a", 1, 5);
    append_put("b", 2, 5);
    seen.stop = 42;
    assert_int_equal(scan(0), 42);
    assert_int_equal(seen.n, 1);
}

static void one_frame_can_be_read_by_itself(void **state)
{
    struct vfs *vfs = vfs_mem_create(1);
    struct arena arena = {0};
    struct scan_frame f;
    struct vfs_file *file;
    uint64_t off;

    (void)state;
    append_put("a", 1, 5);
    off = append_put("b", 2, 5000);
    vfs_mem_put(vfs, NAME, buf_slice(&block));
    assert_int_equal(vfs->ops->open(vfs, NAME, VFS_READ, &file), 0);
    assert_int_equal(scan_one(file, &header, off, SCAN_BODIES, &arena, &f), 0);
    assert_int_equal(f.verdict, SCAN_VALID);
    assert_int_equal(f.len, block.len - off);
    assert_true(slice_eq_str(f.rec.entries[0].key, "b"));
    assert_int_equal(scan_one(file, &header, off + 64, SCAN_BODIES, &arena, &f), 0);
    assert_int_equal(f.verdict, SCAN_GARBAGE);
    assert_int_equal(scan_one(file, &header, block.len + 64, SCAN_BODIES, &arena, &f), 0);
    assert_int_equal(f.verdict, SCAN_GARBAGE);
    vfs->ops->close(file);
    arena_finish(&arena);
    vfs_mem_destroy(vfs);
}

static void a_device_that_cannot_read_is_not_damage(void **state)
{
    struct vfs *vfs = vfs_mem_create(1);
    struct vfs_file *file;
    uint64_t n = 0;
    int err;

    (void)state;
    append_put("a", 1, 3u * PIECE_BYTES);
    append_delete("b", 2);
    vfs_mem_put(vfs, NAME, buf_slice(&block));
    assert_int_equal(vfs->ops->open(vfs, NAME, VFS_READ, &file), 0);
    do {
        seen.n = 0;
        vfs_mem_fail(vfs, MEM_READ | MEM_LOOK, ++n, ZERR_IO, MEM_ONCE);
        err = scan_block(file, 31, SCAN_BODIES, see, NULL, &result);
        assert_int_equal(err, vfs_mem_failed(vfs) > 0 ? ZERR_IO : 0);
    } while (err != 0);
    assert_true(n > 6);
    assert_int_equal(seen.n, 2);
    vfs->ops->close(file);
    vfs_mem_destroy(vfs);
}

/* A server gives up room at the end of its block while a tool reads it. */
static uint64_t cut_to;

static int cut(void *user, const struct scan_frame *f)
{
    struct vfs_file *file = user;
    (void)f;
    return file->vfs->ops->truncate(file, cut_to);
}

static void a_file_that_is_cut_meanwhile_is_not_the_device(void **state)
{
    struct vfs *vfs = vfs_mem_create(1);
    struct vfs_file *file;

    (void)state;
    append_put("a", 1, 5);
    uint64_t from = append_put("b", 2, 2u * PIECE_BYTES + 10), to = append_put("c", 3, 10);
    for (cut_to = from; cut_to < to; cut_to += 500) {
        vfs_mem_put(vfs, NAME, buf_slice(&block));
        assert_int_equal(vfs->ops->open(vfs, NAME, VFS_WRITE, &file), 0);
        assert_int_equal(scan_block(file, 31, SCAN_BODIES, cut, file, &result), ZERR_INCOMPLETE);
        vfs->ops->close(file);
    }
    vfs_mem_destroy(vfs);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_kinds_of_good_frames_are_handed_out_in_order),
        TEST(a_frame_without_its_padding_at_the_end_is_valid),
        TEST(void_frames_may_name_numbers),
        TEST(a_record_room_of_zeros_was_never_committed),
        TEST(a_wrong_piece_is_named),
        TEST(a_record_under_the_head_of_another_place_is_bad),
        TEST(every_flipped_bit_is_seen_and_hides_nothing_behind_it),
        TEST(a_block_torn_anywhere_gives_the_whole_frames_before),
        TEST(garbage_is_one_run_and_says_whether_it_is_zeros),
        TEST(frames_inside_a_body_are_not_taken_for_frames),
        TEST(records_that_do_not_fit_their_frame_are_bad),
        TEST(unknown_kinds_are_passed_over_or_refused),
        TEST(a_damaged_header_is_mended_from_the_first_frame),
        TEST(what_is_not_our_block_is_not_walked),
        TEST(a_visitor_stops_the_walk),
        TEST(one_frame_can_be_read_by_itself),
        TEST(a_device_that_cannot_read_is_not_damage),
        TEST(a_file_that_is_cut_meanwhile_is_not_the_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
