/* Multipart uploads in the store: parts, completing, what survives, what the history sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
#include "store/frame.h"
#include "store/rebuild.h"
#include "store/store_priv.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"

struct answer {
    bool done;
    int status;
    uint64_t upload;
    size_t at;
    struct object obj;
};

static void on_begun(void *user, int status, uint64_t upload)
{
    struct answer *a = user;
    a->done = true;
    a->status = status;
    a->upload = upload;
}

static void on_stored(void *user, int status, const struct object *obj)
{
    struct answer *a = user;
    a->done = true;
    a->status = status;
    if (obj != NULL) {
        a->obj = *obj;
    }
}

static void on_completed(void *user, int status, const struct object *obj, size_t at)
{
    struct answer *a = user;
    a->at = at;
    on_stored(user, status, obj);
}

static void on_done(void *user, int status)
{
    on_stored(user, status, NULL);
}

static int settle(struct fixture *f, struct answer *a, int rc)
{
    if (rc == 0) {
        fx_pump(f);
        assert_true(a->done);
        rc = a->status;
    }
    return rc;
}

static uint64_t begin(struct fixture *f, const char *key)
{
    const struct attr meta[] = {{SLICE_LIT("X-Amz-Meta-Color"), SLICE_LIT("blue")}};
    struct upload_spec spec = {.key = slice_str(key), .meta = {meta, 1}};
    struct answer a = {0};
    assert_int_equal(settle(f, &a, store_begin_upload(f->st, &spec, on_begun, &a)), 0);
    assert_int_not_equal(a.upload, 0);
    return a.upload;
}

static int part_of(struct fixture *f, const char *key, uint64_t upload, uint32_t number,
                   struct slice body)
{
    struct put_spec spec = {
        .key = slice_str(key), .size = body.len, .upload = upload, .part = number};
    return fx_put_spec(f, &spec, body, 0, NULL, NULL);
}

/* Completes it with parts 1..n (or first, first + step, ...). */
static int complete(struct fixture *f, const char *key, uint64_t upload, uint32_t first,
                    uint32_t step, size_t n, uint64_t part_min, struct answer *a)
{
    struct part_name parts[16] = {{0}};
    struct complete_spec spec = {.key = slice_str(key),
                                 .upload = upload,
                                 .parts = parts,
                                 .n_parts = n,
                                 .part_min = part_min};
    assert_in_range(n, 0, 16);
    for (size_t i = 0; i < n; i++) {
        parts[i].number = first + (uint32_t)i * step;
    }
    *a = (struct answer){0};
    return settle(f, a, store_complete_upload(f->st, &spec, on_completed, a));
}

static int abort_upload(struct fixture *f, const char *key, uint64_t upload)
{
    struct answer a = {0};
    return settle(f, &a, store_abort_upload(f->st, slice_str(key), upload, on_done, &a));
}

static uint8_t bytes[400000];

static struct slice bytes_at(size_t off, size_t len)
{
    assert_true(off + len <= sizeof(bytes));
    return slice_of(bytes + off, len);
}

/* All of the object, read in small and in large steps. */
static void expect_object(struct fixture *f, const char *key, struct slice want)
{
    struct buf got = {0};
    assert_int_equal(fx_get(f, key, &got), 0);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.ptr, want.ptr, want.len);
    buf_finish(&got);
}

static void expect_reopened(struct fixture *f, int how)
{
    if (how == 0) {
        assert_int_equal(fx_stop(f), 0);
    } else if (how == 1) {
        fx_kill(f);
    } else {
        fx_power_cut(f, MEM_CRASH_SYNCED, 1);
    }
    if (how == 3) {
        fx_drop_index(f);
    }
    assert_int_equal(fx_open(f), 0);
}

static void setup(struct fixture *f, uint64_t block_size)
{
    fx_fill(bytes, sizeof(bytes), 7);
    fx_init(f, block_size);
    assert_int_equal(fx_open(f), 0);
}

static void finish(struct fixture *f)
{
    assert_int_equal(fx_stop(f), 0);
    fx_finish(f);
}

static uint64_t revision(struct fixture *f)
{
    struct store_stats s;
    store_get_stats(f->st, &s);
    return s.revision;
}

