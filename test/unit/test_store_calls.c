/* The store's manners: each call-back once and whatever it calls, nothing waits for ever, a stop in
 * any state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "store/scan.h"
#include "store/store_priv.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"

static uint8_t BODY[2 << 20];

static struct slice body_of(size_t len)
{
    fx_fill(BODY, len, len);
    return slice_of(BODY, len);
}

/* ---- uploads that count their call-backs ---- */

struct upload {
    struct put *put;
    unsigned ready, writable, done, waits, patience;
    int status;
};

static void on_ready(void *user, int status)
{
    struct upload *u = user;
    u->ready++;
    u->status = status;
}

static void on_writable(void *user)
{
    ((struct upload *)user)->writable++;
}

static void on_done(void *user, int status, const struct object *obj)
{
    struct upload *u = user;
    (void)obj;
    u->done++;
    u->status = status;
}

static bool on_waiting(void *user)
{
    struct upload *u = user;
    u->waits++;
    return u->waits <= u->patience;
}

static const struct put_ops OPS = {
    .ready = on_ready, .writable = on_writable, .done = on_done, .waiting = on_waiting};

static int begin(struct fixture *f, struct upload *u, const char *key, uint64_t size)
{
    struct put_spec spec = {.key = slice_str(key), .size = size};
    *u = (struct upload){0};
    return put_begin(f->st, &spec, &OPS, u, &u->put);
}

static void write_some(struct fixture *f, struct upload *u, size_t len)
{
    struct fx_upload by = {.put = u->put};
    fx_write(f, &by, body_of(len));
}

struct answer {
    unsigned n;
    int status;
};

static void on_answer(void *user, int status)
{
    struct answer *a = user;
    a->n++;
    a->status = status;
}

static int delete_name(struct fixture *f, const char *key, struct answer *a)
{
    struct slice k = slice_str(key);
    *a = (struct answer){0};
    return store_delete(f->st, &k, 1, NULL, on_answer, a);
}

static void on_copied(void *user, int status, const struct object *obj)
{
    (void)obj;
    on_answer(user, status);
}

static int copy_name(struct fixture *f, const struct object *src, const char *key, struct answer *a)
{
    struct copy_spec spec = {.key = slice_str(key), .src = *src};
    *a = (struct answer){0};
    return store_copy(f->st, &spec, on_copied, a);
}

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

/* ---- an index that cannot be written ---- */

static void with_index(struct fixture *f, const char *sql)
{
    char path[128];
    sqlite3 *db;
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void break_index(struct fixture *f)
{
    with_index(f, "CREATE TRIGGER no BEFORE INSERT ON objects BEGIN SELECT RAISE(FAIL, 'no'); END");
}

static void a_round_waits_for_an_index_that_comes_back(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a, b, c;
    struct answer del;
    struct object obj;
    fx_init(&f, 4096);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
    break_index(&f);
    assert_int_equal(begin(&f, &a, "a", 0), 0);
    assert_int_equal(begin(&f, &b, "b", 3000), 0);
    assert_int_equal(begin(&f, &c, "c", 3000), 0);
    assert_int_equal(delete_name(&f, "base", &del), 0);
    put_commit(a.put, NULL);
    write_some(&f, &b, 3000);
    put_commit(b.put, NULL);
    for (int i = 0; i < 3; i++) {
        fx_pump(&f);
        vfs_mem_advance(f.vfs, 1000);
        store_tick(f.st);
    }
    fx_pump(&f);
    assert_int_equal(a.done + b.done, 0); /* on disk, not in the index: not yet true */
    assert_int_equal(store_lookup(f.st, SLICE_LIT("a"), &obj), ZERR_NOT_FOUND);
    struct answer refused;
    assert_int_equal(delete_name(&f, "base", &refused), ZERR_BUSY);
    put_abort(c.put); /* while everything waits */
    with_index(&f, "DROP TRIGGER no");
    assert_true(store_wants_tick(f.st));
    store_tick(f.st);
    fx_pump(&f);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.status, 0);
    assert_int_equal(b.done, 1);
    assert_int_equal(b.status, 0);
    assert_int_equal(del.n, 1);
    assert_int_equal(del.status, 0);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("a"), &obj), 0);
    assert_int_equal(fx_put(&f, "d", body_of(10), 0), 0);
    assert_false(f.fatal);
    struct store_stats before, after;
    store_get_stats(f.st, &before);
    assert_int_equal(fx_stop(&f), 0);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    store_get_stats(f.st, &after);
    assert_int_equal(after.revision, before.revision);
    assert_memory_equal(&after.totals, &before.totals, sizeof(after.totals));
    fx_finish(&f);
}

