/* What must be on disk before what, and what a start may believe: one small test for each rule that
 * breaks in silence. (The bugs of test/mutants are caught here first.) The history's file has its own,
 * test_order_history.c. */
#include "store/scan.h"
#include "support/order_rig.h"

#define LARGE 300000 /* read piece by piece */

static void expect_said(const struct fixture *f, const char *text, bool wanted)
{
    if ((strstr(f->notes, text) != NULL) != wanted) {
        fail_msg("%s \"%s\" in: %s", wanted ? "no" : "there is", text, f->notes);
    }
}

/* Where the object's body is, in the file that has it. */
static struct place body_place(struct fixture *f, const char *key)
{
    struct object obj;
    assert_int_equal(store_lookup(f->st, slice_str(key), &obj), 0);
    return obj.body;
}

static void flip(struct fixture *f, struct place at)
{
    char name[FILE_NAME_BYTES];
    (void)snprintf(name, sizeof(name), OPEN_NAME_FMT, at.block);
    if (!has_file(f, name)) {
        (void)snprintf(name, sizeof(name), BLOCK_NAME_FMT, at.block);
    }
    vfs_mem_flip(f->vfs, name, at.off + 1, 0x10);
}

/* Another luck: what a failed sync leaves on the disk. */
static void start_with_luck(struct fixture *f, uint64_t seed)
{
    fx_init(f, 0);
    vfs_mem_destroy(f->vfs);
    f->vfs = vfs_mem_create(seed);
    assert_int_equal(fx_open(f), 0);
}

/* All its bytes handed over and committed, and nothing done for it yet. */
static void send(struct fixture *f, struct fx_upload *u, const char *key, size_t len)
{
    assert_int_equal(fx_begin(f, u, key, len), 0);
    fx_write(f, u, body_of((uint8_t)key[0], len));
    put_commit(u->put, NULL);
}

/* Commits of a and b in one round: they come together while another one runs. */
static void put_two(struct fixture *f, struct fx_upload u[2], size_t len)
{
    struct fx_upload first;
    send(f, &first, "0", 10);
    send(f, &u[0], "a", len);
    send(f, &u[1], "b", len);
    fx_pump(f);
    assert_true(first.done && u[0].done && u[1].done);
}

/* ---- before an answer ---- */

static void every_block_of_a_round_is_synced(void **state)
{
    struct fixture f;
    struct fx_upload u[2];
    (void)state;
    start(&f, 8192, STORE_SYNC_ACK);
    put_two(&f, u, 5000); /* they do not fit into one block */
    assert_true(u[0].status == 0 && u[1].status == 0);
    cut(&f);
    assert_int_equal(get(&f, "a"), 0);
    assert_int_equal(get(&f, "b"), 0);
    fx_finish(&f);
}

static void a_delete_is_synced(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    put(&f, "a", 100);
    assert_int_equal(fx_delete(&f, "a"), 0);
    cut(&f);
    expect_names(&f, "");
    fx_finish(&f);
}

static void no_block_before_the_history_is_on_disk(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    vfs_mem_fail(f.vfs, MEM_SYNC_DIR, 1, ZERR_IO, MEM_ONCE);
    assert_int_not_equal(fx_put(&f, "a", body_of('a', 100), 0), 0);
    assert_true(vfs_mem_failed(f.vfs) > 0);
    assert_false(has_file(&f, "open0000000000"));
    fx_finish(&f);
}

/* The number says: up to here everything is on disk. A torn body below it would be damage. Bodies of a
 * sector or two: the first is torn now and then, and the second whole. */
static void what_is_not_synced_is_not_called_durable(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 64; seed++) {
        struct fixture f;
        struct fx_upload u[2];
        start_with_luck(&f, seed);
        vfs_mem_fail(f.vfs, MEM_SYNC, 3, ZERR_IO, MEM_FROM_THEN_ON); /* db, first round, this one */
        put_two(&f, u, 700);
        assert_int_not_equal(u[0].status, 0);
        fx_power_cut(&f, MEM_CRASH_RANDOM, seed);
        again(&f);
        expect_said(&f, "damaged", false);
        fx_finish(&f);
    }
}

