/* Between a connection and its socket, plain or through TLS (tls.h).
 *
 * Plain, libuv reads into the buffer that the handler gets to hold, and writes from memory that
 * the request or the handler owns until the write is done.
 *
 * With TLS libuv is only asked when there is something to read: on_alloc() has no buffer for it, so
 * it calls on_read(UV_ENOBUFS), and peer_fill() lets OpenSSL read from the socket itself, right into
 * its own buffer. It is called by peer_pump() whenever bytes are wanted, until TLS has no more: bytes
 * that it has decrypted or read ahead never make the socket readable. What is to be sent is encrypted
 * at once and goes out as far as the socket takes it; what is left becomes a write that owns its
 * buffer. What TLS says by itself waits in tls_out() while a write is on its way (peer_flush). A
 * send is always a write of its own, so that it ends like a plain one. At most the sends in flight are
 * in memory twice, encrypted and not; both count as unsent. */
#include "server/peer_set.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#include "base/log.h"
#include "http/http_limits.h"
#include "server/tls.h"

/* TLS answers some messages by itself; who makes it do so and never takes the answers is cut. */
#define TLS_CHATTER_MAX (64 * 1024)
#define TLS_STEP (64 * 1024) /* of an answer, encrypted before the socket gets it */

/* ---- reading ---- */

size_t peer_unread(const struct peer *p)
{
    return p->cur != NULL ? p->cur->fill - p->in_off : 0;
}

/* A held buffer is read into again behind what it has, while that is worth a system call. */
static bool has_tail(const struct readbuf *b)
{
    return b->cap - b->fill >= (b->cap == HTTP_READ_SMALL ? HTTP_READ_SMALL / 16 : HTTP_READ_TAIL);
}

bool peer_wants_read(const struct peer *p)
{
    return !p->closing && !p->eof && peer_unread(p) == 0 && http_conn_wants_input(&p->conn) &&
           (p->n_held < HTTP_HELD_MAX || (p->cur != NULL && has_tail(p->cur)));
}

void peer_drop_current(struct peer *p)
{
    if (p->cur != NULL) {
        p->cur->current = false;
        readbuf_release(p->cur);
        p->cur = NULL;
        p->in_off = 0;
    }
}

/* Where the next bytes go; empty: out of memory. */
static uv_buf_t make_room(struct peer *p)
{
    uint64_t body = p->conn.state == CONN_READ_BODY ? http_conn_body_left(&p->conn) : 0;
    size_t want = body > HTTP_READ_SMALL ? HTTP_READ_LARGE : HTTP_READ_SMALL;
    if (p->cur != NULL && p->cur->n_holds > 0 ? !has_tail(p->cur)
                                              : p->cur != NULL && p->cur->cap < want) {
        peer_drop_current(p);
    }
    if (p->cur == NULL) {
        p->cur = readbuf_take(&p->set->readbufs, want, p);
        if (p->cur == NULL) {
            return uv_buf_init(NULL, 0);
        }
    }
    if (p->cur->n_holds == 0) {
        p->cur->fill = 0;
    }
    p->in_off = p->cur->fill;
    return uv_buf_init((char *)p->cur->data + p->cur->fill, (unsigned)(p->cur->cap - p->cur->fill));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer *p = handle->data;
    (void)suggested;
    *buf = p->tls == NULL && peer_wants_read(p) ? make_room(p) : uv_buf_init(NULL, 0);
}

static void count_read(struct peer *p, size_t n)
{
    p->cur->fill += n;
    p->last_read = uv_now(p->set->loop);
    p->set->stat.bytes_in += n;
    if (p->conn.state == CONN_READ_BODY) {
        p->n_body += n;
    } else if (p->conn.state == CONN_DRAIN) {
        p->n_drained += n;
        if (p->n_drained > HTTP_LINGER_MAX) {
            peer_close(p, "sends on and on behind a refusal");
        }
    }
}

