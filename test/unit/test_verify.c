/* Checking a directory: what is right, what is not, marks set and taken away, a running server. */
#include "tools/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/num.h"
#include "store/rebuild.h"
#include "support/store_dir.h"
#include "tools/done.h"
#include "tools/rebase.h"

static struct verify_result res;
static char *out;

static int verify(const struct store_dir *d)
{
    struct verify_options o = {.dir = d->path};
    struct zerr_info info = {0};
    free(out);
    capture_begin();
    int rc = verify_run(&o, &res, &info);
    out = capture_end();
    return rc;
}

#define BIG 200000u /* four pieces */

/* a, b, c in block 0; a's body has a second name; d, e and a dead f in block 1. Stopped. */
static void make(struct store_dir *d)
{
    char *big = calloc(1, BIG);
    assert_non_null(big);
    memset(big, 'b', BIG);
    store_dir_init(d);
    store_dir_open(d, 1 << 20);
    store_dir_put(d, "a", "aaaaaaaa", 8);
    store_dir_put(d, "b", big, BIG);
    store_dir_copy(d, "a", "c");
    store_dir_stop(d);
    store_dir_open(d, 1 << 20);
    store_dir_put(d, "d", "dddd", 4);
    store_dir_put(d, "f", "ffff", 4);
    store_dir_put(d, "e", "", 0);
    store_dir_delete(d, "f");
    store_dir_stop(d);
    free(big);
}

static struct object lookup(struct store_dir *d, const char *key)
{
    struct object o;
    store_dir_open(d, 1 << 20);
    assert_int_equal(store_lookup(d->store, slice_str(key), &o), 0);
    store_dir_stop(d);
    return o;
}

static bool is_marked(struct store_dir *d, const char *key)
{
    struct index *ix = NULL;
    struct object o;
    char path[512];
    store_dir_file(d, INDEX_NAME, path);
    assert_int_equal(index_open(path, INDEX_READER, &ix, NULL), 0);
    assert_int_equal(index_lookup(ix, slice_str(key), &o), 0);
    index_close(ix);
    return o.damaged;
}

static void nothing_is_wrong_with_a_stopped_store(void **state)
{
    (void)state;
    struct store_dir d;
    make(&d);
    assert_int_equal(verify(&d), 0);
    assert_string_equal(out, "");
    assert_true(res.locked && res.index_checked);
    assert_int_equal(res.blocks, 2);
    assert_int_equal(res.objects, 5);
    assert_int_equal(res.revisions, 7);
    assert_int_equal(res.frames, 7);
    assert_int_equal(res.live_bytes, 8 + BIG + 4);
    assert_int_equal(res.body_bytes, 8 + BIG + 4 + 4);
    assert_int_equal(res.bytes_checked, res.body_bytes);
    assert_int_equal(res.unchecked, 0);
    store_dir_finish(&d);
}

static void the_original_s_directories_are_right_but_unchecked(void **state)
{
    (void)state;
    struct store_dir d;
    store_dir_init_copy(&d, TEST_DIR "/golden/many-blocks");
    assert_int_equal(verify(&d), 0);
    assert_true(res.unchecked > 0);
    assert_int_equal(res.objects, 156);
    assert_false(store_dir_has(&d, INDEX_NAME)); /* none is made */
    store_dir_cut(&d, "block0000000003", 100);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "behind the end of its block"));
    store_dir_unlink(&d, "block0000000003");
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "its block is missing"));
    store_dir_finish(&d);
}

static void a_known_md5_of_the_original_s_bodies_is_checked(void **state)
{
    (void)state;
    struct store_dir d;
    struct buf body = {0};
    struct object obj;
    char name[FILE_NAME_BYTES];
    store_dir_init_copy(&d, TEST_DIR "/golden/one-block");
    store_dir_open(&d, 1 << 20);
    assert_int_equal(store_dir_get(&d, slice_str("s3ql_data_1"), &body, NULL, &obj), 0);
    store_dir_stop(&d);
    assert_int_equal(verify(&d), 0);
    uint64_t unchecked = res.unchecked;
    snprintf(name, sizeof name, BLOCK_NAME_FMT, obj.body.block);
    store_dir_flip(&d, name, obj.body.off);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "\"s3ql_data_1\": its bytes do not match its MD5"));
    assert_int_equal(res.unchecked, unchecked);
    assert_true(is_marked(&d, "s3ql_data_1"));
    buf_finish(&body);
    store_dir_finish(&d);
}

