/* Routing: raw targets to operations, buckets and keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "s3/s3_route.h"
#include "store/record.h"

static struct arena arena;

static struct s3_route route(enum http_method method, const char *target)
{
    struct s3_route r;

    s3_route_parse(method, slice_str(target), &arena, &r);
    return r;
}

#define assert_slice(s, text) assert_true(slice_eq((s), SLICE_LIT(text)))

static void assert_refused(enum http_method method, const char *target, enum s3_code code)
{
    struct s3_route r = route(method, target);

    assert_int_equal(r.op, S3_OP_ERROR);
    assert_int_equal(r.error, code);
}

static int teardown(void **state)
{
    (void)state;
    arena_finish(&arena);
    return 0;
}

static void the_four_object_operations_have_bucket_and_key(void **state)
{
    static const struct {
        enum http_method method;
        enum s3_op_kind op;
    } cases[] = {
        {HTTP_METHOD_GET, S3_OP_GET_OBJECT},
        {HTTP_METHOD_HEAD, S3_OP_HEAD_OBJECT},
        {HTTP_METHOD_PUT, S3_OP_PUT_OBJECT},
        {HTTP_METHOD_DELETE, S3_OP_DELETE_OBJECT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_route r = route(cases[i].method, "/bucket/s3ql_data_17");
        assert_int_equal(r.op, cases[i].op);
        assert_slice(r.bucket, "bucket");
        assert_slice(r.key, "s3ql_data_17");
    }
    assert_refused(HTTP_METHOD_POST, "/bucket/key", S3_METHOD_NOT_ALLOWED);
}

static void a_bucket_is_the_same_with_and_without_a_slash(void **state)
{
    static const char *const targets[] = {"/b", "/b/", "/b?", "/b/?x-id=HeadBucket"};

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct s3_route r = route(HTTP_METHOD_HEAD, targets[i]);
        assert_int_equal(r.op, S3_OP_HEAD_BUCKET);
        assert_slice(r.bucket, "b");
        assert_slice(r.key, "");
        assert_int_equal(route(HTTP_METHOD_GET, targets[i]).op, S3_OP_LIST_OBJECTS);
        assert_int_equal(route(HTTP_METHOD_PUT, targets[i]).op, S3_OP_CREATE_BUCKET);
    }
}

static void keys_are_decoded_once_and_never_normalised(void **state)
{
    (void)state;
    assert_slice(route(HTTP_METHOD_GET, "/b/a%2520b").key, "a%20b");
    assert_slice(route(HTTP_METHOD_GET, "/b/a+b%2Bc").key, "a+b+c");
    assert_slice(route(HTTP_METHOD_GET, "/b//k").key, "/k");
    assert_slice(route(HTTP_METHOD_GET, "/b/a//b/../c/.").key, "a//b/../c/.");
    assert_slice(route(HTTP_METHOD_GET, "/b/random%5C%27name%27%201").key, "random\\'name' 1");
    assert_slice(route(HTTP_METHOD_GET, "/b/%c3%A4%01").key, "\xc3\xa4\x01");
    assert_slice(route(HTTP_METHOD_GET, "/b/k%3Fdelete").key, "k?delete");
    assert_slice(route(HTTP_METHOD_GET, "/%62/k").bucket, "b");
    /* A slash that is encoded does not end the bucket's name. */
    assert_slice(route(HTTP_METHOD_GET, "/b%2Fk").bucket, "b/k");
}

static void bad_percent_encoding_is_refused(void **state)
{
    static const char *const targets[] = {
        "/b/%",
        "/b/%1",
        "/b/a%zz",
        "/b/%g0",
        "/%/k",
        "/b/%00",
        "/b/?prefix=%",
        "/b/?%=1",
        "/b/% 1",
        "",
        "*",
        "b/k",
        "http://localhost/b/k",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        assert_refused(HTTP_METHOD_GET, targets[i], S3_INVALID_URI);
    }
}

