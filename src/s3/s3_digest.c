/* What a body must be, see s3_digest.h. */
#include "s3/s3_digest.h"

#include <stdlib.h>

#include "base/crc.h"
#include "s3/s3_exchange.h"

static const struct {
    const char *header, *element;
    size_t bytes;
    const char *wrong;
} KINDS[S3_CHECKSUMS] = {
#define KIND(name, header, bytes)                                                                  \
    {                                                                                              \
        header, "Checksum" name, bytes,                                                            \
            "The " name " you specified did not match the calculated checksum."                    \
    }
    [S3_CRC32] = KIND("CRC32", "X-Amz-Checksum-Crc32", 4),
    [S3_CRC32C] = KIND("CRC32C", "X-Amz-Checksum-Crc32c", 4),
    [S3_CRC64NVME] = KIND("CRC64NVME", "X-Amz-Checksum-Crc64nvme", 8),
    [S3_SHA1] = KIND("SHA1", "X-Amz-Checksum-Sha1", SHA1_BYTES),
    [S3_SHA256] = KIND("SHA256", "X-Amz-Checksum-Sha256", SHA256_BYTES),
#undef KIND
};

const char *s3_checksum_header(enum s3_checksum kind)
{
    return KINDS[kind].header;
}

size_t s3_checksum_bytes(enum s3_checksum kind)
{
    return KINDS[kind].bytes;
}

const char *s3_checksum_element(enum s3_checksum kind)
{
    return KINDS[kind].element;
}

const char *s3_checksum_name(enum s3_checksum kind)
{
    return KINDS[kind].element + strlen("Checksum");
}

const char *s3_checksum_type(struct slice text)
{
    return text.len > 0 && memchr(text.ptr, '-', text.len) != NULL ? "COMPOSITE" : "FULL_OBJECT";
}

const char *s3_checksum_wrong(enum s3_checksum kind)
{
    return KINDS[kind].wrong;
}

enum s3_checksum s3_checksum_of_name(struct slice name)
{
    int kind = 0;

    while (kind < S3_CHECKSUMS && !s3_eq_nocase(name, s3_checksum_name((enum s3_checksum)kind))) {
        kind++;
    }
    return (enum s3_checksum)kind;
}

enum s3_checksum s3_checksum_of_element(struct slice name)
{
    int kind = 0;

    while (kind < S3_CHECKSUMS && !slice_eq_str(name, KINDS[kind].element)) {
        kind++;
    }
    return (enum s3_checksum)kind;
}

enum s3_checksum s3_checksum_among(struct attrs sys, struct slice *ret_text)
{
    for (size_t i = 0; i < sys.n; i++) {
        enum s3_checksum kind = s3_checksum_of_header(sys.v[i].name);

        if (kind != S3_CHECKSUMS) {
            *ret_text = sys.v[i].value;
            return kind;
        }
    }
    return S3_CHECKSUMS;
}

enum s3_checksum s3_checksum_of_header(struct slice name)
{
    int kind = 0;

    while (kind < S3_CHECKSUMS && !s3_eq_nocase(name, KINDS[kind].header)) {
        kind++;
    }
    return (enum s3_checksum)kind;
}

/* ---- life ---- */

static void release(struct put_hasher *hasher)
{
    s3_digest_unref(container_of(hasher, struct s3_digest, hasher));
}

static int hash_chunk(struct put_hasher *hasher, const struct chunk *base)
{
    struct s3_digest *d = container_of(hasher, struct s3_digest, hasher);
    const uint8_t *begins = NULL;

    if (d->has_chain) {
        const struct s3_chunk *c =
            (const struct s3_chunk *)(const void *)((const char *)base -
                                                    offsetof(struct s3_chunk, base));
        begins = c->begins ? c->signature : NULL;
    }
    return s3_digest_update(d, slice_of(base->data, base->len), begins);
}

static int finish_hashing(struct put_hasher *hasher, uint8_t *late)
{
    struct s3_digest *d = container_of(hasher, struct s3_digest, hasher);
    int err = s3_digest_finish(d);

    if (err == 0 && d->checksum != S3_CHECKSUMS && late != NULL) {
        memcpy(late, d->text, BASE64_LEN(KINDS[d->checksum].bytes));
    }
    return err;
}

