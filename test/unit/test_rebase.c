/* Copying a store at a revision: the original's directories, shared bodies, damage, bad targets. */
#include "tools/rebase.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "support/store_dir.h"
#include "tools/replay.h"

static int rebase(const char *from, const char *to, int64_t rev, struct rebase_result *ret,
                  char **ret_out)
{
    struct rebase_options o = {.from = from,
                               .to = to,
                               .block_size = 8192,
                               .has_rev = rev >= 0,
                               .rev = (uint64_t)rev,
                               .program = "test"};
    struct zerr_info info = {0};
    capture_begin();
    int rc = rebase_run(&o, ret, &info);
    char *out = capture_end();
    if (ret_out != NULL) {
        *ret_out = out;
    } else {
        free(out);
    }
    return rc;
}

/* ---- each name of the source's state against the target ---- */

struct compare {
    struct source src;
    struct index *ix;
    struct store_dir *target;
    uint64_t n;
};

static int compare_name(void *user, struct slice key, const struct object *obj)
{
    struct compare *c = user;
    const struct source_block *b;
    struct buf got = {0};
    struct object stored;
    struct arena arena = {0};
    struct slice meta;
    struct attrs attrs;
    char value[256];
    uint8_t *want = malloc(obj->size + 1);
    size_t n = 0;
    assert_non_null(want);
    if (obj->size > 0) {
        assert_int_equal(source_block(&c->src, obj->body.block, &b), 0);
        assert_int_equal(c->src.vfs->ops->pread(b->file, want, obj->size, obj->body.off, &n), 0);
    }
    assert_int_equal(n, obj->size);
    assert_int_equal(store_dir_get(c->target, key, &got, value, &stored), 0);
    assert_int_equal(got.len, obj->size);
    assert_true(obj->size == 0 || memcmp(got.ptr, want, got.len) == 0);
    assert_true(stored.has_md5 && stored.framed && stored.body_framed);
    if (!obj->framed) {
        assert_int_equal(index_lookup_meta(c->ix, key, &arena, &meta), 0);
        assert_int_equal(attrs_decode(meta, &arena, &attrs), 0);
    }
    arena_finish(&arena);
    buf_finish(&got);
    free(want);
    c->n++;
    return 0;
}

static void check_golden(const char *name, int64_t rev)
{
    char from[512];
    struct store_dir target;
    struct rebase_result result;
    struct compare c = {.target = &target};
    struct replay_result replayed;
    struct index_totals t;
    struct store_stats stats;
    snprintf(from, sizeof from, "%s/golden/%s", TEST_DIR, name);
    store_dir_init(&target);
    assert_int_equal(rebase(from, target.path, rev, &result, NULL), 0);

    assert_int_equal(source_open(&c.src, from, NULL), 0);
    assert_int_equal(index_open(NULL, INDEX_TEMP, &c.ix, NULL), 0);
    assert_int_equal(
        replay(&c.src, c.ix, rev < 0 ? REPLAY_ALL : (uint64_t)rev, NULL, NULL, &replayed, NULL), 0);
    assert_int_equal(index_get_totals(c.ix, &t), 0);
    assert_int_equal(result.revision, rev < 0 ? replayed.n_records - 1 : (uint64_t)rev);
    assert_int_equal(result.objects, t.objects);
    assert_int_equal(result.bytes, t.live_bytes);
    assert_int_equal(result.damaged, 0);
    store_dir_open(&target, 8192);
    store_get_stats(target.store, &stats);
    assert_int_equal(stats.totals.objects, t.objects);
    assert_int_equal(stats.totals.live_bytes, t.live_bytes); /* bodies are shared as they were */
    assert_int_equal(stats.recovered, 0);                    /* it was stopped in order */
    assert_int_equal(index_each_by_place(c.ix, compare_name, &c), 0);
    assert_int_equal(c.n, t.objects);
    store_dir_stop(&target);
    index_close(c.ix);
    source_close(&c.src);
    store_dir_finish(&target);
}

static void the_original_s_directories_are_copied_at_any_revision(void **state)
{
    (void)state;
    static const int64_t one_block[] = {-1, 0, 1, 20, 40, 60, 76};
    for (size_t i = 0; i < sizeof one_block / sizeof one_block[0]; i++) {
        check_golden("one-block", one_block[i]);
    }
    check_golden("many-blocks", -1);
    check_golden("many-blocks", 100);
    check_golden("two-dbs", -1);
    check_golden("wrapped-db", -1);
    check_golden("wrapped-db", 5);
}