static void keys_may_have_1024_bytes_and_no_more(void **state)
{
    char target[3 + 3 * (KEY_MAX_BYTES + 1) + 1];
    struct s3_route r;
    size_t n = 3;

    (void)state;
    memcpy(target, "/b/", 3);
    for (size_t i = 0; i < KEY_MAX_BYTES; i++, n += 3) {
        memcpy(target + n, "%C3", 3);
    }
    target[n] = '\0';
    r = route(HTTP_METHOD_PUT, target);
    assert_int_equal(r.op, S3_OP_PUT_OBJECT);
    assert_int_equal(r.key.len, KEY_MAX_BYTES);
    target[n] = 'x';
    target[n + 1] = '\0';
    assert_refused(HTTP_METHOD_PUT, target, S3_KEY_TOO_LONG);
}

static void multipart_uploads_are_told_apart_by_method_and_query(void **state)
{
    static const struct {
        enum http_method method;
        const char *target;
        enum s3_op_kind op;
    } cases[] = {
        {HTTP_METHOD_POST, "/b/k?uploads", S3_OP_BEGIN_UPLOAD},
        {HTTP_METHOD_POST, "/b/k?uploads=&x-id=CreateMultipartUpload", S3_OP_BEGIN_UPLOAD},
        {HTTP_METHOD_PUT, "/b/k?partNumber=1&uploadId=x", S3_OP_UPLOAD_PART},
        {HTTP_METHOD_POST, "/b/k?uploadId=x", S3_OP_COMPLETE_UPLOAD},
        {HTTP_METHOD_DELETE, "/b/k?uploadId=x", S3_OP_ABORT_UPLOAD},
        {HTTP_METHOD_GET, "/b/k?uploadId=x&max-parts=7", S3_OP_LIST_PARTS},
        {HTTP_METHOD_GET, "/b?uploads&prefix=a", S3_OP_LIST_UPLOADS},
        {HTTP_METHOD_GET, "/b/k?partNumber=2", S3_OP_GET_OBJECT},
        {HTTP_METHOD_HEAD, "/b/k?partNumber=2", S3_OP_HEAD_OBJECT},
    };
    /* What is none of these is about an upload all the same, and must not touch the object. */
    static const struct {
        enum http_method method;
        const char *target;
    } refused[] = {
        {HTTP_METHOD_PUT, "/b/k?uploads"},
        {HTTP_METHOD_DELETE, "/b/k?uploads"},
        {HTTP_METHOD_GET, "/b/k?uploads"},
        {HTTP_METHOD_POST, "/b/k?uploads&uploadId=x"},
        {HTTP_METHOD_PUT, "/b/k?uploadId=x"},
        {HTTP_METHOD_PUT, "/b/k?partNumber=1"},
        {HTTP_METHOD_DELETE, "/b/k?partNumber=1"},
        {HTTP_METHOD_DELETE, "/b/k?partNumber=1&uploadId=x"},
        {HTTP_METHOD_HEAD, "/b/k?uploadId=x"},
        {HTTP_METHOD_PUT, "/b?uploads"},
        {HTTP_METHOD_DELETE, "/b?uploadId=x"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(route(cases[i].method, cases[i].target).op, cases[i].op);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_refused(refused[i].method, refused[i].target, S3_NOT_IMPLEMENTED);
    }
}

static void known_sub_resources_never_touch_the_object(void **state)
{
    static const char *const names[] = {
        "retention",   "legal-hold",     "torrent",
        "restore",     "annotation",     "select&select-type=2",
        "%72etention", "policy",         "lifecycle",
        "cors",        "website",        "logging",
        "versions",    "object-lock",    "notification",
        "encryption",  "delete",         "location",
        "versioning",  "renameObject",   "acl&policy",
        "policy&acl",  "acl&retention=", "tagging&torrent&delete",
    };
    static const enum http_method methods[] = {HTTP_METHOD_GET, HTTP_METHOD_HEAD, HTTP_METHOD_PUT,
                                               HTTP_METHOD_POST, HTTP_METHOD_DELETE};
    char target[64];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (size_t m = 0; m < sizeof(methods) / sizeof(methods[0]); m++) {
            memcpy(target, "/b/k?", 5);
            memcpy(target + 5, names[i], strlen(names[i]) + 1);
            assert_refused(methods[m], target, S3_NOT_IMPLEMENTED);
        }
    }
}

