/* The store when the disk fails: each class of calls, each error, at each call, once and from then
 * on, under a workload of everything at once. Nothing crashes, nothing is acknowledged that is not
 * there afterwards, nothing that failed is seen, no counter drifts, and the directory opens again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/scan.h"
#include "store/store_priv.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"

#define N_KEYS 12
#define BODY_MAX 70000
#define ABSENT 0u

static uint8_t BODY[BODY_MAX];

/* Version v of a key: 0 is "not there". Sizes are small, large, and beyond the block. */
static size_t size_of(unsigned v)
{
    static const size_t sizes[] = {0, 100, 3000, 9000, 40000, 0, 63, 12000, 70000};
    return sizes[v % (sizeof(sizes) / sizeof(sizes[0]))];
}

static struct slice body_of(unsigned v)
{
    fx_fill(BODY, size_of(v), v);
    return slice_of(BODY, size_of(v));
}

struct key_model {
    unsigned now;     /* what is visible */
    uint32_t allowed; /* versions that may be there after a crash, by bit */
};

struct world {
    struct fixture f;
    struct key_model keys[N_KEYS];
    unsigned next_version;
    const char *what; /* for messages */
    uint64_t n;
    struct change_op { /* here, since a fatal error may leave them unanswered until the stop */
        struct world *w;
        unsigned keys[4], versions[4], n;
        int rc, status;
    } copy, del, late_del;
};

static void name_of(char out[8], unsigned key)
{
    (void)snprintf(out, 8, "k%02u", key);
}

static void answered(struct world *w, unsigned key, unsigned version, int status)
{
    struct key_model *k = &w->keys[key];
    if (status == 0) {
        k->now = version;
        k->allowed = 1u << version;
    } else {
        k->allowed |= 1u << version;
    }
}

struct op { /* one that runs beside others */
    struct world *w;
    struct fx_upload up;
    unsigned key, version;
    bool begun;
};

static void op_begin(struct world *w, struct op *o, unsigned key)
{
    char name[8];
    *o = (struct op){.w = w, .key = key, .version = w->next_version++};
    name_of(name, key);
    int rc = fx_begin(&w->f, &o->up, name, size_of(o->version));
    o->begun = rc == 0 || rc == ZKV_PENDING;
    if (rc == ZKV_PENDING) {
        fx_pump(&w->f);
        o->begun = o->up.ready && o->up.ready_status == 0;
        if (!o->up.ready) {
            put_abort(o->up.put);
            fx_pump(&w->f);
        }
    }
}

static void op_write(struct op *o, size_t from, size_t to)
{
    uint8_t copy[BODY_MAX];
    if (!o->begun || o->up.done) {
        return;
    }
    memcpy(copy, body_of(o->version).ptr, to);
    for (size_t at = from; at < to && !o->up.done; at += 5000) {
        fx_write(&o->w->f, &o->up, slice_of(copy + at, to - at < 5000 ? to - at : 5000));
    }
}

static void op_commit(struct op *o)
{
    if (o->begun && !o->up.done) {
        put_commit(o->up.put, NULL);
    }
}

static void op_abort(struct op *o)
{
    if (o->begun && !o->up.done) {
        put_abort(o->up.put);
    }
}

static void settle(struct world *w)
{
    fx_pump(&w->f);
    for (int i = 0; i < 15 && store_wants_tick(w->f.st); i++) {
        vfs_mem_advance(w->f.vfs, 1000);
        store_tick(w->f.st);
        fx_pump(&w->f);
    }
}

static void op_end(struct op *o)
{
    if (!o->begun) {
        return;
    }
    if (!o->up.done) { /* never answered: after a fatal error only */
        assert_true(o->w->f.fatal);
        put_abort(o->up.put);
    }
    answered(o->w, o->key, o->version, o->up.done ? o->up.status : ZERR_CANCELED);
}

static void on_deleted(void *user, int status)
{
    ((struct change_op *)user)->status = status;
}

