/* The store on the real vfs when system calls fail: each call that it makes, with each error that
 * the call can give, once and from then on. Nothing crashes, nothing is acknowledged that is not
 * there after a clean start, nothing that failed is seen, no descriptor leaks; EINTR and short
 * transfers are not even noticed, fdatasync apart, whose EINTR says nothing about the data.
 *
 * vfs_posix.c is compiled with stand-ins for its calls (support/fault_calls.h); at the end each call
 * in its text must have been made, and made to fail. Calls that are reached by the same way are
 * taken once, or with ROUNDS in the environment each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/fault_calls.h"
#include "support/fault_points.h"
#include "support/fault_world.h"
#include "support/vfs_mem.h"

static uint64_t n_runs;

/* ---- a world on a real directory ---- */

static void advance(struct vfs *v, uint64_t ms)
{
    (void)v;
    fault_advance(ms);
}

static void begin(struct world *w)
{
    world_init(w, STORE_SYNC_ACK);
    vfs_mem_destroy(w->f.vfs);
    w->f.vfs = NULL;
    assert_int_equal(vfs_posix_open(w->f.dir, &w->f.vfs, NULL), 0);
    w->f.advance = advance;
    w->starts = getenv("ROUNDS") != NULL ? 3 : 1;
}

static void end(struct world *w)
{
    DIR *d = opendir(w->f.dir);
    struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        if (unlinkat(dirfd(d), e->d_name, 0) != 0) {
            (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
    }
    (void)closedir(d);
    vfs_posix_close(w->f.vfs);
    w->f.vfs = NULL;
    world_finish(w);
}

static unsigned open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;
    assert_non_null(d);
    while (readdir(d) != NULL) {
        n++;
    }
    (void)closedir(d);
    return n;
}

/* ---- what is run with a fault ---- */

static bool must_not_be_noticed(unsigned kind, int code)
{
    bool sync = kind == CALL_fdatasync || kind == CALL_fsync;
    bool hint = kind == CALL_close || kind == CALL_closedir || kind == CALL_munmap ||
                kind == CALL_sync_file_range || kind == CALL_posix_fadvise;
    return kind != FAULT_ANY &&
           (code == FAULT_SHORT || code == FAULT_GARBLED || (code == EINTR && !sync) || hint);
}

struct plan {
    const char *name;
    enum fault_disk disk;
    void (*before)(struct world *);
    void (*work)(struct world *, bool armed); /* armed: a fault may happen */
};

static void nothing(struct world *w)
{
    (void)w;
}

/* The workload of a running store. */
static void run_world(struct world *w, bool armed)
{
    (void)armed;
    world_work(w);
}

static void run_uploads(struct world *w, bool armed)
{
    (void)armed;
    world_uploads(w);
}

/* From no directory entry to a stop. */
static void run_new(struct world *w, bool armed)
{
    struct vfs *again = NULL;
    int rc = vfs_posix_open(w->f.dir, &again, NULL);
    assert_true(rc == 0 || armed);
    vfs_posix_close(rc == 0 ? again : NULL);
    rc = fx_open(&w->f);
    assert_true(rc == 0 || armed);
    if (rc == 0) {
        world_put(w, 0);
        world_put(w, 8);
        (void)fx_stop(&w->f);
    }
}

static void unclean(struct world *w)
{
    world_fill(w);
    world_work(w);
    fx_kill(&w->f);
}

/* The recovery of what a kill left. */
static void run_start(struct world *w, bool armed)
{
    int rc = fx_open(&w->f);
    assert_true(rc == 0 || armed);
    if (rc == 0) {
        fx_kill(&w->f);
    }
}

static void filled(struct world *w)
{
    world_fill(w);
    world_work(w);
}

static void run_stop(struct world *w, bool armed)
{
    int rc = fx_stop(&w->f);
    assert_true(rc == 0 || armed);
}

static void stopped(struct world *w)
{
    world_fill(w);
    world_work(w);
    assert_int_equal(fx_stop(&w->f), 0);
    assert_int_equal(fx_open(&w->f), 0);
}

/* Reads: the right bytes or an error that says nothing about the object. */
static void run_reads(struct world *w, bool armed)
{
    struct buf out = {0};
    for (unsigned i = 0; i < N_KEYS; i++) {
        int rc = world_get(w, i, &out);
        if (rc != 0 && (!armed || rc == ZERR_NOT_FOUND || rc == ZERR_DAMAGED)) {
            world_report(w, "a read says", i, rc);
        }
    }
    buf_finish(&out);
}

