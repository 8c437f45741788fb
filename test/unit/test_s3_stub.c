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
        GRANT("<URI >http://acs.amazonaws.com/groups/global/AllUsers</URI >"),
        GRANT("<x:URI xmlns:x=\"http://s3.amazonaws.com/doc/2006-03-01/\">AllUsers</x:URI>"),
        GRANT("<ID>zipkvserver</ID><ID>some<!-- -->one</ID>"),
        GRANT("<ID>zipkvserver </ID>"),
        "<AccessControlPolicy><Owner><ID>someone</ID></Owner></AccessControlPolicy>",
    };
    static const char *const NO_LIST[] = {
        "garbage",
        "<AccessControlPolicy>",
        "<Policy/>",
        "<!DOCTYPE x><AccessControlPolicy/>",
        GRANT(""),
        "<AccessControlPolicy><AccessControlList><Grant><Grantee><ID>zipkvserver</ID></Grantee>"
        "</Grant></AccessControlList></AccessControlPolicy>",
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
    for (size_t i = 0; i < sizeof(NO_LIST) / sizeof(NO_LIST[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", NO_LIST[i], NULL);
        assert_error(&t, 400, "MalformedACLError");
    }
    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, "/bucket/k?acl", GRANT("<ID >zipkvserver</ID >"), NULL), 200);
    /* The same in UTF-16. */
    uint8_t wide[2 * 400];
    size_t n = 0;
    for (const char *p = OPEN[0]; *p != '\0'; p++) {
        assert_in_range(n, 0, sizeof(wide) - 4);
        n = n == 0 ? (wide[0] = 0xff, wide[1] = 0xfe, 2) : n;
        wide[n++] = (uint8_t)*p;
        wide[n++] = 0;
    }
    toy_init(&t, HTTP_METHOD_PUT, "/bucket/k?acl");
    set_body(&t, slice_of(wide, n));
    begin(&t);
    finish(&t);
    assert_error(&t, 501, "NotImplemented");
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