static void a_store_that_cannot_go_on_answers_before_it_is_stopped(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a, own;
    struct answer behind;
    fx_init(&f, 4096);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(10), 0), 0);
    assert_int_equal(begin(&f, &a, "a", 0), 0);
    assert_int_equal(begin(&f, &own, "own", 10000), 0); /* in another block */
    put_commit(a.put, NULL);
    assert_int_equal(delete_name(&f, "a", &behind), 0); /* in the next round */
    vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_FROM_THEN_ON);
    fx_pump(&f);
    assert_true(f.fatal);
    assert_int_equal(a.done, 1);
    assert_int_equal(own.done + behind.n, 0);
    assert_true(store_wants_tick(f.st));
    store_tick(f.st);
    fx_pump(&f);
    assert_int_equal(own.done, 1);
    assert_int_equal(own.status, ZERR_IO);
    assert_int_equal(behind.n, 1);
    assert_int_equal(behind.status, ZERR_IO);
    vfs_mem_fail(f.vfs, 0, 0, 0, MEM_ONCE);
    assert_int_not_equal(fx_stop(&f), 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "b", body_of(10), 0), 0);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

/* Each kind of change, in the round and behind it, and uploads in all states. */
static void nobody_waits_for_ever_for_an_index_on_a_full_disk(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a, b, c, d;
    struct answer del, copy;
    struct object obj, src;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("base"), &src), 0);
    break_index(&f);
    assert_int_equal(begin(&f, &a, "a", 0), 0);
    assert_int_equal(begin(&f, &b, "b", 3000), 0);
    assert_int_equal(begin(&f, &c, "c", 0), 0);
    assert_int_equal(begin(&f, &d, "d", 300000), 0);
    put_commit(a.put, NULL);
    assert_int_equal(delete_name(&f, "base", &del), 0);
    assert_int_equal(copy_name(&f, &src, "copy", &copy), 0);
    fx_pump(&f);
    put_commit(c.put, NULL);
    write_some(&f, &d, 200000);
    for (int i = 0; i < 8; i++) {
        f.st->round.index_status = ZERR_NO_SPACE; /* as on a full disk: no reason to give up */
        vfs_mem_advance(f.vfs, 1000);
        store_tick(f.st);
        assert_int_equal(a.done, i >= 5); /* a moment is left for the index to come back */
        fx_pump(&f);
    }
    assert_int_equal(b.done, 1);
    assert_int_equal(c.done, 1);
    assert_int_equal(d.done, 1);
    assert_int_equal(del.n, 1);
    assert_int_equal(copy.n, 1);
    assert_int_equal(a.status, ZERR_BUSY);
    assert_int_equal(b.status, ZERR_BUSY);
    assert_int_equal(c.status, ZERR_BUSY);
    assert_int_equal(d.status, ZERR_BUSY);
    assert_int_equal(del.status, ZERR_BUSY);
    assert_int_equal(copy.status, ZERR_BUSY);
    with_index(&f, "DROP TRIGGER no");
    store_tick(f.st);
    fx_pump(&f);
    assert_false(f.fatal);
    assert_int_equal(a.done, 1);                                   /* once */
    assert_int_equal(store_lookup(f.st, SLICE_LIT("a"), &obj), 0); /* it was on disk */
    assert_int_equal(store_lookup(f.st, SLICE_LIT("b"), &obj), ZERR_NOT_FOUND);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("c"), &obj), ZERR_NOT_FOUND);
    assert_int_equal(fx_put(&f, "c", body_of(10), 0), 0);
    assert_int_equal(fx_stop(&f), 0);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("a"), &obj), 0);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("c"), &obj), 0);
    fx_finish(&f);
}

