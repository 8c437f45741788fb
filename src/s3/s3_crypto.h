/* The few words of OpenSSL that signatures need. No state, no secrets kept. */
#ifndef ZKV_S3_S3_CRYPTO_H
#define ZKV_S3_S3_CRYPTO_H

#include "base/slice.h"
#include "base/zerr.h"

#define SHA256_BYTES 32
#define SHA1_BYTES 20

/* Each: ZERR_NOMEM, the only way in which they fail. */
int s3_sha256(struct slice data, uint8_t ret[SHA256_BYTES]) ZKV_MUST_CHECK;
int s3_hmac_sha256(struct slice key, struct slice data, uint8_t ret[SHA256_BYTES]) ZKV_MUST_CHECK;
int s3_hmac_sha1(struct slice key, struct slice data, uint8_t ret[SHA1_BYTES]) ZKV_MUST_CHECK;

/* Takes the same time whatever the bytes are. */
bool s3_same_secret(const void *a, const void *b, size_t len);
/* Overwrites what was secret, even when nobody reads it any more. */
void s3_forget(void *p, size_t len);

#endif
