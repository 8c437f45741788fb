/* Multipart uploads, over the S3 layer. */
#include "support/s3_toy.h"

#define PART_BYTES (5u << 20)

/* The text of <UploadId> in the answer. */
static void take_upload_id(const struct toy *t, char out[17])
{
    const char *at = strstr((const char *)t->got.ptr, "<UploadId>");

    assert_non_null(at);
    memcpy(out, at + 10, 16);
    out[16] = '\0';
    assert_memory_equal(at + 26, "</UploadId>", 11);
    assert_int_equal(strcspn(out, "0123456789"), 16); /* some clients would take it for a number */
}

static void begin_upload(const char *path, char id[17])
{
    struct toy t = {0};
    char target[128];

    (void)snprintf(target, sizeof(target), "%s?uploads", path);
    assert_int_equal(request(&t, HTTP_METHOD_POST, target, NULL, "x-amz-meta-color", "blue",
                             "Content-Type", "text/plain", NULL),
                     200);
    assert_well_formed(&t);
    assert_body_has(&t, "<InitiateMultipartUploadResult xmlns=");
    take_upload_id(&t, id);
    toy_clear(&t);
}

static int send_part(struct toy *t, const char *path, const char *id, unsigned number,
                     struct slice body)
{
    char target[128];

    (void)snprintf(target, sizeof(target), "%s?partNumber=%u&uploadId=%s", path, number, id);
    toy_init(t, HTTP_METHOD_PUT, target);
    set_body(t, body);
    begin(t);
    finish(t);
    return t->status;
}

static int complete(struct toy *t, const char *path, const char *id, const char *parts)
{
    char target[128], body[1024];

    (void)snprintf(target, sizeof(target), "%s?uploadId=%s", path, id);
    (void)snprintf(body, sizeof(body),
                   "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">%s"
                   "</CompleteMultipartUpload>",
                   parts);
    /* The checksum is the object's, which is not known here; it must not be taken for the XML's. */
    return request(t, HTTP_METHOD_POST, target, body, "x-amz-checksum-crc32",
                   "AAAAAA==", "x-amz-checksum-type", "FULL_OBJECT", NULL);
}

/* <Part>s 1.. with the ETags that sending them gave. */
static void part_xml(char *out, size_t cap, unsigned number, const struct toy *sent)
{
    const char *etag = strstr((const char *)sent->head.ptr, "ETag: ");
    size_t n = strlen(out);

    assert_non_null(etag);
    (void)snprintf(out + n, cap - n, "<Part><PartNumber>%u</PartNumber><ETag>%.34s</ETag></Part>",
                   number, etag + 6);
}

