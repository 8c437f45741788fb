/* The older AWS signatures, version 2: what S3QL's s3c:// sends, and what s3cmd and s3fs can.
 *
 * HMAC-SHA1 over method, Content-MD5, Content-Type, the date, every x-amz-* header, the path as it
 * came, and those query parameters that make the request about something else. The other parameters
 * (prefix, marker, ...) are not covered: that is how it was made. */
#ifndef ZKV_S3_SIGV2_H
#define ZKV_S3_SIGV2_H

#include "http/http_msg.h"
#include "s3/s3_crypto.h"
#include "s3/s3_query.h"

struct sigv2 {
    struct slice access;
    struct slice signature_text; /* as given */
    uint8_t signature[SHA1_BYTES];
    bool in_query;
    struct slice expires; /* in_query: seconds since 1970 */
    int64_t expires_s;
};

/* From the value of Authorization ("AWS ACCESS:SIGNATURE"). Returns what is wrong, or NULL. */
const char *sigv2_parse_header(struct slice value, struct sigv2 *ret);
/* From AWSAccessKeyId, Expires and Signature. */
const char *sigv2_parse_query(const struct s3_query *, struct sigv2 *ret);

/* slash: the path with a '/' behind it, as boto signs "/bucket" (which means "/bucket/"). */
int sigv2_string_to_sign(const struct http_request *, const struct sigv2 *, const struct s3_query *,
                         bool slash, struct slice *ret) ZKV_MUST_CHECK;
/* A path that a client may sign with a '/' more: that of a bucket. */
bool sigv2_may_slash(const struct http_request *);

#endif
