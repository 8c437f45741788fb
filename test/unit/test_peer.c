/* One connection: requests, bodies both ways, and how it ends. */
#include "support/peer_rig.h"

static void a_connection_serves_many_requests_and_rests_without_buffers(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    for (int i = 0; i < 20; i++) {
        send_text(fd, i % 2 == 0 ? GET("/now") : GET("/async"));
        expect_end(fd, i % 2 == 0 ? "now" : "async");
        assert_int_equal(count("HTTP/1.1 200 OK\r\n"), 1);
    }
    turn();
    const struct peer *p = first_peer();
    assert_int_equal(fx.peers->readbufs.n_used, 0);
    assert_null(p->cur);
    assert_null(p->conn.mem);
    assert_null(p->conn.partial.ptr);
    struct peers_stat stat;
    peers_stat(fx.peers, &stat);
    assert_int_equal(stat.n_requests, 20);
    assert_int_equal(stat.n_open, 1);
    assert_int_equal(stat.n_busy, 0);
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 20);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd, GET("/now") GET("/async") PUT("/up", "3") "abc" GET("/async")
                      GET("/now") "GET /now HTTP/1.0\r\n\r\n");
    expect_end(fd, NULL);
    assert_int_equal(count("HTTP/1.1 200 OK\r\n"), 6);
    assert_int_equal(count("Connection: close\r\n"), 1);
    assert_true(strstr(got, "async") < strstr(got, "end"));
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 6);
}

static void requests_sent_ahead_are_read_only_when_their_turn_comes(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd, GET("/never"));
    wait_for(fx.toy.n_requests == 1);
    size_t len = 16 * MIB;
    char *flood = calloc(1, len);
    assert_non_null(flood);
    assert_true(send_some(fd, flood, len, 300) < len);
    assert_true(fx.peers->stat.bytes_in <= 2 * HTTP_READ_SMALL);
    free(flood);
    close(fd);
    peers_cut(fx.peers);
    stop();
    assert_int_equal(fx.toy.n_cut, 1);
}

static void upload(size_t len, const char *framing, const char *chunk_head, const char *chunk_end)
{
    char head[200];
    uint64_t sum = 0;
    uint8_t *body = malloc(len);
    assert_non_null(body);
    for (size_t i = 0; i < len; i++) {
        body[i] = (uint8_t)(i * 7 + i / 1000);
        sum = sum * 31 + body[i];
    }
    int fd = dial(0);
    (void)snprintf(head, sizeof(head), "PUT /up HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n%s", framing,
                   chunk_head);
    send_text(fd, head);
    assert_int_equal(send_some(fd, body, len, PATIENCE_MS), len);
    send_text(fd, chunk_end);
    expect_end(fd, "end");
    assert_int_equal(fx.toy.n_body, len);
    assert_true(fx.toy.body_sum == sum);
    assert_true(fx.toy.most_held >= 1);
    free(body);
    close(fd);
}

static void an_upload_arrives_whole_in_few_held_buffers(void **state)
{
    (void)state;
    start(NULL);
    upload(5 * MIB + 17, "Content-Length: 5242897", "", "");
    stop();
}

static void a_chunked_upload_arrives_whole(void **state)
{
    (void)state;
    start(NULL);
    upload(3 * MIB, "Transfer-Encoding: chunked", "300000\r\n", "\r\n0\r\n\r\n");
    stop();
}

static void reading_stops_when_too_many_buffers_are_held(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    char *body = calloc(1, 16 * MIB);
    assert_non_null(body);
    send_text(fd, PUT("/up", "16777216"));
    wait_for(fx.toy.n_requests == 1);
    /* The timer that gives the buffers back never fires: */
    assert_int_equal(uv_timer_start(&fx.toy.timer, on_timer, 1000000, 0), 0);
    size_t sent = send_some(fd, body, 16 * MIB, 300);
    assert_true(sent < 16 * MIB);
    assert_true(fx.toy.n_body <= HTTP_HELD_MAX * HTTP_READ_LARGE);
    assert_true(fx.toy.n_body >= (HTTP_HELD_MAX - 1) * (HTTP_READ_LARGE - HTTP_READ_TAIL));
    assert_int_equal(fx.peers->readbufs.n_used, HTTP_HELD_MAX);
    unhold_all(&fx.toy);
    (void)uv_timer_stop(&fx.toy.timer);
    assert_int_equal(send_some(fd, body + sent, 16 * MIB - sent, PATIENCE_MS), 16 * MIB - sent);
    expect_end(fd, "end");
    free(body);
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 1);
}

