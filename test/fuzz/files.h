/* What the fuzz targets share: a cursor over the input, and files made of it that get past their
 * check sums, so that the fuzzer sees what is behind them. */
#ifndef ZKV_TEST_FUZZ_FILES_H
#define ZKV_TEST_FUZZ_FILES_H

#include <stdlib.h>

#include "base/buf.h"

#define FUZZ_STORE_ID "fuzz-store-0001!" /* STORE_ID_BYTES */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert, also with NDEBUG, and without its message. */
static inline void require(bool good)
{
    if (!good) {
        abort();
    }
}

struct fuzz_in {
    const uint8_t *p;
    size_t n;
};
uint8_t fuzz_byte(struct fuzz_in *);                  /* 0 at the end */
struct slice fuzz_take(struct fuzz_in *, size_t max); /* what is left, if that is less */

enum fuzz_mend {
    MEND_HEADER = 1 << 0, /* the block's header is written */
    MEND_HEADS = 1 << 1,  /* where a frame's magic stands: salt, number, offset, CRCs */
    MEND_SUMS = 1 << 2,   /* and the sums of its body */
};
/* A block file out of any bytes, in place. A frame whose byte 6 is not zero is left as it is, and a
 * record that is all zeros stays so. */
void fuzz_mend_block(uint8_t *file, size_t len, uint32_t number, unsigned mend);

/* A db file out of pieces, each an operation (1 byte), a length (2 bytes) and its data: records and
 * other bytes of a message, the ends of members with and without our extra field, and damage. */
void fuzz_make_db(struct fuzz_in *, struct buf *out);

#endif
