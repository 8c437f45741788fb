/* TLS on one connection, against OpenSSL's own client, both in memory: what the network does to the
 * bytes in between is up to the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "server/tls.h"
#include "server/tls_cert.h"
#include "support/tls_pair.h"

#define LARGE 200000
#define RECORD_HEAD 5

static struct tls_pair files;
static struct tls_cert *cert;
static uint8_t pattern[LARGE];

/* What the client has sent, and how the server gets to see it. */
static struct network {
    struct buf bytes;
    size_t off, step, upto; /* taken; at most at once; not beyond this */
    bool ends;              /* behind the last byte */
    int error;
    unsigned n_recvs;
} net;
static struct tls *server;
static SSL_CTX *client_context;
static SSL *client;
static SSL_SESSION *session; /* the newest ticket */

/* ---- the two ends ---- */

static ssize_t from_network(void *user, void *data, size_t cap)
{
    assert_ptr_equal(user, &net);
    size_t end = net.bytes.len < net.upto ? net.bytes.len : net.upto, n = end - net.off;
    net.n_recvs++;
    if (net.error != 0) {
        return -net.error;
    }
    if (n == 0) {
        return net.ends ? 0 : -EAGAIN;
    }
    n = n < net.step ? n : net.step;
    n = n < cap ? n : cap;
    memcpy(data, net.bytes.ptr + net.off, n);
    net.off += n;
    return (ssize_t)n;
}

static int on_session(SSL *ssl, SSL_SESSION *s)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = s;
    return 1;
}