static void a_wrong_piece_is_found_marked_and_cleared_when_right_again(void **state)
{
    (void)state;
    struct store_dir d;
    make(&d);
    struct object b = lookup(&d, "b");
    assert_int_equal(b.body.block, 0);
    store_dir_flip(&d, "block0000000000", b.body.off + 2 * PIECE_BYTES + 7);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "(piece 2): \"b\""));
    assert_int_equal(res.places_damaged, 1);
    assert_int_equal(res.names_damaged, 1);
    assert_int_equal(res.marked, 1);
    assert_true(is_marked(&d, "b"));
    assert_false(is_marked(&d, "a"));
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_int_equal(res.marked, 0); /* is marked already */
    store_dir_flip(&d, "block0000000000", b.body.off + 2 * PIECE_BYTES + 7);
    assert_int_equal(verify(&d), 0);
    assert_int_equal(res.cleared, 1);
    assert_false(is_marked(&d, "b"));
    store_dir_finish(&d);
}

static void all_names_of_a_damaged_body_are_found(void **state)
{
    (void)state;
    struct store_dir d;
    make(&d);
    struct object a = lookup(&d, "a");
    store_dir_flip(&d, "block0000000000", a.body.off);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_int_equal(res.names_damaged, 2);
    assert_non_null(strstr(out, "damaged: \"a\""));
    assert_non_null(strstr(out, "damaged: \"c\""));
    store_dir_finish(&d);
}

static void any_flipped_byte_of_a_block_is_found(void **state)
{
    (void)state;
    struct store_dir d;
    make(&d);
    uint64_t size = store_dir_file_size(&d, "block0000000001");
    uint64_t unseen = 0;
    struct vfs *vfs;
    struct vfs_file *lock;
    assert_int_equal(vfs_posix_open(d.path, &vfs, NULL), 0);
    assert_int_equal(vfs->ops->lock(vfs, LOCK_NAME, "test", &lock, NULL), 0); /* no marks: faster */
    for (uint64_t off = 0; off < size; off++) {
        store_dir_flip(&d, "block0000000001", off);
        unseen += verify(&d) != ZERR_DAMAGED;
        store_dir_flip(&d, "block0000000001", off);
    }
    assert_true(unseen < 4 * FRAME_ALIGN); /* padding behind frames has no sum and no use */
    vfs->ops->close(lock);
    vfs_posix_close(vfs);
    assert_int_equal(verify(&d), 0);
    store_dir_finish(&d);
}

static void a_lost_record_and_a_missing_block_are_found(void **state)
{
    (void)state;
    struct store_dir d;
    make(&d);
    struct object dd = lookup(&d, "d");
    store_dir_flip(&d, "block0000000001", dd.frame.off + FRAME_HEAD_BYTES + 3);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "damaged: \"d\": its record is damaged"));
    assert_int_equal(res.names_damaged, 1);
    store_dir_flip(&d, "block0000000001", dd.frame.off); /* no head there any more */
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "damaged: \"d\": garbage where a frame should be"));
    store_dir_unlink(&d, "block0000000001");
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "damaged: \"d\": its block is missing"));
    assert_non_null(strstr(out, "damaged: \"e\": its block is missing"));
    assert_int_equal(res.names_damaged, 2);
    store_dir_finish(&d);
}

static void a_history_that_lacks_records_of_the_blocks_is_found(void **state)
{
    (void)state;
    struct store_dir d, older;
    char from[512], to[1100];
    store_dir_init(&d);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "a", "a", 1);
    store_dir_stop(&d);
    store_dir_init_copy(&older, d.path);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "b", "b", 1);
    store_dir_stop(&d);
    /* A db of other contents with the same numbers: what it says of a block is not in the block. */
    store_dir_open(&older, 1 << 20);
    store_dir_put(&older, "other", "other", 5);
    store_dir_stop(&older);
    store_dir_file(&older, "db0000000000", from);
    snprintf(to, sizeof to, "cp '%s' '%s'", from, d.path);
    assert_int_equal(system(to), 0);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "disagree"));
    assert_non_null(strstr(out, "damaged: \"other\": its record is not where the history says"));
    store_dir_finish(&older);
    store_dir_finish(&d);
}

