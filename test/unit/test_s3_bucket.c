/* Many buckets, and copies between them. */
#include "support/s3_toy.h"

static int make(const char *target)
{
    struct toy t = {0};
    int status = request(&t, HTTP_METHOD_PUT, target, NULL, NULL);

    toy_clear(&t);
    return status;
}

static void buckets_are_made_listed_and_deleted(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/photos",
                             "<CreateBucketConfiguration><LocationConstraint>eu-west-3"
                             "</LocationConstraint></CreateBucketConfiguration>",
                             NULL),
                     200);
    assert_header(&t, "Location", "/photos");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/photos/", NULL, NULL), 200);
    assert_int_equal(make("/photos"), 200);
    (void)request(&t, HTTP_METHOD_PUT, "/photos",
                  "<CreateBucketConfiguration><LocationConstraint>eu-west-3"
                  "</LocationConstraint></CreateBucketConfiguration>",
                  NULL);
    assert_error(&t, 409, "BucketAlreadyOwnedByYou");
    put_text("/photos/a", "in photos");
    put_text("/bucket/a", "in bucket");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/photos/a", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "in photos");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/photos/?list-type=2", NULL, NULL), 200);
    assert_body_has(&t, "<Name>photos</Name>");
    assert_int_equal(count(&t, "<Key>"), 1);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/", NULL, NULL), 200);
    assert_well_formed(&t);
    assert_int_equal(count(&t, "<Bucket>"), 2);
    assert_body_has(&t, "<Name>bucket</Name>");
    assert_body_has(&t, "<Name>photos</Name>");

    (void)request(&t, HTTP_METHOD_DELETE, "/photos", NULL, NULL);
    assert_error(&t, 409, "BucketNotEmpty");
    assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/photos/a", NULL, NULL), 204);
    assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/photos", NULL, NULL), 204);
    (void)request(&t, HTTP_METHOD_DELETE, "/photos", NULL, NULL);
    assert_error(&t, 404, "NoSuchBucket");
    (void)request(&t, HTTP_METHOD_GET, "/photos/a", NULL, NULL);
    assert_error(&t, 404, "NoSuchBucket");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/a", NULL, NULL), 200);
    toy_clear(&t);
}

static void wrong_names_are_no_buckets(void **state)
{
    static const char *const targets[] = {
        "/ab",         "/Photos", "/a..b",  "/192.168.1.1", "/xn--abc",
        "/%2e%2e%2fx", "/..",     "/a%2fb", "/-ab",
    };
    struct toy t = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, targets[i], NULL, NULL);
        assert_error(&t, 400, "InvalidBucketName");
        (void)request(&t, HTTP_METHOD_GET, targets[i], NULL, NULL);
        assert_error(&t, 404, "NoSuchBucket");
        (void)request(&t, HTTP_METHOD_DELETE, targets[i], NULL, NULL);
        assert_error(&t, 404, "NoSuchBucket");
    }
    (void)request(&t, HTTP_METHOD_PUT, "/locked", NULL, "x-amz-bucket-object-lock-enabled", "True",
                  NULL);
    assert_error(&t, 501, "NotImplemented");
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/locked", NULL,
                             "x-amz-bucket-object-lock-enabled", "false", "x-amz-acl", "private",
                             NULL),
                     200);
    toy_clear(&t);
}

/* Its folder's lock is held by somebody else, for as long as the test says. */
static void a_bucket_that_a_tool_has_is_busy(void **state)
{
    struct toy t = {0};
    struct vfs *folder;
    struct vfs_file *lock;
    char path[100];

    (void)state;
    assert_int_equal(make("/taken"), 200);
    (void)snprintf(path, sizeof(path), "%s/buckets/taken", dir);
    assert_int_equal(vfs_posix_open(path, &folder, NULL), 0);
    assert_int_equal(folder->ops->lock(folder, "lock", "zipkvverify, process 1", &lock, NULL), 0);
    (void)request(&t, HTTP_METHOD_PUT, "/taken/a", "text", NULL);
    assert_error(&t, 503, "SlowDown");
    assert_header(&t, "Retry-After", "5");
    assert_true(t.refused_body);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/taken", NULL, NULL), 200);
    put_text("/bucket/a", "the others go on");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/b", NULL, "x-amz-copy-source", "/taken/a", NULL);
    assert_error(&t, 503, "SlowDown");
    folder->ops->close(lock);
    vfs_posix_close(folder);
    toy_clear(&t);
}

