/* Who asks, see s3_auth.h.
 *
 * Nothing passes by falling through: the one place that returns 0 is behind a comparison of the
 * signature that was computed here with the one that was given. */
#include "s3/s3_auth.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/timefmt.h"
#include "s3/s3_headers.h"
#include "s3/s3_keyring.h"
#include "s3/s3_route.h"
#include "s3/sigv2.h"

struct s3_auth {
    struct s3_auth_config config;
    struct s3_keyring keyring;
};

/* One request being judged. */
struct check {
    struct s3_auth *auth;
    const struct http_request *req;
    int64_t now_ms;
    struct s3_query query;
    struct s3_identity *who;
    struct s3_refusal *why;
};

/* ---- opening ---- */

int s3_auth_open(const struct s3_auth_config *config, struct s3_auth **ret, struct zerr_info *info)
{
    struct s3_auth *auth = calloc(1, sizeof(*auth));
    int err;

    if (auth == NULL) {
        return ZERR_NOMEM;
    }
    auth->config = *config;
    err = s3_keyring_open(&auth->keyring, config->path, info);
    if (err != 0) {
        free(auth);
        return err;
    }
    *ret = auth;
    return 0;
}

void s3_auth_close(struct s3_auth *auth)
{
    if (auth != NULL) {
        s3_keyring_close(&auth->keyring);
        free(auth);
    }
}

/* ---- refusals ---- */

void s3_refusal_add(struct s3_refusal *why, const char *name, struct slice value)
{
    assert(why->n_details < S3_REFUSAL_DETAILS);
    why->details[why->n_details++] = (struct s3_detail){name, value};
}

static int refuse(struct check *c, enum s3_code code, const char *message)
{
    *c->why = (struct s3_refusal){.code = code, .message = message};
    if (code == S3_AUTH_HEADER_MALFORMED) { /* clients sign again with this */
        s3_refusal_add(c->why, "Region", SLICE_LIT(S3_REGION));
    }
    return ZERR_INVALID;
}

static int no_memory(struct check *c)
{
    return refuse(c, S3_SLOW_DOWN, NULL);
}

static int refuse_access_key(struct check *c, struct slice access)
{
    (void)refuse(c, S3_INVALID_ACCESS_KEY_ID, NULL);
    s3_refusal_add(c->why, "AWSAccessKeyId", access);
    return ZERR_INVALID;
}

static void add_number(struct check *c, const char *name, uint64_t n)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)n);

    s3_refusal_add(c->why, name, arena_dup(c->req->arena, slice_of(text, (size_t)len)));
}

static void add_time(struct check *c, const char *name, int64_t ms)
{
    char text[TIME_ISO_LEN + 1];

    time_iso(ms, text);
    s3_refusal_add(c->why, name, arena_dup(c->req->arena, slice_of(text, TIME_ISO_LEN)));
}

static int refuse_signature(struct check *c, struct slice access, struct slice given,
                            struct slice string_to_sign, struct slice canonical)
{
    (void)refuse(c, S3_SIGNATURE_DOES_NOT_MATCH, NULL);
    s3_refusal_add(c->why, "AWSAccessKeyId", access);
    s3_refusal_add(c->why, "StringToSign", string_to_sign);
    s3_refusal_add(c->why, "SignatureProvided", given);
    if (canonical.ptr != NULL) {
        s3_refusal_add(c->why, "CanonicalRequest", canonical);
    }
    return ZERR_INVALID;
}

/* ---- times ---- */

static uint64_t skew_ms(const struct check *c)
{
    return c->auth->config.skew_s * 1000;
}

static int check_skew(struct check *c, struct slice text, int64_t time_ms)
{
    uint64_t apart = time_ms > c->now_ms ? (uint64_t)time_ms - (uint64_t)c->now_ms
                                         : (uint64_t)c->now_ms - (uint64_t)time_ms;

    if (apart <= skew_ms(c)) {
        return 0;
    }
    (void)refuse(c, S3_TIME_TOO_SKEWED, NULL);
    s3_refusal_add(c->why, "RequestTime", text);
    add_time(c, "ServerTime", c->now_ms);
    add_number(c, "MaxAllowedSkewMilliseconds", skew_ms(c));
    return ZERR_INVALID;
}

