/* Checksums of objects that come in parts, over the S3 layer: agreed on, computed, compared, kept. */
#include "support/s3_toy.h"

#include "base/crc.h"
#include "base/num.h"
#include "s3/s3_assembly.h"

#define PART_BYTES (5u << 20)
#define N_PARTS 3

static struct slice all; /* N_PARTS - 1 parts and a short one */
static const size_t sizes[N_PARTS] = {PART_BYTES, PART_BYTES + 1, 1000};

/* What one kind of checksum is for one body. */
static void text_of(enum s3_checksum kind, struct slice body, char out[S3_CHECKSUM_TEXT + 1])
{
    struct s3_digest *d = s3_digest_create();

    assert_int_equal(s3_digest_want_checksum(d, kind), 0);
    assert_int_equal(s3_digest_update(d, body, NULL), 0);
    assert_int_equal(s3_digest_finish(d), 0);
    (void)snprintf(out, S3_CHECKSUM_TEXT + 1, "%s", d->text);
    s3_digest_unref(d);
}

static struct slice part_body(unsigned i)
{
    size_t off = 0;

    for (unsigned k = 0; k < i; k++) {
        off += sizes[k];
    }
    return slice_of(all.ptr + off, sizes[i]);
}

/* What the object is to have. */
static void object_text(enum s3_checksum kind, bool whole, char out[S3_ASSEMBLED_TEXT])
{
    char text[S3_CHECKSUM_TEXT + 1];
    uint8_t values[N_PARTS * S3_CHECKSUM_BYTES];
    size_t n = s3_checksum_bytes(kind);

    if (whole) {
        text_of(kind, all, out);
        return;
    }
    for (unsigned i = 0; i < N_PARTS; i++) {
        text_of(kind, part_body(i), text);
        assert_int_equal(base64_decode(slice_str(text), values + i * n, n), 0);
    }
    text_of(kind, slice_of(values, N_PARTS * n), text);
    (void)snprintf(out, S3_ASSEMBLED_TEXT, "%s-%d", text, N_PARTS);
}

/* The text of an element in the answer. */
static void take(const struct toy *t, const char *element, size_t len, char *out)
{
    char open[64];
    const char *at;

    (void)snprintf(open, sizeof(open), "<%s>", element);
    at = strstr((const char *)t->got.ptr, open);
    assert_non_null(at);
    memcpy(out, at + strlen(open), len);
    out[len] = '\0';
}

static char id[17];

static void begin_upload(const char *algorithm, const char *type)
{
    struct toy t = {0};

    toy_init(&t, HTTP_METHOD_POST, "/bucket/k?uploads");
    if (algorithm != NULL) {
        add_header(&t, "x-amz-checksum-algorithm", algorithm);
    }
    if (type != NULL) {
        add_header(&t, "x-amz-checksum-type", type);
    }
    begin(&t);
    finish(&t);
    assert_int_equal(t.status, 200);
    if (algorithm != NULL) {
        assert_header(&t, "x-amz-checksum-algorithm", algorithm);
    }
    take(&t, "UploadId", 16, id);
    toy_clear(&t);
}

/* Header NULL: no checksum. */
static int send_part(struct toy *t, unsigned i, const char *header, const char *value)
{
    static char target[100];

    (void)snprintf(target, sizeof(target), "/bucket/k?partNumber=%u&uploadId=%s", i + 1, id);
    toy_init(t, HTTP_METHOD_PUT, target);
    set_body(t, part_body(i));
    t->slice_max = 1 << 20;
    if (header != NULL) {
        add_header(t, header, value);
    }
    begin(t);
    finish(t);
    return t->status;
}

static char list[4096];

static void add_part(unsigned i, const char *element, const char *text)
{
    size_t n = strlen(list);
    int m = snprintf(list + n, sizeof(list) - n, "<Part><PartNumber>%u</PartNumber><ETag>", i + 1);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t md5[16];
    char hex[33] = "";

    assert_int_equal(EVP_DigestInit_ex(ctx, EVP_md5(), NULL), 1);
    assert_int_equal(EVP_DigestUpdate(ctx, part_body(i).ptr, sizes[i]), 1);
    assert_int_equal(EVP_DigestFinal_ex(ctx, md5, NULL), 1);
    EVP_MD_CTX_free(ctx);
    hex_encode(md5, 16, hex);
    n += (size_t)m;
    (void)snprintf(list + n, sizeof(list) - n,
                   element != NULL ? "%s</ETag><%s>%s</%s></Part>" : "%s</ETag></Part>", hex,
                   element, text, element);
}