static void a_damaged_part_of_the_history_is_found_and_leaves_the_index_alone(void **state)
{
    (void)state;
    struct store_dir d;
    struct rebase_options o = {.from = d.path, .to = "/nonexistent/target"};
    struct rebase_result copied;
    store_dir_init(&d);
    uint64_t ends[3];
    for (int i = 0; i < 3; i++) {
        store_dir_open(&d, 1 << 20);
        store_dir_put(&d, (const char *[]){"a", "b", "c"}[i], "1", 1);
        store_dir_stop(&d);
        ends[i] = store_dir_file_size(&d, "db0000000000");
    }
    store_dir_flip(&d, "db0000000000", (ends[0] + ends[1]) / 2);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "damaged: history"));
    assert_int_equal(res.names_damaged, 0);
    assert_int_equal(res.objects, 2);
    assert_true(store_dir_has(&d, INDEX_NAME));
    assert_int_equal(rebase_run(&o, &copied, NULL), ZERR_CORRUPT); /* would lack objects */
    struct rebuild_config cfg = {0};
    struct rebuild_result rebuilt;
    assert_int_equal(vfs_posix_open(d.path, &cfg.vfs, NULL), 0);
    assert_int_equal(rebuild_history(&cfg, &rebuilt, NULL), 0);
    vfs_posix_close(cfg.vfs);
    assert_int_equal(rebuilt.records, 3);
    assert_int_equal(verify(&d), 0);
    assert_int_equal(res.objects, 3);
    store_dir_finish(&d);
}

static void an_index_that_says_something_else_is_removed(void **state)
{
    (void)state;
    struct store_dir d;
    struct index *ix = NULL;
    char path[512];
    make(&d);
    store_dir_file(&d, INDEX_NAME, path);
    assert_int_equal(index_open(path, INDEX_WRITER, &ix, NULL), 0);
    assert_int_equal(index_begin(ix), 0);
    struct record r = {.op = RECORD_DELETE, .key = SLICE_LIT("a")};
    assert_int_equal(index_apply(ix, &r, false), 0);
    assert_int_equal(index_commit(ix), 0);
    index_close(ix);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "look-up index"));
    assert_int_equal(res.names_damaged, 0);
    assert_false(store_dir_has(&d, INDEX_NAME));
    assert_int_equal(verify(&d), 0);
    assert_false(res.index_checked);
    store_dir_finish(&d);
}

static void while_a_server_runs_it_only_reads(void **state)
{
    (void)state;
    struct store_dir d;
    make(&d);
    struct object b = lookup(&d, "b");
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "g", "gggg", 4);
    store_dir_delete(&d, "e");
    assert_int_equal(verify(&d), 0);
    assert_string_equal(out, "");
    assert_false(res.locked || res.index_checked);
    assert_int_equal(res.objects, 5);
    assert_int_equal(res.unflushed, 2);
    store_dir_flip(&d, "block0000000000", b.body.off);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_int_equal(res.names_damaged, 1);
    assert_int_equal(res.marked, 0);
    assert_false(is_marked(&d, "b"));
    store_dir_finish(&d);
}

static void after_a_crash_what_was_not_finished_is_no_damage(void **state)
{
    (void)state;
    struct store_dir d;
    static const struct put_ops ops = {0};
    struct put_spec spec = {.key = SLICE_LIT("unfinished"), .size = 1000};
    struct put *put;
    make(&d);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "g", "gggg", 4);
    assert_int_equal(put_begin(d.store, &spec, &ops, NULL, &put), 0);
    store_dir_put(&d, "h", "hhhh", 4);
    store_dir_crash(&d);
    assert_int_equal(verify(&d), 0);
    assert_int_equal(res.objects, 7);
    assert_int_equal(res.unflushed, 2);
    store_dir_open(&d, 1 << 20);
    store_dir_stop(&d);
    assert_int_equal(verify(&d), 0);
    assert_int_equal(res.unflushed, 0);
    store_dir_finish(&d);
}

static int free_output(void **state)
{
    (void)state;
    free(out);
    out = NULL;
    return 0;
}

