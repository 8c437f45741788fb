/* The credentials file: what may stand in it, who may read it, and when a change of it counts. */
#include "support/auth_rig.h"

#include "s3/s3_keys.h"

static void lines_that_mean_nothing_else_are_refused(void **state)
{
    static const char *const bad[] = {
        "",          "# nobody\n\n", "A\n",        "A:\n",         ":B\n",
        "A:B:rw:\n", "A:B:ro:\n",    "A:B:\n",     "A:B:one:ro\n", "A:B:ro:one:two\n",
        "A:B C\n",   "A\x01:B\n",    "A:B\nA:C\n",
    };
    struct s3_keys keys = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct zerr_info info = {0};
        assert_int_equal(s3_keys_parse(slice_str(bad[i]), &keys, &info), ZERR_INVALID);
        assert_true(strlen(info.text) > 0);
    }
    assert_null(keys.v);
    assert_int_equal(s3_keys_parse(SLICE_LIT(" A:B/+= \r\n#x\nC:D:ro\nE:F:x,y"), &keys, NULL), 0);
    assert_int_equal(keys.n, 3);
    assert_true(slice_eq_str(s3_keys_find(&keys, SLICE_LIT("A"))->secret, "B/+="));
    assert_true(s3_keys_find(&keys, SLICE_LIT("C"))->read_only);
    assert_true(slice_eq_str(s3_keys_find(&keys, SLICE_LIT("E"))->buckets, "x,y"));
    assert_null(s3_keys_find(&keys, SLICE_LIT("G")));
    s3_keys_finish(&keys);
}

static void nobody_else_may_read_the_file(void **state)
{
    static const struct {
        mode_t mode;
        bool good;
    } modes[] = {{0600, true},  {0400, true},  {0640, false}, {0604, false},
                 {0620, false}, {0602, false}, {0610, false}, {0777, false}};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct s3_keys keys = {0};
        struct zerr_info info = {0};
        int err;

        assert_int_equal(chmod(path, modes[i].mode), 0);
        err = s3_keys_load(path, &keys, &info);
        assert_int_equal(err, modes[i].good ? 0 : ZERR_INVALID);
        s3_keys_finish(&keys);
    }
    struct s3_keys keys = {0};
    struct zerr_info info = {0};
    assert_int_equal(s3_keys_load(dir, &keys, &info), ZERR_INVALID);
    assert_int_equal(s3_keys_load("/nowhere/keys", &keys, &info), ZERR_NOT_FOUND);
}

static void a_change_of_the_file_counts_within_seconds(void **state)
{
    char out[400];
    int i;

    (void)state;
    prepare(&GET_OBJECT);
    sign("READER", 0, "", out);
    assert_int_equal(check_at(MAY_24), 0);
    write_file("AKIAIOSFODNN7EXAMPLE:" SECRET "\n");
    for (i = 0; i < 100 && check_at(MAY_24) == 0; i++) {
        (void)usleep(100000);
    }
    assert_int_equal(why.code, S3_INVALID_ACCESS_KEY_ID);
    sign("AKIAIOSFODNN7EXAMPLE", 0, "", out);
    assert_int_equal(check_at(MAY_24), 0);
    write_file("this is no such file\n"); /* what was known stays */
    (void)usleep(1200000);
    assert_int_equal(check_at(MAY_24), 0);
    write_file("READER:" SECRET "\n");
    for (i = 0; i < 100 && check_at(MAY_24) == 0; i++) {
        (void)usleep(100000);
    }
    assert_int_equal(why.code, S3_INVALID_ACCESS_KEY_ID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A(lines_that_mean_nothing_else_are_refused),
        A(nobody_else_may_read_the_file),
        A(a_change_of_the_file_counts_within_seconds),
    };

    return cmocka_run_group_tests(tests, NULL, clear);
}
