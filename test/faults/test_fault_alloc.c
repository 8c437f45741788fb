/* The store when there is no memory: each allocation of base, store and tools, and of zlib, SQLite and
 * OpenSSL under them, fails, once and from then on. What was asked for ends with an error or is done;
 * nothing leaks (counted here, and seen by LSan), what was acknowledged stays, and with memory again
 * the same store goes on, or opens.
 *
 * Everything is compiled with stand-ins for what allocates (support/oom.h). Of allocations that are
 * reached by the same way some are chosen, with ROUNDS in the environment all fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/rebuild.h"
#include "support/fault_points.h"
#include "support/fault_world.h"
#include "support/oom.h"
#include "support/store_dir.h"
#include "support/vfs_mem.h"
#include "tools/verify.h"

static uint64_t n_runs, n_points, n_calls[N_OOM_KINDS];
static uint64_t live; /* blocks when the world began */

struct plan {
    const char *name;
    void (*before)(struct world *);
    int (*work)(struct world *); /* with the fault; 0 or what failed */
    enum {
        FRESH,
        IMAGE,
        AGAIN
    } how; /* each time from the beginning; from what `before` has left; or
                                         over and over on the same open store */
};

static void expect_status(const struct world *w, int rc)
{
    if (rc != 0 && rc != ZERR_NOMEM) {
        world_report(w, "not what is said when memory is short", 0, rc);
    }
}

static int start(struct world *w)
{
    int rc = fx_open(&w->f);
    expect_status(w, rc);
    return rc;
}

/* ---- what is run ---- */

static void nothing(struct world *w)
{
    (void)w;
}

static int run_new(struct world *w)
{
    int rc = start(w);
    if (rc == 0) {
        world_put(w, 0);
    }
    return rc;
}

static void running(struct world *w)
{
    world_fill(w);
}

static int run_world(struct world *w)
{
    world_work(w);
    return 0;
}

static int run_uploads(struct world *w)
{
    world_uploads(w);
    return 0;
}

/* Some of them under way, some of it not in the history yet. */
static void amid_uploads(struct world *w)
{
    world_fill(w);
    world_uploads(w);
    fx_power_cut(&w->f, MEM_CRASH_RANDOM, 4);
    fx_drop_index(&w->f);
}

static void worked(struct world *w)
{
    world_fill(w);
    world_work(w);
}

static int run_stop(struct world *w)
{
    return fx_stop(&w->f);
}

static void stopped(struct world *w)
{
    worked(w);
    assert_int_equal(fx_stop(&w->f), 0);
}

static void unclean(struct world *w)
{
    worked(w);
    fx_power_cut(&w->f, MEM_CRASH_RANDOM, 3);
}

static void no_index(struct world *w)
{
    unclean(w);
    fx_drop_index(&w->f);
}

/* A sync that failed: blocks that are not sealed, numbers that are void. */
static void poisoned(struct world *w)
{
    world_fill(w);
    vfs_mem_fail(w->f.vfs, MEM_SYNC, 4, ZERR_IO, MEM_ONCE);
    world_work(w);
    vfs_mem_fail(w->f.vfs, 0, 0, 0, MEM_ONCE);
}

static void poisoned_cut(struct world *w)
{
    poisoned(w);
    fx_power_cut(&w->f, MEM_CRASH_RANDOM, 5);
}

static void opened(struct world *w)
{
    stopped(w);
    assert_int_equal(fx_open(&w->f), 0);
}

static int run_reads(struct world *w)
{
    static struct buf out;
    for (unsigned i = 0; i < N_KEYS; i++) {
        int rc = world_get(w, i, &out);
        expect_status(w, rc);
    }
    int rc = fx_names(&w->f, &out);
    expect_status(w, rc);
    return 0;
}

static int run_rebuild(struct world *w)
{
    struct rebuild_config cfg = {.vfs = w->f.vfs};
    struct rebuild_result res;
    struct zerr_info info = {0};
    int rc = rebuild_history(&cfg, &res, &info);
    expect_status(w, rc);
    return rc;
}

