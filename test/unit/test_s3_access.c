/* Who may ask: web pages are kept out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "s3/s3_access.h"

static void loopback_hosts_are_accepted_with_any_port(void **state)
{
    static const char *const hosts[] = {
        "localhost", "LocalHost:7711", "127.0.0.1", "127.0.0.1:80", "127.255.255.254:65535",
        "[::1]",     "[::1]:7711",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_true(s3_host_is_loopback(slice_str(hosts[i])));
    }
}

static void every_other_host_is_refused(void **state)
{
    static const char *const hosts[] = {
        "",
        "evil.example",
        "evil.example:7711",
        "localhost.evil.example",
        "localhost:",
        "localhost:x",
        "localhost:65536",
        "127.0.0.1.evil.example",
        "127.0.0",
        "127.0.0.1.1",
        "127.0.0.256",
        "127.0.0.",
        "128.0.0.1",
        "0.0.0.0",
        "10.0.0.1:7711",
        "[::2]",
        "[::1",
        "[::1]x",
        "[::1]:",
        "::1",
        "127.0.0.1:80:80",
        " localhost",
        "localhost@evil",
        "127.0.0.0001",
        "127.1",
        "2130706433",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_false(s3_host_is_loopback(slice_str(hosts[i])));
    }
}

static void requests_that_a_web_page_caused_are_refused(void **state)
{
    struct s3_head head = {.host = SLICE_LIT("localhost"), .n_host = 1};
    enum s3_code code = S3_INTERNAL_ERROR;

    (void)state;
    assert_int_equal(s3_access_check(&head, &code), 0);
    head.origin = SLICE_LIT("null");
    assert_int_equal(s3_access_check(&head, &code), ZERR_INVALID);
    assert_int_equal(code, S3_ACCESS_DENIED);
    head.origin = slice_of(NULL, 0);
    head.sec_fetch_site = SLICE_LIT("none");
    assert_int_equal(s3_access_check(&head, &code), ZERR_INVALID);
    assert_int_equal(code, S3_ACCESS_DENIED);
}

static void there_must_be_exactly_one_host_and_it_is_ours(void **state)
{
    struct s3_head head = {0};
    enum s3_code code = S3_INTERNAL_ERROR;

    (void)state;
    assert_int_equal(s3_access_check(&head, &code), ZERR_INVALID);
    assert_int_equal(code, S3_BAD_HOST);
    head = (struct s3_head){.host = SLICE_LIT("localhost"), .n_host = 2};
    assert_int_equal(s3_access_check(&head, &code), ZERR_INVALID);
    /* A name of the page's own that resolves to 127.0.0.1. */
    head = (struct s3_head){.host = SLICE_LIT("evil.example:7711"), .n_host = 1};
    code = S3_INTERNAL_ERROR;
    assert_int_equal(s3_access_check(&head, &code), ZERR_INVALID);
    assert_int_equal(code, S3_BAD_HOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_hosts_are_accepted_with_any_port),
        cmocka_unit_test(every_other_host_is_refused),
        cmocka_unit_test(requests_that_a_web_page_caused_are_refused),
        cmocka_unit_test(there_must_be_exactly_one_host_and_it_is_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
