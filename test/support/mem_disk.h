/* The contents and names behind vfs_mem: what is there now, what a power cut would leave for sure,
 * and the volatile changes between the two, in order. No calls are counted or failed here.
 *
 * A node is a file's content: `cache` is what reads see, `device` what is safe, `ops` the changes
 * between them. Names point at nodes twice: `now`, and `durable` as of the last directory sync,
 * with `dir_ops` between these. Nodes are freed with the disk (a test's life). Not thread-safe. */
#ifndef ZKV_TEST_MEM_DISK_H
#define ZKV_TEST_MEM_DISK_H

#include <stdbool.h>

#include "base/buf.h"

#define NAMES_MAX 128
#define SECTOR 512u /* what reaches the device whole or not at all */

/* A volatile change: size == UINT64_MAX: data (or zeros, where it is NULL) over [off, off + len);
 * else the file's new size. */
struct mem_op {
    struct mem_op *next;
    uint64_t off, len, size;
    uint8_t *data;
};

struct mem_node {
    struct mem_node *next_node;
    struct buf cache, device;
    struct mem_op *ops, **tail;
    bool read_only, locked;
    struct mem_node *copy; /* while the disk is copied */
};

struct mem_names {
    size_t n;
    struct {
        char name[64];
        struct mem_node *node;
    } v[NAMES_MAX];
};

/* A volatile change of the directory: name gets node (NULL: goes away); old goes away (rename). */
struct mem_dir_op {
    struct mem_dir_op *next;
    char name[64], old[64];
    struct mem_node *node;
};

struct mem_disk {
    struct mem_node *nodes;
    struct mem_names now, durable;
    struct mem_dir_op *dir_ops, **dir_tail;
};

void mem_disk_init(struct mem_disk *);
void mem_disk_finish(struct mem_disk *);
/* The same contents, names and volatile changes in the empty `to`. */
void mem_disk_copy(const struct mem_disk *from, struct mem_disk *to);

/* What a power cut leaves of the volatile changes. They are numbered from 0: those to files that have
 * a name or may get one, then those to the directory, in order. */
enum mem_keep {
    MEM_KEEP_NONE,
    MEM_KEEP_ALL,
    MEM_KEEP_ONE,  /* nothing but number `which` */
    MEM_LOSE_ONE,  /* all but number `which` */
    MEM_KEEP_SOME, /* of files: each one, none of it, or sectors of it; where nothing was before a
                      sector may also be zeros, garbage or older bytes of the file's; or its size
                      alone. Of the directory: up to some point, and sometimes without one of them */
    MEM_NO_CUT,    /* all is as it was, volatile or not: what kill -9 leaves */
};
struct mem_cut {
    enum mem_keep keep;
    uint64_t which;
    uint64_t rng;
};
/* Fills the empty `to` with what the cut leaves of `from`. */
void mem_disk_cut(const struct mem_disk *from, struct mem_disk *to, const struct mem_cut *);
uint64_t mem_disk_n_volatile(const struct mem_disk *);
/* Of all names and contents: equal disks have equal hashes. */
uint64_t mem_disk_hash(const struct mem_disk *);

struct mem_node *mem_node_create(struct mem_disk *);
/* Changes the cache, volatile. op's data are copied. */
void mem_node_change(struct mem_node *, const struct mem_op *op);
/* The volatile changes reach the device, all or (rng) in part, and are forgotten. */
void mem_node_flush(struct mem_node *, uint64_t *rng);
void mem_copy(struct buf *to, const struct buf *from);

struct mem_node *mem_names_find(struct mem_names *, const char *name);
/* node NULL: the name goes away. */
void mem_names_set(struct mem_names *, const char *name, struct mem_node *node);
void mem_dir_op_apply(struct mem_names *, const struct mem_dir_op *op);
/* Changes the names, volatile. node NULL: `name` goes away; `old` (or "") goes away too. */
void mem_dir_change(struct mem_disk *, const char *name, struct mem_node *node, const char *old);
void mem_dir_flush(struct mem_disk *);

uint64_t mem_rnd(uint64_t *state);
void *mem_must(void *p); /* p, which must not be NULL */

#endif