/* Header, value pairs, ended by NULL. */
static int complete(struct toy *t, ...)
{
    static char target[100], body[5000];
    const char *name;
    va_list ap;

    (void)snprintf(target, sizeof(target), "/bucket/k?uploadId=%s", id);
    (void)snprintf(body, sizeof(body), "<CompleteMultipartUpload>%s</CompleteMultipartUpload>",
                   list);
    toy_init(t, HTTP_METHOD_POST, target);
    set_body(t, slice_str(body));
    va_start(ap, t);
    while ((name = va_arg(ap, const char *)) != NULL) {
        add_header(t, name, va_arg(ap, const char *));
    }
    va_end(ap);
    begin(t);
    finish(t);
    return t->status;
}

static void expect_kept(const char *path, const char *header, const char *text, const char *type)
{
    static const enum http_method methods[] = {HTTP_METHOD_HEAD, HTTP_METHOD_GET};
    struct toy t = {0};

    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            request(&t, methods[i], path, NULL, "x-amz-checksum-mode", "ENABLED", NULL), 200);
        assert_header(&t, header, text);
        assert_header(&t, "x-amz-checksum-type", type);
        assert_null(strstr((const char *)t.head.ptr, "Algorithm"));
    }
    toy_clear(&t);
}

/* One upload from its beginning to a copy of the object. */
static void through(enum s3_checksum kind, bool whole, const char *type)
{
    const char *header = s3_checksum_header(kind), *element = s3_checksum_element(kind);
    const char *name = whole ? "FULL_OBJECT" : "COMPOSITE";
    char text[S3_CHECKSUM_TEXT + 1], want[S3_ASSEMBLED_TEXT], xml[200], target[100];
    struct toy t = {0};

    begin_upload(s3_checksum_name(kind), type);
    list[0] = '\0';
    for (unsigned i = 0; i < N_PARTS; i++) {
        /* One part brings none: it gets it all the same. */
        text_of(kind, part_body(i), text);
        assert_int_equal(send_part(&t, i, i == 1 ? NULL : header, text), 200);
        assert_header(&t, header, text);
        assert_null(strstr((const char *)t.head.ptr, "x-amz-checksum-type"));
        add_part(i, i == 2 ? NULL : element, text);
    }
    (void)snprintf(target, sizeof(target), "/bucket/k?uploadId=%s", id);
    assert_int_equal(request(&t, HTTP_METHOD_GET, target, NULL, NULL), 200);
    assert_well_formed(&t);
    (void)snprintf(xml, sizeof(xml),
                   "<ChecksumAlgorithm>%s</ChecksumAlgorithm><ChecksumType>%s</ChecksumType>",
                   s3_checksum_name(kind), name);
    assert_body_has(&t, xml);
    (void)snprintf(xml, sizeof(xml), "<Size>1000</Size><%s>%s</%s></Part>", element, text, element);
    assert_body_has(&t, xml);

    object_text(kind, whole, want);
    close_store();
    open_store(0);
    assert_int_equal(complete(&t, header, want, "x-amz-checksum-type", name, "x-amz-mp-object-size",
                              "10486761", NULL),
                     200);
    assert_well_formed(&t);
    (void)snprintf(xml, sizeof(xml), "</ETag><%s>%s</%s><ChecksumType>%s</ChecksumType>", element,
                   want, element, name);
    assert_body_has(&t, xml);
    expect_kept("/bucket/k", header, want, name);

    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, "/bucket/copy", NULL, "x-amz-copy-source", "bucket/k", NULL),
        200);
    assert_body_has(&t, xml);
    assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/copy?attributes", NULL,
                             "x-amz-object-attributes", "ETag,Checksum,ObjectParts", NULL),
                     200);
    (void)snprintf(xml, sizeof(xml),
                   "-3</ETag><Checksum><%s>%.*s</%s><ChecksumType>%s</ChecksumType>", element,
                   (int)strcspn(want, "-"), want, element, name);
    assert_body_has(&t, xml);
    assert_body_has(&t, "<ObjectParts><PartsCount>3</PartsCount></ObjectParts>");
    expect_kept("/bucket/copy", header, want, name);
    toy_clear(&t);
}

