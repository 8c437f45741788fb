/* Where a round runs: what cannot take long is the loop's own, everything else a worker's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "store/store_priv.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"

#define BLOCK (64u << 20)
#define MANY 40 /* more records than the loop takes at once */

static uint8_t bytes[300000];

static void open_store(struct fixture *f, enum store_sync sync)
{
    fx_init(f, BLOCK);
    f->cfg.sync = sync;
    assert_int_equal(fx_open(f), 0);
}

static void begin(struct fixture *f, struct fx_upload *u, const char *key, size_t size)
{
    assert_int_equal(fx_begin(f, u, key, size), 0);
    fx_write(f, u, slice_of(bytes, size));
    put_commit(u->put, NULL);
}

/* Until a round is about to run; returns its class. */
static enum job_class round_class(struct fixture *f)
{
    while (f->st->lane != LANE_ROUND) {
        assert_true(workers_inline_step(&f->workers));
    }
    return f->st->lane_job.cls;
}

static enum job_class put_class(struct fixture *f, size_t size)
{
    struct fx_upload u;
    begin(f, &u, "key", size);
    enum job_class cls = round_class(f);
    fx_pump(f);
    assert_true(u.done);
    assert_int_equal(u.status, 0);
    return cls;
}

static void small_rounds_without_a_sync_are_the_loops(void **state)
{
    struct fixture f;
    (void)state;
    open_store(&f, STORE_SYNC_BLOCK);
    assert_int_equal(put_class(&f, 4096), JOB_COMMIT); /* the block gets its file */
    assert_int_equal(put_class(&f, 4096), JOB_LOOP);
    assert_int_equal(put_class(&f, 0), JOB_LOOP);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void a_round_that_syncs_is_a_workers(void **state)
{
    struct fixture f;
    (void)state;
    open_store(&f, STORE_SYNC_ACK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put_class(&f, 100), JOB_COMMIT);
    }
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

/* Which is copied into the index and synced then; and the next one begins a new log, with a sync. */
static void a_round_that_ends_the_indexs_log_is_a_workers(void **state)
{
    struct fixture f;
    int n = 0;
    (void)state;
    open_store(&f, STORE_SYNC_BLOCK);
    (void)put_class(&f, 100);
    while (put_class(&f, 100) == JOB_LOOP) {
        assert_true(++n < 100000);
    }
    assert_true(n > 100);
    assert_int_equal(put_class(&f, 100), JOB_COMMIT);
    assert_int_equal(put_class(&f, 100), JOB_LOOP);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void writeback_is_begun_by_a_worker(void **state)
{
    struct fixture f;
    size_t written = 0;
    (void)state;
    open_store(&f, STORE_SYNC_BLOCK);
    (void)put_class(&f, 100);
    while (put_class(&f, 100000) == JOB_LOOP) {
        written += 100000;
        assert_true(written < 8u << 20);
    }
    assert_true(written > 2u << 20);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void what_has_arrived_shares_a_round(void **state)
{
    struct fixture f;
    struct fx_upload u[8];
    struct store_stats before, after;
    (void)state;
    open_store(&f, STORE_SYNC_BLOCK);
    (void)put_class(&f, 100);
    store_get_stats(f.st, &before);
    for (int i = 0; i < 8; i++) {
        begin(&f, &u[i], "key", 1000);
    }
    fx_pump(&f);
    store_get_stats(f.st, &after);
    assert_int_equal(after.rounds, before.rounds + 1);
    for (int i = 0; i < 8; i++) {
        assert_true(u[i].done && u[i].status == 0);
    }
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void much_at_once_is_a_workers(void **state)
{
    static const struct {
        int n;
        size_t size;
    } cases[] = {{MANY, 10}, {2, 100000}};
    struct fixture f;
    struct fx_upload u[MANY];
    (void)state;
    open_store(&f, STORE_SYNC_BLOCK);
    (void)put_class(&f, 100);
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < cases[i].n; j++) {
            begin(&f, &u[j], "key", cases[i].size);
        }
        assert_int_equal(round_class(&f), JOB_COMMIT);
        fx_pump(&f);
    }
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void after_one_that_took_long_the_loop_is_spared(void **state)
{
    struct fixture f;
    struct fx_upload u;
    (void)state;
    open_store(&f, STORE_SYNC_BLOCK);
    (void)put_class(&f, 100);
    begin(&f, &u, "key", 100);
    assert_int_equal(round_class(&f), JOB_LOOP);
    vfs_mem_advance(f.vfs, 6); /* while it runs */
    fx_pump(&f);
    assert_int_equal(put_class(&f, 100), JOB_COMMIT);
    vfs_mem_advance(f.vfs, 9000);
    assert_int_equal(put_class(&f, 100), JOB_COMMIT);
    vfs_mem_advance(f.vfs, 1001);
    assert_int_equal(put_class(&f, 100), JOB_LOOP);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_rounds_without_a_sync_are_the_loops),
        cmocka_unit_test(a_round_that_syncs_is_a_workers),
        cmocka_unit_test(a_round_that_ends_the_indexs_log_is_a_workers),
        cmocka_unit_test(writeback_is_begun_by_a_worker),
        cmocka_unit_test(what_has_arrived_shares_a_round),
        cmocka_unit_test(much_at_once_is_a_workers),
        cmocka_unit_test(after_one_that_took_long_the_loop_is_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
