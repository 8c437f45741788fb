/* What only the unsealed blocks hold: the records after the db's last_seq, and what crashes left.
 *
 * Used by recovery (which settles the blocks on disk first and repairs them afterwards) and, reading
 * only, by zipkvhistory and the other tools.
 *
 * Which frames count (DESIGN: a valid record does not prove that the body reached the disk):
 *   valid                                    counts, unless its number was declared void
 *   body bad, number <= some durable_seq     was acknowledged: counts, as damaged
 *   body bad, above every durable_seq        a torn write: dropped
 *   a copy whose body is such a dropped one  dropped; also if a crash has left nothing of its block
 *   record zero                              never committed: cut off at the end, elsewhere VOID
 *   record unreadable, or no head            the frames of one round are written in any order: if all
 *                                            frames behind are of the round that died, and nobody
 *                                            (the index) knows of a body there, torn: likewise.
 *                                            So, too, the record of an upload that began before
 *                                            what lies behind it, if no number is missing.
 *                                            Else damage, name unknown: left where it is */
#ifndef ZKV_STORE_TAIL_H
#define ZKV_STORE_TAIL_H

#include "store/dir.h"
#include "store/frame.h"
#include "store/index_seq.h"

struct tail_block {
    const struct dir_block *file;
    struct block_header header;
    uint64_t keep_end;   /* behind the last frame that stays */
    uint64_t synced_off; /* of the last frame of an earlier round than the one that died: what
                            is not readable before it was an acknowledged frame */
    uint64_t file_len;
    bool direct; /* the cache does not show what the disk has */
};

struct tail_loose { /* a frame that was never committed, or dropped */
    struct place at;
    bool headless;    /* no head there */
    bool unreadable;  /* its record or head is there and does not check: left alone */
    bool may_be_late; /* of a body: it may have been committed after what lies behind it */
    uint64_t len;     /* not 0: may be torn */
    uint64_t room;    /* not 0: of what was not read */
};

/* Is the frame in that room? */
static inline bool tail_loose_has(const struct tail_loose *l, struct place frame)
{
    return l->at.block == frame.block && frame.off >= l->at.off && frame.off < l->at.off + l->room;
}

struct tail_void {
    uint64_t first, last;
};

struct tail {
    const struct db_state *db;
    struct seq_table *frames;
    struct tail_block *blocks; /* framed unsealed ones */
    size_t n_blocks;
    struct tail_loose *loose;
    size_t n_loose, cap_loose;
    struct tail_void *voids;
    size_t n_voids, cap_voids;
    uint64_t last_seq;    /* the db's */
    uint64_t durable_seq; /* highest seen */
    uint64_t max_seq;     /* highest number seen, void or not */
    uint64_t max_session; /* in headers and numbers */
    uint64_t n_accounted; /* numbers that were acknowledged, not in the db, and a record has */
    uint64_t torn, damaged;
    unsigned failed_syncs; /* of blocks that could be settled nevertheless */
    bool settle;
};

/* Whether some name is known to have a body in that room, where no frame can be read. */
typedef int tail_known_fn(void *user, struct place room, uint64_t len, bool *ret);

/* settle: fdatasync each block and read it from the device, since the cache may hold what a failed
 * sync lost. view and db_state must outlive the tail. known: NULL if nobody can say. durable_seq: what was synced
 * for sure, 0: only the records say. */
int tail_collect(struct vfs *, const struct dir_view *, const struct db_state *, bool settle,
                 uint64_t durable_seq, tail_known_fn *known, void *user, struct tail *ret,
                 struct zerr_info *) ZKV_MUST_CHECK;
void tail_finish(struct tail *);

/* A name is known that has its record in that room: damage, not an upload that was cut off. The room
 * stays, and so does its block. */
void tail_keep(struct tail *, struct place frame);

/* The records that count, in order of numbers, above last_seq. Valid during the call. */
int tail_each(struct vfs *, struct tail *,
              int (*each)(void *user, const struct record *, bool damaged),
              void *user) ZKV_MUST_CHECK;

/* Bodies of records that the db has, found damaged in unsealed blocks. */
int tail_each_damaged(struct tail *, int (*each)(void *user, struct place body),
                      void *user) ZKV_MUST_CHECK;

/* Makes the open files sealed blocks: loose frames VOID, cut behind the last frame, fdatasync,
 * rename, read-only, directory fsync. Files with nothing to keep are removed. Can be cut off
 * anywhere and done again. */
int tail_seal(struct vfs *, struct tail *, struct zerr_info *) ZKV_MUST_CHECK;

#endif
