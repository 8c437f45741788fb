/* DeleteObject and DeleteObjects. */
#include "support/s3_toy.h"

static void deleting_is_204_whether_it_was_there_or_not(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/gone", "x");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/bucket/gone", NULL, NULL), 204);
        assert_true(t.no_length);
        assert_int_equal(t.got.len, 0);
    }
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/gone", NULL, NULL), 404);
    toy_clear(&t);
}

#define DELETE_AB "<Delete><Object><Key>a&amp;</Key></Object><Object><Key>b</Key></Object></Delete>"
#define DELETE_AB_MD5 "ZB/C1zd5w6xxLtjCxj1DWg=="

static void many_objects_are_deleted_at_once(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/a%26", "1");
    put_text("/bucket/b", "2");
    put_text("/bucket/c", "3");
    (void)request(&t, HTTP_METHOD_POST, "/bucket/?delete", DELETE_AB, "Content-MD5",
                  "AAAAAAAAAAAAAAAAAAAAAA==", NULL);
    assert_error(&t, 400, "BadDigest");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/b", NULL, NULL), 200);
    assert_int_equal(request(&t, HTTP_METHOD_POST, "/bucket/?delete", DELETE_AB, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                        "<Deleted><Key>a&amp;</Key></Deleted><Deleted><Key>b</Key></Deleted>"
                        "</DeleteResult>");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/a%26", NULL, NULL), 404);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/b", NULL, NULL), 404);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/c", NULL, NULL), 200);
    toy_clear(&t);
}

static void the_md5_of_a_delete_list_is_checked(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_POST, "/bucket?delete=", DELETE_AB, "Content-MD5",
                             DELETE_AB_MD5, NULL),
                     200);
    (void)request(&t, HTTP_METHOD_POST, "/bucket/?delete", DELETE_AB, "Content-MD5", "nonsense",
                  NULL);
    assert_error(&t, 400, "InvalidDigest");
    toy_clear(&t);
}

static void keys_that_cannot_be_are_told_one_by_one_and_quiet_hides_the_rest(void **state)
{
    struct toy t = {0};
    struct buf b = {0};

    (void)state;
    put_text("/bucket/q", "1");
    assert_int_equal(buf_append_str(&b, "<Delete xmlns=\""
                                        "http://s3.amazonaws.com/doc/2006-03-01/"
                                        "\"><Quiet>true</Quiet><Object><Key>q</Key></Object>"
                                        "<Object><Key>v</Key><VersionId>3</VersionId></Object>"
                                        "<Object><Key>"),
                     0);
    for (int i = 0; i < 1025; i++) {
        assert_int_equal(buf_append_str(&b, "l"), 0);
    }
    assert_int_equal(buf_append(&b, "</Key></Object></Delete>", 25), 0);
    assert_int_equal(request(&t, HTTP_METHOD_POST, "/bucket/?delete", (const char *)b.ptr, NULL),
                     200);
    assert_well_formed(&t);
    assert_false(body_has(&t, "<Deleted>"));
    assert_body_has(&t, "<Error><Key>v</Key><Code>NoSuchVersion</Code>");
    assert_body_has(&t, "<Code>KeyTooLongError</Code>");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/q", NULL, NULL), 404);
    toy_clear(&t);
    buf_finish(&b);
}

static void bad_delete_lists_delete_nothing(void **state)
{
    static const char *const docs[] = {
        "",
        "nonsense",
        "<Delete></Delete>",
        "<Delete><Object><Key>k</Key></Object>",
        "<!DOCTYPE x [<!ENTITY e \"k\">]><Delete><Object><Key>&e;</Key></Object></Delete>",
    };
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "x");
    for (size_t i = 0; i < sizeof(docs) / sizeof(docs[0]); i++) {
        (void)request(&t, HTTP_METHOD_POST, "/bucket/?delete", docs[i], NULL);
        assert_error(&t, 400, "MalformedXML");
    }
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/k", NULL, NULL), 200);
    toy_clear(&t);
}

static void a_delete_list_above_two_mebibytes_is_refused(void **state)
{
    struct slice body = pattern((2 << 20) + 1);
    struct toy t = {0};

    (void)state;
    for (int chunked = 0; chunked < 2; chunked++) {
        toy_init(&t, HTTP_METHOD_POST, "/bucket/?delete");
        set_body(&t, body);
        t.req.chunked = chunked;
        t.req.has_length = !chunked;
        begin(&t);
        finish(&t);
        assert_error(&t, 400, "MaxMessageLengthExceeded");
        assert_int_equal(t.refused_body, !chunked);
    }
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(deleting_is_204_whether_it_was_there_or_not),
        T(many_objects_are_deleted_at_once),
        T(the_md5_of_a_delete_list_is_checked),
        T(keys_that_cannot_be_are_told_one_by_one_and_quiet_hides_the_rest),
        T(bad_delete_lists_delete_nothing),
        T(a_delete_list_above_two_mebibytes_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