static void an_index_that_stays_broken_ends_the_session_and_loses_nothing(void **state)
{
    (void)state;
    for (int stop_first = 0; stop_first < 2; stop_first++) {
        struct fixture f;
        struct upload a, b;
        struct answer del, stopped = {0};
        struct object obj;
        fx_init(&f, 0);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
        break_index(&f);
        assert_int_equal(begin(&f, &a, "a", 0), 0);
        assert_int_equal(begin(&f, &b, "b", 1000), 0);
        put_commit(a.put, NULL);
        assert_int_equal(delete_name(&f, "base", &del), 0);
        fx_pump(&f);
        if (stop_first) {
            store_stop(f.st, on_answer, &stopped);
        }
        for (int i = 0; i < 15 && !f.fatal; i++) {
            vfs_mem_advance(f.vfs, 1000);
            store_tick(f.st);
            fx_pump(&f);
        }
        assert_true(f.fatal);
        if (!stop_first) {
            store_stop(f.st, on_answer, &stopped);
        }
        fx_pump(&f);
        assert_int_equal(stopped.n, 1);
        assert_int_not_equal(stopped.status, 0);
        assert_int_equal(a.done, 1);
        assert_int_equal(b.done, 1);
        assert_int_equal(del.n, 1);
        store_destroy(f.st);
        f.st = NULL;
        assert_int_equal(fx_open(&f), 0); /* the index was removed */
        assert_int_equal(store_lookup(f.st, SLICE_LIT("base"), &obj), 0);
        assert_int_equal(fx_put(&f, "c", body_of(10), 0), 0);
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
}

static void look_ups_see_what_the_lane_has_committed(void **state)
{
    (void)state;
    struct fixture f;
    struct object obj;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    char key[16];
    struct buf names = {0};
    for (unsigned i = 0; i < 300;
         i++) { /* three connections on one file, a checkpoint now and then */
        (void)snprintf(key, sizeof(key), "k%03u", i);
        assert_int_equal(store_lookup(f.st, slice_str(key), &obj), ZERR_NOT_FOUND);
        assert_int_equal(fx_put(&f, key, body_of(i), 0), 0);
        assert_int_equal(store_lookup(f.st, slice_str(key), &obj), 0);
        assert_int_equal(obj.size, i);
        if (i % 50 == 0) {
            assert_int_equal(index_checkpoint(f.st->ix_write, true), 0);
            assert_int_equal(fx_names(&f, &names), 0);
            assert_int_equal(names.len, (i + 1) * 5);
        }
    }
    buf_finish(&names);
    fx_finish(&f);
}

/* ---- what a commit leaves before it in the block ---- */

static int see_frame(void *user, const struct scan_frame *f)
{
    unsigned *n = user;
    assert_int_not_equal(f->verdict, SCAN_GARBAGE);
    n[f->verdict == SCAN_VALID]++;
    return 0;
}

static void a_frame_given_up_unwritten_is_no_hole_when_a_later_one_commits(void **state)
{
    (void)state;
    struct fixture f;
    struct upload first, a, b;
    fx_init(&f, 16384);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(begin(&f, &first, "first", 10000), 0);
    assert_int_equal(begin(&f, &a, "a", 8000), 0); /* in the next block */
    assert_int_equal(begin(&f, &b, "b", 100), 0);
    write_some(&f, &first, 10000);
    put_commit(first.put, NULL);
    while (first.done == 0) {
        assert_true(workers_inline_step(&f.workers));
    }
    assert_int_equal(f.st->lane, LANE_SEAL);
    put_abort(a.put);
    write_some(&f, &b, 100);
    put_commit(b.put, NULL);
    while (b.done == 0) {
        assert_true(workers_inline_step(&f.workers));
    }
    struct vfs *after = vfs_mem_crash(f.vfs, MEM_CRASH_SYNCED, 1);
    struct vfs_file *file;
    struct scan_result res;
    unsigned n[2] = {0};
    assert_int_equal(after->ops->open(after, "open0000000001", VFS_READ, &file), 0);
    assert_int_equal(scan_block(file, 1, SCAN_BODIES, see_frame, n, &res), 0);
    after->ops->close(file);
    assert_int_equal(n[0], 1);
    assert_int_equal(n[1], 1);
    vfs_mem_destroy(after);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

/* Room that is reserved is zeros until it is written: what was there before is cut away first. */
static void an_upload_given_up_at_the_end_leaves_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a;
    fx_init(&f, 1 << 20);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
    size_t len = vfs_mem_get(f.vfs, "open0000000000").len;
    assert_int_equal(begin(&f, &a, "a", 300000), 0);
    write_some(&f, &a, 200000);
    fx_pump(&f);
    assert_true(vfs_mem_get(f.vfs, "open0000000000").len > len + 200000);
    put_abort(a.put);
    fx_pump(&f);
    assert_int_equal(vfs_mem_get(f.vfs, "open0000000000").len, len);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void a_cut_that_fails_is_tried_again_and_hurts_nobody(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a;
    struct buf out = {0};
    fx_init(&f, 1 << 20);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
    assert_int_equal(begin(&f, &a, "a", 300000), 0);
    write_some(&f, &a, 200000);
    fx_pump(&f);
    vfs_mem_fail(f.vfs, MEM_TRUNCATE, 1, ZERR_NO_SPACE, MEM_ONCE);
    put_abort(a.put);
    fx_pump(&f);
    assert_int_equal(vfs_mem_failed(f.vfs), 1);
    assert_int_equal(fx_put(&f, "b", body_of(1000), 0), 0); /* not where the cut would have been */
    assert_true(store_wants_tick(f.st));
    store_tick(f.st);
    fx_pump(&f);
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_get(&f, "b", &out), 0);
    assert_true(slice_eq(buf_slice(&out), body_of(1000)));
    buf_finish(&out);
    fx_finish(&f);
}

static void a_void_that_fails_takes_no_room_from_those_who_came_meanwhile(void **state)
{
    (void)state;
    struct fixture f;
    struct upload a, b, c;
    struct buf out = {0};
    fx_init(&f, 1 << 20);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(begin(&f, &a, "a", 300000), 0);
    assert_int_equal(begin(&f, &b, "b", 1000), 0); /* behind it: there is nothing to cut */
    write_some(&f, &a, 200000);
    fx_pump(&f);
    vfs_mem_fail(f.vfs, MEM_WRITE, 1, ZERR_NO_SPACE, MEM_ONCE);
    put_abort(a.put);
    assert_int_equal(f.st->lane, LANE_TIDY);
    assert_int_equal(begin(&f, &c, "c", 1000), 0);
    fx_pump(&f);
    assert_int_equal(vfs_mem_failed(f.vfs), 1);
    assert_int_equal(fx_put(&f, "d", body_of(2000), 0), 0);
    write_some(&f, &c, 1000);
    put_commit(c.put, NULL);
    put_abort(b.put);
    fx_pump(&f);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.status, 0);
    store_tick(f.st);
    fx_pump(&f);
    assert_int_equal(fx_get(&f, "d", &out), 0);
    assert_true(slice_eq(buf_slice(&out), body_of(2000)));
    assert_int_equal(fx_stop(&f), 0);
    assert_int_equal(fx_open(&f), 0);
    buf_reset(&out);
    assert_int_equal(fx_get(&f, "d", &out), 0);
    assert_true(slice_eq(buf_slice(&out), body_of(2000)));
    buf_finish(&out);
    fx_finish(&f);
}