/* ---- */

static void parts_become_one_object_wherever_they_lie(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    setup(&f, 100000); /* some parts have blocks of their own */
    uint64_t up = begin(&f, "big");
    assert_int_equal(part_of(&f, "big", up, 3, bytes_at(270000, 1)), 0);
    assert_int_equal(part_of(&f, "big", up, 1, bytes_at(0, 70000)), 0);
    assert_int_equal(fx_put(&f, "between", bytes_at(0, 1000), 0), 0);
    assert_int_equal(part_of(&f, "big", up, 2, bytes_at(70000, 200000)), 0);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("big"), &(struct object){0}), ZERR_NOT_FOUND);
    assert_int_equal(revision(&f), 1);
    assert_int_equal(complete(&f, "big", up, 1, 1, 3, 0, &a), 0);
    assert_int_equal(revision(&f), 2);
    assert_int_equal(a.obj.size, 270001);
    assert_int_equal(a.obj.parts, 3);
    expect_object(&f, "big", bytes_at(0, 270001));
    struct object obj;
    assert_int_equal(store_lookup(f.st, SLICE_LIT("big"), &obj), 0);
    assert_int_equal(obj.parts, 3);
    assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("big"), up), ZERR_NO_UPLOAD);
    assert_int_equal(part_of(&f, "big", up, 4, bytes_at(0, 10)), ZERR_NO_UPLOAD);
    finish(&f);
}

static void the_md5_is_that_of_the_md5s(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    uint8_t md5s[32], want[16];
    struct buf sums = {0};
    uint64_t ignored;
    setup(&f, 1 << 20);
    uint64_t up = begin(&f, "k");
    for (uint32_t i = 0; i < 2; i++) {
        struct body_hash *h = body_hash_create();
        assert_int_equal(body_hash_update(h, bytes + i * 1000, 1000, &sums), 0);
        assert_int_equal(body_hash_final(h, &sums, md5s + i * 16, &ignored), 0);
        body_hash_destroy(h);
        assert_int_equal(part_of(&f, "k", up, i + 1, bytes_at(i * 1000, 1000)), 0);
    }
    struct body_hash *h = body_hash_create();
    assert_int_equal(body_hash_update(h, md5s, sizeof(md5s), &sums), 0);
    assert_int_equal(body_hash_final(h, &sums, want, &ignored), 0);
    body_hash_destroy(h);
    assert_int_equal(complete(&f, "k", up, 1, 1, 2, 0, &a), 0);
    assert_memory_equal(a.obj.md5, want, 16);
    buf_finish(&sums);
    finish(&f);
}

static void what_is_asked_for_must_be_there(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    setup(&f, 1 << 20);
    uint64_t up = begin(&f, "k");
    assert_int_equal(complete(&f, "k", up, 1, 1, 1, 0, &a), ZERR_BAD_PART);
    assert_int_equal(part_of(&f, "k", up, 1, bytes_at(0, 100)), 0);
    assert_int_equal(part_of(&f, "k", up, 5, bytes_at(0, 50)), 0);
    assert_int_equal(part_of(&f, "k", up, 7, bytes_at(0, 1)), 0);
    assert_int_equal(complete(&f, "k", up, 1, 1, 2, 0, &a), ZERR_BAD_PART);
    assert_int_equal(a.at, 1);
    assert_int_equal(complete(&f, "k", up, 7, 1, 2, 0, &a), ZERR_BAD_PART);
    assert_int_equal(a.at, 1);
    assert_int_equal(complete(&f, "k", up, 1, 4, 2, 101, &a), ZERR_SMALL_PART);
    assert_int_equal(complete(&f, "other", up, 1, 4, 2, 0, &a), ZERR_NO_UPLOAD);
    assert_int_equal(complete(&f, "k", up + 1, 1, 4, 2, 0, &a), ZERR_NO_UPLOAD);
    assert_int_equal(complete(&f, "k", up, 5, 0, 2, 0, &a), ZERR_INVALID); /* twice the same */
    struct part_name wrong = {.number = 1, .has_md5 = true};
    struct complete_spec spec = {
        .key = SLICE_LIT("k"), .upload = up, .parts = &wrong, .n_parts = 1};
    a = (struct answer){0};
    assert_int_equal(settle(&f, &a, store_complete_upload(f.st, &spec, on_completed, &a)),
                     ZERR_BAD_PART);
    /* All this has left it as it was; part 7 is not named. */
    assert_int_equal(complete(&f, "k", up, 1, 4, 2, 100, &a), 0);
    assert_int_equal(a.obj.size, 150);
    finish(&f);
}

