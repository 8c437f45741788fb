/* GetObjectAttributes: what HeadObject says, as a document, and only what is asked for.
 *
 *   start -> reader_open -> (opened) -> answer
 *
 * Of an object in parts it is known how many they were; what checksum each had is not kept, so the parts
 * themselves are not listed. S3 does the same for objects without such checksums. */
#include "s3/s3_exchange.h"

#include "base/timefmt.h"

enum { WANT_ETAG = 1, WANT_CHECKSUM = 2, WANT_PARTS = 4, WANT_CLASS = 8, WANT_SIZE = 16 };

/* x-amz-object-attributes: a list, perhaps in several headers. 0: none, or one that is not known. */
static unsigned parse_wanted(const struct http_request *req)
{
    static const char *const names[] = {"ETag", "Checksum", "ObjectParts", "StorageClass",
                                        "ObjectSize"};
    unsigned wanted = 0;

    for (size_t i = 0; i < req->n_headers; i++) {
        struct slice rest = req->headers[i].value, item;

        if (!s3_eq_nocase(req->headers[i].name, "x-amz-object-attributes")) {
            continue;
        }
        while (s3_next_item(&rest, &item)) {
            unsigned k = 0;
            while (k < 5 && !slice_eq_str(item, names[k])) {
                k++;
            }
            if (k == 5) {
                return 0;
            }
            wanted |= 1u << k;
        }
    }
    return wanted;
}

/* As S3 does, without the number of parts: they have an element of their own. */
static void write_checksum(struct s3_xml *w, struct attrs sys)
{
    struct slice text;
    enum s3_checksum kind = s3_checksum_among(sys, &text);
    const uint8_t *dash;

    if (kind != S3_CHECKSUMS) {
        s3_xml_open(w, "Checksum");
        dash = text.len > 0 ? memchr(text.ptr, '-', text.len) : NULL;
        s3_xml_text(w, s3_checksum_element(kind),
                    slice_of(text.ptr, dash != NULL ? (size_t)(dash - text.ptr) : text.len));
        s3_xml_text(w, "ChecksumType", slice_str(s3_checksum_type(text)));
        s3_xml_close(w, "Checksum");
    }
}

static int write_attributes(struct s3_exchange *x, const struct object *obj)
{
    unsigned wanted = parse_wanted(x->req);
    char etag[S3_ETAG_MAX];
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, "GetObjectAttributesResponse", S3_XMLNS);
    if ((wanted & WANT_ETAG) != 0 && obj->has_md5) { /* here without quotes */
        struct slice quoted = s3_etag(obj->md5, obj->parts, etag);
        s3_xml_text(&w, "ETag", slice_of(quoted.ptr + 1, quoted.len - 2));
    }
    if ((wanted & WANT_CHECKSUM) != 0) {
        write_checksum(&w, reader_sys(x->u.get.reader));
    }
    if ((wanted & WANT_PARTS) != 0 && obj->parts > 0) {
        s3_xml_open(&w, "ObjectParts");
        s3_xml_u64(&w, "PartsCount", obj->parts);
        s3_xml_close(&w, "ObjectParts");
    }
    if ((wanted & WANT_CLASS) != 0) {
        s3_xml_text(&w, "StorageClass", SLICE_LIT("STANDARD"));
    }
    if ((wanted & WANT_SIZE) != 0) {
        s3_xml_u64(&w, "ObjectSize", obj->size);
    }
    return s3_xml_finish(&w, "GetObjectAttributesResponse");
}

static void handle_opened(void *user, int status)
{
    struct s3_exchange *x = user;
    char time[TIME_HTTP_LEN + 1];
    struct s3_reply r;
    struct slice text;

    if (status != 0) {
        s3_fail(x, status);
        return;
    }
    time_http(reader_object(x->u.get.reader)->mtime_ms, time);
    text = arena_dup(x->req->arena, slice_of(time, TIME_HTTP_LEN));
    s3_reply_init(&r, x, 2);
    s3_reply_add(&r, "Last-Modified", text);
    r.failed |= text.ptr == NULL;
    s3_respond_xml_with(x, &r, write_attributes(x, reader_object(x->u.get.reader)));
}

/* Nothing of the body is read. */
static void handle_read(void *user, int status, struct read_piece piece)
{
    (void)user, (void)status, (void)piece;
}

static const struct reader_ops READER_OPS = {
    .opened = handle_opened,
    .read = handle_read,
};

static void attributes_start(struct s3_exchange *x)
{
    struct reader *reader = NULL;
    int err;

    if (parse_wanted(x->req) == 0) {
        s3_refuse(
            x, S3_INVALID_ARGUMENT,
            "x-amz-object-attributes must be of ETag, Checksum, ObjectParts, StorageClass and "
            "ObjectSize.");
        return;
    }
    err = reader_open(x->store, x->route.key, false, &READER_OPS, x, &reader);
    if (err >= 0) {
        x->u.get.reader = reader;
    }
    if (err != ZKV_PENDING) {
        handle_opened(x, err);
    }
}

static void attributes_drop(struct s3_exchange *x)
{
    reader_close(x->u.get.reader);
    x->u.get.reader = NULL;
}

const struct s3_op S3_ATTRIBUTES = {
    .start = attributes_start,
    .drop = attributes_drop,
};