static void an_object_whose_block_is_elsewhere_is_an_error_and_not_absent(void **state)
{
    (void)state;
    struct fixture f;
    struct buf out = {0};
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(1000), 0), 0);
    assert_int_equal(fx_stop(&f), 0);
    assert_int_equal(f.vfs->ops->rename(f.vfs, "block0000000000", "elsewhere"), 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_get(&f, "a", &out), ZERR_IO);
    assert_int_equal(f.vfs->ops->rename(f.vfs, "elsewhere", "block0000000000"), 0);
    assert_int_equal(fx_get(&f, "a", &out), 0);
    assert_true(slice_eq(buf_slice(&out), body_of(1000)));
    buf_finish(&out);
    fx_finish(&f);
}

struct next_upload { /* committed as soon as the one before it has failed */
    struct upload *next;
    int status;
};

static void done_next(void *user, int status, const struct object *obj)
{
    struct next_upload *n = user;
    (void)obj;
    n->status = status;
    put_commit(n->next->put, NULL);
}

static void a_block_that_cannot_be_made_fails_nobody_else(void **state)
{
    (void)state;
    static const struct put_ops ops = {
        .ready = on_ready, .writable = on_writable, .done = done_next};
    static const int errors[] = {ZERR_IO, ZERR_NO_SPACE, ZERR_LIMIT};
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        struct upload b;
        struct next_upload n = {.next = &b};
        struct put_spec spec = {.key = SLICE_LIT("large"), .size = 300000};
        struct upload a = {0};
        fx_init(&f, 16384);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "base", body_of(10), 0), 0);
        f.st->unsynced_max = 200000;
        assert_int_equal(begin(&f, &b, "b", 0), 0);
        assert_int_equal(put_begin(f.st, &spec, &ops, &n, &a.put), 0); /* a block of its own */
        vfs_mem_fail(f.vfs, MEM_CREATE, 1, errors[i], MEM_ONCE);
        write_some(&f, &a, 150000);
        fx_pump(&f);
        assert_int_equal(n.status, errors[i]);
        assert_int_equal(b.done, 1);
        assert_int_equal(b.status, 0);
        assert_ptr_equal(f.st->open_blocks, f.st->current);
        assert_null(f.st->current->next);
        assert_int_equal(f.st->unsynced, 0);
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
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
        cmocka_unit_test(a_round_waits_for_an_index_that_comes_back),
        cmocka_unit_test(a_store_that_cannot_go_on_answers_before_it_is_stopped),
        cmocka_unit_test(nobody_waits_for_ever_for_an_index_on_a_full_disk),
        cmocka_unit_test(an_index_that_stays_broken_ends_the_session_and_loses_nothing),
        cmocka_unit_test(look_ups_see_what_the_lane_has_committed),
        cmocka_unit_test(an_upload_given_up_at_the_end_leaves_nothing),
        cmocka_unit_test(a_cut_that_fails_is_tried_again_and_hurts_nobody),
        cmocka_unit_test(a_void_that_fails_takes_no_room_from_those_who_came_meanwhile),
        cmocka_unit_test(an_object_whose_block_is_elsewhere_is_an_error_and_not_absent),
        cmocka_unit_test(a_block_that_cannot_be_made_fails_nobody_else),
        cmocka_unit_test(a_frame_given_up_unwritten_is_no_hole_when_a_later_one_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
