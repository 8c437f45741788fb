/* A sync that fails, at every commit point: groups of uploads with copies and deletes among them, in
 * one block and in two, with another upload half-way into the same block. The failed sync puts some of
 * the data on the disk and loses the rest, and a second one would succeed (vfs_mem.h).
 *
 * Once: the whole group ends with ZERR_IO, nothing of it is served, then or after any restart, its
 * block is never touched again and never named; what came before stays, what comes after counts.
 * From then on: the store says that it cannot go on, or refuses writes; what was acknowledged stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/store_priv.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"

#define N_BASE 4
#define GROUP_MAX 8
#define BLOCK 65536u
#define OWN_BLOCK 100000u /* larger than a block */

static uint8_t bytes[OWN_BLOCK];
static unsigned n_points, n_restarts;

struct config {
    unsigned n_uploads;
    bool changes; /* a copy and a delete besides */
    bool two_blocks;
    bool half_way; /* another upload into the block goes on */
    bool first;    /* nothing was committed before */
};

struct group {
    const struct config *cfg;
    struct fixture f;
    struct fx_upload up[GROUP_MAX], half;
    int copy_status, delete_status, status; /* 1: not answered */
    const char *what;
    char text[160];
};

static struct slice body(unsigned seed, size_t n)
{
    fx_fill(bytes, n, seed);
    return slice_of(bytes, n);
}

static size_t size_of(const struct config *c, unsigned i)
{
    return c->two_blocks && i == 1 ? OWN_BLOCK : 500 + 1000 * i;
}

static void wrong(const struct group *g, const char *text, const char *key)
{
    print_error("%s: %s %s\n%s", g->text, key, text, g->f.notes);
    fail();
}

static void expect_object(struct group *g, const char *key, unsigned seed, size_t n, bool there)
{
    struct buf out = {0};
    int rc = fx_get(&g->f, key, &out);
    if (rc != (there ? 0 : ZERR_NOT_FOUND)) {
        wrong(g, there ? "is gone" : "is served", key);
    }
    if (there && !slice_eq(buf_slice(&out), body(seed, n))) {
        wrong(g, "has other bytes", key);
    }
    buf_finish(&out);
}

static const char *name(char kind, unsigned i)
{
    static char text[16];
    (void)snprintf(text, sizeof(text), "%c%u", kind, i);
    return text;
}

static void put(struct group *g, char kind, unsigned i)
{
    if (fx_put(&g->f, name(kind, i), body((unsigned)kind + i, 700), 0) != 0) {
        wrong(g, "is refused", name(kind, i));
    }
}

/* ---- the group ---- */

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

static void on_copied(void *user, int status, const struct object *obj)
{
    (void)obj;
    *(int *)user = status;
}

static void begin(struct group *g)
{
    const struct config *c = g->cfg;
    fx_init(&g->f, BLOCK);
    assert_int_equal(fx_open(&g->f), 0);
    for (unsigned i = 0; i < N_BASE && !c->first; i++) {
        put(g, 'b', i);
    }
    for (unsigned i = 0; i < c->n_uploads; i++) {
        assert_int_equal(fx_begin(&g->f, &g->up[i], name('g', i), size_of(c, i)), 0);
        fx_write(&g->f, &g->up[i], body('g' + i, size_of(c, i)));
    }
    if (c->half_way) {
        assert_int_equal(fx_begin(&g->f, &g->half, "half", 5000), 0);
        fx_write(&g->f, &g->half, body('h', 2000));
    }
    g->copy_status = g->delete_status = c->changes ? 1 : 0;
}

/* All wait behind another round, so that they commit in one; that is about to run. */
static void commit(struct group *g)
{
    const struct config *c = g->cfg;
    struct copy_spec spec = {.key = slice_str("copy")};
    struct slice key = slice_str("b0");
    struct fx_upload ahead;
    if (!c->first) {
        assert_int_equal(fx_begin(&g->f, &ahead, "ahead", 0), 0);
        put_commit(ahead.put, NULL);
    }
    for (unsigned i = 0; i < c->n_uploads; i++) {
        put_commit(g->up[i].put, NULL);
        if (i == 0 && c->changes) {
            assert_int_equal(store_lookup(g->f.st, slice_str("b1"), &spec.src), 0);
            assert_int_equal(store_copy(g->f.st, &spec, on_copied, &g->copy_status), 0);
            assert_int_equal(store_delete(g->f.st, &key, 1, NULL, on_deleted, &g->delete_status),
                             0);
        }
    }
    if (!c->first) {
        assert_true(workers_inline_step(&g->f.workers));
        assert_true(ahead.done && ahead.status == 0);
    }
    assert_int_equal(g->f.st->round.n_items, c->n_uploads + (c->changes ? 2 : 0));
}

