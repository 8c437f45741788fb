/* The certificate and its key: two PEM files, and what OpenSSL makes of them.
 *
 * The files are looked at again at most each second, when somebody asks for the context; a pair
 * that has changed counts for connections that begin from then on, those that are there keep
 * theirs. A pair that cannot be used changes nothing, and the log says so, once for each change:
 * so whoever renews them may write one file after the other. The keys that session tickets are
 * encrypted with live as long as the pair.
 *
 * What the context allows: TLS 1.2 and 1.3 and the ciphers that OpenSSL's configuration on this
 * machine allows; no renegotiation, no compression, no early data, no cache of sessions (tickets
 * cost a server no memory); of application protocols http/1.1. */
#ifndef ZKV_SERVER_TLS_CERT_H
#define ZKV_SERVER_TLS_CERT_H

#include <openssl/types.h>

#include "base/zerr.h"

#define TLS_CERT_NAME_MAX 255

struct tls_cert;

/* Reads both files; blocks. cert: the certificate, then those between it and the CA. key: nobody
 * but its owner may have any right to it. The paths are borrowed until close; info names the file.
 * A certificate that is out of date is told in the log and used.
 * Errors: as small_file_read(); ZERR_INVALID: not PEM, or they do not belong together. */
int tls_cert_open(const char *cert_path, const char *key_path, struct tls_cert **ret,
                  struct zerr_info *) ZKV_MUST_CHECK;
void tls_cert_close(struct tls_cert *); /* NULL is fine */

/* The context for a new connection, valid until the next call. Blocks for as long as two small
 * files take, if they have changed. */
SSL_CTX *tls_cert_context(struct tls_cert *);

/* A host's name or address that the certificate is for, "" if it says none: TLS_CERT_NAME_MAX
 * bytes at most. Valid until the next tls_cert_context(). */
const char *tls_cert_name(const struct tls_cert *);

#endif
