/* The root of the S3 layer: manners, buckets, errors, connections that break, the stop. */
#include "support/s3_toy.h"

static void what_is_not_there_is_plainly_not_there(void **state)
{
    struct toy t = {0};

    (void)state;
    (void)request(&t, HTTP_METHOD_GET, "/bucket/none%20%3C?x-id=GetObject", NULL, NULL);
    assert_error(&t, 404, "NoSuchKey");
    assert_body_has(&t, "<Resource>/bucket/none%20%3C</Resource><RequestId>");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/none", NULL, NULL), 404);
    assert_int_equal(t.length, 0);
    assert_int_equal(t.got.len, 0);
    (void)request(&t, HTTP_METHOD_GET, "/other/k", NULL, NULL);
    assert_error(&t, 404, "NoSuchBucket");
    assert_body_has(
        &t, "<Message>The specified bucket does not exist</Message>"); /* minio-go compares it */
    (void)request(&t, HTTP_METHOD_PUT, "/bucket2/k", "x", NULL);
    assert_error(&t, 404, "NoSuchBucket");
    static const char *const targets[] = {"/other?policy", "/other?tagging", "/other?torrent",
                                          "/other/k?tagging", "/other/k?versionId=7"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        (void)request(&t, HTTP_METHOD_GET, targets[i], NULL, NULL);
        assert_error(&t, 404, "NoSuchBucket");
        (void)request(&t, HTTP_METHOD_DELETE, targets[i], NULL, NULL);
        assert_error(&t, 404, "NoSuchBucket");
    }
    (void)request(&t, HTTP_METHOD_GET, "/other?%zz", NULL, NULL);
    assert_error(&t, 400, "InvalidURI");
    (void)request(&t, HTTP_METHOD_GET, "/bucket?policy", NULL, NULL);
    assert_error(&t, 404, "NoSuchBucketPolicy");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/%zz", NULL, NULL);
    assert_error(&t, 400, "InvalidURI");
    toy_clear(&t);
}

static void the_error_names_the_request_as_the_header_does(void **state)
{
    struct toy t = {0};
    const char *id;
    char text[64];

    (void)state;
    (void)request(&t, HTTP_METHOD_GET, "/bucket/none", NULL, NULL);
    id = strstr((const char *)t.head.ptr, "x-amz-request-id: ");
    assert_non_null(id);
    (void)snprintf(text, sizeof(text), "<RequestId>%.16s</RequestId>", id + 18);
    assert_body_has(&t, text);
    toy_clear(&t);
}

/* As a client in another region asks. */
#define ELSEWHERE                                                                                  \
    "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"                \
    "<LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>"

static void the_bucket_is_there_and_can_be_created_again(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket", NULL, NULL), 200);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/other", NULL, NULL), 404);
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/", "<CreateBucketConfiguration/>", NULL),
                     200);
    assert_header(&t, "Location", "/bucket/");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket", ELSEWHERE, NULL);
    assert_error(&t, 409, "BucketAlreadyOwnedByYou");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket", "<Nonsense/>", NULL);
    assert_error(&t, 400, "MalformedXML");
    (void)request(&t, HTTP_METHOD_DELETE, "/bucket", NULL, NULL);
    assert_error(&t, 405, "MethodNotAllowed");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket?location", NULL, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<LocationConstraint xmlns=");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/", NULL, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<Bucket><Name>bucket</Name><CreationDate>");
    toy_clear(&t);
}

static void web_pages_are_kept_out(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "Origin", "http://evil.example", NULL);
    assert_error(&t, 403, "AccessDenied");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "Sec-Fetch-Site", "cross-site", NULL);
    assert_error(&t, 403, "AccessDenied");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k", "x", "Host", "evil.example:7711", NULL);
    assert_error(&t, 403, "AccessDenied");
    assert_true(t.refused_body);
    (void)request(&t, HTTP_METHOD_OPTIONS, "/bucket/k", NULL, NULL);
    assert_error(&t, 403, "AccessDenied");
    assert_null(strstr((const char *)t.head.ptr, "Access-Control"));
    toy_clear(&t);
}

static void connections_may_break_at_any_moment(void **state)
{
    static const struct {
        enum http_method method;
        const char *target, *header, *value;
    } cases[] = {
        {HTTP_METHOD_GET, "/bucket/big", NULL, NULL},
        {HTTP_METHOD_GET, "/bucket/", NULL, NULL},
        {HTTP_METHOD_DELETE, "/bucket/nothing", NULL, NULL},
        {HTTP_METHOD_PUT, "/bucket/copy", "x-amz-copy-source", "/bucket/big"},
        {HTTP_METHOD_PUT, "/bucket/empty", NULL, NULL},
        {HTTP_METHOD_PUT, "/bucket/", NULL, NULL},
    };
    struct slice body = pattern(700000);
    struct toy t = {0};

    (void)state;
    put_bytes("/bucket/big", body);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int steps = 0; steps < 12; steps++) {
            bool more = true;
            toy_init(&t, cases[i].method, cases[i].target);
            t.req.has_length = true;
            if (cases[i].header != NULL) {
                add_header(&t, cases[i].header, cases[i].value);
            }
            begin(&t);
            for (int k = 0; k < steps && more; k++) {
                more = step(&t);
            }
            if (!t.done) {
                drop_connection(&t);
            }
            workers_inline_drain(&workers);
        }
    }
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

static void a_stopping_server_says_so(void **state)
{
    int status = 1;
    struct toy t = {0};

    (void)state;
    store_stop(store, on_stopped, &status);
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/late", "x", NULL);
    assert_error(&t, 503, "ServiceUnavailable");
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    toy_clear(&t);
    store_set_destroy(stores);
    store_destroy(store);
    s3_destroy(s3);
    open_store(0);
}

static void bucket_names_are_checked(void **state)
{
    (void)state;
    assert_true(s3_bucket_name_ok("bucket"));
    assert_true(s3_bucket_name_ok("My_Bucket-1.x"));
    assert_false(s3_bucket_name_ok(""));
    assert_false(s3_bucket_name_ok(".."));
    assert_false(s3_bucket_name_ok("a b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_not_there_is_plainly_not_there),
        T(the_error_names_the_request_as_the_header_does),
        T(the_bucket_is_there_and_can_be_created_again),
        T(web_pages_are_kept_out),
        T(connections_may_break_at_any_moment),
        T(a_stopping_server_says_so),
        cmocka_unit_test(bucket_names_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
