/* The store and a look-up index that cannot be written: it waits, it answers, it stops; nothing is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "store/index_priv.h"
#include "store/store_priv.h"
#include "support/sqlite_sync.h"
#include "support/store_calls.h"
#include "support/vfs_mem.h"

/* By a connection more of the one process that has the index. */
static void with_index(struct fixture *f, const char *sql)
{
    char path[128];
    sqlite3 *db;
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, f->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, INDEX_VFS), SQLITE_OK);
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

/* ---- syncs that fail: pages may be lost, and the next sync would say that all is well ---- */

static void expect_names(struct fixture *f, unsigned names)
{
    struct buf list = {0};
    unsigned n = 0;
    assert_int_equal(fx_names(f, &list), 0);
    for (size_t i = 0; i < list.len; i++) {
        n += list.ptr[i] == '\n';
    }
    assert_int_equal(n, names);
    buf_finish(&list);
}

static void an_index_whose_sync_failed_ends_the_session(void **state)
{
    (void)state;
    struct fixture f;
    unsigned n = 0;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    sqlite_syncs_good = 0;
    sqlite_syncs_bad = 1;
    for (; !f.fatal; n++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", n);
        assert_true(n < 5000);
        assert_int_equal(fx_put(&f, key, body_of(10), 0), 0);
    }
    assert_int_equal(sqlite_syncs_bad, 0);
    assert_non_null(strstr(f.notes, "is damaged: it is removed"));
    assert_int_not_equal(fx_stop(&f), 0);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, f.dir);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, n);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void expect_made_anew(struct fixture *f, unsigned names)
{
    struct store_stats s;
    assert_int_equal(fx_open(f), 0);
    store_get_stats(f->st, &s);
    assert_true(s.index_rebuilt);
    expect_names(f, names);
}

static void an_index_whose_sync_failed_at_the_stop_or_before_is_made_anew(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    for (unsigned i = 0; i < 6; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        if (i == 0) {
            assert_int_equal(fx_open(&f), 0);
        } else {
            expect_made_anew(&f, i);
        }
        assert_int_equal(fx_put(&f, key, body_of(10), 0), 0);
        if (i % 2 == 1) {
            fx_kill(&f);
        }
        sqlite_syncs_good = i / 2 % 2;
        sqlite_syncs_bad = 1;
        if (i % 2 == 0) {
            assert_int_equal(fx_stop(&f), 0);
            assert_int_equal(sqlite_syncs_bad, 0);
        }
    }
    expect_made_anew(&f, 6);
    assert_int_equal(sqlite_syncs_bad, 0);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

/* SQLite's own syncs may succeed: whoever asked before has had the answer. */
static void an_index_on_a_disk_that_could_not_write_the_rest_is_made_anew(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(10), 0), 0);
    assert_int_equal(fx_stop(&f), 0);
    for (unsigned n = 1; n <= 2; n++) { /* the history, the open block */
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, n == 1 ? "b" : "c", body_of(10), 0), 0);
        fx_kill(&f);
        vfs_mem_fail(f.vfs, MEM_SYNC, n, ZERR_IO, MEM_ONCE);
        expect_made_anew(&f, n + 1);
        assert_true(vfs_mem_failed(f.vfs) > 0);
        assert_int_equal(fx_stop(&f), 0);
    }
    fx_finish(&f);
}

int main(void)
{
    sqlite_sync_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_whose_sync_failed_ends_the_session),
        cmocka_unit_test(an_index_on_a_disk_that_could_not_write_the_rest_is_made_anew),
        cmocka_unit_test(an_index_whose_sync_failed_at_the_stop_or_before_is_made_anew),
        cmocka_unit_test(a_round_waits_for_an_index_that_comes_back),
        cmocka_unit_test(a_store_that_cannot_go_on_answers_before_it_is_stopped),
        cmocka_unit_test(nobody_waits_for_ever_for_an_index_on_a_full_disk),
        cmocka_unit_test(an_index_that_stays_broken_ends_the_session_and_loses_nothing),
        cmocka_unit_test(look_ups_see_what_the_lane_has_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
