/* The store's manners: each call-back once and whatever it calls, nothing waits for ever, a stop in
 * any state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/store_priv.h"
#include "support/store_calls.h"
#include "support/vfs_mem.h"

/* ---- back-pressure ---- */

static void a_stalled_upload_goes_on_when_another_is_given_up(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a, b;
    fx_init(&f, 16 << 20);
    assert_int_equal(fx_open(&f), 0);
    f.st->unsynced_max = 1 << 20; /* as on a slow disk */
    assert_int_equal(begin(&f, &a, "a", 3 << 20), 0);
    assert_int_equal(begin(&f, &b, "b", 3 << 20), 0);
    for (int i = 0; i < 8; i++) {
        write_some(&f, &b, 140000); /* one job with the first, the others wait for it */
    }
    assert_false(put_writable(a.put));
    put_abort(b.put);
    for (int i = 0; i < 5 && a.writable == 0; i++) {
        fx_pump(&f);
        assert_true(a.writable > 0 || store_wants_tick(f.st));
        vfs_mem_advance(f.vfs, 1000);
        store_tick(f.st);
    }
    assert_int_equal(a.writable, 1);
    put_abort(a.put);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void a_disk_that_was_slow_once_is_believed_again(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 64 << 20);
    assert_int_equal(fx_open(&f), 0);
    f.st->unsynced_max = UNSYNCED_MIN;
    f.st->round.bytes_synced = UNSYNCED_MIN / 2; /* all that fits now, in a millisecond */
    f.st->round.sync_ns = 1000000;
    round_adapt(f.st);
    assert_int_equal(f.st->unsynced_max, UNSYNCED_MAX);
    f.st->round.bytes_synced = 4096; /* a small sync says nothing about the speed */
    f.st->round.sync_ns = 20000000;
    round_adapt(f.st);
    assert_int_equal(f.st->unsynced_max, UNSYNCED_MAX);
    fx_finish(&f);
}

static void advance(struct fixture *f, uint64_t ms)
{
    vfs_mem_advance(f->vfs, ms);
    store_tick(f->st);
    fx_pump(f);
}

