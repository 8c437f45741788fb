/* The history when it is torn, damaged or hostile: what is left of it, and what is said to be lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "support/db_file.h"

/* ---- torn ends and damage --- */

/* Three members of 4, 5 and 6 records; off[3] is the file's end. */
static void make_three(struct buf *file, uint64_t off[4])
{
    off[0] = append_member(file, 0, 4);
    off[1] = append_member(file, 4, 5);
    off[2] = append_member(file, 9, 6);
    off[3] = file->len;
}

static void a_file_torn_anywhere_gives_a_prefix_of_members(void **state)
{
    static const uint64_t revs[] = {0, 4, 9, 15};
    struct buf file = {0};
    uint64_t off[4];
    size_t whole = 0;

    (void)state;
    make_three(&file, off);
    for (file.len = 0; file.len <= off[3]; file.len++) {
        int err = scan_bytes(&file);

        whole += whole < 3 && file.len == off[whole + 1];
        assert_int_equal(err, whole == 0 ? ZERR_CORRUPT : 0);
        assert_int_equal(seen.n_records, revs[whole]);
        assert_int_equal(seen.n_damage, 0);
        if (err == 0) {
            assert_int_equal(sum.end.off, off[whole]);
            assert_int_equal(sum.end.rev, revs[whole]);
            assert_int_equal(sum.file_len, file.len);
        }
    }
    buf_finish(&file);
}

static void zeros_or_garbage_behind_the_last_member_are_the_end(void **state)
{
    static const uint8_t zeros[200000];
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    assert_int_equal(buf_append(&file, zeros, sizeof(zeros)), 0);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_records, 15);
    assert_int_equal(sum.end.off, off[3]);
    noise(file.ptr + off[3], sizeof(zeros), 3);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_records, 15);
    assert_int_equal(sum.end.off, off[3]);
    assert_int_equal(sum.n_damaged, 0);
    buf_finish(&file);
}

/* A disk may leave older bytes in the sectors of a torn append: here the empty first member. */
static void an_old_member_behind_a_torn_one_is_the_end(void **state)
{
    struct buf file = {0};
    uint64_t torn, end;

    (void)state;
    (void)append_member(&file, 0, 0);
    end = file.len;
    torn = append_member(&file, 0, 40);
    assert_true(file.len - torn > end + 100);
    memmove(file.ptr + torn + 90, file.ptr, end);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_records, 0);
    assert_int_equal(seen.n_damage, 0);
    assert_int_equal(sum.end.off, end);
    buf_finish(&file);
}

static void damage_in_the_middle_is_passed_over_and_said(void **state)
{
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    for (uint64_t at = off[1]; at < off[2]; at++) {
        file.ptr[at] ^= 0x55;
        assert_int_equal(scan_bytes(&file), 0);
        assert_int_equal(sum.end.off, off[3]);
        assert_int_equal(sum.end.rev, 15);
        assert_int_equal(sum.members, seen.n_damage == 0 ? 3 : 2);
        assert_int_equal(sum.n_damaged, seen.n_damage);
        assert_int_equal(seen.n_records, seen.n_damage == 0 ? 15 : 10);
        if (seen.n_damage != 0) {
            assert_int_equal(seen.lost_first, 4);
            assert_int_equal(seen.lost_count, 5);
            assert_int_equal(seen.lost_off, off[1]);
            /* Its own, or the next member's where its extra field is damaged. */
            assert_true(seen.lost_last_seq == SEQ_FIRST(1) + 9 ||
                        (at < off[1] + 80 && seen.lost_last_seq == SEQ_FIRST(1) + 15));
        }
        assert_true(seen.n_damage == 1 ||
                    at < off[1] + 80); /* only the extra field: all is there */
        file.ptr[at] ^= 0x55;
    }
    buf_finish(&file);
}

static void a_member_whose_head_is_gone_is_passed_over_by_search(void **state)
{
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    memset(file.ptr + off[1], 0, off[2] - off[1]);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_damage, 1);
    assert_int_equal(seen.lost_first, 4);
    assert_int_equal(seen.lost_count, 5);
    assert_int_equal(seen.n_records, 10);
    assert_int_equal(sum.end.off, off[3]);
    buf_finish(&file);
}

static void damage_of_several_members_in_a_row_is_said_once(void **state)
{
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    append_member(&file, 15, 2);
    file.ptr[off[1] + 90] ^= 1;
    file.ptr[off[2] + 90] ^= 1;
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_damage, 1);
    assert_int_equal(sum.n_damaged, 2);
    assert_int_equal(seen.lost_first, 4);
    assert_int_equal(seen.lost_count, 11);
    assert_int_equal(seen.lost_last_seq, SEQ_FIRST(1) + 15);
    assert_int_equal(seen.n_records, 6);
    assert_int_equal(sum.end.rev, 17);
    buf_finish(&file);
}

