/* CRCs by tables, see crc.h.
 *
 * All three are "reflected": the lowest bit comes first, and a CRC of 32 bits is one of 64 whose
 * upper half is zero, so one loop does for all. Table k holds what a byte becomes when k bytes of
 * zero follow it. A kind's tables are made when it is used for the first time. */
#include "base/crc.h"

#include <pthread.h>

#include "base/num.h"

static const uint64_t POLYNOMIALS[CRC_KINDS] = {
    [CRC_32] = 0xedb88320,
    [CRC_32C] = 0x82f63b78,
    [CRC_64NVME] = 0x9a6c9329ac4bc9b5,
};
static const uint64_t MASKS[CRC_KINDS] = {
    [CRC_32] = UINT32_MAX,
    [CRC_32C] = UINT32_MAX,
    [CRC_64NVME] = UINT64_MAX,
};

static uint64_t tables[CRC_KINDS][8][256];

static void make_tables(enum crc_kind kind)
{
    uint64_t(*t)[256] = tables[kind];

    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ POLYNOMIALS[kind] : crc >> 1;
        }
        t[0][byte] = crc;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (int k = 1; k < 8; k++) {
            t[k][byte] = t[k - 1][byte] >> 8 ^ t[0][t[k - 1][byte] & 0xff];
        }
    }
}

static void make_crc32(void)
{
    make_tables(CRC_32);
}

static void make_crc32c(void)
{
    make_tables(CRC_32C);
}

static void make_crc64nvme(void)
{
    make_tables(CRC_64NVME);
}

uint64_t crc_update(enum crc_kind kind, uint64_t crc, const void *data, size_t len)
{
    static pthread_once_t once[CRC_KINDS] = {PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT,
                                             PTHREAD_ONCE_INIT};
    static void (*const make[CRC_KINDS])(void) = {
        [CRC_32] = make_crc32, [CRC_32C] = make_crc32c, [CRC_64NVME] = make_crc64nvme};
    const uint64_t(*t)[256] = (const uint64_t(*)[256])tables[kind];
    const uint8_t *p = data;

    (void)pthread_once(&once[kind], make[kind]);
    crc ^= MASKS[kind];
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t x = crc ^ le64_get(p);
        crc = t[7][x & 0xff] ^ t[6][x >> 8 & 0xff] ^ t[5][x >> 16 & 0xff] ^ t[4][x >> 24 & 0xff] ^
              t[3][x >> 32 & 0xff] ^ t[2][x >> 40 & 0xff] ^ t[1][x >> 48 & 0xff] ^ t[0][x >> 56];
    }
    for (; len > 0; len--, p++) {
        crc = crc >> 8 ^ t[0][(crc ^ *p) & 0xff];
    }
    return crc ^ MASKS[kind];
}

/* The product of two polynomials modulo the kind's, all three written as the CRCs are: the highest
 * bit is x^0. */
static uint64_t multiply(enum crc_kind kind, uint64_t a, uint64_t b)
{
    uint64_t product = 0;

    for (uint64_t bit = MASKS[kind] ^ MASKS[kind] >> 1; bit != 0; bit >>= 1) {
        product ^= (a & bit) != 0 ? b : 0;
        b = (b & 1) != 0 ? b >> 1 ^ POLYNOMIALS[kind] : b >> 1;
    }
    return product;
}

/* A byte behind a text multiplies its CRC by x^8; what the mask adds at both ends cancels out. */
uint64_t crc_combine(enum crc_kind kind, uint64_t first, uint64_t second, uint64_t second_len)
{
    uint64_t one = MASKS[kind] ^ MASKS[kind] >> 1, power = one >> 8;

    for (; second_len > 0; second_len >>= 1) {
        first = (second_len & 1) != 0 ? multiply(kind, first, power) : first;
        power = multiply(kind, power, power);
    }
    return first ^ second;
}
