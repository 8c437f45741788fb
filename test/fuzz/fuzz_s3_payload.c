/* Bodies of every form, to operations of every kind, with checksums in the head and in trailers: what is
 * accepted is what the request says of it, and what was made right is accepted.
 *
 * Input: seven bytes (struct plan below), then either a request as somebody might send it (lines
 * "name:value", an empty one, and the bytes of the body as they travel), or the content alone: then
 * the request is made of it here, right but for one thing that the plan says, and the verdict is known. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/crc.h"
#include "base/log.h"
#include "s3/s3_crypto.h"
#include "s3/s3_exchange.h"

#define PIECES_MAX 64 /* of what is made here, so that a long content takes no longer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* What the first bytes choose. */
struct plan {
    uint8_t op, form, flags, slice, sum, spoil, chunk;
};
enum { MADE = 1, VERIFIED = 2, HAS_LENGTH = 4, HAS_MD5 = 8 }; /* flags */
enum spoil {
    NOTHING,
    A_BYTE,
    THE_END,
    THE_LENGTH,
    THE_SUM,
    THE_MD5,
    A_SIGNATURE,
    LAST_SIGNATURE,
    TRAILER_SIGNATURE,
    NO_TRAILER,
    SPOILS
};

static const struct {
    const char *name;
    bool chunked, is_signed, trailers;
} FORMS[] = {
    {NULL, false, false, false},
    {"UNSIGNED-PAYLOAD", false, false, false},
    {"HEX", false, false, false},
    {"STREAMING-UNSIGNED-PAYLOAD", true, false, false},
    {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", true, false, true},
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, true, false},
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true, true},
};
#define N_FORMS (sizeof(FORMS) / sizeof(FORMS[0]))

/* ---- the world around one body ---- */

struct world {
    struct plan plan;
    struct s3 s3;
    struct http_stream stream;
    struct http_request req;
    struct http_header headers[40];
    struct arena arena;
    struct s3_exchange x;
    struct put_hasher *hasher;
    struct buf wire, got; /* as it travels; what the operation was given */
    struct buf text;      /* of headers that are made here */
    size_t content_at;    /* in the wire */
    bool begun, accepted;
    unsigned n_drops;
};

static void respond(struct http_stream *stream, const struct http_response *res)
{
    (void)stream;
    require(res->status >= 400);
}

static void resume(struct http_stream *stream)
{
    (void)stream;
}

static const struct http_stream_ops STREAM_OPS = {.respond = respond, .resume = resume};

static struct world *world_of(struct s3_exchange *x)
{
    return container_of(x, struct world, x);
}

static void take_body(struct s3_exchange *x, struct slice data)
{
    struct world *w = world_of(x);

    require(buf_append(&w->got, data.ptr, data.len) == 0);
}

/* As an upload does: the store hashes, with the signatures that chunks bring along. */
static void hash_body(struct s3_exchange *x, struct slice data)
{
    struct world *w = world_of(x);
    struct s3_chunk c = {.base = {.data = data.ptr, .len = data.len}, .begins = x->payload.begins};

    memcpy(c.signature, x->payload.signature, sizeof(c.signature));
    x->payload.begins = false;
    take_body(x, data);
    if (w->hasher != NULL) {
        require(w->hasher->update(w->hasher, &c.base) == 0);
    }
}

/* The same while the body comes and when all of it is done with. */
static void let_go(struct s3_exchange *x)
{
    struct world *w = world_of(x);

    w->n_drops++;
    if (w->hasher != NULL) {
        w->hasher->release(w->hasher);
        w->hasher = NULL;
    }
}

static const struct s3_op READS = {.body = take_body, .drop = let_go},
                          UPLOADS = {.body = hash_body, .drop = let_go},
                          HAS_NO_USE = {.drop = let_go};
static const struct {
    enum s3_op_kind kind;
    const struct s3_op *op;
} OPS[] = {
    {S3_OP_PUT_OBJECT, &UPLOADS},      {S3_OP_UPLOAD_PART, &UPLOADS},
    {S3_OP_COMPLETE_UPLOAD, &READS},   {S3_OP_DELETE_OBJECTS, &READS},
    {S3_OP_PUT_ACL, &READS},           {S3_OP_CREATE_BUCKET, &READS},
    {S3_OP_PUT_OBJECT, &HAS_NO_USE},   {S3_OP_GET_OBJECT, &HAS_NO_USE},
    {S3_OP_BEGIN_UPLOAD, &HAS_NO_USE}, {S3_OP_DELETE_OBJECT, &HAS_NO_USE},
};
#define N_OPS (sizeof(OPS) / sizeof(OPS[0]))

