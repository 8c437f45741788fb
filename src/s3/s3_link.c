/* Links, see s3_link.h. */
#include "s3/s3_link.h"

#include "s3/s3_query.h"
#include "s3/s3_route.h"

static int add_headers(const struct s3_query *q, struct http_request *req, struct s3_head *head)
{
    struct http_header *all = arena_alloc(req->arena, (req->n_headers + q->n) * sizeof(*all));

    if (all == NULL) {
        return ZERR_NOMEM;
    }
    if (req->n_headers > 0) {
        memcpy(all, req->headers, req->n_headers * sizeof(*all));
    }
    for (size_t i = 0; i < q->n; i++) {
        if (!s3_is_meta_name(q->v[i].name)) {
            continue;
        }
        if (!s3_header_value_ok(q->v[i].name) || !s3_header_value_ok(q->v[i].value)) {
            return ZERR_INVALID;
        }
        all[req->n_headers++] = (struct http_header){q->v[i].name, q->v[i].value};
        head->n_meta++;
    }
    req->headers = all;
    return 0;
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
    err = add_headers(&q, copy, head);
    if (err == 0) {
        *req = copy;
    }
    return err;
}
