/* The HTTP connection without a socket: limits, answers, and the calls that its owner makes. What
 * it takes and refuses is in http/vectors.txt, see test_http_vectors.c. */
#include "support/http_rig.h"

#define H "Host: h\r\n"
#define BAD "!400 BadRequest drain"
#define CHUNKED(target) "PUT " target " HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"

static void feed_str(struct rig *r, const char *s)
{
    struct slice rest = feed(r, slice_str(s));
    assert_int_equal(rest.len, 0);
}

static void append_many(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_text(b, s);
    }
}

static void assert_verdict(const struct buf *in, size_t step, const char *expected)
{
    struct rig r;
    rig_init(&r);
    for (size_t i = 0; i < in->len; i += step) {
        size_t n = in->len - i < step ? in->len - i : step;
        assert_int_equal(feed(&r, slice_of(in->ptr + i, n)).len, 0);
    }
    assert_trace(&r, expected);
    rig_finish(&r);
}

static void a_head_of_the_limit_passes_and_one_byte_more_does_not(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf in = {0};
        put_text(&in, "GET /x HTTP/1.1\r\n" H "A: ");
        append_many(&in, "a", HTTP_HEAD_MAX + extra - in.len - 4);
        put_text(&in, "\r\n\r\n");
        assert_int_equal(in.len, HTTP_HEAD_MAX + extra);
        const char *expected =
            extra == 0 ? "GET /x 2h end 200 ok" : "!400 RequestHeaderSectionTooLarge drain";
        assert_verdict(&in, in.len, expected);
        assert_verdict(&in, 1, expected);
        assert_verdict(&in, 1000, expected);
        buf_finish(&in);
    }
}

static void a_request_line_without_end_is_refused_at_the_limit(void **state)
{
    struct buf in = {0};
    (void)state;
    put_text(&in, "GET /");
    append_many(&in, "a", HTTP_HEAD_MAX - in.len - 1);
    assert_verdict(&in, 777, "");
    put_text(&in, "a");
    assert_verdict(&in, 777, "!400 RequestHeaderSectionTooLarge drain");
    buf_finish(&in);
}

static void a_hundred_headers_pass_and_one_more_does_not(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf in = {0};
        put_text(&in, "GET /x HTTP/1.1\r\n" H);
        append_many(&in, "a: b\r\n", HTTP_HEADERS_MAX - 1 + extra);
        put_text(&in, "\r\n");
        const char *expected =
            extra == 0 ? "GET /x 100h end 200 ok" : "!400 RequestHeaderSectionTooLarge drain";
        assert_verdict(&in, in.len, expected);
        assert_verdict(&in, 1, expected);
        buf_finish(&in);
    }
}

static void a_chunk_extension_is_bounded(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf in = {0};
        put_text(&in, CHUNKED("/x") "1;");
        append_many(&in, "e", HTTP_CHUNK_EXT_MAX - 1 + extra);
        put_text(&in, "\r\na\r\n0\r\n\r\n");
        const char *expected =
            extra == 0 ? "PUT /x 2h chunked (a) end 200 ok" : "PUT /x 2h chunked cut " BAD;
        assert_verdict(&in, in.len, expected);
        assert_verdict(&in, 1, expected);
        buf_finish(&in);
    }
}

static void trailers_are_bounded(void **state)
{
    struct buf in = {0};
    (void)state;
    put_text(&in, CHUNKED("/x") "0\r\n");
    append_many(&in, "a: b\r\n", HTTP_TRAILER_MAX / 5 + 1);
    assert_verdict(&in, in.len, "PUT /x 2h chunked cut " BAD);
    assert_verdict(&in, 1, "PUT /x 2h chunked cut " BAD);
    buf_finish(&in);
}

static void every_printable_byte_but_the_hash_may_stand_in_a_target(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char in[64], expected[64];
        bool good = c > 0x20 && c < 0x7f && c != '#';
        int n = snprintf(in, sizeof(in), "GET /a%cb?%c HTTP/1.1\r\n" H "\r\n", c, c);
        (void)snprintf(expected, sizeof(expected), "GET /a%cb?%c 1h end 200 ok", c, c);
        struct buf b = {.ptr = (uint8_t *)in, .len = (size_t)n};
        assert_verdict(&b, b.len, good ? expected : BAD);
    }
}

static void control_bytes_are_refused_in_header_values(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char in[64];
        bool good = c == '\t' || (c >= 0x20 && c != 0x7f);
        int n = snprintf(in, sizeof(in), "GET /x HTTP/1.1\r\n" H "A: x%cy\r\n\r\n", c);
        struct buf b = {.ptr = (uint8_t *)in, .len = (size_t)n};
        assert_verdict(&b, b.len, good ? "GET /x 2h end 200 ok" : BAD);
    }
}

static void only_token_bytes_are_taken_in_header_names(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char in[64];
        bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    strchr("!#$%&'*+-.^_`|~:", c) != NULL;
        int n = snprintf(in, sizeof(in), "GET /x HTTP/1.1\r\n" H "A%cb: y\r\n\r\n", c);
        struct buf b = {.ptr = (uint8_t *)in, .len = (size_t)n};
        assert_verdict(&b, b.len, good ? "GET /x 2h end 200 ok" : BAD);
    }
}

