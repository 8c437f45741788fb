/* AWS Signature Version 4, the words and the arithmetic: what a request says of its signature,
 * what is signed, and with which key. Who may ask is s3_auth.c's business.
 *
 * A request is signed by way of its canonical form, made here from the bytes as they came: path and
 * query decoded once and encoded again, headers in lower case. Three things clients do differently
 * are tried one after the other (`enum sigv4_variant`); each of them is a form that the client may
 * have meant by what was received, none lets a signature cover less. */
#ifndef ZKV_S3_SIGV4_H
#define ZKV_S3_SIGV4_H

#include "http/http_msg.h"
#include "s3/s3_crypto.h"
#include "s3/s3_query.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"
#define SIGV4_REGION_MAX 64
#define SIGV4_EXPIRES_MAX 604800 /* seconds: a week */

/* What a request says. Slices of the header or the query. */
struct sigv4 {
    struct slice access;
    struct slice scope;         /* "20130524/us-east-1/s3/aws4_request" */
    struct slice date, region;  /* of it */
    struct slice signed_names;  /* "host;x-amz-date" */
    struct slice signature_hex; /* as given */
    uint8_t signature[SHA256_BYTES];
    struct slice time;    /* "20130524T000000Z" */
    struct slice payload; /* what stands for the body */
    bool in_query;
};

/* From the value of Authorization; time and payload are the caller's to fill. Returns what is wrong
 * with it, or NULL. */
const char *sigv4_parse_header(struct slice value, struct sigv4 *ret);
/* From X-Amz-Credential and its like; payload is the caller's. *ret_expires_s: how long it holds. */
const char *sigv4_parse_query(const struct s3_query *, struct sigv4 *ret, uint64_t *ret_expires_s);

/* True if the name is one of those that are signed. */
bool sigv4_is_signed(const struct sigv4 *, struct slice name);

enum sigv4_variant {
    SIGV4_RAW_SPACES = 1, /* runs of spaces in header values were left as they are */
    SIGV4_OTHER_HOST = 2, /* Host was signed as `other_host` */
    SIGV4_VARIANTS = 4,
};

/* The canonical request. query is sorted already. ZERR_INVALID: the path cannot be decoded;
 * ZERR_NOMEM. */
int sigv4_canonical(const struct http_request *, const struct sigv4 *, const struct s3_query *,
                    unsigned variant, struct slice other_host, struct slice *ret) ZKV_MUST_CHECK;
/* "AWS4-HMAC-SHA256\n..." */
int sigv4_string_to_sign(const struct sigv4 *, struct slice canonical, struct arena *,
                         struct slice *ret) ZKV_MUST_CHECK;
/* The key of a day, a region and a secret. */
int sigv4_key(struct slice secret, struct slice date, struct slice region,
              uint8_t ret[SHA256_BYTES]) ZKV_MUST_CHECK;

/* ---- bodies in signed chunks: each signature covers the one before ---- */

struct sigv4_chain {
    uint8_t key[SHA256_BYTES];
    uint8_t previous[SHA256_BYTES]; /* in the beginning the request's own */
    char time[17];
    char scope[SIGV4_REGION_MAX + 32];
};

void sigv4_chain_init(struct sigv4_chain *, const struct sigv4 *, const uint8_t key[SHA256_BYTES]);
/* hash: SHA-256 of the chunk's bytes, or of the trailers, each "name:value\n".
 * 0: *ret_good tells whether the signature is right, and the next one continues from it. */
int sigv4_chain_check(struct sigv4_chain *, bool trailer, const uint8_t hash[SHA256_BYTES],
                      const uint8_t signature[SHA256_BYTES], bool *ret_good) ZKV_MUST_CHECK;

#endif