static void an_upload_in_parts_is_an_object(void **state)
{
    struct toy t = {0};
    char id[17], parts[1024] = "";
    struct slice all = pattern(PART_BYTES + 1000);

    (void)state;
    begin_upload("/bucket/a%20b", id);
    assert_int_equal(send_part(&t, "/bucket/a%20b", id, 2, slice_of(all.ptr + PART_BYTES, 1000)),
                     200);
    part_xml(parts, sizeof(parts), 2, &t);
    char second[256];
    (void)snprintf(second, sizeof(second), "%s", parts);
    parts[0] = '\0';
    assert_int_equal(send_part(&t, "/bucket/a%20b", id, 1, slice_of(all.ptr, PART_BYTES)), 200);
    part_xml(parts, sizeof(parts), 1, &t);
    (void)snprintf(parts + strlen(parts), sizeof(parts) - strlen(parts), "%s", second);
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/a%20b", NULL, NULL), 404);

    assert_int_equal(complete(&t, "/bucket/a%20b", id, parts), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<CompleteMultipartUploadResult xmlns=");
    assert_body_has(&t,
                    "<Location>http://127.0.0.1:7711/bucket/a%20b</Location><Bucket>bucket</Bucket>"
                    "<Key>a b</Key><ETag>&quot;");
    assert_body_has(&t, "-2&quot;</ETag>");

    /* Sent again, since the answer was lost: the same answer. Then not any more. */
    assert_int_equal(complete(&t, "/bucket/a%20b", id, parts), 200);
    assert_body_has(&t, "-2&quot;</ETag>");
    (void)complete(&t, "/bucket/a%20b", id, second);
    assert_error(&t, 404, "NoSuchUpload");

    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/a%20b", NULL, NULL), 200);
    assert_int_equal(t.got.len, all.len);
    assert_memory_equal(t.got.ptr, all.ptr, all.len);
    assert_header(&t, "x-amz-meta-color", "blue");
    assert_header(&t, "Content-Type", "text/plain");
    assert_int_equal(
        request(&t, HTTP_METHOD_GET, "/bucket/a%20b", NULL, "Range", "bytes=5242870-5242889", NULL),
        206);
    assert_int_equal(t.got.len, 20);
    assert_memory_equal(t.got.ptr, all.ptr + 5242870, 20);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/a%20b?partNumber=2", NULL, NULL), 206);
    assert_int_equal(t.got.len, 1000);
    assert_memory_equal(t.got.ptr, all.ptr + PART_BYTES, 1000);
    assert_header(&t, "x-amz-mp-parts-count", "2");
    assert_header(&t, "Content-Range", "bytes 5242880-5243879/5243880");
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket?list-type=2", NULL, NULL), 200);
    assert_body_has(&t, "-2&quot;</ETag><Size>5243880</Size>");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/a%20b?partNumber=3", NULL, NULL);
    assert_error(&t, 416, "InvalidPartNumber");
    (void)request(&t, HTTP_METHOD_GET, "/bucket/a%20b?partNumber=1", NULL, "Range", "bytes=0-1",
                  NULL);
    assert_error(&t, 400, "InvalidRequest");
    free((void *)all.ptr);
    toy_clear(&t);
}

static void what_is_wrong_is_said(void **state)
{
    struct toy t = {0};
    char id[17], target[128];

    (void)state;
    put_text("/bucket/k", "as it was");
    begin_upload("/bucket/k", id);
    assert_int_equal(send_part(&t, "/bucket/k", id, 1, SLICE_LIT("small")), 200);
    assert_int_equal(send_part(&t, "/bucket/k", id, 2, SLICE_LIT("last")), 200);
    (void)send_part(&t, "/bucket/k", "0123456789abcdef", 1, SLICE_LIT("x"));
    assert_error(&t, 404, "NoSuchUpload");
    (void)send_part(&t, "/bucket/other", id, 1, SLICE_LIT("x"));
    assert_error(&t, 404, "NoSuchUpload");
    (void)send_part(&t, "/bucket/k", "none", 1, SLICE_LIT("x"));
    assert_error(&t, 404, "NoSuchUpload");
    (void)send_part(&t, "/bucket/k", id, 0, SLICE_LIT("x"));
    assert_error(&t, 400, "InvalidArgument");
    (void)send_part(&t, "/bucket/k", id, 10001, SLICE_LIT("x"));
    assert_error(&t, 400, "InvalidArgument");

    static const char ONE[] =
        "<Part><PartNumber>1</PartNumber><ETag>eb5c1399a871211c7e7ed732d15e3a8b</ETag></Part>";
    static const char TWO[] =
        "<Part><ETag>\"98bd1c45684cf587ac2347a92dd7bb51\"</ETag><PartNumber>2</PartNumber></Part>";
    char both[512];
    (void)snprintf(both, sizeof(both), "%s%s", ONE, TWO);
    (void)complete(&t, "/bucket/k", id, both);
    assert_error(&t, 400, "EntityTooSmall");
    (void)snprintf(both, sizeof(both), "%s%s", TWO, ONE);
    (void)complete(&t, "/bucket/k", id, both);
    assert_error(&t, 400, "InvalidPartOrder");
    (void)complete(&t, "/bucket/k", id,
                   "<Part><PartNumber>2</PartNumber><ETag>eb5c1399a871211c7e7ed732d15e3a8b</ETag>"
                   "</Part>");
    assert_error(&t, 400, "InvalidPart");
    (void)complete(&t, "/bucket/k", id, "<Part><PartNumber>2</PartNumber><ETag>x</ETag></Part>");
    assert_error(&t, 400, "InvalidPart");
    (void)complete(&t, "/bucket/k", id,
                   "<Part><PartNumber>3</PartNumber><ETag>eb5c1399a871211c7e7ed732d15e3a8b</ETag>"
                   "</Part>");
    assert_error(&t, 400, "InvalidPart");
    static const char *const malformed[] = {
        "",
        "<Part/>",
        "<Part><PartNumber>1</PartNumber></Part>",
        "<Part><ETag>x</ETag></Part>",
        "<Part><PartNumber>one</PartNumber><ETag>x</ETag></Part>",
        "<Part>"};
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        (void)complete(&t, "/bucket/k", id, malformed[i]);
        assert_error(&t, 400, "MalformedXML");
    }
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
    assert_string_equal((const char *)t.got.ptr, "as it was");

    (void)snprintf(target, sizeof(target), "/bucket/k?uploadId=%s", id);
    assert_int_equal(request(&t, HTTP_METHOD_DELETE, target, NULL, NULL), 204);
    (void)request(&t, HTTP_METHOD_DELETE, target, NULL, NULL);
    assert_error(&t, 404, "NoSuchUpload");
    (void)complete(&t, "/bucket/k", id, TWO);
    assert_error(&t, 404, "NoSuchUpload");
    toy_clear(&t);
}

