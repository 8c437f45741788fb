/* CopyObject. */
#include "support/s3_toy.h"

static void a_copy_keeps_or_replaces_the_metadata(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/src%20%2B", "hello", "x-amz-meta-a", "1",
                             "Content-Type", "text/plain", NULL),
                     200);
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/kept", NULL, "x-amz-copy-source",
                             "/bucket/src%20%2B", "x-amz-meta-a", "ignored", NULL),
                     200);
    assert_well_formed(&t);
    assert_body_has(&t, "<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                        "<LastModified>");
    assert_body_has(&t, "<ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag>");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/kept", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    assert_header(&t, "x-amz-meta-a", "1");
    assert_header(&t, "Content-Type", "text/plain");

    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/replaced", NULL, "x-amz-copy-source",
                             "bucket/src%20%2B?versionId=null", "x-amz-metadata-directive",
                             "REPLACE", "x-amz-meta-b", "2", NULL),
                     200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/replaced", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    assert_header(&t, "x-amz-meta-b", "2");
    assert_header(&t, "Content-Type", "binary/octet-stream");
    assert_null(strstr((const char *)t.head.ptr, "x-amz-meta-a"));
    toy_clear(&t);
}

static void a_copy_onto_itself_must_replace_something(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/self", "hello");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/self", NULL, "x-amz-copy-source", "/bucket/self",
                  NULL);
    assert_error(&t, 400, "InvalidRequest");
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/self", NULL, "x-amz-copy-source",
                             "/bucket/%73elf", "x-amz-metadata-directive", "REPLACE",
                             "x-amz-meta-mtime", "17", NULL),
                     200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/self", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    assert_header(&t, "x-amz-meta-mtime", "17");
    toy_clear(&t);
}

static void bad_copies_say_what_is_wrong(void **state)
{
    static const struct {
        const char *source;
        int status;
        const char *code;
    } cases[] = {
        {"/bucket/none", 404, "NoSuchKey"},
        {"/other/k", 404, "NoSuchBucket"},
        {"nonsense", 400, "InvalidArgument"},
        {"/bucket/", 400, "InvalidArgument"},
        {"", 400, "InvalidArgument"},
        {"/bucket/%zz", 400, "InvalidArgument"},
        {"/bucket/k?versionId=7", 404, "NoSuchVersion"},
    };
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, "/bucket/dst", NULL, "x-amz-copy-source",
                      cases[i].source, NULL);
        assert_error(&t, cases[i].status, cases[i].code);
    }
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/dst", NULL, "x-amz-copy-source", "/bucket/k",
                  "x-amz-metadata-directive", "PERHAPS", NULL);
    assert_error(&t, 400, "InvalidArgument");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/dst", NULL, "x-amz-copy-source", "/bucket/k",
                  "x-amz-copy-source-if-match", "\"x\"", NULL);
    assert_error(&t, 412, "PreconditionFailed");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/dst", NULL, NULL), 404);
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_copy_keeps_or_replaces_the_metadata),
        T(a_copy_onto_itself_must_replace_something),
        T(bad_copies_say_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
