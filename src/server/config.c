/* See config.h. */
#include "server/config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s3/s3.h"
#include "server/addr.h"

int config_check(const struct server_config *c, struct sockaddr_storage *ret_addr,
                 struct zerr_info *info)
{
    if (!s3_bucket_name_ok(c->bucket)) {
        return zerr_fail(info, ZERR_INVALID, 0,
                         "-bucket: 1 to 63 letters, digits, '.', '-' and '_', not beginning with "
                         "'.'");
    }
    if ((c->tls_cert_path == NULL) != (c->tls_key_path == NULL)) {
        return zerr_fail(info, ZERR_INVALID, 0, "-tls-cert and -tls-key go together: %s is missing",
                         c->tls_key_path == NULL ? "-tls-key" : "-tls-cert");
    }
    int rc = addr_parse(c->addr, ret_addr, info);
    if (rc != 0) {
        return rc;
    }
    if (c->auth_path == NULL && !addr_is_loopback(ret_addr)) {
        return zerr_fail(info, ZERR_INVALID, 0,
                         "-addr %s: without passwords only a loopback address can be served, such "
                         "as 127.0.0.1:7711 or [::1]:7711, because everybody who can reach it may "
                         "read and delete everything; passwords come from a file named by -auth",
                         c->addr);
    }
    return 0;
}

static int check_index_path(const struct server_config *c, struct zerr_info *info)
{
    if (c->index_path == NULL) {
        if (vfs_posix_is_network(c->dir)) {
            return zerr_fail(info, ZERR_UNSUPPORTED, 0,
                             "%s is on a network file system, where the look-up index cannot be: "
                             "name a file on a local disk with -index FILE",
                             c->dir);
        }
        return 0;
    }
    char parent[4096] = ".";
    const char *slash = strrchr(c->index_path, '/');
    size_t len = slash == NULL ? 0 : slash == c->index_path ? 1 : (size_t)(slash - c->index_path);
    struct stat st;
    if (len >= sizeof parent) {
        return zerr_fail(info, ZERR_INVALID, 0, "-index: the path is too long");
    }
    if (len > 0) {
        memcpy(parent, c->index_path, len);
        parent[len] = '\0';
    }
    if (stat(parent, &st) != 0 || access(parent, W_OK | X_OK) != 0) {
        return zerr_fail(info, ZERR_INVALID, errno, "-index %s: cannot write in %s", c->index_path,
                         parent);
    }
    if (stat(c->index_path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return zerr_fail(info, ZERR_INVALID, 0, "-index %s: is there and is not a file",
                         c->index_path);
    }
    if (vfs_posix_is_network(parent)) {
        return zerr_fail(info, ZERR_UNSUPPORTED, 0,
                         "-index %s is on a network file system, where it cannot be: name a file "
                         "on a local disk",
                         c->index_path);
    }
    return 0;
}

int config_check_dir(const struct server_config *c, struct zerr_info *info)
{
    const char *dir = c->dir;
    struct stat st;
    if (stat(dir, &st) != 0) {
        if (errno == ENOENT) {
            return zerr_fail(info, ZERR_NOT_FOUND, 0,
                             "%s does not exist and is not made by the server: mount the disk it "
                             "is on, or, for a new store, make it with: mkdir -m 700 %s",
                             dir, dir);
        }
        return zerr_fail(info, ZERR_IO, errno, "cannot use %s", dir);
    }
    if (!S_ISDIR(st.st_mode)) {
        return zerr_fail(info, ZERR_INVALID, 0, "%s is not a directory", dir);
    }
    if (access(dir, R_OK | W_OK | X_OK) != 0) {
        return zerr_fail(info, ZERR_IO, errno, "cannot write in %s", dir);
    }
    return check_index_path(c, info);
}
