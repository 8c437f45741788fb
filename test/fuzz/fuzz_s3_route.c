/* Any target, any method: the route is decided, and what it decided holds.
 *
 * Input: one byte for the method, the rest is the target. */
#include <stdlib.h>

#include "s3/s3_headers.h"
#include "s3/s3_link.h"
#include "s3/s3_route.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* The target is also taken as the value of every header that has a grammar of its own. */
static void parse_headers(struct slice value)
{
    const struct object obj = {.has_md5 = true, .mtime_ms = 1};
    const struct s3_conditions cond = {value, value, value, value};
    struct s3_head head = {.if_match = value};
    struct condition change;
    uint64_t off, len;

    if (s3_range_resolve(s3_range_parse(value), 1000, &off, &len) == 0) {
        require(off <= 1000 && len <= 1000 - off);
    }
    (void)s3_judge(&cond, &obj);
    (void)(s3_change_condition(&head, &change) == 0);
}

/* Headers in the query of a link. */
static void parse_link(struct slice target, struct arena *arena)
{
    const struct http_request link = {.target = target, .arena = arena}, *req = &link;
    struct s3_head head = {0};

    if (s3_link_headers(&req, &head) == 0) {
        require(req->n_headers >= head.n_meta);
        for (size_t i = 0; i < req->n_headers; i++) {
            require(s3_has_prefix_nocase(req->headers[i].name, "x-amz-"));
            require(s3_header_value_ok(req->headers[i].name));
            require(s3_header_value_ok(req->headers[i].value));
        }
    }
}

/* Of the bucket as of an object. */
static bool is_either_op(enum s3_op_kind op)
{
    return op == S3_OP_GET_ACL || op == S3_OP_PUT_ACL;
}

static bool is_object_op(enum s3_op_kind op)
{
    return op == S3_OP_GET_OBJECT || op == S3_OP_HEAD_OBJECT || op == S3_OP_PUT_OBJECT ||
           op == S3_OP_DELETE_OBJECT || op == S3_OP_GET_TAGGING || op == S3_OP_GET_ATTRIBUTES ||
           op == S3_OP_BEGIN_UPLOAD || op == S3_OP_UPLOAD_PART || op == S3_OP_COMPLETE_UPLOAD ||
           op == S3_OP_ABORT_UPLOAD || op == S3_OP_LIST_PARTS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct s3_route r;
    struct slice target;

    if (size == 0) {
        return 0;
    }
    target = slice_of(data + 1, size - 1);
    s3_route_parse((enum http_method)(data[0] % (HTTP_METHOD_OPTIONS + 1)), target, &arena, &r);
    require(r.op != S3_OP_ERROR || s3_error_of(r.error)->status >= 400);
    require(is_either_op(r.op) || is_object_op(r.op) == (r.op != S3_OP_ERROR && r.key.len > 0));
    if (is_object_op(r.op) || (is_either_op(r.op) && r.key.len > 0)) {
        require(r.key.len <= KEY_MAX_BYTES && r.bucket.len > 0);
        require(memchr(r.key.ptr, 0, r.key.len) == NULL);
    }
    parse_headers(target);
    parse_link(target, &arena);
    arena_finish(&arena);
    return 0;
}
