/* A fault in the recovery from a fault: something fails while the store works, at random; it is stopped,
 * killed, or the power is cut; then something else fails while it starts, and that start may be cut off
 * too. The next start finds everything that was acknowledged, and nothing that was not received whole.
 *
 *   test_fault_pairs               some hundred pairs
 *   test_fault_pairs N [SEED]      N pairs
 *   test_fault_pairs 1 SEED        the one with that seed again: each pair prints its own if it fails */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "support/fault_world.h"
#include "support/vfs_mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define PAIRS 60
#else
#define PAIRS 300
#endif

static uint64_t n_pairs = PAIRS, first_seed;
static uint64_t n_both, n_refused, n_fatal;

static void fail_somewhere(struct world *w, uint64_t *rng, unsigned ops, uint64_t calls)
{
    static const int errors[] = {ZERR_IO, ZERR_IO, ZERR_NO_SPACE, ZERR_LIMIT, ZERR_NOMEM};
    vfs_mem_fail(w->f.vfs, ops, 1 + mem_rnd(rng) % calls, errors[mem_rnd(rng) % 5],
                 mem_rnd(rng) % 3 == 0 ? MEM_FROM_THEN_ON : MEM_ONCE);
}

/* True: something failed. */
static bool first_fault(struct world *w, uint64_t *rng)
{
    static const unsigned ops[] = {MEM_CHANGES, MEM_CHANGES, MEM_SYNC,  MEM_SYNC_DIR,
                                   MEM_CREATE,  MEM_OPEN,    MEM_WRITE, MEM_TRUNCATE};
    unsigned which = ops[mem_rnd(rng) % (sizeof(ops) / sizeof(ops[0]))];
    fail_somewhere(w, rng, which, which == MEM_CHANGES ? 50 : 8);
    (mem_rnd(rng) % 3 == 0 ? world_uploads : world_work)(w);
    bool failed = vfs_mem_failed(w->f.vfs) > 0;
    vfs_mem_fail(w->f.vfs, 0, 0, 0, MEM_ONCE);
    world_expect_keys(w, false);
    n_fatal += w->f.fatal;
    if (mem_rnd(rng) % 4 == 0) {
        world_stop(w);
    }
    return failed;
}

/* Closes it, if it is open, and perhaps takes what a power cut would, or the index. */
static void cut(struct world *w, uint64_t *rng)
{
    if (w->f.st != NULL) {
        fx_kill(&w->f);
    }
    if (mem_rnd(rng) % 2 == 0) {
        fx_power_cut(&w->f, MEM_CRASH_RANDOM, mem_rnd(rng) >> 32);
    }
    if (mem_rnd(rng) % 4 == 0) {
        fx_drop_index(&w->f);
    }
}

static bool second_fault(struct world *w, uint64_t *rng)
{
    fail_somewhere(w, rng, MEM_ANY, 90);
    int rc = fx_open(&w->f);
    bool failed = vfs_mem_failed(w->f.vfs) > 0;
    vfs_mem_fail(w->f.vfs, 0, 0, 0, MEM_ONCE);
    n_refused += rc != 0;
    if (rc == 0) {
        world_expect_keys(w, true);
        world_expect_uploads(w);
        world_put(w, 9);
        fx_kill(&w->f);
    }
    if (vfs_mem_open_files(w->f.vfs) != 0) {
        world_report(w, "files left open", 0, rc);
    }
    return failed;
}

static void one_pair(uint64_t seed)
{
    struct world w;
    uint64_t rng = seed * 0x9e3779b97f4a7c15u + 1;
    world_init(&w, STORE_SYNC_ACK);
    w.what = "pair with seed";
    w.n = seed;
    w.starts = 2;
    world_fill(&w);
    bool both = first_fault(&w, &rng);
    cut(&w, &rng);
    both = second_fault(&w, &rng) && both;
    cut(&w, &rng);
    n_both += both;
    world_expect_clean_start(&w, false);
    world_finish(&w);
}

static void a_fault_in_the_recovery_from_a_fault_loses_nothing(void **state)
{
    (void)state;
    print_message("seeds from %llu on\n", (unsigned long long)first_seed);
    for (uint64_t i = 0; i < n_pairs; i++) {
        one_pair(first_seed + i);
    }
    print_message("%llu pairs, in %llu both failed; %llu starts refused, %llu stores gave up\n",
                  (unsigned long long)n_pairs, (unsigned long long)n_both,
                  (unsigned long long)n_refused, (unsigned long long)n_fatal);
    assert_true(n_pairs < 50 || n_both > n_pairs / 4);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_in_the_recovery_from_a_fault_loses_nothing),
    };
    n_pairs = argc > 1 ? strtoull(argv[1], NULL, 10) : n_pairs;
    first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) % 1000000 * 1000;
    return cmocka_run_group_tests_name("fault_pairs", tests, NULL, NULL);
}
