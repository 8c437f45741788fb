/* The store when the disk fails: each class of calls, each error, at each call, once and from then
 * on, under a workload of everything at once. Nothing crashes, nothing is acknowledged that is not
 * there afterwards, nothing that failed is seen, no counter drifts, and the directory opens again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/fault_world.h"
#include "support/vfs_mem.h"

enum end { END_STOP, END_KILL, END_POWER_CUT, N_ENDS };

/* True: the fault was never reached. */
static bool one_fault(const char *what, enum store_sync sync, void (*work)(struct world *),
                      unsigned ops, int zerr, enum vfs_mem_times times, uint64_t n, enum end end)
{
    struct world w;
    world_init(&w, sync);
    world_fill(&w);
    w.what = what;
    w.n = n;
    vfs_mem_fail(w.f.vfs, ops, n, zerr, times);
    work(&w);
    bool untouched = vfs_mem_failed(w.f.vfs) == 0;
    world_expect_keys(&w, false);
    vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
    if (ops == MEM_SYNC && !untouched) {
        world_expect_told(
            &w); /* even if nobody was refused anything: the disk is not to be trusted */
    }
    world_expect_well_again(&w);
    bool fatal = w.f.fatal;
    if (end == END_STOP) {
        world_stop(&w);
    } else if (end == END_KILL || sync == STORE_SYNC_BLOCK) {
        fx_kill(&w.f);
    } else {
        fx_power_cut(&w.f, MEM_CRASH_RANDOM, n);
    }
    bool lost = fatal && sync == STORE_SYNC_BLOCK;
    for (unsigned i = 0; i < N_KEYS && lost; i++) {
        w.keys[i].allowed =
            UINT32_MAX; /* said so: what was acknowledged may be lost, but not mixed */
    }
    if (vfs_mem_open_files(w.f.vfs) != 0) {
        world_report(&w, "files left open", 0, 0);
    }
    world_expect_clean_start(&w, lost);
    world_finish(&w);
    return untouched;
}

/* The ends take turns; with a ROUNDS in the environment each fault meets each. */
static void sweep_work(const char *what, enum store_sync sync, void (*work)(struct world *),
                       unsigned ops, int zerr, enum vfs_mem_times times)
{
    static unsigned turn;
    int n_ends = getenv("ROUNDS") != NULL ? N_ENDS : 1;
    for (uint64_t n = 1; n < 1000; n++) {
        bool untouched = true;
        for (int i = 0; i < n_ends; i++) {
            enum end end = (enum end)(turn++ % N_ENDS);
            untouched = one_fault(what, sync, work, ops, zerr, times, n, end) && untouched;
        }
        if (untouched) {
            return;
        }
    }
    fail();
}

static void sweep(const char *what, enum store_sync sync, unsigned ops, int zerr,
                  enum vfs_mem_times times)
{
    sweep_work(what, sync, world_work, ops, zerr, times);
}

static void sweep_error(int zerr, enum store_sync sync)
{
    static const struct {
        const char *name;
        unsigned ops;
    } classes[] = {
        {"open", MEM_OPEN},      {"create", MEM_CREATE},     {"write", MEM_WRITE},
        {"sync", MEM_SYNC},      {"truncate", MEM_TRUNCATE}, {"allocate", MEM_ALLOCATE},
        {"rename", MEM_RENAME},  {"unlink", MEM_UNLINK},     {"sync_dir", MEM_SYNC_DIR},
        {"chmod", MEM_CHMOD},    {"look", MEM_LOOK},         {"random", MEM_RANDOM},
        {"change", MEM_CHANGES},
    };
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        sweep(classes[i].name, sync, classes[i].ops, zerr, MEM_ONCE);
        sweep(classes[i].name, sync, classes[i].ops, zerr, MEM_FROM_THEN_ON);
    }
}

static void an_io_error_at_any_call_loses_nothing(void **state)
{
    (void)state;
    sweep_error(ZERR_IO, STORE_SYNC_ACK);
}

static void a_full_disk_at_any_call_loses_nothing(void **state)
{
    (void)state;
    sweep_error(ZERR_NO_SPACE, STORE_SYNC_ACK);
}

static void no_descriptors_at_any_call_loses_nothing(void **state)
{
    (void)state;
    sweep("open", STORE_SYNC_ACK, MEM_OPEN | MEM_CREATE, ZERR_LIMIT, MEM_ONCE);
    sweep("open", STORE_SYNC_ACK, MEM_OPEN | MEM_CREATE, ZERR_LIMIT, MEM_FROM_THEN_ON);
}

