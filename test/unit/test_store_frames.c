/* What uploads and commits leave in blocks: room given up, cuts that fail, blocks that are elsewhere or
 * cannot be made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/scan.h"
#include "store/store_priv.h"
#include "support/store_calls.h"
#include "support/vfs_mem.h"

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
        cmocka_unit_test(an_upload_given_up_at_the_end_leaves_nothing),
        cmocka_unit_test(a_cut_that_fails_is_tried_again_and_hurts_nobody),
        cmocka_unit_test(a_void_that_fails_takes_no_room_from_those_who_came_meanwhile),
        cmocka_unit_test(an_object_whose_block_is_elsewhere_is_an_error_and_not_absent),
        cmocka_unit_test(a_block_that_cannot_be_made_fails_nobody_else),
        cmocka_unit_test(a_frame_given_up_unwritten_is_no_hole_when_a_later_one_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
