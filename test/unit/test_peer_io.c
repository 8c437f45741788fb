/* What is different for a connection that speaks TLS; what is not is test_peer.c, which runs over TLS
 * too. */
#define RIG_TLS
#include "support/peer_rig.h"

#include "server/tls.h"

/* A connected socket without TLS on it. */
static int dial_plain(void)
{
    struct sockaddr_in addr;
    int len = sizeof(addr), fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(uv_tcp_getsockname(&fx.listener, (struct sockaddr *)&addr, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    wait_for(peers_count(fx.peers) == 1);
    return fd;
}

/* What comes until the connection ends. */
static size_t read_plain(int fd)
{
    size_t len = 0;
    for (uint64_t until = now_ms() + PATIENCE_MS;; turn()) {
        ssize_t n = read(fd, got + len, sizeof(got) - 1 - len);
        len += n > 0 ? (size_t)n : 0;
        if (n == 0) {
            break;
        }
        assert_true((n > 0 || errno == EAGAIN) && now_ms() < until);
    }
    got[len] = '\0';
    return len;
}

static void a_plain_request_is_told_that_tls_is_spoken(void **state)
{
    size_t large = 3 * MIB, len = strlen(PUT("/up", "3145728"));
    char *request = calloc(1, len + large);
    (void)state;
    assert_non_null(request);
    memcpy(request, PUT("/up", "3145728"), len);
    for (int i = 0; i < 3;
         i++) { /* whole, byte by byte, with a large body that is not read first */
        const char *data = i < 2 ? GET("/now") : request;
        size_t size = i < 2 ? strlen(data) : len + large, off = 0;
        start(NULL);
        int fd = dial_plain();
        for (uint64_t until = now_ms() + PATIENCE_MS; off < size; turn()) {
            ssize_t n = write(fd, data + off, i == 1 ? 1 : size - off);
            assert_true((n > 0 || errno == EAGAIN) && now_ms() < until);
            off += n > 0 ? (size_t)n : 0;
        }
        (void)read_plain(fd);
        assert_non_null(strstr(got, "HTTP/1.1 400 Bad Request\r\n"));
        assert_non_null(strstr(got, "Connection: close\r\n"));
        assert_non_null(strstr(got, "This port speaks TLS"));
        (close)(fd);
        stop();
        assert_int_equal(fx.toy.n_requests, 0);
    }
    free(request);
}

static void a_handshake_that_does_not_end_is_cut_like_a_head(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01";
    (void)state;
    for (size_t n = 0; n < 2; n++) {
        const struct peer_config config = {.head_ms = 200, .idle_ms = 1200, .sweep_ms = 10};
        start(&config);
        int fd = dial_plain();
        uint64_t began = now_ms();
        if (n > 0) {
            assert_int_equal(write(fd, hello, 6), 6);
        }
        assert_int_equal(read_plain(fd), 0);
        uint64_t took = now_ms() - began;
        assert_true(n == 0 ? took >= 1100 : took >= 190 && took < 1100);
        (close)(fd);
        stop();
    }
}

/* The record's head says 100 bytes. */
static void a_record_that_does_not_end_is_cut_like_a_head(void **state)
{
    const struct peer_config config = {.head_ms = 200, .idle_ms = 600000, .sweep_ms = 10};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, GET("/now"));
    expect_end(fd, "now");
    assert_int_equal(write(fd, "\x17\x03\x03\x00\x64half", 9), 9);
    wait_for(fx.peers->n_live == 0);
    close(fd);
    stop();
}

static void a_connection_at_rest_has_no_buffers(void **state)
{
    (void)state;
    start(NULL);
    int fd = dial(0);
    for (int i = 0; i < 3; i++) {
        send_text(fd, i == 1 ? GET("/async") : GET("/now"));
        expect_end(fd, i == 1 ? "async" : "now");
    }
    turn();
    const struct peer *p = first_peer();
    assert_null(p->cur);
    assert_null(tls_out(p->tls)->ptr);
    assert_false(tls_has_part(p->tls));
    assert_int_equal(fx.peers->readbufs.n_used, 0);
    close(fd);
    stop();
}

static void a_slow_reader_holds_what_is_in_flight_twice_at_most(void **state)
{
    (void)state;
    start(NULL);
    fx.toy.stream_size = 64 * MIB;
    int fd = dial(4096);
    send_text(fd, GET("/stream"));
    read_head(fd);
    run_for(300);
    const struct peer *p = first_peer();
    assert_true(p->unsent > 0);
    assert_true(p->unsent <= HTTP_SENDS_IN_FLIGHT * 2 * (PIECE + 200));
    assert_true(fx.toy.n_streamed < 16 * MIB);
    close(fd);
    wait_for(fx.toy.n_cut == 1);
    assert_int_equal(fx.peers->unsent, 0);
    stop();
}

static void certificates_change_under_connections(void **state)
{
    (void)state;
    start(NULL);
    int old = dial(0);
    send_text(old, GET("/now"));
    expect_end(old, "now");
    X509 *first = SSL_get1_peer_certificate(tls_clients[old]);
    assert_true(tls_pair_renew(&tls_files, TLS_PAIR_GOOD));
    run_for(1100);
    SSL_CTX_set_verify(tls_client_context, SSL_VERIFY_NONE, NULL);
    int fresh = dial(0);
    X509 *second = SSL_get1_peer_certificate(tls_clients[fresh]);
    assert_int_not_equal(X509_cmp(first, second), 0);
    send_text(fresh, GET("/now"));
    expect_end(fresh, "now");
    send_text(old, GET("/now"));
    expect_end(old, "now");
    X509_free(first);
    X509_free(second);
    close(old);
    close(fresh);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_is_told_that_tls_is_spoken),
        cmocka_unit_test(a_handshake_that_does_not_end_is_cut_like_a_head),
        cmocka_unit_test(a_record_that_does_not_end_is_cut_like_a_head),
        cmocka_unit_test(a_connection_at_rest_has_no_buffers),
        cmocka_unit_test(a_slow_reader_holds_what_is_in_flight_twice_at_most),
        cmocka_unit_test(certificates_change_under_connections),
    };
    return rig_run(tests);
}
