/* What recovery makes of what a round cut off half-way leaves: zeros between its frames, torn records,
 * blocks without a header. */
#include "store/scan.h"
#include "store/store_priv.h"
#include "support/store_rig.h"

#define BODY_LEN 5000
#define FRAMES_MAX 8

struct frames {
    size_t n;
    struct {
        enum scan_verdict verdict;
        uint64_t off, len;
        bool zero;
    } v[FRAMES_MAX];
};

static int see(void *user, const struct scan_frame *f)
{
    struct frames *all = user;
    assert_true(all->n < FRAMES_MAX);
    all->v[all->n].verdict = f->verdict;
    all->v[all->n].off = f->off;
    all->v[all->n].len = f->len;
    all->v[all->n].zero = f->zero;
    all->n++;
    return 0;
}

static void scan(struct fixture *f, const char *name, struct frames *ret)
{
    struct vfs_file *file;
    struct scan_result result;
    *ret = (struct frames){0};
    assert_int_equal(f->vfs->ops->open(f->vfs, name, VFS_READ, &file), 0);
    assert_int_equal(scan_block(file, 0, SCAN_BODIES, see, ret, &result), 0);
    f->vfs->ops->close(file);
}

static void write_zeros(struct fixture *f, const char *name, uint64_t off, uint64_t len)
{
    struct vfs_file *file;
    uint8_t *zeros = calloc(1, len);
    struct iovec iov = {zeros, len};
    assert_non_null(zeros);
    assert_int_equal(f->vfs->ops->open(f->vfs, name, VFS_WRITE, &file), 0);
    assert_int_equal(f->vfs->ops->pwritev(file, &iov, 1, off), 0);
    f->vfs->ops->close(file);
    free(zeros);
}

/* Three objects, frame by frame in one block; the last two commit in one round. */
static void fill(struct fixture *f)
{
    static const char *const keys[] = {"x", "a", "b"};
    static uint8_t body[BODY_LEN];
    struct fx_upload up[3];
    fx_init(f, 0);
    assert_int_equal(fx_open(f), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fx_begin(f, &up[i], keys[i], BODY_LEN), 0);
        fx_fill(body, BODY_LEN, i);
        fx_write(f, &up[i], slice_of(body, BODY_LEN));
    }
    for (size_t i = 0; i < 3; i++) {
        put_commit(up[i].put, NULL);
    }
    fx_pump(f);
    for (size_t i = 0; i < 3; i++) {
        assert_true(up[i].done && up[i].status == 0);
    }
}

/* Kills the store, wipes one of its frames, starts and stops it again. */
static void lose_frame(struct fixture *f, size_t which, const char *names_left, struct frames *ret)
{
    struct frames before;
    fx_kill(f);
    scan(f, "open0000000000", &before);
    assert_true(which < before.n);
    write_zeros(f, "open0000000000", before.v[which].off, before.v[which].len);
    fx_drop_index(f);
    assert_int_equal(fx_open(f), 0);
    expect_names(f, names_left);
    assert_int_equal(fx_stop(f), 0);
    scan(f, "block0000000000", ret);
}

static void zeros_before_frames_of_the_round_that_died_become_void(void **state)
{
    (void)state;
    struct fixture f;
    struct frames after;
    fill(&f);
    lose_frame(&f, 1, "b\nx\n", &after);
    assert_null(strstr(f.notes, "damaged"));
    assert_int_equal(after.n, 3);
    assert_int_equal(after.v[0].verdict, SCAN_VALID);
    assert_int_equal(after.v[1].verdict, SCAN_VOID);
    assert_int_equal(after.v[1].off + after.v[1].len, after.v[2].off);
    assert_int_equal(after.v[2].verdict, SCAN_VALID);
    fx_finish(&f);
}