static void conditions_see_earlier_commits_of_their_round(void **state)
{
    struct fixture f;
    struct fx_upload first, second;
    const struct put_spec spec = {.key = SLICE_LIT("b"), .size = 10, .cond = {.if_absent = true}};
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    send(&f, &first, "a", 10); /* a round of its own; the others join in the next one */
    send(&f, &second, "b", 10);
    assert_int_equal(fx_put_spec(&f, &spec, body_of('c', 10), 0, NULL, NULL), ZERR_PRECONDITION);
    assert_true(second.done && second.status == 0);
    assert_int_equal(get(&f, "b"), 0);
    fx_finish(&f);
}

/* ---- -sync block ---- */

static void a_full_block_is_on_disk_with_sync_block(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 8192, STORE_SYNC_BLOCK);
    put(&f, "a", 5000);
    put(&f, "b", 5000);
    put(&f, "c", 5000); /* the blocks of a and b are full */
    cut(&f);
    assert_int_equal(get(&f, "a"), 0);
    assert_int_equal(get(&f, "b"), 0);
    fx_finish(&f);
}

static void the_history_names_only_what_is_synced(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 8192, STORE_SYNC_BLOCK);
    put(&f, "a", 500);
    put(&f, "b", 9000); /* its own block is sealed, and the flush names a in the open one, too */
    cut(&f);
    assert_int_equal(get(&f, "a"), 0);
    assert_int_equal(get(&f, "b"), 0);
    expect_said(&f, "damaged", false);
    fx_finish(&f);
}

static void a_kill_loses_nothing_with_sync_block(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0, STORE_SYNC_BLOCK);
    put(&f, "a", 5000);
    fx_kill(&f);
    again(&f);
    assert_int_equal(get(&f, "a"), 0);
    cut(&f); /* what a start has shown stays */
    assert_int_equal(get(&f, "a"), 0);
    fx_finish(&f);
}

/* ---- failed syncs ---- */

/* After a failed sync the page cache shows what the disk does not have. */
static void a_start_reads_the_disk_and_not_the_cache(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fixture f;
        struct buf seen = {0}, later = {0};
        start_with_luck(&f, seed);
        put(&f, "a", 100);
        /* No block can be made either that would say: void. */
        vfs_mem_fail(f.vfs, MEM_SYNC | MEM_CREATE, 1, ZERR_IO, MEM_FROM_THEN_ON);
        assert_int_not_equal(fx_put(&f, "b", body_of('b', seed * 100), 0), 0);
        fx_kill(&f);
        vfs_mem_fail(f.vfs, MEM_SYNC, 0, 0, MEM_ONCE);
        again(&f);
        assert_int_equal(fx_names(&f, &seen), 0);
        cut(&f);
        assert_int_equal(fx_names(&f, &later), 0);
        assert_true(slice_eq(buf_slice(&seen), buf_slice(&later)));
        assert_int_equal(get(&f, "a"), 0);
        assert_int_equal(get(&f, "b"), later.len > 2 ? 0 : ZERR_NOT_FOUND); /* whole or absent */
        buf_finish(&seen);
        buf_finish(&later);
        fx_finish(&f);
    }
}

/* What the disk made of a failed round, all of it perhaps, never counts. */
static void a_failed_round_never_comes_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fixture f;
        start_with_luck(&f, seed);
        put(&f, "a", 100);
        vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
        assert_int_equal(fx_put(&f, "b", body_of('b', seed * 20), 0), ZERR_IO);
        cut(&f);
        expect_names(&f, "a\n");
        assert_int_equal(fx_stop(&f), 0);
        fx_drop_index(&f);
        again(&f);
        expect_names(&f, "a\n");
        fx_finish(&f);
    }
}

/* ---- the blocks' files ---- */

static void a_block_s_number_is_used_once(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 4096, STORE_SYNC_ACK);
    put(&f, "a", 3000);
    put(&f, "b", 3000);
    assert_int_equal(fx_stop(&f), 0);
    assert_true(has_file(&f, "block0000000001"));
    /* A sealed block may be elsewhere. */
    assert_int_equal(f.vfs->ops->unlink(f.vfs, "block0000000001"), 0);
    again(&f);
    put(&f, "c", 3000);
    assert_true(has_file(&f, "open0000000002"));
    assert_false(has_file(&f, "open0000000001") || has_file(&f, "block0000000001"));
    fx_finish(&f);
}

