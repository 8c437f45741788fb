/* Any bytes as a block file, and blocks whose CRCs and sums are made right.
 *
 * What the scan hands out covers the file without gaps or overlaps, each frame is the same when it
 * is read alone, and a block whose frames were all mended has no bad record.
 *
 * Input: one byte for what is mended (files.h), the rest is the file. */
#include "files.h"

#include "store/scan.h"
#include "support/vfs_mem.h"

#define NUMBER 7
#define NAME "block0000000007"
#define FRAMES_MAX 512 /* read a second time */

struct seen {
    uint64_t end; /* of what was handed out */
    bool was_garbage;
    size_t n;
    struct {
        uint64_t off;
        enum scan_verdict verdict;
    } v[FRAMES_MAX];
};

static int on_frame(void *user, const struct scan_frame *f)
{
    struct seen *s = user;

    require(f->off == s->end && f->len > 0);
    s->end = f->off + f->len;
    if (f->verdict == SCAN_GARBAGE) {
        require(!s->was_garbage);
        s->was_garbage = true;
        return 0;
    }
    s->was_garbage = false;
    require(f->off % FRAME_ALIGN == 0 && f->len % FRAME_ALIGN == 0);
    require(f->head.record_len <= RECORD_MAX_BYTES && f->head.body_len <= BODY_MAX_BYTES);
    for (size_t i = 0; i < f->rec.n_entries; i++) {
        const struct record *rec = &f->rec.entries[i];
        require(rec->key.len >= 1 && rec->key.len <= KEY_MAX_BYTES);
        require(rec->framed && rec->frame.block == NUMBER && rec->frame.off == f->off);
        require(rec->meta.n <= RECORD_MAX_ATTRS && rec->sys.n <= RECORD_MAX_ATTRS);
    }
    if (s->n < FRAMES_MAX) {
        s->v[s->n].off = f->off;
        s->v[s->n++].verdict = f->verdict;
    }
    return 0;
}

static void scan_all(struct vfs_file *file, size_t len, unsigned flags)
{
    static struct seen seen;
    struct scan_result result;
    struct arena arena = {0};

    memset(&seen, 0, sizeof(seen));
    seen.end = BLOCK_HEADER_BYTES;
    if (scan_block(file, NUMBER, flags, on_frame, &seen, &result) != 0) {
        return;
    }
    require(result.file_len == len && result.end <= len && seen.end >= len);
    for (size_t i = 0; i < seen.n; i++) {
        struct scan_frame f;
        arena_reset(&arena);
        require(scan_one(file, &result.header, seen.v[i].off, flags, &arena, &f) == 0);
        require(f.verdict == seen.v[i].verdict && f.off == seen.v[i].off);
    }
    arena_finish(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vfs *vfs;
    struct vfs_file *file;
    uint8_t *bytes;

    if (size == 0) {
        return 0;
    }
    bytes = malloc(size);
    require(bytes != NULL);
    memcpy(bytes, data + 1, size - 1);
    fuzz_mend_block(bytes, size - 1, NUMBER, data[0]);
    vfs = vfs_mem_create(1);
    vfs_mem_put(vfs, NAME, slice_of(bytes, size - 1));
    free(bytes);
    require(vfs->ops->open(vfs, NAME, VFS_READ, &file) == 0);
    scan_all(file, size - 1, 0);
    scan_all(file, size - 1, SCAN_BODIES);
    vfs->ops->close(file);
    vfs_mem_destroy(vfs);
    return 0;
}
