/* What a link says in its query. A link is a request that is signed there, version 4, so that it can be
 * handed to somebody who adds nothing: some programs write all their x-amz-* headers there, and they
 * mean the same as headers. A copy's source that was passed over would be the upload of an empty object;
 * encryption or a lock would be promised and not given. Not taken are the signature's own parameters,
 * and checksums with what belongs to them (x-amz-checksum-*, x-amz-sdk-*), as by S3: programs compute
 * them of a body that they do not have yet. */
#ifndef ZKV_S3_S3_LINK_H
#define ZKV_S3_S3_LINK_H

#include "s3/s3_headers.h"

/* If *req is a link, it becomes a copy with those among its headers, in the arena, and the head is
 * sorted out anew. Not before its signature is checked: then they are signed, too. ZERR_INVALID: one
 * cannot be a header, or a header of that name says something else; ZERR_NOMEM. */
int s3_link_headers(const struct http_request **req, struct s3_head *) ZKV_MUST_CHECK;

#endif
