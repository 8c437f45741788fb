/* The keys in use, see s3_keyring.h. */
#include "s3/s3_keyring.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

void s3_keyring_close(struct s3_keyring *ring)
{
    if (ring->kept != NULL) {
        s3_forget(ring->kept, ring->keys.n * sizeof(*ring->kept));
    }
    free(ring->kept);
    ring->kept = NULL;
    s3_keys_finish(&ring->keys);
}

/* Those known before stay if this fails. */
static int load(struct s3_keyring *ring, struct zerr_info *info)
{
    struct s3_keys keys = {0};
    struct s3_signing_key *kept;
    int err = s3_keys_load(ring->path, &keys, info);

    if (err != 0) {
        return err;
    }
    kept = calloc(keys.n, sizeof(*kept));
    if (kept == NULL) {
        s3_keys_finish(&keys);
        return ZERR_NOMEM;
    }
    s3_keyring_close(ring);
    ring->keys = keys;
    ring->kept = kept;
    return 0;
}

void s3_keyring_look_again(struct s3_keyring *ring)
{
    struct zerr_info info = {0};
    int err;

    if (!small_file_due(&ring->looked_ms) || !small_file_changed(ring->path, &ring->stamp)) {
        return;
    }
    err = load(ring, &info);
    if (err != 0) {
        log_warn("s3: -auth %s has changed and cannot be used, the keys known before stay: %s",
                 ring->path, zerr_text(&info, err));
    } else {
        log_info("-auth %s has changed: %zu access key%s", ring->path, ring->keys.n,
                 ring->keys.n == 1 ? "" : "s");
    }
}

int s3_keyring_open(struct s3_keyring *ring, const char *path, struct zerr_info *info)
{
    struct zerr_info why = {0};
    int err;

    *ring = (struct s3_keyring){.path = path};
    (void)small_file_due(&ring->looked_ms);
    (void)small_file_changed(path, &ring->stamp); /* before: what comes later is a change */
    err = load(ring, &why);
    return err == 0 ? 0 : zerr_fail(info, err, 0, "-auth %s: %s", path, zerr_text(&why, err));
}

const struct s3_key *s3_keyring_find(const struct s3_keyring *ring, struct slice access)
{
    return s3_keys_find(&ring->keys, access);
}

int s3_keyring_sign(struct s3_keyring *ring, const struct s3_key *key, const struct sigv4 *sig,
                    uint8_t ret[SHA256_BYTES])
{
    struct s3_signing_key *kept = &ring->kept[key - ring->keys.v];
    struct slice day = slice_of(sig->scope.ptr, sig->date.len + 1 + sig->region.len);
    int err = 0;

    if (!kept->valid || !slice_eq_str(day, kept->scope)) {
        err = sigv4_key(key->secret, sig->date, sig->region, kept->key);
        (void)snprintf(kept->scope, sizeof(kept->scope), "%.*s", SLICE_FMT(day));
        kept->valid = err == 0;
    }
    memcpy(ret, kept->key, SHA256_BYTES);
    return err;
}
