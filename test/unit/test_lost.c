/* A record in an unsealed block that cannot be read does not say whose it is; the index does. */
#include <unistd.h>

#include "store/scan.h"
#include "support/store_rig.h"

#define BODY_LEN 3000
#define BLOCK "open0000000000"

static uint8_t body[BODY_LEN];

static void put(struct fixture *f, const char *key, size_t len)
{
    assert_int_equal(fx_put(f, key, slice_of(body, len), 0), 0);
}

static void start(struct fixture *f)
{
    fx_init(f, 0);
    assert_int_equal(fx_open(f), 0);
}

static void again(struct fixture *f)
{
    f->notes[0] = '\0';
    assert_int_equal(fx_open(f), 0);
}

static void expect_get(struct fixture *f, const char *key, int rc, size_t len)
{
    struct buf out = {0};
    assert_int_equal(fx_get(f, key, &out), rc);
    assert_true(rc != 0 || out.len == len);
    buf_finish(&out);
}

/* ---- damage ---- */

struct offsets {
    uint64_t v[16];
    int n;
};

static int see(void *user, const struct scan_frame *f)
{
    struct offsets *all = user;
    all->v[all->n++] = f->off;
    return 0;
}

/* Offset of the last frame, or of one so many before it. */
static uint64_t frame_at(struct fixture *f, int before)
{
    struct offsets all = {.n = 0};
    struct vfs_file *file;
    struct scan_result res;
    assert_int_equal(f->vfs->ops->open(f->vfs, BLOCK, VFS_READ, &file), 0);
    assert_int_equal(scan_block(file, 0, 0, see, &all, &res), 0);
    f->vfs->ops->close(file);
    return all.v[all.n - 1 - before];
}

enum spoilt { FLIPPED, NO_RECORD, NO_HEAD, N_SPOILT };

static void spoil(struct fixture *f, uint64_t frame, enum spoilt how)
{
    if (how == FLIPPED) {
        vfs_mem_flip(f->vfs, BLOCK, frame + FRAME_HEAD_BYTES + 10, 4);
        return;
    }
    uint64_t off = how == NO_HEAD ? frame : frame + FRAME_HEAD_BYTES;
    for (uint64_t i = 0; i < 64; i++) { /* more than a record without attributes would need zeros */
        struct slice b = vfs_mem_get(f->vfs, BLOCK);
        vfs_mem_flip(f->vfs, BLOCK, off + i, b.ptr[off + i]);
    }
}

/* At once, from the index; when that is made anew, as soon as it is read. */
static void expect_damaged(struct fixture *f, const char *key, const char *others)
{
    assert_non_null(strstr(f->notes, "damaged"));
    expect_names(f, others);
    expect_get(f, key, ZERR_DAMAGED, 0);
    assert_int_equal(fx_stop(f), 0);
    again(f);
    expect_names(f, others);
    assert_int_equal(fx_stop(f), 0);
    fx_drop_index(f);
    again(f);
    expect_get(f, key, ZERR_DAMAGED, 0);
    fx_pump(f);
    expect_names(f, others);
}

/* ---- */

static void a_damaged_record_s_name_is_not_what_it_was_before(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        for (int how = FLIPPED; how < N_SPOILT; how++) {
            struct fixture f;
            start(&f);
            put(&f, "a", 10);
            put(&f, "a", BODY_LEN);
            if (more) {
                put(&f, "b", BODY_LEN);
            }
            fx_kill(&f);
            spoil(&f, frame_at(&f, more), (enum spoilt)how);
            again(&f);
            expect_damaged(&f, "a", more ? "b\n" : "");
            put(&f, "a", 20);
            expect_get(&f, "a", 0, 20);
            assert_int_equal(fx_stop(&f), 0);
            fx_finish(&f);
        }
    }
}

/* Its body is elsewhere, and right. */
static void a_damaged_record_of_a_copy_is_no_other_object(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    put(&f, "a", BODY_LEN);
    put(&f, "copy", 10);
    assert_int_equal(fx_copy(&f, "a", "copy"), 0);
    fx_kill(&f);
    spoil(&f, frame_at(&f, 0), FLIPPED);
    again(&f);
    expect_damaged(&f, "copy", "a\n");
    fx_finish(&f);
}

/* The last acknowledged body: no record behind it says that it was synced. */
static void a_damaged_body_at_the_end_is_not_taken_for_torn(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    put(&f, "a", 10);
    put(&f, "a", BODY_LEN);
    fx_kill(&f);
    vfs_mem_flip(f.vfs, BLOCK, vfs_mem_get(f.vfs, BLOCK).len - 1000, 1);
    again(&f);
    expect_damaged(&f, "a", "");
    fx_finish(&f);
}

