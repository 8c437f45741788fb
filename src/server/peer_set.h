/* The inside of peer.h, for peer.c, peer_io.c and peer_clock.c (one connection) and peers.c (all)
 * only. */
#ifndef ZKV_SERVER_PEER_SET_H
#define ZKV_SERVER_PEER_SET_H

#include <openssl/types.h>

#include "base/job.h"
#include "http/http_conn.h"
#include "server/ring.h"
#include "server/peer.h"
#include "server/readbuf.h"

/* Writes that libuv may have of one connection: what TLS says by itself, "100 Continue", the head, the
 * sends. */
#define PEER_WRITES (3 + HTTP_SENDS_IN_FLIGHT)

struct peers {
    uv_loop_t *loop;
    struct http_handler *handler;
    struct peer_config config; /* with the defaults filled in */
    struct http_pool pool;
    struct readbuf_pool readbufs;
    struct ring all;          /* peer.in_all */
    struct ring idle;         /* peer.in_idle, the longest idle one first */
    struct ring ready;        /* peer.in_ready: to be pumped by on_ready */
    struct ring unsent_first; /* peer.in_unsent, who has taken nothing for the longest time first */
    uint64_t unsent;          /* bytes of answers queued, of all */
    uint64_t head_bytes;      /* kept of heads that are not complete, of all */
    unsigned n_peers;         /* not freed yet */
    unsigned n_live;          /* of these: not closing */
    unsigned next_number;
    struct peers_stat stat;

    uv_timer_t sweep; /* runs while there are connections */
    uint64_t swept_at;
    uv_idle_t ready_idle; /* runs while there is something ready */
    uv_tcp_t refused;     /* a connection for which there is no memory */
    bool refusing;        /* it is being closed; meanwhile ... */
    uv_stream_t *deaf;    /* ... this one has another */
    unsigned n_handles;   /* of the three, not closed yet */

    bool draining, drained;
    uint64_t drain_until;
    void (*drained_cb)(void *data);
    void *drained_data;
};

/* Which time-out runs. */
enum peer_clock {
    PEER_CLOCK_NONE,
    PEER_CLOCK_IDLE,
    PEER_CLOCK_HEAD,
    PEER_CLOCK_BODY,
    PEER_CLOCK_WRITE,
    PEER_CLOCK_LINGER,
};

struct peer;
struct peer_write {
    uv_write_t req;
    struct peer *peer;
    struct http_send *send; /* NULL: bytes in the request's arena, or in ... */
    struct buf encrypted;   /* with TLS: owned */
    size_t len, pinned;     /* on the wire; of memory, until it is written */
    bool busy;
    bool dropped; /* never given to libuv; send is to be released */
};

struct peer {
    uv_tcp_t tcp;
    struct tls *tls; /* NULL: plain */
    struct peers *set;
    struct http_conn conn;
    struct http_stream stream;
    struct ring in_all, in_idle, in_ready, in_unsent;
    unsigned number; /* for the log */
    bool closing;    /* uv_close() was called; no more calls to the handler but done() */
    bool pumping, reading, eof, lingering;
    bool reset; /* to be closed by RST */

    struct readbuf *cur; /* what is read into; bytes from in_off to fill are not consumed yet */
    size_t in_off;
    struct ring held; /* buffers with holds */
    unsigned n_held;

    struct peer_write writes[PEER_WRITES];
    unsigned n_writes; /* given to libuv, not called back */
    uv_shutdown_t shutdown_req;

    enum peer_clock clock;
    uint64_t clock_since, last_read, started_at;
    uint64_t waited_ms, progress; /* of the body and the write clock */
    uint64_t n_body, n_drained, n_written, n_answer;
    uint64_t unsent, took_at; /* bytes queued; when the client last took some */
    size_t head_bytes;        /* of conn.partial */
};

/* *ret_accepted: the listener is rid of it, whatever is returned. */
int peer_accept(struct peers *, uv_stream_t *listener, bool *ret_accepted) ZKV_MUST_CHECK;
/* The one ending. Idempotent; the rest happens when libuv has closed the handle. */
void peer_close(struct peer *, const char *reason);
/* The same for a client that does not take what it is sent: the kernel forgets its part of that at
 * once, and does not try for minutes to get rid of it. */
void peer_reset(struct peer *, const char *reason);
/* Does all that can be done now. Never from inside a handler's function. */
void peer_pump(struct peer *);

/* Of peer_io.c. */
int peer_begin_tls(struct peer *, SSL_CTX *) ZKV_MUST_CHECK; /* ZERR_NOMEM */
bool peer_wants_read(const struct peer *);
void peer_start_reading(struct peer *);
/* Bytes in the current buffer that are not consumed. */
size_t peer_unread(const struct peer *);
/* With TLS: reads what it has. False: there is nothing new. */
bool peer_fill(struct peer *);
/* With TLS: some of a handshake or record is there, and not passed on. */
bool peer_tls_waits(const struct peer *);
/* There is no handshake to be done first. */
bool peer_can_answer(const struct peer *);
void peer_drop_current(struct peer *);
/* Writes both as far as the socket takes them at once; what is left is copied and follows. */
void peer_write_now(struct peer *, struct slice head, struct slice body);
void peer_send(struct peer *, struct http_send *);
/* Sends what TLS has left in its buffer, unless a write is on its way, behind which it will follow. */
void peer_flush(struct peer *);
/* Releases sends that never became writes. */
void peer_release_dropped(struct peer *);
/* Everything is with the kernel. */
bool peer_all_written(const struct peer *);
/* Nothing is written behind this. */
void peer_end_writing(struct peer *);
/* The last words on a connection that is about to be closed, as far as the socket takes them. */
void peer_say_goodbye(struct peer *);
/* The client has taken some of its answer. */
void peer_took_some(struct peer *);
void peer_uncount_unsent(struct peer *, size_t n);

/* Of peer_clock.c. */
enum peer_clock peer_which_clock(const struct peer *);
void peer_check_clock(struct peer *, uint64_t now, uint64_t elapsed_ms);

/* Of peers.c: p will be pumped soon; p is gone. */
void peers_make_ready(struct peers *, struct peer *p);
void peers_remove(struct peers *, struct peer *p);
/* Cuts clients that take nothing, the longest first, while all answers together are too much. */
void peers_bound_unsent(struct peers *);

#endif
