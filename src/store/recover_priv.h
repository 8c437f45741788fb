/* What the parts of recovery share: recover.c (the whole, and settling), recover_index.c (the index
 * follows the history) and recover_tail.c (what only unsealed blocks have). */
#ifndef ZKV_STORE_RECOVER_PRIV_H
#define ZKV_STORE_RECOVER_PRIV_H

#include "store/dir.h"
#include "store/lost.h"
#include "store/store_priv.h"
#include "store/tail.h"

struct recovery {
    struct store *st;
    struct zerr_info *info;
    struct dir_view view;
    bool bad[DB_IDS];
    struct db_summary sum;
    struct tail tail;
    bool have_tail;
    struct lost lost_names;
    struct index_mark mark; /* of the index as found; n_records 0 after it was made anew */
    bool fresh;             /* the index has been made anew */
    bool mark_ok;           /* the record before mark.n_records was seen and has mark.seq */
    uint64_t flushed_seq;   /* of the db up to the mark: what it counts as unflushed is above */
    uint64_t n_unflushed;   /* of these, those seen up to mark.last_seq */
    uint64_t index_session; /* that the index has seen, also if it was then made anew (I3) */
    uint64_t in_tx;
    bool from_mark;    /* the db was read from the index's mark on */
    int record_status; /* of the db's last record: not 0, the index failed */
    bool in_tail;      /* what is applied comes from unsealed blocks */
    bool lost;         /* a member in the middle cannot be read */
    struct dir_settled db_settled;
    uint64_t rev;       /* of the next record from the tail */
    uint8_t *zero_seen; /* the original's db: per block, 1: named, 2: an object at offset 0 */
    size_t n_zero_seen;
    bool *zeroed; /* per block of the view: its header was wiped after its first sync */
};

/* The history, as the disk has it. */
static inline struct vfs_file *recovery_db(const struct recovery *r)
{
    return r->db_settled.direct != NULL ? r->db_settled.direct : r->st->db_file;
}

/* ---- recover_index.c ---- */

/* Opens the index and takes its mark. fresh: makes it anew, empty; so it does with one that cannot be
 * read. */
int recovery_open_index(struct recovery *, bool fresh) ZKV_MUST_CHECK;
/* Reads the db from there on into the index, sum tells its state. ZERR_CORRUPT, ZERR_BAD_REV: as if it had
 * not been called, but for what index transactions have brought in already. */
int recovery_scan_db(struct recovery *, struct db_pos from) ZKV_MUST_CHECK;
/* Step 2: the same from the mark on if that is of this history, else from the start with a new index. */
int recovery_follow_db(struct recovery *) ZKV_MUST_CHECK;
/* One record in its place: skipped if the index has it, compared where its mark is (ZERR_BAD_REV). */
int recovery_apply_record(struct recovery *, uint64_t rev, const struct record *,
                          bool damaged) ZKV_MUST_CHECK;
/* Before each change to the index: a transaction is open then, and never grows without bound. end: after
 * the last, it is committed. */
int recovery_tx_step(struct recovery *, bool end) ZKV_MUST_CHECK;
void recovery_count_unflushed(struct recovery *, const struct record *);

/* ---- recover_tail.c ---- */

/* Step 3: reads the unsealed blocks; sees whether the index is a beginning of what there is, and makes it
 * anew if not. Writes to nothing but the index. */
int recovery_follow_tail(struct recovery *) ZKV_MUST_CHECK;
/* Of step 4: what they hold goes into index and batch, and what is damaged in them is marked. */
int recovery_apply_tail(struct recovery *) ZKV_MUST_CHECK;
/* Nothing in it was ever synced: the first sync of a block covers its header. */
bool recovery_is_unborn(struct vfs *, const struct dir_block *);

#endif
