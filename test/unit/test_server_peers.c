/* Time-outs, what all connections share, and the orderly stop. */
#include "support/peer_rig.h"

/* ---- time-outs ---- */

static void a_slow_head_is_answered_with_408(void **state)
{
    const struct peer_config config = {.head_ms = 100, .sweep_ms = 10};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, GET("/now") "GET /now HTTP/1.1\r\nHost");
    expect_end(fd, NULL);
    assert_int_equal(count("HTTP/1.1 200 OK\r\n"), 1);
    assert_int_equal(count("HTTP/1.1 408 Request Timeout\r\n"), 1);
    close(fd);
    stop();
}

static void a_slow_body_is_answered_with_408(void **state)
{
    const struct peer_config config = {.body_window_ms = 100, .sweep_ms = 10};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, PUT("/up", "100") "abc");
    expect_end(fd, NULL);
    assert_non_null(strstr(got, "HTTP/1.1 408 Request Timeout\r\n"));
    assert_non_null(strstr(got, "<Code>RequestTimeout</Code>"));
    close(fd);
    stop();
    assert_int_equal(fx.toy.n_cut, 1);
}

static void the_handlers_own_time_is_not_limited(void **state)
{
    const struct peer_config config = {
        .head_ms = 500, .idle_ms = 500, .body_window_ms = 20, .write_stall_ms = 20, .sweep_ms = 5};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, GET("/never")); /* with TLS its handshake, too, is within head_ms */
    run_for(1500);
    assert_int_equal(peers_count(fx.peers), 1);
    close(fd);
    peers_cut(fx.peers);
    stop();
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    const struct peer_config config = {.idle_ms = 400, .sweep_ms = 10};
    (void)state;
    start(&config);
    int fresh = dial(0), used = dial(0);
    send_text(used, GET("/now"));
    expect_end(used, "now");
    expect_closed(fresh);
    expect_closed(used);
    stop();
}

static void a_client_that_does_not_take_its_answer_is_cut(void **state)
{
    const struct peer_config config = {.write_stall_ms = 100, .sweep_ms = 10};
    (void)state;
    start(&config);
    fx.toy.stream_size = 64 * MIB;
    int fd = dial(4096);
    send_text(fd, GET("/stream"));
    wait_for(fx.toy.n_cut == 1);
    /* Nothing is left in the kernel either: the end is not waiting behind what nobody reads. */
    ssize_t n;
    while ((n = recv(fd, got, sizeof(got), 0)) > 0) {
    }
    assert_true(n < 0 && errno == ECONNRESET);
    close(fd);
    stop();
}

static void a_client_that_stays_after_the_last_answer_is_closed(void **state)
{
    const struct peer_config config = {.linger_quiet_ms = 50, .sweep_ms = 10};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, "GET /now HTTP/1.0\r\n\r\n");
    wait_for(fx.toy.n_ok == 1);
    wait_for(peers_count(fx.peers) == 0);
    close(fd);
    stop();
}

static void a_client_that_sends_for_ever_behind_the_last_answer_is_closed(void **state)
{
    const struct peer_config config = {.linger_quiet_ms = 10000, .linger_ms = 200, .sweep_ms = 10};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, PUT("/refuse", "1000000"));
    uint64_t began = now_ms();
    while (peers_count(fx.peers) > 0) {
        (void)send(fd, "x", 1, MSG_NOSIGNAL);
        turn();
        assert_true(now_ms() - began < PATIENCE_MS);
    }
    assert_true(now_ms() - began >= 150);
    close(fd);
    stop();
}

/* ---- all connections ---- */

static void at_the_limit_the_longest_idle_one_makes_room(void **state)
{
    const struct peer_config config = {.max_peers = 3};
    (void)state;
    start(&config);
    int busy = dial(0);
    send_text(busy, GET("/never"));
    int a = dial(0), b = dial(0);
    wait_for(fx.toy.n_requests == 1);
    send_text(a, GET("/now")); /* now b is idle for longer */
    expect_end(a, "now");
    int c = dial(0);
    expect_closed(b);
    send_text(a, GET("/never"));
    send_text(c, GET("/never"));
    wait_for(fx.toy.n_requests == 4);
    int refused = dial(0);
    assert_int_equal(fx.accept_error, ZERR_LIMIT);
    expect_closed(refused);
    assert_false(peers_close_idlest(fx.peers));
    close(a);
    close(c);
    close(busy);
    peers_cut(fx.peers);
    stop();
    assert_int_equal(fx.toy.n_cut, 3);
}