static void what_is_said_of_lost_numbers_is_never_too_low(void **state)
{
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    append_member(&file, 15, 2);
    file.ptr[off[1] + 90] ^= 1;
    memset(file.ptr + off[2], 0, 90); /* behind one that is readable as far as its extra field */
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.lost_count, 11);
    assert_int_equal(seen.lost_last_seq, SEQ_FIRST(1) + 17);
    buf_finish(&file);
}

static void the_search_finds_a_member_at_any_distance(void **state)
{
    static const uint8_t zeros[70000];

    (void)state;
    for (size_t gap = 65500; gap < 65560; gap++) {
        struct buf file = {0};

        append_member(&file, 0, 4);
        assert_int_equal(buf_append(&file, zeros, gap), 0);
        append_member(&file, 9, 1);
        assert_int_equal(scan_bytes(&file), 0);
        assert_int_equal(seen.lost_count, 5);
        assert_int_equal(seen.n_records, 5);
        buf_finish(&file);
    }
}

static void an_extra_field_that_contradicts_its_member_is_damage(void **state)
{
    static const struct {
        size_t field;
        uint64_t value, n_records; /* of 16, 5 in the member and 6 in the next */
    } cases[] = {
        {EXTRA_COUNT, 4, 11},
        {EXTRA_COUNT, 6, 5},           /* the next one's revision was, then */
        {EXTRA_COUNT, UINT64_MAX, 16}, /* not believed at all: the content is right */
        {EXTRA_FIRST_REV, 3, 11},
        {EXTRA_FIRST_REV, 5, 5},
        {EXTRA_MEMBER_LEN, 0, 11},
        {EXTRA_MEMBER_LEN, 100, 11},
        {EXTRA_MEMBER_LEN, UINT64_MAX, 11},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf file = {0};
        uint64_t off[4];

        make_three(&file, off);
        append_member(&file, 15, 1);
        set_extra(&file, off[1], cases[i].field, cases[i].value);
        assert_int_equal(scan_bytes(&file), 0);
        assert_int_equal(seen.n_records, cases[i].n_records);
        assert_int_equal(seen.n_damage, cases[i].n_records != 16);
        assert_int_equal(sum.end.rev, 16);
        buf_finish(&file);
    }
}

static void damage_at_the_end_is_the_end(void **state)
{
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    file.ptr[off[3] - 20] ^= 1;
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_records, 9);
    assert_int_equal(sum.end.off, off[2]);
    assert_int_equal(sum.n_damaged, 0);
    assert_int_equal(seen.n_damage, 0);
    buf_finish(&file);
}

static void damage_at_the_start_is_passed_over_while_the_store_is_known(void **state)
{
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    file.ptr[100] ^= 1;
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.lost_first, 0);
    assert_int_equal(seen.lost_count, 4);
    assert_int_equal(seen.n_records, 11);
    file.ptr[40] ^= 1; /* its extra field, too */
    assert_int_equal(scan_bytes(&file), ZERR_CORRUPT);
    assert_int_equal(seen.n_records, 0);
    buf_finish(&file);
}

static void a_member_of_another_store_or_out_of_order_is_not_taken(void **state)
{
    struct db_state st = make_state(4);
    struct buf file = {0};
    struct db_batch *batch;
    struct slice member;
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    assert_int_equal(db_batch_create(&batch), 0);
    st.store_id[0]++;
    assert_int_equal(db_batch_member(batch, &st, 15, &member), 0);
    assert_int_equal(buf_append(&file, member.ptr, member.len), 0);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(sum.end.off, off[3]);
    file.len = off[3];
    st = make_state(4);
    assert_int_equal(db_batch_member(batch, &st, 14, &member), 0); /* a revision that was */
    assert_int_equal(buf_append(&file, member.ptr, member.len), 0);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(sum.end.off, off[3]);
    db_batch_destroy(batch);
    buf_finish(&file);
}

/* I8: a client's metadata can stand in a member as they are, since deflate stores what it cannot
 * make smaller. Here they look like a member. */
