/* Connections over real loopback sockets, with a toy handler behind them. Client and server share
 * one thread: the client's sockets do not block, and its helpers turn the loop while they wait.
 * Each test ends by closing the loop, which must find nothing left, and counting descriptors.
 * Included by one file of each test program; its main() is rig_run(). With RIG_TLS all of it is done
 * over TLS (tls_client.h). */
#ifndef ZKV_TEST_PEER_RIG_H
#define ZKV_TEST_PEER_RIG_H

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
#ifdef RIG_TLS
#include "support/tls_client.h"
#endif

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
 *   /wait     like /up, but told to wait first
 *   /long     asked again and again whether the client is gone, and then cut
 *   /big      BIG bytes with the head, forgotten at once */
struct toy {
    struct http_handler handler;
    uv_timer_t timer;
    struct http_stream *to_answer, *to_resume, *to_wait, *to_ask; /* when the timer fires */
    bool told;                                                    /* by wait() */
    unsigned n_asked;
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

static inline struct toy *toy_of(struct http_handler *h)
{
    return container_of(h, struct toy, handler);
}

static inline bool target_is(const struct toy *t, const char *target)
{
    return slice_eq_str(t->req->target, target);
}

static inline void answer(struct toy *t, struct http_stream *s, int status, const char *text)
{
    const struct http_response r = {
        .status = status, .length = strlen(text), .body = slice_str(text)};
    t->in_call = true;
    s->ops->respond(s, &r);
    t->in_call = false;
}

static inline void answer_big(struct http_stream *s)
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

static inline void release(struct http_send *send)
{
    (void)send;
    assert_false(fx.toy.in_call);
    fx.toy.n_released++;
    fx.toy.n_out--;
}

static inline void send_more(struct toy *t, struct http_stream *s)
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
        (s->ops->send)(s, send); /* not the one of RIG_TLS */
        t->in_call = false;
    }
}

static inline void unhold_all(struct toy *t)
{
    t->in_call = true;
    while (t->n_held > 0) {
        t->unhold(t->held[--t->n_held]);
    }
    t->in_call = false;
}

static inline void on_timer(uv_timer_t *timer)
{
    struct toy *t = timer->data;
    struct http_stream *to_answer = t->to_answer, *to_resume = t->to_resume, *to_wait = t->to_wait;
    t->to_answer = t->to_resume = t->to_wait = NULL;
    unhold_all(t);
    if (t->to_ask != NULL) { /* asks until it is so */
        t->in_call = true;
        if (t->to_ask->ops->gone(t->to_ask)) {
            t->to_ask->ops->cut(t->to_ask);
            t->to_ask = NULL;
        }
        t->in_call = false;
        t->n_asked++;
        if (t->to_ask != NULL) {
            assert_int_equal(uv_timer_start(timer, on_timer, 5, 0), 0);
        }
    }
    if (to_answer != NULL) {
        answer(t, to_answer, 200, "async");
    }
    if (to_wait != NULL) {
        t->in_call = true;
        t->told = to_wait->ops->wait(to_wait);
        to_wait->ops->proceed(to_wait);
        t->in_call = false;
    }
    if (to_resume != NULL) {
        t->in_call = true;
        to_resume->ops->resume(to_resume);
        t->in_call = false;
    }
}

static inline void later(struct toy *t, unsigned ms)
{
    assert_int_equal(uv_timer_start(&t->timer, on_timer, ms, 0), 0);
}

static inline void handle_request(struct http_handler *h, struct http_stream *s,
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
    } else if (target_is(t, "/long")) {
        t->to_ask = s;
        later(t, 5);
    } else if (target_is(t, "/wait")) {
        t->to_wait = s;
        later(t, 200);
    } else if (!target_is(t, "/never")) {
        if (target_is(t, "/pause")) {
            s->ops->pause(s);
            t->to_resume = s;
            later(t, 300);
        }
        s->ops->proceed(s);
    }
}

static inline void handle_body(struct http_handler *h, struct http_stream *s, struct slice data)
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

static inline void handle_end(struct http_handler *h, struct http_stream *s)
{
    toy_of(h)->n_ends++;
    answer(toy_of(h), s, 200, "end");
}

static inline void handle_sent(struct http_handler *h, struct http_stream *s)
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

static inline void handle_done(struct http_handler *h, struct http_stream *s, bool complete)
{
    struct toy *t = toy_of(h);
    assert_false(t->in_call);
    assert_true(s != t->to_answer && s != t->to_resume && s != t->to_wait);
    t->n_ok += complete ? 1 : 0;
    t->n_cut += complete ? 0 : 1;
}

/* ---- fixture ---- */

static inline unsigned count_fds(void)
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

