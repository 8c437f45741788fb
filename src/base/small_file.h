/* Small files that are read whole: secrets, certificates. And whether they have changed since.
 *
 * Calling sequence: small_file_changed() with a stamp of {0} before the first small_file_read(), so
 * that what comes later is a change; then, whenever small_file_due() says so, again. */
#ifndef ZKV_BASE_SMALL_FILE_H
#define ZKV_BASE_SMALL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/zerr.h"

#define SMALL_FILE_MAX (1u << 20)
#define SMALL_FILE_LOOK_MS 1000 /* it is looked at no more often */

/* How a file looked the last time. */
struct small_file_stamp {
    bool there;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};
/* True if it looks different now than *stamp says, which is brought up to date. */
bool small_file_changed(const char *path, struct small_file_stamp *stamp);

/* True if the last look, at *looked_ms, was long enough ago; now is the last one then. */
bool small_file_due(int64_t *looked_ms);

/* The whole content, at most SMALL_FILE_MAX. secret: nobody but its owner may have any right to it
 * (mode 0600 or 0400). info does not name the file.
 * Owns: the caller, who overwrites a secret before he frees it (explicit_bzero).  Blocks: yes.
 * Errors: ZERR_NOT_FOUND, ZERR_IO, ZERR_INVALID (no file, its mode), ZERR_NOMEM. */
int small_file_read(const char *path, bool secret, char **ret, size_t *ret_len,
                    struct zerr_info *info) ZKV_MUST_CHECK;

#endif
