/* The root of the S3 layer: requests come in, an operation is chosen, answers go out.
 *
 * Per request: headers sorted out -> who asks (s3_auth.c, or s3_access.c where anybody on this
 * machine may) -> target routed (s3_route.c) -> may they -> bucket, its store -> the operation
 * (s3_put.c, s3_get.c, ...), which answers (s3_answer.c), or a refusal. */
#include "s3/s3.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "s3/s3_access.h"
#include "s3/s3_exchange.h"
#include "s3/s3_link.h"

/* ---- what operations share ---- */

void s3_count_xml(struct s3_exchange *x, size_t n)
{
    x->n_xml += n;
    x->s3->n_xml += n;
}

bool s3_xml_is_full(const struct s3 *s3)
{
    return s3->n_xml > S3_XML_TOTAL_MAX;
}

void s3_pause(struct s3_exchange *x)
{
    if (!x->paused) {
        x->paused = true;
        x->stream->ops->pause(x->stream);
    }
}

void s3_resume(struct s3_exchange *x)
{
    if (x->paused) {
        x->paused = false;
        x->stream->ops->resume(x->stream);
    }
}

void s3_body_start(struct s3_exchange *x)
{
    if (x->req->has_length && x->req->length > S3_XML_MAX_BYTES) {
        s3_refuse(x, S3_MAX_MESSAGE_LENGTH, NULL);
    } else if (s3_xml_is_full(x->s3)) {
        s3_refuse(x, S3_SLOW_DOWN, NULL);
    } else {
        x->stream->ops->proceed(x->stream);
    }
}

void s3_body_add(struct s3_exchange *x, struct buf *body, struct slice data)
{
    size_t had = body->cap;

    if (x->received > S3_XML_MAX_BYTES) {
        s3_refuse(x, S3_MAX_MESSAGE_LENGTH, NULL);
    } else if (s3_xml_is_full(x->s3)) {
        s3_refuse(x, S3_SLOW_DOWN, NULL);
    } else if (buf_append(body, data.ptr, data.len) != 0) {
        s3_fail(x, ZERR_NOMEM);
    } else {
        s3_count_xml(x, body->cap - had);
    }
}

struct s3_call *s3_call_begin(struct s3_exchange *x)
{
    struct s3_call *call = malloc(sizeof(*call));

    assert(x->call == NULL);
    if (call != NULL) {
        call->x = x;
        x->call = call;
    }
    return call;
}

struct s3_exchange *s3_call_end(struct s3_call *call)
{
    struct s3_exchange *x = call->x;

    if (x != NULL) {
        x->call = NULL;
    }
    free(call);
    return x;
}

static void release_chunk(struct chunk *base)
{
    struct s3_chunk *c = container_of(base, struct s3_chunk, base);
    struct s3 *s3 = c->s3;

    c->unhold(c->token);
    if (s3->n_free_chunks == S3_CHUNKS_KEPT) {
        free(c);
        return;
    }
    c->next_free = s3->free_chunks;
    s3->free_chunks = c;
    s3->n_free_chunks++;
}

struct s3_chunk *s3_chunk_take(struct s3_exchange *x, struct slice data)
{
    struct s3 *s3 = x->s3;
    struct s3_chunk *c = s3->free_chunks;

    if (c != NULL) {
        s3->free_chunks = c->next_free;
        s3->n_free_chunks--;
    } else {
        c = malloc(sizeof(*c));
        if (c == NULL) {
            return NULL;
        }
    }
    *c = (struct s3_chunk){
        .base = {.data = data.ptr, .len = data.len, .release = release_chunk},
        .s3 = s3,
        .unhold = x->stream->ops->unhold,
        .token = x->stream->ops->hold(x->stream),
        .begins = x->payload.begins,
    };
    memcpy(c->signature, x->payload.signature, sizeof(c->signature));
    x->payload.begins = false;
    return c;
}

/* ---- the transport's events ---- */

