/* Sessions that end at any moment, and what the next start makes of what they leave. */
#include "support/store_rig.h"

/* Killed at every change to the disk: what was acknowledged is there, the rest whole or absent, and
 * recovering twice gives the same. */
static void sweep(int mode, void (*work)(struct fixture *, unsigned *acked))
{
    for (uint64_t n = 1; n < 2000; n++) {
        struct fixture f;
        unsigned acked = 0;
        fx_init(&f, 16384);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "base", body_of(99, 3000), 0), 0);
        vfs_mem_fail(f.vfs, MEM_CHANGES, n, ZERR_IO, MEM_FROM_THEN_ON);
        work(&f, &acked);
        bool untouched = vfs_mem_failed(f.vfs) == 0;
        vfs_mem_fail(f.vfs, 0, 0, 0, MEM_ONCE);
        fx_power_cut(&f, mode, n);
        for (int again = 0; again < 2; again++) {
            if (again == 1 && n % 3 == 0) {
                fx_drop_index(&f);
            }
            if (fx_open(&f) != 0) {
                print_error("cut at change %d: %s\n", (int)n, f.info.text);
                fail();
            }
            expect_body(&f, "base", 99, 3000);
            for (unsigned i = 0; i < 8; i++) {
                char key[16];
                struct buf out = {0};
                (void)snprintf(key, sizeof(key), "w%u", i);
                int rc = fx_get(&f, key, &out);
                if ((acked & (1u << i)) != 0 && rc != 0) {
                    print_error("cut at change %d: %s was acknowledged: %d\n", (int)n, key, rc);
                    fail();
                }
                if (rc == 0) {
                    assert_int_equal(out.len, 1000 + 3000 * i);
                    assert_memory_equal(out.ptr, body_of(i, out.len).ptr, out.len);
                }
                if ((acked & (0x100u << i)) != 0) {
                    assert_int_equal(rc, ZERR_NOT_FOUND);
                }
                assert_true(rc == 0 || rc == ZERR_NOT_FOUND);
                buf_finish(&out);
            }
            fx_kill(&f);
        }
        fx_finish(&f);
        if (untouched) {
            assert_true(n > 20);
            return;
        }
    }
    fail();
}

static void work_puts(struct fixture *f, unsigned *acked)
{
    for (unsigned i = 0; i < 8; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "w%u", i);
        size_t len = 1000 + 3000 * i;
        if (fx_put(f, key, body_of(i, len), 900) == 0) {
            *acked |= 1u << i;
        }
        if (i == 5) { /* a delete that is not acknowledged may have happened or not */
            *acked = (*acked & ~4u) | (fx_delete(f, "w2") == 0 ? 0x400 : 0);
        }
    }
}

/* Two blocks drain at once: an upload in each of two older blocks while a third is being filled. */
static void work_draining(struct fixture *f, unsigned *acked)
{
    struct fx_upload a, b;
    if (fx_begin(f, &a, "w1", 4000) != 0) {
        return;
    }
    fx_write(f, &a, body_of(1, 100));
    if (fx_put(f, "w4", body_of(4, 13000), 0) == 0) {
        *acked |= 1u << 4;
    }
    if (a.done || fx_begin(f, &b, "w2", 7000) != 0) {
        if (!a.done) {
            put_abort(a.put);
        }
        return;
    }
    uint8_t rest[7000];
    fx_write(f, &b, body_of(2, 200));
    if (fx_put(f, "w5", body_of(5, 16000), 0) == 0) {
        *acked |= 1u << 5;
    }
    if (!b.done) {
        memcpy(rest, body_of(2, 7000).ptr, 7000);
        fx_write(f, &b, slice_of(rest + 200, 6800));
        put_commit(b.put, NULL);
    }
    fx_pump(f);
    if (!a.done) {
        memcpy(rest, body_of(1, 4000).ptr, 4000);
        fx_write(f, &a, slice_of(rest + 100, 3900));
        put_commit(a.put, NULL);
    }
    fx_pump(f);
    for (int i = 0; i < 20 && !(a.done && b.done); i++) {
        vfs_mem_advance(f->vfs, 1000);
        store_tick(f->st);
        fx_pump(f);
    }
    if (!a.done) {
        put_abort(a.put);
    } else if (a.status == 0) {
        *acked |= 1u << 1;
    }
    if (!b.done) {
        put_abort(b.put);
    } else if (b.status == 0) {
        *acked |= 1u << 2;
    }
    fx_pump(f);
}

