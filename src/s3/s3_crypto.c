#include "s3/s3_crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

int s3_sha256(struct slice data, uint8_t ret[SHA256_BYTES])
{
    return EVP_Digest(data.ptr, data.len, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : ZERR_NOMEM;
}

static int hmac(const EVP_MD *md, struct slice key, struct slice data, uint8_t *ret)
{
    unsigned len;

    return HMAC(md, key.ptr, (int)key.len, data.ptr, data.len, ret, &len) != NULL ? 0 : ZERR_NOMEM;
}

int s3_hmac_sha256(struct slice key, struct slice data, uint8_t ret[SHA256_BYTES])
{
    return hmac(EVP_sha256(), key, data, ret);
}

int s3_hmac_sha1(struct slice key, struct slice data, uint8_t ret[SHA1_BYTES])
{
    return hmac(EVP_sha1(), key, data, ret);
}

bool s3_same_secret(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void s3_forget(void *p, size_t len)
{
    OPENSSL_cleanse(p, len);
}