static void zeros_at_the_end_are_cut_off(void **state)
{
    (void)state;
    struct fixture f;
    struct frames after;
    fill(&f);
    lose_frame(&f, 2, "a\nx\n", &after);
    assert_null(strstr(f.notes, "damaged"));
    assert_int_equal(after.n, 2);
    fx_finish(&f);
}

static void zeros_before_frames_of_later_rounds_stay_as_the_damage_they_are(void **state)
{
    (void)state;
    struct fixture f;
    struct frames after;
    fill(&f);
    static uint8_t body[BODY_LEN];
    fx_fill(body, BODY_LEN, 3);
    assert_int_equal(fx_put(&f, "c", slice_of(body, BODY_LEN), 0), 0);
    lose_frame(&f, 1, "b\nc\nx\n", &after);
    assert_non_null(strstr(f.notes, "damaged"));
    assert_int_equal(after.v[1].verdict, SCAN_GARBAGE);
    assert_true(after.v[1].zero);
    fx_finish(&f);
}

/* Overwrites the beginning of a frame's record. */
static void spoil_record(struct fixture *f, const char *name, uint64_t frame)
{
    struct vfs_file *file;
    uint8_t junk[32];
    struct iovec iov = {junk, sizeof(junk)};
    memset(junk, 0xa5, sizeof(junk));
    assert_int_equal(f->vfs->ops->open(f->vfs, name, VFS_WRITE, &file), 0);
    assert_int_equal(f->vfs->ops->pwritev(file, &iov, 1, frame + FRAME_HEAD_BYTES), 0);
    f->vfs->ops->close(file);
}

/* An upload that began first and has not ended; two more that have. */
static void begin_and_put_two(struct fixture *f, struct fx_upload *up)
{
    static uint8_t body[BODY_LEN];
    fx_init(f, 0);
    assert_int_equal(fx_open(f), 0);
    assert_int_equal(fx_begin(f, up, "slow", BODY_LEN), 0);
    assert_int_equal(fx_put(f, "a", slice_of(body, BODY_LEN), 0), 0);
    assert_int_equal(fx_put(f, "b", slice_of(body, BODY_LEN), 0), 0);
}

static void a_torn_record_before_frames_of_earlier_rounds_becomes_void(void **state)
{
    (void)state;
    struct fixture f;
    struct fx_upload up;
    struct frames after;
    begin_and_put_two(&f, &up);
    fx_kill(&f);
    spoil_record(&f, "open0000000000", BLOCK_HEADER_BYTES);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "a\nb\n");
    assert_int_equal(fx_stop(&f), 0);
    assert_null(strstr(f.notes, "damaged"));
    scan(&f, "block0000000000", &after);
    assert_int_equal(after.n, 3);
    assert_int_equal(after.v[0].verdict, SCAN_VOID);
    fx_finish(&f);
}

/* An upload whose MD5 was wrong has left no gap in the numbers, by which an acknowledged one could be
 * missing. */
static void a_torn_record_is_no_damage_though_another_upload_was_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct fx_upload up;
    static uint8_t body[BODY_LEN];
    static const uint8_t wrong[16];
    struct put_spec spec = {.key = SLICE_LIT("refused"), .size = BODY_LEN};
    struct frames after;
    begin_and_put_two(&f, &up);
    assert_int_equal(fx_put_spec(&f, &spec, slice_of(body, BODY_LEN), 0, wrong, NULL),
                     ZERR_BAD_DIGEST);
    assert_int_equal(fx_put(&f, "c", slice_of(body, BODY_LEN), 0), 0);
    assert_int_equal(fx_put(&f, "d", slice_of(body, BODY_LEN), 0), 0);
    fx_kill(&f);
    spoil_record(&f, "open0000000000", BLOCK_HEADER_BYTES);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "a\nb\nc\nd\n");
    assert_int_equal(fx_stop(&f), 0);
    assert_null(strstr(f.notes, "damaged"));
    scan(&f, "block0000000000", &after);
    assert_int_equal(after.v[0].verdict, SCAN_VOID);
    fx_finish(&f);
}

