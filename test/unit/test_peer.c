/* Connections over real loopback sockets, with a toy handler behind them. Client and server share
 * one thread: the client's sockets do not block, and its helpers turn the loop while they wait.
 * Each test ends by closing the loop, which must find nothing left, and counting descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/http_limits.h"
#include "server/peer_set.h"

#define PATIENCE_MS 20000
#define MAX_HELD 64
#define PIECE (48 * 1024)
#define BIG (6 * 1024 * 1024)

/* What a target means to the handler:
 *   /now      answered in request()          /async    answered a little later, from a timer
 *   /up       body held for a while, counted /never    never answered
 *   /refuse   403 in request()               /mid      403 with the first body bytes
 *   /pause    like /up, paused at the start  /stream   stream_size bytes by send()
 *   /cut      like /stream, cut in the middle
 *   /big      BIG bytes with the head, forgotten at once */
struct toy {
    struct http_handler handler;
    uv_timer_t timer;
    struct http_stream *to_answer, *to_resume; /* when the timer fires */
    const struct http_request *req;
    void (*unhold)(void *token);
    void *held[MAX_HELD];
    unsigned n_held, most_held;
    bool in_call; /* inside a call of a stream: nothing may call back */
    uint64_t n_body, body_sum, stream_size, n_streamed;
    struct http_send sends[HTTP_SENDS_IN_FLIGHT];
    unsigned n_out, n_released, n_sent, n_requests, n_ends, n_ok, n_cut;
};

static struct fixture {
    uv_loop_t loop;
    uv_tcp_t listener;
    struct peers *peers;
    struct toy toy;
    unsigned n_fds;
    int accept_error;
    bool drained;
} fx;

static uint8_t pattern[PIECE + 251];

static struct toy *toy_of(struct http_handler *h)
{
    return container_of(h, struct toy, handler);
}

static bool target_is(const struct toy *t, const char *target)
{
    return slice_eq_str(t->req->target, target);
}

static void answer(struct toy *t, struct http_stream *s, int status, const char *text)
{
    const struct http_response r = {
        .status = status, .length = strlen(text), .body = slice_str(text)};
    t->in_call = true;
    s->ops->respond(s, &r);
    t->in_call = false;
}

static void answer_big(struct http_stream *s)
{
    uint8_t *body = malloc(BIG);
    assert_non_null(body);
    for (size_t i = 0; i < BIG; i++) {
        body[i] = (uint8_t)(i % 251);
    }
    s->ops->respond(
        s, &(struct http_response){.status = 200, .length = BIG, .body = slice_of(body, BIG)});
    memset(body, 0xff, BIG);
    free(body);
}

static void release(struct http_send *send)
{
    (void)send;
    assert_false(fx.toy.in_call);
    fx.toy.n_released++;
    fx.toy.n_out--;
}

static void send_more(struct toy *t, struct http_stream *s)
{
    while (t->n_out < HTTP_SENDS_IN_FLIGHT && t->n_streamed < t->stream_size) {
        struct http_send *send = &t->sends[(t->n_released + t->n_out) % HTTP_SENDS_IN_FLIGHT];
        uint64_t left = t->stream_size - t->n_streamed;
        size_t n = left < PIECE ? (size_t)left : PIECE;
        *send = (struct http_send){.data = slice_of(pattern + t->n_streamed % 251, n),
                                   .release = release};
        t->n_out++;
        t->n_streamed += n;
        t->in_call = true;
        s->ops->send(s, send);
        t->in_call = false;
    }
}

static void unhold_all(struct toy *t)
{
    t->in_call = true;
    while (t->n_held > 0) {
        t->unhold(t->held[--t->n_held]);
    }
    t->in_call = false;
}

static void on_timer(uv_timer_t *timer)
{
    struct toy *t = timer->data;
    struct http_stream *to_answer = t->to_answer, *to_resume = t->to_resume;
    t->to_answer = t->to_resume = NULL;
    unhold_all(t);
    if (to_answer != NULL) {
        answer(t, to_answer, 200, "async");
    }
    if (to_resume != NULL) {
        t->in_call = true;
        to_resume->ops->resume(to_resume);
        t->in_call = false;
    }
}

