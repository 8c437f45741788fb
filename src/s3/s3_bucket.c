/* The small operations on the service and the bucket, which need nothing of the store. */
#include "s3/s3_exchange.h"

#include "base/timefmt.h"

static void service_start(struct s3_exchange *x)
{
    char time[TIME_ISO_LEN + 1];
    struct s3_xml w;

    time_iso(0, time); /* when the bucket was made is not known */
    s3_xml_begin(&w, &x->xml, "ListAllMyBucketsResult", S3_XMLNS);
    s3_xml_open(&w, "Owner");
    s3_xml_text(&w, "ID", SLICE_LIT(S3_OWNER));
    s3_xml_text(&w, "DisplayName", SLICE_LIT(S3_OWNER));
    s3_xml_close(&w, "Owner");
    s3_xml_open(&w, "Buckets");
    if (s3_identity_may_use(&x->who, slice_str(x->s3->bucket))) {
        s3_xml_open(&w, "Bucket");
        s3_xml_text(&w, "Name", slice_str(x->s3->bucket));
        s3_xml_text(&w, "CreationDate", slice_of(time, TIME_ISO_LEN));
        s3_xml_close(&w, "Bucket");
    }
    s3_xml_close(&w, "Buckets");
    s3_respond_xml(x, s3_xml_finish(&w, "ListAllMyBucketsResult"));
}

const struct s3_op S3_SERVICE = {
    .start = service_start,
};

/* An empty document: the region is the default one, versioning was never switched on. */
static void respond_empty_document(struct s3_exchange *x, const char *root)
{
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, root, S3_XMLNS);
    s3_respond_xml(x, s3_xml_finish(&w, root));
}

static void bucket_start(struct s3_exchange *x)
{
    switch (x->route.op) {
    case S3_OP_GET_LOCATION:
        respond_empty_document(x, "LocationConstraint");
        break;
    case S3_OP_GET_VERSIONING:
        respond_empty_document(x, "VersioningConfiguration");
        break;
    case S3_OP_CREATE_BUCKET: /* it is there: the answer waits for a body that says nothing */
        x->stream->ops->proceed(x->stream);
        break;
    default: /* HeadBucket */
        s3_respond_empty(x, 200);
        break;
    }
}

static void bucket_body(struct s3_exchange *x, struct slice data)
{
    (void)data;
    if (x->received > S3_IGNORED_BODY) {
        s3_refuse(x, S3_MAX_MESSAGE_LENGTH, NULL);
    }
}

static void bucket_end(struct s3_exchange *x)
{
    struct s3_reply r;

    s3_reply_init(&r, x, 1);
    s3_reply_add(&r, "Location", s3_target_path(x->req->target));
    s3_respond(x, &r, 200, 0, slice_of(NULL, 0));
}

const struct s3_op S3_BUCKET = {
    .start = bucket_start,
    .body = bucket_body,
    .end = bucket_end,
};
