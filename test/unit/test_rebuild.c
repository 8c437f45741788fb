/* History made anew from blocks, directories of the original, and the reader for tools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/num.h"
#include "store/dir.h"
#include "store/rebuild.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"
#include "tools/replay.h"

static uint8_t BODY[1 << 20];

static struct slice body_of(uint64_t seed, size_t len)
{
    fx_fill(BODY, len, seed);
    return slice_of(BODY, len);
}

static int print_record(void *user, uint64_t rev, const struct record *r)
{
    static const char *const names[] = {"", "put", "delete", "began", "part", "gave up"};
    struct buf *out = user;
    return buf_printf(out, "%llu\t%s\t%.*s\n", (unsigned long long)rev, names[r->op],
                      SLICE_FMT(r->key));
}

static int print_places(void *user, uint64_t rev, const struct record *r)
{
    struct buf *out = user;
    int rc = print_record(user, rev, r);
    if (rc != 0 || r->op == RECORD_DELETE) {
        return rc;
    }
    char md5[32];
    hex_encode(r->md5, 16, md5);
    return buf_printf(out, " %llu %u %llu %llu %.*s %lld %zu\n", (unsigned long long)r->seq,
                      r->body.block, (unsigned long long)r->body.off, (unsigned long long)r->size,
                      32, md5, (long long)r->mtime_ms, r->meta.n);
}

static void history(struct vfs *vfs, struct buf *out, bool places)
{
    struct source src = {.vfs = vfs};
    struct replay_visitor v = {.user = out, .record = places ? print_places : print_record};
    struct replay_result res;
    struct zerr_info info = {0};
    buf_reset(out);
    int rc = replay(&src, NULL, REPLAY_ALL, &v, NULL, &res, &info);
    if (rc != 0) {
        print_error("%d %s\n", rc, info.text);
    }
    assert_int_equal(rc, 0);
}

static void fill(struct fixture *f)
{
    char key[16];
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i % 17);
        assert_int_equal(fx_put(f, key, body_of(i, 500 * i), 0), 0);
        if (i % 5 == 4) {
            (void)snprintf(key, sizeof(key), "k%u", (i - 2) % 17);
            assert_int_equal(fx_delete(f, key), 0);
        }
        if (i % 7 == 6) {
            assert_int_equal(fx_copy(f, "k1", "copy"), 0);
        }
    }
}

static void a_lost_db_is_made_anew_with_the_same_history(void **state)
{
    (void)state;
    for (int turn = 0; turn < 4; turn++) {
        bool killed = (turn & 1) != 0, garbage = (turn & 2) != 0;
        struct fixture f;
        struct buf before = {0}, after = {0};
        fx_init(&f, 65536);
        assert_int_equal(fx_open(&f), 0);
        fill(&f);
        if (killed) {
            fx_kill(&f);
        } else {
            assert_int_equal(fx_stop(&f), 0);
        }
        history(f.vfs, &before, true);
        if (garbage) {
            vfs_mem_put(f.vfs, "db0000000000", body_of(7, 5000));
        } else {
            assert_int_equal(f.vfs->ops->unlink(f.vfs, "db0000000000"), 0);
        }
        fx_drop_index(&f);
        assert_int_equal(fx_open(&f), ZERR_CORRUPT);
        assert_non_null(strstr(f.info.text, "-rebuild"));
        struct rebuild_config cfg = {.vfs = f.vfs};
        struct rebuild_result res;
        assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
        history(f.vfs, &after, true);
        assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
        assert_int_equal(res.records, res.from_frames);
        assert_int_equal(fx_open(&f), 0);
        history(f.vfs, &after, true);
        assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
        assert_int_equal(fx_put(&f, "new", body_of(1, 10), 0), 0);
        assert_int_equal(fx_stop(&f), 0);
        buf_finish(&before);
        buf_finish(&after);
        fx_finish(&f);
    }
}

static void on_deleted(void *user, int status)
{
    *(int *)user = status;
}

static void delete_many(struct fixture *f, const char *const *names, size_t n)
{
    struct slice keys[8];
    int status = 1;
    for (size_t i = 0; i < n; i++) {
        keys[i] = slice_str(names[i]);
    }
    assert_int_equal(store_delete(f->st, keys, n, NULL, on_deleted, &status), 0);
    fx_pump(f);
    assert_int_equal(status, 0);
}

/* Sessions with everything that can happen, the db whole, damaged in the middle, cut, or gone. */
static void db_and_blocks_together_give_the_same_history(void **state)
{
    (void)state;
    static const char *const some[] = {"k1", "k3", "copy"}, *const more[] = {"k2", "k8"};
    for (int turn = 0; turn < 5; turn++) {
        struct fixture f;
        struct buf want = {0}, got = {0}, names = {0}, after = {0};
        struct rebuild_result res;
        struct zerr_info info = {0};
        fx_init(&f, 65536);
        for (int session = 0; session < 4; session++) {
            assert_int_equal(fx_open(&f), 0);
            fill(&f);
            delete_many(&f, some, 3);
            assert_int_equal(fx_put(&f, "k3", body_of(77, 10), 0), 0);
            delete_many(&f, more, 2);
            if (session == 3) {
                break; /* a kill: some is in the blocks alone */
            }
            assert_int_equal(fx_stop(&f), 0);
        }
        fx_kill(&f);
        history(f.vfs, &want, true);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_names(&f, &names), 0);
        assert_int_equal(fx_stop(&f), 0);
        size_t len = vfs_mem_get(f.vfs, "db0000000000").len;
        if (turn == 1 || turn == 2) {
            for (size_t i = 0; i < 16; i++) {
                vfs_mem_flip(f.vfs, "db0000000000", turn * len / 3 + i, 0x5a);
            }
        } else if (turn == 3) {
            struct slice whole = vfs_mem_get(f.vfs, "db0000000000");
            vfs_mem_put(f.vfs, "db0000000000", slice_of(whole.ptr, len / 2));
        } else if (turn == 4) {
            assert_int_equal(f.vfs->ops->unlink(f.vfs, "db0000000000"), 0);
        }
        struct rebuild_config cfg = {.vfs = f.vfs};
        assert_int_equal(rebuild_history(&cfg, &res, &info), 0);
        history(f.vfs, &got, true);
        assert_string_equal((char *)got.ptr, (char *)want.ptr);
        fx_drop_index(&f);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_names(&f, &after), 0);
        assert_true(slice_eq(buf_slice(&after), buf_slice(&names)));
        fx_finish(&f);
        buf_finish(&want);
        buf_finish(&got);
        buf_finish(&names);
        buf_finish(&after);
    }
}