static int refuse_expired(struct check *c, int64_t end_ms)
{
    (void)refuse(c, S3_FORBIDDEN, "Request has expired");
    add_time(c, "Expires", end_ms);
    add_time(c, "ServerTime", c->now_ms);
    return ZERR_INVALID;
}

/* The only header of that name: ptr NULL if there is none. False: there are several. */
static bool single(const struct http_request *req, const char *name, struct slice *ret)
{
    size_t n = 0;

    *ret = slice_of(NULL, 0);
    for (size_t i = 0; i < req->n_headers; i++) {
        if (s3_eq_nocase(req->headers[i].name, name)) {
            *ret = req->headers[i].value.ptr != NULL ? req->headers[i].value : SLICE_LIT("");
            n++;
        }
    }
    return n <= 1;
}

/* A time as mail and HTTP have it, with any word for the zone (rclone: UTC); or as signatures do. */
static int parse_date(struct slice s, int64_t *ret_ms)
{
    static const char *const zones[] = {" +0000", " -0000", " UTC"};
    const size_t zone = TIME_HTTP_LEN - 4; /* where " GMT" begins */
    char text[TIME_HTTP_LEN];

    if (time_parse_basic(s, ret_ms) == 0 || time_parse_http(s, ret_ms) == 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
        if (s.len > zone && slice_eq_str(slice_of(s.ptr + zone, s.len - zone), zones[i])) {
            memcpy(text, s.ptr, zone);
            memcpy(text + zone, " GMT", 4);
            return time_parse_http(slice_of(text, TIME_HTTP_LEN), ret_ms);
        }
    }
    return ZERR_INVALID;
}

/* The time of a request that is signed in its header. */
static int request_time(struct check *c, struct slice *ret_text, int64_t *ret_ms)
{
    if (!single(c->req, "x-amz-date", ret_text) ||
        (ret_text->ptr == NULL && !single(c->req, "Date", ret_text)) || ret_text->ptr == NULL ||
        parse_date(*ret_text, ret_ms) != 0) {
        return refuse(c, S3_FORBIDDEN,
                      "AWS authentication requires a valid Date or x-amz-date header");
    }
    return 0;
}

/* ---- version 4 ---- */

/* Host as S3QL signs it: with the port that it does not send because it is 80, or the other way
 * round. ptr NULL: there is no other way to write this one. */
static struct slice other_host(const struct check *c)
{
    const struct slice *host = http_request_header(c->req, "Host");
    char text[300];
    size_t port_len;
    int len;

    len = snprintf(text, sizeof(text), ":%u", c->auth->config.port);
    port_len = (size_t)len;
    if (host == NULL || host->len == 0 || host->len > 255) {
        return slice_of(NULL, 0);
    }
    if (host->len > port_len && memcmp(host->ptr + host->len - port_len, text, port_len) == 0) {
        return slice_of(host->ptr, host->len - port_len);
    }
    if (host->ptr[host->len - 1] != ']' && memchr(host->ptr, ':', host->len) != NULL) {
        return slice_of(NULL, 0);
    }
    len = snprintf(text, sizeof(text), "%.*s:%u", SLICE_FMT(*host), c->auth->config.port);
    return arena_dup(c->req->arena, slice_of(text, (size_t)len));
}

/* Is it signed with this key? Tries what clients may have meant. */
static int compare_v4(struct check *c, const struct sigv4 *sig, const uint8_t key[SHA256_BYTES])
{
    struct slice other = other_host(c), first_string = {0}, first_canonical = {0};

    for (unsigned variant = 0; variant < SIGV4_VARIANTS; variant++) {
        struct slice canonical, string;
        uint8_t expected[SHA256_BYTES];
        int err;

        if ((variant & SIGV4_OTHER_HOST) != 0 && other.ptr == NULL) {
            continue;
        }
        err = sigv4_canonical(c->req, sig, &c->query, variant, other, &canonical);
        if (err == ZERR_INVALID) {
            return refuse(c, S3_INVALID_URI, NULL);
        }
        if (err == 0) {
            err = sigv4_string_to_sign(sig, canonical, c->req->arena, &string);
        }
        if (err == 0) {
            err = s3_hmac_sha256(slice_of(key, SHA256_BYTES), string, expected);
        }
        if (err != 0) {
            return no_memory(c);
        }
        if (s3_same_secret(expected, sig->signature, SHA256_BYTES)) {
            return 0;
        }
        if (variant == 0) {
            first_string = string;
            first_canonical = canonical;
        }
    }
    return refuse_signature(c, sig->access, sig->signature_hex, first_string, first_canonical);
}