static void begin(int version)
{
    net = (struct network){.step = SIZE_MAX, .upto = SIZE_MAX};
    assert_int_equal(tls_create(tls_cert_context(cert), from_network, &net, &server), 0);
    client_context = SSL_CTX_new(TLS_client_method());
    assert_non_null(client_context);
    assert_int_equal(SSL_CTX_set_min_proto_version(client_context, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(client_context, version), 1);
    (void)SSL_CTX_set_session_cache_mode(client_context,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client_context, on_session);
    client = SSL_new(client_context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    assert_true(client != NULL && in != NULL && out != NULL);
    SSL_set_bio(client, in, out);
    SSL_set_connect_state(client);
}

static void end(void)
{
    tls_destroy(server);
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN); /* else its session counts as broken */
    SSL_free(client);
    SSL_CTX_free(client_context);
    buf_finish(&net.bytes);
    assert_int_equal(ERR_peek_error(), 0);
}

/* What the client has written since goes into the network. */
static void post(void)
{
    char *data;
    long n = BIO_get_mem_data(SSL_get_wbio(client), &data);
    assert_int_equal(buf_append(&net.bytes, data, (size_t)n), 0);
    (void)BIO_reset(SSL_get_wbio(client));
}

static void deliver(void)
{
    struct buf *out = tls_out(server);
    if (out->len > 0) {
        assert_int_equal(BIO_write(SSL_get_rbio(client), out->ptr, (int)out->len), (int)out->len);
        buf_reset(out);
    }
}

/* All that is on its way is read; returns the last result and what came before it. */
static enum tls_result read_all(uint8_t *data, size_t cap, size_t *ret_n)
{
    enum tls_result result = TLS_NOTHING;
    *ret_n = 0;
    for (unsigned quiet = 0; quiet < 2;) {
        size_t before = net.off, n = 0;
        tls_notice(server);
        assert_true(tls_may_read(server));
        assert_true(*ret_n < cap);
        result = tls_read(server, data + *ret_n, cap - *ret_n, &n);
        *ret_n += result == TLS_BYTES ? n : 0;
        quiet = result == TLS_BYTES || net.off > before ? 0 : quiet + 1;
        if (result != TLS_BYTES && result != TLS_NOTHING) {
            break;
        }
    }
    return result;
}

static uint8_t got[LARGE + 1];
static size_t n_got;

static enum tls_result read_server(void)
{
    return read_all(got, sizeof got, &n_got);
}

static void shake_hands(void)
{
    for (int i = 0; i < 4; i++) {
        (void)SSL_do_handshake(client);
        ERR_clear_error();
        post();
        enum tls_result result = read_server();
        assert_int_equal(result, TLS_NOTHING);
        assert_int_equal(n_got, 0);
        deliver();
    }
    assert_true(SSL_is_init_finished(client));
    assert_true(tls_is_open(server));
    assert_false(tls_has_part(server));
}

static void say(const void *data, size_t len)
{
    size_t n;
    assert_int_equal(SSL_write_ex(client, data, len, &n), 1);
    assert_int_equal(n, len);
    post();
}

/* What the client reads is data, all of it. */
static void expect_heard(const uint8_t *data, size_t len)
{
    static uint8_t part[20000];
    size_t off = 0, n;
    deliver();
    while (off < len) {
        assert_int_equal(SSL_read_ex(client, part, sizeof part, &n), 1);
        assert_true(n <= len - off);
        assert_memory_equal(part, data + off, n);
        off += n;
    }
    assert_int_equal(SSL_read_ex(client, part, sizeof part, &n), 0);
    ERR_clear_error();
}

static void answer(const uint8_t *data, size_t len)
{
    assert_int_equal(tls_write(server, slice_of(data, len)), 0);
    expect_heard(data, len);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* ---- how bytes are cut ---- */

static void bytes_arrive_one_by_one(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        net.step = 1;
        shake_hands();
        say(pattern, 300);
        say(pattern + 300, 1);
        assert_int_equal(read_server(), TLS_NOTHING);
        assert_int_equal(n_got, 301);
        assert_memory_equal(got, pattern, 301);
        answer(pattern, 1000);
        end();
    }
}

/* The handshake's messages too: the cut goes through everything that a client sends. */
static void a_cut_at_any_byte_changes_nothing(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        size_t total = 1;
        for (size_t cut = 0; cut < total; cut++) {
            begin(versions[v]);
            net.upto = cut;
            for (int i = 0; i < 6 && !SSL_is_init_finished(client); i++) {
                (void)SSL_do_handshake(client);
                post();
                assert_int_equal(read_server(), TLS_NOTHING);
                if (net.off == net.upto && net.bytes.len > cut) {
                    assert_int_equal(tls_has_part(server), cut > 0 && !tls_is_open(server));
                    net.upto = SIZE_MAX;
                    assert_int_equal(read_server(), TLS_NOTHING);
                }
                deliver();
            }
            say(pattern, 100);
            assert_int_equal(read_server(), TLS_NOTHING);
            size_t had = n_got;
            net.upto = SIZE_MAX;
            assert_int_equal(read_all(got + had, sizeof got - had, &n_got), TLS_NOTHING);
            assert_int_equal(had + n_got, 100);
            assert_memory_equal(got, pattern, 100);
            assert_false(tls_has_part(server));
            total = net.bytes.len;
            end();
        }
        assert_true(total > 300);
    }
}

static void many_records_fill_one_buffer_and_one_record_many(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        shake_hands();
        say(pattern, 60000);
        size_t n = 0, off = 0;
        tls_notice(server);
        assert_int_equal(tls_read(server, got, 40000, &n), TLS_BYTES);
        assert_int_equal(n, 40000);
        for (off = n; off < 60000; off += n) { /* without anything new from the network */
            assert_true(tls_may_read(server));
            assert_int_equal(tls_read(server, got + off, 7, &n), TLS_BYTES);
        }
        assert_memory_equal(got, pattern, 60000);
        assert_int_equal(tls_read(server, got, 7, &n), TLS_NOTHING);
        assert_false(tls_may_read(server));
        end();
    }
}

static void a_notice_is_worth_a_bounded_number_of_reads(void **state)
{
    (void)state;
    begin(TLS1_3_VERSION);
    shake_hands();
    say(pattern, LARGE);
    size_t n = 0;
    net.n_recvs = 0;
    tls_notice(server);
    assert_int_equal(tls_read(server, got, sizeof got, &n), TLS_BYTES);
    assert_true(n >= 40000 && n < 100000);
    assert_true(net.n_recvs >= 3 && net.n_recvs <= 8);
    assert_false(tls_may_read(server));
    end();
}

