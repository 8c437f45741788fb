/* The certificate and its key: what is refused and how it is said, and when a change counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/small_file.h"
#include "server/tls_cert.h"
#include "support/tls_pair.h"

static struct tls_pair files;
static struct tls_cert *cert;
static char said[4000]; /* to the log */

/* Opens what is there with standard error put into `said`. */
static int open_said(struct zerr_info *info)
{
    FILE *log = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_true(log != NULL && saved >= 0);
    assert_true(dup2(fileno(log), STDERR_FILENO) >= 0);
    int err = tls_cert_open(files.cert, files.key, &cert, info);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    rewind(log);
    said[fread(said, 1, sizeof said - 1, log)] = '\0';
    fclose(log);
    assert_int_equal(ERR_peek_error(), 0);
    return err;
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* It is refused, and what is said has both: the option with the file, and the reason. */
static void expect_refused(int wanted, const char *option, const char *path, const char *reason)
{
    struct zerr_info info = {0};
    char begin[200];
    assert_int_equal(open_said(&info), wanted);
    (void)snprintf(begin, sizeof begin, "%s %s: ", option, path);
    if (strncmp(info.text, begin, strlen(begin)) != 0 || strstr(info.text, reason) == NULL) {
        fail_msg("said: %s; wanted: %s... %s", info.text, begin, reason);
    }
    assert_string_equal(said, "");
}

static int each(void **state)
{
    (void)state;
    return tls_pair_renew(&files, TLS_PAIR_GOOD) ? 0 : -1;
}

static void a_good_pair_is_taken_without_a_word(void **state)
{
    struct zerr_info info = {0};
    (void)state;
    assert_int_equal(open_said(&info), 0);
    assert_string_equal(said, "");
    assert_string_equal(tls_cert_name(cert), "localhost");
    tls_cert_close(cert);
}

static void a_file_that_is_missing_is_named(void **state)
{
    (void)state;
    assert_int_equal(unlink(files.cert), 0);
    expect_refused(ZERR_NOT_FOUND, "-tls-cert", files.cert, "No such file");
    assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
    assert_int_equal(unlink(files.key), 0);
    expect_refused(ZERR_NOT_FOUND, "-tls-key", files.key, "No such file");
}

static void what_is_not_pem_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "hello\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
        write_text(files.cert, texts[i]);
        expect_refused(ZERR_INVALID, "-tls-cert", files.cert, "no certificate in PEM form");
        assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
        write_text(files.key, texts[i]);
        expect_refused(ZERR_INVALID, "-tls-key", files.key, "no private key in PEM form");
    }
}

static void a_key_that_others_may_read_is_refused(void **state)
{
    static const mode_t bad[] = {0640, 0604, 0660, 0644};
    struct zerr_info info = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(chmod(files.key, bad[i]), 0);
        expect_refused(ZERR_INVALID, "-tls-key", files.key, "chmod 600");
    }
    assert_int_equal(chmod(files.key, 0400), 0);
    assert_int_equal(chmod(files.cert, 0644), 0);
    assert_int_equal(open_said(&info), 0);
    tls_cert_close(cert);
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    struct tls_pair other;
    (void)state;
    assert_true(tls_pair_create(&other));
    assert_int_equal(rename(other.key, files.key), 0);
    expect_refused(ZERR_INVALID, "-tls-key", files.key, "not the key of the certificate");
    tls_pair_remove(&other);
}

/* Nobody is asked for it on the terminal. */
static void a_key_with_a_passphrase_is_refused(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *f = fopen(files.key, "w");
    assert_true(key != NULL && f != NULL);
    assert_int_equal(PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), NULL, 0, NULL, "secret"), 1);
    assert_int_equal(fclose(f), 0);
    EVP_PKEY_free(key);
    expect_refused(ZERR_INVALID, "-tls-key", files.key, "it has a passphrase");
}

static void a_weak_key_is_refused_with_the_reason(void **state)
{
    (void)state;
    assert_true(tls_pair_renew(&files, TLS_PAIR_WEAK));
    expect_refused(ZERR_INVALID, "-tls-cert", files.cert, "key too small");
}

static void a_chain_with_a_broken_member_is_refused(void **state)
{
    struct zerr_info info = {0};
    char text[3000];
    (void)state;
    FILE *f = fopen(files.cert, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text / 2, f);
    assert_int_equal(fclose(f), 0);
    memcpy(text + n, text, n); /* the second may be any */
    text[2 * n] = '\0';
    write_text(files.cert, text);
    assert_int_equal(open_said(&info), 0);
    STACK_OF(X509) *chain = NULL;
    assert_int_equal(SSL_CTX_get0_chain_certs(tls_cert_context(cert), &chain), 1);
    assert_int_equal(sk_X509_num(chain), 1);
    tls_cert_close(cert);
    text[n + n / 2] = '!';
    write_text(files.cert, text);
    expect_refused(ZERR_INVALID, "-tls-cert", files.cert, "a further certificate is broken");
}

static void dates_are_a_warning(void **state)
{
    static const struct {
        enum tls_pair_kind kind;
        const char *word;
    } cases[] = {{TLS_PAIR_EXPIRED, "has expired on 20"},
                 {TLS_PAIR_FUTURE, "is not valid before 20"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct zerr_info info = {0};
        assert_true(tls_pair_renew(&files, cases[i].kind));
        assert_int_equal(open_said(&info), 0);
        assert_non_null(strstr(said, cases[i].word));
        assert_non_null(strstr(said, files.cert));
        tls_cert_close(cert);
    }
}

static void a_change_counts_and_a_broken_one_does_not(void **state)
{
    struct zerr_info info = {0};
    (void)state;
    assert_int_equal(open_said(&info), 0);
    SSL_CTX *first = tls_cert_context(cert);
    assert_int_equal(SSL_CTX_up_ref(first), 1); /* as a connection does */
    assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
    assert_ptr_equal(tls_cert_context(cert), first); /* it was looked at a moment ago */
    usleep((SMALL_FILE_LOOK_MS + 50) * 1000);
    SSL_CTX *second = tls_cert_context(cert);
    assert_ptr_not_equal(second, first);
    write_text(files.key, "broken");
    usleep((SMALL_FILE_LOOK_MS + 50) * 1000);
    assert_ptr_equal(tls_cert_context(cert), second);
    usleep((SMALL_FILE_LOOK_MS + 50) * 1000);
    assert_ptr_equal(tls_cert_context(cert), second);
    assert_true(tls_pair_renew(&files, TLS_PAIR_GOOD));
    usleep((SMALL_FILE_LOOK_MS + 50) * 1000);
    assert_ptr_not_equal(tls_cert_context(cert), second);
    SSL_CTX_free(first);
    tls_cert_close(cert);
}

static int setup(void **state)
{
    (void)state;
    return tls_pair_create(&files) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tls_pair_remove(&files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_good_pair_is_taken_without_a_word, each),
        cmocka_unit_test_setup(a_file_that_is_missing_is_named, each),
        cmocka_unit_test_setup(what_is_not_pem_is_refused, each),
        cmocka_unit_test_setup(a_key_that_others_may_read_is_refused, each),
        cmocka_unit_test_setup(a_key_of_another_certificate_is_refused, each),
        cmocka_unit_test_setup(a_key_with_a_passphrase_is_refused, each),
        cmocka_unit_test_setup(a_weak_key_is_refused_with_the_reason, each),
        cmocka_unit_test_setup(a_chain_with_a_broken_member_is_refused, each),
        cmocka_unit_test_setup(dates_are_a_warning, each),
        cmocka_unit_test_setup(a_change_counts_and_a_broken_one_does_not, each),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
