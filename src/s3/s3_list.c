/* ListObjects, version 1 and 2, and ListObjectVersions: each object has one version, "null".
 *
 * One page of the store becomes one page of the answer. IsTruncated and the place where the next
 * page begins come from the same two values of it, the flag and the last entry, which may be a
 * common prefix: the store does not list that one again behind itself. Markers are a lower bound
 * only: any string, there or not, with the prefix or without. */
#include "s3/s3_exchange.h"

#include "base/num.h"
#include "base/timefmt.h"

#define NULL_VERSION "null" /* as S3 calls it where versions were never switched on */

/* A continuation token is the last entry in letters: to clients it means nothing. (As digits it could be
 * taken for a number: minio's client for JavaScript reads XML so.) */
static int decode_token(struct slice token, struct arena *arena, struct slice *ret)
{
    uint8_t *out = arena_alloc(arena, token.len / 2 + 1);

    if (out == NULL) {
        return ZERR_NOMEM;
    }
    if (token.len == 0 || token.len % 2 != 0 || letters_decode(token, out, token.len / 2) != 0) {
        return ZERR_INVALID;
    }
    *ret = slice_of(out, token.len / 2);
    return 0;
}

static void write_token(struct s3_exchange *x, struct s3_xml *w, struct slice last)
{
    char *out = arena_alloc(x->req->arena, 2 * last.len + 1);

    if (out == NULL) {
        w->err = ZERR_NOMEM;
        return;
    }
    letters_encode(last.ptr, last.len, out);
    s3_xml_text(w, "NextContinuationToken", slice_of(out, 2 * last.len));
}

/* The list's own elements, before its entries. */
static void write_frame(struct s3_exchange *x, struct s3_xml *w, const struct list_page *page)
{
    const struct s3_route *r = &x->route;
    const struct s3_list_state *s = &x->u.list;
    struct slice last = page->n > 0 ? page->entries[page->n - 1].key : slice_of(NULL, 0);
    bool truncated = page->truncated && page->n > 0;

    s3_xml_text(w, "Name", x->route.bucket);
    s3_xml_key(w, "Prefix", r->prefix.value, s->url);
    if (s->v2) {
        s3_xml_u64(w, "KeyCount", page->n);
        if (r->continuation_token.set) {
            s3_xml_text(w, "ContinuationToken", r->continuation_token.value);
        }
        if (r->start_after.set) {
            s3_xml_key(w, "StartAfter", r->start_after.value, s->url);
        }
        if (truncated) {
            write_token(x, w, last);
        }
    } else if (s->versions) {
        s3_xml_key(w, "KeyMarker", r->key_marker.value, s->url);
        s3_xml_text(w, "VersionIdMarker", r->version_id_marker.value);
        if (truncated) {
            s3_xml_key(w, "NextKeyMarker", last, s->url);
            s3_xml_text(w, "NextVersionIdMarker", SLICE_LIT(NULL_VERSION));
        }
    } else {
        s3_xml_key(w, "Marker", r->marker.value, s->url);
        if (truncated) {
            s3_xml_key(w, "NextMarker", last, s->url);
        }
    }
    s3_xml_u64(w, "MaxKeys", s->query.max);
    if (s->query.delimiter.len > 0) {
        s3_xml_key(w, "Delimiter", s->query.delimiter, s->url);
    }
    if (s->url) {
        s3_xml_text(w, "EncodingType", SLICE_LIT("url"));
    }
    s3_xml_bool(w, "IsTruncated", truncated);
}

static void write_object(const struct s3_list_state *s, struct s3_xml *w,
                         const struct list_entry *e)
{
    const char *root = s->versions ? "Version" : "Contents";
    char time[TIME_ISO_LEN + 1], etag[S3_ETAG_MAX];

    time_iso(e->mtime_ms, time);
    s3_xml_open(w, root);
    s3_xml_key(w, "Key", e->key, s->url);
    if (s->versions) {
        s3_xml_text(w, "VersionId", SLICE_LIT(NULL_VERSION));
        s3_xml_bool(w, "IsLatest", true);
    }
    s3_xml_text(w, "LastModified", slice_of(time, TIME_ISO_LEN));
    if (e->has_md5) {
        s3_xml_text(w, "ETag", s3_etag(e->md5, e->parts, etag));
    }
    s3_xml_u64(w, "Size", e->size);
    if (s->owner) {
        s3_xml_open(w, "Owner");
        s3_xml_text(w, "ID", SLICE_LIT(S3_OWNER));
        s3_xml_text(w, "DisplayName", SLICE_LIT(S3_OWNER));
        s3_xml_close(w, "Owner");
    }
    s3_xml_text(w, "StorageClass", SLICE_LIT("STANDARD"));
    s3_xml_close(w, root);
}