/* ---- the sweep ---- */

/* The store works: what is there is right, and it takes writes. */
static void expect_well(struct world *w, int rc)
{
    if (w->f.st != NULL) {
        world_expect_well_again(w);
    } else if (rc == 0 || rc == ZERR_NOMEM) {
        world_expect_clean_start(w, false);
    }
}

static void finish(struct world *w)
{
    if (w->f.st != NULL) {
        if (n_runs % 2 == 0) {
            world_stop(w);
        } else {
            fx_kill(&w->f);
        }
        world_expect_clean_start(w, false);
    }
    world_finish(w);
    if (oom_live() != live) {
        world_report(w, "memory leaks (blocks)", (unsigned)(oom_live() - live), 0);
    }
}

static struct world_image image;

static void begin(struct world *w, const struct plan *p)
{
    live = oom_live();
    world_init(w, STORE_SYNC_ACK);
    w->starts = 1;
    w->what = p->name;
    if (p->how == IMAGE) {
        world_load(w, &image);
    } else {
        p->before(w);
    }
}

/* What `before` leaves, once for all. */
static void make_image(const struct plan *p)
{
    struct world w;
    world_init(&w, STORE_SYNC_ACK);
    p->before(&w);
    world_image_finish(&image);
    world_save(&w, &image);
    world_finish(&w);
}

static void one_fault(const struct plan *p, struct world *w, const struct fault_call *c,
                      enum fault_times times)
{
    static char what[200];
    (void)snprintf(what, sizeof(what), "%s: %s, %s", p->name, oom_kind_names[c->kind],
                   times == FAULT_ONCE ? "once" : "from then on");
    if (p->how != AGAIN) {
        begin(w, p);
    }
    w->what = what;
    w->n = c->nth;
    n_runs++;
    fault_arm(c->kind, c->nth, times, 1);
    int rc = p->work(w);
    if (fault_disarm() == 0) {
        world_report(w, "the allocation was not made", 0, 0);
    }
    if (p->how != AGAIN) {
        expect_well(w, rc);
        finish(w);
    }
}

static void sweep(const struct plan *p)
{
    struct world w;
    const struct fault_call *calls;
    if (p->how == IMAGE) {
        make_image(p);
    }
    begin(&w, p);
    if (p->how == AGAIN) {
        assert_int_equal(p->work(&w), 0); /* what is made at the first time only */
    }
    fault_record();
    int rc = p->work(&w);
    size_t n = fault_recorded(&calls), points = 0;
    assert_int_equal(rc, 0);
    if (p->how != AGAIN) {
        finish(&w);
    }
    for (size_t i = 0; i < n; i++) {
        n_calls[calls[i].kind]++;
        if (calls[i].chosen || getenv("ROUNDS") != NULL) {
            points++;
            one_fault(p, &w, &calls[i], FAULT_ONCE);
            one_fault(p, &w, &calls[i], FAULT_FROM_THEN_ON);
        }
    }
    if (p->how == AGAIN) {
        expect_well(&w, 0);
        finish(&w);
    }
    n_points += points;
    print_message("%s: %zu allocations, %zu failed\n", p->name, n, points);
    assert_true(points > 0);
}

