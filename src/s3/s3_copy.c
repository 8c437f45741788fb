/* CopyObject: another name for a body, or other metadata for the same name; and UploadPartCopy, a part
 * of the source's bytes. No data is moved.
 *
 *   start -> reader_open(source) -> (opened) -> conditions, attributes
 *         -> store_copy -> (done) -> answer
 *
 * Old S3QL, rclone and s3fs change metadata by copying an object onto itself with REPLACE; without
 * it such a copy would change nothing, which S3 refuses. */
#include "s3/s3_exchange.h"

#include "base/timefmt.h"

/* A part's was computed, an object's is its source's. */
static void write_checksum(struct s3_exchange *x, struct s3_xml *w)
{
    struct slice text;
    enum s3_checksum kind = s3_payload_checksum(x);

    if (kind != S3_CHECKSUMS) {
        s3_xml_text(w, s3_checksum_element(kind), slice_str(x->payload.digest->text));
        return;
    }
    kind = s3_checksum_among(x->u.copy.spec.sys, &text);
    if (kind != S3_CHECKSUMS && x->u.copy.upload == 0) {
        s3_xml_text(w, s3_checksum_element(kind), text);
        s3_xml_text(w, "ChecksumType", slice_str(s3_checksum_type(text)));
    }
}

static void copy_done(void *user, int status, const struct object *obj)
{
    struct s3_exchange *x = s3_call_end(user);
    char time[TIME_ISO_LEN + 1], etag[S3_ETAG_MAX];
    const char *root;
    struct s3_xml w;

    if (x == NULL) {
        return;
    }
    if (status != 0) {
        s3_fail(x, status);
        return;
    }
    time_iso(obj->mtime_ms, time);
    root = x->u.copy.upload != 0 ? "CopyPartResult" : "CopyObjectResult";
    s3_xml_begin(&w, &x->xml, root, S3_XMLNS);
    s3_xml_text(&w, "LastModified", slice_of(time, TIME_ISO_LEN));
    if (obj->has_md5) {
        s3_xml_text(&w, "ETag", s3_etag(obj->md5, obj->parts, etag));
    }
    write_checksum(x, &w);
    s3_respond_xml(x, s3_xml_finish(&w, root));
}

/* The body stays what it is, and so does its checksum. */
static int keep_checksum(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;
    struct attrs from = reader_sys(s->reader), *to = &s->spec.sys;
    struct attr *v = arena_alloc(x->req->arena, (to->n + from.n + 1) * sizeof(*v));
    size_t n = to->n;

    if (v == NULL) {
        return ZERR_NOMEM;
    }
    if (n > 0) {
        memcpy(v, to->v, n * sizeof(*v));
    }
    for (size_t i = 0; i < from.n; i++) {
        if (s3_checksum_of_header(from.v[i].name) != S3_CHECKSUMS) {
            v[n++] = from.v[i];
        }
    }
    *to = (struct attrs){v, n};
    return 0;
}

/* The copy's attributes: the source's, or those of this request. */
static int copy_attributes(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;
    int err;

    if (!s->replace) {
        s->spec.meta = reader_meta(s->reader);
        s->spec.sys = reader_sys(s->reader);
        return 0;
    }
    err = s3_meta_from_headers(x->req, &x->head, &s->spec.meta);
    if (err == 0) {
        err = s3_sys_from_headers(x->req, &x->head, &s->spec.sys);
    }
    return err == 0 ? keep_checksum(x) : err;
}

/* x-amz-copy-source-range: "bytes=first-last", both there and inside the source, or nothing. */
static int begin_part_copy(struct s3_exchange *x, struct s3_call *call)
{
    struct s3_copy_state *s = &x->u.copy;
    struct part_copy_spec spec = {.key = x->route.key,
                                  .upload = s->upload,
                                  .part = s->part,
                                  .src = s->reader,
                                  .len = s->spec.src.size};
    int err;

    if (x->head.copy_source_range.ptr != NULL) {
        struct s3_range range = s3_range_parse(x->head.copy_source_range);
        if (range.kind != S3_RANGE_FROM_TO || range.last >= s->spec.src.size) {
            return ZERR_INVALID;
        }
        spec.from = range.first;
        spec.len = range.last - range.first + 1;
    }
    if (s3_payload_checksum(x) != S3_CHECKSUMS) {
        if (s3_payload_room(x, &spec.sys) != 0) {
            return ZERR_NOMEM;
        }
        spec.hasher = s3_payload_hasher(x);
    }
    err = store_copy_part(x->s3->store, &spec, copy_done, call);
    if (err != 0 && spec.hasher != NULL) {
        spec.hasher->release(spec.hasher);
    }
    return err;
}

