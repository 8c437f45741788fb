/* TLS when there is no memory: each allocation, ours and OpenSSL's, from reading the certificate to the
 * end of a connection, fails once and from then on. Whatever happens, the bytes that arrive are those
 * that were sent, or fewer; nothing of ours leaks; and the next connection works. A certificate that
 * cannot be read anew for want of memory leaves the old one in use.
 *
 * The client is in the same process, so its allocations fail too; that is one more way to break off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/small_file.h"
#include "server/tls.h"
#include "server/tls_cert.h"
#include "support/fault_points.h"
#include "support/oom.h"
#include "support/tls_pair.h"

#define UP 40000
#define DOWN 100000

static struct tls_pair files;
static uint8_t pattern[DOWN], got[DOWN + 1];
static uint64_t n_runs, n_points;

/* ---- a conversation ---- */

struct talk {
    struct tls *server;
    SSL_CTX *context;
    SSL *client;
    bool broken; /* nothing more will come of it */
    size_t n_up, n_down;
};

static ssize_t from_client(void *user, void *data, size_t cap)
{
    struct talk *t = user;
    int n = BIO_read(SSL_get_wbio(t->client), data, (int)cap);
    return n > 0 ? n : -EAGAIN;
}

/* Makes what it takes of both ends. */
static bool begin(struct talk *t, struct tls_cert *cert)
{
    *t = (struct talk){.context = SSL_CTX_new(TLS_client_method())};
    t->client = t->context != NULL ? SSL_new(t->context) : NULL;
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (t->client == NULL || in == NULL || out == NULL) {
        BIO_free(in);
        BIO_free(out);
        return false;
    }
    SSL_set_bio(t->client, in, out);
    SSL_set_connect_state(t->client);
    return tls_create(tls_cert_context(cert), from_client, t, &t->server) == 0;
}

static void end(struct talk *t)
{
    tls_destroy(t->server);
    SSL_free(t->client);
    SSL_CTX_free(t->context);
    ERR_clear_error();
}

static void deliver(struct talk *t)
{
    struct buf *out = tls_out(t->server);
    if (out->len > 0 && BIO_write(SSL_get_rbio(t->client), out->ptr, (int)out->len) <= 0) {
        t->broken = true;
    }
    buf_reset(out);
}

static void read_server(struct talk *t)
{
    size_t n = 0;
    enum tls_result result = TLS_BYTES;
    tls_notice(t->server);
    while (result == TLS_BYTES && t->n_up < sizeof got) {
        result = tls_read(t->server, got + t->n_up, sizeof got - t->n_up, &n);
        t->n_up += result == TLS_BYTES ? n : 0;
    }
    t->broken = t->broken || result == TLS_FAILED;
    assert_true(t->n_up <= UP);
    assert_memory_equal(got, pattern, t->n_up);
}

static void read_client(struct talk *t)
{
    size_t n;
    deliver(t);
    while (t->n_down < sizeof got && SSL_read_ex(t->client, got, sizeof got - t->n_down, &n) == 1) {
        assert_memory_equal(got, pattern + t->n_down, n);
        t->n_down += n;
    }
}

/* True: all of it went well. */
static bool talk(struct tls_cert *cert)
{
    struct talk t;
    size_t n;
    bool ok = begin(&t, cert);
    for (int i = 0; i < 4 && ok && !t.broken; i++) {
        (void)SSL_do_handshake(t.client);
        read_server(&t);
        deliver(&t);
    }
    ok = ok && !t.broken && tls_is_open(t.server) && SSL_is_init_finished(t.client);
    ok = ok && SSL_write_ex(t.client, pattern, UP, &n) == 1;
    if (ok) {
        read_server(&t);
        read_server(&t);
        ok =
            !t.broken && tls_is_open(t.server) && tls_write(t.server, slice_of(pattern, DOWN)) == 0;
    }
    if (ok) {
        tls_end(t.server);
        read_client(&t);
        ok =
            t.n_up == UP && t.n_down == DOWN && SSL_get_shutdown(t.client) == SSL_RECEIVED_SHUTDOWN;
    }
    end(&t);
    return ok;
}

/* ---- the sweep ---- */

static bool open_and_talk(void)
{
    struct tls_cert *cert = NULL;
    struct zerr_info info = {0};
    int err = tls_cert_open(files.cert, files.key, &cert, &info);
    bool ok = err == 0 && talk(cert);
    assert_true(err <= 0);
    tls_cert_close(cert);
    return ok;
}

static struct tls_cert *kept;

/* Reads the certificate anew, or tries to. */
static bool renew_and_talk(void)
{
    return tls_cert_context(kept) != NULL && talk(kept);
}

static void one_fault(bool (*work)(void), const struct fault_call *c, enum fault_times times)
{
    uint64_t live = oom_live();
    fault_arm(c->kind, c->nth, times, 1);
    (void)work();
    (void)fault_disarm(); /* signatures have no fixed length: the last calls may not be made */
    ERR_clear_error();
    if (oom_live() != live) {
        fail_msg("%s allocation %d: %d blocks leak", oom_kind_names[c->kind], (int)c->nth,
                 (int)(oom_live() - live));
    }
    n_runs++;
}

static void sweep(bool (*work)(void))
{
    const struct fault_call *calls;
    assert_true(work()); /* what is made once in a program's life */
    fault_record();
    assert_true(work());
    size_t n = fault_recorded(&calls);
    bool all = getenv("ROUNDS") != NULL;
    struct fault_call *list = calloc(n, sizeof *list);
    assert_non_null(list);
    memcpy(list, calls, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        if (all || list[i].chosen) {
            one_fault(work, &list[i], FAULT_ONCE);
            one_fault(work, &list[i], FAULT_FROM_THEN_ON);
            n_points++;
        }
    }
    free(list);
    assert_true(work());
}

static void a_connection_without_memory_breaks_and_the_next_one_does_not(void **state)
{
    (void)state;
    sweep(open_and_talk);
}

static void a_certificate_that_cannot_be_read_again_stays(void **state)
{
    struct zerr_info info = {0};
    const struct fault_call *calls;
    (void)state;
    assert_int_equal(tls_cert_open(files.cert, files.key, &kept, &info), 0);
    assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
    log_set_level(LOG_ERROR);
    fault_record();
    usleep((SMALL_FILE_LOOK_MS + 20) * 1000);
    assert_true(renew_and_talk());
    assert_true(fault_recorded(&calls) > 100);
    for (int i = 0; i < 3; i++) { /* the file, a certificate, something of the context */
        static const uint64_t nth[] = {1, 20, 200};
        SSL_CTX *before = tls_cert_context(kept);
        uint64_t live = oom_live();
        assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
        usleep((SMALL_FILE_LOOK_MS + 20) * 1000);
        fault_arm(FAULT_ANY, nth[i], FAULT_FROM_THEN_ON, 1);
        assert_ptr_equal(tls_cert_context(kept), before);
        assert_true(fault_disarm() > 0);
        ERR_clear_error();
        assert_int_equal(oom_live(), live);
        assert_true(talk(kept));
    }
    log_set_level(LOG_INFO);
    tls_cert_close(kept);
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < DOWN; i++) {
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    }
    return tls_pair_create(&files) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tls_pair_remove(&files);
    printf("%d runs, %d allocations\n", (int)n_runs, (int)n_points);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_without_memory_breaks_and_the_next_one_does_not),
        cmocka_unit_test(a_certificate_that_cannot_be_read_again_stays),
    };
    oom_init();
    return cmocka_run_group_tests(tests, setup, teardown);
}
