/* One connection: a TCP handle around an http_conn; its bytes come and go by way of peer_io.c.
 *
 * OPEN -> CLOSING (peer_close) -> freed in on_closed, which libuv calls after the callbacks of all
 * writes. done() for a request that was cut short is called there too, never from inside
 * peer_close(): so whoever causes an ending finds everything still there.
 *
 * Everything that goes forward does so in peer_pump(): it feeds what was read, sends what the
 * connection wrote itself, ends answers. It runs from libuv's callbacks. What the handler asks
 * for from inside its own functions is seen by the pump that called it; what it asks for from
 * elsewhere (a job's completion) puts the peer on the list of those to be pumped in the loop's next
 * turn, before it waits.
 *
 * Reading is stopped late: the handle goes on reading while a request is handled, and only when
 * bytes come that nobody wants on_alloc() has no buffer for them and on_read() stops. So a request
 * costs no epoll_ctl.
 *
 * With TLS a connection begins with its handshake, in which http_conn is at rest and knows nothing
 * of it; the clock of heads runs from the first byte of it. */
#include "server/peer_set.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>

#include "base/log.h"
#include "http/http_limits.h"
#include "server/tls.h"
#include "server/tls_cert.h"

static const char *const method_names[] = {
    [HTTP_METHOD_GET] = "GET",   [HTTP_METHOD_HEAD] = "HEAD",     [HTTP_METHOD_PUT] = "PUT",
    [HTTP_METHOD_POST] = "POST", [HTTP_METHOD_DELETE] = "DELETE", [HTTP_METHOD_OPTIONS] = "OPTIONS",
};

static struct peer *peer_of(struct http_stream *stream)
{
    return container_of(stream, struct peer, stream);
}

/* ---- the stream that the handler sees ---- */

static void kick(struct peer *p)
{
    if (!p->pumping && !p->closing) {
        peers_make_ready(p->set, p);
    }
}

