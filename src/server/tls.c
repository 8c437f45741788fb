/* The states of TLS on a connection.
 *
 *   HANDSHAKE --> OPEN --> CLOSING       and from each to the end: ENDED, CUT, IS_HTTP, FAILED
 *
 * HANDSHAKE  tls_read() drives it: it never returns bytes before it is done, and nothing can be
 *            written.
 * OPEN       both ways. The two ends are independent of each other.
 * CLOSING    tls_end() was called: close_notify is in `out` and nothing can be written behind it.
 *            What the client still sends can be read.
 * The reading side ends once, with a result that is kept (`end`). FAILED ends the writing side too;
 * after ENDED and CUT an answer can still go out, as on a plain connection of which the client has
 * closed its half.
 *
 * Who owns what: the peer owns the `struct tls`, that the SSL, and that the BIO, whose only purpose is
 * to call back here. Received bytes go from the socket right into OpenSSL's buffer, where a record is
 * decrypted in place, and from there into the read buffer that the handler gets to hold: one copy more
 * than without TLS. Records to be sent are collected in `out`, so that a head and a body, or the four
 * records of 64 KiB, are one system call: this is one copy, and a buffer that outlives OpenSSL's while a
 * slow client takes its time.
 *
 * Writing never has to wait for the socket (out takes everything; its owner bounds it by what he asks
 * to write), so that OpenSSL never says "want write": there is no half-written record that has to be
 * offered again with the same arguments, and no reading that has to wait for a write.
 *
 * OpenSSL gives its buffers back whenever they are empty, so a connection at rest has none. One with a
 * part of a record has one of 16.6 KiB; the deadline of heads counts for it (tls_has_part()).
 *
 * What breaks half-way: a record that was not received whole is never passed on; without
 * close_notify the end is CUT. To the layer above both ends are the same as the end of a plain
 * connection, since HTTP knows itself how long a body is: what is shorter was cut. Our own answers
 * end with close_notify only when they are complete. */
#include "server/tls.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define RECVS 4 /* at each notice: as much as a large read buffer takes */

struct tls {
    SSL *ssl;
    tls_recv_fn recv;
    void *user;
    struct buf out;
    enum tls_result end;    /* of the reading side; TLS_NOTHING: not yet */
    unsigned n_recvs;       /* still allowed */
    bool begun;             /* a byte has come */
    bool hungry;            /* without tls_notice() there is nothing to read */
    bool at_end, is_http;   /* as seen by the BIO */
    bool no_memory, closed; /* close_notify was written */
    int sys_errno;
    char words[120];
};

/* ---- the BIO ---- */

/* The end of the network is not told to OpenSSL, which would refuse to write then. */
static int on_bio_read(BIO *bio, char *data, int cap)
{
    struct tls *t = BIO_get_data(bio);
    BIO_set_retry_read(bio);
    if (t->n_recvs == 0) {
        return -1;
    }
    ssize_t n = t->recv(t->user, data, (size_t)cap);
    t->n_recvs = n == cap ? t->n_recvs - 1 : 0;
    if (n <= 0) {
        t->at_end = n == 0;
        t->sys_errno = n < 0 && n != -EAGAIN ? (int)-n : 0;
        return -1;
    }
    BIO_clear_retry_flags(bio);
    /* A record begins with a number below 0x20 (a hello of SSL 2 with 0x80), a method with a letter. */
    t->is_http = !t->begun && data[0] >= 'A' && data[0] <= 'Z';
    t->begun = true;
    return t->is_http ? -1 : (int)n;
}

static int on_bio_write(BIO *bio, const char *data, int len)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (buf_append(&t->out, data, (size_t)len) != 0) {
        t->no_memory = true;
        return -1;
    }
    return len;
}

static long on_bio_ctrl(BIO *bio, int cmd, long larg, void *parg)
{
    (void)bio, (void)larg, (void)parg;
    return cmd == BIO_CTRL_FLUSH; /* there is nothing to do */
}

/* One for the whole program; never freed. NULL: out of memory. */
static const BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *made;
    if (made == NULL) {
        BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "zipkv");
        if (m == NULL || BIO_meth_set_read(m, on_bio_read) != 1 ||
            BIO_meth_set_write(m, on_bio_write) != 1 || BIO_meth_set_ctrl(m, on_bio_ctrl) != 1) {
            BIO_meth_free(m);
            return NULL;
        }
        made = m;
    }
    return made;
}

/* ---- life cycle ---- */

