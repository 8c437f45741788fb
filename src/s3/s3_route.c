/* Routing, see s3_route.h.
 *
 * The query is looked at before anything is decided: each parameter's name is decoded and looked up
 * in two small tables, the values a listing needs and the names of sub-resources. What is left
 * (x-id, X-Amz-Signature, ...) means nothing here. */
#include "s3/s3_route.h"

#include "base/num.h"
#include "store/record.h"

/* A '?name' that makes the request about something else than the object or the listing. */
struct sub_resource {
    const char *name;
    /* What a GET of the bucket with it answers: the code that says "there is none" where S3 has
     * one, else S3_NOT_IMPLEMENTED. All other methods get S3_NOT_IMPLEMENTED. */
    enum s3_code absent;
};

static const struct sub_resource SUB_RESOURCES[] = {
    {"abac", S3_NOT_IMPLEMENTED},
    {"accelerate", S3_NOT_IMPLEMENTED},
    {"analytics", S3_NOT_IMPLEMENTED},
    {"annotation", S3_NOT_IMPLEMENTED},
    {"append", S3_NOT_IMPLEMENTED},
    {"attributes", S3_NOT_IMPLEMENTED},
    {"cors", S3_NO_SUCH_CORS},
    {"encryption", S3_NO_SUCH_ENCRYPTION},
    {"intelligent-tiering", S3_NOT_IMPLEMENTED},
    {"inventory", S3_NOT_IMPLEMENTED},
    {"legal-hold", S3_NOT_IMPLEMENTED},
    {"lifecycle", S3_NO_SUCH_LIFECYCLE},
    {"logging", S3_NOT_IMPLEMENTED},
    {"metadataConfiguration", S3_NOT_IMPLEMENTED},
    {"metadataTable", S3_NOT_IMPLEMENTED},
    {"metrics", S3_NOT_IMPLEMENTED},
    {"notification", S3_NOT_IMPLEMENTED},
    {"object-lock", S3_NO_SUCH_OBJECT_LOCK},
    {"ownershipControls", S3_NO_SUCH_OWNERSHIP},
    {"policy", S3_NO_SUCH_BUCKET_POLICY},
    {"policyStatus", S3_NO_SUCH_BUCKET_POLICY},
    {"publicAccessBlock", S3_NO_SUCH_PUBLIC_ACCESS_BLOCK},
    {"renameObject", S3_NOT_IMPLEMENTED},
    {"replication", S3_NO_SUCH_REPLICATION},
    {"requestPayment", S3_NOT_IMPLEMENTED},
    {"restore", S3_NOT_IMPLEMENTED},
    {"retention", S3_NOT_IMPLEMENTED},
    {"select", S3_NOT_IMPLEMENTED},
    {"select-type", S3_NOT_IMPLEMENTED},
    {"session", S3_NOT_IMPLEMENTED},
    {"tagging", S3_NO_SUCH_TAG_SET},
    {"torrent", S3_NOT_IMPLEMENTED},
    {"website", S3_NO_SUCH_WEBSITE},
};

const struct s3_override S3_OVERRIDES[S3_N_OVERRIDES] = {
    {"response-cache-control", "Cache-Control"},
    {"response-content-disposition", "Content-Disposition"},
    {"response-content-encoding", "Content-Encoding"},
    {"response-content-language", "Content-Language"},
    {"response-content-type", "Content-Type"},
    {"response-expires", "Expires"},
};

/* What the query says beside the values of a listing. */
struct query {
    const struct sub_resource *sub; /* the first one named */
    bool acl, delete_objects, location, versioning, versions, uploads;
    struct s3_param version_id;
};

int s3_percent_decode(struct slice in, bool plus, struct arena *arena, struct slice *ret)
{
    uint8_t *out = arena_alloc(arena, in.len + 1);
    size_t n = 0;

    if (out == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        if (c == '%') {
            if (in.len - i < 3 || hex_decode(slice_of(in.ptr + i + 1, 2), &c, 1) != 0) {
                return ZERR_INVALID;
            }
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == '\0') {
            return ZERR_INVALID;
        }
        out[n++] = c;
    }
    *ret = slice_of(out, n);
    return 0;
}

/* Cuts *rest at the first `sep`: what is before it is returned, *rest is what is behind it. */
static struct slice cut(struct slice *rest, char sep)
{
    const uint8_t *p = rest->len > 0 ? memchr(rest->ptr, sep, rest->len) : NULL;
    struct slice head = *rest;

    if (p == NULL) {
        *rest = slice_of(NULL, 0);
        return head;
    }
    head.len = (size_t)(p - rest->ptr);
    *rest = slice_of(p + 1, rest->len - head.len - 1);
    return head;
}

