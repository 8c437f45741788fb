/* One request on its way through the operations: the inside of s3, for the files of this folder.
 *
 * An exchange lives in its request's arena, from request() to done(). s3.c makes it, chooses the
 * operation and forwards the transport's events; the operation answers through the functions below.
 *
 * Calls of the transport (proceed, resume, respond, send, cut) never call back before they return,
 * and the store's never call back before they return either: functions here are not re-entered.
 *
 * Calls of the store that cannot be given up (delete, copy, list) hang on a struct s3_call, which
 * is on the heap and outlives the exchange: done() detaches it. */
#ifndef ZKV_S3_S3_EXCHANGE_H
#define ZKV_S3_S3_EXCHANGE_H

#include "http/http_msg.h"
#include "s3/s3.h"
#include "s3/s3_assembly.h"
#include "s3/s3_auth.h"
#include "s3/s3_error.h"
#include "s3/s3_headers.h"
#include "s3/s3_payload.h"
#include "s3/s3_route.h"
#include "s3/s3_xml.h"

/* Limits and sizes of this layer. */
#define S3_FIRST_READ (64u << 10) /* of a GET: goes out with the head */
#define S3_NEXT_READ (128u << 10) /* the other pieces; at most READ_MAX_BYTES */
#define S3_SMALL_BODY (64u << 10) /* an answer up to this is sent with its head */
#define S3_LIST_MAX_KEYS 1000
#define S3_PUT_MAX_BYTES (5ull << 30) /* of one PUT, an object or a part, as on S3 */
/* What all requests together may hold; above it new ones are told to come back later. The XML, of
 * bodies and answers, is more than HTTP_UNSENT_MAX: who pins it by not reading is cut. */
#define S3_XML_TOTAL_MAX (10u << 20)
#define S3_STREAMS_MAX 256  /* GETs of more than S3_FIRST_READ */
#define S3_STREAMS_AHEAD 32 /* if there are more, each has one small piece at a time */
#define S3_COPIES_MAX 32    /* of bytes, at a time */
#define S3_CHUNKS_KEPT 64   /* free chunks kept for the next upload */
#define S3_WARN_INTERVAL_MS 10000
#define S3_WARN_KINDS 32 /* one for each enum zerr, 0 for the rest */

/* Of answers that begin before they are known: when, and how often something is said then; how long they
 * are in all, which is enough for half a day; and what is kept for the XML, of which the longest is an error
 * that names a key of nothing but '&'. */
#define S3_SLOW_MS 5000
#define S3_SLOW_BYTES 16384u
#define S3_SLOW_LAST 8192u

#define S3_REQUEST_ID_LEN 16

struct s3_exchange;

/* What an operation does; each but start may be NULL. */
struct s3_op {
    void (*start)(struct s3_exchange *);
    void (*body)(struct s3_exchange *, struct slice data);
    void (*end)(struct s3_exchange *);
    void (*sent)(struct s3_exchange *);
    void (*drop)(struct s3_exchange *); /* the exchange ends: let go of everything */
};

extern const struct s3_op S3_SERVICE, S3_BUCKET, S3_CREATE_BUCKET, S3_DELETE_BUCKET, S3_LIST,
    S3_DELETE, S3_DELETE_MANY, S3_GET, S3_PUT, S3_COPY, S3_STUB, S3_PUT_ACL, S3_ATTRIBUTES,
    S3_BEGIN_UPLOAD, S3_COMPLETE_UPLOAD, S3_ABORT_UPLOAD, S3_LIST_PARTS, S3_LIST_UPLOADS;

/* A store call under way. x is NULL once the exchange has ended. */
struct s3_call {
    struct s3_exchange *x;
};

/* A body slice on its way to the disk, with the transport's buffer it lies in. From a list of
 * struct s3: the store may hold it longer than the exchange lives. */
struct s3_chunk {
    struct chunk base;
    struct s3 *s3;
    void (*unhold)(void *token);
    void *token;
    bool begins; /* a signed chunk of aws-chunked coding, with this signature */
    uint8_t signature[AWS_SIGNATURE_BYTES];
    struct s3_chunk *next_free;
};

struct s3_put_state {
    struct put *put; /* NULL before put_begin() and when it has ended */
    uint8_t md5[16];
    bool has_md5;
};