static void multipart_objects_are_checked_part_by_part(void **state)
{
    (void)state;
    struct store_dir d;
    static uint8_t bytes[150000];
    store_dir_init(&d);
    store_dir_open(&d, 60000);
    store_dir_multipart(&d, "m", bytes, sizeof(bytes), 70000);
    store_dir_copy(&d, "m", "copy");
    uint64_t going = store_dir_begin(&d, "going");
    assert_int_not_equal(going, 0);
    store_dir_stop(&d);
    assert_int_equal(verify(&d), 0);
    assert_string_equal(out, "");
    assert_true(res.index_checked);
    assert_int_equal(res.objects, 2);
    assert_int_equal(res.revisions, 2);
    store_dir_flip(&d, "block0000000002", 30000);
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "\"m\": a piece of its body"));
    assert_non_null(strstr(out, "\"copy\": a piece of its body"));
    assert_true(is_marked(&d, "m") && is_marked(&d, "copy"));
    store_dir_flip(&d, "block0000000002", 30000);
    assert_int_equal(verify(&d), 0);
    assert_false(is_marked(&d, "m"));
    store_dir_unlink(&d, "block0000000002");
    assert_int_equal(verify(&d), ZERR_DAMAGED);
    assert_non_null(strstr(out, "one of its parts is missing"));
    store_dir_finish(&d);
}

/* ---- the index as a file ---- */

static void a_damaged_page_of_the_index_is_found_wherever_it_is(void **state)
{
    (void)state;
    struct store_dir d;
    make(&d);
    uint64_t size = store_dir_file_size(&d, INDEX_NAME);
    assert_true(size >= 5 * 4096);
    for (uint64_t at = 0; at < size; at += 4096) {
        store_dir_flip(&d, INDEX_NAME, at + 4000);
        assert_int_equal(verify(&d), ZERR_DAMAGED);
        assert_non_null(strstr(out, "damaged: the look-up index"));
        assert_int_equal(res.names_damaged, 0);
        assert_int_equal(res.n_bad_blocks, 0);
        assert_false(store_dir_has(&d, INDEX_NAME));
        store_dir_open(&d, 1 << 20);
        store_dir_stop(&d);
        assert_int_equal(verify(&d), 0);
    }
    store_dir_finish(&d);
}

/* What the disk still had of an older index: right in itself, and not what the history says. */
static void a_page_of_an_older_index_is_found(void **state)
{
    (void)state;
    struct store_dir d, old;
    make(&d);
    store_dir_init_copy(&old, d.path);
    store_dir_open(&d, 1 << 20);
    store_dir_put(&d, "a", "other", 5);
    store_dir_put(&d, "d", "other", 5);
    store_dir_stop(&d);
    char from[512], to[512];
    store_dir_file(&old, INDEX_NAME, from);
    store_dir_file(&d, INDEX_NAME, to);
    uint64_t size = store_dir_file_size(&old, INDEX_NAME);
    assert_int_equal(store_dir_file_size(&d, INDEX_NAME), size);
    for (uint64_t at = 4096; at < size; at += 4096) {
        char cmd[1200], cmp[1200];
        struct store_dir one;
        store_dir_init_copy(&one, d.path);
        store_dir_file(&one, INDEX_NAME, to);
        snprintf(cmd, sizeof cmd,
                 "dd if='%s' of='%s' bs=4096 count=1 skip=%llu seek=%llu conv=notrunc status=none",
                 from, to, (unsigned long long)at / 4096, (unsigned long long)at / 4096);
        snprintf(cmp, sizeof cmp, "cmp -s -i %llu -n 4096 '%s' '%s'", (unsigned long long)at, from,
                 to);
        bool same = system(cmp) == 0;
        assert_int_equal(system(cmd), 0);
        int rc = verify(&one);
        if (at == 4096) { /* the mark: the next start finds that it is not up to date */
            assert_non_null(strstr(res.index_note, "not up to date"));
        } else {
            assert_int_equal(rc, same ? 0 : ZERR_DAMAGED);
        }
        store_dir_finish(&one);
    }
    store_dir_finish(&old);
    store_dir_finish(&d);
}

/* ---- in several goes ---- */

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int verify_with(const struct store_dir *d, const char *resume, uint64_t rate)
{
    struct verify_options o = {.dir = d->path, .resume = resume, .rate = rate};
    struct zerr_info info = {0};
    free(out);
    capture_begin();
    int rc = verify_run(&o, &res, &info);
    out = capture_end();
    return rc;
}

