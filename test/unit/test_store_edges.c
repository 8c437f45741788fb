/* What seldom happens: directories that somebody has been at, arguments beyond the limits, uploads
 * given up where they wait, conditions within one round. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store_priv.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"

static void filled(struct fixture *f, uint64_t block_size)
{
    fx_init(f, block_size);
    assert_int_equal(fx_open(f), 0);
    assert_int_equal(fx_put(f, "a", SLICE_LIT("one"), 0), 0);
    assert_int_equal(fx_put(f, "b", SLICE_LIT("two"), 0), 0);
}

static void refused(struct fixture *f, int status, const char *text)
{
    assert_int_equal(fx_open(f), status);
    if (strstr(f->info.text, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", f->info.text, text);
    }
    assert_int_equal(vfs_mem_open_files(f->vfs), 0);
}

static void has(struct fixture *f, const char *key, const char *body)
{
    struct buf out = {0};
    assert_int_equal(fx_get(f, key, &out), 0);
    assert_true(slice_eq_str(buf_slice(&out), body));
    buf_finish(&out);
}

/* ---- directories ---- */

static void a_block_under_both_names_stops_the_start(void **state)
{
    struct fixture f;
    (void)state;
    filled(&f, 65536);
    assert_int_equal(fx_stop(&f), 0);
    vfs_mem_put(f.vfs, "open0000000000", SLICE_LIT("somebody's copy"));
    refused(&f, ZERR_CORRUPT, "there are both block0000000000 and open0000000000");
    assert_int_equal(f.vfs->ops->unlink(f.vfs, "open0000000000"), 0);
    assert_int_equal(fx_open(&f), 0);
    has(&f, "a", "one");
    fx_finish(&f);
}

static void a_db_that_cannot_be_read_steps_aside(void **state)
{
    struct fixture f;
    (void)state;
    filled(&f, 65536);
    assert_int_equal(fx_stop(&f), 0);
    vfs_mem_put(f.vfs, "db0000000004", SLICE_LIT("no history at all"));
    assert_int_equal(fx_open(&f), 0);
    assert_non_null(strstr(f.notes, "db0000000004 cannot be read and is not the current one"));
    assert_null(vfs_mem_get(f.vfs, "db0000000004").ptr);
    assert_true(slice_eq_str(vfs_mem_get(f.vfs, "bad-db0000000004"), "no history at all"));
    has(&f, "b", "two");
    fx_finish(&f);
}

static void no_readable_db_stops_the_start(void **state)
{
    struct fixture f;
    (void)state;
    filled(&f, 65536);
    assert_int_equal(fx_stop(&f), 0);
    vfs_mem_put(f.vfs, "db0000000000", SLICE_LIT("nothing"));
    vfs_mem_put(f.vfs, "db0000000001", SLICE_LIT("nothing"));
    refused(&f, ZERR_CORRUPT, "none of the db files can be read");
    fx_finish(&f);
}

/* Of the same generation and length: the successor, and 0 succeeds 9. */
static void of_equal_dbs_the_successor_counts(void **state)
{
    struct fixture f;
    struct db_state s = {.next_backend_file = 1, .has_store_id = true, .generation = 3};
    struct db_writer *w;
    struct db_pos last, end;
    (void)state;
    fx_init(&f, 65536);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(db_writer_create(f.vfs, i == 0 ? "db0000000000" : "db0000000009", &s, &w),
                         0);
        assert_int_equal(db_writer_finish(w, &s, &last, &end), 0);
    }
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(f.st->db_id, 0);
    assert_null(vfs_mem_get(f.vfs, "db0000000009").ptr);
    fx_finish(&f);
}

static void an_unknown_feature_stops_the_start(void **state)
{
    struct fixture f;
    struct db_state s = {.next_backend_file = 1, .has_store_id = true, .generation = 1};
    struct db_writer *w;
    struct db_pos last, end;
    (void)state;
    fx_init(&f, 65536);
    s.features = UINT64_C(1) << 40;
    assert_int_equal(db_writer_create(f.vfs, "db0000000000", &s, &w), 0);
    assert_int_equal(db_writer_finish(w, &s, &last, &end), 0);
    refused(&f, ZERR_UNSUPPORTED, "was written by a newer version");
    fx_finish(&f);
}

