/* Multipart uploads: CreateMultipartUpload, CompleteMultipartUpload, AbortMultipartUpload, ListParts
 * and ListMultipartUploads. (UploadPart is a PutObject, s3_put.c; UploadPartCopy a CopyObject,
 * s3_copy.c.)
 *
 * An UploadId is the upload's number in the store as 16 hexadecimal digits; to clients it means
 * nothing. A CompleteMultipartUpload that is sent again, since its answer was lost, finds no upload:
 * if the object is just what the named parts make, it is answered as the first one was. */
#include "s3/s3_exchange.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/timefmt.h"

#define UPLOAD_ID_LEN 16
#define PART_SIZE_MIN (5u << 20) /* of all parts but the last */

int s3_upload_id(struct slice text, uint64_t *ret)
{
    uint8_t bytes[8];

    if (text.len != UPLOAD_ID_LEN || hex_decode(text, bytes, sizeof(bytes)) != 0) {
        return ZERR_NO_UPLOAD;
    }
    *ret = le64_get(bytes);
    return *ret != 0 ? 0 : ZERR_NO_UPLOAD;
}

int s3_part_of_upload(struct s3_exchange *x, uint64_t *ret_upload, uint32_t *ret_part)
{
    uint64_t number;
    int err = num_parse_u64(x->route.part_number.value, PART_MAX, &number);

    if (err != 0 || number == 0) {
        s3_refuse(x, S3_INVALID_ARGUMENT, "Part number must be an integer between 1 and 10000.");
        return ZERR_INVALID;
    }
    err = s3_upload_id(x->route.upload_id.value, ret_upload);
    if (err == 0) {
        err = store_lookup_upload(x->s3->store, x->route.key, *ret_upload);
    }
    if (err != 0) {
        s3_fail(x, err);
        return ZERR_INVALID;
    }
    *ret_part = (uint32_t)number;
    return 0;
}

static struct slice upload_id_text(uint64_t id, char out[UPLOAD_ID_LEN])
{
    uint8_t bytes[8];

    le64_put(bytes, id);
    hex_encode(bytes, sizeof(bytes), out);
    return slice_of(out, UPLOAD_ID_LEN);
}

static void write_upload_id(struct s3_xml *w, const char *name, uint64_t id)
{
    char text[UPLOAD_ID_LEN];

    s3_xml_text(w, name, upload_id_text(id, text));
}

/* A call of the store that was refused at once. */
static void call_failed(struct s3_exchange *x, struct s3_call *call, int err)
{
    if (call != NULL) {
        (void)s3_call_end(call);
    }
    s3_fail(x, err);
}

/* ---- begin ---- */

static void begun(void *user, int status, uint64_t upload)
{
    struct s3_exchange *x = s3_call_end(user);
    struct s3_xml w;

    if (x == NULL) {
        return;
    }
    if (status != 0) {
        s3_fail(x, status);
        return;
    }
    s3_xml_begin(&w, &x->xml, "InitiateMultipartUploadResult", S3_XMLNS);
    s3_xml_text(&w, "Bucket", slice_str(x->s3->bucket));
    s3_xml_text(&w, "Key", x->route.key);
    write_upload_id(&w, "UploadId", upload);
    s3_respond_xml(x, s3_xml_finish(&w, "InitiateMultipartUploadResult"));
}

static void begin_start(struct s3_exchange *x)
{
    struct upload_spec spec = {.key = x->route.key};
    struct s3_call *call = NULL;
    int err = s3_meta_from_headers(x->req, &x->head, &spec.meta);

    if (err == ZERR_TOO_LARGE) {
        s3_refuse(x, S3_METADATA_TOO_LARGE, NULL);
        return;
    }
    if (err == 0) {
        err = s3_sys_from_headers(x->req, &x->head, &spec.sys);
    }
    if (err == 0) {
        call = s3_call_begin(x);
        err = call == NULL ? ZERR_NOMEM : store_begin_upload(x->s3->store, &spec, begun, call);
    }
    if (err != 0) {
        call_failed(x, call, err);
    }
}

const struct s3_op S3_BEGIN_UPLOAD = {
    .start = begin_start,
};

/* ---- abort ---- */

static void aborted(void *user, int status)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x == NULL) {
        return;
    }
    if (status != 0) {
        s3_fail(x, status);
    } else {
        s3_respond_empty(x, 204);
    }
}

