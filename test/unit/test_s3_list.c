/* ListObjects, version 1 and 2. */
#include "support/s3_toy.h"

static void fill(void)
{
    static const char *const keys[] = {"a",        "b%20%26", "dir/1",  "dir/2",
                                       "dir2/x/y", "e%01",    "%C3%A4", "z"};
    char target[64];

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        (void)snprintf(target, sizeof(target), "/bucket/%s", keys[i]);
        put_text(target, "x");
    }
}

static void a_listing_says_all_of_each_object_in_byte_order(void **state)
{
    static const char *const order[] = {"<Key>a<",     "<Key>b &amp;<",  "<Key>dir/1<",
                                        "<Key>dir/2<", "<Key>dir2/x/y<", "<Key>e&#x1;<",
                                        "<Key>z<",     "<Key>\xc3\xa4<"};
    struct toy t = {0};
    const char *p;

    (void)state;
    fill();
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket?max-keys=1000", NULL, NULL), 200);
    assert_header(&t, "Content-Type", "application/xml");
    assert_body_has(&t, "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                        "<Name>bucket</Name><Prefix></Prefix><Marker></Marker>"
                        "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents>");
    p = (const char *)t.got.ptr;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        p = strstr(p, order[i]);
        assert_non_null(p);
    }
    assert_int_equal(count(&t, "<Contents>"), 8);
    assert_int_equal(count(&t, "<ETag>&quot;9dd4e461268c8034f5c8564e155c67a6&quot;</ETag>"
                               "<Size>1</Size>"),
                     8);
    assert_int_equal(count(&t, ".") >= 8 && count(&t, "<LastModified>20") == 8, 1);
    toy_clear(&t);
}

static void pages_continue_where_the_last_one_ended(void **state)
{
    struct toy t = {0};

    (void)state;
    fill();
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/?prefix=dir&max-keys=2", NULL, NULL),
                     200);
    assert_well_formed(&t);
    assert_body_has(&t, "<NextMarker>dir/2</NextMarker>");
    assert_body_has(&t, "<IsTruncated>true</IsTruncated>");
    assert_int_equal(count(&t, "<Contents>"), 2);
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/?prefix=dir&max-keys=2&marker=dir/2", NULL, NULL),
        200);
    assert_body_has(&t, "<IsTruncated>false</IsTruncated>");
    assert_body_has(&t, "<Key>dir2/x/y</Key>");
    assert_int_equal(count(&t, "<Contents>"), 1);
    assert_false(body_has(&t, "NextMarker"));
    toy_clear(&t);
}

static void a_marker_is_a_lower_bound_and_need_not_exist(void **state)
{
    struct toy t = {0};

    (void)state;
    fill();
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/?prefix=dir/&marker=A+no+key", NULL, NULL), 200);
    assert_int_equal(count(&t, "<Contents>"), 2);
    assert_body_has(&t, "<Marker>A no key</Marker>");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/?prefix=dir/&marker=dir/1", NULL, NULL),
                     200);
    assert_int_equal(count(&t, "<Contents>"), 1);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/?prefix=dir/&marker=x", NULL, NULL),
                     200);
    assert_int_equal(count(&t, "<Contents>"), 0);
    toy_clear(&t);
}

static void delimiters_roll_up_and_are_not_repeated_on_the_next_page(void **state)
{
    struct toy t = {0};

    (void)state;
    fill();
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/?delimiter=/&max-keys=3", NULL, NULL),
                     200);
    assert_well_formed(&t);
    assert_body_has(&t, "<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>");
    assert_body_has(&t, "<NextMarker>dir/</NextMarker>");
    assert_body_has(&t, "<Delimiter>/</Delimiter>");
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/?delimiter=/&max-keys=3&marker=dir/", NULL, NULL),
        200);
    assert_false(body_has(&t, "<Prefix>dir/</Prefix>"));
    assert_body_has(&t, "<Prefix>dir2/</Prefix>");
    toy_clear(&t);
}

static void version_two_pages_by_token(void **state)
{
    struct toy t = {0};
    char target[256], token[100];
    const char *p;
    unsigned seen = 0;

    (void)state;
    fill();
    (void)snprintf(target, sizeof(target), "/bucket/?list-type=2&max-keys=3&start-after=a");
    for (int page = 0; page < 3; page++) {
        assert_int_equal(request(&t, HTTP_METHOD_GET, target, NULL, NULL), 200);
        seen += count(&t, "<Contents>");
        p = strstr((const char *)t.got.ptr, "<NextContinuationToken>");
        if (p == NULL) {
            break;
        }
        assert_body_has(&t, "<KeyCount>3</KeyCount>");
        assert_int_equal(sscanf(p + 23, "%99[a-p]", token), 1);
        (void)snprintf(target, sizeof(target),
                       "/bucket/?list-type=2&max-keys=3&start-after=a&continuation-token=%s",
                       token);
    }
    assert_int_equal(seen, 7);
    assert_body_has(&t, "<IsTruncated>false</IsTruncated>");
    assert_body_has(&t, "<StartAfter>a</StartAfter>");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/?list-type=2&continuation-token=x", NULL, NULL);
    assert_error(&t, 400, "InvalidArgument");
    toy_clear(&t);
}