static void stop_reading(struct peer *p)
{
    (void)uv_read_stop((uv_stream_t *)&p->tcp);
    p->reading = false;
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer *p = stream->data;
    (void)buf;
    if (nread > 0) {
        count_read(p, (size_t)nread);
    } else if (nread == UV_ENOBUFS && !peer_wants_read(p)) {
        stop_reading(p);
        return;
    } else if (nread == UV_ENOBUFS && p->tls != NULL) {
        tls_notice(p->tls);
    } else if (nread == UV_EOF) {
        p->eof = true;
        p->reading = false;
    } else if (nread < 0) {
        peer_close(p, uv_strerror((int)nread));
    }
    peer_pump(p);
}

void peer_start_reading(struct peer *p)
{
    p->reading = true;
    int status = uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
    if (status < 0) {
        peer_close(p, uv_strerror(status));
    }
}

/* ---- reading with TLS ---- */

static ssize_t on_tls_recv(void *user, void *data, size_t cap)
{
    struct peer *p = user;
    uv_os_fd_t fd;
    ssize_t n = -1;
    if (uv_fileno((const uv_handle_t *)&p->tcp, &fd) < 0) {
        return -EBADF;
    }
    do {
        n = recv(fd, data, cap, 0);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

int peer_begin_tls(struct peer *p, SSL_CTX *context)
{
    return tls_create(context, on_tls_recv, p, &p->tls);
}

/* From here on the connection is a plain one, which is told so and closed. */
static void refuse_plain(struct peer *p)
{
    tls_destroy(p->tls);
    p->tls = NULL;
    http_conn_fail(&p->conn, HTTP_ERR_NEEDS_TLS);
}

static bool handle_tls_end(struct peer *p, enum tls_result end)
{
    switch (end) {
    case TLS_IS_HTTP:
        refuse_plain(p);
        return true;
    case TLS_ENDED:
    case TLS_CUT:
        p->eof = true;
        stop_reading(p);
        break;
    case TLS_FAILED:
        peer_close(p, tls_words(p->tls));
        break;
    case TLS_NOTHING:
    case TLS_BYTES:
        break;
    }
    return false;
}

bool peer_fill(struct peer *p)
{
    if (p->tls == NULL || !peer_wants_read(p) || !tls_may_read(p->tls)) {
        return false;
    }
    uv_buf_t room = make_room(p);
    if (room.len == 0) {
        peer_close(p, "out of memory");
        return false;
    }
    size_t n = 0, before = tls_out(p->tls)->len;
    enum tls_result result = tls_read(p->tls, (uint8_t *)room.base, room.len, &n);
    peer_flush(p);
    if (tls_out(p->tls)->len > before && tls_out(p->tls)->len > TLS_CHATTER_MAX) {
        peer_close(p, "does not take what TLS answers");
    }
    if (p->closing) {
        return false;
    }
    if (result == TLS_BYTES) {
        count_read(p, n);
        return true;
    }
    return handle_tls_end(p, result);
}

bool peer_tls_waits(const struct peer *p)
{
    return p->tls != NULL && tls_has_part(p->tls);
}

bool peer_can_answer(const struct peer *p)
{
    return p->tls == NULL || tls_is_open(p->tls);
}

/* ---- writing ---- */

void peer_took_some(struct peer *p)
{
    ring_remove(&p->in_unsent);
    if (p->unsent > 0) {
        ring_append(&p->set->unsent_first, &p->in_unsent);
        p->took_at = uv_now(p->set->loop);
    }
}

static void count_unsent(struct peer *p, size_t n)
{
    p->unsent += n;
    p->set->unsent += n;
    if (!ring_used(&p->in_unsent)) {
        peer_took_some(p);
    }
    peers_bound_unsent(p->set);
}

void peer_uncount_unsent(struct peer *p, size_t n)
{
    p->unsent -= n;
    p->set->unsent -= n;
    peer_took_some(p);
}

static struct peer_write *take_write(struct peer *p, struct http_send *send)
{
    for (size_t i = 0; i < PEER_WRITES; i++) {
        struct peer_write *w = &p->writes[i];
        if (!w->busy) {
            *w = (struct peer_write){.peer = p, .send = send, .busy = true};
            return w;
        }
    }
    return NULL;
}

static void on_written(uv_write_t *req, int status)
{
    struct peer_write *w = container_of(req, struct peer_write, req);
    struct peer *p = w->peer;
    struct http_send *send = w->send;
    w->busy = false;
    p->n_writes--;
    buf_finish(&w->encrypted);
    if (status < 0) {
        peer_close(p, uv_strerror(status));
    } else {
        p->n_written += w->len;
    }
    if (!p->closing) {
        peer_uncount_unsent(p, w->pinned);
    }
    if (send != NULL) {
        p->pumping = true;
        send->release(send);
        if (!p->closing) {
            p->set->handler->sent(p->set->handler, &p->stream);
        }
        p->pumping = false;
    }
    if (!p->closing) {
        peer_flush(p);
    }
    peer_pump(p);
}

/* pinned: bytes of memory that wait for this write. False: nothing was queued. */
static bool queue_write(struct peer_write *w, const void *data, size_t len, size_t pinned)
{
    struct peer *p = w->peer;
    uv_buf_t buf = uv_buf_init((char *)data, (unsigned)len);
    int status = uv_write(&w->req, (uv_stream_t *)&p->tcp, &buf, 1, on_written);
    if (status < 0) {
        peer_close(p, uv_strerror(status));
        return false;
    }
    w->len = len;
    w->pinned = pinned;
    p->n_writes++;
    count_unsent(p, pinned);
    return true;
}

/* All that TLS has to send. */
static bool queue_encrypted(struct peer_write *w)
{
    struct buf *out = tls_out(w->peer->tls);
    size_t plain = w->send != NULL ? w->send->data.len : 0;
    w->encrypted = *out;
    *out = (struct buf){0};
    if (queue_write(w, w->encrypted.ptr, w->encrypted.len, w->encrypted.len + plain)) {
        return true;
    }
    buf_finish(&w->encrypted);
    return false;
}

/* How much the socket has taken at once; the peer is closed if it takes nothing any more. */
static size_t try_write(struct peer *p, const uv_buf_t *bufs, unsigned n_bufs)
{
    int n = uv_try_write((uv_stream_t *)&p->tcp, bufs, n_bufs);
    if (n < 0 && n != UV_EAGAIN) {
        peer_close(p, uv_strerror(n));
    }
    size_t done = n > 0 ? (size_t)n : 0;
    p->n_written += done;
    return done;
}

/* As much of what TLS has to send as the socket takes at once. True: that was all. */
static bool try_encrypted(struct peer *p)
{
    struct buf *out = tls_out(p->tls);
    if (out->len == 0 || p->n_writes > 0) {
        return out->len == 0;
    }
    uv_buf_t buf = uv_buf_init((char *)out->ptr, (unsigned)out->len);
    size_t done = try_write(p, &buf, 1);
    if (done == out->len) {
        buf_finish(out); /* at rest there is none */
        return true;
    }
    out->len -= done;
    memmove(out->ptr, out->ptr + done, out->len);
    return false;
}

/* What the socket did not take becomes a write. */
static void queue_rest(struct peer *p)
{
    if (!p->closing && tls_out(p->tls)->len > 0) {
        struct peer_write *w = take_write(p, NULL);
        assert(w != NULL);
        w->busy = queue_encrypted(w);
    }
}

void peer_flush(struct peer *p)
{
    if (p->tls != NULL && tls_out(p->tls)->len > 0 && p->n_writes == 0 && !try_encrypted(p)) {
        queue_rest(p);
    }
}

/* A large answer in steps, so that what the socket takes never is in memory twice. */
static int encrypt(struct peer *p, struct slice data, bool *stuck)
{
    while (data.len > 0 && !p->closing) {
        size_t n = data.len < TLS_STEP ? data.len : TLS_STEP;
        int err = tls_write(p->tls, slice_of(data.ptr, n));
        if (err < 0) {
            return err;
        }
        data = slice_of(data.ptr + n, data.len - n);
        if (!*stuck && tls_out(p->tls)->len >= TLS_STEP) {
            *stuck = !try_encrypted(p);
        }
    }
    return 0;
}

static void write_encrypted(struct peer *p, struct slice head, struct slice body)
{
    bool stuck = false;
    int err = encrypt(p, head, &stuck);
    if (err == 0) {
        err = encrypt(p, body, &stuck);
    }
    if (err < 0) {
        peer_close(p, zerr_str(err));
        return;
    }
    p->n_answer += head.len + body.len;
    if (!p->closing && (stuck || !try_encrypted(p))) {
        queue_rest(p);
    }
}

void peer_write_now(struct peer *p, struct slice head, struct slice body)
{
    if (p->tls != NULL) {
        write_encrypted(p, head, body);
        return;
    }
    uv_buf_t bufs[2] = {uv_buf_init((char *)head.ptr, (unsigned)head.len),
                        uv_buf_init((char *)body.ptr, (unsigned)body.len)};
    size_t done = try_write(p, bufs, body.len > 0 ? 2 : 1);
    size_t left = head.len + body.len - done;
    p->n_answer += head.len + body.len;
    if (left == 0 || p->closing) {
        return;
    }
    uint8_t *rest = arena_alloc(&p->conn.mem->arena, left);
    struct peer_write *w = rest != NULL ? take_write(p, NULL) : NULL;
    if (w == NULL) {
        peer_close(p, "out of memory");
        return;
    }
    size_t of_head = done < head.len ? head.len - done : 0;
    if (of_head > 0) {
        memcpy(rest, head.ptr + done, of_head);
    }
    if (left > of_head) {
        memcpy(rest + of_head, body.ptr + body.len - (left - of_head), left - of_head);
    }
    w->busy = queue_write(w, rest, left, left);
}

static bool queue_send(struct peer_write *w)
{
    struct peer *p = w->peer;
    struct slice data = w->send->data;
    p->n_answer += data.len;
    if (p->tls == NULL) {
        return queue_write(w, data.ptr, data.len, data.len);
    }
    int err = tls_write(p->tls, data);
    if (err < 0) {
        peer_close(p, zerr_str(err));
        return false;
    }
    return queue_encrypted(w);
}

void peer_send(struct peer *p, struct http_send *send)
{
    struct peer_write *w = take_write(p, send);
    assert(w != NULL && send->data.len > 0);
    w->dropped = p->closing || http_conn_count_send(&p->conn, send->data.len) < 0 || !queue_send(w);
}

void peer_release_dropped(struct peer *p)
{
    for (size_t i = 0; i < PEER_WRITES; i++) {
        struct peer_write *w = &p->writes[i];
        if (w->busy && w->dropped) {
            w->busy = false;
            w->send->release(w->send);
        }
    }
}

bool peer_all_written(const struct peer *p)
{
    return p->n_writes == 0 && (p->tls == NULL || tls_out(p->tls)->len == 0);
}

/* ---- the end ---- */

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)req;
    (void)status; /* a connection that is gone already shows itself by reading */
}

void peer_end_writing(struct peer *p)
{
    if (p->tls != NULL) {
        tls_end(p->tls);
        peer_flush(p);
    }
    if (!p->closing) {
        (void)uv_shutdown(&p->shutdown_req, (uv_stream_t *)&p->tcp, on_shutdown);
    }
}

void peer_say_goodbye(struct peer *p)
{
    if (p->tls == NULL || p->n_writes > 0) {
        return;
    }
    if (p->conn.state == CONN_READ_HEAD) {
        tls_end(p->tls);
    }
    struct buf *out = tls_out(p->tls);
    if (out->len > 0) {
        uv_buf_t buf = uv_buf_init((char *)out->ptr, (unsigned)out->len);
        (void)uv_try_write((uv_stream_t *)&p->tcp, &buf, 1);
    }
}
