/* The S3 protocol over a set of stores, each a bucket: what a request asks for, and its answer.
 *
 * It knows no sockets and no event loop: the transport hands it requests through
 * s3_handler() (http/http_msg.h says in which order), it answers through the request's
 * http_stream, and what takes time are calls of the store, whose call-backs come on the same
 * thread. It needs no timer and owns no thread.
 *
 * Calling sequence: s3_create -> requests* -> (stores stopped and destroyed) -> s3_destroy.
 * Every request must have had its done() before the stores are stopped; buffers of bodies that
 * a store still holds are given back (http_stream.unhold()) until it has stopped, also
 * after their request's done().
 *
 * Logging: each answer of 500 and more at warn, each kind at most once in 10 seconds. */
#ifndef ZKV_S3_S3_H
#define ZKV_S3_S3_H

#include <stdbool.h>

#include "http/http_msg.h"
#include "store/store_set.h"

struct s3_auth;

struct s3_config {
    struct store_set *stores; /* the buckets; outlives the last request */
    struct s3_auth *auth;     /* who may ask (s3_auth.h), outlives the s3; NULL: any program on this
                             machine */
    bool https;               /* what its clients' URLs begin with */
    unsigned slow_ms;         /* when answers begin that are not known yet; 0: S3_SLOW_MS */
};

struct s3;

/* ZERR_NOMEM. */
int s3_create(const struct s3_config *, struct s3 **ret) ZKV_MUST_CHECK;
/* After the store is destroyed. NULL is fine. */
void s3_destroy(struct s3 *);
/* Valid until s3_destroy(). */
struct http_handler *s3_handler(struct s3 *);

/* May home be called so? 1 to 63 characters, letters, digits, '.', '-' and '_', not beginning with
 * '.': more than S3 allows, because the original took any name. Other buckets: store_name_ok(). */
bool s3_bucket_name_ok(const char *name);

#endif
