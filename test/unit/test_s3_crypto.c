/* s3_crypto: known values; and, for valgrind, that comparing secrets does not depend on them.
 *
 * `test_s3_crypto compare` compares bytes that were never written, and looks at the result nowhere:
 * memcheck has nothing to say, unless the comparison itself branches on them. `control` does the same
 * with one that does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/num.h"
#include "s3/s3_crypto.h"

static void hashes_are_those_of_their_standards(void **state)
{
    uint8_t hash[SHA256_BYTES], key[20];
    char hex[65] = "";

    (void)state;
    assert_int_equal(s3_sha256(SLICE_LIT("abc"), hash), 0);
    hex_encode(hash, sizeof(hash), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    memset(key, 0x0b, sizeof(key)); /* RFC 4231, 4.2 */
    assert_int_equal(s3_hmac_sha256(slice_of(key, 20), SLICE_LIT("Hi There"), hash), 0);
    hex_encode(hash, sizeof(hash), hex);
    assert_string_equal(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_int_equal(s3_hmac_sha1(slice_of(key, 20), SLICE_LIT("Hi There"), hash),
                     0); /* RFC 2202 */
    hex_encode(hash, SHA1_BYTES, hex);
    hex[40] = '\0';
    assert_string_equal(hex, "b617318655057264e28bc0b6fb378c8ef146be00");
}

static void secrets_are_the_same_only_in_every_bit(void **state)
{
    uint8_t a[32] = {0}, b[32] = {0};

    (void)state;
    assert_true(s3_same_secret(a, b, 32));
    for (unsigned bit = 0; bit < 256; bit++) {
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(s3_same_secret(a, b, 32));
        b[bit / 8] = 0;
    }
}

static bool early_exit(const uint8_t *a, const uint8_t *b, size_t len)
{
    while (len > 0 && *a == *b) {
        a++;
        b++;
        len--;
    }
    return len == 0;
}

static int for_valgrind(const char *what)
{
    uint8_t *volatile unwritten = malloc(SHA256_BYTES);
    uint8_t other[SHA256_BYTES] = {1};
    volatile bool result;

    if (unwritten == NULL) {
        return 1;
    }
    result = strcmp(what, "control") == 0 ? early_exit(unwritten, other, SHA256_BYTES)
                                          : s3_same_secret(unwritten, other, SHA256_BYTES);
    (void)result;
    free(unwritten);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_their_standards),
        cmocka_unit_test(secrets_are_the_same_only_in_every_bit),
    };

    return argc > 1 ? for_valgrind(argv[1]) : cmocka_run_group_tests(tests, NULL, NULL);
}