static void the_same_holds_with_sync_block(void **state)
{
    (void)state;
    sweep("sync", STORE_SYNC_BLOCK, MEM_SYNC, ZERR_IO, MEM_ONCE);
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_IO, MEM_ONCE);
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_IO, MEM_FROM_THEN_ON);
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_NO_SPACE, MEM_ONCE);
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_NO_SPACE, MEM_FROM_THEN_ON);
}

static void multipart_uploads_lose_nothing_either(void **state)
{
    static const int errors[] = {ZERR_IO, ZERR_NO_SPACE};
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (int t = MEM_ONCE; t <= MEM_FROM_THEN_ON; t++) {
            sweep_work("uploads: change", STORE_SYNC_ACK, world_uploads, MEM_CHANGES, errors[i],
                       (enum vfs_mem_times)t);
            sweep_work("uploads: look", STORE_SYNC_ACK, world_uploads,
                       MEM_OPEN | MEM_LOOK | MEM_RANDOM, errors[i], (enum vfs_mem_times)t);
        }
    }
    sweep_work("uploads: change", STORE_SYNC_BLOCK, world_uploads, MEM_CHANGES, ZERR_IO, MEM_ONCE);
}

/* A start is cut off at each of its changes, with the index or without, and what a power cut leaves is
 * started again. */
static void a_recovery_cut_off_anywhere_ends_the_same(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 500; n++) {
        bool untouched = false;
        for (int with_index = 0; with_index < 2; with_index++) {
            struct world w;
            world_init(&w, STORE_SYNC_ACK);
            world_fill(&w);
            w.what = "recovery";
            w.n = n;
            vfs_mem_fail(w.f.vfs, MEM_SYNC, 9, ZERR_IO, MEM_ONCE); /* a poisoned block too */
            world_work(&w);
            vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
            fx_power_cut(&w.f, n % 2 == 0 ? MEM_CRASH_RANDOM : MEM_CRASH_EVERYTHING, n);
            vfs_mem_fail(w.f.vfs, MEM_CHANGES, n, ZERR_IO, MEM_FROM_THEN_ON);
            if (with_index == 0) {
                fx_drop_index(&w.f);
            }
            int rc = fx_open(&w.f);
            untouched = vfs_mem_failed(w.f.vfs) == 0;
            if (rc == 0 && untouched) {
                world_expect_keys(&w, true);
            } else if (rc != 0 && vfs_mem_open_files(w.f.vfs) != 0) {
                world_report(&w, "a start that failed left files open", 0, rc);
            }
            vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
            fx_power_cut(&w.f, MEM_CRASH_RANDOM, n * 7 + 1);
            world_expect_clean_start(&w, false);
            world_finish(&w);
        }
        if (untouched) {
            assert_true(n > 8);
            return;
        }
    }
    fail();
}

static void a_new_directory_cut_off_anywhere_opens(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 100; n++) {
        bool untouched = false;
        for (int mode = 0; mode < 9; mode++) {
            struct world w;
            world_init(&w, STORE_SYNC_ACK);
            w.what = "new directory";
            w.n = n;
            assert_int_equal(fx_open(&w.f), 0);
            vfs_mem_fail(w.f.vfs, MEM_CHANGES, n, ZERR_IO, MEM_FROM_THEN_ON);
            world_put(&w, 0);
            untouched = vfs_mem_failed(w.f.vfs) == 0;
            vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
            fx_power_cut(&w.f,
                         mode == 0   ? MEM_CRASH_SYNCED
                         : mode == 1 ? MEM_CRASH_EVERYTHING
                                     : MEM_CRASH_RANDOM,
                         n * 10 + (uint64_t)mode);
            world_expect_clean_start(&w, false);
            world_finish(&w);
        }
        if (untouched) {
            return;
        }
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_io_error_at_any_call_loses_nothing),
        cmocka_unit_test(a_full_disk_at_any_call_loses_nothing),
        cmocka_unit_test(no_descriptors_at_any_call_loses_nothing),
        cmocka_unit_test(the_same_holds_with_sync_block),
        cmocka_unit_test(multipart_uploads_lose_nothing_either),
        cmocka_unit_test(a_recovery_cut_off_anywhere_ends_the_same),
        cmocka_unit_test(a_new_directory_cut_off_anywhere_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