int tls_create(SSL_CTX *context, tls_recv_fn recv, void *user, struct tls **ret)
{
    const BIO_METHOD *method = bio_method();
    struct tls *t = calloc(1, sizeof *t);
    BIO *bio = t != NULL && method != NULL ? BIO_new(method) : NULL;
    if (bio != NULL) {
        t->ssl = SSL_new(context);
    }
    if (bio == NULL || t->ssl == NULL) {
        BIO_free(bio);
        free(t);
        ERR_clear_error();
        return ZERR_NOMEM;
    }
    t->recv = recv;
    t->user = user;
    t->end = TLS_NOTHING;
    t->hungry = true;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_accept_state(t->ssl);
    *ret = t;
    return 0;
}

void tls_destroy(struct tls *t)
{
    if (t != NULL) {
        SSL_free(t->ssl);
        buf_finish(&t->out);
        free(t);
    }
}

/* ---- reading ---- */

void tls_notice(struct tls *t)
{
    t->n_recvs = RECVS;
    t->hungry = false;
}

bool tls_may_read(const struct tls *t)
{
    return !t->hungry || t->end != TLS_NOTHING;
}

static enum tls_result fail(struct tls *t, const char *why)
{
    unsigned long e = ERR_peek_error();
    if (why == NULL) {
        why = e != 0 ? ERR_reason_error_string(e) : NULL;
    }
    (void)snprintf(t->words, sizeof t->words, "%s", why != NULL ? why : "unknown error");
    t->end = TLS_FAILED;
    return t->end;
}

/* Why OpenSSL has not returned bytes. */
static enum tls_result judge(struct tls *t, int status)
{
    int error = SSL_get_error(t->ssl, status);
    if (t->is_http) {
        t->end = TLS_IS_HTTP;
    } else if (t->no_memory) {
        (void)fail(t, zerr_str(ZERR_NOMEM));
    } else if (error == SSL_ERROR_ZERO_RETURN) {
        t->end = TLS_ENDED;
    } else if (error != SSL_ERROR_WANT_READ) {
        (void)fail(t, NULL);
    } else if (t->sys_errno != 0) {
        (void)fail(t, strerror(t->sys_errno));
    } else if (t->at_end) {
        t->end = TLS_CUT;
    }
    t->hungry = true;
    return t->end;
}

enum tls_result tls_read(struct tls *t, uint8_t *data, size_t cap, size_t *ret_n)
{
    size_t total = 0, n;
    int status = 1;
    if (t->end != TLS_NOTHING) {
        return t->end;
    }
    ERR_clear_error();
    while (total < cap && (status = SSL_read_ex(t->ssl, data + total, cap - total, &n)) == 1) {
        total += n;
    }
    enum tls_result why = status == 1 ? TLS_NOTHING : judge(t, status);
    ERR_clear_error();
    if (total == 0) {
        return why;
    }
    *ret_n = total;
    return TLS_BYTES;
}

/* ---- writing ---- */

int tls_write(struct tls *t, struct slice data)
{
    /* Of each record 5 bytes before, 16 or 24 behind; the rest is for what is not the usual. */
    size_t room = data.len + (data.len / SSL3_RT_MAX_PLAIN_LENGTH + 1) * 64, n;
    assert(tls_is_open(t) && !t->closed);
    if (data.len == 0) {
        return 0;
    }
    if (buf_reserve(&t->out, room) != 0) {
        (void)fail(t, zerr_str(ZERR_NOMEM));
        return ZERR_NOMEM;
    }
    ERR_clear_error();
    if (SSL_write_ex(t->ssl, data.ptr, data.len, &n) != 1) {
        bool no_memory = t->no_memory || ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE;
        (void)fail(t, NULL);
        ERR_clear_error();
        return no_memory ? ZERR_NOMEM : ZERR_IO;
    }
    return 0;
}

void tls_end(struct tls *t)
{
    if (tls_is_open(t) && !t->closed) {
        t->closed = true;
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
}

struct buf *tls_out(struct tls *t)
{
    return &t->out;
}

/* ---- what it is like ---- */

bool tls_is_open(const struct tls *t)
{
    return t->end != TLS_FAILED && t->end != TLS_IS_HTTP && SSL_is_init_finished(t->ssl) == 1;
}

bool tls_has_part(const struct tls *t)
{
    return t->begun && (SSL_is_init_finished(t->ssl) != 1 || SSL_has_pending(t->ssl) == 1);
}

const char *tls_words(const struct tls *t)
{
    return t->words;
}