static void on_copied(void *user, int status, const struct object *obj)
{
    (void)obj;
    ((struct change_op *)user)->status = status;
}

static void delete_begin(struct world *w, struct change_op *o, unsigned first, unsigned n)
{
    char names[4][8];
    struct slice keys[4];
    *o = (struct change_op){.w = w, .n = n, .status = 1};
    for (unsigned i = 0; i < n; i++) {
        o->keys[i] = first + i;
        name_of(names[i], first + i);
        keys[i] = slice_str(names[i]);
    }
    o->rc = store_delete(w->f.st, keys, n, NULL, on_deleted, o);
}

static void copy_begin(struct world *w, struct change_op *o, unsigned from, unsigned to)
{
    char src[8], dst[8];
    name_of(src, from);
    name_of(dst, to);
    *o = (struct change_op){.w = w, .n = 1, .status = 1};
    o->keys[0] = to;
    o->versions[0] = w->keys[from].now;
    struct copy_spec spec = {.key = slice_str(dst)};
    o->rc = store_lookup(w->f.st, slice_str(src), &spec.src);
    if (o->rc == 0) {
        o->rc = store_copy(w->f.st, &spec, on_copied, o);
    }
}

static void change_end(struct change_op *o)
{
    int status = o->rc != 0 ? o->rc : o->status == 1 ? ZERR_CANCELED : o->status;
    assert_true(o->rc != 0 || o->status != 1 || o->w->f.fatal);
    for (unsigned i = 0; i < o->n; i++) {
        answered(o->w, o->keys[i], o->versions[i], status);
    }
}

static void put_one(struct world *w, unsigned key)
{
    struct op o;
    op_begin(w, &o, key);
    op_write(&o, 0, size_of(o.version));
    op_commit(&o);
    settle(w);
    op_end(&o);
}

static void setup(struct world *w, enum store_sync sync)
{
    memset(w, 0, sizeof(*w));
    w->next_version = 1;
    fx_init(&w->f, 16384);
    w->f.cfg.sync = sync;
    for (unsigned i = 0; i < N_KEYS; i++) {
        w->keys[i].allowed = 1u << ABSENT;
    }
    assert_int_equal(fx_open(&w->f), 0);
    for (unsigned i = 0; i < 4; i++) {
        put_one(w, i);
    }
}

/* Everything at once: uploads side by side, in blocks of their own, given up, overwriting; a copy, a
 * delete of several, and a second wave behind what the first one broke. */
static void work(struct world *w)
{
    struct op a, b, c, d, e;
    op_begin(w, &a, 4);
    op_begin(w, &b, 0);
    op_begin(w, &c, 5);
    op_begin(w, &d, 6);
    op_write(&a, 0, size_of(a.version) / 2);
    op_write(&b, 0, size_of(b.version) / 2);
    op_write(&c, 0, size_of(c.version) / 2);
    copy_begin(w, &w->copy, 3, 7);
    delete_begin(w, &w->del, 1, 2);
    op_write(&d, 0, size_of(d.version));
    op_commit(&d);
    fx_pump(&w->f);
    op_abort(&c);
    op_write(&b, size_of(b.version) / 2, size_of(b.version));
    op_commit(&b);
    op_begin(w, &e, 8);
    op_write(&e, 0, size_of(e.version));
    op_commit(&e);
    op_write(&a, size_of(a.version) / 2, size_of(a.version));
    op_commit(&a);
    settle(w);
    op_end(&d);
    op_end(&b);
    op_end(&e);
    op_end(&a);
    change_end(&w->del);
    change_end(&w->copy);
    delete_begin(w, &w->late_del, 8, 1);
    put_one(w, 9);
    settle(w);
    change_end(&w->late_del);
    for (unsigned i = 0; i < 3; i++) {
        put_one(w, 9 + i);
    }
}

static void report(const struct world *w, const char *text, unsigned key, int rc)
{
    print_error("%s at call %d: %s (key %u: %d)\n%s", w->what, (int)w->n, text, key, rc,
                w->f.notes);
    fail();
}