/* ---- what is true of a body ---- */

static void sum_of(enum s3_checksum kind, struct slice body, uint8_t ret[S3_CHECKSUM_BYTES])
{
    static const enum crc_kind CRCS[] = {
        [S3_CRC32] = CRC_32, [S3_CRC32C] = CRC_32C, [S3_CRC64NVME] = CRC_64NVME};

    if (kind == S3_SHA1 || kind == S3_SHA256) {
        const EVP_MD *md = kind == S3_SHA1 ? EVP_sha1() : EVP_sha256();
        require(EVP_Digest(body.ptr, body.len, ret, NULL, md, NULL) == 1);
        return;
    }
    uint64_t crc = crc_update(CRCS[kind], 0, body.ptr, body.len);
    for (size_t i = s3_checksum_bytes(kind); i-- > 0; crc >>= 8) {
        ret[i] = (uint8_t)crc;
    }
}

static void md5_of(struct slice body, uint8_t ret[16])
{
    require(EVP_Digest(body.ptr, body.len, ret, NULL, EVP_md5(), NULL) == 1);
}

/* A header or trailer "x-amz-checksum-...: value" of an accepted body. */
static void check_sum(struct slice name, struct slice value, struct slice body)
{
    enum s3_checksum kind = s3_checksum_of_header(name);
    uint8_t is[S3_CHECKSUM_BYTES], said[S3_CHECKSUM_BYTES];

    if (kind != S3_CHECKSUMS) {
        sum_of(kind, body, is);
        require(base64_decode(value, said, s3_checksum_bytes(kind)) == 0);
        require(memcmp(is, said, s3_checksum_bytes(kind)) == 0);
    }
}

static bool is_announced(struct slice list, struct slice name)
{
    struct slice item;

    while (s3_next_item(&list, &item)) {
        if (item.len == name.len &&
            strncasecmp((const char *)item.ptr, (const char *)name.ptr, name.len) == 0) {
            return true;
        }
    }
    return false;
}

static void check_trailers(struct slice announced, struct slice lines, struct slice body)
{
    while (lines.len > 0) {
        const uint8_t *end = memchr(lines.ptr, '\n', lines.len);
        const uint8_t *colon = memchr(lines.ptr, ':', lines.len);
        require(end != NULL && colon != NULL && colon < end);
        struct slice name = slice_of(lines.ptr, (size_t)(colon - lines.ptr));
        require(is_announced(announced, name));
        check_sum(name, slice_of(colon + 1, (size_t)(end - colon) - 1), body);
        lines = slice_of(end + 1, lines.len - (size_t)(end - lines.ptr) - 1);
    }
}

/* All that the request says of its body is so. */
static void check_accepted(struct world *w, struct slice trailers)
{
    const struct s3_head *h = &w->x.head;
    struct slice body = buf_slice(&w->got);
    uint8_t hash[SHA256_BYTES], said[SHA256_BYTES];

    require(w->x.received == body.len || w->x.op->body == NULL);
    if (w->x.op->body == NULL) {
        return; /* the bytes are gone: only what was made here can be judged */
    }
    require(!w->x.payload.has_size || w->x.payload.size == body.len);
    if (h->content_md5.ptr != NULL) {
        md5_of(body, hash);
        require(base64_decode(h->content_md5, said, 16) == 0 && memcmp(hash, said, 16) == 0);
    }
    if (h->content_sha256.len == 2 * SHA256_BYTES) {
        require(s3_sha256(body, hash) == 0 &&
                hex_decode(h->content_sha256, said, SHA256_BYTES) == 0);
        require(memcmp(hash, said, SHA256_BYTES) == 0);
    }
    for (size_t i = 0; w->x.route.op != S3_OP_COMPLETE_UPLOAD && i < w->req.n_headers; i++) {
        check_sum(w->headers[i].name, w->headers[i].value, body);
    }
    check_trailers(h->trailer, trailers, body);
}

/* ---- a body on its way ---- */

static bool finish_upload(struct world *w)
{
    int err = w->hasher == NULL ? 0 : w->hasher->finish(w->hasher, NULL);

    require(err == 0 || err == ZERR_BAD_DIGEST);
    require(err == 0 || s3_payload_refuse(&w->x));
    return err == 0;
}

