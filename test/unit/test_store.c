/* The store from outside: what is acknowledged is there, whatever ends the session. */
#include "support/store_rig.h"

static void an_object_is_there_after_each_kind_of_end(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 4096, 65535, 65536, 65537, 200000, 1048576, 3 << 20};
    for (int end = 0; end < 4; end++) {
        struct fixture f;
        fx_init(&f, 1 << 20);
        assert_int_equal(fx_open(&f), 0);
        char key[32];
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            (void)snprintf(key, sizeof(key), "key%zu", i);
            assert_int_equal(fx_put(&f, key, body_of(i, sizes[i]), 10000), 0);
            expect_body(&f, key, i, sizes[i]);
        }
        switch (end) {
        case 0:
            assert_int_equal(fx_stop(&f), 0);
            break;
        case 1:
            fx_kill(&f);
            break;
        case 2:
            fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
            break;
        case 3:
            fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
            fx_drop_index(&f);
            break;
        }
        assert_int_equal(fx_open(&f), 0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            (void)snprintf(key, sizeof(key), "key%zu", i);
            expect_body(&f, key, i, sizes[i]);
        }
        struct store_stats s;
        store_get_stats(f.st, &s);
        assert_int_equal(s.totals.objects, sizeof(sizes) / sizeof(sizes[0]));
        assert_int_equal(s.revision, sizeof(sizes) / sizeof(sizes[0]));
        assert_int_equal(fx_stop(&f), 0);
        uint64_t reads = vfs_mem_calls(f.vfs, MEM_READ);
        assert_int_equal(fx_open(&f), 0);
        reads = vfs_mem_calls(f.vfs, MEM_READ) - reads;
        assert_true(reads < 40); /* after a clean stop no block is looked at */
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
}

static void deletes_alone_survive_each_kind_of_end(void **state)
{
    (void)state;
    for (int end = 0; end < 3; end++) {
        struct fixture f;
        fx_init(&f, 0);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "a", body_of(1, 100), 0), 0);
        assert_int_equal(fx_put(&f, "b", body_of(2, 100), 0), 0);
        assert_int_equal(fx_stop(&f), 0);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_delete(&f, "a"), 0);
        assert_int_equal(fx_delete(&f, "nothing"), 0);
        if (end == 0) {
            assert_int_equal(fx_stop(&f), 0);
        } else if (end == 1) {
            fx_kill(&f);
        } else {
            fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
        }
        assert_int_equal(fx_open(&f), 0);
        expect_names(&f, "b\n");
        struct store_stats s;
        store_get_stats(f.st, &s);
        assert_int_equal(s.revision, 3); /* the delete of an absent name is no record */
        fx_finish(&f);
    }
}

static void a_copy_shares_the_body_and_outlives_it(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(1, 70000), 0), 0);
    assert_int_equal(fx_copy(&f, "a", "b"), 0);
    assert_int_equal(fx_copy(&f, "b", "c"), 0);
    struct store_stats s;
    store_get_stats(f.st, &s);
    assert_int_equal(s.totals.live_bytes, 70000);
    assert_int_equal(s.totals.name_bytes, 210000);
    assert_int_equal(fx_delete(&f, "a"), 0);
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "b\nc\n");
    expect_body(&f, "b", 1, 70000);
    assert_int_equal(fx_stop(&f), 0);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    expect_body(&f, "c", 1, 70000);
    fx_finish(&f);
}

