/* What connections to one index share: regions and locks, as SQLite's page on xShmLock demands. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/index_priv.h"

#define SHARE (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED)
#define TAKE (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE)
#define GIVE_SHARED (SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED)
#define GIVE (SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE)

static char dir[] = "/tmp/zkv-test-shm-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void make_file(const char *name)
{
    int fd = open(path_of(name), O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

static void join(struct index_shm_conn *c, const char *name)
{
    assert_int_equal(index_shm_join(c, path_of(name)), SQLITE_OK);
}

static void *region(struct index_shm_conn *c, int at, bool extend)
{
    void volatile *p = NULL;
    assert_int_equal(index_shm_map(c, at, 32768, extend, &p), SQLITE_OK);
    return (void *)p;
}

static void locks_exclude_whom_they_must(void **state)
{
    (void)state;
    struct index_shm_conn a, b, c;
    make_file("locks");
    join(&a, "locks");
    join(&b, "locks");
    join(&c, "locks");
    assert_int_equal(index_shm_lock(&a, 3, 1, SHARE), SQLITE_OK);
    assert_int_equal(index_shm_lock(&a, 3, 1, SHARE), SQLITE_OK); /* has it: counts once */
    assert_int_equal(index_shm_lock(&b, 3, 1, SHARE), SQLITE_OK);
    assert_int_equal(index_shm_lock(&c, 3, 1, TAKE), SQLITE_BUSY);
    assert_int_equal(index_shm_lock(&c, 2, 4, TAKE), SQLITE_BUSY);
    assert_int_equal(index_shm_lock(&b, 2, 1, TAKE), SQLITE_OK); /* the refused took no part */
    assert_int_equal(index_shm_lock(&a, 3, 1, GIVE_SHARED), SQLITE_OK);
    assert_int_equal(index_shm_lock(&c, 3, 1, TAKE), SQLITE_BUSY);
    assert_int_equal(index_shm_lock(&b, 3, 1, GIVE_SHARED), SQLITE_OK);
    assert_int_equal(index_shm_lock(&c, 3, 2, TAKE), SQLITE_OK);
    assert_int_equal(index_shm_lock(&a, 4, 1, SHARE), SQLITE_BUSY);
    assert_int_equal(index_shm_lock(&a, 4, 1, GIVE), SQLITE_OK); /* not its own: nothing happens */
    assert_int_equal(index_shm_lock(&a, 4, 1, SHARE), SQLITE_BUSY);
    assert_int_equal(index_shm_lock(&c, 3, 2, GIVE), SQLITE_OK);
    assert_int_equal(index_shm_lock(&a, 4, 1, SHARE), SQLITE_OK);
    index_shm_leave(&b); /* gives back what it held */
    assert_int_equal(index_shm_lock(&c, 2, 1, TAKE), SQLITE_OK);
    index_shm_leave(&a);
    assert_int_equal(index_shm_lock(&c, 4, 1, TAKE), SQLITE_OK);
    index_shm_leave(&c);
}

static void regions_are_shared_and_begin_as_zeros(void **state)
{
    (void)state;
    struct index_shm_conn a, b;
    make_file("regions");
    join(&a, "regions");
    join(&b, "regions");
    assert_null(region(&a, 0, false));
    unsigned char *first = region(&a, 0, true);
    assert_non_null(first);
    assert_ptr_equal(region(&b, 0, false), first);
    assert_null(region(&b, 2, false));
    unsigned char *third = region(&b, 2, true);
    assert_ptr_equal(region(&a, 2, false), third);
    assert_non_null(region(&a, 1, false));
    assert_ptr_equal(region(&a, 0, true), first); /* stays where it is */
    for (int i = 0; i < 32768; i++) {
        assert_int_equal(first[i] | third[i], 0);
    }
    first[7] = 1;
    index_shm_leave(&a);
    assert_int_equal(((unsigned char *)region(&b, 0, false))[7], 1);
    index_shm_leave(&b);
    join(&a, "regions"); /* the last has left: a new one */
    assert_null(region(&a, 0, false));
    index_shm_leave(&a);
}

static void files_are_told_apart_by_what_they_are(void **state)
{
    (void)state;
    struct index_shm_conn a, again, other, c;
    make_file("one");
    make_file("two");
    int fd = open(path_of("one"), O_RDONLY); /* its inode stays taken */
    join(&a, "one");
    join(&other, "two");
    assert_int_equal(unlink(path_of("one")), 0);
    assert_int_equal(index_shm_join(&c, path_of("one")), SQLITE_IOERR_FSTAT);
    assert_null(c.shm);
    make_file("one");
    join(&again, "one");
    assert_int_equal(index_shm_lock(&a, 0, 1, TAKE), SQLITE_OK);
    assert_int_equal(index_shm_lock(&other, 0, 1, TAKE), SQLITE_OK);
    assert_int_equal(index_shm_lock(&again, 0, 1, TAKE), SQLITE_OK);
    index_shm_leave(&a);
    index_shm_leave(&again);
    index_shm_leave(&other);
    assert_int_equal(close(fd), 0);
}

/* ---- who could not join ---- */

static sqlite3_vfs losing_vfs, *real_vfs;
static bool loses_names;

/* SQLite has the file, and then its name is gone. */
static int open_and_lose(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret)
{
    (void)v;
    int rc = real_vfs->xOpen(real_vfs, name, f, flags, ret);
    if (rc == SQLITE_OK && loses_names && (flags & SQLITE_OPEN_MAIN_DB) != 0) {
        assert_int_equal(unlink(name), 0);
    }
    return rc;
}

/* A failed open is closed by a checkpoint, for which SQLite takes a lock without asking for a region. */
static void an_index_that_cannot_join_is_an_error(void **state)
{
    (void)state;
    static const enum index_open_mode modes[] = {INDEX_WRITER, INDEX_READER, INDEX_WRITER};
    struct index_shm_conn nobody = {0};
    struct index *ix;
    assert_int_equal(index_shm_lock(&nobody, 1, 1, TAKE), SQLITE_IOERR_SHMLOCK);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (i < 2) { /* there already; at last a new one */
            assert_int_equal(index_open(path_of("index"), INDEX_WRITER, &ix, NULL), 0);
            index_close(ix);
        }
        loses_names = true;
        assert_int_equal(index_open(path_of("index"), modes[i], &ix, NULL), ZERR_IO);
        loses_names = false;
    }
}

static int make_dir(void **state)
{
    (void)state;
    real_vfs = sqlite3_vfs_find(NULL);
    losing_vfs = *real_vfs;
    losing_vfs.pNext = NULL;
    losing_vfs.zName = "losing-names";
    losing_vfs.xOpen = open_and_lose;
    if (sqlite3_vfs_register(&losing_vfs, 1) != SQLITE_OK) {
        return -1;
    }
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"locks", "regions", "one", "two", "index", "index-wal"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)remove(path_of(names[i]));
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locks_exclude_whom_they_must),
        cmocka_unit_test(regions_are_shared_and_begin_as_zeros),
        cmocka_unit_test(files_are_told_apart_by_what_they_are),
        cmocka_unit_test(an_index_that_cannot_join_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
