/* What a key may do, over the S3 layer: that a good signature is not all. */
#include "support/s3_toy.h"

#include "base/num.h"
#include "s3/s3_auth.h"
#include "s3/s3_crypto.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EXPIRES "4102444800" /* 2100 */

static char keys_path[100];
static struct s3_auth *auth;

static int setup_auth(void **state)
{
    const struct s3_auth_config config = {.path = keys_path, .skew_s = 900, .port = 80};
    struct s3_config s3_config = {0};
    struct zerr_info info = {0};
    FILE *f;

    assert_int_equal(setup(state), 0);
    (void)snprintf(keys_path, sizeof(keys_path), "%s/keys", dir);
    f = fopen(keys_path, "w");
    assert_non_null(f);
    assert_true(fputs("ADMIN:" SECRET "\nREADER:" SECRET ":ro\nOTHER:" SECRET ":elsewhere\n"
                      "BOTH:" SECRET ":bucket,elsewhere\nTHIS:" SECRET ":bucket\n",
                      f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(keys_path, 0600), 0);
    assert_int_equal(s3_auth_open(&config, &auth, &info), 0);
    s3_destroy(s3);
    s3_config.stores = stores;
    s3_config.auth = auth;
    return s3_create(&s3_config, &s3);
}

static int teardown_auth(void **state)
{
    s3_auth_close(auth);
    return teardown(state);
}

/* A request that is signed in its query, version 2. `sub` is the sub-resource that is signed. */
static int ask(struct toy *t, enum http_method method, const char *access, const char *path,
               const char *sub, const char *source, const char *body)
{
    static const char *const names[] = {
        [HTTP_METHOD_GET] = "GET",   [HTTP_METHOD_HEAD] = "HEAD",     [HTTP_METHOD_PUT] = "PUT",
        [HTTP_METHOD_POST] = "POST", [HTTP_METHOD_DELETE] = "DELETE",
    };
    static char target[400];
    char text[400], base64[BASE64_LEN(SHA1_BYTES) + 1] = "";
    uint8_t mac[SHA1_BYTES];
    size_t n;
    int len = snprintf(text, sizeof(text), "%s\n\n\n" EXPIRES "\n%s%s%s%s%s%s", names[method],
                       source != NULL ? "x-amz-copy-source:" : "", source != NULL ? source : "",
                       source != NULL ? "\n" : "", path, sub[0] != '\0' ? "?" : "", sub);

    assert_int_equal(s3_hmac_sha1(SLICE_LIT(SECRET), slice_of(text, (size_t)len), mac), 0);
    base64_encode(mac, sizeof(mac), base64);
    n = (size_t)snprintf(target, sizeof(target),
                         "%s?%s&AWSAccessKeyId=%s&Expires=" EXPIRES "&Signature=", path, sub,
                         access);
    for (const char *p = base64; *p != '\0'; p++) {
        n += (size_t)snprintf(target + n, sizeof(target) - n, strchr("+/=", *p) ? "%%%02X" : "%c",
                              *p);
    }
    toy_init(t, method, target);
    if (body != NULL) {
        set_body(t, slice_str(body));
    }
    if (source != NULL) {
        add_header(t, "x-amz-copy-source", source);
    }
    begin(t);
    finish(t);
    return t->status;
}

static void a_key_that_may_only_read_changes_nothing(void **state)
{
    static const struct {
        enum http_method method;
        const char *path, *sub, *source;
    } changes[] = {
        {HTTP_METHOD_PUT, "/bucket/k", "", NULL},
        {HTTP_METHOD_PUT, "/bucket/k", "", "/bucket/other"},
        {HTTP_METHOD_PUT, "/bucket/k", "acl", NULL},
        {HTTP_METHOD_PUT, "/bucket", "", NULL},
        {HTTP_METHOD_PUT, "/brand-new", "", NULL},
        {HTTP_METHOD_DELETE, "/bucket", "", NULL},
        {HTTP_METHOD_PUT, "/bucket/k", "partNumber=1&uploadId=0123456789abcdef", NULL},
        {HTTP_METHOD_POST, "/bucket/k", "uploads", NULL},
        {HTTP_METHOD_POST, "/bucket/k", "uploadId=0123456789abcdef", NULL},
        {HTTP_METHOD_POST, "/bucket", "delete", NULL},
        {HTTP_METHOD_DELETE, "/bucket/k", "", NULL},
        {HTTP_METHOD_DELETE, "/bucket/k", "uploadId=0123456789abcdef", NULL},
    };
    struct toy t = {0};

    (void)state;
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "ADMIN", "/bucket/k", "", NULL, "hello"), 200);
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "ADMIN", "/bucket/other", "", NULL, "other"), 200);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        (void)ask(&t, changes[i].method, "READER", changes[i].path, changes[i].sub,
                  changes[i].source, "<Delete><Object><Key>k</Key></Object></Delete>");
        assert_error(&t, 403, "AccessDenied");
        assert_true(t.refused_body);
    }
    assert_int_equal(ask(&t, HTTP_METHOD_GET, "READER", "/bucket/k", "", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "hello");
    assert_int_equal(ask(&t, HTTP_METHOD_GET, "READER", "/bucket", "uploads", NULL, NULL), 200);
    assert_int_equal(count(&t, "<Upload>"), 0);
    toy_clear(&t);
}

