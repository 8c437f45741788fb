/* See mem_disk.h. */
#include "support/mem_disk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

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

/* Was nothing there before? What is written over keeps its old bytes or gets the new ones. */
static bool is_blank(const struct buf *b, uint64_t at, uint64_t n)
{
    uint64_t i;

    for (i = at; i < at + n && i < b->len; i++) {
        if (b->ptr[i] != 0) {
            return false;
        }
    }
    return true;
}

/* What a sector that a power cut caught may hold. */
static void spoil(struct buf *b, uint64_t at, uint64_t n, uint64_t *rng)
{
    uint64_t choice = mem_rnd(rng) % 3, back = SECTOR * (1 + mem_rnd(rng) % 8), i;

    resize(b, at + n > b->len ? at + n : b->len);
    for (i = 0; i < n; i++) {
        b->ptr[at + i] = choice == 0                ? 0
                         : choice == 1 || at < back ? (uint8_t)(mem_rnd(rng) >> 5)
                                                    : b->ptr[at + i - back];
    }
}

/* Sectors of the change: each written or not, or (wild) spoiled. */
static void apply_sectors(struct buf *b, const struct mem_op *op, bool wild, uint64_t *rng)
{
    uint64_t at, n;

    for (at = 0; at < op->len; at += n) {
        uint64_t choice = mem_rnd(rng) % (wild ? 8 : 2);

        n = SECTOR - (op->off + at) % SECTOR;
        n = n < op->len - at ? n : op->len - at;
        if (choice == 7 && op->data != NULL && is_blank(b, op->off + at, n)) {
            spoil(b, op->off + at, n, rng);
        } else if (choice % 2 == 0) {
            overwrite(b, op->off + at, op->data != NULL ? op->data + at : NULL, n);
        }
    }
}

static void apply(struct buf *b, const struct mem_op *op)
{
    if (op->size != UINT64_MAX) {
        resize(b, op->size);
    } else {
        overwrite(b, op->off, op->data, op->len);
    }
}

/* All of the change, none of it, or a random part. */
static void apply_some(struct buf *b, const struct mem_op *op, bool wild, uint64_t *rng)
{
    uint64_t choice = mem_rnd(rng) % 8;

    if (choice < 2 || (op->size != UINT64_MAX && choice != 2)) {
        apply(b, op);
    } else if (choice == 3 && wild && op->data != NULL && op->off + op->len > b->len) {
        resize(b, op->off + op->len);
    } else if (choice >= 4) {
        apply_sectors(b, op, wild, rng);
    }
}