static void abort_start(struct s3_exchange *x)
{
    struct s3_call *call = NULL;
    uint64_t id;
    int err = s3_upload_id(x->route.upload_id.value, &id);

    if (err == 0) {
        err = store_lookup_upload(x->s3->store, x->route.key, id);
    }
    if (err == 0) {
        call = s3_call_begin(x);
        err = call == NULL ? ZERR_NOMEM
                           : store_abort_upload(x->s3->store, x->route.key, id, aborted, call);
    }
    if (err != 0) {
        call_failed(x, call, err);
    }
}

const struct s3_op S3_ABORT_UPLOAD = {
    .start = abort_start,
};

/* ---- complete ---- */

static void respond_completed(struct s3_exchange *x, const struct object *obj)
{
    char etag[S3_ETAG_MAX];
    struct s3_xml w;
    struct slice host = x->head.host, path = s3_target_path(x->req->target);
    struct buf *url = &x->u.upload.body;

    buf_reset(url);
    s3_xml_begin(&w, &x->xml, "CompleteMultipartUploadResult", S3_XMLNS);
    if (buf_append_str(url, "http://") == 0 && buf_append(url, host.ptr, host.len) == 0 &&
        buf_append(url, path.ptr, path.len) == 0) {
        s3_xml_text(&w, "Location", buf_slice(url));
    }
    s3_xml_text(&w, "Bucket", slice_str(x->s3->bucket));
    s3_xml_text(&w, "Key", x->route.key);
    s3_xml_text(&w, "ETag", s3_etag(obj->md5, obj->parts, etag));
    s3_respond_xml(x, s3_xml_finish(&w, "CompleteMultipartUploadResult"));
}

/* Is the object what these parts make? */
static bool is_made_of(const struct object *obj, const struct part_name *parts, size_t n)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t md5[EVP_MAX_MD_SIZE];
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 && obj->parts == n;

    for (size_t i = 0; i < n && ok; i++) {
        ok = parts[i].has_md5 && EVP_DigestUpdate(ctx, parts[i].md5, sizeof(parts[i].md5)) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(ctx, md5, NULL) == 1 && obj->has_md5 &&
         memcmp(md5, obj->md5, sizeof(obj->md5)) == 0;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static void complete_failed(struct s3_exchange *x, int err)
{
    struct s3_upload_state *s = &x->u.upload;
    struct object obj;

    if (err == ZERR_NO_UPLOAD && s->n_parts > 0 &&
        store_lookup(x->s3->store, x->route.key, &obj) == 0 &&
        is_made_of(&obj, s->parts, s->n_parts)) {
        respond_completed(x, &obj);
    } else {
        s3_fail(x, err);
    }
}

static void completed(void *user, int status, const struct object *obj, size_t at)
{
    struct s3_exchange *x = s3_call_end(user);

    (void)at;
    if (x == NULL) {
        return;
    }
    if (status != 0) {
        complete_failed(x, status);
    } else {
        respond_completed(x, obj);
    }
}

static void complete_body(struct s3_exchange *x, struct slice data)
{
    s3_body_add(x, &x->u.upload.body, data);
}

static void complete_end(struct s3_exchange *x)
{
    struct s3_upload_state *s = &x->u.upload;
    struct complete_spec spec = {.key = x->route.key, .part_min = PART_SIZE_MIN};
    struct s3_call *call = NULL;
    int err = s3_xml_parse_complete(buf_slice(&s->body), x->req->arena, &s->parts, &s->n_parts);

    if (err != 0) {
        s3_refuse(x, err == ZERR_NOMEM ? S3_SLOW_DOWN : S3_MALFORMED_XML, NULL);
        return;
    }
    for (size_t i = 1; i < s->n_parts; i++) {
        if (s->parts[i].number <= s->parts[i - 1].number) {
            s3_refuse(x, S3_INVALID_PART_ORDER, NULL);
            return;
        }
    }
    err = s3_change_condition(&x->head, &spec.cond);
    if (err == ZERR_UNSUPPORTED) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, "Of If-None-Match only * is offered here.");
        return;
    }
    if (err == 0) {
        err = s3_upload_id(x->route.upload_id.value, &spec.upload);
    }
    if (err == 0) {
        spec.parts = s->parts;
        spec.n_parts = s->n_parts;
        call = s3_call_begin(x);
        err =
            call == NULL ? ZERR_NOMEM : store_complete_upload(x->s3->store, &spec, completed, call);
    }
    if (err != 0) {
        call_failed(x, call, err);
    }
}

