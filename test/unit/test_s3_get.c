/* GetObject and HeadObject: streaming, ranges, conditions, damage. */
#include "support/s3_toy.h"

static void an_object_is_stored_and_comes_back_with_all_its_headers(void **state)
{
    static const char META[] = "a  \"b\"'\\<>|`%20";
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/k", "hello", "x-amz-meta-000", META,
                             "x-amz-meta-md5", "XUFAKrxLKna5cZ2REBfFkg==", "Content-Type",
                             "application/octet-stream", "Content-Encoding", "aws-chunked,gzip",
                             "Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==", NULL),
                     200);
    assert_int_equal(t.length, 0);
    assert_header(&t, "ETag", "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_true(t.proceeded);

    for (int head = 0; head < 2; head++) {
        assert_int_equal(
            request(&t, head ? HTTP_METHOD_HEAD : HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
        assert_int_equal(t.length, 5);
        assert_header(&t, "ETag", "\"5d41402abc4b2a76b9719d911017c592\"");
        assert_header(&t, "x-amz-meta-000", META);
        assert_header(&t, "x-amz-meta-md5", "XUFAKrxLKna5cZ2REBfFkg==");
        assert_header(&t, "Content-Type", "application/octet-stream");
        assert_header(&t, "Content-Encoding", "gzip");
        assert_header(&t, "Accept-Ranges", "bytes");
        assert_non_null(strstr((const char *)t.head.ptr, "Last-Modified: "));
        assert_non_null(strstr((const char *)t.head.ptr, "x-amz-request-id: "));
        assert_string_equal((const char *)t.got.ptr, head ? "" : "hello");
    }
    toy_clear(&t);
}

static void an_empty_object_has_the_default_type(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/empty", "");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/empty", NULL, NULL), 200);
    assert_int_equal(t.length, 0);
    assert_header(&t, "Content-Type", "binary/octet-stream");
    assert_header(&t, "ETag", "\"d41d8cd98f00b204e9800998ecf8427e\"");
    toy_clear(&t);
}

static void a_large_object_streams_both_ways_within_its_bounds(void **state)
{
    struct slice body = pattern(3 * (1 << 20) + 12345);
    struct toy t = {0};

    (void)state;
    put_bytes("/bucket/large", body);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/large", NULL, NULL), 200);
    assert_int_equal(t.got.len, body.len);
    assert_memory_equal(t.got.ptr, body.ptr, body.len);
    assert_int_equal(t.max_sends, HTTP_SENDS_IN_FLIGHT);
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

static void ranges_give_their_bytes_and_nothing_else(void **state)
{
    static const struct {
        const char *range;
        size_t off, len;
    } cases[] = {
        {"bytes=0-0", 0, 1},
        {"bytes=65535-65536", 65535, 2},
        {"bytes=-10", 399990, 10},
        {"bytes=399999-", 399999, 1},
        {"bytes=70000-370000", 70000, 300001},
        {"bytes=0-999999999", 0, 400000},
    };
    struct slice body = pattern(400000);
    struct toy t = {0};

    (void)state;
    put_bytes("/bucket/ranged", body);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char value[80];
        (void)snprintf(value, sizeof(value), "bytes %zu-%zu/400000", cases[i].off,
                       cases[i].off + cases[i].len - 1);
        assert_int_equal(
            request(&t, HTTP_METHOD_GET, "/bucket/ranged", NULL, "Range", cases[i].range, NULL),
            206);
        assert_header(&t, "Content-Range", value);
        assert_int_equal(t.got.len, cases[i].len);
        assert_memory_equal(t.got.ptr, body.ptr + cases[i].off, cases[i].len);
    }
    assert_int_equal(
        request(&t, HTTP_METHOD_HEAD, "/bucket/ranged", NULL, "Range", "bytes=1-2", NULL), 206);
    assert_int_equal(t.length, 2);
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/ranged", NULL, "Range", "bytes=0-1,5-6", NULL), 200);
    assert_int_equal(t.length, 400000);
    (void)request(&t, HTTP_METHOD_GET, "/bucket/ranged", NULL, "Range", "bytes=400000-", NULL);
    assert_error(&t, 416, "InvalidRange");
    assert_header(&t, "Content-Range", "bytes */400000");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/ranged", NULL, "Range",
                  "bytes=18446744073709551615-", NULL);
    assert_int_equal(t.status, 416);
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

