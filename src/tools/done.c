/* See done.h. */
#include "tools/done.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"

#define FIRST_LINE "zipkvverify 1"
#define FILE_MAX (1u << 20)

/* ---- runs of numbers ---- */

bool done_has(const struct done *d, uint32_t block)
{
    size_t i = 0;
    while (i < d->n && d->runs[i].last < block) {
        i++;
    }
    return i < d->n && d->runs[i].first <= block;
}

static int add_run(struct done *d, uint32_t first, uint32_t last)
{
    if (d->n == d->cap) {
        size_t cap = d->cap > 0 ? d->cap * 2 : 16;
        struct done_run *p = realloc(d->runs, cap * sizeof(*p));
        if (p == NULL) {
            return ZERR_NOMEM;
        }
        d->runs = p;
        d->cap = cap;
    }
    size_t at = d->n++;
    for (; at > 0 && d->runs[at - 1].first > first; at--) {
        d->runs[at] = d->runs[at - 1];
    }
    d->runs[at] = (struct done_run){first, last};
    size_t n = 1; /* neighbours become one */
    for (size_t i = 1; i < d->n; i++) {
        if (d->runs[i].first <= d->runs[n - 1].last + 1) {
            d->runs[n - 1].last = d->runs[i].last;
        } else {
            d->runs[n++] = d->runs[i];
        }
    }
    d->n = n;
    return 0;
}

/* ---- the file ---- */

static int read_line(struct done *d, char *line, unsigned number)
{
    unsigned long first, last;
    char hex[33], more;
    uint8_t id[STORE_ID_BYTES];
    if (number == 0) {
        return strcmp(line, FIRST_LINE) == 0 ? 0 : ZERR_UNSUPPORTED;
    }
    if (number == 1) {
        bool same = sscanf(line, "store %32[0-9a-f]%c", hex, &more) == 1 &&
                    hex_decode(slice_str(hex), id, sizeof id) == 0 &&
                    memcmp(id, d->store_id, sizeof id) == 0;
        return same ? 0 : ZERR_UNSUPPORTED;
    }
    if (sscanf(line, "blocks %10lu %10lu%c", &first, &last, &more) != 2 || first > last ||
        last > BLOCK_NUMBER_MAX || (d->n > 0 && first <= d->runs[d->n - 1].last)) {
        return ZERR_UNSUPPORTED;
    }
    return add_run(d, (uint32_t)first, (uint32_t)last);
}

static int read_text(struct done *d, char *text)
{
    unsigned number = 0;
    int rc = 0;
    for (char *line = text; rc == 0 && *line != '\0'; number++) {
        char *end = strchr(line, '\n');
        if (end == NULL) {
            return ZERR_UNSUPPORTED;
        }
        *end = '\0';
        rc = read_line(d, line, number);
        line = end + 1;
    }
    return rc == 0 && number < 2 ? ZERR_UNSUPPORTED : rc;
}

static int read_file(struct done *d, struct zerr_info *info)
{
    struct vfs_file *file;
    size_t n = 0;
    char *text = malloc(FILE_MAX);
    int rc = text != NULL ? d->vfs->ops->open(d->vfs, d->name, VFS_READ, &file) : ZERR_NOMEM;
    if (rc == 0) {
        rc = d->vfs->ops->pread(file, text, FILE_MAX - 1, 0, &n);
        d->vfs->ops->close(file);
        text[n] = '\0';
        rc = rc == 0 ? read_text(d, text) : rc;
    }
    free(text);
    if (rc == ZERR_UNSUPPORTED) {
        return zerr_fail(
            info, rc, 0,
            "%s does not tell of a check of this store: remove it or name another file", d->path);
    }
    return rc == 0 || rc == ZERR_NOT_FOUND ? 0
                                           : zerr_fail(info, rc, vfs_last_errno(), "%s", d->path);
}

int done_open(struct done *d, const char *path, const uint8_t store_id[STORE_ID_BYTES],
              struct zerr_info *info)
{
    *d = (struct done){.path = strdup(path)};
    char *a = strdup(path), *b = strdup(path);
    memcpy(d->store_id, store_id, STORE_ID_BYTES);
    int rc = d->path != NULL && a != NULL && b != NULL ? 0 : ZERR_NOMEM;
    if (rc == 0) {
        d->name = strdup(basename(a));
        rc = d->name == NULL || asprintf(&d->tmp, "%s.new", d->name) < 0 ? ZERR_NOMEM : 0;
    }
    if (rc == 0) {
        rc = vfs_posix_open(dirname(b), &d->vfs, info);
    }
    free(a);
    free(b);
    return rc == 0 ? read_file(d, info) : rc;
}

static int write_file(struct done *d, struct slice text)
{
    struct vfs *vfs = d->vfs;
    struct vfs_file *file;
    struct iovec iov = {(void *)(uintptr_t)text.ptr, text.len};
    (void)vfs->ops->unlink(vfs, d->tmp); /* of a run that was cut off */
    int rc = vfs->ops->open(vfs, d->tmp, VFS_WRITE | VFS_CREATE, &file);
    if (rc != 0) {
        return rc;
    }
    rc = vfs->ops->pwritev(file, &iov, 1, 0);
    if (rc == 0) {
        rc = vfs->ops->sync(file);
    }
    vfs->ops->close(file);
    if (rc == 0) {
        rc = vfs->ops->rename(vfs, d->tmp, d->name);
    }
    return rc == 0 ? vfs->ops->sync_dir(vfs) : rc;
}

int done_add(struct done *d, uint32_t block, struct zerr_info *info)
{
    struct buf text = {0};
    char hex[2 * STORE_ID_BYTES];
    if (d->vfs == NULL || done_has(d, block)) {
        return 0;
    }
    hex_encode(d->store_id, STORE_ID_BYTES, hex);
    int rc = add_run(d, block, block);
    if (rc == 0) {
        rc = buf_printf(&text, FIRST_LINE "\nstore %.*s\n", (int)sizeof hex, hex);
    }
    for (size_t i = 0; rc == 0 && i < d->n; i++) {
        rc = buf_printf(&text, "blocks %lu %lu\n", (unsigned long)d->runs[i].first,
                        (unsigned long)d->runs[i].last);
    }
    if (rc == 0) {
        rc = write_file(d, buf_slice(&text));
    }
    buf_finish(&text);
    return rc == 0 ? 0 : zerr_fail(info, rc, vfs_last_errno(), "%s cannot be written", d->path);
}

int done_end(struct done *d, struct zerr_info *info)
{
    int rc = d->vfs != NULL ? d->vfs->ops->unlink(d->vfs, d->name) : 0;
    return rc == 0 || rc == ZERR_NOT_FOUND
               ? 0
               : zerr_fail(info, rc, vfs_last_errno(), "%s cannot be removed", d->path);
}

void done_close(struct done *d)
{
    vfs_posix_close(d->vfs);
    free(d->path);
    free(d->name);
    free(d->tmp);
    free(d->runs);
    *d = (struct done){0};
}
