/* GetObjectAttributes. (Of objects in parts: test_s3_assembly.c.) */
#include "support/s3_toy.h"

#define ASKED "x-amz-object-attributes"

static void what_is_asked_for_is_said_and_nothing_else(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/k", "hello", "x-amz-checksum-crc32",
                             "NhCmhg==", NULL),
                     200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k?attributes", NULL, ASKED,
                             "ETag,Checksum,ObjectParts, StorageClass,ObjectSize", NULL),
                     200);
    assert_well_formed(&t);
    assert_body_has(&t, "<ETag>5d41402abc4b2a76b9719d911017c592</ETag><Checksum><ChecksumCRC32>"
                        "NhCmhg==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>"
                        "</Checksum><StorageClass>STANDARD</StorageClass><ObjectSize>5</ObjectSize>"
                        "</GetObjectAttributesResponse>");
    assert_non_null(strstr((const char *)t.head.ptr, "Last-Modified: "));
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k?attributes&versionId=null", NULL,
                             ASKED, "ObjectSize", ASKED, "ObjectParts", NULL),
                     200);
    assert_body_has(&t, "2006-03-01/\"><ObjectSize>5</ObjectSize></GetObjectAttributesResponse>");

    static const char *const bad[] = {"", "Size", "ETag,etag", "ETag,,"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)request(&t, HTTP_METHOD_GET, "/bucket/k?attributes", NULL, ASKED, bad[i], NULL);
        assert_error(&t, 400, "InvalidArgument");
    }
    (void)request(&t, HTTP_METHOD_GET, "/bucket/k?attributes", NULL, NULL);
    assert_error(&t, 400, "InvalidArgument");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/none?attributes", NULL, ASKED, "ETag", NULL);
    assert_error(&t, 404, "NoSuchKey");
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_asked_for_is_said_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
