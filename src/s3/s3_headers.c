/* Headers, see s3_headers.h. */
#include "s3/s3_headers.h"

#include <stddef.h>
#include <stdio.h>

#include "base/num.h"
#include "base/timefmt.h"

#define META_PREFIX "x-amz-meta-"
#define META_PREFIX_LEN (sizeof(META_PREFIX) - 1)

struct known {
    const char *name; /* lower case */
    uint8_t len;
    uint16_t off; /* of the slice in struct s3_head */
};
#define KNOWN(name, field)                                                                         \
    {                                                                                              \
        name, sizeof(name) - 1, offsetof(struct s3_head, field)                                    \
    }
static const struct known KNOWN_HEADERS[] = {
    KNOWN("host", host),
    KNOWN("origin", origin),
    KNOWN("sec-fetch-site", sec_fetch_site),
    KNOWN("content-type", content_type),
    KNOWN("content-encoding", content_encoding),
    KNOWN("content-disposition", content_disposition),
    KNOWN("content-language", content_language),
    KNOWN("cache-control", cache_control),
    KNOWN("expires", expires),
    KNOWN("range", range),
    KNOWN("if-range", if_range),
    KNOWN("if-match", if_match),
    KNOWN("if-none-match", if_none_match),
    KNOWN("if-modified-since", if_modified_since),
    KNOWN("if-unmodified-since", if_unmodified_since),
    KNOWN("content-md5", content_md5),
    KNOWN("x-amz-content-sha256", content_sha256),
    KNOWN("x-amz-decoded-content-length", decoded_length),
    KNOWN("x-amz-trailer", trailer),
    KNOWN("x-amz-checksum-mode", checksum_mode),
    KNOWN("x-amz-checksum-algorithm", checksum_algorithm),
    KNOWN("x-amz-checksum-type", checksum_type),
    KNOWN("x-amz-mp-object-size", mp_object_size),
    KNOWN("x-amz-acl", acl),
    KNOWN("x-amz-bucket-object-lock-enabled", bucket_lock),
    KNOWN("x-amz-object-lock-legal-hold", legal_hold),
    KNOWN("x-amz-object-lock-mode", lock_mode),
    KNOWN("x-amz-object-lock-retain-until-date", lock_until),
    KNOWN("x-amz-tagging", tagging),
    KNOWN("x-amz-website-redirect-location", website_redirect),
    KNOWN("x-amz-write-offset-bytes", write_offset),
    KNOWN("x-amz-copy-source", copy_source),
    KNOWN("x-amz-copy-source-range", copy_source_range),
    KNOWN("x-amz-metadata-directive", metadata_directive),
    KNOWN("x-amz-copy-source-if-match", copy_if_match),
    KNOWN("x-amz-copy-source-if-none-match", copy_if_none_match),
    KNOWN("x-amz-copy-source-if-modified-since", copy_if_modified_since),
    KNOWN("x-amz-copy-source-if-unmodified-since", copy_if_unmodified_since),
};
#undef KNOWN

/* The system headers an object keeps. */
static const struct {
    const char *name;
    uint16_t off;
} SYS_HEADERS[] = {
    {"Content-Type", offsetof(struct s3_head, content_type)},
    {"Content-Encoding", offsetof(struct s3_head, content_encoding)},
    {"Content-Disposition", offsetof(struct s3_head, content_disposition)},
    {"Content-Language", offsetof(struct s3_head, content_language)},
    {"Cache-Control", offsetof(struct s3_head, cache_control)},
    {"Expires", offsetof(struct s3_head, expires)},
    {"X-Amz-Website-Redirect-Location", offsetof(struct s3_head, website_redirect)},
};
#define N_SYS_HEADERS (sizeof(SYS_HEADERS) / sizeof(SYS_HEADERS[0]))

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static uint8_t upper(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c;
}

bool s3_has_prefix_nocase(struct slice s, const char *prefix)
{
    size_t i = 0;

    while (prefix[i] != '\0' && i < s.len && lower(s.ptr[i]) == lower((uint8_t)prefix[i])) {
        i++;
    }
    return prefix[i] == '\0';
}

bool s3_eq_nocase(struct slice a, const char *b)
{
    return a.len == strlen(b) && s3_has_prefix_nocase(a, b);
}

bool s3_is_meta_name(struct slice name)
{
    return name.len > META_PREFIX_LEN && s3_has_prefix_nocase(name, META_PREFIX);
}

