/* Who may ask, for tests: a credentials file, requests put together by hand, and the examples that
 * Amazon publishes for each way to sign.
 *
 * Calling sequence of a test: A(name) in the list gives it the file and `auth`; prepare() an example,
 * change what it should be without, check_at(); or expect_in(), expect_out(). main() ends with
 * clear(). */
#ifndef ZKV_TEST_AUTH_RIG_H
#define ZKV_TEST_AUTH_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/num.h"
#include "base/timefmt.h"
#include "s3/s3_auth.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define V4 "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"

static char dir[64], path[80];
static struct s3_auth *auth;

static inline void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static inline int open_auth(unsigned port)
{
    const struct s3_auth_config config = {.path = path, .skew_s = 900, .port = port};
    struct zerr_info info = {0};

    return s3_auth_open(&config, &auth, &info);
}

static inline int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%.40s/zkv-auth-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/keys", dir);
    write_file("# the key of the examples\n\n"
               "AKIAIOSFODNN7EXAMPLE:" SECRET "\n"
               "READER:" SECRET ":ro\n"
               "LIMITED:" SECRET ":ro:one,two\r\n"
               "0PN5J17HBGZHT7JJ3X82:uV3F3YluFJax1cknvbcGwgjvx4QpvB+leU8dUj2o:one\n");
    assert_int_equal(open_auth(80), 0);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    s3_auth_close(auth);
    auth = NULL;
    (void)unlink(path);
    return rmdir(dir);
}

/* ---- requests ---- */

#define MAX_HEADERS 20

struct example {
    enum http_method method;
    const char *target;
    const char *headers[MAX_HEADERS][2];
    const char *now; /* HTTP's form */
};

static struct arena arena;
static struct http_header headers[MAX_HEADERS];
static struct http_request req;
static struct s3_identity who;
static struct s3_refusal why;

static inline void prepare(const struct example *e)
{
    arena_reset(&arena);
    req = (struct http_request){
        .method = e->method, .target = slice_str(e->target), .headers = headers, .arena = &arena};
    while (e->headers[req.n_headers][0] != NULL) {
        headers[req.n_headers] = (struct http_header){slice_str(e->headers[req.n_headers][0]),
                                                      slice_str(e->headers[req.n_headers][1])};
        req.n_headers++;
    }
}

static inline int check_at(const char *now)
{
    int64_t ms;

    assert_int_equal(time_parse_http(slice_str(now), &ms), 0);
    memset(&who, 0, sizeof(who));
    memset(&why, 0, sizeof(why));
    return s3_auth_check(auth, &req, ms, &who, &why);
}

static inline void expect_in(const struct example *e)
{
    prepare(e);
    if (check_at(e->now) != 0) {
        for (size_t i = 0; i < why.n_details; i++) {
            print_error("%s: %.*s\n", why.details[i].name, SLICE_FMT(why.details[i].value));
        }
        fail_msg("%s: %s", e->target, s3_error_of(why.code)->code);
    }
}

static inline void expect_out(enum s3_code code)
{
    if (check_at("Fri, 24 May 2013 00:00:00 GMT") != ZERR_INVALID || why.code != code) {
        fail_msg("%.*s: %s, not %s", SLICE_FMT(req.target), s3_error_of(why.code)->code,
                 s3_error_of(code)->code);
    }
    assert_int_equal(who.access.len, 0);
    if (code == S3_AUTH_HEADER_MALFORMED) { /* s3cmd and minio-go sign again with it */
        assert_string_equal(why.details[0].name, "Region");
        assert_true(slice_eq_str(why.details[0].value, "us-east-1"));
    }
}

/* ---- what Amazon publishes ---- */

#define MAY_24 "Fri, 24 May 2013 00:00:00 GMT"
#define DATE                                                                                       \
    {                                                                                              \
        "x-amz-date", "20130524T000000Z"                                                           \
    }
#define BUCKET                                                                                     \
    {                                                                                              \
        "Host", "examplebucket.s3.amazonaws.com"                                                   \
    }

static const struct example GET_OBJECT = {
    HTTP_METHOD_GET,
    "/test.txt",
    {BUCKET,
     {"Authorization", V4 "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature="
                          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
     {"Range", "bytes=0-9"},
     {"x-amz-content-sha256", EMPTY},
     DATE},
    MAY_24};

static const struct example PRESIGNED = {
    HTTP_METHOD_GET,
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
    "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
    "X-Amz-SignedHeaders=host&X-Amz-Signature="
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    {BUCKET},
    MAY_24};

static const struct example V2_GET = {
    HTTP_METHOD_GET,
    "/johnsmith/photos/puppy.jpg",
    {{"Host", "johnsmith.s3.amazonaws.com"},
     {"Date", "Tue, 27 Mar 2007 19:36:42 +0000"},
     {"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU="}},
    "Tue, 27 Mar 2007 19:36:42 GMT"};
/* ---- changes ---- */

static inline struct slice *header(const char *name)
{
    for (size_t i = 0; i < req.n_headers; i++) {
        if (slice_eq_str(headers[i].name, name)) {
            return &headers[i].value;
        }
    }
    fail();
    return NULL;
}

static inline void add(const char *name, const char *value)
{
    headers[req.n_headers++] = (struct http_header){slice_str(name), slice_str(value)};
}

/* Every byte of what is signed, changed by one bit. */
static inline void change_each_byte(const struct example *e, struct slice *what)
{
    struct slice good = *what;
    uint8_t text[512];

    assert_true(good.len < sizeof(text));
    for (size_t i = 0; i < good.len; i++) {
        memcpy(text, good.ptr, good.len);
        text[i] ^= 1;
        *what = slice_of(text, good.len);
        if (check_at(e->now) != ZERR_INVALID) {
            fail_msg("let in: %.*s", SLICE_FMT(*what));
        }
    }
    *what = good;
}

/* Signs what is prepared anew, by the rules of `variant`. */
static inline void sign(const char *access, unsigned variant, const char *host, char out[400])
{
    struct sigv4 sig;
    struct s3_query query = {0};
    struct slice canonical, string;
    uint8_t key[SHA256_BYTES], mac[SHA256_BYTES];
    char hex[65] = "";

    (void)snprintf(out, 400,
                   SIGV4_ALGORITHM " Credential=%s/20130524/here/s3/aws4_request, "
                                   "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                                   "Signature=" EMPTY,
                   access);
    assert_null(sigv4_parse_header(slice_str(out), &sig));
    sig.time = SLICE_LIT("20130524T000000Z");
    sig.payload = SLICE_LIT(EMPTY);
    assert_int_equal(sigv4_canonical(&req, &sig, &query, variant, slice_str(host), &canonical), 0);
    assert_int_equal(sigv4_string_to_sign(&sig, canonical, &arena, &string), 0);
    assert_int_equal(sigv4_key(SLICE_LIT(SECRET), sig.date, sig.region, key), 0);
    assert_int_equal(s3_hmac_sha256(slice_of(key, 32), string, mac), 0);
    hex_encode(mac, 32, hex);
    memcpy(out + strlen(out) - 64, hex, 64);
    *header("Authorization") = slice_str(out);
}

/* ---- the list ---- */

#define A(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static inline int clear(void **state)
{
    (void)state;
    arena_finish(&arena);
    return 0;
}

#endif