/* Host and all of x-amz-* must be signed. */
static int check_signed_headers(struct check *c, const struct sigv4 *sig)
{
    if (!sigv4_is_signed(sig, SLICE_LIT("host"))) {
        return refuse(c, sig->in_query ? S3_AUTH_QUERY_ERROR : S3_AUTH_HEADER_MALFORMED,
                      "SignedHeaders does not have host.");
    }
    for (size_t i = 0; i < c->req->n_headers; i++) {
        struct slice name = c->req->headers[i].name;
        if (s3_has_prefix_nocase(name, "x-amz-") && !sigv4_is_signed(sig, name)) {
            (void)refuse(c, S3_FORBIDDEN,
                         "There were headers present in the request which were not signed");
            s3_refusal_add(c->why, "HeadersNotSigned", name);
            return ZERR_INVALID;
        }
    }
    return 0;
}

/* What both forms have in common, from a parsed signature on. */
static int finish_v4(struct check *c, const struct sigv4 *sig)
{
    const struct s3_key *key = s3_keyring_find(&c->auth->keyring, sig->access);
    uint8_t signing[SHA256_BYTES];
    int err = check_signed_headers(c, sig);

    if (err != 0) {
        return err;
    }
    if (key == NULL) {
        return refuse_access_key(c, sig->access);
    }
    s3_query_sort(&c->query);
    err = s3_keyring_sign(&c->auth->keyring, key, sig, signing) != 0 ? no_memory(c)
                                                                     : compare_v4(c, sig, signing);
    if (err == 0) {
        *c->who = (struct s3_identity){
            .access = sig->access, .buckets = key->buckets, .read_only = key->read_only};
        if (!sig->in_query) {
            c->who->has_chain = true;
            sigv4_chain_init(&c->who->chain, sig, signing);
        }
    }
    s3_forget(signing, sizeof(signing));
    return err;
}

/* The time as it stands in the string to sign. */
static struct slice basic_time(struct check *c, int64_t ms)
{
    char iso[TIME_ISO_LEN + 1], text[TIME_BASIC_LEN];
    size_t n = 0;

    time_iso(ms, iso);
    for (size_t i = 0; n + 1 < sizeof(text); i++) {
        if (iso[i] != '-' && iso[i] != ':') {
            text[n++] = iso[i];
        }
    }
    text[n] = 'Z';
    return arena_dup(c->req->arena, slice_of(text, sizeof(text)));
}

static int check_v4_header(struct check *c, struct slice authorization)
{
    struct sigv4 sig;
    const char *wrong = sigv4_parse_header(authorization, &sig);
    struct slice text;
    int64_t ms;
    int err;

    if (wrong != NULL) {
        return refuse(c, S3_AUTH_HEADER_MALFORMED, wrong);
    }
    err = request_time(c, &text, &ms);
    if (err != 0) {
        return err;
    }
    sig.time = basic_time(c, ms);
    if (sig.time.ptr == NULL) {
        return no_memory(c);
    }
    if (!slice_has_prefix(sig.time, sig.date)) {
        return refuse(c, S3_AUTH_HEADER_MALFORMED,
                      "The credential's date is not the date of the request.");
    }
    if (!single(c->req, "x-amz-content-sha256", &sig.payload) || sig.payload.ptr == NULL) {
        return refuse(c, S3_INVALID_REQUEST,
                      "There must be one x-amz-content-sha256 header in this request.");
    }
    err = check_skew(c, text, ms);
    return err != 0 ? err : finish_v4(c, &sig);
}