static void a_key_of_other_buckets_sees_nothing_of_this_one(void **state)
{
    static const struct {
        enum http_method method;
        const char *path, *sub;
    } asks[] = {
        {HTTP_METHOD_GET, "/bucket", ""},        {HTTP_METHOD_GET, "/bucket", "versions"},
        {HTTP_METHOD_GET, "/bucket/k", ""},      {HTTP_METHOD_GET, "/bucket/k", "acl"},
        {HTTP_METHOD_PUT, "/bucket/k", ""},      {HTTP_METHOD_GET, "/bucket", "policy"},
        {HTTP_METHOD_DELETE, "/bucket/k", ""},   {HTTP_METHOD_GET, "/bucket/none", ""},
        {HTTP_METHOD_POST, "/bucket", "delete"},
    };
    struct toy t = {0};

    (void)state;
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "ADMIN", "/bucket/k", "", NULL, "hello"), 200);
    for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
        (void)ask(&t, asks[i].method, "OTHER", asks[i].path, asks[i].sub, NULL,
                  "<Delete><Object><Key>k</Key></Object></Delete>");
        assert_error(&t, 403, "AccessDenied");
        assert_false(body_has(&t, "hello"));
    }
    assert_int_equal(ask(&t, HTTP_METHOD_GET, "OTHER", "/", "", NULL, NULL), 200);
    assert_false(body_has(&t, "<Name>bucket</Name>"));
    assert_int_equal(ask(&t, HTTP_METHOD_GET, "BOTH", "/bucket/k", "", NULL, NULL), 200);
    toy_clear(&t);
}

static void the_source_of_a_copy_is_asked_for_too(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "ADMIN", "/bucket/k", "", NULL, "hello"), 200);
    (void)ask(&t, HTTP_METHOD_PUT, "THIS", "/bucket/copy", "", "/elsewhere/k", NULL);
    assert_error(&t, 403, "AccessDenied");
    (void)ask(&t, HTTP_METHOD_PUT, "BOTH", "/bucket/copy", "", "/elsewhere/k", NULL);
    assert_error(&t, 404, "NoSuchBucket"); /* they may know */
    (void)ask(&t, HTTP_METHOD_PUT, "THIS", "/elsewhere", "", NULL, NULL);
    assert_error(&t, 403, "AccessDenied");
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "OTHER", "/elsewhere", "", NULL, NULL), 200);
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "OTHER", "/elsewhere/k", "", NULL, "there"), 200);
    (void)ask(&t, HTTP_METHOD_PUT, "THIS", "/bucket/copy", "", "/elsewhere/k", NULL);
    assert_error(&t, 403, "AccessDenied");
    (void)ask(&t, HTTP_METHOD_PUT, "OTHER", "/elsewhere/copy", "", "/bucket/k", NULL);
    assert_error(&t, 403, "AccessDenied");
    (void)ask(&t, HTTP_METHOD_DELETE, "THIS", "/elsewhere", "", NULL, NULL);
    assert_error(&t, 403, "AccessDenied");
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "BOTH", "/bucket/copy", "", "/elsewhere/k", NULL),
                     200);
    assert_int_equal(ask(&t, HTTP_METHOD_GET, "THIS", "/", "", NULL, NULL), 200);
    assert_int_equal(count(&t, "<Bucket>"), 1);
    assert_body_has(&t, "<Name>bucket</Name>");
    assert_int_equal(ask(&t, HTTP_METHOD_PUT, "THIS", "/bucket/copy", "", "/bucket/k", NULL), 200);
    toy_clear(&t);
}

#define P(name) cmocka_unit_test_setup_teardown(name, setup_auth, teardown_auth)

int main(void)
{
    const struct CMUnitTest tests[] = {
        P(a_key_that_may_only_read_changes_nothing),
        P(a_key_of_other_buckets_sees_nothing_of_this_one),
        P(the_source_of_a_copy_is_asked_for_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