static void run(struct world *w)
{
    struct s3_exchange *x = &w->x;
    struct slice rest = buf_slice(&w->wire), trailers;

    s3_head_parse(&w->req, &x->head);
    w->begun = s3_payload_begin(x);
    if (w->begun && x->op == &UPLOADS) {
        w->hasher = s3_payload_hasher(x);
    }
    while (w->begun && rest.len > 0 && !x->responded) {
        size_t n = w->plan.slice + 1u < rest.len ? w->plan.slice + 1u : rest.len;
        uint8_t *own = malloc(n); /* of that very size: a byte too far is seen */
        require(own != NULL);
        memcpy(own, rest.ptr, n);
        s3_payload_feed(x, slice_of(own, n));
        free(own);
        rest = slice_of(rest.ptr + n, rest.len - n);
    }
    w->accepted = w->begun && !x->responded && s3_payload_end(x) && finish_upload(w);
    require(w->accepted != x->responded);
    require(w->n_drops == (x->responded ? 1 : 0));
    trailers = buf_slice(&x->payload.trailers);
    if (w->accepted) {
        check_accepted(w, trailers);
    }
}

/* ---- requests that are made here ---- */

static void add_header(struct world *w, const char *name, struct slice value)
{
    require(w->req.n_headers < sizeof(w->headers) / sizeof(w->headers[0]));
    w->headers[w->req.n_headers++] = (struct http_header){slice_str(name), value};
}

static struct slice in_base64(struct world *w, const uint8_t *bytes, size_t n)
{
    char text[S3_CHECKSUM_TEXT + 1];

    base64_encode(bytes, n, text);
    return arena_dup(&w->arena, slice_of(text, BASE64_LEN(n)));
}

/* Signs what has the given hash behind what was signed last. */
static void add_signature(struct world *w, const char *kind, const char *between,
                          const uint8_t hash[SHA256_BYTES], bool spoiled)
{
    struct sigv4_chain *c = &w->x.who.chain;
    char previous[2 * SHA256_BYTES], hex[2 * SHA256_BYTES];
    struct buf text = {0};

    hex_encode(c->previous, SHA256_BYTES, previous);
    hex_encode(hash, SHA256_BYTES, hex);
    require(buf_printf(&text, "AWS4-HMAC-SHA256-%s\n%s\n%s\n%.64s\n%s%.64s", kind, c->time,
                       c->scope, previous, between, hex) == 0);
    require(s3_hmac_sha256(slice_of(c->key, SHA256_BYTES), buf_slice(&text), c->previous) == 0);
    buf_finish(&text);
    hex_encode(c->previous, SHA256_BYTES, hex);
    hex[5] = spoiled ? (hex[5] == '0' ? '1' : '0') : hex[5];
    require(buf_append(&w->wire, hex, sizeof(hex)) == 0);
}

static void add_chunk(struct world *w, struct slice data, bool spoiled)
{
    static const char EMPTY[] =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
    uint8_t hash[SHA256_BYTES];

    require(buf_printf(&w->wire, "%zx", data.len) == 0);
    if (FORMS[w->plan.form].is_signed) {
        require(s3_sha256(data, hash) == 0 && buf_append_str(&w->wire, ";chunk-signature=") == 0);
        add_signature(w, "PAYLOAD", EMPTY, hash, spoiled);
    }
    require(buf_append_str(&w->wire, "\r\n") == 0);
    w->content_at = data.len > 0 ? w->wire.len : w->content_at;
    require(buf_append(&w->wire, data.ptr, data.len) == 0);
    require(data.len == 0 || buf_append_str(&w->wire, "\r\n") == 0);
}

static void add_trailers(struct world *w, const char *name, struct slice value)
{
    struct buf line = {0};
    uint8_t hash[SHA256_BYTES];

    require(name == NULL || w->plan.spoil == NO_TRAILER ||
            buf_printf(&line, "%s:%.*s\n", name, SLICE_FMT(value)) == 0);
    require(buf_append(&w->wire, line.ptr, line.len) == 0);
    if (FORMS[w->plan.form].is_signed) {
        require(s3_sha256(buf_slice(&line), hash) == 0);
        require(buf_append_str(&w->wire, "x-amz-trailer-signature:") == 0);
        add_signature(w, "TRAILER", "", hash, w->plan.spoil == TRAILER_SIGNATURE);
        require(buf_append_str(&w->wire, "\r\n") == 0);
    }
    buf_finish(&line);
}

