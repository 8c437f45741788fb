/* See pace.h. */
#include "tools/pace.h"

#include <errno.h>
#include <time.h>

#include "base/job.h"

#define SECOND_NS 1000000000u
#define AHEAD (8u << 20)
#define AHEAD_STEP (128u << 10)

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

void pace_take(struct pace *p, uint64_t n)
{
    p->total += n;
    if (p->rate == 0) {
        return;
    }
    uint64_t now = now_ns();
    p->due_ns = p->due_ns > now ? p->due_ns : now;
    p->due_ns += n / p->rate * SECOND_NS + n % p->rate * SECOND_NS / p->rate;
    struct timespec until = {(time_t)(p->due_ns / SECOND_NS), (long)(p->due_ns % SECOND_NS)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

static void announce(struct paced_file *p, uint64_t off)
{
    const struct vfs_ops *ops = p->file->vfs->ops;
    if (ops->will_read != NULL && off + AHEAD / 2 > p->announced) {
        p->announced = p->announced > off ? p->announced : off;
        while (p->announced < off + AHEAD) { /* the system takes no more at a time */
            ops->will_read(p->file, p->announced, AHEAD_STEP);
            p->announced += AHEAD_STEP;
        }
    }
}

static int paced_pread(struct vfs_file *f, void *buf, size_t n, uint64_t off, size_t *ret_n)
{
    struct paced_file *p = container_of(f, struct paced_file, base);
    announce(p, off);
    int rc = p->file->vfs->ops->pread(p->file, buf, n, off, ret_n);
    if (rc == 0) {
        pace_take(p->pace, *ret_n);
    }
    return rc;
}

static int paced_size(struct vfs_file *f, uint64_t *ret)
{
    struct paced_file *p = container_of(f, struct paced_file, base);
    return p->file->vfs->ops->size(p->file, ret);
}

struct vfs_file *paced_file_init(struct paced_file *p, struct vfs_file *file, struct pace *pace)
{
    static const struct vfs_ops ops = {.pread = paced_pread, .size = paced_size};
    static struct vfs vfs = {&ops};
    *p = (struct paced_file){{&vfs}, file, pace, 0};
    return &p->base;
}