/* The volatile changes reach the device, all or (rng) in part, and are forgotten. */
void mem_node_flush(struct mem_node *n, uint64_t *rng)
{
    while (n->ops != NULL) {
        struct mem_op *op = n->ops;

        if (rng != NULL) {
            apply_some(&n->device, op, false, rng);
        } else {
            apply(&n->device, op);
        }
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
    apply(&n->cache, op);
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

/* ---- copies ---- */

static void copy_ops(const struct mem_node *from, struct mem_node *to)
{
    const struct mem_op *op;

    for (op = from->ops; op != NULL; op = op->next) {
        struct mem_op *o = mem_must(malloc(sizeof(*o)));

        *o = *op;
        o->next = NULL;
        if (op->data != NULL) {
            o->data = mem_must(malloc(op->len > 0 ? (size_t)op->len : 1));
            memcpy(o->data, op->data, (size_t)op->len);
        }
        *to->tail = o;
        to->tail = &o->next;
    }
}

static void map_names(struct mem_names *names)
{
    size_t i;

    for (i = 0; i < names->n; i++) {
        names->v[i].node = names->v[i].node->copy;
    }
}

void mem_disk_copy(const struct mem_disk *from, struct mem_disk *to)
{
    struct mem_node *old;
    const struct mem_dir_op *op;

    for (old = from->nodes; old != NULL; old = old->next_node) {
        struct mem_node *n = mem_node_create(to);

        mem_copy(&n->cache, &old->cache);
        mem_copy(&n->device, &old->device);
        copy_ops(old, n);
        n->read_only = old->read_only;
        old->copy = n;
    }
    to->now = from->now;
    to->durable = from->durable;
    map_names(&to->now);
    map_names(&to->durable);
    for (op = from->dir_ops; op != NULL; op = op->next) {
        struct mem_dir_op *o = mem_must(malloc(sizeof(*o)));

        *o = *op;
        o->next = NULL;
        o->node = op->node != NULL ? op->node->copy : NULL;
        *to->dir_tail = o;
        to->dir_tail = &o->next;
    }
}

/* ---- power cuts ---- */

static bool has_name(const struct mem_names *names, const struct mem_node *node)
{
    size_t i;

    for (i = 0; i < names->n; i++) {
        if (names->v[i].node == node) {
            return true;
        }
    }
    return false;
}

/* Has the file a name, had one durably, or may get one by a part of the directory's changes? */
static bool is_reachable(const struct mem_disk *d, const struct mem_node *node)
{
    const struct mem_dir_op *op;

    for (op = d->dir_ops; op != NULL; op = op->next) {
        if (op->node == node) {
            return true;
        }
    }
    return has_name(&d->now, node) || has_name(&d->durable, node);
}

static uint64_t n_dir_ops(const struct mem_disk *d)
{
    const struct mem_dir_op *op;
    uint64_t n = 0;

    for (op = d->dir_ops; op != NULL; op = op->next) {
        n++;
    }
    return n;
}

uint64_t mem_disk_n_volatile(const struct mem_disk *d)
{
    const struct mem_node *node;
    const struct mem_op *op;
    uint64_t n = n_dir_ops(d);

    for (node = d->nodes; node != NULL; node = node->next_node) {
        for (op = is_reachable(d, node) ? node->ops : NULL; op != NULL; op = op->next) {
            n++;
        }
    }
    return n;
}

static bool is_kept(const struct mem_cut *cut, uint64_t i)
{
    return cut->keep == MEM_KEEP_ALL || (cut->keep == MEM_KEEP_ONE && i == cut->which) ||
           (cut->keep == MEM_LOSE_ONE && i != cut->which);
}

/* The names that are left. i: number of the directory's first change. */
static void cut_names(const struct mem_disk *from, struct mem_names *ret, const struct mem_cut *cut,
                      uint64_t i, uint64_t *rng)
{
    const struct mem_dir_op *op;
    uint64_t n = n_dir_ops(from), end = i + n, lost = UINT64_MAX;

    if (cut->keep == MEM_KEEP_SOME && n > 0) {
        end = i + mem_rnd(rng) % (n + 1);
        lost = mem_rnd(rng) % 4 == 0 ? i + mem_rnd(rng) % n : lost;
    }
    *ret = from->durable;
    for (op = from->dir_ops; op != NULL; op = op->next, i++) {
        if (cut->keep == MEM_KEEP_SOME ? i < end && i != lost : is_kept(cut, i)) {
            mem_dir_op_apply(ret, op);
        }
    }
}

void mem_disk_cut(const struct mem_disk *from, struct mem_disk *to, const struct mem_cut *cut)
{
    struct mem_node *old;
    uint64_t i = 0, rng = cut->rng;
    size_t k;

    if (cut->keep == MEM_NO_CUT) {
        mem_disk_copy(from, to);
        return;
    }
    for (old = from->nodes; old != NULL; old = old->next_node) {
        const struct mem_op *op;
        struct mem_node *n;

        if (!is_reachable(from, old)) {
            continue;
        }
        n = old->copy = mem_node_create(to);
        mem_copy(&n->device, &old->device);
        for (op = old->ops; op != NULL; op = op->next, i++) {
            if (cut->keep == MEM_KEEP_SOME) {
                apply_some(&n->device, op, true, &rng);
            } else if (is_kept(cut, i)) {
                apply(&n->device, op);
            }
        }
        mem_copy(&n->cache, &n->device);
        n->read_only = old->read_only;
    }
    cut_names(from, &to->now, cut, i, &rng);
    for (k = 0; k < to->now.n; k++) {
        to->now.v[k].node = to->now.v[k].node->copy;
    }
    to->durable = to->now;
}

static uint64_t names_hash(const struct mem_names *names, uint64_t seed)
{
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < names->n; i++) {
        const struct mem_node *n = names->v[i].node;
        uint64_t h = XXH3_64bits_withSeed(names->v[i].name, strlen(names->v[i].name), seed);

        h = XXH3_64bits_withSeed(n->cache.ptr, n->cache.len, h);
        sum += XXH3_64bits_withSeed(n->device.ptr, n->device.len, h); /* whatever their order */
    }
    return sum;
}

uint64_t mem_disk_hash(const struct mem_disk *d)
{
    return names_hash(&d->now, 1) + names_hash(&d->durable, 2);
}
