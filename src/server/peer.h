/* Connections: one libuv TCP handle, one http_conn and the timers of each, between the socket
 * and a `struct http_handler`.
 *
 * `struct peers` is the set of all connections of one server: it owns what they share (buffers
 * and arenas for reuse, the timer that looks at their time-outs). It does not listen: the owner
 * does, and hands each connection in with peers_accept().
 *
 * Calling sequence: peers_create(); uv_listen() elsewhere, whose callback calls peers_accept()
 * each time; to stop: close the listener, peers_drain(), wait for drained_cb (peers_cut() hurries
 * it), then peers_destroy() and run the loop until it has nothing left.
 *
 * What the handler may count on, beyond http_msg.h:
 * - No call into a stream (respond, send, proceed, pause, resume, cut, unhold) calls back into the
 *   handler, nor a release(), before it returns. They may be made from anywhere on the loop's
 *   thread, from inside the handler's own functions too.
 * - end() comes only after proceed(), for a request without a body too: a handler that answers
 *   without proceed() sees no body() and no end().
 * - When the connection breaks, calls into the stream do nothing (what was given to send() is
 *   still released) until done(complete = false) comes, a moment later.
 * - What hold() returned stays valid after done(); each needs its unhold(), before peers_destroy().
 * - At most HTTP_HELD_MAX read buffers are kept by one stream's holds; beyond that its socket is
 *   not read. Buffers are filled up before the next one is taken, so this is at least
 *   (HTTP_HELD_MAX - 1) * (HTTP_READ_LARGE - HTTP_READ_TAIL) bytes of a large body.
 *
 * All functions: on the loop's thread only. None blocks. The process must ignore SIGPIPE. */
#ifndef ZKV_SERVER_PEER_H
#define ZKV_SERVER_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/zerr.h"
#include "http/http_msg.h"

struct peers;
struct tls_cert;

/* A field that is 0 means the default of http_limits.h; max_peers 0: no limit. Milliseconds. */
struct peer_config {
    unsigned max_peers; /* beyond it the longest idle connection is closed for a new one */
    unsigned head_ms, idle_ms, body_window_ms, write_stall_ms, linger_quiet_ms, linger_ms;
    unsigned sweep_ms;
    struct tls_cert
        *tls_cert; /* speak TLS with this, borrowed until peers_destroy(); NULL: plain */
};

/* Figures for the status line. */
struct peers_stat {
    unsigned n_open;     /* connections */
    unsigned n_busy;     /* of these: with a request not answered completely */
    uint64_t n_accepted; /* since the start */
    uint64_t n_requests; /* heads handed to the handler, since the start */
    uint64_t bytes_in, bytes_out;
};

/* config may be NULL. Borrows: handler, until peers_destroy(). The handles that *ret_peers has
 * in the loop do not keep the loop alive while there are no connections.
 * Errors: ZERR_NOMEM. */
int peers_create(uv_loop_t *loop, struct http_handler *handler, const struct peer_config *config,
                 struct peers **ret_peers) ZKV_MUST_CHECK;

/* Accepts one connection from a listener; for its uv_connection_cb when status is 0 (with a
 * status below 0 there is nothing to accept: UV_EMFILE and UV_ENFILE call for
 * peers_close_idlest()). At max_peers the longest idle connection makes room; if all are busy, the
 * new one is closed at once. Errors: ZERR_NOMEM, ZERR_LIMIT (no descriptor, or max_peers and all
 * busy), ZERR_IO; nothing is left open. */
int peers_accept(struct peers *, uv_stream_t *listener) ZKV_MUST_CHECK;

/* Closes the connection that has been without a request for the longest time; false if none is. */
bool peers_close_idlest(struct peers *);

/* Connections that are not closed yet. */
unsigned peers_count(const struct peers *);
void peers_stat(const struct peers *, struct peers_stat *ret);

/* Orderly stop. Idle connections are closed at once; a running request gets its answer (with
 * "Connection: close") and then its connection is closed; what is not finished after bound_ms is
 * cut. drained_cb is called once, from the loop, never from inside peers_drain(), when no
 * connection is left and every request has had its done(). Called at most once; peers_accept()
 * afterwards refuses with ZERR_CANCELED. */
void peers_drain(struct peers *, unsigned bound_ms, void (*drained_cb)(void *data), void *data);

/* Closes every connection now, answered or not. done() calls follow from the loop. */
void peers_cut(struct peers *);

/* Only when no connection is left. Frees *peers from a later turn of the loop, once its handles
 * are closed. NULL is allowed. */
void peers_destroy(struct peers *);

#endif