static void what_has_one_answer_for_all_is_given_and_never_changed(void **state)
{
    static const char *const tags[] = {"/b/k?tagging", "/b/k?tagging=&x-id=GetObjectTagging",
                                       "/b/k?%74agging", "/b/k?tagging&acl"};

    (void)state;
    assert_int_equal(route(HTTP_METHOD_GET, "/b/k?acl").op, S3_OP_GET_ACL);
    assert_int_equal(route(HTTP_METHOD_GET, "/b?x=1&acl=").op, S3_OP_GET_ACL);
    assert_int_equal(route(HTTP_METHOD_PUT, "/b/k?acl&uploadId=1").op, S3_OP_PUT_ACL);
    assert_int_equal(route(HTTP_METHOD_PUT, "/b/?acl").op, S3_OP_PUT_ACL);
    assert_int_equal(route(HTTP_METHOD_GET, "/b/k?attributes").op, S3_OP_GET_ATTRIBUTES);
    assert_refused(HTTP_METHOD_PUT, "/b/k?attributes", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_DELETE, "/b/k?attributes", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_GET, "/b?attributes", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_DELETE, "/b/k?acl", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_HEAD, "/b/k?acl", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_DELETE, "/b?acl", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_GET, "/b/k?acl&versionId=7", S3_NO_SUCH_VERSION);
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        assert_int_equal(route(HTTP_METHOD_GET, tags[i]).op, S3_OP_GET_TAGGING);
        assert_refused(HTTP_METHOD_PUT, tags[i], S3_NOT_IMPLEMENTED);
        assert_refused(HTTP_METHOD_DELETE, tags[i], S3_NOT_IMPLEMENTED);
        assert_refused(HTTP_METHOD_HEAD, tags[i], S3_NOT_IMPLEMENTED);
    }
}

static void bucket_settings_that_do_not_exist_say_so_to_a_get(void **state)
{
    (void)state;
    assert_refused(HTTP_METHOD_GET, "/b/?policy", S3_NO_SUCH_BUCKET_POLICY);
    assert_refused(HTTP_METHOD_GET, "/b?lifecycle", S3_NO_SUCH_LIFECYCLE);
    assert_refused(HTTP_METHOD_GET, "/b/?tagging=", S3_NO_SUCH_TAG_SET);
    assert_refused(HTTP_METHOD_PUT, "/b/?policy", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_DELETE, "/b/?lifecycle", S3_NOT_IMPLEMENTED);
    assert_int_equal(route(HTTP_METHOD_DELETE, "/b/").op, S3_OP_DELETE_BUCKET);
    assert_int_equal(route(HTTP_METHOD_DELETE, "/b?x-id=DeleteBucket").op, S3_OP_DELETE_BUCKET);
    assert_refused(HTTP_METHOD_DELETE, "/b/?acl", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_DELETE, "/b/?uploadId=0123456789abcdef", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_POST, "/b/", S3_NOT_IMPLEMENTED);
}

static void bucket_sub_resources_that_exist_are_found_in_every_spelling(void **state)
{
    (void)state;
    assert_int_equal(route(HTTP_METHOD_POST, "/b/?delete").op, S3_OP_DELETE_OBJECTS);
    assert_int_equal(route(HTTP_METHOD_POST, "/b?delete=").op, S3_OP_DELETE_OBJECTS);
    assert_int_equal(route(HTTP_METHOD_GET, "/b/?location").op, S3_OP_GET_LOCATION);
    assert_int_equal(route(HTTP_METHOD_GET, "/b?location=&x=1").op, S3_OP_GET_LOCATION);
    assert_int_equal(route(HTTP_METHOD_GET, "/b?versioning").op, S3_OP_GET_VERSIONING);
    assert_int_equal(route(HTTP_METHOD_GET, "/b/?versions&prefix=p").op, S3_OP_LIST_VERSIONS);
    assert_refused(HTTP_METHOD_PUT, "/b/?versions", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_GET, "/b/?delete", S3_NOT_IMPLEMENTED);
    assert_refused(HTTP_METHOD_PUT, "/b/?versioning", S3_NOT_IMPLEMENTED);
}