static void complete_drop(struct s3_exchange *x)
{
    buf_finish(&x->u.upload.body);
}

const struct s3_op S3_COMPLETE_UPLOAD = {
    .start = s3_body_start,
    .body = complete_body,
    .end = complete_end,
    .drop = complete_drop,
};

/* ---- lists ---- */

/* A number of the query: `max` and what is above it are max. ZERR_INVALID. */
static int parse_limit(const struct s3_param *p, uint64_t max, uint64_t *ret)
{
    int err = p->value.len > 0 ? num_parse_u64(p->value, max, ret) : 0;

    if (p->value.len == 0 || err == ZERR_TOO_LARGE) {
        *ret = max;
        err = 0;
    }
    return err;
}

static bool parse_encoding(struct s3_exchange *x)
{
    struct slice type = x->route.encoding_type.value;

    x->u.upload.url = type.len > 0;
    return type.len == 0 || s3_eq_nocase(type, "url");
}

static void write_owner(struct s3_xml *w)
{
    static const char *const names[] = {"Initiator", "Owner"};

    for (size_t i = 0; i < 2; i++) {
        s3_xml_open(w, names[i]);
        s3_xml_text(w, "ID", SLICE_LIT(S3_OWNER));
        s3_xml_text(w, "DisplayName", SLICE_LIT(S3_OWNER));
        s3_xml_close(w, names[i]);
    }
    s3_xml_text(w, "StorageClass", SLICE_LIT("STANDARD"));
}

static int write_parts(struct s3_exchange *x, const struct part_page *page)
{
    const struct s3_upload_state *s = &x->u.upload;
    char time[TIME_ISO_LEN + 1], etag[S3_ETAG_MAX];
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, "ListPartsResult", S3_XMLNS);
    s3_xml_text(&w, "Bucket", slice_str(x->s3->bucket));
    s3_xml_key(&w, "Key", x->route.key, s->url);
    write_upload_id(&w, "UploadId", s->id);
    write_owner(&w);
    s3_xml_u64(&w, "PartNumberMarker", s->after);
    if (page->truncated && page->n > 0) {
        s3_xml_u64(&w, "NextPartNumberMarker", page->entries[page->n - 1].number);
    }
    s3_xml_u64(&w, "MaxParts", s->max);
    if (s->url) {
        s3_xml_text(&w, "EncodingType", SLICE_LIT("url"));
    }
    s3_xml_bool(&w, "IsTruncated", page->truncated && page->n > 0);
    for (size_t i = 0; i < page->n; i++) {
        const struct part_entry *e = &page->entries[i];
        time_iso(e->mtime_ms, time);
        s3_xml_open(&w, "Part");
        s3_xml_u64(&w, "PartNumber", e->number);
        s3_xml_text(&w, "LastModified", slice_of(time, TIME_ISO_LEN));
        s3_xml_text(&w, "ETag", s3_etag(e->md5, 0, etag));
        s3_xml_u64(&w, "Size", e->size);
        s3_xml_close(&w, "Part");
    }
    return s3_xml_finish(&w, "ListPartsResult");
}

static void parts_listed(void *user, int status, struct part_page *page)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x != NULL && status == 0 && s3_xml_is_full(x->s3)) {
        s3_refuse(x, S3_SLOW_DOWN, NULL);
    } else if (x != NULL && status == 0) {
        s3_respond_xml(x, write_parts(x, page));
    } else if (x != NULL) {
        s3_fail(x, status);
    }
    free(page->entries);
}

static void list_parts_start(struct s3_exchange *x)
{
    struct s3_upload_state *s = &x->u.upload;
    struct s3_call *call = NULL;
    int err = 0;

    s->after = 0;
    if (x->route.part_number_marker.value.len > 0) {
        err = parse_limit(&x->route.part_number_marker, PART_MAX, &s->after);
    }
    if (err != 0 || parse_limit(&x->route.max_parts, S3_LIST_MAX_KEYS, &s->max) != 0 ||
        !parse_encoding(x)) {
        s3_refuse(x, S3_INVALID_ARGUMENT,
                  "max-parts and part-number-marker are numbers, encoding-type is url.");
        return;
    }
    err = s3_upload_id(x->route.upload_id.value, &s->id);
    if (err == 0) {
        err = store_lookup_upload(x->s3->store, x->route.key, s->id);
    }
    if (err == 0) {
        call = s3_call_begin(x);
        err = call == NULL ? ZERR_NOMEM
                           : store_list_parts(x->s3->store, s->id, (uint32_t)s->after,
                                              (size_t)s->max, parts_listed, call);
    }
    if (err != 0) {
        call_failed(x, call, err);
    }
}

