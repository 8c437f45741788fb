/* From two files to a context for connections, see tls_cert.h. */
#include "server/tls_cert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/log.h"
#include "base/small_file.h"
#include "base/timefmt.h"

struct tls_cert {
    const char *cert_path, *key_path;
    struct small_file_stamp cert_stamp, key_stamp;
    int64_t looked_ms;
    SSL_CTX *context;
    char name[TLS_CERT_NAME_MAX + 1];
};

/* A pair that is being looked at. */
struct pair {
    const char *cert_path, *key_path;
    X509 *cert;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    struct zerr_info *info;
};

/* ---- what is wrong ---- */

/* Of the newest error that OpenSSL has noted. */
static int refused(struct zerr_info *info, const char *option, const char *path, const char *what)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e != 0 ? ERR_reason_error_string(e) : NULL;
    bool no_memory = e != 0 && ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
    ERR_clear_error();
    if (no_memory) {
        return ZERR_NOMEM;
    }
    return zerr_fail(info, ZERR_INVALID, 0, "%s %s: %s%s%s", option, path, what,
                     reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

static void tell_time(const char *path, const char *what, const ASN1_TIME *t)
{
    char text[TIME_ISO_LEN + 1] = "?";
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) == 1) {
        time_iso((int64_t)timegm(&tm) * 1000, text);
    }
    log_warn("-tls-cert %s: the certificate %s %s, clients may refuse it", path, what, text);
}

static void check_dates(const struct pair *p)
{
    const ASN1_TIME *begins = X509_get0_notBefore(p->cert), *ends = X509_get0_notAfter(p->cert);
    if (X509_cmp_current_time(ends) < 0) {
        tell_time(p->cert_path, "has expired on", ends);
    } else if (X509_cmp_current_time(begins) > 0) {
        tell_time(p->cert_path, "is not valid before", begins);
    }
}

/* ---- reading ---- */

static int read_file(const char *option, const char *path, bool secret, char **ret, size_t *ret_len,
                     struct zerr_info *info)
{
    struct zerr_info why = {0};
    int err = small_file_read(path, secret, ret, ret_len, &why);
    return err == 0 ? 0 : zerr_fail(info, err, 0, "%s %s: %s", option, path, zerr_text(&why, err));
}

/* Nobody is asked for anything. */
static int no_passphrase(char *buf, int size, int rwflag, void *user)
{
    bool *asked = user;
    (void)buf, (void)size, (void)rwflag;
    *asked = true;
    return -1;
}

static int parse_certs(struct pair *p, BIO *bio)
{
    p->chain = sk_X509_new_null();
    p->cert = p->chain != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (p->cert == NULL) {
        return refused(p->info, "-tls-cert", p->cert_path, "there is no certificate in PEM form");
    }
    for (;;) {
        X509 *next = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (next == NULL) {
            break;
        }
        if (sk_X509_push(p->chain, next) <= 0) {
            X509_free(next);
            return refused(p->info, "-tls-cert", p->cert_path, "it cannot be used");
        }
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        return refused(p->info, "-tls-cert", p->cert_path, "a further certificate is broken");
    }
    ERR_clear_error(); /* the end */
    return 0;
}

static int read_certs(struct pair *p)
{
    char *text;
    size_t len;
    int err = read_file("-tls-cert", p->cert_path, false, &text, &len, p->info);
    if (err != 0) {
        return err;
    }
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    err = bio != NULL ? parse_certs(p, bio) : ZERR_NOMEM;
    BIO_free(bio);
    free(text);
    return err;
}

static int read_key(struct pair *p)
{
    char *text;
    size_t len;
    bool asked = false;
    int err = read_file("-tls-key", p->key_path, true, &text, &len, p->info);
    if (err != 0) {
        return err;
    }
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    p->key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked) : NULL;
    if (bio == NULL) {
        err = ZERR_NOMEM;
    } else if (p->key == NULL) {
        err = refused(p->info, "-tls-key", p->key_path,
                      asked ? "it has a passphrase; remove it with openssl pkey"
                            : "there is no private key in PEM form");
    }
    BIO_free(bio);
    explicit_bzero(text, len);
    free(text);
    return err;
}

/* ---- the context ---- */

