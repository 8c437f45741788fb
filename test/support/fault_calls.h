/* Stand-ins for the system calls of vfs_posix.c, which is compiled a second time with this header in
 * front of it (test/faults/meson.build). Each call there is a site of its own, with counters, whether
 * it is ever made or not; fault_points.h says which call fails, and with which errno. */
#ifndef ZKV_TEST_FAULT_CALLS_H
#define ZKV_TEST_FAULT_CALLS_H

/* All that vfs_posix.c includes: the names below must not be renamed where they are declared. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Beside errno's values: */
#define FAULT_SHORT 10000     /* the transfer ends early */
#define FAULT_HALF_FULL 10001 /* ... and what would be the rest gives ENOSPC */
#define FAULT_GARBLED 10002   /* what is read is not what is on the disk */

#define FAULT_CALLS(X)                                                                             \
    X(openat)                                                                                      \
    X(close)                                                                                       \
    X(fstat)                                                                                       \
    X(pread)                                                                                       \
    X(preadv2)                                                                                     \
    X(pwrite)                                                                                      \
    X(pwritev)                                                                                     \
    X(fdatasync)                                                                                   \
    X(fsync)                                                                                       \
    X(ftruncate)                                                                                   \
    X(fallocate)                                                                                   \
    X(sync_file_range)                                                                             \
    X(mmap)                                                                                        \
    X(mincore)                                                                                     \
    X(munmap)                                                                                      \
    X(fstatfs)                                                                                     \
    X(posix_fadvise)                                                                               \
    X(fchmod)                                                                                      \
    X(renameat)                                                                                    \
    X(unlinkat)                                                                                    \
    X(mkdirat)                                                                                     \
    X(statx)                                                                                       \
    X(fdopendir)                                                                                   \
    X(readdir)                                                                                     \
    X(closedir)                                                                                    \
    X(flock)                                                                                       \
    X(fstatvfs)                                                                                    \
    X(statfs)                                                                                      \
    X(clock_gettime)                                                                               \
    X(getrandom)                                                                                   \
    X(malloc)                                                                                      \
    X(posix_memalign)

enum fault_call_kind {
#define X(name) CALL_##name,
    FAULT_CALLS(X)
#undef X
        N_CALLS
};

struct fault_site {
    enum fault_call_kind kind;
    unsigned line;
    uint64_t calls, failed;
};
/* All of them, called or not. */
extern struct fault_site *const __start_fault_sites[], *const __stop_fault_sites[];

extern const char *const fault_call_names[N_CALLS];
/* The errno values that a call may give (and FAULT_SHORT), ended by 0. */
extern const int fault_call_codes[N_CALLS][8];

/* What the file system is said to be, for vfs's drop_cache(). */
enum fault_disk {
    FAULT_DISK_REAL,  /* what it is */
    FAULT_DISK_DROPS, /* a disk; its cache can be dropped */
    FAULT_DISK_KEEPS, /* a disk; its cache cannot: O_DIRECT */
};
void fault_set_disk(enum fault_disk);
void fault_advance(uint64_t ms); /* all clocks */

int fault_openat(struct fault_site *, int dirfd, const char *name, int flags, mode_t mode);
int fault_close(struct fault_site *, int fd);
int fault_fstat(struct fault_site *, int fd, struct stat *st);
ssize_t fault_pread(struct fault_site *, int fd, void *buf, size_t n, off_t off);
ssize_t fault_preadv2(struct fault_site *, int fd, const struct iovec *iov, int n, off_t off,
                      int flags);
ssize_t fault_pwrite(struct fault_site *, int fd, const void *buf, size_t n, off_t off);
ssize_t fault_pwritev(struct fault_site *, int fd, const struct iovec *iov, int n, off_t off);
int fault_fdatasync(struct fault_site *, int fd);
int fault_fsync(struct fault_site *, int fd);
int fault_ftruncate(struct fault_site *, int fd, off_t size);
int fault_fallocate(struct fault_site *, int fd, int mode, off_t off, off_t len);
int fault_sync_file_range(struct fault_site *, int fd, off_t off, off_t len, unsigned flags);
void *fault_mmap(struct fault_site *, void *at, size_t len, int prot, int flags, int fd, off_t off);
int fault_mincore(struct fault_site *, void *at, size_t len, unsigned char *vec);
int fault_munmap(struct fault_site *, void *at, size_t len);
int fault_fstatfs(struct fault_site *, int fd, struct statfs *fs);
int fault_posix_fadvise(struct fault_site *, int fd, off_t off, off_t len, int advice);
int fault_fchmod(struct fault_site *, int fd, mode_t mode);
int fault_renameat(struct fault_site *, int fd, const char *from, int to_fd, const char *to);
int fault_unlinkat(struct fault_site *, int fd, const char *name, int flags);
int fault_mkdirat(struct fault_site *, int fd, const char *name, mode_t mode);
int fault_statx(struct fault_site *, int fd, const char *name, int flags, unsigned mask,
                struct statx *st);
