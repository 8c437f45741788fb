/* AWS Signature Version 4, see sigv4.h. */
#include "s3/sigv4.h"

#include <stdio.h>

#include "base/num.h"
#include "s3/s3_headers.h"
#include "s3/s3_route.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define NAMES_MAX 128 /* of signed headers: more than a request can have headers */

/* ---- parsing ---- */

static bool is_digits(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') {
            return false;
        }
    }
    return true;
}

/* Cuts the last part, behind the last '/', off s. */
static struct slice cut_last(struct slice *s)
{
    const uint8_t *p = s->len > 0 ? memrchr(s->ptr, '/', s->len) : NULL;
    struct slice last;

    if (p == NULL) {
        return slice_of(NULL, 0);
    }
    last = slice_of(p + 1, (size_t)(s->ptr + s->len - p) - 1);
    s->len = (size_t)(p - s->ptr);
    return last;
}

/* ACCESS/DATE/REGION/s3/aws4_request. An access key may have slashes. */
static const char *parse_credential(struct slice text, struct sigv4 *ret)
{
    struct slice rest = text, last = cut_last(&rest), service = cut_last(&rest);

    ret->region = cut_last(&rest);
    ret->date = cut_last(&rest);
    ret->access = rest;
    if (ret->date.ptr == NULL || ret->access.len == 0 || !slice_eq_str(last, "aws4_request")) {
        return "The credential is not ACCESS-KEY/DATE/REGION/s3/aws4_request.";
    }
    if (!slice_eq_str(service, "s3")) {
        return "The credential is for another service than s3.";
    }
    if (ret->date.len != 8 || !is_digits(ret->date)) {
        return "The credential's date is not YYYYMMDD.";
    }
    if (ret->region.len == 0 || ret->region.len > SIGV4_REGION_MAX) {
        return "The credential's region is empty or too long.";
    }
    ret->scope = slice_of(ret->date.ptr, (size_t)(text.ptr + text.len - ret->date.ptr));
    return NULL;
}

/* The next of the signed names; false at the end. */
static bool next_name(struct slice *rest, struct slice *ret)
{
    const uint8_t *semi;

    if (rest->ptr == NULL) {
        return false;
    }
    semi = rest->len > 0 ? memchr(rest->ptr, ';', rest->len) : NULL;
    *ret = *rest;
    if (semi == NULL) {
        *rest = slice_of(NULL, 0);
        return true;
    }
    ret->len = (size_t)(semi - rest->ptr);
    *rest = slice_of(semi + 1, rest->len - ret->len - 1);
    return true;
}

/* In order, so none is there twice: what is made of them is not longer than the request. */
static const char *check_names(struct slice names)
{
    struct slice name, last = {0};
    unsigned n = 0;

    while (next_name(&names, &name)) {
        if (slice_cmp(last, name) >= 0 || ++n > NAMES_MAX) {
            return "SignedHeaders is missing, not in order, or too long.";
        }
        last = name;
    }
    return n > 0 ? NULL : "SignedHeaders is missing.";
}

static const char *parse_rest(struct slice credential, struct sigv4 *ret)
{
    const char *wrong = check_names(ret->signed_names);

    if (wrong != NULL) {
        return wrong;
    }
    if (hex_decode(ret->signature_hex, ret->signature, sizeof(ret->signature)) != 0) {
        return "The signature is not 64 hexadecimal digits.";
    }
    return parse_credential(credential, ret);
}

/* The next "Name=value" of a list separated by commas and spaces; false at the end. */
static bool next_field(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    size_t end = 0, eq;

    while (rest->len > 0 && (rest->ptr[0] == ' ' || rest->ptr[0] == ',')) {
        *rest = slice_of(rest->ptr + 1, rest->len - 1);
    }
    if (rest->len == 0) {
        return false;
    }
    while (end < rest->len && rest->ptr[end] != ',' && rest->ptr[end] != ' ') {
        end++;
    }
    for (eq = 0; eq < end && rest->ptr[eq] != '=';) {
        eq++;
    }
    *ret_name = slice_of(rest->ptr, eq);
    *ret_value = eq < end ? slice_of(rest->ptr + eq + 1, end - eq - 1) : slice_of(NULL, 0);
    *rest = slice_of(rest->ptr + end, rest->len - end);
    return true;
}

const char *sigv4_parse_header(struct slice value, struct sigv4 *ret)
{
    const size_t skip = sizeof(SIGV4_ALGORITHM) - 1;
    struct slice name, field, credential = {0};

    *ret = (struct sigv4){0};
    value = slice_of(value.ptr + skip, value.len - skip);
    while (next_field(&value, &name, &field)) {
        struct slice *to = slice_eq_str(name, "Credential")      ? &credential
                           : slice_eq_str(name, "SignedHeaders") ? &ret->signed_names
                           : slice_eq_str(name, "Signature")     ? &ret->signature_hex
                                                                 : NULL;
        if (to == NULL) {
            return "The Authorization header has a field that is not known.";
        }
        if (to->ptr != NULL) {
            return "The Authorization header has a field twice.";
        }
        *to = field;
    }
    if (credential.ptr == NULL) {
        return "Credential is missing.";
    }
    return parse_rest(credential, ret);
}

