/* A growable byte buffer, and a per-request arena.
 *
 * buf: init with {0}, finish with buf_finish(). Appending returns ZERR_NOMEM and leaves the
 * buffer as it was. ptr moves when it grows: slices into it are valid until the next append.
 *
 * arena: allocations that die together. Init with {0}; arena_reset() frees all but keeps one
 * chunk, arena_finish() frees everything. Memory is aligned as malloc()'s and not zeroed. */
#ifndef ZKV_BASE_BUF_H
#define ZKV_BASE_BUF_H

#include "base/slice.h"
#include "base/zerr.h"

struct buf {
    uint8_t *ptr;
    size_t len, cap;
};

void buf_finish(struct buf *);
static inline void buf_reset(struct buf *b)
{
    b->len = 0;
}
static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->ptr, b->len);
}
/* Makes room for n more bytes at ptr + len; len is unchanged. */
int buf_reserve(struct buf *, size_t n) ZKV_MUST_CHECK;
int buf_append(struct buf *, const void *data, size_t len) ZKV_MUST_CHECK;
int buf_append_str(struct buf *, const char *s) ZKV_MUST_CHECK;
int buf_printf(struct buf *, const char *fmt, ...) ZKV_MUST_CHECK ZKV_PRINTF(2, 3);

struct arena_chunk;
struct arena {
    struct arena_chunk *chunk; /* newest first */
    size_t used_total;         /* bytes handed out since the last reset */
};

void arena_reset(struct arena *);
void arena_finish(struct arena *);
void *arena_alloc(struct arena *, size_t n) ZKV_MUST_CHECK; /* NULL: out of memory */
/* A copy of s with a NUL behind it (not counted). ptr NULL: out of memory. */
struct slice arena_dup(struct arena *, struct slice s) ZKV_MUST_CHECK;

#endif