static void bytes_of_a_client_in_a_damaged_member_are_not_taken_for_one(void **state)
{
    struct db_state evil = make_state(5);
    struct buf file = {0};
    struct db_batch *batch;
    struct slice member;
    uint64_t off;

    (void)state;
    append_member(&file, 0, 4);
    off = append_member(&file, 4, 400);
    append_member(&file, 404, 1);
    assert_int_equal(db_batch_create(&batch), 0);
    evil.store_id[3] ^= 1; /* the real one is known to nobody outside */
    assert_int_equal(db_batch_member(batch, &evil, 5, &member), 0);
    memset(file.ptr + off, 0, 90);
    memcpy(file.ptr + off + 5000, member.ptr, member.len);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.lost_first, 4);
    assert_int_equal(seen.lost_count, 400);
    assert_int_equal(sum.members, 2);
    assert_int_equal(sum.end.rev, 405);
    assert_int_equal(sum.end.off, file.len);
    set_extra(&file, off + 5000, EXTRA_MEMBER_LEN, file.len - off - 5000); /* not by its length */
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(sum.members, 2);
    evil.store_id[3] ^= 1; /* had it been: it would have been taken */
    assert_int_equal(db_batch_member(batch, &evil, 5, &member), 0);
    memcpy(file.ptr + off + 5000, member.ptr, member.len);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_damage, 2);
    db_batch_destroy(batch);
    buf_finish(&file);
}

/* A gzip member of the original's kind with these contents, `zeros` zeros behind them. */
static void gzip_into(struct buf *file, const char *bytes, size_t len, size_t zeros)
{
    static uint8_t block[1 << 16];
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, 0), Z_OK);
    assert_int_equal(buf_reserve(file, len + zeros / 100 + 1000), 0);
    z.next_out = file->ptr;
    z.avail_out = (uInt)file->cap;
    z.next_in = (Bytef *)bytes;
    z.avail_in = (uInt)len;
    assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
    for (; zeros > 0; zeros -= z.avail_in) {
        z.next_in = block;
        z.avail_in = (uInt)(zeros < sizeof(block) ? zeros : sizeof(block));
        zeros -= z.avail_in;
        assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
        assert_int_equal(z.avail_in, 0);
    }
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    file->len = file->cap - z.avail_out;
    (void)deflateEnd(&z);
}

static void hostile_messages_are_refused_in_constant_memory(void **state)
{
    static const struct {
        const char *bytes;
        size_t len, zeros;
        int err;
    } cases[] = {
#define CASE(b, zeros, err) {b, sizeof(b) - 1, zeros, err}
        CASE("", 0, 0),                                            /* an empty message is one */
        CASE("\x10\x04", 0, 0),                                    /* next_backend_file 2 */
        CASE("\xfa\x07\x80\x80\x80\x40\x10\x04", 0, ZERR_CORRUPT), /* cut inside a field */
        CASE("\xfa\x07\x80\x80\x80\x40", 128 << 20, 0),            /* 128 MiB in a field to skip */
        CASE("\x1a\x80\x80\x80\x40", 128 << 20, ZERR_CORRUPT),     /* in one record */
        CASE("\x1a\x8a\x80\xc0\x02\x12\x85\x80\xc0\x02\x0a\x80\x80\xc0\x02", 5 << 20,
             ZERR_CORRUPT), /* a delete of a name of 5 MiB: right, but above the limit */
        CASE("\x1a\xff\xff\xff\xff\x0f", 1000, ZERR_CORRUPT),
        CASE("\x10\x01", 0, ZERR_CORRUPT), /* next_backend_file -1 */
        CASE("\x8a\x01\x03"
             "abc",
             0, ZERR_CORRUPT),                                     /* store id of 3 bytes */
        CASE("\xa2\x01\x80\x80\x80\x40", 128 << 20, ZERR_CORRUPT), /* 128 Mi open blocks */
        CASE("\x1a\x02\x08\x01", 0, ZERR_CORRUPT),                 /* a record that is none */
        CASE("\x00", 0, ZERR_CORRUPT),                             /* field 0 */
#undef CASE
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf file = {0};

        gzip_into(&file, cases[i].bytes, cases[i].len, cases[i].zeros);
        assert_int_equal(scan_bytes(&file), cases[i].err);
        assert_int_equal(seen.n_records, 0);
        buf_finish(&file);
    }
}

static void a_record_that_must_not_be_ignored_stops_the_scan(void **state)
{
    static const char bytes[] = "\x1a\x0c\x0a\x07\x0a\x01k\x12\x02\x18\x02\x88\x01\x63"; /* op 99 */
    struct buf file = {0};

    (void)state;
    gzip_into(&file, bytes, sizeof(bytes) - 1, 0);
    assert_int_equal(scan_bytes(&file), ZERR_UNSUPPORTED);
    buf_finish(&file);
}