static void a_part_sent_again_replaces_the_first(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    setup(&f, 1 << 20);
    uint64_t up = begin(&f, "k");
    assert_int_equal(part_of(&f, "k", up, 1, bytes_at(500, 900)), 0);
    assert_int_equal(part_of(&f, "k", up, 1, bytes_at(0, 1000)), 0);
    expect_reopened(&f, 1);
    assert_int_equal(complete(&f, "k", up, 1, 1, 1, 0, &a), 0);
    expect_object(&f, "k", bytes_at(0, 1000));
    finish(&f);
}

static void empty_parts_and_empty_objects(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    setup(&f, 1 << 20);
    uint64_t up = begin(&f, "k"), none = begin(&f, "none");
    assert_int_equal(part_of(&f, "k", up, 1, bytes_at(0, 10)), 0);
    assert_int_equal(part_of(&f, "k", up, 2, bytes_at(0, 0)), 0);
    assert_int_equal(part_of(&f, "k", up, 3, bytes_at(10, 10)), 0);
    assert_int_equal(part_of(&f, "none", none, 1, bytes_at(0, 0)), 0);
    assert_int_equal(complete(&f, "k", up, 1, 1, 3, 0, &a), 0);
    assert_int_equal(complete(&f, "none", none, 1, 1, 1, 0, &a), 0);
    for (int how = 0; how < 4; how++) {
        expect_reopened(&f, how);
        expect_object(&f, "k", bytes_at(0, 20));
        expect_object(&f, "none", bytes_at(0, 0));
    }
    finish(&f);
}

static void uploads_survive_what_the_history_survives(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct fixture f;
        struct answer a;
        setup(&f, 20000);
        assert_int_equal(fx_put(&f, "before", bytes_at(0, 10), 0), 0);
        uint64_t up = begin(&f, "k"), given_up = begin(&f, "k"), over = begin(&f, "over");
        assert_int_equal(part_of(&f, "over", over, 1, bytes_at(0, 10)), 0);
        assert_int_equal(complete(&f, "over", over, 1, 1, 1, 0, &a), 0);
        assert_int_equal(part_of(&f, "k", up, 1, bytes_at(0, 30000)), 0);
        assert_int_equal(part_of(&f, "k", given_up, 1, bytes_at(0, 10)), 0);
        assert_int_equal(abort_upload(&f, "k", given_up), 0);
        expect_reopened(&f, how);
        assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("k"), up), 0);
        assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("k"), given_up), ZERR_NO_UPLOAD);
        assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("over"), over), ZERR_NO_UPLOAD);
        assert_int_equal(part_of(&f, "k", given_up, 2, bytes_at(0, 10)), ZERR_NO_UPLOAD);
        assert_int_equal(part_of(&f, "k", up, 2, bytes_at(30000, 5000)), 0);
        expect_reopened(&f, how);
        assert_int_equal(complete(&f, "k", up, 1, 1, 2, 0, &a), 0);
        expect_reopened(&f, how);
        expect_object(&f, "k", bytes_at(0, 35000));
        expect_object(&f, "over", bytes_at(0, 10));
        assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("k"), up), ZERR_NO_UPLOAD);
        assert_int_equal(revision(&f), 3);
        finish(&f);
    }
}

