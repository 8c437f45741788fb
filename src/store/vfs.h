/* The file system as the store sees it: one directory, few operations, all of them injectable.
 *
 * A vfs is bound to one directory; names are relative to it and have no '/'. Implementations:
 * vfs_posix (the real thing) and, for tests, the ones in test/support that count, fail, or
 * simulate power cuts. SQLite does its own I/O and never passes here.
 *
 * Every function returns 0 or a zerr; EINTR is retried inside, short transfers are completed
 * inside, errno is translated here and nowhere else (EIO -> ZERR_IO, ENOSPC/EDQUOT/EFBIG ->
 * ZERR_NO_SPACE, ENOENT -> ZERR_NOT_FOUND, EEXIST -> ZERR_EXISTS, EMFILE/ENFILE -> ZERR_LIMIT,
 * ENOMEM -> ZERR_NOMEM, the rest -> ZERR_IO). The errno of the last failure is in vfs->last_errno
 * of the calling thread (vfs_last_errno()).
 *
 * Threads: a vfs and its files may be used from any thread at once; a file's close must be the
 * last call on it. Everything here may block except pread_nowait. */
#ifndef ZKV_STORE_VFS_H
#define ZKV_STORE_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/zerr.h"

struct vfs;

/* An open file; implementations embed it. */
struct vfs_file {
    struct vfs *vfs;
};

enum vfs_open_flags {
    VFS_READ = 1 << 0,   /* read only */
    VFS_WRITE = 1 << 1,  /* read and write */
    VFS_CREATE = 1 << 2, /* with VFS_WRITE: must not exist (O_EXCL), mode 0600 */
    VFS_DIRECT = 1 << 3, /* with VFS_READ: past the page cache (O_DIRECT); offsets and sizes of
                            pread need not be aligned. ZERR_UNSUPPORTED where it cannot be had */
};

struct vfs_dirent {
    const char *name; /* valid during the call-back */
    uint64_t size;
    int64_t mtime_ms;
    int64_t born_ms; /* when it was made; 0: the file system does not know */
    bool is_dir;
};

struct vfs_ops {
    int (*open)(struct vfs *, const char *name, unsigned flags, struct vfs_file **ret);
    void (*close)(struct vfs_file *);
    /* Reads up to n bytes; *ret_n < n only at the end of the file. */
    int (*pread)(struct vfs_file *, void *buf, size_t n, uint64_t off, size_t *ret_n);
    /* The same from the page cache alone. ZERR_BUSY: would block (or not supported): use a worker.
     */
    int (*pread_nowait)(struct vfs_file *, void *buf, size_t n, uint64_t off, size_t *ret_n);
    /* Writes all of iov (n_iov <= 1024) or fails; after a failure any part may be written. */
    int (*pwritev)(struct vfs_file *, const struct iovec *iov, int n_iov, uint64_t off);
    int (*size)(struct vfs_file *, uint64_t *ret);
    int (*datasync)(struct vfs_file *); /* fdatasync; never call it again on a file that failed */
    int (*sync)(struct vfs_file *);     /* fsync */
    int (*truncate)(struct vfs_file *, uint64_t size);
    /* fallocate KEEP_SIZE. ZERR_UNSUPPORTED where the file system cannot. */
    int (*allocate)(struct vfs_file *, uint64_t off, uint64_t len);
    int (*punch)(struct vfs_file *, uint64_t off,
                 uint64_t len); /* PUNCH_HOLE, KEEP_SIZE; likewise */
    void (*writeback)(struct vfs_file *, uint64_t off, uint64_t len); /* start write-back; a hint */
    /* Start reading into the page cache; a hint. NULL: there is none. */
    void (*will_read)(struct vfs_file *, uint64_t off, uint64_t len);
    /* Makes the next reads come from the device: POSIX_FADV_DONTNEED, then checked.
     * ZERR_BUSY: pages stayed (read with VFS_DIRECT instead). File systems without a device
     * (tmpfs) answer 0. Call datasync first: dirty pages cannot be dropped. */
    int (*drop_cache)(struct vfs_file *);
    int (*make_read_only)(struct vfs_file *);                      /* fchmod 0400 */
    int (*rename)(struct vfs *, const char *from, const char *to); /* replaces `to` */
    int (*unlink)(struct vfs *, const char *name);
    int (*sync_dir)(struct vfs *);
    /* A directory of that name: made, mode 0700 (ZERR_EXISTS); opened as a vfs of its own, to be
     * closed by close_dir when its files are. rename() above moves directories too. */
    int (*make_dir)(struct vfs *, const char *name);
    int (*open_dir)(struct vfs *, const char *name, struct vfs **ret);
    void (*close_dir)(struct vfs *);
    /* Calls back for each entry but "." and ".."; a non-zero return stops and is returned. */
    int (*list)(struct vfs *, int (*each)(void *user, const struct vfs_dirent *), void *user);
    int (*stat)(struct vfs *, const char *name, struct vfs_dirent *ret); /* ret->name = name */
    /* flock(2), exclusive, held until close; creates the file and writes `who` into it.
     * ZERR_LOCKED: busy; the holder's text is in info. */
    int (*lock)(struct vfs *, const char *name, const char *who, struct vfs_file **ret,
                struct zerr_info *info);
    int (*free_space)(struct vfs *, uint64_t *ret_free, uint64_t *ret_total); /* for us, not root */
    int64_t (*wall_ms)(struct vfs *);
    uint64_t (*mono_ns)(struct vfs *); /* monotonic clock */
    int (*random)(struct vfs *, void *buf, size_t n);
};

struct vfs {
    const struct vfs_ops *ops;
};

/* errno behind the calling thread's last failing vfs call; 0 if it was not a system call. */
int vfs_last_errno(void);
void vfs_set_last_errno(int sys_errno); /* for implementations */

/* Opens an existing directory. ZERR_NOT_FOUND, ZERR_INVALID (not a directory), ...
 * vfs_posix_close() after all its files are closed; NULL is fine. */
int vfs_posix_open(const char *dir, struct vfs **ret, struct zerr_info *info) ZKV_MUST_CHECK;
void vfs_posix_close(struct vfs *);
/* True if the directory is on a network file system, where flock and mmap cannot be trusted. */
bool vfs_posix_is_network(const char *dir);

#endif
