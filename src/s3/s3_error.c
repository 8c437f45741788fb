/* The table of errors, and what each failure of the store is told as.
 *
 * Clients act on the code word, not on the status or the text: SlowDown, ServiceUnavailable and
 * InternalError are tried again, for hours if need be; the others are final. So whatever passes by
 * itself, a full disk too, is SlowDown with Retry-After. */
#include "s3/s3_error.h"

#include <assert.h>

static const struct s3_error TABLE[S3_N_CODES] = {
    [S3_ACCESS_DENIED] = {403, "AccessDenied",
                          "This server does not answer requests that a web page caused."},
    [S3_AUTH_HEADER_MALFORMED] = {400, "AuthorizationHeaderMalformed",
                                  "The authorization header is malformed."},
    [S3_AUTH_QUERY_ERROR] = {400, "AuthorizationQueryParametersError",
                             "The query-string authentication is malformed."},
    [S3_BAD_DIGEST] = {400, "BadDigest",
                       "The Content-MD5 you specified is not the MD5 of what was received."},
    [S3_BAD_HOST] = {403, "AccessDenied",
                     "The Host header must name this machine: localhost, 127.x.x.x or [::1]."},
    [S3_BUCKET_NOT_EMPTY] = {409, "BucketNotEmpty", "The bucket you tried to delete is not empty."},
    [S3_BUCKET_OWNED] = {409, "BucketAlreadyOwnedByYou",
                         "Your previous request to create the named bucket succeeded and you "
                         "already own it."},
    [S3_CONTENT_SHA256_MISMATCH] = {400, "XAmzContentSHA256Mismatch",
                                    "The provided 'x-amz-content-sha256' header does not match "
                                    "what was computed."},
    [S3_DAMAGED] = {404, "NoSuchKey",
                    "The object is damaged on the server's disk and cannot be read; "
                    "zipkvverify tells more."},
    [S3_ENTITY_TOO_LARGE] = {400, "EntityTooLarge",
                             "Your proposed upload exceeds the maximum allowed size."},
    [S3_ENTITY_TOO_SMALL] = {400, "EntityTooSmall",
                             "Your proposed upload is smaller than the minimum allowed size."},
    [S3_FORBIDDEN] = {403, "AccessDenied", "Access Denied"},
    [S3_INCOMPLETE_BODY] = {400, "IncompleteBody",
                            "The body does not have the length that was announced."},
    [S3_INTERNAL_ERROR] = {500, "InternalError",
                           "The server could not do this; its log says why. Please try again."},
    [S3_INVALID_ACCESS_KEY_ID] = {403, "InvalidAccessKeyId",
                                  "The access key you provided does not exist in the records of "
                                  "this server."},
    [S3_INVALID_ARGUMENT] = {400, "InvalidArgument", "A parameter or header has an invalid value."},
    [S3_INVALID_BUCKET_NAME] = {400, "InvalidBucketName", "The specified bucket is not valid."},
    [S3_INVALID_DIGEST] = {400, "InvalidDigest", "The Content-MD5 you specified is not valid."},
    [S3_INVALID_PART] = {400, "InvalidPart",
                         "One or more of the specified parts could not be found. The part may not "
                         "have been uploaded, or its entity tag is another one."},
    [S3_INVALID_PART_NUMBER] = {416, "InvalidPartNumber",
                                "The requested partnumber is not satisfiable."},
    [S3_INVALID_PART_ORDER] = {400, "InvalidPartOrder",
                               "The list of parts was not in ascending order."},
    [S3_INVALID_RANGE] = {416, "InvalidRange", "The requested range is not satisfiable."},
    [S3_INVALID_REQUEST] = {400, "InvalidRequest", "The request is not valid."},
    [S3_INVALID_URI] = {400, "InvalidURI", "The URI could not be parsed."},
    [S3_KEY_TOO_LONG] = {400, "KeyTooLongError", "Your key is longer than 1024 bytes."},
    [S3_MALFORMED_ACL] = {400, "MalformedACLError",
                          "The XML you provided was not well-formed or is no access list."},
    [S3_MALFORMED_TRAILER] = {400, "MalformedTrailerError",
                              "The trailers of the body are not those that were announced, or not "
                              "well-formed."},
    [S3_MALFORMED_XML] = {400, "MalformedXML",
                          "The XML you provided was not well-formed or not what is expected here."},
    [S3_MAX_MESSAGE_LENGTH] = {400, "MaxMessageLengthExceeded", "Your request was too big."},
    [S3_METADATA_TOO_LARGE] = {400, "MetadataTooLarge",
                               "Your metadata headers exceed the maximum allowed metadata size."},
    [S3_METHOD_NOT_ALLOWED] = {405, "MethodNotAllowed",
                               "The specified method is not allowed against this resource."},
    [S3_MISSING_CONTENT_LENGTH] = {411, "MissingContentLength",
                                   "You must provide the Content-Length HTTP header."},
    [S3_NO_SUCH_BUCKET] = {404, "NoSuchBucket", "The specified bucket does not exist"},
    [S3_NO_SUCH_BUCKET_POLICY] = {404, "NoSuchBucketPolicy", "The bucket policy does not exist."},
    [S3_NO_SUCH_CORS] = {404, "NoSuchCORSConfiguration", "The CORS configuration does not exist."},
    [S3_NO_SUCH_ENCRYPTION] = {404, "ServerSideEncryptionConfigurationNotFoundError",
                               "The server side encryption configuration was not found."},
    [S3_NO_SUCH_KEY] = {404, "NoSuchKey", "The specified key does not exist."},
    [S3_NO_SUCH_LIFECYCLE] = {404, "NoSuchLifecycleConfiguration",
                              "The lifecycle configuration does not exist."},
    [S3_NO_SUCH_OBJECT_LOCK] = {404, "ObjectLockConfigurationNotFoundError",
                                "Object Lock configuration does not exist for this bucket."},
    [S3_NO_SUCH_OWNERSHIP] = {404, "OwnershipControlsNotFoundError",
                              "The bucket ownership controls were not found."},
    [S3_NO_SUCH_PUBLIC_ACCESS_BLOCK] = {404, "NoSuchPublicAccessBlockConfiguration",
                                        "The public access block configuration was not found."},
    [S3_NO_SUCH_REPLICATION] = {404, "ReplicationConfigurationNotFoundError",
                                "The replication configuration was not found."},
    [S3_NO_SUCH_TAG_SET] = {404, "NoSuchTagSet", "The TagSet does not exist."},
    [S3_NO_SUCH_UPLOAD] = {404, "NoSuchUpload",
                           "The specified multipart upload does not exist. It may have been "
                           "aborted or completed."},
    [S3_NO_SUCH_VERSION] = {404, "NoSuchVersion", "The specified version does not exist."},
    [S3_NO_SUCH_WEBSITE] = {404, "NoSuchWebsiteConfiguration",
                            "The specified bucket does not have a website configuration."},
    [S3_NOT_IMPLEMENTED] = {501, "NotImplemented",
                            "This server does not offer what the request asks for."},
    [S3_PRECONDITION_FAILED] = {412, "PreconditionFailed",
                                "At least one of the preconditions you specified did not hold."},
    [S3_SERVICE_UNAVAILABLE] = {503, "ServiceUnavailable",
                                "The server is stopping. Please try again."},
    [S3_SIGNATURE_DOES_NOT_MATCH] = {403, "SignatureDoesNotMatch",
                                     "The request signature we calculated does not match the "
                                     "signature you provided. Check your secret key and signing "
                                     "method."},
    [S3_SLOW_DOWN] = {503, "SlowDown", "Please reduce your request rate and try again later."},
    [S3_TIME_TOO_SKEWED] = {403, "RequestTimeTooSkewed",
                            "The difference between the request time and the server's time is too "
                            "large."},
    [S3_TOO_MANY_BUCKETS] = {400, "TooManyBuckets",
                             "You have attempted to create more buckets than allowed."},
};

