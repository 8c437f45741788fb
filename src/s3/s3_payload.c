/* Bodies, see s3_payload.h. */
#include "s3/s3_payload.h"

#include <strings.h>

#include "s3/s3_exchange.h"

/* The forms of aws-chunked coding. Signatures with elliptic curves are not offered. */
static const struct {
    const char *name;
    bool chunks_signed, has_trailers;
} FORMS[] = {
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, false},
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true},
    {"STREAMING-UNSIGNED-PAYLOAD", false, false},
    {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", false, true},
};
#define N_FORMS (sizeof(FORMS) / sizeof(FORMS[0]))

static bool refuse(struct s3_exchange *x, enum s3_code code, const char *message)
{
    if (x->op->drop != NULL) {
        x->op->drop(x);
    }
    s3_refuse(x, code, message);
    return false;
}

static bool no_memory(struct s3_exchange *x)
{
    if (x->op->drop != NULL) {
        x->op->drop(x);
    }
    s3_fail(x, ZERR_NOMEM);
    return false;
}

/* ---- the head ---- */

static struct s3_digest *get_digest(struct s3_exchange *x)
{
    if (x->payload.digest == NULL) {
        x->payload.digest = s3_digest_create();
    }
    return x->payload.digest;
}

static bool begin_chunked(struct s3_exchange *x, struct slice name)
{
    struct s3_payload *p = &x->payload;
    size_t i = 0;

    while (i < N_FORMS && !slice_eq_str(name, FORMS[i].name)) {
        i++;
    }
    if (i == N_FORMS) {
        return refuse(x, S3_NOT_IMPLEMENTED, "This form of x-amz-content-sha256 is not offered.");
    }
    if (x->s3->auth != NULL && !x->who.has_chain) {
        return refuse(x, S3_FORBIDDEN, NULL);
    }
    if (x->head.decoded_length.ptr == NULL) {
        return refuse(x, S3_MISSING_CONTENT_LENGTH,
                      "You must provide the x-amz-decoded-content-length HTTP header.");
    }
    p->chunks_signed = FORMS[i].chunks_signed;
    p->has_trailers = FORMS[i].has_trailers;
    p->declared = p->has_trailers ? x->head.trailer : slice_of(NULL, 0);
    p->chunked = arena_alloc(x->req->arena, sizeof(*p->chunked));
    if (p->chunked == NULL) {
        return no_memory(x);
    }
    memset(p->chunked, 0, sizeof(*p->chunked));
    if (p->chunks_signed && x->who.has_chain &&
        (get_digest(x) == NULL || s3_digest_want_chain(p->digest, &x->who.chain) != 0)) {
        return no_memory(x);
    }
    return true;
}

/* x-amz-content-sha256. */
static bool begin_form(struct s3_exchange *x)
{
    struct slice form = x->head.content_sha256;
    uint8_t sha256[SHA256_BYTES];

    if (form.ptr == NULL || slice_eq_str(form, "UNSIGNED-PAYLOAD")) {
        return true;
    }
    if (slice_has_prefix(form, SLICE_LIT("STREAMING-"))) {
        return begin_chunked(x, form);
    }
    if (hex_decode(form, sha256, sizeof(sha256)) != 0) {
        return refuse(x, S3_INVALID_ARGUMENT,
                      "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-..., or a valid "
                      "sha256 value.");
    }
    return (get_digest(x) != NULL && s3_digest_want_payload(x->payload.digest, sha256) == 0) ||
           no_memory(x);
}

static bool begin_size(struct s3_exchange *x)
{
    struct s3_payload *p = &x->payload;

    if (x->req->has_length && p->chunked == NULL) {
        p->has_size = true;
        p->size = x->req->length;
    } else if (x->head.decoded_length.ptr != NULL) {
        if (num_parse_u64(x->head.decoded_length, UINT64_MAX, &p->size) != 0) {
            return refuse(x, S3_INVALID_ARGUMENT, "x-amz-decoded-content-length is not a number.");
        }
        p->has_size = true;
    }
    return true;
}

static bool want_checksum(struct s3_exchange *x, enum s3_checksum kind)
{
    if (s3_payload_checksum(x) != S3_CHECKSUMS) {
        return refuse(x, S3_INVALID_REQUEST,
                      "Expecting a single x-amz-checksum- header. Multiple checksum Types are not "
                      "allowed.");
    }
    return (get_digest(x) != NULL && s3_digest_want_checksum(x->payload.digest, kind) == 0) ||
           no_memory(x);
}

static bool expect_checksum(struct s3_exchange *x, enum s3_checksum kind, struct slice text)
{
    uint8_t value[S3_CHECKSUM_BYTES];

    if (base64_decode(text, value, s3_checksum_bytes(kind)) != 0) {
        return refuse(x, S3_INVALID_REQUEST,
                      "The value of x-amz-checksum-... is not base64 of the right length.");
    }
    s3_digest_expect(x->payload.digest, value);
    return true;
}