static void an_ended_upload_takes_nothing_more_in_the_same_round(void **state)
{
    (void)state;
    struct fixture f;
    struct answer first = {0}, second = {0}, third = {0};
    setup(&f, 1 << 20);
    uint64_t up = begin(&f, "k");
    assert_int_equal(part_of(&f, "k", up, 1, bytes_at(0, 10)), 0);
    struct part_name name = {.number = 1};
    struct complete_spec spec = {.key = SLICE_LIT("k"), .upload = up, .parts = &name, .n_parts = 1};
    assert_int_equal(store_complete_upload(f.st, &spec, on_completed, &first), 0);
    assert_int_equal(store_complete_upload(f.st, &spec, on_completed, &second), 0);
    assert_int_equal(store_abort_upload(f.st, SLICE_LIT("k"), up, on_done, &third), 0);
    fx_pump(&f);
    assert_true(first.done && second.done && third.done);
    int ok = (first.status == 0) + (second.status == 0) + (third.status == 0);
    assert_int_equal(ok, 1);
    finish(&f);
}

static void copies_share_the_parts(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    setup(&f, 50000);
    uint64_t up = begin(&f, "k");
    assert_int_equal(part_of(&f, "k", up, 1, bytes_at(0, 60000)), 0);
    assert_int_equal(part_of(&f, "k", up, 2, bytes_at(60000, 40000)), 0);
    assert_int_equal(complete(&f, "k", up, 1, 1, 2, 0, &a), 0);
    assert_int_equal(fx_copy(&f, "k", "copy"), 0);
    assert_int_equal(fx_delete(&f, "k"), 0);
    for (int how = 0; how < 4; how++) {
        expect_object(&f, "copy", bytes_at(0, 100000));
        expect_reopened(&f, how);
    }
    struct object obj;
    assert_int_equal(store_lookup(f.st, SLICE_LIT("copy"), &obj), 0);
    assert_int_equal(obj.parts, 2);
    assert_memory_equal(obj.md5, a.obj.md5, 16);
    finish(&f);
}

static void on_opened(void *user, int status)
{
    *(int *)user = status;
}

static struct reader *open_reader(struct fixture *f, const char *key)
{
    static const struct reader_ops ops = {.opened = on_opened};
    static int status;
    struct reader *r;
    int rc = reader_open(f->st, slice_str(key), false, &ops, &status, &r);
    if (rc == ZKV_PENDING) {
        fx_pump(f);
        rc = status;
    }
    assert_int_equal(rc, 0);
    return r;
}

static void parts_can_be_made_of_ranges_of_objects(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    setup(&f, 150000);
    uint64_t up = begin(&f, "multi");
    assert_int_equal(part_of(&f, "multi", up, 1, bytes_at(0, 100000)), 0);
    assert_int_equal(part_of(&f, "multi", up, 2, bytes_at(100000, 100000)), 0);
    assert_int_equal(complete(&f, "multi", up, 1, 1, 2, 0, &a), 0);
    assert_int_equal(fx_put(&f, "plain", bytes_at(200000, 100000), 0), 0);
    assert_int_equal(fx_put(&f, "empty", bytes_at(0, 0), 0), 0);

    up = begin(&f, "k");
    static const struct {
        const char *src;
        uint64_t from, len;
    } copies[] = {
        {"multi", 1, 65535}, {"multi", 65536, 134464}, {"plain", 0, 99999}, {"empty", 0, 0}};
    for (uint32_t i = 0; i < 4; i++) {
        struct reader *r = open_reader(&f, copies[i].src);
        struct part_copy_spec spec = {.key = SLICE_LIT("k"),
                                      .upload = up,
                                      .part = i + 1,
                                      .src = r,
                                      .from = copies[i].from,
                                      .len = copies[i].len};
        a = (struct answer){0};
        int rc = store_copy_part(f.st, &spec, on_stored, &a);
        reader_close(r);
        assert_int_equal(settle(&f, &a, rc), 0);
        assert_int_equal(a.obj.size, copies[i].len);
        assert_true(a.obj.has_md5);
    }
    assert_int_equal(fx_delete(&f, "multi"), 0);
    assert_int_equal(complete(&f, "k", up, 1, 1, 4, 0, &a), 0);
    for (int how = 0; how < 4; how++) {
        expect_object(&f, "k", bytes_at(1, 299998));
        expect_reopened(&f, how);
    }
    struct reader *r = open_reader(&f, "k");
    uint64_t off, len;
    assert_int_equal(reader_part(r, 2, &off, &len), 0);
    assert_int_equal(off, 65535);
    assert_int_equal(len, 134464);
    assert_int_equal(reader_part(r, 5, &off, &len), ZERR_NOT_FOUND);
    assert_int_equal(reader_span(r, 0), 65535);
    assert_int_equal(reader_span(r, 65535), 34464); /* its second part crosses the first's end */
    reader_close(r);
    finish(&f);
}

