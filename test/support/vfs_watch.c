/* See vfs_watch.h. */
#include "support/vfs_watch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/job.h"

struct watched {
    struct vfs base;
    struct vfs_ops ops;
    struct vfs *real;
    struct vfs_watch *w;
    char name[80]; /* of the directory, "." at the top */
};

static struct watched *watched_of(struct vfs *v)
{
    return container_of(v, struct watched, base);
}

static struct vfs *real_of(struct vfs *v)
{
    return watched_of(v)->real;
}

static struct vfs *watch(struct vfs *real, struct vfs_watch *w, const char *name);

/* Notes the call. ZERR_IO: it is not to be made. */
static int see(struct vfs *v, const char *call, const char *a, const char *b)
{
    struct vfs_watch *w = watched_of(v)->w;
    size_t n = strlen(w->log);

    (void)snprintf(w->log + n, sizeof(w->log) - n, "%s %s%s%s; ", call, a, b[0] != '\0' ? " " : "",
                   b);
    if (w->fail_in == 0 || --w->fail_in > 0) {
        return 0;
    }
    w->fail_in = w->stay_down ? 1 : 0;
    w->n_failed++;
    vfs_set_last_errno(EIO);
    return ZERR_IO;
}

static int on_open(struct vfs *v, const char *name, unsigned flags, struct vfs_file **ret)
{
    return real_of(v)->ops->open(real_of(v), name, flags, ret);
}

static int on_rename(struct vfs *v, const char *from, const char *to)
{
    int rc = see(v, "rename", from, to);
    return rc != 0 ? rc : real_of(v)->ops->rename(real_of(v), from, to);
}

static int on_unlink(struct vfs *v, const char *name)
{
    return real_of(v)->ops->unlink(real_of(v), name);
}

static int on_sync_dir(struct vfs *v)
{
    int rc = see(v, "sync", watched_of(v)->name, "");
    return rc != 0 ? rc : real_of(v)->ops->sync_dir(real_of(v));
}

static int on_make_dir(struct vfs *v, const char *name)
{
    int rc = see(v, "mkdir", name, "");
    return rc != 0 ? rc : real_of(v)->ops->make_dir(real_of(v), name);
}

static int on_open_dir(struct vfs *v, const char *name, struct vfs **ret)
{
    struct vfs *real;
    int rc = real_of(v)->ops->open_dir(real_of(v), name, &real);
    if (rc == 0) {
        *ret = watch(real, watched_of(v)->w, name);
    }
    return rc;
}

static void on_close_dir(struct vfs *v)
{
    real_of(v)->ops->close_dir(real_of(v));
    free(watched_of(v));
}

static int on_list(struct vfs *v, int (*each)(void *, const struct vfs_dirent *), void *user)
{
    return real_of(v)->ops->list(real_of(v), each, user);
}

static int on_stat(struct vfs *v, const char *name, struct vfs_dirent *ret)
{
    return real_of(v)->ops->stat(real_of(v), name, ret);
}

static int on_lock(struct vfs *v, const char *name, const char *who, struct vfs_file **ret,
                   struct zerr_info *info)
{
    return real_of(v)->ops->lock(real_of(v), name, who, ret, info);
}

static int on_free_space(struct vfs *v, uint64_t *ret_free, uint64_t *ret_total)
{
    return real_of(v)->ops->free_space(real_of(v), ret_free, ret_total);
}

static int64_t on_wall_ms(struct vfs *v)
{
    return real_of(v)->ops->wall_ms(real_of(v)) + (int64_t)watched_of(v)->w->ahead_ms;
}

static uint64_t on_mono_ns(struct vfs *v)
{
    return real_of(v)->ops->mono_ns(real_of(v)) + watched_of(v)->w->ahead_ms * 1000000;
}

static int on_random(struct vfs *v, void *buf, size_t n)
{
    return real_of(v)->ops->random(real_of(v), buf, n);
}

/* Calls on files are the real ones. */
static void take_over(struct vfs_ops *ops)
{
    ops->open = on_open;
    ops->rename = on_rename;
    ops->unlink = on_unlink;
    ops->sync_dir = on_sync_dir;
    ops->make_dir = on_make_dir;
    ops->open_dir = on_open_dir;
    ops->close_dir = on_close_dir;
    ops->list = on_list;
    ops->stat = on_stat;
    ops->lock = on_lock;
    ops->free_space = on_free_space;
    ops->wall_ms = on_wall_ms;
    ops->mono_ns = on_mono_ns;
    ops->random = on_random;
}

static struct vfs *watch(struct vfs *real, struct vfs_watch *w, const char *name)
{
    struct watched *v = calloc(1, sizeof(*v));
    assert(v != NULL);
    v->ops = *real->ops;
    take_over(&v->ops);
    v->base.ops = &v->ops;
    v->real = real;
    v->w = w;
    (void)snprintf(v->name, sizeof(v->name), "%s", name);
    return &v->base;
}

void vfs_watch_open(const char *dir, struct vfs_watch *w)
{
    struct vfs *real;
    int rc = vfs_posix_open(dir, &real, NULL);
    assert(rc == 0);
    (void)rc;
    memset(w, 0, sizeof(*w));
    w->vfs = watch(real, w, ".");
}

void vfs_watch_close(struct vfs_watch *w)
{
    on_close_dir(w->vfs);
    w->vfs = NULL;
}