static void listings_have_their_parameters_decoded(void **state)
{
    struct s3_route r;

    (void)state;
    r = route(HTTP_METHOD_GET, "/b/?prefix=s3ql%5f+x%2B&max-keys=10&marker=&delimiter=/");
    assert_int_equal(r.op, S3_OP_LIST_OBJECTS);
    assert_slice(r.prefix.value, "s3ql_ x+");
    assert_slice(r.max_keys.value, "10");
    assert_true(r.marker.set);
    assert_slice(r.marker.value, "");
    assert_slice(r.delimiter.value, "/");
    assert_false(r.start_after.set);
    r = route(HTTP_METHOD_GET,
              "/b?list-type=2&start-after=a=b&continuation-token=00&fetch-owner=true"
              "&encoding-type=url&&unknown&=x");
    assert_slice(r.list_type.value, "2");
    assert_slice(r.start_after.value, "a=b");
    assert_slice(r.continuation_token.value, "00");
    assert_slice(r.fetch_owner.value, "true");
    assert_slice(r.encoding_type.value, "url");
}

static void unknown_parameters_are_ignored(void **state)
{
    struct s3_route r;

    (void)state;
    r = route(HTTP_METHOD_PUT, "/b/k?x-id=PutObject&X-Amz-Signature=abc&prefix=p");
    assert_int_equal(r.op, S3_OP_PUT_OBJECT);
    assert_slice(r.key, "k");
}

static void only_the_null_version_exists(void **state)
{
    (void)state;
    assert_int_equal(route(HTTP_METHOD_GET, "/b/k?versionId=null").op, S3_OP_GET_OBJECT);
    assert_int_equal(route(HTTP_METHOD_HEAD, "/b/k?versionId=null").op, S3_OP_HEAD_OBJECT);
    assert_int_equal(route(HTTP_METHOD_DELETE, "/b/k?versionId=null").op, S3_OP_DELETE_OBJECT);
    assert_refused(HTTP_METHOD_GET, "/b/k?versionId=3", S3_NO_SUCH_VERSION);
    assert_refused(HTTP_METHOD_DELETE, "/b/k?versionId=", S3_NO_SUCH_VERSION);
}

static void the_service_itself_lists_buckets_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(route(HTTP_METHOD_GET, "/").op, S3_OP_LIST_BUCKETS);
    assert_int_equal(route(HTTP_METHOD_GET, "/?x-id=ListBuckets").op, S3_OP_LIST_BUCKETS);
    assert_refused(HTTP_METHOD_PUT, "/", S3_METHOD_NOT_ALLOWED);
    assert_refused(HTTP_METHOD_GET, "//k", S3_NO_SUCH_BUCKET);
}

static void options_is_never_granted(void **state)
{
    (void)state;
    assert_refused(HTTP_METHOD_OPTIONS, "/b/k", S3_ACCESS_DENIED);
    assert_refused(HTTP_METHOD_OPTIONS, "/", S3_ACCESS_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_four_object_operations_have_bucket_and_key),
        cmocka_unit_test(a_bucket_is_the_same_with_and_without_a_slash),
        cmocka_unit_test(keys_are_decoded_once_and_never_normalised),
        cmocka_unit_test(bad_percent_encoding_is_refused),
        cmocka_unit_test(keys_may_have_1024_bytes_and_no_more),
        cmocka_unit_test(multipart_uploads_are_told_apart_by_method_and_query),
        cmocka_unit_test(known_sub_resources_never_touch_the_object),
        cmocka_unit_test(what_has_one_answer_for_all_is_given_and_never_changed),
        cmocka_unit_test(bucket_settings_that_do_not_exist_say_so_to_a_get),
        cmocka_unit_test(bucket_sub_resources_that_exist_are_found_in_every_spelling),
        cmocka_unit_test(listings_have_their_parameters_decoded),
        cmocka_unit_test(unknown_parameters_are_ignored),
        cmocka_unit_test(only_the_null_version_exists),
        cmocka_unit_test(the_service_itself_lists_buckets_and_nothing_else),
        cmocka_unit_test(options_is_never_granted),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
