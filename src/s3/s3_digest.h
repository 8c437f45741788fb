/* What a body must be: everything that a request says of its bytes, computed as they come and compared
 * at the end. SHA-256 of x-amz-content-sha256, one of the x-amz-checksum-*, the signatures of chunks and
 * trailers, Content-MD5 of what the store does not see; only what was asked for.
 *
 * An upload gives it to the store as its put_hasher, so the work is done in workers; others feed it
 * themselves. Two have a reference then; both let go of theirs on the loop. What is set while the body
 * comes (s3_digest_expect(), s3_digest_end_chunks()) is looked at by s3_digest_finish() only. */
#ifndef ZKV_S3_S3_DIGEST_H
#define ZKV_S3_S3_DIGEST_H

#include <openssl/evp.h>

#include "base/num.h"
#include "s3/s3_error.h"
#include "s3/sigv4.h"
#include "store/store.h"

enum s3_checksum { S3_CRC32, S3_CRC32C, S3_CRC64NVME, S3_SHA1, S3_SHA256, S3_CHECKSUMS };

#define S3_CHECKSUM_BYTES 32 /* of the longest one */
#define S3_CHECKSUM_TEXT BASE64_LEN(S3_CHECKSUM_BYTES)

/* "X-Amz-Checksum-Crc32", ... as objects keep it. */
const char *s3_checksum_header(enum s3_checksum);
size_t s3_checksum_bytes(enum s3_checksum);
/* "CRC32", ... as S3 calls it, and "ChecksumCRC32", ... as an element; the kind of such a name. */
const char *s3_checksum_name(enum s3_checksum);
const char *s3_checksum_element(enum s3_checksum);
enum s3_checksum s3_checksum_of_name(struct slice name);
enum s3_checksum s3_checksum_of_element(struct slice name);
/* "COMPOSITE" if it covers parts' checksums and ends in their number, else "FULL_OBJECT". */
const char *s3_checksum_type(struct slice text);
/* What to tell somebody whose checksum is another one. */
const char *s3_checksum_wrong(enum s3_checksum);
/* The checksum among an object's or part's attributes, and its text; S3_CHECKSUMS: none. */
enum s3_checksum s3_checksum_among(struct attrs sys, struct slice *ret_text);
/* The checksum that a header or trailer of that name carries; S3_CHECKSUMS: none that is known. */
enum s3_checksum s3_checksum_of_header(struct slice name);

struct s3_digest {
    struct put_hasher
        hasher; /* for the store; with has_chain its chunks must be a struct s3_chunk's */
    unsigned refs;

    bool has_payload;
    uint8_t payload[SHA256_BYTES]; /* what x-amz-content-sha256 says */
    uint8_t content_md5[16];       /* what Content-MD5 says, if `md5` is there */

    enum s3_checksum checksum; /* S3_CHECKSUMS: none */
    bool expects;              /* else it is only computed */
    uint8_t expected[S3_CHECKSUM_BYTES];
    uint64_t crc;
    EVP_MD_CTX *md5, *sha1, *sha256; /* of the whole body, if wanted */
    char text[S3_CHECKSUM_TEXT + 1]; /* finish(): the checksum as it is kept */

    bool has_chain;
    struct sigv4_chain chain;
    EVP_MD_CTX *chunk; /* SHA-256 of the current chunk */
    bool in_chunk;
    uint8_t chunk_signature[SHA256_BYTES]; /* what it should be signed with */
    bool bad_signature;
    bool has_last; /* the last, empty chunk */
    uint8_t last_signature[SHA256_BYTES];
    bool has_trailer; /* and the trailers' */
    uint8_t trailer_hash[SHA256_BYTES], trailer_signature[SHA256_BYTES];

    /* What was wrong, after finish(); S3_N_CODES: nothing. */
    enum s3_code code;
    const char *message;
};

/* Nothing is wanted yet; one reference. NULL: out of memory. */
struct s3_digest *s3_digest_create(void);
void s3_digest_unref(struct s3_digest *);                /* NULL is fine */
struct put_hasher *s3_digest_hasher(struct s3_digest *); /* with a reference of its own */

/* Before the first byte. */
int s3_digest_want_payload(struct s3_digest *, const uint8_t sha256[SHA256_BYTES]) ZKV_MUST_CHECK;
int s3_digest_want_md5(struct s3_digest *, const uint8_t md5[16]) ZKV_MUST_CHECK;
int s3_digest_want_checksum(struct s3_digest *, enum s3_checksum) ZKV_MUST_CHECK;
int s3_digest_want_chain(struct s3_digest *, const struct sigv4_chain *) ZKV_MUST_CHECK;

/* begins: a signed chunk begins with these bytes, and this is its signature; else NULL. */
int s3_digest_update(struct s3_digest *, struct slice data, const uint8_t *begins) ZKV_MUST_CHECK;

/* What the checksum must be. */
void s3_digest_expect(struct s3_digest *, const uint8_t *value);
/* The signatures of the last chunk and, if there is one, of the trailers. */
void s3_digest_end_chunks(struct s3_digest *, const uint8_t *last, const uint8_t *trailer_hash,
                          const uint8_t *trailer);

/* 0; ZERR_BAD_DIGEST: code and message say what is wrong; ZERR_NOMEM. */
int s3_digest_finish(struct s3_digest *) ZKV_MUST_CHECK;

#endif