struct s3_digest *s3_digest_create(void)
{
    struct s3_digest *d = calloc(1, sizeof(*d));

    if (d != NULL) {
        d->hasher = (struct put_hasher){hash_chunk, finish_hashing, release};
        d->refs = 1;
        d->checksum = S3_CHECKSUMS;
        d->code = S3_N_CODES;
    }
    return d;
}

void s3_digest_unref(struct s3_digest *d)
{
    if (d == NULL || --d->refs > 0) {
        return;
    }
    EVP_MD_CTX_free(d->md5);
    EVP_MD_CTX_free(d->sha1);
    EVP_MD_CTX_free(d->sha256);
    EVP_MD_CTX_free(d->chunk);
    s3_forget(&d->chain, sizeof(d->chain));
    free(d);
}

struct put_hasher *s3_digest_hasher(struct s3_digest *d)
{
    d->refs++;
    return &d->hasher;
}

/* ---- what is wanted ---- */

static int begin_hash(EVP_MD_CTX **ctx, const EVP_MD *md)
{
    if (*ctx == NULL) {
        *ctx = EVP_MD_CTX_new();
    }
    return *ctx != NULL && EVP_DigestInit_ex(*ctx, md, NULL) == 1 ? 0 : ZERR_NOMEM;
}

int s3_digest_want_payload(struct s3_digest *d, const uint8_t sha256[SHA256_BYTES])
{
    d->has_payload = true;
    memcpy(d->payload, sha256, SHA256_BYTES);
    return begin_hash(&d->sha256, EVP_sha256());
}

int s3_digest_want_md5(struct s3_digest *d, const uint8_t md5[16])
{
    memcpy(d->content_md5, md5, sizeof(d->content_md5));
    return begin_hash(&d->md5, EVP_md5());
}

int s3_digest_want_checksum(struct s3_digest *d, enum s3_checksum kind)
{
    d->checksum = kind;
    if (kind == S3_SHA1) {
        return begin_hash(&d->sha1, EVP_sha1());
    }
    return kind == S3_SHA256 ? begin_hash(&d->sha256, EVP_sha256()) : 0;
}

int s3_digest_want_chain(struct s3_digest *d, const struct sigv4_chain *chain)
{
    d->has_chain = true;
    d->chain = *chain;
    return begin_hash(&d->chunk, EVP_sha256());
}

/* ---- the bytes ---- */

/* The current chunk is complete: is it signed as it should be? */
static int end_chunk(struct s3_digest *d)
{
    uint8_t hash[SHA256_BYTES];
    bool good = false;
    int err;

    if (!d->in_chunk) {
        return 0;
    }
    d->in_chunk = false;
    if (EVP_DigestFinal_ex(d->chunk, hash, NULL) != 1) {
        return ZERR_NOMEM;
    }
    err = sigv4_chain_check(&d->chain, false, hash, d->chunk_signature, &good);
    d->bad_signature |= !good;
    return err != 0 ? err : begin_hash(&d->chunk, EVP_sha256());
}

static int update_chain(struct s3_digest *d, struct slice data, const uint8_t *begins)
{
    if (begins != NULL) {
        int err = end_chunk(d);
        if (err != 0) {
            return err;
        }
        d->in_chunk = true;
        memcpy(d->chunk_signature, begins, SHA256_BYTES);
    }
    return EVP_DigestUpdate(d->chunk, data.ptr, data.len) == 1 ? 0 : ZERR_NOMEM;
}

int s3_digest_update(struct s3_digest *d, struct slice data, const uint8_t *begins)
{
    if (d->checksum == S3_CRC32) {
        d->crc = crc_update(CRC_32, d->crc, data.ptr, data.len);
    } else if (d->checksum == S3_CRC32C) {
        d->crc = crc_update(CRC_32C, d->crc, data.ptr, data.len);
    } else if (d->checksum == S3_CRC64NVME) {
        d->crc = crc_update(CRC_64NVME, d->crc, data.ptr, data.len);
    }
    if ((d->md5 != NULL && EVP_DigestUpdate(d->md5, data.ptr, data.len) != 1) ||
        (d->sha1 != NULL && EVP_DigestUpdate(d->sha1, data.ptr, data.len) != 1) ||
        (d->sha256 != NULL && EVP_DigestUpdate(d->sha256, data.ptr, data.len) != 1)) {
        return ZERR_NOMEM;
    }
    return d->has_chain ? update_chain(d, data, begins) : 0;
}

