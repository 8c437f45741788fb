/* Bytes of bodies, read from block files and checked against their sums. From any thread; a job's.
 *
 * A check that fails is ZERR_DAMAGED, and so is a file that ends before; whether it is damage the
 * caller finds out by asking again with READ_DEVICE. */
#ifndef ZKV_STORE_BODY_H
#define ZKV_STORE_BODY_H

#include "store/block.h"
#include "store/record.h"
#include "store/store.h"

enum read_how {
    READ_CACHED, /* only what is in the page cache and in files open already: else ZERR_BUSY */
    READ_NORMAL,
    READ_DEVICE, /* past the page cache */
};

/* Exactly n bytes at off of the file. */
int body_read_exact(struct block *, enum read_how, void *buf, size_t n,
                    uint64_t off) ZKV_MUST_CHECK;

/* Whether each piece of data, which begins at a piece's beginning, has its sum: 0 or ZERR_DAMAGED. */
int body_check_pieces(const uint8_t *data, uint64_t len, const uint8_t *sums) ZKV_MUST_CHECK;

/* Sums of one body, a window of them at a time. Init with {0} and sums_window_init(). */
struct sums_window {
    pthread_mutex_t mutex; /* two reads may run at once */
    uint8_t *sums;
    struct place body; /* whose */
    uint64_t from, n;
};
void sums_window_init(struct sums_window *);
void sums_window_finish(struct sums_window *);

/* Room that body_read() needs for len bytes at off of e. */
size_t body_room(const struct extent *e, uint64_t off, size_t len);
/* Reads [off, off + len) of e's bytes (off counts from e->from), whole pieces around them, into buf
 * and checks them. len <= READ_MAX_BYTES. *ret points into buf. */
int body_read(struct block *, const struct extent *e, enum read_how, uint64_t off, size_t len,
              uint8_t *buf, struct sums_window *, struct read_piece *ret) ZKV_MUST_CHECK;

#endif
