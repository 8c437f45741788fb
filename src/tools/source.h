/* A directory as the tools read it: its block files by number, without a lock, while a server may
 * be writing. Nothing is changed.
 *
 * Calling sequence: source_open -> { source_block, source_record }* -> source_close. Two block
 * files are kept open; what source_block() gives is valid until the second call after it. */
#ifndef ZKV_TOOLS_SOURCE_H
#define ZKV_TOOLS_SOURCE_H

#include "store/index.h"
#include "store/scan.h"
#include "store/vfs.h"

struct source_block {
    struct vfs_file *file; /* NULL: this slot is empty */
    uint32_t number;
    uint64_t size; /* when it was opened */
    bool unsealed;
    bool framed;                /* false: written by the original, no header */
    struct block_header header; /* salt and number, at least, if framed */
};

struct source {
    struct vfs *vfs;
    struct source_block slots[2];
    int newest; /* slot used last */
};

int source_open(struct source *, const char *dir, struct zerr_info *) ZKV_MUST_CHECK;
void source_close(struct source *); /* {0} is fine */

/* ZERR_NOT_FOUND: no such block. ZERR_CORRUPT: neither header nor first frame can be read. */
int source_block(struct source *, uint32_t number, const struct source_block **ret) ZKV_MUST_CHECK;

/* The record of a name in the frame at `at`, read and checked (its body is not). In the arena.
 * ZERR_DAMAGED: there is no such frame, or it does not hold this name. */
int source_record(struct source *, struct place at, struct slice key, struct arena *,
                  struct record *ret) ZKV_MUST_CHECK;

#endif