static int write_list(struct s3_exchange *x, const struct list_page *page)
{
    const char *root = x->u.list.versions ? "ListVersionsResult" : "ListBucketResult";
    struct s3_xml w;

    s3_xml_begin(&w, &x->xml, root, S3_XMLNS);
    write_frame(x, &w, page);
    for (size_t i = 0; i < page->n; i++) {
        if (!page->entries[i].is_prefix) {
            write_object(&x->u.list, &w, &page->entries[i]);
        }
    }
    for (size_t i = 0; i < page->n; i++) {
        if (page->entries[i].is_prefix) {
            s3_xml_open(&w, "CommonPrefixes");
            s3_xml_key(&w, "Prefix", page->entries[i].key, x->u.list.url);
            s3_xml_close(&w, "CommonPrefixes");
        }
    }
    return s3_xml_finish(&w, root);
}

static void list_done(void *user, int status, struct list_page *page)
{
    struct s3_exchange *x = s3_call_end(user);

    if (x != NULL && status == 0 && s3_xml_is_full(x->s3)) {
        s3_refuse(x, S3_SLOW_DOWN, NULL);
    } else if (x != NULL) {
        s3_respond_xml(x, status != 0 ? status : write_list(x, page));
    }
    if (status == 0) {
        list_page_finish(page);
    }
}

/* Fills u.list from the query; ZERR_INVALID with *ret_detail: what is wrong. */
static int parse_list(struct s3_exchange *x, const char **ret_detail)
{
    const struct s3_route *r = &x->route;
    struct s3_list_state *s = &x->u.list;
    uint64_t max = S3_LIST_MAX_KEYS;
    int err = 0;

    s->versions = r->op == S3_OP_LIST_VERSIONS;
    s->v2 = !s->versions && slice_eq_str(r->list_type.value, "2");
    s->owner = s->versions || (s->v2 && s3_eq_nocase(r->fetch_owner.value, "true"));
    if (r->version_id_marker.value.len > 0 &&
        (r->key_marker.value.len == 0 || !slice_eq_str(r->version_id_marker.value, NULL_VERSION))) {
        *ret_detail = "version-id-marker must be null, and go with a key-marker.";
        return ZERR_INVALID;
    }
    if (!s->versions && r->list_type.set && !s->v2 && !slice_eq_str(r->list_type.value, "1")) {
        *ret_detail = "list-type must be 2.";
        return ZERR_INVALID;
    }
    if (r->encoding_type.value.len > 0) {
        s->url = s3_eq_nocase(r->encoding_type.value, "url");
        if (!s->url) {
            *ret_detail = "encoding-type must be url.";
            return ZERR_INVALID;
        }
    }
    if (r->max_keys.value.len > 0) {
        err = num_parse_u64(r->max_keys.value, UINT64_MAX, &max);
        if (err == ZERR_TOO_LARGE) {
            max = S3_LIST_MAX_KEYS;
        } else if (err != 0) {
            *ret_detail = "max-keys must be a number.";
            return ZERR_INVALID;
        }
    }
    s->query = (struct list_query){
        .prefix = r->prefix.value,
        .delimiter = r->delimiter.value,
        .after = s->versions ? r->key_marker.value
                 : s->v2     ? r->start_after.value
                             : r->marker.value,
        .max = max < S3_LIST_MAX_KEYS ? (size_t)max : S3_LIST_MAX_KEYS,
    };
    if (s->v2 && r->continuation_token.set) {
        *ret_detail = "The continuation token is not one of this server's.";
        return decode_token(r->continuation_token.value, x->req->arena, &s->query.after);
    }
    return 0;
}

static void list_start(struct s3_exchange *x)
{
    const char *detail = NULL;
    struct s3_call *call;
    int err = parse_list(x, &detail);

    if (err == ZERR_INVALID) {
        s3_refuse(x, S3_INVALID_ARGUMENT, detail);
        return;
    }
    call = err == 0 ? s3_call_begin(x) : NULL;
    if (call != NULL) {
        err = store_list(x->store, &x->u.list.query, list_done, call);
    } else {
        err = ZERR_NOMEM;
    }
    if (err != 0) {
        if (call != NULL) {
            (void)s3_call_end(call);
        }
        s3_fail(x, err);
    }
}

const struct s3_op S3_LIST = {
    .start = list_start,
};