static void op_proceed(struct http_stream *stream)
{
    struct peer *p = peer_of(stream);
    if (!p->closing) {
        if (http_conn_proceed(&p->conn)) {
            peer_write_now(p, SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n"), slice_of(NULL, 0));
        }
        kick(p);
    }
}

/* Reading stops when bytes come that nobody wants: a client that has sent some does not wait, and
 * may not know what to do with a 102 (botocore takes it for the answer). */
static bool op_wait(struct http_stream *stream)
{
    struct peer *p = peer_of(stream);
    if (p->closing || !p->reading || peer_unread(p) > 0 || peer_tls_waits(p) ||
        !http_conn_owes_continue(&p->conn)) {
        return false;
    }
    if (peer_all_written(p)) { /* who has not taken the last word needs no other */
        peer_write_now(p, SLICE_LIT("HTTP/1.1 102 Processing\r\n\r\n"), slice_of(NULL, 0));
    }
    return !p->closing;
}

/* Reading may have stopped, or there may be bytes before the end: so the socket is asked. A client that
 * only shut down its sending looks the same. */
static bool op_gone(struct http_stream *stream)
{
    struct peer *p = peer_of(stream);
    struct pollfd fd = {.events = POLLRDHUP};
    if (p->closing || p->eof) {
        return true;
    }
    return uv_fileno((uv_handle_t *)&p->tcp, &fd.fd) == 0 && poll(&fd, 1, 0) > 0;
}

static void op_pause(struct http_stream *stream)
{
    http_conn_pause(&peer_of(stream)->conn);
}

static void op_resume(struct http_stream *stream)
{
    http_conn_resume(&peer_of(stream)->conn);
    kick(peer_of(stream));
}

static void op_respond(struct http_stream *stream, const struct http_response *response)
{
    struct peer *p = peer_of(stream);
    struct http_out out;
    if (p->closing) {
        return;
    }
    int err = http_conn_respond(&p->conn, response, &out);
    if (err < 0) {
        peer_close(p, zerr_str(err));
        return;
    }
    peer_write_now(p, out.head, out.body);
    kick(p);
}

static void op_send(struct http_stream *stream, struct http_send *send)
{
    struct peer *p = peer_of(stream);
    peer_send(p, send);
    kick(p);
}

static void op_cut(struct http_stream *stream)
{
    peer_close(peer_of(stream), "answer cannot be completed");
}

static void *op_hold(struct http_stream *stream)
{
    struct peer *p = peer_of(stream);
    struct readbuf *b = p->cur;
    assert(b != NULL);
    if (b->n_holds++ == 0) {
        ring_append(&p->held, &b->held);
        p->n_held++;
    }
    return b;
}

static void op_unhold(void *token)
{
    struct readbuf *b = token;
    struct peer *p = b->owner;
    assert(b->n_holds > 0);
    if (--b->n_holds == 0) {
        ring_remove(&b->held);
        if (p != NULL) {
            p->n_held--;
            kick(p);
        }
        readbuf_release(b);
    }
}

static const struct http_stream_ops stream_ops = {
    .proceed = op_proceed,
    .wait = op_wait,
    .gone = op_gone,
    .pause = op_pause,
    .resume = op_resume,
    .respond = op_respond,
    .send = op_send,
    .cut = op_cut,
    .hold = op_hold,
    .unhold = op_unhold,
};

/* ---- going forward ---- */

static void log_access(const struct peer *p)
{
    if (log_enabled(LOG_DEBUG)) {
        char target[300] = "\"\"";
        if (p->conn.open) {
            (void)log_quote(p->conn.req.target, target, sizeof(target));
        }
        log_debug("conn %u: %s %s %d %llu bytes %llu ms", p->number,
                  p->conn.open ? method_names[p->conn.req.method] : "-", target, p->conn.status,
                  (unsigned long long)p->n_answer,
                  (unsigned long long)(uv_now(p->set->loop) - p->started_at));
    }
}

/* Every byte of the answer is with the kernel. */
static void finish_answer(struct peer *p)
{
    log_access(p);
    http_conn_written(&p->conn);
    p->set->stat.bytes_out += p->n_answer;
    p->n_answer = 0;
    p->clock = PEER_CLOCK_NONE;
    ring_remove(&p->in_idle);
    if (p->conn.state == CONN_DRAIN) {
        p->lingering = true;
        p->last_read = uv_now(p->set->loop);
        peer_end_writing(p);
    }
}

/* One step; false: there is nothing to do. */
static bool step(struct peer *p)
{
    struct slice reply;
    peer_release_dropped(p);
    if (http_conn_take_reply(&p->conn, &reply)) {
        peer_write_now(p, reply, slice_of(NULL, 0));
        return true;
    }
    if (http_conn_answered(&p->conn) && peer_all_written(p)) {
        finish_answer(p);
        return true;
    }
    enum http_conn_state before = p->conn.state;
    bool was_open = p->conn.open;
    size_t n = peer_unread(p);
    struct slice in = slice_of(n > 0 ? p->cur->data + p->in_off : NULL, n);
    if (!was_open) {
        p->started_at = uv_now(p->set->loop);
    }
    size_t used = http_conn_feed(&p->conn, in);
    p->in_off += used;
    if (!was_open && p->conn.open) {
        p->set->stat.n_requests++;
        p->n_body = p->waited_ms = 0;
    }
    return used > 0 || p->conn.state != before || peer_fill(p);
}

static void count_head(struct peer *p, size_t n)
{
    struct peers *set = p->set;
    set->head_bytes = set->head_bytes - p->head_bytes + n;
    p->head_bytes = n;
    if (n > 0 && set->head_bytes > HTTP_PARTIAL_MAX) {
        for (struct ring *l = set->idle.next; l != &set->idle; l = l->next) {
            struct peer *other = container_of(l, struct peer, in_idle);
            if (other->head_bytes > 0 && other != p) {
                peer_close(other, "makes room for another head");
                break;
            }
        }
    }
}

/* Brings buffers, reading, clock and the list of idle ones in line with the state. */
static void settle(struct peer *p)
{
    if (p->cur != NULL && peer_unread(p) == 0 &&
        (p->cur->n_holds == 0 || p->conn.state != CONN_READ_BODY)) {
        peer_drop_current(p);
    }
    bool resting = p->conn.state == CONN_READ_HEAD || p->lingering;
    if (p->conn.state == CONN_DONE) {
        peer_close(p, "out of memory");
    } else if (p->eof && peer_unread(p) == 0 &&
               (resting || (p->conn.state == CONN_READ_BODY && http_conn_wants_input(&p->conn)))) {
        peer_close(p, "closed by the client");
    } else if (p->set->draining && p->conn.state == CONN_READ_HEAD) {
        peer_close(p, "the server stops");
    }
    if (p->closing) {
        return;
    }
    if (resting != ring_used(&p->in_idle)) {
        if (resting) {
            ring_append(&p->set->idle, &p->in_idle);
        } else {
            ring_remove(&p->in_idle);
        }
    }
    count_head(p, p->conn.partial.cap);
    enum peer_clock clock = peer_which_clock(p);
    if (clock != p->clock) {
        p->clock = clock;
        p->clock_since = uv_now(p->set->loop);
        p->waited_ms = 0;
    }
    if (!p->reading && peer_wants_read(p)) {
        peer_start_reading(p);
    }
}

void peer_pump(struct peer *p)
{
    ring_remove(&p->in_ready);
    assert(!p->pumping);
    p->pumping = true;
    while (!p->closing && step(p)) {
    }
    p->pumping = false;
    if (!p->closing) {
        settle(p);
    }
}

/* ---- life cycle ---- */

static void on_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;
    peer_release_dropped(p);
    http_conn_finish(&p->conn);
    tls_destroy(p->tls);
    peer_drop_current(p);
    while (ring_used(&p->held)) {
        struct readbuf *b = container_of(p->held.next, struct readbuf, held);
        ring_remove(&b->held);
        b->owner = NULL;
    }
    peers_remove(p->set, p);
}