/* Somebody else holds the lock, and what the directory is on. */
static void run_locked(struct world *w, bool armed)
{
    struct fixture second = w->f;
    int rc = fx_open(&second);
    assert_true(rc == ZERR_LOCKED || (rc != 0 && armed));
    (void)vfs_posix_is_network(w->f.dir);
}

/* Large frames: room is asked for ahead, write-back is started, and what is given up is punched out. */
static void large_blocks(struct world *w)
{
    w->f.cfg.block_size = 1 << 20;
    world_fill(w);
}

static void run_large(struct world *w, bool armed)
{
    enum { SIZE = 300000 };
    static uint8_t body[SIZE];
    struct fx_upload given_up = {0};
    (void)armed;
    int rc = fx_begin(&w->f, &given_up, "large", SIZE);
    fx_fill(body, SIZE, 1);
    if (rc == 0) {
        fx_write(&w->f, &given_up, slice_of(body, SIZE / 2));
        fx_pump(&w->f);
    }
    world_put(w, 5);
    if (rc == 0 && !given_up.done) {
        put_abort(given_up.put);
    }
    world_settle(w);
}

/* What the store has no use for, or not every day. */
static void run_vfs(struct world *w, bool armed)
{
    struct vfs *v = w->f.vfs;
    struct vfs *dir;
    struct vfs_file *f;
    uint8_t bytes[10];
    size_t n = 0;
    int rc = v->ops->make_dir(v, "folder");
    assert_true(rc == 0 || armed);
    if (rc == 0) {
        rc = v->ops->open_dir(v, "folder", &dir);
        assert_true(rc == 0 || armed);
    }
    if (rc == 0) {
        v->ops->close_dir(dir);
    }
    assert_int_not_equal(v->ops->open(v, ".", VFS_READ, &f), 0);
    assert_int_not_equal(v->ops->open(v, "absent", VFS_READ, &f), 0);
    if (v->ops->open(v, "lock", VFS_READ | VFS_DIRECT, &f) == 0) {
        v->ops->will_read(f, 0, sizeof(bytes));
        assert_true((v->ops->pread(f, bytes, sizeof(bytes), 3, &n) == 0 && n > 0) || armed);
        v->ops->close(f);
    }
}

/* c NULL: none; kind FAULT_ANY: everything fails from there on. */
static void run_late(struct world *w, const struct plan *p, const struct fault_call *c,
                     enum fault_times times, int code)
{
    begin(w);
    p->before(w);
    fault_set_disk(p->disk);
    if (c == NULL) {
        fault_record();
    } else {
        fault_arm(c->kind, c->nth, times, code);
    }
    p->work(w, c != NULL && !must_not_be_noticed(c->kind, code));
}

static void expect_same(const struct world *w, const struct world *as)
{
    for (unsigned i = 0; i < N_KEYS; i++) {
        if (w->keys[i].now != as->keys[i].now) {
            world_report(w, "the fault was noticed", i, (int)w->keys[i].now);
        }
    }
}

static void one_fault(const struct plan *p, const struct world *undisturbed,
                      const struct fault_call *c, enum fault_times times, int code)
{
    struct world w;
    char what[200];
    unsigned descriptors = open_descriptors();
    (void)snprintf(what, sizeof(what), "%s: %s gives %s (%d)", p->name,
                   c->kind == FAULT_ANY ? "anything" : fault_call_names[c->kind],
                   code == FAULT_GARBLED ? "other bytes"
                   : code >= FAULT_SHORT ? "a short transfer"
                                         : strerror(code),
                   (int)times);
    n_runs++;
    run_late(&w, p, c, times, code);
    w.what = what;
    w.n = c->nth;
    if (fault_disarm() == 0) {
        world_report(&w, "the call was not made", 0, 0);
    }
    if (must_not_be_noticed(c->kind, code)) {
        expect_same(&w, undisturbed);
    }
    if (w.f.st != NULL) {
        world_expect_well_again(&w);
        if (n_runs % 2 == 0) {
            world_stop(&w);
        } else {
            fx_kill(&w.f);
        }
    }
    fault_set_disk(FAULT_DISK_REAL);
    world_expect_clean_start(&w, false);
    end(&w);
    if (open_descriptors() != descriptors) {
        world_report(&w, "descriptors leak", 0, 0);
    }
}

