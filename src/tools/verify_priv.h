/* What verify.c and verify_blocks.c share. */
#ifndef ZKV_TOOLS_VERIFY_PRIV_H
#define ZKV_TOOLS_VERIFY_PRIV_H

#include "base/log.h"
#include "store/dir.h"
#include "tools/cli.h"
#include "tools/done.h"
#include "tools/pace.h"
#include "tools/source.h"
#include "tools/verify.h"

/* A stretch of a block in which no frame can be trusted. */
struct bad_place {
    struct place at;
    uint64_t end;
    const char *why; /* a literal */
    bool unreadable; /* the device said so: nothing is concluded about the bytes */
};

struct seq_range {
    uint64_t first, last;
};

/* Of a set of records, whatever their order: equal sets have equal ones. */
struct record_set {
    uint64_t sum, count;
};

struct verify {
    const struct verify_options *opt;
    struct verify_result *res;
    struct zerr_info *info;
    struct source src;
    struct vfs_file *lock;
    struct cli_progress progress;
    struct pace pace;
    struct done done;
    struct index *ix; /* the replayed history */
    struct arena arena;
    struct buf scratch;

    /* verify_history(), verify_blocks() */
    struct record_set in_history, in_frames; /* records that have a sequence number */
    uint64_t prev_seq, last_seq;
    bool lost_history; /* some of the db */
    bool partial;      /* some of either could not be read: the sets need not be equal */
    struct dir_view view;
    uint64_t bytes_before; /* progress: of the blocks scanned */
    const struct source_block *scanning;
    bool voids_only;       /* the second pass */
    bool skip_bodies;      /* of the block being scanned: an earlier run has checked it */
    struct bad_place *bad; /* rising */
    size_t n_bad, cap_bad;
    struct seq_range *voids;
    size_t n_voids, cap_voids;

    /* verify_names() */
    struct index *real; /* index.sqlite; NULL: cannot be used */
    bool compare;       /* it must say what the history says */
    bool in_tx;
    bool precise; /* each record is looked at, since the sets are not equal */
    bool index_wrong;
    struct place last_body; /* of the original, checked last */
    uint64_t last_size;
    const char *last_why;
    bool has_last, last_unchecked;
};

/* A line on standard output. */
void verify_say(struct verify *, const char *fmt, ...) ZKV_PRINTF(2, 3);
/* Room for one more in an array of elements. */
int verify_grow(void **v, size_t n, size_t *cap, size_t size) ZKV_MUST_CHECK;
int verify_add_record(struct verify *, struct record_set *, const struct record *) ZKV_MUST_CHECK;

/* Scans all blocks, bodies too; fills bad, voids and in_frames. */
int verify_blocks(struct verify *) ZKV_MUST_CHECK;
/* The block's file is not what it was; once for each. */
void verify_bad_block(struct verify *, uint32_t number);
/* The bad stretch that has this place, or NULL. */
const struct bad_place *verify_find_bad(const struct verify *, struct place);

#endif