static void attributes_come_back_byte_for_byte(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    struct attr meta[] = {{SLICE_LIT("X-Amz-Meta-A"), SLICE_LIT("  \"'\\<>|`%20  x")},
                          {SLICE_LIT("X-Amz-Meta-B"), SLICE_LIT("")}};
    struct attr sys[] = {{SLICE_LIT("Content-Type"), SLICE_LIT("text/x")}};
    struct put_spec spec = {
        .key = SLICE_LIT("k"), .size = 3, .meta = {meta, 2}, .sys = {sys, 1}, .mtime_ms = 12345};
    assert_int_equal(fx_put_spec(&f, &spec, SLICE_LIT("abc"), 0, NULL, NULL), 0);
    for (int i = 0; i < 2; i++) {
        struct reader *r;
        static const struct reader_ops none;
        int rc = reader_open(f.st, SLICE_LIT("k"), false, &none, NULL, &r);
        assert_int_equal(rc, 0); /* all of it is in the cache */
        assert_int_equal(reader_object(r)->mtime_ms, 12345);
        assert_int_equal(reader_meta(r).n, 2);
        assert_true(slice_eq(reader_meta(r).v[0].value, meta[0].value));
        assert_true(slice_eq(reader_meta(r).v[1].name, meta[1].name));
        assert_true(slice_eq(reader_sys(r).v[0].value, sys[0].value));
        reader_close(r);
        if (i == 0) {
            assert_int_equal(fx_stop(&f), 0);
            assert_int_equal(fx_open(&f), 0);
            struct buf out = {0};
            assert_int_equal(fx_get(&f, "k", &out), 0); /* opens the block */
            buf_finish(&out);
        }
    }
    fx_finish(&f);
}

static void a_wrong_md5_stores_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    static const uint8_t wrong[16] = {1};
    struct put_spec spec = {.key = SLICE_LIT("k"), .size = 300000};
    assert_int_equal(fx_put_spec(&f, &spec, body_of(1, 300000), 4096, wrong, NULL),
                     ZERR_BAD_DIGEST);
    spec.size = 10;
    assert_int_equal(fx_put_spec(&f, &spec, body_of(1, 10), 0, wrong, NULL), ZERR_BAD_DIGEST);
    expect_absent(&f, "k");
    assert_int_equal(fx_put(&f, "other", body_of(2, 10), 0), 0);
    assert_int_equal(fx_stop(&f), 0);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "other\n");
    fx_finish(&f);
}

static void an_aborted_upload_leaves_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 1 << 20);
    assert_int_equal(fx_open(&f), 0);
    struct fx_upload a, b;
    assert_int_equal(fx_begin(&f, &a, "a", 300000), 0);
    assert_int_equal(fx_begin(&f, &b, "b", 300000), 0);
    fx_write(&f, &a, body_of(1, 200000));
    fx_write(&f, &b, body_of(2, 200000));
    fx_pump(&f);
    assert_int_equal(fx_put(&f, "c", body_of(3, 1000), 0), 0);
    put_abort(a.put); /* in the middle of the block */
    put_abort(b.put);
    fx_pump(&f);
    assert_int_equal(fx_put(&f, "d", body_of(4, 1000), 0), 0);
    struct fx_upload e;
    assert_int_equal(fx_begin(&f, &e, "e", 200000), 0);
    fx_write(&f, &e, body_of(5, 150000));
    fx_pump(&f);
    put_abort(e.put); /* at the tail: cut off */
    fx_pump(&f);
    assert_int_equal(fx_put(&f, "g", body_of(6, 1000), 0), 0);
    expect_names(&f, "c\nd\ng\n");
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "c\nd\ng\n");
    expect_body(&f, "g", 6, 1000);
    expect_body(&f, "c", 3, 1000);
    struct store_stats s;
    store_get_stats(f.st, &s);
    assert_int_equal(s.torn, 0); /* all were void already */
    fx_finish(&f);
}

static void a_session_that_commits_nothing_leaves_no_new_file(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_stop(&f), 0);
    assert_null(vfs_mem_get(f.vfs, "db0000000000").ptr);
    assert_int_equal(fx_open(&f), 0);
    struct fx_upload a;
    assert_int_equal(fx_begin(&f, &a, "a", 300000), 0);
    fx_write(&f, &a, body_of(1, 200000));
    fx_pump(&f);
    put_abort(a.put);
    assert_int_equal(fx_stop(&f), 0);
    assert_null(vfs_mem_get(f.vfs, "open0000000000").ptr);
    assert_null(vfs_mem_get(f.vfs, "block0000000000").ptr);
    fx_finish(&f);
}