static void held_bytes_outlive_their_connection(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd, PUT("/up", "100") "abc");
    wait_for(fx.toy.n_held == 1);
    (void)uv_timer_stop(&fx.toy.timer);
    const struct readbuf *b = fx.toy.held[0];
    close(fd);
    wait_for(peers_count(fx.peers) == 0);
    assert_int_equal(fx.toy.n_cut, 1);
    assert_non_null(memmem(b->data, b->fill, "abc", 3));
    assert_int_equal(fx.peers->readbufs.n_used, 1);
    unhold_all(&fx.toy);
    stop();
}

static void a_paused_upload_is_not_read_and_its_clock_stands(void **state)
{
    const struct peer_config config = {.body_window_ms = 100, .sweep_ms = 10};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, PUT("/pause", "3") "abc");
    wait_for(fx.toy.n_requests == 1);
    run_for(200);
    assert_int_equal(fx.toy.n_body, 0);
    expect_end(fd, "end");
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 1);
}

static void an_interim_answer_is_exact_and_comes_before_the_body(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd,
              "PUT /up HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n");
    expect_end(fd, "\r\n\r\n");
    assert_string_equal(got, "HTTP/1.1 100 Continue\r\n\r\n");
    send_text(fd, "abc");
    expect_end(fd, "end");
    close(fd);
    stop();
}

/* More than one client takes a 102 for the answer if it does not wait for its 100. */
static void only_who_waits_for_his_100_is_told_to_be_patient(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd, "PUT /wait HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                  "Content-Length: 3\r\n\r\n");
    expect_end(fd, "Continue\r\n\r\n");
    assert_string_equal(got, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    assert_true(fx.toy.told);
    send_text(fd, "abc");
    expect_end(fd, "end");
    const char *const others[] = {
        "PUT /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
        "PUT /wait HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\na",
        "PUT /wait HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    };
    for (size_t i = 0; i < 3; i++) {
        send_text(fd, others[i]);
        uv_sleep(20);
        send_text(fd, i == 1 ? "bc" : "abc");
        expect_end(fd, "end");
        assert_false(fx.toy.told);
        assert_null(strstr(got, "102"));
    }
    close(fd);
    stop();
}

static void who_takes_no_word_is_told_no_other(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(4096);
    send_text(
        fd, "PUT /never HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    wait_for(fx.toy.n_requests == 1);
    const struct peer *p = first_peer();
    struct http_stream *stream = (struct http_stream *)(uintptr_t)&p->stream;
    for (int i = 0; i < 1000000 && p->n_writes == 0; i++) { /* until the socket is full */
        assert_true(stream->ops->wait(stream));
    }
    assert_int_equal(p->n_writes, 1);
    for (int i = 0; i < 100; i++) {
        assert_true(stream->ops->wait(stream));
    }
    assert_int_equal(p->n_writes, 1);
    assert_false(p->closing);
    close(fd);
    wait_for(fx.toy.n_cut == 1);
    stop();
}

static void a_refused_expectation_is_answered_and_closed(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd, "PUT /refuse HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                  "Content-Length: 3\r\n\r\n");
    expect_end(fd, NULL);
    assert_non_null(strstr(got, "HTTP/1.1 403 Forbidden\r\n"));
    assert_non_null(strstr(got, "Connection: close\r\n"));
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 1);
}

static void answered_while_the_body_flows(const char *head)
{
    start(NULL);
    int fd = dial(0);
    size_t len = 8 * MIB;
    char *body = calloc(1, len);
    assert_non_null(body);
    send_text(fd, head);
    assert_int_equal(send_some(fd, body, len, PATIENCE_MS), len);
    expect_end(fd, NULL);
    assert_non_null(strstr(got, "HTTP/1.1 403 Forbidden\r\n"));
    assert_non_null(strstr(got, "\r\n\r\nno"));
    free(body);
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 1);
    assert_int_equal(fx.toy.n_ends, 0);
}

static void an_early_refusal_can_be_read_by_who_sends_the_whole_body_first(void **state)
{
    (void)state;
    answered_while_the_body_flows(PUT("/refuse", "8388608"));
    answered_while_the_body_flows(PUT("/mid", "8388608"));
}

static void garbage_is_answered_and_closed(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd, "GET / HTTP/1.1\r\nHost : h\r\n\r\n and whatever comes behind it");
    expect_end(fd, NULL);
    assert_non_null(strstr(got, "HTTP/1.1 400 Bad Request\r\n"));
    assert_non_null(strstr(got, "<Error><Code>BadRequest</Code>"));
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_requests, 0);
}