static const struct s3_op *choose_op(const struct s3_exchange *x)
{
    switch (x->route.op) {
    case S3_OP_LIST_BUCKETS:
        return &S3_SERVICE;
    case S3_OP_CREATE_BUCKET:
        return &S3_CREATE_BUCKET;
    case S3_OP_DELETE_BUCKET:
        return &S3_DELETE_BUCKET;
    case S3_OP_HEAD_BUCKET:
    case S3_OP_GET_LOCATION:
    case S3_OP_GET_VERSIONING:
        return &S3_BUCKET;
    case S3_OP_GET_ACL:
    case S3_OP_GET_TAGGING:
        return &S3_STUB;
    case S3_OP_PUT_ACL:
        return &S3_PUT_ACL;
    case S3_OP_GET_ATTRIBUTES:
        return &S3_ATTRIBUTES;
    case S3_OP_LIST_OBJECTS:
    case S3_OP_LIST_VERSIONS:
        return &S3_LIST;
    case S3_OP_DELETE_OBJECTS:
        return &S3_DELETE_MANY;
    case S3_OP_GET_OBJECT:
    case S3_OP_HEAD_OBJECT:
        return &S3_GET;
    case S3_OP_PUT_OBJECT:
    case S3_OP_UPLOAD_PART:
        return x->head.copy_source.ptr != NULL ? &S3_COPY : &S3_PUT;
    case S3_OP_DELETE_OBJECT:
        return &S3_DELETE;
    case S3_OP_BEGIN_UPLOAD:
        return &S3_BEGIN_UPLOAD;
    case S3_OP_COMPLETE_UPLOAD:
        return &S3_COMPLETE_UPLOAD;
    case S3_OP_ABORT_UPLOAD:
        return &S3_ABORT_UPLOAD;
    case S3_OP_LIST_PARTS:
        return &S3_LIST_PARTS;
    case S3_OP_LIST_UPLOADS:
        return &S3_LIST_UPLOADS;
    case S3_OP_ERROR:
        break;
    }
    return NULL;
}

static void new_request_id(struct s3_exchange *x)
{
    static const char HEX[] = "0123456789ABCDEF";
    uint64_t id = x->s3->next_request_id++;

    for (size_t i = S3_REQUEST_ID_LEN; i-- > 0; id >>= 4) {
        x->request_id[i] = HEX[id & 15];
    }
}

