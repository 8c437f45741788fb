/* The one table of errors: what S3 calls them, their HTTP status and their text. */
#ifndef ZKV_S3_S3_ERROR_H
#define ZKV_S3_S3_ERROR_H

#include "base/zerr.h"

enum s3_code {
    S3_ACCESS_DENIED, /* to a web page */
    S3_AUTH_HEADER_MALFORMED,
    S3_AUTH_QUERY_ERROR,
    S3_BAD_DIGEST,
    S3_BAD_HOST,
    S3_BUCKET_NOT_EMPTY,
    S3_BUCKET_OWNED,
    S3_DAMAGED, /* told as NoSuchKey, which clients understand, with a text of its own */
    S3_CONTENT_SHA256_MISMATCH,
    S3_ENTITY_TOO_LARGE,
    S3_ENTITY_TOO_SMALL,
    S3_FORBIDDEN,
    S3_INCOMPLETE_BODY,
    S3_INTERNAL_ERROR,
    S3_INVALID_ACCESS_KEY_ID,
    S3_INVALID_ARGUMENT,
    S3_INVALID_BUCKET_NAME,
    S3_INVALID_DIGEST,
    S3_INVALID_PART,
    S3_INVALID_PART_NUMBER,
    S3_INVALID_PART_ORDER,
    S3_INVALID_RANGE,
    S3_INVALID_REQUEST,
    S3_INVALID_URI,
    S3_KEY_TOO_LONG,
    S3_MALFORMED_ACL,
    S3_MALFORMED_TRAILER,
    S3_MALFORMED_XML,
    S3_MAX_MESSAGE_LENGTH,
    S3_METADATA_TOO_LARGE,
    S3_METHOD_NOT_ALLOWED,
    S3_MISSING_CONTENT_LENGTH,
    S3_NO_SUCH_BUCKET,
    S3_NO_SUCH_BUCKET_POLICY,
    S3_NO_SUCH_CORS,
    S3_NO_SUCH_ENCRYPTION,
    S3_NO_SUCH_KEY,
    S3_NO_SUCH_LIFECYCLE,
    S3_NO_SUCH_OBJECT_LOCK,
    S3_NO_SUCH_OWNERSHIP,
    S3_NO_SUCH_PUBLIC_ACCESS_BLOCK,
    S3_NO_SUCH_REPLICATION,
    S3_NO_SUCH_TAG_SET,
    S3_NO_SUCH_UPLOAD,
    S3_NO_SUCH_VERSION,
    S3_NO_SUCH_WEBSITE,
    S3_NOT_IMPLEMENTED,
    S3_PRECONDITION_FAILED,
    S3_SERVICE_UNAVAILABLE,
    S3_SIGNATURE_DOES_NOT_MATCH,
    S3_SLOW_DOWN,
    S3_TIME_TOO_SKEWED,
    S3_TOO_MANY_BUCKETS,
    S3_N_CODES
};

/* Seconds in the Retry-After that goes with every 503. */
#define S3_RETRY_AFTER "5"

struct s3_error {
    int status;          /* HTTP */
    const char *code;    /* S3's word */
    const char *message; /* one sentence for a person */
};

const struct s3_error *s3_error_of(enum s3_code);
/* The code that tells a client of a failure of the store. */
enum s3_code s3_code_of_zerr(int zerr);

#endif
