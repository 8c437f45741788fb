/* ListParts and ListMultipartUploads (s3_upload.c). */
#include "s3/s3_exchange.h"

#include "base/num.h"
#include "base/timefmt.h"
#include "s3/s3_assembly.h"

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

static void write_part(struct s3_xml *w, const struct part_entry *e)
{
    char time[TIME_ISO_LEN + 1], etag[S3_ETAG_MAX];
    struct slice text;
    enum s3_checksum kind = s3_checksum_among(e->sys, &text);

    time_iso(e->mtime_ms, time);
    s3_xml_open(w, "Part");
    s3_xml_u64(w, "PartNumber", e->number);
    s3_xml_text(w, "LastModified", slice_of(time, TIME_ISO_LEN));
    s3_xml_text(w, "ETag", s3_etag(e->md5, 0, etag));
    s3_xml_u64(w, "Size", e->size);
    if (kind != S3_CHECKSUMS) {
        s3_xml_text(w, s3_checksum_element(kind), text);
    }
    s3_xml_close(w, "Part");
}

static int write_parts(struct s3_exchange *x, const struct part_page *page)
{
    const struct s3_upload_state *s = &x->u.upload;
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, "ListPartsResult", S3_XMLNS);
    s3_xml_text(&w, "Bucket", x->route.bucket);
    s3_xml_key(&w, "Key", x->route.key, s->url);
    s3_write_upload_id(&w, "UploadId", s->id);
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
    if (s->agreement.kind != S3_CHECKSUMS) {
        s3_xml_text(&w, "ChecksumAlgorithm", slice_str(s3_checksum_name(s->agreement.kind)));
        s3_xml_text(&w, "ChecksumType", slice_str(s3_agreement_type(&s->agreement)));
    }
    for (size_t i = 0; i < page->n; i++) {
        write_part(&w, &page->entries[i]);
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
    part_page_finish(page);
}

static void list_parts_start(struct s3_exchange *x)
{
    struct s3_upload_state *s = &x->u.upload;
    struct s3_call *call = NULL;
    struct attrs sys;
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
        err = store_get_upload(x->store, x->route.key, s->id, x->req->arena, &sys);
    }
    if (err == 0) {
        s->agreement = s3_agreement_of(sys);
        call = s3_call_begin(x);
        err = call == NULL ? ZERR_NOMEM
                           : store_list_parts(x->store, s->id, (uint32_t)s->after, (size_t)s->max,
                                              parts_listed, call);
    }
    if (err != 0) {
        s3_call_failed(x, call, err);
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
    s3_write_upload_id(w, "UploadId", e->upload);
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
    s3_xml_text(&w, "Bucket", x->route.bucket);
    s3_xml_key(&w, "KeyMarker", r->key_marker.value, s->url);
    s3_xml_text(&w, "UploadIdMarker", r->upload_id_marker.value);
    if (page->truncated && last != NULL) {
        s3_xml_key(&w, "NextKeyMarker", last->key, s->url);
        if (!last->is_prefix) {
            s3_write_upload_id(&w, "NextUploadIdMarker", last->upload);
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
    err = call == NULL ? ZERR_NOMEM : store_list(x->store, &q, uploads_listed, call);
    if (err != 0) {
        s3_call_failed(x, call, err);
    }
}

const struct s3_op S3_LIST_UPLOADS = {
    .start = list_uploads_start,
};
