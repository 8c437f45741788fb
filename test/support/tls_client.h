/* With RIG_TLS: the clients of peer_rig.h speak TLS. Their sockets are as before, and what the tests
 * call on them is renamed to what does the same through TLS. The end of a connection that was not
 * announced is an error (ECONNABORTED), as it must be for a client. */
#ifndef ZKV_TEST_TLS_CLIENT_H
#define ZKV_TEST_TLS_CLIENT_H

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/tls_cert.h"
#include "support/tls_pair.h"

#define TLS_CLIENTS 1024
static SSL *tls_clients[TLS_CLIENTS]; /* by descriptor */
static SSL_CTX *tls_client_context;
static struct tls_pair tls_files;
static struct tls_cert *tls_served;

static inline bool tls_client_prepare(void)
{
    struct zerr_info info = {0};
    if (!tls_pair_create(&tls_files) ||
        tls_cert_open(tls_files.cert, tls_files.key, &tls_served, &info) != 0) {
        return false;
    }
    tls_client_context = SSL_CTX_new(TLS_client_method());
    if (tls_client_context == NULL ||
        SSL_CTX_load_verify_file(tls_client_context, tls_files.cert) != 1) {
        return false;
    }
    SSL_CTX_set_verify(tls_client_context, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_mode(tls_client_context,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return true;
}

static inline void tls_client_finish(void)
{
    SSL_CTX_free(tls_client_context);
    tls_cert_close(tls_served);
    tls_pair_remove(&tls_files);
}

static inline ssize_t tls_client_result(int fd, int status, size_t n)
{
    int error = SSL_get_error(tls_clients[fd], status), sys = errno;
    bool cut = ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    ERR_clear_error();
    if (status == 1) {
        return (ssize_t)n;
    }
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN
            : error == SSL_ERROR_SYSCALL                                  ? sys
            : cut                                                         ? ECONNABORTED
                                                                          : EPROTO;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* One step of the handshake: 1 done, -1 with errno EAGAIN: not yet, or it fails. */
static inline int tls_client_connect(int fd)
{
    if (tls_clients[fd] == NULL) {
        tls_clients[fd] = SSL_new(tls_client_context);
        if (tls_clients[fd] == NULL || SSL_set_fd(tls_clients[fd], fd) != 1) {
            errno = ENOMEM;
            return -1;
        }
    }
    ERR_clear_error();
    int status = SSL_connect(tls_clients[fd]);
    return (int)tls_client_result(fd, status, 1);
}

static inline ssize_t tls_client_send(int fd, const void *data, size_t len, int flags)
{
    size_t n = 0;
    (void)flags;
    ERR_clear_error();
    int status = SSL_write_ex(tls_clients[fd], data, len, &n);
    return tls_client_result(fd, status, n);
}

static inline ssize_t tls_client_recv(int fd, void *data, size_t len, int flags)
{
    size_t n = 0;
    (void)flags;
    if (SSL_is_init_finished(tls_clients[fd]) != 1) { /* it was closed before */
        return recv(fd, data, len, 0);
    }
    ERR_clear_error();
    int status = SSL_read_ex(tls_clients[fd], data, len, &n);
    return tls_client_result(fd, status, n);
}

static inline int tls_client_shutdown(int fd, int how)
{
    (void)SSL_shutdown(tls_clients[fd]);
    ERR_clear_error();
    return shutdown(fd, how);
}

static inline int tls_client_close(int fd)
{
    SSL_free(tls_clients[fd]);
    tls_clients[fd] = NULL;
    return close(fd);
}

#define send(fd, data, len, flags) tls_client_send(fd, data, len, flags)
#define recv(fd, data, len, flags) tls_client_recv(fd, data, len, flags)
#define shutdown(fd, how) tls_client_shutdown(fd, how)
#define close(fd) tls_client_close(fd)

#endif