static void handle_opened(void *user, int status)
{
    struct s3_exchange *x = user;
    struct s3_copy_state *s = &x->u.copy;
    const struct s3_head *h = &x->head;
    const struct s3_conditions cond = {h->copy_if_match, h->copy_if_none_match,
                                       h->copy_if_modified_since, h->copy_if_unmodified_since};
    struct s3_call *call;

    if (status != 0) {
        s3_fail(x, status);
        return;
    }
    s->spec.src = *reader_object(s->reader);
    s->spec.extents = reader_extents(s->reader);
    if (s3_judge(&cond, &s->spec.src) != S3_GO_ON) {
        s3_refuse(x, S3_PRECONDITION_FAILED, NULL);
        return;
    }
    status = s->upload != 0 ? 0 : copy_attributes(x);
    if (status == ZERR_TOO_LARGE) {
        s3_refuse(x, S3_METADATA_TOO_LARGE, NULL);
        return;
    }
    call = status == 0 ? s3_call_begin(x) : NULL;
    if (call != NULL) {
        status = s->upload != 0 ? begin_part_copy(x, call)
                                : store_copy(x->s3->store, &s->spec, copy_done, call);
    } else if (status == 0) {
        status = ZERR_NOMEM;
    }
    if (status != 0) {
        if (call != NULL) {
            (void)s3_call_end(call);
        }
        if (status == ZERR_INVALID && s->upload != 0) {
            s3_refuse(x, S3_INVALID_ARGUMENT,
                      "The x-amz-copy-source-range value must be of the form bytes=first-last, "
                      "within the source.");
        } else {
            s3_fail(x, status);
        }
    }
}

/* Copies need no body to be read. */
static void handle_read(void *user, int status, struct read_piece piece)
{
    (void)user, (void)status, (void)piece;
}

static const struct reader_ops READER_OPS = {
    .opened = handle_opened,
    .read = handle_read,
};

/* "[/]bucket/key[?versionId=...]", percent-encoded: decoded exactly once. What is wrong with it is
 * told in *ret_code: ZERR_INVALID. */
static int parse_source(struct s3_exchange *x, enum s3_code *ret_code)
{
    static const char VERSION[] = "?versionId=";
    struct slice src = x->head.copy_source, bucket;
    const uint8_t *p = src.len > 0 ? memmem(src.ptr, src.len, VERSION, sizeof(VERSION) - 1) : NULL;
    int err;

    if (p != NULL) {
        size_t at = (size_t)(p - src.ptr), end = at + sizeof(VERSION) - 1;
        if (!slice_eq_str(slice_of(src.ptr + end, src.len - end), "null")) {
            *ret_code = S3_NO_SUCH_VERSION;
            return ZERR_INVALID;
        }
        src.len = at;
    }
    err = s3_percent_decode(src, false, x->req->arena, &src);
    if (err != 0) {
        *ret_code = err == ZERR_NOMEM ? S3_SLOW_DOWN : S3_INVALID_ARGUMENT;
        return ZERR_INVALID;
    }
    if (src.len > 0 && src.ptr[0] == '/') {
        src = slice_of(src.ptr + 1, src.len - 1);
    }
    p = src.len > 0 ? memchr(src.ptr, '/', src.len) : NULL;
    if (p == NULL || p + 1 == src.ptr + src.len) {
        *ret_code = S3_INVALID_ARGUMENT;
        return ZERR_INVALID;
    }
    bucket = slice_of(src.ptr, (size_t)(p - src.ptr));
    x->u.copy.source_key = slice_of(p + 1, src.len - bucket.len - 1);
    if (!s3_identity_may_use(&x->who, bucket)) {
        *ret_code = S3_FORBIDDEN;
        return ZERR_INVALID;
    }
    if (!s3_is_own_bucket(x->s3, bucket)) {
        *ret_code = S3_NO_SUCH_BUCKET;
        return ZERR_INVALID;
    }
    if (x->u.copy.source_key.len > KEY_MAX_BYTES) {
        *ret_code = S3_KEY_TOO_LONG;
        return ZERR_INVALID;
    }
    return 0;
}

static void copy_start(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;
    struct slice directive = x->head.metadata_directive;
    struct reader *reader = NULL;
    enum s3_code code;
    int err;

    if (parse_source(x, &code) != 0) {
        s3_refuse(x, code, NULL);
        return;
    }
    if (x->route.op == S3_OP_UPLOAD_PART) {
        if (s3_part_of_upload(x, &s->upload, &s->part) != 0) {
            return;
        }
        s->replace = true; /* the source's attributes do not matter */
    }
    s->replace = s->replace || slice_eq_str(directive, "REPLACE");
    if (!s->replace && directive.len > 0 && !slice_eq_str(directive, "COPY")) {
        s3_refuse(x, S3_INVALID_ARGUMENT, "x-amz-metadata-directive is neither COPY nor REPLACE.");
        return;
    }
    if (!s->replace && slice_eq(s->source_key, x->route.key)) {
        s3_refuse(x, S3_INVALID_REQUEST,
                  "This copy request is illegal because it is trying to copy an object to itself "
                  "without changing the object's metadata.");
        return;
    }
    s->spec.key = x->route.key;
    err = s3_change_condition(&x->head, &s->spec.cond);
    if (err == ZERR_UNSUPPORTED) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, S3_CONDITIONS_OFFERED);
        return;
    }
    if (err == 0) {
        err = reader_open(x->s3->store, s->source_key, false, &READER_OPS, x, &reader);
    }
    if (err >= 0) {
        s->reader = reader;
    }
    if (err != ZKV_PENDING) {
        handle_opened(x, err);
    }
}

static void copy_drop(struct s3_exchange *x)
{
    reader_close(x->u.copy.reader);
    x->u.copy.reader = NULL;
}

const struct s3_op S3_COPY = {
    .start = copy_start,
    .drop = copy_drop,
};
