/* The history: files of the original, members written here, torn ends and damage. */
#include "store/db.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/num.h"
#include "support/vfs_mem.h"

#define NAME "db0000000000"

static const uint8_t store_id[STORE_ID_BYTES] = "0123456789abcde";

/* What a scan handed out. */
struct seen {
    uint64_t n_records, next_rev;
    struct buf text; /* as zipkvhistory prints it */
    uint64_t n_damage, lost_first, lost_count, lost_last_seq, lost_off;
    uint64_t done, total; /* progress */
    int stop_at;          /* record number that stops the scan with 42; 0: none */
};

static int see_record(void *user, uint64_t rev, const struct record *rec)
{
    struct seen *seen = user;

    assert_true(rev >= seen->next_rev);
    seen->next_rev = rev + 1;
    seen->n_records++;
    assert_int_equal(buf_printf(&seen->text, "%llu\t%s\t%.*s\n", (unsigned long long)rev,
                                rec->op == RECORD_PUT ? "put" : "delete", SLICE_FMT(rec->key)),
                     0);
    return seen->stop_at != 0 && seen->n_records == (uint64_t)seen->stop_at ? 42 : 0;
}

static int see_damage(void *user, const struct db_extra *lost, uint64_t off)
{
    struct seen *seen = user;

    seen->n_damage++;
    seen->lost_first = lost->first_rev;
    seen->lost_count = lost->count;
    seen->lost_last_seq = lost->last_seq;
    seen->lost_off = off;
    return 0;
}

static int see_progress(void *user, uint64_t done, uint64_t total)
{
    struct seen *seen = user;

    assert_true(done >= seen->done);
    assert_true(done <= total);
    seen->done = done;
    seen->total = total;
    return 0;
}

static struct seen seen;
static struct db_summary sum;

static int scan_from(struct vfs *vfs, const char *name, struct db_pos from)
{
    struct db_visitor visitor = {&seen, see_record, see_damage, see_progress};
    struct zerr_info info = {0};
    struct vfs_file *file;
    int stop_at = seen.stop_at, err;

    buf_finish(&seen.text);
    db_summary_finish(&sum);
    seen = (struct seen){.stop_at = stop_at, .done = from.off};
    sum = (struct db_summary){0};
    assert_int_equal(vfs->ops->open(vfs, name, VFS_READ, &file), 0);
    err = db_scan(vfs, file, from, &visitor, &sum, &info);
    vfs->ops->close(file);
    return err;
}

static int scan(struct vfs *vfs, const char *name)
{
    return scan_from(vfs, name, (struct db_pos){0});
}

static int reset(void **state)
{
    (void)state;
    buf_finish(&seen.text);
    db_summary_finish(&sum);
    seen = (struct seen){0};
    sum = (struct db_summary){0};
    return 0;
}

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

/* Bytes that deflate cannot make smaller, the same for the same seed. */
static void noise(uint8_t *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(seed >> 56);
    }
}

/* Record number i as S3QL would make it; slices point to statics, valid until the next call. */
static struct record make_record(uint64_t i)
{
    static char key[32], md5[33];
    static struct attr attrs[2];
    struct record r = {.op = i % 7 == 6 ? RECORD_DELETE : RECORD_PUT, .seq = SEQ_FIRST(1) + i};

    snprintf(key, sizeof(key), "s3ql_data_%llu", (unsigned long long)i);
    r.key = slice_str(key);
    if (r.op == RECORD_PUT) {
        noise(r.md5, 16, i);
        r.has_md5 = true;
        hex_encode(r.md5, 16, md5);
        attrs[0] = (struct attr){SLICE_LIT("X-Amz-Meta-Md5"), slice_str(md5)};
        attrs[1] = (struct attr){SLICE_LIT("X-Amz-Meta-Format"), SLICE_LIT("raw2")};
        r.meta = (struct attrs){attrs, 2};
        r.framed = r.body_framed = true;
        r.frame = r.body_frame = (struct place){(uint32_t)(i / 100), 64 + i % 100 * 4096};
        r.body = (struct place){r.frame.block, r.frame.off + 300};
        r.size = 3000;
        r.mtime_ms = 1700000000000 + (int64_t)i * 10;
    }
    return r;
}

static struct db_state make_state(uint64_t n)
{
    static uint32_t open_blocks[2];
    struct db_state st = {.next_backend_file = (uint32_t)(n / 100) + 1,
                          .has_store_id = true,
                          .generation = 3,
                          .last_seq = SEQ_FIRST(1) + n,
                          .open_blocks = open_blocks,
                          .n_open_blocks = 2};

    memcpy(st.store_id, store_id, STORE_ID_BYTES);
    open_blocks[0] = (uint32_t)(n / 100);
    open_blocks[1] = 2000000000;
    return st;
}

/* Appends records [first, first + n) as one member. Returns where it begins. */
static uint64_t append_member(struct buf *file, uint64_t first, uint64_t n)
{
    struct db_batch *batch;
    struct db_state st = make_state(first + n);
    struct slice member;
    uint64_t off = file->len;

    assert_int_equal(db_batch_create(&batch), 0);
    for (uint64_t i = first; i < first + n; i++) {
        struct record rec = make_record(i);

        assert_int_equal(db_batch_add(batch, &rec), 0);
    }
    assert_int_equal(db_batch_member(batch, &st, first, &member), 0);
    assert_int_equal(buf_append(file, member.ptr, member.len), 0);
    db_batch_destroy(batch);
    return off;
}

/* Changes a number in the extra field of the member at off (as placed in format.h). */
static void set_extra(struct buf *file, uint64_t off, size_t field, uint64_t value)
{
    uint8_t *extra = file->ptr + off + 16;

    le64_put(extra + field, value);
    le32_put(extra + 60, (uint32_t)crc32(0, extra, 60));
}
#define EXTRA_FIRST_REV 28
#define EXTRA_COUNT 36
#define EXTRA_MEMBER_LEN 52

static int scan_bytes(const struct buf *file)
{
    struct vfs *vfs = vfs_mem_create(1);
    int err;

    vfs_mem_put(vfs, NAME, buf_slice(file));
    err = scan(vfs, NAME);
    vfs_mem_destroy(vfs);
    return err;
}

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
