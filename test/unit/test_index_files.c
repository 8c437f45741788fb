/* The look-up index and files that are none, or damaged, or so large that they do not fit into the cache:
 * never wrong rows. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/num.h"
#include "store/frame.h"
#include "support/index_rig.h"
#include "support/sqlite_sync.h"

/* ---- files that are not an index ------------------------------------------------------------- */

static void write_file(const char *path, const void *data, size_t len, off_t at)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
    close(fd);
}

/* Changes bytes of the first page as the layer below SQLite would write it: with its sum. */
static void write_header(const char *path, const void *data, size_t len, size_t at)
{
    uint8_t page[4096];
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, page, sizeof page, 0), sizeof page);
    close(fd);
    memcpy(page + at, data, len);
    le64_put(page + 4088, piece_sum(page, 4088) ^ 0x9e3779b97f4a7c15u);
    write_file(path, page, sizeof page, 0);
}

static void bad_files_are_recognised(void **state)
{
    struct fixture *f = *state;
    struct index *ix = NULL;
    struct zerr_info info = {0};
    uint8_t garbage[8192];
    index_close(f->ix);
    f->ix = NULL;
    static const uint8_t next_version[4] = {0, 0, 0, INDEX_VERSION + 1};
    write_header(f->path, next_version, 4, 60); /* user_version */
    assert_int_equal(index_open(f->path, INDEX_WRITER, &ix, &info), ZERR_UNSUPPORTED);
    assert_non_null(strstr(info.text, f->path));
    assert_int_equal(index_open(f->path, INDEX_READER, &ix, NULL), ZERR_UNSUPPORTED);
    write_header(f->path, "SQLi", 4, 68); /* application_id */
    assert_int_equal(index_open(f->path, INDEX_WRITER, &ix, NULL), ZERR_INVALID);
    write_file(f->path, "", 1, 20); /* pages that are not like ours: another person's database */
    assert_int_equal(index_open(f->path, INDEX_WRITER, &ix, NULL), ZERR_INVALID);
    memset(garbage, 0x5a, sizeof garbage);
    write_file(f->path, garbage, sizeof garbage, 0);
    assert_int_equal(index_open(f->path, INDEX_WRITER, &ix, NULL), ZERR_CORRUPT);
    assert_int_equal(index_remove(f->path), 0);
    assert_int_equal(index_open(f->path, INDEX_READER, &ix, NULL), ZERR_NOT_FOUND);
    write_file(f->path, "", 0, 0); /* empty: new for a writer, nothing for a reader */
    assert_int_equal(index_open(f->path, INDEX_READER, &ix, NULL), ZERR_CORRUPT);
    assert_int_equal(index_open(f->path, INDEX_WRITER, &f->ix, NULL), 0);
    assert_null(ix);
}

static void damaged_pages_are_corrupt_and_never_wrong_rows(void **state)
{
    struct fixture *f = *state;
    struct list_query q = {.max = 1000};
    struct list_page page;
    char key[32];
    assert_int_equal(index_begin(f->ix), 0);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "s3ql_data_%d", i);
        put(f->ix, key, 1, (uint64_t)i * 256, 1);
    }
    assert_int_equal(index_commit(f->ix), 0);
    index_close(f->ix);
    f->ix = NULL;
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    uint8_t zero[4096] = {0};
    for (off_t at = 4096; at < st.st_size; at += 4096) {
        write_file(f->path, zero, sizeof zero, at);
    }
    int rc = index_open(f->path, INDEX_WRITER, &f->ix, NULL);
    if (rc == 0) {
        rc = index_list(f->ix, &q, &page);
    }
    assert_int_equal(rc, ZERR_CORRUPT);
}

/* A checkpoint, then a kill, then a bit in the log: SQLite takes the log up to there, over the newer
 * pages of the file. The file's name has all that means something in a URI. */