static void expect_keys(struct world *w, bool after_crash)
{
    struct buf out = {0};
    for (unsigned i = 0; i < N_KEYS; i++) {
        char name[8];
        name_of(name, i);
        int rc = fx_get(&w->f, name, &out);
        if (rc != 0 && rc != ZERR_NOT_FOUND) {
            report(w, "cannot be read", i, rc);
        }
        bool ok = false;
        for (unsigned v = 0; v < w->next_version && !ok; v++) {
            bool may = after_crash ? (w->keys[i].allowed & (1u << v)) != 0 : w->keys[i].now == v;
            ok = may && (v == ABSENT ? rc != 0 : rc == 0 && slice_eq(buf_slice(&out), body_of(v)));
            if (ok && after_crash) {
                w->keys[i].now = v;
                w->keys[i].allowed = 1u << v;
            }
        }
        if (!ok) {
            report(w, after_crash ? "wrong after the end" : "wrong while running", i, rc);
        }
    }
    buf_finish(&out);
}

static void expect_no_drift(struct world *w)
{
    const struct store *st = w->f.st;
    uint64_t dirty = 0;
    for (const struct block *b = st->open_blocks; b != NULL; b = b->next) {
        dirty += b->dirty;
        if (b->n_puts != 0 || b->frames != NULL || b->voids != NULL || b->cutting) {
            report(w, "a block is held", b->number, (int)b->state);
        }
        if (b != st->current && b->state != BLOCK_POISONED) {
            report(w, "a block is not sealed", b->number, (int)b->state);
        }
    }
    if (st->unsynced != dirty || st->queued != 0 || st->promised != 0 || st->n_jobs != 0 ||
        st->puts != NULL || st->waiting != NULL || st->n_commits != 0 || st->n_readers != 0) {
        report(w, "a counter drifted", 0, 0);
    }
}

/* The disk is well again: the store must take writes, unless it has said that it cannot go on. */
static void expect_well_again(struct world *w)
{
    settle(w);
    if (w->f.fatal) {
        return;
    }
    expect_keys(w, false);
    struct op o;
    op_begin(w, &o, 10);
    if (!o.begun) {
        report(w, "does not take writes again", 10, 0);
    }
    op_write(&o, 0, size_of(o.version));
    op_commit(&o);
    settle(w);
    op_end(&o);
    if (o.up.status != 0) {
        report(w, "a write fails after the fault", 10, o.up.status);
    }
    expect_keys(w, false);
    expect_no_drift(w);
}

static int see_frame(void *user, const struct scan_frame *f)
{
    if (f->verdict != SCAN_VALID && f->verdict != SCAN_VOID) {
        report(user, "a sealed block holds neither valid nor VOID (offset)", (unsigned)f->off,
               (int)f->verdict);
    }
    return 0;
}

static int see_file(void *user, const struct vfs_dirent *e)
{
    struct world *w = user;
    unsigned number;
    struct vfs_file *file;
    struct scan_result res;
    if (sscanf(e->name, "open%u", &number) == 1) {
        report(w, "a block is still open", number, 0);
    }
    if (sscanf(e->name, "block%u", &number) == 1) {
        assert_int_equal(w->f.vfs->ops->open(w->f.vfs, e->name, VFS_READ, &file), 0);
        assert_int_equal(scan_block(file, number, SCAN_BODIES, see_frame, w, &res), 0);
        w->f.vfs->ops->close(file);
    }
    return 0;
}

