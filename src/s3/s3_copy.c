/* CopyObject: another name for a body, or other metadata for the same name; and UploadPartCopy, a part
 * of the source's bytes. Inside a bucket no data is moved; from another one the bytes are copied
 * (s3_copy_bytes.c), and so they are where x-amz-checksum-algorithm wants a checksum of the copy that the
 * source has not.
 *
 *   start -> (source's store) -> reader_open(source) -> (opened) -> conditions, attributes
 *         -> store_copy or s3_copy_bytes -> (done) -> answer
 *
 * What a PUT may have, a copy of bytes may: 5 GiB. On S3 this goes for each CopyObject; here one inside a
 * bucket has no limit, for it takes no time. While bytes are copied, or read for a part's MD5, the client
 * hears that it goes on (s3_still_here()).
 *
 * Old S3QL, rclone and s3fs change metadata by copying an object onto itself with REPLACE; without
 * it such a copy would change nothing, which S3 refuses. */
#include "s3/s3_exchange.h"

#include "base/timefmt.h"

/* It was computed, or is the source's. */
static void write_checksum(struct s3_exchange *x, struct s3_xml *w)
{
    struct slice text = slice_of(NULL, 0);
    enum s3_checksum kind = s3_payload_checksum(x);

    if (kind != S3_CHECKSUMS) {
        text = slice_str(x->payload.digest->text);
    } else if (x->u.copy.upload == 0) {
        kind = s3_checksum_among(x->u.copy.spec.sys, &text);
    }
    if (kind != S3_CHECKSUMS) {
        s3_xml_text(w, s3_checksum_element(kind), text);
    }
    if (kind != S3_CHECKSUMS && x->u.copy.upload == 0) {
        s3_xml_text(w, "ChecksumType", slice_str(s3_checksum_type(text)));
    }
}

static bool is_same_bucket(const struct s3_exchange *x)
{
    return slice_eq(x->u.copy.source_bucket, x->route.bucket);
}

/* The copy of an object gets a checksum of its own. */
static bool gets_checksum(const struct s3_exchange *x)
{
    return x->u.copy.upload == 0 && s3_payload_checksum(x) != S3_CHECKSUMS;
}

static bool moves_bytes(const struct s3_exchange *x)
{
    return !is_same_bucket(x) || gets_checksum(x);
}

void s3_respond_copied(struct s3_exchange *x, const struct object *obj)
{
    char time[TIME_ISO_LEN + 1], etag[S3_ETAG_MAX];
    const char *root;
    struct s3_xml w;

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

/* A part's bytes are being read. */
static void copy_going_on(void *user)
{
    struct s3_call *call = user;

    if (call->x != NULL) {
        s3_still_here(call->x);
    }
}

static void copy_done(void *user, int status, const struct object *obj)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x != NULL && status == 0) {
        s3_respond_copied(x, obj);
    } else if (x != NULL) {
        s3_fail(x, status);
    }
}

static bool is_of_parts(struct slice checksum)
{
    return checksum.len > 0 && memchr(checksum.ptr, '-', checksum.len) != NULL;
}

/* The body stays what it is, and so does its checksum; but not one that covers the checksums of parts,
 * when bytes are copied: the copy has none. */
static bool is_kept(const struct s3_exchange *x, const struct attr *a)
{
    return s3_checksum_of_header(a->name) == S3_CHECKSUMS ||
           (!gets_checksum(x) && (is_same_bucket(x) || !is_of_parts(a->value)));
}

/* x-amz-checksum-algorithm: computed, unless the source has it to give. ZERR_NOMEM. */
static int want_checksum(struct s3_exchange *x)
{
    enum s3_checksum wanted = s3_checksum_of_name(x->head.checksum_algorithm);
    struct slice text = slice_of(NULL, 0);
    bool has = s3_checksum_among(reader_sys(x->u.copy.reader), &text) == wanted &&
               (is_same_bucket(x) || !is_of_parts(text));

    return wanted == S3_CHECKSUMS || has ? 0 : s3_payload_want(x, wanted);
}

/* Those of the source's system attributes that go with its body; all: the others too. */
static int keep_attributes(struct s3_exchange *x, bool all)
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
        bool wanted = all || s3_checksum_of_header(from.v[i].name) != S3_CHECKSUMS;
        if (wanted && is_kept(x, &from.v[i])) {
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
    int err = want_checksum(x);

    if (err == 0 && !s->replace) {
        s->spec.meta = reader_meta(s->reader);
        return keep_attributes(x, true);
    }
    if (err == 0) {
        err = s3_meta_from_headers(x->req, &x->head, &s->spec.meta);
    }
    if (err == 0) {
        err = s3_sys_from_headers(x->req, &x->head, &s->spec.sys);
    }
    return err == 0 ? keep_attributes(x, false) : err;
}

/* x-amz-copy-source-range: "bytes=first-last", both there and inside the source, or nothing.
 * ZERR_INVALID: refused. */
static int choose_range(struct s3_exchange *x, uint64_t *ret_from, uint64_t *ret_len)
{
    uint64_t size = x->u.copy.spec.src.size;

    *ret_from = 0;
    *ret_len = size;
    if (x->u.copy.upload != 0 && x->head.copy_source_range.ptr != NULL) {
        struct s3_range range = s3_range_parse(x->head.copy_source_range);
        if (range.kind != S3_RANGE_FROM_TO || range.last >= size) {
            s3_refuse(x, S3_INVALID_ARGUMENT,
                      "The x-amz-copy-source-range value must be of the form bytes=first-last, "
                      "within the source.");
            return ZERR_INVALID;
        }
        *ret_from = range.first;
        *ret_len = range.last - range.first + 1;
    }
    return 0;
}

