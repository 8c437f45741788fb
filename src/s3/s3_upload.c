/* Multipart uploads: CreateMultipartUpload and AbortMultipartUpload. (UploadPart is a PutObject,
 * s3_put.c; UploadPartCopy a CopyObject, s3_copy.c; the end is s3_complete.c, lists are
 * s3_upload_list.c.)
 *
 * An UploadId is the upload's number in the store as 16 letters; to clients it means nothing. (As
 * digits it could be taken for a number: minio's client for JavaScript reads XML so.) */
#include "s3/s3_exchange.h"

#include "base/num.h"
#include "s3/s3_assembly.h"

#define UPLOAD_ID_LEN 16

int s3_upload_id(struct slice text, uint64_t *ret)
{
    uint8_t bytes[8];

    if (text.len != UPLOAD_ID_LEN || letters_decode(text, bytes, sizeof(bytes)) != 0) {
        return ZERR_NO_UPLOAD;
    }
    *ret = le64_get(bytes);
    return *ret != 0 ? 0 : ZERR_NO_UPLOAD;
}

/* The part must have the checksum that was agreed on; one that brings none gets it computed. */
static int agree(struct s3_exchange *x, struct attrs sys)
{
    enum s3_checksum agreed = s3_agreement_of(sys).kind, has = s3_payload_checksum(x);

    if (agreed == S3_CHECKSUMS || agreed == has) {
        return 0;
    }
    if (has != S3_CHECKSUMS) {
        s3_refuse(x, S3_INVALID_REQUEST, "The upload was begun with another checksum algorithm.");
        return ZERR_INVALID;
    }
    if (s3_payload_want(x, agreed) != 0) {
        s3_fail(x, ZERR_NOMEM);
        return ZERR_INVALID;
    }
    return 0;
}

int s3_part_of_upload(struct s3_exchange *x, uint64_t *ret_upload, uint32_t *ret_part)
{
    struct attrs sys;
    uint64_t number;
    int err = num_parse_u64(x->route.part_number.value, PART_MAX, &number);

    if (err != 0 || number == 0) {
        s3_refuse(x, S3_INVALID_ARGUMENT, "Part number must be an integer between 1 and 10000.");
        return ZERR_INVALID;
    }
    err = s3_upload_id(x->route.upload_id.value, ret_upload);
    if (err == 0) {
        err = store_get_upload(x->store, x->route.key, *ret_upload, x->req->arena, &sys);
    }
    if (err != 0) {
        s3_fail(x, err);
        return ZERR_INVALID;
    }
    *ret_part = (uint32_t)number;
    return agree(x, sys);
}

void s3_write_upload_id(struct s3_xml *w, const char *name, uint64_t id)
{
    char text[UPLOAD_ID_LEN];
    uint8_t bytes[8];

    le64_put(bytes, id);
    letters_encode(bytes, sizeof(bytes), text);
    s3_xml_text(w, name, slice_of(text, UPLOAD_ID_LEN));
}

void s3_call_failed(struct s3_exchange *x, struct s3_call *call, int err)
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
    const struct s3_agreement *a;
    struct s3_reply r;
    struct s3_xml w;

    if (x == NULL) {
        return;
    }
    if (status != 0) {
        s3_fail(x, status);
        return;
    }
    a = &x->u.upload.agreement;
    s3_reply_init(&r, x, 3);
    if (a->kind != S3_CHECKSUMS) {
        s3_reply_add(&r, "x-amz-checksum-algorithm", slice_str(s3_checksum_name(a->kind)));
        s3_reply_add(&r, "x-amz-checksum-type", slice_str(s3_agreement_type(a)));
    }
    s3_xml_begin(&w, &x->xml, "InitiateMultipartUploadResult", S3_XMLNS);
    s3_xml_text(&w, "Bucket", x->route.bucket);
    s3_xml_text(&w, "Key", x->route.key);
    s3_write_upload_id(&w, "UploadId", upload);
    s3_respond_xml_with(x, &r, s3_xml_finish(&w, "InitiateMultipartUploadResult"));
}

static void begin_start(struct s3_exchange *x)
{
    struct upload_spec spec = {.key = x->route.key};
    struct s3_call *call = NULL;
    const char *message;
    int err = s3_agreement_from(&x->head, &x->u.upload.agreement, &message);

    if (err != 0) {
        s3_refuse(x, S3_INVALID_REQUEST, message);
        return;
    }
    err = s3_meta_from_headers(x->req, &x->head, &spec.meta);
    if (err == ZERR_TOO_LARGE) {
        s3_refuse(x, S3_METADATA_TOO_LARGE, NULL);
        return;
    }
    if (err == 0) {
        err = s3_sys_from_headers(x->req, &x->head, &spec.sys);
    }
    if (err == 0) {
        err = s3_agreement_keep(&x->u.upload.agreement, x->req->arena, &spec.sys);
    }
    if (err == 0) {
        call = s3_call_begin(x);
        err = call == NULL ? ZERR_NOMEM : store_begin_upload(x->store, &spec, begun, call);
    }
    if (err != 0) {
        s3_call_failed(x, call, err);
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
        err = store_lookup_upload(x->store, x->route.key, id);
    }
    if (err == 0) {
        call = s3_call_begin(x);
        err = call == NULL ? ZERR_NOMEM
                           : store_abort_upload(x->store, x->route.key, id, aborted, call);
    }
    if (err != 0) {
        s3_call_failed(x, call, err);
    }
}

const struct s3_op S3_ABORT_UPLOAD = {
    .start = abort_start,
};
