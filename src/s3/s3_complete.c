/* CompleteMultipartUpload: the end of an upload in parts (s3_upload.c).
 *
 *   start -> body* -> end -> store_complete_upload -> (completed) -> answer
 *
 * What the object's checksum is to be is s3_assembly.c's. A request that is sent again, since its
 * answer was lost, finds no upload: if the object is just what the named parts make, it is answered as
 * the first one was; not if it is damaged since: then the client had better send it again. */
#include "s3/s3_exchange.h"

#include <openssl/evp.h>

#include "s3/s3_assembly.h"

#define PART_SIZE_MIN (5u << 20) /* of all parts but the last */

/* made: its checksum, NULL: not known any more. */
static void respond_completed(struct s3_exchange *x, const struct object *obj,
                              const struct s3_assembly *made)
{
    char etag[S3_ETAG_MAX];
    struct s3_xml w;
    struct slice host = x->head.host, path = s3_target_path(x->req->target);
    struct buf *url = &x->u.upload.body;

    buf_reset(url);
    s3_xml_begin(&w, &x->xml, "CompleteMultipartUploadResult", S3_XMLNS);
    if (buf_append_str(url, x->s3->https ? "https://" : "http://") == 0 &&
        buf_append(url, host.ptr, host.len) == 0 && buf_append(url, path.ptr, path.len) == 0) {
        s3_xml_text(&w, "Location", buf_slice(url));
    }
    s3_xml_text(&w, "Bucket", x->route.bucket);
    s3_xml_text(&w, "Key", x->route.key);
    s3_xml_text(&w, "ETag", s3_etag(obj->md5, obj->parts, etag));
    if (made != NULL && made->made.kind != S3_CHECKSUMS) {
        s3_xml_text(&w, s3_checksum_element(made->made.kind), slice_str(made->text));
        s3_xml_text(&w, "ChecksumType", slice_str(s3_agreement_type(&made->made)));
    }
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

    if (err == ZERR_NO_UPLOAD && s->list.n > 0 && store_lookup(x->store, x->route.key, &obj) == 0 &&
        !obj.damaged && is_made_of(&obj, s->list.parts, s->list.n)) {
        respond_completed(x, &obj, NULL);
    } else {
        s3_fail(x, err);
    }
}

static void completed(void *user, int status, const struct object *obj, size_t at)
{
    struct s3_assembly *a = user;
    struct s3_exchange *x = s3_call_end(a->user);

    (void)at;
    if (x == NULL) {
        s3_assembly_destroy(a);
        return;
    }
    if (status == 0) {
        respond_completed(x, obj, a);
    } else if (a->code != S3_N_CODES) {
        s3_refuse(x, a->code, a->message);
    } else {
        complete_failed(x, status);
    }
    s3_assembly_destroy(a);
}

static void complete_body(struct s3_exchange *x, struct slice data)
{
    s3_body_add(x, &x->u.upload.body, data);
}

/* What the request says, as far as it can be told without the upload. ZERR_INVALID: refused. */
static int read_request(struct s3_exchange *x, struct complete_spec *spec, struct s3_assembly **ret)
{
    struct s3_complete_list *list = &x->u.upload.list;
    const char *message = NULL;
    int err = s3_xml_parse_complete(buf_slice(&x->u.upload.body), x->req->arena, list);

    if (err == ZERR_INVALID) {
        s3_refuse(x, S3_MALFORMED_XML, NULL);
        return err;
    }
    for (size_t i = 1; err == 0 && i < list->n; i++) {
        if (list->parts[i].number <= list->parts[i - 1].number) {
            s3_refuse(x, S3_INVALID_PART_ORDER, NULL);
            return ZERR_INVALID;
        }
    }
    if (err == 0) {
        err = s3_change_condition(&x->head, &spec->cond);
    }
    if (err == ZERR_UNSUPPORTED) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, S3_CONDITIONS_OFFERED);
        return ZERR_INVALID;
    }
    if (err == 0) {
        err = s3_upload_id(x->route.upload_id.value, &spec->upload);
    }
    if (err == 0) {
        err = s3_assembly_create(x->req, &x->head, list, ret, &message);
    }
    if (err == ZERR_INVALID) {
        s3_refuse(x, S3_INVALID_REQUEST, message);
    } else if (err != 0) {
        s3_fail(x, err);
        err = ZERR_INVALID;
    }
    spec->parts = list->parts;
    spec->n_parts = list->n;
    return err;
}

static void complete_end(struct s3_exchange *x)
{
    struct complete_spec spec = {
        .key = x->route.key, .part_min = PART_SIZE_MIN, .ops = &S3_ASSEMBLY_OPS};
    struct s3_assembly *a = NULL;
    struct s3_call *call;
    int err;

    if (read_request(x, &spec, &a) != 0) {
        return;
    }
    call = s3_call_begin(x);
    a->user = call;
    err = call == NULL ? ZERR_NOMEM : store_complete_upload(x->store, &spec, completed, a);
    if (err != 0) {
        s3_assembly_destroy(a);
        s3_call_failed(x, call, err);
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
