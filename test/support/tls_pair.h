/* A certificate for localhost and 127.0.0.1, signed by itself, and its key, made on the spot, in two
 * files. */
#ifndef ZKV_TEST_TLS_PAIR_H
#define ZKV_TEST_TLS_PAIR_H

#include <stdbool.h>

struct tls_pair {
    char dir[100], cert[120], key[120];
};

enum tls_pair_kind { TLS_PAIR_GOOD, TLS_PAIR_EXPIRED, TLS_PAIR_FUTURE, TLS_PAIR_WEAK };

/* In a new folder; false: it cannot be done. */
bool tls_pair_create(struct tls_pair *);
/* Writes other files in place of those. */
bool tls_pair_renew(const struct tls_pair *, enum tls_pair_kind);
void tls_pair_remove(const struct tls_pair *);

#endif
