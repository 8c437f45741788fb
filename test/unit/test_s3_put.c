/* PutObject: bodies, lengths, digests, conditions, metadata. */
#include "support/s3_toy.h"

static void a_wrong_md5_stores_nothing(void **state)
{
    static const char *const malformed[] = {
        "", "x", "XUFAKrxLKna5cZ2REBfFkg=", "aGVsbG8=", "5d41402abc4b2a76b9719d911017c592"};
    struct toy t = {0};

    (void)state;
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/bad", "hullo", "Content-MD5",
                  "XUFAKrxLKna5cZ2REBfFkg==", NULL);
    assert_error(&t, 400, "BadDigest");
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, "/bucket/bad", "hello", "Content-MD5", malformed[i],
                      NULL);
        assert_error(&t, 400, "InvalidDigest");
        assert_true(t.refused_body);
    }
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/bad", NULL, NULL), 404);
    toy_clear(&t);
}

static void the_length_must_be_known(void **state)
{
    struct toy t = {0};

    (void)state;
    toy_init(&t, HTTP_METHOD_PUT, "/bucket/len");
    t.req.chunked = true;
    begin(&t);
    finish(&t);
    assert_error(&t, 411, "MissingContentLength");

    toy_init(&t, HTTP_METHOD_PUT, "/bucket/len");
    t.req.chunked = true;
    t.body = SLICE_LIT("hello");
    add_header(&t, "x-amz-decoded-content-length", "5");
    begin(&t);
    finish(&t);
    assert_int_equal(t.status, 200);

    (void)request(&t, HTTP_METHOD_PUT, "/bucket/len", NULL, "x-amz-decoded-content-length", "5x",
                  NULL);
    assert_error(&t, 400, "InvalidArgument");
    toy_init(&t, HTTP_METHOD_PUT, "/bucket/len");
    t.req.has_length = true;
    t.req.length = (5ull << 30) + 1;
    begin(&t);
    finish(&t);
    assert_error(&t, 400, "EntityTooLarge");
    assert_true(t.refused_body);
    toy_clear(&t);
}

static void a_body_of_another_length_stores_nothing(void **state)
{
    static const char *const announced[] = {"4", "6", "0"};
    struct toy t = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        toy_init(&t, HTTP_METHOD_PUT, "/bucket/short");
        t.req.chunked = true;
        t.body = SLICE_LIT("hello");
        t.slice_max = 2;
        add_header(&t, "x-amz-decoded-content-length", announced[i]);
        begin(&t);
        finish(&t);
        assert_error(&t, 400, "IncompleteBody");
    }
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/short", NULL, NULL), 404);
    toy_clear(&t);
}

static void a_connection_that_breaks_during_an_upload_stores_nothing(void **state)
{
    static const size_t breaks[] = {0, 1, 70000, 400000, 999999};
    struct slice body = pattern(1000000);
    struct toy t = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
        toy_init(&t, HTTP_METHOD_PUT, "/bucket/broken");
        set_body(&t, body);
        t.break_at = breaks[i];
        t.slice_max = breaks[i] > 50000 ? 50000 : 1;
        begin(&t);
        finish(&t);
        assert_false(t.responded);
    }
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/broken", NULL, NULL), 404);
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

static void what_would_change_the_meaning_is_refused(void **state)
{
    static const struct {
        const char *name, *value;
        int status;
        const char *code;
    } cases[] = {
        {"x-amz-write-offset-bytes", "5", 501, "NotImplemented"},
        {"x-amz-server-side-encryption", "AES256", 501, "NotImplemented"},
        {"x-amz-server-side-encryption", "aws:kms", 501, "NotImplemented"},
        {"X-Amz-Server-Side-Encryption-Customer-Key-MD5", "x", 501, "NotImplemented"},
        {"x-amz-server-side-encryption-customer-algorithm", "AES256", 501, "NotImplemented"},
        {"x-amz-copy-source-server-side-encryption-customer-key", "x", 501, "NotImplemented"},
        {"x-amz-tagging", "a=b", 501, "NotImplemented"},
        {"x-amz-object-lock-mode", "COMPLIANCE", 501, "NotImplemented"},
        {"x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z", 501, "NotImplemented"},
        {"x-amz-object-lock-legal-hold", "ON", 501, "NotImplemented"},
    };
    struct toy t = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, "/bucket/odd", "x", cases[i].name, cases[i].value, NULL);
        assert_error(&t, cases[i].status, cases[i].code);
        (void)request(&t, HTTP_METHOD_POST, "/bucket/odd?uploads", NULL, cases[i].name,
                      cases[i].value, NULL);
        assert_error(&t, cases[i].status, cases[i].code);
    }
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/odd", NULL, NULL), 404);
    (void)request(&t, HTTP_METHOD_PUT, "/bucket", NULL, "x-amz-bucket-object-lock-enabled", "true",
                  NULL);
    assert_error(&t, 501, "NotImplemented");
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket", NULL,
                             "x-amz-bucket-object-lock-enabled", "false", "x-amz-acl", "private",
                             NULL),
                     200);
    toy_clear(&t);
}

