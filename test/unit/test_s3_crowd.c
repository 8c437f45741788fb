/* Bounds on what all requests together may pin: XML in memory, and streams. */
#include "support/s3_toy.h"

#include "s3/s3_exchange.h"

static void when_many_stream_each_has_one_piece_at_a_time(void **state)
{
    struct slice body = pattern(1 << 20);
    struct toy t = {0};

    (void)state;
    put_bytes("/bucket/large", body);
    s3->n_streams = S3_STREAMS_AHEAD;
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/large", NULL, NULL), 200);
    assert_int_equal(t.got.len, body.len);
    assert_memory_equal(t.got.ptr, body.ptr, body.len);
    assert_int_equal(t.max_sends, 1);
    assert_int_equal(s3->n_streams, S3_STREAMS_AHEAD);
    s3->n_streams = 0;
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

static void too_many_streams_are_told_to_come_later_and_small_objects_are_served(void **state)
{
    struct slice body = pattern(1 << 20);
    struct toy t = {0};

    (void)state;
    put_bytes("/bucket/large", body);
    put_text("/bucket/small", "small");
    s3->n_streams = S3_STREAMS_MAX;
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/large", NULL, NULL), 503);
    assert_error(&t, 503, "SlowDown");
    assert_header(&t, "Retry-After", S3_RETRY_AFTER);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/large", NULL, NULL), 200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/small", NULL, NULL), 200);
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/large", NULL, "Range", "bytes=0-99", NULL), 206);
    assert_int_equal(s3->n_streams, S3_STREAMS_MAX);
    s3->n_streams = 0;
    toy_clear(&t);
    free((void *)(uintptr_t)body.ptr);
}

static void too_much_xml_is_told_to_come_later(void **state)
{
    static const char XML[] = "<Delete><Object><Key>k</Key></Object></Delete>";
    struct toy t = {0};

    (void)state;
    put_text("/bucket/k", "there");
    s3->n_xml = S3_XML_TOTAL_MAX + 1;
    (void)request(&t, HTTP_METHOD_GET, "/bucket/", NULL, NULL);
    assert_error(&t, 503, "SlowDown");
    (void)request(&t, HTTP_METHOD_POST, "/bucket/?delete", XML, NULL);
    assert_error(&t, 503, "SlowDown");
    assert_true(t.refused_body);
    s3->n_xml = 0;
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    assert_int_equal(request(&t, HTTP_METHOD_POST, "/bucket/?delete", XML, NULL), 200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 404);
    toy_clear(&t);
}

/* What a request holds is counted while it is there, and given back however it ends. */
static void xml_is_counted_while_it_is_held(void **state)
{
    static char body[100000];
    struct toy t = {0};

    (void)state;
    memset(body, ' ', sizeof(body));
    toy_init(&t, HTTP_METHOD_POST, "/bucket/?delete");
    set_body(&t, slice_of(body, sizeof(body)));
    t.break_at = sizeof(body) / 2;
    begin(&t);
    uint64_t most = 0;
    while (step(&t)) {
        most = s3->n_xml > most ? s3->n_xml : most;
    }
    workers_inline_drain(&workers);
    assert_true(most >= sizeof(body) / 4);
    assert_true(t.done);
    assert_int_equal(s3->n_xml, 0);
    toy_clear(&t);
    for (int i = 0; i < 300; i++) {
        char target[700];
        (void)snprintf(target, sizeof(target), "/bucket/%0600d", i);
        put_text(target, "");
    }
    toy_init(&t, HTTP_METHOD_GET, "/bucket/");
    begin(&t);
    for (most = 0; step(&t);) {
        most = s3->n_xml > most ? s3->n_xml : most;
    }
    finish(&t);
    assert_int_equal(t.status, 200);
    assert_true(most >= t.length);
    assert_int_equal(s3->n_xml, 0);
    toy_clear(&t);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(when_many_stream_each_has_one_piece_at_a_time),
        T(too_many_streams_are_told_to_come_later_and_small_objects_are_served),
        T(too_much_xml_is_told_to_come_later),
        T(xml_is_counted_while_it_is_held),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