/* A power cut has taken the first frame of a round and left the second; another takes what the start has
 * made VOID, but not what the index has heard of it. */
static void what_was_torn_is_torn_at_the_next_try_too(void **state)
{
    (void)state;
    struct fixture f;
    struct fx_upload first, second, ahead;
    static uint8_t body[BODY_LEN];
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_begin(&f, &ahead, "ahead", 0), 0);
    assert_int_equal(fx_begin(&f, &first, "first", BODY_LEN), 0);
    assert_int_equal(fx_begin(&f, &second, "second", BODY_LEN), 0);
    fx_write(&f, &first, slice_of(body, BODY_LEN));
    fx_write(&f, &second, slice_of(body, BODY_LEN));
    fx_pump(&f);
    uint64_t at = first.put->c.off, end = second.put->c.off;
    put_commit(ahead.put, NULL);
    put_commit(first.put, NULL);
    put_commit(second.put, NULL);
    fx_kill(&f); /* when it has committed all, which the power cut makes untrue */
    for (; at < end; at++) {
        struct slice block = vfs_mem_get(f.vfs, "open0000000000");
        vfs_mem_flip(f.vfs, "open0000000000", at, block.ptr[at]);
    }
    fx_drop_index(&f);
    vfs_mem_fail(f.vfs, MEM_SYNC, 3, ZERR_IO,
                 MEM_FROM_THEN_ON); /* the history, the block, its seal */
    assert_int_equal(fx_open(&f), ZERR_IO);
    vfs_mem_fail(f.vfs, 0, 0, 0, MEM_ONCE);
    fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
    f.notes[0] = '\0';
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "ahead\nsecond\n");
    assert_null(strstr(f.notes, "damaged"));
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void on_begun(void *user, int status, uint64_t upload)
{
    assert_int_equal(status, 0);
    *(uint64_t *)user = upload;
}

/* The same of a part of a multipart upload. */
static void a_torn_part_before_frames_of_earlier_rounds_becomes_void(void **state)
{
    (void)state;
    struct fixture f;
    struct frames after;
    static uint8_t body[BODY_LEN];
    struct upload_spec begun = {.key = SLICE_LIT("whole")};
    struct put_spec part = {.key = begun.key, .size = BODY_LEN, .part = 1};
    static const struct put_ops nobody;
    struct put *put;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(store_begin_upload(f.st, &begun, on_begun, &part.upload), 0);
    fx_pump(&f);
    assert_int_equal(put_begin(f.st, &part, &nobody, NULL, &put), 0);
    assert_int_equal(fx_put(&f, "a", slice_of(body, BODY_LEN), 0), 0);
    assert_int_equal(fx_put(&f, "b", slice_of(body, BODY_LEN), 0), 0);
    fx_kill(&f);
    scan(&f, "open0000000000", &after);
    assert_int_equal(after.v[1].verdict, SCAN_UNCOMMITTED);
    spoil_record(&f, "open0000000000", after.v[1].off);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_stop(&f), 0);
    assert_null(strstr(f.notes, "damaged"));
    scan(&f, "block0000000000", &after);
    assert_int_equal(after.v[1].verdict, SCAN_VOID);
    fx_finish(&f);
}

/* The same place, but now a number is missing that was acknowledged. */
static void an_acknowledged_record_before_frames_of_earlier_rounds_is_damage(void **state)
{
    (void)state;
    struct fixture f;
    struct fx_upload up;
    static uint8_t body[BODY_LEN];
    begin_and_put_two(&f, &up);
    fx_write(&f, &up, slice_of(body, BODY_LEN));
    put_commit(up.put, NULL);
    fx_pump(&f);
    assert_true(up.done && up.status == 0);
    assert_int_equal(fx_put(&f, "c", slice_of(body, BODY_LEN), 0), 0);
    fx_kill(&f);
    spoil_record(&f, "open0000000000", BLOCK_HEADER_BYTES);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "a\nb\nc\n");
    assert_non_null(strstr(f.notes, "damaged"));
    fx_finish(&f);
}