void s3_digest_expect(struct s3_digest *d, const uint8_t *value)
{
    d->expects = true;
    memcpy(d->expected, value, KINDS[d->checksum].bytes);
}

void s3_digest_end_chunks(struct s3_digest *d, const uint8_t *last, const uint8_t *trailer_hash,
                          const uint8_t *trailer)
{
    d->has_last = true;
    memcpy(d->last_signature, last, SHA256_BYTES);
    if (trailer != NULL) {
        d->has_trailer = true;
        memcpy(d->trailer_hash, trailer_hash, SHA256_BYTES);
        memcpy(d->trailer_signature, trailer, SHA256_BYTES);
    }
}

/* ---- the end ---- */

static int wrong(struct s3_digest *d, enum s3_code code, const char *message)
{
    d->code = code;
    d->message = message;
    return ZERR_BAD_DIGEST;
}

/* The last chunk has no bytes, the trailers continue from it. */
static int finish_chain(struct s3_digest *d)
{
    uint8_t empty[SHA256_BYTES];
    bool last_good = true, trailer_good = true;
    int err = end_chunk(d);

    if (err == 0 && d->has_last) {
        err = s3_sha256(slice_of(NULL, 0), empty);
    }
    if (err == 0 && d->has_last) {
        err = sigv4_chain_check(&d->chain, false, empty, d->last_signature, &last_good);
    }
    if (err == 0 && d->has_trailer) {
        err = sigv4_chain_check(&d->chain, true, d->trailer_hash, d->trailer_signature,
                                &trailer_good);
    }
    if (err != 0) {
        return err;
    }
    return d->bad_signature || !last_good || !trailer_good
               ? wrong(d, S3_SIGNATURE_DOES_NOT_MATCH, NULL)
               : 0;
}

static void big_endian(uint64_t v, uint8_t *out, size_t bytes)
{
    while (bytes-- > 0) {
        out[bytes] = (uint8_t)v;
        v >>= 8;
    }
}

int s3_digest_finish(struct s3_digest *d)
{
    uint8_t sha256[SHA256_BYTES], md5[16], value[S3_CHECKSUM_BYTES];
    int err = d->has_chain ? finish_chain(d) : 0;

    if (err == 0 && ((d->sha256 != NULL && EVP_DigestFinal_ex(d->sha256, sha256, NULL) != 1) ||
                     (d->md5 != NULL && EVP_DigestFinal_ex(d->md5, md5, NULL) != 1) ||
                     (d->sha1 != NULL && EVP_DigestFinal_ex(d->sha1, value, NULL) != 1))) {
        err = ZERR_NOMEM;
    }
    if (err == 0 && d->has_payload && memcmp(sha256, d->payload, SHA256_BYTES) != 0) {
        err = wrong(d, S3_CONTENT_SHA256_MISMATCH, NULL);
    }
    if (err == 0 && d->md5 != NULL && memcmp(md5, d->content_md5, sizeof(md5)) != 0) {
        err = wrong(d, S3_BAD_DIGEST, NULL);
    }
    if (err != 0 || d->checksum == S3_CHECKSUMS) {
        return err;
    }
    if (d->checksum == S3_SHA256) {
        memcpy(value, sha256, SHA256_BYTES);
    } else if (d->checksum != S3_SHA1) {
        big_endian(d->crc, value, KINDS[d->checksum].bytes);
    }
    if (d->expects && memcmp(value, d->expected, KINDS[d->checksum].bytes) != 0) {
        return wrong(d, S3_BAD_DIGEST, KINDS[d->checksum].wrong);
    }
    base64_encode(value, KINDS[d->checksum].bytes, d->text);
    return 0;
}