static void what_changes_nothing_is_accepted(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, "/bucket/k", "x", "x-amz-storage-class", "STANDARD",
                "x-amz-acl", "private", "x-amz-tagging", "", "x-amz-object-lock-legal-hold", "OFF",
                "x-amz-request-payer", "requester", "x-amz-expected-bucket-owner", "123456789012",
                "x-amz-new-thing", "1", "x-amz-website-redirect-location", "/elsewhere", NULL),
        200);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/k", NULL, NULL), 200);
    assert_header(&t, "X-Amz-Website-Redirect-Location", "/elsewhere");
    toy_clear(&t);
}

static void a_link_has_its_metadata_in_the_query(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT,
                             "/bucket/k?X-Amz-Signature=0&x-amz-meta-a=b%20c&X-Amz-Meta-D=+e"
                             "&x-amz-checksum-crc32=AAAAAA==&x-amz-acl=private",
                             "hello", "x-amz-meta-f", "g", NULL),
                     200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    assert_header(&t, "x-amz-meta-a", "b c");
    assert_header(&t, "x-amz-meta-d", " e");
    assert_header(&t, "x-amz-meta-f", "g");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?X-Amz-Signature=0&x-amz-meta-a=b%0d%0aEvil:1",
                  "hello", NULL);
    assert_error(&t, 400, "InvalidArgument");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?X-Amz-Signature=0&x-amz-meta-%0a=b", "hello",
                  NULL);
    assert_error(&t, 400, "InvalidArgument");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?X-Amz-Signature=0&%zz", "hello", NULL);
    assert_error(&t, 400, "InvalidURI");
    /* What is no link has its metadata in headers alone. */
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/k?x-amz-meta-a=b", "", NULL), 200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    assert_null(strstr((const char *)t.head.ptr, "x-amz-meta-"));
    toy_clear(&t);
}

static void a_link_has_its_other_headers_in_the_query_too(void **state)
{
    static const struct {
        const char *more, *code;
        int status;
    } REFUSED[] = {
        {"x-amz-server-side-encryption=AES256", "NotImplemented", 501},
        {"X-Amz-Server-Side-Encryption-Customer-Algorithm=AES256", "NotImplemented", 501},
        {"x-amz-tagging=a%3Db", "NotImplemented", 501},
        {"x-amz-object-lock-mode=COMPLIANCE", "NotImplemented", 501},
        {"x-amz-object-lock-legal-hold=ON", "NotImplemented", 501},
        {"x-amz-copy-source=", "InvalidArgument", 400},
        {"x-amz-copy-source=/bucket/none", "NoSuchKey", 404},
        {"x-amz-copy-source=/bucket/from&x-amz-copy-source-if-none-match=%2A", "PreconditionFailed",
         412},
        {"x-amz-copy-source=/bucket/from&x-amz-metadata-directive=OTHER", "InvalidArgument", 400},
        {"x-amz-copy-source=/bucket/from&x-amz-copy-source=/bucket/k", "InvalidArgument", 400},
        {"x-amz-new-thing=1&X-Amz-New-Thing=2", "InvalidArgument", 400},
        {"x-amz-acl=public-read", "InvalidArgument", 400}, /* the header says something else */
    };
    struct toy t = {0};
    char target[256];

    (void)state;
    put_text("/bucket/from", "source");
    put_text("/bucket/k", "kept");
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        (void)snprintf(target, sizeof(target), "/bucket/k?X-Amz-Signature=0&%s", REFUSED[i].more);
        (void)request(&t, HTTP_METHOD_PUT, target, "", "x-amz-acl", "private", NULL);
        assert_error(&t, REFUSED[i].status, REFUSED[i].code);
    }
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "kept");
    assert_int_equal(request(&t, HTTP_METHOD_PUT,
                             "/bucket/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=1"
                             "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-amz-sdk-checksum-algorithm=X"
                             "&x-amz-copy-source=bucket%2Ffrom&x-amz-metadata-directive=REPLACE"
                             "&x-amz-meta-a=b&x-amz-acl=private&x-id=CopyObject&X-Amz-Signature=0",
                             "", "X-Amz-Acl", "private", "X-Amz-Date", "2", NULL),
                     200);
    assert_body_has(&t, "<CopyObjectResult ");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "source");
    assert_header(&t, "x-amz-meta-a", "b");
    toy_clear(&t);
}

static void known_sub_resources_leave_the_object_alone(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?tagging", "<Tagging/>", NULL);
    assert_error(&t, 501, "NotImplemented");
    (void)request(&t, HTTP_METHOD_DELETE, "/bucket/k?tagging", NULL, NULL);
    assert_error(&t, 501, "NotImplemented");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k?x-id=GetObject", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    toy_clear(&t);
}

