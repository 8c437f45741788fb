/* What the layers above know of HTTP: a request, a response, and the stream between them.
 *
 * This header is all that s3 includes of http. The transport (server/peer.c over
 * http/http_conn.c) implements `struct http_stream`; s3 implements `struct http_handler`.
 *
 * One request at a time on a stream: request -> (body)* -> end -> response -> next request. The
 * response may begin before the body has ended (an early refusal); the transport then discards a
 * bounded rest of the body and closes, or closes at once.
 *
 * Order of calls for one request, T = transport, S = s3:
 *   T request()                       head complete, nothing of the body read yet
 *   S http_stream.proceed()           S wants the body (sends "100 Continue" if it was asked for)
 *   T body()*, T end()                end() also when there is no body
 *   S http_stream.respond()           head + optional small body, or head of a streamed one
 *   S http_stream.send()*             streamed body, at most HTTP_SENDS_IN_FLIGHT outstanding
 *   T sent()                          for each send(), in order
 *   T done()                          the response is out, or the connection is gone: S forgets all
 * done() comes exactly once for each request(), always last; after it the request's memory is gone.
 * respond() without proceed() refuses the body. */
#ifndef ZKV_HTTP_HTTP_MSG_H
#define ZKV_HTTP_HTTP_MSG_H

#include "base/buf.h"
#include "base/slice.h"

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_PUT,
    HTTP_METHOD_POST,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS
};

#define HTTP_SENDS_IN_FLIGHT 2

struct http_header {
    struct slice name, value; /* as received, value without surrounding white space */
};

/* All slices live in `arena` and are valid until done(). */
struct http_request {
    enum http_method method;
    struct slice target; /* raw, as received: path and query, never decoded */
    const struct http_header *headers;
    size_t n_headers;
    bool has_length; /* Content-Length; else chunked tells whether there is a body */
    uint64_t length;
    bool chunked;
    bool expect_continue;
    struct arena *arena; /* for s3's own allocations for this request */
};

/* The first header of that name (compared without case), or NULL. */
const struct slice *http_request_header(const struct http_request *, const char *name);

/* A response's head. Date, Connection, Content-Length (from `length`) and Server are the
 * transport's. Header names and values must have no CR, LF or NUL: those that do are dropped. */
struct http_response {
    int status;
    const struct http_header *headers;
    size_t n_headers;
    bool no_length;    /* 204, 304: no Content-Length at all */
    uint64_t length;   /* of the body; for HEAD what GET would send */
    struct slice body; /* sent with the head (copied); the whole body, its first part, or empty.
                          Ignored for HEAD */
    bool close;        /* close the connection behind it */
};

/* Body bytes on their way to the socket. release() is called once when they are sent or dropped. */
struct http_send {
    struct slice data;
    void (*release)(struct http_send *);
};

struct http_stream;
struct http_stream_ops {
    /* Wants the body. Called once, in request() or any time later. */
    void (*proceed)(struct http_stream *);
    /* Instead, for now: a client that waits for its "100 Continue" and has sent nothing of the body
     * gets "102 Processing", which says that we are still here, unless he has not taken the last
     * one yet. False: there is nobody who waits so, and nothing was sent. */
    bool (*wait)(struct http_stream *);
    /* For what takes long without the body: whether the client has closed its side, so that nobody
     * waits for the answer. Costs a system call. */
    bool (*gone)(struct http_stream *);
    /* Stop and go on delivering body() calls (back-pressure). Paused streams read nothing from
     * the socket and their body deadline stands. */
    void (*pause)(struct http_stream *);
    void (*resume)(struct http_stream *);
    /* Once a request. If body.len < length the rest comes by send(). */
    void (*respond)(struct http_stream *, const struct http_response *);
    void (*send)(struct http_stream *, struct http_send *);
    /* Body cannot be completed after respond(), or nobody waits for an answer: cut the connection,
     * never end cleanly. */
    void (*cut)(struct http_stream *);
    /* Takes over the buffer that the current body() slice lies in, valid only inside body(): the
     * slice stays valid until unhold() on the returned token. */
    void *(*hold)(struct http_stream *);
    void (*unhold)(void *token);
};
struct http_stream {
    const struct http_stream_ops *ops;
    void *exchange; /* s3's, for the current request */
};

/* What s3 implements. `handler` is the s3 layer's root object. */
struct http_handler {
    /* A request whose head is complete. Must respond in the end, or have done() called. */
    void (*request)(struct http_handler *, struct http_stream *, const struct http_request *);
    void (*body)(struct http_handler *, struct http_stream *, struct slice data);
    void (*end)(struct http_handler *, struct http_stream *);
    void (*sent)(struct http_handler *, struct http_stream *);
    /* complete: the whole response went out. */
    void (*done)(struct http_handler *, struct http_stream *, bool complete);
};

#endif
