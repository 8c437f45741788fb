/* Access lists and tags, which nobody can set. */
#include "support/s3_toy.h"

static void the_owner_has_everything_and_nobody_else(void **state)
{
    static const char *const targets[] = {"/bucket?acl", "/bucket/?acl=", "/bucket/k?acl",
                                          "/bucket/k?versionId=null&acl"};
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        assert_int_equal(request(&t, HTTP_METHOD_GET, targets[i], NULL, NULL), 200);
        assert_well_formed(&t);
        assert_body_has(&t,
                        "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                        "<Owner><ID>zipkvserver</ID>");
        assert_body_has(&t, " xsi:type=\"CanonicalUser\"><ID>zipkvserver</ID>");
        assert_body_has(&t, "</Grantee><Permission>FULL_CONTROL</Permission></Grant>");
        assert_int_equal(count(&t, "<Grant>"), 1);
    }
    (void)request(&t, HTTP_METHOD_GET, "/bucket/none?acl", NULL, NULL);
    assert_error(&t, 404, "NoSuchKey");
    (void)request(&t, HTTP_METHOD_GET, "/other?acl", NULL, NULL);
    assert_error(&t, 404, "NoSuchBucket");
    toy_clear(&t);
}

static void an_access_list_that_opens_nothing_is_accepted(void **state)
{
#define OWNER "<Owner><ID>zipkvserver</ID></Owner>"
#define GRANT(who)                                                                                 \
    "<AccessControlPolicy>" OWNER "<AccessControlList><Grant><Grantee>" who                        \
    "</Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
    static const char *const OPEN[] = {
        GRANT("<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>"),
        GRANT("<ID>someone</ID>"), /* s3cmd setacl --acl-grant=read:someone */
        GRANT("<EmailAddress>a@b.example</EmailAddress>"),
    };
    struct toy t = {0}, list = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    assert_int_equal(request(&list, HTTP_METHOD_GET, "/bucket/k?acl", NULL, NULL), 200);
    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", (const char *)list.got.ptr, NULL), 200);
    assert_int_equal(t.length, 0);
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket?acl", "", "x-amz-acl", "private", NULL),
                     200);
    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", "", "x-amz-acl", "bucket-owner-read", NULL),
        200);
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", "", "x-amz-acl", "public-read", NULL);
    assert_error(&t, 501, "NotImplemented");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", "", "x-amz-grant-read", "id=x", NULL);
    assert_error(&t, 501, "NotImplemented");
    for (size_t i = 0; i < sizeof(OPEN) / sizeof(OPEN[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", OPEN[i], NULL);
        assert_error(&t, 501, "NotImplemented");
    }
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/none?acl", "", NULL);
    assert_error(&t, 404, "NoSuchKey");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", "x", "Content-MD5",
                  "XUFAKrxLKna5cZ2REBfFkg==", NULL);
    assert_error(&t, 400, "BadDigest");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    toy_clear(&list);
    toy_clear(&t);
}

static void an_object_has_no_tags(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k?tagging", NULL, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<TagSet></TagSet></Tagging>");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/none?tagging", NULL, NULL);
    assert_error(&t, 404, "NoSuchKey");
    (void)request(&t, HTTP_METHOD_GET, "/bucket?tagging", NULL, NULL);
    assert_error(&t, 404, "NoSuchTagSet");
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_owner_has_everything_and_nobody_else),
        T(an_access_list_that_opens_nothing_is_accepted),
        T(an_object_has_no_tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
