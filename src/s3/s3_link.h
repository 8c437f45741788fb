/* What a link says in its query. A link is a request that is signed there, version 4, so that it can be
 * handed to somebody who adds nothing: user metadata stands there, too, as some programs write it, and
 * means the same as in headers. (Checksums there are ignored, as by S3: programs compute them of a body
 * that they do not have yet.) */
#ifndef ZKV_S3_S3_LINK_H
#define ZKV_S3_S3_LINK_H

#include "s3/s3_headers.h"

/* If *req is a link whose query has metadata, it becomes a copy with that among its headers, in the
 * arena. Not before its signature is checked. ZERR_INVALID: it cannot be a header; ZERR_NOMEM. */
int s3_link_headers(const struct http_request **req, struct s3_head *) ZKV_MUST_CHECK;

#endif