static void a_damaged_part_is_never_sent_and_marks_the_object(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    struct object obj;
    setup(&f, 1 << 20);
    uint64_t up = begin(&f, "k");
    assert_int_equal(part_of(&f, "k", up, 1, bytes_at(0, 100000)), 0);
    struct object part = {0};
    assert_int_equal(part_of(&f, "k", up, 2, bytes_at(100000, 100000)), 0);
    assert_int_equal(complete(&f, "k", up, 1, 1, 2, 0, &a), 0);
    assert_int_equal(fx_copy(&f, "k", "copy"), 0);
    struct reader *r = open_reader(&f, "k");
    part.body = reader_extents(r).v[1].body;
    reader_close(r);
    vfs_mem_flip(f.vfs, "open0000000000", part.body.off + 70000, 4);
    struct buf got = {0};
    assert_int_equal(fx_get(&f, "k", &got), ZERR_DAMAGED);
    assert_memory_equal(got.ptr, bytes, got.len);
    buf_finish(&got);
    fx_pump(&f);
    assert_int_equal(store_lookup(f.st, SLICE_LIT("copy"), &obj), 0);
    assert_true(obj.damaged);
    finish(&f);
}

static void on_parts(void *user, int status, struct part_page *page)
{
    struct answer *a = user;
    a->done = true;
    a->status = status;
    a->at = page->n;
    a->upload = page->n > 0 ? page->entries[page->n - 1].number : 0;
    a->obj.damaged = page->truncated;
    part_page_finish(page);
}

static void on_uploads(void *user, int status, struct list_page *page)
{
    struct buf *out = user;
    assert_int_equal(status, 0);
    for (size_t i = 0; i < page->n; i++) {
        assert_int_equal(buf_append(out, page->entries[i].key.ptr, page->entries[i].key.len), 0);
        assert_int_equal(buf_append_str(out, page->entries[i].is_prefix ? "*" : "="), 0);
        char number[24];
        (void)snprintf(number, sizeof(number), "%llu ",
                       (unsigned long long)(page->entries[i].upload & 0xffff));
        assert_int_equal(buf_append_str(out, number), 0);
    }
    assert_int_equal(buf_append_str(out, page->truncated ? "..." : "."), 0);
    list_page_finish(page);
}

static void expect_uploads(struct fixture *f, struct list_query q, const char *want)
{
    struct buf out = {0};
    q.uploads = true;
    assert_int_equal(store_list(f->st, &q, on_uploads, &out), 0);
    fx_pump(f);
    assert_int_equal(buf_append(&out, "", 1), 0);
    assert_string_equal((const char *)out.ptr, want);
    buf_finish(&out);
}

static void uploads_and_parts_are_listed_in_pages(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    setup(&f, 1 << 20);
    uint64_t b1 = begin(&f, "b/1");
    (void)begin(&f, "a");
    uint64_t b2 = begin(&f, "b/1");
    (void)begin(&f, "b/2");
    (void)begin(&f, "c");
    assert_int_equal(fx_put(&f, "d", bytes_at(0, 1), 0), 0);
    expect_uploads(&f, (struct list_query){.max = 100}, "a=2 b/1=1 b/1=3 b/2=4 c=5 .");
    expect_uploads(&f, (struct list_query){.max = 2}, "a=2 b/1=1 ...");
    expect_uploads(&f, (struct list_query){.max = 2, .after = SLICE_LIT("b/1"), .after_upload = b1},
                   "b/1=3 b/2=4 ...");
    expect_uploads(&f, (struct list_query){.max = 9, .after = SLICE_LIT("b/1"), .after_upload = b2},
                   "b/2=4 c=5 .");
    expect_uploads(&f, (struct list_query){.max = 9, .after = SLICE_LIT("b/1")}, "b/2=4 c=5 .");
    expect_uploads(&f, (struct list_query){.max = 9, .prefix = SLICE_LIT("b/")},
                   "b/1=1 b/1=3 b/2=4 .");
    expect_uploads(&f, (struct list_query){.max = 9, .delimiter = SLICE_LIT("/")},
                   "a=2 b/*0 c=5 .");
    for (uint32_t n = 1; n <= 5; n++) {
        assert_int_equal(part_of(&f, "b/1", b1, n * 10, bytes_at(0, n)), 0);
    }
    assert_int_equal(settle(&f, &a, store_list_parts(f.st, b1, 10, 3, on_parts, &a)), 0);
    assert_int_equal(a.at, 3);
    assert_int_equal(a.upload, 40);
    assert_true(a.obj.damaged);
    assert_int_equal(settle(&f, &a, store_list_parts(f.st, b1, 40, 3, on_parts, &a)), 0);
    assert_int_equal(a.at, 1);
    assert_false(a.obj.damaged);
    assert_int_equal(settle(&f, &a, store_list_parts(f.st, b1 + 100, 0, 3, on_parts, &a)),
                     ZERR_NO_UPLOAD);
    finish(&f);
}

