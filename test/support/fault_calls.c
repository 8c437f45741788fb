/* See fault_calls.h. A call that fails does nothing, but for close, closedir, munmap: those do what
 * they are asked and say otherwise, as the kernel's may. */
#include "support/fault_calls.h"

#include <linux/magic.h>

#include "support/fault_points.h"

#define DIRECT_ALIGN 4096u

const char *const fault_call_names[N_CALLS] = {
#define X(name) #name,
    FAULT_CALLS(X)
#undef X
};

const int fault_call_codes[N_CALLS][8] = {
    [CALL_openat] = {EIO, ENOSPC, EDQUOT, EINTR, EMFILE, ENFILE},
    [CALL_close] = {EIO, EINTR},
    [CALL_fstat] = {EIO},
    [CALL_pread] = {EIO, EINTR, FAULT_SHORT},
    [CALL_preadv2] = {EIO, EINTR, EAGAIN, EOPNOTSUPP, FAULT_SHORT},
    [CALL_pwrite] = {EIO, ENOSPC, EDQUOT, EINTR, FAULT_SHORT},
    [CALL_pwritev] = {EIO, ENOSPC, EDQUOT, EINTR, FAULT_SHORT, FAULT_HALF_FULL},
    [CALL_fdatasync] = {EIO, ENOSPC, EDQUOT, EINTR},
    [CALL_fsync] = {EIO, ENOSPC, EDQUOT, EINTR},
    [CALL_ftruncate] = {EIO, EINTR},
    [CALL_fallocate] = {EIO, ENOSPC, EDQUOT, EINTR, EOPNOTSUPP},
    [CALL_sync_file_range] = {EIO, ENOSPC},
    [CALL_mmap] = {ENOMEM, EAGAIN},
    [CALL_mincore] = {EAGAIN, ENOMEM},
    [CALL_munmap] = {EINVAL},
    [CALL_fstatfs] = {EIO, ENOSYS},
    [CALL_posix_fadvise] = {EINVAL},
    [CALL_fchmod] = {EIO, EPERM},
    [CALL_renameat] = {EIO, ENOSPC, EDQUOT},
    [CALL_unlinkat] = {EIO, EROFS},
    [CALL_mkdirat] = {EIO, ENOSPC, EDQUOT},
    [CALL_statx] = {EIO, ENOENT},
    [CALL_fdopendir] = {ENOMEM},
    [CALL_readdir] = {EIO},
    [CALL_closedir] = {EINTR},
    [CALL_flock] = {EINTR, EWOULDBLOCK, ENOLCK},
    [CALL_fstatvfs] = {EIO},
    [CALL_statfs] = {EIO},
    [CALL_clock_gettime] = {0},
    [CALL_getrandom] = {EINTR, ENOSYS, FAULT_SHORT},
    [CALL_malloc] = {ENOMEM},
    [CALL_posix_memalign] = {ENOMEM},
};

static enum fault_disk disk;
static uint64_t clock_ms;

void fault_set_disk(enum fault_disk d)
{
    disk = d;
}

void fault_advance(uint64_t ms)
{
    clock_ms += ms;
}

/* 0: do it. FAULT_SHORT: do half of it. Else errno is set and the call is over. */
static int enter(struct fault_site *s)
{
    int code = fault_next(s->kind);
    s->calls++;
    if (code != 0) {
        s->failed++;
        errno = code;
    }
    return code;
}

static size_t half(size_t n)
{
    return n - n / 2;
}

int fault_openat(struct fault_site *s, int dirfd, const char *name, int flags, mode_t mode)
{
    if (enter(s) != 0) {
        return -1;
    }
    int fd = openat(dirfd, name, flags, mode);
    if (fd < 0 && errno == EINVAL && (flags & O_DIRECT) != 0) {
        fd = openat(dirfd, name, flags & ~O_DIRECT, mode);
    }
    return fd;
}

int fault_close(struct fault_site *s, int fd)
{
    int code = enter(s), rc = close(fd);
    errno = code != 0 ? code : errno;
    return code != 0 ? -1 : rc;
}