int s3_copy_hasher(struct s3_exchange *x, struct attrs *sys, struct put_hasher **ret)
{
    int err = 0;

    if (s3_payload_checksum(x) != S3_CHECKSUMS) {
        err = s3_payload_room(x, sys);
        if (err == 0) {
            *ret = s3_payload_hasher(x);
        }
    }
    return err;
}

/* Inside the bucket. */
static void copy_names(struct s3_exchange *x, uint64_t from, uint64_t len)
{
    struct s3_copy_state *s = &x->u.copy;
    struct part_copy_spec part = {.key = x->route.key,
                                  .upload = s->upload,
                                  .part = s->part,
                                  .src = s->reader,
                                  .from = from,
                                  .len = len,
                                  .going_on = copy_going_on};
    struct s3_call *call = s3_call_begin(x);
    int err = call == NULL ? ZERR_NOMEM : 0;

    if (err == 0 && s->upload != 0) {
        err = s3_copy_hasher(x, &part.sys, &part.hasher);
    }
    if (err == 0) {
        err = s->upload != 0 ? store_copy_part(x->store, &part, copy_done, call)
                             : store_copy(x->store, &s->spec, copy_done, call);
    }
    if (err != 0) {
        if (part.hasher != NULL) {
            part.hasher->release(part.hasher);
        }
        s3_call_failed(x, call, err);
    }
}

static void handle_opened(void *user, int status)
{
    struct s3_exchange *x = user;
    struct s3_copy_state *s = &x->u.copy;
    const struct s3_head *h = &x->head;
    const struct s3_conditions cond = {h->copy_if_match, h->copy_if_none_match,
                                       h->copy_if_modified_since, h->copy_if_unmodified_since};
    uint64_t from, len;

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
    } else if (status != 0) {
        s3_fail(x, status);
    } else if (choose_range(x, &from, &len) != 0) {
        return; /* refused */
    } else if (len > S3_PUT_MAX_BYTES && (s->upload != 0 || moves_bytes(x))) {
        s3_refuse(x, S3_INVALID_REQUEST,
                  "The specified copy source is larger than the maximum allowable size for a copy "
                  "source: 5368709120");
    } else if (moves_bytes(x)) {
        s3_copy_bytes(x, from, len);
    } else {
        copy_names(x, from, len);
    }
}

static const struct reader_ops READER_OPS = {
    .opened = handle_opened,
    .read = s3_copy_bytes_read,
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
    x->u.copy.source_bucket = bucket;
    x->u.copy.source_key = slice_of(p + 1, src.len - bucket.len - 1);
    if (!s3_identity_may_use(&x->who, bucket)) {
        *ret_code = S3_FORBIDDEN;
        return ZERR_INVALID;
    }
    if (!store_set_has(x->s3->stores, bucket)) {
        *ret_code = S3_NO_SUCH_BUCKET;
        return ZERR_INVALID;
    }
    if (x->u.copy.source_key.len > KEY_MAX_BYTES) {
        *ret_code = S3_KEY_TOO_LONG;
        return ZERR_INVALID;
    }
    return 0;
}

static void open_source(struct s3_exchange *x, struct store *store)
{
    struct s3_copy_state *s = &x->u.copy;
    struct reader *reader = NULL;
    int err = reader_open(store, s->source_key, !is_same_bucket(x), &READER_OPS, x, &reader);

    if (err >= 0) {
        s->reader = reader;
    }
    if (err != ZKV_PENDING) {
        handle_opened(x, err);
    }
}

static void handle_source(struct store_use *use, int status)
{
    struct s3_copy_state *s = container_of(use, struct s3_copy_state, source);
    struct s3_exchange *x = container_of(s, struct s3_exchange, u.copy);

    if (status != 0) {
        s3_fail_bucket(x, status);
    } else {
        open_source(x, use->store);
    }
}

static void handle_source_lost(struct store_use *use)
{
    struct s3_copy_state *s = container_of(use, struct s3_copy_state, source);

    s3_cut(container_of(s, struct s3_exchange, u.copy), ZERR_IO);
}

static void copy_start(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;
    struct slice directive = x->head.metadata_directive;
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
    if (!s->replace && is_same_bucket(x) && slice_eq(s->source_key, x->route.key)) {
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
    if (err != 0) {
        s3_fail(x, err);
    } else if (is_same_bucket(x)) {
        open_source(x, x->store);
    } else {
        s->source.lost = handle_source_lost;
        err = store_set_use(x->s3->stores, s->source_bucket, &s->source, handle_source);
        if (err != ZKV_PENDING) {
            handle_source(&s->source, err);
        }
    }
}

static void copy_drop(struct s3_exchange *x)
{
    struct s3_copy_state *s = &x->u.copy;

    s3_copy_bytes_drop(x);
    reader_close(s->reader);
    s->reader = NULL;
    store_use_end(&s->source);
}

const struct s3_op S3_COPY = {
    .start = copy_start,
    .drop = copy_drop,
};
