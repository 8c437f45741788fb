/* Frames by sequence number, on disk and not in memory: what recovery and rebuild sort by. A private
 * temporary SQLite database that vanishes with its owner. */
#ifndef ZKV_STORE_INDEX_SEQ_H
#define ZKV_STORE_INDEX_SEQ_H

#include "store/record.h"

enum seq_flags {
    SEQ_BAD_BODY = 1 << 0, /* head and record check, the body does not */
    SEQ_FROM_DB = 1 << 1,  /* no frame: `record` is the history's form */
};

struct seq_row {
    uint64_t seq; /* of the frame's first record */
    struct place frame;
    struct place body; /* of a PUT; off 0: none */
    uint32_t n_records;
    uint64_t frame_len; /* whole, with padding */
    unsigned flags;
    struct slice record; /* FROM_DB; valid during the call */
};

struct seq_table;

/* Says that rows could not be taken, and what may help. Returns zerr. */
static inline int seq_table_failed(int zerr, struct zerr_info *info)
{
    return zerr_fail(info, zerr, 0,
                     "frames cannot be sorted (%s): is there room for temporary files in /var/tmp, "
                     "or in TMPDIR if that is set?",
                     zerr_str(zerr));
}

int seq_table_create(struct seq_table **ret) ZKV_MUST_CHECK;
void seq_table_destroy(struct seq_table *);
/* A number that is there already stays as it is; *ret_new tells (may be NULL). */
int seq_table_add(struct seq_table *, const struct seq_row *, bool *ret_new) ZKV_MUST_CHECK;
/* In order of numbers, those above `after`. Non-zero stops and is returned. */
int seq_table_each(struct seq_table *, uint64_t after,
                   int (*each)(void *user, const struct seq_row *), void *user) ZKV_MUST_CHECK;
/* The frame with its head there. ZERR_NOT_FOUND. `record` is not filled. */
int seq_table_find(struct seq_table *, struct place, struct seq_row *ret) ZKV_MUST_CHECK;
/* The row with the highest number not above `seq`: the frame that holds that record, if it has so
 * many. ZERR_NOT_FOUND: none. `record` is not filled. */
int seq_table_floor(struct seq_table *, uint64_t seq, struct seq_row *ret) ZKV_MUST_CHECK;
/* The first row above `after`. ZERR_NOT_FOUND: none. `record` is not filled. */
int seq_table_next(struct seq_table *, uint64_t after, struct seq_row *ret) ZKV_MUST_CHECK;

#endif