int fault_fstat(struct fault_site *s, int fd, struct stat *st)
{
    return enter(s) != 0 ? -1 : fstat(fd, st);
}

/* A direct read ends at a multiple of the sector, and comes some way. */
ssize_t fault_pread(struct fault_site *s, int fd, void *buf, size_t n, off_t off)
{
    int code = enter(s);
    if (code == FAULT_GARBLED) {
        ssize_t r = pread(fd, buf, n, off);
        if (r > 0) {
            ((uint8_t *)buf)[r / 2] ^= 0x10;
        }
        return r;
    }
    if (code != 0 && code != FAULT_SHORT) {
        return -1;
    }
    size_t want = code == 0 ? n : half(n);
    if (code != 0 && (fcntl(fd, F_GETFL) & O_DIRECT) != 0) {
        static uint8_t whole[1 << 20] __attribute__((aligned(DIRECT_ALIGN)));
        ssize_t r = pread(fd, whole, n < sizeof(whole) ? n : sizeof(whole), off);
        ssize_t part = r > 2 * (ssize_t)DIRECT_ALIGN ? r / 1024 * 512 + 512
                       : r > (ssize_t)DIRECT_ALIGN   ? (ssize_t)DIRECT_ALIGN
                                                     : r;
        memcpy(buf, whole, part > 0 ? (size_t)part : 0);
        return part;
    }
    return pread(fd, buf, want, off);
}

ssize_t fault_preadv2(struct fault_site *s, int fd, const struct iovec *iov, int n, off_t off,
                      int flags)
{
    int code = enter(s);
    if (code != 0 && code != FAULT_SHORT) {
        return -1;
    }
    struct iovec part = {iov[0].iov_base, half(iov[0].iov_len)};
    return code == 0 ? preadv2(fd, iov, n, off, flags) : preadv2(fd, &part, 1, off, flags);
}

ssize_t fault_pwrite(struct fault_site *s, int fd, const void *buf, size_t n, off_t off)
{
    int code = enter(s);
    if (code != 0 && code != FAULT_SHORT) {
        return -1;
    }
    return pwrite(fd, buf, code == 0 ? n : half(n), off);
}

/* Short: half of all bytes, wherever that is. */
ssize_t fault_pwritev(struct fault_site *s, int fd, const struct iovec *iov, int n, off_t off)
{
    int code = enter(s);
    if (code == 0) {
        return pwritev(fd, iov, n, off);
    }
    if (code == FAULT_HALF_FULL) {
        fault_arm(FAULT_ANY, 1, FAULT_ONCE, ENOSPC);
    } else if (code != FAULT_SHORT) {
        return -1;
    }
    size_t all = 0;
    ssize_t done = 0;
    for (int i = 0; i < n; i++) {
        all += iov[i].iov_len;
    }
    all = half(all);
    for (int i = 0; i < n && all > 0; i++) {
        size_t part = iov[i].iov_len < all ? iov[i].iov_len : all;
        ssize_t w = pwrite(fd, iov[i].iov_base, part, off + done);
        if (w != (ssize_t)part) {
            abort();
        }
        all -= part;
        done += w;
    }
    return done;
}

int fault_fdatasync(struct fault_site *s, int fd)
{
    return enter(s) != 0 ? -1 : fdatasync(fd);
}

int fault_fsync(struct fault_site *s, int fd)
{
    return enter(s) != 0 ? -1 : fsync(fd);
}

int fault_ftruncate(struct fault_site *s, int fd, off_t size)
{
    return enter(s) != 0 ? -1 : ftruncate(fd, size);
}

int fault_fallocate(struct fault_site *s, int fd, int mode, off_t off, off_t len)
{
    return enter(s) != 0 ? -1 : fallocate(fd, mode, off, len);
}

int fault_sync_file_range(struct fault_site *s, int fd, off_t off, off_t len, unsigned flags)
{
    return enter(s) != 0 ? -1 : sync_file_range(fd, off, len, flags);
}

