/* The history's file: what is on disk before what, and which one a start believes (test_order.c has the
 * rest). */
#include "store/db.h"
#include "support/order_rig.h"

static int count_record(void *user, uint64_t rev, const struct record *rec)
{
    (void)rev, (void)rec;
    ++*(unsigned *)user;
    return 0;
}

/* The history is whole, and has so many records. (A removed file may be back after a power cut: the
 * higher generation counts.) */
static void expect_history(struct fixture *f, unsigned n_wanted)
{
    unsigned n_found = 0;
    uint64_t generation = 0;
    for (unsigned id = 0; id < DB_IDS; id++) {
        unsigned n = 0;
        char name[FILE_NAME_BYTES];
        struct db_visitor v = {.user = &n, .record = count_record};
        struct db_summary sum;
        struct vfs_file *file;
        (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
        if (!has_file(f, name)) {
            continue;
        }
        assert_int_equal(f->vfs->ops->open(f->vfs, name, VFS_READ, &file), 0);
        assert_int_equal(db_scan(f->vfs, file, (struct db_pos){0}, &v, &sum, NULL), 0);
        f->vfs->ops->close(file);
        if (sum.state.generation > generation) {
            generation = sum.state.generation;
            n_found = n;
            assert_int_equal(sum.end.off, sum.file_len);
            assert_int_equal(sum.n_damaged, 0);
        }
        db_summary_finish(&sum);
    }
    assert_int_equal(n_found, n_wanted);
}

/* Whichever sync fails: what was acknowledged when the stop says that all is written is in the
 * history on the disk, without any block's help. */
static void a_stop_that_is_right_leaves_the_whole_history(void **state)
{
    unsigned n_good = 0;
    (void)state;
    for (uint64_t nth = 0; nth < 14; nth++) {
        struct fixture f;
        unsigned n_acked = 0;
        start(&f, 8192, STORE_SYNC_ACK);
        put(&f, "a", 100);
        vfs_mem_fail(f.vfs, MEM_SYNC, nth, ZERR_IO, MEM_ONCE);
        for (unsigned i = 0; i < 4; i++) {
            char key[2] = {(char)('b' + i), '\0'};
            n_acked += fx_put(&f, key, body_of((uint8_t)key[0], 5000), 0) == 0;
        }
        bool good = fx_stop(&f) == 0;
        n_good += good;
        fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
        if (good) {
            expect_history(&f, 1 + n_acked);
        }
        fx_finish(&f);
    }
    assert_true(n_good >= 10);
}

static void a_torn_member_is_cut_off_before_the_next_one(void **state)
{
    struct fixture f;
    struct buf torn = {0};
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    put(&f, "a", 100);
    assert_int_equal(fx_stop(&f), 0);
    struct slice whole = vfs_mem_get(f.vfs, "db0000000000");
    assert_int_equal(buf_append(&torn, whole.ptr, whole.len), 0);
    assert_int_equal(buf_append(&torn, whole.ptr, 100), 0);
    vfs_mem_put(f.vfs, "db0000000000", buf_slice(&torn));
    again(&f);
    put(&f, "b", 100);
    assert_int_equal(fx_stop(&f), 0);
    expect_history(&f, 2);
    buf_finish(&torn);
    fx_finish(&f);
}

/* A history of that generation without records. */
static void write_db(struct fixture *f, const char *name, const uint8_t *id, uint64_t generation)
{
    struct db_state s = {.next_backend_file = 1, .has_store_id = true, .generation = generation};
    struct db_writer *w;
    struct db_pos last, end;
    memcpy(s.store_id, id, STORE_ID_BYTES);
    assert_int_equal(db_writer_create(f->vfs, name, &s, &w), 0);
    assert_int_equal(db_writer_finish(w, &s, &last, &end), 0);
}

static void the_higher_generation_wins(void **state)
{
    struct fixture f;
    uint8_t id[STORE_ID_BYTES];
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    put(&f, "a", 100);
    assert_int_equal(fx_stop(&f), 0);
    the_store_id(&f, id);
    write_db(&f, "db0000000001", id, 2);
    again(&f);
    expect_names(&f, "");
    assert_true(has_file(&f, "db0000000001") && !has_file(&f, "db0000000000"));
    fx_finish(&f);
}

/* The winner may be in the page cache only; so may its name. */
static void the_winner_is_on_disk_before_the_others_go(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct fixture f;
        struct buf copy = {0};
        struct vfs_file *file;
        start(&f, 0, STORE_SYNC_ACK);
        put(&f, "a", 100);
        assert_int_equal(fx_stop(&f), 0);
        struct slice db = vfs_mem_get(f.vfs, "db0000000000");
        assert_int_equal(buf_append(&copy, db.ptr, db.len), 0);
        struct iovec iov = {copy.ptr, copy.len};
        assert_int_equal(f.vfs->ops->open(f.vfs, "db0000000001", VFS_WRITE | VFS_CREATE, &file), 0);
        assert_int_equal(f.vfs->ops->pwritev(file, &iov, 1, 0), 0);
        f.vfs->ops->close(file);
        if (fails) {
            vfs_mem_fail(f.vfs, MEM_SYNC_DIR, 1, ZERR_IO, MEM_ONCE);
            assert_int_equal(fx_open(&f), ZERR_IO);
            assert_true(has_file(&f, "db0000000000"));
        } else {
            assert_int_equal(f.vfs->ops->sync_dir(f.vfs), 0);
            again(&f);
            assert_false(has_file(&f, "db0000000000"));
            cut(&f);
        }
        if (fails) {
            again(&f);
        }
        expect_names(&f, "a\n");
        buf_finish(&copy);
        fx_finish(&f);
    }
}

static void another_store_s_member_ends_the_history(void **state)
{
    struct fixture f;
    struct buf both = {0};
    (void)state;
    fx_init(&f, 0);
    uint8_t id[STORE_ID_BYTES] = "0123456789abcde", another[STORE_ID_BYTES] = "another store!!";
    write_db(&f, "db0000000000", id, 1);
    write_db(&f, "db0000000001", another, 1);
    struct slice one = vfs_mem_get(f.vfs, "db0000000000"), two = vfs_mem_get(f.vfs, "db0000000001");
    assert_int_equal(buf_append(&both, one.ptr, one.len), 0);
    assert_int_equal(buf_append(&both, two.ptr, two.len), 0);
    size_t len = one.len;
    vfs_mem_put(f.vfs, "db0000000000", buf_slice(&both));
    struct db_summary sum;
    struct vfs_file *file;
    static const struct db_visitor nothing = {0};
    assert_int_equal(f.vfs->ops->open(f.vfs, "db0000000000", VFS_READ, &file), 0);
    assert_int_equal(db_scan(f.vfs, file, (struct db_pos){0}, &nothing, &sum, NULL), 0);
    f.vfs->ops->close(file);
    assert_int_equal(sum.end.off, len);
    assert_memory_equal(sum.state.store_id, id, STORE_ID_BYTES);
    db_summary_finish(&sum);
    buf_finish(&both);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_that_is_right_leaves_the_whole_history),
        cmocka_unit_test(a_torn_member_is_cut_off_before_the_next_one),
        cmocka_unit_test(the_higher_generation_wins),
        cmocka_unit_test(the_winner_is_on_disk_before_the_others_go),
        cmocka_unit_test(another_store_s_member_ends_the_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