static void url_encoding_is_used_only_when_asked_for(void **state)
{
    struct toy t = {0};

    (void)state;
    fill();
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/?encoding-type=url&marker=a+%2B", NULL, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<EncodingType>url</EncodingType>");
    assert_body_has(&t, "<Marker>a%20%2B</Marker>");
    assert_body_has(&t, "<Key>e%01</Key>");
    assert_body_has(&t, "<Key>b%20%26</Key>");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/?encoding-type=base64", NULL, NULL);
    assert_error(&t, 400, "InvalidArgument");
    toy_clear(&t);
}

static void odd_limits_are_refused_or_cut_to_a_page(void **state)
{
    struct toy t = {0};

    (void)state;
    fill();
    (void)request(&t, HTTP_METHOD_GET, "/bucket/?max-keys=abc", NULL, NULL);
    assert_error(&t, 400, "InvalidArgument");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/?max-keys=-1", NULL, NULL);
    assert_error(&t, 400, "InvalidArgument");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/?max-keys=0", NULL, NULL), 200);
    assert_body_has(&t, "<IsTruncated>false</IsTruncated>");
    assert_int_equal(count(&t, "<Contents>"), 0);
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/?max-keys=18446744073709551615", NULL, NULL), 200);
    assert_body_has(&t, "<MaxKeys>1000</MaxKeys>");
    toy_clear(&t);
}

static void a_long_listing_does_not_fit_the_head_and_still_comes_whole(void **state)
{
    struct toy t = {0};
    char target[400];

    (void)state;
    for (int i = 0; i < 300; i++) {
        int n = snprintf(target, sizeof(target), "/bucket/long/%04d", i);
        memset(target + n, 'x', 200);
        target[n + 200] = '\0';
        put_text(target, "");
    }
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/?prefix=long/", NULL, NULL), 200);
    assert_true(t.got.len > 65536);
    assert_well_formed(&t);
    assert_int_equal(count(&t, "<Contents>"), 300);
    toy_clear(&t);
}

static void versions_are_listed_as_one_of_each_object(void **state)
{
    struct toy t = {0};

    (void)state;
    fill();
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket?versions&max-keys=3", NULL, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                        "<Name>bucket</Name><Prefix></Prefix><KeyMarker></KeyMarker>"
                        "<VersionIdMarker></VersionIdMarker><NextKeyMarker>dir/1</NextKeyMarker>"
                        "<NextVersionIdMarker>null</NextVersionIdMarker><MaxKeys>3</MaxKeys>"
                        "<IsTruncated>true</IsTruncated>"
                        "<Version><Key>a</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>"
                        "<LastModified>20");
    assert_body_has(&t, "<Size>1</Size><Owner><ID>zipkvserver</ID>");
    assert_int_equal(count(&t, "<Version>"), 3);
    assert_int_equal(count(&t, "</Version>"), 3);

    /* From there on, rolled up, encoded. */
    assert_int_equal(request(&t, HTTP_METHOD_GET,
                             "/bucket?versions&key-marker=b%20%26&version-id-marker=null"
                             "&delimiter=/&encoding-type=url",
                             NULL, NULL),
                     200);
    assert_well_formed(&t);
    assert_body_has(&t, "<KeyMarker>b%20%26</KeyMarker><VersionIdMarker>null</VersionIdMarker>");
    assert_body_has(&t, "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>");
    assert_body_has(&t, "<Key>%C3%A4</Key>");
    assert_int_equal(count(&t, "<Version>"), 3);
    assert_int_equal(count(&t, "<CommonPrefixes><Prefix>dir"), 2);
    assert_false(body_has(&t, "NextKeyMarker"));

    static const char *const bad[] = {"version-id-marker=null", "key-marker=a&version-id-marker=17",
                                      "max-keys=x", "encoding-type=base64"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char target[100];
        (void)snprintf(target, sizeof(target), "/bucket?versions&%s", bad[i]);
        (void)request(&t, HTTP_METHOD_GET, target, NULL, NULL);
        assert_error(&t, 400, "InvalidArgument");
    }
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_listing_says_all_of_each_object_in_byte_order),
        T(pages_continue_where_the_last_one_ended),
        T(a_marker_is_a_lower_bound_and_need_not_exist),
        T(delimiters_roll_up_and_are_not_repeated_on_the_next_page),
        T(version_two_pages_by_token),
        T(url_encoding_is_used_only_when_asked_for),
        T(odd_limits_are_refused_or_cut_to_a_page),
        T(versions_are_listed_as_one_of_each_object),
        T(a_long_listing_does_not_fit_the_head_and_still_comes_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
