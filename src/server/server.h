/* The running server: a store, the S3 layer over it, connections, signals, from start to stop.
 *
 * server_run() is all there is. It holds the process until the server has ended and tells the
 * person at the terminal, on standard error, everything there is to tell. Standard input is left
 * alone. Process-wide: SIGPIPE and SIGXFSZ are ignored, SIGINT, SIGTERM and SIGHUP are handled,
 * the descriptor limit is raised. */
#ifndef ZKV_SERVER_SERVER_H
#define ZKV_SERVER_SERVER_H

#include <stdint.h>

#include "store/store.h"

#define SERVER_ADDR_DEFAULT "127.0.0.1:7711"
#define SERVER_BUCKET_DEFAULT "bucket"

#define SERVER_AUTH_SKEW_DEFAULT 900
#define SERVER_AUTH_SKEW_MAX (10 * 366 * 86400) /* a clock that was never set */

#define SERVER_EXIT_FAILED 1 /* it could not start, or not everything could be written */
#define SERVER_EXIT_USAGE 2  /* an option's value cannot be used */

/* Borrowed until server_run() returns. */
struct server_config {
    const char *dir;
    const char *addr; /* HOST:PORT, port 0: the system chooses */
    const char *bucket;
    const char *auth_path; /* the credentials file; NULL: any program on this machine may ask */
    const char *tls_cert_path, *tls_key_path; /* both NULL: without TLS */
    uint64_t auth_skew_s;                     /* how far clocks may be apart, in seconds */
    const char *index_path;                   /* NULL: in dir */
    uint64_t block_size;
    uint64_t reserve; /* as store_config.reserve */
    enum store_sync sync;
    char *const *command; /* CMD ARG... of `-- CMD ARG...`, NULL-terminated; NULL: none */
};

/* Returns the code to exit with: 0 after an orderly stop, CMD's status where there is a CMD,
 * SERVER_EXIT_*. Blocks. */
int server_run(const struct server_config *);

#endif