/* ---- damage in an unsealed block ---- */

static void damage_below_what_was_durable_is_not_torn(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    put(&f, "k", 200);
    put(&f, "k", 3000);
    put(&f, "x", 100); /* says that the one before is on disk */
    struct place at = body_place(&f, "k");
    fx_kill(&f);
    flip(&f, at);
    again(&f);
    expect_said(&f, "damaged", true);
    assert_int_equal(get(&f, "k"), ZERR_DAMAGED); /* and not the older version */
    expect_names(&f, "x\n");
    fx_finish(&f);
}

static void a_copy_counts_only_with_its_body(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        struct fixture f;
        struct object obj;
        start(&f, 0, STORE_SYNC_ACK);
        put(&f, "a", 3000);
        assert_int_equal(fx_copy(&f, "a", "b"), 0);
        assert_int_equal(store_lookup(f.st, SLICE_LIT("a"), &obj), 0);
        fx_kill(&f);
        if (gone) { /* head and record */
            for (uint64_t off = obj.frame.off; off < obj.body.off; off++) {
                vfs_mem_flip(f.vfs, "open0000000000", off, 0xff);
            }
        } else {
            flip(&f, obj.body);
        }
        fx_drop_index(&f);
        again(&f);
        expect_names(&f, "");
        fx_finish(&f);
    }
}

static void damage_that_the_history_knows_is_marked(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 8192, STORE_SYNC_ACK);
    put(&f, "a", 5000);
    put(&f, "b", 5000); /* a's block is sealed, and both are in the history */
    struct place at = body_place(&f, "b");
    fx_kill(&f);
    assert_true(has_file(&f, "open0000000001"));
    flip(&f, at);
    again(&f);
    expect_names(&f, "a\n");
    fx_finish(&f);
}

static int expect_settled(void *user, const struct scan_frame *f)
{
    (void)user;
    assert_true(f->verdict == SCAN_VALID || f->verdict == SCAN_VOID);
    return 0;
}

/* I5, and it must be on disk before the block has its new name there. */
static void a_block_that_recovery_seals_is_settled_on_disk(void **state)
{
    struct fixture f;
    struct fx_upload u;
    struct vfs_file *file;
    struct scan_result result;
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    put(&f, "a", 100);
    assert_int_equal(fx_begin(&f, &u, "never", 9000), 0);
    fx_write(&f, &u, body_of('n', 5000));
    fx_pump(&f);
    put(&f, "b", 100);
    fx_power_cut(&f, MEM_CRASH_EVERYTHING, 1); /* the upload's owner is gone as well */
    again(&f);
    fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
    assert_int_equal(f.vfs->ops->open(f.vfs, "block0000000000", VFS_READ, &file), 0);
    assert_int_equal(scan_block(file, 0, SCAN_BODIES, expect_settled, NULL, &result), 0);
    f.vfs->ops->close(file);
    assert_int_equal(result.end, result.file_len);
    again(&f);
    expect_names(&f, "a\nb\n");
    fx_finish(&f);
}

/* ---- the index ---- */

static void copy_index(struct fixture *f, struct buf *keep, bool back)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME, f->dir);
    if (back) {
        fx_drop_index(f);
    }
    FILE *file = fopen(path, back ? "wb" : "rb");
    assert_non_null(file);
    if (back) {
        assert_int_equal(fwrite(keep->ptr, 1, keep->len, file), keep->len);
    } else {
        buf_reset(keep);
        assert_int_equal(buf_reserve(keep, 4 << 20), 0);
        keep->len = fread(keep->ptr, 1, keep->cap, file);
        assert_true(keep->len > 0 && keep->len < keep->cap);
    }
    assert_int_equal(fclose(file), 0);
}

static void an_index_ahead_of_the_disk_is_made_anew(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0, STORE_SYNC_BLOCK);
    put(&f, "a", 100);
    assert_int_equal(fx_stop(&f), 0);
    again(&f);
    put(&f, "b", 100);
    cut(&f); /* the index is no part of it and has b */
    expect_names(&f, "a\n");
    fx_finish(&f);
}

