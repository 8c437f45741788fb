/* Reading a directory's blocks (source.h). */
#include "tools/source.h"

#include "base/num.h"
#include "store/block.h"

int source_open(struct source *src, const char *dir, struct zerr_info *info)
{
    *src = (struct source){0};
    return vfs_posix_open(dir, &src->vfs, info);
}

static void close_slot(struct source *src, struct source_block *b)
{
    if (b->file != NULL) {
        src->vfs->ops->close(b->file);
    }
    *b = (struct source_block){0};
}

void source_close(struct source *src)
{
    if (src->vfs != NULL) {
        close_slot(src, &src->slots[0]);
        close_slot(src, &src->slots[1]);
        vfs_posix_close(src->vfs);
    }
    *src = (struct source){0};
}

/* As open, then as block, and once more: it may be sealed between the two. */
static int open_file(struct source *src, uint32_t number, struct source_block *b)
{
    int rc = ZERR_NOT_FOUND;
    for (int i = 0; i < 4 && rc == ZERR_NOT_FOUND; i++) {
        char name[FILE_NAME_BYTES];
        b->unsealed = i % 2 == 0;
        block_name(name, number, !b->unsealed);
        rc = src->vfs->ops->open(src->vfs, name, VFS_READ, &b->file);
    }
    return rc;
}

/* As scan_block() sees it: a damaged header is not the end, the salt stands in the head of the
 * first frame too. */
static int read_header(struct source *src, struct source_block *b)
{
    uint8_t raw[BLOCK_HEADER_BYTES + FRAME_HEAD_BYTES];
    size_t n = 0;
    int rc = src->vfs->ops->size(b->file, &b->size);
    if (rc == 0) {
        rc = src->vfs->ops->pread(b->file, raw, sizeof raw, 0, &n);
    }
    if (rc != 0) {
        return rc;
    }
    rc = n >= BLOCK_HEADER_BYTES ? block_header_decode(raw, b->number, &b->header) : ZERR_NOT_FOUND;
    if ((rc == ZERR_CORRUPT || rc == ZERR_NOT_FOUND) && n == sizeof raw) {
        struct frame_head head;
        b->header.block = b->number;
        b->header.salt = le64_get(raw + BLOCK_HEADER_BYTES + 8);
        if ((memcmp(raw, BLOCK_MAGIC, 8) == 0 || le64_get(raw + 32) == b->header.salt) &&
            frame_head_decode(raw + BLOCK_HEADER_BYTES, &b->header, BLOCK_HEADER_BYTES, &head) ==
                0) {
            rc = 0;
        }
    }
    b->framed = rc == 0;
    return rc == ZERR_NOT_FOUND ? 0 : rc;
}

int source_block(struct source *src, uint32_t number, const struct source_block **ret)
{
    for (int i = 0; i < 2; i++) {
        if (src->slots[i].file != NULL && src->slots[i].number == number) {
            src->newest = i;
            *ret = &src->slots[i];
            return 0;
        }
    }
    int at = 1 - src->newest;
    struct source_block *b = &src->slots[at];
    close_slot(src, b);
    b->number = number;
    int rc = open_file(src, number, b);
    if (rc == 0) {
        rc = read_header(src, b);
    }
    if (rc != 0) {
        close_slot(src, b);
        return rc;
    }
    src->newest = at;
    *ret = b;
    return 0;
}

int source_record(struct source *src, struct place at, struct slice key, struct arena *arena,
                  struct record *ret)
{
    const struct source_block *b;
    struct scan_frame f;
    int rc = source_block(src, at.block, &b);
    if (rc == 0) {
        rc = b->framed ? scan_one(b->file, &b->header, at.off, 0, arena, &f) : ZERR_CORRUPT;
    }
    if (rc != 0) {
        return rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT ? ZERR_DAMAGED : rc;
    }
    for (size_t i = 0; f.verdict == SCAN_VALID && i < f.rec.n_entries; i++) {
        if (slice_eq(f.rec.entries[i].key, key)) {
            *ret = f.rec.entries[i];
            return 0;
        }
    }
    return ZERR_DAMAGED;
}
