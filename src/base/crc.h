/* The CRCs that S3 knows, by tables (slicing by 8): no special instructions, the same everywhere.
 *
 * crc = 0 to begin with; the result of one call is the `crc` of the next. Any thread. */
#ifndef ZKV_BASE_CRC_H
#define ZKV_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

enum crc_kind {
    CRC_32,     /* of zlib, Ethernet, ... */
    CRC_32C,    /* Castagnoli */
    CRC_64NVME, /* of NVMe drives: CRC-64/NVME, also called Rocksoft */
    CRC_KINDS
};

/* The CRC of two texts one behind the other, from that of each and the length of the second. */
uint64_t crc_combine(enum crc_kind, uint64_t first, uint64_t second, uint64_t second_len);

uint64_t crc_update(enum crc_kind, uint64_t crc, const void *data, size_t len);

#endif
