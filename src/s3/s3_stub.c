/* What clients ask for though nobody has set it up: who may use a bucket or an object (?acl: its owner,
 * and nobody else), and an object's tags (none). Setting what is so already is granted; whatever would
 * open something to others is refused, since it would not come true. */
#include "s3/s3_exchange.h"

/* The object must be there; the bucket is. True: it is. */
static bool is_there(struct s3_exchange *x)
{
    struct object obj;
    int err = x->route.key.len == 0 ? 0 : store_lookup(x->store, x->route.key, &obj);

    if (err == 0 && x->route.key.len > 0 && obj.damaged) {
        err = ZERR_DAMAGED;
    }
    if (err != 0) {
        s3_fail(x, err);
    }
    return err == 0;
}

static void write_owner(struct s3_xml *w)
{
    s3_xml_text(w, "ID", SLICE_LIT(S3_OWNER));
    s3_xml_text(w, "DisplayName", SLICE_LIT(S3_OWNER));
}

static int write_acl(struct s3_exchange *x)
{
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, "AccessControlPolicy", S3_XMLNS);
    s3_xml_open(&w, "Owner");
    write_owner(&w);
    s3_xml_close(&w, "Owner");
    s3_xml_open(&w, "AccessControlList");
    s3_xml_open(&w, "Grant");
    s3_xml_open(&w, "Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
                    "xsi:type=\"CanonicalUser\"");
    write_owner(&w);
    s3_xml_close(&w, "Grantee");
    s3_xml_text(&w, "Permission", SLICE_LIT("FULL_CONTROL"));
    s3_xml_close(&w, "Grant");
    s3_xml_close(&w, "AccessControlList");
    return s3_xml_finish(&w, "AccessControlPolicy");
}

static int write_tags(struct s3_exchange *x)
{
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, "Tagging", S3_XMLNS);
    s3_xml_text(&w, "TagSet", slice_of(NULL, 0));
    return s3_xml_finish(&w, "Tagging");
}

static void stub_start(struct s3_exchange *x)
{
    if (is_there(x)) {
        s3_respond_xml(x, x->route.op == S3_OP_GET_ACL ? write_acl(x) : write_tags(x));
    }
}

const struct s3_op S3_STUB = {
    .start = stub_start,
};

/* ---- PUT ?acl ---- */

static bool opens_nothing(struct slice acl)
{
    return acl.ptr == NULL || slice_eq_str(acl, "private") ||
           slice_has_prefix(acl, SLICE_LIT("bucket-owner-"));
}

static void acl_start(struct s3_exchange *x)
{
    bool grants = !opens_nothing(x->head.acl);

    for (size_t i = 0; i < x->req->n_headers; i++) {
        grants |= s3_has_prefix_nocase(x->req->headers[i].name, "x-amz-grant-");
    }
    if (grants) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, "Only the owner has access here.");
    } else if (is_there(x)) {
        s3_body_start(x);
    }
}

static void acl_body(struct s3_exchange *x, struct slice data)
{
    s3_body_add(x, &x->u.body, data);
}

/* No list: the headers said all. */
static void acl_end(struct s3_exchange *x)
{
    struct slice body = buf_slice(&x->u.body);
    int err = body.len == 0 ? 0 : s3_xml_check_acl(body, x->req->arena);

    if (err == ZERR_UNSUPPORTED) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, "Only the owner has access here.");
    } else if (err == ZERR_INVALID) {
        s3_refuse(x, S3_MALFORMED_ACL, NULL);
    } else if (err != 0) {
        s3_fail(x, err);
    } else {
        s3_respond_empty(x, 200);
    }
}

static void acl_drop(struct s3_exchange *x)
{
    buf_finish(&x->u.body);
}

const struct s3_op S3_PUT_ACL = {
    .start = acl_start,
    .body = acl_body,
    .end = acl_end,
    .drop = acl_drop,
};
