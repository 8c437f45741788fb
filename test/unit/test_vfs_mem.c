/* support/vfs_mem: the double that the store's tests stand on tells the truth about power cuts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "support/vfs_mem.h"

static struct vfs *v;

static int set_up(void **state)
{
    (void)state;
    v = vfs_mem_create(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(vfs_mem_open_files(v), 0);
    vfs_mem_destroy(v);
    return 0;
}

static struct vfs_file *create(const char *name)
{
    struct vfs_file *f = NULL;

    assert_int_equal(v->ops->open(v, name, VFS_WRITE | VFS_CREATE, &f), 0);
    return f;
}

static int put(struct vfs_file *f, const char *text, uint64_t off)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};

    return v->ops->pwritev(f, &iov, 1, off);
}

/* What a power cut leaves of a file; "-": no such file. */
static void assert_left(enum vfs_mem_crash_mode mode, const char *name, const char *expect)
{
    struct vfs *w = vfs_mem_crash(v, mode, 9);
    struct slice s = vfs_mem_get(w, name);

    assert_true(slice_eq_str(s.ptr != NULL ? s : SLICE_LIT("-"), expect));
    vfs_mem_destroy(w);
}

static void test_it_reads_what_was_written(void **state)
{
    struct vfs_file *f = create("a");
    struct vfs_dirent d;
    uint64_t size = 0;
    char buf[16];
    size_t n = 0;

    (void)state;
    assert_int_equal(put(f, "hello", 2), 0);
    assert_int_equal(v->ops->pread(f, buf, sizeof(buf), 0, &n), 0);
    assert_int_equal(n, 7);
    assert_memory_equal(buf, "\0\0hello", 7);
    assert_int_equal(v->ops->truncate(f, 4), 0);
    assert_int_equal(v->ops->punch(f, 2, 100), 0);
    assert_int_equal(v->ops->allocate(f, 0, 100), 0);
    assert_int_equal(v->ops->size(f, &size), 0);
    assert_int_equal(size, 4);
    assert_int_equal(v->ops->stat(v, "a", &d), 0);
    assert_int_equal(d.size, 4);
    assert_int_equal(v->ops->pread(f, buf, sizeof(buf), 2, &n), 0);
    assert_memory_equal(buf, "\0\0", 2);
    v->ops->close(f);
    assert_int_equal(v->ops->open(v, "a", VFS_WRITE | VFS_CREATE, &f), ZERR_EXISTS);
    assert_int_equal(v->ops->open(v, "b", VFS_READ, &f), ZERR_NOT_FOUND);
}

static void test_a_power_cut_keeps_what_was_synced(void **state)
{
    struct vfs_file *f = create("a");

    (void)state;
    assert_int_equal(put(f, "one", 0), 0);
    assert_int_equal(v->ops->datasync(f), 0);
    assert_left(MEM_CRASH_SYNCED, "a", "-");
    assert_left(MEM_CRASH_EVERYTHING, "a", "one");
    assert_int_equal(v->ops->sync_dir(v), 0);
    assert_left(MEM_CRASH_SYNCED, "a", "one");
    assert_int_equal(put(f, "two", 3), 0);
    assert_left(MEM_CRASH_SYNCED, "a", "one");
    assert_left(MEM_CRASH_EVERYTHING, "a", "onetwo");
    assert_int_equal(v->ops->rename(v, "a", "b"), 0);
    assert_left(MEM_CRASH_SYNCED, "b", "-");
    assert_left(MEM_CRASH_EVERYTHING, "a", "-");
    assert_int_equal(v->ops->sync_dir(v), 0);
    assert_left(MEM_CRASH_SYNCED, "a", "-");
    assert_left(MEM_CRASH_SYNCED, "b", "one");
    assert_int_equal(v->ops->unlink(v, "b"), 0);
    assert_left(MEM_CRASH_SYNCED, "b", "one");
    v->ops->close(f);
}