/* -index names a file that is not ours: it stays as it is. */
static void somebody_elses_file_is_no_index(void **state)
{
    struct fixture f;
    char path[128], text[64] = "";
    (void)state;
    filled(&f, 65536);
    assert_int_equal(fx_stop(&f), 0);
    (void)snprintf(path, sizeof(path), "%s/letter", f.dir);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs("Dear Sir or Madam, this is a text of some length.\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    f.cfg.index_path = path;
    refused(&f, ZERR_INVALID, "is not a look-up index, it is left alone");
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    assert_int_equal(fclose(file), 0);
    assert_string_equal(text, "Dear Sir or Madam, this is a text of some length.\n");
    /* A directory there cannot be opened at all. */
    assert_int_equal(unlink(path), 0);
    f.cfg.index_path = f.dir;
    assert_int_not_equal(fx_open(&f), 0);
    assert_int_equal(vfs_mem_open_files(f.vfs), 0);
    f.cfg.index_path = NULL;
    assert_int_equal(fx_open(&f), 0);
    has(&f, "a", "one");
    fx_finish(&f);
}

/* ---- arguments ---- */

static void not_called(void *user, int status)
{
    (void)user, (void)status;
    fail();
}

static void not_copied(void *user, int status, const struct object *obj)
{
    (void)user, (void)status, (void)obj;
    fail();
}

static void arguments_beyond_the_limits_are_refused(void **state)
{
    static uint8_t name[KEY_MAX_BYTES + 1];
    struct fixture f;
    struct slice empty = SLICE_LIT(""), long_key = slice_of(name, sizeof(name));
    struct fx_upload u;
    (void)state;
    memset(name, 'n', sizeof(name));
    fx_init(&f, BLOCK_SIZE_MIN - 1);
    refused(&f, ZERR_INVALID, "a block has at least");
    f.cfg.block_size = BLOCK_SIZE_MIN;
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(store_delete(f.st, &empty, 0, NULL, not_called, NULL), ZERR_INVALID);
    assert_int_equal(store_delete(f.st, &empty, 1, NULL, not_called, NULL), ZERR_INVALID);
    assert_int_equal(store_delete(f.st, &long_key, 1, NULL, not_called, NULL), ZERR_TOO_LARGE);
    assert_int_equal(store_delete(f.st, &long_key, RECORD_MAX_BATCH + 1, NULL, not_called, NULL),
                     ZERR_TOO_LARGE);
    struct copy_spec copy = {.key = empty};
    assert_int_equal(store_copy(f.st, &copy, not_copied, NULL), ZERR_INVALID);
    copy.key = long_key;
    assert_int_equal(store_copy(f.st, &copy, not_copied, NULL), ZERR_TOO_LARGE);
    assert_int_equal(fx_begin(&f, &u, "", 0), ZERR_INVALID);
    assert_int_equal(fx_begin(&f, &u, "k", BODY_MAX_BYTES + 1), ZERR_TOO_LARGE);
    fx_pump(&f);
    fx_finish(&f);
}

/* ---- uploads ---- */

static void an_upload_is_given_up_while_it_waits_for_its_round(void **state)
{
    struct fixture f;
    struct fx_upload ahead, queued, behind;
    struct buf out = {0};
    (void)state;
    filled(&f, 65536);
    assert_int_equal(fx_begin(&f, &ahead, "ahead", 0), 0);
    assert_int_equal(fx_begin(&f, &queued, "queued", 3), 0);
    assert_int_equal(fx_begin(&f, &behind, "behind", 0), 0);
    put_commit(ahead.put, NULL); /* its round begins */
    fx_write(&f, &queued, SLICE_LIT("abc"));
    put_commit(queued.put, NULL);
    put_commit(behind.put, NULL);
    assert_int_equal(queued.put->state, PUT_QUEUED);
    put_abort(queued.put);
    fx_pump(&f);
    assert_true(ahead.done && ahead.status == 0 && behind.done && behind.status == 0);
    assert_false(queued.done);
    assert_int_equal(fx_get(&f, "queued", &out), ZERR_NOT_FOUND);
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_get(&f, "queued", &out), ZERR_NOT_FOUND);
    assert_int_equal(f.st->stats.recovered_damaged, 0);
    buf_finish(&out);
    fx_finish(&f);
}

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

