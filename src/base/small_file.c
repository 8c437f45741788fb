#include "base/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool small_file_changed(const char *path, struct small_file_stamp *stamp)
{
    struct small_file_stamp now = {0};
    struct stat st;
    bool same;

    if (stat(path, &st) == 0) {
        now = (struct small_file_stamp){true, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
    }
    same = now.there == stamp->there && now.ino == stamp->ino && now.size == stamp->size &&
           same_time(now.mtime, stamp->mtime) && same_time(now.ctime, stamp->ctime);
    *stamp = now;
    return !same;
}

bool small_file_due(int64_t *looked_ms)
{
    struct timespec t = {0};
    int64_t now;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    if (*looked_ms != 0 && now - *looked_ms < SMALL_FILE_LOOK_MS) {
        return false;
    }
    *looked_ms = now;
    return true;
}

/* NULL: errno tells. */
static char *read_all(int fd, size_t *ret_len)
{
    char *text = malloc(SMALL_FILE_MAX + 1);
    size_t len = 0;
    ssize_t n = 1;

    while (text != NULL && n > 0 && len <= SMALL_FILE_MAX) {
        n = read(fd, text + len, SMALL_FILE_MAX + 1 - len);
        if (n < 0 && errno == EINTR) {
            n = 1;
        } else if (n > 0) {
            len += (size_t)n;
        }
    }
    if (text != NULL && (n < 0 || len > SMALL_FILE_MAX)) {
        errno = n < 0 ? errno : EFBIG;
        explicit_bzero(text, len);
        free(text);
        return NULL;
    }
    *ret_len = len;
    return text;
}

static int check_mode(int fd, bool secret, struct zerr_info *info)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return zerr_fail(info, ZERR_IO, errno, "it cannot be read");
    }
    if (!S_ISREG(st.st_mode)) {
        return zerr_fail(info, ZERR_INVALID, 0, "it is not a file");
    }
    if (secret && (st.st_mode & 077) != 0) {
        return zerr_fail(info, ZERR_INVALID, 0,
                         "others may read or change it: set its mode with chmod 600");
    }
    return 0;
}

int small_file_read(const char *path, bool secret, char **ret, size_t *ret_len,
                    struct zerr_info *info)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;

    if (fd < 0) {
        return zerr_fail(info, errno == ENOENT ? ZERR_NOT_FOUND : ZERR_IO, errno,
                         "it cannot be read");
    }
    err = check_mode(fd, secret, info);
    if (err == 0) {
        size_t len = 0;
        char *text = read_all(fd, &len);
        if (text != NULL) {
            *ret = text;
            *ret_len = len;
        } else {
            err =
                errno == ENOMEM ? ZERR_NOMEM : zerr_fail(info, ZERR_IO, errno, "it cannot be read");
        }
    }
    (void)close(fd);
    return err;
}