DIR *fault_fdopendir(struct fault_site *, int fd);
struct dirent *fault_readdir(struct fault_site *, DIR *dir);
int fault_closedir(struct fault_site *, DIR *dir);
int fault_flock(struct fault_site *, int fd, int how);
int fault_fstatvfs(struct fault_site *, int fd, struct statvfs *st);
int fault_statfs(struct fault_site *, const char *path, struct statfs *fs);
int fault_clock_gettime(struct fault_site *, clockid_t id, struct timespec *t);
ssize_t fault_getrandom(struct fault_site *, void *buf, size_t n, unsigned flags);
void *fault_malloc(struct fault_site *, size_t n);
int fault_posix_memalign(struct fault_site *, void **ret, size_t align, size_t n);

#ifdef FAULT_RENAME
#define FAULT_SITE(name)                                                                           \
    __extension__({                                                                                \
        static struct fault_site site_ = {CALL_##name, __LINE__, 0, 0};                            \
        static struct fault_site *const at_ __attribute__((section("fault_sites"), used)) =        \
            &site_;                                                                                \
        at_;                                                                                       \
    })

#define openat(...) fault_openat(FAULT_SITE(openat), __VA_ARGS__)
#define close(...) fault_close(FAULT_SITE(close), __VA_ARGS__)
#define fstat(...) fault_fstat(FAULT_SITE(fstat), __VA_ARGS__)
#define pread(...) fault_pread(FAULT_SITE(pread), __VA_ARGS__)
#define preadv2(...) fault_preadv2(FAULT_SITE(preadv2), __VA_ARGS__)
#define pwrite(...) fault_pwrite(FAULT_SITE(pwrite), __VA_ARGS__)
#define pwritev(...) fault_pwritev(FAULT_SITE(pwritev), __VA_ARGS__)
#define fdatasync(...) fault_fdatasync(FAULT_SITE(fdatasync), __VA_ARGS__)
#define fsync(...) fault_fsync(FAULT_SITE(fsync), __VA_ARGS__)
#define ftruncate(...) fault_ftruncate(FAULT_SITE(ftruncate), __VA_ARGS__)
#define fallocate(...) fault_fallocate(FAULT_SITE(fallocate), __VA_ARGS__)
#define sync_file_range(...) fault_sync_file_range(FAULT_SITE(sync_file_range), __VA_ARGS__)
#define mmap(...) fault_mmap(FAULT_SITE(mmap), __VA_ARGS__)
#define mincore(...) fault_mincore(FAULT_SITE(mincore), __VA_ARGS__)
#define munmap(...) fault_munmap(FAULT_SITE(munmap), __VA_ARGS__)
#define fstatfs(...) fault_fstatfs(FAULT_SITE(fstatfs), __VA_ARGS__)
#define posix_fadvise(...) fault_posix_fadvise(FAULT_SITE(posix_fadvise), __VA_ARGS__)
#define fchmod(...) fault_fchmod(FAULT_SITE(fchmod), __VA_ARGS__)
#define renameat(...) fault_renameat(FAULT_SITE(renameat), __VA_ARGS__)
#define unlinkat(...) fault_unlinkat(FAULT_SITE(unlinkat), __VA_ARGS__)
#define mkdirat(...) fault_mkdirat(FAULT_SITE(mkdirat), __VA_ARGS__)
#define statx(...) fault_statx(FAULT_SITE(statx), __VA_ARGS__)
#define fdopendir(...) fault_fdopendir(FAULT_SITE(fdopendir), __VA_ARGS__)
#define readdir(...) fault_readdir(FAULT_SITE(readdir), __VA_ARGS__)
#define closedir(...) fault_closedir(FAULT_SITE(closedir), __VA_ARGS__)
#define flock(...) fault_flock(FAULT_SITE(flock), __VA_ARGS__)
#define fstatvfs(...) fault_fstatvfs(FAULT_SITE(fstatvfs), __VA_ARGS__)
#define statfs(...) fault_statfs(FAULT_SITE(statfs), __VA_ARGS__)
#define clock_gettime(...) fault_clock_gettime(FAULT_SITE(clock_gettime), __VA_ARGS__)
#define getrandom(...) fault_getrandom(FAULT_SITE(getrandom), __VA_ARGS__)
#define malloc(...) fault_malloc(FAULT_SITE(malloc), __VA_ARGS__)
#define posix_memalign(...) fault_posix_memalign(FAULT_SITE(posix_memalign), __VA_ARGS__)
#endif

#endif