static void index_file(const struct fixture *f, const char *what, char out[160])
{
    (void)snprintf(out, 160, "%s/%s", f->dir, what);
}

static void copy_file(const struct fixture *f, const char *from, const char *to)
{
    char src[160], dst[160];
    uint8_t bytes[4096];
    index_file(f, from, src);
    index_file(f, to, dst);
    FILE *in = fopen(src, "rb"), *out = fopen(dst, "wb");
    assert_true(in != NULL && out != NULL);
    for (size_t n; (n = fread(bytes, 1, sizeof(bytes), in)) > 0;) {
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    }
    assert_int_equal(fclose(in) | fclose(out), 0);
}

static void what_came_after_it_is_served(void **state)
{
    (void)state;
    static const char *const files[][2] = {{INDEX_NAME, "kept"}, {INDEX_NAME "-wal", "kept-wal"}};
    struct fixture f;
    char path[160];
    start(&f);
    put(&f, "a", 10);
    put(&f, "a", BODY_LEN);
    for (int i = 0; i < 2; i++) {
        copy_file(&f, files[i][0], files[i][1]);
    }
    put(&f, "a", 20);
    put(&f, "b", 30);
    fx_kill(&f);
    fx_drop_index(&f);
    for (int i = 0; i < 2; i++) { /* the index has not heard of the last two */
        copy_file(&f, files[i][1], files[i][0]);
        index_file(&f, files[i][1], path);
        assert_int_equal(unlink(path), 0);
    }
    spoil(&f, frame_at(&f, 2), FLIPPED);
    again(&f);
    assert_non_null(strstr(f.notes, "damaged"));
    expect_get(&f, "a", 0, 20);
    expect_names(&f, "a\nb\n");
    fx_finish(&f);
}

/* Without the index nobody knows the name; that there is damage is known if a number is missing. */
static void without_the_index_the_damage_is_told(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    put(&f, "a", 10);
    put(&f, "a", BODY_LEN);
    put(&f, "b", 30);
    put(&f, "c", 30);
    put(&f, "d", 30); /* says that the one before it was synced */
    fx_kill(&f);
    spoil(&f, frame_at(&f, 2), FLIPPED);
    fx_drop_index(&f);
    again(&f);
    assert_non_null(strstr(f.notes, "damaged"));
    expect_names(&f, "a\nc\nd\n");
    fx_finish(&f);
}

/* All that is left of the block is a part of the record; the body was behind it. */
static void a_record_without_anything_behind_it_keeps_its_block(void **state)
{
    (void)state;
    struct fixture f;
    static char value[1500];
    struct attr attr = {SLICE_LIT("name"), slice_of(value, sizeof(value))};
    struct put_spec spec = {.key = SLICE_LIT("a"), .size = 10, .meta = {&attr, 1}};
    memset(value, 'v', sizeof(value));
    start(&f);
    assert_int_equal(fx_put_spec(&f, &spec, slice_of(body, 10), 0, NULL, NULL), 0);
    fx_kill(&f);
    vfs_mem_put(f.vfs, BLOCK, slice_of(vfs_mem_get(f.vfs, BLOCK).ptr, 1024));
    spoil(&f, frame_at(&f, 0), NO_HEAD);
    again(&f);
    expect_damaged(&f, "a", "");
    fx_finish(&f);
}

/* What a power cut takes with -sync block was never promised. */
static void with_sync_block_it_may_be_gone(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f, 0);
    f.cfg.sync = STORE_SYNC_BLOCK;
    again(&f);
    put(&f, "a", 10);
    put(&f, "a", BODY_LEN);
    fx_kill(&f);
    spoil(&f, frame_at(&f, 0), NO_RECORD);
    again(&f);
    assert_null(strstr(f.notes, "damaged"));
    expect_get(&f, "a", 0, 10);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_record_s_name_is_not_what_it_was_before),
        cmocka_unit_test(a_damaged_record_of_a_copy_is_no_other_object),
        cmocka_unit_test(a_damaged_body_at_the_end_is_not_taken_for_torn),
        cmocka_unit_test(a_record_without_anything_behind_it_keeps_its_block),
        cmocka_unit_test(what_came_after_it_is_served),
        cmocka_unit_test(without_the_index_the_damage_is_told),
        cmocka_unit_test(with_sync_block_it_may_be_gone),
    };
    return cmocka_run_group_tests_name("lost", tests, NULL, NULL);
}