static void large_answers_are_few_records(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        shake_hands();
        assert_int_equal(tls_write(server, slice_of(pattern, LARGE)), 0);
        assert_true(tls_out(server)->len < LARGE + (LARGE / 16384 + 1) * 40);
        expect_heard(pattern, LARGE);
        assert_int_equal(tls_write(server, slice_of(NULL, 0)), 0);
        assert_int_equal(tls_out(server)->len, 0);
        end();
    }
}

/* ---- ends ---- */

static void the_end_of_the_client_is_read_behind_its_last_byte(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        shake_hands();
        say("abc", 3);
        (void)SSL_shutdown(client);
        post();
        assert_int_equal(buf_append(&net.bytes, "behind", 6), 0);
        assert_int_equal(read_server(), TLS_ENDED);
        assert_int_equal(n_got, 3);
        assert_true(tls_may_read(server));
        assert_int_equal(read_server(), TLS_ENDED);
        assert_int_equal(n_got, 0);
        assert_true(tls_is_open(server));
        answer(pattern, 50000); /* it has only closed its half */
        tls_end(server);
        deliver();
        size_t n;
        assert_int_equal(SSL_read_ex(client, got, 1, &n), 0);
        assert_int_equal(SSL_get_shutdown(client), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        end();
    }
}

static void an_end_without_notice_is_told_from_one_with(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        shake_hands();
        say("abc", 3);
        net.ends = true;
        assert_int_equal(read_server(), TLS_CUT);
        assert_int_equal(n_got, 3);
        assert_int_equal(read_server(), TLS_CUT);
        answer(pattern, 50000);
        end();
    }
}

static void of_a_record_that_is_cut_nothing_is_read(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        shake_hands();
        say("abc", 3);
        say("defghi", 6);
        net.upto = net.bytes.len - 1;
        net.ends = true;
        assert_int_equal(read_server(), TLS_CUT);
        assert_int_equal(n_got, 3);
        end();
    }
}

static void nothing_and_an_end_is_an_end(void **state)
{
    (void)state;
    begin(TLS1_3_VERSION);
    assert_false(tls_may_read(server));
    assert_int_equal(read_server(), TLS_NOTHING);
    assert_false(tls_has_part(server));
    assert_false(tls_is_open(server));
    net.ends = true;
    assert_int_equal(read_server(), TLS_CUT);
    tls_end(server); /* there is nobody to say it to */
    assert_int_equal(tls_out(server)->len, 0);
    end();
}

static void an_error_of_the_network_fails(void **state)
{
    (void)state;
    begin(TLS1_3_VERSION);
    shake_hands();
    say("abc", 3);
    net.error = ECONNRESET;
    assert_int_equal(read_server(), TLS_FAILED);
    assert_string_equal(tls_words(server), strerror(ECONNRESET));
    assert_false(tls_is_open(server));
    end();
}

static void our_end_is_said_once(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        shake_hands();
        assert_int_equal(tls_write(server, slice_of("last", 4)), 0);
        tls_end(server);
        size_t len = tls_out(server)->len, n;
        tls_end(server);
        assert_int_equal(tls_out(server)->len, len);
        deliver();
        assert_int_equal(SSL_read_ex(client, got, sizeof got, &n), 1);
        assert_int_equal(n, 4);
        assert_int_equal(SSL_read_ex(client, got, sizeof got, &n), 0);
        assert_int_equal(SSL_get_error(client, 0), SSL_ERROR_ZERO_RETURN);
        say("more", 4); /* what it had to say still comes */
        assert_int_equal(read_server(), TLS_NOTHING);
        assert_int_equal(n_got, 4);
        end();
    }
}

/* ---- who is not let in ---- */

static void a_plain_request_is_seen_by_its_first_byte(void **state)
{
    static const char *const methods[] = {"GET", "PUT", "HEAD", "POST", "DELETE", "OPTIONS"};
    (void)state;
    for (size_t i = 0; i < 12; i++) {
        begin(TLS1_3_VERSION);
        net.step = i < 6 ? 1 : SIZE_MAX;
        assert_int_equal(buf_append_str(&net.bytes, methods[i % 6]), 0);
        assert_int_equal(buf_append_str(&net.bytes, " / HTTP/1.1\r\nHost: h\r\n\r\n"), 0);
        assert_int_equal(read_server(), TLS_IS_HTTP);
        assert_int_equal(read_server(), TLS_IS_HTTP);
        assert_int_equal(tls_out(server)->len, 0);
        assert_false(tls_is_open(server));
        end();
    }
}