static void conditions_are_checked_against_what_is_published(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    struct put_spec spec = {.key = SLICE_LIT("k"), .size = 5, .cond = {.if_absent = true}};
    struct object obj;
    assert_int_equal(fx_put_spec(&f, &spec, SLICE_LIT("first"), 0, NULL, &obj), 0);
    assert_int_equal(fx_put_spec(&f, &spec, SLICE_LIT("other"), 0, NULL, NULL), ZERR_PRECONDITION);
    spec.cond = (struct condition){.if_match = true};
    assert_int_equal(fx_put_spec(&f, &spec, SLICE_LIT("other"), 0, NULL, NULL), ZERR_PRECONDITION);
    memcpy(spec.cond.md5, obj.md5, 16);
    assert_int_equal(fx_put_spec(&f, &spec, SLICE_LIT("other"), 0, NULL, NULL), 0);
    spec.key = SLICE_LIT("absent");
    assert_int_equal(fx_put_spec(&f, &spec, SLICE_LIT("other"), 0, NULL, NULL), ZERR_NOT_FOUND);
    /* Two at once: only one of them creates. */
    struct fx_upload a, b;
    struct put_spec once = {.key = SLICE_LIT("once"), .size = 0, .cond = {.if_absent = true}};
    (void)once;
    assert_int_equal(fx_begin(&f, &a, "x", 0), 0);
    assert_int_equal(fx_begin(&f, &b, "y", 0), 0);
    put_commit(a.put, NULL);
    put_commit(b.put, NULL);
    fx_pump(&f);
    assert_true(a.done && b.done && a.status == 0 && b.status == 0);
    expect_names(&f, "k\nx\ny\n");
    fx_finish(&f);
}

static void a_failed_sync_fails_the_round_and_leaves_no_ghost(void **state)
{
    (void)state;
    for (int end = 0; end < 2; end++) {
        struct fixture f;
        fx_init(&f, 0);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "before", body_of(1, 5000), 0), 0);
        vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
        assert_int_equal(fx_put(&f, "ghost", body_of(2, 5000), 0), ZERR_IO);
        expect_absent(&f, "ghost");
        expect_body(&f, "before", 1, 5000);
        assert_int_equal(fx_put(&f, "after", body_of(3, 5000), 0), 0);
        assert_false(f.fatal);
        if (end == 0) {
            assert_int_equal(fx_stop(&f), 0);
        } else {
            fx_kill(&f);
        }
        assert_int_equal(fx_open(&f), 0);
        expect_names(&f, "after\nbefore\n");
        expect_body(&f, "after", 3, 5000);
        expect_body(&f, "before", 1, 5000);
        assert_int_equal(fx_stop(&f), 0);
        fx_drop_index(&f);
        assert_int_equal(fx_open(&f), 0);
        expect_names(&f, "after\nbefore\n");
        fx_finish(&f);
    }
}

static void a_full_disk_refuses_and_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(1, 5000), 0), 0);
    vfs_mem_fail(f.vfs, MEM_WRITE, 1, ZERR_NO_SPACE, MEM_ONCE);
    assert_int_equal(fx_put(&f, "b", body_of(2, 5000), 0), ZERR_NO_SPACE);
    assert_int_equal(fx_put(&f, "c", body_of(3, 5000), 0), 0);
    vfs_mem_fail(f.vfs, MEM_WRITE, 1, ZERR_NO_SPACE, MEM_ONCE);
    assert_int_equal(fx_put(&f, "d", body_of(4, 500000), 1000), ZERR_NO_SPACE);
    assert_int_equal(fx_put(&f, "e", body_of(5, 500000), 1000), 0);
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "a\nc\ne\n");
    expect_body(&f, "e", 5, 500000);
    fx_finish(&f);
}

static void a_flush_that_fails_keeps_the_records(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 65536);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(1, 60000), 0), 0);
    /* The roll-over's flush fails at each of its calls in turn. */
    for (uint64_t n = 1; n < 12; n++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%02d", (int)n);
        int rc = fx_put(&f, key, body_of(n, 60000), 0);
        assert_true(rc == 0 || rc == ZERR_BUSY);
        vfs_mem_fail(f.vfs, MEM_CHANGES, n, ZERR_NO_SPACE, MEM_ONCE);
        (void)snprintf(key, sizeof(key), "m%02d", (int)n);
        rc = fx_put(&f, key, body_of(n, 60000), 0);
        vfs_mem_fail(f.vfs, 0, 0, 0, MEM_ONCE);
        vfs_mem_advance(f.vfs, 2000);
        store_tick(f.st);
        fx_pump(&f);
        if (rc == 0) {
            expect_body(&f, key, n, 60000);
        }
    }
    struct buf before = {0}, after = {0};
    assert_int_equal(fx_names(&f, &before), 0);
    (void)fx_stop(&f);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_names(&f, &after), 0);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    buf_finish(&before);
    buf_finish(&after);
    fx_finish(&f);
}

