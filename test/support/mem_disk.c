/* See mem_disk.h. */
#include "support/mem_disk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mem_must(void *p)
{
    assert(p != NULL);
    return p;
}

uint64_t mem_rnd(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- contents ---- */

static void resize(struct buf *b, uint64_t size)
{
    if (size > b->len) {
        int err = buf_reserve(b, (size_t)(size - b->len));

        assert(err == 0);
        memset(b->ptr + b->len, 0, (size_t)(size - b->len));
    }
    b->len = (size_t)size;
}

static void overwrite(struct buf *b, uint64_t off, const uint8_t *data, uint64_t len)
{
    if (len == 0) {
        return;
    }
    if (data != NULL && off + len > b->len) {
        resize(b, off + len);
    } else if (off >= b->len) {
        return; /* a hole behind the end */
    } else if (off + len > b->len) {
        len = b->len - off;
    }
    if (data != NULL) {
        memcpy(b->ptr + off, data, (size_t)len);
    } else {
        memset(b->ptr + off, 0, (size_t)len);
    }
}

void mem_copy(struct buf *to, const struct buf *from)
{
    int err;

    buf_reset(to);
    err = buf_append(to, from->ptr, from->len);
    assert(err == 0);
}

/* All of the change, or a random part of it. */
void mem_op_apply(struct buf *b, const struct mem_op *op, uint64_t *rng)
{
    uint64_t choice = rng != NULL ? mem_rnd(rng) % 4 : 0, at, n;

    if (choice == 1) {
        return;
    }
    if (op->size != UINT64_MAX) {
        resize(b, op->size);
    } else if (choice == 0) {
        overwrite(b, op->off, op->data, op->len);
    } else {
        for (at = 0; at < op->len; at += n) {
            n = SECTOR - (op->off + at) % SECTOR;
            n = n < op->len - at ? n : op->len - at;
            if (mem_rnd(rng) % 2 == 0) {
                overwrite(b, op->off + at, op->data != NULL ? op->data + at : NULL, n);
            }
        }
    }
}

/* The volatile changes reach the device, all or (rng) in part, and are forgotten. */
void mem_node_flush(struct mem_node *n, uint64_t *rng)
{
    while (n->ops != NULL) {
        struct mem_op *op = n->ops;

        mem_op_apply(&n->device, op, rng);
        n->ops = op->next;
        free(op->data);
        free(op);
    }
    n->tail = &n->ops;
}

void mem_node_change(struct mem_node *n, const struct mem_op *what)
{
    struct mem_op *op = mem_must(malloc(sizeof(*op)));

    *op = *what;
    op->next = NULL;
    if (what->data != NULL) {
        op->data = mem_must(malloc(what->len > 0 ? (size_t)what->len : 1));
        memcpy(op->data, what->data, (size_t)what->len);
    }
    mem_op_apply(&n->cache, op, NULL);
    *n->tail = op;
    n->tail = &op->next;
}

struct mem_node *mem_node_create(struct mem_disk *d)
{
    struct mem_node *n = mem_must(calloc(1, sizeof(*n)));

    n->tail = &n->ops;
    n->next_node = d->nodes;
    d->nodes = n;
    return n;
}

/* ---- names ---- */

struct mem_node *mem_names_find(struct mem_names *d, const char *name)
{
    size_t i;

    for (i = 0; i < d->n; i++) {
        if (strcmp(d->v[i].name, name) == 0) {
            return d->v[i].node;
        }
    }
    return NULL;
}

/* node NULL: the name goes away. */
void mem_names_set(struct mem_names *d, const char *name, struct mem_node *node)
{
    size_t i = 0;

    if (name[0] == '\0') {
        return;
    }
    while (i < d->n && strcmp(d->v[i].name, name) != 0) {
        i++;
    }
    if (node == NULL) {
        if (i < d->n) {
            d->v[i] = d->v[--d->n];
        }
        return;
    }
    if (i == d->n) {
        assert(d->n < NAMES_MAX && strlen(name) < sizeof(d->v[0].name));
        (void)snprintf(d->v[d->n++].name, sizeof(d->v[0].name), "%s", name);
    }
    d->v[i].node = node;
}

void mem_dir_op_apply(struct mem_names *d, const struct mem_dir_op *op)
{
    mem_names_set(d, op->old, NULL);
    mem_names_set(d, op->name, op->node);
}

void mem_dir_change(struct mem_disk *d, const char *name, struct mem_node *node, const char *old)
{
    struct mem_dir_op *op = mem_must(calloc(1, sizeof(*op)));

    (void)snprintf(op->name, sizeof(op->name), "%s", name);
    (void)snprintf(op->old, sizeof(op->old), "%s", old);
    op->node = node;
    mem_dir_op_apply(&d->now, op);
    *d->dir_tail = op;
    d->dir_tail = &op->next;
}

void mem_dir_flush(struct mem_disk *d)
{
    while (d->dir_ops != NULL) {
        struct mem_dir_op *op = d->dir_ops;

        mem_dir_op_apply(&d->durable, op);
        d->dir_ops = op->next;
        free(op);
    }
    d->dir_tail = &d->dir_ops;
}

void mem_disk_init(struct mem_disk *d)
{
    *d = (struct mem_disk){.nodes = NULL};
    d->dir_tail = &d->dir_ops;
}

void mem_disk_finish(struct mem_disk *d)
{
    mem_dir_flush(d);
    while (d->nodes != NULL) {
        struct mem_node *n = d->nodes;

        d->nodes = n->next_node;
        mem_node_flush(n, NULL);
        buf_finish(&n->cache);
        buf_finish(&n->device);
        free(n);
    }
}

/* The names that a power cut leaves. */
static void crash_names(const struct mem_disk *from, struct mem_names *ret, bool all, bool some,
                        uint64_t *rng)
{
    const struct mem_dir_op *op;
    uint64_t keep = 0;

    *ret = all ? from->now : from->durable;
    for (op = from->dir_ops; op != NULL; op = op->next) {
        keep++;
    }
    keep = some ? mem_rnd(rng) % (keep + 1) : 0;
    for (op = from->dir_ops; keep > 0; op = op->next, keep--) {
        mem_dir_op_apply(ret, op);
    }
}

void mem_disk_crash(const struct mem_disk *from, struct mem_disk *to, bool all, bool some,
                    uint64_t *rng)
{
    struct mem_names *names = mem_must(malloc(sizeof(*names)));
    size_t i;

    crash_names(from, names, all, some, rng);
    for (i = 0; i < names->n; i++) {
        const struct mem_node *old = names->v[i].node;
        struct mem_node *n = mem_node_create(to);
        const struct mem_op *op;

        mem_copy(&n->device, &old->device);
        for (op = old->ops; (all || some) && op != NULL; op = op->next) {
            mem_op_apply(&n->device, op, all ? NULL : rng);
        }
        /* Where nothing is cut, what a failed sync lost is still in the cache. */
        mem_copy(&n->cache, all ? &old->cache : &n->device);
        n->read_only = old->read_only;
        mem_names_set(&to->now, names->v[i].name, n);
        mem_names_set(&to->durable, names->v[i].name, n);
    }
    free(names);
}