static void who_takes_nothing_is_cut_when_all_answers_are_too_much(void **state)
{
    const struct peer_config config = {.sweep_ms = 10};
    int slow[4];
    (void)state;
    start(&config);
    for (unsigned i = 0; i < 4; i++) {
        slow[i] = dial(4096);
        send_text(slow[i], GET("/big"));
        wait_for(fx.toy.n_requests == i + 1);
    }
    assert_true(fx.peers->unsent > HTTP_UNSENT_MAX);
    assert_int_equal(fx.toy.n_cut, 0); /* each may take its time */
    /* The last one takes some all the while, and gets everything. */
    uint64_t got_size = 0;
    read_head(slow[3]);
    for (uint64_t until = now_ms() + PATIENCE_MS;
         got_size < BIG || fx.peers->unsent > HTTP_UNSENT_MAX; turn()) {
        char part[1000];
        ssize_t n = recv(slow[3], part, sizeof(part), 0);
        assert_true((n > 0 || got_size == BIG || errno == EAGAIN) && now_ms() < until);
        got_size += n > 0 ? (size_t)n : 0;
    }
    wait_for(fx.toy.n_cut > 0);
    assert_true(fx.toy.n_cut < 3); /* no more of them than it takes */
    for (unsigned i = 0; i < 4; i++) {
        close(slow[i]);
    }
    stop();
}

static void answers_that_are_taken_leave_nothing_counted(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(4096);
    send_text(fd, GET("/big"));
    read_head(fd);
    assert_true(fx.peers->unsent > 0);
    assert_int_equal(read_pattern(fd, BIG), BIG);
    turn();
    assert_int_equal(fx.peers->unsent, 0);
    assert_false(ring_used(&fx.peers->unsent_first));
    close(fd);
    stop();
}

static void heads_that_do_not_end_are_bounded_together(void **state)
{
    enum { N = 2 * HTTP_PARTIAL_MAX / HTTP_HEAD_MAX };
    static char part[HTTP_HEAD_MAX - 100];
    static int fds[N];
    const struct peer_config config = {.head_ms = 600000}; /* it may take longer than a head may */
    (void)state;
    start(&config);
    memset(part, 'a', sizeof(part));
    memcpy(part, "GET /", 5);
    int idle = dial(0);
    for (size_t i = 0; i < N; i++) {
        fds[i] = dial(0);
        assert_int_equal(send_some(fds[i], part, sizeof(part), PATIENCE_MS), sizeof(part));
        turn();
        assert_true(fx.peers->head_bytes <= HTTP_PARTIAL_MAX);
    }
    wait_for(peers_count(fx.peers) < N);
    expect_closed(fds[0]);
    send_text(idle, GET("/now")); /* which had been there longer, but had no head begun */
    expect_end(idle, "now");
    close(idle);
    for (size_t i = 1; i < N; i++) {
        close(fds[i]);
    }
    stop();
}

static void an_orderly_stop_closes_idle_ones_and_lets_requests_finish(void **state)
{
    (void)state;
    start(NULL);
    int idle = dial(0), half = dial(0), busy = dial(0);
    send_text(half, "GET /now HT");
    send_text(busy, GET("/async"));
    wait_for(fx.toy.n_requests == 1);
    peers_drain(fx.peers, 10000, handle_drained, &fx);
    assert_false(fx.drained);
    expect_end(idle, NULL);
    expect_end(half, NULL);
    expect_end(busy, NULL);
    assert_non_null(strstr(got, "async"));
    assert_non_null(strstr(got, "Connection: close\r\n"));
    close(busy);
    wait_for(fx.drained);
    assert_int_equal(peers_count(fx.peers), 0);
    close(idle);
    close(half);
    stop();
    assert_int_equal(fx.toy.n_ok, 1);
}

static void an_orderly_stop_is_bounded(void **state)
{
    const struct peer_config config = {.sweep_ms = 10};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, GET("/never"));
    wait_for(fx.toy.n_requests == 1);
    peers_drain(fx.peers, 100, handle_drained, &fx);
    run_for(30);
    assert_false(fx.drained);
    wait_for(fx.drained);
    assert_int_equal(fx.toy.n_cut, 1);
    close(fd);
    stop();
}

static void an_orderly_stop_without_connections_is_told_from_the_loop(void **state)
{
    (void)state;
    start(NULL);
    peers_drain(fx.peers, 100, handle_drained, &fx);
    assert_false(fx.drained);
    turn();
    assert_true(fx.drained);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_head_is_answered_with_408),
        cmocka_unit_test(a_slow_body_is_answered_with_408),
        cmocka_unit_test(the_handlers_own_time_is_not_limited),
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(a_client_that_does_not_take_its_answer_is_cut),
        cmocka_unit_test(a_client_that_stays_after_the_last_answer_is_closed),
        cmocka_unit_test(a_client_that_sends_for_ever_behind_the_last_answer_is_closed),
        cmocka_unit_test(at_the_limit_the_longest_idle_one_makes_room),
        cmocka_unit_test(who_takes_nothing_is_cut_when_all_answers_are_too_much),
        cmocka_unit_test(answers_that_are_taken_leave_nothing_counted),
        cmocka_unit_test(heads_that_do_not_end_are_bounded_together),
        cmocka_unit_test(an_orderly_stop_closes_idle_ones_and_lets_requests_finish),
        cmocka_unit_test(an_orderly_stop_is_bounded),
        cmocka_unit_test(an_orderly_stop_without_connections_is_told_from_the_loop),
    };
    return rig_run(tests);
}