static void who_leaves_while_a_bucket_opens_is_forgotten(void **state)
{
    struct toy t = {0}, u = {0};

    (void)state;
    assert_int_equal(make("/opening"), 200);
    toy_init(&t, HTTP_METHOD_GET, "/opening/a");
    begin(&t);
    assert_false(t.responded);
    toy_init(&u, HTTP_METHOD_PUT, "/bucket/a");
    add_header(&u, "x-amz-copy-source", "/opening/a");
    begin(&u);
    drop_connection(&t);
    drop_connection(&u);
    workers_inline_drain(&workers);
    put_text("/opening/a", "text");
    assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/opening/a", NULL, NULL), 204);
    /* Nobody is left who uses it. */
    assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/opening", NULL, NULL), 204);
    toy_clear(&t);
    toy_clear(&u);
}

/* ---- copies ---- */

static void bytes_are_copied_between_buckets(void **state)
{
    /* Around the pieces that are read and those that are checked, and more than a put takes at once. */
    static const size_t sizes[] = {0, 1, 65535, 65536, 131072, 131073, 3000000};
    struct toy t = {0};

    (void)state;
    assert_int_equal(make("/source"), 200);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct slice body = pattern(sizes[i]);
        char etag[200];

        put_bytes("/source/a%20b", body);
        assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/source/a%20b", NULL, NULL), 200);
        const char *at = strstr((const char *)t.head.ptr, "ETag: ");
        assert_non_null(at);
        (void)snprintf(etag, sizeof(etag), "%.34s", at + 6);
        assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/copy", NULL, "x-amz-copy-source",
                                 "/source/a%20b", NULL),
                         200);
        assert_well_formed(&t);
        assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/copy", NULL, NULL), 200);
        assert_true(slice_eq(buf_slice(&t.got), body));
        assert_header(&t, "ETag", etag);
        free((void *)body.ptr);
    }
    toy_clear(&t);
}

static void a_copy_between_buckets_has_the_attributes_it_should(void **state)
{
    struct toy t = {0};

    (void)state;
    assert_int_equal(make("/source"), 200);
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/source/k", "hello", "x-amz-meta-a", "1",
                             "Content-Type", "text/plain", "x-amz-checksum-crc32",
                             "NhCmhg==", NULL),
                     200);
    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, "/bucket/k", NULL, "x-amz-copy-source", "/source/k", NULL),
        200); /* the same key: another bucket is not itself */
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "x-amz-checksum-mode", "ENABLED", NULL),
        200);
    assert_header(&t, "x-amz-meta-a", "1");
    assert_header(&t, "Content-Type", "text/plain");
    assert_header(&t, "X-Amz-Checksum-Crc32", "NhCmhg==");
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/k", NULL, "x-amz-copy-source",
                             "/source/k", "x-amz-metadata-directive", "REPLACE", "x-amz-meta-b",
                             "2", NULL),
                     200);
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, "x-amz-checksum-mode", "ENABLED", NULL),
        200);
    assert_header(&t, "x-amz-meta-b", "2");
    assert_header(&t, "Content-Type", "binary/octet-stream");
    assert_header(&t, "X-Amz-Checksum-Crc32", "NhCmhg==");
    assert_null(strstr((const char *)t.head.ptr, "x-amz-meta-a"));

    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k", NULL, "x-amz-copy-source", "/source/absent",
                  NULL);
    assert_error(&t, 404, "NoSuchKey");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k", NULL, "x-amz-copy-source", "/absent/k", NULL);
    assert_error(&t, 404, "NoSuchBucket");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k", NULL, "x-amz-copy-source", "/source/k",
                  "x-amz-copy-source-if-match", "\"0123\"", NULL);
    assert_error(&t, 412, "PreconditionFailed");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k", NULL, "x-amz-copy-source", "/source/k",
                  "If-None-Match", "*", NULL);
    assert_error(&t, 412, "PreconditionFailed");
    toy_clear(&t);
}

static void a_copy_that_breaks_off_leaves_nothing(void **state)
{
    struct toy t = {0};
    struct slice body = pattern(1000000);
    unsigned n_copied = 0;

    (void)state;
    assert_int_equal(make("/source"), 200);
    put_bytes("/source/k", body);
    for (unsigned n = 0; n < 200 && n_copied == 0; n++) {
        toy_init(&t, HTTP_METHOD_PUT, "/bucket/k");
        add_header(&t, "x-amz-copy-source", "/source/k");
        begin(&t);
        for (unsigned i = 0; i < n && !t.responded; i++) {
            (void)step(&t);
        }
        n_copied = t.responded;
        drop_connection(&t);
        workers_inline_drain(&workers);
        assert_int_equal(n_held, 0);
        int status = request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL);
        assert_true(status == 200 || (status == 404 && n_copied == 0));
        if (status == 200) {
            assert_true(slice_eq(buf_slice(&t.got), body));
            assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/bucket/k", NULL, NULL), 204);
        }
    }
    assert_int_equal(n_copied, 1);
    free((void *)body.ptr);
    toy_clear(&t);
}