/* The out buffer without its Date line, which must be there once. */
static const char *out_without_date(struct rig *r)
{
    assert_int_equal(buf_append(&r->out, "", 1), 0);
    char *date = strstr((char *)r->out.ptr, "Date: ");
    assert_non_null(date);
    char *next = strstr(date, "\r\n") + 2;
    assert_int_equal(next - date, 6 + TIME_HTTP_LEN + 2);
    memmove(date, next, strlen(next) + 1);
    return (const char *)r->out.ptr;
}

static void assert_answer(const char *in, const struct http_response *response,
                          const char *expected)
{
    struct rig r;
    rig_init(&r);
    r.response = response;
    feed_str(&r, in);
    assert_string_equal(out_without_date(&r), expected);
    rig_finish(&r);
}

#define GET_X "GET /x HTTP/1.1\r\n" H "\r\n"
#define SERVER "Server: zipkvserver\r\n"

static void an_answer_has_status_server_length_and_the_given_headers(void **state)
{
    const struct http_header headers[] = {
        {SLICE_LIT("ETag"), SLICE_LIT("\"e\"")},
        {SLICE_LIT("x-evil"), SLICE_LIT("a\r\nInjected: b")},
        {SLICE_LIT("x-nul"), SLICE_LIT("a\0b")},
        {SLICE_LIT("x\nname"), SLICE_LIT("a")},
        {SLICE_LIT("x-empty"), SLICE_LIT("")},
    };
    const struct http_response r = {.status = 404,
                                    .headers = headers,
                                    .n_headers = 5,
                                    .length = 12345,
                                    .body = SLICE_LIT("first part")};
    (void)state;
    assert_answer(GET_X, &r,
                  "HTTP/1.1 404 Not Found\r\n" SERVER
                  "Content-Length: 12345\r\nETag: \"e\"\r\nx-empty: \r\n\r\nfirst part");
}

static void answers_to_head_have_the_length_and_no_body(void **state)
{
    const struct http_response r = {.status = 200, .length = 7, .body = SLICE_LIT("ignored")};
    (void)state;
    assert_answer("HEAD /x HTTP/1.1\r\n" H "\r\n", &r,
                  "HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 7\r\n\r\n");
}

static void answers_204_and_304_have_neither_length_nor_body(void **state)
{
    const struct http_response none = {.status = 204, .length = 3, .body = SLICE_LIT("abc")};
    const struct http_response same = {.status = 304, .no_length = true, .length = 3};
    (void)state;
    assert_answer(GET_X, &none, "HTTP/1.1 204 No Content\r\n" SERVER "\r\n");
    assert_answer(GET_X, &same, "HTTP/1.1 304 Not Modified\r\n" SERVER "\r\n");
}

static void a_status_line_has_three_parts_even_for_unknown_codes(void **state)
{
    const struct http_response r = {.status = 499};
    (void)state;
    assert_answer(GET_X, &r, "HTTP/1.1 499 Error\r\n" SERVER "Content-Length: 0\r\n\r\n");
}

static void http_1_0_is_told_that_it_is_kept_alive(void **state)
{
    const struct http_response r = {.status = 200};
    (void)state;
    assert_answer("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &r,
                  "HTTP/1.1 200 OK\r\n" SERVER
                  "Connection: keep-alive\r\nContent-Length: 0\r\n\r\n");
}

static void a_refusal_is_an_xml_error_and_names_allowed_methods(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "CONNECT h:1 HTTP/1.1\r\n");
    assert_string_equal(
        out_without_date(&r),
        "HTTP/1.1 405 Method Not Allowed\r\n" SERVER
        "Connection: close\r\nContent-Length: 150\r\nContent-Type: application/xml\r\n"
        "Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n\r\n"
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>MethodNotAllowed</Code>"
        "<Message>The method is not allowed against this resource.</Message></Error>");
    rig_finish(&r);
}

static void nothing_is_read_before_proceed_and_while_paused(void **state)
{
    struct rig r;
    struct slice in = SLICE_LIT("PUT /hold HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nabcdGET");
    (void)state;
    rig_init(&r);
    in = feed(&r, in);
    assert_int_equal(in.len, 7);
    assert_false(http_conn_wants_input(&r.conn));
    http_conn_pause(&r.conn);
    go_on(&r);
    in = feed(&r, in);
    assert_int_equal(in.len, 7);
    assert_false(http_conn_wants_input(&r.conn));
    http_conn_resume(&r.conn);
    assert_true(http_conn_wants_input(&r.conn));
    assert_int_equal(http_conn_body_left(&r.conn), 4);
    in = feed(&r, slice_of(in.ptr, 2));
    assert_int_equal(in.len, 0);
    assert_int_equal(http_conn_body_left(&r.conn), 2);
    assert_trace(&r, "PUT /hold 2h len=4 (ab) read-body");
    rig_finish(&r);
}

