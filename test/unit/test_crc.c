/* base/crc: known values, any split, and every length against the definition bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/crc.h"

static void known_texts_have_their_known_sums(void **state)
{
    static const uint8_t zeros[4096];
    uint8_t ff[32];

    (void)state;
    memset(ff, 0xff, sizeof(ff));
    assert_true(crc_update(CRC_32, 0, "", 0) == 0);
    assert_true(crc_update(CRC_32, 0, "123456789", 9) == 0xcbf43926);
    assert_true(crc_update(CRC_32C, 0, "123456789", 9) == 0xe3069283);
    assert_true(crc_update(CRC_64NVME, 0, "123456789", 9) == 0xae8b14860a799888);
    /* RFC 3720, B.4 */
    assert_true(crc_update(CRC_32C, 0, zeros, 32) == 0x8a9136aa);
    assert_true(crc_update(CRC_32C, 0, ff, 32) == 0x62a8ab43);
    /* NVM Express, NVM Command Set Specification, 5.2.1.3.4: 4 KiB of zeros */
    assert_true(crc_update(CRC_64NVME, 0, zeros, sizeof(zeros)) == 0x6482d367eb22b64e);
}

static uint64_t bit_by_bit(uint64_t polynomial, uint64_t mask, const uint8_t *p, size_t len)
{
    uint64_t crc = mask;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ polynomial : crc >> 1;
        }
    }
    return crc ^ mask;
}

static void every_length_and_split_agrees_with_the_definition(void **state)
{
    static const struct {
        enum crc_kind kind;
        uint64_t polynomial, mask;
    } kinds[] = {{CRC_32, 0xedb88320, UINT32_MAX},
                 {CRC_32C, 0x82f63b78, UINT32_MAX},
                 {CRC_64NVME, 0x9a6c9329ac4bc9b5, UINT64_MAX}};
    uint8_t text[67];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)(i * 89 + 7);
    }
    for (size_t k = 0; k < 3; k++) {
        for (size_t len = 0; len <= sizeof(text); len++) {
            uint64_t want = bit_by_bit(kinds[k].polynomial, kinds[k].mask, text, len);
            for (size_t at = 0; at <= len; at++) {
                uint64_t crc = crc_update(kinds[k].kind, 0, text, at);
                assert_true(crc_update(kinds[k].kind, crc, text + at, len - at) == want);
            }
        }
    }
}

static void the_sum_of_two_texts_follows_from_their_sums(void **state)
{
    static const size_t lens[] = {0, 1, 7, 8, 9, 255, 256, 65535, 65536, 200000};
    static uint8_t text[400000];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
    }
    for (int k = 0; k < CRC_KINDS; k++) {
        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            for (size_t j = 0; j < sizeof(lens) / sizeof(lens[0]); j++) {
                uint64_t first = crc_update(k, 0, text, lens[i]);
                uint64_t second = crc_update(k, 0, text + lens[i], lens[j]);
                uint64_t both = crc_update(k, first, text + lens[i], lens[j]);
                assert_true(crc_combine(k, first, second, lens[j]) == both);
            }
        }
    }
    /* 5 TiB of zeros, in two ways. */
    for (int k = 0; k < CRC_KINDS; k++) {
        uint64_t one = crc_update(k, 0, "", 1), by_ones = 0, all = 0, power = one, n = 1;
        for (uint64_t len = UINT64_C(5) << 40; len > 0; len >>= 1, n *= 2) {
            by_ones = (len & 1) != 0 ? crc_combine(k, by_ones, power, n) : by_ones;
            power = crc_combine(k, power, power, n);
        }
        for (int i = 0; i < 5; i++) {
            uint64_t tib = one;
            for (uint64_t len = 1; len < UINT64_C(1) << 40; len *= 2) {
                tib = crc_combine(k, tib, tib, len);
            }
            all = crc_combine(k, all, tib, UINT64_C(1) << 40);
        }
        assert_true(by_ones == all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts_have_their_known_sums),
        cmocka_unit_test(the_sum_of_two_texts_follows_from_their_sums),
        cmocka_unit_test(every_length_and_split_agrees_with_the_definition),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