static struct s3_param *list_param(struct s3_route *r, struct slice name)
{
    const struct {
        const char *name;
        struct s3_param *param;
    } params[] = {
        {"list-type", &r->list_type},
        {"prefix", &r->prefix},
        {"delimiter", &r->delimiter},
        {"marker", &r->marker},
        {"max-keys", &r->max_keys},
        {"encoding-type", &r->encoding_type},
        {"start-after", &r->start_after},
        {"continuation-token", &r->continuation_token},
        {"fetch-owner", &r->fetch_owner},
        {"uploadId", &r->upload_id},
        {"partNumber", &r->part_number},
        {"key-marker", &r->key_marker},
        {"upload-id-marker", &r->upload_id_marker},
        {"max-uploads", &r->max_uploads},
        {"max-parts", &r->max_parts},
        {"part-number-marker", &r->part_number_marker},
        {"version-id-marker", &r->version_id_marker},
    };

    for (size_t i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        if (slice_eq_str(name, params[i].name)) {
            return params[i].param;
        }
    }
    for (size_t i = 0; i < S3_N_OVERRIDES; i++) {
        if (slice_eq_str(name, S3_OVERRIDES[i].param)) {
            return &r->overrides[i];
        }
    }
    return NULL;
}

static const struct sub_resource *find_sub_resource(struct slice name)
{
    for (size_t i = 0; i < sizeof(SUB_RESOURCES) / sizeof(SUB_RESOURCES[0]); i++) {
        if (slice_eq_str(name, SUB_RESOURCES[i].name)) {
            return &SUB_RESOURCES[i];
        }
    }
    return NULL;
}

static bool note_flag(struct query *q, struct slice name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"acl", &q->acl},         {"delete", &q->delete_objects}, {"location", &q->location},
        {"uploads", &q->uploads}, {"versioning", &q->versioning}, {"versions", &q->versions},
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (slice_eq_str(name, flags[i].name)) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

static int parse_query(struct slice rest, struct arena *arena, struct s3_route *r, struct query *q)
{
    while (rest.len > 0) {
        struct slice value = cut(&rest, '&');
        struct slice name = cut(&value, '=');
        struct s3_param *param;
        int err = s3_percent_decode(name, true, arena, &name);

        if (err != 0) {
            return err;
        }
        param = slice_eq_str(name, "versionId") ? &q->version_id : list_param(r, name);
        if (param != NULL) {
            param->set = true;
            err = s3_percent_decode(value, true, arena, &param->value);
            if (err != 0) {
                return err;
            }
        } else if (!note_flag(q, name) && q->sub == NULL) {
            q->sub = find_sub_resource(name);
        }
    }
    return 0;
}

static void refuse(struct s3_route *r, enum s3_code code)
{
    r->op = S3_OP_ERROR;
    r->error = code;
}

static void choose_acl_op(enum http_method method, struct s3_route *r)
{
    if (method == HTTP_METHOD_GET || method == HTTP_METHOD_PUT) {
        r->op = method == HTTP_METHOD_GET ? S3_OP_GET_ACL : S3_OP_PUT_ACL;
    } else {
        refuse(r, S3_NOT_IMPLEMENTED);
    }
}

static void choose_bucket_op(enum http_method method, const struct query *q, struct s3_route *r)
{
    if (q->sub != NULL) {
        refuse(r, method == HTTP_METHOD_GET ? q->sub->absent : S3_NOT_IMPLEMENTED);
    } else if (q->acl) {
        choose_acl_op(method, r);
    } else if (q->versions && method == HTTP_METHOD_GET) {
        r->op = S3_OP_LIST_VERSIONS;
    } else if (q->uploads && method == HTTP_METHOD_GET) {
        r->op = S3_OP_LIST_UPLOADS;
    } else if (q->delete_objects && method == HTTP_METHOD_POST) {
        r->op = S3_OP_DELETE_OBJECTS;
    } else if (q->location && method == HTTP_METHOD_GET) {
        r->op = S3_OP_GET_LOCATION;
    } else if (q->versioning && method == HTTP_METHOD_GET) {
        r->op = S3_OP_GET_VERSIONING;
    } else if (q->delete_objects || q->location || q->versioning || q->versions || q->uploads ||
               r->upload_id.set) {
        refuse(r, S3_NOT_IMPLEMENTED);
    } else if (method == HTTP_METHOD_GET) {
        r->op = S3_OP_LIST_OBJECTS;
    } else if (method == HTTP_METHOD_HEAD) {
        r->op = S3_OP_HEAD_BUCKET;
    } else if (method == HTTP_METHOD_PUT) {
        r->op = S3_OP_CREATE_BUCKET;
    } else if (method == HTTP_METHOD_DELETE) {
        r->op = S3_OP_DELETE_BUCKET;
    } else { /* uploads by a form */
        refuse(r, S3_NOT_IMPLEMENTED);
    }
}

/* What a query with uploads, uploadId or partNumber asks for; what is no such request must not be
 * taken for one of the object. */