static void a_position_that_is_no_member_gives_nothing(void **state)
{
    struct vfs *vfs = vfs_mem_create(1);
    struct buf file = {0};
    uint64_t off[4];

    (void)state;
    make_three(&file, off);
    vfs_mem_put(vfs, NAME, buf_slice(&file));
    assert_int_equal(scan_from(vfs, NAME, (struct db_pos){off[2], 9}), 0);
    assert_int_equal(seen.n_records, 6);
    assert_int_equal(scan_from(vfs, NAME, (struct db_pos){off[2], 8}), 0); /* not its revision */
    assert_int_equal(sum.members, 0);
    assert_int_equal(sum.end.off, off[2]);
    assert_int_equal(sum.end.rev, 8);
    assert_int_equal(scan_from(vfs, NAME, (struct db_pos){off[2] + 1, 9}), 0);
    assert_int_equal(sum.members, 0);
    assert_int_equal(sum.end.off, off[2] + 1);
    assert_int_equal(scan_from(vfs, NAME, (struct db_pos){off[3] + 1, 15}), ZERR_CORRUPT);
    vfs_mem_destroy(vfs);
    buf_finish(&file);
}

static void a_visitor_stops_the_scan(void **state)
{
    struct buf file = {0};

    (void)state;
    append_member(&file, 0, 10);
    seen.stop_at = 3;
    assert_int_equal(scan_bytes(&file), 42);
    assert_int_equal(seen.n_records, 3);
    buf_finish(&file);
}

static void a_device_that_cannot_read_is_not_damage(void **state)
{
    struct vfs *vfs = vfs_mem_create(1);
    struct buf file = {0};
    uint64_t off[4], n = 0;
    int err;

    (void)state;
    make_three(&file, off);
    file.ptr[off[1] + 90] ^= 1;
    vfs_mem_put(vfs, NAME, buf_slice(&file));
    do {
        vfs_mem_fail(vfs, MEM_READ | MEM_LOOK, ++n, ZERR_IO, MEM_ONCE);
        err = scan(vfs, NAME);
        assert_int_equal(err, vfs_mem_failed(vfs) > 0 ? ZERR_IO : 0);
    } while (err != 0);
    assert_true(n > 5);
    assert_int_equal(seen.n_records, 10);
    vfs_mem_destroy(vfs);
    buf_finish(&file);
}

static int write_whole(struct vfs *vfs)
{
    struct db_state st = make_state(3);
    struct db_writer *w;
    struct db_pos last, end;
    int err = db_writer_create(vfs, NAME, &st, &w);

    for (uint64_t i = 0; i < 3 && err == 0; i++) {
        struct record rec = make_record(i);

        err = db_writer_add(w, &rec);
        if (err != 0) {
            db_writer_abort(w);
        }
    }
    return err != 0 ? err : db_writer_finish(w, &st, &last, &end);
}

static void a_new_file_that_could_not_be_written_is_not_left_behind(void **state)
{
    uint64_t n = 0;
    int err;

    (void)state;
    do {
        struct vfs *vfs = vfs_mem_create(1);

        vfs_mem_fail(vfs, MEM_ANY & ~MEM_UNLINK, ++n, ZERR_NO_SPACE, MEM_ONCE);
        err = write_whole(vfs);
        assert_int_equal(err, vfs_mem_failed(vfs) > 0 ? ZERR_NO_SPACE : 0);
        assert_int_equal(vfs_mem_get(vfs, NAME).ptr != NULL, err == 0);
        assert_int_equal(vfs_mem_open_files(vfs), 0);
        vfs_mem_fail(vfs, 0, 0, 0, MEM_ONCE);
        if (err == 0) {
            assert_int_equal(write_whole(vfs), ZERR_EXISTS); /* never over another */
            assert_non_null(vfs_mem_get(vfs, NAME).ptr);
        }
        vfs_mem_destroy(vfs);
    } while (err != 0);
    assert_true(n > 3);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, reset, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_torn_anywhere_gives_a_prefix_of_members),
        TEST(zeros_or_garbage_behind_the_last_member_are_the_end),
        TEST(an_old_member_behind_a_torn_one_is_the_end),
        TEST(damage_in_the_middle_is_passed_over_and_said),
        TEST(a_member_whose_head_is_gone_is_passed_over_by_search),
        TEST(damage_of_several_members_in_a_row_is_said_once),
        TEST(what_is_said_of_lost_numbers_is_never_too_low),
        TEST(the_search_finds_a_member_at_any_distance),
        TEST(an_extra_field_that_contradicts_its_member_is_damage),
        TEST(damage_at_the_end_is_the_end),
        TEST(damage_at_the_start_is_passed_over_while_the_store_is_known),
        TEST(a_member_of_another_store_or_out_of_order_is_not_taken),
        TEST(bytes_of_a_client_in_a_damaged_member_are_not_taken_for_one),
        TEST(hostile_messages_are_refused_in_constant_memory),
        TEST(a_record_that_must_not_be_ignored_stops_the_scan),
        TEST(a_position_that_is_no_member_gives_nothing),
        TEST(a_visitor_stops_the_scan),
        TEST(a_device_that_cannot_read_is_not_damage),
        TEST(a_new_file_that_could_not_be_written_is_not_left_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
