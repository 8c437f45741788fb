/* The keys in use: what the credentials file said when it was last looked at, and the signing keys made
 * of them.
 *
 * The file is looked at again when it has changed, at most each second; a new one that cannot be used
 * changes nothing. A signing key of version 4 is that of a day and region: the last one is kept for
 * each access key, since a client asks a hundred times a second with the same.
 *
 * Calling sequence: s3_keyring_open -> { look_again, find, sign }* -> s3_keyring_close. What find()
 * returns is valid until the next look_again(). */
#ifndef ZKV_S3_S3_KEYRING_H
#define ZKV_S3_S3_KEYRING_H

#include "base/small_file.h"
#include "s3/s3_keys.h"
#include "s3/sigv4.h"

struct s3_signing_key {
    bool valid;
    char scope[SIGV4_REGION_MAX + 10]; /* date and region */
    uint8_t key[SHA256_BYTES];
};

struct s3_keyring {
    const char *path;
    struct s3_keys keys;
    struct s3_signing_key *kept; /* one for each of keys */
    struct small_file_stamp stamp;
    int64_t looked_ms;
};

/* Reads the file; blocks. path is borrowed until close. Errors as s3_keys_load(); info names the
 * file. */
int s3_keyring_open(struct s3_keyring *, const char *path, struct zerr_info *) ZKV_MUST_CHECK;
void s3_keyring_close(struct s3_keyring *);
/* Blocks for as long as a small file takes, if it has changed. */
void s3_keyring_look_again(struct s3_keyring *);

/* NULL: nobody has it. */
const struct s3_key *s3_keyring_find(const struct s3_keyring *, struct slice access);
/* The key that signs what has this date and region. key is find()'s. */
int s3_keyring_sign(struct s3_keyring *, const struct s3_key *key, const struct sigv4 *,
                    uint8_t ret[SHA256_BYTES]) ZKV_MUST_CHECK;

#endif