static void test_a_random_power_cut_tears_at_sectors_and_is_the_same_for_a_seed(void **state)
{
    static char text[4096 + 1];
    struct vfs_file *f = create("a");
    unsigned torn = 0, none = 0, all = 0, spoiled = 0;
    uint64_t seed;

    (void)state;
    memset(text, 'x', 4096);
    assert_int_equal(v->ops->sync_dir(v), 0);
    assert_int_equal(put(f, text, 100), 0);
    for (seed = 0; seed < 100; seed++) {
        struct vfs *w = vfs_mem_crash(v, MEM_CRASH_RANDOM, seed);
        struct vfs *x = vfs_mem_crash(v, MEM_CRASH_RANDOM, seed);
        struct slice s = vfs_mem_get(w, "a");
        unsigned n = 0, flips = 0;
        size_t i;

        assert_true(slice_eq(s, vfs_mem_get(x, "a")));
        for (i = 0; i < s.len; i++) {
            n += s.ptr[i] == 'x';
            flips += i > 100 && s.ptr[i] != s.ptr[i - 1];
            spoiled += s.ptr[i] != 'x' && s.ptr[i] != 0;
            assert_true(i >= 100 || s.ptr[i] == 0);
        }
        none += n == 0;
        all += n == 4096;
        torn += n > 0 && n < 4096 && flips > 0;
        vfs_mem_destroy(w);
        vfs_mem_destroy(x);
    }
    assert_true(none > 5 && all > 5 && torn > 5 && spoiled > 5);
    v->ops->close(f);
}

static void test_the_nth_call_fails_once_or_from_then_on(void **state)
{
    struct vfs_file *f = create("a");

    (void)state;
    vfs_mem_fail(v, MEM_WRITE | MEM_SYNC, 2, ZERR_IO, MEM_ONCE);
    assert_int_equal(put(f, "a", 0), 0);
    assert_int_equal(v->ops->datasync(f), ZERR_IO);
    assert_int_equal(vfs_last_errno(), EIO);
    assert_int_equal(v->ops->datasync(f), 0);
    assert_int_equal(vfs_mem_failed(v), 1);
    vfs_mem_fail(v, MEM_ANY, 1, ZERR_NO_SPACE, MEM_FROM_THEN_ON);
    assert_int_equal(v->ops->sync_dir(v), ZERR_NO_SPACE);
    assert_int_equal(v->ops->unlink(v, "a"), ZERR_NO_SPACE);
    assert_int_equal(put(f, "zzzzzzzz", 0), ZERR_NO_SPACE);
    assert_int_equal(vfs_mem_failed(v), 3);
    vfs_mem_fail(v, 0, 0, 0, MEM_ONCE);
    assert_true(slice_eq_str(vfs_mem_get(v, "a"), "a"));
    assert_int_equal(v->ops->unlink(v, "a"), 0);
    assert_int_equal(vfs_mem_calls(v, MEM_WRITE), 2);
    assert_int_equal(vfs_mem_calls(v, MEM_UNLINK | MEM_SYNC_DIR), 3);
    v->ops->close(f);
}

