/* A start finds in memory what the disk never got: writes that failed when nobody asked, in pages that
 * another program holds. It goes by what the disk has, or says why it cannot. */
#include <sqlite3.h>

#include "support/store_rig.h"

#define N_PUTS 8u

/* PUTs of a session that never synced its block. */
static void leave_unsynced(struct fixture *f, uint64_t seed)
{
    fx_init(f, 1 << 20);
    vfs_mem_destroy(f->vfs);
    f->vfs = vfs_mem_create(seed);
    f->cfg.sync = STORE_SYNC_BLOCK;
    assert_int_equal(fx_open(f), 0);
    for (unsigned i = 0; i < N_PUTS; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "w%u", i);
        assert_int_equal(fx_put(f, key, body_of(i, 1000 + 3000 * i), 0), 0);
    }
    fx_kill(f);
}

/* Those of them that are there, whole, as bits. */
static unsigned what_is_there(struct fixture *f)
{
    unsigned there = 0;
    for (unsigned i = 0; i < N_PUTS; i++) {
        char key[16];
        struct buf out = {0};
        (void)snprintf(key, sizeof(key), "w%u", i);
        int rc = fx_get(f, key, &out);
        assert_true(rc == 0 || rc == ZERR_NOT_FOUND);
        if (rc == 0) {
            there |= 1u << i;
            assert_int_equal(out.len, 1000 + 3000 * i);
            assert_memory_equal(out.ptr, body_of(i, out.len).ptr, out.len);
        }
        buf_finish(&out);
    }
    return there;
}

static void memory_is_not_taken_for_the_disk(void **state)
{
    unsigned n_all = 0, n_some = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fixture f;
        leave_unsynced(&f, seed);
        vfs_mem_hold_pages(f.vfs, true, true);
        vfs_mem_fail(f.vfs, MEM_SYNC, 2, ZERR_IO, MEM_ONCE); /* after the history's: the block's */
        if (fx_open(&f) != 0) {
            fail_msg("seed %u: %s", (unsigned)seed, f.info.text);
        }
        assert_int_equal(vfs_mem_failed(f.vfs), 1);
        assert_non_null(strstr(f.notes, "could not write"));
        unsigned there = what_is_there(&f);
        n_all += there == (1u << N_PUTS) - 1;
        n_some += there != 0 && there != (1u << N_PUTS) - 1;
        fx_power_cut(&f, MEM_CRASH_SYNCED, seed);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(what_is_there(&f), there);
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
    assert_true(n_some > 20);
    assert_true(n_all < 40);
}

/* The last flush is in memory, and the disk has not got all of it. */
static void memory_of_the_history_is_not_taken_for_the_disk(void **state)
{
    unsigned n_lost = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture f;
        struct vfs_file *db;
        leave_unsynced(&f, seed);
        size_t before = vfs_mem_get(f.vfs, "db0000000000").len;
        assert_int_equal(fx_open(&f), 0); /* seals the block, flushes */
        assert_int_equal(what_is_there(&f), (1u << N_PUTS) - 1);
        fx_kill(&f);
        struct slice now = vfs_mem_get(f.vfs, "db0000000000");
        struct buf member = {0};
        assert_true(now.len > before);
        assert_int_equal(buf_append(&member, now.ptr, now.len), 0);
        vfs_mem_put(f.vfs, "db0000000000", slice_of(member.ptr, before));
        assert_int_equal(f.vfs->ops->open(f.vfs, "db0000000000", VFS_WRITE, &db), 0);
        struct iovec iov = {member.ptr + before, member.len - before};
        assert_int_equal(db->vfs->ops->pwritev(db, &iov, 1, before), 0);
        f.vfs->ops->close(db);
        buf_finish(&member);
        vfs_mem_hold_pages(f.vfs, true, true);
        vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
        size_t n_said = strlen(f.notes);
        if (fx_open(&f) != 0) {
            fail_msg("seed %u: %s", (unsigned)seed, f.info.text);
        }
        n_lost += strstr(f.notes + n_said, "recovered 8 records") != NULL;
        for (int again = 0; again < 2; again++) {
            assert_int_equal(what_is_there(&f), (1u << N_PUTS) - 1);
            assert_int_equal(fx_put(&f, "new", SLICE_LIT("body"), 0), 0);
            fx_power_cut(&f, MEM_CRASH_SYNCED, seed);
            assert_int_equal(fx_open(&f), 0);
            assert_null(strstr(f.notes, "damaged"));
        }
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
    assert_true(n_lost > 0);
}