struct s3_piece {
    struct http_send send;
    struct s3_exchange *x;
    bool busy;
};

struct s3_get_state {
    struct reader *reader;
    struct s3_range range;
    uint64_t off, end; /* what is still to be read */
    struct s3_piece pieces[HTTP_SENDS_IN_FLIGHT];
    unsigned n_out; /* pieces handed to the transport */
    bool reading;   /* reader_read() is pending */
    bool failed;
    bool streams; /* counts in s3->n_streams */
};

struct s3_copy_state {
    struct reader *reader;
    struct slice source_bucket, source_key;
    struct store_use source; /* where it is another bucket */
    struct put *put;         /* bytes on their way, s3_copy_bytes.c; NULL: none, or it has ended */
    uint64_t off, end, len;  /* of the source: what is still to be read; all that is copied */
    bool reading, committed; /* reader_read() is pending; put_commit() was called */
    bool counted;            /* in s3->n_copies */
    bool replace;
    struct copy_spec spec;
    uint64_t upload; /* UploadPartCopy: not 0 */
    uint32_t part;
};

struct s3_delete_state {
    struct s3_delete_list list;
    struct slice *keys; /* those handed to the store */
    size_t n_keys;
    struct buf body;
};

struct s3_list_state {
    bool v2, versions, url, owner;
    struct list_query query;
};

struct s3_bucket_state {
    struct buf body; /* CreateBucket's */
    bool elsewhere;  /* it names a region that is not the default one */
};

struct s3_upload_state {
    uint64_t id, after, max; /* of the lists */
    bool url;
    struct s3_agreement agreement; /* of one that begins, or whose parts are listed */
    struct buf body;               /* CompleteMultipartUpload's */
    struct s3_complete_list list;  /* what it names */
};

/* An answer that begins before it is known (s3_answer.c). */
struct s3_slow {
    int64_t since_ms;      /* the last word, or when it was first asked for one; 0: never */
    size_t left;           /* of the body, still to be sent; 0: it has not begun, or has ended */
    struct http_send send; /* of a space */
    bool busy;
};

struct s3_exchange {
    struct s3 *s3;
    struct http_stream *stream;
    const struct http_request *req;
    const struct s3_op *op;
    struct store_use use; /* of the bucket's store, from start() on */
    struct store *store;  /* that */
    struct s3_route route;
    struct s3_head head;
    struct s3_identity who;
    struct s3_call *call;
    bool responded;
    int status;        /* of the answer */
    bool paused;       /* the transport was told to bring nothing */
    uint64_t received; /* bytes of the object */
    struct s3_payload payload;

    struct buf xml;            /* an answer's body, until done() */
    struct http_send xml_send; /* where it does not go with the head */
    size_t n_xml;              /* its share of s3->n_xml */
    struct s3_slow slow;
    char request_id[S3_REQUEST_ID_LEN];
    struct slice content_range; /* of an answer to a range that cannot be had */

    union {
        struct s3_put_state put;
        struct s3_get_state get;
        struct s3_copy_state copy;
        struct s3_delete_state del;
        struct s3_list_state list;
        struct s3_upload_state upload;
        struct buf body; /* of PUT ?acl */
        struct s3_bucket_state bucket;
    } u;
};

struct s3 {
    struct http_handler handler;
    struct store_set *stores;
    struct s3_auth *auth;
    bool https;
    int64_t slow_ms;
    uint64_t next_request_id;
    struct s3_chunk *free_chunks;
    size_t n_free_chunks;
    unsigned n_streams;
    unsigned n_copies; /* of bytes */
    uint64_t n_xml;
    /* Warnings, by kind: when the last one was, and how many were kept back since. */
    struct s3_warning {
        bool given;
        int64_t last_ms;
        uint64_t held_back;
    } warned[S3_WARN_KINDS];
};

/* ---- answering: once an exchange ---- */

/* The head of an answer under construction, in the arena. Out of memory: `failed`. */
struct s3_reply {
    struct http_header *headers;
    size_t n, cap;
    bool failed;
};

void s3_reply_init(struct s3_reply *, struct s3_exchange *, size_t max_headers);
/* Values must live until the answer; empty values are sent as they are. */
void s3_reply_add(struct s3_reply *, const char *name, struct slice value);
void s3_reply_add_slice(struct s3_reply *, struct slice name, struct slice value);

