/* Checks a directory: history against frames against index, every piece of every body
 * (zipkvverify).
 *
 * Works while a server runs (then it only reads); with the directory's lock it also sets and clears
 * the damage marks in the index. */
#ifndef ZKV_TOOLS_VERIFY_H
#define ZKV_TOOLS_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/zerr.h"

#define VERIFY_BLOCKS_TOLD 12

struct verify_options {
    const char *dir;
    const char *index_path; /* NULL: dir/index.sqlite */
    uint64_t rate;          /* bytes a second of blocks; 0: as fast as it goes */
    const char *resume;     /* file that tells what an earlier run has checked (done.h), or NULL */
};

struct verify_result {
    bool locked; /* false: a server runs there */
    uint64_t blocks, disk_bytes;
    uint64_t frames, bytes_checked; /* frames whose every byte was checked, bodies in them */
    uint64_t revisions;             /* records in the history */
    uint64_t unflushed;             /* of them only in unsealed blocks */
    uint64_t objects, live_bytes;
    uint64_t body_bytes;      /* of all bodies, live or not; blocks of the original whole */
    uint64_t unchecked;       /* names whose body has no sums and no known MD5 */
    uint64_t places_damaged;  /* in blocks and history, each named on standard output */
    uint64_t names_damaged;   /* likewise */
    uint64_t marked, cleared; /* damage marks in the index */
    uint64_t blocks_skipped;  /* bodies not read: checked by the run that is resumed */
    uint64_t n_bad_blocks;    /* files to be put back from a copy, the first of them: */
    uint32_t bad_blocks[VERIFY_BLOCKS_TOLD];
    bool index_checked;
    char index_note[160]; /* why not, or what was done; "" for nothing */
};

/* Blocks; problems go to standard output as they are found, one a line. ZERR_DAMAGED: some were;
 * the result is complete then, too. Other errors: could not check. */
int verify_run(const struct verify_options *, struct verify_result *ret,
               struct zerr_info *) ZKV_MUST_CHECK;

#endif