static void expect_refusal(struct fixture *f, const char *a, const char *b)
{
    assert_int_equal(fx_open(f), ZERR_IO);
    if (strstr(f->info.text, a) == NULL || strstr(f->info.text, b) == NULL) {
        fail_msg("%s", f->info.text);
    }
}

static void a_refusal_says_which_file_and_why(void **state)
{
    static const char *const names[] = {"db0000000000", "open0000000000"};
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct fixture f;
        leave_unsynced(&f, n);
        vfs_mem_fail(f.vfs, MEM_SYNC, n, ZERR_IO, MEM_FROM_THEN_ON);
        vfs_mem_hold_pages(f.vfs, true, true);
        expect_refusal(&f, names[n - 1], "cannot be written to the disk");
        expect_refusal(&f, "db0000000000", "Input/output error");
        vfs_mem_fail(f.vfs, MEM_SYNC, n, ZERR_IO, MEM_ONCE);
        vfs_mem_hold_pages(f.vfs, true, false);
        expect_refusal(&f, names[n - 1], "mount it again");
        assert_int_equal(fx_open(&f), 0); /* the kernel tells it once, and there is no other way */
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
}

/* Any one call of a start that fails. What it is in is a store with history and an unsealed block. */
static void each_refusal_names_what_failed(void **state)
{
    static const unsigned classes[] = {MEM_READ, MEM_OPEN, MEM_WRITE, MEM_SYNC, MEM_RENAME};
    unsigned n_refused = 0;
    (void)state;
    for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        uint64_t failed = 1;
        /* Not the lock, which the double takes without words. */
        for (uint64_t n = classes[i] == MEM_OPEN ? 2 : 1; failed > 0; n++) {
            struct fixture f;
            leave_unsynced(&f, n);
            assert_int_equal(fx_open(&f), 0);
            assert_int_equal(fx_put(&f, "new", SLICE_LIT("body"), 0), 0);
            fx_kill(&f);
            vfs_mem_fail(f.vfs, classes[i], n, ZERR_IO, MEM_FROM_THEN_ON);
            int rc = fx_open(&f);
            failed = vfs_mem_failed(f.vfs);
            if (rc != 0 && strstr(f.info.text, "Input/output error") == NULL) {
                fail_msg("class %x, call %u: %s", classes[i], (unsigned)n, f.info.text);
            }
            n_refused += rc != 0;
            fx_finish(&f);
        }
    }
    assert_true(n_refused > 20);
}

/* The frames of unsealed blocks are sorted in a table of SQLite. */
static void no_room_to_sort_is_no_fault_of_the_block(void **state)
{
    unsigned n_refused = 0;
    struct fixture f;
    int rc = ZERR_NOMEM;
    (void)state;
    fx_init(&f, 8 << 20);
    assert_int_equal(fx_open(&f), 0);
    for (unsigned i = 0; i < 4000; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%u", i);
        assert_int_equal(fx_put(&f, key, SLICE_LIT(""), 0), 0);
    }
    fx_kill(&f);
    for (sqlite3_int64 room = 200000; rc != 0; room += 40000) {
        sqlite3_hard_heap_limit64(sqlite3_memory_used() + room);
        rc = fx_open(&f);
        sqlite3_hard_heap_limit64(0);
        assert_true(rc == 0 || rc == ZERR_NOMEM);
        assert_null(strstr(f.info.text, "0000000000 cannot be read"));
        n_refused += strstr(f.info.text, "frames cannot be sorted (out of memory)") != NULL;
    }
    assert_true(n_refused > 0);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_not_taken_for_the_disk),
        cmocka_unit_test(memory_of_the_history_is_not_taken_for_the_disk),
        cmocka_unit_test(a_refusal_says_which_file_and_why),
        cmocka_unit_test(each_refusal_names_what_failed),
        cmocka_unit_test(no_room_to_sort_is_no_fault_of_the_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
