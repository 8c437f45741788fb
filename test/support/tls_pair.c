#include "support/tls_pair.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY 86400L

static X509 *make_cert(EVP_PKEY *key, enum tls_pair_kind kind)
{
    X509 *x = X509_new();
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *names =
        X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
    long begin = kind == TLS_PAIR_FUTURE ? 10 * DAY : -10 * DAY;
    long end = kind == TLS_PAIR_EXPIRED ? -DAY : 30 * DAY;
    bool ok = x != NULL && names != NULL && X509_set_version(x, X509_VERSION_3) == 1 &&
              ASN1_INTEGER_set(X509_get_serialNumber(x), (long)random() + 1) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(x), begin) != NULL &&
              X509_gmtime_adj(X509_getm_notAfter(x), end) != NULL && X509_set_pubkey(x, key) == 1 &&
              X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                         (const unsigned char *)"localhost", -1, -1, 0) == 1 &&
              X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
              X509_add_ext(x, names, -1) == 1 && X509_sign(x, key, EVP_sha256()) > 0;
    X509_EXTENSION_free(names);
    if (!ok) {
        X509_free(x);
        return NULL;
    }
    return x;
}

bool tls_pair_renew(const struct tls_pair *p, enum tls_pair_kind kind)
{
    EVP_PKEY *key = kind == TLS_PAIR_WEAK ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256");
    X509 *cert = key != NULL ? make_cert(key, kind) : NULL;
    FILE *f = fopen(p->cert, "w");
    bool ok = f != NULL && cert != NULL && PEM_write_X509(f, cert) == 1;
    ok = f != NULL && fclose(f) == 0 && ok;
    f = fopen(p->key, "w");
    ok = f != NULL && ok && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;
    ok = f != NULL && fclose(f) == 0 && ok;
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok && chmod(p->key, 0600) == 0;
}

bool tls_pair_create(struct tls_pair *p)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(p->dir, sizeof(p->dir), "%.60s/zkv-tls-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(p->dir) == NULL) {
        return false;
    }
    (void)snprintf(p->cert, sizeof(p->cert), "%s/cert.pem", p->dir);
    (void)snprintf(p->key, sizeof(p->key), "%s/key.pem", p->dir);
    return tls_pair_renew(p, TLS_PAIR_GOOD);
}

void tls_pair_remove(const struct tls_pair *p)
{
    (void)unlink(p->cert);
    (void)unlink(p->key);
    (void)rmdir(p->dir);
}