static void a_damaged_object_is_set_aside_and_comes_back_when_repaired(void **state)
{
    (void)state;
    struct fixture f;
    struct buf out = {0};
    fx_init(&f, 65536);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(1, 30000), 0), 0);
    assert_int_equal(fx_put(&f, "b", body_of(2, 30000), 0), 0);
    assert_int_equal(fx_copy(&f, "a", "copy"), 0);
    assert_int_equal(fx_stop(&f), 0);
    vfs_mem_flip(f.vfs, "block0000000000", 20000, 1);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_get(&f, "a", &out), ZERR_DAMAGED);
    assert_int_equal(fx_get(&f, "copy", &out), ZERR_DAMAGED);
    assert_int_equal(out.len, 0); /* not one wrong byte */
    expect_body(&f, "b", 2, 30000);
    expect_names(&f, "b\n");
    assert_non_null(strstr(f.notes, "zipkvverify"));
    assert_int_equal(fx_stop(&f), 0);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "b\n");
    assert_int_equal(fx_stop(&f), 0);
    vfs_mem_flip(f.vfs, "block0000000000", 20000, 1);
    assert_int_equal(fx_open(&f), 0);
    expect_names(&f, "a\nb\ncopy\n");
    expect_body(&f, "copy", 1, 30000);
    buf_finish(&out);
    fx_finish(&f);
}

static void many_small_members_are_rewritten_at_a_start(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 4096);
    assert_int_equal(fx_open(&f), 0);
    for (unsigned i = 0; i < 3600; i++) { /* each fills a block: a seal, a flush, a member */
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(fx_put(&f, key, body_of(i, 3000), 0), 0);
        if (i > 30) { /* sealed blocks may be elsewhere (I7) */
            (void)snprintf(key, sizeof(key), BLOCK_NAME_FMT, i - 10);
            assert_int_equal(f.vfs->ops->unlink(f.vfs, key), 0);
        }
    }
    assert_int_equal(fx_stop(&f), 0);
    size_t before = vfs_mem_get(f.vfs, "db0000000000").len;
    assert_true(before > 3500 * 150);
    assert_int_equal(fx_open(&f), 0);
    assert_null(vfs_mem_get(f.vfs, "db0000000000").ptr);
    assert_true(vfs_mem_get(f.vfs, "db0000000001").len < before / 2);
    expect_body(&f, "k7", 7, 3000);
    assert_int_equal(fx_put(&f, "last", body_of(1, 10), 0), 0);
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0);
    struct store_stats s;
    store_get_stats(f.st, &s);
    assert_false(s.index_rebuilt);
    assert_int_equal(s.revision, 3601);
    assert_int_equal(s.totals.objects, 3601);
    assert_int_equal(fx_stop(&f), 0);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    store_get_stats(f.st, &s);
    assert_int_equal(s.totals.objects, 3601);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_is_there_after_each_kind_of_end),
        cmocka_unit_test(deletes_alone_survive_each_kind_of_end),
        cmocka_unit_test(a_copy_shares_the_body_and_outlives_it),
        cmocka_unit_test(attributes_come_back_byte_for_byte),
        cmocka_unit_test(a_wrong_md5_stores_nothing),
        cmocka_unit_test(an_aborted_upload_leaves_nothing),
        cmocka_unit_test(a_session_that_commits_nothing_leaves_no_new_file),
        cmocka_unit_test(conditions_are_checked_against_what_is_published),
        cmocka_unit_test(a_failed_sync_fails_the_round_and_leaves_no_ghost),
        cmocka_unit_test(a_full_disk_refuses_and_goes_on),
        cmocka_unit_test(a_flush_that_fails_keeps_the_records),
        cmocka_unit_test(a_damaged_object_is_set_aside_and_comes_back_when_repaired),
        cmocka_unit_test(many_small_members_are_rewritten_at_a_start),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