static int check_v4_query(struct check *c)
{
    struct sigv4 sig;
    uint64_t expires_s = 0;
    const char *wrong = sigv4_parse_query(&c->query, &sig, &expires_s);
    struct slice claimed = {0};
    int64_t ms;
    int err;

    if (wrong != NULL) {
        return refuse(c, S3_AUTH_QUERY_ERROR, wrong);
    }
    if (time_parse_basic(sig.time, &ms) != 0) {
        return refuse(c, S3_AUTH_QUERY_ERROR, "X-Amz-Date must be like 20130524T000000Z.");
    }
    if (!slice_has_prefix(sig.time, sig.date)) {
        return refuse(c, S3_AUTH_QUERY_ERROR,
                      "The credential's date is not the date of X-Amz-Date.");
    }
    if (ms - (int64_t)skew_ms(c) > c->now_ms) {
        return refuse(c, S3_FORBIDDEN, "Request is not yet valid");
    }
    if (ms + (int64_t)expires_s * 1000 < c->now_ms) {
        return refuse_expired(c, ms + (int64_t)expires_s * 1000);
    }
    if (!single(c->req, "x-amz-content-sha256", &sig.payload) ||
        s3_query_find(&c->query, "X-Amz-Content-Sha256", &claimed) > 1) {
        return refuse(c, S3_AUTH_QUERY_ERROR, "x-amz-content-sha256 is there more than once.");
    }
    if (sig.payload.ptr == NULL) {
        sig.payload = claimed.ptr != NULL ? claimed : SLICE_LIT("UNSIGNED-PAYLOAD");
    }
    if (slice_has_prefix(sig.payload, SLICE_LIT("STREAMING-"))) {
        return refuse(c, S3_FORBIDDEN,
                      "A body in chunks must be signed in the Authorization header.");
    }
    err = finish_v4(c, &sig);
    if (err == 0) {
        c->who->payload = sig.payload;
    }
    return err;
}

/* ---- version 2 ---- */

static int finish_v2(struct check *c, const struct sigv2 *sig)
{
    const struct s3_key *key = s3_keyring_find(&c->auth->keyring, sig->access);
    struct slice string, payload, slashed;
    uint8_t expected[SHA1_BYTES];
    bool good;

    if (key == NULL) {
        return refuse_access_key(c, sig->access);
    }
    if (!single(c->req, "x-amz-content-sha256", &payload) ||
        slice_has_prefix(payload, SLICE_LIT("STREAMING-"))) {
        return refuse(c, S3_FORBIDDEN,
                      "A body in chunks must be signed with AWS Signature Version 4.");
    }
    if (sigv2_string_to_sign(c->req, sig, &c->query, false, &string) != 0 ||
        s3_hmac_sha1(key->secret, string, expected) != 0) {
        return no_memory(c);
    }
    good = s3_same_secret(expected, sig->signature, SHA1_BYTES);
    if (!good && sigv2_may_slash(c->req)) {
        if (sigv2_string_to_sign(c->req, sig, &c->query, true, &slashed) != 0 ||
            s3_hmac_sha1(key->secret, slashed, expected) != 0) {
            return no_memory(c);
        }
        good = s3_same_secret(expected, sig->signature, SHA1_BYTES);
    }
    if (!good) {
        return refuse_signature(c, sig->access, sig->signature_text, string, slice_of(NULL, 0));
    }
    *c->who = (struct s3_identity){
        .access = sig->access, .buckets = key->buckets, .read_only = key->read_only};
    return 0;
}

static int check_v2_header(struct check *c, struct slice authorization)
{
    struct sigv2 sig;
    const char *wrong = sigv2_parse_header(authorization, &sig);
    struct slice text;
    int64_t ms;
    int err;

    if (wrong != NULL) {
        return refuse(c, S3_AUTH_HEADER_MALFORMED, wrong);
    }
    err = request_time(c, &text, &ms);
    if (err == 0) {
        err = check_skew(c, text, ms);
    }
    return err != 0 ? err : finish_v2(c, &sig);
}