static void killed_anywhere_in_a_session_of_puts(void **state)
{
    (void)state;
    sweep(MEM_CRASH_EVERYTHING, work_puts);
    sweep(MEM_CRASH_SYNCED, work_puts);
    sweep(MEM_CRASH_RANDOM, work_puts);
}

static void killed_anywhere_while_two_blocks_drain(void **state)
{
    (void)state;
    sweep(MEM_CRASH_EVERYTHING, work_draining);
    sweep(MEM_CRASH_SYNCED, work_draining);
    sweep(MEM_CRASH_RANDOM, work_draining);
}

static void a_db_torn_at_every_byte_loses_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 16384);
    assert_int_equal(fx_open(&f), 0);
    for (unsigned i = 0; i < 8; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "w%u", i);
        assert_int_equal(fx_put(&f, key, body_of(i, 5000), 0), 0);
    }
    fx_kill(&f); /* flushed when blocks were sealed; the last is open */
    struct slice db = vfs_mem_get(f.vfs, "db0000000000");
    uint8_t *whole = malloc(db.len);
    size_t len = db.len;
    memcpy(whole, db.ptr, len);
    struct vfs *image = f.vfs;
    unsigned opened = 0;
    for (size_t cut = 0; cut < len; cut++) {
        f.vfs = vfs_mem_crash(image, MEM_CRASH_EVERYTHING, 1);
        vfs_mem_put(f.vfs, "db0000000000", slice_of(whole, cut));
        fx_drop_index(&f);
        if (fx_open(&f) == 0) { /* at least the first member is whole */
            opened++;
            struct store_stats s;
            store_get_stats(f.st, &s);
            /* What the rest of the file said is found in the blocks it named. */
            assert_int_equal(s.revision, 8);
            expect_body(&f, "w0", 0, 5000);
            expect_body(&f, "w7", 7, 5000);
            fx_kill(&f);
        } else {
            assert_string_not_equal(f.info.text, "");
        }
        vfs_mem_destroy(f.vfs);
    }
    assert_true(opened > len / 2);
    f.vfs = image;
    free(whole);
    fx_drop_index(&f);
    fx_finish(&f);
}

/* The first sync of a file after a crash may report write-back that failed before it, once. */
static void a_start_survives_the_news_of_writes_lost_before_it(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) { /* of the db, of the unsealed block */
        struct fixture f;
        struct fx_upload up;
        struct buf out = {0};
        fx_init(&f, 1 << 20);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "acknowledged", SLICE_LIT("body"), 0), 0);
        assert_int_equal(fx_begin(&f, &up, "half", 300000), 0);
        uint8_t *half = calloc(1, 200000);
        assert_non_null(half);
        fx_write(&f, &up, slice_of(half, 200000));
        free(half);
        fx_pump(&f);
        fx_kill(&f);
        vfs_mem_fail(f.vfs, MEM_SYNC, n, ZERR_IO, MEM_ONCE);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(vfs_mem_failed(f.vfs), 1);
        assert_int_equal(fx_get(&f, "acknowledged", &out), 0);
        assert_true(slice_eq(buf_slice(&out), SLICE_LIT("body")));
        assert_int_equal(fx_get(&f, "half", &out), ZERR_NOT_FOUND);
        buf_finish(&out);
        fx_power_cut(&f, MEM_CRASH_SYNCED, n);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_get(&f, "acknowledged", &out), 0);
        buf_finish(&out);
        assert_int_equal(fx_stop(&f), 0);
        fx_finish(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_anywhere_in_a_session_of_puts),
        cmocka_unit_test(killed_anywhere_while_two_blocks_drain),
        cmocka_unit_test(a_db_torn_at_every_byte_loses_nothing),
        cmocka_unit_test(a_start_survives_the_news_of_writes_lost_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
