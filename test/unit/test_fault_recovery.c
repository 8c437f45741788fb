/* A fault while a start recovers from a crash: images of unclean directories, every call to the vfs
 * that the start makes, once and from then on. A start that fails leaves no file open and nothing
 * worse: the next one, at once or after another power cut, with its index or without, ends in the state
 * that an undisturbed recovery ends in; so does a start that the fault did not stop.
 *
 * With ROUNDS in the environment every fault is tried with every error and both ways; else some of the
 * combinations, every call at least once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/fault_world.h"
#include "support/vfs_mem.h"

static unsigned n_images, n_faults, n_refused;

/* ---- images ---- */

struct recipe {
    const char *name;
    enum store_sync sync;
    unsigned fail_ops; /* while the store works, ... */
    uint64_t fail_nth;
    enum vfs_mem_times times;
    bool stop; /* ... or while it stops */
    enum vfs_mem_crash_mode mode;
    uint64_t seed;
    bool no_index;
    bool uploads; /* it works on these */
};

static const struct recipe RECIPES[] = {
    {"a kill", STORE_SYNC_ACK, 0, 0, MEM_ONCE, false, MEM_CRASH_EVERYTHING, 1, false, false},
    {"a power cut", STORE_SYNC_ACK, 0, 0, MEM_ONCE, false, MEM_CRASH_SYNCED, 2, false, false},
    {"a power cut with remains", STORE_SYNC_ACK, 0, 0, MEM_ONCE, false, MEM_CRASH_RANDOM, 3, true,
     false},
    {"a kill in the middle", STORE_SYNC_ACK, MEM_CHANGES, 9, MEM_FROM_THEN_ON, false,
     MEM_CRASH_EVERYTHING, 4, false, false},
    {"a power cut in the middle", STORE_SYNC_ACK, MEM_CHANGES, 14, MEM_FROM_THEN_ON, false,
     MEM_CRASH_RANDOM, 5, false, false},
    {"a power cut later", STORE_SYNC_ACK, MEM_CHANGES, 23, MEM_FROM_THEN_ON, false,
     MEM_CRASH_RANDOM, 6, true, false},
    {"a failed sync and a kill", STORE_SYNC_ACK, MEM_SYNC, 2, MEM_ONCE, false, MEM_CRASH_EVERYTHING,
     7, false, false},
    {"a failed sync and a power cut", STORE_SYNC_ACK, MEM_SYNC, 4, MEM_ONCE, false,
     MEM_CRASH_RANDOM, 8, false, false},
    {"a failed flush", STORE_SYNC_ACK, MEM_TRUNCATE | MEM_RENAME, 2, MEM_FROM_THEN_ON, false,
     MEM_CRASH_RANDOM, 9, false, false},
    {"a stop cut off early", STORE_SYNC_ACK, MEM_CHANGES, 2, MEM_FROM_THEN_ON, true,
     MEM_CRASH_RANDOM, 10, false, false},
    {"a stop cut off late", STORE_SYNC_ACK, MEM_CHANGES, 5, MEM_FROM_THEN_ON, true,
     MEM_CRASH_RANDOM, 11, true, false},
    {"-sync block and a kill", STORE_SYNC_BLOCK, 0, 0, MEM_ONCE, false, MEM_CRASH_EVERYTHING, 12,
     false, false},
    {"-sync block and a power cut", STORE_SYNC_BLOCK, 0, 0, MEM_ONCE, false, MEM_CRASH_RANDOM, 13,
     false, false},
    {"multipart uploads and a kill", STORE_SYNC_ACK, 0, 0, MEM_ONCE, false, MEM_CRASH_EVERYTHING,
     14, true, true},
    {"multipart uploads and a power cut", STORE_SYNC_ACK, MEM_CHANGES, 17, MEM_FROM_THEN_ON, false,
     MEM_CRASH_RANDOM, 15, false, true},
};

static void make(const struct recipe *r, struct world_image *image)
{
    struct world w;
    world_init(&w, r->sync);
    world_fill(&w);
    if (r->stop) {
        world_work(&w);
    }
    vfs_mem_fail(w.f.vfs, r->fail_ops, r->fail_nth, ZERR_IO, r->times);
    if (!r->stop) {
        (r->uploads ? world_uploads : world_work)(&w);
    }
    assert_true(r->fail_ops == 0 || r->stop || vfs_mem_failed(w.f.vfs) > 0);
    if (r->stop) {
        (void)fx_stop(&w.f);
        assert_true(vfs_mem_failed(w.f.vfs) > 0);
    }
    vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
    fx_power_cut(&w.f, (int)r->mode, r->seed);
    if (r->no_index) {
        fx_drop_index(&w.f);
    }
    world_save(&w, image);
    world_finish(&w);
}

/* ---- what a recovery has ended in ---- */

struct state {
    struct buf text; /* each name with a hash of what it gives, the revision */
};