static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                   const unsigned char *offered, unsigned int len, void *user)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl, (void)user;
    if (SSL_select_next_proto(&chosen, ret_len, ours, sizeof ours - 1, offered, len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_context(void)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    if (c == NULL || SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1) {
        SSL_CTX_free(c);
        return NULL;
    }
    (void)SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(c, 1);
    SSL_CTX_set_alpn_select_cb(c, on_alpn, NULL);
    return c;
}

static int make_context(const struct pair *p, SSL_CTX **ret)
{
    SSL_CTX *c = new_context();
    int err = 0;
    if (c == NULL) {
        err = refused(p->info, "-tls-cert", p->cert_path, "OpenSSL cannot be used");
    } else if (SSL_CTX_use_certificate(c, p->cert) != 1 || SSL_CTX_set1_chain(c, p->chain) != 1) {
        err = refused(p->info, "-tls-cert", p->cert_path, "OpenSSL refuses the certificate");
    } else if (X509_check_private_key(p->cert, p->key) != 1) {
        ERR_clear_error();
        err = zerr_fail(p->info, ZERR_INVALID, 0,
                        "-tls-key %s: this is not the key of the certificate in %s", p->key_path,
                        p->cert_path);
    } else if (SSL_CTX_use_PrivateKey(c, p->key) != 1) {
        err = refused(p->info, "-tls-key", p->key_path, "OpenSSL refuses the key");
    }
    if (err != 0) {
        SSL_CTX_free(c);
        return err;
    }
    *ret = c;
    return 0;
}

/* ---- names ---- */

static bool is_plain_name(const unsigned char *s, int len)
{
    bool ok = len > 0 && len <= TLS_CERT_NAME_MAX;
    for (int i = 0; ok && i < len; i++) {
        ok = isalnum(s[i]) || s[i] == '.' || s[i] == '-';
    }
    return ok;
}

/* The first name, or else the first IPv4 address. */
static void find_name(X509 *cert, char ret[TLS_CERT_NAME_MAX + 1])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    ret[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        const ASN1_STRING *s = n->type == GEN_DNS     ? n->d.dNSName
                               : n->type == GEN_IPADD ? n->d.iPAddress
                                                      : NULL;
        int len = s != NULL ? ASN1_STRING_length(s) : 0;
        const unsigned char *data = s != NULL ? ASN1_STRING_get0_data(s) : NULL;
        if (n->type == GEN_DNS && is_plain_name(data, len)) {
            (void)snprintf(ret, TLS_CERT_NAME_MAX + 1, "%.*s", len, (const char *)data);
            break;
        }
        if (n->type == GEN_IPADD && len == 4 && ret[0] == '\0') {
            (void)inet_ntop(AF_INET, data, ret, TLS_CERT_NAME_MAX);
        }
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
}

/* ---- the pair in use ---- */

/* The one in use stays if this fails. */
static int load(struct tls_cert *c, struct zerr_info *info)
{
    struct pair p = {.cert_path = c->cert_path, .key_path = c->key_path, .info = info};
    SSL_CTX *context = NULL;
    ERR_clear_error();
    int err = read_certs(&p);
    if (err == 0) {
        err = read_key(&p);
    }
    if (err == 0) {
        err = make_context(&p, &context);
    }
    if (err == 0) {
        check_dates(&p);
        SSL_CTX_free(c->context);
        c->context = context;
        find_name(p.cert, c->name);
    }
    X509_free(p.cert);
    sk_X509_pop_free(p.chain, X509_free);
    EVP_PKEY_free(p.key);
    ERR_clear_error();
    return err;
}

static bool changed(struct tls_cert *c)
{
    bool cert = small_file_changed(c->cert_path, &c->cert_stamp);
    bool key = small_file_changed(c->key_path, &c->key_stamp);
    return cert || key;
}

int tls_cert_open(const char *cert_path, const char *key_path, struct tls_cert **ret,
                  struct zerr_info *info)
{
    struct tls_cert *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return ZERR_NOMEM;
    }
    c->cert_path = cert_path;
    c->key_path = key_path;
    (void)small_file_due(&c->looked_ms);
    (void)changed(c); /* before: what comes later is a change */
    int err = load(c, info);
    if (err != 0) {
        tls_cert_close(c);
        return err;
    }
    *ret = c;
    return 0;
}

void tls_cert_close(struct tls_cert *c)
{
    if (c != NULL) {
        SSL_CTX_free(c->context);
        free(c);
    }
}

SSL_CTX *tls_cert_context(struct tls_cert *c)
{
    struct zerr_info info = {0};
    if (small_file_due(&c->looked_ms) && changed(c)) {
        int err = load(c, &info);
        if (err != 0) {
            log_warn("the certificate or its key has changed and cannot be used, those known "
                     "before stay: %s",
                     zerr_text(&info, err));
        } else {
            log_info("-tls-cert %s or its key has changed: used from now on", c->cert_path);
        }
    }
    return c->context;
}

const char *tls_cert_name(const struct tls_cert *c)
{
    return c->name;
}