/* x-amz-checksum-* in the head, or announced for the trailers. */
static bool begin_checksums(struct s3_exchange *x)
{
    struct slice rest = x->payload.declared, name;

    /* In the head of a completion they are about the object, and not about the XML that comes. */
    bool about_body = x->route.op != S3_OP_COMPLETE_UPLOAD;

    for (size_t i = 0; about_body && i < x->req->n_headers; i++) {
        const struct http_header *h = &x->req->headers[i];
        enum s3_checksum kind = s3_checksum_of_header(h->name);
        if (kind != S3_CHECKSUMS &&
            (!want_checksum(x, kind) || !expect_checksum(x, kind, h->value))) {
            return false;
        }
    }
    while (s3_next_item(&rest, &name)) {
        enum s3_checksum kind = s3_checksum_of_header(name);
        if (kind != S3_CHECKSUMS && !want_checksum(x, kind)) {
            return false;
        }
        x->payload.late |= kind != S3_CHECKSUMS;
    }
    return true;
}

/* That of an object is the store's to check: it computes it anyway. */
static bool begin_md5(struct s3_exchange *x)
{
    uint8_t md5[16];

    if (x->head.content_md5.ptr == NULL || x->op == &S3_PUT) {
        return true;
    }
    if (base64_decode(x->head.content_md5, md5, sizeof(md5)) != 0) {
        return refuse(x, S3_INVALID_DIGEST, NULL);
    }
    return (get_digest(x) != NULL && s3_digest_want_md5(x->payload.digest, md5) == 0) ||
           no_memory(x);
}

bool s3_payload_begin(struct s3_exchange *x)
{
    return begin_md5(x) && begin_form(x) && begin_size(x) && begin_checksums(x);
}

/* ---- the body ---- */

/* Bytes of the object. False: the operation has answered, or this has. */
static bool give(struct s3_exchange *x, struct slice data)
{
    struct s3_payload *p = &x->payload;

    x->received += data.len;
    if (p->has_size && x->received > p->size) {
        return refuse(x, S3_INCOMPLETE_BODY, NULL);
    }
    if (p->digest != NULL && !p->taken) {
        if (s3_digest_update(p->digest, data, p->begins ? p->signature : NULL) != 0) {
            return no_memory(x);
        }
        p->begins = false;
    }
    if (x->op->body != NULL) {
        x->op->body(x, data);
    } else if (x->received > S3_XML_MAX_BYTES) {
        return refuse(x, S3_MAX_MESSAGE_LENGTH, NULL);
    }
    return !x->responded;
}

static bool begin_chunk(struct s3_exchange *x)
{
    struct s3_payload *p = &x->payload;
    bool last = p->chunked->left == 0;

    if (p->chunks_signed && !p->chunked->has_signature) {
        return refuse(x, S3_INCOMPLETE_BODY, "A chunk of the body has no signature.");
    }
    if (p->chunks_signed) {
        memcpy(last ? p->last : p->signature, p->chunked->signature, AWS_SIGNATURE_BYTES);
        p->begins = !last;
    }
    return true;
}

/* One line of the canonical trailers. */
static int note_trailer(struct s3_payload *p, struct slice name, struct slice value)
{
    size_t at = p->trailers.len;
    int err = buf_append(&p->trailers, name.ptr, name.len);

    for (; err == 0 && at < p->trailers.len; at++) {
        uint8_t *c = &p->trailers.ptr[at];
        *c = *c >= 'A' && *c <= 'Z' ? (uint8_t)(*c + 32) : *c;
    }
    if (err == 0) {
        err = buf_append_str(&p->trailers, ":");
    }
    if (err == 0) {
        err = buf_append(&p->trailers, value.ptr, value.len);
    }
    return err == 0 ? buf_append_str(&p->trailers, "\n") : err;
}

static bool is_declared(const struct s3_payload *p, struct slice name)
{
    struct slice rest = p->declared, item;

    while (s3_next_item(&rest, &item)) {
        if (item.len == name.len && item.len > 0 &&
            strncasecmp((const char *)item.ptr, (const char *)name.ptr, item.len) == 0) {
            return true;
        }
    }
    return false;
}

static bool take_trailer(struct s3_exchange *x, struct slice name, struct slice value)
{
    struct s3_payload *p = &x->payload;
    enum s3_checksum kind = s3_checksum_of_header(name);

    if (p->has_trailers && p->chunks_signed && !p->has_trailer_signature &&
        s3_eq_nocase(name, "x-amz-trailer-signature")) {
        p->has_trailer_signature = true;
        return hex_decode(value, p->trailer_signature, sizeof(p->trailer_signature)) == 0 ||
               refuse(x, S3_MALFORMED_TRAILER, NULL);
    }
    if (p->has_trailer_signature || !is_declared(p, name)) {
        return refuse(x, S3_MALFORMED_TRAILER, NULL);
    }
    if (note_trailer(p, name, value) != 0) {
        return no_memory(x);
    }
    if (kind == S3_CHECKSUMS) {
        return true;
    }
    if (p->late_came) {
        return refuse(x, S3_MALFORMED_TRAILER, NULL);
    }
    p->late_came = true;
    return expect_checksum(x, kind, value);
}