static void take_state(struct world *w, struct state *ret)
{
    struct buf body = {0};
    struct store_stats stats;
    buf_reset(&ret->text);
    assert_int_equal(fx_names(&w->f, &ret->text), 0);
    for (unsigned i = 0; i < N_KEYS; i++) {
        char key[8];
        uint64_t hash = 14695981039346656037u;
        (void)snprintf(key, sizeof(key), "k%02u", i);
        int rc = fx_get(&w->f, key, &body);
        for (size_t k = 0; rc == 0 && k < body.len; k++) {
            hash = (hash ^ body.ptr[k]) * 1099511628211u;
        }
        assert_int_equal(buf_printf(&ret->text, "%s %d %llx\n", key, rc, (unsigned long long)hash),
                         0);
    }
    store_get_stats(w->f.st, &stats);
    assert_int_equal(buf_printf(&ret->text, "revision %llu, %llu objects, %llu bytes\n",
                                (unsigned long long)stats.revision,
                                (unsigned long long)stats.totals.objects,
                                (unsigned long long)stats.totals.live_bytes),
                     0);
    buf_finish(&body);
    world_expect_uploads(w);
}

static void expect_state(struct world *w, const struct state *as)
{
    struct state now = {0};
    take_state(w, &now);
    if (!slice_eq(buf_slice(&now.text), buf_slice(&as->text))) {
        print_error("undisturbed:\n%.*snow:\n%.*s", (int)as->text.len, (char *)as->text.ptr,
                    (int)now.text.len, (char *)now.text.ptr);
        world_report(w, "another state", 0, 0);
    }
    buf_finish(&now.text);
}

/* ---- the sweep ---- */

static void begin(struct world *w, const struct recipe *r, const struct world_image *image)
{
    world_init(w, r->sync);
    world_load(w, image);
    w->what = r->name;
}

static void undisturbed(const struct recipe *r, const struct world_image *image, struct state *ret)
{
    struct world w;
    begin(&w, r, image);
    assert_int_equal(fx_open(&w.f), 0);
    take_state(&w, ret);
    fx_kill(&w.f);
    world_finish(&w);
}

/* True: the start makes no such call. */
static bool one_fault(const struct recipe *r, const struct world_image *image,
                      const struct state *as, uint64_t n, int zerr, enum vfs_mem_times times)
{
    struct world w;
    begin(&w, r, image);
    w.n = n;
    vfs_mem_fail(w.f.vfs, MEM_ANY, n, zerr, times);
    int rc = fx_open(&w.f);
    bool untouched = vfs_mem_failed(w.f.vfs) == 0;
    vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
    n_faults += !untouched;
    if (rc == 0) {
        expect_state(&w, as);
        fx_kill(&w.f);
    } else {
        n_refused++;
    }
    if (vfs_mem_open_files(w.f.vfs) != 0) {
        world_report(&w, "files left open", 0, rc);
    }
    if (n % 3 == 1) {
        fx_power_cut(&w.f, MEM_CRASH_RANDOM, n);
    } else if (n % 3 == 2) {
        fx_drop_index(&w.f);
    }
    rc = fx_open(&w.f);
    if (rc != 0) {
        world_report(&w, w.f.info.text, 0, rc);
    }
    expect_state(&w, as);
    rc = fx_stop(&w.f);
    if (rc != 0) {
        world_report(&w, "no clean stop", 0, rc);
    }
    world_finish(&w);
    return untouched;
}

static void each_failed_sync_is_told(const struct recipe *r, const struct world_image *image)
{
    for (uint64_t n = 1, failed = 1; failed > 0; n++) {
        struct world w;
        begin(&w, r, image);
        w.n = n;
        vfs_mem_fail(w.f.vfs, MEM_SYNC, n, ZERR_IO, MEM_ONCE);
        int rc = fx_open(&w.f);
        failed = vfs_mem_failed(w.f.vfs);
        vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
        if (rc == 0) {
            if (failed > 0) {
                world_expect_told(&w);
            }
            fx_kill(&w.f);
        }
        world_finish(&w);
    }
}

static void sweep(const struct recipe *r, unsigned number)
{
    static const int errors[] = {ZERR_IO, ZERR_NO_SPACE, ZERR_LIMIT, ZERR_NOMEM};
    bool all = getenv("ROUNDS") != NULL, untouched = false;
    struct world_image image;
    struct state as = {0};
    make(r, &image);
    undisturbed(r, &image, &as);
    n_images++;
    for (uint64_t n = 1; !untouched; n++) {
        assert_true(n < 2000);
        for (unsigned i = 0; i < 4; i++) {
            unsigned turn = (unsigned)n + number;
            if (all || i == 0) {
                untouched = one_fault(r, &image, &as, n, errors[all ? i : turn / 2 % 4], MEM_ONCE);
            }
            if (all || (i == 0 && turn % 2 == 0)) {
                untouched = one_fault(r, &image, &as, n, errors[i], MEM_FROM_THEN_ON);
            }
        }
    }
    each_failed_sync_is_told(r, &image);
    buf_finish(&as.text);
    world_image_finish(&image);
}

static void any_fault_in_any_recovery_changes_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(RECIPES) / sizeof(RECIPES[0]); i++) {
        sweep(&RECIPES[i], i);
    }
    print_message("%u images, %u faults, %u of them refused the start\n", n_images, n_faults,
                  n_refused);
    assert_true(n_images >= 10 && n_refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_fault_in_any_recovery_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
