/* The file of those who may ask: who they are, their secrets, what they may do.
 *
 * One line each, ACCESS:SECRET, then optionally `:ro` (may only read) and `:bucket,bucket` (may use
 * only these), in this order. Empty lines and lines that begin with '#' mean nothing, white space
 * around a line neither. Nobody else may have any right to the file (mode 0600 or 0400).
 *
 * It is read anew when it has changed, looked at no more than once a second. What cannot be read
 * then changes nothing: those known before stay, and the log says so, once for each change. */
#ifndef ZKV_S3_S3_KEYS_H
#define ZKV_S3_S3_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/zerr.h"

#define KEYS_MAX 1000
#define KEYS_ACCESS_MAX 128 /* bytes of an access key */

/* Slices point into the file's text. */
struct s3_key {
    struct slice access, secret;
    struct slice buckets; /* "a,b"; empty: all */
    bool read_only;
};

/* Init with {0}. */
struct s3_keys {
    struct s3_key *v;
    size_t n;
    char *text;
    size_t text_len;
};

/* Takes the text apart, which it changes nothing of and keeps slices into.
 * Errors: ZERR_INVALID, info names the line; ZERR_NOMEM. *ret is untouched then. */
int s3_keys_parse(struct slice text, struct s3_keys *ret, struct zerr_info *) ZKV_MUST_CHECK;
/* Blocks. Errors: ZERR_NOT_FOUND, ZERR_IO, ZERR_INVALID (its mode, its content), ZERR_NOMEM. */
int s3_keys_load(const char *path, struct s3_keys *ret, struct zerr_info *) ZKV_MUST_CHECK;
void s3_keys_finish(struct s3_keys *); /* {0} is fine; secrets are overwritten */

/* NULL: nobody has it. */
const struct s3_key *s3_keys_find(const struct s3_keys *, struct slice access);

#endif