/* In the same round all have the same fate, and nobody goes unanswered unless the store gave up. */
static void judge(struct group *g)
{
    const struct config *c = g->cfg;
    for (unsigned i = 0; i < c->n_uploads; i++) {
        if (!g->up[i].done && !g->f.fatal) {
            wrong(g, "was not answered", name('g', i));
        }
    }
    if (!g->f.fatal && (g->copy_status == 1 || g->delete_status == 1)) {
        wrong(g, "was not answered", "a change");
    }
    g->status = g->up[c->n_uploads - 1].done ? g->up[c->n_uploads - 1].status : ZERR_IO;
}

static void expect_group(struct group *g, bool there)
{
    const struct config *c = g->cfg;
    for (unsigned i = 0; i < c->n_uploads; i++) {
        expect_object(g, name('g', i), 'g' + i, size_of(c, i),
                      there || (g->up[i].done && g->up[i].status == 0));
    }
    for (unsigned i = 0; i < N_BASE && !c->first; i++) {
        bool deleted = i == 0 && c->changes && g->delete_status == 0;
        expect_object(g, name('b', i), 'b' + i, 700, !deleted);
    }
    if (c->changes) {
        expect_object(g, "copy", 'b' + 1, 700, g->copy_status == 0);
    }
}

/* ---- afterwards ---- */

struct snapshot {
    char name[FILE_NAME_BYTES];
    struct buf bytes;
};

/* The blocks that took part in the failure, as they are now. */
static size_t poisoned(struct group *g, struct snapshot *out, size_t max)
{
    size_t n = 0;
    for (const struct block *b = g->f.st->open_blocks; b != NULL; b = b->next) {
        if (b->state == BLOCK_POISONED) {
            assert_true(n < max);
            out[n] = (struct snapshot){0};
            block_name(out[n].name, b->number, false);
            struct slice now = vfs_mem_get(g->f.vfs, out[n].name);
            assert_int_equal(buf_append(&out[n].bytes, now.ptr, now.len), 0);
            n++;
        }
    }
    return n;
}

static void restart(struct group *g, const struct vfs *from, enum vfs_mem_crash_mode mode,
                    uint64_t seed, bool index)
{
    struct vfs *keep = g->f.vfs;
    n_restarts++;
    g->f.vfs = vfs_mem_crash((struct vfs *)from, mode, seed);
    if (!index) {
        fx_drop_index(&g->f);
    }
    int rc = fx_open(&g->f);
    if (rc != 0) {
        wrong(g, g->f.info.text, "start");
    }
    expect_group(g, false);
    if (g->status != 0 && !g->cfg->first && !g->f.fatal) {
        expect_object(g, "later0", 'l', 700, true);
    }
    assert_int_equal(fx_stop(&g->f), 0);
    vfs_mem_destroy(g->f.vfs);
    g->f.vfs = keep;
}

/* One fault at the nth sync behind the group's beginning. True: there is no such sync. */
static bool fail_once(const struct config *c, uint64_t n)
{
    struct group g = {.cfg = c};
    struct snapshot before[4];
    (void)snprintf(g.text, sizeof(g.text), "%u uploads%s%s%s%s, sync %d", c->n_uploads,
                   c->changes ? ", changes" : "", c->two_blocks ? ", two blocks" : "",
                   c->half_way ? ", one half-way" : "", c->first ? ", the first" : "", (int)n);
    begin(&g);
    commit(&g);
    vfs_mem_fail(g.f.vfs, MEM_SYNC, n, ZERR_IO, MEM_ONCE);
    fx_pump(&g.f);
    bool untouched = vfs_mem_failed(g.f.vfs) == 0;
    vfs_mem_fail(g.f.vfs, 0, 0, 0, MEM_ONCE);
    judge(&g);
    n_points += !untouched;
    if (g.f.fatal) {
        wrong(&g, "ends after a single failure", "the store");
    }
    if (!untouched && n <= (c->two_blocks ? 2 : 1) && !c->first && g.status != ZERR_IO) {
        wrong(&g, "does not fail with its sync", "the group");
    }
    for (unsigned i = 0; i < c->n_uploads; i++) {
        if (g.up[i].status != g.status) {
            wrong(&g, "has another fate than its group", name('g', i));
        }
    }
    if (c->changes && (g.copy_status != g.status || g.delete_status != g.status)) {
        wrong(&g, "has another fate than its group", "a change");
    }
    expect_group(&g, false);
    size_t n_poisoned = poisoned(&g, before, 4);
    if (c->half_way && !g.half.done && g.half.put->c.block->state == BLOCK_POISONED) {
        wrong(&g, "goes on in a failed block", "half");
    }
    if (c->half_way && !g.half.done) {
        put_abort(g.half.put);
        fx_pump(&g.f);
    }
    if (fx_put(&g.f, "later0", body('l', 700), 0) != 0) {
        wrong(&g, "is refused", "later0");
    }
    expect_group(&g, false);
    /* Now, at a power cut, at a kill: with what the index says and without. */
    for (size_t i = 0; i < n_poisoned; i++) {
        struct slice as = vfs_mem_get(g.f.vfs, before[i].name);
        if (!slice_eq(as, buf_slice(&before[i].bytes))) {
            wrong(&g, "was written again", before[i].name);
        }
    }
    struct vfs *now = g.f.vfs;
    fx_kill(&g.f);
    for (uint64_t seed = 0; seed < 4; seed++) {
        restart(&g, now,
                seed == 0   ? MEM_CRASH_EVERYTHING
                : seed == 1 ? MEM_CRASH_SYNCED
                            : MEM_CRASH_RANDOM,
                n * 16 + seed, seed == 0);
    }
    for (size_t i = 0; i < n_poisoned; i++) {
        buf_finish(&before[i].bytes);
    }
    fx_finish(&g.f);
    return untouched;
}