static void a_copy_ends_when_its_client_is_gone(void **state)
{
    struct toy t = {0};
    struct slice body = pattern(3000000);
    unsigned n = 0, n_cut = 0;

    (void)state;
    assert_int_equal(make("/source"), 200);
    put_bytes("/source/k", body);
    for (bool copied = false; !copied; n++) {
        toy_init(&t, HTTP_METHOD_PUT, "/bucket/k");
        add_header(&t, "x-amz-copy-source", "/source/k");
        begin(&t);
        for (unsigned i = 0; i < n && !t.responded; i++) {
            (void)step(&t);
        }
        copied = t.responded;
        t.gone = true;
        while (step(&t)) {
        }
        if (t.cut) {
            n_cut++;
            assert_false(t.responded);
            workers_inline_drain(&workers);
            assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/k", NULL, NULL), 404);
        } else { /* all was read already */
            finish(&t);
            assert_int_equal(t.status, 200);
            assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/bucket/k", NULL, NULL), 204);
        }
    }
    assert_in_range(n_cut, 3, n - 2);
    free((void *)body.ptr);
    toy_clear(&t);
}

static void on_opened(void *user, int status)
{
    *(int *)user = status;
}

static void on_grown(void *user, int status, const struct object *obj)
{
    (void)obj;
    *(int *)user = status;
}

/* Makes the home bucket's "large" of "small", a multipart object of one part, many times over. */
static void grow(uint64_t size)
{
    static const struct reader_ops ops = {.opened = on_opened};
    struct reader *r = NULL;
    int status = ZKV_PENDING;
    int err = reader_open(store, SLICE_LIT("small"), true, &ops, &status, &r);

    workers_inline_drain(&workers);
    assert_int_equal(err == ZKV_PENDING ? status : err, 0);
    struct extent one = reader_extents(r).v[0];
    size_t n = (size_t)(size / one.len);
    struct extent *v = calloc(n, sizeof(*v));
    struct copy_spec spec = {.key = SLICE_LIT("large"), .src = *reader_object(r)};

    assert_non_null(v);
    assert_int_equal(reader_extents(r).n, 1);
    for (size_t i = 0; i < n; i++) {
        v[i] = one;
    }
    spec.src.size = n * one.len;
    spec.extents = (struct extents){v, n};
    status = ZKV_PENDING;
    assert_int_equal(store_copy(store, &spec, on_grown, &status), 0);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    reader_close(r);
    free(v);
}

static void no_more_bytes_are_copied_than_a_put_may_have(void **state)
{
#define TOO_LARGE "larger than the maximum allowable size for a copy source: 5368709120<"
    struct toy t = {0};
    char target[200], id[17] = "", body[300];
    struct slice data = pattern(10 << 20);

    (void)state;
    assert_int_equal(make("/target"), 200);
    put_bytes("/bucket/k", data);
    assert_int_equal(request(&t, HTTP_METHOD_POST, "/bucket/small?uploads", NULL, NULL), 200);
    memcpy(id, strstr((const char *)t.got.ptr, "<UploadId>") + 10, 16);
    (void)snprintf(target, sizeof(target), "/bucket/small?partNumber=1&uploadId=%s", id);
    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/bucket/k", NULL), 200);
    (void)snprintf(body, sizeof(body),
                   "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>%.57s</Part>"
                   "</CompleteMultipartUpload>",
                   strstr((const char *)t.got.ptr, "<ETag>"));
    (void)snprintf(target, sizeof(target), "/bucket/small?uploadId=%s", id);
    assert_int_equal(request(&t, HTTP_METHOD_POST, target, body, NULL), 200);
    grow((5ull << 30) + (10 << 20));

    (void)request(&t, HTTP_METHOD_PUT, "/target/k", NULL, "x-amz-copy-source", "/bucket/large",
                  NULL);
    assert_error(&t, 400, "InvalidRequest");
    assert_body_has(&t, TOO_LARGE);
    /* Without moving data it may be as large as it is. */
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/renamed", NULL, "x-amz-copy-source",
                             "/bucket/large", NULL),
                     200);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/renamed", NULL, NULL), 200);
    assert_int_equal(t.length, (5ull << 30) + (10 << 20));
    for (unsigned i = 0; i < 2; i++) { /* a part is a part, in any bucket */
        const char *bucket = i == 0 ? "bucket" : "target";
        (void)snprintf(target, sizeof(target), "/%s/parts?uploads", bucket);
        assert_int_equal(request(&t, HTTP_METHOD_POST, target, NULL, NULL), 200);
        memcpy(id, strstr((const char *)t.got.ptr, "<UploadId>") + 10, 16);
        (void)snprintf(target, sizeof(target), "/%s/parts?partNumber=1&uploadId=%s", bucket, id);
        (void)request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/bucket/large",
                      NULL);
        assert_error(&t, 400, "InvalidRequest");
        (void)request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/bucket/large",
                      "x-amz-copy-source-range", "bytes=1-5368709121", NULL);
        assert_error(&t, 400, "InvalidRequest");
        assert_body_has(&t, TOO_LARGE);
        assert_int_equal(request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source",
                                 "/bucket/large", "x-amz-copy-source-range",
                                 "bytes=5368709120-5368800000", NULL),
                         200);
    }
    free((void *)data.ptr);
    toy_clear(&t);
}

