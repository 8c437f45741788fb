/* Where a round runs: what cannot take long is the loop's own, everything else a worker's. And what
 * follows a round that failed when a part of it was on disk. */
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

/* An upload's bytes cannot be written while a round that syncs its block is under way: what that has
 * to sync is settled once, and uploads go on. */
static void bytes_of_a_block_that_fails_meanwhile_are_settled_once(void **state)
{
    struct fixture f;
    struct fx_upload in_round, failing, next;
    struct store_stats stats;
    (void)state;
    open_store(&f, STORE_SYNC_ACK);
    assert_int_equal(fx_begin(&f, &in_round, "a", sizeof(bytes)), 0);
    fx_write(&f, &in_round, slice_of(bytes, sizeof(bytes)));
    fx_pump(&f);
    assert_int_equal(fx_begin(&f, &failing, "b", sizeof(bytes)), 0);
    fx_write(&f, &failing, slice_of(bytes, sizeof(bytes))); /* its job waits ... */
    put_commit(in_round.put, NULL);                         /* ... ahead of the round's */
    assert_int_equal(f.st->lane, LANE_ROUND);
    assert_true(f.st->round.blocks[0].dirty > 0);
    vfs_mem_fail(f.vfs, MEM_WRITE, 1, ZERR_IO, MEM_ONCE);
    fx_pump(&f);
    assert_true(failing.done && failing.status == ZERR_IO);
    assert_true(in_round.done && in_round.status == 0);
    store_get_stats(f.st, &stats);
    assert_int_equal(stats.unsynced, 0);
    begin(&f, &next, "c", 100000);
    fx_pump(&f);
    assert_true(next.done && next.status == 0);
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    struct buf out = {0};
    assert_int_equal(fx_get(&f, "a", &out), 0);
    assert_true(slice_eq(buf_slice(&out), slice_of(bytes, sizeof(bytes))));
    assert_int_equal(fx_get(&f, "b", &out), ZERR_NOT_FOUND);
    buf_finish(&out);
    fx_finish(&f);
}

/* ---- whose turn it is ---- */

#define SMALL_BLOCK 65536u
#define OWN_BLOCK 100000u

static unsigned n_open(const struct fixture *f)
{
    unsigned n = 0;
    for (const struct block *b = f->st->open_blocks; b != NULL; b = b->next) {
        n++;
    }
    return n;
}

static void given_up(struct fixture *f)
{
    struct fx_upload u;
    assert_int_equal(fx_begin(f, &u, "never", 1000), 0);
    fx_write(f, &u, slice_of(bytes, 500));
    put_abort(u.put);
}

