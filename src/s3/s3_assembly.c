/* The checksum of an object in parts, see s3_assembly.h. */
#include "s3/s3_assembly.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crc.h"
#include "base/num.h"

#define ALGORITHM "X-Amz-Checksum-Algorithm"
#define TYPE "X-Amz-Checksum-Type"

/* ---- the agreement ---- */

static bool is_crc(enum s3_checksum kind)
{
    return kind == S3_CRC32 || kind == S3_CRC32C || kind == S3_CRC64NVME;
}

/* x-amz-checksum-type; false: there is none. ZERR_INVALID: it is no type. */
static int parse_type(struct slice text, bool *ret_set, bool *ret_whole)
{
    *ret_set = text.ptr != NULL;
    *ret_whole = s3_eq_nocase(text, "FULL_OBJECT");
    return !*ret_set || *ret_whole || s3_eq_nocase(text, "COMPOSITE") ? 0 : ZERR_INVALID;
}

int s3_agreement_from(const struct s3_head *h, struct s3_agreement *ret, const char **ret_message)
{
    struct s3_agreement a = {.kind = s3_checksum_of_name(h->checksum_algorithm)};
    bool has_type;

    if (parse_type(h->checksum_type, &has_type, &a.whole) != 0) {
        *ret_message = "x-amz-checksum-type is neither COMPOSITE nor FULL_OBJECT.";
        return ZERR_INVALID;
    }
    if (has_type && h->checksum_algorithm.ptr == NULL) {
        *ret_message = "The x-amz-checksum-type header can only be used with the "
                       "x-amz-checksum-algorithm header.";
        return ZERR_INVALID;
    }
    if (!has_type) {
        a.whole = a.kind == S3_CRC64NVME;
    } else if (a.kind != S3_CHECKSUMS && (a.whole ? !is_crc(a.kind) : a.kind == S3_CRC64NVME)) {
        *ret_message =
            "This x-amz-checksum-type cannot be used with this x-amz-checksum-algorithm.";
        return ZERR_INVALID;
    }
    *ret = a;
    return 0;
}

const char *s3_agreement_type(const struct s3_agreement *a)
{
    return a->whole ? "FULL_OBJECT" : "COMPOSITE";
}

int s3_agreement_keep(const struct s3_agreement *a, struct arena *arena, struct attrs *sys)
{
    struct attr *v;

    if (a->kind == S3_CHECKSUMS) {
        return 0;
    }
    v = arena_alloc(arena, (sys->n + 2) * sizeof(*v));
    if (v == NULL) {
        return ZERR_NOMEM;
    }
    if (sys->n > 0) {
        memcpy(v, sys->v, sys->n * sizeof(*v));
    }
    v[sys->n] = (struct attr){SLICE_LIT(ALGORITHM), slice_str(s3_checksum_name(a->kind))};
    v[sys->n + 1] = (struct attr){SLICE_LIT(TYPE), slice_str(s3_agreement_type(a))};
    *sys = (struct attrs){v, sys->n + 2};
    return 0;
}

struct s3_agreement s3_agreement_of(struct attrs sys)
{
    struct s3_agreement a = {.kind = S3_CHECKSUMS};

    for (size_t i = 0; i < sys.n; i++) {
        if (slice_eq_str(sys.v[i].name, ALGORITHM)) {
            a.kind = s3_checksum_of_name(sys.v[i].value);
        } else if (slice_eq_str(sys.v[i].name, TYPE)) {
            a.whole = slice_eq_str(sys.v[i].value, "FULL_OBJECT");
        }
    }
    return a;
}

/* ---- what the request says ---- */