#define PLAN(test, ...)                                                                            \
    static void test(void **state)                                                                 \
    {                                                                                              \
        static const struct plan plan = {#test, __VA_ARGS__};                                      \
        (void)state;                                                                               \
        sweep(&plan);                                                                              \
    }

PLAN(a_new_directory, nothing, run_new, FRESH)
PLAN(a_running_store, running, run_world, FRESH)
PLAN(multipart_uploads, running, run_uploads, FRESH)
PLAN(a_start_amid_uploads, amid_uploads, start, IMAGE)
PLAN(a_failed_sync_besides, poisoned, run_world, FRESH)
PLAN(reads_and_a_list, opened, run_reads, AGAIN)
PLAN(a_stop, worked, run_stop, FRESH)
PLAN(a_clean_start, stopped, start, IMAGE)
PLAN(a_start_after_a_power_cut, unclean, start, IMAGE)
PLAN(a_start_without_the_index, no_index, start, IMAGE)
PLAN(a_start_after_a_failed_sync, poisoned_cut, start, IMAGE)
PLAN(a_rebuild, stopped, run_rebuild, IMAGE)

/* MD5 is fetched from OpenSSL once: a first time that fails must not be the last one. */
static void the_very_first_upload(void **state)
{
    struct world w;
    (void)state;
    for (uint64_t n = 1, failed = 1; failed > 0; n++) {
        begin(&w, &(struct plan){"the very first upload", nothing, NULL, FRESH});
        w.n = n;
        assert_int_equal(fx_open(&w.f), 0);
        fault_arm(OOM_OPENSSL, n, FAULT_FROM_THEN_ON, 1);
        world_put(&w, 0);
        failed = fault_disarm();
        expect_well(&w, 0);
        finish(&w);
    }
}

/* The tool, on a real directory. */
static void a_verification(void **state)
{
    struct store_dir d;
    static uint8_t body[200000];
    const struct fault_call *calls;
    (void)state;
    live = oom_live();
    store_dir_init(&d);
    store_dir_open(&d, 65536);
    for (unsigned i = 0; i < 4; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "k%u", i);
        fx_fill(body, sizeof(body), i);
        store_dir_put(&d, key, body, i * 60000);
    }
    store_dir_copy(&d, "k1", "k7");
    store_dir_delete(&d, "k0");
    store_dir_crash(&d);
    struct verify_options opt = {.dir = d.path};
    struct verify_result res;
    struct zerr_info info = {0};
    fault_record();
    assert_int_equal(verify_run(&opt, &res, &info), 0);
    size_t n = fault_recorded(&calls), points = 0;
    for (size_t i = 0; i < n; i++) {
        for (int t = 0; t < 2 && (calls[i].chosen || getenv("ROUNDS") != NULL); t++) {
            points += t == 0;
            n_runs++;
            fault_arm(calls[i].kind, calls[i].nth, t == 0 ? FAULT_ONCE : FAULT_FROM_THEN_ON, 1);
            int rc = verify_run(&opt, &res, &info);
            assert_true(fault_disarm() > 0);
            assert_true(rc == 0 || rc == ZERR_NOMEM);
            assert_int_equal(oom_live(), live);
        }
    }
    assert_int_equal(verify_run(&opt, &res, &info), 0);
    n_points += points;
    print_message("a_verification: %zu allocations, %zu failed\n", n, points);
    store_dir_finish(&d);
}

static void every_allocation_was_made_to_fail(void **state)
{
    (void)state;
    world_image_finish(&image);
    print_message("%llu allocation points, %llu faults;", (unsigned long long)n_points,
                  (unsigned long long)n_runs);
    for (int i = 0; i < N_OOM_KINDS; i++) {
        print_message(" %s %llu", oom_kind_names[i], (unsigned long long)n_calls[i]);
    }
    print_message(" calls\n");
    assert_true(n_points > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_very_first_upload),
        cmocka_unit_test(a_new_directory),
        cmocka_unit_test(a_running_store),
        cmocka_unit_test(multipart_uploads),
        cmocka_unit_test(a_start_amid_uploads),
        cmocka_unit_test(a_failed_sync_besides),
        cmocka_unit_test(reads_and_a_list),
        cmocka_unit_test(a_stop),
        cmocka_unit_test(a_clean_start),
        cmocka_unit_test(a_start_after_a_power_cut),
        cmocka_unit_test(a_start_without_the_index),
        cmocka_unit_test(a_start_after_a_failed_sync),
        cmocka_unit_test(a_rebuild),
        cmocka_unit_test(a_verification),
        cmocka_unit_test(every_allocation_was_made_to_fail),
    };
    oom_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
