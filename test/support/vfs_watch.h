/* Somebody who looks over a vfs's shoulder: the calls that change directories are noted in order, one
 * of them can be made to fail, and time can be moved on. Everything else goes through, to files at
 * once. Directories opened through it are watched too, by the same eyes.
 *
 * Calling sequence: vfs_watch_open(dir, &w) -> w.vfs is to be used -> vfs_watch_close(&w). */
#ifndef ZKV_TEST_VFS_WATCH_H
#define ZKV_TEST_VFS_WATCH_H

#include "store/vfs.h"

struct vfs_watch {
    struct vfs *vfs;
    char log[4096];   /* "mkdir NAME; rename A B; sync DIR; ", names as the calls have them */
    unsigned fail_in; /* the so many-th of these calls from now on fails with ZERR_IO; 0: none */
    bool stay_down;   /* and all that follow */
    unsigned n_failed;
    uint64_t ahead_ms; /* of the clocks */
};

void vfs_watch_open(const char *dir, struct vfs_watch *);
void vfs_watch_close(struct vfs_watch *);

#endif
