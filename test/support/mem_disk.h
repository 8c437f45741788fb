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

#define NAMES_MAX 1024
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
/* Fills the empty `to` with what a power cut leaves of `from`: with neither flag what is safe, with
 * `some` a random part of the volatile changes besides, with `all` everything (no power cut: the
 * cache is kept, too). */
void mem_disk_crash(const struct mem_disk *from, struct mem_disk *to, bool all, bool some,
                    uint64_t *rng);

struct mem_node *mem_node_create(struct mem_disk *);
/* Changes the cache, volatile. op's data are copied. */
void mem_node_change(struct mem_node *, const struct mem_op *op);
/* The volatile changes reach the device, all or (rng) in part, and are forgotten. */
void mem_node_flush(struct mem_node *, uint64_t *rng);
/* The change, or (rng) a random part of it, in b. */
void mem_op_apply(struct buf *b, const struct mem_op *op, uint64_t *rng);
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