static void test_a_failed_sync_loses_data_that_the_cache_still_shows(void **state)
{
    struct vfs_file *f = NULL, *d = NULL;
    unsigned lost = 0, i;
    char name[] = "a", buf[8];
    size_t n;

    (void)state;
    for (i = 0; i < 26; i++) {
        name[0] = (char)('a' + i);
        f = create(name);
        assert_int_equal(put(f, "data", 0), 0);
        vfs_mem_fail(v, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
        assert_int_equal(v->ops->datasync(f), ZERR_IO);
        assert_int_equal(v->ops->datasync(f), 0);
        assert_true(slice_eq_str(vfs_mem_get(v, name), "data"));
        assert_int_equal(v->ops->open(v, name, VFS_READ | VFS_DIRECT, &d), 0);
        assert_int_equal(v->ops->pread(d, buf, 8, 0, &n), 0);
        v->ops->close(d);
        assert_int_equal(n, 4);
        vfs_mem_hold_pages(v, true, true);
        assert_int_equal(v->ops->drop_cache(f), ZERR_BUSY);
        assert_true(slice_eq_str(vfs_mem_get(v, name), "data"));
        vfs_mem_hold_pages(v, false, true);
        assert_int_equal(v->ops->drop_cache(f), 0);
        lost += vfs_mem_get(v, name).len == 0;
        assert_memory_equal(buf, vfs_mem_get(v, name).len == 0 ? "\0\0\0\0" : "data", 4);
        v->ops->close(f);
    }
    assert_true(lost > 2 && lost < 26);
}

static void test_dirty_pages_cannot_be_dropped(void **state)
{
    struct vfs_file *f = create("a");

    (void)state;
    assert_int_equal(put(f, "x", 0), 0);
    assert_int_equal(v->ops->drop_cache(f), ZERR_BUSY);
    assert_int_equal(v->ops->datasync(f), 0);
    assert_int_equal(v->ops->drop_cache(f), 0);
    v->ops->close(f);
}

static void test_a_sealed_file_and_a_full_disk_refuse_writers(void **state)
{
    struct vfs_file *f = create("a"), *g = NULL;
    uint64_t left = 0, total = 0;

    (void)state;
    vfs_mem_set_space(v, 10);
    assert_int_equal(put(f, "12345678", 0), 0);
    assert_int_equal(v->ops->free_space(v, &left, &total), 0);
    assert_int_equal(left, 2);
    assert_int_equal(total, 10);
    assert_int_equal(put(f, "abc", 8), ZERR_NO_SPACE);
    assert_int_equal(put(f, "abc", 5), 0);
    assert_int_equal(v->ops->make_read_only(f), 0);
    v->ops->close(f);
    assert_int_equal(v->ops->open(v, "a", VFS_WRITE, &g), ZERR_IO);
    assert_int_equal(vfs_last_errno(), EACCES);
    assert_int_equal(v->ops->open(v, "a", VFS_READ, &g), 0);
    v->ops->close(g);
}

static void test_the_lock_is_gone_after_a_crash(void **state)
{
    struct vfs_file *a = NULL, *b = NULL;
    struct zerr_info info = {0};
    struct vfs *w;

    (void)state;
    assert_int_equal(v->ops->lock(v, "lock", "one", &a, NULL), 0);
    assert_int_equal(v->ops->lock(v, "lock", "two", &b, &info), ZERR_LOCKED);
    assert_string_equal(info.text, "the directory is in use by one");
    w = vfs_mem_crash(v, MEM_CRASH_EVERYTHING, 1);
    assert_int_equal(w->ops->lock(w, "lock", "two", &b, NULL), 0);
    w->ops->close(b);
    vfs_mem_destroy(w);
    v->ops->close(a);
    assert_int_equal(v->ops->lock(v, "lock", "two", &b, NULL), 0);
    v->ops->close(b);
}

static void test_files_are_put_flipped_and_loaded_by_the_test(void **state)
{
    (void)state;
    vfs_mem_put(v, "a", SLICE_LIT("abc"));
    vfs_mem_flip(v, "a", 1, 0x20);
    assert_left(MEM_CRASH_SYNCED, "a", "aBc");
    assert_int_equal(vfs_mem_load(v, TEST_DIR "/golden/one-block"), 2);
    assert_true(vfs_mem_get(v, "block0000000000").len > 0);
    assert_null(vfs_mem_get(v, "none").ptr);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_reads_what_was_written),
        TEST(test_a_power_cut_keeps_what_was_synced),
        TEST(test_a_random_power_cut_tears_at_sectors_and_is_the_same_for_a_seed),
        TEST(test_the_nth_call_fails_once_or_from_then_on),
        TEST(test_a_failed_sync_loses_data_that_the_cache_still_shows),
        TEST(test_dirty_pages_cannot_be_dropped),
        TEST(test_a_sealed_file_and_a_full_disk_refuse_writers),
        TEST(test_the_lock_is_gone_after_a_crash),
        TEST(test_files_are_put_flipped_and_loaded_by_the_test),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
