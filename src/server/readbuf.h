/* The buffers that sockets are read into, and who still needs them.
 *
 * A buffer belongs to one connection, which reads into it (`current`), and to the holds that the
 * handler has on slices of it; it goes back to the free list when both are gone. Holds may outlive
 * the connection (owner is NULL then). On the loop's thread only; bytes below `fill` may be read
 * on other threads while the buffer is held, they are not written again. */
#ifndef ZKV_SERVER_READBUF_H
#define ZKV_SERVER_READBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/ring.h"

/* Two sizes, HTTP_READ_SMALL and HTTP_READ_LARGE. Init with {0}. */
struct readbuf_pool {
    struct readbuf *free_small, *free_large;
    unsigned n_small, n_large; /* in the free lists */
    unsigned n_used;
};

struct readbuf {
    struct readbuf_pool *pool;
    struct readbuf *next_free;
    void *owner;      /* the connection; NULL when it is gone */
    struct ring held; /* in the connection's list of held buffers */
    unsigned n_holds;
    bool current;
    size_t cap, fill;
    uint8_t data[];
};

/* A buffer of the smallest size with room for `want` or, if none has, the large one; current.
 * NULL: out of memory. */
struct readbuf *readbuf_take(struct readbuf_pool *, size_t want, void *owner);
/* To the free list, if it is neither current nor held. */
void readbuf_release(struct readbuf *);
/* Frees the free lists; no buffer may be in use. */
void readbuf_pool_finish(struct readbuf_pool *);

#endif
