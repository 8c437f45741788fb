/* Reading no faster than so many bytes a second, so that a check leaves the disk to others. */
#ifndef ZKV_TOOLS_PACE_H
#define ZKV_TOOLS_PACE_H

#include "store/vfs.h"

struct pace {
    uint64_t rate;   /* bytes a second; 0: as fast as it goes */
    uint64_t due_ns; /* when the next bytes may be read */
    uint64_t total;  /* bytes taken so far */
};

/* n bytes were read: sleeps until they may have been. What was not used before is not made up for. */
void pace_take(struct pace *, uint64_t n);

/* A file whose reads are paced and, some megabytes ahead, announced (a frame's sums lie behind its
 * body and are read first: what looks like a disorder to the system's own reading ahead), for scan_block(), which asks for pread and size alone: nothing else
 * is there. Valid as long as the file below it, which stays its owner's. */
struct paced_file {
    struct vfs_file base;
    struct vfs_file *file;
    struct pace *pace;
    uint64_t announced; /* up to here */
};
struct vfs_file *paced_file_init(struct paced_file *, struct vfs_file *, struct pace *);

#endif
