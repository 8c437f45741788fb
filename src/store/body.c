/* See body.h. Sums are read in windows, so memory does not grow with the body. */
#include "store/body.h"

#include <stdlib.h>

#include "base/num.h"
#include "store/frame.h"
#include "store/store_priv.h"

#define WINDOW_PIECES 4096u
#define SLOT_PIECES (READ_MAX_BYTES / PIECE_BYTES + 1)

/* Past the page cache, whatever the block is called just now. */
static int open_direct(struct block *b, struct vfs_file **ret)
{
    struct vfs *vfs = b->st->vfs;
    char name[FILE_NAME_BYTES];
    block_name(name, b->number, true);
    int rc = vfs->ops->open(vfs, name, VFS_READ | VFS_DIRECT, ret);
    if (rc == ZERR_NOT_FOUND) {
        block_name(name, b->number, false);
        rc = vfs->ops->open(vfs, name, VFS_READ | VFS_DIRECT, ret);
    }
    return rc;
}

int body_read_exact(struct block *b, enum read_how how, void *buf, size_t n, uint64_t off)
{
    struct vfs *vfs = b->st->vfs;
    struct vfs_file *file, *direct = NULL;
    size_t got = 0;
    int rc = 0;
    if (how == READ_CACHED) {
        file = block_file_if_open(b);
        rc = file == NULL ? ZERR_BUSY : vfs->ops->pread_nowait(file, buf, n, off, &got);
        return rc == 0 && got < n ? ZERR_BUSY : rc;
    }
    rc = block_file(b, &file);
    if (rc == 0 && how == READ_DEVICE && vfs->ops->drop_cache(file) != 0 &&
        open_direct(b, &direct) == 0) {
        file = direct;
    }
    if (rc == 0) {
        rc = vfs->ops->pread(file, buf, n, off, &got);
    }
    if (direct != NULL) {
        vfs->ops->close(direct);
    }
    return rc == 0 && got < n ? ZERR_DAMAGED : rc;
}

int body_check_pieces(const uint8_t *data, uint64_t len, const uint8_t *sums)
{
    for (uint64_t at = 0; at < len; at += PIECE_BYTES, sums += SUM_BYTES) {
        uint64_t n = len - at < PIECE_BYTES ? len - at : PIECE_BYTES;
        if (le64_get(sums) != piece_sum(data + at, n)) {
            return ZERR_DAMAGED;
        }
    }
    return 0;
}

/* ---- sums ---- */

void sums_window_init(struct sums_window *w)
{
    (void)pthread_mutex_init(&w->mutex, NULL);
}

void sums_window_finish(struct sums_window *w)
{
    (void)pthread_mutex_destroy(&w->mutex);
    free(w->sums);
}

/* The sums of pieces [from, from + n) at `out`, through the window. */
static int get_sums(struct block *b, const struct extent *e, enum read_how how,
                    struct sums_window *w, uint64_t from, uint64_t n, uint8_t *out)
{
    uint64_t total = frame_pieces(e->size);
    int rc = 0;
    (void)pthread_mutex_lock(&w->mutex);
    if (how == READ_DEVICE || w->n == 0 || w->body.block != e->body.block ||
        w->body.off != e->body.off || from < w->from || from + n > w->from + w->n) {
        uint64_t want = total - from < WINDOW_PIECES ? total - from : WINDOW_PIECES;
        uint8_t *p = realloc(w->sums, want * SUM_BYTES);
        w->n = 0;
        w->sums = p != NULL ? p : w->sums;
        rc = p == NULL ? ZERR_NOMEM
                       : body_read_exact(b, how, w->sums, want * SUM_BYTES,
                                         e->body.off + e->size + from * SUM_BYTES);
        if (rc == 0) {
            w->body = e->body;
            w->from = from;
            w->n = want;
        }
    }
    if (rc == 0) {
        memcpy(out, w->sums + (from - w->from) * SUM_BYTES, n * SUM_BYTES);
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return rc;
}

/* ---- pieces ---- */

/* The pieces around len bytes at off of e: [*from, *to) in the body. */
static void around(const struct extent *e, uint64_t off, size_t len, uint64_t *from, uint64_t *to)
{
    *from = e->from + off;
    *to = *from + len;
    if (e->framed) {
        *from = *from / PIECE_BYTES * PIECE_BYTES;
        *to = (*to + PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES;
        *to = *to < e->size ? *to : e->size;
    }
}

size_t body_room(const struct extent *e, uint64_t off, size_t len)
{
    uint64_t from, to;
    around(e, off, len, &from, &to);
    return (size_t)(to - from);
}

int body_read(struct block *b, const struct extent *e, enum read_how how, uint64_t off, size_t len,
              uint8_t *buf, struct sums_window *w, struct read_piece *ret)
{
    uint64_t from, to;
    around(e, off, len, &from, &to);
    int rc = body_read_exact(b, how, buf, to - from, e->body.off + from);
    if (rc == 0 && e->framed) {
        uint8_t sums[SLOT_PIECES * SUM_BYTES];
        uint64_t first = from / PIECE_BYTES, n = frame_pieces(to - from);
        rc = get_sums(b, e, how, w, first, n, sums);
        if (rc == 0) {
            rc = body_check_pieces(buf, to - from, sums);
        }
    }
    if (rc == 0) {
        *ret = (struct read_piece){buf + (e->from + off - from), len};
    }
    return rc;
}