static int check_v2_query(struct check *c)
{
    struct sigv2 sig;
    const char *wrong = sigv2_parse_query(&c->query, &sig);

    if (wrong != NULL) {
        return refuse(c, S3_AUTH_QUERY_ERROR, wrong);
    }
    if (sig.expires_s * 1000 < c->now_ms) {
        return refuse_expired(c, sig.expires_s * 1000);
    }
    return finish_v2(c, &sig);
}

/* ---- the one way in ---- */

static bool query_has(const struct check *c, const char *name)
{
    struct slice value;

    return s3_query_find(&c->query, name, &value) > 0;
}

/* What the client gets to see of the file ends with the request. */
static int keep_identity(struct check *c)
{
    struct s3_identity *who = c->who;

    if (who->buckets.len > 0) {
        who->buckets = arena_dup(c->req->arena, who->buckets);
        if (who->buckets.ptr == NULL) {
            return no_memory(c);
        }
    }
    return 0;
}

static int check_request(struct check *c)
{
    struct slice authorization, query = slice_of(NULL, 0), path = s3_target_path(c->req->target);
    bool in_v4_query, in_v2_query;
    int err;

    if (path.len < c->req->target.len) {
        query = slice_of(path.ptr + path.len + 1, c->req->target.len - path.len - 1);
    }
    err = s3_query_parse(query, c->req->arena, &c->query);
    if (err != 0) {
        return err == ZERR_NOMEM ? no_memory(c) : refuse(c, S3_INVALID_URI, NULL);
    }
    if (!single(c->req, "Authorization", &authorization)) {
        return refuse(c, S3_INVALID_ARGUMENT, "There is more than one Authorization header.");
    }
    in_v4_query = query_has(c, "X-Amz-Signature") || query_has(c, "X-Amz-Credential") ||
                  query_has(c, "X-Amz-Algorithm");
    in_v2_query = query_has(c, "Signature") || query_has(c, "AWSAccessKeyId");
    if ((authorization.ptr != NULL) + in_v4_query + in_v2_query > 1) {
        return refuse(c, S3_INVALID_ARGUMENT, "Only one way to authenticate is allowed at a time.");
    }
    if (in_v4_query) {
        return check_v4_query(c);
    }
    if (in_v2_query) {
        return check_v2_query(c);
    }
    if (authorization.ptr == NULL) {
        return refuse(c, S3_FORBIDDEN, NULL);
    }
    if (slice_has_prefix(authorization, SLICE_LIT(SIGV4_ALGORITHM " "))) {
        return check_v4_header(c, authorization);
    }
    if (slice_has_prefix(authorization, SLICE_LIT("AWS "))) {
        return check_v2_header(c, authorization);
    }
    return refuse(c, S3_AUTH_HEADER_MALFORMED,
                  "The Authorization header is neither " SIGV4_ALGORITHM " nor AWS.");
}

int s3_auth_check(struct s3_auth *auth, const struct http_request *req, int64_t now_ms,
                  struct s3_identity *ret, struct s3_refusal *ret_why)
{
    struct s3_identity who = {0};
    struct check c = {.auth = auth, .req = req, .now_ms = now_ms, .who = &who, .why = ret_why};
    int err;

    s3_keyring_look_again(&auth->keyring);
    err = check_request(&c);
    if (err == 0) {
        err = keep_identity(&c);
    }
    if (err == 0) {
        *ret = who;
    }
    s3_forget(&who.chain, sizeof(who.chain));
    return err;
}

bool s3_identity_may_use(const struct s3_identity *who, struct slice bucket)
{
    struct slice rest = who->buckets;

    if (rest.len == 0) {
        return true;
    }
    while (rest.len > 0) {
        const uint8_t *comma = memchr(rest.ptr, ',', rest.len);
        size_t len = comma != NULL ? (size_t)(comma - rest.ptr) : rest.len;

        if (len > 0 && slice_eq(slice_of(rest.ptr, len), bucket)) {
            return true;
        }
        len += comma != NULL;
        rest = slice_of(rest.ptr + len, rest.len - len);
    }
    return false;
}