static void a_history_made_anew_has_the_uploads(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    setup(&f, 20000);
    uint64_t done = begin(&f, "done"), going = begin(&f, "going");
    assert_int_equal(part_of(&f, "done", done, 1, bytes_at(0, 30000)), 0);
    assert_int_equal(fx_put(&f, "x", bytes_at(0, 1), 0), 0);
    assert_int_equal(complete(&f, "done", done, 1, 1, 1, 0, &a), 0);
    assert_int_equal(part_of(&f, "going", going, 1, bytes_at(30000, 100)), 0);
    for (int with_old = 0; with_old < 2; with_old++) {
        assert_int_equal(fx_stop(&f), 0);
        struct rebuild_config cfg = {.vfs = f.vfs};
        struct rebuild_result res;
        if (!with_old) {
            assert_int_equal(f.vfs->ops->unlink(f.vfs, "db0000000000"), 0);
        }
        assert_int_equal(rebuild_history(&cfg, &res, NULL), 0);
        assert_int_equal(res.records, 2);
        fx_drop_index(&f);
        assert_int_equal(fx_open(&f), 0);
        expect_object(&f, "done", bytes_at(0, 30000));
        assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("going"), going), 0);
        assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("done"), done), ZERR_NO_UPLOAD);
    }
    assert_int_equal(complete(&f, "going", going, 1, 1, 1, 0, &a), 0);
    expect_object(&f, "going", bytes_at(30000, 100));
    finish(&f);
}

static void old_uploads_are_given_up(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 1 << 20);
    uint64_t old = begin(&f, "old"), old2 = begin(&f, "old2");
    vfs_mem_advance(f.vfs, 6ull * 24 * 3600 * 1000);
    uint64_t young = begin(&f, "young");
    assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("old"), old), 0);
    vfs_mem_advance(f.vfs, 2ull * 24 * 3600 * 1000);
    (void)begin(&f, "next");
    assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("old"), old), ZERR_NO_UPLOAD);
    assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("old2"), old2), ZERR_NO_UPLOAD);
    assert_int_equal(store_lookup_upload(f.st, SLICE_LIT("young"), young), 0);
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_become_one_object_wherever_they_lie),
        cmocka_unit_test(the_md5_is_that_of_the_md5s),
        cmocka_unit_test(what_is_asked_for_must_be_there),
        cmocka_unit_test(a_part_sent_again_replaces_the_first),
        cmocka_unit_test(empty_parts_and_empty_objects),
        cmocka_unit_test(uploads_survive_what_the_history_survives),
        cmocka_unit_test(an_ended_upload_takes_nothing_more_in_the_same_round),
        cmocka_unit_test(copies_share_the_parts),
        cmocka_unit_test(parts_can_be_made_of_ranges_of_objects),
        cmocka_unit_test(a_damaged_part_is_never_sent_and_marks_the_object),
        cmocka_unit_test(uploads_and_parts_are_listed_in_pages),
        cmocka_unit_test(a_history_made_anew_has_the_uploads),
        cmocka_unit_test(old_uploads_are_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
