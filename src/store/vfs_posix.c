/* The vfs over a real directory.
 *
 * A directory is one descriptor, held open as long as the vfs: a directory that is moved or mounted
 * over later stays the one that was locked. Names go through the *at() calls. A file is one
 * descriptor; the object owns it and is freed by close(). Errors become zerr here and nowhere else;
 * the errno behind the last one is kept for each thread. */
#include "store/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/job.h"

#define DIRECT_ALIGN 4096u
#define DIRECT_BUFFER (256u << 10)
#define MINCORE_WINDOW (64u << 20)
#define DROP_TRIES 3
#define HOLDER_MAX 128

struct posix_vfs {
    struct vfs base;
    int dirfd;
};

struct posix_file {
    struct vfs_file base;
    int fd;
    bool direct;
    atomic_bool no_nowait; /* RWF_NOWAIT was refused once: not asked for again */
};

static _Thread_local int last_errno;

int vfs_last_errno(void)
{
    return last_errno;
}

void vfs_set_last_errno(int sys_errno)
{
    last_errno = sys_errno;
}

static int dir_of(struct vfs *v)
{
    return container_of(v, struct posix_vfs, base)->dirfd;
}

static struct posix_file *file_of(struct vfs_file *f)
{
    return container_of(f, struct posix_file, base);
}

static int fd_of(struct vfs_file *f)
{
    return file_of(f)->fd;
}

static int fail(int sys_errno)
{
    last_errno = sys_errno;
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ZERR_NO_SPACE;
    case ENOENT:
        return ZERR_NOT_FOUND;
    case EEXIST:
        return ZERR_EXISTS;
    case EMFILE:
    case ENFILE:
        return ZERR_LIMIT;
    case ENOMEM:
        return ZERR_NOMEM;
    default:
        return ZERR_IO;
    }
}

static int refuse(int sys_errno, int zerr)
{
    last_errno = sys_errno;
    return zerr;
}

/* 0, or the failure that errno names. */
static int result(int rc)
{
    return rc < 0 ? fail(errno) : 0;
}

static int open_at(int dirfd, const char *name, int flags)
{
    int fd;

    do {
        fd = openat(dirfd, name, flags | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static int file_create(struct vfs *v, int fd, bool direct, struct vfs_file **ret)
{
    struct posix_file *f = malloc(sizeof(*f));

    if (f == NULL) {
        (void)close(fd);
        return refuse(ENOMEM, ZERR_NOMEM);
    }
    f->base.vfs = v;
    f->fd = fd;
    f->direct = direct;
    atomic_init(&f->no_nowait, direct);
    *ret = &f->base;
    return 0;
}

static int posix_open(struct vfs *v, const char *name, unsigned flags, struct vfs_file **ret)
{
    struct stat st;
    int fd, oflags = (flags & VFS_WRITE) != 0 ? O_RDWR : O_RDONLY;

    if ((flags & VFS_CREATE) != 0) {
        oflags |= O_CREAT | O_EXCL;
    }
    if ((flags & VFS_DIRECT) != 0) {
        oflags |= O_DIRECT;
    }
    /* O_NONBLOCK: a foreign FIFO of that name must not hang us; files do not mind. */
    fd = open_at(dir_of(v), name, oflags | O_NONBLOCK);
    if (fd < 0) {
        if (errno == EINVAL && (flags & VFS_DIRECT) != 0) {
            return refuse(EINVAL, ZERR_UNSUPPORTED);
        }
        return errno == EISDIR || errno == ENXIO ? refuse(errno, ZERR_INVALID) : fail(errno);
    }
    if (fstat(fd, &st) != 0) {
        int err = fail(errno);

        (void)close(fd);
        return err;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)close(fd);
        return refuse(EINVAL, ZERR_INVALID);
    }
    return file_create(v, fd, (flags & VFS_DIRECT) != 0, ret);
}

static void posix_close(struct vfs_file *file)
{
    struct posix_file *f = file_of(file);

    (void)close(f->fd);
    free(f);
}

/* Reads until n or the end of the file. */
static int read_all(int fd, uint8_t *p, size_t n, uint64_t off, size_t *ret_n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t r = pread(fd, p + got, n - got, (off_t)(off + got));

        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return fail(errno);
        }
        if (r == 0) {
            break;
        }
        got += (size_t)r;
    }
    *ret_n = got;
    return 0;
}