static void attributes_times_and_shared_bodies_are_kept(void **state)
{
    (void)state;
    struct store_dir d, target;
    struct rebase_result result;
    struct buf body = {0};
    struct object a, b;
    char meta[256], *big = calloc(1, 300000);
    assert_non_null(big);
    memset(big + 100000, 'x', 100000);
    store_dir_init(&d);
    store_dir_init(&target);
    store_dir_open(&d, 65536);
    store_dir_put(&d, "a", big, 300000); /* more than a block, more than a chunk */
    store_dir_put(&d, "gone", "1234", 4);
    store_dir_copy(&d, "a", "b");
    store_dir_delete(&d, "gone");
    store_dir_put(&d, "empty", "", 0);

    /* The server runs on, nothing of it is flushed. */
    assert_int_equal(rebase(d.path, target.path, -1, &result, NULL), 0);
    assert_int_equal(result.objects, 3);
    assert_int_equal(result.bodies, 2);
    assert_int_equal(result.bytes, 300000);
    assert_int_equal(result.unchecked, 0);
    store_dir_open(&target, 65536);
    assert_int_equal(store_dir_get(&target, slice_str("a"), &body, meta, &a), 0);
    assert_int_equal(body.len, 300000);
    assert_memory_equal(body.ptr, big, 300000);
    assert_string_equal(meta, "a");
    assert_int_equal(a.mtime_ms, 1700000000123);
    buf_reset(&body);
    assert_int_equal(store_dir_get(&target, slice_str("b"), &body, meta, &b), 0);
    assert_memory_equal(body.ptr, big, 300000);
    assert_string_equal(meta, "b");
    assert_int_equal(b.mtime_ms, 1700000000456);
    assert_int_equal(b.body.block, a.body.block);
    assert_int_equal(b.body.off, a.body.off);
    assert_int_equal(store_dir_get(&target, slice_str("gone"), &body, meta, NULL), ZERR_NOT_FOUND);
    store_dir_finish(&target);

    store_dir_init(&target);
    assert_int_equal(rebase(d.path, target.path, 1, &result, NULL), 0); /* before copy and delete */
    assert_int_equal(result.objects, 2);
    store_dir_open(&target, 65536);
    buf_reset(&body);
    assert_int_equal(store_dir_get(&target, slice_str("gone"), &body, meta, NULL), 0);
    assert_memory_equal(body.ptr, "1234", 4);
    store_dir_finish(&target);
    store_dir_finish(&d);
    buf_finish(&body);
    free(big);
}

static void a_damaged_object_is_named_and_left_out_the_others_are_copied(void **state)
{
    (void)state;
    struct store_dir d, target;
    struct rebase_result result;
    struct object bad;
    struct buf body = {0};
    char *out, name[FILE_NAME_BYTES];
    store_dir_init(&d);
    store_dir_init(&target);
    store_dir_open(&d, 65536);
    store_dir_put(&d, "first", "11111", 5);
    store_dir_put(&d, "second", "22222", 5);
    store_dir_put(&d, "third", "33333", 5);
    assert_int_equal(store_lookup(d.store, slice_str("second"), &bad), 0);
    store_dir_stop(&d);
    snprintf(name, sizeof name, BLOCK_NAME_FMT, bad.body.block);
    store_dir_flip(&d, name, bad.body.off + 2);
    assert_int_equal(rebase(d.path, target.path, -1, &result, &out), 0);
    assert_int_equal(result.damaged, 1);
    assert_int_equal(result.objects, 2);
    assert_non_null(strstr(out, "\"second\""));
    assert_null(strstr(out, "\"third\""));
    free(out);
    store_dir_open(&target, 65536);
    assert_int_equal(store_dir_get(&target, slice_str("second"), &body, NULL, NULL),
                     ZERR_NOT_FOUND);
    assert_int_equal(store_dir_get(&target, slice_str("third"), &body, NULL, NULL), 0);
    store_dir_finish(&target);

    store_dir_init(&target); /* the block is not there at all */
    store_dir_unlink(&d, name);
    assert_int_equal(rebase(d.path, target.path, -1, &result, NULL), 0);
    assert_int_equal(result.damaged, 3);
    assert_int_equal(result.objects, 0);
    store_dir_finish(&target);
    store_dir_finish(&d);
    buf_finish(&body);
}

