/* A new history from the blocks.
 *
 * rebuild_history() makes a new db from the frames of all blocks: same records, same order, same
 * revisions. Records that no frame holds are taken from the db that is there, as far as it can
 * be read: what the original wrote (it comes first), and records whose frame is damaged. A db
 * that the original's server has written over ours (without our fields) is joined with the frames:
 * its order is kept, its places are matched with the frames, what it misses follows by number.
 * Blocks that are not sealed are synced and read from the device before (I2). Sorting happens in a
 * temporary SQLite table, not in memory. */
#ifndef ZKV_STORE_REBUILD_H
#define ZKV_STORE_REBUILD_H

#include "store/record.h"
#include "store/vfs.h"

struct rebuild_config {
    struct vfs *vfs;
    void *user;
    /* Or NULL. Non-zero ends it with that. */
    int (*progress)(void *user, const char *what, uint64_t done, uint64_t total);
};

struct rebuild_result {
    uint64_t records;     /* in the new history */
    uint64_t from_frames; /* of them */
    uint64_t damaged;     /* frames that could not be read */
    uint32_t db_id;       /* of the new file */
};

/* The caller holds the directory's lock. On success the new db is the only one (a readable old one
 * is renamed old-db..., a bad one bad-db...); the index must be removed or will be found
 * not to fit. On failure everything is as before. */
int rebuild_history(const struct rebuild_config *, struct rebuild_result *ret,
                    struct zerr_info *) ZKV_MUST_CHECK;

#endif