static void a_large_upload_waits_while_much_is_on_its_way(void **state)
{
    (void)state;
    struct fixture f;
    struct upload first, second, third, small;
    fx_init(&f, 64 << 20);
    assert_int_equal(fx_open(&f), 0);
    f.st->ahead_max = AHEAD_MIN;
    assert_int_equal(begin(&f, &first, "first", 20 << 20), 0); /* larger than that, but alone */
    write_some(&f, &first, 1000);
    assert_int_equal(begin(&f, &second, "second", 10 << 20), ZKV_PENDING);
    assert_int_equal(begin(&f, &third, "third", 70000), ZKV_PENDING); /* came later */
    assert_int_equal(begin(&f, &small, "small", 1000), 0);            /* passes */
    second.patience = 3;
    for (int i = 0; i < 16; i++) {
        advance(&f, 1000);
        assert_int_equal(second.waits, (i + 1) / 5);
        assert_int_equal(third.ready, i >= 4); /* nobody has told its client */
    }
    assert_int_equal(third.status, ZERR_BUSY);
    assert_int_equal(second.ready, 0);
    put_abort(first.put);
    advance(&f, 1000);
    assert_int_equal(second.ready, 1);
    assert_int_equal(second.status, 0);
    put_abort(second.put);
    put_abort(small.put);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void who_waits_is_refused_when_his_patience_ends(void **state)
{
    (void)state;
    struct fixture f;
    struct upload first, second;
    fx_init(&f, 64 << 20);
    assert_int_equal(fx_open(&f), 0);
    f.st->ahead_max = AHEAD_MIN;
    assert_int_equal(begin(&f, &first, "first", 20 << 20), 0);
    write_some(&f, &first, 1000);
    assert_int_equal(begin(&f, &second, "second", 10 << 20), ZKV_PENDING);
    second.patience = 1000;
    for (int i = 0; i < 330 && second.ready == 0; i++) {
        advance(&f, 1000);
    }
    assert_int_equal(second.ready, 1); /* after five minutes in any case */
    assert_int_equal(second.status, ZERR_BUSY);
    put_abort(first.put);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void slow_clients_keep_nobody_waiting(void **state)
{
    (void)state;
    struct fixture f;
    struct upload slow[10], good;
    char key[16];
    fx_init(&f, 1 << 30);
    assert_int_equal(fx_open(&f), 0);
    f.st->ahead_max = AHEAD_MIN;
    for (int i = 0; i < 10; i++) { /* they get their room, and send nothing */
        (void)snprintf(key, sizeof(key), "slow%d", i);
        assert_int_equal(begin(&f, &slow[i], key, 20 << 20), 0);
        vfs_mem_advance(f.vfs, 300);
    }
    assert_int_equal(begin(&f, &good, "good", 10 << 20), 0);
    for (int i = 0; i < 10; i++) {
        put_abort(slow[i].put);
    }
    put_abort(good.put);
    fx_pump(&f);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void a_disk_is_believed_to_be_fast_step_by_step(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    put_adapt_ahead(f.st, 10 << 20, 1000000); /* into its cache: 10 GB/s */
    assert_int_equal(f.st->ahead_max, AHEAD_FIRST + (10 << 20));
    for (int i = 0; i < 20; i++) {
        put_adapt_ahead(f.st, 10 << 20, 2000000000); /* 5 MiB/s */
    }
    assert_in_range(f.st->ahead_max, 14 << 20, 16 << 20);
    for (int i = 0; i < 20; i++) {
        put_adapt_ahead(f.st, 1 << 20, 2000000000);
    }
    assert_int_equal(f.st->ahead_max, AHEAD_MIN);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

/* ---- re-entrance ---- */

struct nosy_chunk { /* calls the store when it is given back */
    struct chunk c;
    struct fixture *f;
    struct answer deleted;
};

static void release_nosy(struct chunk *c)
{
    struct nosy_chunk *n = container_of(c, struct nosy_chunk, c);
    assert_int_equal(delete_name(n->f, "base", &n->deleted), 0);
}

static void a_call_back_may_begin_the_next_thing(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a, b;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
    struct nosy_chunk n = {.c = {.data = BODY, .len = 1000, .release = release_nosy}, .f = &f};
    assert_int_equal(begin(&f, &a, "a", 1000), 0);
    assert_int_equal(begin(&f, &b, "b", 0), 0);
    put_write(a.put, &n.c);
    put_commit(b.put, NULL);
    put_commit(a.put, NULL);
    fx_pump(&f);
    assert_int_equal(a.done, 1);
    assert_int_equal(b.done, 1);
    assert_int_equal(n.deleted.n, 1);
    assert_int_equal(a.status, 0);
    assert_int_equal(n.deleted.status, 0);
    struct object obj;
    assert_int_equal(store_lookup(f.st, SLICE_LIT("a"), &obj), 0);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("base"), &obj), ZERR_NOT_FOUND);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

/* The owner of an upload whose block was poisoned begins a delete from its call-back. */
struct nosy_upload {
    struct fixture *f;
    struct answer deleted;
    unsigned done;
};

static void done_nosy(void *user, int status, const struct object *obj)
{
    struct nosy_upload *n = user;
    (void)obj;
    assert_int_equal(status, ZERR_IO);
    n->done++;
    assert_int_equal(delete_name(n->f, "base", &n->deleted), 0);
}

static void a_failed_round_answers_everybody_once(void **state)
{
    (void)state;
    static const struct put_ops nosy = {
        .ready = on_ready, .writable = on_writable, .done = done_nosy};
    struct fixture f;
    struct upload a, b;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
    struct nosy_upload n = {.f = &f};
    struct put_spec spec = {.key = SLICE_LIT("open"), .size = 100};
    struct put *open;
    assert_int_equal(put_begin(f.st, &spec, &nosy, &n, &open), 0);
    assert_int_equal(begin(&f, &a, "a", 0), 0);
    assert_int_equal(begin(&f, &b, "b", 0), 0);
    put_commit(a.put, NULL);
    put_commit(b.put, NULL);
    vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
    fx_pump(&f);
    assert_int_equal(a.done, 1);
    assert_int_equal(b.done, 1);
    assert_int_equal(n.done, 1);
    assert_int_equal(n.deleted.n, 1);
    assert_int_equal(a.status, ZERR_IO);
    assert_int_equal(n.deleted.status, 0);
    assert_false(f.fatal);
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    struct object obj;
    assert_int_equal(store_lookup(f.st, SLICE_LIT("a"), &obj), ZERR_NOT_FOUND);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("base"), &obj), ZERR_NOT_FOUND);
    fx_finish(&f);
}

/* ---- stopping ---- */

static void a_stop_after_a_fatal_error_ends_once_and_answers_all(void **state)
{
    (void)state;
    struct fixture f;
    struct upload u[6];
    struct answer del[3], stopped = {0};
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(begin(&f, &u[i], "k", 0), 0);
    }
    vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_FROM_THEN_ON);
    put_commit(u[0].put, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(delete_name(&f, "base", &del[i]), 0);
    }
    fx_pump(&f);
    assert_true(f.fatal);
    store_stop(f.st, on_answer, &stopped);
    for (int i = 0; i < 5; i++) {
        fx_pump(&f);
        vfs_mem_advance(f.vfs, 1000);
        if (stopped.n == 0) {
            store_tick(f.st);
        }
    }
    assert_int_equal(stopped.n, 1);
    assert_int_not_equal(stopped.status, 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(u[i].done, 1);
        assert_int_not_equal(u[i].status, 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(del[i].n, 1);
        assert_int_not_equal(del[i].status, 0);
    }
    vfs_mem_fail(f.vfs, 0, 0, 0, MEM_ONCE);
    store_destroy(f.st);
    f.st = NULL;
    assert_int_equal(fx_open(&f), 0);
    struct object obj;
    assert_int_equal(store_lookup(f.st, SLICE_LIT("base"), &obj), 0);
    fx_finish(&f);
}

