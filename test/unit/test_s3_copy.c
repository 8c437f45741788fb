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

static void made(void *user, int status)
{
    *(int *)user = status;
}

/* HEAD has that checksum and no other. */
static void assert_checksum(const char *target, const char *header, const char *value)
{
    struct toy t = {0};
    const char *p;

    assert_int_equal(
        request(&t, HTTP_METHOD_HEAD, target, NULL, "x-amz-checksum-mode", "ENABLED", NULL), 200);
    p = strstr((const char *)t.head.ptr, "X-Amz-Checksum-");
    if (header == NULL) {
        assert_null(p);
    } else {
        assert_header(&t, header, value);
        assert_header(&t, "x-amz-checksum-type", "FULL_OBJECT");
        assert_null(strstr(p + 1, "X-Amz-Checksum-"));
    }
    toy_clear(&t);
}

#define HELLO_CRC32 "NhCmhg=="
#define HELLO_SHA256 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="

static void a_copy_has_the_checksum_that_is_wanted_of_it(void **state)
{
    static const struct {
        const char *source, *wanted, *header, *value, *element;
    } cases[] = {
        {"crc32", NULL, "X-Amz-Checksum-Crc32", HELLO_CRC32, "CRC32"},
        {"crc32", "CRC32", "X-Amz-Checksum-Crc32", HELLO_CRC32, "CRC32"},
        {"crc32", "SHA256", "X-Amz-Checksum-Sha256", HELLO_SHA256, "SHA256"},
        {"none", "CRC32", "X-Amz-Checksum-Crc32", HELLO_CRC32, "CRC32"},
        {"none", NULL, NULL, NULL, NULL},
        {"none", "XXHASH64", NULL, NULL, NULL}, /* not known: ignored, as with an upload */
        {"crc32", "XXHASH64", "X-Amz-Checksum-Crc32", HELLO_CRC32, "CRC32"},
    };
    struct toy t = {0};
    char source[80], text[160];
    int status = ZKV_PENDING;

    (void)state;
    assert_int_equal(store_set_create(stores, SLICE_LIT("other"), made, &status), 0);
    workers_inline_drain(&workers);
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/crc32", "hello", "x-amz-meta-a", "1",
                             "x-amz-checksum-crc32", HELLO_CRC32, NULL),
                     200);
    put_text("/bucket/none", "hello");
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        const char *target = i % 2 == 0 ? "/bucket/copy" : "/other/copy";
        const char *wanted = cases[i / 2].wanted;
        (void)snprintf(source, sizeof(source), "/bucket/%s", cases[i / 2].source);
        assert_int_equal(request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", source,
                                 wanted != NULL ? "x-amz-checksum-algorithm" : NULL, wanted, NULL),
                         200);
        assert_well_formed(&t);
        if (cases[i / 2].element != NULL) {
            (void)snprintf(text, sizeof(text),
                           "<Checksum%s>%s</Checksum%s><ChecksumType>FULL_OBJECT</ChecksumType>",
                           cases[i / 2].element, cases[i / 2].value, cases[i / 2].element);
            assert_body_has(&t, text);
        } else {
            assert_false(body_has(&t, "Checksum"));
        }
        assert_checksum(target, cases[i / 2].header, cases[i / 2].value);
        assert_int_equal(request(&t, HTTP_METHOD_GET, target, NULL, NULL), 200);
        assert_string_equal((const char *)t.got.ptr, "hello");
    }
    /* Onto itself, as other metadata are set. */
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/crc32", NULL, "x-amz-copy-source",
                             "/bucket/crc32", "x-amz-metadata-directive", "REPLACE",
                             "x-amz-checksum-algorithm", "SHA256", "x-amz-meta-b", "2", NULL),
                     200);
    assert_checksum("/bucket/crc32", "X-Amz-Checksum-Sha256", HELLO_SHA256);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/crc32", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    assert_header(&t, "x-amz-meta-b", "2");
    assert_null(strstr((const char *)t.head.ptr, "x-amz-meta-a"));
    toy_clear(&t);
}

/* What none of it is needed for moves no data. */
static void only_a_new_checksum_costs_bytes(void **state)
{
    struct toy t = {0};
    struct store_stats before, after;
    const char *algorithms[] = {"CRC32", "SHA1"};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/k", "hello", "x-amz-checksum-crc32",
                             HELLO_CRC32, NULL),
                     200);
    for (unsigned i = 0; i < 2; i++) {
        store_get_stats(store, &before);
        assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/copy", NULL, "x-amz-copy-source",
                                 "/bucket/k", "x-amz-checksum-algorithm", algorithms[i], NULL),
                         200);
        store_get_stats(store, &after);
        assert_int_equal(after.copies - before.copies, i == 0);
        assert_int_equal(after.bytes_in - before.bytes_in, i == 0 ? 0 : 5);
    }
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_copy_keeps_or_replaces_the_metadata), T(a_copy_onto_itself_must_replace_something),
        T(bad_copies_say_what_is_wrong),          T(a_copy_has_the_checksum_that_is_wanted_of_it),
        T(only_a_new_checksum_costs_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
