/* One HTTP/1.x server connection, without any I/O: bytes in, calls to a http_handler and bytes
 * of answer out. What the states mean is said at the top of http_conn.c.
 *
 * Calling sequence (the owner is server/peer.c, or a test):
 *   http_conn_init(c, pool, handler, stream)
 *   http_conn_feed() with what was read and not yet consumed, again and again until it neither
 *     consumes nor changes the state; it calls handler->request(), body(), end()
 *   http_conn_take_reply() after each feed: an error answer that the connection wrote itself
 *   http_conn_proceed(), _pause(), _resume(), _respond(), _count_send() for what the handler
 *     asks of its stream, from inside feed or at any other time
 *   http_conn_written() when every byte of the answer is out: calls done(complete = true)
 *   http_conn_finish() at the end in any state: calls done(complete = false) if a request is open
 *
 * Only feed, fail, written and finish call the handler; none may be called from inside it. */
#ifndef ZKV_HTTP_HTTP_CONN_H
#define ZKV_HTTP_HTTP_CONN_H

#include "base/buf.h"
#include "base/timefmt.h"
#include "http/http_chunked.h"
#include "http/http_head.h"
#include "http/http_msg.h"
#include "http/http_scan.h"

enum http_conn_state {
    CONN_READ_HEAD,
    CONN_READ_BODY,
    CONN_HANDLE,
    CONN_WRITE,
    CONN_DRAIN,
    CONN_DONE,
};

struct http_arena {
    struct arena arena;
    struct http_arena *next;
};

/* What the connections of one server share: arenas for reuse and the text of the date.
 * Init with {0}; finish when no connection is left. */
struct http_pool {
    struct http_arena *free_list;
    unsigned n_free;
    struct http_date date;
};

struct http_conn {
    enum http_conn_state state;
    struct http_pool *pool;
    struct http_handler *handler;
    struct http_stream *stream;
    struct http_arena *mem; /* of the current request or reply; NULL at rest */

    struct buf partial;    /* a head of which not all has come; empty at rest */
    struct http_scan scan; /* of the current head */
    unsigned n_blank;      /* CR and LF before it */

    struct http_request req;
    bool keep_alive;
    bool open;      /* request() was called and done() was not */
    bool proceeded; /* the handler wants the body */
    bool paused;
    bool responded;
    bool close_soon;
    bool body_done;     /* nothing of the body is to come */
    uint64_t body_left; /* of a body with Content-Length */
    struct http_chunked chunked;
    uint64_t answer_left; /* of the answer's body, not yet given to respond() or send() */
    int status;           /* of the answer, for the access line */
    struct slice reply;   /* for http_conn_take_reply() */
};

/* An answer's first bytes. Valid until http_conn_written() or http_conn_finish(); body is the
 * caller's own. */
struct http_out {
    struct slice head, body;
};

void http_pool_finish(struct http_pool *);

void http_conn_init(struct http_conn *, struct http_pool *, struct http_handler *,
                    struct http_stream *);
void http_conn_finish(struct http_conn *);

/* Parses from the start of in and returns how much of it is used up. 0 with the state unchanged:
 * nothing to do, the rest of `in` must be given again later.
 * Memory: a request that does not fit into memory is answered with 503. */
size_t http_conn_feed(struct http_conn *, struct slice in);
/* More bytes are of use now. */
bool http_conn_wants_input(const struct http_conn *);
/* Between two requests, no byte of the next one seen. */
bool http_conn_is_idle(const struct http_conn *);
/* How much of the body is still to come; UINT64_MAX when chunked. */
uint64_t http_conn_body_left(const struct http_conn *);

/* Gives up the request being read: answers with the error and drains. Only before an answer.
 * Calls done(complete = false) if a request is open. */
void http_conn_fail(struct http_conn *, enum http_error);
/* True once for each error answer: *ret is to be sent, then http_conn_written() called. */
bool http_conn_take_reply(struct http_conn *, struct slice *ret);

/* True: "HTTP/1.1 100 Continue\r\n\r\n" is to be sent. */
bool http_conn_proceed(struct http_conn *);
/* It has been asked for and not been sent, and no other answer either. */
bool http_conn_owes_continue(const struct http_conn *);
void http_conn_pause(struct http_conn *);
void http_conn_resume(struct http_conn *);
/* Errors: ZERR_NOMEM; ZERR_INVALID: an answer was given already. State unchanged. */
int http_conn_respond(struct http_conn *, const struct http_response *,
                      struct http_out *ret) ZKV_MUST_CHECK;
/* n bytes of the answer's body follow by send(). ZERR_INVALID: more than was announced. */
int http_conn_count_send(struct http_conn *, uint64_t n) ZKV_MUST_CHECK;
/* All of the answer has been handed over: when that is out, http_conn_written() is due. */
bool http_conn_answered(const struct http_conn *);
void http_conn_written(struct http_conn *);
/* The current answer, or the next, is the last. */
void http_conn_close_soon(struct http_conn *);

const char *http_conn_state_name(enum http_conn_state);

#endif