const struct s3_op S3_LIST_PARTS = {
    .start = list_parts_start,
};

static void write_upload(struct s3_xml *w, const struct list_entry *e, bool url)
{
    char time[TIME_ISO_LEN + 1];

    time_iso(e->mtime_ms, time);
    s3_xml_open(w, "Upload");
    s3_xml_key(w, "Key", e->key, url);
    write_upload_id(w, "UploadId", e->upload);
    write_owner(w);
    s3_xml_text(w, "Initiated", slice_of(time, TIME_ISO_LEN));
    s3_xml_close(w, "Upload");
}

static int write_uploads(struct s3_exchange *x, const struct list_page *page)
{
    const struct s3_upload_state *s = &x->u.upload;
    const struct s3_route *r = &x->route;
    const struct list_entry *last = page->n > 0 ? &page->entries[page->n - 1] : NULL;
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, "ListMultipartUploadsResult", S3_XMLNS);
    s3_xml_text(&w, "Bucket", slice_str(x->s3->bucket));
    s3_xml_key(&w, "KeyMarker", r->key_marker.value, s->url);
    s3_xml_text(&w, "UploadIdMarker", r->upload_id_marker.value);
    if (page->truncated && last != NULL) {
        s3_xml_key(&w, "NextKeyMarker", last->key, s->url);
        if (!last->is_prefix) {
            write_upload_id(&w, "NextUploadIdMarker", last->upload);
        }
    }
    s3_xml_key(&w, "Prefix", r->prefix.value, s->url);
    if (r->delimiter.value.len > 0) {
        s3_xml_key(&w, "Delimiter", r->delimiter.value, s->url);
    }
    s3_xml_u64(&w, "MaxUploads", s->max);
    if (s->url) {
        s3_xml_text(&w, "EncodingType", SLICE_LIT("url"));
    }
    s3_xml_bool(&w, "IsTruncated", page->truncated && last != NULL);
    for (size_t i = 0; i < page->n; i++) {
        if (!page->entries[i].is_prefix) {
            write_upload(&w, &page->entries[i], s->url);
        }
    }
    for (size_t i = 0; i < page->n; i++) {
        if (page->entries[i].is_prefix) {
            s3_xml_open(&w, "CommonPrefixes");
            s3_xml_key(&w, "Prefix", page->entries[i].key, s->url);
            s3_xml_close(&w, "CommonPrefixes");
        }
    }
    return s3_xml_finish(&w, "ListMultipartUploadsResult");
}

static void uploads_listed(void *user, int status, struct list_page *page)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x != NULL && status == 0 && s3_xml_is_full(x->s3)) {
        s3_refuse(x, S3_SLOW_DOWN, NULL);
    } else if (x != NULL) {
        s3_respond_xml(x, status != 0 ? status : write_uploads(x, page));
    }
    if (status == 0) {
        list_page_finish(page);
    }
}

static void list_uploads_start(struct s3_exchange *x)
{
    struct s3_upload_state *s = &x->u.upload;
    struct list_query q = {.prefix = x->route.prefix.value,
                           .delimiter = x->route.delimiter.value,
                           .after = x->route.key_marker.value,
                           .uploads = true};
    struct s3_call *call;
    int err;

    if (parse_limit(&x->route.max_uploads, S3_LIST_MAX_KEYS, &s->max) != 0 || !parse_encoding(x) ||
        (x->route.upload_id_marker.value.len > 0 && q.after.len > 0 &&
         s3_upload_id(x->route.upload_id_marker.value, &q.after_upload) != 0)) {
        s3_refuse(x, S3_INVALID_ARGUMENT,
                  "max-uploads is a number, upload-id-marker an UploadId, encoding-type url.");
        return;
    }
    q.max = (size_t)s->max;
    call = s3_call_begin(x);
    err = call == NULL ? ZERR_NOMEM : store_list(x->s3->store, &q, uploads_listed, call);
    if (err != 0) {
        call_failed(x, call, err);
    }
}

const struct s3_op S3_LIST_UPLOADS = {
    .start = list_uploads_start,
};
