/* Connections when there is no memory: each allocation of the server's side of a connection, from its
 * accept to its end, fails, once and from then on. A client gets its answer, a refusal or the end of
 * the connection, and when there is memory again the next one is served. With RIG_TLS over TLS, whose own
 * allocations test_fault_alloc_tls.c looks at. */
#include "support/peer_rig.h"

#include "support/fault_points.h"
#include "support/oom.h"

static uint64_t n_runs;

/* Sends what it can, reads what there is to its end or `last`. */
static void converse(const char *request, size_t n_body, const char *last)
{
    static char body[100000];
    size_t len = 0, n_last = strlen(last);
    int fd = dial(0);
    bool going = true;
#ifdef RIG_TLS
    going = SSL_is_init_finished(tls_clients[fd]) == 1;
#endif
    if (going && send_some(fd, request, strlen(request), 1000) == strlen(request)) {
        (void)send_some(fd, body, n_body, 1000);
    }
    for (uint64_t until = now_ms() + PATIENCE_MS; going; turn()) {
        ssize_t n = recv(fd, got + len, sizeof(got) - len, 0);
        assert_true(now_ms() < until);
        len += n > 0 ? (size_t)n : 0;
        going = n > 0 || (n < 0 && errno == EAGAIN);
        if (len >= n_last && memcmp(got + len - n_last, last, n_last) == 0) {
            break;
        }
    }
    close(fd);
}

static void work(void)
{
    converse(GET("/async"), 0, "async");
    converse(PUT("/up", "100000"), 100000, "end");
    converse("GET /now HTTP/1.1\r\nHo", 0, ""); /* and goes away */
}

static uint64_t one_run(uint64_t nth, enum fault_times times)
{
    const struct peer_config config = {.linger_quiet_ms = 20, .sweep_ms = 5};
    uint64_t live = oom_live();
    start(&config);
    fault_arm(OOM_OWN, nth, times, 1);
    work();
    uint64_t n = fault_disarm();
    int fd = dial(0);
    send_text(fd, GET("/now"));
    expect_end(fd, "now");
    close(fd);
    stop();
    assert_int_equal(oom_live(), live);
    n_runs++;
    return n;
}

static void without_memory_the_next_connection_is_served_when_there_is_some(void **state)
{
    (void)state;
    for (int times = 0; times < 2; times++) {
        uint64_t nth = 1;
        while (one_run(nth, times == 0 ? FAULT_ONCE : FAULT_FROM_THEN_ON) > 0) {
            nth++;
        }
        assert_true(nth > 8);
    }
    printf("%d runs\n", (int)n_runs);
}

/* Several at once: libuv takes the next off the listener only when somebody takes this one. */
static void those_that_cannot_be_accepted_are_closed_one_after_the_other(void **state)
{
    struct sockaddr_in addr;
    int fds[5], len = sizeof(addr);
    (void)state;
    start(NULL);
    assert_int_equal(uv_tcp_getsockname(&fx.listener, (struct sockaddr *)&addr, &len), 0);
    for (size_t i = 0; i < 5; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
        assert_int_equal(fcntl(fds[i], F_SETFL, O_NONBLOCK), 0);
    }
    fault_arm(OOM_OWN, 1, FAULT_FROM_THEN_ON, 1);
    for (size_t i = 0; i < 5; i++) {
        wait_for(read(fds[i], got, 1) == 0 || errno == ECONNRESET);
        (close)(fds[i]);
    }
    assert_true(fault_disarm() >= 5);
    assert_int_equal(peers_count(fx.peers), 0);
    int fd = dial(0);
    send_text(fd, GET("/now"));
    expect_end(fd, "now");
    close(fd);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_the_next_connection_is_served_when_there_is_some),
        cmocka_unit_test(those_that_cannot_be_accepted_are_closed_one_after_the_other),
    };
    oom_init();
    return rig_run(tests);
}
