/* What a directory holds, and which history counts. Reads only. */
#ifndef ZKV_STORE_DIR_H
#define ZKV_STORE_DIR_H

#include "store/db.h"
#include "store/vfs.h"

struct dir_block {
    uint32_t number;
    bool open; /* open<n>, else block<n> */
    uint64_t size;
};

struct dir_view {
    struct dir_block *blocks; /* by number */
    size_t n_blocks, cap_blocks;
    uint32_t dbs[DB_IDS]; /* ids present, in no order */
    size_t n_dbs;
    bool framed; /* some file is an open<n>: written by us */
    uint64_t sealed_bytes;
};

/* ZERR_CORRUPT: a number is there both as open and as block. Other files are not looked at. */
int dir_view_read(struct vfs *, struct dir_view *ret, struct zerr_info *) ZKV_MUST_CHECK;
void dir_view_finish(struct dir_view *);
const struct dir_block *dir_view_block(const struct dir_view *, uint32_t number); /* or NULL */

/* The db that counts: of several the valid one with the highest generation; without generations
 * the longer history, then the successor modulo 10. One alone is not looked into.
 * bad[i]: dbs[i] cannot be read. ZERR_NOT_FOUND: none; ZERR_CORRUPT: none can be read. */
int dir_choose_db(struct vfs *, const struct dir_view *, uint32_t *ret_id, bool bad[DB_IDS],
                  struct zerr_info *) ZKV_MUST_CHECK;

/* Block `number` under whichever name it has. writable: only meaningful for open<n>. */
int dir_open_block(struct vfs *, const struct dir_block *, bool writable,
                   struct vfs_file **ret) ZKV_MUST_CHECK;

struct dir_settled {
    bool failed;             /* the first sync did: somebody should be told */
    struct vfs_file *direct; /* not NULL: read this one, past the cache; the caller closes it */
};
/* Before a file is built upon: what it shows is on the disk then, whatever a crash left in the cache.
 * A sync that fails may only bring the news of write-back that failed earlier, when nobody asked: a
 * second one speaks for what the disk has, and what was lost goes with the cache, or is passed by
 * where the cache cannot be dropped (another program has mapped the file, say). `name`: the file's.
 * Errors: ZERR_IO: the disk fails now, or what it lost cannot be told from what it has. */
int dir_settle(struct vfs_file *, const char *name, struct dir_settled *ret,
               struct zerr_info *) ZKV_MUST_CHECK;

/* May the block hold records that the db does not have? (format.h: not sealed when the last member
 * was written, or newer.) */
bool dir_is_unsealed(const struct dir_block *, const struct db_state *);
bool dir_was_unsealed(uint32_t number, const struct db_state *); /* also of one that is not there */

#endif