static void too_much_metadata_and_too_long_keys_are_refused(void **state)
{
    char *value = malloc(9000), *target = malloc(2000);
    struct toy t = {0};

    (void)state;
    memset(value, 'v', 8999);
    value[8999] = '\0';
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/m", "x", "x-amz-meta-a", value, NULL);
    assert_error(&t, 400, "MetadataTooLarge");
    memset(target, 'k', 1999);
    memcpy(target, "/bucket/", 8);
    target[8 + 1024] = '\0';
    assert_int_equal(request(&t, HTTP_METHOD_PUT, target, "x", NULL), 200);
    target[8 + 1024] = 'k';
    target[8 + 1025] = '\0';
    (void)request(&t, HTTP_METHOD_PUT, target, "x", NULL);
    assert_error(&t, 400, "KeyTooLongError");
    toy_clear(&t);
    free(value);
    free(target);
}

static void conditions_on_writing_hold(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/c", "1", "If-None-Match", "*", NULL),
                     200);
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/c", "2", "If-None-Match", "*", NULL);
    assert_error(&t, 412, "PreconditionFailed");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/absent", "2", "If-Match", "*", NULL);
    assert_error(&t, 404, "NoSuchKey");
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/c", "2", "If-Match",
                             "\"c4ca4238a0b923820dcc509a6f75849b\"", NULL),
                     200);
    (void)request(&t, HTTP_METHOD_DELETE, "/bucket/c", NULL, "If-Match",
                  "\"c4ca4238a0b923820dcc509a6f75849b\"", NULL);
    assert_error(&t, 412, "PreconditionFailed");
    /* An entity tag that cannot be one of ours: what is there has another, what is not there has none. */
    for (int there = 0; there < 2; there++) {
        static const char *const tags[] = {"\"not-one-of-ours\"", "x", ""};
        const char *target = there ? "/bucket/c" : "/bucket/absent";
        for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
            (void)request(&t, HTTP_METHOD_PUT, target, "2", "If-Match", tags[i], NULL);
            assert_error(&t, there ? 412 : 404, there ? "PreconditionFailed" : "NoSuchKey");
            (void)request(&t, HTTP_METHOD_DELETE, target, NULL, "If-Match", tags[i], NULL);
            assert_error(&t, there ? 412 : 404, there ? "PreconditionFailed" : "NoSuchKey");
        }
    }
    static const char *const others[] = {"If-Modified-Since", "If-Unmodified-Since",
                                         "x-amz-if-match-size",
                                         "x-amz-if-match-last-modified-time"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, "/bucket/c", "2", others[i], "0", NULL);
        assert_error(&t, 501, "NotImplemented");
        (void)request(&t, HTTP_METHOD_DELETE, "/bucket/c", NULL, others[i], "0", NULL);
        assert_error(&t, 501, "NotImplemented");
    }
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/c", "3", "If-None-Match", "\"x\"", NULL);
    assert_error(&t, 501, "NotImplemented");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/c", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "2");
    toy_clear(&t);
}

static void a_full_disk_is_slow_down_and_the_body_is_not_asked_for(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    close_store();
    open_store(1ull << 60);
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/full", "x", "Expect", "100-continue", NULL);
    assert_error(&t, 503, "SlowDown");
    assert_header(&t, "Retry-After", "5");
    assert_true(t.refused_body);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    toy_clear(&t);
}

static void continue_is_said_when_there_is_room(void **state)
{
    struct toy gone = {0}, t = {0};
    struct slice body = pattern(1000000);

    (void)state;
    toy_init(&gone, HTTP_METHOD_PUT, "/bucket/gone");
    set_body(&gone, body);
    begin(&gone);
    for (int i = 0; i < 9 && !gone.paused; i++) {
        give_body(&gone);
    }
    workers_inline_drain(&workers); /* some of it is in the file */
    drop_connection(&gone);         /* its room is about to be cut off */
    toy_init(&t, HTTP_METHOD_PUT, "/bucket/k");
    set_body(&t, slice_str("text"));
    begin(&t);
    assert_false(t.proceeded);
    assert_false(t.responded);
    finish(&t);
    assert_true(t.proceeded);
    assert_int_equal(t.status, 200);
    toy_clear(&gone);
    toy_clear(&t);
    free((void *)body.ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_wrong_md5_stores_nothing),
        T(the_length_must_be_known),
        T(a_body_of_another_length_stores_nothing),
        T(a_connection_that_breaks_during_an_upload_stores_nothing),
        T(what_would_change_the_meaning_is_refused),
        T(what_changes_nothing_is_accepted),
        T(a_link_has_its_metadata_in_the_query),
        T(a_link_has_its_other_headers_in_the_query_too),
        T(known_sub_resources_leave_the_object_alone),
        T(too_much_metadata_and_too_long_keys_are_refused),
        T(conditions_on_writing_hold),
        T(a_full_disk_is_slow_down_and_the_body_is_not_asked_for),
        T(continue_is_said_when_there_is_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
