/* The history: files of the original, and members written here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "support/db_file.h"

/* ---- the original's --- */

static const struct {
    const char *dir, *db, *history;
} golden[] = {
    {"one-block", "db0000000000", "one-block.history"},
    {"many-blocks", "db0000000002", "many-blocks.history"},
    {"wrapped-db", "db0000000001", "wrapped-db.history"},
    {"two-dbs", "db0000000001", "two-dbs.history"},
};
#define N_GOLDEN (sizeof(golden) / sizeof(golden[0]))

static struct vfs *load(const char *dir)
{
    struct vfs *vfs = vfs_mem_create(1);
    char path[256];

    snprintf(path, sizeof(path), TEST_DIR "/golden/%s", dir);
    assert_true(vfs_mem_load(vfs, path) > 0);
    return vfs;
}

static void the_originals_files_give_exactly_their_history(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDEN; i++) {
        struct vfs *vfs = load(golden[i].dir), *texts = load("");
        struct slice want = vfs_mem_get(texts, golden[i].history);
        const uint8_t *line = memchr(want.ptr, '\n', want.len);

        assert_int_equal(scan(vfs, golden[i].db), 0);
        want = slice_of(line + 1, want.len - (size_t)(line + 1 - want.ptr)); /* behind its head */
        assert_true(slice_eq(buf_slice(&seen.text), want));
        assert_int_equal(sum.end.rev, seen.n_records);
        assert_int_equal(sum.end.off, sum.file_len);
        assert_int_equal(sum.members, 1);
        assert_false(sum.framed_members);
        assert_false(sum.state.has_store_id);
        assert_int_equal(sum.state.generation, 0);
        assert_true(sum.state.next_backend_file > 0);
        vfs_mem_destroy(vfs);
        vfs_mem_destroy(texts);
    }
}

static void the_originals_file_torn_anywhere_gives_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDEN; i++) {
        struct vfs *vfs = load(golden[i].dir);
        struct slice whole = vfs_mem_get(vfs, golden[i].db);
        uint8_t *copy = malloc(whole.len);
        size_t len = whole.len;

        assert_non_null(copy);
        memcpy(copy, whole.ptr, len);
        for (size_t n = 0; n < len; n++) {
            vfs_mem_put(vfs, NAME, slice_of(copy, n));
            assert_int_equal(scan(vfs, NAME), ZERR_CORRUPT);
            assert_int_equal(seen.n_records, 0);
        }
        free(copy);
        vfs_mem_destroy(vfs);
    }
}

static void the_originals_file_with_any_bit_flipped_gives_all_or_nothing(void **state)
{
    struct vfs *vfs = load("two-dbs");
    size_t len = vfs_mem_get(vfs, "db0000000001").len, accepted = 0;
    struct buf want = {0};

    (void)state;
    assert_int_equal(scan(vfs, "db0000000001"), 0);
    assert_int_equal(buf_append(&want, seen.text.ptr, seen.text.len), 0);
    for (size_t bit = 0; bit < len * 8; bit++) {
        int err;

        vfs_mem_flip(vfs, "db0000000001", bit / 8, (uint8_t)(1u << bit % 8));
        err = scan(vfs, "db0000000001");
        assert_true(err == ZERR_CORRUPT || err == 0);
        assert_int_equal(seen.n_records, err == 0 ? 12 : 0);
        assert_true(err != 0 || slice_eq(buf_slice(&seen.text), buf_slice(&want)));
        accepted += err == 0;
        vfs_mem_flip(vfs, "db0000000001", bit / 8, (uint8_t)(1u << bit % 8));
    }
    assert_true(accepted < 100); /* gzip's time and the like, and deflate's padding */
    buf_finish(&want);
    vfs_mem_destroy(vfs);
}

/* ---- members written here --- */