/* O_DIRECT wants aligned memory, offsets and sizes: through a buffer of our own. A read that ends
 * between two aligned places may have been cut short, or the file ends there: it does if the next one
 * comes no further. */
static int read_direct(int fd, uint8_t *p, size_t n, uint64_t off, size_t *ret_n)
{
    uint64_t pos = off / DIRECT_ALIGN * DIRECT_ALIGN, end = pos;
    size_t got = 0, part, skip;
    void *bounce = NULL;
    int err = 0;

    if (posix_memalign(&bounce, DIRECT_ALIGN, DIRECT_BUFFER) != 0) {
        return refuse(ENOMEM, ZERR_NOMEM);
    }
    while (got < n) {
        uint64_t to = (off + n + DIRECT_ALIGN - 1) / DIRECT_ALIGN * DIRECT_ALIGN;
        size_t want = to - pos < DIRECT_BUFFER ? (size_t)(to - pos) : DIRECT_BUFFER;
        ssize_t r = pread(fd, bounce, want, (off_t)pos);

        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            err = fail(errno);
            goto out;
        }
        skip = (size_t)(off + got - pos);
        if ((size_t)r > skip) {
            part = (size_t)r - skip < n - got ? (size_t)r - skip : n - got;
            memcpy(p + got, (uint8_t *)bounce + skip, part);
            got += part;
        }
        if (pos + (uint64_t)r <= end) {
            break; /* the end of the file */
        }
        end = pos + (uint64_t)r;
        pos = end / DIRECT_ALIGN * DIRECT_ALIGN;
    }
    *ret_n = got;
out:
    free(bounce);
    return err;
}

static int posix_pread(struct vfs_file *file, void *buf, size_t n, uint64_t off, size_t *ret_n)
{
    struct posix_file *f = file_of(file);

    return f->direct ? read_direct(f->fd, buf, n, off, ret_n) : read_all(f->fd, buf, n, off, ret_n);
}

static int posix_pread_nowait(struct vfs_file *file, void *buf, size_t n, uint64_t off,
                              size_t *ret_n)
{
    struct posix_file *f = file_of(file);
    size_t got = 0;

    if (atomic_load_explicit(&f->no_nowait, memory_order_relaxed)) {
        return refuse(EOPNOTSUPP, ZERR_BUSY);
    }
    while (got < n) {
        struct iovec iov = {(uint8_t *)buf + got, n - got};
        ssize_t r = preadv2(f->fd, &iov, 1, (off_t)(off + got), RWF_NOWAIT);

        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0 && errno == EAGAIN) {
            return refuse(EAGAIN, ZERR_BUSY);
        }
        if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
            atomic_store_explicit(&f->no_nowait, true, memory_order_relaxed);
            return refuse(errno, ZERR_BUSY);
        }
        if (r < 0) {
            return fail(errno);
        }
        if (r == 0) {
            break;
        }
        got += (size_t)r; /* the rest may be not cached, or behind the end: ask again */
    }
    *ret_n = got;
    return 0;
}

static int posix_pwritev(struct vfs_file *file, const struct iovec *iov, int n_iov, uint64_t off)
{
    int fd = fd_of(file), i = 0;
    size_t done = 0; /* of iov[i] */

    while (i < n_iov) {
        ssize_t w;

        if (done == iov[i].iov_len) {
            i++;
            done = 0;
            continue;
        }
        w = done == 0 ? pwritev(fd, iov + i, n_iov - i, (off_t)off)
                      : pwrite(fd, (const uint8_t *)iov[i].iov_base + done, iov[i].iov_len - done,
                               (off_t)off);
        if (w < 0 && errno == EINTR) {
            continue;
        }
        if (w <= 0) {
            return fail(w < 0 ? errno : EIO);
        }
        off += (uint64_t)w;
        done += (size_t)w;
        while (done > iov[i].iov_len) {
            done -= iov[i++].iov_len;
        }
    }
    return 0;
}