static inline void on_connection(uv_stream_t *listener, int status)
{
    assert_int_equal(status, 0);
    fx.accept_error = peers_accept(fx.peers, listener);
}

static inline void start(const struct peer_config *config)
{
    struct sockaddr_in addr;
    struct peer_config with_tls = config != NULL ? *config : (struct peer_config){0};
#ifdef RIG_TLS
    with_tls.tls_cert = tls_served;
#endif
    fx = (struct fixture){.n_fds = count_fds()};
    fx.toy.handler =
        (struct http_handler){handle_request, handle_body, handle_end, handle_sent, handle_done};
    assert_int_equal(uv_loop_init(&fx.loop), 0);
    assert_int_equal(uv_timer_init(&fx.loop, &fx.toy.timer), 0);
    fx.toy.timer.data = &fx.toy;
    assert_int_equal(peers_create(&fx.loop, &fx.toy.handler, &with_tls, &fx.peers), 0);
    assert_int_equal(uv_tcp_init(&fx.loop, &fx.listener), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &addr), 0);
    assert_int_equal(uv_tcp_bind(&fx.listener, (const struct sockaddr *)&addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&fx.listener, 64, on_connection), 0);
}

static inline uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* One turn of the loop, and time for it to have something to do. */
static inline void turn(void)
{
    (void)uv_run(&fx.loop, UV_RUN_NOWAIT);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

#define wait_for(condition)                                                                        \
    for (uint64_t until = now_ms() + PATIENCE_MS; !(condition); turn())                            \
    assert_true(now_ms() < until)

static inline void run_for(unsigned ms)
{
    for (uint64_t until = now_ms() + ms; now_ms() < until;) {
        turn();
    }
}

static inline void handle_drained(void *data)
{
    assert_ptr_equal(data, &fx);
    assert_false(fx.drained);
    fx.drained = true;
}

/* All clients must have closed their ends. */
static inline void stop(void)
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

static inline const struct peer *first_peer(void)
{
    assert_true(peers_count(fx.peers) > 0);
    return container_of(fx.peers->all.next, struct peer, in_all);
}

/* ---- client ---- */

static inline int dial(int rcvbuf)
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
#ifdef RIG_TLS
    wait_for(tls_client_connect(fd) == 1 || errno != EAGAIN);
#endif
    return fd;
}

/* Returns how much went out; less than len only if the other end closed or took nothing for ms. */
static inline size_t send_some(int fd, const void *data, size_t len, unsigned ms)
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

static inline void send_text(int fd, const char *text)
{
    assert_int_equal(send_some(fd, text, strlen(text), PATIENCE_MS), strlen(text));
}

static char got[65536]; /* what a client has read last, NUL-terminated */

/* Reads until got ends with `end` or, with end NULL, until the connection is closed by a FIN. */
static inline void expect_end(int fd, const char *end)
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

static inline void expect_closed(int fd)
{
    expect_end(fd, NULL);
    assert_string_equal(got, "");
    close(fd);
}

static inline unsigned count(const char *what)
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

/* Byte by byte, so that what is read next is the body. */
static inline void read_head(int fd)
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

/* How a connection looks that ends where it should not: with TLS never like one that should. */
static inline bool is_cut(ssize_t n)
{
#ifdef RIG_TLS
    return n < 0 && errno == ECONNABORTED;
#else
    return n == 0;
#endif
}

/* Returns how much came before the end of the connection or of size; checks each byte. */
static inline uint64_t read_pattern(int fd, uint64_t size)
{
    static uint8_t part[30000];
    uint64_t off = 0;
    for (uint64_t until = now_ms() + PATIENCE_MS; off < size; turn()) {
        ssize_t n = recv(fd, part, sizeof(part), 0);
        if (is_cut(n)) {
            break;
        }
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        for (ssize_t i = 0; i < n; i++, off++) {
            assert_int_equal(part[i], pattern[off % 251]);
        }
        assert_true(fx.toy.n_out <= HTTP_SENDS_IN_FLIGHT && now_ms() < until);
    }
    return off;
}

/* False: it cannot be done. */
static inline bool rig_prepare(void)
{
    uv_loop_t warm; /* what libuv opens once in a process is not a leak */
    if (uv_loop_init(&warm) != 0 || uv_loop_close(&warm) != 0) {
        return false;
    }
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i % 251);
    }
#ifdef RIG_TLS
    return tls_client_prepare();
#else
    return true;
#endif
}

static inline void rig_finish(void)
{
#ifdef RIG_TLS
    tls_client_finish();
#endif
}

/* The exit code of the program. */
#define rig_run(tests)                                                                             \
    (rig_prepare() ? run_and_finish(cmocka_run_group_tests(tests, NULL, NULL)) : 1)
static inline int run_and_finish(int code)
{
    rig_finish();
    return code;
}

#endif