/* After `steps` jobs of a session with uploads in every state. */
static bool stop_after(unsigned steps)
{
    struct fixture f;
    struct upload open, job, complete, queued, waiting;
    struct answer del, stopped = {0};
    bool more = true;
    fx_init(&f, 1 << 20);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(begin(&f, &open, "open", 1000), 0);
    write_some(&f, &open, 500);
    assert_int_equal(begin(&f, &job, "job", 300000), 0);
    write_some(&f, &job, 200000);
    assert_int_equal(begin(&f, &complete, "complete", 200000), 0);
    write_some(&f, &complete, 200000);
    put_commit(complete.put, NULL);
    assert_int_equal(begin(&f, &queued, "queued", 100), 0);
    write_some(&f, &queued, 100);
    put_commit(queued.put, NULL);
    assert_int_equal(delete_name(&f, "nothing", &del), 0);
    uint64_t max = f.st->unsynced_max;
    f.st->unsynced_max = 1;
    assert_int_equal(begin(&f, &waiting, "waiting", 10), ZKV_PENDING);
    f.st->unsynced_max = max;
    for (unsigned i = 0; i < steps && more; i++) {
        more = workers_inline_step(&f.workers);
    }
    store_stop(f.st, on_answer, &stopped);
    fx_pump(&f);
    assert_int_equal(stopped.n, 1);
    assert_int_equal(stopped.status, 0);
    assert_int_equal(open.done, 1);
    assert_int_equal(open.status, ZERR_CANCELED);
    assert_int_equal(job.done, 1);
    assert_int_equal(job.status, ZERR_CANCELED);
    assert_int_equal(complete.done, 1);
    assert_int_equal(complete.status, 0);
    assert_int_equal(queued.done, 1);
    assert_int_equal(queued.status, 0);
    assert_int_equal(waiting.ready, 1);
    assert_int_equal(waiting.ready + waiting.done, waiting.status == 0 ? 2 : 1 + waiting.done);
    assert_int_equal(del.n, 1);
    assert_int_equal(del.status, 0);
    assert_int_equal(f.st->unsynced, 0);
    assert_int_equal(f.st->queued, 0);
    assert_int_equal(*f.st->promised, 0);
    assert_null(f.st->puts);
    assert_null(f.st->open_blocks);
    store_destroy(f.st);
    f.st = NULL;
    assert_int_equal(vfs_mem_open_files(f.vfs), 0);
    struct store_stats s;
    assert_int_equal(fx_open(&f), 0);
    store_get_stats(f.st, &s);
    assert_int_equal(s.totals.objects, 2);
    assert_int_equal(s.recovered + s.torn, 0);
    fx_finish(&f);
    return more;
}

static void a_stop_ends_uploads_in_any_state(void **state)
{
    (void)state;
    unsigned n = 0;
    while (stop_after(n)) {
        n++;
    }
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stalled_upload_goes_on_when_another_is_given_up),
        cmocka_unit_test(a_large_upload_waits_while_much_is_on_its_way),
        cmocka_unit_test(who_waits_is_refused_when_his_patience_ends),
        cmocka_unit_test(slow_clients_keep_nobody_waiting),
        cmocka_unit_test(a_disk_is_believed_to_be_fast_step_by_step),
        cmocka_unit_test(a_disk_that_was_slow_once_is_believed_again),
        cmocka_unit_test(a_call_back_may_begin_the_next_thing),
        cmocka_unit_test(a_failed_round_answers_everybody_once),
        cmocka_unit_test(a_stop_after_a_fatal_error_ends_once_and_answers_all),
        cmocka_unit_test(a_stop_ends_uploads_in_any_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
