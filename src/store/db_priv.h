/* Layout of our gzip members, shared by db_read.c, db_batch.c and db_write.c.
 *
 *   0 10  gzip header: 1f 8b, deflate, FEXTRA, no time, no flags, unknown system
 *  10  2  length of the extra field
 *  12  4  subfield: "ZK", length
 *  16 64  struct db_extra (format.h)
 *  80  .  deflate: the records, then one or more stored blocks with the scalars
 *   .  8  CRC-32 and length of the message */
#ifndef ZKV_STORE_DB_PRIV_H
#define ZKV_STORE_DB_PRIV_H

#include "store/db.h"

#define MEMBER_EXTRA_OFF 16
#define MEMBER_HEADER_BYTES (MEMBER_EXTRA_OFF + DB_EXTRA_BYTES)
#define MEMBER_TRAILER_BYTES 8
#define MEMBER_PREFIX "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x44\0ZK\x40"

_Static_assert(DB_EXTRA_BYTES == 0x40 && sizeof(MEMBER_PREFIX) == MEMBER_EXTRA_OFF,
               "MEMBER_PREFIX ends with the extra field's lengths; its NUL is the last byte");

#endif