/* A checksum and its type: two headers. */
void s3_reply_add_checksum(struct s3_reply *, const char *name, struct slice value);

/* status, headers, length of the body and as much of it as goes with the head. */
void s3_respond(struct s3_exchange *, struct s3_reply *, int status, uint64_t length,
                struct slice body);
/* 200 with x->xml as it stands, if err is 0. */
void s3_respond_xml(struct s3_exchange *, int err);
/* The same with headers; r has room for one more. */
void s3_respond_xml_with(struct s3_exchange *, struct s3_reply *, int err);
/* An empty answer with no headers of its own. */
void s3_respond_empty(struct s3_exchange *, int status);

/* Refuses with the table's error; detail (may be NULL) replaces the table's sentence. */
void s3_refuse(struct s3_exchange *, enum s3_code, const char *detail);
/* The same with all that there is to tell; zerr: what the store said, or 0. */
void s3_refuse_with(struct s3_exchange *, const struct s3_refusal *, int zerr);
/* The same for a failure of the store; 5xx are logged. */
void s3_fail(struct s3_exchange *, int zerr);
/* The body cannot be completed: cuts the connection. */
void s3_cut(struct s3_exchange *, int zerr);
/* To be called from time to time by what may take long and ends in XML or a refusal: the client hears
 * something, at first after S3_SLOW_MS. */
void s3_still_here(struct s3_exchange *);

/* ---- memory that slow clients could pin ---- */

/* x holds n more bytes of XML, until done(). */
void s3_count_xml(struct s3_exchange *, size_t n);
/* No more of it, for now. */
bool s3_xml_is_full(const struct s3 *);

/* ---- the body ---- */

/* Not to be brought any more of it for now. Ended by s3_resume(), which does nothing if there was no
 * pause, or by the answer. */
void s3_pause(struct s3_exchange *);
void s3_resume(struct s3_exchange *);

/* ---- bodies that are XML ---- */

/* Asks for it, or refuses one that is too long or too much. A start of an operation. */
void s3_body_start(struct s3_exchange *);
/* The next of it, behind what `body` has; counted. Or refuses. */
void s3_body_add(struct s3_exchange *, struct buf *body, struct slice data);

/* ---- store calls ---- */

struct s3_call *s3_call_begin(struct s3_exchange *); /* NULL: no memory */
/* Frees it; NULL: the exchange is gone. */
struct s3_exchange *s3_call_end(struct s3_call *);

/* ---- chunks ---- */

/* Takes hold of the transport's buffer around `data` (inside body() only). NULL: no memory. */
struct s3_chunk *s3_chunk_take(struct s3_exchange *, struct slice data);

/* A call of the store that was refused at once; call NULL: there was no memory for it. */
void s3_call_failed(struct s3_exchange *, struct s3_call *, int err);

/* What an UploadId names. ZERR_NO_UPLOAD: nothing. */
int s3_upload_id(struct slice text, uint64_t *ret) ZKV_MUST_CHECK;
void s3_write_upload_id(struct s3_xml *, const char *name, uint64_t id);
/* The upload and part that the query names, which must be under way. Or it has been refused:
 * ZERR_INVALID. The checksum that was agreed on is wanted of the body from now on. */
int s3_part_of_upload(struct s3_exchange *, uint64_t *ret_upload,
                      uint32_t *ret_part) ZKV_MUST_CHECK;

/* A bucket cannot be used: what store_set_use() said. */
void s3_fail_bucket(struct s3_exchange *, int zerr);

/* ---- copies (s3_copy.c, s3_copy_bytes.c) ---- */

/* Copies [from, from + len) of the source, whose reader is open, into the object or part that
 * x->u.copy is about, and answers. */
void s3_copy_bytes(struct s3_exchange *, uint64_t from, uint64_t len);
void s3_copy_bytes_drop(struct s3_exchange *);
/* reader_ops.read of the source's reader; user: the exchange. */
void s3_copy_bytes_read(void *user, int status, struct read_piece);
/* What computes the checksum that the copy or the part's upload wants, and its room in the record; nothing
 * if there is none. */
int s3_copy_hasher(struct s3_exchange *, struct attrs *sys, struct put_hasher **ret) ZKV_MUST_CHECK;
void s3_respond_copied(struct s3_exchange *, const struct object *);

#endif