static void expect_clean_start(struct world *w, bool lost)
{
    for (int again = 0; again < 3; again++) {
        if (again == 1) {
            fx_drop_index(&w->f);
        }
        w->f.notes[0] = '\0';
        int rc = fx_open(&w->f);
        if (rc != 0) {
            report(w, w->f.info.text, 0, rc);
        }
        expect_keys(w, true);
        if (!lost && strstr(w->f.notes, "damaged") != NULL) {
            report(w, "damage reported", 0, 0);
        }
        put_one(w, 11);
        if (w->keys[11].now != w->next_version - 1) {
            report(w, "no write after the start", 11, 0);
        }
        rc = fx_stop(&w->f);
        if (rc != 0) {
            report(w, "no clean stop", 0, rc);
        }
    }
    if (!lost) {
        assert_int_equal(w->f.vfs->ops->list(w->f.vfs, see_file, w), 0); /* I5 */
    }
}

enum end { END_STOP, END_KILL, END_POWER_CUT, N_ENDS };

/* True: the fault was never reached. */
static bool one_fault(const char *what, enum store_sync sync, unsigned ops, int zerr,
                      enum vfs_mem_times times, uint64_t n, enum end end)
{
    struct world w;
    setup(&w, sync);
    w.what = what;
    w.n = n;
    vfs_mem_fail(w.f.vfs, ops, n, zerr, times);
    work(&w);
    bool untouched = vfs_mem_failed(w.f.vfs) == 0;
    expect_keys(&w, false);
    vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
    expect_well_again(&w);
    bool fatal = w.f.fatal;
    if (end == END_STOP) {
        int rc = fx_stop(&w.f);
        if (rc == 0 && fatal) {
            report(&w, "a stop after a fatal error says that all is well", 0, rc);
        }
    } else if (end == END_KILL || sync == STORE_SYNC_BLOCK) {
        fx_kill(&w.f);
    } else {
        fx_power_cut(&w.f, MEM_CRASH_RANDOM, n);
    }
    bool lost = fatal && sync == STORE_SYNC_BLOCK;
    for (unsigned i = 0; i < N_KEYS && lost; i++) {
        w.keys[i].allowed =
            UINT32_MAX; /* said so: what was acknowledged may be lost, but not mixed */
    }
    if (vfs_mem_open_files(w.f.vfs) != 0) {
        report(&w, "files left open", 0, 0);
    }
    expect_clean_start(&w, lost);
    fx_finish(&w.f);
    return untouched;
}

/* The ends take turns; with a ROUNDS in the environment each fault meets each. */
static void sweep(const char *what, enum store_sync sync, unsigned ops, int zerr,
                  enum vfs_mem_times times)
{
    static unsigned turn;
    int n_ends = getenv("ROUNDS") != NULL ? N_ENDS : 1;
    for (uint64_t n = 1; n < 1000; n++) {
        bool untouched = true;
        for (int i = 0; i < n_ends; i++) {
            enum end end = (enum end)(turn++ % N_ENDS);
            untouched = one_fault(what, sync, ops, zerr, times, n, end) && untouched;
        }
        if (untouched) {
            return;
        }
    }
    fail();
}

static void sweep_error(int zerr, enum store_sync sync)
{
    static const struct {
        const char *name;
        unsigned ops;
    } classes[] = {
        {"open", MEM_OPEN},      {"create", MEM_CREATE},     {"write", MEM_WRITE},
        {"sync", MEM_SYNC},      {"truncate", MEM_TRUNCATE}, {"allocate", MEM_ALLOCATE},
        {"rename", MEM_RENAME},  {"unlink", MEM_UNLINK},     {"sync_dir", MEM_SYNC_DIR},
        {"chmod", MEM_CHMOD},    {"look", MEM_LOOK},         {"random", MEM_RANDOM},
        {"change", MEM_CHANGES},
    };
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        sweep(classes[i].name, sync, classes[i].ops, zerr, MEM_ONCE);
        sweep(classes[i].name, sync, classes[i].ops, zerr, MEM_FROM_THEN_ON);
    }
}

static void an_io_error_at_any_call_loses_nothing(void **state)
{
    (void)state;
    sweep_error(ZERR_IO, STORE_SYNC_ACK);
}

static void a_full_disk_at_any_call_loses_nothing(void **state)
{
    (void)state;
    sweep_error(ZERR_NO_SPACE, STORE_SYNC_ACK);
}