static void later(struct toy *t, unsigned ms)
{
    assert_int_equal(uv_timer_start(&t->timer, on_timer, ms, 0), 0);
}

static void handle_request(struct http_handler *h, struct http_stream *s,
                           const struct http_request *req)
{
    struct toy *t = toy_of(h);
    assert_false(t->in_call);
    t->n_requests++;
    t->req = req;
    if (target_is(t, "/now")) {
        answer(t, s, 200, "now");
    } else if (target_is(t, "/refuse")) {
        answer(t, s, 403, "no");
    } else if (target_is(t, "/big")) {
        answer_big(s);
    } else if (target_is(t, "/async")) {
        t->to_answer = s;
        later(t, 5);
    } else if (target_is(t, "/stream") || target_is(t, "/cut")) {
        const struct http_response r = {.status = 200, .length = t->stream_size};
        t->n_streamed = 0;
        s->ops->respond(s, &r);
        send_more(t, s);
    } else if (!target_is(t, "/never")) {
        if (target_is(t, "/pause")) {
            s->ops->pause(s);
            t->to_resume = s;
            later(t, 300);
        }
        s->ops->proceed(s);
    }
}

static void handle_body(struct http_handler *h, struct http_stream *s, struct slice data)
{
    struct toy *t = toy_of(h);
    assert_false(t->in_call);
    for (size_t i = 0; i < data.len; i++) {
        t->body_sum = t->body_sum * 31 + data.ptr[i];
    }
    t->n_body += data.len;
    if (target_is(t, "/mid")) {
        answer(t, s, 403, "no");
    } else if (target_is(t, "/up")) {
        assert_true(t->n_held < MAX_HELD);
        t->unhold = s->ops->unhold;
        t->held[t->n_held++] = s->ops->hold(s);
        t->most_held = t->n_held > t->most_held ? t->n_held : t->most_held;
        if (!uv_is_active((uv_handle_t *)&t->timer)) {
            later(t, 1);
        }
    }
}

static void handle_end(struct http_handler *h, struct http_stream *s)
{
    toy_of(h)->n_ends++;
    answer(toy_of(h), s, 200, "end");
}

static void handle_sent(struct http_handler *h, struct http_stream *s)
{
    struct toy *t = toy_of(h);
    assert_false(t->in_call);
    t->n_sent++;
    if (target_is(t, "/cut") && t->n_streamed > t->stream_size / 2) {
        s->ops->cut(s);
        send_more(t, s); /* a call behind the end must be harmless */
        return;
    }
    send_more(t, s);
}

static void handle_done(struct http_handler *h, struct http_stream *s, bool complete)
{
    struct toy *t = toy_of(h);
    assert_false(t->in_call);
    assert_true(s != t->to_answer && s != t->to_resume);
    t->n_ok += complete ? 1 : 0;
    t->n_cut += complete ? 0 : 1;
}

/* ---- fixture ---- */

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

static void on_connection(uv_stream_t *listener, int status)
{
    assert_int_equal(status, 0);
    fx.accept_error = peers_accept(fx.peers, listener);
}