static void a_failed_round_stays_void_in_a_rebuilt_history(void **state)
{
    (void)state;
    struct fixture f;
    struct buf before = {0}, after = {0};
    fx_init(&f, 65536);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(1, 100), 0), 0);
    vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
    assert_int_equal(fx_put(&f, "ghost", body_of(2, 100), 0), ZERR_IO);
    assert_int_equal(fx_put(&f, "b", body_of(3, 100), 0), 0);
    fx_kill(&f);
    history(f.vfs, &before, true);
    assert_null(strstr((char *)before.ptr, "ghost"));
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_stop(&f), 0);
    assert_int_equal(f.vfs->ops->unlink(f.vfs, "db0000000000"), 0);
    struct rebuild_config cfg = {.vfs = f.vfs};
    struct rebuild_result res;
    assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
    history(f.vfs, &after, true);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    buf_finish(&before);
    buf_finish(&after);
    fx_finish(&f);
}

static void a_member_damaged_in_the_middle_is_mended_from_the_blocks(void **state)
{
    (void)state;
    struct fixture f;
    struct buf before = {0}, after = {0};
    fx_init(&f, 16384);
    assert_int_equal(fx_open(&f), 0);
    fill(&f);
    assert_int_equal(fx_stop(&f), 0);
    history(f.vfs, &before, true);
    struct slice db = vfs_mem_get(f.vfs, "db0000000000");
    vfs_mem_flip(f.vfs, "db0000000000", db.len / 2, 0x10);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    assert_non_null(strstr(f.notes, "damaged in the middle"));
    assert_int_equal(fx_stop(&f), 0);
    history(f.vfs, &after, true);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    buf_finish(&before);
    buf_finish(&after);
    fx_finish(&f);
}

/* What a failed sync has left on the disk was answered with an error: a VOID record says so. And what is
 * torn in a block that was not sealed was never answered. */