static void no_descriptors_at_any_call_loses_nothing(void **state)
{
    (void)state;
    sweep("open", STORE_SYNC_ACK, MEM_OPEN | MEM_CREATE, ZERR_LIMIT, MEM_ONCE);
    sweep("open", STORE_SYNC_ACK, MEM_OPEN | MEM_CREATE, ZERR_LIMIT, MEM_FROM_THEN_ON);
}

static void the_same_holds_with_sync_block(void **state)
{
    (void)state;
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_IO, MEM_ONCE);
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_IO, MEM_FROM_THEN_ON);
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_NO_SPACE, MEM_ONCE);
    sweep("change", STORE_SYNC_BLOCK, MEM_CHANGES, ZERR_NO_SPACE, MEM_FROM_THEN_ON);
}

/* A start is cut off at each of its changes, with the index or without, and what a power cut leaves is
 * started again. */
static void a_recovery_cut_off_anywhere_ends_the_same(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 500; n++) {
        bool untouched = false;
        for (int with_index = 0; with_index < 2; with_index++) {
            struct world w;
            setup(&w, STORE_SYNC_ACK);
            w.what = "recovery";
            w.n = n;
            vfs_mem_fail(w.f.vfs, MEM_SYNC, 9, ZERR_IO, MEM_ONCE); /* a poisoned block too */
            work(&w);
            vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
            fx_power_cut(&w.f, n % 2 == 0 ? MEM_CRASH_RANDOM : MEM_CRASH_EVERYTHING, n);
            vfs_mem_fail(w.f.vfs, MEM_CHANGES, n, ZERR_IO, MEM_FROM_THEN_ON);
            if (with_index == 0) {
                fx_drop_index(&w.f);
            }
            int rc = fx_open(&w.f);
            untouched = vfs_mem_failed(w.f.vfs) == 0;
            if (rc == 0 && untouched) {
                expect_keys(&w, true);
            } else if (rc != 0 && vfs_mem_open_files(w.f.vfs) != 0) {
                report(&w, "a start that failed left files open", 0, rc);
            }
            vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
            fx_power_cut(&w.f, MEM_CRASH_RANDOM, n * 7 + 1);
            expect_clean_start(&w, false);
            fx_finish(&w.f);
        }
        if (untouched) {
            assert_true(n > 8);
            return;
        }
    }
    fail();
}

static void a_new_directory_cut_off_anywhere_opens(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 100; n++) {
        bool untouched = false;
        for (int mode = 0; mode < 9; mode++) {
            struct world w = {.next_version = 1, .what = "new directory", .n = n};
            fx_init(&w.f, 16384);
            for (unsigned i = 0; i < N_KEYS; i++) {
                w.keys[i].allowed = 1u << ABSENT;
            }
            assert_int_equal(fx_open(&w.f), 0);
            vfs_mem_fail(w.f.vfs, MEM_CHANGES, n, ZERR_IO, MEM_FROM_THEN_ON);
            put_one(&w, 0);
            untouched = vfs_mem_failed(w.f.vfs) == 0;
            vfs_mem_fail(w.f.vfs, 0, 0, 0, MEM_ONCE);
            fx_power_cut(&w.f,
                         mode == 0   ? MEM_CRASH_SYNCED
                         : mode == 1 ? MEM_CRASH_EVERYTHING
                                     : MEM_CRASH_RANDOM,
                         n * 10 + (uint64_t)mode);
            expect_clean_start(&w, false);
            fx_finish(&w.f);
        }
        if (untouched) {
            return;
        }
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_io_error_at_any_call_loses_nothing),
        cmocka_unit_test(a_full_disk_at_any_call_loses_nothing),
        cmocka_unit_test(no_descriptors_at_any_call_loses_nothing),
        cmocka_unit_test(the_same_holds_with_sync_block),
        cmocka_unit_test(a_recovery_cut_off_anywhere_ends_the_same),
        cmocka_unit_test(a_new_directory_cut_off_anywhere_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