bool s3_is_sys_name(struct slice name)
{
    for (size_t i = 0; i < N_SYS_HEADERS; i++) {
        if (slice_eq_str(name, SYS_HEADERS[i].name)) {
            return true;
        }
    }
    return false;
}

void s3_head_parse(const struct http_request *req, struct s3_head *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct http_header *h = &req->headers[i];
        for (size_t k = 0; k < sizeof(KNOWN_HEADERS) / sizeof(KNOWN_HEADERS[0]); k++) {
            const struct known *known = &KNOWN_HEADERS[k];
            if (h->name.len == known->len && s3_has_prefix_nocase(h->name, known->name)) {
                struct slice *field = (struct slice *)((char *)ret + known->off);
                if (field->ptr == NULL) {
                    *field = h->value.ptr != NULL ? h->value : SLICE_LIT("");
                }
                ret->n_host += field == &ret->host;
                break;
            }
        }
        ret->n_meta += s3_is_meta_name(h->name);
        if (s3_has_prefix_nocase(h->name, "x-amz-if-match-")) {
            ret->other_condition = h->value.ptr != NULL ? h->value : SLICE_LIT("");
        }
        if (s3_has_prefix_nocase(h->name, "x-amz-server-side-encryption") ||
            s3_has_prefix_nocase(h->name, "x-amz-copy-source-server-side-encryption")) {
            ret->encryption = h->value.ptr != NULL ? h->value : SLICE_LIT("");
        }
    }
}

enum s3_code s3_head_refused(const struct s3_head *h, const char **ret_message)
{
    if (h->encryption.ptr != NULL) {
        *ret_message = "This server does not encrypt what it stores.";
        return S3_NOT_IMPLEMENTED;
    }
    if (h->lock_mode.ptr != NULL || h->lock_until.ptr != NULL ||
        slice_eq_str(h->legal_hold, "ON") || s3_eq_nocase(h->bucket_lock, "true")) {
        *ret_message = "Object Lock is not offered here.";
        return S3_NOT_IMPLEMENTED;
    }
    if (h->tagging.len > 0) {
        *ret_message = "Tags are not kept here.";
        return S3_NOT_IMPLEMENTED;
    }
    return h->write_offset.ptr != NULL ? S3_NOT_IMPLEMENTED : S3_N_CODES;
}

static bool is_token_byte(uint8_t c)
{
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

struct slice s3_canonical_name(struct slice name, struct arena *arena)
{
    uint8_t *out = arena_alloc(arena, name.len + 1);
    bool first = true;

    if (out == NULL) {
        return slice_of(NULL, 0);
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!is_token_byte(name.ptr[i])) {
            memcpy(out, name.ptr, name.len);
            break;
        }
        out[i] = first ? upper(name.ptr[i]) : lower(name.ptr[i]);
        first = name.ptr[i] == '-';
    }
    return slice_of(out, name.len);
}

struct slice s3_lower_name(struct slice name, struct arena *arena)
{
    uint8_t *out = arena_alloc(arena, name.len + 1);

    for (size_t i = 0; out != NULL && i < name.len; i++) {
        out[i] = lower(name.ptr[i]);
    }
    return slice_of(out, out != NULL ? name.len : 0);
}

/* Appends ",value" to an attribute that is there already. */
static int join_value(struct attr *a, struct slice value, struct arena *arena)
{
    uint8_t *out = arena_alloc(arena, a->value.len + 1 + value.len);

    if (out == NULL) {
        return ZERR_NOMEM;
    }
    if (a->value.len > 0) {
        memcpy(out, a->value.ptr, a->value.len);
    }
    out[a->value.len] = ',';
    if (value.len > 0) {
        memcpy(out + a->value.len + 1, value.ptr, value.len);
    }
    a->value = slice_of(out, a->value.len + 1 + value.len);
    return 0;
}

int s3_meta_from_headers(const struct http_request *req, const struct s3_head *head,
                         struct attrs *ret)
{
    struct attr *v;
    size_t n = 0, bytes = 0;

