/* A directory in memory, with every function of vfs.h, for tests: it counts and fails calls, and it
 * knows what a power cut would have left.
 *
 * Calling sequence:
 *   v = vfs_mem_create(seed);                 an empty directory; use it as any vfs
 *   vfs_mem_fail(v, MEM_SYNC, 3, ZERR_IO, MEM_ONCE);       the third sync from now on fails
 *   w = vfs_mem_crash(v, MEM_CRASH_RANDOM, seed);          what a power cut now would leave
 *   vfs_mem_destroy(v); vfs_mem_destroy(w);
 * To stop "at every point": for n = 1, 2, ...: run the work with vfs_mem_fail(v, MEM_CHANGES, n,
 * ZERR_IO, MEM_FROM_THEN_ON), take vfs_mem_crash() of it and recover that; end when the work has
 * succeeded (vfs_mem_failed(v) == 0). Everything random comes from the seeds: print them.
 *
 * The model: a write, truncation or punch is volatile until datasync or sync of its file; a
 * creation, rename or unlink until sync_dir. A power cut keeps MEM_CRASH_SYNCED      nothing
 * volatile, MEM_CRASH_EVERYTHING  all of it (this is also what kill -9 leaves), MEM_CRASH_RANDOM
 * some of it (MEM_KEEP_SOME in mem_disk.h): changes to files all, none, or by sectors of 512 bytes,
 * which may be zeros or garbage too; changes to the directory up to some point, as journals do. A write that is made to fail has happened in part. A
 * sync that is made to fail has put some of the volatile changes on the device and will never put
 * the others: the file shows them until drop_cache(), and a later sync succeeds without them.
 * VFS_DIRECT reads the device, up to the length that the file shows. MEM_FROM_THEN_ON: only the first failing call has such effects, the
 * later ones do nothing.
 *
 * Files made read-only refuse VFS_WRITE (ZERR_IO with EACCES), as they do for whoever is not root.
 * pread_nowait answers, unless vfs_mem_set_nowait(v, false). Time stands still until
 * vfs_mem_advance(). Space is what vfs_mem_set_space() says (1 TiB at first), less what the files
 * hold; a write beyond it gives ZERR_NO_SPACE.
 *
 * Threads: as vfs.h says (one mutex inside). Out of memory ends the test by assert. */
#ifndef ZKV_TEST_VFS_MEM_H
#define ZKV_TEST_VFS_MEM_H

#include "base/slice.h"
#include "store/vfs.h"
#include "support/mem_disk.h"

/* Classes of calls. */
enum vfs_mem_op {
    MEM_OPEN = 1 << 0, /* lock() too */
    MEM_READ = 1 << 1, /* pread, pread_nowait */
    MEM_WRITE = 1 << 2,
    MEM_SYNC = 1 << 3, /* datasync, sync */
    MEM_TRUNCATE = 1 << 4,
    MEM_ALLOCATE = 1 << 5, /* and punch */
    MEM_RENAME = 1 << 6,
    MEM_UNLINK = 1 << 7,
    MEM_SYNC_DIR = 1 << 8,
    MEM_CHMOD = 1 << 9,
    MEM_LOOK = 1 << 10,   /* list, stat, size */
    MEM_CREATE = 1 << 11, /* open with VFS_CREATE (which is no MEM_OPEN) */
    MEM_RANDOM = 1 << 12, /* random() */
    MEM_CHANGES = MEM_WRITE | MEM_SYNC | MEM_TRUNCATE | MEM_ALLOCATE | MEM_RENAME | MEM_UNLINK |
                  MEM_SYNC_DIR | MEM_CHMOD | MEM_CREATE,
    MEM_ANY = (1 << 13) - 1,
};

enum vfs_mem_times { MEM_ONCE, MEM_FROM_THEN_ON };

enum vfs_mem_crash_mode { MEM_CRASH_SYNCED, MEM_CRASH_EVERYTHING, MEM_CRASH_RANDOM };

struct vfs *vfs_mem_create(uint64_t seed);
/* Frees all; files still open must not be used any more (vfs_mem_open_files() tells). NULL is fine.
 */
void vfs_mem_destroy(struct vfs *);

/* The nth call (from 1, counted from here) of the classes `ops` gives zerr. One such order at a
 * time; nth 0 takes it back. */
void vfs_mem_fail(struct vfs *, unsigned ops, uint64_t nth, int zerr, enum vfs_mem_times);
uint64_t vfs_mem_failed(struct vfs *);              /* calls made to fail since vfs_mem_fail() */
uint64_t vfs_mem_calls(struct vfs *, unsigned ops); /* calls of the classes since the creation */
unsigned vfs_mem_open_files(struct vfs *);

/* A new vfs with what a power cut would leave now; the old one is as it was. Locks are gone. */
struct vfs *vfs_mem_crash(struct vfs *, enum vfs_mem_crash_mode, uint64_t seed);

/* Tests' own hands on files, past faults, and durable at once. */
void vfs_mem_put(struct vfs *, const char *name, struct slice data); /* creates or replaces */
/* Valid until the file changes. ptr NULL: no such file. */
struct slice vfs_mem_get(struct vfs *, const char *name);
/* Exclusive-ors a byte on the device and in the cache: bit rot. */
void vfs_mem_flip(struct vfs *, const char *name, uint64_t off, uint8_t mask);
/* Copies all plain files of a real directory into this one, durable. Returns how many. */
int vfs_mem_load(struct vfs *, const char *dir);

/* For recording: fn is called before each call of the classes MEM_CHANGES does anything, with what it
 * is and the name it is about; it may look at the disk, and nothing else. NULL: no more. */
typedef void vfs_mem_watch_fn(void *user, unsigned op, const char *name);
void vfs_mem_watch(struct vfs *, vfs_mem_watch_fn *fn, void *user);
struct mem_disk *vfs_mem_disk(struct vfs *);
/* A new vfs with what the cut leaves of a disk. */
struct vfs *vfs_mem_cut(const struct mem_disk *, const struct mem_cut *, uint64_t seed);

void vfs_mem_set_nowait(struct vfs *, bool answers);
/* Pages that somebody else uses: drop_cache() is ZERR_BUSY. direct: whether there is VFS_DIRECT. */
void vfs_mem_hold_pages(struct vfs *, bool held, bool direct);
void vfs_mem_set_space(struct vfs *, uint64_t total);
void vfs_mem_advance(struct vfs *, uint64_t ms); /* both clocks */

#endif