static void choose_upload_op(enum http_method method, const struct query *q, struct s3_route *r)
{
    if (q->uploads) {
        r->op = S3_OP_BEGIN_UPLOAD;
        if (method != HTTP_METHOD_POST || r->upload_id.set || r->part_number.set) {
            refuse(r, S3_NOT_IMPLEMENTED);
        }
    } else if (method == HTTP_METHOD_PUT && r->upload_id.set && r->part_number.set) {
        r->op = S3_OP_UPLOAD_PART;
    } else if (!r->upload_id.set && (method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD)) {
        r->op = method == HTTP_METHOD_GET ? S3_OP_GET_OBJECT : S3_OP_HEAD_OBJECT;
    } else if (r->part_number.set) {
        refuse(r, S3_NOT_IMPLEMENTED);
    } else if (method == HTTP_METHOD_POST) {
        r->op = S3_OP_COMPLETE_UPLOAD;
    } else if (method == HTTP_METHOD_DELETE) {
        r->op = S3_OP_ABORT_UPLOAD;
    } else if (method == HTTP_METHOD_GET) {
        r->op = S3_OP_LIST_PARTS;
    } else {
        refuse(r, S3_NOT_IMPLEMENTED);
    }
}

static void choose_object_op(enum http_method method, const struct query *q, struct s3_route *r)
{
    bool tagging = q->sub != NULL && strcmp(q->sub->name, "tagging") == 0;
    bool attributes = q->sub != NULL && strcmp(q->sub->name, "attributes") == 0;
    bool offered = (tagging || attributes) && method == HTTP_METHOD_GET;

    if ((q->sub != NULL && !offered) || q->delete_objects || q->location || q->versioning ||
        q->versions) {
        refuse(r, S3_NOT_IMPLEMENTED);
    } else if (q->version_id.set && !slice_eq_str(q->version_id.value, "null")) {
        refuse(r, S3_NO_SUCH_VERSION);
    } else if (r->key.len > KEY_MAX_BYTES) {
        refuse(r, S3_KEY_TOO_LONG);
    } else if (offered) {
        r->op = tagging ? S3_OP_GET_TAGGING : S3_OP_GET_ATTRIBUTES;
    } else if (q->acl) {
        choose_acl_op(method, r);
    } else if (q->uploads || r->upload_id.set || r->part_number.set) {
        choose_upload_op(method, q, r);
    } else if (method == HTTP_METHOD_GET) {
        r->op = S3_OP_GET_OBJECT;
    } else if (method == HTTP_METHOD_HEAD) {
        r->op = S3_OP_HEAD_OBJECT;
    } else if (method == HTTP_METHOD_PUT) {
        r->op = S3_OP_PUT_OBJECT;
    } else if (method == HTTP_METHOD_DELETE) {
        r->op = S3_OP_DELETE_OBJECT;
    } else {
        refuse(r, S3_METHOD_NOT_ALLOWED);
    }
}

struct slice s3_target_path(struct slice target)
{
    const uint8_t *q = target.len > 0 ? memchr(target.ptr, '?', target.len) : NULL;

    return q != NULL ? slice_of(target.ptr, (size_t)(q - target.ptr)) : target;
}

void s3_route_parse(enum http_method method, struct slice target, struct arena *arena,
                    struct s3_route *ret)
{
    struct slice query = target, path = cut(&query, '?'), bucket;
    struct query q = {0};
    int err;

    *ret = (struct s3_route){.op = S3_OP_ERROR, .error = S3_INVALID_URI};
    if (path.len == 0 || path.ptr[0] != '/') {
        return;
    }
    path = slice_of(path.ptr + 1, path.len - 1);
    bucket = cut(&path, '/');
    err = s3_percent_decode(bucket, false, arena, &ret->bucket);
    if (err == 0) {
        err = s3_percent_decode(path, false, arena, &ret->key);
    }
    if (err == 0) {
        err = parse_query(query, arena, ret, &q);
    }
    if (err != 0) {
        refuse(ret, err == ZERR_NOMEM ? S3_SLOW_DOWN : S3_INVALID_URI);
    } else if (method == HTTP_METHOD_OPTIONS) {
        refuse(ret, S3_ACCESS_DENIED);
    } else if (ret->key.len > 0 && ret->bucket.len > 0) {
        choose_object_op(method, &q, ret);
    } else if (ret->bucket.len > 0) {
        choose_bucket_op(method, &q, ret);
    } else if (ret->key.len > 0) { /* "//x": a bucket without a name */
        refuse(ret, S3_NO_SUCH_BUCKET);
    } else if (method == HTTP_METHOD_GET) {
        ret->op = S3_OP_LIST_BUCKETS;
    } else {
        refuse(ret, S3_METHOD_NOT_ALLOWED);
    }
}
