/* DeleteObject and DeleteObjects.
 *
 * Both are one call of the store: all the keys of a DeleteObjects go or none does, so there is a
 * single status. Keys that cannot be names at all are told one by one in the result. Objects that
 * are not there count as deleted. */
#include "s3/s3_exchange.h"

/* ---- one ---- */

static void one_done(void *user, int status)
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

static void one_start(struct s3_exchange *x)
{
    struct condition cond;
    struct s3_call *call;
    int err = s3_change_condition(&x->head, &cond);

    if (err == ZERR_UNSUPPORTED || (err == 0 && cond.if_absent)) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, S3_CONDITIONS_OFFERED);
        return;
    }
    if (err != 0) {
        s3_fail(x, err);
        return;
    }
    call = s3_call_begin(x);
    err =
        call == NULL ? ZERR_NOMEM : store_delete(x->store, &x->route.key, 1, &cond, one_done, call);
    if (err != 0) {
        if (call != NULL) {
            (void)s3_call_end(call);
        }
        s3_fail(x, err);
    }
}

const struct s3_op S3_DELETE = {
    .start = one_start,
};

/* ---- many ---- */

static void many_body(struct s3_exchange *x, struct slice data)
{
    s3_body_add(x, &x->u.del.body, data);
}

/* What is wrong with a key by itself; S3_N_CODES: nothing. */
static enum s3_code key_error(const struct s3_delete_key *k)
{
    if (k->key.len == 0) {
        return S3_INVALID_ARGUMENT;
    }
    if (k->key.len > KEY_MAX_BYTES) {
        return S3_KEY_TOO_LONG;
    }
    return k->other_version ? S3_NO_SUCH_VERSION : S3_N_CODES;
}

static void respond_result(struct s3_exchange *x)
{
    const struct s3_delete_list *list = &x->u.del.list;
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, "DeleteResult", S3_XMLNS);
    for (size_t i = 0; i < list->n; i++) {
        enum s3_code code = key_error(&list->keys[i]);
        if (code != S3_N_CODES) {
            s3_xml_open(&w, "Error");
            s3_xml_text(&w, "Key", list->keys[i].key);
            s3_xml_text(&w, "Code", slice_str(s3_error_of(code)->code));
            s3_xml_text(&w, "Message", slice_str(s3_error_of(code)->message));
            s3_xml_close(&w, "Error");
        } else if (!list->quiet) {
            s3_xml_open(&w, "Deleted");
            s3_xml_text(&w, "Key", list->keys[i].key);
            s3_xml_close(&w, "Deleted");
        }
    }
    s3_respond_xml(x, s3_xml_finish(&w, "DeleteResult"));
}

static void many_done(void *user, int status)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x == NULL) {
        return;
    }
    if (status != 0) {
        s3_fail(x, status);
    } else {
        respond_result(x);
    }
}

/* The keys that can be deleted, as the store wants them. */
static int collect_keys(struct s3_exchange *x)
{
    struct s3_delete_state *s = &x->u.del;

    s->keys = arena_alloc(x->req->arena, s->list.n * sizeof(*s->keys));
    if (s->keys == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < s->list.n; i++) {
        if (key_error(&s->list.keys[i]) == S3_N_CODES) {
            s->keys[s->n_keys++] = s->list.keys[i].key;
        }
    }
    return 0;
}

static void delete_keys(struct s3_exchange *x)
{
    struct s3_delete_state *s = &x->u.del;
    struct s3_call *call;
    int err;

    if (s->n_keys == 0) {
        respond_result(x);
        return;
    }
    call = s3_call_begin(x);
    err = call == NULL ? ZERR_NOMEM
                       : store_delete(x->store, s->keys, s->n_keys, NULL, many_done, call);
    if (err != 0) {
        if (call != NULL) {
            (void)s3_call_end(call);
        }
        s3_fail(x, err);
    }
}

static void many_end(struct s3_exchange *x)
{
    struct s3_delete_state *s = &x->u.del;
    struct slice body = buf_slice(&s->body);
    int err = s3_xml_parse_delete(body, x->req->arena, &s->list);

    buf_finish(&s->body);
    if (err == 0) {
        err = collect_keys(x);
    }
    if (err == 0) {
        delete_keys(x);
    } else if (err == ZERR_INVALID) {
        s3_refuse(x, S3_MALFORMED_XML, NULL);
    } else if (err == ZERR_UNSUPPORTED) {
        s3_refuse(x, S3_NOT_IMPLEMENTED, "Conditions are not offered in DeleteObjects.");
    } else {
        s3_fail(x, err);
    }
}

static void many_drop(struct s3_exchange *x)
{
    buf_finish(&x->u.del.body);
}

const struct s3_op S3_DELETE_MANY = {
    .start = s3_body_start,
    .body = many_body,
    .end = many_end,
    .drop = many_drop,
};