static void a_block_without_header_is_moved_out_of_the_way(void **state)
{
    (void)state;
    struct fixture f;
    struct vfs_dirent d;
    uint8_t junk[500];
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    fx_fill(junk, sizeof(junk), 1);
    assert_int_equal(fx_put(&f, "a", slice_of(junk, sizeof(junk)), 0), 0);
    fx_kill(&f);
    vfs_mem_put(f.vfs, "open0000000001", slice_of(junk, sizeof(junk)));
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(f.vfs->ops->stat(f.vfs, "bad-open0000000001", &d), 0);
    assert_int_equal(fx_put(&f, "b", slice_of(junk, sizeof(junk)), 0), 0);
    assert_int_equal(f.vfs->ops->stat(f.vfs, "open0000000002", &d), 0); /* I4 */
    assert_int_equal(fx_stop(&f), 0);
    f.notes[0] = '\0';
    assert_int_equal(fx_open(&f), 0);
    assert_string_equal(f.notes, "");
    expect_names(&f, "a\nb\n");
    fx_finish(&f);
}

/* A power cut may leave a later block and nothing of an earlier one, of which neither was synced. */
static void what_is_made_of_a_block_that_is_gone_is_gone(void **state)
{
    (void)state;
    for (int acknowledged = 0; acknowledged < 2; acknowledged++) {
        struct fixture f;
        struct fx_upload held;
        uint8_t body[3000];
        struct buf got = {0};
        fx_init(&f, 4096);
        f.cfg.sync = acknowledged ? STORE_SYNC_ACK : STORE_SYNC_BLOCK;
        assert_int_equal(fx_open(&f), 0);
        fx_fill(body, sizeof(body), 1);
        assert_int_equal(fx_begin(&f, &held, "held", 100),
                         0); /* keeps its block from being sealed */
        assert_int_equal(fx_put(&f, "a", slice_of(body, sizeof(body)), 0), 0);
        assert_int_equal(fx_put(&f, "b", slice_of(body, sizeof(body)), 0), 0);
        assert_int_equal(fx_copy(&f, "a", "c"), 0);
        assert_int_equal(fx_put(&f, "d", slice_of(body, 10), 0), 0);
        fx_kill(&f);
        assert_int_equal(f.vfs->ops->unlink(f.vfs, "open0000000000"), 0);
        fx_drop_index(&f);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_get(&f, "a", &got), ZERR_NOT_FOUND);
        assert_int_equal(fx_get(&f, "b", &got), 0);
        assert_int_equal(fx_get(&f, "c", &got), acknowledged ? ZERR_DAMAGED : ZERR_NOT_FOUND);
        assert_int_equal(fx_get(&f, "d", &got), 0);
        assert_int_equal(fx_stop(&f), 0);
        buf_finish(&got);
        fx_finish(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_before_frames_of_the_round_that_died_become_void),
        cmocka_unit_test(zeros_at_the_end_are_cut_off),
        cmocka_unit_test(zeros_before_frames_of_later_rounds_stay_as_the_damage_they_are),
        cmocka_unit_test(a_torn_record_before_frames_of_earlier_rounds_becomes_void),
        cmocka_unit_test(a_torn_record_is_no_damage_though_another_upload_was_refused),
        cmocka_unit_test(what_was_torn_is_torn_at_the_next_try_too),
        cmocka_unit_test(a_torn_part_before_frames_of_earlier_rounds_becomes_void),
        cmocka_unit_test(an_acknowledged_record_before_frames_of_earlier_rounds_is_damage),
        cmocka_unit_test(a_block_without_header_is_moved_out_of_the_way),
        cmocka_unit_test(what_is_made_of_a_block_that_is_gone_is_gone),
    };
    return cmocka_run_group_tests_name("tail", tests, NULL, NULL);
}