static void if_range_decides_between_the_part_and_the_whole(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "Range", "bytes=0-1",
                             "If-Range", "\"5d41402abc4b2a76b9719d911017c592\"", NULL),
                     206);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "Range", "bytes=0-1",
                             "If-Range", "\"another\"", NULL),
                     200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    toy_clear(&t);
}

static void conditions_on_reading_hold(void **state)
{
    static const char TAG[] = "\"5d41402abc4b2a76b9719d911017c592\"";
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "hello");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "If-Match", TAG, NULL), 200);
    (void)request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "If-Match", "\"x\"", NULL);
    assert_error(&t, 412, "PreconditionFailed");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "If-None-Match", TAG, NULL),
                     304);
    assert_true(t.no_length);
    assert_header(&t, "ETag", TAG);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/k", NULL, "If-Modified-Since",
                             "Fri, 31 Dec 9999 00:00:00 GMT", NULL),
                     304);
    toy_clear(&t);
}

static void damage_found_before_the_head_is_no_such_key(void **state)
{
    struct toy t = {0};

    (void)state;
    put_text("/bucket/hurt", "some bytes that will be found again");
    damage_on_disk(SLICE_LIT("some bytes that will be found again"), 5);
    (void)request(&t, HTTP_METHOD_GET, "/bucket/hurt", NULL, NULL);
    assert_error(&t, 404, "NoSuchKey");
    assert_body_has(&t, "damaged");
    assert_body_has(&t, "zipkvverify");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/hurt", NULL, NULL), 404);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/", NULL, NULL), 200);
    assert_false(body_has(&t, "hurt"));
    toy_clear(&t);
}

static void damage_found_behind_the_head_cuts_the_connection(void **state)
{
    struct slice body = pattern(1000000);
    struct toy t = {0};

    (void)state;
    put_bytes("/bucket/deep", body);
    damage_on_disk(slice_of(body.ptr, 600000), 599999);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/deep", NULL, NULL), 200);
    assert_true(t.cut);
    assert_true(t.got.len < body.len);
    assert_memory_equal(t.got.ptr, body.ptr, t.got.len);
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

static void the_query_may_set_headers_of_the_answer(void **state)
{
    static const char *const bad[] = {"response-content-type=a%0d%0aX-Evil:%20b",
                                      "response-expires=%01", "response-cache-control=%7f"};
    struct toy t = {0};
    char target[100];

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/k", "hello", "Content-Type",
                             "text/plain", "Content-Language", "de", NULL),
                     200);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            request(&t, i == 0 ? HTTP_METHOD_GET : HTTP_METHOD_HEAD,
                    "/bucket/k?response-content-type=image/png&response-cache-control=no-cache"
                    "&response-content-disposition=attachment%3B%20filename%3D%22a+b%22"
                    "&response-content-encoding=identity&response-expires=0",
                    NULL, NULL),
            200);
        assert_header(&t, "Content-Type", "image/png");
        assert_header(&t, "Cache-Control", "no-cache");
        assert_header(&t, "Content-Disposition", "attachment; filename=\"a b\"");
        assert_header(&t, "Content-Encoding", "identity");
        assert_header(&t, "Content-Language", "de");
        assert_header(&t, "Expires", "0");
        assert_null(strstr((const char *)t.head.ptr, "text/plain"));
        assert_string_equal((const char *)t.got.ptr, i == 0 ? "hello" : "");
    }
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/k?response-content-language=", NULL, NULL), 200);
    assert_header(&t, "Content-Type", "text/plain"); /* the object itself is as it was */
    assert_header(&t, "Content-Language", "de");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(target, sizeof(target), "/bucket/k?%s", bad[i]);
        (void)request(&t, HTTP_METHOD_GET, target, NULL, NULL);
        assert_error(&t, 400, "InvalidArgument");
    }
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_object_is_stored_and_comes_back_with_all_its_headers),
        T(an_empty_object_has_the_default_type),
        T(a_large_object_streams_both_ways_within_its_bounds),
        T(ranges_give_their_bytes_and_nothing_else),
        T(if_range_decides_between_the_part_and_the_whole),
        T(conditions_on_reading_hold),
        T(the_query_may_set_headers_of_the_answer),
        T(damage_found_before_the_head_is_no_such_key),
        T(damage_found_behind_the_head_cuts_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
