/* base/timefmt: HTTP's and S3's forms of a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "base/timefmt.h"

static void test_times_are_written_in_both_forms(void **state)
{
    char http[TIME_HTTP_LEN + 1], iso[TIME_ISO_LEN + 1];

    (void)state;
    time_http(784111777000, http);
    time_iso(784111777042, iso);
    assert_string_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(iso, "1994-11-06T08:49:37.042Z");
    time_iso(-1, iso);
    assert_string_equal(iso, "1969-12-31T23:59:59.999Z");
    time_iso(951782400000, iso);
    assert_string_equal(iso, "2000-02-29T00:00:00.000Z");
}

static void test_times_far_away_are_clamped(void **state)
{
    char http[TIME_HTTP_LEN + 1], iso[TIME_ISO_LEN + 1];

    (void)state;
    time_iso(INT64_MAX, iso);
    assert_string_equal(iso, "9999-12-31T23:59:59.999Z");
    time_iso(INT64_MIN, iso);
    assert_string_equal(iso, "0001-01-01T00:00:00.000Z");
    time_http(INT64_MIN, http);
    assert_string_equal(http, "Mon, 01 Jan 0001 00:00:00 GMT");
}

static void test_every_day_agrees_with_the_c_library(void **state)
{
    int64_t day;

    (void)state;
    for (day = -100000; day < 200000; day += 7) {
        time_t t = (time_t)(day * 86400 + 3723);
        char ours[TIME_HTTP_LEN + 1], theirs[64];
        int64_t back;
        struct tm tm;

        time_http((int64_t)t * 1000, ours);
        assert_non_null(gmtime_r(&t, &tm));
        (void)strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        assert_string_equal(ours, theirs);
        assert_int_equal(time_parse_http(slice_str(ours), &back), 0);
        assert_true(back == (int64_t)t * 1000);
    }
}

static void test_all_three_forms_are_read(void **state)
{
    int64_t ms = 0;

    (void)state;
    assert_int_equal(time_parse_http(SLICE_LIT("Sun, 06 Nov 1994 08:49:37 GMT"), &ms), 0);
    assert_true(ms == 784111777000);
    ms = 0;
    assert_int_equal(time_parse_http(SLICE_LIT("Sunday, 06-Nov-94 08:49:37 GMT"), &ms), 0);
    assert_true(ms == 784111777000);
    ms = 0;
    assert_int_equal(time_parse_http(SLICE_LIT("Sun Nov  6 08:49:37 1994"), &ms), 0);
    assert_true(ms == 784111777000);
    assert_int_equal(time_parse_http(SLICE_LIT("Wed Nov 16 08:49:37 1994"), &ms), 0);
    assert_true(ms == 784975777000);
    assert_int_equal(time_parse_http(SLICE_LIT("Sat, 31 Dec 2016 23:59:60 GMT"), &ms), 0);
}

static void test_anything_else_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "Sun",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun Nov 06  08:49:37 1994",
    };
    int64_t ms = 5;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(time_parse_http(slice_str(bad[i]), &ms), ZERR_INVALID);
    }
    assert_true(ms == 5);
}

static void test_the_form_of_signatures_is_read(void **state)
{
    static const char *const bad[] = {"",
                                      "19941106T084937",
                                      "19941106T084937z",
                                      "19941106 084937Z",
                                      "19941306T084937Z",
                                      "19940006T084937Z",
                                      "19940229T084937Z",
                                      "1994-11-06T08:49:37Z",
                                      "19941106T084937ZZ",
                                      "19941106T246037Z"};
    int64_t ms = 5;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(time_parse_basic(slice_str(bad[i]), &ms), ZERR_INVALID);
    }
    assert_true(ms == 5);
    assert_int_equal(time_parse_basic(slice_str("19941106T084937Z"), &ms), 0);
    assert_true(ms == 784111777000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_written_in_both_forms),
        cmocka_unit_test(test_times_far_away_are_clamped),
        cmocka_unit_test(test_every_day_agrees_with_the_c_library),
        cmocka_unit_test(test_all_three_forms_are_read),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_the_form_of_signatures_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