static void members_come_back_with_their_state(void **state)
{
    struct buf file = {0};
    uint64_t last;

    (void)state;
    append_member(&file, 0, 0);
    append_member(&file, 0, 5);
    last = append_member(&file, 5, 300);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_records, 305);
    assert_int_equal(sum.members, 3);
    assert_int_equal(sum.last_member.off, last);
    assert_int_equal(sum.last_member.rev, 5);
    assert_int_equal(sum.end.off, file.len);
    assert_int_equal(sum.end.rev, 305);
    assert_int_equal(sum.file_len, file.len);
    assert_true(sum.framed_members);
    assert_int_equal(sum.n_damaged, 0);
    assert_int_equal(sum.state.next_backend_file, 4);
    assert_int_equal(sum.state.generation, 3);
    assert_int_equal(sum.state.last_seq, SEQ_FIRST(1) + 305);
    assert_int_equal(sum.state.n_open_blocks, 2);
    assert_int_equal(sum.state.open_blocks[0], 3);
    assert_int_equal(sum.state.open_blocks[1], 2000000000);
    assert_memory_equal(sum.state.store_id, store_id, STORE_ID_BYTES);
    assert_int_equal(seen.total, file.len);
    buf_finish(&file);
}

static int compare_record(void *user, uint64_t rev, const struct record *rec)
{
    struct record want = make_record(rev);

    (void)user;
    assert_int_equal(rec->op, want.op);
    assert_true(slice_eq(rec->key, want.key));
    assert_int_equal(rec->seq, want.seq);
    assert_int_equal(rec->body.block, want.body.block);
    assert_int_equal(rec->body.off, want.body.off);
    assert_int_equal(rec->frame.off, want.frame.off);
    assert_int_equal(rec->size, want.size);
    assert_memory_equal(rec->md5, want.md5, 16);
    assert_int_equal(rec->meta.n, want.meta.n);
    for (size_t i = 0; i < want.meta.n; i++) {
        assert_true(slice_eq(rec->meta.v[i].value, want.meta.v[i].value));
    }
    return 0;
}

static void a_whole_file_is_written_in_members_and_comes_back(void **state)
{
    enum { N = 60000 };
    struct vfs *vfs = vfs_mem_create(1), *after;
    struct db_visitor visitor = {.record = compare_record};
    struct db_state first = make_state(0), st = make_state(N);
    struct db_writer *w;
    struct db_pos last, end;
    struct vfs_file *file;

    (void)state;
    assert_int_equal(db_writer_create(vfs, NAME, &first, &w), 0);
    for (uint64_t i = 0; i < N; i++) {
        struct record rec = make_record(i);

        assert_int_equal(db_writer_add(w, &rec), 0);
    }
    assert_int_equal(db_writer_finish(w, &st, &last, &end), 0);
    assert_int_equal(vfs->ops->sync_dir(vfs), 0);
    after = vfs_mem_crash(vfs, MEM_CRASH_SYNCED, 1); /* finish has synced it */
    assert_int_equal(after->ops->open(after, NAME, VFS_READ, &file), 0);
    assert_int_equal(db_scan(after, file, (struct db_pos){0}, &visitor, &sum, NULL), 0);
    assert_int_equal(sum.end.rev, N);
    assert_int_equal(sum.end.off, end.off);
    assert_int_equal(end.rev, N);
    assert_int_equal(sum.last_member.off, last.off);
    assert_int_equal(sum.last_member.rev, last.rev);
    assert_true(sum.members > 2);
    assert_true(sum.members <= end.off / (1 << 20) + 2);
    db_summary_finish(&sum);
    assert_int_equal(db_scan(after, file, last, &visitor, &sum, NULL), 0); /* the tail alone */
    assert_int_equal(sum.members, 1);
    assert_int_equal(sum.end.rev, N);
    db_summary_finish(&sum);
    assert_int_equal(db_scan(after, file, end, &visitor, &sum, NULL), 0); /* nothing new */
    assert_int_equal(sum.members, 0);
    assert_int_equal(sum.end.off, end.off);
    after->ops->close(file);
    vfs_mem_destroy(after);
    vfs_mem_destroy(vfs);
}