    if (head->n_meta == 0) {
        *ret = (struct attrs){0};
        return 0;
    }
    if (head->n_meta > RECORD_MAX_ATTRS) {
        return ZERR_TOO_LARGE;
    }
    v = arena_alloc(req->arena, head->n_meta * sizeof(*v));
    if (v == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct http_header *h = &req->headers[i];
        struct slice name;
        size_t at = 0;
        if (!s3_is_meta_name(h->name)) {
            continue;
        }
        bytes += h->name.len - META_PREFIX_LEN + h->value.len;
        if (bytes > S3_META_MAX_BYTES) {
            return ZERR_TOO_LARGE;
        }
        name = s3_canonical_name(h->name, req->arena);
        if (name.ptr == NULL) {
            return ZERR_NOMEM;
        }
        while (at < n && !slice_eq(v[at].name, name)) {
            at++;
        }
        if (at == n) {
            v[n++] = (struct attr){.name = name, .value = h->value};
        } else if (join_value(&v[at], h->value, req->arena) != 0) {
            return ZERR_NOMEM;
        }
    }
    *ret = (struct attrs){.v = v, .n = n};
    return 0;
}

bool s3_header_value_ok(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((s.ptr[i] < ' ' && s.ptr[i] != '\t') || s.ptr[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s = slice_of(s.ptr + 1, s.len - 1);
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

bool s3_next_item(struct slice *rest, struct slice *ret)
{
    const uint8_t *comma;

    if (rest->ptr == NULL) {
        return false;
    }
    comma = rest->len > 0 ? memchr(rest->ptr, ',', rest->len) : NULL;
    if (comma == NULL) {
        *ret = trim(*rest);
        *rest = slice_of(NULL, 0);
    } else {
        size_t n = (size_t)(comma - rest->ptr);
        *ret = trim(slice_of(rest->ptr, n));
        *rest = slice_of(comma + 1, rest->len - n - 1);
    }
    return true;
}

/* Content-Encoding without aws-chunked: "aws-chunked, gzip" is "gzip". */
static int strip_aws_chunked(struct slice list, struct arena *arena, struct slice *ret)
{
    uint8_t *out = arena_alloc(arena, 2 * list.len + 1);
    struct slice item;
    size_t n = 0;

    if (out == NULL) {
        return ZERR_NOMEM;
    }
    while (s3_next_item(&list, &item)) {
        if (item.len == 0 || s3_eq_nocase(item, "aws-chunked")) {
            continue;
        }
        if (n > 0) {
            out[n++] = ',';
        }
        memcpy(out + n, item.ptr, item.len);
        n += item.len;
    }
    *ret = slice_of(out, n);
    return 0;
}

/* True if `word` is an item of the list. */
static bool list_has(struct slice list, const char *word)
{
    struct slice item;

    while (s3_next_item(&list, &item)) {
        if (s3_eq_nocase(item, word)) {
            return true;
        }
    }
    return false;
}

int s3_sys_from_headers(const struct http_request *req, const struct s3_head *head,
                        struct attrs *ret)
{
    struct attr *v = arena_alloc(req->arena, N_SYS_HEADERS * sizeof(*v));
    size_t n = 0;

    if (v == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < N_SYS_HEADERS; i++) {
        struct slice value = *(const struct slice *)((const char *)head + SYS_HEADERS[i].off);
        if (SYS_HEADERS[i].off == offsetof(struct s3_head, content_encoding) &&
            list_has(value, "aws-chunked") && strip_aws_chunked(value, req->arena, &value) != 0) {
            return ZERR_NOMEM;
        }
        if (value.len > 0) {
            v[n++] = (struct attr){.name = slice_str(SYS_HEADERS[i].name), .value = value};
        }
    }
    *ret = (struct attrs){.v = v, .n = n};
    return 0;
}

struct slice s3_etag(const uint8_t md5[16], uint32_t parts, char out[S3_ETAG_MAX])
{
    size_t n = 33;

    out[0] = '"';
    hex_encode(md5, 16, out + 1);
    if (parts > 0) {
        n += (size_t)snprintf(out + n, S3_ETAG_MAX - n, "-%u", parts % (PART_MAX + 1));
    }
    out[n++] = '"';
    return slice_of(out, n);
}

/* An entity tag of a request: quoted or not, either case. */
static int parse_etag(struct slice tag, uint8_t ret[16], uint32_t *ret_parts)
{
    uint64_t parts = 0;

    if (tag.len >= 2 && tag.ptr[0] == 'W' && tag.ptr[1] == '/') {
        tag = slice_of(tag.ptr + 2, tag.len - 2);
    }
    if (tag.len >= 2 && tag.ptr[0] == '"' && tag.ptr[tag.len - 1] == '"') {
        tag = slice_of(tag.ptr + 1, tag.len - 2);
    }
    if (tag.len > 33 && tag.ptr[32] == '-') {
        if (num_parse_u64(slice_of(tag.ptr + 33, tag.len - 33), PART_MAX, &parts) != 0 ||
            parts == 0) {
            return ZERR_INVALID;
        }
        tag.len = 32;
    }
    *ret_parts = (uint32_t)parts;
    return hex_decode(tag, ret, 16);
}

bool s3_etag_listed(struct slice list, const struct object *obj)
{
    struct slice item;

    while (s3_next_item(&list, &item)) {
        uint8_t md5[16];
        uint32_t parts;
        if (slice_eq_str(item, "*")) {
            return true;
        }
        if (obj->has_md5 && parse_etag(item, md5, &parts) == 0 && parts == obj->parts &&
            memcmp(md5, obj->md5, 16) == 0) {
            return true;
        }
    }
    return false;
}

/* RFC 9110, 13.2.2: entity tags come before dates. A date that cannot be read is ignored. */
enum s3_verdict s3_judge(const struct s3_conditions *c, const struct object *obj)
{
    int64_t mtime_s = obj->mtime_ms / 1000, ms;

    if (c->match.ptr != NULL) {
        if (!s3_etag_listed(c->match, obj)) {
            return S3_FAILS;
        }
    } else if (c->unmodified_since.ptr != NULL && time_parse_http(c->unmodified_since, &ms) == 0 &&
               mtime_s > ms / 1000) {
        return S3_FAILS;
    }
    if (c->none_match.ptr != NULL) {
        return s3_etag_listed(c->none_match, obj) ? S3_UNCHANGED : S3_GO_ON;
    }
    if (c->modified_since.ptr != NULL && time_parse_http(c->modified_since, &ms) == 0 &&
        mtime_s <= ms / 1000) {
        return S3_UNCHANGED;
    }
    return S3_GO_ON;
}

int s3_change_condition(const struct s3_head *head, struct condition *ret)
{
    struct condition c = {0};

    if (head->if_modified_since.ptr != NULL || head->if_unmodified_since.ptr != NULL ||
        head->other_condition.ptr != NULL ||
        (head->if_none_match.ptr != NULL && head->if_match.ptr != NULL)) {
        return ZERR_UNSUPPORTED;
    }
    if (head->if_none_match.ptr != NULL) {
        if (!slice_eq_str(head->if_none_match, "*")) {
            return ZERR_UNSUPPORTED;
        }
        c.if_absent = true;
    }
    if (head->if_match.ptr != NULL) {
        if (slice_eq_str(head->if_match, "*")) {
            c.if_match_any = true;
        } else {
            c.if_match = true;
            if (parse_etag(head->if_match, c.md5, &c.parts) != 0) {
                c.parts = PART_MAX + 1; /* no object's: not found, or another one */
            }
        }
    }
    *ret = c;
    return 0;
}

struct s3_range s3_range_parse(struct slice header)
{
    const struct s3_range none = {.kind = S3_RANGE_NONE};
    struct s3_range r = none;
    struct slice from, to;
    const uint8_t *dash;

    if (!s3_has_prefix_nocase(header, "bytes=")) {
        return none;
    }
    header = trim(slice_of(header.ptr + 6, header.len - 6));
    dash = header.len > 0 ? memchr(header.ptr, '-', header.len) : NULL;
    if (dash == NULL) {
        return none;
    }
    from = slice_of(header.ptr, (size_t)(dash - header.ptr));
    to = slice_of(dash + 1, header.len - from.len - 1);
    if (from.len == 0) {
        r.kind = S3_RANGE_SUFFIX;
        return num_parse_u64(to, UINT64_MAX, &r.last) == 0 ? r : none;
    }
    if (num_parse_u64(from, UINT64_MAX, &r.first) != 0) {
        return none;
    }
    if (to.len == 0) {
        r.kind = S3_RANGE_FROM;
        return r;
    }
    if (num_parse_u64(to, UINT64_MAX, &r.last) != 0 || r.last < r.first) {
        return none;
    }
    r.kind = S3_RANGE_FROM_TO;
    return r;
}

int s3_range_resolve(struct s3_range r, uint64_t size, uint64_t *ret_off, uint64_t *ret_len)
{
    uint64_t off = r.first, end = size;

    if (r.kind == S3_RANGE_NONE) {
        *ret_off = 0;
        *ret_len = size;
        return 0;
    }
    if (r.kind == S3_RANGE_SUFFIX) {
        off = r.last < size ? size - r.last : 0;
    } else if (r.kind == S3_RANGE_FROM_TO && r.last < size) {
        end = r.last + 1;
    }
    if (off >= end) {
        return ZERR_INVALID;
    }
    *ret_off = off;
    *ret_len = end - off;
    return 0;
}