void peer_close(struct peer *p, const char *reason)
{
    if (p->closing) {
        return;
    }
    log_debug("conn %u: closed in %s: %s", p->number, http_conn_state_name(p->conn.state), reason);
    p->closing = true;
    p->set->n_live--;
    p->set->stat.bytes_out += p->n_answer;
    ring_remove(&p->in_idle);
    peer_uncount_unsent(p, p->unsent);
    count_head(p, 0);
    if (!p->reset) {
        peer_say_goodbye(p);
    }
    if (!p->reset || uv_tcp_close_reset(&p->tcp, on_closed) < 0) {
        uv_close((uv_handle_t *)&p->tcp, on_closed);
    }
}

void peer_reset(struct peer *p, const char *reason)
{
    p->reset = true;
    peer_close(p, reason);
}

static void on_refused(uv_handle_t *handle)
{
    free(handle->data);
}

int peer_accept(struct peers *set, uv_stream_t *listener, bool *ret_accepted)
{
    struct peer *p = calloc(1, sizeof(*p));
    struct tls_cert *cert = set->config.tls_cert;
    if (p == NULL || set->draining) {
        free(p);
        return p == NULL ? ZERR_NOMEM : ZERR_CANCELED;
    }
    if (uv_tcp_init(set->loop, &p->tcp) < 0) {
        free(p);
        return ZERR_NOMEM;
    }
    p->tcp.data = p;
    int status = uv_accept(listener, (uv_stream_t *)&p->tcp);
    *ret_accepted = true;
    bool full = set->config.max_peers > 0 && set->n_live >= set->config.max_peers;
    int err = 0;
    if (status < 0) {
        err = ZERR_IO;
    } else if (full && !peers_close_idlest(set)) {
        err = ZERR_LIMIT;
    } else if (cert != NULL) {
        err = peer_begin_tls(p, tls_cert_context(cert));
    }
    if (err != 0) {
        uv_close((uv_handle_t *)&p->tcp, on_refused);
        return err;
    }
    p->set = set;
    p->number = ++set->next_number;
    p->stream.ops = &stream_ops;
    http_conn_init(&p->conn, &set->pool, set->handler, &p->stream);
    ring_init(&p->held);
    ring_init(&p->in_idle);
    ring_init(&p->in_unsent);
    ring_init(&p->in_ready);
    ring_append(&set->all, &p->in_all);
    set->n_peers++;
    set->n_live++;
    (void)uv_tcp_nodelay(&p->tcp, 1);
    peer_pump(p);
    return 0;
}