static void sweep(const struct plan *p)
{
    struct world undisturbed;
    const struct fault_call *calls;
    run_late(&undisturbed, p, NULL, FAULT_ONCE, 0);
    size_t n = fault_recorded(&calls);
    if (undisturbed.f.st != NULL) {
        fx_kill(&undisturbed.f);
    }
    end(&undisturbed);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        const struct fault_call *c = &calls[i];
        if (!c->first && getenv("ROUNDS") == NULL) {
            continue;
        }
        for (const int *code = fault_call_codes[c->kind]; *code != 0; code++) {
            one_fault(p, &undisturbed, c, FAULT_ONCE, *code);
            /* What is tried again until it works would be tried for ever. */
            one_fault(p, &undisturbed, c, *code == EINTR ? FAULT_THRICE : FAULT_FROM_THEN_ON,
                      *code);
        }
        struct fault_call all = {.kind = FAULT_ANY, .nth = i + 1}; /* the disk goes away */
        one_fault(p, &undisturbed, &all, FAULT_FROM_THEN_ON, EIO);
    }
}

/* A bit turns round on the way from the disk, in the cache, say: each reading is checked and, before
 * anything is concluded, done again from the device. */
static void a_read_that_is_garbled_once_is_not_noticed(void **state)
{
    static const enum fault_disk disks[] = {FAULT_DISK_REAL, FAULT_DISK_DROPS, FAULT_DISK_KEEPS};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct plan p = {"a garbled read", disks[i], stopped, run_reads};
        struct world undisturbed;
        const struct fault_call *calls;
        run_late(&undisturbed, &p, NULL, FAULT_ONCE, 0);
        size_t n = fault_recorded(&calls);
        fx_kill(&undisturbed.f);
        end(&undisturbed);
        for (size_t k = 0; k < n; k++) {
            if (calls[k].kind == CALL_pread) {
                one_fault(&p, &undisturbed, &calls[k], FAULT_ONCE, FAULT_GARBLED);
            }
        }
    }
}

#define PLAN(test, ...)                                                                            \
    static void test(void **state)                                                                 \
    {                                                                                              \
        static const struct plan plan = {#test, __VA_ARGS__};                                      \
        (void)state;                                                                               \
        sweep(&plan);                                                                              \
    }

PLAN(a_new_directory, FAULT_DISK_REAL, nothing, run_new)
PLAN(a_running_store, FAULT_DISK_REAL, world_fill, run_world)
PLAN(multipart_uploads, FAULT_DISK_REAL, world_fill, run_uploads)
PLAN(a_stop, FAULT_DISK_REAL, filled, run_stop)
PLAN(a_start_after_a_kill, FAULT_DISK_DROPS, unclean, run_start)
PLAN(a_start_past_the_cache, FAULT_DISK_KEEPS, unclean, run_start)
PLAN(reads, FAULT_DISK_REAL, stopped, run_reads)
PLAN(large_frames, FAULT_DISK_REAL, large_blocks, run_large)
PLAN(the_rest_of_the_vfs, FAULT_DISK_REAL, stopped, run_vfs)
PLAN(a_locked_directory, FAULT_DISK_REAL, world_fill, run_locked)

/* The last one: nothing in the text of vfs_posix.c was left out. */
static void every_call_in_the_text_was_made_and_failed(void **state)
{
    unsigned n = 0, called = 0, failed = 0;
    (void)state;
    for (struct fault_site *const *at = __start_fault_sites; at < __stop_fault_sites; at++) {
        const struct fault_site *s = *at;
        bool can_fail = fault_call_codes[s->kind][0] != 0;
        n++;
        called += s->calls > 0;
        failed += s->failed > 0 || !can_fail;
        if (s->calls == 0 || (can_fail && s->failed == 0)) {
            print_error("vfs_posix.c:%u: %s was never %s\n", s->line, fault_call_names[s->kind],
                        s->calls == 0 ? "called" : "made to fail");
        }
    }
    print_message("%u system calls in vfs_posix.c: %u called, %u made to fail; %llu faults\n", n,
                  called, failed, (unsigned long long)n_runs);
    assert_true(n > 40);
    assert_int_equal(called, n);
    assert_int_equal(failed, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_directory),
        cmocka_unit_test(a_running_store),
        cmocka_unit_test(multipart_uploads),
        cmocka_unit_test(a_stop),
        cmocka_unit_test(a_start_after_a_kill),
        cmocka_unit_test(a_start_past_the_cache),
        cmocka_unit_test(reads),
        cmocka_unit_test(a_read_that_is_garbled_once_is_not_noticed),
        cmocka_unit_test(large_frames),
        cmocka_unit_test(the_rest_of_the_vfs),
        cmocka_unit_test(a_locked_directory),
        cmocka_unit_test(every_call_in_the_text_was_made_and_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