/* A letter where a record should begin later on is no request. */
static void only_the_first_byte_can_be_a_request(void **state)
{
    (void)state;
    begin(TLS1_3_VERSION);
    shake_hands();
    assert_int_equal(buf_append_str(&net.bytes, "GET / HTTP/1.1\r\n\r\n"), 0);
    assert_int_equal(read_server(), TLS_FAILED);
    end();
}

static void garbage_fails(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 2000; seed++) {
        uint8_t bytes[200];
        begin(TLS1_3_VERSION);
        srandom(seed);
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)random();
        }
        if (seed % 2 == 0) { /* looks like a hello, so far */
            memcpy(bytes, "\x16\x03\x01\x00\xa0\x01\x00\x00\x9c\x03\x03", 11);
        }
        assert_int_equal(buf_append(&net.bytes, bytes, sizeof bytes), 0);
        net.ends = true;
        enum tls_result result = read_server();
        if (result != TLS_FAILED && result != TLS_IS_HTTP && result != TLS_CUT) {
            fail_msg("seed %u: %d", seed, result);
        }
        assert_int_equal(n_got, 0);
        assert_false(tls_is_open(server));
        end();
    }
}

static void records_that_are_too_large_fail(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        begin(versions[v]);
        shake_hands();
        assert_int_equal(buf_append(&net.bytes, "\x17\x03\x03\x48\x01", RECORD_HEAD), 0);
        assert_int_equal(read_server(), TLS_FAILED); /* its bytes are not waited for */
        assert_true(tls_out(server)->len > 0);
        end();
        begin(versions[v]);
        assert_int_equal(buf_append(&net.bytes, "\x16\x03\x01\xff\xff", RECORD_HEAD), 0);
        assert_int_equal(read_server(), TLS_FAILED);
        end();
    }
}

static void a_changed_byte_fails_and_nothing_of_its_record_is_read(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < 20 + RECORD_HEAD; i++) {
            begin(versions[v]);
            shake_hands();
            say("abc", 3);
            size_t at = net.bytes.len;
            say("secret", 6);
            net.bytes.ptr[at + i] ^= 0x40;
            enum tls_result result = read_server();
            /* A changed length is waited for; the rest is noticed at once. */
            assert_true(result == TLS_FAILED || (result == TLS_NOTHING && (i == 3 || i == 4)));
            assert_int_equal(n_got, 3);
            end();
        }
    }
}

static void an_alert_ends_it(void **state)
{
    (void)state;
    begin(TLS1_3_VERSION);
    SSL_set_verify(client, SSL_VERIFY_PEER, NULL); /* it knows no CA */
    (void)SSL_do_handshake(client);
    post();
    assert_int_equal(read_server(), TLS_NOTHING);
    deliver();
    assert_int_equal(SSL_do_handshake(client), -1);
    ERR_clear_error();
    post();
    assert_int_equal(read_server(), TLS_FAILED);
    assert_non_null(strstr(tls_words(server), "unknown ca"));
    end();
}

static void old_versions_are_refused_with_an_alert(void **state)
{
    (void)state;
    begin(TLS1_1_VERSION);
    assert_int_equal(SSL_set_cipher_list(client, "ALL:@SECLEVEL=0"), 1);
    (void)SSL_do_handshake(client);
    post();
    assert_true(net.bytes.len > 0);
    assert_int_equal(read_server(), TLS_FAILED);
    assert_string_equal(tls_words(server), "unsupported protocol");
    deliver();
    assert_int_equal(SSL_do_handshake(client), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    ERR_clear_error();
    end();
}

static void renegotiation_is_refused(void **state)
{
    (void)state;
    begin(TLS1_2_VERSION);
    shake_hands();
    assert_int_equal(SSL_renegotiate(client), 1);
    (void)SSL_do_handshake(client);
    post();
    assert_int_equal(read_server(), TLS_NOTHING);
    assert_in_range(tls_out(server)->len, 1, 60); /* an alert; a hello would be larger */
    deliver();
    assert_true(SSL_do_handshake(client) <= 0);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
    end();
}

static void a_new_key_is_taken_and_answered(void **state)
{
    (void)state;
    begin(TLS1_3_VERSION);
    shake_hands();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED), 1);
        say("abc", 3);
        assert_int_equal(read_server(), TLS_NOTHING);
        assert_int_equal(n_got, 3);
        answer(pattern, 20000);
    }
    end();
}