static void each_kind_is_carried_from_the_parts_to_the_object(void **state)
{
    (void)state;
    all = pattern(10486761);
    for (int kind = 0; kind < S3_CHECKSUMS; kind++) {
        bool crc = kind == S3_CRC32 || kind == S3_CRC32C || kind == S3_CRC64NVME;
        through((enum s3_checksum)kind, kind == S3_CRC64NVME, NULL);
        if (crc) {
            through((enum s3_checksum)kind, true, "FULL_OBJECT");
        }
        if (kind != S3_CRC64NVME) {
            through((enum s3_checksum)kind, false, "COMPOSITE");
        }
    }
    free((void *)(uintptr_t)all.ptr);
}

static void what_does_not_agree_is_refused(void **state)
{
    static const char *const bad[][2] = {{"SHA256", "FULL_OBJECT"},
                                         {"SHA1", "FULL_OBJECT"},
                                         {"CRC64NVME", "COMPOSITE"},
                                         {"CRC32", "HALF"},
                                         {NULL, "COMPOSITE"}};
    char text[S3_CHECKSUM_TEXT + 1], want[S3_ASSEMBLED_TEXT], plain[S3_ASSEMBLED_TEXT];
    struct toy t = {0};

    (void)state;
    all = pattern(10486761);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        toy_init(&t, HTTP_METHOD_POST, "/bucket/k?uploads");
        if (bad[i][0] != NULL) {
            add_header(&t, "x-amz-checksum-algorithm", bad[i][0]);
        }
        add_header(&t, "x-amz-checksum-type", bad[i][1]);
        begin(&t);
        finish(&t);
        assert_error(&t, 400, "InvalidRequest");
    }

    begin_upload("CRC32", NULL);
    (void)send_part(&t, 0, "x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    assert_error(&t, 400, "InvalidRequest");
    (void)send_part(&t, 0, "x-amz-checksum-crc32", "AAAAAA==");
    assert_error(&t, 400, "BadDigest");
    list[0] = '\0';
    for (unsigned i = 0; i < N_PARTS; i++) {
        text_of(S3_CRC32, part_body(i), text);
        assert_int_equal(send_part(&t, i, "x-amz-checksum-crc32", text), 200);
        add_part(i, "ChecksumCRC32", text);
    }
    object_text(S3_CRC32, false, want);
    (void)complete(&t, "x-amz-checksum-crc32", "AAAAAA==-3", NULL);
    assert_error(&t, 400, "BadDigest");
    assert_body_has(&t, "The CRC32 you specified");
    (void)snprintf(plain, sizeof(plain), "%s", want);
    plain[strlen(plain) - 1] = '2'; /* of so many parts it is not */
    (void)complete(&t, "x-amz-checksum-crc32", plain, NULL);
    assert_error(&t, 400, "BadDigest");
    (void)complete(&t, "x-amz-checksum-crc32c", "AAAAAA==", NULL);
    assert_error(&t, 400, "InvalidRequest");
    (void)complete(&t, "x-amz-checksum-type", "FULL_OBJECT", NULL);
    assert_error(&t, 400, "InvalidRequest");
    (void)complete(&t, "x-amz-checksum-type", "other", NULL);
    assert_error(&t, 400, "InvalidRequest");
    (void)complete(&t, "x-amz-checksum-crc32", want, "x-amz-checksum-sha1", want, NULL);
    assert_error(&t, 400, "InvalidRequest");
    (void)complete(&t, "x-amz-mp-object-size", "10486760", NULL);
    assert_error(&t, 400, "InvalidRequest");
    (void)complete(&t, "x-amz-mp-object-size", "all", NULL);
    assert_error(&t, 400, "InvalidRequest");
    (void)complete(&t, "Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==", NULL);
    assert_error(&t, 400, "BadDigest");
    (void)complete(&t, "Content-MD5", "XUFAKrxL", NULL);
    assert_error(&t, 400, "InvalidDigest");

    static const char *const claims[][3] = {
        {"ChecksumCRC32", "AAAAAA==", "InvalidPart"},
        {"ChecksumSHA1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "InvalidPart"},
        {"ChecksumCRC32", "AAAA", "InvalidRequest"},
        {"ChecksumCRC32", "", "InvalidRequest"},
    };
    char right[sizeof(list)];
    memcpy(right, list, sizeof(list));
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        list[0] = '\0';
        add_part(0, claims[i][0], claims[i][1]);
        (void)complete(&t, NULL);
        assert_error(&t, 400, claims[i][2]);
    }
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/k", NULL, NULL), 404);

    /* After all this it is as it was; without its number of parts the checksum is the same. */
    memcpy(list, right, sizeof(list));
    *strchr(want, '-') = '\0';
    assert_int_equal(complete(&t, "x-amz-checksum-crc32", want, NULL), 200);
    free((void *)(uintptr_t)all.ptr);
    toy_clear(&t);
}