static void start(const struct peer_config *config)
{
    struct sockaddr_in addr;
    fx = (struct fixture){.n_fds = count_fds()};
    fx.toy.handler =
        (struct http_handler){handle_request, handle_body, handle_end, handle_sent, handle_done};
    assert_int_equal(uv_loop_init(&fx.loop), 0);
    assert_int_equal(uv_timer_init(&fx.loop, &fx.toy.timer), 0);
    fx.toy.timer.data = &fx.toy;
    assert_int_equal(peers_create(&fx.loop, &fx.toy.handler, config, &fx.peers), 0);
    assert_int_equal(uv_tcp_init(&fx.loop, &fx.listener), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &addr), 0);
    assert_int_equal(uv_tcp_bind(&fx.listener, (const struct sockaddr *)&addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&fx.listener, 64, on_connection), 0);
}

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* One turn of the loop, and time for it to have something to do. */
static void turn(void)
{
    (void)uv_run(&fx.loop, UV_RUN_NOWAIT);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

#define wait_for(condition)                                                                        \
    for (uint64_t until = now_ms() + PATIENCE_MS; !(condition); turn())                            \
    assert_true(now_ms() < until)

static void run_for(unsigned ms)
{
    for (uint64_t until = now_ms() + ms; now_ms() < until;) {
        turn();
    }
}

static void handle_drained(void *data)
{
    assert_ptr_equal(data, &fx);
    assert_false(fx.drained);
    fx.drained = true;
}

/* All clients must have closed their ends. */
static void stop(void)
{
    wait_for(peers_count(fx.peers) == 0 && fx.toy.n_held == 0);
    assert_int_equal(fx.peers->readbufs.n_used, 0);
    assert_int_equal(fx.toy.n_requests, fx.toy.n_ok + fx.toy.n_cut);
    assert_int_equal(fx.toy.n_out, 0);
    peers_destroy(fx.peers);
    uv_close((uv_handle_t *)&fx.listener, NULL);
    uv_close((uv_handle_t *)&fx.toy.timer, NULL);
    assert_int_equal(uv_run(&fx.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&fx.loop), 0);
    assert_int_equal(count_fds(), fx.n_fds);
}

static const struct peer *first_peer(void)
{
    assert_true(peers_count(fx.peers) > 0);
    return container_of(fx.peers->all.next, struct peer, in_all);
}

/* ---- client ---- */

static int dial(int rcvbuf)
{
    struct sockaddr_in addr;
    int len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    unsigned before = (unsigned)fx.peers->stat.n_accepted;
    assert_true(fd >= 0);
    if (rcvbuf > 0) {
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)), 0);
    }
    assert_int_equal(uv_tcp_getsockname(&fx.listener, (struct sockaddr *)&addr, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    fx.accept_error = 0;
    wait_for(fx.peers->stat.n_accepted > before || fx.accept_error != 0);
    return fd;
}

/* Returns how much went out; less than len only if the other end closed or took nothing for ms. */
static size_t send_some(int fd, const void *data, size_t len, unsigned ms)
{
    size_t done = 0;
    for (uint64_t last = now_ms(); done < len && now_ms() - last < ms;) {
        ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n > 0) {
            done += (size_t)n;
            last = now_ms();
        } else if (errno != EAGAIN) {
            break;
        }
        turn();
    }
    return done;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send_some(fd, text, strlen(text), PATIENCE_MS), strlen(text));
}

static char got[65536]; /* what a client has read last, NUL-terminated */

/* Reads until got ends with `end` or, with end NULL, until the connection is closed by a FIN. */
static void expect_end(int fd, const char *end)
{
    size_t len = 0;
    for (uint64_t until = now_ms() + PATIENCE_MS;; turn()) {
        ssize_t n = recv(fd, got + len, sizeof(got) - 1 - len, 0);
        assert_true(n >= 0 || errno == EAGAIN); /* never reset */
        len += n > 0 ? (size_t)n : 0;
        got[len] = '\0';
        if (end == NULL ? n == 0
                        : len >= strlen(end) && strcmp(got + len - strlen(end), end) == 0) {
            return;
        }
        assert_true(n != 0);
        assert_true(now_ms() < until);
    }
}

static void expect_closed(int fd)
{
    expect_end(fd, NULL);
    assert_string_equal(got, "");
    close(fd);
}