/* ---- what is agreed on ---- */

static void of_protocols_http_1_1_is_spoken(void **state)
{
    static const struct {
        const char *offer, *chosen;
    } cases[] = {
        {"\x02h2\x08http/1.1", "http/1.1"}, {"\x08http/1.1", "http/1.1"}, {"\x02h2", NULL}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const unsigned char *name;
        unsigned len;
        begin(TLS1_3_VERSION);
        assert_int_equal(SSL_set_alpn_protos(client, (const unsigned char *)cases[i].offer,
                                             (unsigned)strlen(cases[i].offer)),
                         0);
        if (cases[i].chosen == NULL) {
            (void)SSL_do_handshake(client);
            post();
            assert_int_equal(read_server(), TLS_FAILED);
        } else {
            shake_hands();
            SSL_get0_alpn_selected(client, &name, &len);
            assert_int_equal(len, strlen(cases[i].chosen));
            assert_memory_equal(name, cases[i].chosen, len);
        }
        end();
    }
}

static void a_second_connection_is_resumed_until_the_certificate_is_another(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        for (int round = 0; round < 3; round++) {
            if (round == 2) {
                struct zerr_info info = {0};
                tls_cert_close(cert);
                assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
                assert_int_equal(tls_cert_open(files.cert, files.key, &cert, &info), 0);
            }
            begin(versions[v]);
            if (round > 0) {
                assert_non_null(session);
                assert_int_equal(SSL_set_session(client, session), 1);
            }
            shake_hands();
            answer(pattern, 10); /* with 1.3 the ticket is read with it */
            assert_int_equal(SSL_session_reused(client), round == 1);
            end();
        }
        SSL_SESSION_free(session);
        session = NULL;
    }
}

/* ---- */

static int setup(void **state)
{
    struct zerr_info info = {0};
    (void)state;
    for (size_t i = 0; i < LARGE; i++) {
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    }
    return tls_pair_create(&files) && tls_cert_open(files.cert, files.key, &cert, &info) == 0 ? 0
                                                                                              : -1;
}

static int teardown(void **state)
{
    (void)state;
    tls_cert_close(cert);
    tls_pair_remove(&files);
    SSL_SESSION_free(session);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_one_by_one),
        cmocka_unit_test(a_cut_at_any_byte_changes_nothing),
        cmocka_unit_test(many_records_fill_one_buffer_and_one_record_many),
        cmocka_unit_test(a_notice_is_worth_a_bounded_number_of_reads),
        cmocka_unit_test(large_answers_are_few_records),
        cmocka_unit_test(the_end_of_the_client_is_read_behind_its_last_byte),
        cmocka_unit_test(an_end_without_notice_is_told_from_one_with),
        cmocka_unit_test(of_a_record_that_is_cut_nothing_is_read),
        cmocka_unit_test(nothing_and_an_end_is_an_end),
        cmocka_unit_test(an_error_of_the_network_fails),
        cmocka_unit_test(our_end_is_said_once),
        cmocka_unit_test(a_plain_request_is_seen_by_its_first_byte),
        cmocka_unit_test(only_the_first_byte_can_be_a_request),
        cmocka_unit_test(garbage_fails),
        cmocka_unit_test(records_that_are_too_large_fail),
        cmocka_unit_test(a_changed_byte_fails_and_nothing_of_its_record_is_read),
        cmocka_unit_test(an_alert_ends_it),
        cmocka_unit_test(old_versions_are_refused_with_an_alert),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(a_new_key_is_taken_and_answered),
        cmocka_unit_test(of_protocols_http_1_1_is_spoken),
        cmocka_unit_test(a_second_connection_is_resumed_until_the_certificate_is_another),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