static void a_streamed_answer_reaches_a_slow_client_whole(void **state)
{
    (void)state;
    start(NULL);
    fx.toy.stream_size = 6 * MIB + 5;
    int fd = dial(4096);
    send_text(fd, GET("/stream"));
    wait_for(fx.toy.n_requests == 1);
    run_for(20);
    assert_true(fx.toy.n_streamed < fx.toy.stream_size);
    read_head(fd);
    assert_int_equal(read_pattern(fd, fx.toy.stream_size), fx.toy.stream_size);
    send_text(fd, GET("/now"));
    expect_end(fd, "now");
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_released, fx.toy.n_sent);
    assert_int_equal(fx.toy.n_ok, 2);
}

static void an_answer_larger_than_the_socket_takes_is_copied_and_follows(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(4096);
    send_text(fd, GET("/big"));
    read_head(fd);
    assert_int_equal(read_pattern(fd, BIG), BIG);
    send_text(fd, GET("/now"));
    expect_end(fd, "now");
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 2);
}

static void an_answer_cut_short_never_ends_cleanly(void **state)
{
    (void)state;
    start(NULL);
    fx.toy.stream_size = 16 * MIB;
    int fd = dial(0);
    send_text(fd, GET("/cut"));
    read_head(fd);
    uint64_t n = read_pattern(fd, fx.toy.stream_size);
    assert_true(n > 0 && n < fx.toy.stream_size);
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_cut, 1);
    assert_int_equal(fx.toy.n_ok, 0);
}

static void a_client_that_goes_away_cuts_its_request(void **state)
{
    (void)state;
    start(NULL);
    fx.toy.stream_size = 64 * MIB;
    int up = dial(0);
    send_text(up, PUT("/up", "100") "abc");
    int down = dial(4096);
    send_text(down, GET("/stream"));
    wait_for(fx.toy.n_requests == 2 && fx.toy.n_body == 3);
    close(up);
    wait_for(fx.toy.n_cut == 1);
    close(down);
    wait_for(fx.toy.n_cut == 2);
    stop();
    assert_int_equal(fx.toy.n_ends, 0);
}

static void a_client_that_only_stops_sending_gets_its_answer(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    send_text(fd, GET("/async") GET("/async"));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    expect_end(fd, NULL);
    assert_int_equal(count("async"), 2);
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_ok, 2);
}

/* Nothing is read any more when bytes have come that nobody wants, and so the end is not seen. */
static void whether_a_client_is_gone_can_be_asked(void **state)
{
    static const char *const behind[] = {GET("/long"), GET("/long") GET("/now"),
                                         GET("/long") "\1\2"};
    (void)state;
    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        start(NULL);
        int fd = dial(0);
        send_text(fd, behind[i]);
        run_for(100);
        assert_in_range(fx.toy.n_asked, 2, UINT_MAX);
        assert_non_null(fx.toy.to_ask); /* it is still there */
        assert_int_equal(peers_count(fx.peers), 1);
        close(fd);
        for (unsigned n = 0; n < 200 && peers_count(fx.peers) > 0; n++) {
            run_for(10);
        }
        assert_null(fx.toy.to_ask);
        assert_int_equal(peers_count(fx.peers), 0);
        stop();
        assert_int_equal(fx.toy.n_ok, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_serves_many_requests_and_rests_without_buffers),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(requests_sent_ahead_are_read_only_when_their_turn_comes),
        cmocka_unit_test(an_upload_arrives_whole_in_few_held_buffers),
        cmocka_unit_test(a_chunked_upload_arrives_whole),
        cmocka_unit_test(reading_stops_when_too_many_buffers_are_held),
        cmocka_unit_test(held_bytes_outlive_their_connection),
        cmocka_unit_test(a_paused_upload_is_not_read_and_its_clock_stands),
        cmocka_unit_test(an_interim_answer_is_exact_and_comes_before_the_body),
        cmocka_unit_test(only_who_waits_for_his_100_is_told_to_be_patient),
        cmocka_unit_test(who_takes_no_word_is_told_no_other),
        cmocka_unit_test(a_refused_expectation_is_answered_and_closed),
        cmocka_unit_test(an_early_refusal_can_be_read_by_who_sends_the_whole_body_first),
        cmocka_unit_test(garbage_is_answered_and_closed),
        cmocka_unit_test(a_streamed_answer_reaches_a_slow_client_whole),
        cmocka_unit_test(an_answer_larger_than_the_socket_takes_is_copied_and_follows),
        cmocka_unit_test(an_answer_cut_short_never_ends_cleanly),
        cmocka_unit_test(a_client_that_goes_away_cuts_its_request),
        cmocka_unit_test(a_client_that_only_stops_sending_gets_its_answer),
        cmocka_unit_test(whether_a_client_is_gone_can_be_asked),
    };
    return rig_run(tests);
}