static bool feed_chunked(struct s3_exchange *x, struct slice *data)
{
    struct aws_chunked_piece piece;
    size_t used;

    if (aws_chunked_next(x->payload.chunked, *data, &used, &piece) != 0) {
        return refuse(x, S3_INCOMPLETE_BODY, "The body is not in aws-chunked coding.");
    }
    *data = slice_of(data->ptr + used, data->len - used);
    switch (piece.event) {
    case AWS_CHUNK:
        return begin_chunk(x);
    case AWS_BYTES:
        return give(x, piece.data);
    case AWS_TRAILER:
        return take_trailer(x, piece.name, piece.data);
    case AWS_MORE:
        break;
    }
    return true;
}

void s3_payload_feed(struct s3_exchange *x, struct slice data)
{
    x->payload.framed |= data.len > 0;
    if (x->payload.chunked == NULL) {
        (void)give(x, data);
        return;
    }
    while (data.len > 0 && feed_chunked(x, &data)) {
    }
}

/* ---- the end ---- */

/* All of the coding has come. Of an empty object some clients send none of it. */
static bool end_chunked(struct s3_exchange *x)
{
    struct s3_payload *p = &x->payload;
    uint8_t hash[SHA256_BYTES];

    if (p->late && !p->late_came && (!p->framed || aws_chunked_ended(p->chunked))) {
        return refuse(x, S3_MALFORMED_TRAILER, NULL);
    }
    if (!p->framed && p->size == 0) {
        return true;
    }
    if (!aws_chunked_ended(p->chunked)) {
        return refuse(x, S3_INCOMPLETE_BODY, NULL);
    }
    if (!p->chunks_signed) {
        return true;
    }
    if (p->has_trailers && !p->has_trailer_signature) {
        return refuse(x, S3_MALFORMED_TRAILER, NULL);
    }
    if (!x->who.has_chain) { /* nobody knows the key */
        return true;
    }
    if (s3_sha256(buf_slice(&p->trailers), hash) != 0) {
        return no_memory(x);
    }
    s3_digest_end_chunks(p->digest, p->last, hash, p->has_trailers ? p->trailer_signature : NULL);
    return true;
}

bool s3_payload_refuse(struct s3_exchange *x)
{
    const struct s3_digest *d = x->payload.digest;

    if (d == NULL || d->code == S3_N_CODES) {
        return false;
    }
    (void)refuse(x, d->code, d->message);
    return true;
}

bool s3_payload_end(struct s3_exchange *x)
{
    struct s3_payload *p = &x->payload;
    int err;

    if (p->chunked != NULL && !end_chunked(x)) {
        return false;
    }
    if (p->has_size && x->received != p->size) {
        return refuse(x, S3_INCOMPLETE_BODY, NULL);
    }
    if (p->digest == NULL || p->taken) {
        return true;
    }
    err = s3_digest_finish(p->digest);
    return err == 0 || (err == ZERR_BAD_DIGEST ? !s3_payload_refuse(x) : no_memory(x));
}

void s3_payload_drop(struct s3_exchange *x)
{
    s3_digest_unref(x->payload.digest);
    x->payload.digest = NULL;
    buf_finish(&x->payload.trailers);
}

/* ---- for uploads ---- */

struct put_hasher *s3_payload_hasher(struct s3_exchange *x)
{
    if (x->payload.digest == NULL) {
        return NULL;
    }
    x->payload.taken = true;
    return s3_digest_hasher(x->payload.digest);
}

int s3_payload_want(struct s3_exchange *x, enum s3_checksum kind)
{
    return get_digest(x) == NULL ? ZERR_NOMEM : s3_digest_want_checksum(x->payload.digest, kind);
}

enum s3_checksum s3_payload_checksum(const struct s3_exchange *x)
{
    return x->payload.digest != NULL ? x->payload.digest->checksum : S3_CHECKSUMS;
}

int s3_payload_room(struct s3_exchange *x, struct attrs *sys)
{
    static const char ROOM[S3_CHECKSUM_TEXT];
    enum s3_checksum kind = s3_payload_checksum(x);
    struct attr *v = arena_alloc(x->req->arena, (sys->n + 1) * sizeof(*v));

    if (v == NULL) {
        return ZERR_NOMEM;
    }
    if (sys->n > 0) {
        memcpy(v, sys->v, sys->n * sizeof(*v));
    }
    v[sys->n] = (struct attr){.name = slice_str(s3_checksum_header(kind)),
                              .value = slice_of(ROOM, BASE64_LEN(s3_checksum_bytes(kind)))};
    *sys = (struct attrs){v, sys->n + 1};
    return 0;
}