/* The body as it travels; name and value of its trailer, name NULL: there is none. */
static void make_wire(struct world *w, struct slice body, const char *name, struct slice value)
{
    struct sigv4_chain begin = w->x.who.chain;
    size_t step = w->plan.chunk + 1u, at = 0;

    if (!FORMS[w->plan.form].chunked) {
        require(buf_append(&w->wire, body.ptr, body.len) == 0);
        w->wire.len -= w->plan.spoil == THE_END && body.len > 0;
        return;
    }
    step = step > body.len / PIECES_MAX ? step : body.len / PIECES_MAX + 1;
    for (; at < body.len; at += step) {
        add_chunk(w, slice_of(body.ptr + at, step < body.len - at ? step : body.len - at),
                  at == 0 && w->plan.spoil == A_SIGNATURE);
    }
    if (w->plan.spoil != THE_END) {
        add_chunk(w, slice_of(NULL, 0), w->plan.spoil == LAST_SIGNATURE);
        if (FORMS[w->plan.form].trailers) {
            add_trailers(w, name, value);
        }
        require(buf_append_str(&w->wire, "\r\n") == 0);
    }
    w->x.who.chain = begin;
}

/* Whether the one thing that is not right must be seen; sum, md5, chain: what there is to see it by. */
static bool is_seen(const struct world *w, size_t len, bool sum, bool md5, bool chain)
{
    bool hex = w->plan.form == 2, chunked = FORMS[w->plan.form].chunked;
    bool trailer = FORMS[w->plan.form].trailers && w->plan.sum % (S3_CHECKSUMS + 1) != S3_CHECKSUMS;

    switch ((enum spoil)w->plan.spoil) {
    case A_BYTE:
        return len > 0 && (sum || md5 || hex || chain);
    case THE_END: /* an empty body may come without any chunk */
        return chunked ? len > 0 || trailer
                       : len > 0 && ((w->plan.flags & HAS_LENGTH) != 0 || sum || md5 || hex);
    case THE_LENGTH:
        return chunked || (w->plan.flags & HAS_LENGTH) != 0;
    case THE_SUM:
        return sum;
    case THE_MD5:
        return md5;
    case A_SIGNATURE:
        return chain && len > 0;
    case LAST_SIGNATURE:
        return chain;
    case TRAILER_SIGNATURE:
        return chain && FORMS[w->plan.form].trailers;
    case NO_TRAILER:
        return trailer;
    default:
        return false;
    }
}

/* As they are signed. */
static const char *const NAMES[] = {
    [S3_CRC32] = "x-amz-checksum-crc32",         [S3_CRC32C] = "x-amz-checksum-crc32c",
    [S3_CRC64NVME] = "x-amz-checksum-crc64nvme", [S3_SHA1] = "x-amz-checksum-sha1",
    [S3_SHA256] = "x-amz-checksum-sha256",
};

/* A request with all that the plan asks for, and what must become of it. */
static void made(struct world *w, struct slice body)
{
    enum s3_checksum kind = (enum s3_checksum)(w->plan.sum % (S3_CHECKSUMS + 1));
    enum spoil spoil = (enum spoil)w->plan.spoil;
    bool in_trailer = FORMS[w->plan.form].trailers && kind != S3_CHECKSUMS;
    bool has_md5 = (w->plan.flags & HAS_MD5) != 0, seen;
    uint8_t sum[SHA256_BYTES];
    struct slice value = {0};
    const char *name = kind != S3_CHECKSUMS ? NAMES[kind] : NULL;
    char number[24], hex[2 * SHA256_BYTES];
    size_t says = body.len + (spoil == THE_LENGTH);

    if (w->plan.form == 2) {
        require(s3_sha256(body, sum) == 0);
        hex_encode(sum, SHA256_BYTES, hex);
        add_header(w, "x-amz-content-sha256", arena_dup(&w->arena, slice_of(hex, sizeof(hex))));
    } else if (FORMS[w->plan.form].name != NULL) {
        add_header(w, "x-amz-content-sha256", slice_str(FORMS[w->plan.form].name));
    }
    if (has_md5) {
        md5_of(body, sum);
        sum[3] ^= spoil == THE_MD5;
        add_header(w, "Content-MD5", in_base64(w, sum, 16));
    }
    if (name != NULL) {
        sum_of(kind, body, sum);
        sum[3] ^= spoil == THE_SUM;
        value = in_base64(w, sum, s3_checksum_bytes(kind));
        add_header(w, in_trailer ? "x-amz-trailer" : name, in_trailer ? slice_str(name) : value);
    }
    if (FORMS[w->plan.form].chunked) {
        (void)snprintf(number, sizeof(number), "%zu", says);
        add_header(w, "x-amz-decoded-content-length", arena_dup(&w->arena, slice_str(number)));
    }
    seen =
        is_seen(w, body.len, name != NULL && (in_trailer || w->x.route.op != S3_OP_COMPLETE_UPLOAD),
                has_md5, w->x.who.has_chain && FORMS[w->plan.form].is_signed);
    make_wire(w, body, in_trailer ? name : NULL, value);
    if (spoil == A_BYTE && body.len > 0) {
        w->wire.ptr[w->content_at] ^= 1;
    }
    w->req.has_length = (w->plan.flags & HAS_LENGTH) != 0;
    w->req.length = FORMS[w->plan.form].chunked ? w->wire.len : says;
    w->req.chunked = !w->req.has_length;
    run(w);
    require(w->accepted == !seen);
}

