/* A request's query taken apart, and text as signatures spell it.
 *
 * Items are separated by '&', a name ends at the first '='; both are percent-decoded once, '+' is a
 * space. Items without a byte are left out. Everything lies in the caller's arena. */
#ifndef ZKV_S3_S3_QUERY_H
#define ZKV_S3_S3_QUERY_H

#include "base/buf.h"

#define S3_QUERY_MAX 500 /* items, the empty ones too */

struct s3_query_item {
    struct slice name, value;     /* decoded */
    struct slice e_name, e_value; /* encoded again: s3_uri_encode() */
};

struct s3_query {
    struct s3_query_item *v;
    size_t n;
};

/* query: what is behind the '?'. ZERR_INVALID: a '%' without two hex digits, a NUL byte,
 * or above S3_QUERY_MAX; ZERR_NOMEM. */
int s3_query_parse(struct slice query, struct arena *, struct s3_query *ret) ZKV_MUST_CHECK;
/* How many items have that name; *ret is the value of the first one. */
size_t s3_query_find(const struct s3_query *, const char *name, struct slice *ret);
/* By encoded name, then value: the order of a canonical request. */
void s3_query_sort(struct s3_query *);

/* Everything but A-Z a-z 0-9 - . _ ~ (and '/', where it may stay) becomes %XX, in capitals.
 * ptr NULL: out of memory. */
struct slice s3_uri_encode(struct slice, bool keep_slash, struct arena *) ZKV_MUST_CHECK;

#endif