static void a_part_that_is_copied_has_a_checksum_too(void **state)
{
    char text[S3_CHECKSUM_TEXT + 1], want[S3_ASSEMBLED_TEXT], xml[100], target[100];
    struct toy t = {0};

    (void)state;
    all = pattern(10486761);
    put_bytes("/bucket/src", all);
    put_text("/bucket/empty", "");
    for (int kind = 0; kind < S3_CHECKSUMS; kind++) {
        bool whole = kind == S3_CRC64NVME;
        begin_upload(s3_checksum_name((enum s3_checksum)kind), NULL);
        list[0] = '\0';
        for (unsigned i = 0; i < N_PARTS; i++) {
            char range[100];
            size_t off = (size_t)(part_body(i).ptr - all.ptr);
            (void)snprintf(target, sizeof(target), "/bucket/k?partNumber=%u&uploadId=%s", i + 1,
                           id);
            (void)snprintf(range, sizeof(range), "bytes=%zu-%zu", off, off + sizes[i] - 1);
            assert_int_equal(request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source",
                                     "/bucket/src", "x-amz-copy-source-range", range, NULL),
                             200);
            text_of((enum s3_checksum)kind, part_body(i), text);
            (void)snprintf(xml, sizeof(xml), "<%s>%s<", s3_checksum_element((enum s3_checksum)kind),
                           text);
            assert_body_has(&t, xml);
            add_part(i, s3_checksum_element((enum s3_checksum)kind), text);
        }
        object_text((enum s3_checksum)kind, whole, want);
        assert_int_equal(complete(&t, s3_checksum_header((enum s3_checksum)kind), want, NULL), 200);
        expect_kept("/bucket/k", s3_checksum_header((enum s3_checksum)kind), want,
                    whole ? "FULL_OBJECT" : "COMPOSITE");
    }
    /* Of an empty object nothing is read, and nobody else is to blame where there is no source. */
    begin_upload("CRC32", NULL);
    (void)snprintf(target, sizeof(target), "/bucket/k?partNumber=1&uploadId=%s", id);
    assert_int_equal(
        request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/bucket/empty", NULL),
        200);
    assert_body_has(&t, "<ChecksumCRC32>AAAAAA==</ChecksumCRC32>");
    (void)request(&t, HTTP_METHOD_PUT, target, NULL, "x-amz-copy-source", "/bucket/none", NULL);
    assert_error(&t, 404, "NoSuchKey");
    free((void *)(uintptr_t)all.ptr);
    toy_clear(&t);
}

static void without_an_agreement_the_parts_decide(void **state)
{
    char text[S3_CHECKSUM_TEXT + 1], want[S3_ASSEMBLED_TEXT];
    struct toy t = {0};

    (void)state;
    all = pattern(10486761);
    for (int with = 0; with < 2; with++) {
        begin_upload(NULL, NULL);
        list[0] = '\0';
        for (unsigned i = 0; i < N_PARTS; i++) {
            text_of(S3_CRC32C, part_body(i), text);
            assert_int_equal(
                send_part(&t, i, with == 1 || i == 0 ? "x-amz-checksum-crc32c" : NULL, text), 200);
            add_part(i, NULL, NULL);
        }
        object_text(S3_CRC32C, true, want);
        if (with == 1) { /* all have it: it is checked */
            (void)complete(&t, "x-amz-checksum-crc32c", "AAAAAA==", "x-amz-checksum-type",
                           "FULL_OBJECT", NULL);
            assert_error(&t, 400, "BadDigest");
        }
        assert_int_equal(
            complete(&t, "x-amz-checksum-crc32c", want, "x-amz-checksum-type", "FULL_OBJECT", NULL),
            200);
        assert_int_equal(request(&t, HTTP_METHOD_HEAD, "/bucket/k", NULL, "x-amz-checksum-mode",
                                 "ENABLED", NULL),
                         200);
        assert_int_equal(strstr((const char *)t.head.ptr, "X-Amz-Checksum-Crc32c: ") != NULL, with);
    }
    free((void *)(uintptr_t)all.ptr);
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_kind_is_carried_from_the_parts_to_the_object),
        T(what_does_not_agree_is_refused),
        T(a_part_that_is_copied_has_a_checksum_too),
        T(without_an_agreement_the_parts_decide),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