static int take_head(struct s3_assembly *a, const struct http_request *req, const struct s3_head *h,
                     const char **ret_message)
{
    for (size_t i = 0; i < req->n_headers; i++) {
        enum s3_checksum kind = s3_checksum_of_header(req->headers[i].name);
        struct slice text = req->headers[i].value;

        if (kind == S3_CHECKSUMS) {
            continue;
        }
        if (a->kind != S3_CHECKSUMS || text.len >= sizeof(a->said)) {
            *ret_message = "There must be one x-amz-checksum-... header of the right length.";
            return ZERR_INVALID;
        }
        a->kind = kind;
        (void)snprintf(a->said, sizeof(a->said), "%.*s", SLICE_FMT(text));
    }
    if (parse_type(h->checksum_type, &a->has_type, &a->whole) != 0) {
        *ret_message = "x-amz-checksum-type is neither COMPOSITE nor FULL_OBJECT.";
        return ZERR_INVALID;
    }
    a->has_size = h->mp_object_size.ptr != NULL;
    if (a->has_size && num_parse_u64(h->mp_object_size, UINT64_MAX, &a->size) != 0) {
        *ret_message = "x-amz-mp-object-size is not a number.";
        return ZERR_INVALID;
    }
    return 0;
}

static int take_claim(struct s3_part_sum *p, const struct s3_claim *claim, const char **ret_message)
{
    p->kind = claim->kind;
    if (p->kind != S3_CHECKSUMS &&
        base64_decode(claim->text, p->value, s3_checksum_bytes(p->kind)) != 0) {
        *ret_message = "The checksum of a part is not base64 of the right length.";
        return ZERR_INVALID;
    }
    return 0;
}

int s3_assembly_create(const struct http_request *req, const struct s3_head *h,
                       const struct s3_complete_list *list, struct s3_assembly **ret,
                       const char **ret_message)
{
    struct s3_assembly *a = calloc(1, sizeof(*a) + list->n * sizeof(a->parts[0]));
    int err;

    if (a == NULL) {
        return ZERR_NOMEM;
    }
    a->kind = a->made.kind = S3_CHECKSUMS;
    a->code = S3_N_CODES;
    a->n = list->n;
    err = take_head(a, req, h, ret_message);
    for (size_t i = 0; i < a->n && err == 0; i++) {
        a->parts[i].kind = S3_CHECKSUMS;
        err = list->claims == NULL ? 0 : take_claim(&a->parts[i], &list->claims[i], ret_message);
    }
    if (err != 0) {
        free(a);
        return err;
    }
    *ret = a;
    return 0;
}

void s3_assembly_destroy(struct s3_assembly *a)
{
    free(a);
}

/* ---- in a worker ---- */

static int see_part(void *user, size_t at, uint64_t size, struct attrs sys)
{
    struct s3_assembly *a = user;
    struct s3_part_sum *p = &a->parts[at], has = {.size = size};
    struct slice text;

    has.kind = s3_checksum_among(sys, &text);
    if (has.kind != S3_CHECKSUMS &&
        base64_decode(text, has.value, s3_checksum_bytes(has.kind)) != 0) {
        has.kind = S3_CHECKSUMS;
    }
    if (p->kind != S3_CHECKSUMS &&
        (p->kind != has.kind || memcmp(p->value, has.value, s3_checksum_bytes(p->kind)) != 0)) {
        return ZERR_BAD_PART;
    }
    *p = has;
    return 0;
}

static int wrong(struct s3_assembly *a, enum s3_code code, const char *message)
{
    a->code = code;
    a->message = message;
    return ZERR_BAD_DIGEST;
}

static uint64_t crc_of(const struct s3_part_sum *p)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s3_checksum_bytes(p->kind); i++) {
        v = v << 8 | p->value[i];
    }
    return v;
}

static int add_up(const struct s3_assembly *a, struct s3_digest *d)
{
    static const enum crc_kind kinds[] = {
        [S3_CRC32] = CRC_32, [S3_CRC32C] = CRC_32C, [S3_CRC64NVME] = CRC_64NVME};

    for (size_t i = 0; i < a->n; i++) {
        const struct s3_part_sum *p = &a->parts[i];
        struct slice value = slice_of(p->value, s3_checksum_bytes(p->kind));

        if (a->made.whole) {
            d->crc = crc_combine(kinds[p->kind], d->crc, crc_of(p), p->size);
        } else if (s3_digest_update(d, value, NULL) != 0) {
            return ZERR_NOMEM;
        }
    }
    return s3_digest_finish(d);
}

