/* store/vfs_posix: the real directory. Runs in a fresh directory below $TMPDIR; what needs O_DIRECT, which
 * a file system in memory may not have, in one below the current directory (that of the build). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "store/vfs.h"

static char dir[256];
static struct vfs *v;

static void make_in(const char *parent)
{
    (void)snprintf(dir, sizeof(dir), "%s/vfsXXXXXX", parent);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(vfs_posix_open(dir, &v, NULL), 0);
}

static int set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    make_in(tmp != NULL ? tmp : "/tmp");
    return 0;
}

static int set_up_here(void **state)
{
    (void)state;
    make_in(".");
    return 0;
}

static int remove_one(void *user, const struct vfs_dirent *d)
{
    (void)user;
    return d->is_dir ? 0 : v->ops->unlink(v, d->name);
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(v->ops->list(v, remove_one, NULL), 0);
    vfs_posix_close(v);
    assert_int_equal(rmdir(dir), 0);
    return 0;
}

static struct vfs_file *create(const char *name)
{
    struct vfs_file *f = NULL;

    assert_int_equal(v->ops->open(v, name, VFS_WRITE | VFS_CREATE, &f), 0);
    return f;
}

static void put(struct vfs_file *f, const void *data, size_t n, uint64_t off)
{
    struct iovec iov = {(void *)(uintptr_t)data, n};

    assert_int_equal(v->ops->pwritev(f, &iov, 1, off), 0);
}

static void test_opening_a_directory_that_is_none_says_so(void **state)
{
    struct zerr_info info = {0};
    struct vfs *other = NULL;

    (void)state;
    assert_int_equal(vfs_posix_open("/nonexistent/dir", &other, &info), ZERR_NOT_FOUND);
    assert_string_equal(info.text,
                        "cannot open directory /nonexistent/dir: No such file or directory");
    assert_int_equal(vfs_posix_open("/dev/null", &other, NULL), ZERR_INVALID);
    assert_int_equal(vfs_last_errno(), ENOTDIR);
    assert_null(other);
    vfs_posix_close(NULL);
}

static void test_a_file_is_created_once_and_private(void **state)
{
    struct vfs_file *f = create("a"), *g = NULL;
    struct vfs_dirent d;
    struct stat st;
    char path[300];

    (void)state;
    assert_int_equal(v->ops->open(v, "a", VFS_WRITE | VFS_CREATE, &g), ZERR_EXISTS);
    assert_int_equal(vfs_last_errno(), EEXIST);
    assert_int_equal(v->ops->open(v, "b", VFS_READ, &g), ZERR_NOT_FOUND);
    assert_null(g);
    put(f, "hello", 5, 3);
    assert_int_equal(v->ops->stat(v, "a", &d), 0);
    assert_int_equal(d.size, 8);
    assert_false(d.is_dir);
    assert_true(v->ops->wall_ms(v) - d.mtime_ms < 60000);
    (void)snprintf(path, sizeof(path), "%s/a", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(v->ops->make_read_only(f), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0400);
    v->ops->close(f);
}

static void test_only_plain_files_are_opened(void **state)
{
    struct vfs_file *f = NULL;
    char path[300];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/pipe", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(v->ops->open(v, "pipe", VFS_READ, &f), ZERR_INVALID);
    assert_int_equal(v->ops->open(v, "pipe", VFS_WRITE, &f), ZERR_INVALID);
    assert_int_equal(v->ops->open(v, ".", VFS_READ, &f), ZERR_INVALID);
    assert_int_equal(v->ops->open(v, ".", VFS_WRITE, &f), ZERR_INVALID);
    assert_null(f);
}

static void test_many_slices_are_written_one_behind_the_other(void **state)
{
    struct vfs_file *f = create("a");
    struct iovec iov[1024];
    uint8_t bytes[1024], back[5000];
    size_t i, got = 0, expect = 0;

    (void)state;
    for (i = 0; i < 1024; i++) {
        bytes[i] = (uint8_t)i;
        iov[i] = (struct iovec){&bytes[i], i % 3 == 0 ? 0 : 1};
    }
    assert_int_equal(v->ops->pwritev(f, iov, 1024, 100), 0);
    assert_int_equal(v->ops->pread(f, back, sizeof(back), 100, &got), 0);
    for (i = 0; i < 1024; i++) {
        if (i % 3 != 0) {
            assert_int_equal(back[expect++], (uint8_t)i);
        }
    }
    assert_int_equal(got, expect);
    assert_int_equal(v->ops->pwritev(f, iov, 0, 0), 0);
    v->ops->close(f);
}

/* A file size limit makes the kernel write the first part only, in the middle of a slice. */
static void test_a_short_write_is_completed_or_fails(void **state)
{
    struct vfs_file *f = create("a");
    struct iovec iov[3] = {{"aaaa", 4}, {"bbbb", 4}, {"cccc", 4}};
    struct rlimit old, limit;
    uint64_t size = 0;
    int err;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 6;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    err = v->ops->pwritev(f, iov, 3, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(err, ZERR_NO_SPACE);
    assert_int_equal(vfs_last_errno(), EFBIG);
    assert_int_equal(v->ops->size(f, &size), 0);
    assert_int_equal(size, 6);
    v->ops->close(f);
}

static void test_a_read_is_short_only_at_the_end(void **state)
{
    struct vfs_file *f = create("a"), *r = NULL;
    char buf[10];
    size_t n = 9;

    (void)state;
    put(f, "0123456789", 10, 0);
    assert_int_equal(v->ops->open(v, "a", VFS_READ, &r), 0);
    assert_int_equal(v->ops->pread(r, buf, 10, 4, &n), 0);
    assert_int_equal(n, 6);
    assert_memory_equal(buf, "456789", 6);
    assert_int_equal(v->ops->pread(r, buf, 10, 10, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(v->ops->pread(r, buf, 10, 1000, &n), 0);
    assert_int_equal(n, 0);
    v->ops->close(r);
    v->ops->close(f);
}

static void test_a_read_that_must_not_wait_gives_all_or_busy(void **state)
{
    struct vfs_file *f = create("a");
    char buf[10];
    size_t n = 77;
    int err;

    (void)state;
    put(f, "0123456789", 10, 0);
    err = v->ops->pread_nowait(f, buf, 10, 4, &n);
    if (err == 0) {
        assert_int_equal(n, 6);
        assert_memory_equal(buf, "456789", 6);
    } else { /* this file system cannot */
        assert_int_equal(err, ZERR_BUSY);
        assert_int_equal(n, 77);
    }
    v->ops->close(f);
}

static void test_direct_reads_need_no_alignment(void **state)
{
    static uint8_t data[700001], back[700001];
    struct vfs_file *f = create("a"), *d = NULL;
    static const struct {
        uint64_t off;
        size_t n;
    } reads[] = {{0, 700001},   {1, 10},     {4095, 2},   {262143, 262146},
                 {699990, 100}, {700001, 5}, {800000, 5}, {12288, 4096}};
    size_t i, n;

    (void)state;
    for (i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 7 + i / 256);
    }
    put(f, data, sizeof(data), 0);
    if (v->ops->open(v, "a", VFS_READ | VFS_DIRECT, &d) == ZERR_UNSUPPORTED) {
        fail_msg("the file system of %s has no O_DIRECT: run this on another", dir);
    }
    assert_non_null(d);
    assert_int_equal(v->ops->pread_nowait(d, back, 10, 0, &n), ZERR_BUSY);
    for (i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        uint64_t left = reads[i].off < sizeof(data) ? sizeof(data) - reads[i].off : 0;
        size_t expect = reads[i].n < left ? reads[i].n : (size_t)left;

        assert_int_equal(v->ops->pread(d, back, reads[i].n, reads[i].off, &n), 0);
        assert_int_equal(n, expect);
        assert_memory_equal(back, data + (expect > 0 ? reads[i].off : 0), expect);
    }
    v->ops->close(d);
    v->ops->close(f);
}

static void test_a_synced_file_leaves_the_page_cache(void **state)
{
    static uint8_t data[1u << 20];
    struct vfs_file *f = create("a");
    struct statfs fs;
    uint8_t byte;
    size_t n = 0;
    int i, err;

    (void)state;
    put(f, data, sizeof(data), 0);
    assert_int_equal(v->ops->datasync(f), 0);
    assert_int_equal(v->ops->sync(f), 0);
    assert_int_equal(v->ops->drop_cache(f), 0);
    assert_int_equal(statfs(dir, &fs), 0);
    err = v->ops->pread_nowait(f, &byte, 1, 500000, &n);
    if (fs.f_type != 0x01021994 && vfs_last_errno() == EAGAIN) {
        assert_int_equal(err, ZERR_BUSY);
    }
    /* Empty files have nothing to drop. */
    assert_int_equal(v->ops->truncate(f, 0), 0);
    for (i = 0; i < 2; i++) {
        assert_int_equal(v->ops->drop_cache(f), 0);
    }
    v->ops->close(f);
}

static void test_room_is_reserved_without_growing_and_punched_to_zeros(void **state)
{
    struct vfs_file *f = create("a");
    uint64_t size = 0;
    uint8_t buf[16];
    size_t n;
    int err;

    (void)state;
    err = v->ops->allocate(f, 0, 1u << 20);
    assert_true(err == 0 || err == ZERR_UNSUPPORTED);
    assert_int_equal(v->ops->allocate(f, 5, 0), 0);
    assert_int_equal(v->ops->size(f, &size), 0);
    assert_int_equal(size, 0);
    put(f, "0123456789", 10, 0);
    err = v->ops->punch(f, 2, 3);
    if (err == 0) {
        assert_int_equal(v->ops->pread(f, buf, sizeof(buf), 0, &n), 0);
        assert_int_equal(n, 10);
        assert_memory_equal(buf,
                            "01\0\0\0"
                            "56789",
                            10);
    } else {
        assert_int_equal(err, ZERR_UNSUPPORTED);
    }
    v->ops->writeback(f, 0, 10);
    assert_int_equal(v->ops->truncate(f, 4), 0);
    assert_int_equal(v->ops->truncate(f, 8), 0);
    assert_int_equal(v->ops->pread(f, buf, sizeof(buf), 4, &n), 0);
    assert_int_equal(n, 4);
    assert_memory_equal(buf, "\0\0\0\0", 4);
    v->ops->close(f);
}

static int count(void *user, const struct vfs_dirent *d)
{
    unsigned *seen = user;

    if (strcmp(d->name, "a") == 0) {
        assert_int_equal(d->size, 3);
        *seen |= 1;
    } else if (strcmp(d->name, "sub") == 0) {
        assert_true(d->is_dir);
        *seen |= 2;
    } else {
        *seen |= 4;
    }
    return 0;
}

static int stop(void *user, const struct vfs_dirent *d)
{
    (void)d;
    ++*(unsigned *)user;
    return ZERR_CANCELED;
}

static void test_names_are_listed_renamed_and_removed(void **state)
{
    struct vfs_file *f = create("b"), *g = create("a");
    unsigned seen = 0;
    char path[300];

    (void)state;
    put(f, "123", 3, 0);
    (void)snprintf(path, sizeof(path), "%s/sub", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(v->ops->rename(v, "b", "a"), 0);
    assert_int_equal(v->ops->sync_dir(v), 0);
    assert_int_equal(v->ops->list(v, count, &seen), 0);
    assert_int_equal(seen, 3);
    seen = 0;
    assert_int_equal(v->ops->list(v, stop, &seen), ZERR_CANCELED);
    assert_int_equal(seen, 1);
    assert_int_equal(v->ops->rename(v, "none", "x"), ZERR_NOT_FOUND);
    assert_int_equal(v->ops->unlink(v, "none"), ZERR_NOT_FOUND);
    assert_int_equal(v->ops->unlink(v, "a"), 0);
    v->ops->close(f);
    v->ops->close(g);
    assert_int_equal(rmdir(path), 0);
}

static void test_a_dangling_link_does_not_stop_a_listing(void **state)
{
    unsigned seen = 0;
    char path[300];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/link", dir);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(v->ops->list(v, count, &seen), 0);
    assert_int_equal(seen, 0);
    assert_int_equal(unlink(path), 0);
}

static void test_a_lock_is_held_by_one_and_names_its_holder(void **state)
{
    struct vfs_file *a = NULL, *b = NULL;
    struct zerr_info info = {0};
    struct vfs *other = NULL;

    (void)state;
    assert_int_equal(vfs_posix_open(dir, &other, NULL), 0);
    put(a = create("lock"), "a longer text of a holder long gone", 35, 0);
    v->ops->close(a);
    assert_int_equal(v->ops->lock(v, "lock", "zipkvserver, pid 1", &a, &info), 0);
    assert_int_equal(other->ops->lock(other, "lock", "zipkvserver, pid 2", &b, &info), ZERR_LOCKED);
    assert_string_equal(info.text, "the directory is in use by zipkvserver, pid 1");
    assert_null(b);
    v->ops->close(a);
    assert_int_equal(other->ops->lock(other, "lock", "zipkvserver, pid 2", &b, NULL), 0);
    other->ops->close(b);
    vfs_posix_close(other);
}

static void test_space_clocks_and_randomness_are_there(void **state)
{
    uint64_t a = 0, b = 0, mono = v->ops->mono_ns(v);
    uint8_t r[2][64] = {{0}};

    (void)state;
    assert_int_equal(v->ops->free_space(v, &a, &b), 0);
    assert_true(a <= b && b > 0);
    assert_true(v->ops->wall_ms(v) > 1577836800000);
    assert_true(v->ops->mono_ns(v) >= mono);
    assert_int_equal(v->ops->random(v, r[0], 64), 0);
    assert_int_equal(v->ops->random(v, r[1], 64), 0);
    assert_memory_not_equal(r[0], r[1], 64);
    assert_false(vfs_posix_is_network("/proc"));
    assert_false(vfs_posix_is_network("/nonexistent"));
}

static void test_running_out_of_descriptors_has_its_own_error(void **state)
{
    struct rlimit old, limit;
    struct vfs_file *f = NULL;
    int err;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    limit = old;
    limit.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    err = v->ops->open(v, "a", VFS_WRITE | VFS_CREATE, &f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(err, ZERR_LIMIT);
    assert_int_equal(vfs_last_errno(), EMFILE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_opening_a_directory_that_is_none_says_so),
        TEST(test_a_file_is_created_once_and_private),
        TEST(test_only_plain_files_are_opened),
        TEST(test_many_slices_are_written_one_behind_the_other),
        TEST(test_a_short_write_is_completed_or_fails),
        TEST(test_a_read_is_short_only_at_the_end),
        TEST(test_a_read_that_must_not_wait_gives_all_or_busy),
        cmocka_unit_test_setup_teardown(test_direct_reads_need_no_alignment, set_up_here,
                                        tear_down),
        TEST(test_a_synced_file_leaves_the_page_cache),
        TEST(test_room_is_reserved_without_growing_and_punched_to_zeros),
        TEST(test_names_are_listed_renamed_and_removed),
        TEST(test_a_dangling_link_does_not_stop_a_listing),
        TEST(test_a_lock_is_held_by_one_and_names_its_holder),
        TEST(test_space_clocks_and_randomness_are_there),
        TEST(test_running_out_of_descriptors_has_its_own_error),
    };

    (void)signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