static int64_t wall_ms(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Who asks? Without credentials whoever is on this machine and no web page. False: refused. */
static bool let_in(struct s3_exchange *x)
{
    struct s3_refusal why = {0};

    if (x->s3->auth == NULL) {
        if (s3_access_check(&x->head, &why.code) == 0) {
            return true;
        }
    } else if (s3_auth_check(x->s3->auth, x->req, wall_ms(), &x->who, &why) == 0) {
        if (x->who.payload.ptr != NULL) {
            x->head.content_sha256 = x->who.payload;
        }
        return true;
    }
    s3_refuse_with(x, &why, 0);
    return false;
}

/* Whether it is about a bucket that must be there: to be told before what that one does not have, or
 * what is not offered, but not before what is wrong with the request itself. */
static bool wants_bucket(const struct s3_route *r)
{
    int status = r->op == S3_OP_ERROR ? s3_error_of(r->error)->status : 404;

    return r->bucket.len > 0 && r->op != S3_OP_CREATE_BUCKET && (status == 404 || status == 501);
}

/* Whether those who ask may do this at all. */
static bool is_permitted(const struct s3_exchange *x)
{
    bool reads = x->req->method == HTTP_METHOD_GET || x->req->method == HTTP_METHOD_HEAD;

    return (reads || !x->who.read_only) &&
           (x->route.bucket.len == 0 || s3_identity_may_use(&x->who, x->route.bucket));
}

/* ---- bodies that the operation has no use for ---- */

/* They must be what the request says of them all the same: they are read and verified before anything
 * is done, and forgotten. */
static bool has_idle_body(const struct s3_exchange *x)
{
    return x->op->body == NULL && (x->req->chunked || x->req->length > 0);
}

static void idle_begin(struct s3_exchange *x)
{
    if (x->req->has_length && x->req->length > S3_XML_MAX_BYTES) {
        s3_refuse(x, S3_MAX_MESSAGE_LENGTH, NULL);
    } else if (s3_payload_begin(x)) {
        x->stream->ops->proceed(x->stream);
    }
}

/* The operation has a payload of its own: a copy computes checksums. */
static void idle_end(struct s3_exchange *x)
{
    if (s3_payload_end(x)) {
        s3_payload_drop(x);
        memset(&x->payload, 0, sizeof(x->payload));
        x->received = 0;
        x->op->start(x);
    }
}

static void begin(struct s3_exchange *x)
{
    if (has_idle_body(x)) {
        idle_begin(x);
    } else if (x->op->body == NULL || s3_payload_begin(x)) {
        x->op->start(x);
    }
}

static void handle_store(struct store_use *use, int status)
{
    struct s3_exchange *x = container_of(use, struct s3_exchange, use);

    if (status != 0) {
        s3_fail_bucket(x, status);
    } else {
        x->store = use->store;
        begin(x);
    }
}

/* What it does with the store does not end: a slow reader, mostly. */
static void handle_lost(struct store_use *use)
{
    s3_cut(container_of(use, struct s3_exchange, use), ZERR_IO);
}

/* The operation begins when the bucket's store is open, if it needs it at all. */
static void get_store(struct s3_exchange *x)
{
    int err = 0;

    if (x->op != &S3_SERVICE && x->op != &S3_BUCKET && x->op != &S3_CREATE_BUCKET &&
        x->op != &S3_DELETE_BUCKET) {
        x->use.lost = handle_lost;
        err = store_set_use(x->s3->stores, x->route.bucket, &x->use, handle_store);
    }
    if (err != ZKV_PENDING) {
        handle_store(&x->use, err);
    }
}

static void handle_request(struct http_handler *handler, struct http_stream *stream,
                           const struct http_request *req)
{
    struct s3_exchange *x = arena_alloc(req->arena, sizeof(*x));
    const char *message = NULL;
    int err;

    stream->exchange = x;
    if (x == NULL) {
        struct http_response res = {.status = 503, .close = true};
        stream->ops->respond(stream, &res);
        return;
    }
    memset(x, 0, sizeof(*x));
    x->s3 = container_of(handler, struct s3, handler);
    x->stream = stream;
    x->req = req;
    new_request_id(x);
    s3_head_parse(req, &x->head);
    if (!let_in(x)) {
        return;
    }
    err = s3_link_headers(&x->req, &x->head);
    if (err != 0) {
        s3_refuse(x, err == ZERR_NOMEM ? S3_SLOW_DOWN : S3_INVALID_ARGUMENT, NULL);
        return;
    }
    s3_route_parse(req->method, req->target, req->arena, &x->route);
    if (!is_permitted(x)) {
        s3_refuse(x, S3_FORBIDDEN, NULL);
    } else if (wants_bucket(&x->route) && !store_set_has(x->s3->stores, x->route.bucket)) {
        s3_refuse(x, S3_NO_SUCH_BUCKET, NULL);
    } else if (x->route.op == S3_OP_ERROR) {
        s3_refuse(x, x->route.error, NULL);
    } else if (s3_head_refused(&x->head, &message) != S3_N_CODES) {
        s3_refuse(x, s3_head_refused(&x->head, &message), message);
    } else {
        x->op = choose_op(x);
        get_store(x);
    }
}

static void handle_body(struct http_handler *handler, struct http_stream *stream, struct slice data)
{
    struct s3_exchange *x = stream->exchange;

    (void)handler;
    if (x != NULL && !x->responded) {
        s3_payload_feed(x, data);
    }
}

static void handle_end(struct http_handler *handler, struct http_stream *stream)
{
    struct s3_exchange *x = stream->exchange;

    (void)handler;
    if (x == NULL || x->responded) {
        return;
    }
    if (has_idle_body(x)) {
        idle_end(x);
    } else if (x->op->end != NULL && s3_payload_end(x)) {
        x->op->end(x);
    }
}

static void handle_sent(struct http_handler *handler, struct http_stream *stream)
{
    struct s3_exchange *x = stream->exchange;

    (void)handler;
    if (x != NULL && x->op != NULL && x->op->sent != NULL) {
        x->op->sent(x);
    }
}

static void handle_done(struct http_handler *handler, struct http_stream *stream, bool complete)
{
    struct s3_exchange *x = stream->exchange;

    (void)handler, (void)complete;
    if (x == NULL) {
        return;
    }
    if (x->op != NULL && x->op->drop != NULL) {
        x->op->drop(x);
    }
    if (x->call != NULL) {
        x->call->x = NULL;
    }
    store_use_end(&x->use);
    s3_payload_drop(x);
    buf_finish(&x->xml);
    x->s3->n_xml -= x->n_xml;
    stream->exchange = NULL;
}

/* ---- life cycle ---- */

bool s3_bucket_name_ok(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n > 63 || name[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '.' && c != '-' && c != '_') {
            return false;
        }
    }
    return true;
}

int s3_create(const struct s3_config *config, struct s3 **ret)
{
    struct timespec t = {0};
    struct s3 *s3;

    s3 = calloc(1, sizeof(*s3));
    if (s3 == NULL) {
        return ZERR_NOMEM;
    }
    s3->handler = (struct http_handler){
        .request = handle_request,
        .body = handle_body,
        .end = handle_end,
        .sent = handle_sent,
        .done = handle_done,
    };
    s3->stores = config->stores;
    s3->auth = config->auth;
    s3->https = config->https;
    s3->slow_ms = config->slow_ms > 0 ? config->slow_ms : S3_SLOW_MS;
    /* Ids of different sessions should differ, nothing more. */
    (void)clock_gettime(CLOCK_REALTIME, &t);
    s3->next_request_id = ((uint64_t)t.tv_sec << 32) + 1;
    *ret = s3;
    return 0;
}

void s3_destroy(struct s3 *s3)
{
    if (s3 == NULL) {
        return;
    }
    while (s3->free_chunks != NULL) {
        struct s3_chunk *c = s3->free_chunks;
        s3->free_chunks = c->next_free;
        free(c);
    }
    free(s3);
}

struct http_handler *s3_handler(struct s3 *s3)
{
    return &s3->handler;
}