const char *sigv4_parse_query(const struct s3_query *q, struct sigv4 *ret, uint64_t *ret_expires_s)
{
    struct slice algorithm, credential, expires;

    *ret = (struct sigv4){.in_query = true};
    if (s3_query_find(q, "X-Amz-Algorithm", &algorithm) != 1 ||
        s3_query_find(q, "X-Amz-Credential", &credential) != 1 ||
        s3_query_find(q, "X-Amz-Date", &ret->time) != 1 ||
        s3_query_find(q, "X-Amz-Expires", &expires) != 1 ||
        s3_query_find(q, "X-Amz-SignedHeaders", &ret->signed_names) != 1 ||
        s3_query_find(q, "X-Amz-Signature", &ret->signature_hex) != 1) {
        return "Query-string authentication needs X-Amz-Algorithm, X-Amz-Credential, X-Amz-Date, "
               "X-Amz-Expires, X-Amz-SignedHeaders and X-Amz-Signature, each once.";
    }
    if (!slice_eq_str(algorithm, SIGV4_ALGORITHM)) {
        return "X-Amz-Algorithm must be " SIGV4_ALGORITHM ".";
    }
    if (num_parse_u64(expires, SIGV4_EXPIRES_MAX, ret_expires_s) != 0 || *ret_expires_s == 0) {
        return "X-Amz-Expires must be a number from 1 to 604800.";
    }
    return parse_rest(credential, ret);
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* signed_name is in lower case, as it is signed. */
static bool is_name(struct slice header, struct slice signed_name)
{
    size_t i = 0;

    while (i < header.len && header.len == signed_name.len &&
           lower(header.ptr[i]) == signed_name.ptr[i]) {
        i++;
    }
    return header.len == signed_name.len && i == header.len;
}

bool sigv4_is_signed(const struct sigv4 *sig, struct slice name)
{
    struct slice rest = sig->signed_names, one;

    while (next_name(&rest, &one)) {
        if (is_name(name, one)) {
            return true;
        }
    }
    return false;
}

/* ---- the canonical request ---- */

/* Text under construction; the first failure stays. */
struct text {
    struct buf buf;
    int err;
};

static void add(struct text *t, struct slice s)
{
    if (t->err == 0) {
        t->err = buf_append(&t->buf, s.ptr, s.len);
    }
}

static void add_str(struct text *t, const char *s)
{
    add(t, slice_str(s));
}

static void add_hex(struct text *t, const uint8_t hash[SHA256_BYTES])
{
    char hex[2 * SHA256_BYTES];

    hex_encode(hash, SHA256_BYTES, hex);
    add(t, slice_of(hex, sizeof(hex)));
}

/* Into the arena. */
static int finish_text(struct text *t, struct arena *arena, struct slice *ret)
{
    struct slice s = {0};

    if (t->err == 0) {
        s = arena_dup(arena, buf_slice(&t->buf));
        t->err = s.ptr != NULL ? 0 : ZERR_NOMEM;
    }
    buf_finish(&t->buf);
    if (t->err == 0) {
        *ret = s;
    }
    return t->err;
}

static void add_path(struct text *t, struct slice target, struct arena *arena)
{
    const uint8_t *q = memchr(target.ptr, '?', target.len);
    struct slice path = q != NULL ? slice_of(target.ptr, (size_t)(q - target.ptr)) : target;

    if (t->err == 0) {
        t->err = s3_percent_decode(path, false, arena, &path);
    }
    if (t->err == 0) {
        path = s3_uri_encode(path, true, arena);
        t->err = path.ptr != NULL ? 0 : ZERR_NOMEM;
    }
    add(t, path);
}

static void add_query(struct text *t, const struct sigv4 *sig, const struct s3_query *q)
{
    bool first = true;

    for (size_t i = 0; i < q->n; i++) {
        if (sig->in_query && slice_eq_str(q->v[i].name, "X-Amz-Signature")) {
            continue;
        }
        add_str(t, first ? "" : "&");
        add(t, q->v[i].e_name);
        add_str(t, "=");
        add(t, q->v[i].e_value);
        first = false;
    }
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* A value whose ends are clean already; runs of spaces inside become one, unless raw. */
static void add_value(struct text *t, struct slice value, bool raw)
{
    size_t begin = 0;

    for (size_t i = 0; i < value.len && !raw; i++) {
        if (is_blank(value.ptr[i]) && (i + 1 == value.len || is_blank(value.ptr[i + 1]))) {
            add(t, slice_of(value.ptr + begin, i - begin));
            begin = i + 1;
        }
    }
    add(t, slice_of(value.ptr + begin, value.len - begin));
}

static void add_header(struct text *t, const struct http_request *req, struct slice name,
                       unsigned variant, struct slice other_host)
{
    bool first = true;

    add(t, name);
    add_str(t, ":");
    for (size_t i = 0; i < req->n_headers; i++) {
        if (!is_name(req->headers[i].name, name)) {
            continue;
        }
        add_str(t, first ? "" : ",");
        first = false;
        if ((variant & SIGV4_OTHER_HOST) != 0 && slice_eq_str(name, "host")) {
            add(t, other_host);
        } else {
            add_value(t, req->headers[i].value, (variant & SIGV4_RAW_SPACES) != 0);
        }
    }
    add_str(t, "\n");
}

static const char *method_name(enum http_method method)
{
    static const char *const names[] = {
        [HTTP_METHOD_GET] = "GET",       [HTTP_METHOD_HEAD] = "HEAD",
        [HTTP_METHOD_PUT] = "PUT",       [HTTP_METHOD_POST] = "POST",
        [HTTP_METHOD_DELETE] = "DELETE", [HTTP_METHOD_OPTIONS] = "OPTIONS",
    };

    return names[method];
}

int sigv4_canonical(const struct http_request *req, const struct sigv4 *sig,
                    const struct s3_query *q, unsigned variant, struct slice other_host,
                    struct slice *ret)
{
    struct slice names = sig->signed_names, name;
    struct text t = {0};

    add_str(&t, method_name(req->method));
    add_str(&t, "\n");
    add_path(&t, req->target, req->arena);
    add_str(&t, "\n");
    add_query(&t, sig, q);
    add_str(&t, "\n");
    while (next_name(&names, &name)) {
        add_header(&t, req, name, variant, other_host);
    }
    add_str(&t, "\n");
    add(&t, sig->signed_names);
    add_str(&t, "\n");
    add(&t, sig->payload);
    return finish_text(&t, req->arena, ret);
}

int sigv4_string_to_sign(const struct sigv4 *sig, struct slice canonical, struct arena *arena,
                         struct slice *ret)
{
    uint8_t hash[SHA256_BYTES];
    struct text t = {.err = s3_sha256(canonical, hash)};

    add_str(&t, SIGV4_ALGORITHM "\n");
    add(&t, sig->time);
    add_str(&t, "\n");
    add(&t, sig->scope);
    add_str(&t, "\n");
    add_hex(&t, hash);
    return finish_text(&t, arena, ret);
}

int sigv4_key(struct slice secret, struct slice date, struct slice region,
              uint8_t ret[SHA256_BYTES])
{
    struct text first = {0};
    uint8_t a[SHA256_BYTES], b[SHA256_BYTES];

    add_str(&first, "AWS4");
    add(&first, secret);
    if (first.err == 0) {
        first.err = s3_hmac_sha256(buf_slice(&first.buf), date, a);
        s3_forget(first.buf.ptr, first.buf.len);
    }
    buf_finish(&first.buf);
    if (first.err == 0) {
        first.err = s3_hmac_sha256(slice_of(a, sizeof(a)), region, b);
    }
    if (first.err == 0) {
        first.err = s3_hmac_sha256(slice_of(b, sizeof(b)), SLICE_LIT("s3"), a);
    }
    if (first.err == 0) {
        first.err = s3_hmac_sha256(slice_of(a, sizeof(a)), SLICE_LIT("aws4_request"), ret);
    }
    s3_forget(a, sizeof(a));
    s3_forget(b, sizeof(b));
    return first.err;
}

/* ---- chunks ---- */

void sigv4_chain_init(struct sigv4_chain *chain, const struct sigv4 *sig,
                      const uint8_t key[SHA256_BYTES])
{
    memcpy(chain->key, key, SHA256_BYTES);
    memcpy(chain->previous, sig->signature, SHA256_BYTES);
    (void)snprintf(chain->time, sizeof(chain->time), "%.*s", SLICE_FMT(sig->time));
    (void)snprintf(chain->scope, sizeof(chain->scope), "%.*s", SLICE_FMT(sig->scope));
}

int sigv4_chain_check(struct sigv4_chain *chain, bool trailer, const uint8_t hash[SHA256_BYTES],
                      const uint8_t signature[SHA256_BYTES], bool *ret_good)
{
    uint8_t expected[SHA256_BYTES];
    struct text t = {0};

    add_str(&t, trailer ? "AWS4-HMAC-SHA256-TRAILER\n" : "AWS4-HMAC-SHA256-PAYLOAD\n");
    add_str(&t, chain->time);
    add_str(&t, "\n");
    add_str(&t, chain->scope);
    add_str(&t, "\n");
    add_hex(&t, chain->previous);
    add_str(&t, trailer ? "\n" : "\n" EMPTY_SHA256 "\n");
    add_hex(&t, hash);
    if (t.err == 0) {
        t.err = s3_hmac_sha256(slice_of(chain->key, SHA256_BYTES), buf_slice(&t.buf), expected);
    }
    buf_finish(&t.buf);
    if (t.err == 0) {
        *ret_good = s3_same_secret(expected, signature, SHA256_BYTES);
        memcpy(chain->previous, signature, SHA256_BYTES);
    }
    return t.err;
}