/* Each round finds that others wait already. */
static void commits_that_always_wait_keep_nothing_waiting(void **state)
{
    struct fixture f;
    struct fx_upload u[250];
    struct store_stats stats;
    (void)state;
    for (int aborts = 0; aborts < 2; aborts++) { /* something to tidy, too, all the time */
        fx_init(&f, SMALL_BLOCK);
        assert_int_equal(fx_open(&f), 0);
        begin(&f, &u[0], "key", 1000);
        for (int i = 1; i < 250; i++) {
            begin(&f, &u[i], "key", 1000);
            if (aborts) {
                given_up(&f);
            }
            assert_true(workers_inline_step(&f.workers));
            assert_int_not_equal(f.st->lane, LANE_IDLE);
        }
        store_get_stats(f.st, &stats);
        assert_true(stats.sealed >= 2 && n_open(&f) < 3);
        assert_true(stats.flushes >= 2);
        fx_pump(&f);
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
}

/* Each round leaves a dozen, while the next dozen waits. */
static void blocks_to_be_sealed_do_not_pile_up(void **state)
{
    struct fixture f;
    struct fx_upload u[96];
    unsigned n = 0, most = 0;
    (void)state;
    fx_init(&f, SMALL_BLOCK);
    assert_int_equal(fx_open(&f), 0);
    begin(&f, &u[n++], "key", 10);
    for (bool more = true; more;) {
        for (unsigned i = 0; i < 12 && f.st->n_commits < 12 && n < 96; i++) {
            begin(&f, &u[n++], "key", OWN_BLOCK);
        }
        more = workers_inline_step(&f.workers);
        most = n_open(&f) > most ? n_open(&f) : most;
    }
    assert_true(u[95].done && u[95].status == 0);
    if (most > 48) { /* waiting, in a round, behind it, and a few */
        fail_msg("%u blocks are open", most);
    }
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

/* ---- a round that failed half-way ---- */

struct half {
    struct fixture f;
    struct fx_upload late, in_block, own;
};

/* "a" is to have another body, in a round that is about to run; a write that follows finds no space. */
static void prepare_half(struct half *h, uint64_t seed)
{
    fx_init(&h->f, SMALL_BLOCK);
    vfs_mem_destroy(h->f.vfs);
    h->f.vfs = vfs_mem_create(seed);
    assert_int_equal(fx_open(&h->f), 0);
    assert_int_equal(fx_put(&h->f, "a", slice_of(bytes, 100), 0), 0);
    assert_int_equal(fx_begin(&h->f, &h->late, "late", 10), 0);
    fx_write(&h->f, &h->late, slice_of(bytes, 10));
    assert_int_equal(fx_begin(&h->f, &h->in_block, "a", 3000), 0);
    fx_write(&h->f, &h->in_block, slice_of(bytes, 3000));
    assert_int_equal(fx_begin(&h->f, &h->own, "own", OWN_BLOCK), 0);
    fx_write(&h->f, &h->own, slice_of(bytes, OWN_BLOCK));
    fx_pump(&h->f);
    struct fx_upload ahead; /* so that both get into one round */
    assert_int_equal(fx_begin(&h->f, &ahead, "ahead", 0), 0);
    put_commit(ahead.put, NULL);
    put_commit(h->in_block.put, NULL);
    put_commit(h->own.put, NULL);
    (void)round_class(&h->f);
    assert_true(workers_inline_step(&h->f.workers)); /* the one ahead */
    assert_int_equal(ahead.status, 0);
    assert_int_equal(round_class(&h->f), JOB_COMMIT);
    vfs_mem_fail(h->f.vfs, MEM_WRITE, 3, ZERR_NO_SPACE, MEM_FROM_THEN_ON);
}

/* The round has run, and what it left on disk is about to become VOID. */
static void begin_half(struct half *h, uint64_t seed)
{
    prepare_half(h, seed);
    assert_true(workers_inline_step(&h->f.workers));
    assert_true(h->in_block.done && h->own.done);
    assert_int_equal(h->in_block.status, ZERR_NO_SPACE);
    assert_true(vfs_mem_get(h->f.vfs, "open0000000000").len > 3000); /* the first is there */
}

static void begin_without_space(struct half *h)
{
    begin_half(h, 1);
    vfs_mem_fail(h->f.vfs, MEM_WRITE, 1, ZERR_NO_SPACE, MEM_FROM_THEN_ON);
    fx_pump(&h->f);
}

/* sizes: bit 0: the first body of "a" may be there, bit 1: the second. */
static void expect_a(struct fixture *f, unsigned sizes)
{
    struct buf out = {0};
    assert_int_equal(fx_get(f, "a", &out), 0);
    assert_true((out.len == 100 && (sizes & 1)) || (out.len == 3000 && (sizes & 2)));
    buf_finish(&out);
}

static void start_again(struct fixture *f, unsigned sizes)
{
    fx_drop_index(f);
    f->notes[0] = '\0';
    assert_int_equal(fx_open(f), 0);
    assert_null(strstr(f->notes, "damaged"));
    expect_a(f, sizes);
    assert_int_equal(fx_stop(f), 0);
}

/* Its numbers must not seem to have been acknowledged: that is what the next record would say. */
static void no_round_follows_before_the_failed_one_is_void(void **state)
{
    struct half h;
    struct fx_upload u;
    (void)state;
    begin_without_space(&h);
    assert_true(lane_owes_void(h.f.st));
    assert_int_equal(fx_begin(&h.f, &u, "b", 10), ZERR_BUSY);
    put_commit(h.late.put, NULL);
    fx_pump(&h.f);
    assert_false(h.late.done);
    vfs_mem_advance(h.f.vfs, 1000);
    store_tick(h.f.st); /* tries in vain */
    fx_pump(&h.f);
    assert_true(lane_owes_void(h.f.st));
    assert_true(h.late.done);
    assert_int_equal(h.late.status, ZERR_BUSY);
    vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
    vfs_mem_advance(h.f.vfs, 1000);
    store_tick(h.f.st);
    fx_pump(&h.f);
    assert_false(lane_owes_void(h.f.st));
    assert_int_equal(fx_put(&h.f, "b", slice_of(bytes, 10), 0), 0);
    expect_a(&h.f, 1);
    fx_kill(&h.f);
    start_again(&h.f, 1);
    fx_finish(&h.f);
}

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

static void whoever_waits_meanwhile_is_refused(void **state)
{
    struct half h;
    int status = ZKV_PENDING;
    struct slice key = SLICE_LIT("a");
    (void)state;
    begin_without_space(&h);
    assert_int_equal(store_delete(h.f.st, &key, 1, NULL, on_deleted, &status), ZERR_BUSY);
    assert_int_equal(status, ZKV_PENDING);
    int rc = fx_stop(&h.f);
    assert_int_equal(rc, ZERR_NO_SPACE); /* the person is told: */
    vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
    start_again(&h.f, 1 | 2); /* what was refused may be there */
    fx_finish(&h.f);
}

static void a_stop_tries_once_more(void **state)
{
    struct half h;
    (void)state;
    begin_without_space(&h);
    vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
    assert_int_equal(fx_stop(&h.f), 0);
    start_again(&h.f, 1);
    fx_finish(&h.f);
}

static void a_crash_meanwhile_is_no_damage(void **state)
{
    (void)state;
    for (int mode = 0; mode < 8; mode++) {
        struct half h;
        begin_without_space(&h);
        vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
        if (mode == 0) {
            fx_kill(&h.f);
        } else {
            fx_power_cut(&h.f, MEM_CRASH_RANDOM, (uint64_t)mode);
        }
        start_again(&h.f, 1 | 2);
        fx_finish(&h.f);
    }
}

/* The block is poisoned, and what it has of the round may be on disk as it was: its numbers are declared
 * void elsewhere. */
static void a_void_that_cannot_be_synced_is_declared(void **state)
{
    (void)state;
    for (int mode = 0; mode < 100; mode++) {
        struct half h;
        begin_half(&h, (uint64_t)mode + 1);
        vfs_mem_fail(h.f.vfs, MEM_SYNC, 1 + (uint64_t)mode % 2, ZERR_IO, MEM_ONCE);
        fx_pump(&h.f);
        assert_false(lane_owes_void(h.f.st));
        assert_int_equal(vfs_mem_failed(h.f.vfs), 1);
        vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
        assert_int_equal(fx_put(&h.f, "b", slice_of(bytes, 10), 0), 0);
        expect_a(&h.f, 1);
        if (mode < 2) {
            fx_kill(&h.f);
        } else {
            fx_power_cut(&h.f, MEM_CRASH_RANDOM, (uint64_t)mode);
        }
        start_again(&h.f, 1);
        fx_finish(&h.f);
    }
}

/* What a power cut may leave of the record of an upload whose round had just begun. */
static void tear_record(struct fixture *f, const struct put *p)
{
    struct vfs_file *file;
    uint8_t junk[32];
    struct iovec iov = {junk, sizeof(junk)};
    memset(junk, 0xa5, sizeof(junk));
    assert_int_equal(block_file(p->c.block, &file), 0);
    assert_int_equal(f->vfs->ops->pwritev(file, &iov, 1, p->c.off + FRAME_HEAD_BYTES), 0);
}

/* Numbers of which nothing is on disk would look like lost ones, and the torn record like one of them. */
static void the_failed_ones_numbers_leave_no_gap(void **state)
{
    struct half h;
    (void)state;
    begin_half(&h, 1);
    uint64_t failed = h.f.st->round.next_seq - 1;
    assert_true(failed >= h.f.st->round.first_seq);
    vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
    fx_pump(&h.f);
    assert_false(lane_owes_void(h.f.st));
    assert_int_equal(fx_put(&h.f, "b", slice_of(bytes, 10), 0), 0);
    assert_int_equal(fx_put(&h.f, "c", slice_of(bytes, 10), 0), 0);
    assert_int_equal(h.f.st->last_seq, failed + 2);
    tear_record(&h.f, h.late.put);
    fx_kill(&h.f);
    start_again(&h.f, 1);
    fx_finish(&h.f);
}

/* Neither where the records could be made VOID: only the history's file has no space. */
static void no_round_follows_before_the_history_says_so(void **state)
{
    struct half h;
    (void)state;
    begin_half(&h, 1);
    vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
    while (lane_owes_void(h.f.st) || h.f.st->lane == LANE_TIDY) {
        assert_true(workers_inline_step(&h.f.workers));
    }
    assert_true(h.f.st->gap_unflushed);
    vfs_mem_fail(h.f.vfs, MEM_WRITE, 1, ZERR_NO_SPACE, MEM_FROM_THEN_ON);
    put_commit(h.late.put, NULL);
    fx_pump(&h.f);
    assert_true(h.late.done);
    assert_int_equal(h.late.status, ZERR_BUSY);
    vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
    vfs_mem_advance(h.f.vfs, 1000);
    store_tick(h.f.st);
    fx_pump(&h.f);
    assert_int_equal(fx_put(&h.f, "b", slice_of(bytes, 10), 0), 0);
    fx_kill(&h.f);
    start_again(&h.f, 1);
    fx_finish(&h.f);
}

static void a_stop_that_cannot_say_so_refuses_who_waits(void **state)
{
    struct half h;
    (void)state;
    begin_half(&h, 1);
    vfs_mem_fail(h.f.vfs, MEM_WRITE, 1, ZERR_NO_SPACE, MEM_FROM_THEN_ON);
    put_commit(h.late.put, NULL);
    assert_int_not_equal(fx_stop(&h.f), 0);
    assert_true(h.late.done);
    assert_int_equal(h.late.status, ZERR_BUSY);
    vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
    start_again(&h.f, 1 | 2);
    fx_finish(&h.f);
}

/* An upload into the same block has met an error of the disk: what the round left there stays. */
static void what_a_poisoned_block_has_of_it_is_declared_void(void **state)
{
    (void)state;
    for (int round_has_run = 0; round_has_run < 2; round_has_run++) {
        struct half h;
        if (round_has_run) {
            begin_half(&h, 1);
        } else {
            prepare_half(&h, 1);
        }
        block_poison(h.late.put->c.block, ZERR_IO);
        if (!round_has_run) {
            assert_true(workers_inline_step(&h.f.workers));
        }
        vfs_mem_fail(h.f.vfs, 0, 0, 0, MEM_ONCE);
        fx_pump(&h.f);
        assert_int_equal(h.in_block.status, ZERR_NO_SPACE);
        assert_int_equal(fx_put(&h.f, "b", slice_of(bytes, 10), 0), 0);
        expect_a(&h.f, 1);
        fx_kill(&h.f);
        start_again(&h.f, 1);
        fx_finish(&h.f);
    }
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
        cmocka_unit_test(commits_that_always_wait_keep_nothing_waiting),
        cmocka_unit_test(blocks_to_be_sealed_do_not_pile_up),
        cmocka_unit_test(bytes_of_a_block_that_fails_meanwhile_are_settled_once),
        cmocka_unit_test(no_round_follows_before_the_failed_one_is_void),
        cmocka_unit_test(whoever_waits_meanwhile_is_refused),
        cmocka_unit_test(a_stop_tries_once_more),
        cmocka_unit_test(a_crash_meanwhile_is_no_damage),
        cmocka_unit_test(a_void_that_cannot_be_synced_is_declared),
        cmocka_unit_test(the_failed_ones_numbers_leave_no_gap),
        cmocka_unit_test(no_round_follows_before_the_history_says_so),
        cmocka_unit_test(a_stop_that_cannot_say_so_refuses_who_waits),
        cmocka_unit_test(what_a_poisoned_block_has_of_it_is_declared_void),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
