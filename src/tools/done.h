/* Which sealed blocks a check of a whole store has been through, in a file: so that a check that was
 * cut off goes on where it was. A sealed block never changes, so what was right stays checked until
 * the next pass.
 *
 * The file is the user's to name and lies anywhere. It is replaced, whole and synced, after each
 * block, and removed when the pass has ended. Its text:
 *
 *   zipkvverify 1
 *   store 32 hex digits
 *   blocks FIRST LAST       one line for each run of numbers, rising
 */
#ifndef ZKV_TOOLS_DONE_H
#define ZKV_TOOLS_DONE_H

#include "store/format.h"
#include "store/vfs.h"

struct done {
    struct vfs *vfs; /* of the file's directory; NULL: nothing is kept */
    char *path, *name, *tmp;
    uint8_t store_id[STORE_ID_BYTES];
    struct done_run {
        uint32_t first, last;
    } * runs;
    size_t n, cap;
};

/* Reads the file, if there is one. ZERR_UNSUPPORTED: it is no such file, or of another store; it is
 * left alone. */
int done_open(struct done *, const char *path, const uint8_t store_id[STORE_ID_BYTES],
              struct zerr_info *) ZKV_MUST_CHECK;
bool done_has(const struct done *, uint32_t block);
/* Blocks come in rising order; one that is there already changes nothing. */
int done_add(struct done *, uint32_t block, struct zerr_info *) ZKV_MUST_CHECK;
/* The pass has ended: the file goes away. */
int done_end(struct done *, struct zerr_info *) ZKV_MUST_CHECK;
void done_close(struct done *); /* {0} is fine */

#endif