static void what_never_counted_is_in_no_new_history(void **state)
{
    (void)state;
    unsigned n_left = 0;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        bool killed = seed % 2 == 0, with_db = seed % 4 < 2;
        struct fixture f;
        struct buf before = {0}, after = {0};
        struct rebuild_config cfg = {.vfs = NULL};
        struct rebuild_result res;
        fx_init(&f, 0);
        vfs_mem_destroy(f.vfs);
        f.vfs = vfs_mem_create(seed); /* what a failed sync leaves */
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "a", body_of(1, 100), 0), 0);
        vfs_mem_fail(f.vfs, MEM_SYNC, 1, ZERR_IO, MEM_ONCE);
        assert_int_equal(fx_put(&f, "never", body_of(2, 10), 0), ZERR_IO);
        n_left += vfs_mem_get(f.vfs, "open0000000000").len > 400;
        assert_int_equal(fx_put(&f, "b", body_of(3, 100), 0), 0);
        assert_int_equal(fx_put(&f, "c", body_of(4, 3000), 0), 0);
        if (killed) {
            fx_kill(&f);
            struct slice open = vfs_mem_get(f.vfs, "open0000000001");
            vfs_mem_flip(f.vfs, "open0000000001", open.len - 1000, 1);
        } else {
            assert_int_equal(fx_stop(&f), 0);
        }
        history(f.vfs, &before, true);
        assert_null(memmem(before.ptr, before.len, "never", 5));
        if (!with_db) {
            assert_int_equal(f.vfs->ops->unlink(f.vfs, "db0000000000"), 0);
        }
        cfg.vfs = f.vfs;
        assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
        history(f.vfs, &after, true);
        assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
        fx_drop_index(&f);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_get(&f, "never", &after), ZERR_NOT_FOUND);
        assert_int_equal(fx_get(&f, "b", &after), 0);
        buf_finish(&before);
        buf_finish(&after);
        fx_finish(&f);
    }
    assert_true(n_left > 3);
}

/* As with a flush (I2): a power cut that follows leaves no name without its object. */
static void what_a_new_history_names_is_on_disk_before(void **state)
{
    (void)state;
    struct fixture f;
    struct buf out = {0};
    struct rebuild_result res;
    fx_init(&f, 65536);
    f.cfg.sync = STORE_SYNC_BLOCK;
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", body_of(1, 3000), 0), 0);
    fx_kill(&f);
    assert_int_equal(f.vfs->ops->unlink(f.vfs, "db0000000000"), 0);
    struct rebuild_config cfg = {.vfs = f.vfs};
    assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
    assert_int_equal(res.records, 1);
    fx_power_cut(&f, MEM_CRASH_SYNCED, 1);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_get(&f, "a", &out), 0);
    assert_true(slice_eq(buf_slice(&out), body_of(1, 3000)));
    buf_finish(&out);
    fx_finish(&f);
}

/* All ten ids may be taken: where copies are kept old files pile up (README). */
static void among_ten_files_the_new_history_has_a_name_too(void **state)
{
    struct fixture f;
    struct buf before = {0}, after = {0};
    struct rebuild_result res;
    char name[FILE_NAME_BYTES];
    (void)state;
    for (unsigned newest = 0; newest < DB_IDS; newest += 9) {
        fx_init(&f, 16384);
        assert_int_equal(fx_open(&f), 0);
        vfs_mem_put(f.vfs, "older", vfs_mem_get(f.vfs, "db0000000000"));
        fill(&f);
        assert_int_equal(fx_stop(&f), 0);
        history(f.vfs, &before, true);
        (void)snprintf(name, sizeof(name), DB_NAME_FMT, newest);
        assert_int_equal(f.vfs->ops->rename(f.vfs, "db0000000000", name), 0);
        for (unsigned id = 0; id < DB_IDS; id++) {
            (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
            if (id != newest) {
                vfs_mem_put(f.vfs, name, vfs_mem_get(f.vfs, "older"));
            }
        }
        struct rebuild_config cfg = {.vfs = f.vfs};
        assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
        history(f.vfs, &after, true);
        assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
        fx_drop_index(&f);
        assert_int_equal(fx_open(&f), 0);
        fx_finish(&f);
    }
    buf_finish(&before);
    buf_finish(&after);
}

static const char *const GOLDEN[] = {"one-block", "many-blocks", "wrapped-db", "two-dbs"};

static void load_golden(struct fixture *f, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof(path), TEST_DIR "/golden/%s", name);
    assert_true(vfs_mem_load(f->vfs, path) > 0);
}

