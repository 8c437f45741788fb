/* What an owner computes of a body: it sees every byte once and in order, has the last word, may fill
 * in a value that is kept, and is let go of exactly once however the upload ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/store_fixture.h"
#include "support/vfs_mem.h"

static uint8_t BODY[2 << 20];

struct hasher {
    struct put_hasher base;
    struct buf seen;
    int update_status, finish_status;
    unsigned finished, released;
    const char *late;
};

static int update(struct put_hasher *base, const struct chunk *c)
{
    struct hasher *h = container_of(base, struct hasher, base);
    assert_int_equal(h->released, 0);
    assert_int_equal(buf_append(&h->seen, c->data, c->len), 0);
    return h->update_status;
}

static int finish(struct put_hasher *base, uint8_t *late)
{
    struct hasher *h = container_of(base, struct hasher, base);
    assert_int_equal(h->released, 0);
    h->finished++;
    if (h->late != NULL) {
        memcpy(late, h->late, strlen(h->late));
    }
    return h->finish_status;
}

static void release(struct put_hasher *base)
{
    container_of(base, struct hasher, base)->released++;
}

static void reset(struct hasher *h)
{
    buf_finish(&h->seen);
    *h = (struct hasher){.base = {update, finish, release}};
}

static int put_with(struct fixture *f, struct hasher *h, const char *key, size_t len, size_t piece)
{
    struct put_spec spec = {.key = slice_str(key), .size = len, .hasher = &h->base};
    fx_fill(BODY, len, len);
    return fx_put_spec(f, &spec, slice_of(BODY, len), piece, NULL, NULL);
}

static void every_byte_is_seen_once_and_in_order(void **state)
{
    static const struct {
        size_t len, piece;
    } cases[] = {{0, 0}, {1, 1}, {4000, 100}, {300000, 5000}, {1500000, 70000}};
    struct fixture f;
    struct hasher h = {0};

    (void)state;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reset(&h);
        assert_int_equal(put_with(&f, &h, "k", cases[i].len, cases[i].piece), 0);
        assert_int_equal(h.seen.len, cases[i].len);
        assert_memory_equal(h.seen.ptr != NULL ? h.seen.ptr : BODY, BODY, cases[i].len);
        assert_int_equal(h.finished, 1);
        assert_int_equal(h.released, 1);
    }
    buf_finish(&h.seen);
    assert_int_equal(fx_stop(&f), 0);
    fx_finish(&f);
}

static void what_it_does_not_like_is_not_stored(void **state)
{
    static const size_t lens[] = {10, 300000};
    struct fixture f;
    struct hasher h = {0};
    struct buf names = {0};

    (void)state;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    for (size_t i = 0; i < 2; i++) {
        reset(&h);
        h.finish_status = ZERR_BAD_DIGEST;
        assert_int_equal(put_with(&f, &h, "k", lens[i], 4096), ZERR_BAD_DIGEST);
        assert_int_equal(h.released, 1);
        reset(&h);
        h.update_status = ZERR_NOMEM;
        assert_int_equal(put_with(&f, &h, "k", lens[i], 4096), ZERR_NOMEM);
        assert_int_equal(h.finished, 0);
        assert_int_equal(h.released, 1);
    }
    reset(&h);
    assert_int_equal(put_with(&f, &h, "good", 10, 0), 0);
    assert_int_equal(fx_stop(&f), 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_names(&f, &names), 0);
    assert_int_equal(names.len, 5);
    assert_memory_equal(names.ptr, "good\n", 5);
    assert_int_equal(fx_stop(&f), 0);
    buf_finish(&names);
    buf_finish(&h.seen);
    fx_finish(&f);
}

static void nothing(void *user, int status)
{
    (void)user, (void)status;
}

static void no_piece(void *user, int status, struct read_piece piece)
{
    (void)user, (void)status, (void)piece;
}

static void expect_kept(struct fixture *f, const char *value)
{
    static const struct reader_ops ops = {.opened = nothing, .read = no_piece};
    struct reader *r;
    int rc = reader_open(f->st, SLICE_LIT("k"), false, &ops, NULL, &r);
    if (rc == ZKV_PENDING) {
        fx_pump(f);
        rc = 0;
    }
    assert_int_equal(rc, 0);
    struct attrs sys = reader_sys(r);
    assert_int_equal(sys.n, 2);
    assert_true(slice_eq_str(sys.v[0].value, "text"));
    assert_true(slice_eq_str(sys.v[1].value, value));
    reader_close(r);
}

static void a_value_filled_in_late_is_kept(void **state)
{
    const struct attr attrs[] = {{SLICE_INIT("Type"), SLICE_INIT("text")},
                                 {SLICE_INIT("Sum"), SLICE_INIT("????")}};
    struct fixture f;
    struct hasher h = {0};

    (void)state;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    reset(&h);
    h.late = "4711";
    struct put_spec spec = {.key = SLICE_LIT("k"), .size = 5, .sys = {attrs, 2}, .hasher = &h.base};
    assert_int_equal(fx_put_spec(&f, &spec, SLICE_LIT("hello"), 0, NULL, NULL), 0);
    expect_kept(&f, "4711");
    assert_true(slice_eq_str(attrs[1].value, "????")); /* the store wrote into its own copy */
    fx_kill(&f);
    assert_int_equal(fx_open(&f), 0); /* from the block */
    expect_kept(&f, "4711");
    assert_int_equal(fx_stop(&f), 0);
    fx_drop_index(&f);
    assert_int_equal(fx_open(&f), 0); /* from the history */
    expect_kept(&f, "4711");
    assert_int_equal(fx_stop(&f), 0);
    buf_finish(&h.seen);
    fx_finish(&f);
}

static void on_done(void *user, int status, const struct object *obj)
{
    (void)obj;
    *(int *)user = status;
}

static void writable(void *user)
{
    (void)user;
}

static void it_is_let_go_of_once_when_an_upload_is_given_up(void **state)
{
    static const struct put_ops ops = {.ready = nothing, .writable = writable, .done = on_done};
    struct fixture f;
    struct hasher h = {0};
    struct fx_upload by = {0};
    struct put *put;
    int status = 1;

    (void)state;
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    struct put_spec spec = {.key = SLICE_LIT("k"), .size = 500000, .hasher = &h.base};
    for (int commit = 0; commit < 2; commit++) {
        for (size_t len = 0; len <= 500000; len += 250000) {
            reset(&h);
            assert_int_equal(put_begin(f.st, &spec, &ops, &status, &put), 0);
            by.put = put;
            if (len > 0) {
                fx_write(&f, &by, slice_of(BODY, len)); /* a job runs from here on */
            }
            if (commit && len == spec.size) {
                put_commit(put, NULL);
            }
            put_abort(put);
            fx_pump(&f);
            assert_int_equal(h.released, 1);
        }
    }
    reset(&h);
    spec.key = slice_of(NULL, 0);
    assert_int_equal(put_begin(f.st, &spec, &ops, &status, &put), ZERR_INVALID);
    assert_int_equal(h.released, 0); /* it stays the owner's */
    assert_int_equal(status, 1);
    assert_int_equal(fx_stop(&f), 0);
    buf_finish(&h.seen);
    fx_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_seen_once_and_in_order),
        cmocka_unit_test(what_it_does_not_like_is_not_stored),
        cmocka_unit_test(a_value_filled_in_late_is_kept),
        cmocka_unit_test(it_is_let_go_of_once_when_an_upload_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