static void a_failed_flush_can_be_repeated_with_more_records(void **state)
{
    struct buf file = {0};
    struct db_batch *batch;
    struct slice member;

    (void)state;
    assert_int_equal(db_batch_create(&batch), 0);
    for (int again = 0; again < 2; again++) {
        for (uint64_t i = 0; i < 2000; i++) {
            struct record rec = make_record(i);
            struct db_state st = make_state(i + 1);

            assert_int_equal(db_batch_add(batch, &rec), 0);
            if (i % 100 == 0) { /* twice, the second time with nothing new */
                assert_int_equal(db_batch_member(batch, &st, 0, &member), 0);
                assert_int_equal(db_batch_member(batch, &st, 0, &member), 0);
                buf_reset(&file);
                assert_int_equal(buf_append(&file, member.ptr, member.len), 0);
                assert_int_equal(scan_bytes(&file), 0);
                assert_int_equal(seen.n_records, i + 1);
                assert_int_equal(sum.end.off, file.len);
                assert_int_equal(sum.state.last_seq, st.last_seq);
            }
        }
        assert_int_equal(db_batch_count(batch), 2000);
        assert_true(db_batch_bytes(batch) < 2000 * 150);
        db_batch_reset(batch);
        assert_int_equal(db_batch_count(batch), 0);
        assert_true(db_batch_bytes(batch) < 100);
    }
    db_batch_destroy(batch);
    buf_finish(&file);
}

static void records_that_do_not_compress_and_huge_ones_fit(void **state)
{
    size_t len = RECORD_MAX_BYTES - 1000;
    uint8_t *value = malloc(len);
    struct attr attr = {SLICE_LIT("X-Amz-Meta-Noise"), {value, len}};
    struct record rec = {.op = RECORD_PUT, .key = SLICE_LIT("k"), .meta = {&attr, 1}};
    struct db_state st = make_state(0);
    struct buf file = {0};
    struct db_batch *batch;
    struct slice member;

    (void)state;
    assert_non_null(value);
    noise(value, len, 5);
    assert_int_equal(db_batch_create(&batch), 0);
    for (int i = 0; i < 300; i++) { /* small ones first: deflate holds some back */
        attr.value.len = 700;
        assert_int_equal(db_batch_add(batch, &rec), 0);
    }
    attr.value.len = len;
    assert_int_equal(db_batch_add(batch, &rec), 0);
    assert_int_equal(db_batch_add(batch, &rec), 0);
    attr.value.len = RECORD_MAX_HISTORY_BYTES;
    assert_int_equal(db_batch_member(batch, &st, 0, &member), 0);
    assert_int_equal(buf_append(&file, member.ptr, member.len), 0);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_records, 302);
    db_batch_destroy(batch);
    buf_finish(&file);
    free(value);
}

static void state_with_many_open_blocks_comes_back(void **state)
{
    enum { N = 20000 };
    struct db_state st = make_state(1);
    struct buf file = {0};
    struct db_batch *batch;
    struct slice member;

    (void)state;
    st.open_blocks = calloc(N, sizeof(uint32_t));
    st.n_open_blocks = N;
    for (uint32_t i = 0; i < N; i++) {
        st.open_blocks[i] = i * 100000;
    }
    assert_int_equal(db_batch_create(&batch), 0);
    assert_int_equal(db_batch_member(batch, &st, 0, &member), 0); /* more than a stored block */
    assert_int_equal(buf_append(&file, member.ptr, member.len), 0);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(sum.state.n_open_blocks, N);
    assert_memory_equal(sum.state.open_blocks, st.open_blocks, N * sizeof(uint32_t));
    free(st.open_blocks);
    db_batch_destroy(batch);
    buf_finish(&file);
}