static void a_log_that_lost_what_the_file_has_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct index *reader, *ix;
    char kept[128], kept_wal[160], cmd[512];
    assert_int_equal(index_open(f->path, INDEX_READER, &reader, NULL), 0);
    for (int i = 0; i < 2000; i++) {
        char key[32];
        assert_int_equal(index_begin(f->ix), 0);
        snprintf(key, sizeof key, "%08x", roll(UINT32_MAX));
        put(f->ix, key, 1, (uint64_t)i * 256, 1);
        assert_int_equal(index_commit(f->ix), 0);
    }
    assert_int_equal(index_checkpoint(f->ix, false), 0); /* complete; the log stays */
    snprintf(kept, sizeof kept, "%s/file: 1%%2541?vfs=x#y", f->dir);
    snprintf(kept_wal, sizeof kept_wal, "%s-wal", kept);
    snprintf(cmd, sizeof cmd, "cp %s '%s' && cp %s-wal '%s'", f->path, kept, f->path, kept_wal);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(index_open(kept, INDEX_WRITER, &ix, NULL), 0);
    index_close(ix);
    assert_int_equal(system(cmd), 0);
    write_file(kept_wal, "\1\2\3\4", 4, 1 << 20);
    assert_int_equal(index_open(kept, INDEX_WRITER, &ix, NULL), ZERR_CORRUPT);
    assert_int_equal(index_remove(kept), 0);
    index_close(reader);
}

/* The log changes under a reader that has the file open. */
static void a_page_of_the_log_is_checked_whenever_it_is_read(void **state)
{
    struct fixture *f = *state;
    struct index *reader;
    struct object obj;
    char wal[128];
    struct stat st;
    struct list_query q = {.max = 100000};
    struct list_page page;
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(index_begin(f->ix), 0);
    for (int i = 0; i < 3000; i++) {
        char key[32];
        snprintf(key, sizeof key, "name%06d", i);
        put(f->ix, key, 1, (uint64_t)i * 256, 1);
    }
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_open(f->path, INDEX_READER, &reader, NULL), 0);
    assert_int_equal(index_lookup(reader, SLICE_LIT("name000000"), &obj), 0);
    assert_int_equal(stat(wal, &st), 0);
    for (off_t at = 32 + 24 + 2000; at < st.st_size; at += 4096 + 24) {
        write_file(wal, "\x5a", 1, at);
    }
    assert_int_equal(index_list(reader, &q, &page), ZERR_CORRUPT);
    index_close(reader);
}

/* Of the log or of the file, when the one is laid over the other. A start does that, too. */
static void after_a_failed_sync_nothing_is_believed(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;
    for (bool failed = true; failed; n++) {
        assert_int_equal(index_begin(f->ix), 0);
        put(f->ix, "k", 1, 64 * (n + 1), 10);
        assert_int_equal(index_commit(f->ix), 0);
        sqlite_syncs_good = n;
        sqlite_syncs_bad = 1;
        int rc = index_checkpoint(f->ix, true);
        failed = sqlite_syncs_bad == 0;
        assert_int_equal(rc, failed ? ZERR_CORRUPT : 0);
    }
    assert_true(n > 2);
}

/* SQLite writes pages into the log before the commit, and some of them again. */
static void a_transaction_larger_than_the_cache_reads_its_own_pages(void **state)
{
    struct fixture *f = *state;
    struct index_totals t;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(index_begin(f->ix), 0);
        for (uint32_t i = 0; i < 60000; i++) {
            char key[48];
            snprintf(key, sizeof key, "s3ql_data_%u_with_a_long_name", i * 7919 % 60000);
            put(f->ix, key, 1, (uint64_t)(roll(1u << 20)) * 64, 10);
        }
        if (round == 0) {
            assert_int_equal(index_commit(f->ix), 0);
        } else {
            index_rollback(f->ix);
        }
        assert_int_equal(index_check(f->ix), 0);
    }
    assert_int_equal(index_get_totals(f->ix, &t), 0);
    assert_int_equal(t.objects, 60000);
    assert_int_equal(index_begin(f->ix), 0);
    del(f->ix, "s3ql_data_7_with_a_long_name");
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_check(f->ix), 0);
}

int main(void)
{
    sqlite_sync_install();
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(bad_files_are_recognised),
        T(damaged_pages_are_corrupt_and_never_wrong_rows),
        T(a_log_that_lost_what_the_file_has_is_corrupt),
        T(a_page_of_the_log_is_checked_whenever_it_is_read),
        T(after_a_failed_sync_nothing_is_believed),
        T(a_transaction_larger_than_the_cache_reads_its_own_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
