/* The operations on the service and on buckets as such: which there are, making and removing them.
 * None of them needs the bucket's store to be open. */
#include "s3/s3_exchange.h"

#include "base/timefmt.h"

/* ---- ListBuckets ---- */

struct bucket_list {
    struct s3_exchange *x;
    struct s3_xml w;
};

static void write_bucket(void *user, struct slice name, int64_t born_ms)
{
    struct bucket_list *list = user;
    char time[TIME_ISO_LEN + 1];

    if (s3_identity_may_use(&list->x->who, name)) {
        time_iso(born_ms, time);
        s3_xml_open(&list->w, "Bucket");
        s3_xml_text(&list->w, "Name", name);
        s3_xml_text(&list->w, "CreationDate", slice_of(time, TIME_ISO_LEN));
        s3_xml_close(&list->w, "Bucket");
    }
}

static void service_start(struct s3_exchange *x)
{
    struct bucket_list list = {.x = x};

    s3_xml_begin(&list.w, &x->xml, "ListAllMyBucketsResult", S3_XMLNS);
    s3_xml_open(&list.w, "Owner");
    s3_xml_text(&list.w, "ID", SLICE_LIT(S3_OWNER));
    s3_xml_text(&list.w, "DisplayName", SLICE_LIT(S3_OWNER));
    s3_xml_close(&list.w, "Owner");
    s3_xml_open(&list.w, "Buckets");
    store_set_each(x->s3->stores, write_bucket, &list);
    s3_xml_close(&list.w, "Buckets");
    s3_respond_xml(x, s3_xml_finish(&list.w, "ListAllMyBucketsResult"));
}

const struct s3_op S3_SERVICE = {
    .start = service_start,
};

/* ---- HeadBucket, GetBucketLocation, GetBucketVersioning ---- */

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
    default: /* HeadBucket */
        s3_respond_empty(x, 200);
        break;
    }
}

const struct s3_op S3_BUCKET = {
    .start = bucket_start,
};

/* ---- CreateBucket ---- */

/* What is there already is the caller's own. S3 says so with an error, but in its first region, where
 * making a bucket again is granted: clients that name no other region rely on it. */
static void respond_created(struct s3_exchange *x, int status)
{
    struct s3_reply r;

    if (status == ZERR_EXISTS && x->u.bucket.elsewhere) {
        s3_refuse(x, S3_BUCKET_OWNED, NULL);
    } else if (status == ZERR_INVALID) {
        s3_refuse(x, S3_INVALID_BUCKET_NAME, NULL);
    } else if (status == ZERR_TOO_LARGE) {
        s3_refuse(x, S3_TOO_MANY_BUCKETS, NULL);
    } else if (status != 0 && status != ZERR_EXISTS) {
        s3_fail(x, status);
    } else {
        s3_reply_init(&r, x, 1);
        s3_reply_add(&r, "Location", s3_target_path(x->req->target));
        s3_respond(x, &r, 200, 0, slice_of(NULL, 0));
    }
}

static void created(void *user, int status)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x != NULL) {
        respond_created(x, status);
    }
}

static void create_body(struct s3_exchange *x, struct slice data)
{
    s3_body_add(x, &x->u.bucket.body, data);
}

static void create_end(struct s3_exchange *x)
{
    struct s3_bucket_state *s = &x->u.bucket;
    struct slice location;
    struct s3_call *call;
    int err = s3_xml_parse_create(buf_slice(&s->body), x->req->arena, &location);

    if (err != 0) {
        s3_refuse(x, err == ZERR_NOMEM ? S3_SLOW_DOWN : S3_MALFORMED_XML, NULL);
        return;
    }
    s->elsewhere = location.len > 0 && !slice_eq_str(location, S3_REGION);
    call = s3_call_begin(x);
    err =
        call == NULL ? ZERR_NOMEM : store_set_create(x->s3->stores, x->route.bucket, created, call);
    if (err != 0) {
        if (call != NULL) {
            (void)s3_call_end(call);
        }
        respond_created(x, err);
    }
}

static void create_drop(struct s3_exchange *x)
{
    buf_finish(&x->u.bucket.body);
}

const struct s3_op S3_CREATE_BUCKET = {
    .start = s3_body_start,
    .body = create_body,
    .end = create_end,
    .drop = create_drop,
};

/* ---- DeleteBucket ---- */

static void respond_deleted(struct s3_exchange *x, int status)
{
    if (status == 0) {
        s3_respond_empty(x, 204);
    } else if (status == ZERR_NOT_EMPTY) {
        s3_refuse(x, S3_BUCKET_NOT_EMPTY, NULL);
    } else if (status == ZERR_INVALID) {
        s3_refuse(x, S3_METHOD_NOT_ALLOWED,
                  "This bucket is the server's own directory (-bucket) and cannot be deleted.");
    } else {
        s3_fail_bucket(x, status);
    }
}

static void deleted(void *user, int status)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x != NULL) {
        respond_deleted(x, status);
    }
}

static void delete_start(struct s3_exchange *x)
{
    struct s3_call *call = s3_call_begin(x);
    int err =
        call == NULL ? ZERR_NOMEM : store_set_remove(x->s3->stores, x->route.bucket, deleted, call);

    if (err != 0) {
        if (call != NULL) {
            (void)s3_call_end(call);
        }
        respond_deleted(x, err);
    }
}

const struct s3_op S3_DELETE_BUCKET = {
    .start = delete_start,
};