static void the_extra_field_says_what_is_in_the_member(void **state)
{
    struct vfs *vfs = vfs_mem_create(1);
    struct buf file = {0};
    struct db_extra extra;
    struct vfs_file *f;
    uint64_t off;

    (void)state;
    append_member(&file, 0, 5);
    off = append_member(&file, 5, 7);
    vfs_mem_put(vfs, NAME, buf_slice(&file));
    assert_int_equal(vfs->ops->open(vfs, NAME, VFS_READ, &f), 0);
    assert_int_equal(db_read_extra(f, off, &extra), 0);
    assert_memory_equal(extra.store_id, store_id, STORE_ID_BYTES);
    assert_int_equal(extra.generation, 3);
    assert_int_equal(extra.first_rev, 5);
    assert_int_equal(extra.count, 7);
    assert_int_equal(extra.last_seq, SEQ_FIRST(1) + 12);
    assert_int_equal(extra.member_len, file.len - off);
    assert_int_equal(db_read_extra(f, off + 1, &extra), ZERR_CORRUPT);
    assert_int_equal(db_read_extra(f, file.len, &extra), ZERR_CORRUPT);
    vfs_mem_flip(vfs, NAME, off + 30, 1);
    assert_int_equal(db_read_extra(f, off, &extra), ZERR_CORRUPT);
    vfs->ops->close(f);
    vfs_mem_destroy(vfs);
    vfs = load("one-block");
    assert_int_equal(vfs->ops->open(vfs, NAME, VFS_READ, &f), 0);
    assert_int_equal(db_read_extra(f, 0, &extra), ZERR_NOT_FOUND);
    vfs->ops->close(f);
    vfs_mem_destroy(vfs);
    buf_finish(&file);
}

static void members_can_follow_the_originals(void **state)
{
    struct vfs *vfs = load("two-dbs");
    struct slice orig = vfs_mem_get(vfs, "db0000000001");
    struct buf file = {0};
    uint64_t off;

    (void)state;
    assert_int_equal(buf_append(&file, orig.ptr, orig.len), 0);
    off = append_member(&file, 12, 3);
    append_member(&file, 15, 4);
    assert_int_equal(scan_bytes(&file), 0);
    assert_int_equal(seen.n_records, 19);
    assert_int_equal(sum.members, 3);
    assert_true(sum.framed_members);
    file.ptr[off + 100] ^= 1; /* our first member is damaged: nothing before it names the store */
    assert_int_equal(scan_bytes(&file), ZERR_CORRUPT);
    vfs_mem_destroy(vfs);
    buf_finish(&file);
}

/* What `gzip -dc FILE | protoc --decode` against the original's messages says. */
static void the_originals_reader_reads_our_file(void **state)
{
    char path[] = "/tmp/zkv-db-XXXXXX", cmd[512], line[256];
    struct buf file = {0};
    int fd = mkstemp(path), puts_seen = 0, deletes_seen = 0, unknown = 0;
    bool next_seen = false;
    FILE *p;

    (void)state;
    append_member(&file, 0, 0);
    append_member(&file, 0, 700);
    append_member(&file, 700, 300);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file.ptr, file.len), file.len);
    close(fd);
    snprintf(cmd, sizeof(cmd),
             "gzip -t %s && gzip -dc %s | protoc -I" TEST_DIR "/support --decode=Db "
             "original.proto",
             path, path);
    p = popen(cmd, "r");
    assert_non_null(p);
    while (fgets(line, sizeof(line), p) != NULL) {
        puts_seen += strcmp(line, "  put {\n") == 0;
        deletes_seen += strcmp(line, "  delete {\n") == 0;
        next_seen = next_seen || strcmp(line, "next_backend_file: 11\n") == 0;
        unknown += strncmp(line, "history {", 9) == 0;
    }
    assert_int_equal(pclose(p), 0);
    assert_int_equal(puts_seen, 858);
    assert_int_equal(deletes_seen, 142);
    assert_int_equal(unknown, 1000); /* one message for all records */
    assert_true(next_seen);
    assert_int_equal(unlink(path), 0);
    buf_finish(&file);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, reset, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_originals_files_give_exactly_their_history),
        TEST(the_originals_file_torn_anywhere_gives_nothing),
        TEST(the_originals_file_with_any_bit_flipped_gives_all_or_nothing),
        TEST(members_come_back_with_their_state),
        TEST(a_whole_file_is_written_in_members_and_comes_back),
        TEST(a_failed_flush_can_be_repeated_with_more_records),
        TEST(records_that_do_not_compress_and_huge_ones_fit),
        TEST(state_with_many_open_blocks_comes_back),
        TEST(the_extra_field_says_what_is_in_the_member),
        TEST(members_can_follow_the_originals),
        TEST(the_originals_reader_reads_our_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