static unsigned count(const char *what)
{
    unsigned n = 0;
    for (const char *p = got; (p = strstr(p, what)) != NULL; p++) {
        n++;
    }
    return n;
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"
#define PUT(target, length)                                                                        \
    "PUT " target " HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n\r\n"
#define MIB (1024 * 1024)

/* ---- tests ---- */

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

/* Byte by byte, so that what is read next is the body. */
static void read_head(int fd)
{
    uint64_t until = now_ms() + PATIENCE_MS;
    for (size_t len = 0; len < 4 || memcmp(got + len - 4, "\r\n\r\n", 4) != 0;) {
        ssize_t n = recv(fd, got + len, 1, 0);
        assert_true(n == 1 || (n < 0 && errno == EAGAIN));
        len += n == 1 ? 1 : 0;
        assert_true(len < sizeof(got) && now_ms() < until);
        if (n != 1) {
            turn();
        }
    }
}

/* Returns how much came before the end of the connection or of size; checks each byte. */
static uint64_t read_pattern(int fd, uint64_t size)
{
    static uint8_t part[30000];
    uint64_t off = 0;
    for (uint64_t until = now_ms() + PATIENCE_MS; off < size; turn()) {
        ssize_t n = recv(fd, part, sizeof(part), 0);
        if (n == 0) {
            break;
        }
        assert_true(n > 0 || errno == EAGAIN);
        for (ssize_t i = 0; i < n; i++, off++) {
            assert_int_equal(part[i], pattern[off % 251]);
        }
        assert_true(fx.toy.n_out <= HTTP_SENDS_IN_FLIGHT && now_ms() < until);
    }
    return off;
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
        .head_ms = 20, .idle_ms = 20, .body_window_ms = 20, .write_stall_ms = 20, .sweep_ms = 5};
    (void)state;
    start(&config);
    int fd = dial(0);
    send_text(fd, GET("/never"));
    run_for(200);
    assert_int_equal(peers_count(fx.peers), 1);
    close(fd);
    peers_cut(fx.peers);
    stop();
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    const struct peer_config config = {.idle_ms = 100, .sweep_ms = 10};
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
        cmocka_unit_test(a_connection_serves_many_requests_and_rests_without_buffers),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(requests_sent_ahead_are_read_only_when_their_turn_comes),
        cmocka_unit_test(an_upload_arrives_whole_in_few_held_buffers),
        cmocka_unit_test(a_chunked_upload_arrives_whole),
        cmocka_unit_test(reading_stops_when_too_many_buffers_are_held),
        cmocka_unit_test(held_bytes_outlive_their_connection),
        cmocka_unit_test(a_paused_upload_is_not_read_and_its_clock_stands),
        cmocka_unit_test(an_interim_answer_is_exact_and_comes_before_the_body),
        cmocka_unit_test(a_refused_expectation_is_answered_and_closed),
        cmocka_unit_test(an_early_refusal_can_be_read_by_who_sends_the_whole_body_first),
        cmocka_unit_test(garbage_is_answered_and_closed),
        cmocka_unit_test(a_streamed_answer_reaches_a_slow_client_whole),
        cmocka_unit_test(an_answer_larger_than_the_socket_takes_is_copied_and_follows),
        cmocka_unit_test(an_answer_cut_short_never_ends_cleanly),
        cmocka_unit_test(a_client_that_goes_away_cuts_its_request),
        cmocka_unit_test(a_client_that_only_stops_sending_gets_its_answer),
        cmocka_unit_test(a_slow_head_is_answered_with_408),
        cmocka_unit_test(a_slow_body_is_answered_with_408),
        cmocka_unit_test(the_handlers_own_time_is_not_limited),
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(a_client_that_does_not_take_its_answer_is_cut),
        cmocka_unit_test(a_client_that_stays_after_the_last_answer_is_closed),
        cmocka_unit_test(a_client_that_sends_for_ever_behind_the_last_answer_is_closed),
        cmocka_unit_test(at_the_limit_the_longest_idle_one_makes_room),
        cmocka_unit_test(an_orderly_stop_closes_idle_ones_and_lets_requests_finish),
        cmocka_unit_test(an_orderly_stop_is_bounded),
        cmocka_unit_test(an_orderly_stop_without_connections_is_told_from_the_loop),
    };
    uv_loop_t warm; /* what libuv opens once in a process is not a leak */
    if (uv_loop_init(&warm) != 0 || uv_loop_close(&warm) != 0) {
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i % 251);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