/* ---- requests as they come ---- */

static void raw(struct world *w, struct slice in)
{
    while (in.len > 0 && in.ptr[0] != '\n') {
        const uint8_t *end = memchr(in.ptr, '\n', in.len), *colon;
        size_t n = end != NULL ? (size_t)(end - in.ptr) : in.len;
        colon = memchr(in.ptr, ':', n);
        if (colon != NULL && colon > in.ptr && w->req.n_headers < 40 &&
            memchr(in.ptr, 0, n) == NULL) {
            size_t at = (size_t)(colon - in.ptr);
            w->headers[w->req.n_headers++] =
                (struct http_header){slice_of(in.ptr, at), slice_of(colon + 1, n - at - 1)};
        }
        n += end != NULL;
        in = slice_of(in.ptr + n, in.len - n);
    }
    in = in.len > 0 ? slice_of(in.ptr + 1, in.len - 1) : in;
    require(buf_append(&w->wire, in.ptr, in.len) == 0);
    w->req.has_length = (w->plan.flags & HAS_LENGTH) != 0;
    w->req.length = in.len;
    w->req.chunked = !w->req.has_length;
    run(w);
}

/* The key is one that no input has: what says that it is signed is refused, or nothing of it came. */
static void begin_chain(struct world *w)
{
    struct sigv4_chain *c = &w->x.who.chain;

    w->s3.auth =
        (struct s3_auth *)w; /* somebody has been let in: that it is there is all that counts */
    w->x.who.has_chain = true;
    memset(c->key, 0xa5, sizeof(c->key));
    memset(c->previous, 0x5a, sizeof(c->previous));
    (void)snprintf(c->time, sizeof(c->time), "20260101T000000Z");
    (void)snprintf(c->scope, sizeof(c->scope), "20260101/pi/s3/aws4_request");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w; /* large */

    if (size < sizeof(w.plan)) {
        return 0;
    }
    log_set_level(LOG_ERROR); /* what is not offered is said as often as it is asked for */
    memset(&w, 0, sizeof(w));
    memcpy(&w.plan, data, sizeof(w.plan));
    w.plan.op %= N_OPS;
    w.plan.form %= N_FORMS;
    w.plan.spoil %= SPOILS;
    w.stream.ops = &STREAM_OPS;
    w.req = (struct http_request){.method = HTTP_METHOD_PUT,
                                  .target = SLICE_LIT("/b/k"),
                                  .headers = w.headers,
                                  .arena = &w.arena};
    w.x = (struct s3_exchange){
        .s3 = &w.s3, .stream = &w.stream, .req = &w.req, .op = OPS[w.plan.op].op};
    w.x.route.op = OPS[w.plan.op].kind;
    if ((w.plan.flags & VERIFIED) != 0) {
        begin_chain(&w);
    }
    if ((w.plan.flags & MADE) != 0) {
        made(&w, slice_of(data + sizeof(w.plan), size - sizeof(w.plan)));
    } else {
        raw(&w, slice_of(data + sizeof(w.plan), size - sizeof(w.plan)));
        require(!w.accepted || !w.x.payload.chunks_signed || !w.x.who.has_chain ||
                !w.x.payload.framed);
    }
    if (w.hasher != NULL) {
        let_go(&w.x);
    }
    s3_payload_drop(&w.x);
    buf_finish(&w.x.xml);
    buf_finish(&w.wire);
    buf_finish(&w.got);
    arena_finish(&w.arena);
    return 0;
}