void *fault_mmap(struct fault_site *s, void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    return enter(s) != 0 ? MAP_FAILED : mmap(at, len, prot, flags, fd, off);
}

int fault_mincore(struct fault_site *s, void *at, size_t len, unsigned char *vec)
{
    if (enter(s) != 0) {
        return -1;
    }
    int rc = mincore(at, len, vec);
    if (rc == 0 && disk != FAULT_DISK_REAL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        memset(vec, disk == FAULT_DISK_KEEPS, (len + page - 1) / page);
    }
    return rc;
}

int fault_munmap(struct fault_site *s, void *at, size_t len)
{
    int code = enter(s), rc = munmap(at, len);
    return code != 0 ? -1 : rc;
}

int fault_fstatfs(struct fault_site *s, int fd, struct statfs *fs)
{
    if (enter(s) != 0) {
        return -1;
    }
    int rc = fstatfs(fd, fs);
    if (disk != FAULT_DISK_REAL) {
        fs->f_type = EXT4_SUPER_MAGIC;
    }
    return rc;
}

int fault_posix_fadvise(struct fault_site *s, int fd, off_t off, off_t len, int advice)
{
    int code = enter(s); /* no errno here: the result says it */
    return code != 0 ? code : posix_fadvise(fd, off, len, advice);
}

int fault_fchmod(struct fault_site *s, int fd, mode_t mode)
{
    return enter(s) != 0 ? -1 : fchmod(fd, mode);
}

int fault_renameat(struct fault_site *s, int fd, const char *from, int to_fd, const char *to)
{
    return enter(s) != 0 ? -1 : renameat(fd, from, to_fd, to);
}

int fault_unlinkat(struct fault_site *s, int fd, const char *name, int flags)
{
    return enter(s) != 0 ? -1 : unlinkat(fd, name, flags);
}

int fault_mkdirat(struct fault_site *s, int fd, const char *name, mode_t mode)
{
    return enter(s) != 0 ? -1 : mkdirat(fd, name, mode);
}

int fault_statx(struct fault_site *s, int fd, const char *name, int flags, unsigned mask,
                struct statx *st)
{
    return enter(s) != 0 ? -1 : statx(fd, name, flags, mask, st);
}

DIR *fault_fdopendir(struct fault_site *s, int fd)
{
    return enter(s) != 0 ? NULL : fdopendir(fd);
}

struct dirent *fault_readdir(struct fault_site *s, DIR *dir)
{
    return enter(s) != 0 ? NULL : readdir(dir);
}

int fault_closedir(struct fault_site *s, DIR *dir)
{
    int code = enter(s), rc = closedir(dir);
    return code != 0 ? -1 : rc;
}

int fault_flock(struct fault_site *s, int fd, int how)
{
    return enter(s) != 0 ? -1 : flock(fd, how);
}

int fault_fstatvfs(struct fault_site *s, int fd, struct statvfs *st)
{
    return enter(s) != 0 ? -1 : fstatvfs(fd, st);
}

int fault_statfs(struct fault_site *s, const char *path, struct statfs *fs)
{
    return enter(s) != 0 ? -1 : statfs(path, fs);
}

int fault_clock_gettime(struct fault_site *s, clockid_t id, struct timespec *t)
{
    (void)enter(s);
    int rc = clock_gettime(id, t);
    t->tv_sec += (time_t)(clock_ms / 1000);
    return rc;
}

ssize_t fault_getrandom(struct fault_site *s, void *buf, size_t n, unsigned flags)
{
    int code = enter(s);
    if (code != 0 && code != FAULT_SHORT) {
        return -1;
    }
    return getrandom(buf, code == 0 ? n : half(n), flags);
}

void *fault_malloc(struct fault_site *s, size_t n)
{
    return enter(s) != 0 ? NULL : malloc(n);
}

int fault_posix_memalign(struct fault_site *s, void **ret, size_t align, size_t n)
{
    int code = enter(s);
    return code != 0 ? code : posix_memalign(ret, align, n);
}