static void parts_and_uploads_are_listed(void **state)
{
    struct toy t = {0};
    char id[17], target[160];

    (void)state;
    begin_upload("/bucket/dir/k", id);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(send_part(&t, "/bucket/dir/k", id, i * 2, SLICE_LIT("small")), 200);
    }
    (void)snprintf(target, sizeof(target),
                   "/bucket/dir/k?uploadId=%s&max-parts=1&part-number-marker=2", id);
    assert_int_equal(request(&t, HTTP_METHOD_GET, target, NULL, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<PartNumberMarker>2</PartNumberMarker><NextPartNumberMarker>4<");
    assert_body_has(&t, "<MaxParts>1</MaxParts><IsTruncated>true</IsTruncated><Part>"
                        "<PartNumber>4</PartNumber><LastModified>");
    assert_body_has(&t, "<ETag>&quot;eb5c1399a871211c7e7ed732d15e3a8b&quot;</ETag><Size>5</Size>");
    assert_int_equal(count(&t, "<Part>"), 1);

    char other[17];
    begin_upload("/bucket/other", other);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket?uploads&delimiter=/", NULL, NULL), 200);
    assert_well_formed(&t);
    assert_body_has(&t, "<Key>other</Key>");
    assert_body_has(&t, "<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>");
    assert_int_equal(count(&t, "<Upload>"), 1);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket?uploads&max-uploads=1", NULL, NULL),
                     200);
    assert_body_has(&t, "<NextKeyMarker>dir/k</NextKeyMarker><NextUploadIdMarker>");
    assert_body_has(&t, "<IsTruncated>true</IsTruncated>");
    assert_body_has(&t, id);
    (void)snprintf(target, sizeof(target), "/bucket?uploads&key-marker=dir/k&upload-id-marker=%s",
                   id);
    assert_int_equal(request(&t, HTTP_METHOD_GET, target, NULL, NULL), 200);
    assert_body_has(&t, other);
    assert_int_equal(count(&t, "<Upload>"), 1);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket", NULL, NULL), 200);
    assert_int_equal(count(&t, "<Contents>"), 0);
    (void)request(&t, HTTP_METHOD_GET, "/bucket?uploads&max-uploads=x", NULL, NULL);
    assert_error(&t, 400, "InvalidArgument");
    toy_clear(&t);
}

static void a_part_can_be_a_range_of_an_object(void **state)
{
    struct toy t = {0};
    char id[17], target[128], parts[512] = "";
    struct slice all = pattern(300000);

    (void)state;
    put_bytes("/bucket/src", all);
    begin_upload("/bucket/dst", id);
    (void)snprintf(target, sizeof(target), "/bucket/dst?partNumber=1&uploadId=%s", id);
    assert_int_equal(request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/bucket/src",
                             "x-amz-copy-source-range", "bytes=65535-262144", NULL),
                     200);
    assert_well_formed(&t);
    assert_body_has(&t, "<CopyPartResult xmlns=");
    const char *etag = strstr((const char *)t.got.ptr, "<ETag>&quot;");
    assert_non_null(etag);
    (void)snprintf(parts, sizeof(parts),
                   "<Part><PartNumber>1</PartNumber><ETag>&quot;%.32s&quot;</ETag></Part>",
                   etag + 12);
    static const char *const bad[] = {"bytes=0-300000", "bytes=5-", "bytes=-5", "0-5"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/bucket/src",
                      "x-amz-copy-source-range", bad[i], NULL);
        assert_error(&t, 400, "InvalidArgument");
    }
    assert_int_equal(complete(&t, "/bucket/dst", id, parts), 200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/dst", NULL, NULL), 200);
    assert_int_equal(t.got.len, 262145 - 65535);
    assert_memory_equal(t.got.ptr, all.ptr + 65535, t.got.len);

    /* A copy of the whole lists the same bytes. */
    assert_int_equal(request(&t, HTTP_METHOD_PUT, "/bucket/copy", NULL, "x-amz-copy-source",
                             "/bucket/dst", NULL),
                     200);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/copy", NULL, NULL), 200);
    assert_memory_equal(t.got.ptr, all.ptr + 65535, t.got.len);
    free((void *)all.ptr);
    toy_clear(&t);
}

static void a_damaged_object_is_not_completed_again(void **state)
{
    struct toy t = {0};
    char id[17], parts[1024] = "";
    struct slice body = pattern(300000);

    (void)state;
    begin_upload("/bucket/k", id);
    assert_int_equal(send_part(&t, "/bucket/k", id, 1, body), 200);
    part_xml(parts, sizeof(parts), 1, &t);
    assert_int_equal(complete(&t, "/bucket/k", id, parts), 200);
    assert_int_equal(complete(&t, "/bucket/k", id, parts), 200);
    damage_on_disk(slice_of(body.ptr, 1000), 5);
    (void)request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL); /* it is found, and marked */
    assert_error(&t, 404, "NoSuchKey");
    (void)complete(&t, "/bucket/k", id, parts);
    assert_error(&t, 404, "NoSuchUpload");
    free((void *)body.ptr);
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_upload_in_parts_is_an_object),
        T(a_damaged_object_is_not_completed_again),
        T(what_is_wrong_is_said),
        T(parts_and_uploads_are_listed),
        T(a_part_can_be_a_range_of_an_object),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
