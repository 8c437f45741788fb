/* Who may ask: as long as any credentials are accepted, only programs on this machine. */
#ifndef ZKV_S3_S3_ACCESS_H
#define ZKV_S3_S3_ACCESS_H

#include "s3/s3_error.h"
#include "s3/s3_headers.h"

/* 0, or with *ret_code set what to refuse the request with: ZERR_INVALID. */
int s3_access_check(const struct s3_head *, enum s3_code *ret_code) ZKV_MUST_CHECK;

/* True for localhost, 127.0.0.0/8 and [::1], each with or without a port. */
bool s3_host_is_loopback(struct slice host);

#endif
