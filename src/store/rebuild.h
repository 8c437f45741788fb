/* A new history from the blocks, and a reader of the whole history for tools.
 *
 * rebuild_history() makes a new db from the frames of all blocks: same records, same order, same
 * revisions. Records that no frame holds are taken from the db that is there, as far as it can
 * be read: what the original wrote (it comes first), and records whose frame is damaged. A db
 * that the original's server has written over ours (without our fields) is joined with the frames:
 * its order is kept, its places are matched with the frames, what it misses follows by number.
 * Sorting happens in a temporary SQLite table, not in memory. */
#ifndef ZKV_STORE_REBUILD_H
#define ZKV_STORE_REBUILD_H

#include "store/record.h"
#include "store/vfs.h"

struct rebuild_config {
    struct vfs *vfs;
    void *user;
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* or NULL */
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
int rebuild_history(const struct rebuild_config *, struct rebuild_result *ret, struct zerr_info *) ZKV_MUST_CHECK;

/* Every record of the directory's history, in order: the db, then what only the unsealed blocks
 * hold. Takes no lock and writes nothing: a server may be running; a torn end of the db is taken
 * as being written. Memory is constant. Records from n_records on are not handed out
 * (UINT64_MAX: all). Non-zero from `each` stops and is returned. */
struct history_info {
    uint64_t records;      /* handed out or seen */
    bool has_store_id;
    uint64_t generation;
};
int history_each(struct vfs *, uint64_t n_records,
                 int (*each)(void *user, uint64_t rev, const struct record *, bool damaged), void *user,
                 struct history_info *ret, struct zerr_info *) ZKV_MUST_CHECK;

#endif
