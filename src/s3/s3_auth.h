/* Who asks, and may they? Every request goes through s3_auth_check() before a byte of its body is
 * read and before anything else is decided; what it does not let pass is refused.
 *
 * Four ways to sign, none more: AWS4-HMAC-SHA256 in the header or in the query (sigv4.c), the older
 * AWS in the header or in the query (sigv2.c), exactly one of them in a request. What comes out is
 * who it is and, where the body comes in signed chunks, what the first chunk's signature begins
 * with.
 *
 * All slices lie in the request's arena or in the request. */
#ifndef ZKV_S3_S3_AUTH_H
#define ZKV_S3_S3_AUTH_H

#include "http/http_msg.h"
#include "s3/s3_error.h"
#include "s3/sigv4.h"

#define S3_REGION "us-east-1" /* for who asks; every region is accepted */

struct s3_auth_config {
    const char *path; /* of the credentials file (s3_keys.h); borrowed until s3_auth_close() */
    uint64_t skew_s;  /* how far a client's clock may be from ours */
    unsigned port;    /* that clients connect to */
};

struct s3_auth;

/* Reads the file; blocks. Errors as s3_keys_load(); info names the file. */
int s3_auth_open(const struct s3_auth_config *, struct s3_auth **ret,
                 struct zerr_info *) ZKV_MUST_CHECK;
void s3_auth_close(struct s3_auth *); /* NULL is fine */

/* An answer to somebody who is not let in. */
#define S3_REFUSAL_DETAILS 6
struct s3_refusal {
    enum s3_code code;
    const char *message; /* NULL: the table's */
    struct s3_detail {
        const char *name; /* of the element in the answer's XML */
        struct slice value;
    } details[S3_REFUSAL_DETAILS];
    size_t n_details;
};
void s3_refusal_add(struct s3_refusal *, const char *name, struct slice value);

/* Somebody who is: {0} may do everything. */
struct s3_identity {
    struct slice access;
    struct slice buckets; /* "a,b"; empty: all */
    bool read_only;
    struct slice payload;     /* what x-amz-content-sha256 says in the query; ptr NULL: nothing */
    bool has_chain;           /* signed in a SigV4 header: chunks may be signed */
    struct sigv4_chain chain; /* ... beginning with this */
};

/* 0; ZERR_INVALID: *ret_why is the answer to give. The credentials may be read anew: blocks for as
 * long as a small file takes. */
int s3_auth_check(struct s3_auth *, const struct http_request *, int64_t now_ms,
                  struct s3_identity *ret, struct s3_refusal *ret_why) ZKV_MUST_CHECK;

bool s3_identity_may_use(const struct s3_identity *, struct slice bucket);

#endif