static int posix_size(struct vfs_file *f, uint64_t *ret)
{
    struct stat st;

    if (fstat(fd_of(f), &st) != 0) {
        return fail(errno);
    }
    *ret = (uint64_t)st.st_size;
    return 0;
}

/* Not even EINTR is tried again: the next call would report success whatever became of the data. */
static int posix_datasync(struct vfs_file *f)
{
    return result(fdatasync(fd_of(f)));
}

static int posix_sync(struct vfs_file *f)
{
    return result(fsync(fd_of(f)));
}

static int posix_truncate(struct vfs_file *f, uint64_t size)
{
    int rc;

    do {
        rc = ftruncate(fd_of(f), (off_t)size);
    } while (rc != 0 && errno == EINTR);
    return result(rc);
}

static int fall(struct vfs_file *f, int mode, uint64_t off, uint64_t len)
{
    int rc;

    if (len == 0) {
        return 0;
    }
    do {
        rc = fallocate(fd_of(f), mode, (off_t)off, (off_t)len);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        return refuse(errno, ZERR_UNSUPPORTED);
    }
    return result(rc);
}

static int posix_allocate(struct vfs_file *f, uint64_t off, uint64_t len)
{
    return fall(f, FALLOC_FL_KEEP_SIZE, off, len);
}

