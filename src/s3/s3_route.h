/* From a request's raw target to the operation, the bucket and the key.
 *
 * The path is split at the first '/' behind the bucket and each part is percent-decoded exactly
 * once; nothing is normalised: keys may hold "//", "..", a leading '/' (as in "/b//k"). "/b" and
 * "/b/" are the same. Query parameters that are not known are ignored; those that name a
 * sub-resource that is not there lead to S3_OP_ERROR, so that `PUT /b/k?tagging` never touches the
 * object. Everything decoded lies in the caller's arena. */
#ifndef ZKV_S3_S3_ROUTE_H
#define ZKV_S3_S3_ROUTE_H

#include "base/buf.h"
#include "http/http_msg.h"
#include "s3/s3_error.h"

enum s3_op_kind {
    S3_OP_ERROR, /* answer s3_route.error */
    S3_OP_LIST_BUCKETS,
    S3_OP_HEAD_BUCKET,
    S3_OP_CREATE_BUCKET,
    S3_OP_DELETE_BUCKET,
    S3_OP_GET_LOCATION,
    S3_OP_GET_VERSIONING,
    S3_OP_GET_ACL, /* of the bucket or an object */
    S3_OP_PUT_ACL,
    S3_OP_LIST_OBJECTS,
    S3_OP_LIST_VERSIONS,
    S3_OP_DELETE_OBJECTS,
    S3_OP_GET_OBJECT,
    S3_OP_HEAD_OBJECT,
    S3_OP_PUT_OBJECT, /* or a copy: the headers tell */
    S3_OP_DELETE_OBJECT,
    S3_OP_GET_TAGGING,
    S3_OP_GET_ATTRIBUTES,
    S3_OP_BEGIN_UPLOAD,
    S3_OP_UPLOAD_PART, /* or a copy, as above */
    S3_OP_COMPLETE_UPLOAD,
    S3_OP_ABORT_UPLOAD,
    S3_OP_LIST_PARTS,
    S3_OP_LIST_UPLOADS,
};

/* A query parameter; `set` even when its value is empty. */
struct s3_param {
    bool set;
    struct slice value;
};

/* Headers of a GET's answer that its query may set. */
#define S3_N_OVERRIDES 6
extern const struct s3_override {
    const char *param, *header;
} S3_OVERRIDES[S3_N_OVERRIDES];

struct s3_route {
    enum s3_op_kind op;
    enum s3_code error;  /* S3_OP_ERROR only */
    struct slice bucket; /* empty: the service itself */
    struct slice key;    /* empty: the bucket */

    /* The query parameters of listings. */
    struct s3_param list_type, prefix, delimiter, marker, max_keys, encoding_type, start_after,
        continuation_token, fetch_owner;
    /* Those of multipart uploads; part_number also of a GET. */
    struct s3_param upload_id, part_number, key_marker, upload_id_marker, max_uploads, max_parts,
        part_number_marker;
    struct s3_param version_id_marker;
    struct s3_param overrides[S3_N_OVERRIDES]; /* each what S3_OVERRIDES says */
};

/* Never fails: what is wrong with the target becomes S3_OP_ERROR. Out of memory: S3_SLOW_DOWN. */
void s3_route_parse(enum http_method, struct slice target, struct arena *, struct s3_route *ret);

/* The target without its query. */
struct slice s3_target_path(struct slice target);

/* One percent-decode into the arena. ZERR_INVALID: a '%' without two hex digits, or a NUL byte.
 * plus: '+' is a space, as in queries. */
int s3_percent_decode(struct slice in, bool plus, struct arena *, struct slice *ret) ZKV_MUST_CHECK;

#endif
