/* Reading a history without the lock: the original's, a running server's, a crashed one's. */
#include "tools/replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/store_dir.h"

static int print(void *user, uint64_t rev, const struct record *rec)
{
    return buf_printf(user, "%llu\t%s\t", (unsigned long long)rev,
                      rec->op == RECORD_PUT ? "put" : "delete") |
           buf_append(user, rec->key.ptr, rec->key.len) | buf_append(user, "\n", 1);
}

/* The history as text; free() it. */
static int history(const char *dir, uint64_t last_rev, char **ret, struct replay_result *result)
{
    struct buf out = {0};
    struct source src = {0};
    struct zerr_info info = {0};
    struct replay_visitor visitor = {.user = &out, .record = print};
    int rc = source_open(&src, dir, &info);
    if (rc == 0) {
        rc = replay(&src, NULL, last_rev, &visitor, NULL, result, &info);
    }
    source_close(&src);
    assert_int_equal(buf_append(&out, "", 1), 0);
    *ret = (char *)out.ptr;
    return rc;
}

static void assert_history(const struct store_dir *d, const char *expected, uint64_t n_unflushed)
{
    struct replay_result result;
    char *text;
    assert_int_equal(history(d->path, REPLAY_ALL, &text, &result), 0);
    assert_string_equal(text, expected);
    assert_int_equal(result.n_unflushed, n_unflushed);
    assert_int_equal(result.n_damaged, 0);
    free(text);
}

static void the_original_s_histories_are_read_as_it_prints_them(void **state)
{
    static const char *const names[] = {"one-block", "many-blocks", "wrapped-db", "two-dbs"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512], *text, *want;
        struct replay_result result;
        snprintf(path, sizeof path, "%s/golden/%s.history", TEST_DIR, names[i]);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        want = calloc(1, 1 << 20);
        assert_non_null(want);
        assert_true(fread(want, 1, (1 << 20) - 1, f) > 0);
        fclose(f);
        snprintf(path, sizeof path, "%s/golden/%s", TEST_DIR, names[i]);
        assert_int_equal(history(path, REPLAY_ALL, &text, &result), 0);
        assert_string_equal(text, strchr(want, '\n') + 1); /* without the header line */
        free(text);
        free(want);
    }
}

static void what_a_running_server_has_acknowledged_is_there_before_it_is_flushed(void **state)
{
    (void)state;
    struct store_dir d;
    store_dir_init(&d);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "a", "1", 1);
    store_dir_put(&d, "b", "", 0);
    store_dir_delete(&d, "a");
    store_dir_copy(&d, "b", "c");
    static const char *const expected = "0\tput\ta\n1\tput\tb\n2\tdelete\ta\n3\tput\tc\n";
    assert_history(&d, expected, 4);
    store_dir_crash(&d);
    assert_history(&d, expected, 4);
    store_dir_open(&d, 1 << 20);
    assert_history(&d, expected, 0); /* recovered */
    store_dir_put(&d, "d", "x", 1);
    store_dir_stop(&d);
    assert_history(&d, "0\tput\ta\n1\tput\tb\n2\tdelete\ta\n3\tput\tc\n4\tput\td\n", 0);
    store_dir_finish(&d);
}

static void a_torn_end_of_the_db_is_taken_as_being_written(void **state)
{
    (void)state;
    struct store_dir d;
    store_dir_init(&d);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "a", "1", 1);
    store_dir_stop(&d);
    uint64_t before = store_dir_file_size(&d, "db0000000000");
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "b", "2", 1);
    store_dir_stop(&d);
    uint64_t after = store_dir_file_size(&d, "db0000000000");
    for (uint64_t size = after; size >= before; size--) {
        store_dir_cut(&d, "db0000000000", size);
        /* Cut off, the second member's record is found in its block, which it would have closed. */
        assert_history(&d, "0\tput\ta\n1\tput\tb\n", size == after ? 0 : 1);
    }
    store_dir_finish(&d);
}

static void a_history_can_be_read_up_to_a_revision(void **state)
{
    (void)state;
    struct store_dir d;
    struct replay_result result;
    char *text;
    store_dir_init(&d);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "a", "1", 1);
    store_dir_put(&d, "b", "2", 1);
    store_dir_stop(&d);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "c", "3", 1);
    assert_int_equal(history(d.path, 0, &text, &result), 0);
    assert_string_equal(text, "0\tput\ta\n");
    free(text);
    assert_int_equal(history(d.path, 2, &text, &result), 0);
    assert_string_equal(text, "0\tput\ta\n1\tput\tb\n2\tput\tc\n");
    free(text);
    assert_int_equal(history(d.path, 3, &text, &result), ZERR_BAD_REV);
    free(text);
    store_dir_finish(&d);
}

static void a_directory_without_a_store_is_told_from_one_that_lost_its_db(void **state)
{
    (void)state;
    struct store_dir d;
    struct replay_result result;
    char *text;
    store_dir_init(&d);
    assert_int_equal(history(d.path, REPLAY_ALL, &text, &result), ZERR_NOT_FOUND);
    free(text);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "a", "1", 1);
    store_dir_stop(&d);
    store_dir_unlink(&d, "db0000000000");
    assert_int_equal(history(d.path, REPLAY_ALL, &text, &result), ZERR_CORRUPT);
    free(text);
    store_dir_finish(&d);
    assert_int_equal(history("/nonexistent/x", REPLAY_ALL, &text, &result), ZERR_NOT_FOUND);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_original_s_histories_are_read_as_it_prints_them),
        cmocka_unit_test(what_a_running_server_has_acknowledged_is_there_before_it_is_flushed),
        cmocka_unit_test(a_torn_end_of_the_db_is_taken_as_being_written),
        cmocka_unit_test(a_history_can_be_read_up_to_a_revision),
        cmocka_unit_test(a_directory_without_a_store_is_told_from_one_that_lost_its_db),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