static int posix_punch(struct vfs_file *f, uint64_t off, uint64_t len)
{
    return fall(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static void posix_will_read(struct vfs_file *f, uint64_t off, uint64_t len)
{
    (void)posix_fadvise(fd_of(f), (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
}

static void posix_writeback(struct vfs_file *f, uint64_t off, uint64_t len)
{
    if (len > 0) {
        (void)sync_file_range(fd_of(f), (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
    }
}

/* 0: no page of the file is in memory; ZERR_BUSY: some are, or it cannot be told. */
static int check_dropped(int fd, uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), off, n, i;
    unsigned char *vec = malloc(MINCORE_WINDOW / page);
    int err = 0;

    if (vec == NULL) {
        return refuse(ENOMEM, ZERR_NOMEM);
    }
    for (off = 0; off < size && err == 0; off += MINCORE_WINDOW) {
        size_t len = size - off < MINCORE_WINDOW ? (size_t)(size - off) : MINCORE_WINDOW;
        void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)off);

        if (map == MAP_FAILED) {
            err = refuse(errno, ZERR_BUSY);
            break;
        }
        if (mincore(map, len, vec) != 0) {
            err = refuse(errno, ZERR_BUSY);
        }
        n = (len + page - 1) / page;
        for (i = 0; i < n && err == 0; i++) {
            if ((vec[i] & 1) != 0) {
                err = refuse(0, ZERR_BUSY);
            }
        }
        (void)munmap(map, len);
    }
    free(vec);
    return err;
}

static int posix_drop_cache(struct vfs_file *f)
{
    struct statfs fs;
    uint64_t size;
    int i, err;

    if (fstatfs(fd_of(f), &fs) != 0) {
        return fail(errno);
    }
    if ((uint32_t)fs.f_type == TMPFS_MAGIC || (uint32_t)fs.f_type == RAMFS_MAGIC) {
        return 0;
    }
    err = posix_size(f, &size);
    if (err != 0) {
        return err;
    }
    /* Pages in use just now stay; they may be free at the second try. */
    for (i = 0, err = ZERR_BUSY; i < DROP_TRIES && err == ZERR_BUSY; i++) {
        (void)posix_fadvise(fd_of(f), 0, 0, POSIX_FADV_DONTNEED);
        err = check_dropped(fd_of(f), size);
    }
    return err;
}

/* File systems without modes (vfat) refuse. */
static int posix_make_read_only(struct vfs_file *f)
{
    if (fchmod(fd_of(f), 0400) == 0) {
        return 0;
    }
    return errno == EPERM || errno == EOPNOTSUPP ? refuse(errno, ZERR_UNSUPPORTED) : fail(errno);
}

static int posix_rename(struct vfs *v, const char *from, const char *to)
{
    return result(renameat(dir_of(v), from, dir_of(v), to));
}

static int posix_unlink(struct vfs *v, const char *name)
{
    return result(unlinkat(dir_of(v), name, 0));
}

static int posix_make_dir(struct vfs *v, const char *name)
{
    return result(mkdirat(dir_of(v), name, 0700));
}

/* EINVAL: a file system whose directories cannot be synced, such as some of FUSE. */
static int posix_sync_dir(struct vfs *v)
{
    return fsync(dir_of(v)) == 0 || errno == EINVAL ? 0 : fail(errno);
}

static int64_t ms_of(const struct statx_timestamp *t)
{
    return (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000;
}

static int posix_stat(struct vfs *v, const char *name, struct vfs_dirent *ret)
{
    struct statx st;

    if (statx(dir_of(v), name, 0, STATX_BASIC_STATS | STATX_BTIME, &st) != 0) {
        return fail(errno);
    }
    *ret = (struct vfs_dirent){
        .name = name,
        .size = st.stx_size,
        .mtime_ms = ms_of(&st.stx_mtime),
        .born_ms = (st.stx_mask & STATX_BTIME) != 0 ? ms_of(&st.stx_btime) : 0,
        .is_dir = S_ISDIR(st.stx_mode),
    };
    return 0;
}

static int posix_list(struct vfs *v, int (*each)(void *, const struct vfs_dirent *), void *user)
{
    int fd = open_at(dir_of(v), ".", O_RDONLY | O_DIRECTORY), err = 0;
    struct dirent *d;
    DIR *dir;

    if (fd < 0) {
        return fail(errno);
    }
    dir = fdopendir(fd);
    if (dir == NULL) {
        err = fail(errno);
        (void)close(fd);
        return err;
    }
    while (err == 0) {
        struct vfs_dirent entry;

        errno = 0;
        d = readdir(dir);
        if (d == NULL) {
            err = errno != 0 ? fail(errno) : 0;
            break;
        }
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) {
            continue;
        }
        err = posix_stat(v, d->d_name, &entry);
        if (err == ZERR_NOT_FOUND) {
            err = 0; /* gone meanwhile, or a link to nothing */
        } else if (err == 0) {
            err = each(user, &entry);
        }
    }
    (void)closedir(dir);
    return err;
}

/* The first line of the lock file as its holder wrote it, printable. */
static void read_holder(int fd, char out[HOLDER_MAX])
{
    size_t n = 0, i;

    if (read_all(fd, (uint8_t *)out, HOLDER_MAX - 1, 0, &n) != 0) {
        n = 0;
    }
    for (i = 0; i < n && out[i] >= ' ' && out[i] <= '~'; i++) {
    }
    out[i] = '\0';
}

static int posix_lock(struct vfs *v, const char *name, const char *who, struct vfs_file **ret,
                      struct zerr_info *info)
{
    int fd = open_at(dir_of(v), name, O_RDWR | O_CREAT | O_NONBLOCK), rc;
    char holder[HOLDER_MAX];

    if (fd < 0) {
        int err = fail(errno);

        return zerr_fail(info, err, last_errno, "cannot open the lock file %s", name);
    }
    do {
        rc = flock(fd, LOCK_EX | LOCK_NB);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        int err = errno == EWOULDBLOCK ? ZERR_LOCKED : ZERR_UNSUPPORTED;

        last_errno = errno;
        read_holder(fd, holder);
        (void)close(fd);
        if (err == ZERR_LOCKED) {
            return zerr_fail(info, err, 0, "the directory is in use by %s",
                             holder[0] != '\0' ? holder : "another process");
        }
        return zerr_fail(info, err, last_errno, "cannot lock the file %s", name);
    }
    /* The text is for people; the lock holds without it, on a full disk too. */
    if (ftruncate(fd, 0) == 0) {
        (void)!pwrite(fd, who, strlen(who), 0);
    }
    return file_create(v, fd, false, ret);
}

static int posix_free_space(struct vfs *v, uint64_t *ret_free, uint64_t *ret_total)
{
    struct statvfs st;

    if (fstatvfs(dir_of(v), &st) != 0) {
        return fail(errno);
    }
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return 0;
}

static int64_t posix_wall_ms(struct vfs *v)
{
    struct timespec t = {0};

    (void)v;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t posix_mono_ns(struct vfs *v)
{
    struct timespec t = {0};

    (void)v;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int posix_random(struct vfs *v, void *buf, size_t n)
{
    uint8_t *p = buf;

    (void)v;
    while (n > 0) {
        ssize_t r = getrandom(p, n, 0);

        if (r < 0 && errno != EINTR) {
            return fail(errno);
        }
        if (r > 0) {
            p += r;
            n -= (size_t)r;
        }
    }
    return 0;
}

static int posix_open_dir(struct vfs *v, const char *name, struct vfs **ret);

static const struct vfs_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pread_nowait = posix_pread_nowait,
    .pwritev = posix_pwritev,
    .size = posix_size,
    .datasync = posix_datasync,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .punch = posix_punch,
    .writeback = posix_writeback,
    .will_read = posix_will_read,
    .drop_cache = posix_drop_cache,
    .make_read_only = posix_make_read_only,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_dir = posix_sync_dir,
    .make_dir = posix_make_dir,
    .open_dir = posix_open_dir,
    .close_dir = vfs_posix_close,
    .list = posix_list,
    .stat = posix_stat,
    .lock = posix_lock,
    .free_space = posix_free_space,
    .wall_ms = posix_wall_ms,
    .mono_ns = posix_mono_ns,
    .random = posix_random,
};

static int open_dir(int at, const char *dir, struct vfs **ret)
{
    struct posix_vfs *v;
    int fd = open_at(at, dir, O_RDONLY | O_DIRECTORY);

    if (fd < 0) {
        return errno == ENOTDIR ? refuse(ENOTDIR, ZERR_INVALID) : fail(errno);
    }
    v = malloc(sizeof(*v));
    if (v == NULL) {
        (void)close(fd);
        return refuse(ENOMEM, ZERR_NOMEM);
    }
    *v = (struct posix_vfs){.base.ops = &posix_ops, .dirfd = fd};
    *ret = &v->base;
    return 0;
}

static int posix_open_dir(struct vfs *v, const char *name, struct vfs **ret)
{
    return open_dir(dir_of(v), name, ret);
}

int vfs_posix_open(const char *dir, struct vfs **ret, struct zerr_info *info)
{
    int err = open_dir(AT_FDCWD, dir, ret);

    return err == 0 ? 0 : zerr_fail(info, err, last_errno, "cannot open directory %s", dir);
}

void vfs_posix_close(struct vfs *vfs)
{
    if (vfs != NULL) {
        (void)close(dir_of(vfs));
        free(container_of(vfs, struct posix_vfs, base));
    }
}

/* FUSE is not among them: it may be sshfs, but on a NAS it is as often ntfs-3g or mergerfs. */
bool vfs_posix_is_network(const char *dir)
{
    struct statfs fs;

    if (statfs(dir, &fs) != 0) {
        return false;
    }
    switch ((uint32_t)fs.f_type) {
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
    case CODA_SUPER_MAGIC:
    case AFS_SUPER_MAGIC:
    case V9FS_MAGIC:
        return true;
    default:
        return false;
    }
}