/* Every sync fails from the nth on: what was acknowledged stays; what was not is whole or absent. */
static void fail_from_then_on(const struct config *c, uint64_t n)
{
    struct group g = {.cfg = c};
    (void)snprintf(g.text, sizeof(g.text), "%u uploads%s%s%s%s, all syncs from %d on", c->n_uploads,
                   c->changes ? ", changes" : "", c->two_blocks ? ", two blocks" : "",
                   c->half_way ? ", one half-way" : "", c->first ? ", the first" : "", (int)n);
    begin(&g);
    commit(&g);
    vfs_mem_fail(g.f.vfs, MEM_SYNC, n, ZERR_IO, MEM_FROM_THEN_ON);
    fx_pump(&g.f);
    judge(&g);
    if (g.status == 0) {
        int rc = fx_put(&g.f, "later0", body('l', 700), 0);
        if (rc == 0) {
            wrong(&g, "is acknowledged", "later0");
        }
    }
    if (g.status != 0 && !g.f.fatal && !c->first) { /* without even a db each upload tries again */
        wrong(&g, "does not say that it cannot go on", "the store");
    }
    expect_group(&g, false);
    fx_kill(&g.f);
    vfs_mem_fail(g.f.vfs, 0, 0, 0, MEM_ONCE);
    for (unsigned i = 0; i < c->n_uploads; i++) { /* it died before they were answered */
        g.up[i].done = g.up[i].done && g.up[i].status == 0;
    }
    struct vfs *now = g.f.vfs;
    for (uint64_t seed = 0; seed < 3; seed++) {
        g.f.vfs = vfs_mem_crash(now, seed == 0 ? MEM_CRASH_SYNCED : MEM_CRASH_RANDOM, n * 8 + seed);
        fx_drop_index(&g.f);
        n_restarts++;
        assert_int_equal(fx_open(&g.f), 0);
        for (unsigned i = 0; i < N_BASE && !c->first; i++) {
            struct buf out = {0};
            int rc = fx_get(&g.f, name('b', i), &out);
            bool may_be_gone = i == 0 && c->changes;
            if (rc != 0 && !(may_be_gone && rc == ZERR_NOT_FOUND)) {
                wrong(&g, "is gone", name('b', i));
            }
            buf_finish(&out);
        }
        for (unsigned i = 0; i < c->n_uploads; i++) {
            struct buf out = {0};
            int rc = fx_get(&g.f, name('g', i), &out);
            bool whole = rc == 0 && slice_eq(buf_slice(&out), body('g' + i, size_of(c, i)));
            if (!whole && (rc != ZERR_NOT_FOUND || g.up[i].done)) {
                wrong(&g, "is neither whole nor absent", name('g', i));
            }
            buf_finish(&out);
        }
        assert_int_equal(fx_stop(&g.f), 0);
        vfs_mem_destroy(g.f.vfs);
    }
    g.f.vfs = now;
    fx_finish(&g.f);
}

static void each_sync_of_a_group_fails(void **state)
{
    static const unsigned sizes[] = {1, 2, GROUP_MAX};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned how = 0; how < 16; how++) {
            struct config c = {sizes[i], (how & 1) != 0, (how & 2) != 0, (how & 4) != 0,
                               (how & 8) != 0};
            if ((c.two_blocks && c.n_uploads < 2) || (c.first && (c.changes || c.n_uploads > 1))) {
                continue;
            }
            uint64_t n = 1;
            while (!fail_once(&c, n)) {
                fail_from_then_on(&c, n);
                n++;
            }
            assert_true(n > 1);
        }
    }
    print_message("%u commit points, %u restarts\n", n_points, n_restarts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sync_of_a_group_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
