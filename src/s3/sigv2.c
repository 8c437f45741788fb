/* AWS signatures, version 2, see sigv2.h. */
#include "s3/sigv2.h"

#include <stdlib.h>

#include "base/num.h"
#include "s3/s3_headers.h"
#include "s3/s3_route.h"

/* The parameters that are signed, in the order in which they are. */
static const char *const SIGNED[] = {
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "encryption",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
};

const char *sigv2_parse_header(struct slice value, struct sigv2 *ret)
{
    const uint8_t *colon;

    *ret = (struct sigv2){0};
    value = slice_of(value.ptr + 4, value.len - 4); /* "AWS " */
    colon = value.len > 0 ? memrchr(value.ptr, ':', value.len) : NULL;
    if (colon == NULL || colon == value.ptr) {
        return "The Authorization header is not AWS ACCESS-KEY:SIGNATURE.";
    }
    ret->access = slice_of(value.ptr, (size_t)(colon - value.ptr));
    ret->signature_text = slice_of(colon + 1, value.len - ret->access.len - 1);
    if (base64_decode(ret->signature_text, ret->signature, SHA1_BYTES) != 0) {
        return "The signature is not 28 characters of base64.";
    }
    return NULL;
}

const char *sigv2_parse_query(const struct s3_query *q, struct sigv2 *ret)
{
    uint64_t expires;

    *ret = (struct sigv2){.in_query = true};
    if (s3_query_find(q, "AWSAccessKeyId", &ret->access) != 1 ||
        s3_query_find(q, "Signature", &ret->signature_text) != 1 ||
        s3_query_find(q, "Expires", &ret->expires) != 1) {
        return "Query-string authentication needs AWSAccessKeyId, Expires and Signature, each "
               "once.";
    }
    if (num_parse_u64(ret->expires, INT64_MAX / 1000, &expires) != 0) {
        return "Expires is not a number of seconds.";
    }
    if (base64_decode(ret->signature_text, ret->signature, SHA1_BYTES) != 0) {
        return "The signature is not 28 characters of base64.";
    }
    ret->expires_s = (int64_t)expires;
    return NULL;
}

static void add(struct buf *b, int *err, struct slice s)
{
    if (*err == 0) {
        *err = buf_append(b, s.ptr, s.len);
    }
}

/* The first header of that name, or nothing, and the end of the line. */
static void add_line(struct buf *b, int *err, const struct http_request *req, const char *name)
{
    const struct slice *value = http_request_header(req, name);

    if (value != NULL) {
        add(b, err, *value);
    }
    add(b, err, SLICE_LIT("\n"));
}

/* A header's name in lower case, and where it was. */
struct amz {
    struct slice name, value;
    size_t at;
};

static int compare_amz(const void *a, const void *b)
{
    const struct amz *x = a, *y = b;
    int c = slice_cmp(x->name, y->name);

    return c != 0 ? c : (x->at > y->at) - (x->at < y->at);
}

static int collect_amz(const struct http_request *req, struct amz **ret, size_t *ret_n)
{
    struct amz *v = arena_alloc(req->arena, (req->n_headers + 1) * sizeof(*v));
    size_t n = 0;

    if (v == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < req->n_headers; i++) {
        struct slice name = req->headers[i].name;
        if (!s3_has_prefix_nocase(name, "x-amz-")) {
            continue;
        }
        name = s3_lower_name(name, req->arena);
        if (name.ptr == NULL) {
            return ZERR_NOMEM;
        }
        v[n++] = (struct amz){name, req->headers[i].value, i};
    }
    qsort(v, n, sizeof(*v), compare_amz);
    *ret = v;
    *ret_n = n;
    return 0;
}

/* Several headers of one name are one line. */
static void add_amz_headers(struct buf *b, int *err, const struct http_request *req)
{
    struct amz *v = NULL;
    size_t n = 0;

    if (*err == 0) {
        *err = collect_amz(req, &v, &n);
    }
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && slice_eq(v[i].name, v[i - 1].name)) {
            add(b, err, SLICE_LIT(","));
        } else {
            add(b, err, i > 0 ? SLICE_LIT("\n") : SLICE_LIT(""));
            add(b, err, v[i].name);
            add(b, err, SLICE_LIT(":"));
        }
        add(b, err, v[i].value);
    }
    if (n > 0) {
        add(b, err, SLICE_LIT("\n"));
    }
}

static void add_resource(struct buf *b, int *err, const struct http_request *req,
                         const struct s3_query *q, bool slash)
{
    bool first = true;

    add(b, err, s3_target_path(req->target));
    add(b, err, slash ? SLICE_LIT("/") : SLICE_LIT(""));
    for (size_t i = 0; i < sizeof(SIGNED) / sizeof(SIGNED[0]); i++) {
        for (size_t k = 0; k < q->n; k++) {
            if (!slice_eq_str(q->v[k].name, SIGNED[i])) {
                continue;
            }
            add(b, err, first ? SLICE_LIT("?") : SLICE_LIT("&"));
            add(b, err, q->v[k].name);
            if (q->v[k].value.len > 0) {
                add(b, err, SLICE_LIT("="));
                add(b, err, q->v[k].value);
            }
            first = false;
        }
    }
}

bool sigv2_may_slash(const struct http_request *req)
{
    struct slice path = s3_target_path(req->target);

    return path.len > 1 && memchr(path.ptr + 1, '/', path.len - 1) == NULL;
}

int sigv2_string_to_sign(const struct http_request *req, const struct sigv2 *sig,
                         const struct s3_query *q, bool slash, struct slice *ret)
{
    static const char *const methods[] = {
        [HTTP_METHOD_GET] = "GET\n",       [HTTP_METHOD_HEAD] = "HEAD\n",
        [HTTP_METHOD_PUT] = "PUT\n",       [HTTP_METHOD_POST] = "POST\n",
        [HTTP_METHOD_DELETE] = "DELETE\n", [HTTP_METHOD_OPTIONS] = "OPTIONS\n",
    };
    struct buf b = {0};
    struct slice text = {0};
    int err = 0;

    add(&b, &err, slice_str(methods[req->method]));
    add_line(&b, &err, req, "Content-MD5");
    add_line(&b, &err, req, "Content-Type");
    if (sig->in_query) {
        add(&b, &err, sig->expires);
        add(&b, &err, SLICE_LIT("\n"));
    } else if (http_request_header(req, "x-amz-date") != NULL) {
        add(&b, &err, SLICE_LIT("\n"));
    } else {
        add_line(&b, &err, req, "Date");
    }
    add_amz_headers(&b, &err, req);
    add_resource(&b, &err, req, q, slash);
    if (err == 0) {
        text = arena_dup(req->arena, buf_slice(&b));
        err = text.ptr != NULL ? 0 : ZERR_NOMEM;
    }
    buf_finish(&b);
    if (err == 0) {
        *ret = text;
    }
    return err;
}
