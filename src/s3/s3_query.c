#include "s3/s3_query.h"

#include <stdlib.h>

#include "s3/s3_route.h"

static bool is_plain(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

struct slice s3_uri_encode(struct slice s, bool keep_slash, struct arena *arena)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t *out = arena_alloc(arena, 3 * s.len + 1);
    size_t n = 0;

    if (out == NULL) {
        return slice_of(NULL, 0);
    }
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if (is_plain(c) || (c == '/' && keep_slash)) {
            out[n++] = c;
        } else {
            out[n++] = '%';
            out[n++] = (uint8_t)digits[c >> 4];
            out[n++] = (uint8_t)digits[c & 15];
        }
    }
    return slice_of(out, n);
}

static int parse_item(struct slice item, struct arena *arena, struct s3_query_item *ret)
{
    const uint8_t *eq = memchr(item.ptr, '=', item.len);
    struct slice name = item, value = slice_of(NULL, 0);
    int err;

    if (eq != NULL) {
        name.len = (size_t)(eq - item.ptr);
        value = slice_of(eq + 1, item.len - name.len - 1);
    }
    err = s3_percent_decode(name, true, arena, &ret->name);
    if (err == 0) {
        err = s3_percent_decode(value, true, arena, &ret->value);
    }
    if (err != 0) {
        return err;
    }
    ret->e_name = s3_uri_encode(ret->name, false, arena);
    ret->e_value = s3_uri_encode(ret->value, false, arena);
    return ret->e_name.ptr != NULL && ret->e_value.ptr != NULL ? 0 : ZERR_NOMEM;
}

int s3_query_parse(struct slice query, struct arena *arena, struct s3_query *ret)
{
    struct s3_query q = {0};
    size_t max = query.len > 0;

    for (size_t i = 0; i < query.len; i++) {
        max += query.ptr[i] == '&';
    }
    if (max > S3_QUERY_MAX) {
        return ZERR_INVALID;
    }
    q.v = arena_alloc(arena, max * sizeof(*q.v) + 1);
    if (q.v == NULL) {
        return ZERR_NOMEM;
    }
    while (query.len > 0) {
        const uint8_t *amp = memchr(query.ptr, '&', query.len);
        size_t len = amp != NULL ? (size_t)(amp - query.ptr) : query.len;
        int err = len > 0 ? parse_item(slice_of(query.ptr, len), arena, &q.v[q.n]) : 0;

        if (err != 0) {
            return err;
        }
        q.n += len > 0;
        len += amp != NULL;
        query = slice_of(query.ptr + len, query.len - len);
    }
    *ret = q;
    return 0;
}

size_t s3_query_find(const struct s3_query *q, const char *name, struct slice *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < q->n; i++) {
        if (slice_eq_str(q->v[i].name, name) && n++ == 0) {
            *ret = q->v[i].value;
        }
    }
    return n;
}

static int compare(const void *a, const void *b)
{
    const struct s3_query_item *x = a, *y = b;
    int c = slice_cmp(x->e_name, y->e_name);

    return c != 0 ? c : slice_cmp(x->e_value, y->e_value);
}

void s3_query_sort(struct s3_query *q)
{
    qsort(q->v, q->n, sizeof(*q->v), compare);
}