static void a_target_is_made_or_must_be_empty(void **state)
{
    (void)state;
    struct store_dir d, target;
    struct rebase_result result;
    char path[512];
    struct stat st;
    store_dir_init(&d);
    store_dir_init(&target);
    store_dir_open(&d, 65536);
    store_dir_put(&d, "a", "1", 1);
    store_dir_stop(&d);
    store_dir_file(&target, "new", path);
    assert_int_equal(rebase(d.path, path, -1, &result, NULL), 0);
    assert_true(result.made_directory);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(rebase(d.path, path, -1, &result, NULL), ZERR_EXISTS);
    assert_false(result.started);
    assert_int_equal(rebase(d.path, d.path, -1, &result, NULL), ZERR_EXISTS);
    store_dir_file(&target, "no/such", path);
    assert_true(rebase(d.path, path, -1, &result, NULL) < 0);
    store_dir_file(&target, "other", path);
    assert_int_equal(rebase(d.path, path, 1, &result, NULL), ZERR_BAD_REV);
    assert_false(store_dir_has(&target, "other")); /* nothing is made before the source is read */
    store_dir_finish(&target);
    store_dir_finish(&d);
}

static void multipart_objects_keep_their_parts_and_are_copied_once(void **state)
{
    (void)state;
    struct store_dir from, to;
    struct rebase_result result;
    struct object was, is, copy;
    struct buf got = {0};
    char meta[256];
    static uint8_t bytes[200000];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    store_dir_init(&from);
    store_dir_init(&to);
    store_dir_open(&from, 50000);
    store_dir_put(&from, "plain", "x", 1);
    store_dir_multipart(&from, "multi", bytes, sizeof(bytes), 70000);
    store_dir_copy(&from, "multi", "copy");
    (void)store_dir_begin(&from, "under way");
    assert_int_equal(store_dir_get(&from, slice_str("multi"), &got, meta, &was), 0);
    store_dir_stop(&from);
    assert_int_equal(rebase(from.path, to.path, -1, &result, NULL), 0);
    assert_int_equal(result.objects, 3);
    assert_int_equal(result.bodies, 2);
    assert_int_equal(result.bytes, sizeof(bytes) + 1);
    store_dir_open(&to, 50000);
    buf_reset(&got);
    assert_int_equal(store_dir_get(&to, slice_str("multi"), &got, meta, &is), 0);
    assert_int_equal(got.len, sizeof(bytes));
    assert_memory_equal(got.ptr, bytes, sizeof(bytes));
    assert_string_equal(meta, "multi");
    assert_int_equal(is.parts, 3);
    assert_int_equal(is.mtime_ms, was.mtime_ms);
    assert_memory_equal(is.md5, was.md5, 16);
    buf_reset(&got);
    assert_int_equal(store_dir_get(&to, slice_str("copy"), &got, meta, &copy), 0);
    assert_memory_equal(got.ptr, bytes, sizeof(bytes));
    assert_string_equal(meta, "copy");
    assert_int_equal(copy.body.off, is.body.off);
    store_dir_stop(&to);
    store_dir_finish(&to);

    /* One byte of one part is wrong: the object is left out, and no upload stays behind. */
    store_dir_init(&to);
    store_dir_flip(&from, "block0000000001", 40000);
    char *out;
    assert_int_equal(rebase(from.path, to.path, -1, &result, &out), 0);
    assert_int_equal(result.damaged, 2);
    assert_non_null(strstr(out, "multi"));
    free(out);
    store_dir_open(&to, 50000);
    assert_int_equal(store_lookup(to.store, SLICE_LIT("multi"), &is), ZERR_NOT_FOUND);
    store_dir_stop(&to);
    buf_finish(&got);
    store_dir_finish(&to);
    store_dir_finish(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multipart_objects_keep_their_parts_and_are_copied_once),
        cmocka_unit_test(the_original_s_directories_are_copied_at_any_revision),
        cmocka_unit_test(attributes_times_and_shared_bodies_are_kept),
        cmocka_unit_test(a_damaged_object_is_named_and_left_out_the_others_are_copied),
        cmocka_unit_test(a_target_is_made_or_must_be_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
