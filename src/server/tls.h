/* TLS on one connection: between the bytes that a network carries and those that the two ends mean.
 * It does no I/O of its own: it asks for bytes by a call-back, and leaves what is to be sent in a
 * buffer. What its states mean is said at the top of tls.c.
 *
 * Calling sequence: tls_create(); whenever the network has something, tls_notice(), then tls_read()
 * while tls_may_read(); tls_write(), tls_end() when tls_is_open(); tls_destroy(). After each of
 * read, write and end whatever is in tls_out() is to be sent, in this order, before anything else. */
#ifndef ZKV_SERVER_TLS_H
#define ZKV_SERVER_TLS_H

#include <stdbool.h>
#include <sys/types.h>

#include <openssl/types.h>

#include "base/buf.h"

struct tls;

/* As recv(2) that does not block: bytes, 0 at the end, or -errno, -EAGAIN for nothing. */
typedef ssize_t (*tls_recv_fn)(void *user, void *data, size_t cap);

enum tls_result {
    TLS_BYTES,   /* *ret_n of them, at least one */
    TLS_NOTHING, /* until the next tls_notice() */
    TLS_ENDED,   /* the client has said that nothing more comes */
    TLS_CUT,     /* nothing more comes, and the client has not said so */
    TLS_IS_HTTP, /* the first bytes are not TLS, but a request */
    TLS_FAILED,  /* tls_words() says why; tls_out() may have an alert */
};

/* Owns: a reference to the context.   Errors: ZERR_NOMEM. */
int tls_create(SSL_CTX *, tls_recv_fn, void *user, struct tls **ret) ZKV_MUST_CHECK;
void tls_destroy(struct tls *); /* NULL is fine */

/* The network may have something: recv is called again, a bounded number of times. */
void tls_notice(struct tls *);
/* tls_read() can say something new. */
bool tls_may_read(const struct tls *);
/* Goes on with the handshake, or reads. Whatever ends it is said again by each later call; nothing
 * but TLS_BYTES sets *ret_n. After TLS_CUT and TLS_ENDED it can still be written to. */
enum tls_result tls_read(struct tls *, uint8_t *data, size_t cap, size_t *ret_n);

/* data is copied.  Errors: ZERR_NOMEM, ZERR_IO: part of it may be in tls_out(), the connection
 * cannot be used any more. */
int tls_write(struct tls *, struct slice data) ZKV_MUST_CHECK;
/* Says that nothing more comes (close_notify). Does nothing a second time, or when it is not open. */
void tls_end(struct tls *);
/* May be emptied, or detached and set to {0}. */
struct buf *tls_out(struct tls *);

/* The handshake is done, and nothing has failed since. */
bool tls_is_open(const struct tls *);
/* Some of a handshake or a record has come, and not all of it or not all of it was read. */
bool tls_has_part(const struct tls *);
/* What has failed, for the log. Valid as long as tls. */
const char *tls_words(const struct tls *);

#endif