static void what_an_earlier_run_has_checked_is_not_read_again(void **state)
{
    (void)state;
    struct store_dir d, notes;
    char path[512], text[256], hex[33] = "";
    make(&d);
    store_dir_init(&notes);
    store_dir_file(&notes, "done", path);
    assert_int_equal(verify_with(&d, path, 0), 0);
    assert_int_equal(res.blocks_skipped, 0);
    assert_false(store_dir_has(&notes, "done")); /* all is checked */
    struct index *ix = NULL;
    struct index_mark mark;
    char index[512];
    store_dir_file(&d, INDEX_NAME, index);
    assert_int_equal(index_open(index, INDEX_READER, &ix, NULL), 0);
    assert_int_equal(index_get_mark(ix, &mark), 0);
    index_close(ix);
    hex_encode(mark.store_id, STORE_ID_BYTES, hex);
    snprintf(text, sizeof text, "zipkvverify 1\nstore %s\nblocks 0 0\n", hex);
    uint64_t at = lookup(&d, "b").body.off;
    store_dir_flip(&d, "block0000000000", at);
    write_text(path, text);
    assert_int_equal(verify_with(&d, path, 0), 0); /* only heads and records of block 0 */
    assert_int_equal(res.blocks_skipped, 1);
    assert_int_equal(verify_with(&d, path, 0), ZERR_DAMAGED);
    assert_int_equal(res.n_bad_blocks, 1);
    assert_int_equal(res.bad_blocks[0], 0);
    /* Not a file of this store's: refused and left alone. */
    static const char *const others[] = {"", "something else\n", "zipkvverify 1\n",
                                         "zipkvverify 1\nstore 00112233445566778899aabbccddeeff\n"};
    for (size_t i = 0; i < 4; i++) {
        write_text(path, others[i]);
        assert_int_equal(verify_with(&d, path, 0), ZERR_UNSUPPORTED);
        assert_true(store_dir_has(&notes, "done"));
    }
    text[strlen(text) - 2] = 'x';
    write_text(path, text);
    assert_int_equal(verify_with(&d, path, 0), ZERR_UNSUPPORTED);
    store_dir_finish(&notes);
    store_dir_finish(&d);
}

static void runs_of_blocks_are_kept_in_order(void **state)
{
    (void)state;
    static const uint32_t blocks[] = {7, 3, 5, 4, 9, 0, 8, 3, 2147483646};
    static const uint8_t id[STORE_ID_BYTES] = {1};
    struct store_dir notes;
    struct done a, b;
    char path[512];
    store_dir_init(&notes);
    store_dir_file(&notes, "done", path);
    assert_int_equal(done_open(&a, path, id, NULL), 0);
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        assert_false(i != 7 && done_has(&a, blocks[i]));
        assert_int_equal(done_add(&a, blocks[i], NULL), 0);
        assert_int_equal(done_open(&b, path, id, NULL), 0); /* as another run finds it */
        for (size_t k = 0; k <= i; k++) {
            assert_true(done_has(&b, blocks[k]));
        }
        assert_false(done_has(&b, 1) || done_has(&b, 6) || done_has(&b, 10));
        done_close(&b);
    }
    assert_int_equal(a.n, 4);
    assert_int_equal(done_end(&a, NULL), 0);
    done_close(&a);
    store_dir_finish(&notes);
}

static void a_rate_is_kept(void **state)
{
    (void)state;
    struct store_dir d;
    struct timespec a, b;
    make(&d);
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(verify_with(&d, NULL, 400000), 0); /* of some 201,000 bytes */
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 480);
    store_dir_finish(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multipart_objects_are_checked_part_by_part),
        cmocka_unit_test(nothing_is_wrong_with_a_stopped_store),
        cmocka_unit_test(the_original_s_directories_are_right_but_unchecked),
        cmocka_unit_test(a_known_md5_of_the_original_s_bodies_is_checked),
        cmocka_unit_test(a_wrong_piece_is_found_marked_and_cleared_when_right_again),
        cmocka_unit_test(all_names_of_a_damaged_body_are_found),
        cmocka_unit_test(any_flipped_byte_of_a_block_is_found),
        cmocka_unit_test(a_lost_record_and_a_missing_block_are_found),
        cmocka_unit_test(a_history_that_lacks_records_of_the_blocks_is_found),
        cmocka_unit_test(a_damaged_part_of_the_history_is_found_and_leaves_the_index_alone),
        cmocka_unit_test(an_index_that_says_something_else_is_removed),
        cmocka_unit_test(while_a_server_runs_it_only_reads),
        cmocka_unit_test(after_a_crash_what_was_not_finished_is_no_damage),
        cmocka_unit_test(a_damaged_page_of_the_index_is_found_wherever_it_is),
        cmocka_unit_test(a_page_of_an_older_index_is_found),
        cmocka_unit_test(what_an_earlier_run_has_checked_is_not_read_again),
        cmocka_unit_test(runs_of_blocks_are_kept_in_order),
        cmocka_unit_test(a_rate_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, free_output);
}
