/* The error codes of the whole project, and the optional detail beside them.
 *
 * Functions return int: 0 for success, a negative enum zerr for failure, and where a call can
 * go on in the background the positive ZKV_PENDING. errno becomes a zerr once, in vfs_posix.c;
 * a zerr becomes an HTTP status once, in s3_error.c, and an exit code once, in cli.c.
 * On failure outputs are untouched unless the function says otherwise. */
#ifndef ZKV_BASE_ZERR_H
#define ZKV_BASE_ZERR_H

#include <stdint.h>

#define ZKV_MUST_CHECK __attribute__((warn_unused_result))
#define ZKV_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum zerr {
    ZERR_NOT_FOUND = -1,     /* no such key, file or revision */
    ZERR_TOO_LARGE = -2,     /* above a limit of the format or the server */
    ZERR_CORRUPT = -3,       /* bytes on disk are not what the format demands */
    ZERR_IO = -4,            /* the device or the kernel reported an error */
    ZERR_NO_SPACE = -5,      /* ENOSPC, EDQUOT, or below the reserve */
    ZERR_NOMEM = -6,         /* an allocation failed; the state is unchanged */
    ZERR_BAD_REV = -7,       /* a revision the history does not have */
    ZERR_LOCKED = -8,        /* another process holds the directory's lock */
    ZERR_POISONED = -9,      /* the block or the store takes no more writes after an I/O error */
    ZERR_INVALID = -10,      /* an argument or input is not valid */
    ZERR_BUSY = -11,         /* not now; try again later */
    ZERR_BAD_DIGEST = -12,   /* the body's MD5 is not the expected one */
    ZERR_PRECONDITION = -13, /* a condition of the request does not hold */
    ZERR_DAMAGED = -14,      /* the object is there, its bytes are known to be wrong */
    ZERR_EXISTS = -15,       /* a file that must be new is there already */
    ZERR_UNSUPPORTED = -16,  /* written by a newer version, or the file system cannot do it */
    ZERR_CANCELED = -17,     /* given up by its owner, or at stop */
    ZERR_INCOMPLETE = -18,   /* fewer bytes than announced */
    ZERR_LIMIT = -19,        /* EMFILE, ENFILE: out of descriptors */
    ZERR_NO_UPLOAD = -20,    /* no such multipart upload, or it has ended */
    ZERR_BAD_PART = -21,     /* a part that is named is not there, or is another one */
    ZERR_SMALL_PART = -22,   /* a part that is not the last one is too small */
    ZERR_NOT_EMPTY = -23,    /* a store that is to be removed has objects */
};

/* Not an error: the call's callback will be called later, never before it has returned. */
#define ZKV_PENDING 1

/* The detail of a failure for a person, on cold paths. Init with {0}. */
struct zerr_info {
    int sys_errno;  /* 0 if no system call was at fault */
    char text[512]; /* one sentence that names what was wrong and what to do; "" if not set */
};

/* A short English text, never NULL: "no space left", .... */
const char *zerr_str(int zerr);

/* Sets info->text (cut at its size) unless info is NULL or already has a text (the innermost
 * cause wins). sys_errno 0 if none; otherwise ": strerror" is appended. Returns zerr, so that
 * callers can write `return zerr_fail(info, ZERR_IO, errno, "block %u: cannot sync", n)`. */
int zerr_fail(struct zerr_info *info, int zerr, int sys_errno, const char *fmt, ...)
    ZKV_PRINTF(4, 5);

/* info's text or, where it has none, zerr_str(zerr). Valid as long as info. */
const char *zerr_text(const struct zerr_info *info, int zerr);

#endif
