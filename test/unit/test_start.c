/* What a start costs: with its index it reads the same few bytes however many objects there are.
 *
 *   test_start fill DIR OBJECTS BYTES [kill]    makes a store there with so many objects of so many
 *                                               bytes, shaped like S3QL's, for scripts/start-time;
 *                                               kill: not stopped, all is in the open block */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/store_fixture.h"
#include "support/vfs_mem.h"

#define AT_ONCE 200

static uint64_t reads_of_a_start(unsigned objects)
{
    struct fixture f;
    uint8_t body[64] = {0};
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    for (unsigned i = 0; i < objects; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "s3ql_data_%u", i);
        assert_int_equal(fx_put(&f, key, slice_of(body, sizeof(body)), 0), 0);
    }
    assert_int_equal(fx_stop(&f), 0);
    uint64_t before = vfs_mem_calls(f.vfs, MEM_READ);
    assert_int_equal(fx_open(&f), 0);
    uint64_t reads = vfs_mem_calls(f.vfs, MEM_READ) - before;
    struct store_stats s;
    store_get_stats(f.st, &s);
    assert_false(s.index_rebuilt);
    fx_finish(&f);
    return reads;
}

static void a_start_does_not_depend_on_the_number_of_objects(void **state)
{
    (void)state;
    uint64_t few = reads_of_a_start(20), many = reads_of_a_start(3000);
    assert_true(few > 0);
    assert_in_range(many, 1, few + 4); /* the last member of the history is longer: a window more */
}

/* ---- fill ---- */

struct one {
    struct chunk chunk;
    struct put *put;
    bool done;
};

static void on_ready(void *user, int status)
{
    (void)user;
    assert_int_equal(status, 0);
}

static void on_writable(void *user)
{
    (void)user;
}

static void on_done(void *user, int status, const struct object *obj)
{
    (void)obj;
    assert_int_equal(status, 0);
    ((struct one *)user)->done = true;
}

static void on_release(struct chunk *c)
{
    (void)c;
}

static void on_stopped(void *user, int status)
{
    *(int *)user = status;
}

static void put_some(struct store *st, struct workers_inline *w, uint64_t first, uint64_t n,
                     struct slice body)
{
    static const struct put_ops ops = {.ready = on_ready, .writable = on_writable, .done = on_done};
    static char filler[180];
    struct one ones[AT_ONCE] = {0};
    memset(filler, 'x', sizeof filler);
    for (uint64_t i = 0; i < n; i++) {
        char key[32];
        struct attr attrs[] = {
            {SLICE_LIT("X-Amz-Meta-000"), slice_of(filler, sizeof filler)},
            {SLICE_LIT("X-Amz-Meta-001"), slice_of(filler, sizeof filler)},
            {SLICE_LIT("X-Amz-Meta-Format"), SLICE_LIT("raw2")},
            {SLICE_LIT("X-Amz-Meta-Md5"), SLICE_LIT("4PtzbGTyZTr9G5FLGrvNAA==")},
        };
        (void)snprintf(key, sizeof key, "s3ql_data_%llu", (unsigned long long)(first + i));
        struct put_spec spec = {.key = slice_str(key), .size = body.len, .meta = {attrs, 4}};
        int rc = put_begin(st, &spec, &ops, &ones[i], &ones[i].put);
        assert_true(rc == 0 || rc == ZKV_PENDING);
        if (rc == ZKV_PENDING) {
            workers_inline_drain(w);
        }
        ones[i].chunk = (struct chunk){.data = body.ptr, .len = body.len, .release = on_release};
        put_write(ones[i].put, &ones[i].chunk);
        put_commit(ones[i].put, NULL);
    }
    workers_inline_drain(w);
    for (uint64_t i = 0; i < n; i++) {
        assert_true(ones[i].done);
    }
}

static void fill(const char *dir, uint64_t objects, size_t bytes, bool kill)
{
    struct vfs *vfs;
    struct workers_inline w;
    struct store *st;
    uint8_t *body = malloc(bytes + 1);
    int status = 1;
    assert_non_null(body);
    fx_fill(body, bytes, 1);
    assert_int_equal(vfs_posix_open(dir, &vfs, NULL), 0);
    workers_inline_init(&w);
    struct store_config cfg = {
        .vfs = vfs, .workers = &w.base, .dir = dir, .sync = STORE_SYNC_BLOCK, .reserve = 0};
    assert_int_equal(store_open(&cfg, &st, NULL), 0);
    for (uint64_t i = 0; i < objects; i += AT_ONCE) {
        put_some(st, &w, i, objects - i < AT_ONCE ? objects - i : AT_ONCE, slice_of(body, bytes));
    }
    if (!kill) {
        store_stop(st, on_stopped, &status);
        workers_inline_drain(&w);
        assert_int_equal(status, 0);
    }
    store_destroy(st);
    vfs_posix_close(vfs);
    free(body);
}

int main(int argc, char **argv)
{
    if (argc >= 5 && strcmp(argv[1], "fill") == 0) {
        fill(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), argc > 5);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_does_not_depend_on_the_number_of_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
