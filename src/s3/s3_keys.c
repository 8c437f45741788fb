/* The credentials file, see s3_keys.h. */
#include "s3/s3_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s3/s3_crypto.h"

/* Cuts *rest at the first `sep`: what is before it is returned, *rest is what is behind it and has
 * a NULL pointer if there was none. */
static struct slice cut(struct slice *rest, char sep)
{
    const uint8_t *p = rest->len > 0 ? memchr(rest->ptr, sep, rest->len) : NULL;
    struct slice head = *rest;

    if (p == NULL) {
        *rest = slice_of(NULL, 0);
        return head;
    }
    head.len = (size_t)(p - rest->ptr);
    *rest = slice_of(p + 1, rest->len - head.len - 1);
    return head;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_space(s.ptr[0])) {
        s = slice_of(s.ptr + 1, s.len - 1);
    }
    while (s.len > 0 && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

static bool is_printable(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

/* What is wrong with the line, or NULL. */
static const char *parse_line(struct slice line, struct s3_key *ret)
{
    struct slice field;

    *ret = (struct s3_key){.access = cut(&line, ':')};
    ret->secret = cut(&line, ':');
    if (ret->access.len == 0 || ret->secret.len == 0) {
        return "is not ACCESS:SECRET";
    }
    if (ret->access.len > KEYS_ACCESS_MAX) {
        return "has an access key of more than 128 characters";
    }
    if (!is_printable(ret->access) || !is_printable(ret->secret)) {
        return "has a space or a character that is not ASCII in a key";
    }
    if (line.ptr == NULL) {
        return NULL;
    }
    field = cut(&line, ':');
    if (slice_eq_str(field, "ro")) {
        ret->read_only = true;
        if (line.ptr == NULL) {
            return NULL;
        }
        field = cut(&line, ':');
    }
    if (line.ptr != NULL || field.len == 0 || !is_printable(field)) {
        return "has something else than :ro and :bucket,bucket behind the secret";
    }
    ret->buckets = field;
    return NULL;
}

int s3_keys_parse(struct slice text, struct s3_keys *ret, struct zerr_info *info)
{
    struct s3_keys keys = {0};
    struct s3_key key;
    unsigned n_line = 0;
    int err = 0;

    keys.v = calloc(KEYS_MAX, sizeof(*keys.v));
    if (keys.v == NULL) {
        return ZERR_NOMEM;
    }
    while (text.len > 0 && err == 0) {
        struct slice line = trim(cut(&text, '\n'));
        const char *wrong;

        n_line++;
        if (line.len == 0 || line.ptr[0] == '#') {
            continue;
        }
        wrong = parse_line(line, &key);
        if (wrong == NULL && s3_keys_find(&keys, key.access) != NULL) {
            wrong = "has an access key that was there already";
        } else if (wrong == NULL && keys.n == KEYS_MAX) {
            wrong = "is one too many: at most 1000 keys are read";
        }
        if (wrong != NULL) {
            err = zerr_fail(info, ZERR_INVALID, 0, "line %u %s", n_line, wrong);
        } else {
            keys.v[keys.n++] = key;
        }
    }
    if (err == 0 && keys.n == 0) {
        err = zerr_fail(info, ZERR_INVALID, 0, "there is no line ACCESS:SECRET in it");
    }
    if (err != 0) {
        free(keys.v);
        return err;
    }
    *ret = keys;
    return 0;
}

/* The whole file, its end marked by a NUL; NULL: errno tells. */
static char *read_all(int fd, size_t *ret_len)
{
    char *text = malloc(KEYS_FILE_MAX + 1);
    size_t len = 0;
    ssize_t n = 1;

    while (text != NULL && n > 0 && len <= KEYS_FILE_MAX) {
        n = read(fd, text + len, KEYS_FILE_MAX + 1 - len);
        if (n < 0 && errno == EINTR) {
            n = 1;
        } else if (n > 0) {
            len += (size_t)n;
        }
    }
    if (text != NULL && (n < 0 || len > KEYS_FILE_MAX)) {
        errno = n < 0 ? errno : EFBIG;
        s3_forget(text, len);
        free(text);
        return NULL;
    }
    *ret_len = len;
    return text;
}

static int check_mode(int fd, struct zerr_info *info)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return zerr_fail(info, ZERR_IO, errno, "it cannot be read");
    }
    if (!S_ISREG(st.st_mode)) {
        return zerr_fail(info, ZERR_INVALID, 0, "it is not a file");
    }
    if ((st.st_mode & 077) != 0) {
        return zerr_fail(info, ZERR_INVALID, 0,
                         "others may read or change it: set its mode with chmod 600");
    }
    return 0;
}

int s3_keys_load(const char *path, struct s3_keys *ret, struct zerr_info *info)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;
    struct s3_keys keys = {0};
    char *text;
    size_t len;

    if (fd < 0) {
        return zerr_fail(info, errno == ENOENT ? ZERR_NOT_FOUND : ZERR_IO, errno,
                         "it cannot be read");
    }
    err = check_mode(fd, info);
    if (err == 0) {
        text = read_all(fd, &len);
        if (text == NULL) {
            err =
                errno == ENOMEM ? ZERR_NOMEM : zerr_fail(info, ZERR_IO, errno, "it cannot be read");
        } else {
            err = s3_keys_parse(slice_of(text, len), &keys, info);
            keys.text = text;
            keys.text_len = len;
        }
    }
    (void)close(fd);
    if (err != 0) {
        s3_keys_finish(&keys);
        return err;
    }
    *ret = keys;
    return 0;
}

void s3_keys_finish(struct s3_keys *keys)
{
    if (keys->text != NULL) {
        s3_forget(keys->text, keys->text_len);
    }
    free(keys->text);
    free(keys->v);
    *keys = (struct s3_keys){0};
}

const struct s3_key *s3_keys_find(const struct s3_keys *keys, struct slice access)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (slice_eq(keys->v[i].access, access)) {
            return &keys->v[i];
        }
    }
    return NULL;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool s3_keys_changed(const char *path, struct s3_keys_stamp *stamp)
{
    struct s3_keys_stamp now = {0};
    struct stat st;
    bool same;

    if (stat(path, &st) == 0) {
        now = (struct s3_keys_stamp){true, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
    }
    same = now.there == stamp->there && now.ino == stamp->ino && now.size == stamp->size &&
           same_time(now.mtime, stamp->mtime) && same_time(now.ctime, stamp->ctime);
    *stamp = now;
    return !same;
}