static void end_waits_for_proceed_without_a_body_too(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "PUT /hold HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(r.conn.state, CONN_READ_BODY);
    go_on(&r);
    feed_str(&r, "");
    assert_trace(&r, "PUT /hold 3h len=0 expect 100 end 200 ok");
    rig_finish(&r);
}

static void a_streamed_answer_ends_with_its_last_announced_byte(void **state)
{
    const struct http_response response = {.status = 200, .length = 10, .body = SLICE_LIT("abc")};
    struct rig r;
    (void)state;
    rig_init(&r);
    r.response = &response;
    feed_str(&r, GET_X);
    assert_int_equal(r.conn.state, CONN_WRITE);
    assert_false(http_conn_answered(&r.conn));
    assert_int_equal(http_conn_count_send(&r.conn, 8), ZERR_INVALID);
    assert_int_equal(http_conn_count_send(&r.conn, 6), 0);
    assert_false(http_conn_answered(&r.conn));
    assert_int_equal(http_conn_count_send(&r.conn, 1), 0);
    assert_true(http_conn_answered(&r.conn));
    http_conn_written(&r.conn);
    assert_trace(&r, "GET /x 1h end 200 ok");
    rig_finish(&r);
}

static void a_second_answer_to_one_request_is_an_error(void **state)
{
    const struct http_response response = {.status = 200, .length = 10};
    struct http_out out;
    struct rig r;
    (void)state;
    rig_init(&r);
    r.response = &response;
    feed_str(&r, GET_X);
    assert_int_equal(http_conn_respond(&r.conn, &response, &out), ZERR_INVALID);
    rig_finish(&r);
}

static void a_connection_cut_in_a_request_tells_the_handler_once(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "PUT /x HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab");
    http_conn_finish(&r.conn);
    http_conn_finish(&r.conn);
    assert_trace(&r, "PUT /x 2h len=4 (ab) cut done");
    rig_finish(&r);
}

static void a_time_out_is_answered_with_408(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, "GET /x HT");
    http_conn_fail(&r.conn, HTTP_ERR_TIMEOUT);
    feed_str(&r, "TP/1.1\r\n");
    assert_trace(&r, "!408 RequestTimeout drain");
    rig_finish(&r);
    rig_init(&r);
    feed_str(&r, "PUT /x HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab");
    http_conn_fail(&r.conn, HTTP_ERR_TIMEOUT);
    feed_str(&r, "cd");
    assert_trace(&r, "PUT /x 2h len=4 (ab) cut !408 RequestTimeout drain");
    rig_finish(&r);
}

static void the_answer_after_close_soon_is_the_last(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r);
    feed_str(&r, GET_X);
    http_conn_close_soon(&r.conn);
    feed_str(&r, GET_X GET_X);
    assert_trace(&r, "GET /x 1h end 200 ok GET /x 1h end 200c ok drain");
    rig_finish(&r);
}

static void headers_are_found_without_regard_to_case(void **state)
{
    const struct http_header headers[] = {
        {SLICE_LIT("X-Amz-Meta-A"), SLICE_LIT("1")},
        {SLICE_LIT("x-amz-meta-a"), SLICE_LIT("2")},
    };
    const struct http_request req = {.headers = headers, .n_headers = 2};
    (void)state;
    assert_ptr_equal(http_request_header(&req, "x-AMZ-meta-a"), &headers[0].value);
    assert_null(http_request_header(&req, "x-amz-meta"));
    assert_null(http_request_header(&req, "x-amz-meta-ab"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_of_the_limit_passes_and_one_byte_more_does_not),
        cmocka_unit_test(a_request_line_without_end_is_refused_at_the_limit),
        cmocka_unit_test(a_hundred_headers_pass_and_one_more_does_not),
        cmocka_unit_test(a_chunk_extension_is_bounded),
        cmocka_unit_test(trailers_are_bounded),
        cmocka_unit_test(every_printable_byte_but_the_hash_may_stand_in_a_target),
        cmocka_unit_test(control_bytes_are_refused_in_header_values),
        cmocka_unit_test(only_token_bytes_are_taken_in_header_names),
        cmocka_unit_test(an_answer_has_status_server_length_and_the_given_headers),
        cmocka_unit_test(answers_to_head_have_the_length_and_no_body),
        cmocka_unit_test(answers_204_and_304_have_neither_length_nor_body),
        cmocka_unit_test(a_status_line_has_three_parts_even_for_unknown_codes),
        cmocka_unit_test(http_1_0_is_told_that_it_is_kept_alive),
        cmocka_unit_test(a_refusal_is_an_xml_error_and_names_allowed_methods),
        cmocka_unit_test(nothing_is_read_before_proceed_and_while_paused),
        cmocka_unit_test(end_waits_for_proceed_without_a_body_too),
        cmocka_unit_test(a_streamed_answer_ends_with_its_last_announced_byte),
        cmocka_unit_test(a_second_answer_to_one_request_is_an_error),
        cmocka_unit_test(a_connection_cut_in_a_request_tells_the_handler_once),
        cmocka_unit_test(a_time_out_is_answered_with_408),
        cmocka_unit_test(the_answer_after_close_soon_is_the_last),
        cmocka_unit_test(headers_are_found_without_regard_to_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