/* Flips a byte in the middle of the bucket's only block. */
static void damage(const char *bucket)
{
    char path[120];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/buckets/%s/open0000000000", dir, bucket);
    f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, 600000, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, 600000, SEEK_SET), 0);
    assert_int_not_equal(fputc(c ^ 1, f), EOF);
    assert_int_equal(fclose(f), 0);
}

static void damage_is_not_copied(void **state)
{
    struct slice body = pattern(1000000);
    struct toy t = {0};

    (void)state;
    assert_int_equal(make("/source"), 200);
    put_bytes("/source/k", body);
    damage("source");
    (void)request(&t, HTTP_METHOD_PUT, "/bucket/k", NULL, "x-amz-copy-source", "/source/k", NULL);
    assert_error(&t, 404, "NoSuchKey");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL);
    assert_error(&t, 404, "NoSuchKey");
    free((void *)body.ptr);
    toy_clear(&t);
}

static void a_part_is_copied_from_another_bucket(void **state)
{
    struct toy t = {0};
    char target[200], id[17] = "", body[300];
    struct slice data = pattern(300000);

    (void)state;
    assert_int_equal(make("/source"), 200);
    put_bytes("/source/k", data);
    assert_int_equal(request(&t, HTTP_METHOD_POST, "/bucket/whole?uploads", NULL, NULL), 200);
    memcpy(id, strstr((const char *)t.got.ptr, "<UploadId>") + 10, 16);
    (void)snprintf(target, sizeof(target), "/bucket/whole?partNumber=1&uploadId=%s", id);
    (void)request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/source/k",
                  "x-amz-copy-source-range", "bytes=1000-300000", NULL);
    assert_error(&t, 400, "InvalidArgument");
    assert_int_equal(request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/source/k",
                             "x-amz-copy-source-range", "bytes=1000-299998", NULL),
                     200);
    assert_well_formed(&t);
    const char *etag = strstr((const char *)t.got.ptr, "<ETag>");
    assert_body_has(&t, "<CopyPartResult");
    assert_non_null(etag);
    (void)snprintf(body, sizeof(body),
                   "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>%.57s</Part>"
                   "</CompleteMultipartUpload>",
                   etag);
    (void)snprintf(target, sizeof(target), "/bucket/whole?uploadId=%s", id);
    assert_int_equal(request(&t, HTTP_METHOD_POST, target, body, NULL), 200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/whole", NULL, NULL), 200);
    assert_true(slice_eq(buf_slice(&t.got), slice_of(data.ptr + 1000, 298999)));

    /* And a multipart object, whose bytes lie in extents, whole into another bucket. */
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/source/back", NULL, "x-amz-copy-source",
                             "/bucket/whole", NULL),
                     200);
    assert_null(strstr((const char *)t.got.ptr, "-1&quot;")); /* it has no parts there */
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/source/back", NULL, NULL), 200);
    assert_true(slice_eq(buf_slice(&t.got), slice_of(data.ptr + 1000, 298999)));
    free((void *)data.ptr);
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(buckets_are_made_listed_and_deleted),
        T(wrong_names_are_no_buckets),
        T(a_bucket_that_a_tool_has_is_busy),
        T(who_leaves_while_a_bucket_opens_is_forgotten),
        T(bytes_are_copied_between_buckets),
        T(a_copy_between_buckets_has_the_attributes_it_should),
        T(a_copy_that_breaks_off_leaves_nothing),
        T(a_copy_ends_when_its_client_is_gone),
        T(no_more_bytes_are_copied_than_a_put_may_have),
        T(damage_is_not_copied),
        T(a_part_is_copied_from_another_bucket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