static void read_file(const char *name, struct buf *out)
{
    char path[512];
    (void)snprintf(path, sizeof(path), TEST_DIR "/golden/%s.history", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(buf_reserve(out, 1 << 20), 0);
    out->len = fread(out->ptr, 1, 1 << 20, file);
    (void)fclose(file);
}

static void directories_of_the_original_open_and_go_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(GOLDEN) / sizeof(GOLDEN[0]); i++) {
        struct fixture f;
        struct buf want = {0}, got = {0};
        fx_init(&f, 65536);
        load_golden(&f, GOLDEN[i]);
        read_file(GOLDEN[i], &want);
        const char *body = memchr(want.ptr, '\n', want.len);
        struct slice lines =
            slice_of(body + 1, want.len - (size_t)((const uint8_t *)body + 1 - want.ptr));
        history(f.vfs, &got, false);
        assert_int_equal(got.len, lines.len);
        assert_memory_equal(got.ptr, lines.ptr, lines.len);
        assert_int_equal(fx_open(&f), 0);
        assert_int_equal(fx_put(&f, "new", body_of(1, 100), 0), 0);
        fx_kill(&f);
        assert_int_equal(fx_open(&f), 0);
        struct store_stats s;
        store_get_stats(f.st, &s);
        assert_false(s.index_rebuilt); /* known again by its mark */
        assert_int_equal(fx_stop(&f), 0);
        assert_int_equal(fx_open(&f), 0);
        store_get_stats(f.st, &s);
        assert_false(s.index_rebuilt);
        assert_int_equal(fx_get(&f, "new", &got), 0);
        assert_int_equal(fx_stop(&f), 0);
        history(f.vfs, &got, false);
        assert_true(got.len > lines.len);
        assert_memory_equal(got.ptr, lines.ptr, lines.len);
        /* Its part of the history comes from its db, ours from the blocks. */
        struct rebuild_config cfg = {.vfs = f.vfs};
        struct rebuild_result res;
        struct buf again = {0};
        assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
        history(f.vfs, &again, false);
        assert_true(slice_eq(buf_slice(&got), buf_slice(&again)));
        buf_finish(&want);
        buf_finish(&got);
        buf_finish(&again);
        fx_finish(&f);
    }
}

/* What the original's server leaves when it writes to a directory of ours: our records without our
 * fields, as many as it found in the db, and its own behind them. */
struct strip {
    struct buf message;
    uint64_t n_ours;
};

static void add_varint(struct buf *out, uint64_t v)
{
    do {
        uint8_t b = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        assert_int_equal(buf_append(out, &b, 1), 0);
        v >>= 7;
    } while (v > 0);
}

static void add_plain(struct strip *s, const struct record *r)
{
    struct record plain = {
        .op = r->op, .key = r->key, .body = r->body, .size = r->size, .meta = r->meta};
    struct buf one = {0};
    assert_int_equal(record_encode_history(&plain, &one), 0);
    add_varint(&s->message, 3 << 3 | 2); /* repeated HistoryRecord history = 3 */
    add_varint(&s->message, one.len);
    assert_int_equal(buf_append(&s->message, one.ptr, one.len), 0);
    buf_finish(&one);
}

static int strip_record(void *user, uint64_t rev, const struct record *r)
{
    struct strip *s = user;
    if (rev < s->n_ours && record_in_history(r)) {
        add_plain(s, r);
    }
    return 0;
}

static void overwrite_as_the_original(struct fixture *f, uint64_t n_ours,
                                      const struct record *theirs, size_t n_theirs)
{
    struct strip s = {.n_ours = n_ours};
    struct source src = {.vfs = f->vfs};
    struct replay_visitor v = {.user = &s, .record = strip_record};
    struct replay_result seen;
    add_varint(&s.message, 2 << 3); /* sint32 next_backend_file = 2 */
    add_varint(&s.message, 90 * 2);
    assert_int_equal(replay(&src, NULL, REPLAY_ALL, &v, NULL, &seen, NULL), 0);
    for (size_t i = 0; i < n_theirs; i++) {
        add_plain(&s, &theirs[i]);
    }
    uint8_t *gz = malloc(s.message.len + 1000);
    z_stream z = {.next_in = s.message.ptr,
                  .avail_in = (uInt)s.message.len,
                  .next_out = gz,
                  .avail_out = (uInt)s.message.len + 1000};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    vfs_mem_put(f->vfs, "db0000000001", slice_of(gz, z.total_out));
    (void)deflateEnd(&z);
    free(gz);
    buf_finish(&s.message);
    assert_int_equal(f->vfs->ops->unlink(f->vfs, "db0000000000"), 0);
    fx_drop_index(f);
}

