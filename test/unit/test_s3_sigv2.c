/* Signatures of version 2: what they cover, how long they hold, and what does not go with them. (The
 * published examples are in test_s3_auth.c.) */
#include "support/auth_rig.h"

static void version_2_in_the_query_holds_for_its_time(void **state)
{
    static const struct example e = {
        HTTP_METHOD_GET,
        "/johnsmith/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&"
        "Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620",
        {{"Host", "johnsmith.s3.amazonaws.com"}},
        "Thu, 29 Mar 2007 03:40:20 GMT"};

    (void)state;
    expect_in(&e);
    assert_int_equal(check_at("Thu, 29 Mar 2007 03:40:21 GMT"), ZERR_INVALID);
    assert_int_equal(why.code, S3_FORBIDDEN);
    assert_string_equal(why.message, "Request has expired");
    change_each_byte(&e, &req.target);
}

static void version_2_signs_what_decides(void **state)
{
    static const char *const extras[] = {"acl",        "delete",       "uploads",
                                         "uploadId=1", "partNumber=1", "versionId=null",
                                         "versions",   "tagging",      "response-content-type=a"};
    char target[100];

    (void)state;
    expect_in(&V2_GET);
    add("x-amz-copy-source", "/johnsmith/other");
    assert_int_equal(check_at(V2_GET.now), ZERR_INVALID);
    assert_int_equal(why.code, S3_SIGNATURE_DOES_NOT_MATCH);
    for (size_t i = 0; i < sizeof(extras) / sizeof(extras[0]); i++) {
        prepare(&V2_GET);
        (void)snprintf(target, sizeof(target), "%s?%s", V2_GET.target, extras[i]);
        req.target = slice_str(target);
        assert_int_equal(check_at(V2_GET.now), ZERR_INVALID);
        assert_int_equal(why.code, S3_SIGNATURE_DOES_NOT_MATCH);
    }
}

static void version_2_does_not_go_with_chunks(void **state)
{
    (void)state;
    prepare(&V2_GET);
    add("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    assert_int_equal(check_at(V2_GET.now), ZERR_INVALID);
    assert_int_equal(why.code, S3_FORBIDDEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A(version_2_in_the_query_holds_for_its_time),
        A(version_2_signs_what_decides),
        A(version_2_does_not_go_with_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, clear);
}