/* Two that must not both win, and a delete behind the upload of its name, in one group. */
static void conditions_see_what_is_ahead_in_the_round(void **state)
{
    struct fixture f;
    struct fx_upload ahead, first, second, late;
    struct buf out = {0};
    int deleted = 1;
    struct slice key = SLICE_LIT("late");
    (void)state;
    filled(&f, 65536);
    assert_int_equal(fx_begin(&f, &ahead, "ahead", 0), 0);
    assert_int_equal(fx_begin(&f, &first, "new", 0), 0);
    assert_int_equal(fx_begin(&f, &late, "late", 0), 0);
    assert_int_equal(fx_begin(&f, &second, "new", 0), 0);
    first.put->c.cond.if_absent = second.put->c.cond.if_absent = true;
    put_commit(ahead.put, NULL);
    put_commit(first.put, NULL);
    put_commit(second.put, NULL);
    put_commit(late.put, NULL);
    assert_int_equal(store_delete(f.st, &key, 1, NULL, on_deleted, &deleted), 0);
    fx_pump(&f);
    assert_true(first.done && first.status == 0);
    assert_true(second.done && second.status == ZERR_PRECONDITION);
    assert_true(late.done && late.status == 0);
    assert_int_equal(deleted, 0);
    assert_int_equal(fx_get(&f, "late", &out), ZERR_NOT_FOUND);
    buf_finish(&out);
    fx_finish(&f);
}

/* -sync block: a stop syncs every block with something acknowledged in it, however many. */
static void a_flush_syncs_many_open_blocks(void **state)
{
    enum { N = 12 };
    static uint8_t bytes[3000];
    struct fixture f;
    struct fx_upload held[N];
    struct buf out = {0};
    char key[8];
    (void)state;
    fx_init(&f, 8192);
    f.cfg.sync = STORE_SYNC_BLOCK;
    assert_int_equal(fx_open(&f), 0);
    for (unsigned i = 0; i < N; i++) { /* each block is kept open by an upload in it */
        (void)snprintf(key, sizeof(key), "h%u", i);
        assert_int_equal(fx_begin(&f, &held[i], key, 4000), 0);
        (void)snprintf(key, sizeof(key), "k%u", i);
        fx_fill(bytes, 3000, i);
        assert_int_equal(fx_put(&f, key, slice_of(bytes, 3000), 0), 0);
    }
    f.st->flush_wanted = true;
    lane_kick(f.st);
    fx_pump(&f);
    assert_int_equal(f.st->n_flushed, N);
    fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    for (unsigned i = 0; i < N; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        fx_fill(bytes, 3000, i);
        assert_int_equal(fx_get(&f, key, &out), 0);
        assert_true(slice_eq(buf_slice(&out), slice_of(bytes, 3000)));
    }
    buf_finish(&out);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_under_both_names_stops_the_start),
        cmocka_unit_test(a_db_that_cannot_be_read_steps_aside),
        cmocka_unit_test(no_readable_db_stops_the_start),
        cmocka_unit_test(of_equal_dbs_the_successor_counts),
        cmocka_unit_test(an_unknown_feature_stops_the_start),
        cmocka_unit_test(somebody_elses_file_is_no_index),
        cmocka_unit_test(arguments_beyond_the_limits_are_refused),
        cmocka_unit_test(an_upload_is_given_up_while_it_waits_for_its_round),
        cmocka_unit_test(conditions_see_what_is_ahead_in_the_round),
        cmocka_unit_test(a_flush_syncs_many_open_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