const struct s3_error *s3_error_of(enum s3_code code)
{
    assert(code >= 0 && code < S3_N_CODES);
    return &TABLE[code];
}

enum s3_code s3_code_of_zerr(int zerr)
{
    switch (zerr) {
    case ZERR_NOT_FOUND:
        return S3_NO_SUCH_KEY;
    case ZERR_DAMAGED:
        return S3_DAMAGED;
    case ZERR_TOO_LARGE:
        return S3_ENTITY_TOO_LARGE;
    case ZERR_NO_UPLOAD:
        return S3_NO_SUCH_UPLOAD;
    case ZERR_BAD_PART:
        return S3_INVALID_PART;
    case ZERR_SMALL_PART:
        return S3_ENTITY_TOO_SMALL;
    case ZERR_BAD_DIGEST:
        return S3_BAD_DIGEST;
    case ZERR_PRECONDITION:
        return S3_PRECONDITION_FAILED;
    case ZERR_INCOMPLETE:
        return S3_INCOMPLETE_BODY;
    case ZERR_NOT_EMPTY:
        return S3_BUCKET_NOT_EMPTY;
    case ZERR_LOCKED: /* by a tool */
    case ZERR_BUSY:
    case ZERR_NO_SPACE:
    case ZERR_NOMEM:
    case ZERR_LIMIT:
        return S3_SLOW_DOWN;
    case ZERR_CANCELED:
        return S3_SERVICE_UNAVAILABLE;
    default: /* IO, CORRUPT, POISONED and what should not come here */
        return S3_INTERNAL_ERROR;
    }
}