/* made is what is to be made. */
static int make(struct s3_assembly *a)
{
    struct s3_digest *d;
    int err;

    for (size_t i = 0; i < a->n; i++) {
        if (a->parts[i].kind != a->made.kind) { /* of a part copied or sent without it */
            a->made.kind = S3_CHECKSUMS;
        }
    }
    if (a->made.kind == S3_CHECKSUMS) {
        return 0;
    }
    d = s3_digest_create();
    err = d == NULL ? ZERR_NOMEM : s3_digest_want_checksum(d, a->made.kind);
    if (err == 0) {
        err = add_up(a, d);
    }
    if (err == 0) {
        (void)snprintf(a->text, sizeof(a->text), a->made.whole ? "%s" : "%s-%zu", d->text, a->n);
    }
    s3_digest_unref(d);
    return err;
}

/* With or without the number of parts behind it. */
static bool is_as_said(const struct s3_assembly *a)
{
    size_t n = strcspn(a->text, "-");

    return strcmp(a->said, a->text) == 0 ||
           (strlen(a->said) == n && memcmp(a->said, a->text, n) == 0);
}

static int check_request(struct s3_assembly *a, uint64_t size, struct s3_agreement agreed)
{
    if (a->has_size && a->size != size) {
        return wrong(a, S3_INVALID_REQUEST,
                     "The x-amz-mp-object-size is not the size of all parts together.");
    }
    if (agreed.kind == S3_CHECKSUMS) {
        return 0;
    }
    if ((a->kind != S3_CHECKSUMS && a->kind != agreed.kind) ||
        (a->has_type && a->whole != agreed.whole)) {
        return wrong(a, S3_INVALID_REQUEST,
                     "The upload was begun with another checksum algorithm or type.");
    }
    return 0;
}

/* The upload's attributes without the agreement, with what came of it. */
static int change_attributes(const struct s3_assembly *a, struct attrs *sys, struct arena *arena)
{
    struct attr *v = arena_alloc(arena, (sys->n + 1) * sizeof(*v));
    size_t n = 0;

    if (v == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < sys->n; i++) {
        if (!slice_eq_str(sys->v[i].name, ALGORITHM) && !slice_eq_str(sys->v[i].name, TYPE)) {
            v[n++] = sys->v[i];
        }
    }
    if (a->made.kind != S3_CHECKSUMS) {
        v[n++] = (struct attr){slice_str(s3_checksum_header(a->made.kind)), slice_str(a->text)};
    }
    *sys = (struct attrs){v, n};
    return 0;
}

static int finish_parts(void *user, uint64_t size, struct attrs *sys, struct arena *arena)
{
    struct s3_assembly *a = user;
    struct s3_agreement agreed = s3_agreement_of(*sys);
    int err = check_request(a, size, agreed);

    a->made = agreed;
    if (agreed.kind == S3_CHECKSUMS) {
        a->made = (struct s3_agreement){a->kind, a->has_type ? a->whole && is_crc(a->kind)
                                                             : a->kind == S3_CRC64NVME};
    }
    if (err == 0) {
        err = make(a);
    }
    if (err == 0 && a->made.kind != S3_CHECKSUMS && a->kind != S3_CHECKSUMS && !is_as_said(a)) {
        err = wrong(a, S3_BAD_DIGEST, s3_checksum_wrong(a->kind));
    }
    return err == 0 ? change_attributes(a, sys, arena) : err;
}

const struct complete_ops S3_ASSEMBLY_OPS = {
    .part = see_part,
    .finish = finish_parts,
};
