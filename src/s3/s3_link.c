/* Links, see s3_link.h. */
#include "s3/s3_link.h"

#include <strings.h>

#include "s3/s3_query.h"
#include "s3/s3_route.h"

static bool is_name(struct slice a, struct slice b)
{
    return a.len == b.len && strncasecmp((const char *)a.ptr, (const char *)b.ptr, a.len) == 0;
}

/* What belongs to the signature itself, or is of no use in a link: s3_link.h. */
static bool is_header(struct slice name)
{
    static const char *const SIGNING[] = {
        "X-Amz-Algorithm",      "X-Amz-Credential",     "X-Amz-Date",
        "X-Amz-Expires",        "X-Amz-SignedHeaders",  "X-Amz-Signature",
        "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-User-Agent",
    };

    for (size_t i = 0; i < sizeof(SIGNING) / sizeof(SIGNING[0]); i++) {
        if (s3_eq_nocase(name, SIGNING[i])) {
            return false;
        }
    }
    return s3_has_prefix_nocase(name, "x-amz-") && !s3_has_prefix_nocase(name, "x-amz-checksum-") &&
           !s3_has_prefix_nocase(name, "x-amz-sdk-");
}

/* What is there already must say the same. */
static int add_header(struct http_request *req, struct http_header *all, struct slice name,
                      struct slice value)
{
    bool there = false;

    if (!s3_header_value_ok(name) || !s3_header_value_ok(value)) {
        return ZERR_INVALID;
    }
    for (size_t i = 0; i < req->n_headers; i++) {
        if (is_name(all[i].name, name)) {
            if (!slice_eq(all[i].value, value)) {
                return ZERR_INVALID;
            }
            there = true;
        }
    }
    if (!there) {
        all[req->n_headers++] = (struct http_header){name, value};
    }
    return 0;
}

static int add_headers(const struct s3_query *q, struct http_request *req)
{
    struct http_header *all = arena_alloc(req->arena, (req->n_headers + q->n) * sizeof(*all));
    int err = 0;

    if (all == NULL) {
        return ZERR_NOMEM;
    }
    if (req->n_headers > 0) {
        memcpy(all, req->headers, req->n_headers * sizeof(*all));
    }
    for (size_t i = 0; err == 0 && i < q->n; i++) {
        if (is_header(q->v[i].name)) {
            err = add_header(req, all, q->v[i].name, q->v[i].value);
        }
    }
    req->headers = all;
    return err;
}

int s3_link_headers(const struct http_request **req, struct s3_head *head)
{
    struct slice target = (*req)->target, path = s3_target_path(target), value;
    struct s3_query q = {0};
    struct http_request *copy;
    int err;

    if (path.len == target.len) {
        return 0;
    }
    err = s3_query_parse(slice_of(target.ptr + path.len + 1, target.len - path.len - 1),
                         (*req)->arena, &q);
    if (err != 0 || s3_query_find(&q, "X-Amz-Signature", &value) == 0) {
        return err == ZERR_INVALID ? 0 : err; /* what is wrong with it, the route tells */
    }
    copy = arena_alloc((*req)->arena, sizeof(*copy));
    if (copy == NULL) {
        return ZERR_NOMEM;
    }
    *copy = **req;
    err = add_headers(&q, copy);
    if (err == 0) {
        struct slice payload = head->content_sha256; /* as it was signed */
        s3_head_parse(copy, head);
        head->content_sha256 = payload;
        *req = copy;
    }
    return err;
}