static void refuse_and_join(struct fixture *f, struct buf *after)
{
    struct rebuild_config cfg = {.vfs = f->vfs};
    struct rebuild_result res;
    assert_int_equal(fx_open(f), ZERR_CORRUPT);
    assert_non_null(strstr(f->info.text, "zipkvverify -rebuild"));
    assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
    history(f->vfs, after, false);
    assert_int_equal(fx_open(f), 0);
}

/* An open block, which a kill leaves, tells it by its name, sealed ones by their headers. */
static void a_db_the_original_wrote_over_ours_is_refused_and_joined(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct fixture f;
        struct buf before = {0}, after = {0};
        fx_init(&f, 65536);
        assert_int_equal(fx_open(&f), 0);
        fill(&f);
        if (killed) {
            fx_kill(&f);
        } else {
            assert_int_equal(fx_stop(&f), 0);
        }
        history(f.vfs, &before, false);
        overwrite_as_the_original(&f, UINT64_MAX, NULL, 0);
        refuse_and_join(&f, &after);
        assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
        assert_int_equal(fx_get(&f, "k16", &after), 0);
        buf_finish(&before);
        buf_finish(&after);
        fx_finish(&f);
    }
}

static void on_begun(void *user, int status, uint64_t upload)
{
    assert_int_equal(status, 0);
    *(uint64_t *)user = upload;
}

/* It knew nothing of our last records, which a kill left in the blocks alone, and nothing of
 * uploads. Its own come before what it did not know. */
static void what_the_original_wrote_behind_ours_keeps_its_place(void **state)
{
    (void)state;
    struct fixture f;
    struct buf got = {0}, want = {0};
    struct upload_spec spec = {.key = SLICE_LIT("upload")};
    uint64_t upload = 0;
    const struct record theirs[] = {
        {.op = RECORD_PUT, .key = SLICE_LIT("late"), .body = {89, 0}, .size = 7}, /* not ours */
        {.op = RECORD_DELETE, .key = SLICE_LIT("first")},
    };
    fx_init(&f, 65536);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "first", body_of(1, 10), 0), 0);
    assert_int_equal(store_begin_upload(f.st, &spec, on_begun, &upload), 0);
    fx_pump(&f);
    assert_int_equal(fx_put(&f, "second", body_of(2, 20), 0), 0);
    assert_int_equal(fx_put(&f, "late", body_of(3, 30), 0), 0);
    assert_int_equal(fx_delete(&f, "second"), 0);
    assert_int_equal(fx_stop(&f), 0);
    vfs_mem_put(f.vfs, "block0000000089", slice_str("theirs."));
    overwrite_as_the_original(&f, 2, theirs, 2);
    refuse_and_join(&f, &got);
    assert_int_equal(buf_append_str(&want, "0\tput\tfirst\n1\tbegan\tupload\n1\tput\tsecond\n"
                                           "2\tput\tlate\n3\tdelete\tfirst\n4\tput\tlate\n"
                                           "5\tdelete\tsecond\n"),
                     0);
    assert_true(slice_eq(buf_slice(&got), buf_slice(&want)));
    assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("upload"), upload), 0);
    assert_int_equal(fx_get(&f, "late", &got), 0);
    assert_int_equal(got.len, 30);
    assert_int_equal(fx_get(&f, "first", &got), ZERR_NOT_FOUND);
    buf_finish(&got);
    buf_finish(&want);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_db_is_made_anew_with_the_same_history),
        cmocka_unit_test(db_and_blocks_together_give_the_same_history),
        cmocka_unit_test(a_failed_round_stays_void_in_a_rebuilt_history),
        cmocka_unit_test(a_member_damaged_in_the_middle_is_mended_from_the_blocks),
        cmocka_unit_test(what_never_counted_is_in_no_new_history),
        cmocka_unit_test(what_a_new_history_names_is_on_disk_before),
        cmocka_unit_test(among_ten_files_the_new_history_has_a_name_too),
        cmocka_unit_test(directories_of_the_original_open_and_go_on),
        cmocka_unit_test(a_db_the_original_wrote_over_ours_is_refused_and_joined),
        cmocka_unit_test(what_the_original_wrote_behind_ours_keeps_its_place),
    };
    return cmocka_run_group_tests_name("rebuild", tests, NULL, NULL);
}