static void an_index_of_a_lost_session_is_made_anew(void **state)
{
    struct fixture f;
    struct buf keep = {0};
    (void)state;
    start(&f, 0, STORE_SYNC_BLOCK);
    put(&f, "a", 100);
    assert_int_equal(fx_stop(&f), 0);
    again(&f);
    put(&f, "b", 100);
    fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
    copy_index(&f, &keep, false);
    again(&f);
    put(&f, "c", 100); /* the same revision */
    fx_kill(&f);
    copy_index(&f, &keep, true);
    again(&f);
    expect_names(&f, "a\nc\n");
    buf_finish(&keep);
    fx_finish(&f);
}

static void an_index_of_another_store_is_made_anew(void **state)
{
    struct fixture f;
    struct buf keep = {0};
    uint8_t id[STORE_ID_BYTES], other[STORE_ID_BYTES];
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    put(&f, "a", 100);
    assert_int_equal(fx_stop(&f), 0);
    the_store_id(&f, id);
    copy_index(&f, &keep, false);
    fx_finish(&f);
    fx_init(&f, 0);
    assert_int_equal(f.vfs->ops->random(f.vfs, other, sizeof(other)), 0); /* not the same again */
    again(&f);
    put(&f, "b", 100);
    assert_int_equal(fx_stop(&f), 0);
    the_store_id(&f, other);
    assert_memory_not_equal(id, other, sizeof(id));
    copy_index(&f, &keep, true);
    again(&f);
    expect_names(&f, "b\n");
    buf_finish(&keep);
    fx_finish(&f);
}

/* ---- reading ---- */

static void a_piece_is_checked_before_it_is_sent(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0, STORE_SYNC_ACK);
    put(&f, "a", LARGE);
    struct place at = body_place(&f, "a");
    at.off += 3 * (uint64_t)PIECE_BYTES;
    flip(&f, at);
    assert_int_equal(get(&f, "a"), ZERR_DAMAGED);
    fx_pump(&f);
    expect_names(&f, "");
    fx_finish(&f);
}

static void an_error_of_the_device_is_no_damage(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct fixture f;
        start(&f, 0, STORE_SYNC_ACK);
        put(&f, "a", LARGE);
        vfs_mem_fail(f.vfs, MEM_READ, nth, ZERR_IO, MEM_ONCE);
        int rc = get(&f, "a");
        bool failed = vfs_mem_failed(f.vfs) > 0;
        assert_true(rc == 0 || (failed && rc == ZERR_IO));
        vfs_mem_fail(f.vfs, MEM_READ, 0, 0, MEM_ONCE);
        fx_pump(&f);
        expect_names(&f, "a\n");
        assert_int_equal(get(&f, "a"), 0);
        fx_finish(&f);
        if (!failed) {
            assert_true(nth > 2);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_of_a_round_is_synced),
        cmocka_unit_test(a_delete_is_synced),
        cmocka_unit_test(no_block_before_the_history_is_on_disk),
        cmocka_unit_test(what_is_not_synced_is_not_called_durable),
        cmocka_unit_test(conditions_see_earlier_commits_of_their_round),
        cmocka_unit_test(a_full_block_is_on_disk_with_sync_block),
        cmocka_unit_test(the_history_names_only_what_is_synced),
        cmocka_unit_test(a_kill_loses_nothing_with_sync_block),
        cmocka_unit_test(a_start_reads_the_disk_and_not_the_cache),
        cmocka_unit_test(a_failed_round_never_comes_back),
        cmocka_unit_test(a_block_s_number_is_used_once),
        cmocka_unit_test(damage_below_what_was_durable_is_not_torn),
        cmocka_unit_test(a_copy_counts_only_with_its_body),
        cmocka_unit_test(damage_that_the_history_knows_is_marked),
        cmocka_unit_test(a_block_that_recovery_seals_is_settled_on_disk),
        cmocka_unit_test(an_index_ahead_of_the_disk_is_made_anew),
        cmocka_unit_test(an_index_of_a_lost_session_is_made_anew),
        cmocka_unit_test(an_index_of_another_store_is_made_anew),
        cmocka_unit_test(a_piece_is_checked_before_it_is_sent),
        cmocka_unit_test(an_error_of_the_device_is_no_damage),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
