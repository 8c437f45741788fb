/* Signatures: the examples that Amazon publishes, everything around them that must be refused, and
 * what clients do differently. */
#include "support/auth_rig.h"

#include "s3/s3_digest.h"

/* ---- what Amazon publishes ---- */

static const struct example OTHERS[] = {
    {HTTP_METHOD_PUT,
     "/test%24file.text",
     {BUCKET,
      {"Date", MAY_24},
      {"Authorization",
       V4 "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature="
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
      DATE,
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
      {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"}},
     MAY_24},
    {HTTP_METHOD_GET,
     "/?lifecycle",
     {BUCKET,
      {"Authorization", V4 "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
                           "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
      DATE,
      {"x-amz-content-sha256", EMPTY}},
     MAY_24},
    {HTTP_METHOD_GET,
     "/?max-keys=2&prefix=J",
     {BUCKET,
      {"Authorization", V4 "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
                           "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
      DATE,
      {"x-amz-content-sha256", EMPTY}},
     MAY_24},
    {HTTP_METHOD_PUT,
     "/johnsmith/photos/puppy.jpg",
     {{"Host", "johnsmith.s3.amazonaws.com"},
      {"Content-Type", "image/jpeg"},
      {"Content-Length", "94328"},
      {"Date", "Tue, 27 Mar 2007 21:15:45 +0000"},
      {"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:MyyxeRY7whkBe+bq8fHCL/2kKUg="}},
     "Tue, 27 Mar 2007 21:15:45 GMT"},
    {HTTP_METHOD_GET,
     "/johnsmith/?prefix=photos&max-keys=50&marker=puppy",
     {{"Host", "johnsmith.s3.amazonaws.com"},
      {"Date", "Tue, 27 Mar 2007 19:42:41 +0000"},
      {"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:htDYFYduRNen8P9ZfE/s9SuKy0U="}},
     "Tue, 27 Mar 2007 19:42:41 GMT"},
    {HTTP_METHOD_GET,
     "/johnsmith/?acl",
     {{"Host", "johnsmith.s3.amazonaws.com"},
      {"Date", "Tue, 27 Mar 2007 19:44:46 +0000"},
      {"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:c2WLPFtWHVgbEmeEG93a4cG37dM="}},
     "Tue, 27 Mar 2007 19:44:46 GMT"},
    /* Not published: rclone --s3-v2-auth writes the time so. */
    {HTTP_METHOD_GET,
     "/johnsmith/photos/puppy.jpg",
     {{"Host", "johnsmith.s3.amazonaws.com"},
      {"Date", "Tue, 27 Mar 2007 19:36:42 UTC"},
      {"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:coe01FHx6Vi0LI0ADrfN0H2qXjo="}},
     "Tue, 27 Mar 2007 19:36:42 GMT"},
};
#define N_OTHERS (sizeof(OTHERS) / sizeof(OTHERS[0]))

static void the_published_examples_are_let_in(void **state)
{
    (void)state;
    expect_in(&GET_OBJECT);
    assert_true(who.has_chain);
    assert_true(slice_eq_str(who.access, "AKIAIOSFODNN7EXAMPLE"));
    expect_in(&PRESIGNED);
    assert_false(who.has_chain);
    assert_true(slice_eq_str(who.payload, "UNSIGNED-PAYLOAD"));
    expect_in(&V2_GET);
    assert_false(who.has_chain);
    for (size_t i = 0; i < N_OTHERS; i++) {
        expect_in(&OTHERS[i]);
    }
}

/* ---- chunks ---- */

static const struct example CHUNKED = {
    HTTP_METHOD_PUT,
    "/examplebucket/chunkObject.txt",
    {{"Host", "s3.amazonaws.com"},
     DATE,
     {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
     {"Authorization",
      V4 "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
         "x-amz-decoded-content-length;x-amz-storage-class,Signature="
         "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"},
     {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
     {"Content-Encoding", "aws-chunked"},
     {"x-amz-decoded-content-length", "66560"},
     {"Content-Length", "66824"}},
    MAY_24};

static const struct example CHUNKED_TRAILER = {
    HTTP_METHOD_PUT,
    "/examplebucket/chunkObject.txt",
    {{"Host", "s3.amazonaws.com"},
     DATE,
     {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
     {"Authorization",
      V4 "SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;"
         "x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature="
         "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"},
     {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"},
     {"Content-Encoding", "aws-chunked"},
     {"x-amz-decoded-content-length", "66560"},
     {"x-amz-trailer", "x-amz-checksum-crc32c"},
     {"Content-Length", "66824"}},
    MAY_24};

struct signatures {
    const char *chunks[3], *trailer;
};
static const struct signatures PLAIN = {
    {"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
     "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
     "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"},
    NULL};
static const struct signatures WITH_TRAILER = {
    {"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
     "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
     "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"},
    "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"};

/* 64 KiB and 1 KiB of 'a', in pieces of `piece`; byte `bad` of the body (SIZE_MAX: none) is not 'a',
 * signature `bad_sig` (3: the trailer's) is not the right one. */
static int digest(const struct signatures *s, size_t piece, size_t bad, int bad_sig,
                  const char *trailer)
{
    struct s3_digest *d = s3_digest_create();
    uint8_t body[66560], sig[4][SHA256_BYTES], hash[SHA256_BYTES];
    int err;

    assert_non_null(d);
    memset(body, 'a', sizeof(body));
    if (bad < sizeof(body)) {
        body[bad] = 'b';
    }
    for (int i = 0; i < 4; i++) {
        const char *hex = i < 3 ? s->chunks[i] : s->trailer != NULL ? s->trailer : s->chunks[0];
        assert_int_equal(hex_decode(slice_str(hex), sig[i], SHA256_BYTES), 0);
        sig[i][31] ^= i == bad_sig;
    }
    assert_int_equal(s3_digest_want_chain(d, &who.chain), 0);
    for (size_t at = 0, end; at < sizeof(body); at = end) {
        size_t chunk = at < 65536 ? 0 : 1, limit = chunk == 0 ? 65536 : sizeof(body);
        end = at + piece < limit ? at + piece : limit;
        err = s3_digest_update(d, slice_of(body + at, end - at),
                               at == 0 || at == 65536 ? sig[chunk] : NULL);
        assert_int_equal(err, 0);
    }
    assert_int_equal(s3_sha256(slice_str(trailer), hash), 0);
    s3_digest_end_chunks(d, sig[2], hash, s->trailer != NULL ? sig[3] : NULL);
    err = s3_digest_finish(d);
    assert_true(err == 0 || (err == ZERR_BAD_DIGEST && d->code == S3_SIGNATURE_DOES_NOT_MATCH));
    s3_digest_unref(d);
    return err;
}

static void the_published_chunks_are_taken_and_no_others(void **state)
{
    static const size_t pieces[] = {66560, 65536, 1000, 7};
    static const size_t bad[] = {0, 65535, 65536, 66559};
    static const char trailer[] = "x-amz-checksum-crc32c:sOO8/Q==\n";

    (void)state;
    expect_in(&CHUNKED);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(digest(&PLAIN, pieces[i], SIZE_MAX, 9, ""), 0);
        assert_int_equal(digest(&PLAIN, pieces[i], bad[i], 9, ""), ZERR_BAD_DIGEST);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(digest(&PLAIN, 65536, SIZE_MAX, i, ""), ZERR_BAD_DIGEST);
    }
    assert_int_equal(digest(&WITH_TRAILER, 65536, SIZE_MAX, 9, trailer), ZERR_BAD_DIGEST);
    expect_in(&CHUNKED_TRAILER);
    assert_int_equal(digest(&WITH_TRAILER, 65536, SIZE_MAX, 9, trailer), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(digest(&WITH_TRAILER, 65536, SIZE_MAX, i, trailer), ZERR_BAD_DIGEST);
    }
    assert_int_equal(digest(&WITH_TRAILER, 65536, SIZE_MAX, 9, "x-amz-checksum-crc32c:sOO8/A==\n"),
                     ZERR_BAD_DIGEST);
}

static void the_checksum_of_the_published_trailer_is_right(void **state)
{
    struct s3_digest *d = s3_digest_create();
    uint8_t body[66560], value[4];

    (void)state;
    memset(body, 'a', sizeof(body));
    assert_int_equal(s3_digest_want_checksum(d, S3_CRC32C), 0);
    assert_int_equal(s3_digest_update(d, slice_of(body, sizeof(body)), NULL), 0);
    assert_int_equal(base64_decode(SLICE_LIT("sOO8/Q=="), value, 4), 0);
    s3_digest_expect(d, value);
    assert_int_equal(s3_digest_finish(d), 0);
    s3_digest_unref(d);
}

/* ---- what is refused ---- */

static void one_changed_bit_anywhere_is_refused(void **state)
{
    static const struct example *const examples[] = {&GET_OBJECT, &PRESIGNED, &V2_GET, &OTHERS[0],
                                                     &CHUNKED};

    (void)state;
    for (size_t k = 0; k < sizeof(examples) / sizeof(examples[0]); k++) {
        const struct example *e = examples[k];
        bool v2 = e == &V2_GET;

        expect_in(e);
        change_each_byte(e, &req.target);
        for (size_t i = 0; i < req.n_headers; i++) {
            if (!v2 || !slice_eq_str(headers[i].name, "Host")) { /* which version 2 does not sign */
                change_each_byte(e, &headers[i].value);
            }
        }
        req.method = req.method == HTTP_METHOD_GET ? HTTP_METHOD_DELETE : HTTP_METHOD_GET;
        assert_int_equal(check_at(e->now), ZERR_INVALID);
        assert_int_equal(why.code, S3_SIGNATURE_DOES_NOT_MATCH);
        expect_in(e);
    }
}

static void drop(const char *name)
{
    size_t i = 0;

    while (!slice_eq_str(headers[i].name, name)) {
        i++;
    }
    for (req.n_headers--; i < req.n_headers; i++) {
        headers[i] = headers[i + 1];
    }
}

static void each_refusal_has_its_code(void **state)
{
    static const struct {
        const char *authorization;
        enum s3_code code;
    } cases[] = {
        {"Basic dXNlcjpwYXNz", S3_AUTH_HEADER_MALFORMED},
        {"", S3_AUTH_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256", S3_AUTH_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 ", S3_AUTH_HEADER_MALFORMED},
        {"AWS ", S3_AUTH_HEADER_MALFORMED},
        {"AWS :bWq2s1WEIj+Ydj0vQ697zp+IXMU=", S3_AUTH_HEADER_MALFORMED},
        {"AWS a", S3_AUTH_HEADER_MALFORMED},
        {"AWS a:bWq2", S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=host;x-amz-content-sha256;x-amz-date", S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=00",
         S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=,Signature=" EMPTY, S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=x-amz-date;host,Signature=" EMPTY, S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=host;host,Signature=" EMPTY, S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=range,Signature=" EMPTY, S3_AUTH_HEADER_MALFORMED}, /* no host */
        {V4 "SignedHeaders=host,Signature=" EMPTY ",Signature=" EMPTY, S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=host,Signature=" EMPTY ",More=1", S3_AUTH_HEADER_MALFORMED},
        {V4 "SignedHeaders=host,Signature=" EMPTY, S3_FORBIDDEN}, /* x-amz-date is not signed */
        {V4 "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=" EMPTY,
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"AWS4-HMAC-SHA256 Credential=NOBODY/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;"
         "x-amz-content-sha256;x-amz-date,Signature=" EMPTY,
         S3_INVALID_ACCESS_KEY_ID},
        {"AWS4-HMAC-SHA256 Credential=/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,"
         "Signature=" EMPTY,
         S3_AUTH_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/ec2/aws4_request,SignedHeaders=host,"
         "Signature=" EMPTY,
         S3_AUTH_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3/aws4,SignedHeaders=host,"
         "Signature=" EMPTY,
         S3_AUTH_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=A/20130524//s3/aws4_request,SignedHeaders=host,"
         "Signature=" EMPTY,
         S3_AUTH_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=A/2013-5-24/x/s3/aws4_request,SignedHeaders=host,"
         "Signature=" EMPTY,
         S3_AUTH_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=A/20130525/x/s3/aws4_request,SignedHeaders=host,"
         "Signature=" EMPTY,
         S3_AUTH_HEADER_MALFORMED}, /* another day than x-amz-date's */
        {"AWS NOBODY:bWq2s1WEIj+Ydj0vQ697zp+IXMU=", S3_INVALID_ACCESS_KEY_ID},
        {"AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU=", S3_SIGNATURE_DOES_NOT_MATCH},
    };

    (void)state;
    prepare(&GET_OBJECT);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        *header("Authorization") = slice_str(cases[i].authorization);
        expect_out(cases[i].code);
    }
    drop("Authorization");
    expect_out(S3_FORBIDDEN);
}

static void nothing_may_be_missing_unsigned_or_there_twice(void **state)
{
    (void)state;
    prepare(&GET_OBJECT);
    add("X-Amz-Meta-Evil", "1");
    expect_out(S3_FORBIDDEN);
    prepare(&GET_OBJECT);
    drop("x-amz-date");
    expect_out(S3_FORBIDDEN);
    prepare(&GET_OBJECT);
    *header("x-amz-date") = SLICE_LIT("yesterday");
    expect_out(S3_FORBIDDEN);
    prepare(&GET_OBJECT);
    drop("x-amz-content-sha256");
    expect_out(S3_INVALID_REQUEST);
    prepare(&GET_OBJECT);
    add("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD");
    expect_out(S3_INVALID_REQUEST);
    prepare(&GET_OBJECT);
    add("Authorization", "AWS a:b");
    expect_out(S3_INVALID_ARGUMENT);
    prepare(&GET_OBJECT);
    add("Range", "bytes=0-9"); /* a signed one */
    expect_out(S3_SIGNATURE_DOES_NOT_MATCH);
    prepare(&GET_OBJECT);
    drop("Host");
    expect_out(S3_SIGNATURE_DOES_NOT_MATCH);
    prepare(&PRESIGNED);
    add("Authorization", "AWS a:b");
    expect_out(S3_INVALID_ARGUMENT);
    prepare(&GET_OBJECT);
    req.target = SLICE_LIT("/test.txt?Signature=x");
    expect_out(S3_INVALID_ARGUMENT);
    prepare(&GET_OBJECT);
    req.target = SLICE_LIT("/test.txt?AWSAccessKeyId=x&X-Amz-Signature=1");
    expect_out(S3_INVALID_ARGUMENT);
    prepare(&GET_OBJECT);
    req.target = SLICE_LIT("/test%2.txt");
    expect_out(S3_INVALID_URI);
    prepare(&GET_OBJECT);
    req.target = SLICE_LIT("/test.txt?a=%zz");
    expect_out(S3_INVALID_URI);
}

static void clocks_may_be_a_quarter_of_an_hour_apart(void **state)
{
    (void)state;
    prepare(&GET_OBJECT);
    assert_int_equal(check_at("Fri, 24 May 2013 00:15:00 GMT"), 0);
    assert_int_equal(check_at("Thu, 23 May 2013 23:45:00 GMT"), 0);
    assert_int_equal(check_at("Fri, 24 May 2013 00:15:01 GMT"), ZERR_INVALID);
    assert_int_equal(why.code, S3_TIME_TOO_SKEWED);
    assert_int_equal(check_at("Thu, 23 May 2013 23:44:59 GMT"), ZERR_INVALID);
    assert_int_equal(why.code, S3_TIME_TOO_SKEWED);
    assert_string_equal(why.details[2].name, "MaxAllowedSkewMilliseconds");
    assert_true(slice_eq_str(why.details[2].value, "900000"));
    prepare(&V2_GET);
    assert_int_equal(check_at("Tue, 27 Mar 2007 19:51:43 GMT"), ZERR_INVALID);
    assert_int_equal(why.code, S3_TIME_TOO_SKEWED);
}

static void presigned_requests_hold_for_their_time(void **state)
{
    (void)state;
    prepare(&PRESIGNED);
    assert_int_equal(check_at("Sat, 25 May 2013 00:00:00 GMT"), 0);
    assert_int_equal(check_at("Sat, 25 May 2013 00:00:01 GMT"), ZERR_INVALID);
    assert_int_equal(why.code, S3_FORBIDDEN);
    assert_string_equal(why.message, "Request has expired");
    assert_int_equal(check_at("Thu, 23 May 2013 23:45:00 GMT"), 0);
    assert_int_equal(check_at("Thu, 23 May 2013 23:44:00 GMT"), ZERR_INVALID);
    assert_int_equal(why.code, S3_FORBIDDEN);
}

/* The presigned example with one text in its target replaced. */
static void with(const char *from, const char *to)
{
    static char target[600];
    const char *at = strstr(PRESIGNED.target, from);

    prepare(&PRESIGNED);
    assert_non_null(at);
    (void)snprintf(target, sizeof(target), "%.*s%s%s", (int)(at - PRESIGNED.target),
                   PRESIGNED.target, to, at + strlen(from));
    req.target = slice_str(target);
}

static void presigned_requests_must_say_all(void **state)
{
    static const char *const cases[][2] = {
        {"=86400", "=0"},
        {"=86400", "=604801"},
        {"=86400", "=x"},
        {"=86400", "="},
        {"X-Amz-Expires", "X-Amz-Expired"},
        {"X-Amz-Expires=86400", "X-Amz-Expires=86400&X-Amz-Expires=86400"},
        {"AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"},
        {"X-Amz-Date=20130524", "X-Amz-Date=20130525"},
        {"X-Amz-Date=2013", "X-Amz-Date=x013"},
        {"SignedHeaders=host", "SignedHeaders="},
        {"SignedHeaders=host", "SignedHeaders=x"},
        {"&X-Amz-Signature=", "&X-Amz-Signature=0"},
        {"%2Fs3%2F", "%2Fs4%2F"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        with(cases[i][0], cases[i][1]);
        expect_out(S3_AUTH_QUERY_ERROR);
    }
    with("AKIAIOSFODNN7EXAMPLE", "NOBODY");
    expect_out(S3_INVALID_ACCESS_KEY_ID);
    with("us-east-1", "eu-west-1");
    expect_out(S3_SIGNATURE_DOES_NOT_MATCH);
    prepare(&PRESIGNED);
    add("x-amz-meta-a", "1");
    expect_out(S3_FORBIDDEN);
    with("X-Amz-Date", "X-Amz-Content-Sha256=STREAMING-UNSIGNED-PAYLOAD-TRAILER&X-Amz-Date");
    expect_out(S3_FORBIDDEN);
    prepare(&PRESIGNED);
    add("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    expect_out(S3_FORBIDDEN);
}

static void a_signature_is_for_one_method(void **state)
{
    static const struct example *const all[] = {&GET_OBJECT, &PRESIGNED, &V2_GET};

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (int method = HTTP_METHOD_GET; method <= HTTP_METHOD_OPTIONS; method++) {
            prepare(all[i]);
            req.method = (enum http_method)method;
            assert_int_equal(check_at(all[i]->now) == 0, method == HTTP_METHOD_GET);
            assert_true(method == HTTP_METHOD_GET || why.code == S3_SIGNATURE_DOES_NOT_MATCH);
        }
    }
}

/* ---- what may be different ---- */

static void what_clients_do_differently_is_understood(void **state)
{
    static const struct {
        const char *sent, *signed_as;
        bool good;
    } hosts[] = {
        {"nas", "nas:80", true},       {"nas:80", "nas", true},     {"nas", "nas", true},
        {"[::1]", "[::1]:80", true},   {"[::1]:80", "[::1]", true}, {"nas", "nas:443", false},
        {"nas:8080", "nas", false},    {"nas", "nas:8080", false},  {"nas", "other:80", false},
        {"nas:8080", "nas:80", false},
    };
    char out[400];

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        prepare(&GET_OBJECT);
        *header("Host") = slice_str(hosts[i].sent);
        sign("AKIAIOSFODNN7EXAMPLE", SIGV4_OTHER_HOST, hosts[i].signed_as, out);
        assert_int_equal(check_at(MAY_24) == 0, hosts[i].good);
    }
    s3_auth_close(auth);
    assert_int_equal(open_auth(443), 0); /* as with TLS: the port that https leaves out */
    for (size_t i = 0; i < 4; i++) {
        static const char *const tls[4][2] = {
            {"nas", "nas:443"}, {"nas:443", "nas"}, {"nas", "nas:80"}, {"nas:80", "nas"}};
        prepare(&GET_OBJECT);
        *header("Host") = slice_str(tls[i][0]);
        sign("AKIAIOSFODNN7EXAMPLE", SIGV4_OTHER_HOST, tls[i][1], out);
        assert_int_equal(check_at(MAY_24) == 0, i < 2);
    }
    s3_auth_close(auth);
    assert_int_equal(open_auth(80), 0);
    prepare(&GET_OBJECT);
    *header("Range") = SLICE_LIT("bytes=0-9   \t x  y");
    sign("AKIAIOSFODNN7EXAMPLE", SIGV4_RAW_SPACES, "", out);
    assert_int_equal(check_at(MAY_24), 0);
    sign("AKIAIOSFODNN7EXAMPLE", 0, "", out);
    assert_int_equal(check_at(MAY_24), 0);
    *header("Range") = SLICE_LIT("bytes=0-9 x y");
    assert_int_equal(check_at(MAY_24), 0); /* they mean the same, signed one way or the other */
    *header("Range") = SLICE_LIT("bytes=0-9x y");
    assert_int_equal(check_at(MAY_24), ZERR_INVALID);
}

static void who_it_is_decides_what_they_may(void **state)
{
    char out[400];

    (void)state;
    prepare(&GET_OBJECT);
    sign("READER", 0, "", out);
    assert_int_equal(check_at(MAY_24), 0);
    assert_true(who.read_only);
    assert_true(s3_identity_may_use(&who, SLICE_LIT("any")));
    sign("LIMITED", 0, "", out);
    assert_int_equal(check_at(MAY_24), 0);
    assert_true(who.read_only);
    assert_true(s3_identity_may_use(&who, SLICE_LIT("one")));
    assert_true(s3_identity_may_use(&who, SLICE_LIT("two")));
    assert_false(s3_identity_may_use(&who, SLICE_LIT("three")));
    assert_false(s3_identity_may_use(&who, SLICE_LIT("")));
    assert_false(s3_identity_may_use(&who, SLICE_LIT("one,two")));
    assert_false(s3_identity_may_use(&who, SLICE_LIT("on")));
    sign("AKIAIOSFODNN7EXAMPLE", 0, "", out);
    assert_int_equal(check_at(MAY_24), 0);
    assert_false(who.read_only);
    sign("0PN5J17HBGZHT7JJ3X82", 0, "", out); /* with somebody else's secret */
    expect_out(S3_SIGNATURE_DOES_NOT_MATCH);
}

static void each_region_has_its_own_key(void **state)
{
    char out[400];

    (void)state;
    for (int i = 0; i < 2; i++) {
        expect_in(&GET_OBJECT);                   /* of us-east-1 */
        sign("AKIAIOSFODNN7EXAMPLE", 0, "", out); /* of another one */
        assert_int_equal(check_at(MAY_24), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A(the_published_examples_are_let_in),
        A(the_published_chunks_are_taken_and_no_others),
        A(the_checksum_of_the_published_trailer_is_right),
        A(one_changed_bit_anywhere_is_refused),
        A(each_refusal_has_its_code),
        A(nothing_may_be_missing_unsigned_or_there_twice),
        A(clocks_may_be_a_quarter_of_an_hour_apart),
        A(presigned_requests_hold_for_their_time),
        A(presigned_requests_must_say_all),
        A(a_signature_is_for_one_method),
        A(what_clients_do_differently_is_understood),
        A(who_it_is_decides_what_they_may),
        A(each_region_has_its_own_key),
    };

    return cmocka_run_group_tests(tests, NULL, clear);
}
