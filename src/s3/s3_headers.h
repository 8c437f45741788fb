/* The request's headers sorted out once, and an object's headers to and from its attributes.
 *
 * An object keeps two lists of attributes, both whole header names with their values byte for
 * byte: user metadata (`X-Amz-Meta-Md5`, spelled as Go's net/http does, since the original's
 * directories have it so), and the system headers that describe the body (Content-Type, ..., and
 * the checksum that came with it, as X-Amz-Checksum-Crc32 or its like: s3_digest.h).
 *
 * Slices point into the request or its arena and live as long as it does. */
#ifndef ZKV_S3_S3_HEADERS_H
#define ZKV_S3_S3_HEADERS_H

#include "http/http_msg.h"
#include "s3/s3_error.h"
#include "store/record.h"
#include "store/store.h"

#define S3_META_MAX_BYTES 8192 /* names without x-amz-meta-, and values */
#define S3_DEFAULT_CONTENT_TYPE "binary/octet-stream"

/* The headers that mean something here. ptr NULL: not there. The first of several counts. */
struct s3_head {
    struct slice host, origin, sec_fetch_site;
    size_t n_host;

    struct slice content_type, content_encoding, content_disposition, content_language,
        cache_control, expires, website_redirect;

    struct slice range, if_range, if_match, if_none_match, if_modified_since, if_unmodified_since;

    struct slice content_md5, content_sha256, decoded_length, trailer, checksum_mode;
    /* Refused: what they promise must not be ignored (s3_head_refused()). encryption: any of
     * x-amz-server-side-encryption*, and those of a copy's source. */
    struct slice encryption, lock_mode, lock_until, legal_hold, bucket_lock, tagging, write_offset;
    struct slice acl, other_condition; /* of x-amz-if-match-*: refused, too */
    struct slice checksum_algorithm, checksum_type, mp_object_size;

    struct slice copy_source, copy_source_range, metadata_directive, copy_if_match,
        copy_if_none_match, copy_if_modified_since, copy_if_unmodified_since;

    size_t n_meta; /* headers that begin with x-amz-meta- */
};

void s3_head_parse(const struct http_request *, struct s3_head *ret);

/* Headers whose meaning would be lost if they were ignored: what to refuse the request with, and a
 * message where the table's would not do (else *ret_message is untouched). S3_N_CODES: there are none. */
enum s3_code s3_head_refused(const struct s3_head *, const char **ret_message);

/* The user metadata, names in canonical spelling; several headers of one name are joined by ','.
 * Errors: ZERR_TOO_LARGE (S3_META_MAX_BYTES), ZERR_NOMEM. */
int s3_meta_from_headers(const struct http_request *, const struct s3_head *,
                         struct attrs *ret) ZKV_MUST_CHECK;
/* The system headers, without "aws-chunked" in Content-Encoding: that is how the body travelled. */
int s3_sys_from_headers(const struct http_request *, const struct s3_head *,
                        struct attrs *ret) ZKV_MUST_CHECK;

/* True if an object's attribute of that name may stand in an answer: attributes also come from
 * disk. */
bool s3_is_meta_name(struct slice name);
bool s3_is_sys_name(struct slice name);

/* Go's spelling of a header name: upper case after '-' and at the beginning, else lower; a name
 * with a byte that no header name may have is left as it is. In the arena; ptr NULL: no memory. */
struct slice s3_canonical_name(struct slice name, struct arena *);

/* The name in lower case, as signatures have it, and as S3 sends metadata: some clients hand the name
 * on as it comes. As above. */
struct slice s3_lower_name(struct slice name, struct arena *);

/* Bytes that can stand in a header's value. */
bool s3_header_value_ok(struct slice);

/* The next item of a comma-separated list, without white space around it; false at the end, which a
 * NULL pointer is, too. */
bool s3_next_item(struct slice *rest, struct slice *ret);

/* ASCII without case. */
bool s3_eq_nocase(struct slice a, const char *b);
bool s3_has_prefix_nocase(struct slice s, const char *prefix);

/* ---- entity tags and conditions ---- */

#define S3_ETAG_MAX 40 /* quoted MD5, '-' and the number of parts */

/* MD5 in lower case, quoted; of a multipart object (parts not 0) with "-parts" behind it. In out. */
struct slice s3_etag(const uint8_t md5[16], uint32_t parts, char out[S3_ETAG_MAX]);

/* What the four If-* headers of a GET, or of a copy's source, say of an object. */
enum s3_verdict { S3_GO_ON, S3_FAILS /* 412 */, S3_UNCHANGED /* 304 */ };
struct s3_conditions {
    struct slice match, none_match, modified_since, unmodified_since;
};
enum s3_verdict s3_judge(const struct s3_conditions *, const struct object *);
/* True if the list of entity tags (or "*") names the object's; a W/ before one is ignored. */
bool s3_etag_listed(struct slice list, const struct object *);

#define S3_CONDITIONS_OFFERED                                                                      \
    "Of the conditions of a change only If-Match and, where something is stored, "                 \
    "If-None-Match: * are offered here, one at a time."

/* The conditions of a change; an entity tag that none of our objects has is one that nothing matches.
 * ZERR_UNSUPPORTED: one that is not offered, or both. */
int s3_change_condition(const struct s3_head *, struct condition *ret) ZKV_MUST_CHECK;

/* ---- ranges ---- */

struct s3_range {
    enum { S3_RANGE_NONE, S3_RANGE_FROM_TO, S3_RANGE_FROM, S3_RANGE_SUFFIX } kind;
    uint64_t first, last; /* S3_RANGE_SUFFIX: last = number of bytes */
};

/* A Range header. What is not exactly one range of bytes counts as none: the whole object. */
struct s3_range s3_range_parse(struct slice header);
/* Into a part of a body of `size` bytes. ZERR_INVALID: not satisfiable (416). */
int s3_range_resolve(struct s3_range, uint64_t size, uint64_t *ret_off,
                     uint64_t *ret_len) ZKV_MUST_CHECK;

#endif
